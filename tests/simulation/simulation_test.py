#!/usr/bin/env python3
"""Some seeds of the simulator, and what it promises of itself.

SIMULATE_BINARY is the simulator, SIMULATE_SEEDS how many seeds to live through; `make simulate` lives
through more.
"""

import os
import re
import subprocess
import unittest

SIMULATE = os.environ["SIMULATE_BINARY"]
SEEDS = os.environ["SIMULATE_SEEDS"]
PATIENCE = 240


def simulate(*flags):
    done = subprocess.run([SIMULATE, *map(str, flags)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=PATIENCE)
    return done.returncode, done.stdout, done.stderr


class Simulation(unittest.TestCase):
    def test_server_does_in_every_world_what_the_oracle_expects(self):
        status, out, err = simulate("--seeds", SEEDS)
        self.assertEqual((status, err), (0, ""), out)
        totals = dict((word, int(number)) for number, word in re.findall(r"(\d+) (\w+)[:,]", out))
        self.assertEqual(totals["seeds"], int(SEEDS))
        for word in ("steps", "requests", "grants", "expiries", "disconnects", "drains", "crashes", "faults"):
            self.assertGreater(totals[word], 0, out)
        self.assertLess(totals["undecided"], 1 + int(SEEDS) / 50, out)

    def test_same_seed_gives_the_same_world(self):
        for seed in range(1, 9):
            first = simulate("--seed", seed, "--trace")
            self.assertEqual(first, simulate("--seed", seed, "--trace"), f"seed {seed}")
            self.assertGreater(first[1].count("\n"), 50)

    def test_different_seeds_give_different_worlds(self):
        self.assertNotEqual(simulate("--seed", 1, "--trace"), simulate("--seed", 2, "--trace"))

    def test_seeds_mean_the_same_however_many_processes_there_are(self):
        def without_time(result):
            return re.sub(r" in .*", "", result[1])
        self.assertEqual(without_time(simulate("--seeds", 20, "--jobs", 1)),
                         without_time(simulate("--seeds", 20, "--jobs", 3)))

    def test_bad_command_lines_are_refused(self):
        for flags in (["--seeds"], ["--seeds", "x"], ["--seeds", "1x"], ["--what", 1]):
            status, out, err = simulate(*flags)
            self.assertEqual((status, out), (2, ""), flags)
            self.assertIn("usage:", err)


if __name__ == "__main__":
    unittest.main()
