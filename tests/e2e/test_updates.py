"""A change in Partner Center is one PATCH with the changed columns; no change is no call."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from support.deals import DEADLINE, Deals
from support.waiting import wait_until

AUDIT = "msft_microsoftpartnercenterreferralsyncaudit"
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "deal value": ({"details": {"dealValue": 61500.25}}, {"estimatedvalue": 61500.25}),
    "closing date": ({"details": {"closingDateTime": "2031-03-31T00:00:00Z"}}, {"estimatedclosedate": "2031-03-31"}),
    "notes": ({"details": {"notes": "The board has agreed."}}, {"description": "The board has agreed."}),
    "name": ({"name": "Renamed rollout"}, {"name": "✔ Renamed rollout"}),
    "referral program": ({"referralProgram": "Spring"}, {"msft_microsoftpartnercenterreferralprogram": "Spring"}),
    "visibility": (
        {"consent": {"consentToShareReferralWithMicrosoftSellers": True}},
        {"msft_microsoftpartnercenterreferralvisible": True},
    ),
    "two fields": (
        {"details": {"dealValue": 7, "notes": "Smaller."}},
        {"estimatedvalue": 7, "description": "Smaller."},
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_change_is_one_patch_of_the_changed_columns(deals: Deals, change: str) -> None:
    edit, expected = CHANGES[change]
    referral = deals.new("private")
    position = deals.position()
    deals.partner_center.edit_referral(referral, **edit)
    [patch] = wait_until(lambda: deals.patches_since(position, referral), DEADLINE, "the CRM got a PATCH")
    assert f"[{referral}#" in patch.pop(AUDIT)
    assert patch == expected
    deals.wait_quiet(referral)
    assert len(deals.patches_since(position, referral)) == 1
    # The webhook of our own write: known by its version, unless it overtook the write's outcome.
    assert deals.decisions(referral)[-1]["reason"] in ("echo", "waiting")


def test_currency_change_binds_the_other_currency(deals: Deals) -> None:
    referral = deals.new("private", details={"currency": "EUR"})
    deals.partner_center.edit_referral(referral, details={"currency": "GBP"})

    def is_bound() -> bool:
        row = deals.opportunity(referral)
        assert row is not None
        currency = deals.dynamics_365.row("transactioncurrencies", row["_transactioncurrencyid_value"])
        return bool(currency["isocurrencycode"] == "GBP")

    wait_until(is_bound, DEADLINE, "the opportunity is in pounds")


def test_unchanged_event_is_no_call_to_the_crm(deals: Deals) -> None:
    referral = deals.new("private")
    position, before = deals.position(), len(deals.decisions(referral))
    event = {"EventName": "referral-updated", "ResourceName": "referral", "AuditUri": None}
    event["ResourceUri"] = f"https://api.partnercenter.microsoft.com/engagements/v1/referrals/{referral}"
    event["ResourceChangeUtcDate"] = datetime.now(timezone.utc).isoformat()
    deals.partner_center.admin("POST", "/_sim/events", event)
    wait_until(lambda: len(deals.decisions(referral)) > before, DEADLINE, "the event has been decided on")
    deals.wait_quiet(referral)
    assert deals.dynamics_365.journal(position) == []
    assert deals.decisions(referral)[-1]["action"] == "none"


def test_sellers_edit_reaches_partner_center_once(deals: Deals) -> None:
    referral = deals.new("private")
    row = deals.opportunity(referral)
    assert row is not None
    before = int(deals.partner_center.admin("GET", "/_sim/journal")["next"])
    deals.dynamics_365.edit_row("opportunities", row["opportunityid"], estimatedvalue=4321.5)
    wait_until(
        lambda: float(deals.referral(referral)["details"]["dealValue"]) == 4321.5, DEADLINE, "the referral has the value"
    )
    deals.wait_quiet(referral)
    assert len(deals.partner_center.journal(before, "PATCH", referral)) == 1
