#!/usr/bin/env python3
"""Checks that `cmake --install` follows DESTDIR and the prefix, also inside the files that name paths, and
that the installed documents link to what is installed.

Usage: install_test.py BUILD_DIRECTORY
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from links_test import broken_links

# The prefix, where its configuration goes, and where zsh looks for completions under it.
PLACES = [("/usr", "/etc", "vendor-completions"),
          ("/usr/local", "/usr/local/etc", "site-functions"),
          ("/opt/dflockd", "/opt/dflockd/etc", "site-functions")]


def install(build, prefix, destination):
    subprocess.run(["cmake", "--install", build, "--prefix", prefix], check=True, capture_output=True,
                   env={"PATH": "/usr/local/bin:/usr/bin:/bin", "DESTDIR": str(destination)})


def check(build, prefix, etc, zsh):
    with tempfile.TemporaryDirectory() as destination:
        root = Path(destination)
        base = root / prefix[1:]
        install(build, prefix, root)

        for name in ("bin/dflockd", "bin/dflockd-bench", "bin/dflockctl", "lib/systemd/system/dflockd.socket",
                     "lib/sysusers.d/dflockd.conf", "include/dflockd/dflockd.hpp",
                     "share/doc/dflockd/docs/protocol.md", "share/doc/dflockd/examples/dflockd.toml.example",
                     "share/bash-completion/completions/dflockd", f"share/zsh/{zsh}/_dflockd",
                     "share/bash-completion/completions/dflockctl", f"share/zsh/{zsh}/_dflockctl",
                     "share/fish/vendor_completions.d/dflockctl.fish",
                     "share/fish/vendor_completions.d/dflockd.fish"):
            assert (base / name).is_file(), f"{prefix}: no {name}"
        for page in ("man8/dflockd.8", "man5/dflockd.toml.5", "man1/dflockd-bench.1", "man1/dflockctl.1"):
            assert list((base / "share/man").glob(f"{page}*")), f"{prefix}: no {page}"

        documents = base / "share/doc/dflockd"
        pages = list(documents.rglob("*.md"))
        assert len(pages) > 10, pages
        broken = broken_links(pages, documents)
        assert not broken, "\n".join(broken)

        unit = (base / "lib/systemd/system/dflockd.service").read_text()
        assert not re.search(r"@\w+@", unit), unit
        command = re.search(r"^ExecStart=(.*)$", unit, re.MULTILINE)[1]
        assert command == f"{prefix}/bin/dflockd --config {etc}/dflockd/dflockd.toml", command

        configuration = root / etc[1:] / "dflockd/dflockd.toml"
        assert 'fence-state-file = "/var/lib/dflockd/fences"\n' in configuration.read_text()
        configuration.write_text("# the operator's\n")
        install(build, prefix, root)
        assert configuration.read_text() == "# the operator's\n", f"{prefix}: configuration overwritten"

        outside = [path for path in root.rglob("*") if path.is_file() and base not in path.parents
                   and path != configuration]
        assert not outside, outside


for place in PLACES:
    check(sys.argv[1], *place)
