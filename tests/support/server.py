"""What the tests in Python share: the real server on free ports, a client of the line protocol, and waiting.

DFLOCKD_BINARY names the server.
"""

import ctypes
import fcntl
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import tempfile
import time

SLOW = "DFLOCKD_SANITIZED" in os.environ  # all takes its time then
PATIENCE = 60 if SLOW else 20  # seconds that a test waits for what must happen
FIRST_INHERITED = 3  # sd_listen_fds(3)
LIBC = ctypes.CDLL(None)

# Kept open, so that no pipe of subprocess gets a number at which the child expects a socket.
for number in (FIRST_INHERITED, FIRST_INHERITED + 1):
    try:
        os.fstat(number)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_RDWR), number)


def eventually(condition, patience=PATIENCE):
    """Waits until `condition` gives something true, and returns that; the last it gave if it never does."""
    deadline = time.monotonic() + patience
    while not (result := condition()) and time.monotonic() < deadline:
        time.sleep(0.002)
    return result


def clean_environment(**variables):
    """The environment without what would configure the server or its clients."""
    inherited = {name: value for name, value in os.environ.items()
                 if not name.startswith(("DFLOCK", "LISTEN_", "NOTIFY_"))}
    return inherited | variables


class Server:
    """The real server, ready when it is made. Its sockets are handed down, so that the ports that the flags or a
    shell `command` that starts it name do not matter. It dies with the test."""

    def __init__(self, *flags, binary=None, command=None, directory=None, http=False):
        binary = binary or os.environ["DFLOCKD_BINARY"]
        command = command or shlex.join([binary, *map(str, flags)])
        names = ["tcp", "http"] if http else ["tcp"]
        listeners = [socket.create_server(("127.0.0.1", 0), backlog=512) for _ in names]
        self.port, self.http_port = (listener.getsockname()[1] for listener in (listeners[0], listeners[-1]))
        self.address, self.url = f"127.0.0.1:{self.port}", f"http://127.0.0.1:{self.http_port}"
        copies = [fcntl.fcntl(listener, fcntl.F_DUPFD, 10) for listener in listeners]

        def hand_down():
            LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
            for target, copy in enumerate(copies, FIRST_INHERITED):
                os.dup2(copy, target)

        self.log_file = tempfile.TemporaryFile()
        # A shell, since LISTEN_PID must name the process that it becomes.
        self.process = subprocess.Popen(
            ["sh", "-c", f"LISTEN_PID=$$ exec {command}"], cwd=directory, stdin=subprocess.DEVNULL,
            stdout=self.log_file, stderr=self.log_file,
            env=clean_environment(PATH=f"{os.path.dirname(binary)}:{os.environ['PATH']}",
                                  LISTEN_FDS=str(len(names)), LISTEN_FDNAMES=":".join(names)),
            pass_fds=range(FIRST_INHERITED, FIRST_INHERITED + len(names)), preexec_fn=hand_down)
        for listener, copy in zip(listeners, copies):
            listener.close()
            os.close(copy)
        try:
            for name in names:
                self.wait_for_log(f".*listening listener={name} .*")
        except BaseException:
            self.kill()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def log(self):
        return os.pread(self.log_file.fileno(), 1 << 26, 0).decode()

    def wait_for_log(self, pattern):
        """The first whole line of the log that matches."""
        def look():
            found = re.search(rf"^(?:{pattern})\n", self.log(), re.MULTILINE)
            if not found and self.process.poll() is not None:
                raise AssertionError(f"the server has ended:\n{self.log()}")
            return found
        found = eventually(look)
        if not found:
            raise AssertionError(f"no '{pattern}' in the log:\n{self.log()}")
        return found.group().rstrip("\n")

    def send_signal(self, which):
        self.process.send_signal(which)

    def stop(self):
        """Ends it as a service manager would. Returns the exit status. Twice is harmless."""
        self.process.terminate()
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.kill()

    def kill(self):
        """Ends it at once, if it still runs."""
        self.process.kill()
        self.process.wait()
        self.log_file.close()


class Client:
    """A client of the line protocol."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.lines = self.socket.makefile("rb")

    def send(self, *words):
        self.socket.sendall("".join(f"{word}\n" for word in words).encode())

    def read(self):
        return self.lines.readline().decode().rstrip("\n")

    def ask(self, *words):
        self.send(*words)
        return self.read()

    def stats(self):
        return json.loads(self.ask("stats", "_", "_").removeprefix("ok "))

    def waiters(self, key):
        return sum(lock["waiters"] for lock in self.stats()["locks"] if lock["key"] == key)

    def is_held(self, key):
        return any(lock["key"] == key for lock in self.stats()["locks"])

    def close(self):
        self.lines.close()
        self.socket.close()
