"""What the tests of dflockctl share: starting it, looking at processes, and cutting its connections. Everything
that a test starts is ended with it.

The binaries come from the environment: DFLOCKD_BINARY and DFLOCKCTL_BINARY.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from server import PATIENCE, SLOW, Client, Server, clean_environment, eventually

SLOWNESS = 4 if SLOW else 1
CTL = os.environ["DFLOCKCTL_BINARY"]


def lease_of(seconds):
    """A lease that is renewed in time though the machine is busy; one of `seconds` is, where nothing is slow."""
    return f"{seconds * SLOWNESS}s"


def stat_of(pid):
    """State, parent and group of a process; nothing if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, parent, group = text[text.rindex(")") + 2:].split()[:3]
    return state, int(parent), int(group)


def is_alive(pid):
    stat = stat_of(pid)
    return stat is not None and stat[0] not in "ZX"


def is_stopped(pid):
    stat = stat_of(pid)
    return stat is not None and stat[0] == "T"


class Proxy:
    """Passes connections on to a port, until asked to cut them."""

    def __init__(self, port):
        self.port_behind = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.pairs = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                here, _ = self.listener.accept()
                there = socket.create_connection(("127.0.0.1", self.port_behind))
                self.pairs.append((here, there))
                for source, sink in ((here, there), (there, here)):
                    threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    @staticmethod
    def _copy(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def cut(self):
        """Ends the connections that there are; new ones are passed on."""
        for pair in self.pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def refuse(self):
        """Refuses new connections; those that there are go on."""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)  # `accept` would keep it open
        self.listener.close()

    def close(self):
        self.refuse()
        self.cut()
        for pair in self.pairs:
            for end in pair:
                end.close()


class Case(unittest.TestCase):
    def setUp(self):
        self.directory = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def path(self, name):
        return str(self.directory / name)

    def end(self, process):
        """Ends a process that the test started, if it still runs."""
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.wait(PATIENCE)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                stream.close()

    def start_server(self, *flags):
        server = Server(*flags)
        self.addCleanup(server.kill)
        return server

    def connect(self, server):
        client = Client(server.port)
        self.addCleanup(client.close)
        return client

    def start(self, server, *words, **settings):
        """Starts dflockctl; `server` is a server or an address."""
        address = server if isinstance(server, str) else server.address
        environment = clean_environment(**{"DFLOCKD_SERVER": address} | settings.pop("environment", {}))
        settings = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
                    "text": True} | settings
        process = subprocess.Popen([CTL, *words], env=environment, **settings)
        self.addCleanup(self.end, process)
        return process

    def run_ctl(self, server, *words, text_in="", **settings):
        """Runs dflockctl to its end and returns status, output and errors."""
        process = self.start(server, *words, stdin=subprocess.PIPE, **settings)
        out, err = process.communicate(text_in, PATIENCE)
        return process.returncode, out, err

    def assert_status(self, expected, result):
        self.assertEqual(expected, result[0], result)

    def shell(self, script):
        """A command: sh, with $D as the test's directory."""
        return ("--", "sh", "-c", f"D={self.directory}; {script}")

    def wait_for_file(self, name):
        """The content of a file that is written with a line end."""
        path = self.directory / name

        def content():
            return path.exists() and path.read_text().endswith("\n") and path.read_text().strip()
        found = eventually(content)
        self.assertTrue(found, f"no {name}")
        return found

    def wait_for_pid(self, name):
        return int(self.wait_for_file(name))
