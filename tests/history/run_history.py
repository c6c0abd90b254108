#!/usr/bin/env python3
"""Clients fight for locks of the real server while both are tormented; then their histories are checked.

Torments: SIGKILL and SIGSTOP of clients; SIGSTOP of the server, SIGKILL and SIGTERM and another start with the same
fence file, SIGHUP; and, as root, a network that delays, reorders, doubles and loses packets, and that is cut.

A run is made of rounds, by turns without and with TLS, two of four with --auto-release-on-disconnect=false, four of
eight with a secret, each with a seed of its own. What went on is printed at the end of each round; a round that fails
leaves its directory. The seed repeats the choices, not the machine's timing.

The programs come from the directory that BUILD names, or each from DFLOCKD_BINARY, HISTORY_CLIENT, HISTORY_CHECK and
PACKET_RELAY.
"""

import argparse
import contextlib
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from certificates import self_signed  # noqa: E402
from cast import RELAY, Diary, Failure, PressureGauge, Server, Tormentor, check, checker, clients_of  # noqa: E402
from network import Loopback, Namespaces, is_possible  # noqa: E402


class Kind:
    """What kind of round a seed is for: in eight of them, each kind there is."""

    def __init__(self, seed):
        self.tls = seed % 2 == 1
        self.auto_release = seed % 4 < 2
        self.secret = f"secret of {seed}" if seed % 8 >= 4 else ""

    def __str__(self):
        return (("TLS" if self.tls else "plain") + (", with a secret" if self.secret else "") +
                ("" if self.auto_release else ", grants outlive connections"))


def run_round(options, seed, seconds, directory, totals):
    """Runs one round and returns what went wrong, or nothing."""
    kind = Kind(seed)
    choices = random.Random(seed)
    slots = [f"c{number}" for number in range(options.clients)]
    with contextlib.ExitStack() as stack:
        network = Loopback()
        if options.network:
            network = Namespaces(RELAY, slots, choices)
        stack.callback(network.close)
        if kind.tls:
            addresses = {network.server_address(slot) for slot in slots}
            self_signed(directory, ",".join(f"IP:{address}" for address in addresses))
        diary = Diary(directory / "driver.history")
        stack.callback(diary.close)
        gauge = PressureGauge(diary)
        stack.callback(gauge.close)
        server = Server(directory, network, diary, kind.tls, kind.auto_release, kind.secret)
        stack.callback(server.close)
        clients = clients_of(slots, options.workers, directory, network, server, diary,
                             directory / "server.crt" if kind.tls else None, kind.secret)
        tormentor = Tormentor(choices, server, clients, network)
        trouble = ""
        try:
            server.start()
            for client in clients:
                stack.callback(client.close)
                client.start(choices.randrange(1 << 32))
            tormentor.run(seconds)
            if tormentor.server_is_busy:
                tormentor.let_server_go_on()
            for client in clients:
                client.finish()
            server.drain()
        except (Failure, subprocess.SubprocessError) as failure:
            trouble = str(failure)
        totals["faults"].update(tormentor.counts)
    command = checker(options.margin_ms, kind.auto_release)
    status, output = check(directory, command)
    for line in output.splitlines():
        for name, number in re.findall(r"([a-z][a-z -]*?) (\d+)(?:,|$)", line):
            totals["checked"][name.strip()] += int(number)
    print(output, end="")
    print("faults", ", ".join(f"{what} {count}" for what, count in sorted(tormentor.counts.items())))
    if not trouble and status != 0:
        trouble = f"the history cannot be; look again: {shlex.join(command)} {directory}/*.history"
    return trouble


def parse_arguments():
    parser = argparse.ArgumentParser(description="Checked histories of the real server under faults")
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--round-seconds", type=float, default=60, help="how long a round takes at most")
    parser.add_argument("--seed", type=int, help="of the first round; the next have those after it")
    parser.add_argument("--clients", type=int, default=6, help="client processes")
    parser.add_argument("--workers", type=int, default=6, help="users in each of them")
    parser.add_argument("--loopback", action="store_true", help="leave the network alone, also as root")
    parser.add_argument("--margin-ms", type=int, default=1000, help="how late anything may be on this machine")
    parser.add_argument("--keep", action="store_true", help="leave the directories also of what passed")
    options = parser.parse_args()
    options.network = not options.loopback and is_possible()
    if not options.loopback and not options.network:
        print("no network faults: they take root, network namespaces and TUN devices")
    return options


def print_totals(totals, rounds):
    print(f"== {rounds} rounds")
    print("checked:", ", ".join(f"{what} {count}" for what, count in totals["checked"].items()))
    faults = sum(totals["faults"].values())
    print(f"faults: {faults} in all;", ", ".join(f"{what} {count}" for what, count in sorted(totals["faults"].items())))


def main():
    options = parse_arguments()
    for caught in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(caught, lambda *_: sys.exit(1))
    left = options.minutes * 60 or options.seconds
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 31)
    totals = {"faults": Counter(), "checked": Counter()}
    rounds = 0
    failed = []
    while left > 0:
        seconds = min(left, options.round_seconds)
        left -= seconds
        rounds += 1
        directory = Path(tempfile.mkdtemp(prefix="dflockd-history-"))
        print(f"== seed {seed}, {seconds:.0f} s, {Kind(seed)}, "
              f"{'namespaces' if options.network else 'loopback'}", flush=True)
        keep = True
        try:
            trouble = run_round(options, seed, seconds, directory, totals)
            keep = bool(trouble) or options.keep
        except KeyboardInterrupt:
            keep = False
            raise SystemExit(1) from None
        finally:
            if keep:
                print(f"the histories and logs are in {directory}")
            else:
                shutil.rmtree(directory)
        if trouble:
            failed.append(seed)
            print(f"FAILED with --seed {seed}: {trouble}", flush=True)
        seed += 1
    print_totals(totals, rounds)
    if failed:
        print("FAILED, seeds", *failed)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
