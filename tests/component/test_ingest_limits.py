"""Every limit of tandem-ingest as a receiver that the table of bad inputs cannot show: times, rates, connections, load.

What an attacker holds open or sends must not keep legitimate senders out, nor fill memory or the log.
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
import resource
import selectors
import socket
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ingest_receiver import SECRET, Receiver
from support.bad_inputs import bad_input
from support.kafka import Broker
from support.paths import PROGRAMS
from support.tls import Authority
from support.topics import Topics
from support.waiting import wait_until
from webhook_sender import (
    DYNAMICS_365_PATH,
    PARTNER_CENTER_PATH,
    Answer,
    Connection,
    Signer,
    SigningAuthority,
    compact,
    event,
    request,
    signed_headers,
    signed_request,
)

pytestmark = pytest.mark.asan

ATTACKER = "127.0.0.2"
PARALLEL = 10_000
SPARE_DESCRIPTORS = 300  # of the test itself, and of a receiver beside its connections
PLAIN = {"tls_certificate": None, "tls_key": None}
CONNECTION_KIB = 64  # of memory at most, within a TLS handshake
LEGITIMATE_SECONDS = 5  # a sender of Partner Center waits longer

Start = Callable[..., Receiver]


@pytest.fixture(scope="module")
def signing() -> SigningAuthority:
    return SigningAuthority()


@pytest.fixture(scope="module")
def signer(signing: SigningAuthority) -> Signer:
    return signing.issue()


@pytest.fixture
def start(
    tmp_path: Path, authority: Authority, topics: Topics, signing: SigningAuthority, signer: Signer
) -> Iterator[Start]:
    """Starts a receiver with these settings of `ingest.serve` and the signer's certificate pinned; stops it."""
    receivers: list[Receiver] = []
    (tmp_path / "leaf.der").write_bytes(signer.der)
    pinned = {
        "trusted_roots": str(signing.write(tmp_path / "roots.pem")),
        "pinned_certificates": [str(tmp_path / "leaf.der")],
    }

    def begin(**serve: Any) -> Receiver:
        receiver = Receiver(tmp_path / f"receiver-{len(receivers)}-{uuid.uuid4()}", authority, topics, serve, pinned)
        receivers.append(receiver)
        receiver.__enter__()
        return receiver.ready()

    yield begin
    for receiver in receivers:
        receiver.__exit__(None, None, None)


def new_event() -> bytes:
    return compact(event(str(uuid.uuid4())))


def metric(receiver: Receiver, name: str) -> float:
    """The sum of a metric's series."""
    status, text = receiver.admin("/metrics")
    assert status == 200
    values = [line.rsplit(" ", 1)[1] for line in text.splitlines() if line.split("{")[0].split(" ")[0] == name]
    return sum(map(float, values))


def connections(receiver: Receiver) -> int:
    return int(metric(receiver, "tandem_ingest_connections"))


def open_from(address: str, port: int) -> socket.socket:
    """A TCP connection from this address of the machine; nothing is sent."""
    return socket.create_connection(("127.0.0.1", port), 15, (address, 0))


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side has closed it, looked at without waiting."""
    timeout = connection.gettimeout()
    connection.settimeout(0)
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        connection.settimeout(timeout)


def close_all(sockets: list[socket.socket]) -> None:
    for each in sockets:
        each.close()


# --- Slow ones --------------------------------------------------------------------------------------------------------


def send_slowly(connection: Connection, data: bytes, step: int, pause: float, seconds: float) -> float:
    """Sends `step` bytes each `pause` seconds until something is answered; returns how long that took."""
    begun = time.monotonic()
    plain = connection._socket
    with selectors.DefaultSelector() as selector:
        selector.register(plain, selectors.EVENT_READ)
        for at in itertools.count(0, step):
            connection.send(data[at : at + step])
            if selector.select(pause):
                return time.monotonic() - begun
            assert time.monotonic() - begun < seconds, "nothing was answered"
    raise AssertionError("unreachable")


@bad_input("B18")
def test_each_byte_of_a_head_does_not_give_it_more_time(start: Start, signer: Signer) -> None:
    receiver = start(**PLAIN, header_timeout="1s")
    with receiver.connect() as connection:
        took = send_slowly(connection, signed_request(signer, new_event()), 1, 0.1, 5)
        answer = connection.answer()
        assert (answer.status, answer.code) == (408, "timeout")
        assert connection.is_closed()
    assert 0.9 <= took < 3


@bad_input("B18")
def test_each_byte_of_a_body_does_not_give_it_more_time(start: Start, signer: Signer) -> None:
    receiver = start(**PLAIN, body_timeout="2s")
    body = new_event()
    with receiver.connect() as connection:
        connection.send(signed_request(signer, body)[: -len(body)])
        took = send_slowly(connection, body, 1, 0.2, 8)
        answer = connection.answer()
        assert (answer.status, answer.code) == (408, "timeout")
        assert connection.is_closed()
    assert 1.9 <= took < 5


def test_body_has_to_keep_its_rate(start: Start, signer: Signer) -> None:
    receiver = start(**PLAIN, body_timeout="60s", body_rate_min=1000)
    slow, quick = (compact({**event(str(uuid.uuid4())), "Pad": "x" * 16_000}) for _ in range(2))
    answers: list[Answer] = []

    def send_quickly() -> None:
        with receiver.connect() as connection:
            connection.send(signed_request(signer, quick)[: -len(quick)])
            send_slowly(connection, quick, 400, 0.2, 20)
            answers.append(connection.answer())

    thread = threading.Thread(target=send_quickly)
    thread.start()
    with receiver.connect() as connection:
        connection.send(signed_request(signer, slow)[: -len(slow)])
        took = send_slowly(connection, slow, 100, 0.2, 20)
        answer = connection.answer()
        assert (answer.status, answer.code) == (408, "timeout")
        assert connection.is_closed()
    thread.join(30)
    assert 4.9 <= took < 10, "before its first five seconds, or much later"
    assert [each.status for each in answers] == [202], "twice the rate is enough, whatever the time"


@bad_input("B19")
def test_handshake_has_its_time_and_ends_silently(start: Start, signer: Signer) -> None:
    receiver = start(handshake_timeout="500ms", header_timeout="30s", idle_timeout="30s")
    with Connection(receiver.port, None) as silent, Connection(receiver.port, None) as begun:
        begun.send(b"\x16\x03\x01\x02\x00\x01")
        assert silent.is_closed() and begun.is_closed()
    wait_until(lambda: connections(receiver) == 0, 5, "both are gone")
    assert not receiver.events("serve.refused") and not receiver.events("serve.answered")
    assert receiver.send(signed_request(signer, new_event())).status == 202


@bad_input("B19")
def test_idle_connection_is_closed_silently(start: Start, signer: Signer) -> None:
    receiver = start(idle_timeout="500ms", handshake_timeout="30s", header_timeout="30s")
    with receiver.connect() as fresh, receiver.connect() as used:
        used.send(signed_request(signer, new_event()))
        assert used.answer().status == 202
        assert fresh.is_closed() and used.is_closed()
    assert not receiver.events("serve.refused")


def test_client_that_does_not_read_its_answers_is_left(start: Start) -> None:
    receiver = start(
        **PLAIN, write_timeout="1s", idle_timeout="60s", header_timeout="60s", requests_per_connection=1000000
    )
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        deaf.settimeout(2)
        deaf.connect(("127.0.0.1", receiver.port))
        many = b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000
        with pytest.raises(OSError):
            # Blocks once the receiver has no more room for answers and so does not read, or is reset.
            for _ in range(1000):
                deaf.sendall(many)
        wait_until(lambda: connections(receiver) == 0, 10, "the connection is given up")


# --- Too many ---------------------------------------------------------------------------------------------------------


def test_requests_under_way_are_bounded(start: Start, signer: Signer, topics: Topics, broker: Broker) -> None:
    receiver = start(**PLAIN, requests_max=2, answer_timeout="30s")
    assert receiver.send(signed_request(signer, new_event())).status == 202
    senders = [receiver.connect() for _ in range(3)]
    broker.pause()
    try:
        with selectors.DefaultSelector() as selector:
            for each in senders:
                each.send(signed_request(signer, new_event()))
                selector.register(each._socket, selectors.EVENT_READ, each)
            answered = [key.data for key, _ in selector.select(15)]
            assert len(answered) == 1, "one too many, and only that"
            answer = answered[0].answer()
            assert (answer.status, answer.code) == (503, "overloaded")
            assert int(answer.headers["retry-after"]) >= 1
            assert answered[0].is_closed(), "its body was not read"
            selector.unregister(answered[0]._socket)
            assert not selector.select(0), "the others wait for the broker"
    finally:
        broker.resume()
    assert [each.answer().status for each in senders if each not in answered] == [202, 202]
    for each in senders:
        each.__exit__()
    assert receiver.send(signed_request(signer, new_event())).status == 202
    assert len(topics.read("notifications", 4)) == 4


def test_all_connections_together_are_capped(start: Start, signer: Signer) -> None:
    receiver = start(**PLAIN, connections_max=20, connections_per_address_max=20, idle_timeout="60s")
    addresses = [f"127.0.0.{number}" for number in range(2, 6)]
    opened = [open_from(address, receiver.port) for address in addresses for _ in range(10)]
    try:
        wait_until(lambda: sum(map(is_closed, opened)) == 20, 10, "half of them are closed")
        assert connections(receiver) == 20
        inside = [each for each in opened if not is_closed(each)]
        inside[0].sendall(signed_request(signer, new_event()))
        assert inside[0].recv(12) == b"HTTP/1.1 202"
        inside[1].close()
        wait_until(lambda: connections(receiver) == 19, 5, "there is room")
        assert receiver.send(signed_request(signer, new_event())).status == 202
    finally:
        close_all(opened)


def descriptors(receiver: Receiver) -> int:
    return len(os.listdir(f"/proc/{receiver.pid}/fd"))


def cpu_seconds(receiver: Receiver) -> float:
    fields = Path(f"/proc/{receiver.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_accepting_rests_without_descriptors_and_goes_on(start: Start, signer: Signer) -> None:
    receiver = start(**PLAIN, idle_timeout="60s")
    with receiver.connect() as inside:
        inside.send(signed_request(signer, new_event()))
        assert inside.answer().status == 202
        before = resource.prlimit(receiver.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(receiver.pid, resource.RLIMIT_NOFILE, (descriptors(receiver), before[1]))
        with receiver.connect() as waiting:
            waiting.send(signed_request(signer, new_event()))
            used = cpu_seconds(receiver)
            waiting._socket.settimeout(1.5)
            with pytest.raises(TimeoutError):
                waiting.answer()
            assert cpu_seconds(receiver) - used < 0.3, "it tries in a circle"
            assert not receiver.other_lines
            inside.send(signed_request(signer, new_event()))
            assert inside.answer().status == 202
            resource.prlimit(receiver.pid, resource.RLIMIT_NOFILE, before)
            waiting._socket.settimeout(15)
            assert waiting.answer().status == 202


def test_connections_leave_descriptors_for_the_rest(start: Start, signer: Signer) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, before[1]))
    try:
        receiver = start(**PLAIN, connections_max=10000, connections_per_address_max=10000, idle_timeout="60s")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    opened = [open_from(ATTACKER, receiver.port) for _ in range(300)]
    try:
        wait_until(lambda: sum(map(is_closed, opened)) == 300 - (300 - 128), 10, "128 descriptors are left")
        assert connections(receiver) == 300 - 128
        opened.pop(0).close()
        wait_until(lambda: connections(receiver) == 300 - 128 - 1, 5, "there is room")
        assert receiver.send(signed_request(signer, new_event())).status == 202
    finally:
        close_all(opened)


# --- Very many --------------------------------------------------------------------------------------------------------


@pytest.fixture
def parallel() -> Iterator[int]:
    """As many connections as shall be open at once: 10,000, or what the machine's hard limit of open files leaves."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = PARALLEL + SPARE_DESCRIPTORS
    hard = before[1]
    if hard != resource.RLIM_INFINITY and hard < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
        except (ValueError, OSError):
            wanted = hard
            warnings.warn(f"only {wanted - SPARE_DESCRIPTORS} parallel connections: at most {hard} files may be open")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    yield wanted - SPARE_DESCRIPTORS
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[0], resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def resident_mib(receiver: Receiver) -> float:
    lines = Path(f"/proc/{receiver.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) / 1024


def serve_legitimate(receiver: Receiver, signer: Signer, count: int) -> None:
    """Each over a connection of its own, from another address than the attacker's, and in time."""
    for _ in range(count):
        begun = time.monotonic()
        assert receiver.send(signed_request(signer, new_event())).status == 202
        assert time.monotonic() - begun < LEGITIMATE_SECONDS


@bad_input("B20")
def test_one_address_with_very_many_connections_keeps_nobody_out(start: Start, signer: Signer, parallel: int) -> None:
    receiver = start()
    opened = []
    try:
        for number in range(parallel):
            opened.append(open_from(ATTACKER, receiver.port))
            if number % 1000 == 999:
                serve_legitimate(receiver, signer, 2)
        wait_until(
            lambda: sum(not is_closed(each) for each in opened) <= 256, 10, "what is beyond 256 of an address is closed"
        )
        assert connections(receiver) <= 256
        serve_legitimate(receiver, signer, 20)
    finally:
        close_all(opened)
    wait_until(lambda: connections(receiver) == 0, 30, "nothing is left of them")
    serve_legitimate(receiver, signer, 5)


@bad_input("B20")
def test_very_many_connections_held_open_slow_nobody_down(start: Start, signer: Signer, parallel: int) -> None:
    receiver = start(
        connections_max=10000, connections_per_address_max=10000, handshake_timeout="60s", header_timeout="60s"
    )
    held = parallel - 100  # room for those who are welcome
    before = resident_mib(receiver)
    opened = []
    try:
        for number in range(held):
            opened.append(open_from(f"127.0.1.{1 + number % 250}", receiver.port))
            opened[-1].sendall(b"\x16\x03\x01\x02\x00\x01")
            if number % 1000 == 999:
                serve_legitimate(receiver, signer, 2)
        wait_until(lambda: connections(receiver) == held, 20, "all of them are open at once")
        serve_legitimate(receiver, signer, 20)
        assert connections(receiver) == held, "none was closed for another"
        if "asan" not in PROGRAMS.parent.name:
            assert resident_mib(receiver) - before < held * CONNECTION_KIB / 1024
    finally:
        close_all(opened)
    wait_until(lambda: connections(receiver) == 0, 30, "nothing is left of them")
    serve_legitimate(receiver, signer, 5)


# --- Sizes of the other sender, and what is not unpacked --------------------------------------------------------------


def test_dynamics_365_bodies_have_their_own_limit(start: Start) -> None:
    receiver = start()
    for size, status in ((512 * 1024, 422), (512 * 1024 + 1, 413)):
        body = b'{"a":"' + b"x" * 60_000 + b'"}'
        body += b" " * (size - len(body))
        answer = receiver.send(request(body, {"x-tandem-webhook-key": SECRET}, DYNAMICS_365_PATH))
        assert answer.status == status, size
        # What is too long is refused by its length, before it is read.
        assert answer.headers.get("connection") == ("close" if status == 413 else None)


@bad_input("B27")
def test_nothing_is_unpacked(start: Start, signer: Signer) -> None:
    receiver = start()
    before = resident_mib(receiver)
    bomb = gzip.compress(b"[" * 100_000_000)
    assert len(bomb) < 256 * 1024
    answer = receiver.send(request(bomb, {**signed_headers(signer, bomb), "Content-Encoding": "gzip"}))
    assert (answer.status, answer.code) == (415, "content_encoding")
    # Without saying so it is no JSON, and nothing more.
    assert receiver.send(signed_request(signer, bomb)).status == 400
    assert resident_mib(receiver) - before < 50


@pytest.mark.parametrize("absent", ["partner_center", "dynamics_365_secret"])
def test_sender_that_is_not_served_looks_like_any_unknown_path(start: Start, signer: Signer, absent: str) -> None:
    off: dict[str, Any] = {"partner_center": False} if absent == "partner_center" else {"dynamics_365_secret": None}
    receiver = start(**off, **({"dynamics_365_secret_next": None} if absent != "partner_center" else {}))
    path = PARTNER_CENTER_PATH if absent == "partner_center" else DYNAMICS_365_PATH
    answers = []
    for each in (path, "/webhooks/nobody"):
        body = new_event()
        answers.append(receiver.send(request(body, signed_headers(signer, body), each)))
    ours, unknown = answers
    assert (ours.status, ours.code) == (unknown.status, unknown.code) == (404, "not_found")
    assert set(ours.headers) == set(unknown.headers)


# --- The log ----------------------------------------------------------------------------------------------------------


def test_refused_requests_do_not_fill_the_log(start: Start, signer: Signer) -> None:
    receiver = start(refusals_interval="2s", requests_per_connection=100000)
    body = new_event()
    forged = request(body, {**signed_headers(signer, body), "Authorization": "Signature QUJD"})
    unknown = b"GET /%d HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with receiver.connect() as connection:
        for number in range(500):
            connection.send(forged)
            assert connection.answer().status == 401
            connection.send(unknown % number)
            assert connection.answer().status == 404
    for _ in range(20):
        assert receiver.send(b"\x00\r\n\r\n").status == 400

    def counted(status: int) -> int:
        again = receiver.events("serve.refused_again", status=status)
        return len(receiver.events("serve.refused", status=status)) + sum(each["count"] for each in again)

    wait_until(lambda: [counted(401), counted(404), counted(400)] == [500, 500, 20], 10, "every one is in a number")
    lines = receiver.events("serve.refused") + receiver.events("serve.refused_again")
    seconds = metric(receiver, "tandem_ingest_request_duration_seconds_sum") + 10
    assert len(lines) <= 2 * 3 * (1 + seconds / 2), "two lines of each kind an interval"
    assert len(receiver.log) < 100
    first = receiver.events("serve.refused", status=401)[0]
    assert (first["route"], first["code"], first["detail"]) == ("partner-center", "signature_invalid", "mismatch")
    uuid.UUID(first["request_id"])
    assert "QUJD" not in json.dumps(receiver.log)


def test_accepted_requests_have_a_line_each_whatever_is_refused(start: Start, signer: Signer) -> None:
    receiver = start(requests_per_connection=100000)
    identifiers = []
    with receiver.connect() as connection:
        for _ in range(50):
            connection.send(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.answer().status == 404
            connection.send(signed_request(signer, new_event()))
            identifiers.append(connection.answer().request_id)
    for identifier in identifiers:
        line = receiver.wait_for("serve.answered", request_id=identifier)
        assert (line["status"], line["route"]) == (202, "partner-center")
    assert len(receiver.events("serve.refused")) == 1


def test_refusals_not_yet_told_are_told_at_the_end(start: Start) -> None:
    receiver = start(refusals_interval="1h")
    for _ in range(7):
        assert receiver.send(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n").status == 404
    assert receiver.stop() == 0
    again = receiver.events("serve.refused_again")
    assert [(each["status"], each["code"], each["count"]) for each in again] == [(404, "not_found", 6)]
