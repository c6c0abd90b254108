#!/usr/bin/env python3
"""Follows the documents to the letter: runs the shell commands that stand in README.md, docs/*.md, the
manual pages and `--help` against the real server, in a scratch directory.

Only the ports of the commands are replaced by those of a server that the test has started, and /etc/dflockd by
a directory of its own. Every block marked `sh` is run here or listed in NOT_RUN.

Usage: recipes_test.py TEST..., with the environment of examples_test.py.
"""

import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import unittest

from examples_test import BINARY, CTL, LIMIT_S, PROGRAMS, SCRIPTS, Server

SOURCE = SCRIPTS.parents[1]
OWN_STATUSES = (123, 124, 125, 126, 127)  # dflockctl's, which a command may use too
NOT_RUN = {("docs/examples.md", "Examples"): "the build of the examples, and a PATH"}
FOLLOWED = set()


def sections(document):
    """The heading and the text of each fenced block, with the block's language."""
    heading, language, block = "", None, []
    for line in (SOURCE / document).read_text().splitlines():
        if line.startswith("```"):
            if language is None:
                language, block = line[3:], []
            else:
                yield heading, language, "\n".join(block) + "\n"
                language = None
        elif language is not None:
            block.append(line)
        elif line.startswith("#"):
            heading = line.lstrip("# ")


def follows(document, heading=None):
    """Gives a test the shell blocks under a heading, or all of the document."""
    blocks = [(at, text) for at, language, text in sections(document)
              if language == "sh" and heading in (None, at)]
    assert blocks, f"{document} has no shell commands under '{heading}'"
    FOLLOWED.update((document, at) for at, _ in blocks)

    def decorate(test):
        return lambda self: test(self, *(text for _, text in blocks))
    return decorate


def plain(document, heading, prompt):
    """The commands after a prompt, in blocks without a language."""
    text = "".join(text for at, language, text in sections(document) if at == heading and not language)
    pattern = rf"^{re.escape(prompt)} (.*(?:(?<=[\\|])\n.*)*)"
    return [re.sub(r"\n    ", "\n", command) for command in re.findall(pattern, text, re.MULTILINE)]


def examples_of_page(page):
    """What the EXAMPLES of a manual page tell to type."""
    text = (SOURCE / f"docs/man/{page}.in").read_text().split(".Sh EXAMPLES\n")[1].split("\n.Sh ")[0]
    found = re.findall(r"^\.Dl \$ (.*)$|^\.Bd -literal -offset indent\n((?:.*\n)*?)\.Ed$", text, re.MULTILINE)
    return ["".join(one).replace(r"\-", "-").replace(r"\(aq", "'").replace(r"\e", "\\") for one in found]


def examples_of_help(*words):
    text = subprocess.run([CTL, *words, "--help"], check=True, capture_output=True, text=True).stdout
    return re.split(r"\n(?=\S)", re.sub(r"^  ", "", text.split("\nExamples:\n")[1], flags=re.MULTILINE).strip())


class Recipes(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.directory = pathlib.Path(scratch.name)
        (self.directory / "bin").mkdir()
        # As in a clone that was built.
        (self.directory / "build").mkdir()
        (self.directory / "build/release").symlink_to(CTL.parent)
        (self.directory / "docs").symlink_to(SOURCE / "docs")

    def command(self, name, script):
        """Something that a document supposes to be there."""
        path = self.directory / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def serve(self, text=None, *flags):
        """A server on ports of its own, as a command of the document starts it."""
        has_http = "--http-port" in (text or " ".join(flags))
        server = Server(*flags, command=text, directory=self.directory, http=has_http)
        self.addCleanup(server.__exit__)
        return server

    def shell(self, text, server=None, status=0):
        """Runs commands of a document as they stand, but for addresses. Gives both streams."""
        for program in ("curl", "jq", "nc", "openssl"):
            if re.search(rf"\b{program}\b", text) and not shutil.which(program):
                self.skipTest(f"there is no {program}")
        own = {k: v for k, v in os.environ.items() if not k.startswith("DFLOCKD_")}
        if server:
            text = re.sub(r"\blockd\.internal:6388\b", "127.0.0.1:6388", text)
            text = re.sub(r"\b6388\b", str(server.port), re.sub(r"\b6389\b", str(server.http_port), text))
            own["DFLOCKD_SERVER"] = server.address
        path = f"{self.directory}/bin:{CTL.parent}:{PROGRAMS}:{own['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text], cwd=self.directory, check=False, text=True, timeout=LIMIT_S,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=own | {"PATH": path},
        )
        self.assertEqual(done.returncode, status, f"{text}\n{done.stdout}")
        return done.stdout

    def hold(self, server, key, command="l", argument="0 60"):
        connection = socket.create_connection(("127.0.0.1", server.port))
        self.addCleanup(connection.close)
        with connection.makefile() as replies:
            connection.sendall(f"{command}\n{key}\n{argument}\n".encode())
            self.assertTrue(replies.readline().startswith("ok "))
        return connection

    def check_session_by_hand(self, transcript):
        """Types what a person types into nc, and compares what comes back."""
        server = self.serve()
        told = given = "no token yet"
        with socket.create_connection(("127.0.0.1", server.port), LIMIT_S) as connection:
            replies = connection.makefile()
            for line in transcript.splitlines()[1:]:
                if not line.startswith("ok"):
                    connection.sendall(line.replace(told, given).encode() + b"\n")
                    continue
                reply = replies.readline().rstrip("\n")
                if len(line.split()) == 3:
                    told, given = line.split()[1], reply.split()[1]
                self.assertEqual(reply, line.replace(told, given))

    def check_deployment(self, text):
        """Only a deployment of somebody else is told as one."""
        server = self.serve()
        self.command("deploy", "exit 0")
        self.assertEqual(self.shell(text, server), "")
        for status in (1, *OWN_STATUSES):
            self.command("deploy", f"exit {status}")
            self.assertEqual(self.shell(text, server), "the deployment failed\n")
        with self.hold(server, "deploy"):
            self.assertEqual(self.shell(text, server), "somebody else deploys\n")
        server.process.kill()
        server.process.wait()
        self.assertRegex(self.shell(text, server), "Connection refused\nthe deployment failed\n$")

    def check_cron_job(self, text, name):
        """A lock that is taken is a silent success, and every status is the job's own."""
        server = self.serve()
        for status in (0, 1, *OWN_STATUSES):
            self.command(name, f"echo runs; exit {status}")
            self.assertEqual(self.shell(text, server, status), "runs\n")
        with self.hold(server, "nightly"):
            self.assertEqual(self.shell(text, server), "")

    def check_names(self, server, names):
        """Clients accept the certificate for each of the names: ours, and strict ones that look at no CN."""
        context = ssl.create_default_context(cafile=self.directory / "server.crt")
        context.verify_flags |= ssl.VERIFY_X509_STRICT  # as Python 3.13 does by itself
        context.hostname_checks_common_name = False
        flags = "--auth-token-file token" if (self.directory / "token").exists() else ""
        for name in names:
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                context.wrap_socket(connection, server_hostname=name).close()
            self.shell(f"dflockctl --tls-ca server.crt --tls-server-name {name} {flags} ping", server)

    def test_every_shell_block_is_followed(self):
        found = {(str(path.relative_to(SOURCE)), at) for path in (SOURCE / "README.md", *(SOURCE / "docs").glob("*.md"))
                 for at, language, _ in sections(path.relative_to(SOURCE)) if language == "sh"}
        self.assertEqual(found, FOLLOWED | NOT_RUN.keys())

    def test_readme_session_by_hand(self):
        self.check_session_by_hand(next(text for at, _, text in sections("README.md") if at == "A session by hand"))

    def test_examples_session_by_hand(self):
        self.check_session_by_hand(next(text for at, _, text in sections("docs/examples.md")
                                        if at == "Raw TCP from a shell"))

    def test_manual_session_by_hand(self):
        self.check_session_by_hand("$ " + next(text for text in examples_of_page("dflockd.8") if "nc localhost" in text))

    @follows("README.md", "From a shell")
    def test_readme_shell(self, text):
        server = self.serve()
        self.assertRegex(self.shell(text, server), r"\Afence \d+\n[^$]*nightly-report[^$]*\nnobody else deploys\n\Z")
        with self.hold(server, "deploy"):
            self.assertRegex(self.shell(text, server, status=124), '"deploy" was not granted in time\n$')

    @follows("README.md", "HTTP")
    def test_readme_http(self, start, text):
        server = self.serve(start)
        self.assertRegex(self.shell(text + "echo $token\n", server), "^[0-9a-f]{32}\n$")

    @follows("README.md", "Fencing")
    def test_readme_fencing(self, start):
        tokens = []
        for _ in range(2):
            with self.serve(start) as server:
                tokens.append(self.shell("dflockctl lock k -- sh -c 'echo $DFLOCKD_FENCE'", server))
        self.assertLess(int(tokens[0]), int(tokens[1]))

    @follows("README.md", "On a network")
    def test_readme_network(self, start, text):
        prepare, command = re.split(r"^(?=build/release/dflockd )", start, maxsplit=1, flags=re.MULTILINE)
        self.shell(prepare)
        server = self.serve(command)
        host = socket.gethostname()
        self.check_names(server, (host, "localhost", "127.0.0.1"))
        try:
            socket.getaddrinfo(host, None)
        except OSError:
            self.skipTest("this machine's name has no address")
        self.assertRegex(self.shell(text, server), "^pong from ")

    @follows("docs/examples.md", "TLS")
    def test_examples_tls(self, start, text):
        prepare, command = re.split(r"^(?=dflockd )", start, maxsplit=1, flags=re.MULTILINE)
        self.shell(prepare)
        server = self.serve(command)
        self.check_names(server, ["lockd.internal"])
        self.assertRegex(self.shell(text, server), r"^held over TLS, fence \d+\n$")
        self.assertRegex(self.shell(text.replace("lockd.internal", "lockd.external"), server, status=3),
                         r'cannot acquire "k": .*ostname mismatch\n$')

    @follows("docs/examples.md", "The shared secret, over TCP and HTTP")
    def test_examples_secret(self, start, text):
        prepare, command = re.split(r"^(?=dflockd )", start, maxsplit=1, flags=re.MULTILINE)
        self.shell(prepare)
        self.assertEqual((self.directory / "token").stat().st_mode & 0o777, 0o600)
        server = self.serve(command)
        self.assertEqual(self.shell(text, server),
                         'held\n{"status":"ok"}\nwithout the secret: 401\nwith the secret: 200\n')
        (self.directory / "token").write_text("guess\n")
        self.assertRegex(self.shell(text, server, status=3),
                         r'.*: cannot acquire "k": the server wants another secret\n')

    @follows("docs/examples.md", "Limits for an address, as the client sees them")
    def test_examples_limits(self, start, text):
        tcp, http = text.splitlines()
        server = self.serve(start)
        self.assertRegex(self.shell(tcp, server), r"\Arefused after 50 connections: .*\n"
                         "and one is accepted again when another has left\n\\Z")
        for _ in range(2):  # what the first has opened is closed
            self.assertRegex(self.shell(http, server), r'\Asession 21: {"error":"max_sessions_per_ip".*} 503\n'
                             r'too fast: {"error":"rate_limited".*} 429\n\Z')
            self.shell("sleep 1", server)  # until there are requests to be had again
        unlimited = self.serve(None, "--http-port", "1")
        self.assertEqual(self.shell(tcp, unlimited, status=1),
                         "200 connections, and none refused: set --max-connections-per-ip below that\n")
        self.assertEqual(self.shell(http, unlimited, status=1),
                         "200 sessions, and none refused: set --http-max-sessions-per-ip below that\n"
                         "2000 requests, and none refused: set --http-rate-limit-per-ip below that\n")

    @follows("docs/examples.md", "A cron job")
    def test_examples_cron_job(self, text):
        self.check_cron_job(text, "bin/run-the-nightly-job")

    def test_nightly_script(self):
        self.check_cron_job("/bin/sh docs/examples/nightly.sh lockd.internal:6388", "bin/sh")

    @follows("docs/examples.md", "Do something, unless somebody else does")
    def test_examples_deployment(self, text):
        self.check_deployment(text)

    def test_manual_deployment(self):
        self.check_deployment(next(text for text in examples_of_page("dflockctl.1") if "./deploy" in text))

    def test_help_deployment(self):
        self.check_deployment(next(text for text in examples_of_help("lock") if "./deploy" in text))

    def test_manual_cron_job(self):
        self.check_cron_job(next(text for text in examples_of_page("dflockctl.1") if "./nightly-job" in text), "nightly-job")

    def test_help_cron_job(self):
        self.check_cron_job(next(text for text in examples_of_help("lock") if "./nightly-job" in text), "nightly-job")

    def test_manual_and_help_commands(self):
        server = self.serve(None, "--auto-release-on-disconnect=false")
        for name in ("report.sh", "deploy", "nightly-job", "bin/migrate", "bin/ffmpeg", "bin/curl"):
            self.command(name, f'echo {name} "$@"')
        lines = examples_of_page("dflockctl.1") + examples_of_help("lock") + examples_of_help("semaphore")
        self.assertGreaterEqual(len(lines), 10)
        out = "".join(self.shell(line, server) for line in lines)
        self.assertEqual(out.count("report.sh --all\n"), 2, out)
        self.assertEqual(out.count("bin/ffmpeg -i in.mov out.mp4\n"), 2, out)
        self.assertRegex(out, r"bin/migrate --fence \d+\n")

    @follows("docs/http-api.md")
    def test_http_api_walk(self, *texts):
        server = self.serve("dflockd --http-port 6389")
        out = self.shell("".join(texts), server)
        self.assertNotRegex(out, '{"error"')
        for text in ('{"remaining_s":120}', '"status":"acquired"', '"status":"ok"', '"connections":', "dflockd_ready 1"):
            self.assertIn(text, out)

    def own_files(self, text):
        """A command of root with files of this test and the group of whoever runs it."""
        group = subprocess.run(["id", "-gn"], check=True, capture_output=True, text=True).stdout.strip()
        return re.sub(r"(-g|chgrp) dflockd\b", rf"\1 {group}", text.replace("/etc/dflockd/", f"{self.directory}/"))

    def test_operations_tls_and_secret(self):
        heading = "TLS and the shared secret"
        *prepare, ping = (self.own_files(command) for command in plain("docs/operations.md", heading, "#"))
        self.assertEqual(len(prepare), 4)
        for command in prepare:
            self.shell(command)
        settings = next(text for at, language, text in sections("docs/operations.md")
                        if at == heading and language == "toml")
        (self.directory / "dflockd.toml").write_text(self.own_files(settings))
        server = self.serve("dflockd --config dflockd.toml")
        for name in ("token", "server.key"):
            self.assertEqual((self.directory / name).stat().st_mode & 0o777, 0o640)
        self.check_names(server, (socket.gethostname(), "localhost", "127.0.0.1"))
        self.assertRegex(self.shell(ping, server), "^pong from localhost:")
        over_tls = next(command for command in plain("docs/operations.md", "Run", "#") if "s_client" in command)
        self.assertEqual(self.shell(self.own_files(over_tls) + " || [ $? -eq 124 ]", server), "ok\nok\n")

    def test_operations_looking_at_the_server(self):
        server = self.serve(None, "--http-port", "1")
        self.hold(server, "k")
        commands = [*plain("docs/operations.md", "Run", "$"), *plain("docs/operations.md", "HTTP", "$"),
                    *plain("docs/operations.md", "Who holds what", "$")]
        ping, health, *holders = (command for command in commands if "ctl status" not in command and "--port" not in command)
        self.assertRegex(self.shell(health, server), r'\n{"status":"ok"}\n?$')  # after curl's progress
        for command in holders:
            self.assertRegex(self.shell(command, server), r"\bk\b.*(\n.*)*127\.0\.0\.1:\d+")
        self.assertEqual(self.shell(ping, server), "ok\n")

    def test_configuration_transcripts(self):
        (self.directory / "dflockd.toml").write_text("# the first line\n\nprot = 7000\n")
        text = "".join(text for _, language, text in sections("docs/configuration.md")
                       if not language and text.startswith("$ "))
        told = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE)
        self.assertGreaterEqual(len(told), 4)
        for command, expected in told:
            self.assertEqual(self.shell(command, status=0 if "--check-config" in command else 2), expected)


if __name__ == "__main__":
    unittest.main()
