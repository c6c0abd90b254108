#!/usr/bin/env python3
"""Black-box tests of the HTTP API: what goes over the wire, against the real server.

Every answer that a test reads is checked against docs/openapi.json.

Usage: api_test.py [TEST_CLASS[.test]]..., with DFLOCKD_BINARY naming the server,
DFLOCKD_TEST_OPENAPI the document, and DFLOCKD_TEST_PROMTOOL promtool if it isn't in the PATH.
"""

import calendar
import json
import os
import re
import select
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
import server as support  # noqa: E402
from server import PATIENCE, SLOW, family_of  # noqa: E402

PROMTOOL = shutil.which("promtool") or shutil.which(os.environ.get("DFLOCKD_TEST_PROMTOOL", ""))
MAX_BODY = 1024 * 1024
GET_ROUTES = ("/v1/stats", "/health", "/ready", "/metrics", "/v1/openapi.json")

with open(os.environ["DFLOCKD_TEST_OPENAPI"], encoding="utf-8") as file:
    OPENAPI = json.load(file)


def eventually(condition):
    """Waits until `condition` returns something true, and returns that."""
    result = support.eventually(condition)
    if not result:
        raise AssertionError("it did not happen in time")
    return result


# --- The description of the API ---

def resolved(schema):
    while "$ref" in schema:
        target = OPENAPI
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        schema = target
    return schema


TYPES = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float)}


def problems(schema, value, at="body"):
    """What is wrong with `value`: the part of JSON Schema that the document uses."""
    schema = resolved(schema)
    found = []
    for part in schema.get("allOf", []):
        found += problems(part, value, at)
    if "oneOf" in schema:
        tries = [problems(part, value, at) for part in schema["oneOf"]]
        if sum(not one for one in tries) != 1:
            found.append(f"{at} is not exactly one of the alternatives: {tries}")
    kind = schema.get("type")
    if kind and (not isinstance(value, TYPES[kind]) or isinstance(value, bool)):
        return found + [f"{at} is not of type {kind}: {value!r}"]
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{at}: {value!r} is none of {schema['enum']}")
    if "const" in schema and value != schema["const"]:
        found.append(f"{at}: {value!r} is not {schema['const']!r}")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(f"{at}: {value!r} does not match {schema['pattern']}")
    if "minimum" in schema and value < schema["minimum"]:
        found.append(f"{at}: {value} is below {schema['minimum']}")
    if "maximum" in schema and value > schema["maximum"]:
        found.append(f"{at}: {value} is above {schema['maximum']}")
    if isinstance(value, dict):
        found += [f"{at}.{name} is missing" for name in schema.get("required", []) if name not in value]
        known = schema.get("properties", {})
        for name, member in value.items():
            if name in known:
                found += problems(known[name], member, f"{at}.{name}")
    if isinstance(value, list):
        for index, item in enumerate(value):
            found += problems(schema.get("items", {}), item, f"{at}[{index}]")
    return found


ERRORS_BEFORE_ROUTING = {400: ["bad_request"], 401: ["unauthorized"], 403: ["forbidden_host", "forbidden_origin"],
                         413: ["body_too_large"], 429: ["rate_limited"], 431: ["headers_too_large"]}


def documented(method, path):
    """The operation, whether the path has any, by what the client asked for."""
    path = re.sub("^http://[^/]*", "", path).partition("?")[0]
    for pattern, item in OPENAPI["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]*", pattern), path):
            return item.get("get" if method == "HEAD" else method.lower()), True
    return None, False


def check_answer(response, method, path):
    """Raises AssertionError if the document does not allow the answer."""
    if method == "OPTIONS" and response.status == 204:  # a preflight: the Fetch standard's matter
        return
    operation, path_exists = documented(method, path) if method else (None, True)
    if operation:
        listed = operation["responses"]
        if str(response.status) not in listed:
            raise AssertionError(f"{method} {path}: status {response.status} is not documented")
        described = resolved(listed[str(response.status)])
    else:
        codes = dict(ERRORS_BEFORE_ROUTING)
        if method:
            codes[405 if path_exists else 404] = ["method_not_allowed" if path_exists else "not_found"]
        if response.status not in codes:
            raise AssertionError(f"{method} {path}: unexpected status {response.status}")
        schema = {"allOf": [{"$ref": "#/components/schemas/Error"},
                            {"properties": {"error": {"enum": codes[response.status]}}}]}
        described = {"content": {"application/json": {"schema": schema}}}
        if response.status == 405:
            described["headers"] = {"Allow": {"required": True}}
    for name, header in described.get("headers", {}).items():
        if resolved(header).get("required") and response.header(name) is None:
            raise AssertionError(f"{method} {path}: {response.status} without {name}")
    content = described.get("content")
    if content is None:
        if response.body or response.header("Content-Type"):
            raise AssertionError(f"{method} {path}: {response.status} with a body")
        return
    media_type = (response.header("Content-Type") or "").partition(";")[0]
    if media_type not in content:
        raise AssertionError(f"{method} {path}: {response.status} of type {media_type!r}")
    if media_type == "application/json" and method != "HEAD":
        found = problems(content[media_type]["schema"], response.json())
        if found:
            raise AssertionError(f"{method} {path}: {response.status} {response.body!r}: {found}")


# --- The server and its clients ---

class Server(support.Server):
    """The real server, with an HTTP socket."""

    def __init__(self, *flags, **options):
        if "--shutdown-timeout" not in flags:
            flags += ("--shutdown-timeout", "1")
        super().__init__(*flags, http=True, **options)


class Response:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def header(self, name):
        values = [value for known, value in self.headers if known.lower() == name.lower()]
        if len(values) > 1:
            raise AssertionError(f"{name} came twice")
        return values[0] if values else None

    def json(self):
        def unique(pairs):
            if len(dict(pairs)) != len(pairs):
                raise AssertionError(f"a name twice in {self.body!r}")
            return dict(pairs)
        return json.loads(self.body.decode(), object_pairs_hook=unique)

    @property
    def error(self):
        return self.json()["error"]


class Client:
    """One connection, byte by byte."""

    def __init__(self, server, source=None, receive_buffer=None, destination="127.0.0.1", tls=None):
        self.socket = socket.socket(family_of(destination))
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port = server.http_port
        if source:
            self.socket.bind((source, 0))
        self.socket.connect((destination, server.http_port))
        if tls:
            self.socket = tls.wrap_socket(self.socket)
        self.unread = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode("latin-1"))

    def send_to_the_deaf(self, data):
        """Sends what the server may not want to hear."""
        try:
            self.send(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def ask(self, method, path, body=None, headers=()):
        """Sends a request and reads its answer."""
        self.send(request(method, path, body, headers))
        return self.answer(method, path)

    def answer(self, method=None, path="/"):
        """Reads one answer, to a request that is known, or to what was not one."""
        head = self._take_until(b"\r\n\r\n").decode("latin-1")
        status_line, *lines = head[:-4].split("\r\n")
        match = re.fullmatch(r"HTTP/1\.1 (\d{3}) [A-Z][A-Za-z ]*", status_line)
        if not match:
            raise AssertionError(f"not a status line: {status_line!r}")
        headers = []
        for line in lines:
            field = re.fullmatch(r"([A-Za-z-]+): (\S(?:.*\S)?)", line)
            if not field:
                raise AssertionError(f"not a header field: {line!r}")
            headers.append(field.groups())
        response = Response(int(match[1]), headers, b"")
        if response.status == 100:
            return response
        # RFC 9110, 5.6.7; strptime does not look at the day of the week.
        date = time.strptime(response.header("Date") or "", "%a, %d %b %Y %H:%M:%S GMT")
        if time.strftime("%a, %d %b %Y %H:%M:%S GMT", date) != response.header("Date"):
            raise AssertionError(f"not a date: {response.header('Date')!r}")
        if abs(calendar.timegm(date) - time.time()) > PATIENCE:
            raise AssertionError(f"another time than now: {response.header('Date')!r}")
        length = response.header("Content-Length")
        if (length is None) != (response.status == 204):
            raise AssertionError(f"{status_line}: Content-Length is {length}")
        if method != "HEAD" and length:
            response.body = self._take(int(length))
            if not response.body.endswith(b"\n"):
                raise AssertionError(f"no newline at the end: {response.body[-80:]!r}")
        if response.header("X-Content-Type-Options") != "nosniff":
            raise AssertionError(f"{status_line}: without nosniff")
        check_answer(response, method, path)
        return response

    def rest(self):
        """What comes until the server closes the connection."""
        data, self.unread = self.unread, b""
        try:
            while more := self.socket.recv(65536):
                data += more
        except ConnectionResetError:
            pass
        return data

    def _take(self, size):
        while len(self.unread) < size:
            self._receive()
        result, self.unread = self.unread[:size], self.unread[size:]
        return result

    def _take_until(self, end):
        while end not in self.unread:
            self._receive()
        return self._take(self.unread.index(end) + len(end))

    def _receive(self):
        more = self.socket.recv(1 << 16)
        if not more:
            raise EOFError(f"closed behind {self.unread[:200]!r}")
        self.unread += more


def request(method, path, body=None, headers=(), version="HTTP/1.1"):
    """The bytes of a request. A dict is sent as JSON, bytes and text as they are."""
    fields = {"Host": "localhost"} | dict(headers)
    lines = [f"{method} {path} {version}", *(f"{name}: {value}" for name, value in fields.items())]
    if isinstance(body, dict):
        body = json.dumps(body)
    if isinstance(body, str):
        body = body.encode()
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def chunked(*chunks):
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


class ApiTest(unittest.TestCase):
    flags = ()

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.flags)

    @classmethod
    def tearDownClass(cls):
        log = cls.server.log()
        status = cls.server.stop()
        if status != 0:
            raise AssertionError(f"the server exited with {status}:\n{log}")

    def client(self, source=None, **options):
        client = Client(self.server, source, **options)
        self.addCleanup(client.socket.close)
        return client

    def session(self, headers=()):
        """Opens a session for this test. Returns the field that names it."""
        with Client(self.server) as client:
            name = client.ask("POST", "/v1/sessions", headers=headers).json()["session_id"]
        self.addCleanup(self.end_session, name, headers)
        return {"X-Dflockd-Session": name}

    def end_session(self, name, headers):
        with Client(self.server) as client:
            client.ask("DELETE", f"/v1/sessions/{name}", headers=headers)

    def metrics(self, headers=()):
        with Client(self.server) as client:
            response = client.ask("GET", "/metrics", headers=headers)
        self.assertEqual(response.status, 200)
        return parsed_metrics(response.body.decode())

    def assert_closes(self, client):
        self.assertEqual(client.rest(), b"")

    def assert_refused(self, client, status, code):
        """An answer, and then nothing but the end of the connection."""
        response = client.answer()
        self.assertEqual((response.status, response.error), (status, code), response.body)
        self.assertEqual(response.header("Connection"), "close")
        self.assert_closes(client)


def parsed_metrics(text):
    """The samples by name and labels, of a text in the Prometheus format."""
    samples, types, helps = {}, {}, set()
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            assert name not in helps and line.split(" ", 3)[3], line
            helps.add(name)
            continue
        if line.startswith("# TYPE "):
            name, kind = line.split(" ")[2:]
            assert name in helps and name not in types, line
            assert kind in ("counter", "gauge", "histogram"), line
            types[name] = kind
            continue
        match = re.fullmatch(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)", line)
        assert match, f"not a sample: {line!r}"
        labels = re.findall(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"', match[2] or "")
        assert ",".join(f'{name}="{value}"' for name, value in labels) == (match[2] or ""), line
        family = match[1]
        if family not in types:
            family = re.sub("_(bucket|sum|count)$", "", family)
            assert types.get(family) == "histogram", f"no type: {line!r}"
        key = (match[1], frozenset(labels))
        assert key not in samples, f"twice: {line!r}"
        samples[key] = float(match[3])
    return Samples(samples, types)


class Samples:
    def __init__(self, samples, types):
        self.samples, self.types = samples, types

    def of(self, name, **labels):
        return self.samples.get((name, frozenset(labels.items())), 0)

    def series(self):
        return set(self.samples)


# --- The tests ---

class Connections(ApiTest):

    def test_connection_close_is_obeyed(self):
        for path in GET_ROUTES:
            with self.subTest(path):
                client = self.client()
                client.send(request("GET", path, headers={"Connection": "close"}) +
                            request("POST", "/v1/sessions"))
                self.assertEqual(client.answer("GET", path).header("Connection"), "close")
                self.assert_closes(client)

    def test_http_1_0_closes_unless_it_asks_for_more(self):
        for path in GET_ROUTES:
            with self.subTest(path):
                client = self.client()
                client.send(request("GET", path, version="HTTP/1.0"))
                self.assertEqual(client.answer("GET", path).status, 200)
                self.assert_closes(client)

    def test_a_client_may_close_its_side_behind_a_request(self):
        client = self.client()
        client.send(request("GET", "/health"))
        client.socket.shutdown(socket.SHUT_WR)
        self.assertEqual(client.answer("GET", "/health").status, 200)
        self.assert_closes(client)

    def test_every_route_has_its_content_type(self):
        client = self.client()
        for path in GET_ROUTES:
            expected = "application/json"
            if path == "/metrics":
                expected = "text/plain; version=0.0.4; charset=utf-8"
            self.assertEqual(client.ask("GET", path).header("Content-Type"), expected)

    def test_only_the_description_may_be_cached(self):
        client = self.client()
        for method, path in (*(("GET", path) for path in GET_ROUTES), ("POST", "/v1/openapi.json"),
                             ("POST", "/v1/sessions"), ("POST", "/v1/locks/a"), ("GET", "/nowhere")):
            expected = "max-age=60" if (method, path) == ("GET", "/v1/openapi.json") else "no-store"
            self.assertEqual(client.ask(method, path).header("Cache-Control"), expected, (method, path))

    def test_the_description_is_the_one_of_the_documentation(self):
        self.assertEqual(self.client().ask("GET", "/v1/openapi.json").json(), OPENAPI)


class Heads(ApiTest):
    def test_head_is_answered_as_get_without_the_body(self):
        client = self.client()
        for path in GET_ROUTES:
            with self.subTest(path):
                head = client.ask("HEAD", path)
                get = client.ask("GET", path)
                self.assertEqual(head.status, 200)
                self.assertGreater(int(head.header("Content-Length")), 0)
                varies = path in ("/metrics", "/v1/stats")
                dropped = {"Date", "Content-Length"} if varies else {"Date"}
                self.assertEqual([field for field in head.headers if field[0] not in dropped],
                                 [field for field in get.headers if field[0] not in dropped])

    def test_head_of_an_error_has_no_body(self):
        client = self.client()
        self.assertEqual(client.ask("HEAD", "/nowhere").status, 404)
        self.assertEqual(client.ask("HEAD", "/v1/locks/a").status, 405)
        self.assertEqual(client.ask("GET", "/health").status, 200)


class Bodies(ApiTest):
    PATH = "/v1/locks/bodies"

    def setUp(self):
        self.field = self.session()

    def head(self, **more):
        return request("POST", self.PATH, headers=self.field | more)

    def test_a_body_that_is_expected_is_asked_for(self):
        client = self.client()
        body = b'{"acquire_timeout_s":0}'
        for framing, data in (({"Content-Length": len(body)}, body),
                              ({"Transfer-Encoding": "chunked"}, chunked(body))):
            client.send(self.head(Expect="100-Continue", **framing))
            self.assertEqual(client.answer().status, 100)
            client.send(data)
            self.assertEqual(client.answer("POST", self.PATH).status, 200)

    def test_no_body_is_asked_for_whose_head_is_wrong(self):
        gone = {"X-Dflockd-Session": "0" * 32}
        for path, fields, status in (("/nowhere", {}, 404), ("/health", {}, 405), (self.PATH, {}, 400),
                                     (self.PATH, gone, 410),
                                     (self.PATH, {"Origin": "https://a.example"}, 403)):
            fields = fields | {"Expect": "100-continue", "Content-Length": 10}
            client = self.client()
            client.send(request("POST", path, headers=fields))
            response = client.answer("POST", path)
            self.assertEqual(response.status, status, path)
            self.assertEqual(response.header("Connection"), "close", "the body may follow or not")
            self.assert_closes(client)

    def test_a_wrong_head_is_answered_before_its_body_which_is_thrown_away(self):
        client = self.client()
        for path, status in (("/nowhere", 404), (self.PATH, 400)):
            client.send(request("POST", path, headers={"Content-Length": 10}))
            self.assertEqual(client.answer("POST", path).status, status)
            client.send(b"0123456789" + request("GET", "/health"))
            self.assertEqual(client.answer("GET", "/health").status, 200)

    def test_no_body_is_asked_for_that_is_too_large(self):
        client = self.client()
        client.send(self.head(**{"Expect": "100-continue", "Content-Length": MAX_BODY + 1}))
        self.assert_refused(client, 413, "body_too_large")

    def test_a_body_of_1_mib_is_taken_and_one_more_byte_is_not(self):
        body = b'{"acquire_timeout_s":0}'.ljust(MAX_BODY)
        client = self.client()
        self.assertEqual(client.ask("POST", self.PATH, body, self.field).status, 200)
        client.send_to_the_deaf(request("POST", self.PATH, body + b" ", self.field))
        self.assert_refused(client, 413, "body_too_large")

    def test_null_is_as_if_the_field_were_absent(self):
        client = self.client()
        key = self.PATH + "null"
        token = client.ask("POST", key, {"acquire_timeout_s": 0, "lease_ttl_s": None}, self.field).json()["token"]
        response = client.ask("POST", key + "/renew", {"token": token, "lease_ttl_s": None}, self.field)
        self.assertEqual((response.status, response.json()), (200, {"remaining_s": 33}))
        self.assertEqual(client.ask("POST", key + "/release", {"token": token}, self.field).status, 204)
        response = client.ask("POST", key + "/enqueue", {"lease_ttl_s": None}, self.field)
        self.assertEqual(response.json()["lease_ttl_s"], 33)
        response = client.ask("POST", "/v1/semaphores/null",
                              {"acquire_timeout_s": 0, "limit": 2, "lease_ttl_s": None}, self.field)
        self.assertEqual(response.json()["lease_ttl_s"], 33)
        for path, body, field in ((key, {"acquire_timeout_s": None}, "acquire_timeout_s"),
                                  (key + "/wait", {"timeout_s": None}, "timeout_s"),
                                  (key + "/release", {"token": None}, "token"),
                                  ("/v1/semaphores/null/enqueue", {"limit": None}, "limit")):
            response = client.ask("POST", path, body, self.field)
            self.assertEqual((response.status, response.json()["detail"]), (400, f"{field}: missing"))


class Smuggling(ApiTest):
    """Requests of which two readers could see different ends."""

    BEHIND = request("POST", "/v1/sessions")

    def test_it_is_refused_and_nothing_behind_it_is_done(self):
        length, te = "Content-Length: {}\r\n", "Transfer-Encoding: {}\r\n"
        attempts = {
            "both": length.format(4) + te.format("chunked"),
            "both, the other way": te.format("chunked") + length.format(4),
            "two lengths": length.format(4) + length.format(5),
            "the same length twice": length.format(4) * 2,
            "a list of lengths": length.format("4, 4"),
            "a signed length": length.format("+4"),
            "a negative length": length.format("-4"),
            "a hex length": length.format("0x4"),
            "a length with a blank": length.format("4 4"),
            "an empty length": length.format(""),
            "no number": length.format("four"),
            "a blank before the colon": "Content-Length : 4\r\n",
            "a tab before the colon": "Content-Length\t: 4\r\n",
            "a bare LF": "X: y\nContent-Length: 4\r\n",
            "a bare CR": "X: y\rContent-Length: 4\r\n",
            "a fold": "X: y\r\n Content-Length: 4\r\n",
            "a fold with a tab": "X: y\r\n\tz\r\n",
            "a fold of the coding": "Transfer-Encoding:\r\n chunked\r\n",
            "a leading blank": " Content-Length: 4\r\n",
            "a NUL": "Content-Length: 4\0\r\n",
            "another coding": te.format("gzip"),
            "identity": te.format("identity"),
            "a list of codings": te.format("gzip, chunked"),
            "a list the other way": te.format("chunked, gzip"),
            "chunked twice": te.format("chunked, chunked"),
            "chunked in two fields": te.format("chunked") * 2,
            "a misspelt coding": te.format("xchunked"),
            "quoted": te.format('"chunked"'),
            "with a parameter": te.format("chunked;q=1"),
            "a vertical tab": te.format("\x0bchunked"),
            "an empty coding": te.format(""),
            "a trailing comma": te.format("chunked,"),
        }
        for name, fields in attempts.items():
            with self.subTest(name):
                self.attempt(f"GET /health HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode("latin-1"))

    def test_chunked_in_http_1_0_is_refused(self):
        self.attempt(b"GET /health HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")

    def test_chunks_are_looked_at_as_closely(self):
        head = b"GET /health HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        for chunks in (b"1\n{\r\n0\r\n\r\n", b"1\r\n{\n0\r\n\r\n", b"1\r\n{}\r\n0\r\n\r\n",
                       b"0x1\r\n{\r\n0\r\n\r\n", b"+1\r\n{\r\n0\r\n\r\n", b"-1\r\n{\r\n0\r\n\r\n",
                       b" 1\r\n{\r\n0\r\n\r\n", b"1 2\r\n{\r\n0\r\n\r\n", b"\r\n0\r\n\r\n", b"g\r\n",
                       b"1;a\n\r\n{\r\n0\r\n\r\n", b"0\n\r\n", b"0\r\n\n", b"0\r\nX: y\n\r\n",
                       b"0\r\n X: y\r\n\r\n", b"1;" + b"x" * 300 + b"\r\n{\r\n0\r\n\r\n"):
            with self.subTest(chunks[:40]):
                self.attempt(head + chunks)

    def attempt(self, text):
        client = self.client()
        client.send_to_the_deaf(text + self.BEHIND)
        self.assert_refused(client, 400, "bad_request")
        self.assertEqual(self.metrics().of("dflockd_http_sessions"), 0)


class Timeouts(ApiTest):
    flags = ("--read-timeout", "1", "--write-timeout", "1", "--max-locks", "40000", "--debug")

    def assert_a_second(self, took):
        self.assertGreater(took, 0.9)
        self.assertLess(took, PATIENCE if SLOW else 3)

    def test_a_request_must_be_whole_in_time_though_bytes_dribble(self):
        dribblers = {}
        for name, (start, drop) in {
                "request line": (b"G", b"E"),
                "fields": (b"GET /health HTTP/1.1\r\nHost: a\r\n", b"X: y\r\n"),
                "body": (request("POST", "/v1/sessions", headers={"Content-Length": 1000}), b" "),
                "chunks": (request("POST", "/v1/sessions", headers={"Transfer-Encoding": "chunked"}),
                           b"1\r\n \r\n")}.items():
            client = self.client()
            client.send(start)
            dribblers[client.socket] = (name, client, drop, time.monotonic())
        while dribblers:
            # The pace of the clients, not a wait: what the server does ends the select.
            for done in select.select(list(dribblers), [], [], 0.05)[0]:
                name, client, _, began = dribblers.pop(done)
                with self.subTest(name):
                    self.assert_a_second(time.monotonic() - began)
                    self.assert_refused(client, 400, "bad_request")
            for _, client, drop, began in dribblers.values():
                self.assertLess(time.monotonic() - began, PATIENCE)
                client.send_to_the_deaf(drop)

    def test_the_time_of_a_second_request_begins_with_its_first_byte(self):
        client = self.client()
        self.assertEqual(client.ask("GET", "/health").status, 200)
        # That nothing happens can only be waited for.
        self.assertEqual(select.select([client.socket], [], [], 1.6)[0], [], "an idle one was closed")
        began = time.monotonic()
        client.send(b"GET /hea")
        self.assertEqual(client.answer().status, 400)
        self.assert_a_second(time.monotonic() - began)
        self.assert_closes(client)

    def test_a_connection_whose_first_request_does_not_come_is_closed(self):
        client = self.client()
        began = time.monotonic()
        self.assert_closes(client)
        self.assert_a_second(time.monotonic() - began)

    def test_the_time_of_the_first_request_begins_with_the_connection(self):
        client = self.client()
        began = time.monotonic()
        # The pace of the client, not a wait.
        self.assertEqual(select.select([client.socket], [], [], 0.7)[0], [])
        client.send(b"GET /hea")
        self.assert_refused(client, 400, "bad_request")
        self.assert_a_second(time.monotonic() - began)

    def test_an_idle_connection_outlives_the_read_timeout(self):
        client = self.client()
        client.ask("GET", "/health")
        self.assertEqual(select.select([client.socket], [], [], 1.6)[0], [])
        self.assertEqual(client.ask("GET", "/health").status, 200)

    def test_an_empty_line_in_front_of_a_request_begins_none(self):
        half, whole = self.client(), self.client()
        for client in (half, whole):
            client.ask("GET", "/health")
            client.send(b"\r")
        # That nothing happens can only be waited for; and the server reads the two halves apart.
        self.assertEqual(select.select([half.socket, whole.socket], [], [], 0.2)[0], [])
        whole.send(b"\n")
        self.assertEqual(select.select([half.socket, whole.socket], [], [], 1.6)[0], [],
                         "it was taken for a request")
        half.send(b"\n")
        for client in (half, whole):
            self.assertEqual(client.ask("GET", "/health").status, 200)

    def test_a_long_poll_outlives_the_read_timeout(self):
        holder, waiter = self.session(), self.session()
        client = self.client()
        client.ask("POST", "/v1/locks/long", {"acquire_timeout_s": 0}, holder)
        response = client.ask("POST", "/v1/locks/long", {"acquire_timeout_s": 2}, waiter)
        self.assertEqual(response.json(), {"status": "timeout"})
        self.assertEqual(client.ask("GET", "/health").status, 200)

    def test_a_client_that_does_not_read_is_dropped(self):
        with socket.create_connection(("127.0.0.1", self.server.port), PATIENCE) as lines:
            with lines.makefile("rb") as replies:
                count = 30000
                for start in range(0, count, 1000):
                    lines.sendall(b"".join(b"l\n%s-%d\n0\n" % (b"k" * 240, i)
                                           for i in range(start, start + 1000)))
                    for _ in range(1000):
                        self.assertTrue(replies.readline().startswith(b"ok "))
            client = self.client(receive_buffer=4096)
            began = time.monotonic()
            client.send(request("GET", "/v1/stats"))
            port = client.socket.getsockname()[1]
            line = self.server.wait_for_log(rf".*disconnected.*127\.0\.0\.1:{port}\b.*")
            self.assert_a_second(time.monotonic() - began)
            self.assertRegex(line, "write|stuck|slow")
            received = client.rest()
            length = int(re.search(rb"Content-Length: (\d+)", received)[1])
            self.assertLess(len(received), length)


class Auth(ApiTest):
    SECRET = "correct horse battery staple"
    RIGHT = {"Authorization": f"Bearer {SECRET}"}

    @classmethod
    def setUpClass(cls):
        cls.file = tempfile.NamedTemporaryFile("w")
        cls.file.write(cls.SECRET + "\n")
        cls.file.flush()
        cls.flags = ("--auth-token-file", cls.file.name)
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls.file.close()

    def assert_best(self, measured, bound):
        """One measurement on a busy machine refutes nothing; five in a row do."""
        for _ in range(5):
            took = measured()
            if took < bound:
                return
        self.fail(f"answered after {took} s")

    def test_the_right_secret_opens_every_route(self):
        client = self.client()
        for path in GET_ROUTES:
            self.assertEqual(client.ask("GET", path, headers=self.RIGHT).status, 200)
        session = self.session(self.RIGHT)
        self.assertEqual(client.ask("POST", "/v1/locks/a", {"acquire_timeout_s": 0},
                                    session | self.RIGHT).status, 200)

    def test_the_case_of_the_scheme_does_not_matter(self):
        for scheme in ("bearer", "BEARER", "bEARER"):
            response = self.client().ask("GET", "/v1/stats",
                                         headers={"Authorization": f"{scheme} {self.SECRET}"})
            self.assertEqual(response.status, 200, scheme)

    def test_any_number_of_spaces_stands_before_the_secret(self):
        for spaces in ("  ", " " * 1000):
            response = self.client().ask("GET", "/v1/stats",
                                         headers={"Authorization": f"Bearer{spaces}{self.SECRET} \t "})
            self.assertEqual(response.status, 200, spaces)

    def test_everything_else_is_unauthorized_after_100_ms_and_the_connection_goes_on(self):
        client = self.client()
        for value in (None, "", "Bearer", "Bearer ", "Bearer  wrong", f"Bearer\t{self.SECRET}", self.SECRET, f"Basic {self.SECRET}",
                      f"Bearer{self.SECRET}", f"Bearer {self.SECRET}x", f"Bearer {self.SECRET[:-1]}",
                      f"Bearer {self.SECRET.upper()}", "Bearer " + "x" * 60000):
            with self.subTest((value or "")[:50]):
                headers = {} if value is None else {"Authorization": value}
                began = time.monotonic()
                response = client.ask("GET", "/v1/stats", headers=headers)
                took = time.monotonic() - began
                self.assertEqual((response.status, response.error), (401, "unauthorized"))
                self.assertEqual(response.header("WWW-Authenticate"), "Bearer")
                self.assertNotIn(self.SECRET, response.body.decode())
                self.assertGreater(took, 0.099)
                self.assertLess(took, PATIENCE if SLOW else 1)
        self.assertEqual(client.ask("GET", "/v1/stats", headers=self.RIGHT).status, 200)

    def test_two_credentials_are_refused(self):
        client = self.client()
        client.send(f"GET /v1/stats HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {self.SECRET}\r\n"
                    "Authorization: Bearer wrong\r\n\r\n")
        self.assert_refused(client, 400, "bad_request")

    def test_what_needs_no_credentials(self):
        client = self.client()
        for path in ("/health", "/ready", "/v1/openapi.json"):
            for method, status in (("GET", 200), ("HEAD", 200), ("POST", 405), ("BREW", 405)):
                def measured():
                    began = time.monotonic()
                    self.assertEqual(client.ask(method, path).status, status, path)
                    return time.monotonic() - began
                self.assert_best(measured, 0.09)  # less than a refusal is delayed

    def test_what_needs_them(self):
        client = self.client()
        for method, path in (("GET", "/metrics"), ("GET", "/v1/stats"), ("HEAD", "/metrics"),
                             ("POST", "/v1/sessions"), ("DELETE", "/v1/sessions/a"),
                             ("POST", "/v1/locks/a"), ("GET", "/nowhere"), ("PUT", "/v1/locks/a")):
            self.assertEqual(client.ask(method, path).status, 401, path)

    def test_nothing_is_done_without_them(self):
        before = self.metrics(self.RIGHT)
        self.client().ask("POST", "/v1/sessions")
        after = self.metrics(self.RIGHT)
        self.assertEqual(after.of("dflockd_http_sessions"), before.of("dflockd_http_sessions"))
        self.assertEqual(after.of("dflockd_auth_failures_total", transport="http"),
                         before.of("dflockd_auth_failures_total", transport="http") + 1)

    def test_no_body_is_asked_for_without_them(self):
        for fields in ({"Content-Length": 10}, {"Content-Length": MAX_BODY + 1},
                       {"Transfer-Encoding": "chunked"}):
            client = self.client()
            client.send(request("POST", "/v1/sessions", headers=fields | {"Expect": "100-continue"}))
            self.assert_refused(client, 401, "unauthorized")

    def test_wrong_secrets_do_not_delay_the_right_one(self):
        def measured():
            guessers = [self.client() for _ in range(50)]
            client = self.client()
            client.ask("GET", "/health")
            for guesser in guessers:
                guesser.send(request("GET", "/v1/stats", headers={"Authorization": "Bearer wrong"}))
            began = time.monotonic()
            self.assertEqual(client.ask("GET", "/v1/stats", headers=self.RIGHT).status, 200)
            took = time.monotonic() - began
            for guesser in guessers:
                self.assertEqual(guesser.answer("GET", "/v1/stats").status, 401)
            return took
        self.assert_best(measured, 0.09 if SLOW else 0.02)  # less than a refusal is delayed


class RateLimit(ApiTest):
    flags = ("--http-rate-limit-per-ip", "1", "--http-rate-limit-burst", "3")

    def exhaust(self, client):
        statuses = []
        while 429 not in statuses:
            response = client.ask("GET", "/v1/stats")
            statuses.append(response.status)
        self.assertGreaterEqual(statuses.count(200), 3)
        self.assertLess(statuses.count(200), 6)
        return response

    def test_beyond_the_burst_a_client_has_to_wait(self):
        client = self.client("127.0.0.3")
        response = self.exhaust(client)
        self.assertEqual(response.error, "rate_limited")
        self.assertRegex(response.header("Retry-After"), "^[1-9][0-9]*$")
        self.assertLessEqual(int(response.header("Retry-After")), 2)
        began = time.monotonic()
        eventually(lambda: client.ask("GET", "/v1/stats").status == 200)
        self.assertLess(time.monotonic() - began, PATIENCE if SLOW else int(response.header("Retry-After")) + 1)

    def test_the_shortest_wait_is_a_second(self):
        server = Server("--http-rate-limit-per-ip", "1000", "--http-rate-limit-burst", "1")
        self.addCleanup(server.stop)
        with Client(server) as client:
            def refused():
                client.send(request("GET", "/nowhere") * 100)
                answers = [client.answer("GET", "/nowhere") for _ in range(100)]
                return [answer for answer in answers if answer.status == 429]
            for response in eventually(refused):
                self.assertEqual(response.header("Retry-After"), "1")

    def test_all_connections_of_an_address_count_and_no_others(self):
        self.exhaust(self.client("127.0.0.4"))
        self.assertEqual(self.client("127.0.0.4").ask("GET", "/metrics").status, 429)
        self.assertEqual(self.client("127.0.0.2").ask("GET", "/metrics").status, 200)

    def test_what_keeps_or_gives_back_what_is_held_has_a_bucket_of_its_own(self):
        session = self.session()
        name = session["X-Dflockd-Session"]
        kinds = (("/v1/locks/a/renew", {"token": "0" * 32}), ("/v1/locks/a/release", {"token": "0" * 32}),
                 ("/v1/semaphores/a/renew", {"token": "0" * 32}),
                 ("/v1/semaphores/a/release", {"token": "0" * 32}), (f"/v1/sessions/{name}/ping", None))
        for number, (path, body) in enumerate(kinds):
            with self.subTest(path):
                client = self.client(f"127.0.1.{number}")
                self.exhaust(client)
                statuses = [client.ask("POST", path, body, session).status for _ in range(3)]
                self.assertEqual(set(statuses), {404} if body else {204})
                eventually(lambda: client.ask("POST", path, body, session).status == 429)
                self.assertEqual(client.ask("DELETE", f"/v1/sessions/{'0' * 32}").status, 429)
        client = self.client("127.0.2.1")
        self.exhaust(client)
        self.assertEqual(client.ask("DELETE", f"/v1/sessions/{'0' * 32}").status, 410)

    def test_strangers_leave_that_bucket_alone(self):
        with tempfile.NamedTemporaryFile("w") as secret:
            secret.write("right")
            secret.flush()
            server = Server("--auth-token-file", secret.name, "--http-rate-limit-per-ip", "1")
            self.addCleanup(server.stop)
            path = f"/v1/sessions/{'0' * 32}/ping"
            with Client(server) as stranger, Client(server) as holder:
                for _ in range(3):
                    self.assertEqual(stranger.ask("POST", path).status, 401)
                response = holder.ask("POST", path, headers={"Authorization": "Bearer right"})
                self.assertEqual(response.status, 410)

    def test_requests_that_no_route_takes_leave_that_bucket_alone(self):
        client = self.client("127.0.2.2")
        for method, path in (("GET", "/v1/locks/a/renew"), ("PUT", "/v1/sessions/a"), ("GET", "/v1/sessions/a/ping"),
                             ("OPTIONS", "/v1/locks/a/release")):
            eventually(lambda: client.ask(method, path).status == 429)
        self.assertEqual(client.ask("DELETE", "/v1/sessions/a").status, 410)

    def test_unknown_paths_and_methods_count(self):
        client = self.client("127.0.0.5")
        statuses = [client.ask("GET", "/nowhere").status for _ in range(10)]
        self.assertIn(429, statuses)
        self.assertEqual(client.ask("PUT", "/v1/stats").status, 429)

    def test_health_and_readiness_are_exempt(self):
        client = self.client("127.0.0.6")
        for path in ("/health", "/ready"):
            for _ in range(20):
                self.assertEqual(client.ask("GET", path).status, 200)
        self.exhaust(client)
        self.assertEqual(client.ask("PUT", "/health").status, 405)
        self.assertEqual(client.ask("GET", "/health").status, 200)
        self.assertEqual(client.ask("HEAD", "/ready").status, 200)


class ConnectionCap(ApiTest):
    flags = ("--http-max-connections-per-ip", "2")

    def admitted(self, client):
        try:
            return client.ask("GET", "/health").status == 200
        except (EOFError, ConnectionError):
            return False

    def test_an_address_has_its_share_of_connections(self):
        first, second = self.client("127.0.0.3"), self.client("127.0.0.3")
        self.assertTrue(self.admitted(first))
        self.assertTrue(self.admitted(second))
        self.assertFalse(self.admitted(self.client("127.0.0.3")))
        self.assertTrue(self.admitted(self.client("127.0.0.2")))
        self.assertEqual(self.metrics().of("dflockd_connections_rejected_total",
                                           reason="http_max_connections_per_ip"), 1)
        first.socket.close()
        eventually(lambda: self.admitted(self.client("127.0.0.3")))
        self.assertTrue(self.admitted(second))

    def test_connections_of_the_line_protocol_have_their_own_cap(self):
        for _ in range(5):
            lines = socket.create_connection(("127.0.0.1", self.server.port), PATIENCE)
            self.addCleanup(lines.close)
            lines.sendall(b"ping\n_\n\n")
            self.assertEqual(lines.recv(100), b"ok\n")


class ConnectionShare(unittest.TestCase):
    """The cap on all HTTP connections, given or what the descriptors allow."""

    def serve(self, *flags, **options):
        server = Server(*flags, **options)
        self.addCleanup(lambda: self.assertEqual(server.stop(), 0))
        return server

    def assert_http_connections(self, server, cap):
        """Connections that say nothing take what they may, and no descriptor more."""
        client = Client(server)
        self.addCleanup(client.socket.close)
        self.assertEqual(client.ask("GET", "/health").status, 200)
        silent = [socket.create_connection(("127.0.0.1", server.http_port), PATIENCE) for _ in range(cap + 20)]
        for connection in silent:
            self.addCleanup(connection.close)

        def refused():
            metrics = parsed_metrics(client.ask("GET", "/metrics").body.decode())
            return metrics.of("dflockd_connections_rejected_total", reason="http_max_connections") == 21
        eventually(refused)
        server.wait_for_log(rf".* connections_refused listener=http reason=max_connections limit={cap} .*")
        self.assertIn(f" http_max_connections={cap} ", server.log())
        self.assertNotIn("cannot_accept", server.log())
        with Client(server) as late:
            self.assertEqual(late.rest(), b"")
        silent[0].close()
        eventually(lambda: self.admitted(server))

    def admitted(self, server):
        with Client(server) as client:
            try:
                client.send(request("GET", "/health"))
                return client.answer("GET", "/health").status == 200
            except (EOFError, ConnectionError):
                return False

    def assert_line_connections(self, server, count):
        for _ in range(count):
            lines = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
            self.addCleanup(lines.close)
            lines.sendall(b"ping\n_\n\n")
            self.assertEqual(lines.recv(100), b"ok\n")

    @unittest.skipIf(SLOW, "the sanitizers need descriptors themselves")
    def test_it_is_what_the_cap_of_the_line_port_leaves(self):
        server = self.serve("--max-connections", "100", open_files=220)
        self.assert_http_connections(server, 220 - 32 - 100)
        self.assert_line_connections(server, 100)
        self.assertNotIn("too_few_descriptors", server.log())

    @unittest.skipIf(SLOW, "the sanitizers need descriptors themselves")
    def test_it_is_half_if_the_line_port_has_no_cap(self):
        server = self.serve(open_files=200)
        self.assert_http_connections(server, (200 - 32) // 2)
        self.assert_line_connections(server, (200 - 32) // 2)

    def test_it_can_be_given(self):
        self.assert_http_connections(self.serve("--http-max-connections", "5"), 5)

    def test_it_is_told_that_there_are_too_few_descriptors_for_the_caps(self):
        server = self.serve("--max-connections", "200", open_files=256)
        server.wait_for_log(r".* warn too_few_descriptors descriptors=256 needed=296")


class Ipv6(unittest.TestCase):
    """Who has an IPv6 address has a network of them. with_ipv6.sh makes such networks."""

    SERVER = "fd00::1"
    NETWORK = ("fd00:1::1", "fd00:1::2", "fd00:1::ffff:0:0:3")
    STRANGER = "fd00:1:0:1::1"

    def setUp(self):
        with socket.socket(socket.AF_INET6) as probe:
            try:
                probe.bind((self.STRANGER, 0))
            except OSError:
                self.skipTest("there are no such addresses here")

    def serve(self, *flags):
        server = Server("--host", "::", *flags, host="::")
        self.addCleanup(lambda: self.assertEqual(server.stop(), 0))
        return server

    def client(self, server, source):
        client = Client(server, source, destination=self.SERVER)
        self.addCleanup(client.socket.close)
        return client

    def statuses(self, server, ask):
        """What `ask` of a connection from each of the addresses gives: first the network's own."""
        return [ask(self.client(server, address)) for address in (*self.NETWORK, self.STRANGER)]

    def test_http_connections_of_a_network_count_together(self):
        def ask(client):
            try:
                return client.ask("GET", "/health").status
            except (EOFError, ConnectionError):
                return None
        server = self.serve("--http-max-connections-per-ip", "2")
        self.assertEqual(self.statuses(server, ask), [200, 200, None, 200])
        server.wait_for_log(r".* connections_refused listener=http .* last_peer=fd00:1::/64 .*")

    def test_connections_of_the_line_protocol_count_together(self):
        server = self.serve("--max-connections-per-ip", "2")
        answers = []
        for address in (*self.NETWORK, self.STRANGER):
            lines = socket.create_connection((self.SERVER, server.port), PATIENCE, (address, 0))
            self.addCleanup(lines.close)
            try:
                lines.sendall(b"ping\n_\n\n")
                answers.append(lines.recv(100))
            except ConnectionError:
                answers.append(b"")
        self.assertEqual(answers, [b"ok\n", b"ok\n", b"", b"ok\n"])

    def test_sessions_of_a_network_count_together_and_come_back_when_they_end(self):
        sessions = []

        def ask(client):
            response = client.ask("POST", "/v1/sessions")
            sessions.append(response.json().get("session_id"))
            return response.status
        server = self.serve("--http-max-sessions-per-ip", "2")
        self.assertEqual(self.statuses(server, ask), [200, 200, 503, 200])
        client = self.client(server, self.NETWORK[2])
        self.assertEqual(client.ask("DELETE", f"/v1/sessions/{sessions[0]}").status, 204)
        self.assertEqual(client.ask("POST", "/v1/sessions").status, 200)

    def test_requests_of_a_network_are_limited_together(self):
        server = self.serve("--http-rate-limit-per-ip", "1", "--http-rate-limit-burst", "100")

        def ask(client):
            client.send(request("GET", "/nowhere") * 40)
            return {client.answer("GET", "/nowhere").status for _ in range(40)}
        self.assertEqual(self.statuses(server, ask), [{404}, {404}, {404, 429}, {404}])

    def test_the_prefix_can_be_set(self):
        def ask(client):
            return client.ask("POST", "/v1/sessions").status
        server = self.serve("--http-max-sessions-per-ip", "1", "--ipv6-prefix", "128")
        self.assertEqual(self.statuses(server, ask), [200, 200, 200, 200])
        server = self.serve("--http-max-sessions-per-ip", "1", "--ipv6-prefix", "48")
        self.assertEqual(self.statuses(server, ask), [200, 503, 503, 503])


class Browsers(ApiTest):
    """Pages that somebody else wrote, and names that lead here though they are not ours."""

    SECRET = "a secret of some length"

    def own(self, **fields):
        port = self.server.http_port
        return {"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}"} | fields

    def assert_forbidden(self, response, code):
        self.assertEqual((response.status, response.error), (403, code))
        self.assertIsNone(response.header("Connection"))

    def other_server(self, *flags, **options):
        server = Server(*flags, **options)
        self.addCleanup(lambda: self.assertEqual(server.stop(), 0))
        return server

    def secret_file(self):
        file = tempfile.NamedTemporaryFile("w")
        self.addCleanup(file.close)
        file.write(self.SECRET)
        file.flush()
        return file.name

    def test_a_host_that_is_not_this_server_is_forbidden(self):
        client = self.client()
        before = self.metrics().of("dflockd_http_sessions")
        for host in ("attacker.example", f"attacker.example:{self.server.http_port}", "localhost.attacker.example",
                     "10.0.0.1", "[2001:db8::1]", "0.0.0.0", ""):
            for method, path in (("POST", "/v1/sessions"), ("GET", "/v1/stats"), ("GET", "/metrics"),
                                 ("POST", "/v1/locks/a"), ("DELETE", "/v1/sessions/a"), ("GET", "/v1/openapi.json"),
                                 ("GET", "/nowhere"), ("PUT", "/v1/stats"), ("OPTIONS", "/v1/sessions")):
                with self.subTest(host=host, method=method, path=path):
                    self.assert_forbidden(client.ask(method, path, headers={"Host": host}), "forbidden_host")
        self.assertEqual(client.ask("HEAD", "/v1/stats", headers={"Host": "attacker.example"}).status, 403)
        self.assertEqual(self.metrics().of("dflockd_http_sessions"), before)
        self.assertGreater(self.metrics().of("dflockd_http_requests_total", method="POST", path="/v1/sessions",
                                             status="403"), 0)
        self.server.wait_for_log(r".* warn request_forbidden .*reason=forbidden_host.*")

    def test_the_address_that_the_connection_came_to_is_this_server(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("192.0.2.1", 9))
            except OSError:
                self.skipTest("only the loopback interface is up")
            address = probe.getsockname()[0]
        server = self.other_server(host="0.0.0.0")
        with Client(server, destination=address) as client:
            self.assertEqual(client.ask("GET", "/v1/stats", headers={"Host": f"{address}:1"}).status, 200)
            self.assert_forbidden(client.ask("GET", "/v1/stats", headers={"Host": "192.0.2.1"}), "forbidden_host")
        with Client(server) as client:
            self.assert_forbidden(client.ask("GET", "/v1/stats", headers={"Host": address}), "forbidden_host")

    def test_hosts_that_are_listed_are_this_server(self):
        server = self.other_server("--http-allowed-hosts", "locks.example, 10.0.0.5,[2001:db8::5]")
        with Client(server) as client:
            for host in ("locks.example", "Locks.Example.:80", "10.0.0.5:6389", "[2001:db8::5]:6389", "localhost"):
                self.assertEqual(client.ask("GET", "/v1/stats", headers={"Host": host}).status, 200, host)
            for host in ("a.locks.example", "10.0.0.6", "attacker.example"):
                self.assert_forbidden(client.ask("GET", "/v1/stats", headers={"Host": host}), "forbidden_host")

    def test_with_a_secret_any_host_will_do(self):
        server = self.other_server("--auth-token-file", self.secret_file())
        secret = {"Authorization": f"Bearer {self.SECRET}"}
        with Client(server) as client:
            fields = {"Host": "locks.example", "Origin": "http://locks.example"}
            self.assertEqual(client.ask("POST", "/v1/sessions", headers=secret | fields).status, 200)
            fields["Origin"] = "http://attacker.example"
            began = time.monotonic()
            self.assert_forbidden(client.ask("POST", "/v1/sessions", headers=fields), "forbidden_origin")
            self.assert_forbidden(client.ask("POST", "/v1/sessions", headers=secret | fields), "forbidden_origin")
            self.assertLess(time.monotonic() - began, PATIENCE if SLOW else 0.1, "before the secret is looked at")

    def test_pages_from_elsewhere_are_forbidden_whatever_they_ask_for(self):
        client = self.client()
        port = self.server.http_port
        for origin in ("http://attacker.example", "null", f"https://localhost:{port}", f"http://127.0.0.1:{port}",
                       "http://localhost", f"http://localhost:{port}.attacker.example", "chrome-extension://abc", ""):
            for method, path in (("GET", "/v1/stats"), ("POST", "/v1/sessions"), ("DELETE", "/v1/sessions/a"),
                                 ("POST", "/v1/locks/a"), ("OPTIONS", "/v1/sessions"), ("GET", "/health"),
                                 ("GET", "/nowhere")):
                with self.subTest(origin=origin, method=method, path=path):
                    self.assert_forbidden(client.ask(method, path, headers=self.own(Origin=origin)),
                                          "forbidden_origin")
        self.server.wait_for_log(r".* warn request_forbidden .*reason=(forbidden_origin|more_of_them).*")

    def test_with_tls_the_server_s_own_pages_are_https(self):
        with tempfile.TemporaryDirectory() as directory:
            key, certificate = f"{directory}/key", f"{directory}/certificate"
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                            "-subj", "/CN=localhost", "-days", "2", "-keyout", key, "-out", certificate],
                           check=True, stderr=subprocess.DEVNULL)
            server = self.other_server("--tls-cert", certificate, "--tls-key", key)
        tls = ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        with Client(server, tls=tls) as client:
            for scheme, status in (("https", 200), ("http", 403)):
                fields = {"Host": "localhost", "Origin": f"{scheme}://localhost"}
                self.assertEqual(client.ask("POST", "/v1/sessions", headers=fields).status, status)


class Cors(unittest.TestCase):
    PREFLIGHT = {"Access-Control-Request-Method": "POST",
                 "Access-Control-Request-Headers": "authorization, x-dflockd-session"}

    def serve(self, *flags):
        server = Server(*flags)
        self.addCleanup(lambda: self.assertEqual(server.stop(), 0))
        client = Client(server)
        self.addCleanup(client.socket.close)
        return client

    def assert_no_cors(self, response):
        for name, _ in response.headers:
            self.assertFalse(name.lower().startswith("access-control-"), name)

    def test_it_is_off_by_default(self):
        client = self.serve()
        own = f"http://localhost:{client.port}"
        response = client.ask("GET", "/health", headers={"Host": f"localhost:{client.port}", "Origin": own})
        self.assertEqual(response.status, 200)
        self.assert_no_cors(response)
        self.assertIsNone(response.header("Vary"))
        for origin, status in (("https://a.example", 403), (own, 405)):
            response = client.ask("OPTIONS", "/v1/sessions", headers={
                "Host": f"localhost:{client.port}", "Origin": origin} | self.PREFLIGHT)
            self.assertEqual(response.status, status)
            self.assert_no_cors(response)

    def test_listed_origins_are_echoed_and_others_are_not(self):
        client = self.serve("--http-cors-allowed-origins", "https://a.example,http://b.example:8080")
        for origin in ("https://a.example", "http://b.example:8080"):
            for method, path in (("GET", "/health"), ("GET", "/v1/stats"), ("HEAD", "/v1/stats"),
                                 ("POST", "/v1/sessions"), ("GET", "/nowhere")):
                response = client.ask(method, path, headers={"Origin": origin})
                self.assertEqual(response.header("Access-Control-Allow-Origin"), origin)
                self.assertEqual(response.header("Vary"), "Origin")
        for origin in ("https://c.example", "http://a.example", "https://a.example:444", "null",
                       "https://a.example.evil", "https://xa.example", "*"):
            for method, path, more in (("GET", "/health", {}), ("OPTIONS", "/v1/sessions", self.PREFLIGHT)):
                response = client.ask(method, path, headers={"Origin": origin} | more)
                self.assertEqual((response.status, response.error), (403, "forbidden_origin"))
                self.assert_no_cors(response)
                self.assertEqual(response.header("Vary"), "Origin")
        response = client.ask("GET", "/health")
        self.assert_no_cors(response)
        self.assertEqual(response.header("Vary"), "Origin")

    def test_a_preflight_is_told_what_it_may_do(self):
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("secret")
            file.flush()
            client = self.serve("--http-cors-allowed-origins", "https://a.example",
                                "--auth-token-file", file.name)
        origin = {"Origin": "https://a.example"}
        for path in ("/v1/sessions", "/v1/locks/a", "/v1/locks/a/wait", "/v1/stats"):
            response = client.ask("OPTIONS", path, headers=origin | self.PREFLIGHT)
            self.assertEqual(response.status, 204)
            self.assertEqual(response.header("Access-Control-Allow-Origin"), "https://a.example")
            self.assertEqual(response.header("Vary"), "Origin")
            self.assertLessEqual({"GET", "POST", "DELETE"},
                                 set(response.header("Access-Control-Allow-Methods").split(", ")))
            self.assertEqual(response.header("Access-Control-Allow-Headers"),
                             "Authorization, Content-Type, X-Dflockd-Session")
            self.assertEqual(response.header("Access-Control-Max-Age"), "300")
        self.assertEqual(client.ask("OPTIONS", "/v1/sessions", headers=origin).status, 401)
        response = client.ask("GET", "/v1/stats", headers=origin)
        self.assertEqual(response.status, 401)
        self.assertEqual(response.header("Access-Control-Allow-Origin"), "https://a.example")


class Drain(unittest.TestCase):
    def test_who_comes_is_told_and_sessions_can_release(self):
        server = Server("--shutdown-timeout", "30")
        self.addCleanup(server.kill)
        with Client(server) as client:
            name = client.ask("POST", "/v1/sessions").json()["session_id"]
            session = {"X-Dflockd-Session": name}
            token = client.ask("POST", "/v1/locks/a", {"acquire_timeout_s": 0}, session).json()["token"]
            server.process.terminate()
            self.assertEqual(client.rest(), b"", "an idle connection was not closed")
        def ask(method, path, body=None):
            with Client(server) as client:
                # As over a network: the request comes some time after the connection.
                self.assertEqual(select.select([client.socket], [], [], 0.1)[0], [], "closed unheard")
                response = client.ask(method, path, body, session)
                self.assertEqual(response.header("Connection"), "close")
                return response
        ready = ask("GET", "/ready")
        self.assertEqual((ready.status, ready.json()), (503, {"status": "draining"}))
        self.assertEqual(ask("GET", "/health").status, 200)
        late = ask("POST", "/v1/sessions").json()["session_id"]
        self.assertEqual(ask("POST", f"/v1/sessions/{late}/ping").status, 204)
        self.assertEqual(ask("POST", "/v1/locks/b", {"acquire_timeout_s": 0}).error, "draining")
        self.assertEqual(ask("POST", "/v1/locks/a/release", {"token": token}).status, 204)
        self.assertEqual(server.process.wait(PATIENCE), 0)


class Metrics(ApiTest):
    flags = ("--lease-sweep-interval", "1")

    def lines(self, *lines):
        """Speaks the line protocol on a connection of its own. Returns the replies."""
        with socket.create_connection(("127.0.0.1", self.server.port), PATIENCE) as connection:
            with connection.makefile("rwb") as stream:
                replies = []
                for command in lines:
                    stream.write(command)
                    stream.flush()
                    replies.append(stream.readline())
                return replies

    def test_the_names_are_all_there(self):
        types = self.metrics().types
        expected = {
            "dflockd_build_info": "gauge", "dflockd_ready": "gauge", "dflockd_uptime_seconds": "gauge",
            "dflockd_connections": "gauge", "dflockd_http_sessions": "gauge", "dflockd_locks_held": "gauge",
            "dflockd_lock_waiters": "gauge", "dflockd_semaphore_holders": "gauge",
            "dflockd_semaphore_waiters": "gauge", "dflockd_http_requests_total": "counter",
            "dflockd_http_request_duration_seconds": "histogram", "dflockd_commands_total": "counter",
            "dflockd_grants_total": "counter", "dflockd_lease_expirations_total": "counter",
            "dflockd_grant_wait_seconds": "histogram", "dflockd_connections_rejected_total": "counter",
            "dflockd_auth_failures_total": "counter"}
        self.assertEqual({name: types.get(name) for name in expected}, expected)
        for name, kind in types.items():
            self.assertEqual(name.endswith("_total"), kind == "counter", name)

    def test_the_metrics_of_the_process_are_there(self):
        metrics = self.metrics()
        for name in ("process_cpu_seconds_total", "process_open_fds", "process_max_fds",
                     "process_resident_memory_bytes", "process_virtual_memory_bytes",
                     "process_start_time_seconds"):
            self.assertIn(name, metrics.types)
        self.assertLess(abs(time.time() - metrics.of("process_start_time_seconds")), 120)
        self.assertGreater(metrics.of("process_resident_memory_bytes"), 1 << 20)

    def test_gauges_tell_what_is_held(self):
        holder, waiter = self.session(), self.session()
        client, blocked, other = self.client(), self.client(), self.client()
        client.ask("POST", "/v1/locks/gauge", {"acquire_timeout_s": 0}, holder)
        client.ask("POST", "/v1/semaphores/gauge", {"acquire_timeout_s": 0, "limit": 1}, holder)
        blocked.send(request("POST", "/v1/locks/gauge", {"acquire_timeout_s": 30}, waiter))
        client.ask("POST", "/v1/semaphores/gauge/enqueue", {"limit": 1}, self.session())
        metrics = eventually(lambda: (m := self.metrics()).of("dflockd_lock_waiters") == 1 and m)
        self.assertEqual(metrics.of("dflockd_http_sessions"), 3)
        self.assertEqual(metrics.of("dflockd_locks_held"), 1)
        self.assertEqual(metrics.of("dflockd_semaphore_holders"), 1)
        self.assertEqual(metrics.of("dflockd_semaphore_waiters"), 1)
        self.assertEqual(metrics.of("dflockd_ready"), 1)
        blocked.socket.close()
        eventually(lambda: self.metrics().of("dflockd_lock_waiters") == 0)
        # What the caller did not stay for is recorded.
        eventually(lambda: self.metrics().of("dflockd_http_requests_total", method="POST",
                                             path="/v1/locks/{key}", status="408") == 1)

    def test_requests_are_counted_by_the_pattern_of_their_route(self):
        session = self.session()
        before = self.metrics()
        client = self.client()
        for key in ("a", "b%2Fc", "d"):
            client.ask("POST", f"/v1/locks/{key}", {"acquire_timeout_s": 0}, session)
        client.ask("POST", "/v1/locks/a/release", {"token": "0" * 32}, session)
        client.ask("HEAD", "/health")
        after = self.metrics()
        def grown(name, **labels):
            return after.of(name, **labels) - before.of(name, **labels)
        count = "dflockd_http_requests_total"
        self.assertEqual(grown(count, method="POST", path="/v1/locks/{key}", status="200"), 3)
        self.assertEqual(grown(count, method="POST", path="/v1/locks/{key}/release", status="404"), 1)
        self.assertEqual(grown(count, method="HEAD", path="/health", status="200"), 1)
        duration = "dflockd_http_request_duration_seconds"
        self.assertEqual(grown(duration + "_count", path="/v1/locks/{key}"), 3)
        self.assertEqual(grown(duration + "_bucket", path="/v1/locks/{key}", le="+Inf"), 3)
        self.assertEqual(grown("dflockd_grants_total"), 3)
        self.assertEqual(grown("dflockd_grant_wait_seconds_count"), 3)

    def test_commands_of_the_line_protocol_are_counted(self):
        before = self.metrics()
        replies = self.lines(b"l\nlines\n0\n", b"l\nlines\n0\n", b"ping\n_\n\n")
        self.assertTrue(replies[0].startswith(b"ok "), replies)
        after = self.metrics()
        series = {key: after.samples[key] - before.samples.get(key, 0) for key in after.samples
                  if key[0] == "dflockd_commands_total"}
        self.assertEqual(sum(series.values()), len(replies))
        self.assertEqual(after.of("dflockd_grants_total") - before.of("dflockd_grants_total"), 1)

    def test_durations_are_those_of_the_work(self):
        self.metrics()
        name = "dflockd_http_request_duration_seconds_sum"
        self.assertGreater(self.metrics().of(name, path="/metrics"), 0)

    def test_operations_are_counted_as_commands_whatever_the_transport(self):
        holder, other = self.session(), self.session()
        client, waiting = self.client(), self.client()
        def asked(path, body, session=holder):
            return client.ask("POST", path, body, session)
        def counts():
            samples = self.metrics()
            return {(dict(labels)["command"], dict(labels)["status"]): value
                    for (name, labels), value in samples.samples.items()
                    if name == "dflockd_commands_total"}
        before = counts()
        expected = {}
        for prefix, kind, limit in (("", "locks", {}), ("s", "semaphores", {"limit": 1})):
            lock, other_lock = f"/v1/{kind}/counted", f"/v1/{kind}/counted-too"
            token = asked(lock, {"acquire_timeout_s": 0} | limit).json()["token"]
            asked(lock, {"acquire_timeout_s": 0} | limit)
            waiting.send(request("POST", lock, {"acquire_timeout_s": 1} | limit, other))
            self.assertEqual(waiting.answer("POST", lock).json(), {"status": "timeout"})
            asked(lock + "/renew", {"token": token})
            asked(lock + "/renew", {"token": "0" * 32})
            asked(lock + "/enqueue", limit)
            asked(lock + "/enqueue", limit)
            waiting.send(request("POST", lock + "/wait", {"timeout_s": 30}, holder))
            eventually(lambda k=kind: self.metrics().of(
                "dflockd_lock_waiters" if k == "locks" else "dflockd_semaphore_waiters") == 1)
            asked(lock + "/release", {"token": token}, other)
            self.assertEqual(waiting.answer("POST", lock + "/wait").json()["status"], "ok")
            asked(lock + "/release", {"token": token}, other)
            asked(other_lock + "/wait", {"timeout_s": 0})
            asked(other_lock + "/enqueue", limit)
            # What did not get as far as the lock table is no command.
            asked(lock, {})
            asked(lock, {"acquire_timeout_s": 0} | limit, {})
            asked(lock, {"acquire_timeout_s": 0} | limit, {"X-Dflockd-Session": "gone"})
            for command, status, count in (
                    ("l", "ok", 1), ("l", "timeout", 2), ("n", "ok", 1), ("n", "error", 1),
                    ("e", "queued", 1), ("e", "error_already_enqueued", 1), ("w", "ok", 1),
                    ("r", "ok", 1), ("r", "error", 1), ("w", "error_not_enqueued", 1),
                    ("e", "acquired", 1)):
                expected[prefix + command, status] = count
        asked("/v1/semaphores/counted", {"acquire_timeout_s": 0, "limit": 2})
        expected["sl", "error_limit_mismatch"] = 1
        after = counts()
        self.assertEqual({key: count - before.get(key, 0) for key, count in after.items()
                          if count != before.get(key, 0)}, expected)

    def test_leases_that_run_out_are_counted(self):
        before = self.metrics().of("dflockd_lease_expirations_total")
        self.client().ask("POST", "/v1/locks/short", {"acquire_timeout_s": 0, "lease_ttl_s": 1},
                          self.session())
        eventually(lambda: self.metrics().of("dflockd_lease_expirations_total") == before + 1)

    def test_clients_cannot_make_the_labels_grow(self):
        def provoke(round_):
            client = self.client()
            for i in range(30):
                client.ask("GET", f"/random-{round_}-{i}")
                client.ask("POST", f"/v1/sessions/{round_}-{i}/ping")
                client.ask("POST", f"/v1/locks/{round_}-{i}", {"acquire_timeout_s": 0})
            for method in ("PUT", "PATCH", "PROPFIND", "M-SEARCH", "LINK", f"RANDOM{round_}"):
                client.ask(method, "/health")
                client.ask(method, f"/random-{round_}")
        provoke(0)
        self.metrics()  # which is counted itself
        before = self.metrics().series()
        for round_ in range(1, 4):
            provoke(round_)
        after = self.metrics().series()
        self.assertEqual(after, before)
        methods = {dict(labels)["method"] for name, labels in after
                   if name == "dflockd_http_requests_total"}
        self.assertLessEqual(methods, {"GET", "HEAD", "POST", "DELETE", "OPTIONS", "OTHER"})

    def test_methods_that_nobody_knows_are_like_those_that_are_not_allowed(self):
        def counted(path, status):
            return self.metrics().of("dflockd_http_requests_total", method="OTHER", path=path,
                                     status=status)
        methods = ("BREW", "GETX", "GE", "get", "a", "!#$%&'*+-.^_`|~", "X" * 32)
        not_found, not_allowed = counted("-", "404"), counted("/v1/locks/{key}", "405")
        client = self.client()
        for method in methods:
            with self.subTest(method):
                for path, allowed in (("/health", {"GET", "HEAD"}), ("/v1/locks/a", {"POST"})):
                    response = client.ask(method, path, b'{"tea":1}')
                    self.assertEqual((response.status, response.error), (405, "method_not_allowed"))
                    self.assertEqual(set(response.header("Allow").split(", ")), allowed)
                    self.assertIsNone(response.header("Connection"))
                self.assertEqual(client.ask(method, "/nowhere").status, 404)
        client.send(request("BREW", "/v1/stats", headers={"Transfer-Encoding": "chunked"}) +
                    chunked(b"tea") + request("GET", "/health"))
        self.assertEqual(client.answer("BREW", "/v1/stats").status, 405)
        self.assertEqual(client.answer("GET", "/health").status, 200)
        self.assertEqual(counted("-", "404"), not_found + len(methods))
        self.assertEqual(counted("/v1/locks/{key}", "405"), not_allowed + len(methods))

    def test_a_refused_request_is_counted_as_what_it_is(self):
        client = self.client()
        client.ask("GET", "/health")
        before = self.metrics()
        client.send("nonsense\r\n\r\n")
        self.assertEqual(client.answer().status, 400)
        fresh = self.client()
        fresh.send("nonsense\r\n\r\n")
        self.assertEqual(fresh.answer().status, 400)
        after = self.metrics()
        labels = {"method": "OTHER", "path": "-", "status": "400"}
        self.assertEqual(after.of("dflockd_http_requests_total", **labels) -
                         before.of("dflockd_http_requests_total", **labels), 2)
        sum_of_times = "dflockd_http_request_duration_seconds_sum"
        self.assertLess(after.of(sum_of_times, path="-") - before.of(sum_of_times, path="-"), 60)

    def test_histograms_are_cumulative(self):
        metrics = self.metrics()
        buckets = {}
        for (name, labels), value in metrics.samples.items():
            if name.endswith("_bucket"):
                labels = dict(labels)
                bound = float(labels.pop("le"))
                buckets.setdefault((name.removesuffix("_bucket"), frozenset(labels.items())), []).append(
                    (bound, value))
        self.assertTrue(buckets)
        for (name, labels), values in buckets.items():
            counts = [value for _, value in sorted(values)]
            self.assertEqual(counts, sorted(counts), name)
            self.assertEqual(counts[-1], metrics.samples[(name + "_count", labels)])

    @unittest.skipUnless(PROMTOOL, "no promtool; `make promtool` gets it")
    def test_promtool_has_nothing_to_say(self):
        client = self.client()
        client.ask("POST", "/v1/locks/promtool", {"acquire_timeout_s": 0}, self.session())
        self.lines(b"l\nlines\n0\n")
        for method in ("GET", "PUT", "BREW", "a'b", "!#$%&'*+-.^_`|~"):
            for path in ("/health", "/metrics", "/%22%5C%0A", "/v1/locks/%22%5C%0A", '/"\\', "*"):
                client.ask(method, path)
        text = client.ask("GET", "/metrics").body
        result = subprocess.run([PROMTOOL, "check", "metrics"], input=text, capture_output=True,
                                timeout=PATIENCE, check=False)
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, b"", b""))


class AccessLog(ApiTest):
    flags = ("--debug",)

    def test_every_request_is_a_line(self):
        session = self.session()
        client = self.client()
        client.ask("POST", "/v1/locks/logged-key", {"acquire_timeout_s": 0}, session)
        line = self.server.wait_for_log(r".*http_request.*/v1/locks/\{key\}.*")
        self.assertRegex(line, r"\bPOST\b")
        self.assertRegex(line, r"\b200\b")
        self.assertNotIn(session["X-Dflockd-Session"], self.server.log())
        client.ask("GET", "/nowhere?secret=1")
        self.assertNotIn("secret", self.server.wait_for_log(r".*http_request.*\b404\b.*"))

    def test_there_is_none_at_info(self):
        server = Server()
        self.addCleanup(server.stop)
        with Client(server) as client:
            client.ask("GET", "/health")
        self.assertNotIn("http_request", server.log())


if __name__ == "__main__":
    unittest.main()
