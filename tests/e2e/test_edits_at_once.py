"""Edits on both sides at once, while a decision is under way, and while versions keep changing: each of them survives."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from support.deals import DEADLINE, Deals, wait_for_the_next_second
from support.mapped_fields import differences
from support.waiting import wait_until

pytestmark = pytest.mark.asan

UNDER_WAY_MS = 2500
RESTLESS_DELAY_MS = 300
RESTLESS_ROUNDS = 4


class Deal:
    """A linked deal and its position in both systems' journals."""

    def __init__(self, deals: Deals) -> None:
        self.deals = deals
        self.referral = deals.new("private", details={"currency": "EUR"})
        row = deals.opportunity(self.referral)
        assert row is not None
        self.opportunity = str(row["opportunityid"])
        self.day = row["estimatedclosedate"]
        self.position = deals.position()

    def in_partner_center(self, **details: Any) -> None:
        self.deals.partner_center.edit_referral(self.referral, details=details)

    def in_the_crm(self, **columns: Any) -> None:
        self.deals.dynamics_365.edit_row("opportunities", self.opportunity, **columns)

    def statuses(self) -> list[int]:
        """What the CRM has answered to our changes."""
        entries = self.deals.dynamics_365.journal(self.position, "PATCH", f"opportunities({self.opportunity})")
        return [int(each["status"]) for each in entries]

    def wait_agreed(self) -> dict[str, Any]:
        wait_until(
            lambda: not differences(self.deals, self.referral, "partner-center"), DEADLINE, "both sides agree on every field"
        )
        self.deals.wait_quiet(self.referral)
        assert differences(self.deals, self.referral, "partner-center") == []
        row = self.deals.opportunity(self.referral)
        assert row is not None
        return {"value": float(row["estimatedvalue"]), "notes": row["description"], "day": row["estimatedclosedate"]}

    def conflicts(self) -> list[tuple[Any, ...]]:
        return self.deals.stack.audit("SELECT DISTINCT field, winner FROM conflicts WHERE deal_key = %s", self.referral)

    def decided(self) -> int:
        return sum(each["action"] != "none" for each in self.deals.decisions(self.referral))


@pytest.fixture
def deal(deals: Deals) -> Iterator[Deal]:
    yield Deal(deals)
    deals.dynamics_365.clear_faults()
    deals.partner_center.clear_faults()


def test_different_fields_at_once_both_survive(deal: Deal) -> None:
    with deal.deals.unheard():
        deal.in_partner_center(dealValue=4321.5, closingDateTime="2033-04-05T00:00:00Z")
        deal.in_the_crm(description="The seller's words")
    wait_until(lambda: deal.decided() > 2, DEADLINE, "the edits are decided on")
    assert deal.wait_agreed() == {"value": 4321.5, "notes": "The seller's words", "day": "2033-04-05"}
    assert deal.conflicts() == []


@pytest.mark.parametrize("late", ["not yet done", "done and not yet answered"])
def test_edits_while_a_decision_is_under_way(deal: Deal, late: str) -> None:
    """Our change of the CRM takes a while; meanwhile people edit on."""
    pattern = f"opportunities\\({deal.opportunity}\\)"
    action = "delay" if late == "not yet done" else "slow-body"
    deal.deals.dynamics_365.fault(action, "PATCH", pattern, delay_ms=UNDER_WAY_MS)
    before = deal.decided()
    deal.in_partner_center(dealValue=1000)
    wait_until(lambda: deal.decided() > before, DEADLINE, "the first edit is decided on")
    deal.in_the_crm(description="Meanwhile in the CRM")
    deal.in_partner_center(closingDateTime="2034-01-02T00:00:00Z")
    deal.in_partner_center(dealValue=2000)
    assert deal.wait_agreed() == {"value": 2000, "notes": "Meanwhile in the CRM", "day": "2034-01-02"}
    assert deal.conflicts() == []


def test_the_same_field_while_a_decision_is_under_way(deal: Deal) -> None:
    """The later one wins; the other value is in the audit."""
    deal.deals.dynamics_365.fault("delay", "PATCH", f"opportunities\\({deal.opportunity}\\)", delay_ms=UNDER_WAY_MS)
    before = deal.decided()
    deal.in_partner_center(notes="First, from the portal")
    wait_until(lambda: deal.decided() > before, DEADLINE, "the first edit is decided on")
    wait_for_the_next_second()
    deal.in_the_crm(description="Then, from the CRM")
    assert deal.wait_agreed()["notes"] == "Then, from the CRM"
    assert 412 in deal.statuses()
    assert deal.conflicts() == [("notes", "crm")]


def test_edits_during_a_loop_of_412s(deal: Deal) -> None:
    """A restless seller: whenever a change of ours arrives, its version is old."""
    deal.deals.dynamics_365.fault(
        "delay", "PATCH", f"opportunities\\({deal.opportunity}\\)", delay_ms=RESTLESS_DELAY_MS, times=None
    )
    versions = itertools.count(1)
    deal.in_partner_center(dealValue=8888)

    def edit_on() -> bool:
        deal.in_the_crm(description=f"Words, version {next(versions)}")
        return deal.statuses().count(412) >= RESTLESS_ROUNDS

    wait_until(edit_on, DEADLINE, "our changes have met new versions several times")
    deal.in_partner_center(dealValue=9999)
    deal.in_the_crm(description="The last words")
    deal.deals.dynamics_365.clear_faults()
    assert deal.wait_agreed() == {"value": 9999, "notes": "The last words", "day": deal.day}
    assert deal.conflicts() == []
    assert deal.deals.stack.topics.read("dead-letters") == []
