#!/usr/bin/env python3
"""dflockctl acquire, release, renew, stats and ping, and how it connects."""

import json
import os
import pty
import re
import signal
import subprocess
import unittest
import zlib

from case import CTL, PATIENCE, SLOWNESS, Case, Proxy, clean_environment, eventually, lease_of
from certificates import Authority


class Grants(Case):
    def setUp(self):
        super().setUp()
        self.server = self.start_server("--auto-release-on-disconnect=false", "--default-lease-ttl", "40")
        self.observer = self.connect(self.server)

    def ctl(self, *words, **settings):
        return self.run_ctl(self.server, *words, **settings)

    def test_acquired_lock_is_held_until_it_is_released(self):
        status, out, err = self.ctl("acquire", "k")
        self.assertEqual((0, ""), (status, err))
        self.assertRegex(out, "^[0-9a-f]{32} 40\n$")
        token = out.split()[0]
        self.assertTrue(self.observer.is_held("k"))
        self.assert_status(124, self.ctl("acquire", "k", "--try"))
        self.assertEqual((0, "40\n", ""), self.ctl("renew", "k", token))
        self.assertEqual((0, "90\n", ""), self.ctl("renew", "k", token, "--lease", "90s"))
        self.assertEqual((0, "", ""), self.ctl("release", "k", token))
        self.assertFalse(self.observer.is_held("k"))

    def test_token_is_read_from_standard_input(self):
        token = self.ctl("acquire", "k", "--lease", "2m")[1].split()[0]
        self.assertEqual((0, "40\n", ""), self.ctl("renew", "k", "-", text_in=f"{token}\n"))
        self.assertEqual((0, "", ""), self.ctl("release", "k", "-", text_in=f"{token} 120\n"))
        status, _, err = self.ctl("release", "k", "-", text_in="\n")
        self.assertEqual(2, status)
        self.assertIn("32 lowercase hex", err)

    def test_slots_of_a_semaphore_are_acquired_renewed_and_released(self):
        words = ("acquire", "k", "--semaphore", "--limit", "2")
        tokens = [self.ctl(*words)[1].split()[0] for _ in range(2)]
        self.assert_status(124, self.ctl(*words, "--try"))
        self.assertEqual((0, "40\n", ""), self.ctl("renew", "k", tokens[0], "--semaphore"))
        self.assert_status(123, self.ctl("release", "k", tokens[0]))  # a lock of the same name is none
        self.assert_status(0, self.ctl("release", "k", tokens[0], "--semaphore"))
        self.assert_status(0, self.ctl(*words, "--try"))

    def test_what_is_not_held_gives_123(self):
        for words in (("release", "k", "0" * 32), ("renew", "k", "0" * 32)):
            status, out, err = self.ctl(*words)
            self.assertEqual((123, ""), (status, out))
            self.assertRegex(err, f'^dflockctl: {self.server.address}: cannot {words[0]} "k": .*\n$')

    def test_grant_is_given_back_if_the_token_cannot_be_told(self):
        with open("/dev/full", "w") as full:
            self.assertEqual(125, self.start(self.server, "acquire", "k", stdout=full).wait(PATIENCE))
        self.assertFalse(self.observer.is_held("k"))

    def begin_to_wait_behind_a_proxy(self):
        """What waits for a lock that somebody else holds, when new connections are refused already."""
        holder = self.connect(self.server)
        token = holder.ask("l", "k", "0").split()[1]
        proxy = Proxy(self.server.port)
        self.addCleanup(proxy.close)
        process = self.start(f"127.0.0.1:{proxy.port}", "acquire", "k", "--lease", "50s")
        self.assertTrue(eventually(lambda: holder.waiters("k") == 1))
        proxy.refuse()
        return process, holder, token

    def test_grant_is_told_if_it_cannot_be_looked_at_again(self):
        process, holder, token = self.begin_to_wait_behind_a_proxy()
        self.assertEqual("ok", holder.ask("r", "k", token))
        out, err = process.communicate(timeout=PATIENCE)
        self.assertEqual((125, ""), (process.returncode, out))
        found = re.search('"k" was granted as ([0-9a-f]{32}), which may be held until its lease of 50 s is over', err)
        self.assertTrue(found, err)
        self.assertEqual((0, "", ""), self.ctl("release", "k", found[1]))

    def test_signal_ends_the_wait_though_the_server_takes_nobody_any_more(self):
        process, _, _ = self.begin_to_wait_behind_a_proxy()
        process.send_signal(signal.SIGINT)
        self.assertEqual(128 + signal.SIGINT, process.wait(PATIENCE))

    def test_server_that_takes_grants_back_is_refused(self):
        server = self.start_server()
        status, out, err = self.run_ctl(server, "acquire", "k")
        self.assertEqual((125, ""), (status, out))
        self.assertIn("--auto-release-on-disconnect=false", err)
        self.assertIn("dflockctl lock", err)


class Stats(Case):
    def setUp(self):
        super().setUp()
        self.server = self.start_server()
        self.client = self.connect(self.server)
        self.client.ask("l", "zebra", "0 60")
        self.client.ask("l", "a\x1b[31m", "0 60")
        self.client.ask("sl", "slots", "0 4 60")

    def table(self, *words):
        status, out, err = self.run_ctl(self.server, "stats", *words)
        self.assertEqual((0, ""), (status, err))
        return out.splitlines()

    def test_table_has_a_line_for_each_key_in_order(self):
        head, columns, *rows = self.table()
        self.assertEqual(f"{self.server.address}: 2 connections, 2 locks and 1 semaphore held, 0 idle keys", head)
        self.assertEqual(["KIND", "KEY", "HOLDER", "HELD", "LEASE", "WAITERS"], columns.split())
        self.assertEqual([("lock", "a\\x1b[31m"), ("lock", "zebra"), ("semaphore", "slots")],
                         [tuple(row.split()[:2]) for row in rows])
        self.assertRegex(rows[0], r"127\.0\.0\.1:\d+ +\d+m?s +(59|60|1m00)s +0$")
        self.assertIn("1 of 4", rows[2])
        self.assertEqual(1, len({len(line) for line in (columns, *rows)}))

    def test_json_is_what_the_server_sends(self):
        status, out, _ = self.run_ctl(self.server, "stats", "--json")
        self.assertEqual(0, status)
        self.assertEqual(1, out.count("\n"))
        self.assertEqual(["a\x1b[31m", "zebra"], sorted(lock["key"] for lock in json.loads(out)["locks"]))

    def test_watch_prints_block_after_block_where_there_is_no_terminal(self):
        process = self.start(self.server, "stats", "--watch", "20ms")
        lines = [process.stdout.readline() for _ in range(18)]
        self.assertEqual(3, sum(line.startswith(self.server.address) for line in lines))
        self.assertEqual(3, lines.count("\n"))
        self.assertNotIn("\x1b", "".join(lines))

    def test_watch_prints_json_line_by_line(self):
        process = self.start(self.server, "stats", "--watch", "20ms", "--json")
        for _ in range(3):
            self.assertEqual(2, len(json.loads(process.stdout.readline())["locks"]))

    def test_watch_redraws_in_place_and_fits_on_a_terminal(self):
        pid, terminal = pty.fork()
        if pid == 0:
            subprocess.run(["stty", "cols", "60", "rows", "5"], check=True)
            os.execve(CTL, [CTL, "stats", "--watch", "50ms"], clean_environment(DFLOCKD_SERVER=self.server.address))
        self.addCleanup(os.close, terminal)
        self.client.ask("l", "long-" * 20, "0 60")
        seen = ""
        while seen.count("\x1b[H") < 4:
            seen += os.read(terminal, 65536).decode()
        frame = seen.split("\x1b[H")[-2]
        lines = [line.replace("\x1b[K", "") for line in frame.split("\r\n")]
        self.assertEqual(5, len(lines), frame)  # with that of the cursor
        self.assertRegex(lines[3], r"^\.\.\. \d more$")
        self.assertLessEqual(max(len(line) for line in lines[1:3]), 60)
        self.assertTrue(frame.endswith("\x1b[J"))
        os.write(terminal, b"\x03")
        status = os.waitpid(pid, 0)[1]
        self.assertEqual(signal.SIGINT, os.WTERMSIG(status))

    def test_watch_ends_by_a_signal_that_it_was_started_with_blocked(self):
        def block():
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        for number in (signal.SIGTERM, signal.SIGINT):
            process = self.start(self.server, "stats", "--watch", "10ms", preexec_fn=block)
            self.assertTrue(process.stdout.readline())
            process.send_signal(number)
            process.communicate(timeout=PATIENCE)
            self.assertEqual(-number, process.returncode)

    def test_watch_goes_on_when_the_server_is_back(self):
        process = self.start(self.server, "stats", "--watch", "20ms")
        process.stdout.readline()
        self.server.kill()
        self.assertRegex(process.stderr.readline(), f"^dflockctl: {self.server.address}: cannot ")
        server = subprocess.Popen([os.environ["DFLOCKD_BINARY"], "--port", str(self.server.port)],
                                  stderr=subprocess.DEVNULL, env=clean_environment())
        self.addCleanup(self.end, server)
        for line in process.stdout:
            if "0 locks" in line:
                break
        self.assertIsNone(process.poll())


class Connecting(Case):
    def test_ping_tells_each_server_and_how_long_it_took(self):
        servers = [self.start_server() for _ in range(2)]
        addresses = [server.address for server in servers]
        status, out, err = self.run_ctl(",".join(addresses), "ping")
        self.assertEqual((0, ""), (status, err))
        self.assertEqual(addresses, re.findall(r"^pong from (\S+) in \d+\.\d\d ms$", out, re.MULTILINE))
        servers[0].kill()
        status, out, err = self.run_ctl("127.0.0.1:1", "--server", addresses[0], "ping", "--server", addresses[1])
        self.assertEqual(125, status)
        self.assertIn(addresses[0], err)
        self.assertIn(addresses[1], out)

    def test_keys_are_sharded_as_by_the_library(self):
        servers = [self.start_server("--auto-release-on-disconnect=false") for _ in range(3)]
        addresses = ",".join(server.address for server in servers)
        for key in ("user:42:profile", "deploy", "a", "b", "c"):
            chosen = servers[zlib.crc32(key.encode()) % 3]
            token = self.run_ctl(addresses, "acquire", key)[1].split()[0]
            observer = self.connect(chosen)
            self.assertTrue(observer.is_held(key))
            self.assert_status(0, self.run_ctl(addresses, "renew", key, token))
            self.assert_status(0, self.run_ctl(addresses, "release", key, token))
            _, out, _ = self.run_ctl(addresses, "lock", key, "--", CTL, "stats", "--server", chosen.address)
            self.assertIn(f" {key} ", out)

    def test_secret_comes_from_a_file_or_the_environment(self):
        secret = self.directory / "secret"
        secret.write_text("  hunter2\n")
        (self.directory / "wrong").write_text("hunter3\n")
        server = self.start_server("--auth-token-file", str(secret))
        for words, environment in ((("--auth-token-file", str(secret)), {}),
                                   ((), {"DFLOCKD_AUTH_TOKEN_FILE": str(secret)}),
                                   ((), {"DFLOCKD_AUTH_TOKEN": "hunter2"}),
                                   (("--auth-token-file", str(secret)), {"DFLOCKD_AUTH_TOKEN": "x"})):
            self.assert_status(0, self.run_ctl(server, "ping", *words, environment=environment))
            self.assert_status(5, self.run_ctl(server, "lock", "k", *words, *self.shell("exit 5"),
                                               environment=environment))
        for words in ((), ("--auth-token-file", self.path("wrong"))):
            status, _, err = self.run_ctl(server, "ping", *words)
            self.assertEqual(125, status)
            self.assertRegex(err, "^dflockctl: .*\n$")
            self.assertNotIn("hunter", err)

    def test_tls_is_configured_by_flags_and_by_variables(self):
        authority = Authority(self.directory)
        authority.issue("server", "subjectAltName=DNS:lock.example")
        authority.issue("client", "extendedKeyUsage=clientAuth")
        server = self.start_server("--tls-cert", self.path("server.crt"), "--tls-key", self.path("server.key"),
                                   "--tls-client-ca", self.path("ca.crt"))
        flags = {"--tls-ca": self.path("ca.crt"), "--tls-cert": self.path("client.crt"),
                 "--tls-key": self.path("client.key"), "--tls-server-name": "lock.example"}
        words = [word for flag in flags.items() for word in flag]
        variables = {"DFLOCKD_" + name[2:].upper().replace("-", "_"): value for name, value in flags.items()}
        for given, environment in ((words, {}), ((), variables)):
            self.assert_status(0, self.run_ctl(server, "ping", *given, environment=environment))
            self.assert_status(5, self.run_ctl(server, "lock", "k", "--lease", lease_of(1), *given,
                                               *self.shell(f"sleep {1.2 * SLOWNESS}; exit 5"), environment=environment))
            status, out, _ = self.run_ctl(server, "stats", *given, environment=environment)
            self.assertEqual((0, 1), (status, out.count("connection, ")))
        for without in ("--tls-ca", "--tls-server-name"):
            given = [word for flag in flags.items() if flag[0] != without for word in flag]
            status, _, err = self.run_ctl(server, "ping", *given)
            self.assertEqual(125, status, without)
            self.assertRegex(err, "^dflockctl: .*\n$")
        self.assert_status(125, self.run_ctl(server, "ping", "--tls"))


if __name__ == "__main__":
    unittest.main()
