"""Microsoft answers, deals are won, lost, declined or expire: what the opportunity then shows."""

from __future__ import annotations

import pytest
from support.deals import DEADLINE, Deals
from support.waiting import wait_until

pytestmark = pytest.mark.asan

AUDIT = "msft_microsoftpartnercenterreferralsyncaudit"


def test_microsoft_accepts(deals: Deals) -> None:
    referral = deals.new("partner-cosell")
    deals.partner_center.microsoft_answers(referral, "accept", msxId="7-ABCDEF0001")

    def has_identifier() -> bool:
        row = deals.opportunity(referral)
        return bool(row and row.get("msft_microsoftcrmidentifier") == "7-ABCDEF0001")

    wait_until(has_identifier, DEADLINE, "the opportunity has Microsoft's CRM identifier")


def test_microsoft_declines(deals: Deals) -> None:
    referral = deals.new("partner-cosell")
    deals.partner_center.microsoft_answers(referral, "decline", reason="No seller manages the customer")

    def tells() -> bool:
        row = deals.opportunity(referral)
        return bool(row and "Declined" in row[AUDIT] and "No seller manages the customer" in row[AUDIT])

    wait_until(tells, DEADLINE, "the audit text tells that Microsoft declined, and why")


CLOSINGS = {
    "Won": ("private", 1, 3, "WinOpportunity"),
    "Lost": ("private", 2, 5, "LoseOpportunity"),
    "Declined": ("microsoft-cosell", 2, 4, "LoseOpportunity"),
    "Expired": ("microsoft-cosell", 2, 4, "LoseOpportunity"),
}


@pytest.mark.parametrize("substatus", CLOSINGS)
def test_closed_deal_closes_the_opportunity(deals: Deals, substatus: str) -> None:
    kind, state, status, action = CLOSINGS[substatus]
    referral = deals.new(kind)
    position = deals.position()
    deals.partner_center.edit_referral(referral, status="Closed", substatus=substatus)

    def is_closed() -> bool:
        row = deals.opportunity(referral)
        return bool(row and (row["statecode"], row["statuscode"]) == (state, status))

    wait_until(is_closed, DEADLINE, f"the opportunity is closed as {substatus}")
    deals.wait_quiet(referral)
    assert len(deals.dynamics_365.journal(position, "POST", action)) == 1


def test_closed_deal_gets_no_further_write(deals: Deals) -> None:
    referral = deals.new("private")
    deals.partner_center.edit_referral(referral, status="Closed", substatus="Won")
    wait_until(lambda: (deals.opportunity(referral) or {})["statecode"] == 1, DEADLINE, "the opportunity is won")
    deals.wait_quiet(referral)
    position, before = deals.position(), len(deals.decisions(referral))
    deals.partner_center.edit_referral(referral, details={"notes": "Written after the end"})
    wait_until(lambda: len(deals.decisions(referral)) > before, DEADLINE, "the change has been decided on")
    deals.wait_quiet(referral)
    assert deals.patches_since(position, referral) == []
    assert deals.decisions(referral)[-1]["reason"] == "crm_closed"
