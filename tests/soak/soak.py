#!/usr/bin/env python3
"""Mixed traffic through every door of two servers for as long as one likes, with faults, and a look at what is left.

One server is plain and one speaks TLS; each has both listeners, and lives through the whole run. At each of them
there are clients whose histories are checked, `dflockctl lock`, dflockd-bench, scrapes of what it tells of itself, and
peers that vanish, that send halves of requests or garbage. Faults are SIGKILL and SIGSTOP of clients, resets, SIGSTOP
of the server for less than a second, and SIGHUP, with a new certificate where there is one.

After each round all traffic ends. The run fails if then a descriptor, a lock, a waiter, a session or an idle key is
left; if the memory grows all along; if the loop was late for more than 100 ms and neither we nor the machine had
stopped it; if the log has a line above info for which there is no reason; if a client fails; or if a history cannot be.

The seed repeats the choices, not the machine's timing. The programs come from the directory that BUILD names, or each
from DFLOCKD_BINARY, DFLOCKCTL_BINARY, BENCH_BINARY, HISTORY_CLIENT and HISTORY_CHECK.
"""

import argparse
import contextlib
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import ssl
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from pathlib import Path

for folder in ("history", "support"):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / folder))
from cast import (PATIENCE, SESSION_IDLE_S, Diary, Failure, PressureGauge, Server, Tormentor, check, checker,
                  clients_of, environment, program)
from certificates import Authority
from network import Loopback

DFLOCKCTL = program("DFLOCKCTL_BINARY", "dflockctl")
BENCH = program("BENCH_BINARY", "dflockd-bench")

# The last sessions end after twice their idle time, and then the keys go.
QUIET_PATIENCE = 2 * SESSION_IDLE_S + 15

LONGEST_LAG_S = 0.1
# More than this a second that the server was ready to run and another process ran: the machine was too busy.
LONGEST_TURN_S = 0.05

# How memory may grow from the median of the second third of the run to that of the last. Over 3 minutes what does not
# leak was measured to grow by up to 60 KiB, and what loses 100 bytes a connection by 340.
SLOPE_KIB_PER_MINUTE = 64
NOISE_KIB = 128
GROWTH = 0.05
# A shorter run says nothing of its memory.
SHORTEST_FOR_MEMORY_S = 60

EXPECTED_COMPLAINTS = {"plain": set(), "tls": {"tls_handshake_failed"}}


class Chronicle:
    """The driver's diaries, one a server, of the round that goes on; and when the machine last let nobody run."""

    def __init__(self):
        self.diaries = []
        self.pressed_at = 0
        self.is_interrupted = False

    def write(self, event, subject="", at=None):
        if event == "pressure_end":
            self.pressed_at = time.monotonic()
        for diary in self.diaries:
            diary.write(event, subject, at)


class OneLife(Server):
    """A server that is not started again, and knows when it was last stopped."""

    def __init__(self, directory, diary, authority):
        super().__init__(directory, Loopback(), diary, authority is not None)
        self.authority = authority
        self.flags += ["--gc-interval", "1", "--gc-max-idle", "1"]
        self.stopped_at = 0
        self.is_stopped = False

    def stop(self):
        self.is_stopped = True
        super().stop()

    def go_on(self):
        super().go_on()
        self.stopped_at = time.monotonic()
        self.is_stopped = False

    def reload(self):
        if self.authority:
            self.authority.issue()
        super().reload()

    def resident_kib(self):
        return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())[1])

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def waited_for_a_turn_s(self):
        return int(Path(f"/proc/{self.process.pid}/schedstat").read_text().split()[1]) / 1e9


class Metrics:
    """What /metrics said."""

    def __init__(self, text):
        self.values = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                self.values[name] = float(value)

    def __getitem__(self, name):
        return self.values.get(name, 0)

    def longest_lag(self):
        """The bounds of the last bucket that is not empty."""
        buckets = [(float(name.split('"')[1]), count) for name, count in self.values.items()
                   if name.startswith("dflockd_loop_lag_seconds_bucket")]
        longest = next((bound for bound, count in buckets if count == buckets[-1][1]), 0)
        return f"at most {longest:g} s"

    def late_ticks(self):
        return (self["dflockd_loop_lag_seconds_count"] -
                self[f'dflockd_loop_lag_seconds_bucket{{le="{LONGEST_LAG_S}"}}'])


class Mildly(Tormentor):
    """Torments without an end of the server, and so short ones that no session is lost."""

    def __init__(self, random_, server, clients, is_over):
        super().__init__(random_, server, clients, Loopback())
        self.is_over = is_over
        self.torments = [(self.kill_client, 3), (self.stop_client, 3), (self.stop_server, 2), (self.reload_server, 1)]

    def pause_of_a_client(self):
        return self.random.uniform(0.05, 1)

    def stop_server(self):
        self.stop_server_for(self.random.uniform(0.02, 0.9))

    def look_after_all(self):
        super().look_after_all()
        if self.is_over():
            raise Failure("given up")

    def make_good(self):
        if self.server_is_busy:
            self.let_server_go_on()
        for client in self.clients:
            client.go_on()


class Vandal:
    """Connections that come and go, in bursts, and what they leave behind on the wire."""

    def __init__(self, random_, server, trust):
        self.random = random_
        self.server = server
        self.trust = trust
        self.counts = Counter()
        self.acts = [self.look, self.send_half_a_line, self.send_garbage, self.send_half_a_request, self.send_too_much,
                     self.ask_and_vanish, self.hold_and_vanish]

    def burst(self):
        """Connects, does something, and goes; some stay until the end of the burst."""
        with contextlib.ExitStack() as stack:
            for _ in range(self.random.randrange(5, 40)):
                act = self.random.choice(self.acts)
                self.counts[act.__name__.replace("_", " ")] += 1
                with contextlib.suppress(OSError):  # the server may be quicker to close
                    wire = self._connect(act)
                    stack.callback(self._leave, wire, self.random.random() < 0.5)
                    act(wire)
                    if self.random.random() < 0.7:
                        self._leave(wire, self.random.random() < 0.5)

    def _connect(self, act):
        is_http = act == self.send_half_a_request or (act == self.look and self.random.random() < 0.5)
        port = self.server.http_port if is_http else self.server.port
        wire = socket.create_connection(("127.0.0.1", port), PATIENCE)
        # Half of them do not even speak TLS.
        if self.trust and act != self.look and self.random.random() < 0.5:
            wire = self.trust.wrap_socket(wire, server_hostname="127.0.0.1")
        return wire

    @staticmethod
    def _leave(wire, reset):
        with contextlib.suppress(OSError):
            if reset:
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.close()

    def look(self, _wire):
        pass

    def send_half_a_line(self, wire):
        wire.sendall(b"l\nhalf")

    def send_garbage(self, wire):
        wire.sendall(self.random.randbytes(self.random.randrange(1, 2000)) + b"\n\n\n")

    def send_half_a_request(self, wire):
        request = b"POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
        wire.sendall(request[:self.random.randrange(1, len(request))])

    def send_too_much(self, wire):
        wire.sendall(b"x" * 100_000)

    def ask_and_vanish(self, wire):
        wire.sendall(b"stats\n_\n_\n" * 20)

    def hold_and_vanish(self, wire):
        key = f"vandal-{self.random.randrange(1000)}"
        wire.sendall(f"l\n{key}\n0\nl\n{key}\n5\n".encode())


class Side:
    """A server, all that goes on at it, and what is known of it."""

    def __init__(self, name, directory, seed, options, chronicle):
        self.name = name
        self.directory = directory
        self.seed = seed
        self.random = random.Random(f"{seed} {name}")
        self.options = options
        self.chronicle = chronicle
        self.authority = Authority(directory) if name == "tls" else None
        if self.authority:
            self.authority.issue()
        self.trust = ssl.create_default_context(cafile=self.authority.certificate) if self.authority else None
        self.server = OneLife(directory, chronicle, self.authority)
        self.vandal = Vandal(random.Random(f"{seed} {name} vandal"), self.server, self.trust)
        self.troubles = []
        self.samples = []  # time and KiB
        self.late_ticks = 0
        self.explained_late_ticks = 0
        self.longest_lag = ""
        self.turns_s = 0
        self.sampled_at = 0
        self.baseline = 0
        self.most_descriptors = 0
        self.faults = Counter()
        self.totals = Counter()
        self.sessions = 0
        self.round_over = threading.Event()

    def start(self):
        self.server.start()
        self.baseline = self.server.descriptors()  # before any connection, the end of which it may notice late
        self.turns_s = self.server.waited_for_a_turn_s()
        self.sampled_at = time.monotonic()

    def blame(self, what):
        self.troubles.append(f"{self.name}: {what}")

    # --- What the server tells ---

    def get(self, path):
        if self.trust:
            connection = http.client.HTTPSConnection("127.0.0.1", self.server.http_port, timeout=PATIENCE,
                                                     context=self.trust)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.server.http_port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read().decode()
        self.totals["scrapes"] += 1
        if response.status != 200:
            raise Failure(f"{path} is answered with {response.status}: {body}")
        return body

    def sample(self):
        self.get("/health")
        json.loads(self.get("/v1/stats"))
        metrics = Metrics(self.get("/metrics"))
        now = time.monotonic()
        self.samples.append((now, self.server.resident_kib()))
        self.most_descriptors = max(self.most_descriptors, self.server.descriptors())
        self.sessions = int(metrics['dflockd_http_requests_total{method="POST",path="/v1/sessions",status="200"}'])
        turns_s = self.server.waited_for_a_turn_s()
        late = metrics.late_ticks() - self.late_ticks
        self.longest_lag = metrics.longest_lag()
        if late > 0:
            since = self.sampled_at - 1
            has_reason = (self.server.is_stopped or self.server.stopped_at > since or
                          self.chronicle.pressed_at > since or turns_s - self.turns_s > LONGEST_TURN_S)
            if has_reason:
                self.explained_late_ticks += late
            else:
                self.blame(f"the loop was late by more than {LONGEST_LAG_S} s, {late:.0f} times in "
                           f"{now - self.sampled_at:.1f} s, of which it waited for its turn for "
                           f"{turns_s - self.turns_s:.3f} s")
        self.late_ticks += late
        self.turns_s = turns_s
        self.sampled_at = now

    # --- Traffic ---

    def sample_all_along(self):
        while not self.round_over.wait(1):
            self.sample()

    def vandalise(self):
        while not self.round_over.wait(self.vandal.random.uniform(0.1, 1)):
            self.vandal.burst()

    def use_tools(self):
        """dflockctl, and the load with its connections half asleep, by turns."""
        dice = random.Random(f"{self.seed} {self.name} tools")
        secure = ["--tls-ca", str(self.authority.certificate)] if self.authority else []
        while not self.round_over.wait(dice.uniform(0.05, 0.5)):
            if dice.random() < 0.9:
                self._run("dflockctl", DFLOCKCTL, "--server", f"127.0.0.1:{self.server.port}",
                          *secure, "lock", f"tool-{dice.randrange(5)}", "--", "true")
            else:
                door = dice.choice([["--port", str(self.server.port)],
                                    ["--http", "--port", str(self.server.http_port)]])
                self._run("dflockd-bench", BENCH, *door, *(["--tls"] if secure else []), *secure,
                          "--connections", "2", "--hold", "10", "--duration", "2", "--quiet")

    def _run(self, name, *words):
        done = subprocess.run(words, capture_output=True, text=True, env=environment(), timeout=2 * PATIENCE,
                              start_new_session=True, check=False)
        self.totals[name] += 1
        if done.returncode != 0:
            self.blame(f"{' '.join(words)} ended with status {done.returncode}: {done.stdout}{done.stderr}")

    def _guard(self, action):
        try:
            action()
        except Exception:  # pylint: disable=broad-except
            self.blame(traceback.format_exc())

    # --- Rounds ---

    def run_round(self, number, seconds, diary, is_over):
        """Traffic, quiet, and a look at what is left. What went wrong is in `troubles`."""
        round_directory = diary.directory
        self.round_over.clear()
        threads = [threading.Thread(target=self._guard, args=(action,))
                   for action in (self.sample_all_along, self.vandalise, self.use_tools)]
        slots = [f"c{number}" for number in range(self.options.clients)]
        clients = clients_of(slots, self.options.workers, round_directory, Loopback(), self.server, diary,
                             self.authority and self.authority.certificate)
        self.server.diary = diary
        tormentor = Mildly(random.Random(f"{self.seed} {self.name} {number}"), self.server, clients, is_over)
        try:
            for client in clients:
                client.start(self.random.randrange(1 << 32))
            for thread in threads:
                thread.start()
            tormentor.run(seconds)
            tormentor.make_good()
            for client in clients:
                client.finish()
        except Failure as failure:
            if str(failure) != "given up":
                self.blame(failure)
        finally:
            self.round_over.set()
            if self.server.is_alive():
                tormentor.make_good()
            for client in clients:
                client.close()
            for thread in threads:
                if thread.ident:
                    thread.join()
        self.server.diary = self.chronicle
        self.faults.update(tormentor.counts)
        if not self.troubles and not self.chronicle.is_interrupted:
            self.come_to_rest()

    def come_to_rest(self):
        """Waits until nothing is left of the traffic, and complains if something stays."""
        deadline = time.monotonic() + QUIET_PATIENCE
        while left := self.left_over():
            if time.monotonic() > deadline:
                return self.blame(f"when all was quiet for {QUIET_PATIENCE} s there was left: {left}")
            time.sleep(0.2)
        self.sample()
        self.totals["quiet points"] += 1
        return None

    def left_over(self):
        stats = json.loads(self.get("/v1/stats"))
        left = {name: value if isinstance(value, int) else len(value) for name, value in stats.items() if value}
        metrics = Metrics(self.get("/metrics"))
        for name in ("connections", "http_sessions", "locks_held", "lock_waiters", "semaphore_holders",
                     "semaphore_waiters"):
            if metrics[f"dflockd_{name}"]:
                left[name] = int(metrics[f"dflockd_{name}"])
        descriptors = self.server.descriptors()
        if descriptors != self.baseline:
            left["descriptors"] = f"{descriptors} instead of {self.baseline}"
        return left

    def check_history(self, directory):
        status, output = check(directory, checker(self.options.margin_ms))
        for name, number in re.findall(r"([a-z][a-z -]*?) (\d+)(?:,|$)", output, re.MULTILINE):
            self.totals[name.strip()] += int(number)
        if status != 0:
            self.blame(f"the history in {directory} cannot be:\n{output}")

    # --- The end ---

    def check_log(self):
        for line in self.server.log().read_text().splitlines():
            level, event = (line.split(" ") + ["", ""])[1:3]
            if level != "info" and event not in EXPECTED_COMPLAINTS[self.name]:
                self.blame(f"unexpected in the log: {line}")
            self.totals["complaints"] += level != "info"

    def memory(self):
        """KiB after the warm-up and at the end, and how it grows, in KiB and KiB a minute."""
        warm = self.samples[len(self.samples) // 10:]
        third = max(1, len(warm) // 3)
        middle, last = warm[third:2 * third] or warm, warm[-third:]
        growth = statistics.median(kib for _, kib in last) - statistics.median(kib for _, kib in middle)
        minutes = (statistics.median(at for at, _ in last) - statistics.median(at for at, _ in middle)) / 60
        return warm[0][1], warm[-1][1], growth, growth / minutes if minutes > 0 else 0

    def check_memory(self):
        if not self.samples or self.samples[-1][0] - self.samples[0][0] < SHORTEST_FOR_MEMORY_S:
            return
        begin, end, growth, slope = self.memory()
        if growth > GROWTH * begin or (slope > SLOPE_KIB_PER_MINUTE and growth > NOISE_KIB):
            self.blame(f"memory grows: from {begin} KiB after the warm-up to {end} KiB, by {slope:.0f} KiB a minute")

    def end(self):
        if not self.server.is_alive():
            return
        self.check_memory()
        try:
            self.server.drain()
        except (Failure, subprocess.TimeoutExpired) as failure:
            self.blame(failure)
        if not self.troubles and self.server.process.returncode != 0:
            self.blame(f"it ended with status {self.server.process.returncode} though nothing was held")
        self.check_log()

    def progress(self):
        return f"{self.name}: {self.totals['operations']} operations, {self.samples[-1][1] if self.samples else 0} KiB"

    def summary(self):
        begin, end, growth, slope = self.memory() if self.samples else (0, 0, 0, 0)
        return (f"{self.name}: {self.totals['operations']} operations checked of {self.totals['connections']} "
                f"connections and sessions, {self.sessions} sessions opened, {sum(self.vandal.counts.values())} rude "
                f"connections, {self.totals['dflockctl']} dflockctl, {self.totals['dflockd-bench']} dflockd-bench, "
                f"{self.totals['scrapes']} scrapes, {self.totals['quiet points']} quiet points; memory {begin} to "
                f"{end} KiB, growth {growth:.0f} KiB, {slope:.1f} KiB/min; descriptors {self.baseline}, at most "
                f"{self.most_descriptors}; ticks late by over {LONGEST_LAG_S} s: {self.late_ticks:.0f}, explained "
                f"{self.explained_late_ticks:.0f}; longest lag {self.longest_lag}; log lines above info "
                f"{self.totals['complaints']}; faults: " +
                ", ".join(f"{what} {count}" for what, count in sorted(self.faults.items())))


class RoundDiary(Diary):
    def __init__(self, directory):
        directory.mkdir()
        self.directory = directory
        super().__init__(directory / "driver.history")


def run_one_round(sides, chronicle, number, seconds):
    with contextlib.ExitStack() as stack:
        diaries = [RoundDiary(side.directory / f"round{number}") for side in sides]
        for diary in diaries:
            stack.callback(diary.close)
        chronicle.diaries = diaries
        gauge = PressureGauge(chronicle)
        stack.callback(gauge.close)

        def is_over():
            return chronicle.is_interrupted or any(side.troubles for side in sides)
        threads = [threading.Thread(target=side.run_round, args=(number, seconds, diary, is_over))
                   for side, diary in zip(sides, diaries)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except BaseException:
            chronicle.is_interrupted = True
            for thread in threads:
                thread.join()
            raise
    chronicle.diaries = []
    for side, diary in zip(sides, diaries):
        side.check_history(diary.directory)
        if not side.troubles and not side.options.keep:
            shutil.rmtree(diary.directory)


def run(options, seed, directory):
    """Returns what went wrong."""
    chronicle = Chronicle()
    with contextlib.ExitStack() as stack:
        sides = []
        for name in ("plain", "tls"):
            (directory / name).mkdir()
            sides.append(Side(name, directory / name, seed, options, chronicle))
            stack.callback(sides[-1].server.close)
        for side in sides:
            side.start()
        end = time.monotonic() + (options.minutes * 60 or options.seconds)
        number = 0
        while (left := end - time.monotonic()) > 0 and not any(side.troubles for side in sides):
            number += 1
            run_one_round(sides, chronicle, number, min(left, options.round_seconds))
            if options.minutes:
                print(f"round {number}, {max(0, end - time.monotonic()) / 60:.1f} minutes left; " +
                      "; ".join(side.progress() for side in sides), flush=True)
        for side in sides:
            side.end()
            print(side.summary())
    return [trouble for side in sides for trouble in side.troubles]


def parse_arguments():
    parser = argparse.ArgumentParser(description="Mixed traffic with faults, and a look for leaks and stalls")
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--round-seconds", type=float, default=120, help="how long at most until all is quiet")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--clients", type=int, default=3, help="checked client processes at each of the two servers")
    parser.add_argument("--workers", type=int, default=6, help="users in each of them")
    parser.add_argument("--margin-ms", type=int, default=1000, help="how late anything may be on this machine")
    parser.add_argument("--keep", action="store_true", help="leave the directory also of what passed")
    return parser.parse_args()


def main():
    options = parse_arguments()
    for caught in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(caught, lambda *_: sys.exit(1))
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 31)
    print(f"soak: seed {seed}, {options.minutes or options.seconds / 60:.1f} minutes", flush=True)
    directory = Path(tempfile.mkdtemp(prefix="dflockd-soak-"))
    keep = options.keep
    try:
        troubles = run(options, seed, directory)
        keep = keep or bool(troubles)
    except KeyboardInterrupt:
        raise SystemExit(1) from None
    finally:
        if keep:
            print(f"the histories and logs are in {directory}")
        else:
            shutil.rmtree(directory)
    for trouble in troubles:
        print("FAILED:", trouble)
    print(f"soak: {'FAILED' if troubles else 'passed'}, seed {seed}")
    return 1 if troubles else 0


if __name__ == "__main__":
    sys.exit(main())
