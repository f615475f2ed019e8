"""tandem-pusher: decisions become writes, outcomes and audit rows, on real brokers, databases and the simulators."""

from __future__ import annotations

import datetime
import json
import signal
import urllib.request
import uuid
from typing import Any

import psycopg2
import pytest

from support import schemas
from support.bad_inputs import bad_input
from support.ingest import metrics, readiness, value_of
from support.kafka import Broker
from support.paths import ROOT
from support.ports import free_port
from support.postgres import Cluster, Database
from support.process import Program
from support.pusher import Pusher, decision, message_of
from support.waiting import wait_until

API = "/api/data/v9.2/"
KEY = "msft_microsoftpartnercenterreferralidentifier"
AUDIT = "msft_microsoftpartnercenterreferralsyncaudit"
EURO = "/transactioncurrencies(0f6f2a33-9d41-4be8-a7c6-3e5b90d1f7a4)"

pytestmark = pytest.mark.asan


# --- Records and decisions --------------------------------------------------------------------------------------------


def opportunity(pusher: Pusher, **columns: Any) -> dict[str, Any]:
    row = {"name": "Archive", "transactioncurrencyid@odata.bind": EURO, **columns}
    return pusher.dynamics_365.add_row("opportunities", **row)


def etag_of(row: dict[str, Any]) -> str:
    return row.get("@odata.etag") or f'W/"{row["versionnumber"]}"'


def update(row: dict[str, Any], write: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A decision to change an opportunity from the version the row has."""
    write = write or {"name": f"Archive {uuid.uuid4().hex[:6]}"}
    return decision(
        **{
            "action": "update",
            "purpose": "update",
            "reason": "partner_center_changed",
            "target": "crm",
            "system": "dynamics-365",
            "record_type": "opportunity",
            "record_id": row["opportunityid"],
            "crm_id": row["opportunityid"],
            "expected_etag": etag_of(row),
            "write": write,
            "fields": [{"name": name, "old": None, "new": value, "from": value} for name, value in write.items()],
            "audit_column": AUDIT,
            "audit_text": "Updated from Partner Center",
            **more,
        }
    )


def create(**more: Any) -> dict[str, Any]:
    identifier = str(uuid.uuid4())
    return decision(
        identifier,
        action="create",
        purpose="create",
        reason="partner_center_changed",
        target="crm",
        system="dynamics-365",
        record_type="opportunity",
        referral_id=identifier,
        create_key={KEY: identifier},
        write={"name": "Archive", "transactioncurrencyid.isocurrencycode": "EUR"},
        lookups={"transactioncurrencyid": {"entity": "transactioncurrency", "match": ["isocurrencycode"]}},
        audit_column=AUDIT,
        audit_text="Created from Partner Center",
        **more,
    )


def referral_update(pusher: Pusher) -> dict[str, Any]:
    made = pusher.partner_center.add_referral(kind="partner-led")
    referral = made.get("referral", made)
    return decision(
        referral["id"],
        action="update",
        purpose="update",
        reason="crm_changed",
        target="partner-center",
        system="partner-center",
        record_type="referral",
        record_id=referral["id"],
        referral_id=referral["id"],
        expected_etag=referral.get("eTag") or referral.get("etag") or referral.get("@odata.etag"),
        write={"details.notes": f"note {uuid.uuid4().hex[:6]}"},
        fields=[],
    )


def patches(pusher: Pusher, made: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """The PATCH requests the CRM has got, of one decision's record if one is given."""
    path = API if made is None or "record_id" not in made else made["record_id"]
    return pusher.dynamics_365.journal(method="PATCH", path=path)


def row_of(pusher: Pusher, made: dict[str, Any]) -> dict[str, Any]:
    return pusher.dynamics_365.row("opportunities", made["record_id"])


def wait_for_patch(pusher: Pusher, made: dict[str, Any], count: int = 1) -> None:
    wait_until(lambda: len(patches(pusher, made)) >= count, 20, f"{count} PATCH requests have come")


def seconds_between(first: dict[str, Any], second: dict[str, Any]) -> float:
    moments = [datetime.datetime.fromisoformat(entry["time"][:26]) for entry in (first, second)]
    return (moments[1] - moments[0]).total_seconds()


# --- What is written and told -----------------------------------------------------------------------------------------


def test_an_update_is_one_patch_with_intent_and_outcome(pusher: Pusher) -> None:
    made = update(opportunity(pusher))
    message = message_of(made)
    pusher.topics.produce_all("decisions", [message])
    with pusher.program() as program:
        outcome = pusher.outcome_of(made)
        pusher.is_settled()
        assert program.stop() == 0
    schemas.check("outcome", outcome)
    assert (outcome["result"], outcome["is_certain"], outcome["attempts"]) == ("applied", True, 1)
    assert outcome["documents"][0]["body"]["name"] == made["write"]["name"]
    assert row_of(pusher, made)["name"] == made["write"]["name"]
    assert len(patches(pusher, made)) == 1
    assert pusher.rows(made) == [("intent", 1, None), ("outcome", 1, "applied")]
    trace = message[2]["traceparent"].split("-")[1]
    columns = "trace_id, direction, fields, calls > 0, received_at < finished_at, rules_version"
    assert pusher.rows(made, columns)[1] == (trace, "to-crm", made["fields"], True, True, "1a2b")
    record = pusher.topics.read("outcomes")[0]
    assert record.key == made["deal_key"].encode()
    assert record.headers["traceparent"].decode().split("-")[1] == trace
    assert record.headers["ce_type"] == b"tandem.outcome.v1"


def test_a_create_makes_one_record_and_tells_its_id(pusher: Pusher) -> None:
    made = create()
    with pusher.program():
        pusher.decide(made)
        outcome = pusher.outcome_of(made)
        pusher.is_settled()
    schemas.check("outcome", outcome)
    assert (outcome["result"], outcome["is_created"]) == ("applied", True)
    assert pusher.dynamics_365.row("opportunities", outcome["record_id"])[KEY] == made["deal_key"]


def test_both_systems_are_written(pusher: Pusher) -> None:
    made = referral_update(pusher)
    with pusher.program():
        pusher.decide(made)
        outcome = pusher.outcome_of(made)
    assert outcome["result"] == "applied", outcome
    assert pusher.rows(made, "phase, direction")[-1] == ("outcome", "to-partner-center")


def test_nothing_to_do_is_a_row_and_no_outcome(pusher: Pusher) -> None:
    made = decision(reason="echo")
    with pusher.program():
        pusher.decide(made)
        pusher.wait_for_rows(made, len)
        pusher.is_settled()
    assert pusher.rows(made, "phase, reason") == [("none", "echo")]
    assert pusher.outcomes() == []


def test_rows_of_nothing_to_do_can_be_left_out(pusher: Pusher) -> None:
    made = decision(reason="echo")
    with pusher.program(audit_noops=False):
        pusher.decide(made)
        wait_until(lambda: pusher.uncommitted() == 0, 20, "the offset is committed")
    assert pusher.rows(made) == []


@bad_input("B73", "B74")
def test_what_cannot_be_read_is_set_aside_and_the_others_go_on(pusher: Pusher) -> None:
    good = update(opportunity(pusher))
    bad_time = decision(decided_at="yesterday")
    foreign = decision()
    headers = message_of(good)[2]
    bad = [
        ("a", "no JSON", headers),
        ("b", None, headers),
        (None, json.dumps(decision()), headers),
        ("another key", json.dumps(foreign), headers),
        (bad_time["deal_key"], json.dumps(bad_time), headers),
        (foreign["deal_key"], json.dumps(foreign), {**headers, "ce_type": "tandem.decision.v9"}),
    ]
    pusher.topics.produce_all("decisions", [*bad, message_of(good)])
    with pusher.program():
        assert pusher.outcome_of(good)["result"] == "applied"
        letters = pusher.dead_letters(len(bad))
        pusher.is_settled()
    assert len(letters) == len(bad)
    codes = sorted(each.headers["err.code"].decode() for each in letters)
    assert codes == ["message.foreign_key"] * 2 + ["message.malformed"] * 3 + ["message.other_type"]
    assert {each.headers["err.topic"].decode() for each in letters} == {pusher.topics.name("decisions")}
    assert {(key, value) for key, value, _ in bad} == {
        (each.key and each.key.decode(), each.value and each.value.decode()) for each in letters
    }
    assert pusher.audit("SELECT count(*) FROM audit WHERE phase = 'dead-letter'") == [(len(bad),)]


def test_what_others_set_aside_gets_a_row_once(pusher: Pusher) -> None:
    deal = str(uuid.uuid4())
    reason = {"err.stage": "mapper", "err.class": "poison", "err.code": "rules.unmappable", "err.message": "field 'stage'"}
    origin = {"err.topic": pusher.topics.name("records"), "err.partition": "3", "err.offset": "17"}
    pusher.topics.produce_all(
        "dead-letters",
        [
            (deal, "{}", {**reason, **origin}),
            (None, "not JSON", {**reason, "err.stage": "serve", "err.code": "webhook.malformed"}),
            (deal, "{}", {**reason, **origin, "err.stage": "pusher"}),
        ],
    )
    query = "SELECT deal_key, reason, error_code, detail FROM failures_today ORDER BY reason"
    expected = [
        (deal, "mapper", "rules.unmappable", f"set aside by mapper: topic {origin['err.topic']}, partition 3, offset 17"),
        (None, "serve", "webhook.malformed", "set aside by serve"),
    ]
    for _ in range(2):  # the second one reads them anew: its group has no offsets
        with pusher.program():
            wait_until(lambda: pusher.audit(query) == expected, 20, "the letters are in the audit")
            wait_until(lambda: pusher.uncommitted("dead-letters") == 0, 20, "the offsets are committed")
        pusher.forget_offsets("dead-letters")
    assert pusher.audit(query) == expected
    assert pusher.audit("SELECT count(*) FROM verify_audit()") == [(0,)]


# --- Decisions that come twice, too late or with a gap -----------------------------------------------------------------


@bad_input("B74")
def test_a_decision_that_comes_again_is_written_once(pusher: Pusher) -> None:
    made = update(opportunity(pusher))
    with pusher.program() as first:
        pusher.decide(made, made)
        pusher.outcomes(2)
        pusher.decide(made)
        pusher.outcomes(3)
        pusher.is_settled()
        assert first.stop() == 0
    with pusher.program():
        pusher.decide(made)
        outcomes = pusher.outcomes(4)
        pusher.is_settled()
    # A repeat expects a version that is over; the mapper knows the decision's outcome already.
    assert outcomes[0]["result"] == "applied" and {each["result"] for each in outcomes} <= {"applied", "conflict"}
    answers = [each["status"] for each in patches(pusher, made)]
    assert len([each for each in answers if each < 300]) == 1
    assert row_of(pusher, made)["name"] == made["write"]["name"]


@bad_input("B74")
def test_a_gap_in_the_numbers_is_told_and_the_decision_carried_out(pusher: Pusher) -> None:
    port = free_port()
    row = opportunity(pusher)
    first = update(row, deal_key=str(uuid.uuid4()), number=1)
    with pusher.program(admin_port=port) as program:
        
        def missing() -> float:
            return metrics(port)["tandem_pusher_missing_decisions_total"]

        program.wait_for("program.ready")
        assert missing() == 0
        pusher.decide(first)
        pusher.outcome_of(first)
        fifth = update(row_of(pusher, first), deal_key=first["deal_key"], number=5)
        pusher.decide(fifth)
        assert pusher.outcome_of(fifth)["result"] == "applied"
        assert missing() == 3
        (gap,) = program.events("push.gap")
    assert (gap["deal_key"], gap["decision_id"], gap["missing"]) == (first["deal_key"], fifth["id"], 3)


@bad_input("B74")
def test_a_time_of_the_future_is_a_time_like_any_other(pusher: Pusher) -> None:
    made = update(opportunity(pusher), decided_at="2999-12-31T23:59:59Z", received_at="2999-12-31T23:59:58Z")
    with pusher.program():
        pusher.decide(made)
        assert pusher.outcome_of(made)["result"] == "applied"
        pusher.is_settled()


# --- What the target answers ------------------------------------------------------------------------------------------


def test_another_version_is_a_conflict_with_the_fresh_record(pusher: Pusher) -> None:
    row = opportunity(pusher)
    pusher.dynamics_365.edit_row("opportunities", row["opportunityid"], name="The seller's")
    made = update(row)
    with pusher.program():
        pusher.decide(made)
        outcome = pusher.outcome_of(made)
        pusher.is_settled()
    schemas.check("outcome", outcome)
    assert (outcome["result"], outcome["status"]) == ("conflict", 412)
    assert outcome["documents"][0]["body"]["name"] == "The seller's"
    assert row_of(pusher, made)["name"] == "The seller's"
    assert pusher.rows(made)[-1] == ("outcome", 1, "conflict")


def test_a_lost_answer_is_judged_by_the_record(pusher: Pusher) -> None:
    made = update(opportunity(pusher))
    pusher.dynamics_365.fault("apply-then-drop", method="PATCH", path=made["record_id"])
    with pusher.program():
        pusher.decide(made)
        outcome = pusher.outcome_of(made)
        pusher.is_settled()
    assert (outcome["result"], outcome["is_certain"], outcome["attempts"]) == ("applied", True, 2)
    assert [each["status"] for each in patches(pusher, made)][1:] == [412]
    assert pusher.rows(made, "phase, attempt, was_in_doubt") == [("intent", 1, None), ("outcome", 1, True)]


def test_a_write_that_was_lost_on_its_way_does_not_overwrite_an_edit_since(pusher: Pusher) -> None:
    made = update(opportunity(pusher), {"name": "Ours"})
    pusher.dynamics_365.fault("drop", method="PATCH", path=made["record_id"])
    pusher.dynamics_365.fault("status", method="PATCH", path=made["record_id"], times=None, status=503)
    with pusher.program():
        pusher.decide(made)
        wait_for_patch(pusher, made, count=2)
        pusher.dynamics_365.edit_row("opportunities", made["record_id"], name="The seller's")
        pusher.dynamics_365.clear_faults()
        outcome = pusher.outcome_of(made)
    assert patches(pusher, made)[0]["fault"] == "drop"
    assert outcome["result"] == "conflict"
    assert row_of(pusher, made)["name"] == "The seller's"


def test_a_create_whose_answer_was_lost_makes_no_second_record(pusher: Pusher) -> None:
    made = create()
    pusher.dynamics_365.fault("apply-then-drop", method="PATCH", path="opportunities")
    with pusher.program():
        pusher.decide(made)
        outcome = pusher.outcome_of(made)
    assert (outcome["result"], outcome["is_created"]) == ("applied", True)
    rows = pusher.dynamics_365.rows("opportunities")["value"]
    assert len([each for each in rows if each.get(KEY) == made["deal_key"]]) == 1


def test_a_refused_write_is_told_set_aside_and_audited(pusher: Pusher) -> None:
    made = update(opportunity(pusher), {"nosuchcolumn": 1})
    with pusher.program():
        pusher.decide(made)
        outcome = pusher.outcome_of(made)
        letter = pusher.dead_letters(1)[0]
        pusher.is_settled()
    schemas.check("outcome", outcome)
    assert (outcome["result"], outcome["error_class"]) == ("refused", "poison")
    assert outcome["documents"][0]["id"] == made["record_id"]
    assert value_of(letter) == made
    assert letter.headers["err.code"].decode() == outcome["error_code"]
    assert letter.headers["err.stage"] == b"pusher"
    assert pusher.rows(made, "phase, result, error_code")[-1] == ("outcome", "refused", outcome["error_code"])
    # What the refused write was told, not the reading after it; the service's own code, not its message.
    status, message = pusher.rows(made, "status, error_message")[-1]
    assert status == outcome["status"] == 400
    assert "0x80048d19" in message and "nosuchcolumn" not in message
    assert letter.headers["err.message"].decode() == message
    assert len(pusher.audit("SELECT * FROM recent_failures")) == 1


UNEXPECTED = {"error": {"code": "0x80040216", "message": "An unexpected error occurred."}}


@pytest.mark.parametrize("status", [400, 500])
def test_a_failure_without_a_reason_is_set_aside_in_the_end(pusher: Pusher, status: int) -> None:
    made = update(opportunity(pusher))
    other = update(opportunity(pusher))
    pusher.dynamics_365.fault("status", "PATCH", made["record_id"], None, status=status, body=UNEXPECTED)
    with pusher.program(unexplained_before_refusal=3):
        pusher.decide(made, other)
        assert pusher.outcomes(2) and pusher.outcome_of(other)["result"] == "applied"
        outcome = pusher.outcome_of(made)
        letter = pusher.dead_letters(1)[0]
        pusher.is_settled()
    schemas.check("outcome", outcome)
    assert (outcome["result"], outcome["error_class"], outcome["attempts"]) == ("refused", "poison", 3)
    assert outcome["error_code"] == letter.headers["err.code"].decode() == "dynamics_365.unexpected"
    assert value_of(letter) == made
    assert len(patches(pusher, made)) == 3


def test_a_failure_without_a_reason_that_passes_is_borne(pusher: Pusher) -> None:
    made = update(opportunity(pusher))
    pusher.dynamics_365.fault("status", "PATCH", API, 3, status=400, body=UNEXPECTED)
    with pusher.program():
        pusher.decide(made)
        assert (pusher.outcome_of(made)["result"], len(patches(pusher, made))) == ("applied", 4)
    assert pusher.dead_letters() == []


@pytest.mark.parametrize("body", [None, "", "<html>no</html>"], ids=["no-body", "empty", "page"])
def test_a_bad_request_without_a_code_is_set_aside_at_once(pusher: Pusher, body: str | None) -> None:
    made = update(opportunity(pusher))
    pusher.dynamics_365.fault("status", "PATCH", API, None, status=400, body=body)
    with pusher.program():
        pusher.decide(made)
        assert (pusher.outcome_of(made)["result"], len(patches(pusher, made))) == ("refused", 1)
        assert len(pusher.dead_letters(1)) == 1


def test_a_record_that_is_not_there_is_gone(pusher: Pusher) -> None:
    row = opportunity(pusher)
    pusher.dynamics_365.delete_row("opportunities", row["opportunityid"])
    made = update(row)
    with pusher.program():
        pusher.decide(made)
        outcome = pusher.outcome_of(made)
    assert outcome["result"] == "gone"
    assert pusher.dead_letters() == []


def test_a_system_that_is_not_configured_is_a_refusal(pusher: Pusher) -> None:
    made = update(opportunity(pusher), system="salesforce")
    with pusher.program():
        pusher.decide(made)
        outcome = pusher.outcome_of(made)
        pusher.is_settled()
    assert (outcome["result"], outcome["error_code"]) == ("refused", "pusher.no_such_system")
    assert patches(pusher, made) == []


def test_a_target_that_is_away_is_waited_for_and_the_other_goes_on(pusher: Pusher) -> None:
    port = free_port()
    waiting = [update(opportunity(pusher)) for _ in range(8)]
    pusher.dynamics_365.fault("status", path=API, times=None, status=503)
    with pusher.program(admin_port=port) as program:
        pusher.decide(*waiting)
        program.wait_for("target.paused", system="dynamics-365")
        other = referral_update(pusher)
        pusher.decide(other)
        assert pusher.outcome_of(other)["result"] == "applied"
        assert metrics(port)['tandem_pusher_breaker{system="dynamics-365",state="closed"}'] == 0
        assert len(pusher.outcomes()) == 1
        pusher.dynamics_365.clear_faults()
        assert {each["result"] for each in pusher.outcomes(9)} == {"applied"}
        pusher.is_settled()
    assert pusher.dead_letters() == []
    for each in waiting:
        assert row_of(pusher, each)["name"] == each["write"]["name"]


def test_retry_after_pauses_the_whole_system_for_as_long(pusher: Pusher) -> None:
    made = [update(opportunity(pusher)) for _ in range(4)]
    pusher.dynamics_365.fault("status", method="PATCH", status=429, headers={"Retry-After": "3"})
    with pusher.program(concurrent_calls=1):
        pusher.decide(*made)
        assert {each["result"] for each in pusher.outcomes(4)} == {"applied"}
    first, second = patches(pusher)[:2]
    assert first["status"] == 429
    assert seconds_between(first, second) >= 3


def test_refusals_en_masse_stop_the_system_instead_of_setting_all_aside(pusher: Pusher) -> None:
    port = free_port()
    made = [update(opportunity(pusher)) for _ in range(12)]
    missing = {"error": {"code": "0x80040220", "message": "The principal is missing a privilege."}}
    pusher.dynamics_365.fault("status", method="PATCH", path=API, times=None, status=403, body=missing)
    with pusher.program(admin_port=port, refusals_before_pause=3, concurrent_calls=1, blocked_pause_max="300ms"):
        pusher.decide(*made)
        wait_until(lambda: "dynamics-365" in readiness(port)[1], 20, "readiness names the system")
        pusher.dynamics_365.clear_faults()
        outcomes = pusher.outcomes(12)
        wait_until(lambda: readiness(port)[0] == 200, 20, "it is ready again")
        pusher.is_settled()
    assert [each["result"] for each in outcomes].count("refused") == 3
    assert len(pusher.dead_letters()) == 3


def test_decisions_of_a_deal_keep_their_order_through_retries(pusher: Pusher) -> None:
    row = opportunity(pusher)
    deal = str(uuid.uuid4())
    first, second, late = (update(row, deal_key=deal, number=number) for number in (2, 3, 1))
    pusher.dynamics_365.fault("status", method="PATCH", path=row["opportunityid"], times=3, status=503)
    with pusher.program():
        pusher.decide(first, second, late)
        outcomes = pusher.outcomes(3)
        pusher.is_settled()
    told = [(each["decision_number"], each["result"]) for each in outcomes]
    assert told == [(2, "applied"), (3, "conflict"), (1, "superseded")]
    assert row_of(pusher, first)["name"] == first["write"]["name"]


# --- Crashes ----------------------------------------------------------------------------------------------------------


def test_killed_after_the_write_there_is_one_effect_and_a_whole_story(pusher: Pusher) -> None:
    made = update(opportunity(pusher))
    pusher.dynamics_365.fault("apply-then-drop", method="PATCH", path=made["record_id"])
    # The first worker waits long before it would repeat, and dies in that time.
    with pusher.program(pause_first="60s", pause_max="60s") as program:
        pusher.decide(made)
        wait_for_patch(pusher, made)
        program.kill()
    written = row_of(pusher, made)
    with pusher.program() as successor:
        outcome = pusher.outcome_of(made)
        successor.wait_for("push.taken_over")
        pusher.is_settled()
    assert (outcome["result"], outcome["is_certain"]) == ("applied", True)
    assert row_of(pusher, made)["versionnumber"] == written["versionnumber"]
    assert pusher.rows(made) == [("intent", 1, None), ("intent", 2, None), ("outcome", 2, "applied")]


def test_killed_before_publishing_the_same_outcome_is_published_without_a_call(pusher: Pusher, broker: Broker) -> None:
    made = update(opportunity(pusher))
    pusher.dynamics_365.fault("delay", method="PATCH", path=made["record_id"], delay_ms=1500)
    with pusher.program() as program:
        pusher.decide(made)
        pusher.wait_for_rows(made, len)
        broker.kill()
        pusher.wait_for_rows(made, lambda rows: len(rows) == 2)
        program.kill()
    broker.start()
    assert pusher.outcomes() == []
    ((recorded,),) = pusher.audit("SELECT message FROM outbox")
    pusher.dynamics_365.clear_journal()
    with pusher.program():
        outcome = pusher.outcome_of(made)
        pusher.is_settled()
    assert outcome == json.loads(recorded)
    assert pusher.dynamics_365.journal(path=API) == []
    assert pusher.rows(made) == [("intent", 1, None), ("outcome", 1, "applied")]


def test_killed_again_and_again_every_decision_has_one_effect(pusher: Pusher) -> None:
    rows = [opportunity(pusher) for _ in range(40)]
    made = [update(row) for row in rows]
    pusher.decide(*made)
    for done in (3, 12, 25):
        with pusher.program(concurrent_calls=2) as program:
            wait_until(lambda: len({each["path"] for each in patches(pusher)}) >= done, 30, "some are written")
            program.kill()
    with pusher.program():
        wait_until(
            lambda: pusher.audit("SELECT count(*) FROM audit WHERE phase = 'outcome'") == [(40,)], 40, "all have ended"
        )
        pusher.is_settled()
    assert {each["result"] for each in pusher.outcomes()} == {"applied"}
    assert {each["decision_id"] for each in pusher.outcomes()} == {each["id"] for each in made}
    succeeded = [each["path"] for each in patches(pusher) if each["status"] in (200, 204)]
    assert len(succeeded) == len(set(succeeded)) <= 40
    for each in made:
        assert row_of(pusher, each)["name"] == each["write"]["name"]


def test_sigterm_in_the_middle_of_a_write_loses_nothing(pusher: Pusher) -> None:
    made = update(opportunity(pusher))
    pusher.dynamics_365.fault("delay", method="PATCH", path=made["record_id"], delay_ms=1500)
    with pusher.program() as program:
        pusher.decide(made)
        pusher.wait_for_rows(made, len)
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
    assert pusher.outcome_of(made)["result"] == "applied"
    pusher.is_settled()
    assert len(patches(pusher, made)) == 1


def test_a_frozen_worker_writes_nothing_stale_when_it_wakes(pusher: Pusher) -> None:
    rows = [opportunity(pusher) for _ in range(12)]
    made = [update(row) for row in rows]
    pusher.dynamics_365.fault("status", method="PATCH", times=None, status=503)
    with pusher.program("one", pause_first="1s", pause_max="1s") as frozen, pusher.program("two") as successor:
        frozen.wait_for("kafka.assigned")
        successor.wait_for("kafka.assigned")
        pusher.decide(*made)
        frozen.wait_for("target.paused")
        frozen.signal(signal.SIGSTOP)
        pusher.dynamics_365.clear_faults()
        assert {each["result"] for each in pusher.outcomes(12, deadline=60)} == {"applied"}
        later = [row_of(pusher, each) for each in made]
        pusher.dynamics_365.clear_journal()
        frozen.signal(signal.SIGCONT)
        frozen.wait_for("kafka.slept")
        probe = update(opportunity(pusher))
        pusher.decide(probe)
        assert pusher.outcome_of(probe)["result"] == "applied"
        pusher.is_settled()
        assert [row_of(pusher, each)["versionnumber"] for each in made] == [each["versionnumber"] for each in later]
        assert {each["path"].split("(")[1][:36] for each in patches(pusher)} == {probe["record_id"]}


# --- The database -----------------------------------------------------------------------------------------------------


def test_without_the_database_nothing_is_written_and_it_heals(pusher: Pusher, postgres: Cluster) -> None:
    port = free_port()
    first, second = update(opportunity(pusher)), update(opportunity(pusher))
    with pusher.program(admin_port=port) as program:
        pusher.decide(first)
        assert pusher.outcome_of(first)["result"] == "applied"
        wait_until(lambda: readiness(port)[0] == 200, 20, "it is ready")
        postgres.stop()
        program.wait_for("postgres.down")
        pusher.decide(second)
        wait_until(lambda: "postgres" in readiness(port)[1], 20, "readiness names the database")
        assert patches(pusher, second) == []
        postgres.start()
        assert pusher.outcome_of(second)["result"] == "applied"
        pusher.is_settled()
        wait_until(lambda: readiness(port)[0] == 200, 20, "it is ready again")
        assert program.stop() == 0


def test_a_connection_cut_again_and_again_adds_no_row_twice(pusher: Pusher) -> None:
    made = [update(opportunity(pusher)) for _ in range(30)]
    with pusher.program(concurrent_calls=2):
        pusher.decide(*made)
        for _ in range(5):
            pusher.audit(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'tandem-pusher' AND datname = current_database()"
            )
        assert len(pusher.outcomes(30, deadline=60)) == 30
        pusher.is_settled()
    assert pusher.audit("SELECT phase, count(*) FROM audit GROUP BY 1 ORDER BY 1") == [("intent", 30), ("outcome", 30)]


def test_a_locked_table_is_waited_for(pusher: Pusher) -> None:
    made = update(opportunity(pusher))
    connection = pusher.database.connect()
    connection.autocommit = False
    with pusher.program() as program:
        program.wait_for("postgres.up")
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE tandem.audit")
        pusher.decide(made)
        program.wait_for("postgres.down", deadline=20, error_code="postgres.failed")
        assert patches(pusher, made) == []
        connection.rollback()
        assert pusher.outcome_of(made)["result"] == "applied"
        pusher.is_settled()
    connection.close()


def test_sigterm_while_the_database_hangs_ends_in_time_and_loses_nothing(pusher: Pusher) -> None:
    port = free_port()
    made = update(opportunity(pusher))
    connection = pusher.database.connect()
    connection.autocommit = False
    with pusher.program(admin_port=port) as program:
        program.wait_for("postgres.up")
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE tandem.audit")
        pusher.decide(made)
        wait_until(lambda: metrics(port)["tandem_audit_queued"] == 1, 20, "the intent waits")
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
    connection.rollback()
    connection.close()
    assert patches(pusher, made) == []
    with pusher.program():
        assert pusher.outcome_of(made)["result"] == "applied"
        pusher.is_settled()


def health(port: int) -> tuple[int, str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as response:
        return response.status, response.read().decode()


@pytest.mark.parametrize("mended_at", ["the server", "the file"])
def test_a_wrong_password_is_told_and_the_work_goes_on_once_it_is_mended(pusher: Pusher, mended_at: str) -> None:
    port = free_port()
    config = pusher.config(admin_port=port)
    right, file = pusher.password, pusher.password_file
    file.write_text("wrong-horse\n")
    made = update(opportunity(pusher))
    pusher.decide(made)
    with Program("pusher", config=config) as program:
        told = program.wait_for("postgres.down", error_code="postgres.password")
        wait_until(lambda: "does not accept the password" in readiness(port)[1], 20, "readiness tells it")
        assert readiness(port)[0] == 503
        assert health(port)[0] == 200 and "does not accept the password" in health(port)[1]
        if mended_at == "the file":
            file.write_text(right + "\n")
        else:
            pusher.database.rows(f"ALTER ROLE {pusher.login} PASSWORD 'wrong-horse'")
        assert pusher.outcome_of(made)["result"] == "applied"
        wait_until(lambda: readiness(port)[0] == 200, 20, "it is ready")
        assert program.stop() == 0
    assert pusher.login in told["error"]
    assert len([each for each in program.log if each["event"] == "postgres.down"]) == 1
    everything = json.dumps(program.log) + "".join(program.other_lines)
    assert "wrong-horse" not in everything and right not in everything


def test_a_schema_that_is_not_there_is_named_and_waited_for(pusher: Pusher) -> None:
    pusher.database.rows("DROP SCHEMA tandem CASCADE")
    made = update(opportunity(pusher))
    with pusher.program() as program:
        program.wait_for("postgres.down", error_code="postgres.not_migrated")
        pusher.decide(made)
        assert pusher.migrate().returncode == 0
        assert pusher.outcome_of(made)["result"] == "applied"


# --- The audit --------------------------------------------------------------------------------------------------------


def refused(database: Database, statement: str) -> str:
    with pytest.raises(psycopg2.Error) as caught:
        database.rows(statement)
    return str(caught.value)


def test_the_audit_cannot_be_changed_and_tampering_shows(pusher: Pusher) -> None:
    made = [update(opportunity(pusher)) for _ in range(3)]
    with pusher.program():
        pusher.decide(*made)
        pusher.outcomes(3)
        pusher.is_settled()
    for statement in ("UPDATE tandem.audit SET reason = 'x'", "DELETE FROM tandem.audit", "TRUNCATE tandem.audit"):
        assert "only ever added to" in refused(pusher.database, statement)
        assert "only ever added to" in refused(pusher.database, f"SET session_replication_role = replica; {statement}")
        assert "permission denied" in refused(pusher.database, f"SET ROLE tandem_pusher; {statement}")
    assert "permission denied" in refused(
        pusher.database, "SET ROLE tandem_pusher; INSERT INTO tandem.audit (topic) VALUES ('x')"
    )
    ((topic, partition, number),) = pusher.audit(
        "SELECT topic, topic_partition, chain_number FROM audit WHERE decision_id = %s AND phase = 'outcome'",
        made[0]["id"],
    )
    pusher.database.rows(
        "ALTER TABLE tandem.audit DISABLE TRIGGER audit_no_change; "
        "UPDATE tandem.audit SET result = 'refused' WHERE topic = %s AND topic_partition = %s AND chain_number = %s",
        topic,
        partition,
        number,
    )
    assert pusher.audit("SELECT * FROM verify_audit()") == [(topic, partition, number, "the row was changed")]


def test_the_views_answer(pusher: Pusher) -> None:
    made = update(
        opportunity(pusher),
        conflicts=[{"name": "name", "partner_center": "a", "crm": "b", "policy": "latest", "winner": "crm"}],
    )
    with pusher.program():
        pusher.decide(made)
        pusher.outcome_of(made)
    assert pusher.audit("SELECT deal_key, status FROM deal_status") == [(made["deal_key"], "applied")]
    timeline = pusher.audit("SELECT phase FROM deal_timeline WHERE deal_key = %s", made["deal_key"])
    assert timeline == [("intent",), ("outcome",)]
    assert pusher.audit("SELECT field, winner FROM conflicts") == [("name", "crm")]
    assert pusher.audit("SELECT rules_version, field, writes FROM rules_change_effects") == [("1a2b", "name", 1)]
    assert pusher.audit("SELECT system, writes FROM latency_percentiles") == [("dynamics-365", 1)]


def test_the_crm_of_a_deal_is_told_whatever_was_written_last(pusher: Pusher) -> None:
    """Rows of before do not say it for writes at Partner Center: another row of the same CRM record does."""
    row = opportunity(pusher)
    first = update(row)
    with pusher.program():
        pusher.decide(first)
        pusher.outcome_of(first)
        later = {**first, "id": first["deal_key"] + "#2", "number": 2, "target": "partner-center", "system": "salesforce"}
        pusher.decide(later)
        pusher.outcome_of(later)
        alone = {**update(opportunity(pusher)), "target": "partner-center", "system": "salesforce", "crm_system": "dynamics-365"}
        pusher.decide(alone)
        pusher.outcome_of(alone)
    assert pusher.audit("SELECT crm_system FROM audit WHERE decision_id = %s", later["id"])[0] == (None,)
    assert sorted(pusher.audit("SELECT deal_key, crm_system, direction FROM deal_status")) == sorted(
        (each["deal_key"], "dynamics-365", "to-partner-center") for each in (later, alone)
    )


# --- migrate ----------------------------------------------------------------------------------------------------------


def test_migrate_applies_once_and_refuses_what_was_changed(pusher: Pusher) -> None:
    again = pusher.migrate()
    assert again.returncode == 0
    assert set(line.split(": ")[1] for line in again.stdout.splitlines()) == {"applied already"}
    pusher.audit("DELETE FROM migrations WHERE number = 4; DROP VIEW deal_status")
    planned = pusher.migrate("--dry-run")
    assert planned.returncode == 0 and "004_views.sql: would be applied" in planned.stdout
    failed = pusher.migrate()
    assert failed.returncode == 72 and "already exists" in failed.stderr
    files = sorted((ROOT / "deploy/postgres").glob("[0-9][0-9][0-9]_*.sql"))
    assert pusher.audit("SELECT max(number) FROM migrations") == [(len(files),)]
    pusher.audit("UPDATE migrations SET checksum = 'x' WHERE number = 2")
    changed = pusher.migrate()
    assert changed.returncode == 72 and "002_audit.sql was changed" in changed.stderr
    pusher.audit("UPDATE migrations SET number = 99 WHERE number = 2")
    assert "newer than this program" in pusher.migrate().stderr


def test_check_says_what_would_run(pusher: Pusher) -> None:
    with Program("pusher", "--check", config=pusher.config()) as program:
        assert program.wait() == 0
    text = "\n".join(program.other_lines)
    assert pusher.dynamics_365.url in text and pusher.partner_center.url in text and "schema tandem" in text
