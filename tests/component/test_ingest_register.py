"""tandem-ingest register: the webhook registration at Partner Center, and test events that reach a running serve."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.ingest import Ingest
from support.simulators import PartnerCenter
from support.tls import Authority
from support.topics import Topics

REGISTRATION = "/webhooks/v1/registration"
URL = "https://hooks.fabrikam.example/webhooks/partner-center"
OTHER = "https://flows.example/trigger/7"
NEEDED = [
    "referral-created",
    "referral-updated",
    "related-referral-created",
    "related-referral-updated",
    "test-created",
]

pytestmark = pytest.mark.asan


@pytest.fixture
def ingest(tmp_path: Path, topics: Topics, authority: Authority, partner_center: PartnerCenter) -> Ingest:
    partner_center.admin("DELETE", "/_sim/registration")
    return Ingest(tmp_path, topics, authority, partner_center)


def registered(ingest: Ingest) -> dict[str, Any] | None:
    return ingest.partner_center.state()["registration"]


def writes(ingest: Ingest) -> list[str]:
    entries = ingest.partner_center.journal(path=REGISTRATION)
    return [entry["method"] for entry in entries if entry["method"] != "GET"]


def after(output: str) -> dict[str, Any]:
    line = next(each for each in output.splitlines() if each.startswith("after:"))
    return json.loads(line.removeprefix("after:"))


def test_events_lists_what_may_be_registered(ingest: Ingest) -> None:
    result = ingest.run("register", "events")
    assert result.returncode == 0, result.stderr
    assert set(NEEDED) <= set(result.stdout.split())
    assert set(NEEDED) <= set(json.loads(ingest.run("register", "events", "--json").stdout))


@pytest.mark.parametrize("absent", ["404", "empty"])
def test_show_says_when_there_is_nothing(ingest: Ingest, absent: str) -> None:
    ingest.partner_center.settings(registration_absent=absent)
    result = ingest.run("register", "show")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "no webhook is registered\n"


def test_show_prints_the_registration(ingest: Ingest) -> None:
    ingest.partner_center.set_registration({"WebhookUrl": OTHER, "WebhookEvents": ["referral-created"]})
    result = ingest.run("register", "show")
    assert result.returncode == 0, result.stderr
    assert OTHER in result.stdout and "referral-created" in result.stdout
    assert json.loads(ingest.run("register", "show", "--json").stdout)["WebhookUrl"] == OTHER
    assert writes(ingest) == []


@pytest.mark.parametrize("absent", ["404", "empty"])
def test_create_registers_where_nothing_was(ingest: Ingest, absent: str) -> None:
    ingest.partner_center.settings(registration_absent=absent)
    result = ingest.run("register", "create", "--url", URL)
    assert result.returncode == 0, result.stderr
    assert "before: none" in result.stdout
    assert after(result.stdout)["SubscriberId"]
    assert registered(ingest) == {
        "WebhookUrl": URL,
        "WebhookEvents": NEEDED,
        "SignatureTokenToMsSignatureHeader": False,
    }
    assert writes(ingest) == ["POST"]


def test_create_twice_changes_nothing(ingest: Ingest) -> None:
    ingest.run("register", "create", "--url", URL)
    result = ingest.run("register", "create", "--url", URL)
    assert result.returncode == 0 and "already registered" in result.stdout
    assert writes(ingest) == ["POST"]


def test_another_url_is_replaced_only_if_asked_for(ingest: Ingest) -> None:
    ingest.partner_center.set_registration(
        {"WebhookUrl": OTHER, "WebhookEvents": ["subscription-updated", "referral-created"]}
    )
    refused = ingest.run("register", "create", "--url", URL)
    assert refused.returncode == 1
    assert "--overwrite" in refused.stderr and OTHER in refused.stdout
    assert refused.stderr.count("\n") == 1, "told once, for people"
    assert writes(ingest) == []

    result = ingest.run("register", "create", "--url", URL, "--overwrite")
    assert result.returncode == 0, result.stderr
    assert OTHER in result.stdout, "the value to go back to"
    now = registered(ingest)
    assert now is not None and now["WebhookUrl"] == URL
    # Somebody's billing needs it: it stays.
    assert now["WebhookEvents"] == [*NEEDED, "subscription-updated"]
    assert writes(ingest) == ["PUT"]


def test_other_events_go_only_if_told(ingest: Ingest) -> None:
    ingest.partner_center.set_registration({"WebhookUrl": URL, "WebhookEvents": ["invoice-ready"]})
    events = "referral-created,test-created"
    ingest.run("register", "create", "--url", URL, "--events", events)
    now = registered(ingest)
    assert now is not None and now["WebhookEvents"] == ["referral-created", "test-created", "invoice-ready"]
    ingest.run("register", "create", "--url", URL, "--events", events, "--drop-other-events")
    now = registered(ingest)
    assert now is not None and now["WebhookEvents"] == ["referral-created", "test-created"]


def test_the_signature_can_be_put_into_its_own_header(ingest: Ingest) -> None:
    ingest.run("register", "create", "--url", URL)
    result = ingest.run("register", "create", "--url", URL, "--signature-header")
    assert result.returncode == 0, result.stderr
    now = registered(ingest)
    assert now is not None and now["SignatureTokenToMsSignatureHeader"] is True
    assert writes(ingest) == ["POST", "PUT"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "--url", "http://hooks.fabrikam.example/x"),
        ("create", "--url", "https://user:word@hooks.fabrikam.example/x"),
        ("create",),
        ("show", "--overwrite"),
        ("remove",),
        (),
    ],
)
def test_bad_usage_asks_nobody(ingest: Ingest, arguments: tuple[str, ...]) -> None:
    result = ingest.run("register", *arguments)
    assert result.returncode == 64
    assert result.stderr
    assert ingest.partner_center.journal() == []


@pytest.mark.parametrize(
    ("status", "word"), [(401, "sign-in"), (403, "role"), (429, "try again in 7 s"), (500, "answered 500")]
)
def test_refusals_are_told_in_words(ingest: Ingest, status: int, word: str) -> None:
    ingest.partner_center.fault("status", "GET", REGISTRATION, times=None, status=status, headers={"Retry-After": "7"})
    result = ingest.run("register", "show")
    assert result.returncode == 1
    assert word in result.stderr


def serve_with_signatures(ingest: Ingest, authority: Authority, signing: Path) -> None:
    """A configuration in which serve takes webhooks that the simulator has signed with what is in `signing`."""
    certificate = authority.issue("serve")
    ingest.serve |= {"tls_certificate": str(certificate.cert), "tls_key": str(certificate.key)}
    ingest.signature |= {
        "trusted_roots": str(signing / "ca.pem"),
        "certificate_urls": [f"{ingest.partner_center.url}/cert/"],
        "download_ca_file": str(authority.cert),
        "allow_private_addresses": True,
    }


def test_a_test_event_reaches_a_running_serve(tmp_path: Path, topics: Topics, authority: Authority) -> None:
    signing = tmp_path / "signing"
    with PartnerCenter(tmp_path / "simulator", authority, "--signing-dir", str(signing)) as simulator:
        ingest = Ingest(tmp_path / "ingest", topics, authority, simulator)
        serve_with_signatures(ingest, authority, signing)
        with ingest.program() as program:
            port = program.wait_for("ingest.serving")["port"]
            program.wait_for("program.ready")
            url = f"https://127.0.0.1:{port}/webhooks/partner-center"
            created = ingest.run("register", "create", "--url", url)
            assert created.returncode == 0, created.stderr
            result = ingest.run("register", "test", "--wait", "20s")
            assert result.returncode == 0, result.stdout + result.stderr + program.transcript()
            assert result.stdout.endswith("delivered\n")
            correlation = result.stdout.split()[2]
            assert program.wait_for("webhook.test_received")["correlation_id"] == correlation
            assert program.stop() == 0


def test_a_test_event_that_does_not_arrive_is_told_with_its_attempts(ingest: Ingest) -> None:
    ingest.run("register", "create", "--url", "https://127.0.0.1:1/nobody")
    result = ingest.run("register", "test", "--wait", "2s")
    assert result.returncode == 1
    assert "attempt 1:" in result.stdout and "no answer" in result.stdout
    assert "not delivered" in result.stderr or "could not deliver" in result.stderr


def test_a_third_test_event_within_a_minute_says_when_to_come_back(ingest: Ingest) -> None:
    ingest.run("register", "create", "--url", "https://127.0.0.1:1/nobody")
    results = [ingest.run("register", "test", "--wait", "100ms") for _ in range(3)]
    assert "two a minute" in results[2].stderr and "try again in" in results[2].stderr
