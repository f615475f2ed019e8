"""Broker, CRM or database away: no false 2xx, nothing lost, catching up without hands."""

from __future__ import annotations

from support.deals import DEADLINE, Deals
from support.kafka import Broker
from support.postgres import Cluster
from support.waiting import wait_until

RECOVERY_SECONDS = 60
# Sooner than the sender gives up on an attempt.
SETTINGS = {"ingest": {"serve": {"answer_timeout": "2s"}}}


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


def test_crm_away_is_caught_up_with(deals: Deals) -> None:
    referrals = [deals.new("private") for _ in range(3)]
    deals.dynamics_365.fault("status", method="PATCH", path=".*", times=None, status=503)
    position = deals.position()
    for referral in referrals:
        deals.partner_center.edit_referral(referral, details={"dealValue": 99})
    wait_until(
        lambda: [each for each in deals.dynamics_365.journal(position, "PATCH") if each["status"] == 503],
        DEADLINE,
        "the CRM has refused for now",
    )
    deals.dynamics_365.clear_faults()
    for referral in referrals:
        wait_until(lambda: value_of(deals, referral) == 99, RECOVERY_SECONDS, "the change has arrived")
    assert deals.stack.audit("SELECT count(*) FROM audit WHERE phase = 'dead-letter'") == [(0,)]


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
    refused = [each for each in deals.stack.timeline(bad) if each["result"] == "refused"]
    assert len(refused) == 1


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
