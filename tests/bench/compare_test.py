#!/usr/bin/env python3
"""Tests of `compare`: what it says to wrong arguments, and that the abuses do what their names say.
How fast anything is does not matter here."""

import contextlib
import os
import pathlib
import resource
import socket
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True  # leave no __pycache__ among the sources

import abuse  # noqa: E402
import servers  # noqa: E402

COMPARE = pathlib.Path(__file__).with_name("compare")
BUILD = os.environ.get("BUILD", COMPARE.parents[2] / "build" / "release")
SHORT_OF_MACHINE = (
    len(os.sched_getaffinity(0)) < 2
    or 0 <= resource.getrlimit(resource.RLIMIT_NOFILE)[1] < servers.MOST_CONNECTIONS + 100
)


def compare(*arguments):
    return subprocess.run(
        [COMPARE, *arguments], capture_output=True, text=True, timeout=100, check=False
    )


class Arguments(unittest.TestCase):
    def refused(self, expected, *arguments):
        done = compare(*arguments)
        self.assertEqual(done.returncode, 2)
        self.assertEqual(done.stdout, "")
        self.assertEqual(done.stderr, f"compare: argument {expected}\n")

    def test_an_unknown_name_is_one_line_with_all_that_are_allowed(self):
        allowed = (
            "1x1, 100x1, 1000x1, 1x16, 100x16, 1000x16, one-key, floor, dflockd, redis, memcached, "
            "memory, scale, stats, tls, http, client, abuse, before, readers"
        )
        self.refused(f"--only: 'abuses' must be one of {allowed}", "--only", "abuse,abuses")
        self.refused(f"--only: '' must be one of {allowed}", "--only", "")

    def test_a_number_that_is_not_positive_is_refused(self):
        self.refused("--runs: invalid positive number value: '0'", "--runs", "0")

    def test_a_comparison_with_before_needs_to_know_with_what(self):
        expected = "--only: 'before' needs --against FILE, the dflockd to compare with"
        self.refused(expected, "--only", "before")

    def test_a_program_that_cannot_be_run_is_told_in_the_words_of_the_system(self):
        with tempfile.TemporaryDirectory() as directory:
            data = pathlib.Path(directory, "data")
            data.touch()
            for path, why in (
                (data.with_name("missing"), "No such file or directory"),
                (directory, "Is a directory"),
                (data, "Permission denied"),
            ):
                self.refused(f"--against: cannot run '{path}': {why}", "--against", path)


class OneKey(unittest.TestCase):
    @unittest.skipIf(SHORT_OF_MACHINE, "two cores and 10,100 open files are needed")
    def test_the_floor_hands_the_lock_round(self):
        done = compare("--only", "one-key,dflockd", "--quick", "--build", BUILD)
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("|")]
        shown = [[cell.strip() for cell in row] for row in rows[2:]]
        self.assertEqual([row[1] for row in shown], ["handoff", "dflockd"])
        self.assertEqual(shown[0][3], "1.00")

    def test_its_floor_grants_to_one_at_a_time(self):
        binary = pathlib.Path(BUILD, "dflockd-bench-floor")
        floor = subprocess.Popen([binary, "handoff"], stdout=subprocess.PIPE)
        self.addCleanup(floor.wait)
        self.addCleanup(floor.kill)
        self.addCleanup(floor.stdout.close)
        address = ("127.0.0.1", int(floor.stdout.readline()))
        with contextlib.ExitStack() as stack:
            first, second, third = (
                stack.enter_context(socket.create_connection(address, timeout=10))
                for _ in range(3)
            )
            grant = b"ok " + b"0" * 32 + b" 33\n"
            for client in (first, second, third):
                client.sendall(b"l\nkey\n10\n")
                if client is first:
                    self.assertEqual(client.recv(100), grant)
            second.close()  # leaves the queue
            first.sendall(b"r\nkey\ntoken\n")
            self.assertEqual(first.recv(100), b"ok\n")
            self.assertEqual(third.recv(100), grant)
            first.sendall(b"l\nkey\n10\n")
            first.settimeout(0.1)
            self.assertRaises(TimeoutError, first.recv, 100)


class Abuse(unittest.TestCase):
    def test_of_few_pings_the_last_percentile_is_the_largest(self):
        self.assertEqual(abuse.percentile([3, 1, 2], 0.5), 2)
        self.assertEqual(abuse.percentile([3, 1, 2], 0.99), 3)
        self.assertEqual(abuse.percentile(range(1, 1001), 0.99), 990)

    @unittest.skipIf(SHORT_OF_MACHINE, "two cores and 10,100 open files are needed")
    def test_each_abuse_is_shown_for_both_servers(self):
        binary = pathlib.Path(BUILD, "dflockd")
        done = compare("--only", "abuse", "--quick", "--build", BUILD, "--against", binary)
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("|")]
        shown = [[cell.strip() for cell in row[:3]] for row in rows[2:]]
        self.assertEqual(
            [row[:2] for row in shown],
            [[title, name] for title in abuse.ABUSES for name in ("before", "dflockd")],
        )
        for title, name, done in shown:
            with self.subTest(title, server=name):
                self.assertRegex(done, DONE[title])
        for row in rows[2:]:
            self.assertGreater(int(row[3].replace(",", "")), 0, "no ping at all")


ANY = r"[1-9][\d,]*"
FOUR = ", ".join([ANY] * 4)
DONE = {
    "nothing": "^$",
    "10 finite-field hellos a second": rf"^{ANY}/s, 0/s answered$",
    "4,000 handshakes a second": rf"^{ANY}/s, {ANY}/s answered$",
    "400 bodies of 1 MiB": rf"^{ANY} answered, RSS \+{ANY} MiB at most$",
    "500,000 new keys a second": rf"^{ANY}/s, [\d.]+ s of them idle; RSS {FOUR} MiB$",
    "an fsync of 1.5 s": r"^[\d,]+ grants/s, 0 refused$",
}

if __name__ == "__main__":
    unittest.main()
