"""Edits on both sides at once, while a decision is under way, and while versions keep changing: each of them survives,
whichever side our writes go to.
"""

from __future__ import annotations

import itertools
import re
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
SIDES = ("partner-center", "crm")
# What is edited here, by side.
WORDS = {
    "partner-center": {"value": "dealValue", "notes": "notes", "day": "closingDateTime"},
    "crm": {"value": "estimatedvalue", "notes": "description", "day": "estimatedclosedate"},
}


def other(side: str) -> str:
    return SIDES[1 - SIDES.index(side)]


class Deal:
    """A linked deal and its position in both systems' journals."""

    def __init__(self, deals: Deals) -> None:
        self.deals = deals
        self.referral = deals.new("private", details={"currency": "EUR"})
        row = deals.opportunity(self.referral)
        assert row is not None
        self.opportunity = str(row["opportunityid"])
        self.day = row["estimatedclosedate"]
        self.systems = {"partner-center": deals.partner_center, "crm": deals.dynamics_365}
        self.positions = {side: system.position() for side, system in self.systems.items()}
        self.paths = {"partner-center": f"/referrals/{self.referral}", "crm": f"opportunities({self.opportunity})"}

    def edit(self, side: str, **values: Any) -> None:
        """A person's edit of value, notes or day there."""
        words = {WORDS[side][name]: value for name, value in values.items()}
        if side == "crm":
            self.deals.dynamics_365.edit_row("opportunities", self.opportunity, **words)
        else:
            if "day" in values:
                words["closingDateTime"] += "T00:00:00Z"
            self.deals.partner_center.edit_referral(self.referral, details=words)

    def slow_down(self, side: str, action: str, delay_ms: int, times: int | None = 1) -> None:
        """Our changes of this side take a while."""
        self.systems[side].fault(action, "PATCH", re.escape(self.paths[side]), delay_ms=delay_ms, times=times)

    def statuses(self, side: str) -> list[int]:
        """What it has answered to our changes."""
        return [int(each["status"]) for each in self.changes(side)]

    def changes(self, side: str) -> list[dict[str, Any]]:
        """Ours of this side, from its journal."""
        return self.systems[side].journal(self.positions[side], "PATCH", self.paths[side])

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

    def decided(self, side: str | None = None) -> int:
        """How many writes were decided on, to this side or to any."""
        writes = [each for each in self.deals.decisions(self.referral) if each["action"] != "none"]
        return sum(side in (None, each["target"]) for each in writes)


@pytest.fixture
def deal(deals: Deals) -> Iterator[Deal]:
    yield Deal(deals)
    deals.dynamics_365.clear_faults()
    deals.partner_center.clear_faults()


def test_different_fields_at_once_both_survive(deal: Deal) -> None:
    with deal.deals.unheard():
        deal.edit("partner-center", value=4321.5, day="2033-04-05")
        deal.edit("crm", notes="The seller's words")
    wait_until(lambda: deal.decided() > 2, DEADLINE, "the edits are decided on")
    assert deal.wait_agreed() == {"value": 4321.5, "notes": "The seller's words", "day": "2033-04-05"}
    assert deal.conflicts() == []


@pytest.mark.parametrize("late", ["not yet done", "done and not yet answered"])
@pytest.mark.parametrize("target", SIDES)
def test_edits_while_a_decision_is_under_way(deal: Deal, target: str, late: str) -> None:
    """Our change takes a while; meanwhile people edit on."""
    source = other(target)
    deal.slow_down(target, "delay" if late == "not yet done" else "slow-body", UNDER_WAY_MS)
    before = deal.decided(target)
    deal.edit(source, value=1000)
    wait_until(lambda: deal.decided(target) > before, DEADLINE, "the first edit is decided on")
    deal.edit(target, notes="Meanwhile over there")
    deal.edit(source, day="2034-01-02")
    deal.edit(source, value=2000)
    assert deal.wait_agreed() == {"value": 2000, "notes": "Meanwhile over there", "day": "2034-01-02"}
    assert deal.changes(target)[0]["fault"]
    assert deal.conflicts() == []


@pytest.mark.parametrize("target", SIDES)
def test_the_same_field_while_a_decision_is_under_way(deal: Deal, target: str) -> None:
    """The later one wins; the other value is in the audit."""
    deal.slow_down(target, "delay", UNDER_WAY_MS)
    before = deal.decided(target)
    deal.edit(other(target), notes="First, from here")
    wait_until(lambda: deal.decided(target) > before, DEADLINE, "the first edit is decided on")
    wait_for_the_next_second()
    deal.edit(target, notes="Then, from there")
    assert deal.wait_agreed()["notes"] == "Then, from there"
    assert 412 in deal.statuses(target)
    assert deal.conflicts() == [("notes", target)]


@pytest.mark.parametrize("target", SIDES)
def test_edits_during_a_loop_of_412s(deal: Deal, target: str) -> None:
    """Somebody restless: whenever a change of ours arrives, its version is old."""
    source = other(target)
    deal.slow_down(target, "delay", RESTLESS_DELAY_MS, times=None)
    versions = itertools.count(1)
    deal.edit(source, value=8888)

    def edit_on() -> bool:
        deal.edit(target, notes=f"Words, version {next(versions)}")
        return deal.statuses(target).count(412) >= RESTLESS_ROUNDS

    wait_until(edit_on, DEADLINE, "our changes have met new versions several times")
    deal.edit(source, value=9999)
    deal.edit(target, notes="The last words")
    deal.systems[target].clear_faults()
    assert deal.wait_agreed() == {"value": 9999, "notes": "The last words", "day": deal.day}
    assert deal.conflicts() == []
    assert deal.deals.stack.topics.read("dead-letters") == []
