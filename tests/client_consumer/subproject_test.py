#!/usr/bin/env python3
"""Builds a program that has this project as a part of its own build, by add_subdirectory and by
FetchContent, on a machine that has nothing but asio and OpenSSL as far as CMake can tell. Only the
client library is built, and only if it is linked; the program's own directories, tests, outputs and
installation are as they would be without it.

Usage: subproject_test.py COMPILER DFLOCKD
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from programs import Server, run

HERE = Path(__file__).resolve().parent
ABSENT = ("CLI11", "GTest", "fmt", "nlohmann_json", "prometheus-cpp", "rapidcheck", "spdlog", "tomlplusplus")
compiler, dflockd = sys.argv[1:]


def configure(source, build, *definitions):
    run("cmake", "-G", "Ninja", "-S", source, "-B", build, f"-DCMAKE_CXX_COMPILER={compiler}",
        "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS=-O0 -g0 -Wall -Wextra -Werror",
        *(f"-DCMAKE_DISABLE_FIND_PACKAGE_{package}=ON" for package in ABSENT), *definitions)


def targets(build):
    """The names of what CMake would build that is no library's objects."""
    listed = run("ninja", "-C", build, "-t", "targets", "all").splitlines()
    return {Path(line.split(":")[0]).name for line in listed if "LINKER" in line}


def check_parent(build, *definitions):
    configure(HERE / "parent", build, f"-DDFLOCKD_SOURCE={HERE.parent.parent}", *definitions)
    assert targets(build) == {"consumer", "libdflockd.a", "libdflockd.so.0.1.0"}, targets(build)
    tests = json.loads(run("ctest", "--test-dir", build, "--show-only=json-v1"))["tests"]
    assert [test["name"] for test in tests] == ["own"], tests


with tempfile.TemporaryDirectory() as directory:
    place = Path(directory)
    configure(HERE.parent.parent, place / "alone", "-DDFLOCKD_CLIENT_ONLY=ON")
    assert targets(place / "alone") == {"libdflockd.a", "libdflockd.so.0.1.0"}, targets(place / "alone")

    check_parent(place / "fetched", "-DFETCH=ON")
    check_parent(place / "added", "-DCMAKE_UNITY_BUILD=ON")
    run("cmake", "--build", place / "added")
    programs = [path.relative_to(place / "added") for path in (place / "added").rglob("*")
                if path.is_file() and os.access(path, os.X_OK) and "CMakeFiles" not in path.parts]
    assert programs == [Path("examples/consumer")], programs  # nor the shared library: nobody links it
    run("cmake", "--install", place / "added", "--prefix", place / "prefix")
    installed = [path.relative_to(place / "prefix") for path in (place / "prefix").rglob("*") if path.is_file()]
    assert installed == [Path("bin/consumer")], installed
    with Server(binary=dflockd) as server:
        assert run(place / "added/examples/consumer", server.address).startswith("held ")
