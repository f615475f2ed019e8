"""What a sender writes into an event or a header leads to no connection: not to our own network, not elsewhere."""

from __future__ import annotations

import json
import selectors
import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingest_receiver import Receiver
from support.bad_inputs import bad_input
from support.ingest import Ingest
from support.paths import ROOT
from support.simulators import PartnerCenter
from support.tls import Authority
from support.topics import Topics
from support.waiting import wait_until
from webhook_sender import Connection, Signer, SigningAuthority, compact, event, signed_request

TABLE = ROOT / "tests/cases/bad-inputs/schema.json"
MICROSOFT = "api.partnercenter.microsoft.com"
PATH = "/engagements/v1/referrals/{id}"

pytestmark = pytest.mark.asan


class Watcher:
    """Takes every connection to one port of this machine, of either family, and closes it."""

    def __init__(self) -> None:
        self.connections = 0
        self._sockets = [socket.create_server(("127.0.0.1", 0))]
        self.port = self._sockets[0].getsockname()[1]
        if socket.has_ipv6 and Path("/proc/net/if_inet6").exists():
            self._sockets.append(socket.create_server(("::1", self.port), family=socket.AF_INET6))
        self._selector = selectors.DefaultSelector()
        self._wake, wakened = socket.socketpair()
        for each in (*self._sockets, wakened):
            self._selector.register(each, selectors.EVENT_READ)
        self._wakened = wakened
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._wakened:
                    return
                assert isinstance(key.fileobj, socket.socket)
                key.fileobj.accept()[0].close()
                self.connections += 1

    def stop(self) -> None:
        self._wake.send(b".")
        self._thread.join()
        self._selector.close()
        for each in (*self._sockets, self._wake, self._wakened):
            each.close()


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    watcher = Watcher()
    yield watcher
    watcher.stop()


@pytest.fixture
def signing() -> SigningAuthority:
    return SigningAuthority()


def own_network(port: int, path: str) -> list[str]:
    """Addresses that lead to the watcher, in the spellings that a filter could overlook."""
    hosts = (
        "127.0.0.1",
        "127.1",
        "0.0.0.0",
        "0",
        "2130706433",
        "0177.0.0.1",
        "0x7f.1",
        "0x7f000001",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[0:0:0:0:0:ffff:7f00:1]",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "evil.localhost",
        "\u2460\u2461\u2466.0.0.1".encode("utf-8").decode("latin-1"),
    )
    return [f"{scheme}://{host}:{port}{path}" for scheme in ("https", "http") for host in hosts] + [
        f"{scheme}://127.0.0.1:{port}{path}" for scheme in ("ftp", "gopher", "file", "ws", "HTTPS")
    ]


# --- ResourceUri ------------------------------------------------------------------------------------------------------


def refused_resources(port: int) -> list[str]:
    """Every form of the table, and those that would reach the watcher; {id} is the id of a referral that exists."""
    rows = [row for row in json.loads(TABLE.read_text())["rows"] if row["id"] == "B62"]
    forms = [row["event"]["ResourceUri"] for row in rows]
    listed = [form for form in forms if isinstance(form, str)]
    assert len(rows) >= 12 and any(":16722" in form for form in listed)
    ours = [
        f"https://{MICROSOFT}:{port}{PATH}",
        f"https://{MICROSOFT}@127.0.0.1:{port}{PATH}",
        f"https://{MICROSOFT}\\@127.0.0.1:{port}{PATH}",
        f"https://127.0.0.1:{port}#@{MICROSOFT}{PATH}",
        f"https://127.0.0.1:{port}?{MICROSOFT}{PATH}",
        f"//127.0.0.1:{port}{PATH}",
        f"http://{MICROSOFT}.localhost:{port}{PATH}",
    ]
    return [form.replace(":16722", f":{port}") for form in listed] + own_network(port, PATH) + ours


@bad_input("B62")
def test_resources_that_are_refused_cause_no_connection(
    tmp_path: Path,
    topics: Topics,
    authority: Authority,
    partner_center: PartnerCenter,
    signing: SigningAuthority,
    watcher: Watcher,
) -> None:
    ingest = Ingest(tmp_path, topics, authority, partner_center)
    signer = signing.issue()
    (tmp_path / "leaf.der").write_bytes(signer.der)
    ingest.signature = {
        "trusted_roots": str(signing.write(tmp_path / "roots.pem")),
        "pinned_certificates": [str(tmp_path / "leaf.der")],
    }
    ingest.serve = {"hosts": ["localhost"]}
    referral = partner_center.add_referral(kind="private")["id"]
    refused = [form.replace("{id}", referral) for form in refused_resources(watcher.port)]
    before = len(partner_center.journal())

    with ingest.program("--role", "serve", instance="serve") as serve, ingest.fetcher("fetch") as fetch:
        fetch.wait_for("program.ready")
        port = int(serve.wait_for("serve.listening")["port"])
        serve.wait_for("program.ready")

        def post(**changes: Any) -> int:
            with Connection(port, None) as connection:
                connection.send(signed_request(signer, compact(event(referral, **changes))))
                return connection.answer().status

        for form in refused:
            assert post(ResourceUri=form) == 202, form
        letters = topics.read("dead-letters", len(refused), deadline=30)
        assert {each.headers["err.code"] for each in letters} == {b"bad_resource"}
        assert topics.read("notifications") == []
        # Nobody has asked for anything: no token, no referral. Not even the program that reads records.
        assert len(partner_center.journal()) == before
        assert watcher.connections == 0

        # The one that is ours is read, once, at Partner Center.
        assert post() == 202
        assert len(topics.read("records", 1)) == 1
    asked = [entry["path"] for entry in partner_center.journal()[before:] if entry["method"] == "GET"]
    assert [path.rsplit("/", 1)[-1] for path in asked] == [referral]
    assert len(topics.read("dead-letters")) == len(refused)
    assert watcher.connections == 0


# --- The signing certificate ------------------------------------------------------------------------------------------


@bad_input("B35", "B36", "B37")
def test_certificate_addresses_that_are_refused_cause_no_connection(
    tmp_path: Path, topics: Topics, authority: Authority, signing: SigningAuthority, watcher: Watcher
) -> None:
    """Every form leads to the watcher if it is asked at all; only one is allowed."""
    signer = signing.issue()
    port = watcher.port
    allowed = f"https://localhost:{port}/cert/"
    forms = [
        *(form for form in own_network(port, "/cert/a.cer") if not form.startswith(allowed)),
        f"https://localhost:{port}/cert",
        f"https://localhost:{port}/cert/",
        f"https://localhost:{port}/cert/../a.cer",
        f"https://localhost:{port}/cert/%2e%2e/a.cer",
        f"https://localhost:{port}/cert/.%2e/a.cer",
        f"https://localhost:{port}/cert//a.cer",
        f"https://localhost:{port}//cert/a.cer",
        f"https://localhost:{port}/CERT/a.cer",
        f"https://localhost:{port}/cert/a.cer?x=y",
        f"https://localhost:{port}/cert/a.cer#x",
        f"https://localhost:{port}/cert\\a.cer",
        f"https://localhost:0{port}/cert/a.cer",
        f"https://localhost:{port}@localhost:{port}/cert/a.cer",
        f"https://good@localhost:{port}/cert/a.cer",
        f"https://localhost\\@localhost:{port}/cert/a.cer",
        f"HTTPS://localhost:{port}/cert/a.cer",
        f"https:localhost:{port}/cert/a.cer",
        f"https:/localhost:{port}/cert/a.cer",
        f"%20{allowed}a.cer",
        f"{allowed}{'a' * 600}.cer",
        f"https://evil.localhost:{port}/cert/a.cer",
    ]
    # Nothing but the list of addresses is in the way.
    rules = {
        "trusted_roots": str(signing.write(tmp_path / "roots.pem")),
        "certificate_urls": [allowed],
        "allow_private_addresses": True,
        "downloads_per_minute": 600,
    }
    with Receiver(tmp_path / "receiver", authority, topics, signature=rules) as receiver:
        receiver.ready()
        for form in forms:
            body = compact(event(str(uuid.uuid4())))
            assert receiver.send(signed_request(signer, body, form)).status == 401, form
        assert watcher.connections == 0
        assert receiver.events("serve.certificate_unavailable") == []

        # The watcher would have seen it.
        answer = receiver.send(signed_request(signer, compact(event(str(uuid.uuid4()))), allowed + "a.cer"))
        assert answer.status == 401
        wait_until(lambda: watcher.connections > 0, 10, "the allowed address is asked")
    assert topics.read("notifications") == []


def test_allowed_name_that_is_our_own_network_causes_no_connection(
    tmp_path: Path, topics: Topics, authority: Authority, signing: SigningAuthority, watcher: Watcher
) -> None:
    rules = {
        "trusted_roots": str(signing.write(tmp_path / "roots.pem")),
        "certificate_urls": [f"https://localhost:{watcher.port}/cert/", f"https://127.0.0.1:{watcher.port}/cert/"],
        "downloads_per_minute": 600,
    }
    signer: Signer = signing.issue()
    with Receiver(tmp_path / "receiver", authority, topics, signature=rules) as receiver:
        receiver.ready()
        for count, url in enumerate(rules["certificate_urls"], 1):
            body = compact(event(str(uuid.uuid4())))
            assert receiver.send(signed_request(signer, body, f"{url}a.cer")).status == 401
            receiver.wait_for("serve.certificate_unavailable", count=count)
    assert watcher.connections == 0
