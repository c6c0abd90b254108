"""What the C++ client library costs: the cycles of one lock, and the renewals of many."""

import statistics

from throughput import WARMUP_S, print_table, progress, verdict, verdict_at_least

CYCLES_LIMIT = 0.8  # cycles of a warm Lock, as a multiple of dflockd-bench's on one connection
RENEWALS_LIMIT = 2  # percent of a core
LOCKS = 10_000
FEW_LOCKS = 1_000
LEASE_S = 30


def cycles(bench, settings):
    """Prints how many cycles a warm lock makes, and dflockd-bench on one connection."""
    rounds = []
    with bench.server("dflockd") as server:
        for turn in range(settings.runs):
            progress(f"client library, cycles: round {turn + 1} of {settings.runs}")
            loaded = bench.sleeping().load(
                server, duration=settings.duration, warmup=WARMUP_S, connections=1
            )
            library = bench.client("cycles", server, settings.duration)
            rounds.append((loaded["cycles_per_s"], library["cycles_per_s"]))
    plain, library = (statistics.median(column) for column in zip(*rounds))
    ratio = statistics.median(b / a for a, b in rounds)
    print("\n## A warm lock of the client library\n")
    headings = ["dflockd-bench, cycles a second", "library", "ratio", "limit"]
    rule = verdict_at_least(ratio, CYCLES_LIMIT)
    print_table(headings, [[f"{plain:,.0f}", f"{library:,.0f}", f"{ratio:.2f}", rule]])


def renewals(bench, settings):
    """Prints what it costs to renew many locks."""
    locks = FEW_LOCKS if settings.quick else LOCKS
    lease = 2 if settings.quick else LEASE_S
    progress(f"client library, {locks:,} locks: {2 * lease} s")
    with bench.server("dflockd") as server:
        result = bench.client("renewals", server, locks, lease, lease)
    print("\n## Renewals of the client library\n")
    part = result["core_percent"]
    headings = ["locks held", "lease, s", "lost", "client's CPU, % of a core", "limit"]
    row = [f"{locks:,}", str(lease), str(result["lost"]), f"{part:.2f}", verdict(part, RENEWALS_LIMIT)]
    print_table(headings, [row])


def client(bench, settings):
    cycles(bench, settings)
    renewals(bench, settings)
