"""A Partner Center simulator process and calls to it, and a receiver for its webhooks, for tests.

The fixtures `tls`, `process`, `pc` and `receiver` are imported by the tests that use them.
"""

from __future__ import annotations

import collections
import http.client
import http.server
import json
import pathlib
import signal
import ssl
import subprocess
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.tls import Authority

PROGRAM = pathlib.Path(__file__).resolve().parents[1] / "simulators" / "partner_center.py"
REFERRALS = "/v1.0/engagements/referrals"
REGISTRATION = "/webhooks/v1/registration"
PARTNER = "https://api.partner.microsoft.com"
PARTNER_CENTER = "https://api.partnercenter.microsoft.com"
CLIENT = {"client_id": "11111111-1111-4111-8111-111111111111", "client_secret": "simulated-client-secret"}
DEADLINE = 15.0
ALL_REFERRAL_EVENTS = [
    "referral-created",
    "referral-updated",
    "related-referral-created",
    "related-referral-updated",
    "test-created",
]
REFERRAL_MEMBERS = set(
    "id engagementId name organizationId organizationName mpnId externalReferenceId lastModifiedVia lastRunId createdVia "
    "createdDateTime updatedDateTime expirationDateTime acceptedDateTime closedDateTime status substatus statusReason "
    "qualification type direction referralProgram referralSource callToAction campaignId salesStage quality isSpam "
    "favorite dealSensitivity tags eTag target customerProfile consent details team inviteContext trackingInfo "
    "registrationStatus registrations links".split()
)

Answer = collections.namedtuple("Answer", "status headers body json")


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """The first true value of `condition`, which is asked until the deadline."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"not within {DEADLINE} s: {what}")


def make_tls(directory: pathlib.Path) -> dict[str, str]:
    """Files of a new CA and of a certificate of it for 127.0.0.1."""
    authority = Authority(directory)
    server = authority.issue("server")
    return {"ca": str(authority.cert), "cert": str(server.cert), "key": str(server.key)}


class Client:
    """A simulator process and calls to it."""

    def __init__(self, directory: pathlib.Path, tls: dict[str, str], *arguments: str) -> None:
        self.signing = directory / "signing"
        port_file = directory / f"port-{uuid.uuid4()}"
        self.process = subprocess.Popen(
            ["/usr/bin/python3", str(PROGRAM), "--port-file", str(port_file), "--cert", tls["cert"]]
            + ["--key", tls["key"], "--ca", tls["ca"], "--signing-dir", str(self.signing), *arguments],
            stderr=subprocess.DEVNULL,
        )
        wait_for(lambda: self.process.poll() is not None or port_file.exists(), "the port file")
        self.port = int(port_file.read_text())
        self.context = ssl.create_default_context(cafile=tls["ca"])
        self.tokens: dict[tuple[str, bool], str] = {}

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE)

    def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=self.context, timeout=DEADLINE)
        try:
            raw = body.encode() if isinstance(body, str) else None if body is None else json.dumps(body).encode()
            connection.request(method, path, raw, headers or {})
            response = connection.getresponse()
            content = response.read()
            is_json = response.headers.get_content_type() == "application/json" and content
            try:
                value = json.loads(content) if is_json else None
            except ValueError:
                value = None
            return Answer(response.status, response.headers, content, value)
        finally:
            connection.close()

    def sim(self, method: str, path: str, body: Any = None) -> Any:
        result = self.call(method, f"/_sim/{path}", body)
        assert result.status < 300, result.body
        return result.json

    def settings(self, **changes: Any) -> None:
        self.sim("PATCH", "settings", changes)

    def token(self, resource: str = PARTNER, app_only: bool = False) -> str:
        key = (resource, app_only)
        if key not in self.tokens:
            body = {"resource": resource, "app_only": app_only}
            self.tokens[key] = self.sim("POST", "tokens/access", body)["access_token"]
        return self.tokens[key]

    def sign_in(self, path: str = "/fabrikam.example/oauth2/token", **form: str) -> Answer:
        form = {"grant_type": "refresh_token", "resource": PARTNER, **CLIENT, **form}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.call("POST", path, urllib.parse.urlencode(form), headers)

    def api(self, method: str, path: str = "", body: Any = None, **headers: str) -> Answer:
        base = {"Authorization": f"Bearer {self.token()}", "client-request-id": str(uuid.uuid4())}
        if body is not None:
            base["Content-Type"] = "application/json"
        extra = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.call(method, REFERRALS + path, body, base | extra)

    def find(self, **options: str) -> Answer:
        query = "&".join(f"${name}={urllib.parse.quote(value)}" for name, value in options.items())
        return self.api("GET", f"?{query}")

    def patch(self, identifier: str, *changes: tuple[str, Any], op: str = "replace", **headers: str) -> Answer:
        body = [{"op": "add" if path.endswith("/-") else op, "path": path, "value": value} for path, value in changes]
        return self.api("PATCH", f"/{identifier}", body, **headers)

    def hook(self, method: str, path: str = "", body: Any = None, resource: str = PARTNER_CENTER) -> Answer:
        headers = {"Authorization": f"Bearer {self.token(resource)}", "Content-Type": "application/json"}
        return self.call(method, REGISTRATION + path, body, headers)

    def make(self, kind: str, **members: Any) -> dict[str, Any]:
        return self.sim("POST", "referrals", {"kind": kind, **members})

    def fault(self, method: str, path: str, action: str, **more: Any) -> None:
        self.sim("POST", "faults", {"match": {"method": method, "path": path}, "action": action, "times": 1, **more})

    def journal(self) -> list[dict[str, Any]]:
        return self.sim("GET", "journal?since=0")["entries"]


class Receiver:
    """An https server that keeps what is posted to it and answers with `status`."""

    def __init__(self, tls: dict[str, str]) -> None:
        self.events: list[tuple[dict[str, str], bytes]] = []
        self.status = 200
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.events.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls["cert"], tls["key"])
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server.server_address[1]}/events"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def names(self) -> list[str]:
        return [json.loads(body)["EventName"] for _, body in self.events]

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "client-request-id": str(uuid.uuid4())}


def deal(**changes: Any) -> dict[str, Any]:
    """A body that POST takes."""
    return {
        "name": "Litware Museums - Archive",
        "externalReferenceId": "crm-1",
        "qualification": "SalesQualified",
        "type": "Shared",
        "target": [{"type": "SolutionProfile", "id": "SOL-1-A"}],
        "customerProfile": {
            "name": "Litware Museums",
            "address": {"city": "Porto", "country": "PT"},
            "team": [
                {"firstName": "Rui", "lastName": "Curator", "phoneNumber": "+351 0", "email": "rui@litware.example"}
            ],
        },
        "consent": {
            "consentToToShareInfoWithOthers": True,
            "consentToContact": True,
            "consentToShareReferralWithMicrosoftSellers": True,
        },
        "details": {
            "notes": "Archive in the cloud",
            "dealValue": "1234.50",
            "currency": "EUR",
            "closingDateTime": "2031-05-01T02:00:00+02:00",
            "requirements": {"solutions": [{"id": "SOL-1-A", "name": "Archive", "type": "Name"}]},
        },
        "team": [{"firstName": "Eva", "lastName": "Seller", "phoneNumber": "+351 1", "email": "eva@fabrikam.example"}],
        "inviteContext": {"notes": "Help", "assistanceRequestCode": "ProofOfConceptOrDemo"},
        **changes,
    }


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory, tls: dict[str, str]) -> Iterator[Client]:
    client = Client(tmp_path_factory.mktemp("simulator"), tls, "--set", "delivery_interval_ms=10")
    yield client
    assert client.stop() == 0


@pytest.fixture
def pc(process: Client) -> Client:
    process.sim("POST", "reset")
    process.tokens.clear()
    return process


@pytest.fixture
def receiver(pc: Client, tls: dict[str, str]) -> Iterator[Receiver]:
    server = Receiver(tls)
    pc.sim("PUT", "registration", {"WebhookUrl": server.url, "WebhookEvents": ALL_REFERRAL_EVENTS})
    yield server
    server.stop()
