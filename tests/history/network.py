"""Network namespaces for a server and its clients, with a bad network between them. Root only."""

import os
import shutil
import subprocess


def is_possible():
    """Whether this process may make namespaces and TUN devices."""
    if os.geteuid() != 0 or not os.path.exists("/dev/net/tun") or shutil.which("ip") is None:
        return False
    name = f"dflockd-{os.getpid()}-try"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    if made.returncode != 0:
        return False
    device = subprocess.run(["ip", "-n", name, "tuntap", "add", "mode", "tun", "dev", "try"],
                            capture_output=True, check=False)
    subprocess.run(["ip", "netns", "delete", name], check=True)
    return device.returncode == 0


class Loopback:
    """No network of its own: everybody is on 127.0.0.1."""

    namespaces = False
    bind = "127.0.0.1"

    def server_command(self, words):
        return words

    def client_command(self, _slot, words):
        return words

    def server_address(self, _slot):
        return "127.0.0.1"

    def close(self):
        pass


class Namespaces:
    """A host for the server and one for each slot, with a link from each to the server's."""

    namespaces = True
    bind = "0.0.0.0"

    def __init__(self, relay, slots, random):
        self.prefix = f"dflockd-{os.getpid()}"
        self.made = []
        self.relays = {}
        try:
            self.server = self._make("server")
            for number, slot in enumerate(slots):
                self._connect(relay, slot, number, random.randrange(1 << 32))
        except BaseException:
            self.close()
            raise

    def _make(self, name):
        space = f"{self.prefix}-{name}"
        subprocess.run(["ip", "netns", "add", space], check=True)
        self.made.append(space)
        self._ip(space, "link", "set", "lo", "up")
        return space

    @staticmethod
    def _ip(space, *words):
        subprocess.run(["ip", "-n", space, *words], check=True)

    def _connect(self, relay, slot, number, seed):
        space = self._make(slot)
        process = subprocess.Popen([relay, str(seed), self.server, f"to{number}", space, "wire"],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                   start_new_session=True)
        self.relays[slot] = process
        self._expect_ok(slot)
        here, there = f"10.77.{number}.1", f"10.77.{number}.2"
        self._ip(self.server, "addr", "add", here, "peer", there, "dev", f"to{number}")
        self._ip(self.server, "link", "set", f"to{number}", "up")
        self._ip(space, "addr", "add", there, "peer", here, "dev", "wire")
        self._ip(space, "link", "set", "wire", "up")

    def _expect_ok(self, slot):
        answer = self.relays[slot].stdout.readline()
        if answer != "ok\n":
            raise RuntimeError(f"the network of {slot} answers {answer!r}")

    def _number(self, slot):
        return list(self.relays).index(slot)

    def server_command(self, words):
        return ["ip", "netns", "exec", self.server, *words]

    def client_command(self, slot, words):
        return ["ip", "netns", "exec", f"{self.prefix}-{slot}", *words]

    def server_address(self, slot):
        return f"10.77.{self._number(slot)}.1"

    def set_weather(self, slot, delay=0, jitter=0, lost=0, doubled=0):
        """Milliseconds and percents, both ways."""
        relay = self.relays[slot]
        relay.stdin.write(f"{delay} {jitter} {lost} {doubled}\n")
        relay.stdin.flush()
        self._expect_ok(slot)

    def set_link(self, slot, state):
        """The client's end `up` or `down`."""
        space = f"{self.prefix}-{slot}"
        self._ip(space, "link", "set", "wire", state)

    def close(self):
        for relay in self.relays.values():
            relay.stdin.close()
            try:
                relay.wait(5)
            except subprocess.TimeoutExpired:
                relay.kill()
                relay.wait()
            relay.stdout.close()
        for space in self.made:
            subprocess.run(["ip", "netns", "delete", space], check=False)
        self.relays = {}
        self.made = []
