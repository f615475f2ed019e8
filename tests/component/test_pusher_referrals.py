"""tandem-pusher creating referrals: one for one decision, whatever is lost, lags or dies. A POST's answer may be lost,
and lists show what it made only after a while."""

from __future__ import annotations

import collections
import datetime
import uuid
from typing import Any

import pytest

from support import schemas
from support.pusher import Pusher, decision
from support.waiting import wait_until

REFERRALS = "/v1.0/engagements/referrals"
PERSON = {
    "firstName": "Robin",
    "lastName": "Seller",
    "email": "robin.seller@fabrikam.example",
    "phoneNumber": "+44 20 7946 0001",
}

pytestmark = pytest.mark.asan


def settling(pusher: Pusher, seconds: float) -> None:
    pusher.partner_center_settings = {"settling_time": f"{int(seconds * 1000)}ms"}


def create(crm_id: str | None = None, **more: Any) -> dict[str, Any]:
    crm_id = crm_id or str(uuid.uuid4())
    return decision(
        f"crm:{crm_id}",
        action="create",
        purpose="create",
        reason="crm_changed",
        target="partner-center",
        system="partner-center",
        record_type="referral",
        crm_id=crm_id,
        create_key={"externalReferenceId": crm_id},
        write={
            "name": "Archive",
            "type": "Shared",
            "qualification": "SalesQualified",
            "customerProfile.name": "Northwind Orchards Ltd",
            "customerProfile.address.country": "GB",
            "customerProfile.team": [PERSON],
            "consent.consentToShareReferralWithMicrosoftSellers": True,
            "details.dealValue": 31000.5,
            "details.currency": "GBP",
            "details.closingDateTime": "2027-03-01T00:00:00Z",
            "details.requirements.solutions": [{"id": "SOL-10001-AAA"}],
            "team": [PERSON],
        },
        fields=[],
        **more,
    )


def invite(referral: dict[str, Any]) -> dict[str, Any]:
    made = create(referral["externalReferenceId"])
    return {
        **made,
        "id": f"{referral['id']}#2",
        "number": 2,
        "deal_key": referral["id"],
        "purpose": "invite",
        "record_type": "invitation",
        "referral_id": referral["id"],
        "create_key": {"engagementId": referral["engagementId"]},
        "write": {**made["write"], "target": [{"type": "BusinessProfileLocation", "id": "msft"}]},
    }


def referrals_of(pusher: Pusher, *decisions: dict[str, Any]) -> list[int]:
    """How many referrals name each decision's CRM record."""
    named = collections.Counter(each["externalReferenceId"] for each in pusher.partner_center.state()["referrals"])
    return [named[each["crm_id"]] for each in decisions]


def requests(pusher: Pusher, method: str) -> list[dict[str, Any]]:
    """To the collection of referrals: looks by GET, creations by POST."""
    return [each for each in pusher.partner_center.journal(method=method) if each["path"] == REFERRALS]


def time_of(entry: dict[str, Any]) -> datetime.datetime:
    return datetime.datetime.fromisoformat(entry["time"][:26])


def looks_after(pusher: Pusher, entry: dict[str, Any]) -> list[float]:
    """When the collection was looked at after a request, in seconds after it."""
    return [
        (time_of(each) - time_of(entry)).total_seconds()
        for each in requests(pusher, "GET")
        if each["seq"] > entry["seq"]
    ]


def wait_for_post(pusher: Pusher, count: int = 1) -> None:
    wait_until(lambda: len(requests(pusher, "POST")) >= count, 20, f"{count} POST requests have come")


# --- One referral -----------------------------------------------------------------------------------------------------


def test_a_creation_is_one_look_and_one_post(pusher: Pusher) -> None:
    made = create()
    with pusher.program():
        pusher.decide(made)
        outcome = pusher.outcome_of(made)
        pusher.is_settled()
    schemas.check("outcome", outcome)
    assert (outcome["result"], outcome["is_created"], outcome["is_certain"]) == ("applied", True, True)
    assert outcome["documents"][0]["id"] == outcome["record_id"]
    assert (len(requests(pusher, "GET")), len(requests(pusher, "POST"))) == (1, 1)
    assert referrals_of(pusher, made) == [1]


def test_an_invitation_tells_microsofts_referral_and_ours(pusher: Pusher) -> None:
    made = create()
    with pusher.program():
        pusher.decide(made)
        own = pusher.outcome_of(made)["documents"][0]["body"]
        wanted = invite(own)
        pusher.decide(wanted)
        outcome = pusher.outcome_of(wanted)
        pusher.is_settled()
    schemas.check("outcome", outcome)
    assert (outcome["result"], outcome["is_created"]) == ("applied", True)
    assert [each["role"] for each in outcome["documents"]] == ["own", "related"]
    assert [each["id"] for each in outcome["documents"]] == [own["id"], outcome["record_id"]]


def test_a_refused_creation_ends_at_once(pusher: Pusher) -> None:
    made = create()
    made["write"]["customerProfile.address.country"] = "Britain"
    with pusher.program():
        pusher.decide(made)
        outcome = pusher.outcome_of(made)
        pusher.is_settled()
    assert (outcome["result"], outcome["error_code"]) == ("refused", "partner_center.refused")
    assert len(requests(pusher, "POST")) == 1


# --- Answers that are lost --------------------------------------------------------------------------------------------


def test_a_lost_answer_is_looked_for_after_settling(pusher: Pusher) -> None:
    """Pauses are shorter by setting; settling is not."""
    settling(pusher, 1.5)
    made = create()
    pusher.partner_center.fault("apply-then-drop", method="POST", path=f"{REFERRALS}$")
    with pusher.program():
        pusher.decide(made)
        outcome = pusher.outcome_of(made)
        pusher.is_settled()
    assert (outcome["result"], outcome["is_created"], outcome["attempts"]) == ("applied", True, 1)
    assert referrals_of(pusher, made) == [1]
    (post,) = requests(pusher, "POST")
    assert looks_after(pusher, post)[0] >= 1.5
    assert pusher.rows(made, "phase, was_in_doubt") == [("intent", None), ("outcome", True)]


def test_lists_that_lag_longer_than_one_settling_make_no_second_referral(pusher: Pusher) -> None:
    settling(pusher, 1)
    pusher.partner_center.settings(list_lag_ms=2500)
    made = create()
    pusher.partner_center.fault("apply-then-drop", method="POST", path=f"{REFERRALS}$")
    with pusher.program():
        pusher.decide(made)
        outcome = pusher.outcome_of(made)
        pusher.is_settled()
    assert (outcome["result"], outcome["is_created"]) == ("applied", True)
    assert referrals_of(pusher, made) == [1]
    (post,) = requests(pusher, "POST")
    assert len(looks_after(pusher, post)) > 1


def test_a_creation_that_was_lost_on_its_way_is_repeated_by_the_same_name(pusher: Pusher) -> None:
    settling(pusher, 0.3)
    made = create()
    pusher.partner_center.fault("drop", method="POST", path=f"{REFERRALS}$")
    with pusher.program():
        pusher.decide(made)
        outcome = pusher.outcome_of(made)
        pusher.is_settled()
    assert (outcome["result"], outcome["is_created"], outcome["attempts"]) == ("applied", True, 2)
    assert referrals_of(pusher, made) == [1]
    first, second = requests(pusher, "POST")
    names = [{k.lower(): v for k, v in each["headers"].items()}["ms-requestid"] for each in (first, second)]
    assert names[0] == names[1]
    assert (time_of(second) - time_of(first)).total_seconds() >= 3 * 0.3


def test_an_invitation_whose_answer_was_lost_is_not_repeated(pusher: Pusher) -> None:
    settling(pusher, 1)
    made = create()
    with pusher.program():
        pusher.decide(made)
        wanted = invite(pusher.outcome_of(made)["documents"][0]["body"])
        pusher.partner_center.settings(list_lag_ms=1500)
        pusher.partner_center.fault("apply-then-drop", method="POST", path=f"{REFERRALS}$")
        pusher.decide(wanted)
        outcome = pusher.outcome_of(wanted)
        pusher.is_settled()
    assert (outcome["result"], outcome["is_created"]) == ("applied", True)
    assert len(requests(pusher, "POST")) == 2
    assert len(pusher.partner_center.state()["referrals"]) == 2


def test_others_go_on_while_one_settles(pusher: Pusher) -> None:
    settling(pusher, 60)
    lost, other = create(), create()
    pusher.partner_center.fault("apply-then-drop", method="POST", path=f"{REFERRALS}$")
    with pusher.program():
        pusher.decide(lost)
        wait_for_post(pusher)
        pusher.decide(other)
        assert pusher.outcome_of(other)["result"] == "applied"
        assert [each["decision_id"] for each in pusher.outcomes()] == [other["id"]]
    assert referrals_of(pusher, lost, other) == [1, 1]


# --- Workers that die -------------------------------------------------------------------------------------------------


def test_killed_after_the_post_the_successor_settles_and_finds(pusher: Pusher) -> None:
    settling(pusher, 60)
    made = create()
    pusher.partner_center.fault("apply-then-drop", method="POST", path=f"{REFERRALS}$")
    with pusher.program() as program:
        pusher.decide(made)
        wait_for_post(pusher)
        program.kill()
    pusher.partner_center.settings(list_lag_ms=3000)
    settling(pusher, 2)
    seen = requests(pusher, "GET")[-1]["seq"]
    with pusher.program() as successor:
        taken = successor.wait_for("push.taken_over", settling_ms=2000)
        outcome = pusher.outcome_of(made)
        pusher.is_settled()
    assert (outcome["result"], outcome["is_created"]) == ("applied", True)
    assert (referrals_of(pusher, made), len(requests(pusher, "POST"))) == ([1], 1)
    first = next(each for each in requests(pusher, "GET") if each["seq"] > seen)
    assert (time_of(first) - datetime.datetime.fromisoformat(taken["ts"][:23])).total_seconds() >= 1.99
    assert pusher.rows(made) == [("intent", 1, None), ("intent", 2, None), ("outcome", 2, "applied")]


def test_killed_before_the_post_the_successor_creates(pusher: Pusher) -> None:
    settling(pusher, 0.3)
    made = create()
    pusher.partner_center.fault("delay", method="GET", path=f"{REFERRALS}$", delay_ms=3000)
    with pusher.program() as program:
        pusher.decide(made)
        pusher.wait_for_rows(made, len)
        program.kill()
    assert requests(pusher, "POST") == []
    with pusher.program():
        outcome = pusher.outcome_of(made)
        pusher.is_settled()
    assert (outcome["result"], outcome["is_created"], outcome["attempts"]) == ("applied", True, 1)
    assert referrals_of(pusher, made) == [1]


def test_sigterm_while_settling_loses_nothing(pusher: Pusher) -> None:
    settling(pusher, 60)
    made = create()
    pusher.partner_center.fault("apply-then-drop", method="POST", path=f"{REFERRALS}$")
    with pusher.program() as program:
        pusher.decide(made)
        wait_for_post(pusher)
        assert program.stop() == 0
    assert pusher.outcomes() == []
    settling(pusher, 0.3)
    with pusher.program():
        assert pusher.outcome_of(made)["result"] == "applied"
        pusher.is_settled()
    assert referrals_of(pusher, made) == [1]


def test_lost_answers_lag_and_kills_together_make_one_referral_each(pusher: Pusher) -> None:
    settling(pusher, 1)
    pusher.partner_center.settings(list_lag_ms=1500)
    made = [create() for _ in range(24)]
    for action, more in (
        ("drop", {"times": 3}),
        ("apply-then-drop", {"times": 3}),
        ("status", {"times": 3, "status": 504}),
        ("garbage", {"times": 3}),
        ("status", {"times": 2, "status": 503}),
        ("apply-then-drop", {"times": 6}),
    ):
        pusher.partner_center.fault(action, method="POST", path=f"{REFERRALS}$", **more)
    pusher.decide(*made)
    for done in (3, 8):
        with pusher.program(concurrent_calls=2, failures_before_pause=100) as program:
            wait_for_post(pusher, done)
            program.kill()
    with pusher.program(failures_before_pause=100):
        wait_until(
            lambda: pusher.audit("SELECT count(*) FROM audit WHERE phase = 'outcome'") == [(24,)], 60, "all have ended"
        )
        pusher.is_settled()
    assert {each["result"] for each in pusher.outcomes()} == {"applied"}
    assert referrals_of(pusher, *made) == [1] * 24
