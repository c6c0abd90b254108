#!/usr/bin/env python3
"""Installs the client library into a directory of its own, builds a program with it that knows
nothing else of this project, by find_package and by pkg-config, with the shared and the static
library, and runs it against the server. Checks also what names the libraries have.

Usage: consumer_test.py BUILD_DIRECTORY COMPILER DFLOCKD
"""

import re
import sys
import tempfile
from pathlib import Path

from programs import Server, run

SOURCE = Path(__file__).resolve().parent
build, compiler, dflockd = sys.argv[1:]


def build_by_cmake(prefix, place):
    run("cmake", "-G", "Ninja", "-S", SOURCE, "-B", place, f"-DCMAKE_PREFIX_PATH={prefix}",
        f"-DCMAKE_CXX_COMPILER={compiler}", "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror")
    run("cmake", "--build", place)
    return place / "shared", place / "static"


def build_by_pkg_config(prefix, place):
    def flags(*what):
        path = next(prefix.rglob("dflockd.pc")).parent
        return run("pkg-config", *what, "dflockd", PKG_CONFIG_PATH=str(path)).split()

    run(compiler, "-std=c++20", *flags("--cflags"), "-c", SOURCE / "main.cpp", "-o", place / "main.o")
    shared, static = place / "shared-by-pkg-config", place / "static-by-pkg-config"
    run(compiler, place / "main.o", *flags("--libs"), "-o", shared)
    libraries = ["-l:libdflockd.a" if flag == "-ldflockd" else flag for flag in flags("--static", "--libs")]
    run(compiler, place / "main.o", *libraries, "-o", static)
    return shared, static


def check_needs(program, is_shared):
    """Whether it is the shared library that it needs."""
    needs = re.findall(r"NEEDED.*\[(.*)\]", run("readelf", "-d", program))
    assert ("libdflockd.so.0" in needs) == is_shared, f"{program}: {needs}"


def check_exports(library):
    """Nothing but the API, and not what it is made of."""
    listed = run("nm", "-DC", "--defined-only", library).splitlines()
    names = [re.sub(r"^(typeinfo|typeinfo name|vtable) for ", "", line.split(" ", 2)[2]) for line in listed]
    foreign = [name for name in names if not name.startswith("dflockd::")
               or name.startswith(("dflockd::client::", "dflockd::protocol::")) or "asio" in name]
    assert names and not foreign, "\n".join(foreign)
    dynamic = run("readelf", "-d", library)
    assert "[libdflockd.so.0]" in dynamic and "NODELETE" in dynamic, dynamic


def check_names(library):
    """That the static library defines nothing that a program's own asio defines as well."""
    listed = run("nm", "-C", "--defined-only", "--extern-only", library).splitlines()
    clashing = [line for line in listed if re.search(r"(?<![\w:])asio(::|_)", line)]
    assert not clashing, "\n".join(clashing[:20])


with tempfile.TemporaryDirectory() as directory, Server(binary=dflockd) as server:
    prefix, place = Path(directory) / "prefix", Path(directory) / "build"
    run("cmake", "--install", build, "--prefix", prefix, "--component", "development")
    library = next(prefix.rglob("libdflockd.so"))
    check_exports(library)
    check_names(next(prefix.rglob("libdflockd.a")))
    for shared, static in (build_by_cmake(prefix, place), build_by_pkg_config(prefix, place)):
        check_needs(shared, True)
        check_needs(static, False)
        for program in (shared, static):
            assert run(program, server.address, LD_LIBRARY_PATH=str(library.parent)).startswith("held ")
