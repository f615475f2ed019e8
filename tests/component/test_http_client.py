"""The HTTP client against servers that behave, misbehave, and pretend to be others."""

from __future__ import annotations

import datetime
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.bad_inputs import bad_input
from support.http import HttpDriver
from support.ports import LOOPBACK, free_port
from support.tls import Authority, Certificate
from support.tls_server import Connection, Handler, Request, TlsServer, answering, response
from support.waiting import wait_until

pytestmark = pytest.mark.asan

Driver = Callable[..., HttpDriver]


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Certificate:
    return authority.issue("http-client")


@pytest.fixture
def driver(authority: Authority, tmp_path: Path) -> Driver:
    def make(environment: dict[str, str] | None = None, **settings: Any) -> HttpDriver:
        return HttpDriver(tmp_path, environment, client={"ca_file": str(authority.cert), **settings})

    return make


def outcome(answer: dict[str, Any]) -> tuple[str, str]:
    return answer["result"], answer["error"]["code"]


# --- Ordinary requests ------------------------------------------------------------------------------------------------


def test_answer_has_status_body_and_headers(certificate: Certificate, driver: Driver) -> None:
    answer = response('{"a":1}', 207, ETag='W/"7"', X_First="one", x_first="two", X_Empty="")
    with TlsServer(certificate, answering(answer)) as server, driver() as client:
        got = client.send("GET", server.url + "/x", look_up=["etag", "X-FIRST", "x-empty", "x-fir", "etag", "Absent"])

    assert (got["result"], got["status"], got["body"], got["error"]) == ("answered", 207, '{"a":1}', None)
    assert got["headers"] == ['W/"7"', "one", "", None, 'W/"7"', None]
    assert got["took_time"]


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE"])
def test_method_headers_and_body_arrive(certificate: Certificate, driver: Driver, method: str) -> None:
    headers = [["If-Match", 'W/"7"'], ["Content-Type", "application/json"]]
    body = '{"text":"ä"}' + " " * 5000
    with TlsServer(certificate, answering(response(status=204))) as server, driver() as client:
        answer = client.send(method, server.url + "/p?q=1", headers=headers, body=body)

    assert answer["status"] == 204
    (request,) = server.requests
    assert (request.method, request.target, request.body) == (method, "/p?q=1", body)
    assert [request.header("If-Match"), request.header("Content-Type")] == ['W/"7"', "application/json"]
    # By this a service's administrator knows who calls.
    assert re.fullmatch(r"Tandem/\d+\.\d+\.\d+", request.header("User-Agent") or "")
    # Neither an extra round trip nor a compressed answer is asked for.
    assert request.header("Expect") is None and request.header("Accept-Encoding") is None


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_missing_body_is_sent_as_an_empty_one(certificate: Certificate, driver: Driver, method: str) -> None:
    """Servers answer 411 to such methods without a length."""
    with TlsServer(certificate, answering(response())) as server, driver() as client:
        assert client.send(method, server.url)["status"] == 200

    (request,) = server.requests
    assert request.header("Content-Length") == "0" and request.header("Content-Type") is None


def test_empty_header_value_is_sent(certificate: Certificate, driver: Driver) -> None:
    with TlsServer(certificate, answering(response())) as server, driver() as client:
        client.send("GET", server.url, headers=[["X-Empty", ""]])

    assert server.requests[0].header("X-Empty") == ""


def test_connection_is_kept(certificate: Certificate, driver: Driver) -> None:
    with TlsServer(certificate, answering(response())) as server, driver() as client:
        for _ in range(3):
            assert client.send("POST", server.url, body="x")["status"] == 200

    assert [request.connection for request in server.requests] == [1, 1, 1]


def test_redirect_is_an_answer(certificate: Certificate, driver: Driver) -> None:
    with TlsServer(certificate, answering(response())) as other:
        moved = response(status=302, Location=other.url)
        with TlsServer(certificate, answering(moved)) as server, driver() as client:
            answer = client.send("GET", server.url, headers=[["Authorization", "Bearer t"]], look_up=["Location"])

    assert (answer["status"], answer["headers"]) == (302, [other.url])
    assert other.connections == 0


def test_interim_responses_are_passed_over(certificate: Certificate, driver: Driver) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nX-Early: yes\r\n\r\n"
    with TlsServer(certificate, answering(early + response("late"))) as server, driver() as client:
        answer = client.send("GET", server.url, look_up=["X-Early"])

    assert (answer["status"], answer["body"], answer["headers"]) == (200, "late", [None])


def test_proxy_of_the_environment_is_ignored(certificate: Certificate, driver: Driver) -> None:
    proxy = f"http://{LOOPBACK}:{free_port()}"
    environment = {"https_proxy": proxy, "HTTPS_PROXY": proxy, "all_proxy": proxy, "no_proxy": ""}
    with TlsServer(certificate, answering(response())) as server, driver(environment) as client:
        assert client.send("GET", server.url)["status"] == 200


# --- What is never sent -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["expired", "wrong host", "foreign authority"])
def test_wrong_certificate_gets_no_request(authority: Authority, driver: Driver, tmp_path: Path, fault: str) -> None:
    certificate = {
        "expired": lambda: authority.issue("expired", lifetime=datetime.timedelta(hours=-1)),
        "wrong host": lambda: authority.issue("wrong-host", hosts=("other.example", "127.0.0.2")),
        "foreign authority": lambda: Authority(tmp_path / "foreign").issue("foreign"),
    }[fault]()
    with TlsServer(certificate, answering(response())) as server, driver() as client:
        answer = client.send("POST", server.url, body="x")

    assert outcome(answer) == ("not_sent", "http.certificate")
    assert server.connections == 1 and server.requests == []


def test_closed_port_gets_no_request(driver: Driver) -> None:
    with driver() as client:
        assert outcome(client.send("POST", f"https://{LOOPBACK}:{free_port()}/", body="x")) == (
            "not_sent",
            "http.transport",
        )


def test_unknown_host_gets_no_request(driver: Driver) -> None:
    with driver() as client:
        assert client.send("POST", "https://host.invalid/", body="x")["result"] == "not_sent"


def test_handshake_that_does_not_end_is_given_up(driver: Driver) -> None:
    with socket.create_server((LOOPBACK, 0)) as silent, driver(connect_timeout_ms=300) as client:
        answer = client.send("POST", f"https://{LOOPBACK}:{silent.getsockname()[1]}/", body="x")

    assert outcome(answer) == ("not_sent", "http.timeout")


def test_plain_text_server_gets_no_request(driver: Driver) -> None:
    with socket.create_server((LOOPBACK, 0)) as plain, driver() as client:
        number = client.tell("send", method="POST", url=f"https://{LOOPBACK}:{plain.getsockname()[1]}/", body="x")
        connection, _ = plain.accept()
        with connection:
            connection.sendall(response())
            assert client.answer(number)["result"] == "not_sent"


def test_work_that_is_no_longer_ours_is_not_sent(certificate: Certificate, driver: Driver) -> None:
    with TlsServer(certificate, answering(response())) as server, driver() as client:
        answer = client.send("POST", server.url, body="x", may_send=False)
        assert client.send("GET", server.url + "/next")["status"] == 200

    assert outcome(answer) == ("not_sent", "http.held_back")
    assert [request.target for request in server.requests] == ["/next"]


def test_private_address_is_not_connected_to(certificate: Certificate, driver: Driver) -> None:
    with TlsServer(certificate, answering(response())) as server, driver(refuse_private_addresses=True) as client:
        for host in (LOOPBACK, "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"):
            answer = client.send("GET", f"https://{host}:{server.port}/")
            assert outcome(answer) == ("not_sent", "http.private_address"), host

    assert server.connections == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A", "b\r\nX-Injected: yes"),
        ("X-A", "b\nc"),
        ("X-A", "b\x01"),
        ("X-A\r\nX-Injected", "yes"),
        ("X A", "b"),
        ("", "b"),
    ],
)
def test_header_injection_is_refused(certificate: Certificate, driver: Driver, name: str, value: str) -> None:
    with TlsServer(certificate, answering(response())) as server, driver() as client:
        answer = client.send("GET", server.url, headers=[[name, value]])

    assert outcome(answer) == ("refused", "http.bad_header")
    assert server.connections == 0


@pytest.mark.parametrize("url", ["http://{}/", "https://user:secret@{}/", "https://{}/a b", "file:///etc/passwd", ""])
def test_other_urls_are_refused(certificate: Certificate, driver: Driver, url: str) -> None:
    with TlsServer(certificate, answering(response())) as server, driver() as client:
        answer = client.send("GET", url.format(f"{LOOPBACK}:{server.port}"))

    assert outcome(answer) == ("refused", "http.bad_url")
    assert server.connections == 0


# --- Answers that do not come, or are none ----------------------------------------------------------------------------


def silence(_connection: Connection, _request: Request) -> None:
    pass


def close(connection: Connection, _request: Request) -> None:
    connection.close()


def reset(connection: Connection, _request: Request) -> None:
    connection.reset()


def truncate(connection: Connection, _request: Request) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    connection.close()


@bad_input("B75")
@pytest.mark.parametrize(
    "handle",
    [
        close,
        reset,
        truncate,
        answering(b"garbage\r\n\r\n"),
        answering(b"HTTP/1.1 abc\r\n\r\n"),
        answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"),
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_broken_answer_leaves_the_outcome_unknown(
    certificate: Certificate, driver: Driver, handle: Handler, method: str
) -> None:
    body = None if method == "GET" else "x"
    with TlsServer(certificate, handle) as server, driver(total_timeout_ms=3000) as client:
        answer = client.send(method, server.url, body=body)

    assert outcome(answer) == ("unknown", "http.transport")
    assert len(server.requests) == 1


def test_no_answer_leaves_the_outcome_unknown(certificate: Certificate, driver: Driver) -> None:
    with TlsServer(certificate, silence) as server, driver() as client:
        answer = client.send("POST", server.url, body="x", timeout_ms=400)

    assert outcome(answer) == ("unknown", "http.timeout")


def test_body_of_one_byte_a_second_times_out(certificate: Certificate, driver: Driver) -> None:
    is_over = threading.Event()

    def trickle(connection: Connection, _request: Request) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not is_over.wait(1):
            connection.send(b"x")

    with TlsServer(certificate, trickle) as server, driver(total_timeout_ms=2500) as client:
        answer = client.send("GET", server.url)
        is_over.set()

    assert outcome(answer) == ("unknown", "http.timeout")
    assert answer["body"] == "" or set(answer["body"]) == {"x"}


def endless_interim(connection: Connection, _request: Request) -> None:
    while True:
        connection.send(b"HTTP/1.1 103 Early Hints\r\nX-A: " + b"a" * 1000 + b"\r\n\r\n")


def endless_header(connection: Connection, _request: Request) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.send(b"X-A: " + b"a" * 1000 + b"\r\n")


def endless_chunks(connection: Connection, _request: Request) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.send(b"3e8\r\n" + b"a" * 1000 + b"\r\n")


@bad_input("B75")
@pytest.mark.parametrize(
    "handle",
    [endless_interim, endless_header, endless_chunks, answering(response("a" * 65537))],
    ids=["interim responses", "headers", "chunks", "length"],
)
def test_oversized_answer_is_given_up(certificate: Certificate, driver: Driver, handle: Handler) -> None:
    with TlsServer(certificate, handle) as server, driver() as client:
        answer = client.send("GET", server.url)

    assert outcome(answer) == ("unknown", "http.too_large")


@bad_input("B75")
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
def test_answer_is_not_unpacked(certificate: Certificate, driver: Driver, coding: str) -> None:
    with TlsServer(certificate, answering(response("as it came", Content_Encoding=coding))) as server, driver() as client:
        answer = client.send("GET", server.url)

        assert (answer["status"], answer["body"]) == (200, "as it came")
        assert server.requests[0].header("Accept-Encoding") is None


def test_largest_answer_is_taken(certificate: Certificate, driver: Driver) -> None:
    with TlsServer(certificate, answering(response("a" * 65536))) as server, driver() as client:
        assert client.send("GET", server.url)["body"] == "a" * 65536


def closing_second_requests(connection: Connection, request: Request) -> None:
    """A kept connection dies when it is used again; a new one is fine."""
    if request.target == "/first" or request.connection > 1:
        connection.send(response())
    else:
        connection.close()


def test_write_on_a_dying_connection_is_not_repeated(certificate: Certificate, driver: Driver) -> None:
    with TlsServer(certificate, closing_second_requests) as server, driver() as client:
        client.send("GET", server.url + "/first")
        answer = client.send("POST", server.url + "/write", body="x")

    assert answer["result"] == "unknown"
    assert [request.target for request in server.requests] == ["/first", "/write"]


def test_read_on_a_dying_connection_is_repeated(certificate: Certificate, driver: Driver) -> None:
    with TlsServer(certificate, closing_second_requests) as server, driver() as client:
        client.send("GET", server.url + "/first")
        assert client.send("GET", server.url + "/read")["status"] == 200

    assert [request.connection for request in server.requests] == [1, 1, 2]


def test_errors_tell_nothing_of_the_request(certificate: Certificate, driver: Driver) -> None:
    with TlsServer(certificate, close) as server, driver() as client:
        url, headers = server.url + "/SECRET?q=SECRET", [["Authorization", "Bearer SECRET"]]
        messages = [
            client.send("POST", url, headers=headers, body="SECRET")["error"]["message"],
            client.send("POST", url + " SECRET")["error"]["message"],
            client.send("POST", url, headers=[["A", "SECRET\n"]])["error"]["message"],
        ]

    assert all(message and "SECRET" not in message for message in messages)
    assert "SECRET" not in client.log


# --- Queue and end ----------------------------------------------------------------------------------------------------


@contextmanager
def holding_server(certificate: Certificate) -> Iterator[tuple[TlsServer, threading.Event]]:
    """A server that answers only once the event is set."""
    may_answer = threading.Event()

    def handle(connection: Connection, _request: Request) -> None:
        may_answer.wait(30)
        connection.send(response())

    with TlsServer(certificate, handle) as server:
        try:
            yield server, may_answer
        finally:
            may_answer.set()


def test_queue_is_bounded_and_kept_in_order(certificate: Certificate, driver: Driver) -> None:
    with holding_server(certificate) as (server, may_answer), driver(concurrent_max=1, queued_max=2) as client:
        running = client.tell("send", method="GET", url=server.url + "/1")
        server.wait_for_requests(1)
        waiting = client.tell_many("send", [{"method": "GET", "url": f"{server.url}/{i}"} for i in (2, 3)])
        assert outcome(client.send("GET", server.url + "/4")) == ("refused", "http.queue_full")
        assert len(server.requests) == 1
        may_answer.set()
        assert [client.answer(number)["status"] for number in (running, *waiting)] == [200] * 3

    assert [request.target for request in server.requests] == ["/1", "/2", "/3"]


def test_requests_run_side_by_side_up_to_the_bound(certificate: Certificate, driver: Driver) -> None:
    with holding_server(certificate) as (server, may_answer), driver(concurrent_max=3) as client:
        numbers = client.tell_many("send", [{"method": "GET", "url": f"{server.url}/{i}"} for i in range(7)])
        server.wait_for_requests(3)
        may_answer.set()
        assert [client.answer(number)["status"] for number in numbers] == [200] * 7

    assert server.connections == 3


def test_freeing_cancels_what_runs_and_what_waits(certificate: Certificate, driver: Driver) -> None:
    with holding_server(certificate) as (server, _may_answer), driver(concurrent_max=1) as client:
        numbers = client.tell_many("send", [{"method": "POST", "url": server.url, "body": "x"}] * 3)
        server.wait_for_requests(1)
        client.tell("free")
        assert [outcome(client.answer(number)) for number in numbers] == [("cancelled", "http.cancelled")] * 3


def test_freeing_during_a_handshake_cancels(driver: Driver) -> None:
    with socket.create_server((LOOPBACK, 0)) as silent, driver() as client:
        number = client.tell("send", method="GET", url=f"https://{LOOPBACK}:{silent.getsockname()[1]}/")
        connection, _ = silent.accept()
        with connection:
            client.tell("free")
            assert client.answer(number)["result"] == "cancelled"


def test_many_requests_are_each_answered_once(certificate: Certificate, driver: Driver) -> None:
    def echo(connection: Connection, request: Request) -> None:
        connection.send(response(request.target))

    with TlsServer(certificate, echo) as server, driver(queued_max=300) as client:
        numbers = client.tell_many("send", [{"method": "GET", "url": f"{server.url}/{i}"} for i in range(300)])
        assert [client.answer(number)["body"] for number in numbers] == [f"/{i}" for i in range(300)]
        wait_until(lambda: len(server.requests) == 300, 10, "each request arrived once")

    assert server.connections <= 8
