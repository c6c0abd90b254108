#!/usr/bin/env python3
"""dflockctl lock under a shell with job control, on a pseudo-terminal."""

import contextlib
import os
import pty
import select
import signal
import time
import unittest
from pathlib import Path

from case import CTL, PATIENCE, Case, clean_environment, eventually, is_alive, is_stopped, lease_of, stat_of


class Shell:
    """bash on a terminal of its own."""

    def __init__(self, server):
        self.seen = ""
        environment = clean_environment(DFLOCKD_SERVER=server.address, PS1="READY> ", CTL=CTL, TERM="dumb",
                                        HISTFILE="/dev/null")
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.execvpe("bash", ["bash", "--norc", "--noediting", "-i"], environment)
        self.wait_for("READY> ")

    def type(self, text):
        os.write(self.terminal, text.encode())

    def wait_for(self, text):
        """Reads until the text has come, and forgets all up to it."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.seen:
            ready, _, _ = select.select([self.terminal], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise AssertionError(f"{text!r} does not come; there is {self.seen!r}")
            self.seen += os.read(self.terminal, 65536).decode()
        before, self.seen = self.seen.split(text, 1)
        return before

    def run(self, line):
        """Runs a command to the next prompt and returns what it printed."""
        self.type(line + "\n")
        self.wait_for("\n")
        return self.wait_for("READY> ")

    def status(self):
        return int(self.run("echo $?").split()[0])

    def close(self):
        for number in (signal.SIGHUP, signal.SIGKILL):
            os.kill(self.pid, number)
        os.close(self.terminal)
        os.waitpid(self.pid, 0)


class Terminals(Case):
    def setUp(self):
        super().setUp()
        self.server = self.start_server()
        self.observer = self.connect(self.server)
        self.sh = Shell(self.server)
        self.addCleanup(self.sh.close)
        self.sh.run(f"D={self.directory}; export D")

    def begin(self, command, flags="", suffix=""):
        self.sh.type(f"$CTL lock k {flags} -- {command} {suffix}\n")
        self.sh.wait_for("\n")

    def in_front(self):
        """The name of the process whose group has the terminal."""
        with contextlib.suppress(OSError):
            return Path(f"/proc/{os.tcgetpgrp(self.sh.terminal)}/comm").read_text().strip()

    def begin_sleeping(self, flags="", suffix=""):
        # Without `exec`, dash would miss a signal that comes while it forks.
        self.begin("sh -c 'echo $$ >$D/pid; exec sleep 1000'", flags, suffix)
        return self.wait_for_pid("pid")

    def test_ctrl_c_ends_the_command(self):
        command = self.begin_sleeping()
        self.sh.type("\x03")
        self.sh.wait_for("READY> ")
        self.assertEqual(130, self.sh.status())
        self.assertFalse(is_alive(command))
        self.assertFalse(self.observer.is_held("k"))

    def test_ctrl_c_reaches_the_command_in_a_pipeline_too(self):
        command = self.begin_sleeping(suffix="| cat")
        self.sh.type("\x03")
        self.sh.wait_for("READY> ")
        self.assertTrue(eventually(lambda: not is_alive(command)))

    def test_ctrl_backslash_ends_the_command_and_not_dflockctl_alone(self):
        command = self.begin_sleeping()
        self.sh.type("\x1c")
        self.sh.wait_for("READY> ")
        self.assertEqual(131, self.sh.status())
        self.assertFalse(is_alive(command))

    def test_command_reads_from_the_terminal(self):
        self.begin("sh -c 'read line; echo \"<$line>\"'")
        self.sh.type("hello\n")
        self.sh.wait_for("<hello>")
        self.sh.wait_for("READY> ")
        self.assertEqual(0, self.sh.status())

    def test_command_reads_from_the_terminal_in_a_pipeline(self):
        self.begin("sh -c 'read line; echo \"<$line>\"'", suffix="| cat")
        self.sh.type("hello\n")
        self.sh.wait_for("<hello>")
        self.sh.wait_for("READY> ")

    def test_ctrl_z_gives_the_prompt_back_and_fg_continues(self):
        self.begin("sh -c 'echo $$ >$D/pid; read line; echo \"<$line>\"; exit 5'")
        command = self.wait_for_pid("pid")
        self.sh.type("\x1a")
        self.sh.wait_for("Stopped")
        self.sh.wait_for("READY> ")
        self.assertTrue(is_stopped(command))
        self.assertEqual("here\r\n", self.sh.run("echo here"))
        self.sh.type("fg\n")
        self.sh.wait_for("\n")
        self.assertTrue(eventually(lambda: not is_stopped(command)))
        self.sh.type("hello\n")
        self.sh.wait_for("<hello>")
        self.sh.wait_for("READY> ")
        self.assertEqual(5, self.sh.status())

    def test_ctrl_z_works_twice_and_in_a_pipeline(self):
        command = self.begin_sleeping(suffix="| cat")
        for _ in range(2):
            self.sh.type("\x1a")
            self.sh.wait_for("Stopped")
            self.sh.wait_for("READY> ")
            self.assertTrue(eventually(lambda: is_stopped(command)))
            self.sh.type("fg\n")
            self.sh.wait_for("\n")
            self.assertTrue(eventually(lambda: not is_stopped(command)))
            self.assertTrue(eventually(lambda: os.tcgetpgrp(self.sh.terminal) != self.sh.pid))
        self.sh.type("\x03")
        self.sh.wait_for("READY> ")
        self.assertTrue(eventually(lambda: not is_alive(command)))

    def test_command_in_the_background_stops_when_it_reads_and_fg_lets_it(self):
        self.begin("sh -c 'echo $$ >$D/pid; read line; echo \"<$line>\"'", suffix="&")
        command = self.wait_for_pid("pid")
        self.assertTrue(eventually(lambda: is_stopped(command)))
        self.assertTrue(eventually(lambda: "Stopped" in self.sh.run("jobs")))
        self.sh.type("fg\n")
        self.assertTrue(eventually(lambda: not is_stopped(command)))
        self.sh.type("hello\n")
        self.sh.wait_for("<hello>")

    def test_bg_lets_it_run_on_and_fg_brings_it_back(self):
        command = self.begin_sleeping()
        self.sh.type("\x1a")
        self.sh.wait_for("Stopped")
        self.sh.wait_for("READY> ")
        self.sh.run("bg")
        self.assertTrue(eventually(lambda: not is_stopped(command)))
        self.sh.type("fg\n")
        self.sh.wait_for("\n")
        self.assertTrue(eventually(lambda: os.tcgetpgrp(self.sh.terminal) != self.sh.pid))
        self.sh.type("\x03")
        self.sh.wait_for("READY> ")
        self.assertEqual(130, self.sh.status())

    def test_ctrl_z_while_waiting_for_the_lock_stops_the_wait(self):
        token = self.observer.ask("l", "k", "0 600").split()[1]
        self.begin("echo granted")
        self.assertTrue(eventually(lambda: self.observer.waiters("k") == 1))
        self.sh.type("\x1a")
        self.sh.wait_for("Stopped")
        self.sh.wait_for("READY> ")
        self.sh.type("fg\n")
        self.sh.wait_for("\n")
        self.assertEqual("ok", self.observer.ask("r", "k", token))
        self.sh.wait_for("granted")

    def test_job_that_stays_stopped_is_killed_before_its_lease_is_over(self):
        command = self.begin_sleeping(flags=f"--lease {lease_of(2)}")
        self.observer.send("l", "k", "60")
        self.sh.type("\x1a")
        self.sh.wait_for("Stopped")
        self.sh.wait_for("READY> ")
        reply = self.observer.read()
        self.assertFalse(is_alive(command))
        self.assertRegex(reply, "^ok ")
        self.sh.type("fg\n")
        self.sh.wait_for("could not be renewed")
        self.sh.wait_for("READY> ")
        self.assertEqual(123, self.sh.status())

    def test_terminal_is_the_shells_again_however_the_command_ends(self):
        for command in ("true", "sh -c 'kill -9 $$'", "no-such-command", "sh -c 'kill -9 $PPID'"):
            self.begin(command)
            self.sh.wait_for("READY> ")
            self.assertEqual("here\r\n", self.sh.run("echo here"))

    def test_interactive_shell_can_be_the_command(self):
        self.begin("env PS1='INNER> ' bash --norc --noediting -i")
        self.sh.wait_for("INNER> ")
        self.sh.type("sleep 1000\n")
        self.sh.wait_for("\n")
        self.assertTrue(eventually(lambda: self.in_front() == "sleep"))
        self.sh.type("\x1a")
        self.sh.wait_for("Stopped")
        self.sh.wait_for("INNER> ")
        self.sh.type("kill %1; fg; exit 4\n")
        self.sh.wait_for("READY> ")
        self.assertEqual(4, self.sh.status())


class SessionLeaders(Case):
    def test_ctrl_z_does_nothing_where_no_shell_could_continue(self):
        server = self.start_server()
        pid, terminal = pty.fork()
        if pid == 0:
            os.execvpe(CTL, [CTL, "lock", "k", *self.shell("echo $$ >$D/pid; read line; echo \"<$line>\"; exit 3")],
                       clean_environment(DFLOCKD_SERVER=server.address))
        self.addCleanup(os.close, terminal)
        command = self.wait_for_pid("pid")
        os.write(terminal, b"\x1a")
        os.write(terminal, b"hello\n")
        seen = b""
        while b"<hello>" not in seen:
            seen += os.read(terminal, 4096)
        self.assertEqual(3, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        self.assertIsNone(stat_of(command))


if __name__ == "__main__":
    unittest.main()
