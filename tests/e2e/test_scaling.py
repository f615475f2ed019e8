"""Three of each program: the work spreads, and a killed one's goes on elsewhere."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

from support.deals import DEADLINE, Deals
from support.stack import Stack
from support.waiting import wait_until

PROCESSES = {"ingest": 3, "mapper": 3, "pusher": 3}
# So few that deals of these many fall into every partition.
PARTITIONS = 6
DEALS = 60
LATE_DEALS = 6
SETTINGS = {"kafka": {"partitions": PARTITIONS}}
TAKEN_OVER_SECONDS = 15
# Longer than the bound, so that a failure tells how late it was.
MEASURED_SECONDS = 60
AUDIT = "msft_microsoftpartnercenterreferralsyncaudit"
COLUMN = "msft_microsoftpartnercenterreferralidentifier"
# The group of each program, and the topic whose partitions stand for its work.
GROUPS = {"ingest": ("fetch", "notifications"), "mapper": ("mapper", "records"), "pusher": ("pusher", "decisions")}


def held(stack: Stack, program: str) -> dict[str, set[int]]:
    """Partitions of the program's topic, by process."""
    group, topic = GROUPS[program]
    return {
        instance: {number for name, number in parts if name == topic}
        for instance, parts in stack.topics.held(group).items()
    }


def is_spread(stack: Stack, program: str) -> bool:
    parts = held(stack, program)
    shares = [parts.get(f"{program}-{number}", set()) for number in (1, 2, 3)]
    return all(shares) and sorted(each for share in shares for each in share) == list(range(PARTITIONS))


def first_after(moment: float, places: Iterable[int], found: Iterable[tuple[int, float]]) -> dict[int, float]:
    """Seconds from the moment to the first of `found` (partition and time) after it, for each partition in `places`."""
    firsts: dict[int, float] = {}
    for place, at in found:
        if place in places and at > moment:
            firsts[place] = min(firsts.get(place, at - moment), at - moment)
    return firsts


def read_at(stack: Stack) -> list[tuple[int, float]]:
    """Which partition of the notifications was answered by a record, and when."""
    found = stack.topics.read_each("notifications", "records")
    partitions = {each.headers["ce_id"].decode(): each.partition for each in found["notifications"]}
    return [
        (partitions[cause["notification"]], record.timestamp_ms / 1000)
        for record in found["records"]
        for cause in json.loads(record.value or b"null").get("causes") or []
    ]


def decided_at(stack: Stack) -> list[tuple[int, float]]:
    decisions = [(each, json.loads(each.value or b"null")) for each in stack.topics.read("decisions")]
    return [
        (value["cause_partition"], record.timestamp_ms / 1000)
        for record, value in decisions
        if value["cause_topic"] == stack.topics.name("records")
    ]


def finished_at(stack: Stack) -> list[tuple[int, float]]:
    return stack.audit(
        "SELECT topic_partition, extract(epoch FROM created_at)::float FROM audit WHERE topic = %s AND phase <> 'intent'",
        stack.topics.name("decisions"),
    )


MEASURES = {"ingest": read_at, "mapper": decided_at, "pusher": finished_at}


def test_work_spreads_and_that_of_killed_processes_goes_on_in_time(deals: Deals) -> None:
    stack = deals.stack
    for program in PROCESSES:
        wait_until(lambda: is_spread(stack, program), DEADLINE, f"each of the three {program} has partitions")
    # Both systems go on repeating a webhook that finds nobody for longer than this test takes.
    for simulator in (deals.partner_center, deals.dynamics_365):
        simulator.settings(delivery_interval_ms=500, delivery_attempts=500)
    referrals = [deals.partner_center.add_referral(kind="private")["id"] for _ in range(DEALS)]

    def linked() -> int:
        rows = {row[COLUMN] for row in stack.opportunities() if row.get(COLUMN)}
        return len(rows & set(referrals))

    wait_until(lambda: linked() > DEALS // 3, 60, "a third of the deals has an opportunity")

    # Of ingest the one that takes the webhooks.
    lost = {program: held(stack, program)[f"{program}-1"] for program in PROCESSES}
    receiver = stack.running("ingest-1")
    for program in PROCESSES:
        stack.running(f"{program}-1").kill()
    killed_at = time.time()
    # Told only to the one that is dead: they come when the sender repeats them, or the next poller finds them.
    late = [deals.partner_center.add_referral(kind="private")["id"] for _ in range(LATE_DEALS)]
    stack.point_webhooks_at(stack.running("ingest-2"))
    for referral in referrals:
        deals.partner_center.edit_referral(referral, details={"dealValue": 4100})

    def taken_over() -> dict[str, dict[int, float]]:
        return {name: first_after(killed_at, lost[name], measure(stack)) for name, measure in MEASURES.items()}

    wait_until(
        lambda: (lambda now: all(set(now[each]) == lost[each] for each in lost) and now)(taken_over()),
        MEASURED_SECONDS,
        "all that the killed ones had goes on",
    )
    seconds = taken_over()
    assert max(each for firsts in seconds.values() for each in firsts.values()) <= TAKEN_OVER_SECONDS, seconds

    stack.start_again(receiver).wait_for("program.ready")
    referrals += late
    wait_until(lambda: linked() == len(referrals), DEADLINE, "every deal has an opportunity")
    values = {referral: 4100.0 for referral in referrals if referral not in late}

    def has_caught_up() -> bool:
        rows = {row[COLUMN]: float(row["estimatedvalue"]) for row in stack.opportunities() if row.get(COLUMN)}
        return all(rows[referral] == value for referral, value in values.items())

    wait_until(has_caught_up, DEADLINE, "every deal shows what was written after the kill")
    deals.wait_linked(referrals[-1])
    links = {each["id"]: each["externalReferenceId"] for each in deals.partner_center.state()["referrals"]}
    assert {row[COLUMN]: row["opportunityid"] for row in stack.opportunities()} == {each: links[each] for each in referrals}
    assert {each["state"] for each in deals.partner_center.deliveries()["deliveries"]} == {"delivered"}
    identifiers = [row[COLUMN] for row in stack.opportunities() if row.get(COLUMN)]
    assert sorted(identifiers) == sorted(referrals)
    nothing_was_done_twice(deals, referrals)


def nothing_was_done_twice(deals: Deals, referrals: list[str]) -> None:
    """Both systems have carried out, per deal, exactly what the audit says was applied."""
    stack = deals.stack
    assert stack.audit("SELECT * FROM verify_audit()") == []
    assert stack.audit("SELECT count(*) FROM open_intents") == [(0,)]
    for table, columns in {"accounts": ("name", "address1_postalcode"), "contacts": ("emailaddress1",)}.items():
        rows = deals.dynamics_365.rows(table)["value"]
        assert max(Counter(tuple(row[each] for each in columns) for row in rows).values()) == 1, table
    ends = stack.audit(
        "SELECT topic, topic_partition, topic_offset, count(*) FROM audit WHERE phase <> 'intent'"
        " GROUP BY 1, 2, 3 HAVING count(*) > 1"
    )
    assert ends == []
    applied = stack.audit(
        "SELECT system, deal_key, action, count(*) FROM audit WHERE phase = 'outcome' AND result = 'applied' GROUP BY 1, 2, 3"
    )
    said = {(system, deal, action): count for system, deal, action, count in applied}
    deal_of = {row["opportunityid"]: row[COLUMN] for row in stack.opportunities()}
    done: Counter[tuple[str, str, str]] = Counter()
    for entry in carried_out(deals.dynamics_365.journal(path="/opportunities")):
        # A create names the record by its alternate key, an update by its id.
        key = entry["path"].partition("opportunities(")[2].rstrip(")")
        is_create = key.startswith(COLUMN)
        deal = key.partition("=")[2].strip("'") if is_create else deal_of[key]
        # A create ends with its audit text, once the record's child rows are there.
        if set(json.loads(entry["body"])) != {AUDIT}:
            done["dynamics-365", deal, "create" if is_create else "update"] += 1
    for entry in carried_out(deals.partner_center.journal(path="/referrals/")):
        done["partner-center", entry["path"].rpartition("/")[2], "update"] += 1
    assert dict(done) == said
    assert all(done["dynamics-365", referral, "create"] == 1 for referral in referrals)


def carried_out(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each for each in entries if each["method"] in ("POST", "PATCH") and (each["status"] or 500) < 300]
