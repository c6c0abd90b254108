"""What clients that ask too much of dflockd cost the others: a good client pings meanwhile, and the
CPU time that the server uses during each ping shows how much the loop does in one go. An abuse runs
in a process of its own, at the lowest priority, out of the way of the one that pings."""

import contextlib
import math
import multiprocessing
import os
import pathlib
import select
import signal
import socket
import ssl
import struct
import tempfile
import time

import http_api
import tls
from footprint import PING, STATS, Client
from servers import BenchError, cpu_seconds
from throughput import WARMUP_S, print_table, progress, verdict

SECONDS = 4.0
PING_GAP_S = 0.001
HELLOS_AT_ONCE = 256  # that may wait for an answer
NEW_KEYS_PER_S = 500_000
KEY_BATCH = 2_000
IDLE_LIMIT_S = 4  # how long a key may be idle: --gc-max-idle, --gc-interval, and a pass
SLOW_SYNC_MS = 1_500
MIB = 1 << 20
LARGEST_CPU = 3  # where it stands in the cells
HANDSHAKE = b"\x16"  # the kind of a TLS record
X25519 = 0x001D
FFDHE8192 = 0x0104


# --- The good client ---


class Pings:
    """The CPU seconds that the server used during each ping, and how long each took. The kernel
    counts the CPU time of a process that does not sleep in ticks, of 4 ms mostly."""

    def __init__(self, server, context=None):
        self._server = server
        self._client = Client(server.port, context)
        self._samples = []

    def close(self):
        self._client.close()

    def ping_until(self, is_over):
        over = False
        while not over:
            used, begun = cpu_seconds(self._server.pid), time.perf_counter()
            try:
                self._client.ask(PING)
            except OSError as error:
                raise BenchError(f"a ping failed: {error}") from None
            took = time.perf_counter() - begun
            self._samples.append((cpu_seconds(self._server.pid) - used, took))
            over = is_over()
            time.sleep(PING_GAP_S)

    def cells(self):
        """The number of pings, and p50, p99 and the largest of both in milliseconds."""
        cells = [f"{len(self._samples):,}"]
        for column in zip(*self._samples):
            cells += [f"{1e3 * percentile(column, part):.2f}" for part in (0.5, 0.99, 1)]
        return cells


def percentile(values, part):
    """The smallest of the values that this part of them does not exceed."""
    return sorted(values)[math.ceil(len(values) * part) - 1]


def beside(server, context, abuse, *arguments):
    """Pings while `abuse(*arguments)` runs. Gives the table's cells of the pings, and what it
    returned."""
    receiver, sender = multiprocessing.Pipe(duplex=False)

    def run():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends this
        os.nice(19)
        try:
            sender.send(abuse(*arguments))
        except (BenchError, OSError) as error:
            sender.send(BenchError(f"{abuse.__name__}: {error}"))

    process = multiprocessing.Process(target=run, daemon=True)
    with contextlib.closing(Pings(server, context)) as pings:
        process.start()
        sender.close()
        try:
            pings.ping_until(receiver.poll)
            result = receiver.recv()
        except EOFError:
            raise BenchError("the process that abuses dflockd has died") from None
        finally:
            process.terminate()
            process.join()
    if isinstance(result, BenchError):
        raise result
    return pings.cells(), result


# --- What abuses the server ---


def client_hello(group, share):
    """A record with the ClientHello of TLS 1.3 for this group only. There is no secret behind the
    share: nobody means to finish the handshake."""

    def extension(kind, content):
        return struct.pack(">HH", kind, len(content)) + content

    def handshake(kind, content):
        return bytes([kind]) + len(content).to_bytes(3, "big") + content

    extensions = extension(43, b"\x02\x03\x04")  # supported_versions: TLS 1.3
    extensions += extension(10, struct.pack(">HH", 2, group))  # supported_groups
    extensions += extension(13, struct.pack(">HHH", 4, 0x0403, 0x0804))  # signature_algorithms
    extensions += extension(51, struct.pack(">HHH", len(share) + 4, group, len(share)) + share)
    hello = b"\x03\x03" + os.urandom(32) + b"\x00"  # no session
    hello += b"\x00\x02\x13\x01" + b"\x01\x00"  # TLS_AES_128_GCM_SHA256, no compression
    hello = handshake(1, hello + struct.pack(">H", len(extensions)) + extensions)
    return HANDSHAKE + b"\x03\x01" + struct.pack(">H", len(hello)) + hello


HELLOS = {
    X25519: client_hello(X25519, bytes([9]) + bytes(31)),
    # 4 is a quadratic residue, as OpenSSL demands.
    FFDHE8192: client_hello(FFDHE8192, (4).to_bytes(1024, "big")),
}


def say_hello(port, hello, rate, seconds):
    """Opens so many connections a second, says hello on each, and leaves when the server has
    answered. Gives how many were opened a second, and how many were answered with a handshake."""
    sent = left = answered = 0
    waiting = {}
    begun = time.monotonic()
    with select.epoll() as watched:
        while (elapsed := time.monotonic() - begun) < seconds or left == 0:
            due = math.ceil(min(elapsed, seconds) * rate)
            while sent < due and len(waiting) < HELLOS_AT_ONCE:
                opened = socket.create_connection(("127.0.0.1", port), timeout=60)
                opened.sendall(hello)
                waiting[opened.fileno()] = opened
                watched.register(opened, select.EPOLLIN)
                sent += 1
            for number, _ in watched.poll(min(1 / rate, 0.01)):
                with waiting.pop(number) as opened:
                    answered += is_handshake(opened)
                left += 1
    for opened in waiting.values():
        opened.close()
    return sent / elapsed, answered / elapsed


def is_handshake(opened):
    try:
        return opened.recv(1 << 16).startswith(HANDSHAKE)
    except ConnectionError:
        return False


def send_bodies(port, number, seconds):
    """Sends requests with large bodies over many connections, all but the last byte of each, and
    then the last bytes at once; again until the time is over. Gives how many were answered."""
    head = f"POST /v1/sessions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {MIB}\r\n\r\n"
    request = head.encode() + b"{" + b" " * (MIB - 2)
    answered = 0
    with contextlib.ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            for _ in range(number)
        ]
        end = time.monotonic() + seconds
        while not answered or time.monotonic() < end:
            for connection in connections:
                connection.sendall(request)
            for connection in connections:
                connection.sendall(b"}")
            for connection in connections:
                status = connection.recv(1 << 16).split(b"\r\n", 1)[0]
                if status != b"HTTP/1.1 200 OK":
                    raise BenchError(f"dflockd answered a large body with {status!r}")
                answered += 1
    return answered


def use_new_keys(server, rate, seconds):
    """Locks and releases keys that were never used before. Gives how many a second, and the
    server's resident memory after each quarter of the time."""
    used = 0
    memory = []
    begun = time.monotonic()
    with contextlib.closing(Client(server.port)) as client:
        keys, releases = [], b""
        while True:
            elapsed = time.monotonic() - begun
            if elapsed >= seconds * (len(memory) + 1) / 4:
                memory.append(server.resident_bytes())
                if len(memory) == 4:
                    break
            time.sleep(max(0.0, used / rate - elapsed))
            following = [b"job-%d" % number for number in range(used, used + KEY_BATCH)]
            client.send(releases + b"".join([b"l\n%s\n0 60\n" % key for key in following]))
            words = client.receive(len(keys) + KEY_BATCH).split()
            if len(words) != len(keys) + 3 * KEY_BATCH:
                raise BenchError("dflockd refused a lock or its release")
            tokens = words[len(keys) + 1 :: 3]  # after an "ok" for each release
            keys = following
            releases = b"".join([b"r\n%s\n%s\n" % pair for pair in zip(keys, tokens)])
            used += KEY_BATCH
        client.send(releases)
        client.receive(len(keys))
    return used / elapsed, memory


# --- The table ---


def nothing(bench, name, seconds):
    with bench.server(name) as server:
        cells, _ = beside(server, None, time.sleep, seconds / 2)
    return "", cells, ""


def hellos(bench, name, seconds, group, rate, limit=None):
    with tls.certificate("ECDSA P-256") as own, bench.server(name, *own.flags()) as server:
        context = ssl.create_default_context(cafile=own.file)
        cells, (sent, answered) = beside(
            server, context, say_hello, server.port, HELLOS[group], rate, seconds
        )
    done = f"{sent:,.0f}/s, {answered:,.0f}/s answered"
    return done, cells, verdict(float(cells[LARGEST_CPU]), limit)


def finite_field_hellos(bench, name, seconds):
    return hellos(bench, name, seconds, FFDHE8192, 10, limit=20)


def handshakes(bench, name, seconds):
    return hellos(bench, name, seconds, X25519, 4_000)


def bodies(bench, name, seconds):
    number = round(100 * seconds)  # 400, or fewer with --quick
    with http_api.dflockd(bench, name=name) as (server, port):
        before = server.resident_bytes()
        cells, answered = beside(server, None, send_bodies, port, number, seconds)
        grown = server.most_resident_bytes() - before
    return f"{answered:,} answered, RSS +{grown / MIB:,.0f} MiB at most", cells, ""


def new_keys(bench, name, seconds):
    flags = ("--max-locks=0", "--gc-max-idle=1", "--gc-interval=1")
    with bench.server(name, *flags) as server:
        cells, (rate, memory) = beside(
            server, None, use_new_keys, server, NEW_KEYS_PER_S, 2 * seconds
        )
        with contextlib.closing(Client(server.port)) as client:
            idle = client.ask(STATS).count(b'"idle_s"')
    sizes = ", ".join(f"{size / MIB:,.0f}" for size in memory)
    done = f"{rate:,.0f}/s, {idle / rate:.1f} s of them idle; RSS {sizes} MiB"
    return done, cells, verdict(idle / rate, IDLE_LIMIT_S)


def slow_sync(bench, name, seconds):
    with tempfile.TemporaryDirectory(prefix="dflockd-bench-") as directory:
        file, flag = pathlib.Path(directory, "fence"), pathlib.Path(directory, "slow")
        environment = bench.slow_disk(file, flag)
        with bench.server(name, f"--fence-state-file={file}", environment=environment) as server:
            flag.write_text(str(SLOW_SYNC_MS))

            def grants():
                load = {"connections": 100, "pipeline": 16, "duration": seconds, "warmup": WARMUP_S}
                return bench.load(server, allow_errors=True, **load)

            cells, result = beside(server, None, grants)
    done = f"{result['cycles_per_s']:,.0f} grants/s, {result['errors']:,} refused"
    return done, cells, verdict(result["errors"], 0)


ABUSES = {
    "nothing": nothing,
    "10 finite-field hellos a second": finite_field_hellos,
    "4,000 handshakes a second": handshakes,
    "400 bodies of 1 MiB": bodies,
    "500,000 new keys a second": new_keys,
    "an fsync of 1.5 s": slow_sync,
}


def abuse(bench, settings):
    """Prints what each abuse costs a good client."""
    seconds = SECONDS / (10 if settings.quick else 1)
    rows = []
    for title, run in ABUSES.items():
        for name in bench.dflockds:
            progress(f"abuse, {title}: {name}")
            done, cells, limit = run(bench, name, seconds)
            rows.append([title, name, done, *cells, limit])
    print("\n## A good client's pings beside abuse\n")
    headings = ["beside", "server", "what was done", "pings", "CPU a ping, ms: p50", "p99", "max"]
    headings += ["its time, ms: p50", "p99", "max", "limit"]
    print_table(headings, rows, left_columns=3)
