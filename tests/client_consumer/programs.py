"""What both tests do: run commands, and a server."""

import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from server import Server


def run(*command, **environment):
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            check=False, env={**os.environ, **environment})
    assert result.returncode == 0, f"status {result.returncode} of {command}:\n{result.stdout}"
    return result.stdout
