"""Starts, pins, watches and stops the servers that are compared, and runs the load generator."""

import contextlib
import copy
import json
import os
import pathlib
import pwd
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time

NAMES = ("floor", "dflockd", "redis", "memcached")
PROTOCOLS = {"redis": "redis", "memcached": "memcached"}  # the others speak dflockd's
MAX_LOCKS = 2_000_000
START_LIMIT_S = 10
STOP_LIMIT_S = 10
MOST_CONNECTIONS = 10_000


class BenchError(Exception):
    """Makes a comparison impossible; the text is one line."""


def raise_descriptor_limit():
    """Lets this process and its children open as many connections as the system allows them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < MOST_CONNECTIONS + 100:
        raise BenchError(f"only {hard} open files are allowed (see ulimit -Hn); 10100 are needed")


class Server:
    """A running server. Its process is a session leader of its own, so that Ctrl-C does not reach
    it before we have finished with it."""

    def __init__(self, name, process, port):
        self.name = name
        self.port = port
        self._process = process

    @property
    def pid(self):
        return self._process.pid

    def resident_bytes(self):
        text = pathlib.Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        return int(re.search(r"^Rss:\s+(\d+) kB", text, re.MULTILINE)[1]) * 1024

    def most_resident_bytes(self):
        """The most that was ever resident."""
        text = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"^VmHWM:\s+(\d+) kB", text, re.MULTILINE)[1]) * 1024


class Bench:
    """The binaries, the cores they are pinned to, and how they are run."""

    def __init__(self, build, busy_poll, against=None):
        self._build = build
        self._against = against
        self._busy_poll = busy_poll
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            raise BenchError("at least two cores are needed: one for the server, one for the load")
        self.server_core, self.client_core = cores[0], cores[1]
        os.sched_setaffinity(0, {self.client_core})

    @property
    def dflockds(self):
        """The names of the dflockds that are compared with each other."""
        return ["dflockd"] if self._against is None else ["before", "dflockd"]

    def server(self, name, *arguments, environment=None):
        """Runs the server with this name, with further arguments and environment variables, for the
        length of a `with`."""

        if name in self.dflockds and not any(one.startswith("--max-locks=") for one in arguments):
            arguments = (f"--max-locks={MAX_LOCKS}", *arguments)

        def command_in(directory):
            command, port = self._command(name, directory)
            return [*command, *arguments], port

        return self.running(name, command_in, environment)

    @contextlib.contextmanager
    def running(self, name, command_in, environment=None):
        """Runs a server for the length of a `with`. `command_in` gives its command line in a
        temporary directory, and its port, or None if it picks one and tells it."""
        with tempfile.TemporaryDirectory(prefix="dflockd-bench-") as directory:
            log_path = pathlib.Path(directory, "log")
            command, port = command_in(directory)
            with log_path.open("wb") as log:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=directory,
                    env={**os.environ, **(environment or {})},
                    start_new_session=True,
                    preexec_fn=lambda: os.sched_setaffinity(0, {self.server_core}),
                )
            try:
                yield Server(name, process, wait_until_listening(name, process, port, log_path))
            finally:
                stop(process)

    def load(self, server, allow_errors=False, **flags):
        """Puts a server under load. Flags are those of dflockd-bench, `True` standing for one that
        takes no value; gives its JSON, which counts the errors if they are allowed. The port is the
        server's unless it is among them."""
        command = [self._binary("dflockd-bench"), "--json", f"--server-pid={server.pid}"]
        flags.setdefault("port", server.port)
        command += [f"--protocol={PROTOCOLS.get(server.name, 'dflockd')}"]
        for flag, value in flags.items():
            flag = "--" + flag.replace("_", "-")
            command.append(flag if value is True else f"{flag}={value}")
        if self._busy_poll:
            command += ["--busy-poll"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            output, _ = process.communicate()
        finally:
            stop(process)
        if process.returncode != 0 and not (allow_errors and output):
            raise BenchError(f"the load on {server.name} failed")
        return json.loads(output)

    def sleeping(self):
        """The same with a load generator that sleeps while it waits, as programs do."""
        other = copy.copy(self)
        other._busy_poll = False
        return other

    def client(self, mode, server, *arguments):
        """Runs the client library under load and gives its JSON."""
        address = f"127.0.0.1:{server.port}"
        command = [self._binary("dflockd-bench-client"), mode, address, *map(str, arguments)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise BenchError(f"the client library failed on {server.name}")
        return json.loads(done.stdout)

    def slow_disk(self, file, flag):
        """The environment of a server for which syncing `file` takes as many milliseconds longer as
        the file `flag` says, once there is one."""
        shim = self._binary("tests/support/libdflockd_fault_shim.so")
        return {"LD_PRELOAD": shim, "DFLOCKD_SHIM_FILE": file, "DFLOCKD_SHIM_FLAG": flag}

    def _binary(self, name):
        path = self._build.resolve() / name
        if not path.exists():
            raise BenchError(f"{path} is missing; `make build` makes it")
        return path

    def _command(self, name, directory):
        """The command line, and its port, or None for a server that picks one and tells it."""
        if name == "floor":
            return [self._binary("dflockd-bench-floor")], None
        if name == "handoff":
            return [self._binary("dflockd-bench-floor"), "handoff"], None
        if name in ("dflockd", "before"):
            binary = self._binary("dflockd") if name == "dflockd" else self._against.resolve()
            return [binary, "--port=0"], None
        port = str(free_port())
        most = str(MOST_CONNECTIONS + 100)
        if name == "redis":
            command = [installed("redis-server"), "--port", port, "--bind", "127.0.0.1"]
            command += ["--save", "", "--appendonly", "no", "--io-threads", "1"]
            return [*command, "--maxclients", most, "--dir", directory], int(port)
        command = [installed("memcached"), "-t", "1", "-U", "0", "-l", "127.0.0.1", "-p", port]
        command += ["-c", most]
        if os.geteuid() == 0:
            command += ["-u", pwd.getpwnam("nobody").pw_name]  # it refuses to run as root
        return command, int(port)


def installed(program):
    path = shutil.which(program)
    if path is None:
        raise BenchError(f"{program} is missing; `packaging/install-deps.sh bench` installs it")
    return path


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def cpu_seconds(pid):
    """What a process has used, by the kernel's clock of it."""
    return time.clock_gettime((~pid << 3) | 2)  # as of <linux/posix-timers.h>


def told_port(text):
    """The port in the output of a server that picked it: a bare number, or a log line."""
    match = re.search(r"^(\d+)$", text, re.MULTILINE) or re.search(
        r"listening\b.*\bport=(\d+)", text
    )
    return int(match[1]) if match else None


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def wait_until_listening(name, process, port, log_path):
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        port_now = port or told_port(log_path.read_text(errors="replace"))
        if port_now and accepts(port_now):
            return port_now
        time.sleep(0.02)
    last_lines = log_path.read_text(errors="replace").strip().splitlines()[-3:]
    raise BenchError(f"{name} did not start: {' / '.join(last_lines) or 'it printed nothing'}")


def stop(process):
    """Ends a process that we started, and waits until it has gone. Twice is harmless."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
