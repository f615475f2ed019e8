"""tandem-ingest, role fetch: from notifications to records, on a real broker and the simulators."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from support.bad_inputs import bad_input
from support.ingest import PARTITIONS, Ingest, causes_of, id_of, metrics, notification, readiness, value_of
from support.ports import free_port
from support.schemas import check
from support.simulators import Dynamics365, PartnerCenter
from support.tls import Authority
from support.topics import Record, Topics
from support.waiting import wait_until

REFERRALS = "/v1.0/engagements/referrals"
READ = ("GET", REFERRALS)


@pytest.fixture
def ingest(tmp_path: Path, topics: Topics, authority: Authority, partner_center: PartnerCenter) -> Ingest:
    return Ingest(tmp_path, topics, authority, partner_center)


def reads_of(ingest: Ingest, identifier: str) -> list[dict[str, Any]]:
    """The GETs of one referral by its id."""
    return [entry for entry in ingest.partner_center.journal(method="GET") if entry["path"].endswith(identifier)]


def seconds_between(first: dict[str, Any], second: dict[str, Any]) -> float:
    """Of two entries of the journal, whose times have seven digits after the point."""
    moments = [datetime.datetime.fromisoformat(entry["time"][:26]) for entry in (first, second)]
    return (moments[1] - moments[0]).total_seconds()


def answered(*messages: tuple[str, str, dict[str, str]]) -> Callable[[list[Record]], bool]:
    """All of these notifications are among the causes."""
    wanted = {id_of(message) for message in messages}
    return lambda records: wanted <= set(causes_of(records))


def uncommitted(topics: Topics, topic: str = "notifications") -> int:
    """Messages of the topic that the group fetch has not finished."""
    name = topics.name(topic)
    consumer = Consumer({"bootstrap.servers": topics.bootstrap, "group.id": topics.name("fetch")})
    try:
        places = [TopicPartition(name, number) for number in range(topics.partitions(topic))]
        left = 0
        for place in consumer.committed(places, timeout=10):
            low, high = consumer.get_watermark_offsets(TopicPartition(name, place.partition), timeout=10)
            left += high - (place.offset if place.offset >= 0 else low)
        return left
    finally:
        consumer.close()


# --- What is read and told -------------------------------------------------------------------------------------------


@pytest.mark.asan
def test_a_referral_is_read_and_told_under_its_own_key(ingest: Ingest) -> None:
    referral = ingest.partner_center.add_referral(kind="partner-led")
    message = notification(referral["id"], occurred_at="2026-11-21T03:59:59Z")
    ingest.notify(message)
    with ingest.fetcher() as program:
        record = ingest.records(1)[0]
        assert program.stop() == 0
    assert record.key == referral["id"].encode()
    value = value_of(record)
    check("record", value)
    assert (value["kind"], value["side"], value["system"]) == ("reading", "partner-center", "partner-center")
    assert (value["record_type"], value["record_id"]) == ("referral", referral["id"])
    assert value["causes"] == [
        {
            "notification": id_of(message),
            "origin": "webhook",
            "event": "referral-updated",
            "received_at": "2026-11-21T04:00:00.123Z",
            "occurred_at": "2026-11-21T03:59:59Z",
        }
    ]
    assert value["documents"][0]["role"] == "own"
    assert value["documents"][0]["body"]["name"] == referral["name"]
    headers = {name: content.decode() for name, content in record.headers.items()}
    assert headers["ce_type"] == "tandem.record.v1"
    assert headers["ce_subject"] == referral["id"]
    # The trace goes on under a span of its own.
    before, after = message[2]["traceparent"].split("-"), headers["traceparent"].split("-")
    assert before[1] == after[1] and before[2] != after[2]
    assert uncommitted(ingest.topics) == 0


def test_a_burst_costs_at_most_two_reads_and_every_notification_is_answered_once(ingest: Ingest) -> None:
    referral = ingest.partner_center.add_referral(kind="partner-led")
    ingest.partner_center.settings(latency_ms=300)
    burst = [notification(referral["id"]) for _ in range(10)]
    with ingest.fetcher() as program:
        program.wait_for("program.ready")
        ingest.notify(*burst)
        records = ingest.records(until=answered(*burst))
        assert program.stop() == 0
    assert 1 <= len(reads_of(ingest, referral["id"])) <= 2
    assert sorted(causes_of(records)) == sorted(map(id_of, burst))


def test_a_notification_during_a_read_is_answered_by_another_read(ingest: Ingest) -> None:
    referral = ingest.partner_center.add_referral(kind="partner-led")
    ingest.partner_center.fault("delay", "GET", f"{REFERRALS}/{referral['id']}", delay_ms=1500)
    first, second = notification(referral["id"]), notification(referral["id"])
    with ingest.fetcher() as program:
        ingest.notify(first)
        wait_until(lambda: uncommitted(ingest.topics) == 1, 20, "the first notification is in the topic")
        program.wait_for("program.ready")
        # The fault is used up as soon as the read has begun.
        faults = lambda: ingest.partner_center.admin("GET", "/_sim/faults")  # noqa: E731
        wait_until(lambda: not any(each.get("times") for each in faults()["faults"]), 20, "the read is under way")
        ingest.notify(second)
        records = ingest.records(until=answered(first, second))
    assert [causes_of([record]) for record in records] == [[id_of(first)], [id_of(second)]]
    assert len(reads_of(ingest, referral["id"])) == 2


def test_a_shared_deal_is_told_with_microsofts_referral(ingest: Ingest) -> None:
    own = ingest.partner_center.add_referral(kind="partner-cosell")
    ingest.notify(notification(own["id"]))
    with ingest.fetcher():
        value = value_of(ingest.records(1)[0])
    check("record", value)
    assert [document["role"] for document in value["documents"]] == ["own", "related"]
    assert value["documents"][0]["id"] == own["id"]
    assert value["documents"][1]["body"]["organizationId"] == "msft"


def related_of(ingest: Ingest, own: dict[str, Any]) -> str:
    """Microsoft's referral of the same engagement."""
    referrals = ingest.partner_center.admin("GET", "/_sim/referrals")["referrals"]
    same = [each for each in referrals if each["engagementId"] == own["engagementId"] and each["id"] != own["id"]]
    return same[0]["id"]


def test_a_related_referral_leads_to_ours(ingest: Ingest) -> None:
    own = ingest.partner_center.add_referral(kind="partner-cosell")
    related = related_of(ingest, own)
    ingest.notify(notification(related, "related-referral", event="related-referral-updated"))
    with ingest.fetcher():
        record = ingest.records(1)[0]
    assert record.key == own["id"].encode()
    assert value_of(record)["record_id"] == own["id"]
    assert value_of(record)["record_type"] == "referral"


def test_a_related_referral_that_cannot_be_seen_is_found_by_its_known_engagement(ingest: Ingest) -> None:
    own = ingest.partner_center.add_referral(kind="partner-cosell")
    related = related_of(ingest, own)
    ingest.partner_center.settings(related_get="403")
    with ingest.fetcher():
        ingest.notify(notification(own["id"]))
        ingest.records(1)
        ingest.notify(notification(related, "related-referral", event="related-referral-updated"))
        second = ingest.records(2)[1]
    assert second.key == own["id"].encode()


def test_a_crm_record_is_told_under_the_key_it_names(
    tmp_path: Path, topics: Topics, authority: Authority, partner_center: PartnerCenter, dynamics_365: Dynamics365
) -> None:
    ingest = Ingest(tmp_path, topics, authority, partner_center, dynamics_365)
    referral_id = str(uuid.uuid4())
    paired = dynamics_365.add_row(
        "opportunities", name="Paired", msft_microsoftpartnercenterreferralidentifier=referral_id
    )["opportunityid"]
    alone = dynamics_365.add_row("opportunities", name="Alone")["opportunityid"]
    missing = str(uuid.uuid4())
    kind = {"record_type": "opportunity", "source": "dynamics-365", "event": "Update"}
    ingest.notify(*(notification(each, **kind) for each in (paired, alone, missing)))
    with ingest.fetcher():
        records = {value_of(each)["record_id"]: each for each in ingest.records(3)}
    for record in records.values():
        check("record", value_of(record))
    assert records[paired].key == referral_id.encode()
    assert records[alone].key == f"crm:{alone}".encode()
    assert records[missing].key == f"crm:{missing}".encode()
    assert value_of(records[paired])["side"] == "crm"
    assert value_of(records[paired])["documents"][0]["role"] == "crm"
    assert (value_of(records[missing])["kind"], value_of(records[missing])["reason"]) == ("gone", "not_found")


# --- What the poller finds, and is known ------------------------------------------------------------------------------


def found(record_id: str, etag: str | None) -> tuple[str, str, dict[str, str]]:
    """What the poller tells of a changed referral; without an eTag there is more to it than the referral's version."""
    return notification(record_id, origin="poll", event="changed", **({"etag": etag} if etag else {}))


def tell_once(ingest: Ingest, referral: str) -> str:
    """By a webhook; returns the eTag of what was told."""
    message = notification(referral)
    ingest.notify(message)
    [record] = [each for each in ingest.records(until=answered(message)) if id_of(message) in causes_of([each])]
    return value_of(record)["documents"][0]["etag"]


@pytest.mark.asan
def test_what_the_poller_finds_is_read_unless_that_very_version_was_told(ingest: Ingest) -> None:
    referral = ingest.partner_center.add_referral(kind="partner-led")["id"]
    with ingest.fetcher() as program:
        etag = tell_once(ingest, referral)
        ingest.notify(found(referral, etag))
        program.wait_for("fetch.known", record=f"partner-center/{referral}", notifications=1)
        assert len(reads_of(ingest, referral)) == 1
        others = [found(referral, '"another"'), found(referral, None), notification(referral)]
        for number, each in enumerate(others, 2):
            ingest.notify(each)
            ingest.records(until=answered(each))
            assert len(reads_of(ingest, referral)) == number
        # What else has to be read is read, and answers it as well.
        both = [found(referral, etag), notification(referral)]
        ingest.notify(*both)
        ingest.records(until=answered(both[1]))
        assert program.stop() == 0
    assert uncommitted(ingest.topics) == 0


@pytest.mark.parametrize("hidden", ["404", "403"])
def test_a_record_that_is_back_as_it_was_is_read_again(ingest: Ingest, hidden: str) -> None:
    referral = ingest.partner_center.add_referral(kind="partner-led")["id"]
    with ingest.fetcher():
        etag = tell_once(ingest, referral)
        ingest.partner_center.hide_referral(referral, hidden)
        gone = notification(referral)
        ingest.notify(gone)
        ingest.records(until=answered(gone))
        ingest.partner_center.hide_referral(referral, "visible")
        back = found(referral, etag)
        ingest.notify(back)
        ingest.records(until=answered(back))


def test_a_record_that_was_set_aside_meanwhile_is_read_again(ingest: Ingest) -> None:
    referral = ingest.partner_center.add_referral(kind="partner-led")["id"]
    with ingest.fetcher():
        etag = tell_once(ingest, referral)
        ingest.partner_center.fault("status", *READ, times=1, status=400, body={"error": {"code": "invalidRequest"}})
        ingest.notify(notification(referral))
        ingest.dead_letters(1)
        again = found(referral, etag)
        ingest.notify(again)
        ingest.records(until=answered(again))


def test_what_was_told_before_a_partition_went_and_came_back_is_read_again(ingest: Ingest) -> None:
    """Another instance may have told meanwhile that it is gone."""
    referral = ingest.partner_center.add_referral(kind="partner-led")["id"]
    with ingest.fetcher("one") as program:
        etag = tell_once(ingest, referral)
        with ingest.fetcher("two") as other:
            other.wait_for("kafka.assigned")
            assert other.stop() == 0
        program.wait_for("kafka.assigned", partitions=PARTITIONS, count=2)
        again = found(referral, etag)
        ingest.notify(again)
        ingest.records(until=answered(again))


# --- What is not there -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hidden", "reason"), [("404", "not_found"), ("403", "forbidden")])
def test_a_referral_that_is_not_there_is_gone_under_its_key(ingest: Ingest, hidden: str, reason: str) -> None:
    referral = ingest.partner_center.add_referral(kind="partner-led", _sim={"visible": hidden})
    ingest.notify(notification(referral["id"]))
    with ingest.fetcher():
        record = ingest.records(1)[0]
    check("record", value_of(record))
    assert record.key == referral["id"].encode()
    assert (value_of(record)["kind"], value_of(record)["reason"]) == ("gone", reason)


def test_the_asking_deal_is_told_that_a_record_is_gone(ingest: Ingest) -> None:
    missing = str(uuid.uuid4())
    asked = [
        notification(missing, origin="mapper", event="requested", deal_key="crm:one"),
        notification(missing),
        notification(missing, origin="mapper", event="requested", deal_key="crm:one"),
    ]
    ingest.notify(*asked)
    with ingest.fetcher():
        records = ingest.records(until=answered(*asked))
    told = {(record.key or b"").decode(): causes_of([record]) for record in records}
    assert told == {"crm:one": [id_of(asked[0]), id_of(asked[2])], missing: [id_of(asked[1])]}


def test_an_invisible_related_referral_of_an_unknown_engagement_is_set_aside(ingest: Ingest) -> None:
    message = notification(str(uuid.uuid4()), "related-referral", event="related-referral-updated")
    ingest.notify(message)
    with ingest.fetcher() as program:
        letter = ingest.dead_letters(1)[0]
        assert program.stop() == 0
    assert letter.value == message[1].encode()
    assert letter.headers["err.code"] == b"not_visible"
    assert letter.headers["err.stage"] == b"fetch"
    assert letter.headers["err.topic"] == ingest.topics.name("notifications").encode()
    assert letter.headers["ce_id"] == id_of(message).encode()
    assert ingest.records() == []
    assert uncommitted(ingest.topics) == 0


@bad_input("B73")
@pytest.mark.asan
def test_what_cannot_be_followed_is_set_aside_byte_for_byte(ingest: Ingest) -> None:
    strange = [
        ("k", "not JSON \u00e4", {"x": "1"}),
        ("k", "{}", {}),
        notification(str(uuid.uuid4()), source="elsewhere"),
        notification(str(uuid.uuid4()), "contact"),
        notification(str(uuid.uuid4()), "opportunity", source="dynamics-365"),
        notification("no-guid"),
    ]
    good = ingest.partner_center.add_referral(kind="partner-led")
    ingest.notify(*strange, notification(good["id"]))
    with ingest.fetcher() as program:
        letters = ingest.dead_letters(len(strange))
        ingest.records(1)
        assert program.stop() == 0
    assert sorted(letter.value or b"" for letter in letters) == sorted(value.encode() for _, value, _ in strange)
    codes = {(letter.value or b"").decode(): letter.headers["err.code"].decode() for letter in letters}
    assert [codes[value] for _, value, _ in strange] == [
        "message.malformed",
        "message.malformed",
        "unknown_source",
        "unknown_record_type",
        "unknown_source",
        "partner_center.bad_id",
    ]
    assert uncommitted(ingest.topics) == 0


def test_a_test_event_is_counted_and_goes_to_the_audit_without_an_alarm(ingest: Ingest) -> None:
    correlation = str(uuid.uuid4())
    ingest.notify(notification(correlation, "test", event="test-created"))
    port = free_port()
    with ingest.fetcher(admin_port=port) as program:
        assert program.wait_for("webhook.test_received")["correlation_id"] == correlation
        letter = ingest.dead_letters(1)[0]
        series = metrics(port)
        assert program.stop() == 0
    assert series["tandem_fetch_test_notifications_total"] == 1
    assert not [name for name in series if "test_event" in name]
    assert not [each for each in program.log if each["event"] == "fetch.set_aside"]
    assert letter.headers["err.code"] == b"test_event"
    assert letter.key == f"partner-center/{correlation}".encode()
    assert ingest.records() == []
    assert uncommitted(ingest.topics) == 0


# --- Failures ---------------------------------------------------------------------------------------------------------


def test_a_failure_without_a_reason_is_set_aside_in_the_end_and_others_are_read(
    tmp_path: Path, topics: Topics, authority: Authority, partner_center: PartnerCenter, dynamics_365: Dynamics365
) -> None:
    ingest = Ingest(tmp_path, topics, authority, partner_center, dynamics_365)
    ingest.fetch["unexplained_before_refusal"] = 3
    bad, good = (dynamics_365.add_row("opportunities", name=name)["opportunityid"] for name in ("Bad", "Good"))
    body = {"error": {"code": "0x80040216", "message": "An unexpected error occurred."}}
    dynamics_365.fault("status", "GET", bad, None, status=400, body=body)
    kind = {"record_type": "opportunity", "source": "dynamics-365", "event": "Update"}
    ingest.notify(*(notification(each, **kind) for each in (bad, good)))
    with ingest.fetcher():
        letter = ingest.dead_letters(1)[0]
        assert value_of(ingest.records(1)[0])["record_id"] == good
        wait_until(lambda: uncommitted(ingest.topics) == 0, 20, "both are finished")
    assert letter.key == f"dynamics-365/{bad}".encode()
    headers = {name: letter.headers[name].decode() for name in ("err.code", "err.class", "err.message")}
    assert (headers["err.code"], headers["err.class"]) == ("dynamics_365.unexpected", "poison")
    assert headers["err.message"].startswith("given up after 3 failures without a reason: ")
    assert len([each for each in dynamics_365.journal(method="GET", path=bad) if each["status"] == 400]) == 3


def test_a_failure_without_a_reason_that_passes_is_borne(
    tmp_path: Path, topics: Topics, authority: Authority, partner_center: PartnerCenter, dynamics_365: Dynamics365
) -> None:
    ingest = Ingest(tmp_path, topics, authority, partner_center, dynamics_365)
    row = dynamics_365.add_row("opportunities", name="Archive")["opportunityid"]
    body = {"error": {"code": "0x80040216", "message": "An unexpected error occurred."}}
    dynamics_365.fault("status", "GET", row, 3, status=400, body=body)
    ingest.notify(notification(row, "opportunity", source="dynamics-365", event="Update"))
    with ingest.fetcher():
        assert value_of(ingest.records(1)[0])["record_id"] == row
    assert ingest.dead_letters() == []


def test_throttling_is_waited_out_and_nothing_is_lost(ingest: Ingest) -> None:
    referrals = [ingest.partner_center.add_referral(kind="partner-led")["id"] for _ in range(4)]
    ingest.partner_center.fault("status", *READ, times=1, status=429, headers={"Retry-After": "2"})
    ingest.fetch["concurrent_reads"] = 1
    messages = [notification(each) for each in referrals]
    ingest.notify(*messages)
    with ingest.fetcher():
        ingest.records(until=answered(*messages))
    entries = ingest.partner_center.journal(path=REFERRALS)
    refused = [entry for entry in entries if entry["status"] == 429]
    later = [entry for entry in entries if entry["seq"] > refused[0]["seq"]]
    assert len(refused) == 1
    assert seconds_between(refused[0], later[0]) >= 1.9


@pytest.mark.parametrize("action", ["drop", "garbage", "html", "truncate", "oversize", "redirect"])
def test_a_broken_answer_is_repeated(ingest: Ingest, action: str) -> None:
    referral = ingest.partner_center.add_referral(kind="partner-led")
    ingest.partner_center.fault(action, *READ, times=2)
    ingest.notify(notification(referral["id"]))
    with ingest.fetcher():
        assert value_of(ingest.records(1)[0])["kind"] == "reading"
    assert ingest.dead_letters() == []


def test_a_failing_system_is_tried_with_single_reads_and_recovers(ingest: Ingest) -> None:
    referrals = [ingest.partner_center.add_referral(kind="partner-led")["id"] for _ in range(20)]
    messages = [notification(each) for each in referrals]
    ingest.partner_center.fault("status", *READ, times=None, status=503)
    ingest.notify(*messages)
    with ingest.fetcher() as program:
        assert program.wait_for("fetch.paused")["blocked"] is False
        ingest.partner_center.clear_faults()
        ingest.records(until=answered(*messages))
        program.wait_for("fetch.resumed")


@bad_input("B76")
def test_another_record_in_the_answer_is_set_aside_and_told_nobody(ingest: Ingest) -> None:
    asked, other = (ingest.partner_center.add_referral(kind="partner-led") for _ in range(2))
    ingest.partner_center.fault("status", "GET", f"{REFERRALS}/{asked['id']}", status=200, body=other)
    message = notification(asked["id"])
    ingest.notify(message)
    with ingest.fetcher() as program:
        letter = ingest.dead_letters(1)[0]
        assert program.stop() == 0
    assert letter.value == message[1].encode()
    assert letter.headers["err.code"] == b"partner_center.foreign_record"
    assert other["id"].encode() not in letter.headers["err.message"]
    assert ingest.records() == []
    assert uncommitted(ingest.topics) == 0


def test_a_refused_read_is_set_aside(ingest: Ingest) -> None:
    referral = ingest.partner_center.add_referral(kind="partner-led")
    body = {"error": {"code": "invalidRequest", "message": "canary-7431"}}
    ingest.partner_center.fault("status", *READ, times=1, status=400, body=body)
    ingest.notify(notification(referral["id"]))
    with ingest.fetcher() as program:
        letter = ingest.dead_letters(1)[0]
        assert letter.headers["err.code"] == b"partner_center.refused"
        assert "canary-7431" not in program.transcript(1000) + str(letter.headers)


def test_an_expired_access_token_is_renewed_once(ingest: Ingest) -> None:
    referrals = [ingest.partner_center.add_referral(kind="partner-led")["id"] for _ in range(6)]
    with ingest.fetcher():
        ingest.notify(notification(referrals[0]))
        ingest.records(1)
        ingest.partner_center.admin("POST", "/_sim/tokens/expire", {})
        before = len(ingest.partner_center.journal(path="/oauth2/token"))
        rest = [notification(each) for each in referrals[1:]]
        ingest.notify(*rest)
        ingest.records(until=answered(*rest))
        after = len(ingest.partner_center.journal(path="/oauth2/token"))
    assert before == 1
    assert after == 2


@pytest.mark.asan
def test_a_refused_sign_in_pauses_the_system_and_readiness_tells(ingest: Ingest) -> None:
    referral = ingest.partner_center.add_referral(kind="partner-led")
    ingest.partner_center.settings(token_error=700082)
    ingest.notify(notification(referral["id"]))
    port = free_port()
    with ingest.fetcher(admin_port=port) as program:
        assert program.wait_for("fetch.paused")["blocked"] is True
        status, text = wait_until(lambda: readiness(port), 10, "an answer")
        assert status == 503 and "partner-center" in text
        assert metrics(port)['tandem_fetch_paused{system="partner-center"}'] == 1
        assert program.stop() == 0
    assert ingest.dead_letters() == [] and ingest.records() == []
    assert uncommitted(ingest.topics) == 1
    # A person has signed in again: nothing was lost.
    ingest.partner_center.settings(token_error=0)
    with ingest.fetcher():
        ingest.records(1)


# --- Processes --------------------------------------------------------------------------------------------------------


def test_three_processes_share_the_work_and_one_killed_loses_nothing(ingest: Ingest) -> None:
    referrals = [ingest.partner_center.add_referral(kind="partner-led")["id"] for _ in range(60)]
    messages = [notification(each) for each in referrals]
    ingest.partner_center.settings(latency_ms=50)
    names = ("one", "two", "three")
    programs = {name: ingest.fetcher(name).start() for name in names}
    try:
        for program in programs.values():
            program.wait_for("kafka.assigned", partitions=PARTITIONS // len(names))
        ingest.notify(*messages[:30])
        for name in names:
            programs[name].wait_for("fetch.answered")
        programs["two"].kill()
        ingest.notify(*messages[30:])
        records = ingest.records(until=answered(*messages), deadline=60)
        programs["one"].stop()
        programs["three"].stop()
    finally:
        for program in programs.values():
            program.stop()
    assert {(record.key or b"").decode() for record in records} == set(referrals)
    assert uncommitted(ingest.topics) == 0


@pytest.mark.asan
def test_sigterm_ends_what_was_begun_and_leaves_the_rest(ingest: Ingest) -> None:
    referrals = [ingest.partner_center.add_referral(kind="partner-led")["id"] for _ in range(12)]
    messages = [notification(each) for each in referrals]
    ingest.partner_center.settings(latency_ms=700)
    ingest.fetch["concurrent_reads"] = 4
    ingest.notify(*messages)
    with ingest.fetcher() as program:
        wait_until(lambda: ingest.partner_center.journal(path="/oauth2/token"), 20, "the reads have begun")
        program.wait_for("fetch.answered")
        assert program.stop() == 0
    told = causes_of(ingest.records())
    assert len(told) == len(set(told)) and 4 <= len(told) < 12
    assert uncommitted(ingest.topics) <= 12 - 4
    ingest.partner_center.settings(latency_ms=0)
    with ingest.fetcher():
        ingest.records(until=answered(*messages))


def test_a_replay_gives_the_same_messages_the_same_ids(ingest: Ingest) -> None:
    referral = ingest.partner_center.add_referral(kind="partner-led")
    message = notification(referral["id"])
    with ingest.fetcher():
        ingest.notify(message)
        ingest.records(1)
        ingest.notify(message)
        records = ingest.records(2)
    assert records[0].headers["ce_id"] == records[1].headers["ce_id"]
    assert records[0].key == records[1].key


def test_missing_topics_stop_the_start(ingest: Ingest) -> None:
    ingest.topics.delete_all()
    wait_until(lambda: not ingest.topics.existing(), 20, "the topics are gone")
    with ingest.fetcher() as program:
        assert program.wait() == 71
    result = ingest.run("topics")
    assert result.returncode == 71 and "missing" in result.stdout
    result = ingest.run("topics", "--create")
    assert result.returncode == 0, result.stderr
    assert ingest.run("topics").returncode == 0


def test_check_tells_what_would_run_and_asks_nobody(ingest: Ingest) -> None:
    both = ingest.run("--check")
    assert both.returncode == 0, both.stderr
    assert "serve " in both.stdout and "fetch " in both.stdout and ingest.topics.prefix in both.stdout
    fetch = ingest.run("--role", "fetch", "--check")
    assert "serve " not in fetch.stdout and ingest.partner_center.url in fetch.stdout
    assert ingest.run("--role", "fetch,think", "--check").returncode == 64
    assert ingest.partner_center.journal() == []


def test_print_config_shows_no_secret(ingest: Ingest) -> None:
    printed = ingest.run("--print-config")
    assert printed.returncode == 0, printed.stderr
    assert "concurrent_reads: 8" in printed.stdout
    assert ingest.key not in printed.stdout and ingest.refresh_token not in printed.stdout
