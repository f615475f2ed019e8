"""Access tokens against a token endpoint that rotates, refuses, stalls and lies."""

from __future__ import annotations

import json
import threading
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.bad_inputs import bad_input
from support.http import HttpDriver
from support.tls import Authority, Certificate
from support.tls_server import Connection, Handler, Request, TlsServer, answering, response
from support.waiting import wait_until

pytestmark = pytest.mark.asan

REGISTRATION = "https://api.partnercenter.example"
REFERRALS = "https://api.partner.example"

Driver = Callable[..., HttpDriver]


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Certificate:
    return authority.issue("http-token")


@pytest.fixture
def driver(authority: Authority, tmp_path: Path) -> Driver:
    def make(server: TlsServer, refresh_token: str | None = None, **client: Any) -> HttpDriver:
        account = {
            "token_url": server.url + "/tenant/oauth2/token",
            "client_id": "client",
            "client_secret": "a~.+/&scope=b",
            **({} if refresh_token is None else {"refresh_token": refresh_token}),
        }
        return HttpDriver(
            tmp_path,
            client={"ca_file": str(authority.cert), **client},
            account=account,
            audiences=[REGISTRATION, REFERRALS],
        )

    return make


def grant(access: str, refresh: str | None = None, expires_in: Any = 3600) -> bytes:
    body = {"token_type": "Bearer", "expires_in": expires_in, "access_token": access, "refresh_token": refresh}
    return response(json.dumps({name: value for name, value in body.items() if value is not None}))


def refusal(word: str, status: int = 400, number: int = 700082) -> bytes:
    return response(json.dumps({"error": word, "error_description": "SECRET", "error_codes": [number]}), status)


class Rotating:
    """Every refresh token is good once and brings the next one: R1, R2, …; access tokens name what they were for."""

    def __init__(self, expires_in: int = 3600) -> None:
        self.current = 1
        self._expires_in = expires_in
        self._lock = threading.Lock()

    def __call__(self, connection: Connection, request: Request) -> None:
        fields = form(request)
        with self._lock:
            if fields["refresh_token"] != f"R{self.current}":
                connection.send(refusal("invalid_grant"))
                return
            self.current += 1
            connection.send(grant(f"A{self.current}:{fields['resource']}", f"R{self.current}", self._expires_in))


def form(request: Request) -> dict[str, str]:
    return dict(urllib.parse.parse_qsl(request.body, keep_blank_values=True, strict_parsing=True))


def code(answer: dict[str, Any]) -> tuple[str, str]:
    assert answer["token"] is None
    return answer["error"]["class"], answer["error"]["code"]


# --- The request ------------------------------------------------------------------------------------------------------


def test_client_credentials_are_sent_as_a_form(certificate: Certificate, driver: Driver) -> None:
    with TlsServer(certificate, answering(grant("A"))) as server, driver(server) as client:
        assert client.token() == {"number": 1, "token": "A", "error": None}

    (request,) = server.requests
    assert (request.method, request.target) == ("POST", "/tenant/oauth2/token")
    assert request.header("Content-Type") == "application/x-www-form-urlencoded"
    assert form(request) == {
        "grant_type": "client_credentials",
        "client_id": "client",
        "client_secret": "a~.+/&scope=b",
        "scope": REGISTRATION,
    }


def test_refresh_token_is_sent_with_the_audience(certificate: Certificate, driver: Driver) -> None:
    with TlsServer(certificate, answering(grant("A"))) as server, driver(server, "R+1") as client:
        assert client.token(1)["token"] == "A"

    assert form(server.requests[0]) == {
        "grant_type": "refresh_token",
        "client_id": "client",
        "client_secret": "a~.+/&scope=b",
        "refresh_token": "R+1",
        "resource": REFERRALS,
        "scope": "openid",
    }


def test_fifty_callers_share_one_request(certificate: Certificate, driver: Driver) -> None:
    with TlsServer(certificate, answering(grant("A"))) as server, driver(server) as client:
        numbers = client.tell_many("get", [{"source": 0}] * 50)
        assert [client.answer(number)["token"] for number in numbers] == ["A"] * 50
        assert client.token()["token"] == "A"

    assert len(server.requests) == 1


# --- Rotation ---------------------------------------------------------------------------------------------------------


def test_rotated_token_is_saved_before_anything_is_used(certificate: Certificate, driver: Driver) -> None:
    with TlsServer(certificate, Rotating()) as server, driver(server, "R1") as client:
        first = client.tell("get", source=0)
        assert client.next_save() == "R2"
        other = client.tell("get", source=1)
        # While the save is under way nobody has a token, and the other audience has not asked.
        assert client.is_blocked() is False
        assert client.unanswered([first, other]) == [first, other]
        assert len(server.requests) == 1

        client.tell("saved", is_saved=True)
        assert client.answer(first)["token"] == f"A2:{REGISTRATION}"
        # The other audience's request carries what the first one brought.
        assert client.next_save() == "R3"
        client.tell("saved", is_saved=True)
        assert client.answer(other)["token"] == f"A3:{REFERRALS}"

    assert [form(request)["refresh_token"] for request in server.requests] == ["R1", "R2"]


def test_token_that_cannot_be_saved_is_neither_used_nor_lost(certificate: Certificate, driver: Driver) -> None:
    with TlsServer(certificate, Rotating()) as server, driver(server, "R1") as client:
        number = client.tell("get", source=0)
        assert client.next_save() == "R2"
        client.tell("saved", is_saved=False)
        assert code(client.answer(number)) == ("transient", "token.not_saved")

        # Whoever asks next makes it try again to save R2; R1 is spent and is not sent again.
        def asks_until_saving() -> bool:
            client.tell("get", source=0)
            client.is_blocked()
            return client.has_saves()

        wait_until(asks_until_saving, 10, "the refresh token is to be saved again")
        assert client.next_save() == "R2"
        assert len(server.requests) == 1
        client.tell("saved", is_saved=True)
        assert client.next_save() == "R3"
        client.tell("saved", is_saved=True)
        assert client.token()["token"] == f"A3:{REGISTRATION}"

    assert [form(request)["refresh_token"] for request in server.requests] == ["R1", "R2"]


def test_unchanged_refresh_token_is_not_saved(certificate: Certificate, driver: Driver) -> None:
    with TlsServer(certificate, answering(grant("A", "R1"))) as server, driver(server, "R1") as client:
        assert client.token()["token"] == "A"
        assert not client.has_saves()


def test_end_while_saving_answers_everybody(certificate: Certificate, driver: Driver) -> None:
    with TlsServer(certificate, Rotating()) as server, driver(server, "R1") as client:
        number = client.tell("get", source=0)
        assert client.next_save() == "R2"
        client.tell("free")
        assert code(client.answer(number))[0] == "transient"


def test_end_while_asking_answers_everybody(certificate: Certificate, driver: Driver) -> None:
    with TlsServer(certificate, lambda _connection, _request: None) as server, driver(server, "R1") as client:
        numbers = client.tell_many("get", [{"source": 0}, {"source": 1}])
        server.wait_for_requests(1)
        client.tell("free")
        assert [code(client.answer(number))[0] for number in numbers] == ["transient", "transient"]


# --- Renewal ----------------------------------------------------------------------------------------------------------


def numbered(expires_in: int = 3600) -> Handler:
    """A1, A2, …"""
    count = 0

    def handle(connection: Connection, _request: Request) -> None:
        nonlocal count
        count += 1
        connection.send(grant(f"A{count}", expires_in=expires_in))

    return handle


def test_rejected_token_is_renewed_once(certificate: Certificate, driver: Driver) -> None:
    with TlsServer(certificate, numbered()) as server, driver(server) as client:
        assert client.token()["token"] == "A1"
        client.tell("reject", source=0, token="A1")
        assert client.token()["token"] == "A2"
        # A late 401 of the old one changes nothing, nor does one of another audience's.
        client.tell("reject", source=0, token="A1")
        client.tell("reject", source=1, token="A2")
        assert client.token()["token"] == "A2"

    assert len(server.requests) == 2


def test_token_is_renewed_while_the_old_one_is_still_good(certificate: Certificate, driver: Driver) -> None:
    may_answer = threading.Event()
    count = 0

    def handle(connection: Connection, _request: Request) -> None:
        nonlocal count
        count += 1
        if count > 1:
            may_answer.wait(30)
        connection.send(grant(f"A{count}", expires_in=8))

    with TlsServer(certificate, handle) as server, driver(server) as client:
        assert client.token()["token"] == "A1"
        # From 70 to 80 % of its life on a request renews it, and who asks meanwhile still gets the old one.
        wait_until(lambda: client.token()["token"] == "A1" and len(server.requests) == 2, 7, "a renewal began")
        assert client.token()["token"] == "A1"
        may_answer.set()
        wait_until(lambda: client.token()["token"] == "A2", 5, "the new token is handed out")

    assert len(server.requests) == 2


def test_expired_token_is_not_handed_out(certificate: Certificate, driver: Driver) -> None:
    """The renewal fails until the token is over; then nobody gets it any more."""
    good, bad = grant("A1", expires_in=2), response(status=503)
    with TlsServer(certificate, answering(good, bad)) as server, driver(server) as client:
        assert client.token()["token"] == "A1"
        answer = wait_until(lambda: [got for got in [client.token()] if got["token"] is None], 10, "the token is over")
        assert code(answer[0]) == ("transient", "token.unavailable")


# --- Refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["invalid_grant", "interaction_required", "invalid_client"])
def test_final_refusal_blocks_until_new_credentials(certificate: Certificate, driver: Driver, word: str) -> None:
    with TlsServer(certificate, answering(refusal(word), grant("A"))) as server, driver(server, "R1") as client:
        assert code(client.token()) == ("config", "token.sign_in_needed")
        assert client.is_blocked()
        for _ in range(20):
            assert code(client.token()) == ("config", "token.sign_in_needed")
        assert len(server.requests) == 1

        client.tell("set", refresh_token="R9")
        assert client.token()["token"] == "A"
        assert not client.is_blocked()

    assert form(server.requests[1])["refresh_token"] == "R9"
    assert "token.blocked" in client.log and "AADSTS700082" in client.log


def test_refused_renewal_leaves_the_good_token_and_the_endpoint_alone(certificate: Certificate, driver: Driver) -> None:
    good, bad = grant("A1", "R1", expires_in=10), refusal("invalid_grant")
    with TlsServer(certificate, answering(good, bad)) as server, driver(server, "R1") as client:
        assert client.token()["token"] == "A1"
        wait_until(lambda: client.token()["token"] == "A1" and client.is_blocked(), 9, "the renewal was refused")
        for _ in range(20):
            assert client.token()["token"] == "A1"
        assert client.is_blocked()

    assert len(server.requests) == 2


def test_refusal_of_a_replaced_refresh_token_does_not_block(certificate: Certificate, driver: Driver) -> None:
    """Another instance has rotated, and its token became known while ours was under way."""
    may_answer = threading.Event()

    def handle(connection: Connection, request: Request) -> None:
        if form(request)["refresh_token"] == "R2":
            connection.send(grant("A"))
            return
        may_answer.wait(30)
        connection.send(refusal("invalid_grant"))

    with TlsServer(certificate, handle) as server, driver(server, "R1") as client:
        number = client.tell("get", source=0)
        server.wait_for_requests(1)
        client.tell("set", refresh_token="R2")
        client.is_blocked()
        may_answer.set()
        assert client.answer(number)["token"] == "A"
        assert not client.is_blocked()

    assert [form(request)["refresh_token"] for request in server.requests] == ["R1", "R2"]


def test_overloaded_endpoint_is_left_alone_as_long_as_it_asks(certificate: Certificate, driver: Driver) -> None:
    arrivals: list[float] = []
    answer = answering(response("", 429, Retry_After="2"), grant("A"))

    def handle(connection: Connection, request: Request) -> None:
        arrivals.append(time.monotonic())
        answer(connection, request)

    with TlsServer(certificate, handle) as server, driver(server) as client:
        assert code(client.token()) == ("transient", "token.unavailable")
        wait_until(lambda: client.token()["token"] == "A", 10, "the endpoint is asked again")

    assert len(arrivals) == 2 and arrivals[1] - arrivals[0] >= 1.99


def test_failing_endpoint_is_asked_again(certificate: Certificate, driver: Driver) -> None:
    handle = answering(response("busy", 503), response("", 500), grant("A"))
    with TlsServer(certificate, handle) as server, driver(server) as client:
        wait_until(lambda: client.token()["token"] == "A", 10, "a token after two failures")
        assert not client.is_blocked()

    assert len(server.requests) == 3


def endless(connection: Connection, _request: Request) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.send(b"3e8\r\n" + b"a" * 1000 + b"\r\n")


@bad_input("B77")
@pytest.mark.parametrize(
    ("handle", "expected"),
    [
        (lambda _connection, _request: None, "http.timeout"),
        (lambda connection, _request: connection.close(), "http.transport"),
        (endless, "http.too_large"),
        (answering(response("<html>SECRET</html>")), "token.bad_response"),
        (answering(response("")), "token.bad_response"),
        (answering(response("{}")), "token.bad_response"),
        (answering(grant("A\r\nX-Injected: yes")), "token.bad_response"),
        (answering(grant("A" * 20000)), "token.bad_response"),
        (answering(grant("A", expires_in=-1)), "token.bad_response"),
        (answering(grant("A", "R\n2")), "token.bad_response"),
        (answering(response(status=302, Location="https://127.0.0.1:1/")), "token.unavailable"),
        (answering(response("<html>SECRET</html>", 403)), "token.unavailable"),
    ],
    ids=["silent", "closed", "endless", "html", "empty", "object", "line break", "long", "negative", "refresh token"]
    + ["redirect", "forbidden"],
)
def test_other_answers_are_told_and_do_not_block(
    certificate: Certificate, driver: Driver, handle: Handler, expected: str
) -> None:
    with TlsServer(certificate, handle) as server, driver(server, "R1", total_timeout_ms=1000) as client:
        assert code(client.token()) == ("transient", expected)
        assert not client.is_blocked()
        assert not client.has_saves()
        client.tell("set", refresh_token="R2")
        assert len(server.requests) == 1

    assert "SECRET" not in client.log


def test_secrets_are_not_logged(certificate: Certificate, driver: Driver) -> None:
    with TlsServer(certificate, Rotating()) as server, driver(server, "R1") as client:
        number = client.tell("get", source=0)
        client.next_save()
        client.tell("saved", is_saved=True)
        client.answer(number)

    assert "token.renewed" in client.log
    for secret in ("A2:", "R2", "a~.+/&scope=b", "a~.%2B"):
        assert secret not in client.log
