"""Who plays in a checked history: the server, its clients, and whoever torments both and writes down when.

The programs come from the directory that BUILD names, or each from DFLOCKD_BINARY, HISTORY_CLIENT, HISTORY_CHECK and
PACKET_RELAY.
"""

import contextlib
import heapq
import os
import random
import re
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

PATIENCE = 30
KEYS = ("L:a", "S:p=2", "L:b", "L:c", "S:q=3", "L:d", "L:e", "S:r=5", "L:f", "L:g")
USERS_OF_A_KEY = 4
# So short that what a session may have been granted is soon known to be over.
SESSION_IDLE_S = 3
# How long what a client leaves to its ref is kept: for most of them to come back, and not for ever.
ORPHAN_TTL_S = 3


def program(variable, name):
    return os.environ.get(variable) or str(Path(os.environ.get("BUILD", "build/release"), name).resolve())


SERVER = program("DFLOCKD_BINARY", "dflockd")
CLIENT = program("HISTORY_CLIENT", "history_client")
CHECKER = program("HISTORY_CHECK", "history_check")
RELAY = program("PACKET_RELAY", "packet_relay")


class Failure(Exception):
    """What makes a round fail beside violations."""


def environment():
    return {name: value for name, value in os.environ.items()
            if not name.startswith("DFLOCK") and name != "NOTIFY_SOCKET"}


def free_ports():
    """Two ports that nobody has now, below those that the system gives to those who ask for any."""
    with contextlib.ExitStack() as sockets:
        ports = []
        while len(ports) < 2:
            port = random.SystemRandom().randrange(15000, 32000)
            with contextlib.suppress(OSError):
                sockets.enter_context(socket.create_server(("127.0.0.1", port)))
                ports.append(port)
        return ports


class Diary:
    """The driver's own file of the history. For several threads."""

    def __init__(self, path):
        self.file = open(path, "ab", buffering=0)

    def write(self, event, subject="", at=None):
        moment = time.monotonic_ns() if at is None else at
        self.file.write(f"E {moment} {event} {subject}".rstrip().encode() + b"\n")

    def close(self):
        self.file.close()


class PressureGauge:
    """Notes when the machine did not let us run: then it did not let others run either."""

    INTERVAL_S = 0.02
    TOO_LATE_S = 0.2

    def __init__(self, diary):
        self.diary = diary
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self):
        before = time.monotonic_ns()
        while not self.done.wait(self.INTERVAL_S):
            now = time.monotonic_ns()
            if now - before > (self.INTERVAL_S + self.TOO_LATE_S) * 1e9:
                self.diary.write("pressure_begin", at=before)
                self.diary.write("pressure_end", at=now)
            before = now

    def close(self):
        self.done.set()
        self.thread.join()


class Server:
    """The server, through all its lives."""

    def __init__(self, directory, network, diary, tls, auto_release=True, secret=""):
        self.directory = directory
        self.network = network
        self.diary = diary
        self.port, self.http_port = (6388, 6389) if network.namespaces else free_ports()
        self.flags = ["--host", network.bind, "--port", str(self.port), "--http-port", str(self.http_port),
                      "--fence-state-file", str(directory / "fences"), "--max-locks", "0", "--shutdown-timeout", "3",
                      "--http-session-idle-timeout", str(SESSION_IDLE_S), "--orphan-ttl", str(ORPHAN_TTL_S)]
        if not auto_release:
            self.flags.append("--auto-release-on-disconnect=false")
        if secret:
            (directory / "secret").write_text(secret)
            self.flags += ["--auth-token-file", str(directory / "secret")]
        if tls:
            self.flags += ["--tls-cert", str(directory / "server.crt"), "--tls-key", str(directory / "server.key")]
        self.life = 0
        self.process = None

    def start(self):
        self.life += 1
        self.diary.write("server_starting")
        deadline = time.monotonic() + PATIENCE
        while not self._try_to_start():
            if time.monotonic() > deadline:
                raise Failure("the server does not start: " + self.log().read_text())
        self.diary.write("server_up")

    def log(self):
        return self.directory / f"server.{self.life}.log"

    def _try_to_start(self):
        with open(self.log(), "wb") as log:
            command = self.network.server_command([SERVER, *self.flags])
            self.process = subprocess.Popen(command, stderr=log, env=environment(), start_new_session=True)
        deadline = time.monotonic() + PATIENCE
        while len(re.findall(r"\blistening\b.*port=", self.log().read_text())) < 2:
            if self.process.poll() is not None:
                return False
            if time.monotonic() > deadline:
                self.process.kill()
                self.process.wait()
                return False
            time.sleep(0.005)
        return True

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def stop(self):
        self.diary.write("server_stop")
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)
        self.diary.write("server_cont")

    def reload(self):
        self.diary.write("server_reload")
        self.process.send_signal(signal.SIGHUP)

    def crash(self):
        self.diary.write("server_kill")
        self.process.kill()
        self.process.wait(PATIENCE)
        self.diary.write("server_dead")

    def drain(self):
        self.diary.write("server_term")
        self.process.terminate()
        status = self.process.wait(PATIENCE)
        self.diary.write("server_dead")
        if status not in (0, 1):  # 1: it had to cut somebody off
            raise Failure(f"the server ended with status {status}: " + self.log().read_text()[-2000:])

    def close(self):
        if self.is_alive():
            self.process.kill()
            self.process.wait()


class Client:
    """One slot: a client process, and the one after it when it was killed."""

    def __init__(self, slot, directory, network, server, diary, settings):
        self.slot = slot
        self.directory = directory
        self.network = network
        self.server = server
        self.diary = diary
        self.settings = settings
        self.run = 0
        self.process = None
        self.stopped = False

    def name(self):
        return f"{self.slot}.{self.run}"

    def start(self, seed):
        self.run += 1
        self.diary.write("client_start", self.name())
        words = [CLIENT, "--out", str(self.directory / f"{self.name()}.history"),
                 "--seed", str(seed), "--host", self.network.server_address(self.slot),
                 "--port", str(self.server.port), "--http-port", str(self.server.http_port), *self.settings]
        with open(self.directory / f"{self.name()}.log", "wb") as log:
            self.process = subprocess.Popen(self.network.client_command(self.slot, words), stderr=log,
                                            env=environment(), start_new_session=True)

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def stop(self):
        self.diary.write("client_stop", self.slot)
        self.process.send_signal(signal.SIGSTOP)
        self.stopped = True

    def go_on(self):
        if self.stopped:
            self.process.send_signal(signal.SIGCONT)
            self.diary.write("client_cont", self.slot)
            self.stopped = False

    def kill(self):
        self.diary.write("client_kill", self.name())
        self.process.kill()
        self.process.wait(PATIENCE)
        self.go_on_without()

    def go_on_without(self):
        """What was stopped when it was killed is stopped no more."""
        if self.stopped:
            self.diary.write("client_cont", self.slot)
            self.stopped = False

    def finish(self):
        self.go_on()
        if not self.is_alive():
            return
        self.process.terminate()
        status = self.process.wait(PATIENCE)
        if status != 0:
            raise Failure(f"{self.name()} ended with status {status}: " +
                          (self.directory / f"{self.name()}.log").read_text())

    def close(self):
        if self.is_alive():
            self.process.kill()
            self.process.wait()


def clients_of(slots, workers, directory, network, server, diary, certificate, secret=""):
    """Clients of so many users who fight for few keys, and of two more, each with a key that one user of a neighbour
    wants as well. Some have refs, which a client that is started again has too. `certificate` is the one to trust, or nothing for servers without TLS; `secret` is the server's, if it
    has one."""
    keys = KEYS[:max(2, len(slots) * workers // USERS_OF_A_KEY)]
    doors = "tls,https" if certificate else "tcp,http"
    settings = ["--workers", str(workers), "--keys", ",".join(keys), "--doors", doors]
    if certificate:
        settings += ["--ca", str(certificate)]
    if secret:
        settings += ["--secret", secret]
    quiet = [f"L:quiet{number}" for number in range(len(slots))]
    return [Client(slot, directory, network, server, diary,
                   [*settings, "--quiet-keys", f"{quiet[number]},{quiet[number - 1]}", "--ref", slot])
            for number, slot in enumerate(slots)]


class Tormentor:
    """Picks what goes wrong next, and when it is over."""

    def __init__(self, random_, server, clients, network):
        self.random = random_
        self.server = server
        self.clients = clients
        self.network = network
        self.agenda = []
        self.counts = Counter()
        self.number = 0
        self.server_is_busy = False
        self.bad_links = set()
        self.torments = [(self.kill_client, 3), (self.stop_client, 3), (self.stop_server, 2),
                         (self.stop_server_for_long, 1), (self.crash_server, 1.5), (self.drain_server, 1.5),
                         (self.reload_server, 1)]
        if network.namespaces:
            self.torments += [(self.spoil_network, 5), (self.cut_network, 3)]

    def later(self, seconds, action):
        self.number += 1
        heapq.heappush(self.agenda, (time.monotonic() + seconds, self.number, action))

    def run(self, seconds):
        end = time.monotonic() + seconds
        self.later(self.random.uniform(0.2, 1), self.torment)
        while (now := time.monotonic()) < end:
            while self.agenda and self.agenda[0][0] <= now:
                heapq.heappop(self.agenda)[2]()
            self.look_after_all()
            due = self.agenda[0][0] if self.agenda else end
            time.sleep(max(0, min(due, end, now + 0.1) - time.monotonic()))

    def look_after_all(self):
        if not self.server.is_alive():
            raise Failure("the server has died: " + self.server.log().read_text()[-2000:])
        for client in self.clients:
            if client.process.poll() is not None:
                raise Failure(f"{client.name()} has died: " +
                              (client.directory / f"{client.name()}.log").read_text())

    def torment(self):
        actions, weights = zip(*self.torments)
        self.random.choices(actions, weights)[0]()
        # Now and then all is well for long enough to see that it is.
        pause = self.random.uniform(4, 9) if self.random.random() < 0.25 else self.random.uniform(0.1, 2)
        self.later(pause, self.torment)

    def count(self, what):
        self.counts[what] += 1

    # --- Clients ---

    def pick_client(self):
        return self.random.choice(self.clients)

    def kill_client(self):
        client = self.pick_client()
        self.count("client killed")
        client.kill()
        client.start(self.random.randrange(1 << 32))

    def stop_client(self):
        client = self.pick_client()
        if client.stopped:
            return
        self.count("client stopped")
        client.stop()
        self.later(self.pause_of_a_client(), client.go_on)

    def pause_of_a_client(self):
        return self.random.choice([self.random.uniform(0.05, 1), self.random.uniform(1, 6)])

    # --- The server ---

    def stop_server_for(self, seconds):
        if self.server_is_busy:
            return
        self.count("server stopped")
        self.server_is_busy = True
        self.server.stop()
        self.later(seconds, self.let_server_go_on)

    def stop_server(self):
        self.stop_server_for(self.random.uniform(0.02, 0.4))

    def stop_server_for_long(self):
        self.stop_server_for(self.random.uniform(1, 4))

    def let_server_go_on(self):
        self.server.go_on()
        self.server_is_busy = False

    def crash_server(self):
        if self.server_is_busy:
            return
        self.count("server killed")
        self.server.crash()
        self.server.start()

    def drain_server(self):
        if self.server_is_busy:
            return
        self.count("server drained")
        self.server.drain()
        self.server.start()

    def reload_server(self):
        if self.server_is_busy:
            return
        self.count("server reloaded")
        self.server.reload()

    # --- The network ---

    def spoil_network(self):
        kind = self.random.choice(["delay", "loss", "reordering", "duplication", "all of it"])
        weather = {}
        if kind in ("delay", "all of it"):
            weather["delay"] = self.random.randrange(5, 300)
        if kind in ("reordering", "all of it"):
            weather["jitter"] = self.random.randrange(5, 60)
        if kind in ("loss", "all of it"):
            weather["lost"] = self.random.randrange(1, 30)
        if kind in ("duplication", "all of it"):
            weather["doubled"] = self.random.randrange(5, 50)
        self.disturb("network " + kind, lambda slot: self.network.set_weather(slot, **weather),
                     self.network.set_weather)

    def cut_network(self):
        if self.random.random() < 0.5:
            self.disturb("network cut", lambda slot: self.network.set_weather(slot, lost=100),
                         self.network.set_weather)
        else:
            self.disturb("network down", lambda slot: self.network.set_link(slot, "down"),
                         lambda slot: self.network.set_link(slot, "up"))

    def disturb(self, what, begin, end):
        slot = self.pick_client().slot
        if slot in self.bad_links:
            return
        self.count(what)
        self.bad_links.add(slot)
        self.server.diary.write("network_begin", slot)
        begin(slot)

        def over():
            end(slot)
            self.server.diary.write("network_end", slot)
            self.bad_links.discard(slot)
        self.later(self.random.uniform(0.5, 6), over)


def checker(margin_ms, auto_release=True):
    """The checker's command line, but for the files."""
    return [CHECKER, "--margin-ms", str(margin_ms), "--session-idle", str(SESSION_IDLE_S),
            "--auto-release", str(int(auto_release)), "--orphan-ttl", str(ORPHAN_TTL_S)]


def check(directory, command):
    """Status and output of the checker."""
    done = subprocess.run([*command, *sorted(directory.glob("*.history"))], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr
