"""Role serve of tandem-ingest: webhooks over TLS into a real broker, answered from the delivery report."""

from __future__ import annotations

import http.server
import json
import re
import signal
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ingest_receiver import NEXT_SECRET, ORGANIZATION_ID, SECRET, Receiver
from support.bad_inputs import bad_input
from support.kafka import Broker
from support.simulators import Dynamics365, PartnerCenter
from support.tls import Authority
from support.topics import Record, Topics
from support.waiting import wait_until
from webhook_sender import (
    DYNAMICS_365_PATH,
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

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(scope="module")
def signing() -> SigningAuthority:
    return SigningAuthority()


@pytest.fixture(scope="module")
def signer(signing: SigningAuthority) -> Signer:
    return signing.issue()


Start = Callable[..., Receiver]


@pytest.fixture
def start(
    tmp_path: Path, authority: Authority, topics: Topics, signing: SigningAuthority, signer: Signer
) -> Iterator[Start]:
    """Starts a receiver with the signer's certificate pinned, and stops it at the end."""
    receivers: list[Receiver] = []
    (tmp_path / "leaf.der").write_bytes(signer.der)
    roots = str(signing.write(tmp_path / "roots.pem"))

    def begin(signature: dict[str, Any] | None = None, **settings: Any) -> Receiver:
        rules = signature or {"pinned_certificates": [str(tmp_path / "leaf.der")]}
        folder = tmp_path / f"receiver-{len(receivers)}-{uuid.uuid4()}"
        receiver = Receiver(folder, authority, topics, signature={"trusted_roots": roots, **rules}, **settings)
        receivers.append(receiver)
        receiver.__enter__()
        return receiver.ready()

    yield begin
    for receiver in receivers:
        receiver.__exit__(None, None, None)


def new_event(**changes: Any) -> bytes:
    return compact(event(str(uuid.uuid4()), **changes))


def notifications(topics: Topics, count: int = 0) -> list[dict[str, Any]]:
    return [json.loads(record.value or b"") for record in topics.read("notifications", count)]


def post(receiver: Receiver, signer: Signer, body: bytes, **headers: str) -> Any:
    return receiver.send(request(body, {**signed_headers(signer, body), **headers}))


# --- What comes out ---------------------------------------------------------------------------------------------------


def test_event_becomes_a_notification_with_envelope(start: Start, signer: Signer, topics: Topics) -> None:
    receiver = start()
    identifier = str(uuid.uuid4())
    body = compact(event(identifier.upper()))

    answer = post(receiver, signer, body, traceparent=TRACE)

    assert (answer.status, answer.code) == (202, "accepted")
    assert answer.headers["content-type"] == "application/json"
    assert "server" not in answer.headers
    record = topics.read("notifications", 1)[0]
    assert record.key == f"partner-center/{identifier}".encode()
    value = json.loads(record.value or b"")
    assert value["source"] == "partner-center" and value["origin"] == "webhook"
    assert value["event"] == "referral-updated" and value["record_type"] == "referral"
    assert value["record_id"] == identifier
    assert value["occurred_at"].startswith("2024-03-07T14:03:11.0456789")
    assert value["body"] == body.decode()
    assert set(value["headers"]) == {"content-type", "x-ms-certificate-url", "x-ms-signature-algorithm"}
    headers = {name: each.decode() for name, each in record.headers.items()}
    assert headers["ce_type"] == "tandem.notification.v1" and headers["ce_specversion"] == "1.0"
    assert headers["ce_subject"] == identifier and headers["ce_time"] == value["received_at"]
    assert headers["content-type"] == "application/json"
    assert headers["traceparent"].split("-")[1] == TRACE.split("-")[1] and headers["traceparent"] != TRACE
    assert receiver.events("serve.answered", request_id=answer.request_id, status=202)


@bad_input("B44")
def test_same_event_again_is_taken_again_under_the_same_id(start: Start, signer: Signer, topics: Topics) -> None:
    receiver = start(serve={"requests_per_connection": 5000})
    data = signed_request(signer, new_event())
    with receiver.connect() as connection:
        for _ in range(1000):
            connection.send(data)
            assert connection.answer().status == 202
    records = topics.read("notifications", 1000)
    assert len({record.headers["ce_id"] for record in records}) == 1
    assert len({record.headers["traceparent"] for record in records}) == 1000


def test_dead_letter_holds_body_and_reason(start: Start, signer: Signer, topics: Topics) -> None:
    receiver = start()
    body = new_event(EventName="galaxy-created")

    assert post(receiver, signer, body).status == 202

    letter = topics.read("dead-letters", 1)[0]
    assert letter.value == body and letter.key == b"partner-center"
    headers = {name: each.decode() for name, each in letter.headers.items()}
    assert headers["err.stage"] == "serve" and headers["err.code"] == "unknown_event"
    assert headers["err.class"] == "poison" and headers["content-type"] == "application/json"
    assert "err.topic" not in headers
    assert not notifications(topics)


def test_unknown_events_may_be_ignored(start: Start, signer: Signer, topics: Topics) -> None:
    receiver = start(serve={"unknown_events": "ignore"})
    assert post(receiver, signer, new_event(EventName="galaxy-created")).status == 202
    assert not topics.read("dead-letters") and not notifications(topics)


# --- Broker and drain -------------------------------------------------------------------------------------------------


def test_nothing_is_acknowledged_without_the_broker(
    start: Start, signer: Signer, topics: Topics, broker: Broker
) -> None:
    receiver = start(kafka={"message.timeout.ms": "2000"})
    assert post(receiver, signer, new_event()).status == 202
    broker.kill()

    lost = new_event()
    answer = post(receiver, signer, lost)

    assert (answer.status, answer.code) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    wait_until(lambda: receiver.admin("/readyz")[0] == 503, 10, "the receiver is not ready without its broker")
    broker.start()
    wait_until(lambda: receiver.admin("/readyz")[0] == 200, 20, "the receiver is ready again")
    again = new_event()
    wait_until(lambda: post(receiver, signer, again).status == 202, 20, "events are acknowledged again")
    assert again.decode() in [each["body"] for each in notifications(topics, 2)]


def test_late_broker_is_answered_for_and_the_connection_goes_on(
    start: Start, signer: Signer, topics: Topics, broker: Broker
) -> None:
    receiver = start(serve={"answer_timeout": "500ms"}, kafka={"message.timeout.ms": "20000"})
    broker.pause()
    with receiver.connect() as connection:
        connection.send(signed_request(signer, new_event()))
        answer = connection.answer()
        assert (answer.status, answer.code) == (503, "deadline")
        broker.resume()
        assert connection.is_open()
    assert len(notifications(topics, 1)) == 1


def test_drain_answers_what_was_taken(start: Start, signer: Signer, topics: Topics) -> None:
    receiver = start()
    accepted: list[str] = []
    broken: list[BaseException] = []
    port, authority = receiver.port, receiver.authority.cert

    def send() -> None:
        while True:
            body = new_event()
            try:
                with Connection(port, authority) as connection:
                    connection.send(signed_request(signer, body))
                    if connection.answer().status == 202:
                        accepted.append(body.decode())
            except OSError:
                return
            except EOFError as error:
                # Closed before it was taken; but never in the middle of an answer.
                broken.append(error)
                return

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(accepted) > 50, 20, "requests are under way")
    idle = Connection(port, authority)
    receiver.signal(signal.SIGTERM)
    for thread in threads:
        thread.join(20)
    assert idle.is_closed()
    assert receiver.wait() == 0
    assert all("closed after b''" in str(error) for error in broken)
    assert set(accepted) <= {each["body"] for each in notifications(topics)}


# --- Connections ------------------------------------------------------------------------------------------------------


@bad_input("B8")
def test_bytes_after_the_body_are_another_request(start: Start, signer: Signer) -> None:
    receiver = start()
    good = signed_request(signer, new_event())
    with receiver.connect() as connection:
        connection.send(good + good + b"\x00junk\r\n\r\n")
        assert connection.answer().status == 202
        assert connection.answer().status == 202
        answer = connection.answer()
        assert (answer.status, answer.headers["connection"]) == (400, "close")
        assert connection.is_closed()


@bad_input("B7")
def test_cut_body_leaves_no_trace(start: Start, signer: Signer, topics: Topics) -> None:
    receiver = start(serve={"tls_certificate": None, "tls_key": None})
    with receiver.connect() as connection:
        connection.send(signed_request(signer, new_event())[:-1])
        connection.half_close()
        assert connection.is_closed()
    receiver.wait_for("serve.refused", code="incomplete", status=0)
    assert not notifications(topics)


def test_client_that_closes_its_side_is_answered(start: Start, signer: Signer) -> None:
    receiver = start(serve={"tls_certificate": None, "tls_key": None})
    with receiver.connect() as connection:
        connection.send(signed_request(signer, new_event()))
        connection.half_close()
        assert connection.answer().status == 202
        assert connection.is_closed()


def padded_event(size: int) -> bytes:
    """An event of exactly so many bytes, in texts that are not too long for themselves."""
    members = event(str(uuid.uuid4()))
    number = 0
    while len(compact(members)) + 60100 < size:
        members[f"pad{number}"] = "x" * 60000
        number += 1
    members["end"] = ""
    members["end"] = "x" * (size - len(compact(members)))
    return compact(members)


@bad_input("B16")
def test_body_may_be_as_long_as_the_limit(start: Start, signer: Signer) -> None:
    receiver = start()
    body = padded_event(256 * 1024)
    assert len(body) == 256 * 1024
    assert post(receiver, signer, body).status == 202
    with receiver.connect() as connection:
        connection.send(signed_request(signer, padded_event(256 * 1024 + 1)))
        assert connection.answer().status == 413
        assert connection.is_closed()


def test_slow_senders_are_told_and_idle_ones_are_not(start: Start, signer: Signer) -> None:
    receiver = start(serve={"header_timeout": "400ms", "body_timeout": "1s", "idle_timeout": "600ms"})
    whole = signed_request(signer, new_event())
    with receiver.connect() as head, receiver.connect() as body, receiver.connect() as idle:
        head.send(whole[:10])
        body.send(whole[:-1])
        answer = head.answer()
        assert (answer.status, answer.code) == (408, "timeout")
        assert head.is_closed()
        assert body.answer().status == 408 and body.is_closed()
        assert idle.is_closed()


@bad_input("B28")
def test_continue_is_said_only_to_a_good_head(start: Start, signer: Signer) -> None:
    receiver = start()
    body = new_event()
    head = request(b"", {**signed_headers(signer, body), "Content-Length": str(len(body)), "Expect": "100-continue"})
    with receiver.connect() as connection:
        connection.send(head)
        assert connection.interim() == b"HTTP/1.1 100 Continue"
        connection.send(body)
        assert connection.answer().status == 202
    with receiver.connect() as connection:
        connection.send(head.replace(b"/webhooks/", b"/else/"))
        assert connection.answer().status == 404


def test_connection_ends_after_its_requests(start: Start, signer: Signer) -> None:
    receiver = start(serve={"requests_per_connection": 3})
    with receiver.connect() as connection:
        for expected in (None, None, "close"):
            connection.send(signed_request(signer, new_event()))
            assert connection.answer().headers.get("connection") == expected
        assert connection.is_closed()


def test_connections_are_capped_and_those_inside_served(start: Start, signer: Signer) -> None:
    receiver = start(serve={"connections_per_address_max": 20, "tls_certificate": None, "tls_key": None})
    inside = [receiver.connect() for _ in range(20)]
    outside = [receiver.connect() for _ in range(50)]
    assert all(each.is_closed() for each in outside)
    for each in inside:
        each.send(signed_request(signer, new_event()))
        assert each.answer().status == 202
    for each in inside:
        each.__exit__()

    def is_served() -> bool:
        try:
            return receiver.send(signed_request(signer, new_event())).status == 202
        except (EOFError, OSError):
            return False

    wait_until(is_served, 5, "there is room again")


@bad_input("B21")
def test_quota_is_told(start: Start, signer: Signer) -> None:
    receiver = start(serve={"requests_per_second": 2})
    with ExitStack() as stack:
        # Connected before, so that they come within a second whatever a handshake takes.
        connections = [stack.enter_context(receiver.connect()) for _ in range(6)]
        for each in connections:
            each.send(signed_request(signer, new_event()))
        answers = [each.answer() for each in connections]
    refused = [each for each in answers if each.status == 429]
    assert refused and answers[0].status == 202
    assert all(each.headers["retry-after"] == "1" and each.code == "quota" for each in refused)


def test_tls_is_1_2_or_newer_and_http_1_1(start: Start, authority: Authority) -> None:
    receiver = start()
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        assert handshake(receiver.port, authority, version) == version.name.replace("_", ".")
    with pytest.warns(DeprecationWarning), pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(receiver.port, authority, ssl.TLSVersion.TLSv1_1)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(receiver.port, authority, ssl.TLSVersion.TLSv1_2, "h2")


def handshake(port: int, authority: Authority, version: ssl.TLSVersion, protocol: str = "http/1.1") -> str | None:
    tls = ssl.create_default_context(cafile=str(authority.cert))
    tls.minimum_version = tls.maximum_version = version
    tls.set_ciphers("ALL:@SECLEVEL=0")
    tls.set_alpn_protocols([protocol])
    with socket.create_connection(("127.0.0.1", port), 10) as plain:
        with tls.wrap_socket(plain, server_hostname="localhost") as wrapped:
            assert wrapped.selected_alpn_protocol() == protocol
            return wrapped.version()


def presented(receiver: Receiver) -> str:
    return ssl.get_server_certificate(("127.0.0.1", receiver.port))


def test_new_tls_files_are_taken_when_they_are_good(start: Start, authority: Authority, signer: Signer) -> None:
    receiver = start()
    before = presented(receiver)
    receiver.certificate.cert.write_text("broken")
    receiver.signal(signal.SIGHUP)
    receiver.wait_for("serve.tls_kept")
    assert presented(receiver) == before
    renewed = authority.issue("renewed")
    receiver.certificate.cert.write_bytes(renewed.cert.read_bytes())
    receiver.certificate.key.write_bytes(renewed.key.read_bytes())
    receiver.signal(signal.SIGHUP)
    receiver.wait_for("serve.tls_reloaded")
    assert presented(receiver) == renewed.cert.read_text()
    assert post(receiver, signer, new_event()).status == 202


def test_garbage_and_broken_handshakes_do_no_harm(start: Start, signer: Signer) -> None:
    receiver = start()
    for data in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\x00" * 300, b"\x80" * 1000):
        with Connection(receiver.port, None) as connection:
            connection.send(data)
            connection.half_close()
    assert post(receiver, signer, new_event()).status == 202


# --- Certificates -----------------------------------------------------------------------------------------------------


class CertificateHost:
    """Serves documents over https, counts requests."""

    def __init__(self, authority: Authority) -> None:
        host = self
        self.documents: dict[str, bytes] = {}
        self.requests: list[str] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.requests.append(self.path)
                if "redirect" in self.path:
                    self.send_response(302)
                    self.send_header("Location", "/cert/good.cer")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                if "slow" in self.path:
                    host.stopped.wait(10)
                content = host.documents.get(self.path.rsplit("/", 1)[-1], b"")
                self.send_response(200 if content else 404)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                try:
                    self.wfile.write(content)
                except OSError:
                    pass

            def log_message(self, *_arguments: object) -> None:
                pass

        certificate = authority.issue(f"certificates-{uuid.uuid4()}")
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate.cert, certificate.key)
        self.stopped = threading.Event()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.base = f"https://127.0.0.1:{self._server.server_address[1]}/cert/"
        self.signature = {
            "certificate_urls": [self.base],
            "download_ca_file": str(authority.cert),
            "allow_private_addresses": True,
            "downloads_per_minute": 100,
        }
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def host(authority: Authority) -> Iterator[CertificateHost]:
    host = CertificateHost(authority)
    yield host
    host.stop()


def post_from(receiver: Receiver, signer: Signer, url: str) -> int:
    return receiver.send(signed_request(signer, new_event(), url)).status


def test_certificate_is_fetched_once_and_again_when_renewed(
    start: Start, host: CertificateHost, signing: SigningAuthority, signer: Signer
) -> None:
    host.documents["good.cer"] = signer.pem
    receiver = start({**host.signature, "failure_lifetime": "1s"})
    url = host.base + "good.cer"
    assert [post_from(receiver, signer, url) for _ in range(5)] == [202] * 5
    assert len(host.requests) == 1
    renewed = signing.issue("renewed.example")
    host.documents["good.cer"] = renewed.der
    wait_until(lambda: post_from(receiver, renewed, url) == 202, 10, "the renewed certificate is found")
    assert len(host.requests) == 2
    assert post_from(receiver, signer, url) == 401


@bad_input("B38")
def test_bad_downloads_are_refused_bounded_and_remembered(start: Start, host: CertificateHost, signer: Signer) -> None:
    host.documents["good.cer"] = signer.der
    host.documents["huge.cer"] = signer.der + b"\0" * 10_000_000
    host.documents["junk.cer"] = signer.der + b"\0"
    receiver = start(host.signature)
    for name in ("redirect.cer", "huge.cer", "junk.cer", "absent.cer", "slow.cer"):
        begun = time.monotonic()
        assert post_from(receiver, signer, host.base + name) == 401, name
        assert time.monotonic() - begun < 6, name
        assert post_from(receiver, signer, host.base + name) == 401, name
    assert len(host.requests) == 5
    assert post_from(receiver, signer, host.base + "good.cer") == 202


def test_private_addresses_are_not_asked(start: Start, host: CertificateHost, signer: Signer) -> None:
    host.documents["good.cer"] = signer.der
    receiver = start({**host.signature, "allow_private_addresses": False})
    assert post_from(receiver, signer, host.base + "good.cer") == 401
    assert not host.requests


@bad_input("B38")
def test_name_of_a_private_address_is_not_asked(start: Start, host: CertificateHost, signer: Signer) -> None:
    host.documents["good.cer"] = signer.der
    named = host.base.replace("127.0.0.1", "localhost")
    receiver = start({**host.signature, "certificate_urls": [named], "allow_private_addresses": False})
    assert post_from(receiver, signer, named + "good.cer") == 401
    assert not host.requests
    allowing = start({**host.signature, "certificate_urls": [named]})
    assert post_from(allowing, signer, named + "good.cer") == 202, "only its address was in the way"


@bad_input("B35", "B36", "B37")
def test_urls_that_are_not_allowed_cause_no_connection(start: Start, signer: Signer) -> None:
    allowed = "https://3psostorageacct.blob.core.windows.net"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        # Nothing but the list of URLs is in the way.
        receiver = start({"allow_private_addresses": True, "downloads_per_minute": 100})
        for url in (
            f"http://127.0.0.1:{port}/cert/a.cer",
            f"https://127.0.0.1:{port}/cert/a.cer",
            f"ftp://127.0.0.1:{port}/cert/a.cer",
            f"gopher://127.0.0.1:{port}/cert/a.cer",
            f"file://127.0.0.1:{port}/cert/a.cer",
            f"https://localhost:{port}/cert/a.cer",
            f"https://2130706433:{port}/cert/a.cer",
            f"https://0177.0.0.1:{port}/cert/a.cer",
            f"https://0x7f.1:{port}/cert/a.cer",
            f"https://0:{port}/cert/a.cer",
            f"https://[::1]:{port}/cert/a.cer",
            f"https://[::ffff:127.0.0.1]:{port}/cert/a.cer",
            f"{allowed}@127.0.0.1:{port}/cert/a.cer",
            f"{allowed}\\@127.0.0.1:{port}/cert/a.cer",
            f"{allowed}:{port}/cert/a.cer",
        ):
            assert post_from(receiver, signer, url) == 401, url
        assert len(receiver.events("serve.certificate_unavailable")) == 0
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()


@bad_input("B39")
def test_unacceptable_certificates_are_refused(
    start: Start, host: CertificateHost, signing: SigningAuthority, signer: Signer
) -> None:
    stranger = SigningAuthority()
    lookalike = SigningAuthority("Microsoft Corporation Ltd")
    signers = {
        "expired": signing.issue(first=-5, last=-1),
        "future": signing.issue(first=1, last=2),
        "curve": signing.issue(key=ec.generate_private_key(ec.SECP256R1())),
        "small": signing.issue(key=rsa.generate_private_key(65537, 1024)),
        "stranger": stranger.issue(),
        "lookalike": lookalike.issue(),
        "authority": Signer(signing.key, signing.certificate),
        "self-signed": Signer(stranger.key, stranger.certificate),
    }
    receiver = start(host.signature)
    for name, each in signers.items():
        host.documents[name] = each.der
        assert post_from(receiver, each, host.base + name) == 401, name
        assert receiver.events("serve.refused", status=401), name
    host.documents["good"] = signer.der
    assert post_from(receiver, signer, host.base + "good") == 202


@bad_input("B39")
def test_subject_may_be_held_to_a_list(start: Start, host: CertificateHost, signing: SigningAuthority) -> None:
    receiver = start({**host.signature, "subject_names": ["wanted.example"]})
    wanted, other = signing.issue("wanted.example"), signing.issue("other.example")
    host.documents |= {"wanted": wanted.der, "other": other.der}
    assert post_from(receiver, wanted, host.base + "wanted") == 202
    assert post_from(receiver, other, host.base + "other") == 401


# --- The simulators ---------------------------------------------------------------------------------------------------


def test_partner_center_delivers(tmp_path: Path, authority: Authority, start: Start, topics: Topics) -> None:
    keys = tmp_path / "signing"
    with PartnerCenter(tmp_path / "partner_center", authority, "--signing-dir", str(keys)) as partner_center:
        signature = {
            "trusted_roots": str(keys / "ca.pem"),
            "certificate_urls": [partner_center.url + "/cert/"],
            "download_ca_file": str(authority.cert),
            "allow_private_addresses": True,
        }
        receiver = start(signature)
        for alternate in (False, True):
            body = new_event()
            answer = partner_center.admin("POST", "/_sim/sign", {"body": body.decode(), "alternate": alternate})
            headers = answer.get("headers", answer)
            assert receiver.send(request(body, headers)).status == 202

        url = f"https://localhost:{receiver.port}/webhooks/partner-center"
        partner_center.set_registration({"WebhookUrl": url})
        partner_center.add_referral(kind="microsoft-cosell")
        found = topics.read(
            "notifications", until=lambda records: "referral-created" in [event_of(each) for each in records]
        )
        created = [json.loads(each.value or b"") for each in found if event_of(each) == "referral-created"][0]
        assert re.fullmatch(r"[0-9a-f-]{36}", created["record_id"])
        wait_until(
            lambda: all(each["state"] == "delivered" for each in deliveries(partner_center)), 20, "all is delivered"
        )


def event_of(record: Record) -> str:
    return str(json.loads(record.value or b"")["event"])


def deliveries(simulator: PartnerCenter | Dynamics365) -> list[dict[str, Any]]:
    answer = simulator.deliveries()
    return list(answer["deliveries"] if isinstance(answer, dict) else answer)


def context(**changes: Any) -> bytes:
    return compact(
        {
            "InputParameters": [],
            "MessageName": "Update",
            "OperationCreatedOn": "/Date(1778073646000)/",
            "OrganizationId": ORGANIZATION_ID,
            "PrimaryEntityId": str(uuid.uuid4()),
            "PrimaryEntityName": "opportunity",
            **changes,
        }
    )


def post_context(receiver: Receiver, body: bytes, path: str = DYNAMICS_365_PATH, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return receiver.send(request(body, {"Content-Type": "application/json; charset=utf-8", **named}, path))


def test_dynamics_365_is_known_by_either_secret(start: Start, topics: Topics) -> None:
    receiver = start()
    for secret in (SECRET, NEXT_SECRET):
        assert post_context(receiver, context(), x_tandem_webhook_key=secret).status == 202
        assert post_context(receiver, context(), f"{DYNAMICS_365_PATH}?code={secret}").status == 202
    wrong = post_context(receiver, context(), x_tandem_webhook_key=SECRET + "x")
    assert (wrong.status, wrong.code) == (401, "secret_invalid")
    missing = post_context(receiver, context())
    assert (missing.status, missing.code) == (401, "secret_missing")
    made = notifications(topics)
    assert len(made) == 4
    assert {(each["source"], each["event"], each["record_type"]) for each in made} == {
        ("dynamics-365", "Update", "opportunity")
    }
    assert all("x-tandem-webhook-key" not in each["headers"] for each in made)
    log = json.dumps(receiver.log)
    assert SECRET not in log and NEXT_SECRET not in log and "InputParameters" not in log


def test_dynamics_365_bodies_are_judged(start: Start, topics: Topics) -> None:
    receiver = start(serve={"dynamics_365_organization": "nordlicht.crm4.dynamics.com"})
    ours = {"x_tandem_webhook_key": SECRET, "x_ms_dynamics_organization": "nordlicht.crm4.dynamics.com"}

    assert post_context(receiver, context(), **ours).status == 202
    cut = {**json.loads(context()), "InputParameters": None, "PreEntityImages": None}
    assert post_context(receiver, compact(cut), **ours, x_ms_dynamics_msg_size_exceeded="true").status == 202
    large = context(SharedVariables=["x" * 60000] * 5)
    assert len(large) > 256 * 1024
    assert post_context(receiver, large, **ours).status == 202
    probe = post_context(receiver, b"{}", **ours, x_ms_dynamics_request_name="URL_VALIDATION")
    assert probe.status == 200

    for body, headers, status, code in (
        (context(OrganizationId=str(uuid.uuid4())), ours, 422, "wrong_organization"),
        (context(), {**ours, "x_ms_dynamics_organization": "other.crm4.dynamics.com"}, 422, "wrong_organization"),
        (context(PrimaryEntityId="x"), ours, 422, "schema"),
        (b"{", ours, 400, "invalid_json"),
    ):
        answer = post_context(receiver, body, **headers)
        assert (answer.status, answer.code) == (status, code)
    assert [each["headers"].get("x-ms-dynamics-msg-size-exceeded") for each in notifications(topics, 3)].count(
        "true"
    ) == 1
    reasons = sorted(record.headers["err.code"].decode() for record in topics.read("dead-letters"))
    assert reasons == ["invalid_json", "schema", "wrong_organization", "wrong_organization"]


def test_dynamics_365_delivers(start: Start, dynamics_365: Dynamics365, topics: Topics) -> None:
    receiver = start()
    url = f"https://localhost:{receiver.port}{DYNAMICS_365_PATH}"
    dynamics_365.add_webhook(url=url, authtype=5, settings={"x-tandem-webhook-key": SECRET})
    row = dynamics_365.add_row("opportunities", name="Harbour crane sensors")
    identifier = row["opportunityid"]
    dynamics_365.edit_row("opportunities", identifier, name="Harbour crane sensors II")
    dynamics_365.delete_row("opportunities", identifier)
    made = [json.loads(record.value or b"") for record in topics.read("notifications", 3)]
    assert {each["record_id"] for each in made} == {identifier}
    assert {each["event"] for each in made} == {"Create", "Update", "Delete"}
    assert all(each["occurred_at"] for each in made)


# --- Operating --------------------------------------------------------------------------------------------------------


def test_metrics_tell_what_happened(start: Start, signer: Signer) -> None:
    receiver = start()
    post(receiver, signer, new_event())
    post(receiver, signer, new_event(), Authorization="Signature QUJD")
    status, text = receiver.admin("/metrics")
    assert status == 200
    assert 'tandem_ingest_requests_total{route="partner-center",status="202"} 1' in text
    assert 'tandem_ingest_requests_total{route="partner-center",status="401"} 1' in text
    assert 'tandem_ingest_signature_failures_total{route="partner-center",reason="mismatch"} 1' in text
    assert 'tandem_ingest_request_duration_seconds_count{route="partner-center"} 2' in text
    assert "tandem_ingest_connections " in text


def test_nothing_of_a_request_is_in_the_log_but_its_id(start: Start, signer: Signer) -> None:
    receiver = start()
    body = new_event(More="Zx81-private", EventName="galaxy-created")
    answer = post(receiver, signer, body)
    receiver.wait_for("serve.answered", request_id=answer.request_id)
    log = json.dumps(receiver.log)
    assert "Zx81" not in log and signer.sign(body) not in log
