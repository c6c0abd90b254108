#!/usr/bin/env python3
"""Tells how many of the lines of each folder a run of the tests has reached.

Usage: packaging/coverage.py [--uncovered] LINES_JSON

LINES_JSON is what `gcovr --json` wrote. With --uncovered, the lines that did not run follow. Exits
with status 1 if too few have: see `REQUIRED`.
"""

import json
import sys
from collections import defaultdict
from pathlib import PurePath

ALL = "all"
REQUIRED = {"src/locks": 95.0, "src/protocol": 95.0, ALL: 90.0}  # percent of lines


def folder_of(file: str) -> str:
    """`src/ctl` and `include/dflockd` are folders, and `src/main.cpp` is in `src`."""
    return str(PurePath(file).parent)


def lines_of(report: dict) -> dict[str, dict[int, int]]:
    """How often each line ran, by file. Templates have a line several times."""
    files: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for file in report["files"]:
        for line in file["lines"]:
            if not line.get("gcovr/noncode", False):
                files[file["file"]][line["line_number"]] += line["count"]
    return files


def ranges(numbers: list[int]) -> str:
    """[1, 2, 3, 7] as "1-3 7"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return " ".join(f"{a}-{b}" if a != b else str(a) for a, b in runs)


def main(arguments: list[str]) -> int:
    uncovered = "--uncovered" in arguments
    (path,) = [argument for argument in arguments if argument != "--uncovered"]
    with open(path, encoding="utf-8") as stream:
        files = lines_of(json.load(stream))
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for file, lines in files.items():
        for group in (folder_of(file), ALL):
            counts[group][0] += sum(count > 0 for count in lines.values())
            counts[group][1] += len(lines)
    failed = False
    for group in sorted(counts, key=lambda name: (name == ALL, name)):
        reached, total = counts[group]
        percent = 100 * reached / total
        required = REQUIRED.get(group, 0.0)
        failed = failed or percent < required
        remark = f"  {required:.0f} % are required" if percent < required else ""
        print(f"{group:20} {reached:6} of {total:6} lines {percent:6.1f} %{remark}")
    for group in REQUIRED.keys() - counts.keys():
        print(f"{group}: no line of it was counted")
        failed = True
    if uncovered:
        for file, lines in sorted(files.items()):
            missing = sorted(number for number, count in lines.items() if count == 0)
            if missing:
                print(f"{file}: {ranges(missing)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
