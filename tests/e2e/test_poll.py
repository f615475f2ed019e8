"""What webhooks miss is found by asking, by one process at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from support.deals import DEADLINE, Deals
from support.ingest import metrics
from support.process import Program
from support.stack import Stack
from support.waiting import wait_until

PROCESSES = {"ingest": 2}
# Whoever polls without a cursor looks back two seconds only; a dead poller is missed longer than that.
SETTINGS = {"ingest": {"poll": {"interval": "300ms", "engagement_interval": "1s", "first_window": "1s", "overlap": "1s"}}}
TAKEN_OVER_SECONDS = 15

pytestmark = pytest.mark.asan


@pytest.fixture
def deaf(deals: Deals) -> Iterator[Deals]:
    """No webhook is sent by either system."""
    for simulator in (deals.partner_center, deals.dynamics_365):
        simulator.admin("POST", "/_sim/deliveries/policy", {"drop": 1.0})
    yield deals
    for simulator in (deals.partner_center, deals.dynamics_365):
        simulator.admin("POST", "/_sim/deliveries/policy", {"drop": 0.0})


def ingests(stack: Stack) -> list[Program]:
    return [program for program in stack.programs if "ingest" in program.config.name and program.returncode is None]


def metrics_of(stack: Stack, program: Program) -> dict[str, float]:
    return metrics(int(stack.admin_address(program).rsplit(":", 1)[1]))


def rounds(stack: Stack, program: Program) -> float:
    return sum(value for name, value in metrics_of(stack, program).items() if name.startswith("tandem_poll_rounds_total"))


def causes(deals: Deals, referral: str) -> set[tuple[str, str]]:
    return {(cause["origin"], cause["event"]) for each in deals.decisions(referral) for cause in each["causes"]}


def test_missed_deal_and_its_changes_are_found(deaf: Deals) -> None:
    referral = deaf.new("private")
    deaf.partner_center.edit_referral(referral, details={"dealValue": 4711})

    def is_there() -> bool:
        row = deaf.opportunity(referral)
        return row is not None and row["estimatedvalue"] == 4711

    wait_until(is_there, DEADLINE, "the change has arrived")
    assert ("poll", "changed") in causes(deaf, referral)
    assert not any(origin == "webhook" and event.startswith("referral") for origin, event in causes(deaf, referral))


def test_microsofts_answer_is_found_in_open_shared_deals(deaf: Deals) -> None:
    referral = deaf.new("partner-cosell")
    deaf.partner_center.microsoft_answers(referral, "accept", msxId="7-POLLED0001")

    def is_there() -> bool:
        row = deaf.opportunity(referral)
        return row is not None and row.get("msft_microsoftcrmidentifier") == "7-POLLED0001"

    wait_until(is_there, DEADLINE, "Microsoft's identifier has arrived")
    assert ("poll", "shared") in causes(deaf, referral)


def test_open_shared_deal_that_is_visible_again_is_found(deaf: Deals) -> None:
    """By its own reading, at the version that was known before."""
    referral = deaf.new("partner-cosell")
    row = deaf.opportunity(referral)
    assert row is not None
    deaf.partner_center.hide_referral(referral)
    deaf.dynamics_365.edit_row("opportunities", row["opportunityid"], description="Written meanwhile")
    query = "SELECT status, reason FROM deal_status WHERE deal_key = %s"
    wait_until(
        lambda: deaf.stack.audit(query, referral) == [("rests", "referral_gone")], DEADLINE, "the deal rests, in the audit"
    )
    deaf.partner_center.hide_referral(referral, "visible")
    wait_until(
        lambda: deaf.referral(referral)["details"]["notes"] == "Written meanwhile", DEADLINE, "what was written meanwhile leaves"
    )


def test_sellers_edits_and_new_deals_are_found(deaf: Deals) -> None:
    referral = deaf.new("private")
    row = deaf.opportunity(referral)
    assert row is not None
    deaf.dynamics_365.edit_row("opportunities", row["opportunityid"], estimatedvalue=815.5)
    wait_until(lambda: deaf.referral(referral)["details"]["dealValue"] == 815.5, DEADLINE, "the edit has arrived")
    made = deaf.dynamics_365.admin("POST", "/_sim/opportunities", {"name": "Polled", "sync": True})

    def is_linked() -> bool:
        column = "msft_microsoftpartnercenterreferralidentifier"
        return bool(deaf.dynamics_365.row("opportunities", made["id"])[column])

    wait_until(is_linked, DEADLINE, "the new deal is at Partner Center")


def test_expired_delta_link_is_begun_anew(deaf: Deals) -> None:
    referral = deaf.new("private")
    row = deaf.opportunity(referral)
    assert row is not None
    deaf.dynamics_365.admin("POST", "/_sim/delta-links/expire", {})
    deaf.dynamics_365.edit_row("opportunities", row["opportunityid"], estimatedvalue=816.5)
    wait_until(lambda: deaf.referral(referral)["details"]["dealValue"] == 816.5, DEADLINE, "the edit has arrived")


def test_deleted_record_is_found_and_the_deal_rests(deaf: Deals) -> None:
    referral = deaf.new("private")
    row = deaf.opportunity(referral)
    assert row is not None
    deaf.dynamics_365.delete_row("opportunities", row["opportunityid"])
    query = "SELECT status, reason FROM deal_status WHERE deal_key = %s"
    wait_until(
        lambda: deaf.stack.audit(query, referral) == [("rests", "crm_gone")], DEADLINE, "the deal rests, in the audit"
    )


def test_known_versions_are_not_read_again(deaf: Deals) -> None:
    referral = deaf.new("private")
    deaf.wait_quiet(referral)
    before = deaf.partner_center.position()
    seen = deaf.partner_center.journal

    def lists() -> int:
        return sum(1 for each in seen(before, "GET", "/referrals") if "updatedDateTime" in each["query"])

    wait_until(lambda: lists() >= 4, DEADLINE, "four more rounds of changes")
    assert [each for each in seen(before, "GET", f"/referrals/{referral}")] == []


def test_what_a_webhook_has_told_is_not_read_again(deals: Deals) -> None:
    """An edit of each side: one reading of its record, and one of the other, which was written. The poller finds all four."""
    referral = deals.new("private")
    row = deals.opportunity(referral)
    assert row is not None
    opportunity = row["opportunityid"]
    deals.wait_quiet(referral)

    def asked_since(center: int, crm: int) -> int:
        lists = [each for each in deals.partner_center.journal(center, "GET", "/referrals") if "updatedDateTime" in each["query"]]
        deltas = deals.dynamics_365.journal(crm, "GET", "/opportunities")
        return min(len(lists), len(deltas))

    def wait_asked() -> None:
        center, crm = deals.partner_center.position(), deals.dynamics_365.position()
        wait_until(lambda: asked_since(center, crm) >= 4, DEADLINE, "both pollers have been round")

    def counted() -> list[float]:
        """Readings of the referral and of opportunities, and findings that needed none."""
        found = [metrics_of(deals.stack, each) for each in ingests(deals.stack)]
        names = ('tandem_fetch_reads_total{system="dynamics-365",result="done"}', "tandem_fetch_known_total")
        # Shared deals of other tests are read all the time.
        referral_reads = len(deals.partner_center.journal(0, "GET", f"/referrals/{referral}"))
        return [referral_reads, *(sum(each.get(name, 0) for each in found) for name in names)]

    wait_asked()
    before = counted()
    deals.dynamics_365.edit_row("opportunities", opportunity, estimatedvalue=817.5)
    wait_until(lambda: deals.referral(referral)["details"]["dealValue"] == 817.5, DEADLINE, "the seller's edit has arrived")
    wait_asked()
    deals.partner_center.edit_referral(referral, details={"dealValue": 818.5})
    wait_until(
        lambda: (deals.opportunity(referral) or {})["estimatedvalue"] == 818.5, DEADLINE, "the partner's edit has arrived"
    )
    wait_asked()
    assert [now - then for now, then in zip(counted(), before)] == [2, 2, 4]


def test_one_process_polls_and_another_takes_its_cursors_over(deaf: Deals) -> None:
    stack = deaf.stack
    before = {each: rounds(stack, each) for each in ingests(stack)}
    wait_until(lambda: sum(rounds(stack, each) - before[each] for each in before) >= 5, DEADLINE, "five more rounds")
    [poller] = [each for each in before if rounds(stack, each) > before[each]]
    [other] = [each for each in before if each is not poller]
    known, other_known = deaf.new("private"), deaf.new("private")
    row = deaf.opportunity(other_known)
    assert row is not None
    idle = rounds(stack, other)
    poller.kill()
    # While nobody polls; no webhook tells of it.
    deaf.partner_center.edit_referral(known, details={"dealValue": 2718.5})
    deaf.dynamics_365.edit_row("opportunities", row["opportunityid"], estimatedvalue=1618.5)
    assert rounds(stack, other) == idle
    wait_until(lambda: rounds(stack, other) > idle, TAKEN_OVER_SECONDS, "the other process polls")

    def is_found() -> bool:
        found = deaf.opportunity(known)
        return found is not None and found["estimatedvalue"] == 2718.5

    wait_until(is_found, DEADLINE, "what was edited at Partner Center meanwhile has arrived")
    wait_until(
        lambda: deaf.referral(other_known)["details"]["dealValue"] == 1618.5, DEADLINE, "what a seller edited meanwhile, too"
    )
    referral = deaf.new("private")
    cursors = [json.loads(each.value or b"{}") for each in stack.topics.read("cursors")]
    assert {each["instance"] for each in cursors if each.get("source") == "poll/partner-center"} == {"ingest-1", "ingest-2"}
    assert deaf.opportunity(referral) is not None
