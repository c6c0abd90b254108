"""What it costs to hold one lock together, compared with locks of one's own."""

import statistics

from throughput import Load, measure, print_table, verdict

LIMIT = 1.3  # CPU of a reader's cycle on the one key, as a multiple of one on a key of its own
CONNECTIONS = 100
OWN = Load("own", "own keys", {"connections": CONNECTIONS})
READERS = Load("readers", "readers of one key",
               {"connections": CONNECTIONS, "keys": "shared", "readers": True})


def readers(bench, settings):
    with bench.server("dflockd") as server:
        results = measure(bench, settings, (OWN, READERS), [server])

    def cpu(load):
        rounds = results[load.name]["dflockd"]
        return [result["server_cpu_us_per_cycle"] for result in rounds]

    ratio = statistics.median(a / b for a, b in zip(cpu(READERS), cpu(OWN)))
    print(f"\n## {CONNECTIONS} readers of one lock\n")
    print_table(
        ["load", "CPU us/cycle"],
        [[load.title, f"{statistics.median(cpu(load)):.2f}"] for load in (OWN, READERS)],
    )
    print(f"\nReaders of one key, as a multiple of own keys: {ratio:.2f} x, {verdict(ratio, LIMIT)}.")
