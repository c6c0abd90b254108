#!/usr/bin/env python3
"""Checks that docs/guarantees.md and docs/testing.md name tests that exist.

Usage: guarantees_test.py SOURCE_DIRECTORY
"""

import re
import sys
from pathlib import Path

DOCUMENTS = ("guarantees.md", "testing.md")
# Suite.test, or Suite.* for all tests of one. Files (a.hpp) begin in lower case.
NAMED = re.compile(r"`([A-Z]\w+)\.(\w+|\*)`")
DEFINED = re.compile(r"\b(?:TEST|TEST_F|TEST_P|RC_GTEST_PROP)\(\s*(\w+),\s*(\w+)")
SUITES = re.compile(r"^class (\w+)\(.*\):|^    def (test_\w+)", re.MULTILINE)


def tests_of(root):
    found = set()
    for path in root.rglob("*_test.cpp"):
        found.update(DEFINED.findall(path.read_text()))
    for path in root.rglob("*_test.py"):
        suite = ""
        for name, test in SUITES.findall(path.read_text()):
            suite = name or suite
            if test:
                found.add((suite, test))
    return found


def main():
    source = Path(sys.argv[1])
    tests = tests_of(source / "tests")
    suites = {suite for suite, _ in tests}
    missing = []
    named = 0
    for document in DOCUMENTS:
        for suite, test in NAMED.findall((source / "docs" / document).read_text()):
            named += 1
            known = suite in suites if test == "*" else (suite, test) in tests
            if not known:
                missing.append(f"docs/{document}: there is no test {suite}.{test}")
    print("\n".join(missing) or f"{named} tests are named, and all exist")
    return 1 if missing or named == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
