#!/usr/bin/env python3
"""Tests the Debian packages in build/package, in a root of its own: everything that is installed or
run goes to an overlay in memory over this machine's files, in name spaces of its own, and is gone
afterwards. It needs root, and asks sudo for it.

Usage: package_test.py [--root DIRECTORY]
  --root  lay the overlay over this Debian system instead, such as `mmdebstrap` makes; it must have
          what the packages depend on
"""

import argparse
import fcntl
import os
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from documents_test import flags_of, spellings
from links_test import broken_links

SOURCE = Path(__file__).resolve().parents[2]
BUILD = SOURCE / "build/package"
PATIENCE = 10  # seconds to wait for anything
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
MOST_EXPOSED = 1.5  # of systemd-analyze security, from 0 to 10

STATE = "var/lib/dflockd"
FENCES = f"{STATE}/fences"
CONFIGURATION = "etc/dflockd/dflockd.toml"
UNIT = "usr/lib/systemd/system/dflockd.service"
SOCKET_UNIT = "usr/lib/systemd/system/dflockd.socket"
ENABLED = "etc/systemd/system/multi-user.target.wants/dflockd.service"
SOCKET_ENABLED = "etc/systemd/system/sockets.target.wants/dflockd.socket"
BASH = "usr/share/bash-completion/completions"
ZSH = "usr/share/zsh/vendor-completions"
FISH = "usr/share/fish/vendor_completions.d"
LIBRARY = "usr/lib/x86_64-linux-gnu"


def documents(package):
    """What every package has."""
    return {f"usr/share/doc/{package}/{name}" for name in ("changelog.gz", "changelog.Debian.gz", "copyright")
            } | {f"usr/share/lintian/overrides/{package}"}


def completions(program):
    return {f"{BASH}/{program}", f"{ZSH}/_{program}", f"{FISH}/{program}.fish"}


FILES = documents("dflockd") | completions("dflockd") | completions("dflockd-bench") | {
    CONFIGURATION, UNIT, SOCKET_UNIT, "usr/bin/dflockd", "usr/bin/dflockd-bench",
    "usr/lib/sysusers.d/dflockd.conf", "usr/share/man/man8/dflockd.8.gz",
    "usr/share/man/man5/dflockd.toml.5.gz", "usr/share/man/man1/dflockd-bench.1.gz",
    "usr/share/doc/dflockd/README.md", "usr/share/doc/dflockd/CONTRIBUTING.md",
    "usr/share/doc/dflockd/SECURITY.md", "usr/share/doc/dflockd/examples/dflockd.toml.example",
    *(f"usr/share/doc/dflockd/docs/{page.name}" for page in (SOURCE / "docs").glob("*.[mj]*")),
    *(f"usr/share/doc/dflockd/docs/decisions/{page.name}" for page in (SOURCE / "docs/decisions").iterdir()),
    *(f"usr/share/doc/dflockd/docs/examples/{page.name}" for page in (SOURCE / "docs/examples").iterdir())}
OTHER_FILES = {"libdflockd-dev": documents("libdflockd-dev") | {
    f"{LIBRARY}/libdflockd.a", f"{LIBRARY}/libdflockd.so", f"{LIBRARY}/libdflockd.so.0",
    f"{LIBRARY}/pkgconfig/dflockd.pc", *(f"{LIBRARY}/cmake/dflockd/dflockd-{name}.cmake" for name in (
        "config", "config-version", "targets", "targets-relwithdebinfo")),
    *(f"usr/include/{page.relative_to(SOURCE / 'include')}" for page in (SOURCE / "include").rglob("*.hpp"))}}
OTHER_FILES["dflockctl"] = documents("dflockctl") | completions("dflockctl") | {
    "usr/bin/dflockctl", "usr/share/man/man1/dflockctl.1.gz"}

# Stands in for systemctl where a test plays a machine that runs systemd.
SYSTEMCTL = """#!/bin/sh
echo "$*" >>/run/systemctl.log
case "$*" in *is-enabled*) echo enabled ;; esac
"""


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


def run(*command, **options):
    """Runs a command that has to succeed, and returns what it printed on either stream."""
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            check=False, **options)
    expect(result.returncode == 0,
           f"status {result.returncode} of {shlex.join(map(str, command))}:\n{result.stdout}")
    return result.stdout


class Root:
    """The throw-away system. Paths are relative to it."""

    def __init__(self, lower, place):
        for name in ("upper", "work", "root"):
            (place / name).mkdir()
        self.path = place / "root"
        run("mount", "-t", "overlay", "overlay", "-o",
            f"lowerdir={lower},upperdir={place}/upper,workdir={place}/work", self.path)
        run("mount", "-t", "proc", "proc", self.path / "proc")
        run("mount", "--rbind", "/dev", self.path / "dev")
        for name in ("run", "tmp"):
            run("mount", "-t", "tmpfs", "-o", "mode=1777", name, self.path / name)
        (self.path / "usr/sbin/policy-rc.d").unlink(missing_ok=True)  # containers forbid services by it

    def __truediv__(self, name):
        return self.path / name

    def run(self, *command):
        return run("chroot", self.path, *command,
                   env={"PATH": PATH, "DEBIAN_FRONTEND": "noninteractive"})

    def dpkg(self, *arguments):
        return self.run("dpkg", "--force-unsafe-io", "--no-triggers", "--path-include=*", *arguments)

    def install(self, package):
        (self / "tmp/package.deb").write_bytes(package.read_bytes())
        self.dpkg("-i", "/tmp/package.deb")

    def files_of(self, name):
        """What the package of that name has installed, without directories."""
        listed = {file[1:] for file in self.run("dpkg", "-L", name).split()}
        return {file for file in listed if not (self / file).is_dir()}

    def who(self, name):
        """Mode, owner and group, as in 0644 root:root."""
        return self.run("stat", "-c", "%04a %U:%G", f"/{name}").strip()

    def play_systemd(self):
        (self / "run/systemd/system").mkdir(parents=True, exist_ok=True)
        (self / "usr/bin/systemctl").unlink(missing_ok=True)
        (self / "usr/bin/systemctl").write_text(SYSTEMCTL)
        (self / "usr/bin/systemctl").chmod(0o755)
        (self / "run/systemctl.log").write_text("")

    def systemctl_calls(self):
        return (self / "run/systemctl.log").read_text().splitlines()


class Server:
    """The installed server, started with the unit's command line as the unit's user."""

    def __init__(self, root):
        unit = (root / UNIT).read_text()
        value = {key: re.search(rf"^{key}=(.*)$", unit, re.MULTILINE)[1]
                 for key in ("ExecStart", "User", "Group")}
        self.log = root / "tmp/log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["chroot", f"--userspec={value['User']}:{value['Group']}", "--groups=", root.path,
                 *shlex.split(value["ExecStart"])], stderr=log, env={"PATH": PATH})

    def connect(self):
        deadline = time.monotonic() + PATIENCE
        while True:
            expect(self.process.poll() is None, f"the server ended:\n{self.log.read_text()}")
            try:
                return socket.create_connection(("127.0.0.1", 6388), timeout=PATIENCE)
            except ConnectionRefusedError:
                expect(time.monotonic() < deadline, f"nobody listens:\n{self.log.read_text()}")
                time.sleep(0.01)

    def ask(self, command, key, argument):
        with self.connect() as connection:
            connection.sendall(f"{command}\n{key}\n{argument}\n".encode())
            return connection.makefile().readline().rstrip("\n")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(PATIENCE)
        expect(status == 0, f"status {status}:\n{self.log.read_text()}")


# The tests, in their order: each takes the system as the one before has left it.


def installs_where_systemd_does_not_run(root, package):
    root.install(package)
    files = root.files_of("dflockd")
    expect(files == FILES, f"not installed: {FILES - files}; not expected: {files - FILES}")
    for name in FILES:
        mode = "0755" if name.startswith("usr/bin/") else "0644"
        expect(root.who(name) == f"{mode} root:root", f"{name}: {root.who(name)}")
    expect(root.who("etc/dflockd") == "0755 root:root", root.who("etc/dflockd"))
    expect(root.who(STATE) == "0700 dflockd:dflockd", root.who(STATE))
    user = root.run("getent", "passwd", "dflockd").strip().split(":")
    expect(user[5:] == ["/var/lib/dflockd", "/usr/sbin/nologin"], user)
    expect((root / ENABLED).is_symlink(), "the service is not enabled")
    expect(not (root / SOCKET_ENABLED).is_symlink(), "the socket is enabled")
    expect(not any(line.startswith("/") for line in root.run("dpkg", "--verify", "dflockd")), "")


def serves_as_the_unit_starts_it(root, _):
    server = Server(root)
    expect(server.ask("ping", "_", "_") == "ok", "no answer to ping")
    root.token = server.ask("l", "key", "0").split()[1]
    server.stop()
    expect(root.who(FENCES) == "0600 dflockd:dflockd", root.who(FENCES))
    expect('"/var/lib/dflockd/fences"' in root.run("dflockd", "--check-config", "--config",
                                                   f"/{CONFIGURATION}"), "no fence state file")


def upgrade_keeps_the_state_and_restarts(root, package):
    with (root / CONFIGURATION).open("a") as configuration:
        configuration.write("# Changed by the operator.\n")
    before = [(root / name).read_bytes() for name in (FENCES, CONFIGURATION)]
    with tempfile.TemporaryDirectory() as place:
        run("cpack", "-D", "CPACK_DEBIAN_PACKAGE_RELEASE=999", "-D", "CPACK_COMPONENTS_ALL=server",
            "-B", place, cwd=BUILD)
        root.play_systemd()
        root.install(next(Path(place).glob("*.deb")))
    expect(root.run("dpkg-query", "-W", "-f", "${Version}", "dflockd").endswith("-999"), "not upgraded")
    expect([(root / name).read_bytes() for name in (FENCES, CONFIGURATION)] == before,
           "the fences or the configuration are not what they were")
    calls = root.systemctl_calls()
    expect("--system daemon-reload" in calls, calls)
    expect("--quiet --system restart dflockd.service" in calls, calls)
    expect(not any(" stop " in f" {line}" for line in calls), calls)
    server = Server(root)
    token = server.ask("l", "key", "0").split()[1]
    server.stop()
    expect(token > root.token, f"{token} after {root.token}")
    root.token = token


def an_operators_disabling_outlives_an_upgrade(root, package):
    (root / ENABLED).unlink()  # which is what systemctl does
    root.install(package)
    expect(not (root / ENABLED).is_symlink(), "the service is enabled again")


def remove_keeps_the_state(root, _):
    root.play_systemd()
    root.dpkg("--remove", "dflockd")
    expect("stop dflockd.socket dflockd.service" in root.systemctl_calls(), root.systemctl_calls())
    left = {name for name in FILES if (root / name).exists()}
    expect(left == {CONFIGURATION}, left)
    expect((root / FENCES).exists(), "the fences are gone")


def purge_removes_everything(root, package):
    (root / "etc/dflockd/token").write_text("secret\n")
    root.install(package)  # so that what was left is taken up again
    expect("--quiet --system restart dflockd.service" in root.systemctl_calls(), root.systemctl_calls())
    root.dpkg("--purge", "dflockd")
    left = [str(path) for name in ("etc", "var/lib", "usr/lib", "usr/share", "usr/bin")
            for path in (root / name).rglob("*dflockd*") if "dpkg/info" not in str(path)]
    expect(not left, left)


def lintian_finds_nothing(_, package):
    others = [built(name) for name in OTHER_FILES]
    print(run("lintian", "--allow-root", "--fail-on", "error,warning", package, *others), end="")


def the_units_are_sound(root, package):
    root.install(package)
    man = "--man=yes" if (root / "usr/bin/man").exists() else "--man=no"
    output = root.run("systemd-analyze", "verify", man, f"/{UNIT}", f"/{SOCKET_UNIT}")
    expect(not output, output)
    exposure = root.run("systemd-analyze", "security", "--offline=true", "--no-pager",
                        f"--threshold={MOST_EXPOSED * 10:.0f}", f"/{UNIT}").splitlines()[-1]
    print(exposure)


def the_documents_link_to_what_is_there(root, package):
    root.install(package)
    documents = root / "usr/share/doc/dflockd"
    broken = broken_links(list(documents.rglob("*.md")), documents)
    expect(not broken, "\n".join(broken))


def the_other_packages_install_what_they_should(root, _):
    for package, expected in OTHER_FILES.items():
        root.install(built(package))
        files = root.files_of(package)
        shown = {name for name in files if not re.search(r"libdflockd\.so\.\d+\.", name)}
        expect(shown == expected, f"{package}: not installed: {expected - files}; "
               f"not expected: {shown - expected}")
        for name in files:
            mode = "0755" if name.startswith("usr/bin/") else "0644"
            expect((root / name).is_symlink() or root.who(name) == f"{mode} root:root",
                   f"{name}: {root.who(name)}")


def the_library_is_there_to_build_with(root, _):
    if not (root / "usr/bin/g++").exists():
        print("no compiler in this root")
        return
    shutil.copy(SOURCE / "tests/client_consumer/main.cpp", root / "tmp/main.cpp")
    flags = root.run("pkg-config", "--cflags", "--libs", "dflockd").split()
    root.run("g++", "-std=c++20", "-o", "/tmp/consumer", "/tmp/main.cpp", *flags)
    server = Server(root)
    server.connect().close()
    expect(root.run("/tmp/consumer", "127.0.0.1:6388").startswith("held "), "no lock")
    server.stop()


def the_manual_pages_are_sound(root, _):
    everything = FILES.union(*OTHER_FILES.values())
    for name in sorted(name for name in everything if name.startswith("usr/share/man/")):
        page = root / name
        lint = subprocess.run(["mandoc", "-T", "lint", page], capture_output=True, text=True, check=False)
        # Whether pages that are referred to are there depends on the machine.
        complaints = [line for line in (lint.stdout + lint.stderr).splitlines()
                      if "referenced manual not found" not in line and "mandoc.db" not in line]
        expect(not complaints, "\n".join(complaints))
        warnings = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-Tutf8", "-Z", "-l", page],
                                  capture_output=True, text=True, check=True,
                                  env={**os.environ, "LC_ALL": "C.UTF-8"}).stderr
        expect(not warnings, warnings)
        expect(Path(page.stem).stem in run("lexgrog", page), f"{name}: whatis cannot read it")


def the_shells_complete_every_flag(root, _):
    for program in ("dflockd", "dflockd-bench"):
        flags = {f"--{name}" for name in spellings(flags_of("chroot", root.path, program))}
        offers = {
            "bash": run("bash", "--norc", "-ec",
                        'source "$1"; COMP_WORDS=("$2" --); COMP_CWORD=1; _${2/-/_}\n'
                        'printf "%s\\n" "${COMPREPLY[@]}"', "bash", root / BASH / program, program),
            "zsh": run("zsh", "-f", "-ec",
                       'fpath=("$1" $fpath); autoload -Uz compinit; compinit -u -D\n'
                       '[[ ${_comps[$2]} == _$2 ]]; _arguments() { print -rl -- "$@" }; _$2',
                       "zsh", root / ZSH, program),
            "fish": run("fish", "--no-config", "-c",
                        f"source '{root / FISH}/{program}.fish'; complete -C '{program} --'",
                        env={**os.environ, "HOME": str(root / "tmp")}),
        }
        for shell, offer in offers.items():
            pattern = r"^(?:\([^)]*\))?(--[a-z0-9-]+)"
            offered = set(re.findall(pattern, offer, re.MULTILINE))
            expect(offered == flags, f"{shell}, {program}: {sorted(offered ^ flags)}")


def nothing_of_the_others_is_left(root, _):
    root.dpkg("--purge", *OTHER_FILES)
    left = {name for files in OTHER_FILES.values() for name in files if (root / name).exists()}
    expect(not left, left)


TESTS = [installs_where_systemd_does_not_run, serves_as_the_unit_starts_it,
         upgrade_keeps_the_state_and_restarts, an_operators_disabling_outlives_an_upgrade,
         remove_keeps_the_state, purge_removes_everything, lintian_finds_nothing, the_units_are_sound,
         the_documents_link_to_what_is_there, the_other_packages_install_what_they_should, the_library_is_there_to_build_with,
         the_manual_pages_are_sound, the_shells_complete_every_flag, nothing_of_the_others_is_left]


def bring_up_loopback():
    """The name space's network has nothing but this, so the default port is free."""
    request = struct.pack("16sH14s", b"lo", 0x1, b"")  # IFF_UP
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, request)  # SIOCSIFFLAGS


def built(name):
    """The file of the package of that name."""
    packages = list(BUILD.glob(f"{name}_*.deb"))
    expect(len(packages) == 1, f"there should be one {name} in {BUILD}: run `make package`")
    return packages[0]


def prepare(lower):
    """The server's package, and the system to test all of them in."""
    package = built("dflockd")
    place = Path(tempfile.mkdtemp(prefix="dflockd-package-test."))
    run("mount", "-t", "tmpfs", "tmpfs", place)
    bring_up_loopback()
    root = Root(lower, place)
    for name in ("dflockd", *OTHER_FILES):
        if list((root / "var/lib/dpkg/info").glob(f"{name}[.:]*list")):
            root.dpkg("--purge", name)
    return place, root, package


def test_all(lower):
    place, root, package = prepare(lower)
    failed = 0
    try:
        for test in TESTS:
            start = time.monotonic()
            try:
                test(root, package)
                verdict = "passed"
            except AssertionError as error:
                failed += 1
                verdict = f"FAILED: {error}"
            print(f"{time.monotonic() - start:5.1f} s  {test.__name__}: {verdict}", flush=True)
            if failed:
                break  # the others build on it
    finally:
        run("umount", "--recursive", "--lazy", place)
        place.rmdir()
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--root", default="/", help="the Debian system to lay the overlay over")
    lower = Path(parser.parse_args().root).resolve()
    if "DFLOCKD_IN_NAMESPACE" in os.environ:
        return test_all(lower)
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    return subprocess.run([*sudo, "env", "DFLOCKD_IN_NAMESPACE=1", "unshare", "--mount", "--net", "--pid",
                           "--fork", "--kill-child", sys.executable, __file__, "--root", lower],
                          check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
