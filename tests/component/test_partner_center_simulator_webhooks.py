"""Webhooks of the Partner Center simulator: signatures, certificates, attempts, and deliveries that go wrong."""

from __future__ import annotations

import base64
import json
import pathlib
import subprocess
import urllib.parse
from typing import Any

from partner_center_client import Client, Receiver, make_tls, pc, process, receiver, tls, wait_for

__all__ = ["pc", "process", "receiver", "tls"]  # fixtures


def test_signature_over_the_raw_body_verifies_with_openssl(
    pc: Client, receiver: Receiver, tmp_path: pathlib.Path
) -> None:
    made = pc.make("microsoft-cosell")
    wait_for(lambda: receiver.events, "the event")
    headers, body = receiver.events[0]
    event = json.loads(body)
    assert body == json.dumps(event, separators=(",", ":")).encode()
    assert list(event) == ["EventName", "ResourceUri", "ResourceName", "AuditUri", "ResourceChangeUtcDate"]
    assert event["ResourceUri"] == (f"https://api.partnercenter.microsoft.com/engagements/v1/referrals/{made['id']}")
    assert event["ResourceChangeUtcDate"].endswith("+00:00") and event["AuditUri"] is None
    assert headers["x-ms-signature-algorithm"] == "rsa-sha256" and "x-ms-signature" not in headers
    scheme, signature = headers["authorization"].split(" ")
    assert scheme == "Signature"
    url = urllib.parse.urlsplit(headers["x-ms-certificate-url"])
    assert url.path == "/cert/pcnotifications-dispatch.microsoft.com.cer"
    (tmp_path / "leaf.der").write_bytes(pc.call("GET", url.path).body)
    (tmp_path / "body").write_bytes(body)
    (tmp_path / "signature").write_bytes(base64.b64decode(signature, validate=True))
    run_openssl(tmp_path, "x509", "-inform", "DER", "-in", "leaf.der", "-out", "leaf.pem")
    run_openssl(tmp_path, "verify", "-CAfile", str(pc.signing / "ca.pem"), "leaf.pem")
    run_openssl(tmp_path, "x509", "-in", "leaf.pem", "-pubkey", "-noout", "-out", "key.pem")
    run_openssl(tmp_path, "dgst", "-sha256", "-verify", "key.pem", "-signature", "signature", "body")
    names = run_openssl(tmp_path, "x509", "-in", "leaf.pem", "-noout", "-issuer", "-subject", "-nameopt", "RFC2253")
    assert names.count("O=Microsoft Corporation") == 2 and "CN=pcnotifications-dispatch.microsoft.com" in names


def run_openssl(directory: pathlib.Path, *arguments: str) -> str:
    result = subprocess.run(["openssl", *arguments], cwd=directory, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_alternate_signature_header_and_certificate_rotation(pc: Client, receiver: Receiver) -> None:
    flag = {"SignatureTokenToMsSignatureHeader": True}
    pc.sim("PUT", "registration", {"WebhookUrl": receiver.url, "WebhookEvents": ["referral-created"]} | flag)
    pc.make("private")
    wait_for(lambda: receiver.events, "the event")
    headers = receiver.events[0][0]
    assert headers["x-ms-signature"].startswith("Signature ") and "authorization" not in headers
    path = urllib.parse.urlsplit(headers["x-ms-certificate-url"]).path
    before = pc.call("GET", path).body
    pc.sim("POST", "signing/rotate")
    assert pc.call("GET", path).body not in (before, b"")
    pc.settings(cert_format="pem", cert_chain=True)
    assert pc.call("GET", path).body.count(b"BEGIN CERTIFICATE") == 2
    crafted = pc.sim("POST", "sign", {"body": '{"EventName":"x"}', "alternate": True})["headers"]
    assert crafted["x-ms-signature"].startswith("Signature ")


def test_event_goes_offline_after_ten_attempts(pc: Client, receiver: Receiver) -> None:
    receiver.status = 503
    pc.make("private")

    def offline() -> Any:
        found = pc.sim("GET", "deliveries")["deliveries"]
        return found[0] if found and found[0]["state"] == "offline" else None

    delivery = wait_for(offline, "the delivery to be given up")
    assert [attempt["status"] for attempt in delivery["attempts"]] == [503] * 10
    assert len(receiver.events) == 10 and len({body for _, body in receiver.events}) == 1


def test_delivery_policy_pauses_drops_and_duplicates(pc: Client, receiver: Receiver) -> None:
    pc.sim("POST", "deliveries/policy", {"paused": True})
    pc.make("private")
    assert pc.sim("GET", "deliveries")["pending"] == 1 and not receiver.events
    pc.sim("POST", "deliveries/policy", {"paused": False, "duplicate": 1})
    wait_for(lambda: len(receiver.events) == 1, "the paused event")
    pc.make("private")
    wait_for(lambda: len(receiver.events) == 3, "the duplicate")
    assert receiver.events[1][1] == receiver.events[2][1]
    pc.sim("POST", "deliveries/policy", {"duplicate": 0, "drop": 1})
    pc.make("private")
    assert pc.sim("GET", "deliveries")["deliveries"][-1]["state"] == "lost"


def test_own_changes_are_echoed_unless_switched_off(pc: Client, receiver: Receiver) -> None:
    made = pc.make("partner-led", _sim={"events": False})
    assert pc.patch(made["id"], ("/details/notes", "x")).status == 204
    wait_for(lambda: receiver.names() == ["referral-updated"], "the echo")
    pc.settings(echo_events=False)
    assert pc.patch(made["id"], ("/details/notes", "y")).status == 204
    assert len(pc.sim("GET", "deliveries")["deliveries"]) == 1
    edited = pc.sim("PATCH", f"referrals/{made['id']}", {"details": {"notes": None}})
    assert edited["details"]["notes"] is None and edited["details"]["currency"] == made["details"]["currency"]
    assert edited["lastModifiedVia"] == "Ui"


def test_receiver_that_does_not_verify_against_the_ca_gets_nothing(pc: Client, tmp_path: pathlib.Path) -> None:
    stranger = Receiver(make_tls(tmp_path))
    pc.settings(delivery_attempts=1)
    pc.sim("PUT", "registration", {"WebhookUrl": stranger.url, "WebhookEvents": ["referral-created"]})
    pc.make("private")
    wait_for(lambda: pc.sim("GET", "deliveries")["deliveries"][0]["state"] == "offline", "the refusal")
    assert not stranger.events
    stranger.stop()


def test_delayed_event_is_forgotten_by_reset(pc: Client, receiver: Receiver) -> None:
    pc.settings(event_delay_ms=50)
    pc.make("private")
    assert pc.sim("GET", "deliveries")["pending"] == 1
    wait_for(lambda: receiver.names() == ["referral-created"], "the delayed event")
    pc.settings(event_delay_ms=60_000)
    pc.make("private")
    pc.sim("POST", "reset")
    assert pc.sim("GET", "deliveries") == {
        "deliveries": [],
        "pending": 0,
        "policy": {"paused": False, "drop": 0.0, "duplicate": 0.0, "reorder": 0.0},
    }


def test_any_event_can_be_sent_and_reordering_loses_none(pc: Client, receiver: Receiver) -> None:
    pc.sim("POST", "events", {"EventName": "subscription-updated", "ResourceName": "subscription"})
    wait_for(lambda: receiver.names() == ["subscription-updated"], "the event")
    pc.sim("POST", "deliveries/policy", {"reorder": 0.5})
    made = [pc.make("private")["id"] for _ in range(20)]
    wait_for(lambda: len(receiver.events) == 21, "all events")
    arrived = [json.loads(body)["ResourceUri"].rsplit("/", 1)[1] for _, body in receiver.events[1:]]
    assert sorted(arrived) == sorted(made) and arrived != made
