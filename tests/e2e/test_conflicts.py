"""The same field changed on both sides at once: settled by the field's policy, both values kept in the audit."""

from __future__ import annotations

from typing import Any

from support.deals import DEADLINE, Deals
from support.waiting import wait_until


def conflicts_of(deals: Deals, referral: str) -> list[tuple[Any, ...]]:
    return deals.stack.audit(
        "SELECT field, partner_center, crm, policy, winner FROM conflicts WHERE deal_key = %s ORDER BY created_at", referral
    )


def test_late_knowledge_of_a_sellers_edit_is_a_412_and_merged_at_once(deals: Deals) -> None:
    """The CRM's webhooks are held back, so the write meets a version the mapper has not seen."""
    referral = deals.new("private")
    row = deals.opportunity(referral)
    assert row is not None
    deals.dynamics_365.delivery_policy(paused=True)
    try:
        position = deals.position()
        deals.dynamics_365.edit_row("opportunities", row["opportunityid"], description="The seller's words")
        deals.partner_center.edit_referral(referral, details={"dealValue": 777})

        def is_merged() -> bool:
            now, ours = deals.opportunity(referral), deals.referral(referral)
            assert now is not None
            return float(now["estimatedvalue"]) == 777 and ours["details"]["notes"] == "The seller's words"

        wait_until(is_merged, DEADLINE, "both edits stand on both sides")
        answers = [each["status"] for each in deals.dynamics_365.journal(position, "PATCH", "opportunities(")]
        assert 412 in answers
        results = [each["result"] for each in deals.stack.timeline(referral) if each["phase"] == "outcome"]
        assert "conflict" in results
    finally:
        deals.dynamics_365.delivery_policy(paused=False)


def test_policy_partner_center_wins_the_visible_conflict(deals: Deals) -> None:
    referral = deals.new("private")
    row = deals.opportunity(referral)
    assert row is not None
    deals.dynamics_365.delivery_policy(paused=True)
    try:
        # visibility: the policy is Partner Center's, the default
        deals.dynamics_365.edit_row("opportunities", row["opportunityid"], estimatedclosedate="2032-02-02")
        deals.partner_center.edit_referral(referral, details={"closingDateTime": "2033-03-03T00:00:00Z"})

        def is_settled() -> bool:
            now, ours = deals.opportunity(referral), deals.referral(referral)
            assert now is not None
            return bool(now["estimatedclosedate"] == ours["details"]["closingDateTime"][:10] and conflicts_of(deals, referral))

        wait_until(is_settled, DEADLINE, "both sides show one of the two dates")
        [(field, center, crm, policy, winner)] = conflicts_of(deals, referral)
        assert (field, center, crm, policy) == ("closing_date", "2033-03-03T00:00:00Z", "2032-02-02", "latest")
        assert winner in ("partner-center", "crm")
    finally:
        deals.dynamics_365.delivery_policy(paused=False)
