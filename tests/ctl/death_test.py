#!/usr/bin/env python3
"""Whoever dies, stops or is cut off: the command and all that it started never run without the lock."""

import os
import signal
import subprocess
import time
import unittest

from case import PATIENCE, SLOWNESS, Case, Proxy, eventually, is_alive, is_stopped, lease_of, stat_of

# A command with a child in its group, a child in a session of its own, and one there that has lost its
# parent. All ignore SIGTERM. Their numbers are in the files a to d.
FAMILY = """trap '' TERM
sh -c 'trap "" TERM; echo $$ >$D/b; while :; do sleep 0.1; done' &
setsid sh -c 'trap "" TERM; echo $$ >$D/c; while :; do sleep 0.1; done' &
(setsid sh -c 'trap "" TERM; echo $$ >$D/d; while :; do sleep 0.1; done' &)
echo $$ >$D/a
while :; do sleep 0.1; done"""


class Family(Case):
    def setUp(self):
        super().setUp()
        self.server = self.start_server()
        self.other = self.connect(self.server)

    def start_family(self, lease="30s", server=None, script=FAMILY, flags=()):
        process = self.start(server or self.server, "lock", "k", "--lease", lease, *flags,
                             *self.shell("export D; " + script))
        self.family = [self.wait_for_pid(name) for name in "abcd"]
        for pid in self.family:
            self.addCleanup(lambda pid=pid: is_alive(pid) and os.kill(pid, signal.SIGKILL))
        self.supervisor = stat_of(self.family[0])[1]
        self.assertEqual(process.pid, stat_of(self.supervisor)[1])
        return process

    def alive(self):
        return [pid for pid in self.family if is_alive(pid)]

    def assert_all_dead_when_granted(self):
        """Waits for the lock, and looks who lives at the moment of the grant."""
        reply = self.other.read()
        self.assertEqual([], self.alive())
        self.assertRegex(reply, "^ok ")

    def queue_up(self):
        self.other.send("l", "k", "60 60")
        observer = self.connect(self.server)
        self.assertTrue(eventually(lambda: observer.waiters("k") == 1))


class Deaths(Family):
    def test_sigkill_of_dflockctl_ends_all_before_the_next_is_granted(self):
        process = self.start_family()
        self.queue_up()
        process.kill()
        begun = time.monotonic()
        self.assert_all_dead_when_granted()
        self.assertLess(time.monotonic() - begun, 20)  # not with the lease

    def test_other_signals_that_kill_dflockctl_do_so_too(self):
        for number in (signal.SIGSEGV, signal.SIGALRM, signal.SIGABRT, signal.SIGPIPE, signal.SIGRTMIN):
            process = self.start_family()
            self.queue_up()
            process.send_signal(number)
            self.assert_all_dead_when_granted()
            self.assertNotEqual(0, process.wait(PATIENCE))  # AddressSanitizer exits with 1
            self.other.close()
            self.other = self.connect(self.server)
            for name in "abcd":
                os.unlink(self.path(name))

    def test_sigkill_of_the_supervisor_ends_all(self):
        process = self.start_family()
        self.queue_up()
        os.kill(self.supervisor, signal.SIGKILL)
        self.assert_all_dead_when_granted()
        _, err = process.communicate(timeout=PATIENCE)
        self.assertEqual(125, process.returncode)
        self.assertIn("was killed", err)

    def test_sigkill_of_the_command_ends_the_rest_of_its_group(self):
        process = self.start_family()
        self.queue_up()
        command, in_group, *daemons = self.family
        os.kill(command, signal.SIGKILL)
        self.assertRegex(self.other.read(), "^ok ")
        self.assertFalse(is_alive(in_group))
        self.assertEqual(daemons, self.alive())
        self.assertEqual(128 + signal.SIGKILL, process.wait(PATIENCE))

    def test_dflockctl_that_is_stopped_loses_the_lock_and_all_are_dead_before(self):
        process = self.start_family(lease=lease_of(2))
        self.queue_up()
        process.send_signal(signal.SIGSTOP)
        self.assert_all_dead_when_granted()
        process.send_signal(signal.SIGCONT)
        _, err = process.communicate(timeout=PATIENCE)
        self.assertEqual(123, process.returncode)
        self.assertIn('"k"', err)

    def test_supervisor_that_is_stopped_does_not_keep_all_alive(self):
        process = self.start_family(lease=lease_of(2))
        os.kill(self.supervisor, signal.SIGSTOP)
        self.server.send_signal(signal.SIGSTOP)
        begun = time.monotonic()
        self.assertTrue(eventually(lambda: not self.alive()))
        self.assertLess(time.monotonic() - begun, 2.5 * SLOWNESS)
        self.server.send_signal(signal.SIGCONT)
        self.assertEqual(123, process.wait(PATIENCE))

    def test_children_that_dflockctl_was_started_with_are_spared(self):
        script = (f"sleep 1000 & echo $! >{self.path('sibling')}; exec env DFLOCKD_SERVER={self.server.address} "
                  f"\"$DFLOCKCTL_BINARY\" lock k -- sh -c 'D={self.directory}; echo $$ >$D/a; exec sleep 1000'")
        process = subprocess.Popen(["sh", "-c", script], stderr=subprocess.PIPE, text=True)
        self.addCleanup(self.end, process)
        sibling, command = self.wait_for_pid("sibling"), self.wait_for_pid("a")
        self.addCleanup(os.kill, sibling, signal.SIGKILL)
        os.kill(stat_of(command)[1], signal.SIGKILL)
        self.assertEqual(125, process.wait(PATIENCE))
        self.assertFalse(is_alive(command))
        self.assertTrue(is_alive(sibling))


class Losses(Family):
    # Notes SIGTERM, and goes on.
    STUBBORN = FAMILY.replace("trap '' TERM\n", "trap 'echo term >$D/term' TERM\n", 1)

    def check_server_gone(self, number):
        lease = 3 * SLOWNESS
        process = self.start_family(lease=lease_of(3), script=self.STUBBORN)
        # The latest renewal was before this, so the lease ends before `lease` from now.
        self.server.send_signal(number)
        begun = time.monotonic()
        self.assertEqual("term", self.wait_for_file("term"))
        self.assertLess(time.monotonic() - begun, lease)
        self.assertTrue(eventually(lambda: not self.alive()))
        self.assertLess(time.monotonic() - begun, lease)
        _, err = process.communicate(timeout=PATIENCE)
        self.assertEqual(123, process.returncode, err)
        self.assertIn("could not be renewed", err)
        if number == signal.SIGSTOP:
            self.server.send_signal(signal.SIGCONT)

    def test_server_that_stands_still_brings_sigterm_and_then_sigkill_before_the_lease_is_over(self):
        self.check_server_gone(signal.SIGSTOP)

    def test_server_that_is_killed_brings_sigterm_and_then_sigkill_before_the_lease_is_over(self):
        self.check_server_gone(signal.SIGKILL)

    def test_command_may_end_itself_on_sigterm(self):
        process = self.start(self.server, "lock", "k", "--lease", lease_of(3),
                             *self.shell("trap 'echo bye >$D/bye; exit 0' TERM; echo 1 >$D/a; while :; do sleep 0.02; done"))
        self.wait_for_file("a")
        self.server.send_signal(signal.SIGSTOP)
        self.assertEqual(123, process.wait(PATIENCE))
        self.assertEqual("bye", self.wait_for_file("bye"))
        self.server.send_signal(signal.SIGCONT)

    def test_lock_that_the_server_does_not_know_any_more_is_fatal_at_once(self):
        process = self.start_family(lease=lease_of(2), script="echo $DFLOCKD_TOKEN >$D/token; " + FAMILY)
        self.assertEqual("ok", self.other.ask("r", "k", self.wait_for_file("token")))
        self.assertTrue(eventually(lambda: not self.alive()))
        _, err = process.communicate(timeout=PATIENCE)
        self.assertEqual((123, f'dflockctl: {self.server.address}: cannot keep "k": the server does not know the '
                               'grant any more\n'), (process.returncode, err))

    def test_lock_that_was_lost_unnoticed_gives_123(self):
        status, _, err = self.run_ctl(self.server, "lock", "k", *self.shell(
            f'DFLOCKD_SERVER={self.server.address} "$DFLOCKCTL_BINARY" release k $DFLOCKD_TOKEN'),
            environment={"DFLOCKCTL_BINARY": os.environ["DFLOCKCTL_BINARY"]})
        self.assertEqual(123, status)
        self.assertIn("not held to the end", err)

    def test_connection_that_is_cut_ends_all(self):
        proxy = Proxy(self.server.port)
        self.addCleanup(proxy.close)
        process = self.start_family(server=f"127.0.0.1:{proxy.port}")
        proxy.cut()
        self.assertTrue(eventually(lambda: not self.alive()))
        self.assertEqual(123, process.wait(PATIENCE))

    def test_while_it_is_not_certain_all_are_stopped(self):
        proxy = Proxy(self.server.port)
        self.addCleanup(proxy.close)
        process = self.start_family(server=f"127.0.0.1:{proxy.port}", lease="60s")
        self.server.send_signal(signal.SIGSTOP)  # so that it cannot tell whether the grant is still there
        proxy.cut()
        self.assertTrue(eventually(lambda: all(is_stopped(pid) for pid in self.family)))
        self.server.send_signal(signal.SIGCONT)  # and it is not
        self.assertTrue(eventually(lambda: not self.alive()))
        self.assertEqual(123, process.wait(PATIENCE))

    def test_cut_connection_costs_nothing_if_the_server_keeps_grants(self):
        server = self.start_server("--auto-release-on-disconnect=false")
        proxy = Proxy(server.port)
        self.addCleanup(proxy.close)
        script = FAMILY.replace("while :; do sleep 0.1; done",
                                "while [ ! -e $D/end ]; do sleep 0.1; done; exit 9")
        process = self.start_family(lease=lease_of(3), server=f"127.0.0.1:{proxy.port}", script=script,
                                    flags=["--no-auto-release"])
        proxy.cut()
        deadline = time.monotonic() + 4 * SLOWNESS
        while time.monotonic() < deadline:
            self.assertFalse(any(is_stopped(pid) for pid in self.family))
            time.sleep(0.02)
        self.assertEqual(self.family, self.alive())
        (self.directory / "end").touch()
        _, err = process.communicate(timeout=PATIENCE)
        self.assertEqual((9, ""), (process.returncode, err))


if __name__ == "__main__":
    unittest.main()
