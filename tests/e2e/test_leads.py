"""Leads are no deals: they are left alone, and so is what nobody knows, loudly."""

from __future__ import annotations

import pytest
from support.deals import DEADLINE, Deals
from support.waiting import wait_until

pytestmark = pytest.mark.asan


@pytest.mark.parametrize("kind", ["marketplace-lead", "qualified-lead"])
def test_lead_is_not_taken_up(deals: Deals, kind: str) -> None:
    lead = deals.partner_center.add_referral(kind=kind)["id"]
    wait_until(lambda: deals.decisions(lead), DEADLINE, "the lead has been decided on")
    deals.wait_quiet(lead)
    assert {(each["action"], each["reason"]) for each in deals.decisions(lead)} == {("none", "left_out")}
    assert deals.opportunity(lead) is None and deals.referral(lead).get("externalReferenceId") is None


def test_unknown_kind_is_set_aside_and_audited(deals: Deals) -> None:
    referral = deals.partner_center.add_referral(kind="private", qualification="MarketingQualified")["id"]
    query = "SELECT reason, error_code FROM failures_today WHERE deal_key = %s"
    wait_until(
        lambda: deals.stack.audit(query, referral) == [("mapper", "rules.unclassified")], DEADLINE, "somebody is told"
    )
    assert deals.opportunity(referral) is None
