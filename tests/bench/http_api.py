"""What the HTTP API costs: the CPU time of cycles, of requests that touch no lock, compared with nginx,
and of grants to long polls, and the memory of those."""

import contextlib
import os
import pathlib
import pwd
import re
import select
import socket
import statistics
import subprocess
import time

from footprint import Client, wait_for_waiters
from servers import BenchError, cpu_seconds, free_port, installed, stop
from throughput import WARMUP_S, print_table, progress, verdict, verdict_at_least

CYCLE_LIMIT = 3  # CPU of a cycle over HTTP, as a multiple of one over TCP
HEALTH_LIMIT = 0.7  # requests in a CPU second, as a multiple of nginx's
POLL_LIMIT = 4096  # bytes of a parked long poll with its connection and its session
GRANT_LIMIT = 1.5  # CPU of a grant from a long queue, as a multiple of one from a short queue
POLLS = 5_000
FEW_POLLS = 50
CONNECTIONS = 100
HEALTH_BODY = r'{"status":"ok"}\n'
KEY = "key-00000000"
PATIENT = ("--read-timeout=3600", "--http-session-idle-timeout=3600")
NGINX = """\
daemon off;
user {user};
worker_processes 1;
error_log stderr;
pid {directory}/pid;
events {{
  worker_connections 1024;
}}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location = /health {{
      default_type application/json;
      add_header Cache-Control no-store;
      add_header X-Content-Type-Options nosniff;
      return 200 '{body}';
    }}
  }}
}}
"""


@contextlib.contextmanager
def dflockd(bench, *arguments, name="dflockd"):
    """A server with an HTTP port, and that port."""
    port = free_port()
    with bench.server(name, f"--http-port={port}", *arguments) as server:
        yield server, port


def nginx(bench):
    """One worker that answers what dflockd answers on /health, from memory and without a log."""

    def command_in(directory):
        port = free_port()
        configuration = pathlib.Path(directory, "nginx.conf")
        user = pwd.getpwuid(os.geteuid()).pw_name  # or root would hand over to nobody
        configuration.write_text(
            NGINX.format(user=user, directory=directory, port=port, body=HEALTH_BODY)
        )
        return [installed("nginx"), "-p", directory, "-c", configuration, "-e", "stderr"], port

    return bench.running("nginx", command_in)


# --- Cycles ---


def cycles(bench, settings):
    """Prints what a cycle costs over HTTP, and over TCP."""
    loads = (
        ("100 connections, one in flight", 1, CYCLE_LIMIT),
        ("100 connections, 16 pipelined", 16, None),
    )
    rows = []
    with dflockd(bench) as (server, port):
        for title, pipeline, limit in loads:
            rounds = []
            for turn in range(settings.runs):
                progress(f"HTTP, {title}: round {turn + 1} of {settings.runs}")
                results = [
                    bench.load(
                        server,
                        duration=settings.duration,
                        warmup=WARMUP_S,
                        connections=CONNECTIONS,
                        pipeline=pipeline,
                        **flags,
                    )
                    for flags in ({}, {"http": True, "port": port})
                ]
                rounds.append([result["server_cpu_us_per_cycle"] for result in results])
            tcp, http = (statistics.median(column) for column in zip(*rounds))
            ratio = statistics.median(b / a for a, b in rounds)
            rows.append(
                [title, f"{tcp:.2f}", f"{http:.2f}", f"{ratio:.2f}", verdict(ratio, limit)]
            )
    print("\n## Acquire and release over HTTP\n")
    headings = ["load", "CPU a cycle over TCP, µs", "over HTTP, µs", "ratio", "limit"]
    print_table(headings, rows)


# --- Requests that touch no lock ---


def family_cpu_seconds(pid):
    """What a process and its children have used."""
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(cpu_seconds(int(process)) for process in (pid, *children))


def requests_per_cpu_second(server, port, duration):
    """Puts wrk on /health."""
    command = [installed("wrk"), "--threads=1", f"--connections={CONNECTIONS}"]
    command += [f"--duration={max(1, round(duration))}s", f"http://127.0.0.1:{port}/health"]
    before = family_cpu_seconds(server.pid)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        output, _ = process.communicate()
    finally:
        stop(process)
    used = family_cpu_seconds(server.pid) - before
    answered = re.search(r"^ +(\d+) requests in ", output, re.MULTILINE)
    if process.returncode != 0 or not answered or re.search("Non-2xx|Socket errors", output):
        raise BenchError(f"wrk on {server.name} failed: {' / '.join(output.split(chr(10))[-4:])}")
    return int(answered[1]) / used


def health(bench, settings):
    """Prints how many requests dflockd and nginx answer in a CPU second."""
    rounds = []
    with dflockd(bench) as (server, port), nginx(bench) as other:
        for turn in range(settings.runs):
            progress(f"HTTP, /health: round {turn + 1} of {settings.runs}")
            rounds.append(
                [
                    requests_per_cpu_second(server, port, settings.duration),
                    requests_per_cpu_second(other, other.port, settings.duration),
                ]
            )
    ratio = statistics.median(a / b for a, b in rounds)
    ours, theirs = (statistics.median(column) for column in zip(*rounds))
    rows = [
        ["dflockd", f"{1e6 / ours:.2f}", f"{ours:,.0f}", f"{ratio:.2f}"],
        ["nginx", f"{1e6 / theirs:.2f}", f"{theirs:,.0f}", "1.00"],
    ]
    rows[0].append(verdict_at_least(ratio, HEALTH_LIMIT))
    rows[1].append("")
    print("\n## GET /health\n")
    headings = ["server", "CPU a request, µs", "requests a CPU second", "x nginx", "limit"]
    print_table(headings, rows)


# --- Long polls ---


class Poller:
    """A keep-alive connection to the HTTP API, with a session once it was opened."""

    def __init__(self, port):
        self._host = f"127.0.0.1:{port}"
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._session = None
        self._received = b""

    def close(self):
        self._socket.close()

    def fileno(self):
        return self._socket.fileno()

    def send(self, method, target, body=""):
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._host}"]
        if self._session:
            lines.append(f"X-Dflockd-Session: {self._session}")
        if body:
            lines.append("Content-Type: application/json")
        lines.append(f"Content-Length: {len(body)}")
        self._socket.sendall("\r\n".join([*lines, "", body]).encode())

    def receive(self):
        """The next reply: its status and its body."""
        while True:
            head, end, rest = self._received.partition(b"\r\n\r\n")
            length = re.search(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
            size = int(length[1]) if length else 0
            if end and len(rest) >= size:
                self._received = rest[size:]
                return int(head.split()[1]), rest[:size].decode()
            part = self._socket.recv(4096)
            if not part:
                raise BenchError("dflockd closed a connection")
            self._received += part

    def ask(self, method, target, body=""):
        self.send(method, target, body)
        status, answer = self.receive()
        if status not in (200, 204):
            raise BenchError(f"dflockd answered {method} {target} with {status} {answer}")
        return answer

    def open_session(self):
        self._session = re.search(r'"session_id":"(\w+)"', self.ask("POST", "/v1/sessions"))[1]

    def park(self):
        self.send("POST", f"/v1/locks/{KEY}", '{"acquire_timeout_s":3600}')

    def release(self, token):
        self.send("POST", f"/v1/locks/{KEY}/release", f'{{"token":"{token}"}}')


@contextlib.contextmanager
def pollers(port, number):
    """This many keep-alive connections, each of which has had an answer."""
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(number):
            opened.append(stack.enter_context(contextlib.closing(Poller(port))))
            opened[-1].ask("GET", "/health")
        yield opened


class Queue:
    """Long polls of one key, behind a holder who speaks the line protocol."""

    def __init__(self, server, waiting):
        self._server = server
        self._waiting = waiting
        self._holder = Client(server.port)
        self._token = None

    def close(self):
        self._holder.close()

    def park(self):
        self._token = self._holder.ask(f"l\n{KEY}\n0\n".encode()).split()[1].decode()
        for poller in self._waiting:
            poller.park()
        wait_for_waiters(self._holder, len(self._waiting))

    def drain(self):
        """Lets each of them have the lock and release it, one after the other. Gives the CPU time
        that the server used."""
        poller_of = {poller.fileno(): poller for poller in self._waiting}
        with select.epoll() as watched:
            for number in poller_of:
                watched.register(number, select.EPOLLIN)
            before = cpu_seconds(self._server.pid)
            self._holder.ask(f"r\n{KEY}\n{self._token}\n".encode())
            released = 0
            while released < len(self._waiting):
                for number, _ in watched.poll(0):  # never sleeps, as dflockd-bench does not
                    released += take_turn(poller_of[number])
            return cpu_seconds(self._server.pid) - before


def take_turn(poller):
    """Releases what was granted. True if the reply confirms it."""
    status, answer = poller.receive()
    if status == 204:
        return True
    token = re.search(r'"token":"(\w+)"', answer)
    if status != 200 or not token:
        raise BenchError(f"dflockd answered a long poll with {status} {answer}")
    poller.release(token[1])
    return False


def grants(bench, settings, number):
    """The median CPU seconds of a grant and its release from a short queue and from a long one, and
    the median ratio."""
    lengths = (min(FEW_POLLS, number), number)
    rounds = []
    with contextlib.ExitStack() as stack:
        queues = []
        for length in lengths:
            server, port = stack.enter_context(dflockd(bench, *PATIENT))
            waiting = stack.enter_context(pollers(port, length))
            for poller in waiting:
                poller.open_session()
            queues.append(stack.enter_context(contextlib.closing(Queue(server, waiting))))
        for turn in range(settings.runs):
            progress(f"HTTP, grants to long polls: round {turn + 1} of {settings.runs}")
            rounds.append([])
            for queue, length in zip(queues, lengths):
                used = 0
                for _ in range(number // length):
                    queue.park()
                    used += queue.drain()
                rounds[-1].append(used / (number // length * length))
    few, many = (statistics.median(column) for column in zip(*rounds))
    return few, many, statistics.median(b / a for a, b in rounds)


def bytes_of_polls(bench, number):
    """What a connection, a session and a parked long poll add, one after the other."""
    with dflockd(bench, *PATIENT) as (server, port), pollers(port, 100):
        steps = [server.resident_bytes()]
        with pollers(port, number) as waiting:
            steps.append(server.resident_bytes())
            for poller in waiting:
                poller.open_session()
            steps.append(server.resident_bytes())
            with contextlib.closing(Queue(server, waiting)) as queue:
                queue.park()
                steps.append(server.resident_bytes())
    return [(after - before) / number for before, after in zip(steps, steps[1:])]


def long_polls(bench, settings):
    """Prints what parked long polls take, and what granting them costs."""
    number = POLLS // (10 if settings.quick else 1)
    progress(f"HTTP, memory: {number:,} x long poll")
    connection, session, poll = bytes_of_polls(bench, number)
    whole = connection + session + poll
    few, many, ratio = grants(bench, settings, number)

    print("\n## Long polls\n")
    rows = [
        ["idle keep-alive connection", f"{connection:,.0f}", ""],
        ["its session", f"{session:,.0f}", ""],
        ["its parked long poll", f"{poll:,.0f}", ""],
        ["all three", f"{whole:,.0f}", verdict(whole, POLL_LIMIT)],
    ]
    print_table([f"of one of {number:,}", "bytes", "limit"], rows)
    print()
    cells = [f"{few * 1e6:.2f}", f"{many * 1e6:.2f}", f"{ratio:.2f}", verdict(ratio, GRANT_LIMIT)]
    headings = [f"CPU in a queue of {FEW_POLLS}, µs", f"of {number:,}, µs", "ratio", "limit"]
    print_table(["", *headings], [["grant and release", *cells]])


def http(bench, settings):
    cycles(bench, settings)
    health(bench, settings)
    long_polls(bench, settings)
