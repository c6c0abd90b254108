"""What dflockd's connections, locks and waiters cost: memory, and the time of other clients."""

import contextlib
import json
import multiprocessing
import os
import socket
import statistics
import time

from servers import BenchError
from throughput import WARMUP_S, print_table, progress, verdict

CONNECTIONS = 10_000
KEYS = 1_000_000
FEW_KEYS = 1_000
STATS_KEYS = 100_000
STATS_ROUNDS = 10
BATCH = 1_000
PATIENT = "--read-timeout=3600"  # idle connections are to stay
PING = b"ping\n_\n_\n"
STATS = b"stats\n_\n_\n"


class Client:
    """A connection that speaks the line protocol, blocking."""

    def __init__(self, port, tls=None):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self._socket = tls.wrap_socket(self._socket, server_hostname="127.0.0.1")

    def close(self):
        self._socket.close()

    def rest(self):
        """Keeps the connection and forgets what TLS takes on this side, which is a lot."""
        self._socket = socket.socket(fileno=self._socket.detach())

    def send(self, request):
        self._socket.sendall(request)

    def receive(self, lines=1):
        """The bytes of this many replies."""
        parts = []
        while lines > 0:
            part = self._socket.recv(1 << 20)
            if not part:
                raise BenchError("dflockd closed a connection")
            parts.append(part)
            lines -= part.count(b"\n")
        return b"".join(parts)

    def ask(self, request):
        self.send(request)
        return self.receive()


@contextlib.contextmanager
def clients(server, number, tls=None):
    """This many connections, each of which has had an answer, so that the server knows it. With an
    `ssl.SSLContext` they speak TLS, and rest."""
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(number):
            opened.append(stack.enter_context(contextlib.closing(Client(server.port, tls))))
            opened[-1].ask(PING)
            if tls is not None:
                opened[-1].rest()
        yield opened


def hold_keys(client, numbers):
    """Acquires locks with these numbers in their keys of 12 bytes, and with a long lease."""
    for first in range(0, len(numbers), BATCH):
        batch = numbers[first : first + BATCH]
        client.send(b"".join(b"l\nkey-%08d\n0 86400\n" % i for i in batch))
        replies = client.receive(len(batch)).splitlines()
        refused = [reply for reply in replies if not reply.startswith(b"ok ")]
        if refused:
            raise BenchError(f"dflockd answered an acquire with {refused[0]!r}")


def wait_for_waiters(client, number):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        locks = json.loads(client.ask(STATS).removeprefix(b"ok "))["locks"]
        if locks and locks[0]["waiters"] == number:
            return
        time.sleep(0.05)
    raise BenchError(f"{number} waiters did not queue within 60 s")


def bytes_per_connection(bench, number, tls=None, flags=()):
    with bench.server("dflockd", PATIENT, *flags) as server, clients(server, 100, tls):
        before = server.resident_bytes()
        with clients(server, number, tls):
            return (server.resident_bytes() - before) / number


def bytes_per_lock(bench, number):
    with bench.server("dflockd", PATIENT) as server, clients(server, 1) as (client,):
        hold_keys(client, range(BATCH))  # the connection's buffers grow to what a batch needs
        before = server.resident_bytes()
        hold_keys(client, range(BATCH, BATCH + number))
        return (server.resident_bytes() - before) / number


def bytes_per_waiter(bench, number):
    with bench.server("dflockd", PATIENT) as server, clients(server, number + 1) as opened:
        holder, *waiters = opened
        acquire = b"l\nkey-00000000\n3600 86400\n"
        holder.ask(acquire)
        holder.ask(STATS)
        before = server.resident_bytes()
        for waiter in waiters:
            waiter.send(acquire)
        wait_for_waiters(holder, number)
        return (server.resident_bytes() - before) / number


def memory(bench, settings):
    """Prints what a connection, a lock and a waiter take."""
    fewer = 10 if settings.quick else 1
    measurements = (
        ("idle connection", bytes_per_connection, CONNECTIONS // fewer, 2048),
        ("held lock, 12-byte key", bytes_per_lock, KEYS // fewer, 400),
        ("waiter, beyond its connection", bytes_per_waiter, CONNECTIONS // fewer, 300),
    )
    rows = []
    for title, measure, number, limit in measurements:
        progress(f"memory: {number:,} x {title}")
        value = measure(bench, number)
        rows.append([title, f"{number:,}", f"{value:,.0f}", verdict(value, limit)])
    print("\n## Resident memory\n")
    print_table(["of one", "measured with", "bytes", "limit"], rows)


def scale(bench, settings):
    """Prints what a cycle costs beside many held locks, compared with few."""
    many = KEYS // 10 if settings.quick else KEYS
    rows = []
    with contextlib.ExitStack() as stack:
        servers = []
        for number in (FEW_KEYS, many):
            servers.append(stack.enter_context(bench.server("dflockd", PATIENT)))
            (client,) = stack.enter_context(clients(servers[-1], 1))
            hold_keys(client, range(number))
        for pipeline in (1, 16):
            few_us, many_us, ratio = cpu_beside(bench, settings, servers, pipeline)
            title = f"100 connections, {pipeline} in flight"
            rows.append(
                [title, f"{few_us:.2f}", f"{many_us:.2f}", f"{ratio:.2f}", verdict(ratio, 1.5)]
            )
    print("\n## Cost beside held locks\n")
    headings = ["load", f"CPU a cycle beside {FEW_KEYS:,}, µs", f"beside {many:,}, µs"]
    print_table([*headings, "ratio", "limit"], rows)


def cpu_beside(bench, settings, servers, pipeline):
    """The median CPU per cycle of both servers, and the median ratio of the second to the first."""
    rounds = []
    for turn in range(settings.runs):
        progress(f"cost beside held locks, {pipeline} in flight: round {turn + 1}")
        results = [
            bench.load(server, duration=settings.duration, warmup=WARMUP_S, pipeline=pipeline)
            for server in servers
        ]
        rounds.append([result["server_cpu_us_per_cycle"] for result in results])
    few, many = zip(*rounds)
    ratio = statistics.median(b / a for a, b in rounds)
    return statistics.median(few), statistics.median(many), ratio


def ask_for_stats(port, rounds, started):
    """Runs in a process of its own, out of the way of the one that pings."""
    os.nice(19)
    client = Client(port)
    started.set()
    for _ in range(rounds):
        client.ask(STATS)


def longest_ping_ms(client, is_over):
    longest = 0.0
    while not is_over():
        begun = time.perf_counter()
        client.ask(PING)
        longest = max(longest, time.perf_counter() - begun)
    return longest * 1e3


def stats_delay(bench, settings):
    """Prints how long a `stats` of many keys makes another client wait."""
    keys = STATS_KEYS // 10 if settings.quick else STATS_KEYS
    progress(f"pings beside a stats of {keys:,} keys")
    with bench.server("dflockd", PATIENT) as server, clients(server, 2) as (holder, pinger):
        hold_keys(holder, range(keys))
        quiet_until = time.monotonic() + 2
        without = longest_ping_ms(pinger, lambda: time.monotonic() > quiet_until)

        started = multiprocessing.Event()
        asking = multiprocessing.Process(
            target=ask_for_stats, args=(server.port, STATS_ROUNDS, started), daemon=True
        )
        asking.start()
        started.wait()
        beside = longest_ping_ms(pinger, lambda: not asking.is_alive())
        if asking.exitcode != 0:
            raise BenchError("the client that asked for stats failed")
    print("\n## Longest ping\n")
    rows = [
        ["alone", f"{without:.1f}", ""],
        [f"beside a stats of {keys:,} keys", f"{beside:.1f}", verdict(beside, 50)],
    ]
    print_table(["", "ms", "limit"], rows)
