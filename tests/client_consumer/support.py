"""What both tests do: run commands, and a server."""

import os
import re
import subprocess


def run(*command, **environment):
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            check=False, env={**os.environ, **environment})
    assert result.returncode == 0, f"status {result.returncode} of {command}:\n{result.stdout}"
    return result.stdout


class Server:
    """The given dflockd at a port of its own; entering it gives the address."""

    def __init__(self, dflockd):
        self.dflockd = dflockd

    def __enter__(self):
        self.process = subprocess.Popen([self.dflockd, "--port", "0"], stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if found := re.search(r"listening.* port=(\d+)", line):
                return f"127.0.0.1:{found[1]}"
        raise AssertionError("the server does not listen")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate(timeout=10)
