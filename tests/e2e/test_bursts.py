"""Many events at once: folded for one deal, in order for many."""

from __future__ import annotations

import json

from support.deals import Deals
from support.waiting import wait_until

MANY = 100
MANY_SECONDS = 90


def test_ten_events_of_one_deal_are_at_most_two_reads_and_two_patches(deals: Deals) -> None:
    referral = deals.new("private")
    deals.partner_center.delivery_policy(paused=True)
    for k in range(10):
        deals.partner_center.edit_referral(referral, details={"dealValue": 1000 + k})
    crm, center = deals.position(), int(deals.partner_center.admin("GET", "/_sim/journal")["next"])
    deals.partner_center.delivery_policy(paused=False)
    wait_until(
        lambda: float((deals.opportunity(referral) or {})["estimatedvalue"]) == 1009, 30, "the last value has arrived"
    )
    deals.wait_quiet(referral)
    assert len(deals.partner_center.journal(center, "GET", f"/referrals/{referral}")) <= 2
    assert len(deals.patches_since(crm, referral)) <= 2


def test_a_hundred_deals_side_by_side_each_in_order(deals: Deals) -> None:
    position = deals.position()
    referrals = [deals.partner_center.add_referral(kind="private")["id"] for _ in range(MANY)]
    for value in (1, 2):
        for referral in referrals:
            deals.partner_center.edit_referral(referral, details={"dealValue": value})
    column = "msft_microsoftpartnercenterreferralidentifier"

    def all_agree() -> bool:
        rows = {row[column]: row for row in deals.stack.opportunities() if row.get(column)}
        return all(each in rows and float(rows[each]["estimatedvalue"]) == 2 for each in referrals)

    wait_until(all_agree, MANY_SECONDS, "every opportunity shows its deal's last value")
    deals.wait_quiet(referrals[-1])
    identifiers = [row[column] for row in deals.stack.opportunities() if row.get(column) in set(referrals)]
    assert len(identifiers) == len(set(identifiers)) == MANY
    # Per deal the CRM never saw an older value after a newer one.
    seen: dict[str, float] = {}
    for entry in deals.dynamics_365.journal(position, "PATCH", "/opportunities("):
        if entry["status"] >= 300:
            continue
        value = json.loads(entry["body"]).get("estimatedvalue")
        if value is not None and entry["path"] in seen:
            assert float(value) >= seen[entry["path"]]
        if value is not None and "referralidentifier=" not in entry["path"]:
            seen[entry["path"]] = float(value)
