#!/usr/bin/env python3
"""Checks that dflockd/dflockd.hpp includes neither asio nor OpenSSL, and every header but that for
asio.

Usage: includes_test.py COMPILER INCLUDE_DIRECTORY
"""

import subprocess
import sys
from pathlib import Path

compiler, include = sys.argv[1:]
result = subprocess.run([compiler, "-std=c++20", "-M", "-x", "c++", f"-I{include}", "-"], check=True,
                        input="#include <dflockd/dflockd.hpp>\n", stdout=subprocess.PIPE, text=True)
included = [Path(name) for name in result.stdout.replace("\\\n", " ").split()[1:]]
foreign = [str(path) for path in included
           if {"asio", "openssl", "boost"} & set(path.parts) or path.name == "asio.hpp"]
assert not foreign, foreign
found = {path.name for path in included if path.parent == Path(include) / "dflockd"}
expected = {path.name for path in (Path(include) / "dflockd").glob("*.hpp")} - {"asio.hpp"}
assert found == expected, f"dflockd.hpp: includes {found}, but there are {expected}"
