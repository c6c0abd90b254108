#!/usr/bin/env python3
"""The test of the test: the simulator must see each of the mutants within four hundred seeds.

SIMULATE_MUTANTS is the directory of the programs, which are the simulator with a broken server in it.
"""

import os
import re
import subprocess
import unittest
from pathlib import Path

from mutants import MUTANTS

DIRECTORY = Path(os.environ["SIMULATE_MUTANTS"])
SEEDS = 400
PATIENCE = 120


class Mutants(unittest.TestCase):
    def test_each_is_seen_within_four_hundred_seeds(self):
        for mutant in MUTANTS:
            with self.subTest(mutant.name):
                command = [DIRECTORY / f"mutant_{mutant.name}", "--seeds", str(SEEDS), "--jobs", "1",
                           "--failures", "1"]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=PATIENCE)
                seen = re.search(r"^seed (\d+): (.*); repeat: ", done.stdout, re.MULTILINE)
                self.assertTrue(seen, f"nothing seen in seeds 1 to {SEEDS}: {done.stdout}")
                self.assertEqual(done.returncode, 1)
                print(f"{mutant.name}: seed {seen[1]}, {seen[2][:150]}", flush=True)


if __name__ == "__main__":
    unittest.main()
