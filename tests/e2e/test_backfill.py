"""Organisations that hold deals already: after a backfill both sides agree, and what is ambiguous is as it was."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.deals import Deals
from support.waiting import wait_until

pytestmark = pytest.mark.asan

SETTINGS = {"ingest": {"backfill": {"per_second": 20, "page_rows": 7}}}
LINKED, ONLY_REFERRALS, ONLY_ROWS = 10, 10, 5
DEADLINE = 90
IDENTIFIER = "msft_microsoftpartnercenterreferralidentifier"
ON_HOLD = {"statecode": 0, "statuscode": 2}
LISTS = "/v1.0/engagements/referrals"


def make_row(deals: Deals, identifier: str | None = None, **words: Any) -> str:
    made = str(deals.dynamics_365.add_deal(**{"name": "Existing", "sync": True, **words})["id"])
    if identifier is not None:
        deals.dynamics_365.edit_row("opportunities", made, **{IDENTIFIER: identifier})
    return made


def make_referral(deals: Deals, row: str | None = None, **more: Any) -> str:
    return str(deals.partner_center.add_referral(kind="private", externalReferenceId=row, **more)["id"])


def make_linked(deals: Deals, number: int) -> str:
    """As the connector has left it: linked both ways, and with fields that differ since."""
    row = make_row(deals, description=f"of the CRM {number}", estimatedvalue=2000 + number)
    details = {"dealValue": 1000 + number, "notes": f"of Partner Center {number}"}
    referral = make_referral(deals, row, details=details)
    deals.dynamics_365.edit_row("opportunities", row, **{IDENTIFIER: referral})
    return referral


def make_ambiguous(deals: Deals) -> dict[str, tuple[list[str], list[str]]]:
    """By reason: referrals and rows that are to stay as they are."""
    twice, contradicted = make_referral(deals), make_row(deals)
    deals.dynamics_365.settings(alternate_key_status="Failed")
    found = {"identifier_twice": ([twice], [make_row(deals, twice), make_row(deals, twice)])}
    deals.dynamics_365.settings(alternate_key_status="Active")
    claiming = make_referral(deals, contradicted)
    found["links_contradict"] = ([claiming], [contradicted, make_row(deals, claiming)])
    hidden = make_referral(deals, _sim={"visible": "404"})
    found["referral_not_visible"] = ([hidden], [make_row(deals, hidden)])
    found["reference_foreign"] = ([make_referral(deals, "OPP-4711")], [])
    return found


def seen(deals: Deals, ambiguous: dict[str, tuple[list[str], list[str]]]) -> list[Any]:
    return [
        [deals.referral(each) for each in referrals]
        + [deals.dynamics_365.row("opportunities", each) for each in rows]
        for referrals, rows in ambiguous.values()
    ]


def agrees(deals: Deals, referral: str) -> bool:
    row, there = deals.opportunity(referral), deals.referral(referral)
    if row is None or str(there["externalReferenceId"]).lower() != row["opportunityid"]:
        return False
    details = there["details"]
    return (float(details["dealValue"]), details["notes"], details["closingDateTime"][:10], details["currency"]) == (
        float(row["estimatedvalue"]),
        row["description"],
        row["estimatedclosedate"],
        deals.dynamics_365.deal(row["opportunityid"])["currency"],
    )


def referral_of(deals: Deals, row: str) -> str | None:
    return deals.dynamics_365.row("opportunities", row)[IDENTIFIER]


def wait_answered(deals: Deals) -> None:
    """Every notification of a backfill has been answered by a reading, and nothing is under way."""

    def is_answered() -> bool:
        found = deals.stack.topics.read_each("notifications", "records")
        told = Counter(
            each.headers["ce_id"].decode()
            for each in found["notifications"]
            if json.loads(each.value or b"{}")["origin"] == "backfill"
        )
        causes = (cause for each in found["records"] for cause in json.loads(each.value or b"{}").get("causes") or [])
        return told == Counter(cause["notification"] for cause in causes if cause["origin"] == "backfill")

    wait_until(is_answered, DEADLINE, "all records that were told have been read")
    deals.wait_quiet("any")


def test_existing_deals_agree_after_a_backfill(deals: Deals, tmp_path: Path) -> None:
    simulators = (deals.partner_center, deals.dynamics_365)
    for simulator in simulators:
        simulator.delivery_policy(drop=1.0)
    linked = [make_linked(deals, number) for number in range(LINKED)]
    on_hold = deals.opportunity(linked[0])["opportunityid"]
    deals.dynamics_365.edit_row("opportunities", on_hold, **ON_HOLD)
    alone = [make_referral(deals) for _ in range(ONLY_REFERRALS)]
    new = [make_row(deals, name=f"New {number}") for number in range(ONLY_ROWS)]
    ambiguous = make_ambiguous(deals)
    untouched = seen(deals, ambiguous)
    for simulator in simulators:
        simulator.delivery_policy(drop=0.0)

    report = tmp_path / "report.jsonl"
    deals.stack.command("ingest", "backfill", "--report", str(report))
    wait_answered(deals)
    born = wait_until(
        lambda: all(referral_of(deals, each) for each in new) and [str(referral_of(deals, each)) for each in new],
        DEADLINE,
        "the rows of sellers are referrals",
    )
    for referral in linked + alone + born:
        wait_until(lambda referral=referral: agrees(deals, referral), DEADLINE, f"both sides of {referral} agree")
    deals.wait_quiet("any")
    for number, referral in enumerate(linked):
        assert deals.referral(referral)["details"]["dealValue"] in (1000 + number, 2000 + number)
    # Which says nothing to Partner Center, where the deal is active.
    assert deals.dynamics_365.row("opportunities", on_hold)["statuscode"] == ON_HOLD["statuscode"]

    # No duplicates, and the ambiguous are as they were.
    referrals = deals.partner_center.referrals()
    ambiguous_referrals = sum(len(referrals) for referrals, _ in ambiguous.values())
    ambiguous_rows = sum(len(rows) for _, rows in ambiguous.values())
    assert len(referrals) == LINKED + ONLY_REFERRALS + ONLY_ROWS + ambiguous_referrals
    assert len(deals.stack.opportunities()) == LINKED + ONLY_REFERRALS + ONLY_ROWS + ambiguous_rows
    assert seen(deals, ambiguous) == untouched
    assert {json.loads(line)["reason"] for line in report.read_text().splitlines()} == set(ambiguous)

    # Once more, from the beginning: everything is read, nothing is written.
    positions = [simulator.position() for simulator in simulators]
    deals.stack.command("ingest", "backfill", "--again")
    wait_answered(deals)
    for simulator, position in zip(simulators, positions):
        entries = [each for each in simulator.journal(position) if "token" not in each["path"]]
        assert entries and {each["method"] for each in entries} == {"GET"}
    assert seen(deals, ambiguous) == untouched
