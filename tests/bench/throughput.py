"""The comparison itself: the same loads on every server."""

import collections
import contextlib
import dataclasses
import statistics
import sys

Settings = collections.namedtuple("Settings", "runs duration quick")


@dataclasses.dataclass(frozen=True)
class Load:
    name: str
    title: str
    flags: dict
    limit: float = None  # dflockd's CPU per cycle, as a multiple of the floor's
    hands_round: bool = False  # one lock: takes a queue, which Redis and memcached lack

    @property
    def floor(self):
        return "handoff" if self.hands_round else "floor"

    def takes(self, name):
        return name in ("handoff", "dflockd") if self.hands_round else name != "handoff"


def own_keys(connections, pipeline, limit=None):
    title = f"{connections:,} connection{'s' if connections > 1 else ''}, "
    title += "one in flight" if pipeline == 1 else f"{pipeline} pipelined"
    flags = {"connections": connections, "pipeline": pipeline}
    return Load(f"{connections}x{pipeline}", title, flags, limit)


LOADS = (
    own_keys(1, 1),
    own_keys(100, 1, limit=1.15),
    own_keys(1000, 1, limit=1.25),
    own_keys(1, 16),
    own_keys(100, 16, limit=1.6),
    own_keys(1000, 16),
    Load(
        "one-key",
        "100 connections on one key",
        {"connections": 100, "keys": "shared"},
        limit=1.15,
        hands_round=True,
    ),
)
WARMUP_S = 0.3


def verdict(value, limit):
    if limit is None:
        return ""
    return f"{'ok' if value <= limit else 'over'} (at most {limit:,})"


def verdict_at_least(value, limit):
    return f"{'ok' if value >= limit else 'under'} (at least {limit:g})"


def progress(text):
    print(f"# {text}", file=sys.stderr)


def print_table(headings, rows, left_columns=1):
    """A Markdown table whose columns are aligned; all but the first few hold numbers."""
    widths = [max(len(row[i]) for row in [headings, *rows]) for i in range(len(headings))]

    def line(cells):
        padded = (
            cell.ljust(width) if i < left_columns else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths))
        )
        return "| " + " | ".join(padded) + " |"

    rules = [
        "-" * width if i < left_columns else "-" * (width - 1) + ":"
        for i, width in enumerate(widths)
    ]
    print("\n".join(line(cells) for cells in [headings, rules, *rows]))


def measure(bench, settings, loads, running):
    """All results: results[load name][server name] is a list with the JSON of each round."""
    results = collections.defaultdict(lambda: collections.defaultdict(list))
    for load in loads:
        for turn in range(settings.runs):
            progress(f"{load.title}: round {turn + 1} of {settings.runs}")
            for server in running:
                if not load.takes(server.name):
                    continue
                # Then server and generator work in turns. Unless both sleep in between, it is up
                # to chance how often the server does, and a wake-up costs more than all the rest.
                generator = bench.sleeping() if load.hands_round else bench
                result = generator.load(
                    server, duration=settings.duration, warmup=WARMUP_S, **load.flags
                )
                results[load.name][server.name].append(result)
    return results


def row(load, name, rounds, floor_rounds):
    def median(get):
        return statistics.median(get(result) for result in rounds)

    def cpu(result):
        return result["server_cpu_us_per_cycle"]

    # The median of the rounds' ratios: the machine's speed drifts less within a round.
    ratio = statistics.median(cpu(a) / cpu(b) for a, b in zip(rounds, floor_rounds))
    latency = [
        f"{median(lambda result: result['latency_us']['cycle'][key]):,.0f}"
        for key in ("p50", "p99", "p99_9")
    ]
    return [
        load.title,
        name,
        f"{median(cpu):.2f}",
        f"{ratio:.2f}",
        verdict(ratio, load.limit) if name == "dflockd" else "",
        f"{median(lambda result: result['cycles_per_s']):,.0f}",
        *latency,
    ]


def compare(bench, settings, load_names, server_names):
    """Prints the table of these loads and servers. The floor always takes part."""
    loads = [load for load in LOADS if load.name in load_names]
    floors = [load.floor for load in loads]
    names = list(dict.fromkeys([*floors, *server_names]))
    if "floor" not in floors:
        names = [name for name in names if name != "floor"]
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(bench.server(name)) for name in names]
        results = measure(bench, settings, loads, running)

    headings = ["load", "server", "CPU a cycle, µs", "x floor", "limit", "cycles/s"]
    headings += ["p50, µs", "p99, µs", "p99.9, µs"]
    rows = [
        row(load, name, results[load.name][name], results[load.name][load.floor])
        for load in loads
        for name in names
        if load.takes(name)
    ]
    print("\n## Acquire and release\n")
    print_table(headings, rows, left_columns=2)
