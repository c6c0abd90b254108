"""What TLS costs dflockd: the CPU time of cycles and of handshakes, and memory. Handshakes are
compared with OpenSSL's own server and with stunnel."""

import contextlib
import pathlib
import ssl
import statistics
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
import footprint
from certificates import EC, RSA, self_signed
from servers import free_port, installed
from throughput import WARMUP_S, print_table, progress, verdict, verdict_at_least

VISITORS = 16  # connections at a time that do handshakes
CYCLE_LIMIT = 1.8  # CPU of a cycle with TLS, as a multiple of one without
HANDSHAKE_LIMIT = 0.8  # handshakes in a CPU second, as a multiple of the better of the others
SUITE = "TLS_AES_128_GCM_SHA256"  # what dflockd picks
KEYS = {"ECDSA P-256": EC, "RSA 2048": RSA}
STUNNEL = """\
foreground = yes
pid =
syslog = no
debug = emerg
[tls]
accept = 127.0.0.1:{port}
connect = 127.0.0.1:{backend}
cert = {certificate}
key = {key}
sslVersionMin = TLSv1.3
ciphersuites = {suite}
config = NumTickets:1
"""


class Certificate:
    """A certificate of 127.0.0.1 that signs itself, and its key, as files in a directory."""

    def __init__(self, directory, kind):
        installed("openssl")
        self_signed(directory, key=KEYS[kind])
        self.file = pathlib.Path(directory, "server.crt")
        self.key = pathlib.Path(directory, "server.key")

    def flags(self):
        """dflockd's."""
        return [f"--tls-cert={self.file}", f"--tls-key={self.key}"]


@contextlib.contextmanager
def certificate(kind):
    with tempfile.TemporaryDirectory(prefix="dflockd-bench-") as directory:
        yield Certificate(directory, kind)


def openssl_server(bench, own):
    """Waits for a request as a web server does, one connection after the other. That is the
    cheapest of what s_server can do with a connection."""
    port = free_port()
    command = [installed("openssl"), "s_server", "-accept", f"127.0.0.1:{port}", "-quiet", "-www"]
    command += ["-cert", own.file, "-key", own.key]
    command += ["-tls1_3", "-ciphersuites", SUITE, "-num_tickets", "1", "-no_cache"]
    # Or it looks for authorities on the disk in each handshake.
    command += ["-no-CAfile", "-no-CApath", "-no-CAstore"]
    return bench.running("openssl", lambda _: (command, port))


@contextlib.contextmanager
def stunnel(bench, own):
    """Passes connections on to a server that knows how they end, whose CPU time is not counted."""
    with bench.server("floor") as backend:

        def command_in(directory):
            port = free_port()
            configuration = pathlib.Path(directory, "stunnel.conf")
            configuration.write_text(
                STUNNEL.format(
                    port=port,
                    backend=backend.port,
                    certificate=own.file,
                    key=own.key,
                    suite=SUITE,
                )
            )
            return [installed("stunnel4"), configuration], port

        with bench.running("stunnel", command_in) as server:
            yield server


def cycles(bench, settings):
    """Prints what TLS adds to a cycle."""
    rows = []
    loads = (
        ("100 connections, one in flight", 1, CYCLE_LIMIT),
        ("100 connections, 16 pipelined", 16, None),
    )
    with contextlib.ExitStack() as stack:
        own = stack.enter_context(certificate("ECDSA P-256"))
        plain = stack.enter_context(bench.server("dflockd"))
        encrypted = stack.enter_context(bench.server("dflockd", *own.flags()))
        for title, pipeline, limit in loads:
            rounds = []
            for turn in range(settings.runs):
                progress(f"TLS, {title}: round {turn + 1} of {settings.runs}")
                load = {"duration": settings.duration, "warmup": WARMUP_S, "pipeline": pipeline}
                results = [
                    bench.load(plain, **load),
                    bench.load(encrypted, tls=True, tls_ca=own.file, **load),
                ]
                rounds.append([result["server_cpu_us_per_cycle"] for result in results])
            without, with_tls = (statistics.median(column) for column in zip(*rounds))
            ratio = statistics.median(b / a for a, b in rounds)
            cells = [title, f"{without:.2f}", f"{with_tls:.2f}", f"{ratio:.2f}"]
            rows.append([*cells, verdict(ratio, limit)])
    print("\n## Acquire and release over TLS\n")
    headings = ["load", "CPU a cycle, µs", "with TLS, µs", "ratio", "limit"]
    print_table(headings, rows)


def handshake_rounds(bench, settings, kind):
    """The CPU seconds of a handshake by server, for each round."""
    rounds = []
    with contextlib.ExitStack() as stack:
        own = stack.enter_context(certificate(kind))
        running = [
            stack.enter_context(bench.server("dflockd", *own.flags())),
            stack.enter_context(openssl_server(bench, own)),
            stack.enter_context(stunnel(bench, own)),
        ]
        for turn in range(settings.runs):
            progress(f"TLS handshakes, {kind}: round {turn + 1} of {settings.runs}")
            rounds.append({})
            for server in running:
                result = bench.load(
                    server,
                    duration=settings.duration,
                    warmup=WARMUP_S,
                    connections=VISITORS,
                    tls=True,
                    tls_ca=own.file,
                    handshakes=True,
                    no_ping=True,
                )
                rounds[-1][server.name] = result["server_cpu_us_per_handshake"] / 1e6
    return rounds


def handshakes(bench, settings):
    """Prints how many handshakes dflockd and others do in a CPU second."""
    rows = []
    for kind in KEYS:
        rounds = handshake_rounds(bench, settings, kind)
        for name in rounds[0]:
            cpu = statistics.median(by_server[name] for by_server in rounds)
            cells = [kind, name, f"{cpu * 1e6:,.0f}", f"{1 / cpu:,.0f}"]
            if name == "dflockd":
                ratio = statistics.median(
                    min(by_server["openssl"], by_server["stunnel"]) / by_server["dflockd"]
                    for by_server in rounds
                )
                cells += [f"{ratio:.2f}", verdict_at_least(ratio, HANDSHAKE_LIMIT)]
            rows.append(cells + [""] * (6 - len(cells)))
    print("\n## TLS handshakes\n")
    headings = ["key", "server", "CPU a handshake, µs", "handshakes a CPU second"]
    print_table([*headings, "x the better of the others", "limit"], rows, left_columns=2)


def memory(bench, settings):
    """Prints what an idle connection takes with TLS, and without."""
    number = footprint.CONNECTIONS // (10 if settings.quick else 1)
    with certificate("ECDSA P-256") as own:
        progress(f"memory: {number:,} x idle connection, plain and with TLS")
        plain = footprint.bytes_per_connection(bench, number)
        trusting = ssl.create_default_context(cafile=own.file)
        encrypted = footprint.bytes_per_connection(bench, number, trusting, own.flags())
    print("\n## Resident memory with TLS\n")
    rows = [
        ["idle connection", f"{number:,}", f"{plain:,.0f}"],
        ["idle connection with TLS", f"{number:,}", f"{encrypted:,.0f}"],
    ]
    print_table(["of one", "measured with", "bytes"], rows)


def tls(bench, settings):
    cycles(bench, settings)
    handshakes(bench, settings)
    memory(bench, settings)
