"""What cycles and handshakes cost dflockd, and another dflockd, as that of the commit before."""

import contextlib
import statistics

import http_api
import throughput
import tls
from throughput import print_table, progress, verdict

LIMIT = 1.05  # the CPU time now, as a multiple of that before
TURNS = 4  # short turns for each round, as little is to change between the two of a turn
WARMUP_S = 0.1


def loads(own):
    """Title, what it needs of the server, and the load's flags."""
    for load in throughput.LOADS:
        yield load.title, "plain", load.flags
    for door, flags in (("TLS", {"tls": True, "tls_ca": own.file}), ("HTTP", {"http": True})):
        for load in throughput.LOADS:
            if load.name in ("100x1", "100x16"):
                yield f"{door}, {load.title}", door, {**load.flags, **flags}
    flags = {"connections": tls.VISITORS, "tls": True, "tls_ca": own.file, "handshakes": True}
    yield "TLS handshakes", "TLS", flags


class Doors:
    """The servers of one binary."""

    def __init__(self, bench, name, own, stack):
        plain, self._http_port = stack.enter_context(http_api.dflockd(bench, name=name))
        self._servers = {"plain": plain, "HTTP": plain}
        self._servers["TLS"] = stack.enter_context(bench.server(name, *own.flags()))
        self._bench = bench

    def microseconds(self, door, flags):
        """The CPU time of a cycle, or of a handshake."""
        if door == "HTTP":
            flags = {**flags, "port": self._http_port}
        result = self._bench.load(self._servers[door], warmup=WARMUP_S, **flags)
        return result.get("server_cpu_us_per_cycle") or result["server_cpu_us_per_handshake"]


def before(bench, settings):
    """Prints what both cost, in turns."""
    rows = []
    with contextlib.ExitStack() as stack:
        own = stack.enter_context(tls.certificate("ECDSA P-256"))
        doors = {name: Doors(bench, name, own, stack) for name in bench.dflockds}
        for title, door, flags in loads(own):
            turns = []
            progress(f"before and now, {title}")
            flags = {**flags, "duration": settings.duration / TURNS}
            for turn in range(settings.runs * TURNS):
                # Who is first in one turn is second in the next.
                order = bench.dflockds[:: 1 if turn % 2 == 0 else -1]
                costs = {name: doors[name].microseconds(door, flags) for name in order}
                turns.append((costs["before"], costs["dflockd"]))
            was, now = (statistics.median(column) for column in zip(*turns))
            low, ratio, high = statistics.quantiles((b / a for a, b in turns), n=4)
            cells = [title, f"{was:.2f}", f"{now:.2f}", f"{ratio:.2f}"]
            rows.append([*cells, f"{low:.2f} to {high:.2f}", verdict(ratio, LIMIT)])
    print("\n## Before and now\n")
    headings = ["load", "CPU a cycle before, µs", "now, µs", "ratio", "half of the turns", "limit"]
    print_table(headings, rows)
