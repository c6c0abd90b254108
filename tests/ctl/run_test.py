#!/usr/bin/env python3
"""dflockctl lock and semaphore, as long as nobody dies: status, environment, signals, waiting."""

import os
import signal
import subprocess
import time
import unittest

from case import PATIENCE, SLOWNESS, Case, eventually, is_alive, lease_of

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


class Statuses(Case):
    def setUp(self):
        super().setUp()
        self.server = self.start_server()

    def test_status_of_the_command_is_passed_on(self):
        for status in (0, 1, 7, 255):
            self.assert_status(status, self.run_ctl(self.server, "lock", "k", *self.shell(f"exit {status}")))

    def test_command_that_dies_of_a_signal_gives_128_and_its_number(self):
        for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV):
            result = self.run_ctl(self.server, "lock", "k", *self.shell(f"kill -{int(number)} $$"))
            self.assert_status(128 + number, result)

    def test_command_that_is_not_there_gives_127(self):
        status, out, err = self.run_ctl(self.server, "lock", "k", "--", "no-such-command")
        self.assertEqual((127, ""), (status, out))
        self.assertEqual('dflockctl: cannot execute "no-such-command": No such file or directory\n', err)
        self.assertFalse(self.connect(self.server).is_held("k"))

    def test_command_that_is_not_executable_gives_126(self):
        status, _, err = self.run_ctl(self.server, "lock", "k", "--", "/etc/passwd")
        self.assertEqual((126, 'dflockctl: cannot execute "/etc/passwd": Permission denied\n'), (status, err))

    def test_lock_that_is_taken_gives_124_at_once_with_try_and_in_time_with_timeout(self):
        holder = self.connect(self.server)
        self.assertRegex(holder.ask("l", "k", "0 60"), "^ok ")
        status, _, err = self.run_ctl(self.server, "lock", "k", "--try", "--", "true")
        self.assertEqual((124, f'dflockctl: {self.server.address}: "k" was not granted in time\n'), (status, err))
        begun = time.monotonic()
        self.assert_status(124, self.run_ctl(self.server, "lock", "k", "--timeout", "300ms", "--", "true"))
        self.assertGreaterEqual(time.monotonic() - begun, 0.3)
        self.assertTrue(eventually(lambda: holder.waiters("k") == 0))

    def test_lock_that_is_taken_gives_the_status_that_was_asked_for_and_says_nothing(self):
        holder = self.connect(self.server)
        self.assertRegex(holder.ask("l", "k", "0 60"), "^ok ")
        self.assertRegex(holder.ask("sl", "k", "0 1 60"), "^ok ")
        for code in (0, 75, 255):
            flags = ("--try", "--conflict-exit-code", str(code))
            self.assertEqual((code, "", ""), self.run_ctl(self.server, "lock", "k", *flags, "--", "echo", "runs"))
            flags = ("--limit", "1", "--timeout", "1ms", f"--conflict-exit-code={code}")
            self.assertEqual((code, "", ""), self.run_ctl(self.server, "semaphore", "k", *flags, "--", "echo", "runs"))

    def test_status_for_a_lock_that_is_taken_changes_no_other(self):
        flags = ("--try", "--conflict-exit-code", "0")
        for status in (0, 1, 123, 124, 125):
            self.assert_status(status, self.run_ctl(self.server, "lock", "k", *flags, *self.shell(f"exit {status}")))
        self.assert_status(127, self.run_ctl(self.server, "lock", "k", *flags, "--", "no-such-command"))
        address = self.server.address
        self.server.kill()
        self.assert_status(125, self.run_ctl(address, "lock", "k", *flags, "--", "true"))

    def test_server_that_is_not_there_gives_125(self):
        address = self.server.address
        self.server.kill()
        for words in (("lock", "k", "--", "true"), ("acquire", "k"), ("stats",), ("ping",),
                      ("release", "k", "0" * 32), ("renew", "k", "0" * 32)):
            status, out, err = self.run_ctl(address, *words)
            self.assertEqual((125, ""), (status, out), words)
            self.assertRegex(err, rf"^dflockctl: {address}: cannot .*Connection refused\n$")

    def test_limit_that_differs_gives_125(self):
        holder = self.connect(self.server)
        self.assertRegex(holder.ask("sl", "k", "0 3"), "^ok ")
        status, _, err = self.run_ctl(self.server, "semaphore", "k", "--limit", "2", "--", "true")
        self.assertEqual(125, status)
        self.assertIn("limit", err)


class Mistakes(Case):
    def check(self, expected, *words, environment=None):
        status, out, err = self.run_ctl("127.0.0.1:1", *words, environment=environment or {})
        self.assertEqual((2, ""), (status, out), words)
        self.assertRegex(err, "^dflockctl: .*\n$")
        self.assertEqual(1, err.count("\n"), err)
        self.assertIn(expected, err)

    def test_each_mistake_gives_2_and_a_line_that_tells_what_is_allowed(self):
        long_key = "k" * 257
        self.check("expected lock, semaphore")
        self.check("expected lock, semaphore", "locks")
        self.check("KEY is required", "lock")
        self.check("with the two dashes", "lock", "k", "true")
        self.check("no COMMAND", "lock", "k", "--")
        self.check("no COMMAND", "lock", "k", "--", "")
        self.check("KEY '': must be 1 to 256 bytes", "lock", "", "--", "true")
        self.check("KEY 'a b': must be 1 to 256 bytes", "lock", "a b", "--", "true")
        self.check("must be 1 to 256 bytes", "acquire", long_key)
        for text in ("1x", "s", "-1s", "1.5s", "1 s", "9223372037s", "99999999999999999999s"):
            self.check("must be a duration such as 500ms, 10s, 2m or 1h", "lock", "k", f"--timeout={text}",
                       "--", "true")
        for text in ("0", "500ms", "1500ms", "1y"):
            self.check("must be whole seconds", "lock", "k", "--lease", text, "--", "true")
        self.check("--timeout excludes --try", "lock", "k", "--try", "--timeout", "1s", "--", "true")
        self.check("--limit is required", "semaphore", "k", "--", "true")
        for text in ("0", "1048577", "x", "1.5"):
            self.check("whole number from 1 to 1048576", "semaphore", "k", "--limit", text, "--", "true")
        for text in ("-1", "256", "x", "1.5"):
            self.check("--conflict-exit-code '" + text + "': must be a whole number from 0 to 255", "lock", "k",
                       f"--conflict-exit-code={text}", "--", "true")
        self.check("not expected: --conflict-exit-code=1", "acquire", "k", "--conflict-exit-code=1")
        self.check("TOKEN is required", "release", "k")
        for token in ("nonsense", "0" * 31, "A" * 32):
            self.check("32 lowercase hex", "release", "k", token)
        self.check("not expected: x", "ping", "x")
        self.check("must be a duration", "stats", "--watch=x")
        self.check("--semaphore requires --limit", "acquire", "k", "--semaphore")
        self.check("--limit requires --semaphore", "acquire", "k", "--limit", "2")

    def test_mistakes_about_the_connection_are_told_for_flags_and_variables(self):
        self.check("need each other", "ping", "--tls-cert", "x")
        self.check("need each other", "ping", environment={"DFLOCKD_TLS_KEY": "x"})
        with open(self.path("two-lines"), "w", encoding="ascii") as file:
            file.write("a\nb\n")
        self.check(f'cannot use "{self.path("two-lines")}": it holds more than one line; expected a line of 1 to '
                   "65536 bytes (--auth-token-file)", "ping", "--auth-token-file", self.path("two-lines"))
        for server in ("::1", "host:0", "host:99999", "host:x", "http://host"):
            self.check("expected host:port", "ping", "--server", server)
            self.check("expected host:port", "lock", "k", "--server", server, "--", "true")


    def test_file_that_cannot_be_read_is_told_in_the_systems_words_and_with_who_named_it(self):
        none, directory = self.path("none"), self.path("directory")
        os.mkdir(directory)
        for flag in ("--auth-token-file", "--tls-ca", "--tls-cert", "--tls-key"):
            variable = "DFLOCKD_" + flag.removeprefix("--").replace("-", "_").upper()
            pair = {"DFLOCKD_TLS_CERT": __file__, "DFLOCKD_TLS_KEY": __file__} if flag.endswith(("cert", "key")) else {}
            for path, why in ((none, "No such file or directory"), (directory, "Is a directory")):
                self.check(f'cannot read "{path}": {why} ({flag})\n', "ping", flag, path, environment=pair)
                self.check(f'cannot read "{path}": {why} ({flag})\n', "ping", f"{flag}={path}", environment=pair)
                self.check(f'cannot read "{path}": {why} ({variable})\n', "ping", environment=pair | {variable: path})


    def test_address_of_a_service_in_a_variable_is_passed_over_with_a_warning(self):
        server = self.start_server()
        for variable in ("DFLOCKD_TLS", "DFLOCKD_TLS_CA", "DFLOCKD_TLS_CERT", "DFLOCKD_TLS_SERVER_NAME",
                         "DFLOCKD_AUTH_TOKEN", "DFLOCKD_AUTH_TOKEN_FILE", "DFLOCKD_SERVER"):
            arguments = ("--server", f"127.0.0.1:{server.port}") if variable == "DFLOCKD_SERVER" else ()
            status, _, err = self.run_ctl(server, "ping", *arguments, environment={variable: "tcp://10.96.3.7:6388"})
            self.assertEqual((0, f"dflockctl: {variable} is passed over: tcp:// or udp:// is what a container "
                              "platform sets for a service\n"), (status, err))
        status, _, err = self.run_ctl(server, "ping", environment={"DFLOCKD_PORT": "tcp://10.96.3.7:6388",
                                                                   "DFLOCKD_UNKNOWN": "x"})
        self.assertEqual((0, ""), (status, err))


class Commands(Case):
    def setUp(self):
        super().setUp()
        self.server = self.start_server()
        self.observer = self.connect(self.server)

    def test_environment_tells_key_token_and_fence(self):
        _, out, _ = self.run_ctl(self.server, "lock", "k", "--", "env", environment={"DFLOCKD_KEY": "outer", "X": "y"})
        variables = dict(line.split("=", 1) for line in out.splitlines() if "=" in line)
        self.assertEqual(("k", "y"), (variables["DFLOCKD_KEY"], variables["X"]))
        self.assertRegex(variables["DFLOCKD_TOKEN"], "^[0-9a-f]{32}$")
        self.assertEqual(int(variables["DFLOCKD_TOKEN"][:16], 16), int(variables["DFLOCKD_FENCE"]))
        self.assertEqual(1, out.count("DFLOCKD_KEY="))

    def test_lock_is_held_while_the_command_runs_and_free_afterwards(self):
        process = self.start(self.server, "lock", "k", *self.shell("echo $$ >$D/pid; read x"), stdin=subprocess.PIPE)
        self.wait_for_pid("pid")
        self.assertEqual("timeout", self.observer.ask("l", "k", "0"))
        process.communicate("end\n")
        self.assertRegex(self.observer.ask("l", "k", "0"), "^ok ")

    def test_lease_is_renewed_as_long_as_the_command_runs(self):
        process = self.start(self.server, "lock", "k", "--lease", lease_of(1),
                             *self.shell("echo $$ >$D/pid; read x; exit 4"), stdin=subprocess.PIPE)
        self.wait_for_pid("pid")
        self.observer.send("l", "k", str(3 * SLOWNESS))
        self.assertEqual("timeout", self.observer.read())  # three leases later
        process.communicate("end\n")
        self.assertEqual(4, process.returncode)

    def test_command_is_executed_without_a_shell(self):
        words = ("%s|", "$HOME", "a b", "", "'\"", ";exit 3", "--", "-x")
        status, out, _ = self.run_ctl(self.server, "lock", "k", "--", "printf", *words)
        self.assertEqual((0, "".join(f"{word}|" for word in words[1:])), (status, out))

    def test_standard_input_is_the_commands(self):
        text = "".join(f"line {i}\n" for i in range(10000))
        self.assertEqual((0, text, ""), self.run_ctl(self.server, "lock", "k", "--", "cat", text_in=text))

    def test_command_has_a_process_group_of_its_own(self):
        _, out, _ = self.run_ctl(self.server, "lock", "k", *self.shell("cat /proc/$$/stat; echo $$"))
        stat, pid = out.splitlines()
        self.assertEqual(pid, stat[stat.rindex(")") + 2:].split()[2])

    def test_no_descriptor_leaks_into_the_command(self):
        _, out, _ = self.run_ctl(self.server, "lock", "k", "--", "ls", "/proc/self/fd")
        self.assertEqual(["0", "1", "2", "3"], out.split())  # 3 is the directory

    def test_signals_are_forwarded_to_the_group(self):
        traps = "; ".join(f"trap 'echo {int(number)} >>$D/got; exit {int(number)}' {int(number)}" for number in FORWARDED)
        for number in FORWARDED:
            process = self.start(self.server, "lock", "k",
                                 *self.shell(f"{traps}; echo $$ >$D/pid; while :; do sleep 0.02; done"))
            self.wait_for_pid("pid")
            process.send_signal(number)
            _, err = process.communicate(timeout=PATIENCE)
            self.assertEqual(number, process.returncode, err)
            os.unlink(self.path("pid"))

    def test_signal_that_ends_the_command_gives_128_and_its_number(self):
        process = self.start(self.server, "lock", "k", *self.shell("echo $$ >$D/pid; sleep 100"))
        self.wait_for_pid("pid")
        process.send_signal(signal.SIGQUIT)
        self.assertEqual(128 + signal.SIGQUIT, process.wait(PATIENCE))

    def test_signals_that_are_ignored_stay_so(self):
        process = self.start(self.server, "lock", "k", *self.shell("echo $$ >$D/pid; while [ ! -e $D/end ]; do sleep 0.02; done; exit 5"),
                             preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        pid = self.wait_for_pid("pid")
        process.send_signal(signal.SIGHUP)
        os.kill(pid, signal.SIGHUP)
        (self.directory / "end").touch()
        self.assertEqual(5, process.wait(PATIENCE))

    def test_what_the_command_leaves_in_its_group_is_ended_before_the_release(self):
        script = ("(trap 'echo term >$D/term; exit' TERM; echo 1 >$D/ready; while :; do sleep 0.02; done) & echo $! >$D/left; "
                  "while [ ! -e $D/ready ]; do sleep 0.02; done; exit 3")
        self.assert_status(3, self.run_ctl(self.server, "lock", "k", *self.shell(script), stdout=subprocess.DEVNULL))
        self.assertFalse(is_alive(self.wait_for_pid("left")))
        self.assertEqual("term", self.wait_for_file("term"))

    def test_what_ignores_sigterm_is_killed_before_the_release(self):
        script = "(trap '' TERM; echo 1 >$D/ready; sleep 1000) & echo $! >$D/left; while [ ! -e $D/ready ]; do sleep 0.02; done"
        self.assert_status(0, self.run_ctl(self.server, "lock", "k", *self.shell(script)))
        self.assertFalse(is_alive(self.wait_for_pid("left")))

    def test_daemon_in_a_session_of_its_own_outlives_the_command(self):
        script = "setsid sh -c 'echo $$ >$D/daemon; exec sleep 1000' >/dev/null 2>&1 & while [ ! -s $D/daemon ]; do sleep 0.02; done"
        self.assert_status(0, self.run_ctl(self.server, "lock", "k", *self.shell("export D; " + script)))
        daemon = self.wait_for_pid("daemon")
        self.addCleanup(os.kill, daemon, signal.SIGKILL)
        self.assertTrue(is_alive(daemon))


class Waiting(Case):
    def setUp(self):
        super().setUp()
        self.server = self.start_server()
        self.holder = self.connect(self.server)
        self.token = self.holder.ask("l", "k", "0 600").split()[1]

    def test_lock_is_granted_when_its_turn_comes(self):
        process = self.start(self.server, "lock", "k", "--", "echo", "mine")
        self.assertTrue(eventually(lambda: self.holder.waiters("k") == 1))
        self.assertEqual("ok", self.holder.ask("r", "k", self.token))
        out, err = process.communicate(timeout=PATIENCE)
        self.assertEqual((0, "mine\n", ""), (process.returncode, out, err))

    def test_signal_ends_the_wait_and_leaves_no_waiter(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            for words in (("lock", "k", "--", "true"), ("acquire", "k")):
                process = self.start(self.server, *words)
                self.assertTrue(eventually(lambda: self.holder.waiters("k") == 1))
                process.send_signal(number)
                self.assertEqual(128 + number, process.wait(PATIENCE))
                self.assertTrue(eventually(lambda: self.holder.waiters("k") == 0))

    def test_hangup_that_is_ignored_does_not_end_the_wait(self):
        process = self.start(self.server, "lock", "k", "--", "true",
                             preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        self.assertTrue(eventually(lambda: self.holder.waiters("k") == 1))
        process.send_signal(signal.SIGHUP)
        self.assertEqual("ok", self.holder.ask("r", "k", self.token))
        self.assertEqual(0, process.wait(PATIENCE))


class Semaphores(Case):
    def test_as_many_as_the_limit_run_at_a_time(self):
        server = self.start_server()
        words = ("semaphore", "k", "--limit", "2")
        holders = [self.start(server, *words, *self.shell(f"echo $DFLOCKD_TOKEN >$D/{name}; read x; exit 6"),
                              stdin=subprocess.PIPE) for name in "ab"]
        self.assertNotEqual(self.wait_for_file("a"), self.wait_for_file("b"))
        self.assert_status(124, self.run_ctl(server, *words, "--try", "--", "true"))
        self.assert_status(0, self.run_ctl(server, "lock", "k", "--try", "--", "true"))  # another namespace
        holders[0].communicate("\n", PATIENCE)
        self.assertEqual(6, holders[0].returncode)
        self.assert_status(0, self.run_ctl(server, *words, "--try", "--", "true"))


if __name__ == "__main__":
    unittest.main()
