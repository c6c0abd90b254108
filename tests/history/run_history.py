#!/usr/bin/env python3
"""Clients fight for locks of the real server while both are tormented; then their histories are checked.

Torments: SIGKILL and SIGSTOP of clients; SIGSTOP of the server, SIGKILL and SIGTERM and another start with the same
fence file, SIGHUP; and, as root, a network that delays, reorders, doubles and loses packets, and that is cut.

A run is made of rounds, by turns without and with TLS, each with a seed of its own. What went on is printed at the end of
each round; a round that fails leaves its directory. The seed repeats the choices, not the machine's timing.

The programs come from the directory that BUILD names, or each from DFLOCKD_BINARY, HISTORY_CLIENT, HISTORY_CHECK and
PACKET_RELAY.
"""

import argparse
import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from cast import KEYS, USERS_OF_A_KEY, Client, Diary, Failure, PressureGauge, Server, Tormentor, check
from network import Loopback, Namespaces, is_possible

<<<<<<< HEAD
PATIENCE = 30
KEYS = ("L:a", "S:p=2", "L:b", "L:c", "S:q=3", "L:d", "L:e", "S:r=5", "L:f", "L:g")
USERS_OF_A_KEY = 4
# So short that what a session may have been granted is soon known to be over.
SESSION_IDLE_S = 3


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

    def __init__(self, directory, network, diary, tls):
        self.directory = directory
        self.network = network
        self.diary = diary
        self.port, self.http_port = (6388, 6389) if network.namespaces else free_ports()
        self.flags = ["--host", network.bind, "--port", str(self.port), "--http-port", str(self.http_port),
                      "--fence-state-file", str(directory / "fences"), "--max-locks", "0", "--shutdown-timeout", "3",
                      "--http-session-idle-timeout", str(SESSION_IDLE_S)]
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
        self.later(self.random.choice([self.random.uniform(0.05, 1), self.random.uniform(1, 6)]), client.go_on)

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

=======
>>>>>>> soak

def make_certificate(directory, addresses):
    names = ",".join(f"IP:{address}" for address in addresses)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-keyout", directory / "server.key", "-out", directory / "server.crt", "-days", "2",
                    "-subj", "/CN=server", "-addext", f"subjectAltName={names}"], check=True, capture_output=True)


<<<<<<< HEAD
def check(directory, margin_ms):
    """Status and output of the checker."""
    files = sorted(directory.glob("*.history"))
    done = subprocess.run([CHECKER, "--margin-ms", str(margin_ms),
                           "--session-idle", str(SESSION_IDLE_S), *files],
                          capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


=======
>>>>>>> soak
def run_round(options, seed, seconds, tls, directory, totals):
    """Runs one round and returns what went wrong, or nothing."""
    choices = random.Random(seed)
    slots = [f"c{number}" for number in range(options.clients)]
    with contextlib.ExitStack() as stack:
        network = Loopback()
        if options.network:
            network = Namespaces(RELAY, slots, choices)
        stack.callback(network.close)
        if tls:
            make_certificate(directory, {network.server_address(slot) for slot in slots})
        diary = Diary(directory / "driver.history")
        stack.callback(diary.close)
        gauge = PressureGauge(diary)
        stack.callback(gauge.close)
        server = Server(directory, network, diary, tls)
        stack.callback(server.close)
        keys = KEYS[:max(2, options.clients * options.workers // USERS_OF_A_KEY)]
        doors = "tls,https" if tls else "tcp,http"
        settings = ["--workers", str(options.workers), "--keys", ",".join(keys), "--doors", doors]
        if tls:
            settings += ["--ca", str(directory / "server.crt")]
        clients = [Client(slot, directory, network, server, diary, settings) for slot in slots]
        tormentor = Tormentor(choices, server, clients, network)
        trouble = ""
        try:
            server.start()
            for client in clients:
                stack.callback(client.close)
                client.start(choices.randrange(1 << 32))
            tormentor.run(seconds)
            if tormentor.server_is_busy:
                tormentor.let_server_go_on()
            for client in clients:
                client.finish()
            server.drain()
        except (Failure, subprocess.SubprocessError) as failure:
            trouble = str(failure)
        totals["faults"].update(tormentor.counts)
    status, output = check(directory, options.margin_ms)
    for line in output.splitlines():
        for name, number in re.findall(r"([a-z][a-z -]*?) (\d+)(?:,|$)", line):
            totals["checked"][name.strip()] += int(number)
    print(output, end="")
    print("faults", ", ".join(f"{what} {count}" for what, count in sorted(tormentor.counts.items())))
    if trouble:
        return trouble
    return "" if status == 0 else "the history cannot be"


def parse_arguments():
    parser = argparse.ArgumentParser(description="Checked histories of the real server under faults")
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--round-seconds", type=float, default=60, help="how long a round takes at most")
    parser.add_argument("--seed", type=int, help="of the first round; the next have those after it")
    parser.add_argument("--clients", type=int, default=6, help="client processes")
    parser.add_argument("--workers", type=int, default=6, help="users in each of them")
    parser.add_argument("--loopback", action="store_true", help="leave the network alone, also as root")
    parser.add_argument("--margin-ms", type=int, default=1000, help="how late anything may be on this machine")
    parser.add_argument("--keep", action="store_true", help="leave the directories also of what passed")
    options = parser.parse_args()
    options.network = not options.loopback and is_possible()
    if not options.loopback and not options.network:
        print("no network faults: they take root, network namespaces and TUN devices")
    return options


def print_totals(totals, rounds):
    print(f"== {rounds} rounds")
    print("checked:", ", ".join(f"{what} {count}" for what, count in totals["checked"].items()))
    faults = sum(totals["faults"].values())
    print(f"faults: {faults} in all;", ", ".join(f"{what} {count}" for what, count in sorted(totals["faults"].items())))


def main():
    options = parse_arguments()
    for caught in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(caught, lambda *_: sys.exit(1))
    left = options.minutes * 60 or options.seconds
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 31)
    totals = {"faults": Counter(), "checked": Counter()}
    rounds = 0
    failed = []
    while left > 0:
        seconds = min(left, options.round_seconds)
        left -= seconds
        rounds += 1
        tls = seed % 2 == 1
        directory = Path(tempfile.mkdtemp(prefix="dflockd-history-"))
        print(f"== seed {seed}, {seconds:.0f} s, {'TLS' if tls else 'plain'}, "
              f"{'namespaces' if options.network else 'loopback'}", flush=True)
        keep = True
        try:
            trouble = run_round(options, seed, seconds, tls, directory, totals)
            keep = bool(trouble) or options.keep
        except KeyboardInterrupt:
            keep = False
            raise SystemExit(1) from None
        finally:
            if keep:
                print(f"the histories and logs are in {directory}")
            else:
                shutil.rmtree(directory)
        if trouble:
            failed.append(seed)
            print(f"FAILED with --seed {seed}: {trouble}", flush=True)
        seed += 1
    print_totals(totals, rounds)
    if failed:
        print("FAILED, seeds", *failed)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
