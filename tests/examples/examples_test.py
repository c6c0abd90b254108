#!/usr/bin/env python3
"""Runs each program of docs/examples against the real server. recipes_test.py follows what the
documents say about them.

Usage: examples_test.py TEST..., with the binaries' places in DFLOCKD_BINARY, DFLOCKD_TEST_CTL,
DFLOCKD_TEST_EXAMPLES (programs) and DFLOCKD_TEST_SCRIPTS.
"""

import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from certificates import self_signed
from server import Server

BINARY = os.environ["DFLOCKD_BINARY"]
CTL = pathlib.Path(os.environ["DFLOCKD_TEST_CTL"])
PROGRAMS = pathlib.Path(os.environ["DFLOCKD_TEST_EXAMPLES"])
SCRIPTS = pathlib.Path(os.environ["DFLOCKD_TEST_SCRIPTS"])
LIMIT_S = 30


def run(program, *arguments, **environment):
    """Its status and what it prints, both streams together."""
    done = subprocess.run(
        [program, *map(str, arguments)], env={**os.environ, **environment}, check=False, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S,
    )
    return done.returncode, done.stdout


class Examples(unittest.TestCase):
    maxDiff = None

    def check(self, program, *arguments, output, status=0, **environment):
        """Runs it, and compares what it prints with a pattern for each line."""
        got, text = run(program, *arguments, **environment)
        self.assertEqual(got, status, text)
        self.assertRegex(text, r"\A" + output + r"\Z")

    def test_auto_renewal(self):
        with Server() as server:
            self.check(PROGRAMS / "auto_renewal", server.address, output="done, and still held: true\n")

    def test_auto_renewal_lost(self):
        with Server() as server:
            job = subprocess.Popen([PROGRAMS / "auto_renewal", server.address], text=True,
                                   stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
            with socket.create_connection(("127.0.0.1", server.port)) as client:
                reply, token = client.makefile(), None
                while token is None:  # until it holds the lock: then its token can be had
                    client.sendall(b"stats\n_\n_\n")
                    token = '"key":"etl-job"' in reply.readline() or None
            server.process.kill()
            _, text = job.communicate(timeout=LIMIT_S)
            self.assertEqual(job.returncode, 1)
            self.assertRegex(text, 'lost the lock: .*: cannot keep "etl-job": ')

    def test_two_phase(self):
        with Server() as server:
            self.check(PROGRAMS / "two_phase", server.address,
                       output="nobody else deploys\ndeploying\n")
            with socket.create_connection(("127.0.0.1", server.port)) as holder:
                replies = holder.makefile()
                holder.sendall(b"l\ndeploy\n0 60\n")
                token = replies.readline().split()[1]
                second = subprocess.Popen([PROGRAMS / "two_phase", server.address], text=True,
                                          stdout=subprocess.PIPE)
                self.assertEqual(second.stdout.readline(),
                                 "waiting for another deployment to finish\n")
                holder.sendall(f"r\ndeploy\n{token}\n".encode())
                self.assertEqual(second.communicate(timeout=LIMIT_S)[0], "deploying\n")
                self.assertEqual(second.returncode, 0)

    def test_sharding(self):
        with Server() as a, Server() as b, Server() as c:
            self.check(PROGRAMS / "sharding", a.address, b.address, c.address,
                       output=f"user:42:profile is locked at {a.address}\n"
                              f"deploy is locked at {b.address}\n"
                              f"etl-job is locked at {b.address}\n"
                              f"nightly is locked at {a.address}\n"
                              "all users are at one server: true\n")

    def test_tls(self):
        with tempfile.TemporaryDirectory() as directory:
            certificate, key = f"{directory}/server.crt", f"{directory}/server.key"
            self_signed(directory, "DNS:lockd.internal")
            with Server("--tls-cert", certificate, "--tls-key", key) as server:
                self.check(PROGRAMS / "tls", server.address, certificate, "lockd.internal",
                           output=r"held over TLS, fence \d+\n")
                self.check(PROGRAMS / "tls", server.address, certificate, "lockd.external", status=3,
                           output=r'.*: cannot acquire "k": .*ostname mismatch\n')

    def test_auth(self):
        with tempfile.TemporaryDirectory() as directory:
            good, bad = pathlib.Path(directory, "good"), pathlib.Path(directory, "bad")
            good.write_text("secret\n")
            bad.write_text("guess\n")
            good.chmod(0o600)
            with Server("--auth-token-file", good, http=True) as server:
                self.check(PROGRAMS / "auth", server.address, good, output="held\n")
                self.check(PROGRAMS / "auth", server.address, bad, status=3,
                           output=r'.*: cannot acquire "k": the server wants another secret\n')
                self.check(SCRIPTS / "auth_http.sh", server.url, good,
                           output='{"status":"ok"}\nwithout the secret: 401\nwith the secret: 200\n')

    def test_raw_tcp(self):
        with Server() as server:
            self.check(SCRIPTS / "raw_tcp.sh", "127.0.0.1", server.port,
                       output="granted for 33 s\nrenewed: ok 60\nreleased: ok\n")

    def test_fencing_store(self):
        with Server() as server, tempfile.TemporaryDirectory() as directory:
            self.check(PROGRAMS / "fencing_store", server.address, directory,
                       output="the new holder writes: true\n"
                              "the old holder, who does not know, writes: false\n")
            self.assertEqual(pathlib.Path(directory, "content").read_text(), "new")

    def test_worker_pool(self):
        with Server() as server:
            self.check(PROGRAMS / "worker_pool", server.address,
                       output="eight workers, at most [123] at a time\n")

    def test_two_keys(self):
        with Server() as server:
            self.check(PROGRAMS / "two_keys", server.address, output="alice has 100, bob has 100\n")

    def test_coroutine_client(self):
        with Server() as server:
            status, text = run(PROGRAMS / "coroutine_client", server.address)
            self.assertEqual(status, 0, text)
            self.assertEqual(sorted(text.splitlines()), [f"{key} is held for 60 s" for key in "abc"])


if __name__ == "__main__":
    unittest.main()
