"""Many events at once: folded for one deal, in order for many."""

from __future__ import annotations

import json

import pytest
from support.deals import Deals
from support.simulators import unheard
from support.waiting import wait_until

MANY = 100
MANY_SECONDS = 90
SOME = 10
READ_MS = 1500
WAVES = (2, 3, 4)
COLUMN = "msft_microsoftpartnercenterreferralidentifier"


@pytest.mark.parametrize("kind", ["private", "partner-cosell"])
def test_ten_events_of_one_deal_are_at_most_two_reads_and_two_patches(deals: Deals, kind: str) -> None:
    referral = deals.new(kind)
    with unheard(deals.partner_center):
        for k in range(10):
            deals.partner_center.edit_referral(referral, details={"dealValue": 1000 + k})
        crm, center = deals.position(), deals.partner_center.position()
        # The burst comes within one read, however busy this machine is.
        deals.partner_center.fault("delay", "GET", f"/referrals/{referral}", delay_ms=READ_MS)
    wait_until(
        lambda: float((deals.opportunity(referral) or {})["estimatedvalue"]) == 1009, 30, "the last value has arrived"
    )
    deals.wait_quiet(referral)
    assert len(deals.partner_center.journal(center, "GET", f"/referrals/{referral}")) <= 2
    assert len(deals.patches_since(crm, referral)) <= 2


def test_a_hundred_deals_side_by_side_each_in_order(deals: Deals) -> None:
    referrals = [deals.partner_center.add_referral(kind="private")["id"] for _ in range(MANY)]
    for referral in referrals:
        deals.partner_center.edit_referral(referral, details={"dealValue": 1})

    def showing(value: int) -> int:
        """How many of the deals have an opportunity of this value."""
        found = [row[COLUMN] for row in deals.stack.opportunities() if float(row["estimatedvalue"]) == value]
        return len(set(found) & set(referrals))

    wait_until(lambda: showing(1) == MANY, MANY_SECONDS, "every opportunity shows its deal's value")
    deals.wait_quiet(referrals[-1])
    opportunities = {row["opportunityid"]: row[COLUMN] for row in deals.stack.opportunities() if row[COLUMN] in referrals}
    assert len(opportunities) == MANY

    # Waves of edits; the next one begins as soon as some deals, and not nearly all, show the last.
    position = deals.position()
    for value in WAVES:
        for referral in referrals:
            deals.partner_center.edit_referral(referral, details={"dealValue": value})
        wait_until(lambda: showing(value) >= SOME, MANY_SECONDS, f"{SOME} opportunities show {value}")
    wait_until(lambda: showing(WAVES[-1]) == MANY, MANY_SECONDS, "every opportunity shows its deal's last value")
    deals.wait_quiet(referrals[-1])

    written: dict[str, list[float]] = {referral: [] for referral in referrals}
    entries = deals.dynamics_365.journal(position, "PATCH", "/opportunities(")
    for entry in sorted(entries, key=lambda each: each["arrival"]):
        assert entry["status"] < 300
        key = entry["path"].partition("opportunities(")[2].rstrip(")")
        written[opportunities[key]].append(float(json.loads(entry["body"])["estimatedvalue"]))
    assert sum(len(values) >= 2 for values in written.values()) >= SOME
    # Rising, without repeats, and to the last: no value came after a newer one, none was written twice.
    for referral, values in written.items():
        assert values == sorted(set(values)) and values[-1] == WAVES[-1], (referral, values)
