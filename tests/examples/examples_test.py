#!/usr/bin/env python3
"""Runs each program and script of docs/examples against the real server, as docs/examples.md says.

Usage: examples_test.py TEST..., with the binaries' places in DFLOCKD_TEST_BINARY, DFLOCKD_TEST_CTL,
DFLOCKD_TEST_EXAMPLES (programs) and DFLOCKD_TEST_SCRIPTS.
"""

import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import unittest

BINARY = os.environ["DFLOCKD_TEST_BINARY"]
CTL = pathlib.Path(os.environ["DFLOCKD_TEST_CTL"])
PROGRAMS = pathlib.Path(os.environ["DFLOCKD_TEST_EXAMPLES"])
SCRIPTS = pathlib.Path(os.environ["DFLOCKD_TEST_SCRIPTS"])
LIMIT_S = 30


class Server:
    """dflockd on free ports; with `http`, also its HTTP API, on a socket that is handed down."""

    def __init__(self, *flags, http=False):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("DFLOCKD_")}
        command, handed = [BINARY, "--port", "0", *flags], {}
        if http:
            listener = socket.create_server(("127.0.0.1", 0))
            handed = {"pass_fds": (3,), "preexec_fn": lambda: os.dup2(listener.fileno(), 3)}
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            # A shell in between, since LISTEN_PID must name the process that it becomes.
            command = ["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", *command]
            environment |= {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "http"}
        self.process = subprocess.Popen(
            command, env=environment, stderr=subprocess.PIPE, text=True, **handed
        )
        if http:
            listener.close()
        expected = 2 if http else 1
        for line in self.process.stderr:
            if found := re.search(r"listening listener=(\w+).* port=(\d+)", line):
                if found[1] == "tcp":
                    self.port = int(found[2])
                expected -= 1
                if not expected:
                    break
        self.address = f"127.0.0.1:{self.port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=LIMIT_S)


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
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                 "-nodes", "-keyout", key, "-out", certificate, "-subj", "/CN=lockd.internal",
                 "-addext", "subjectAltName=DNS:lockd.internal"],
                check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
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

    def test_per_ip_limits(self):
        with Server("--max-connections-per-ip", "5", "--http-max-sessions-per-ip", "3", http=True) as server:
            self.check(PROGRAMS / "per_ip_limits", server.address,
                       output="refused after 5 connections: .*\n"
                              "and one is accepted again when another has left\n")
            self.check(SCRIPTS / "per_ip_limits_http.sh", server.url,
                       output='the session cap: {"error":"max_sessions_per_ip".*} 503\n')
        with Server("--http-rate-limit-per-ip", "3", http=True) as server:
            self.check(SCRIPTS / "per_ip_limits_http.sh", server.url,
                       output='the rate limit: {"error":"rate_limited".*} 429\n')

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

    def test_nightly(self):
        path = f"{CTL.parent}:{os.environ['PATH']}"
        with Server() as server:
            self.check(SCRIPTS / "nightly.sh", server.address, PATH=path,
                       output=r"running the nightly job with fence \d+\n")
            with socket.create_connection(("127.0.0.1", server.port)) as holder:
                holder.sendall(b"l\nnightly\n0 60\n")
                self.assertTrue(holder.makefile().readline().startswith("ok "))
                status, text = run(SCRIPTS / "nightly.sh", server.address, PATH=path)
                self.assertEqual(status, 0, text)
                self.assertNotIn("running", text)


if __name__ == "__main__":
    unittest.main()
