"""A co-sell deal that begins in the CRM, with a program killed at each step of its birth: it is born once, and whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from support.deals import DEADLINE, Deals
from support.mapped_fields import differences
from support.waiting import wait_until

HELP = "Quotes or Licensing"
# A call is carried out well within the time after which a creation in doubt is looked for.
HELD_MS = 2000
SETTINGS = {"partner_center": {"settling_time": "6s"}}
# A successor waits for its predecessor's place in the group, a session at most.
RESUMED = 90


@dataclass(frozen=True)
class Step:
    """A call that is held: before it is carried out, or after that and before its answer."""

    system: str
    method: str
    path: str


STEPS = {
    "referral": Step("partner_center", "POST", "/referrals$"),
    "invitation": Step("partner_center", "POST", "/referrals$"),
    "link": Step("dynamics_365", "PATCH", "opportunities"),
}


@pytest.fixture
def clean(deals: Deals) -> Iterator[Deals]:
    yield deals
    for simulator in (deals.partner_center, deals.dynamics_365):
        simulator.clear_faults()


def check_born(deals: Deals, opportunity: str) -> None:
    referral = deals.wait_identifier(opportunity, RESUMED)
    assert [each["id"] for each in deals.referrals_of(opportunity)] == [referral]
    wait_until(lambda: not differences(deals, referral, "crm"), RESUMED, "both sides agree on every field")
    deals.wait_quiet(referral)
    engagement = deals.referral(referral)["engagementId"]
    assert len(deals.microsofts(engagement)) == 1
    assert [each["id"] for each in deals.referrals_of(opportunity)] == [referral]
    assert deals.stack.topics.read("dead-letters") == []
    assert deals.stack.audit("SELECT * FROM verify_audit()") == []


@pytest.mark.parametrize("held", ["before", "after"])
@pytest.mark.parametrize("name", STEPS)
def test_pusher_killed_in_a_call_of_the_birth(clean: Deals, name: str, held: str) -> None:
    step = STEPS[name]
    simulator = getattr(clean, step.system)
    # The first POST makes the referral, the second invites Microsoft.
    skip = 1 if name == "invitation" else 0
    action = "delay" if held == "before" else "slow-body"
    since = simulator.position()
    fault = simulator.fault(action, step.method, step.path, times=1, skip=skip, delay_ms=HELD_MS)["id"]
    opportunity = clean.dynamics_365.admin("POST", "/_sim/opportunities", {"sync": True, "name": name, "help": HELP})["id"]
    key = f"crm:{opportunity}"

    def decided() -> dict[str, Any] | None:
        found = [key] if name == "referral" else [each["id"] for each in clean.referrals_of(opportunity)]
        wanted = {"referral": "create", "invitation": "invite", "link": "link"}[name]
        return next((each for deal in found for each in clean.decisions(deal) if each.get("purpose") == wanted), None)

    def is_held() -> bool:
        faults = simulator.admin("GET", "/_sim/faults")["faults"]
        return [each["hits"] for each in faults if each["id"] == fault] == [1]

    def carried_out() -> list[dict[str, Any]]:
        return [each for each in simulator.journal(since, step.method) if each["fault"] == action]

    decision = wait_until(decided, DEADLINE, "the step is decided on")
    wait_until(is_held, DEADLINE, "its call is held")
    if held == "after":
        wait_until(carried_out, DEADLINE, "the call is carried out, and its answer is held")
    pusher = clean.stack.running("pusher-1")
    was_carried_out = bool(carried_out())
    pusher.kill()
    # The kill fell into the call: begun, and not known to have ended.
    phases = clean.stack.audit("SELECT phase, result FROM audit WHERE decision_id = %s", decision["id"])
    assert (phases, was_carried_out) == ([("intent", None)], held == "after")
    clean.stack.start_again(pusher)
    check_born(clean, opportunity)


def test_mapper_killed_again_and_again_while_deals_are_born(clean: Deals) -> None:
    opportunities = []
    for number in range(4):
        decided = len(clean.stack.topics.read("decisions"))
        words = {"sync": True, "name": f"Born {number}", "help": HELP}
        opportunities.append(clean.dynamics_365.admin("POST", "/_sim/opportunities", words)["id"])
        wait_until(
            lambda decided=decided: len(clean.stack.topics.read("decisions")) > decided, RESUMED, "something is decided"
        )
        mapper = clean.stack.running("mapper-1")
        mapper.kill()
        clean.stack.start_again(mapper)
    for opportunity in opportunities:
        check_born(clean, opportunity)
