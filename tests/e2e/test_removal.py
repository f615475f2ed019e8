"""What leaves: Sync switched off, the CRM record deleted, the referral no longer visible. Told in the audit; reversible."""

from __future__ import annotations

from typing import Any

import pytest
from support.deals import DEADLINE, Deals
from support.default_rules import RULES, with_removal
from support.ingest import notification
from support.stack import Stack
from support.waiting import wait_until

pytestmark = pytest.mark.asan

IDENTIFIER = "msft_microsoftpartnercenterreferralidentifier"
AUDIT = "msft_microsoftpartnercenterreferralsyncaudit"
SYNC = "msft_microsoftpartnercenterreferralsync"
SETTINGS = {"partner_center": {"settling_time": "500ms"}}
# The mapper is started below, with the other policies.
PROCESSES = {"mapper": 0}


@pytest.fixture(scope="module", autouse=True)
def mapper(stack: Stack) -> None:
    stack.start_mapper(with_removal(RULES.read_text(), {"sync_off": "hold", "crm_deleted": "recreate"}))


def standing(deals: Deals, referral: str) -> list[tuple[Any, ...]]:
    return deals.stack.audit("SELECT status, reason FROM deal_status WHERE deal_key = %s", referral)


def test_sync_off_by_policy_hold_lets_nothing_leave_the_crm(deals: Deals) -> None:
    referral = deals.new("private")
    row = deals.opportunity(referral)
    assert row is not None
    deals.dynamics_365.edit_row("opportunities", row["opportunityid"], **{SYNC: False})
    wait_until(lambda: standing(deals, referral) == [("rests", "sync_off")], DEADLINE, "the deal rests, in the audit")
    center = deals.partner_center.position()
    deals.dynamics_365.edit_row("opportunities", row["opportunityid"], description="Not for Microsoft")
    deals.partner_center.edit_referral(referral, details={"dealValue": 123})

    def value() -> float:
        now = deals.opportunity(referral)
        assert now is not None
        return float(now["estimatedvalue"])

    wait_until(lambda: value() == 123, DEADLINE, "what changes at Partner Center still arrives")
    deals.wait_quiet(referral)
    assert deals.partner_center.journal(center, "PATCH") == []
    deals.dynamics_365.edit_row("opportunities", row["opportunityid"], **{SYNC: True})
    wait_until(
        lambda: deals.referral(referral)["details"]["notes"] == "Not for Microsoft", DEADLINE, "what was written meanwhile leaves"
    )


def test_deleted_record_is_made_again_by_policy_recreate(deals: Deals) -> None:
    referral = deals.new("private", name="Made again")
    row = deals.opportunity(referral)
    assert row is not None
    deals.dynamics_365.delete_row("opportunities", row["opportunityid"])

    def is_back() -> dict[str, Any] | None:
        now = deals.opportunity(referral)
        named = deals.referral(referral)["externalReferenceId"]
        return now if now and now["opportunityid"] != row["opportunityid"] and named == now["opportunityid"] else None

    made = wait_until(is_back, DEADLINE, "there is a new opportunity, and the referral names it")
    deals.wait_quiet(referral)
    assert "Made again" in made["name"]
    # The poll finds the deletion as well.
    found = notification(row["opportunityid"], "opportunity", "dynamics-365", "deleted", "poll")
    deals.stack.topics.produce_all("notifications", [found])
    deals.wait_quiet(referral)
    now = deals.opportunity(referral)
    assert now is not None and now["opportunityid"] == made["opportunityid"]
    deals.partner_center.edit_referral(referral, details={"dealValue": 4567})
    wait_until(lambda: float((deals.opportunity(referral) or made)["estimatedvalue"]) == 4567, DEADLINE, "edits flow on")


@pytest.mark.parametrize("status", ["404", "403"])
def test_referral_that_is_not_visible_rests_until_it_is_again(deals: Deals, status: str) -> None:
    referral = deals.new("private")
    row = deals.opportunity(referral)
    assert row is not None
    deals.partner_center.hide_referral(referral, status)
    deals.dynamics_365.edit_row("opportunities", row["opportunityid"], description="Written meanwhile")
    wait_until(lambda: standing(deals, referral)[0][0] == "rests", DEADLINE, "the deal rests, in the audit")
    deals.wait_quiet(referral)
    assert deals.opportunity(referral) is not None
    deals.partner_center.hide_referral(referral, "visible")
    deals.partner_center.edit_referral(referral, details={"dealValue": 321})

    def goes_on() -> bool:
        now = deals.opportunity(referral)
        notes = deals.referral(referral)["details"]["notes"]
        return bool(now and float(now["estimatedvalue"]) == 321 and notes == "Written meanwhile")

    wait_until(goes_on, DEADLINE, "both edits are on both sides")


@pytest.mark.parametrize("status", ["404", "403"])
def test_referral_that_vanishes_unheard_is_noticed_when_it_is_next_read(deals: Deals, status: str) -> None:
    """Partner Center tells nobody: the next event finds it gone, and a later one finds it back."""
    referral = deals.new("private")
    row = deals.opportunity(referral)
    assert row is not None
    before, position = standing(deals, referral), deals.position()
    deals.partner_center.edit_referral(referral, _sim={"visible": status, "events": False})
    deals.wait_quiet(referral)
    assert standing(deals, referral) == before
    deals.partner_center.edit_referral(referral, details={"dealValue": 777})  # heard of, and not to be read
    wait_until(lambda: standing(deals, referral) == [("rests", "referral_gone")], DEADLINE, "the deal rests, in the audit")
    deals.wait_quiet(referral)
    # The seller is told, once; the CRM's record stays as it is otherwise, and what a seller does with it goes nowhere.
    [told] = deals.patches_since(position, referral)
    assert list(told) == [AUDIT] and "not visible in Partner Center" in told[AUDIT]
    center = deals.partner_center.position()
    deals.dynamics_365.edit_row("opportunities", row["opportunityid"], description="Meanwhile")
    deals.wait_quiet(referral)
    assert deals.partner_center.journal(center, "PATCH") == []
    assert standing(deals, referral) == [("rests", "referral_gone")]
    deals.partner_center.hide_referral(referral, "visible")
    deals.partner_center.edit_referral(referral, referralProgram="Back again")
    wait_until(
        lambda: float((deals.opportunity(referral) or row)["estimatedvalue"]) == 777
        and deals.referral(referral)["details"]["notes"] == "Meanwhile",
        DEADLINE,
        "the deal goes on with what both sides have changed",
    )
    assert deals.stack.topics.read("dead-letters") == []


def test_backfill_finds_a_referral_that_is_visible_again(deals: Deals) -> None:
    """Nothing of the referral changes, so that nobody tells of it."""
    referral = deals.new("private")
    row = deals.opportunity(referral)
    assert row is not None
    deals.partner_center.hide_referral(referral)
    deals.dynamics_365.edit_row("opportunities", row["opportunityid"], description="Written meanwhile")
    wait_until(lambda: standing(deals, referral) == [("rests", "referral_gone")], DEADLINE, "the deal rests, in the audit")
    deals.wait_quiet(referral)
    deals.partner_center.hide_referral(referral, "visible")
    deals.dynamics_365.edit_row("opportunities", row["opportunityid"], estimatedvalue=4321)
    deals.wait_quiet(referral)
    assert standing(deals, referral) == [("rests", "referral_gone")]  # an edit in the CRM does not look there
    deals.stack.command("ingest", "backfill", "--again", "--linked-only")

    def goes_on() -> bool:
        details = deals.referral(referral)["details"]
        return (details["notes"], details["dealValue"]) == ("Written meanwhile", 4321)

    wait_until(goes_on, DEADLINE, "what was written meanwhile leaves")
    deals.wait_quiet(referral)
    assert standing(deals, referral)[0][0] == "applied"
