"""Broker, CRM or database away: no false 2xx, nothing lost, catching up without hands."""

from __future__ import annotations

import time

import pytest
from support.deals import DEADLINE, Deals
from support.kafka import Broker
from support.postgres import Cluster
from support.waiting import wait_until

pytestmark = pytest.mark.asan

RECOVERY_SECONDS = 60
AWAY_SECONDS = 60
SETTINGS = {
    "ingest": {
        # Sooner than the sender gives up on an attempt.
        "serve": {"answer_timeout": "2s"},
        # As below: the way back is waited for.
        "fetch": {"longest_retry_delay": "5s", "probe_interval": "5s"},
    },
    "pusher": {"pause_max": "5s"},
}


def value_of(deals: Deals, referral: str) -> float:
    row = deals.opportunity(referral)
    assert row is not None
    return float(row["estimatedvalue"])


def test_broker_away_is_503_and_no_false_2xx(deals: Deals, broker: Broker) -> None:
    referral = deals.new("private")
    known = len(deals.partner_center.deliveries()["deliveries"])
    broker.kill()
    deals.partner_center.edit_referral(referral, details={"dealValue": 31})

    def attempts() -> list[int | None]:
        fresh = deals.partner_center.deliveries()["deliveries"][known:]
        return [attempt["status"] for delivery in fresh for attempt in delivery["attempts"]]

    wait_until(lambda: 503 in attempts(), DEADLINE, "the webhook is answered 503")
    assert not [status for status in attempts() if status and 200 <= status < 300]
    broker.start()
    # The sender may have given up meanwhile; whatever it sends next brings the whole record.
    deals.stack.programs[0].wait_for("program.ready")
    wait_until(lambda: _touch_until_accepted(deals, referral), RECOVERY_SECONDS, "webhooks are taken again")
    wait_until(lambda: value_of(deals, referral) >= 32, RECOVERY_SECONDS, "the change has arrived")


def _touch_until_accepted(deals: Deals, referral: str) -> bool:
    known = len(deals.partner_center.deliveries()["deliveries"])
    value = float(deals.referral(referral)["details"]["dealValue"])
    deals.partner_center.edit_referral(referral, details={"dealValue": max(value, 31) + 1})

    def first_answer() -> int | None:
        fresh = deals.partner_center.deliveries()["deliveries"][known:]
        return next((each["status"] for delivery in fresh for each in delivery["attempts"]), None)

    return wait_until(first_answer, DEADLINE, "the webhook is answered") == 202


def test_crm_away_for_a_minute_is_caught_up_with(deals: Deals) -> None:
    """Every request to the CRM finds the connection closed, sign-in and reads among them."""
    # So short that tokens end during the outage, and sign-in is part of it.
    deals.dynamics_365.settings(token_lifetime_seconds=AWAY_SECONDS // 2)
    deals.dynamics_365.admin("POST", "/_sim/tokens/revoke")
    referrals = [deals.new("private") for _ in range(3)]
    sellers_edit = deals.new("private")
    row = deals.opportunity(sellers_edit)
    assert row is not None
    letters = len(deals.stack.topics.read("dead-letters"))
    position = deals.position()
    deals.dynamics_365.fault("drop", times=None)
    began = time.monotonic()
    for referral in referrals:
        deals.partner_center.edit_referral(referral, details={"dealValue": 99})
    late = deals.partner_center.add_referral(kind="private")["id"]
    deals.dynamics_365.edit_row("opportunities", row["opportunityid"], description="The seller's words")

    wait_until(lambda: time.monotonic() - began >= AWAY_SECONDS, AWAY_SECONDS + 1, "a minute is over")
    met = deals.dynamics_365.journal(position)
    assert {"drop"} == {each["fault"] for each in met}
    asked = {(each["method"], each["path"].split("/")[-1].split("(")[0]) for each in met}
    assert {("PATCH", "opportunities"), ("GET", "opportunities"), ("POST", "token")} <= asked
    deals.dynamics_365.clear_faults()
    deals.dynamics_365.settings(token_lifetime_seconds=None)

    wait_until(lambda: all(value_of(deals, each) == 99 for each in referrals), RECOVERY_SECONDS, "the changes have arrived")
    deals.wait_linked(late)
    wait_until(
        lambda: deals.referral(sellers_edit)["details"]["notes"] == "The seller's words",
        RECOVERY_SECONDS,
        "the seller's edit has reached Partner Center",
    )
    deals.wait_quiet(late)
    assert deals.stack.topics.read("dead-letters")[letters:] == []
    for referral in [*referrals, sellers_edit, late]:
        outcomes = [each["result"] for each in deals.stack.timeline(referral) if each["phase"] == "outcome"]
        assert outcomes and set(outcomes) == {"applied"}
    assert deals.stack.audit("SELECT * FROM verify_audit()") == []


def test_record_that_cannot_be_written_is_set_aside_and_others_go_on(deals: Deals) -> None:
    bad, good = deals.new("private"), deals.new("private")
    row = deals.opportunity(bad)
    assert row is not None
    body = {"error": {"code": "0x80040265", "message": "refused by a plug-in"}}
    deals.dynamics_365.fault(
        "status", method="PATCH", path=f".*{row['opportunityid']}.*", times=None, status=400, body=body
    )
    before = len(deals.stack.topics.read("dead-letters"))
    deals.partner_center.edit_referral(bad, details={"dealValue": 5})
    deals.partner_center.edit_referral(good, details={"dealValue": 6})
    wait_until(lambda: value_of(deals, good) == 6, DEADLINE, "the other deal's change has arrived")
    letters = wait_until(
        lambda: deals.stack.topics.read("dead-letters")[before:], DEADLINE, "the decision was set aside"
    )
    assert letters[0].headers["err.stage"] == b"pusher"
    assert letters[0].headers["err.code"] == b"dynamics_365.plugin_refused"
    # Nor can the seller be told there; neither is tried again and again.
    deals.wait_quiet(bad)
    refused = [each["purpose"] for each in deals.stack.timeline(bad) if each["result"] == "refused"]
    assert refused == ["update", "explain"]


def test_database_away_stops_writes_until_it_is_back(deals: Deals, postgres: Cluster) -> None:
    referral = deals.new("private")
    position = deals.position()
    postgres.stop()
    deals.partner_center.edit_referral(referral, details={"dealValue": 41})
    wait_until(
        lambda: any(each["action"] == "update" for each in deals.decisions(referral)[2:]), DEADLINE, "it is decided on"
    )
    assert deals.dynamics_365.journal(position, "PATCH") == []
    postgres.start()
    wait_until(lambda: value_of(deals, referral) == 41, RECOVERY_SECONDS, "the change has arrived")
    assert deals.stack.audit("SELECT * FROM verify_audit()") == []
