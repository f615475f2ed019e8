"""Deals of every kind from either side: made, then changed three times on alternating sides, every field held on both."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from support.deals import DEADLINE, Deals
from support.mapped_fields import compared, differences, linked
from support.stack import RULES
from support.waiting import wait_until

pytestmark = pytest.mark.asan

IDENTIFIER = "msft_microsoftpartnercenterreferralidentifier"
SETTINGS = {"partner_center": {"settling_time": "500ms"}}
HELP = "Quotes or Licensing"
OWNERS = [
    {"firstname": "Mira", "lastname": "Steg", "internalemailaddress": "mira.steg@fabrikam.example"},
    {"firstname": "Olav", "lastname": "Dahl", "internalemailaddress": "olav.dahl@fabrikam.example"},
]


def wait_agreed(deals: Deals, referral: str, born: str, is_new: bool = False) -> None:
    try:
        wait_until(lambda: not differences(deals, referral, born, is_new), DEADLINE, "both sides agree on every field")
    except AssertionError as error:
        raise AssertionError(f"{error}: {differences(deals, referral, born, is_new)}") from None
    deals.wait_quiet(referral)
    assert differences(deals, referral, born, is_new) == []


def edit_at_partner_center(deals: Deals, referral: str, number: int) -> None:
    """Everything a partner changes there that the CRM takes."""
    deals.partner_center.edit_referral(
        referral,
        referralProgram=f"Programme {number}",
        details={
            "dealValue": 50_000 + number + 0.25,
            "currency": ["GBP", "USD", "EUR"][number % 3],
            "closingDateTime": f"2031-0{number + 1}-15T00:00:00Z",
            "notes": f"Größer als gedacht, edit {number}",
        },
    )


def edit_in_the_crm(deals: Deals, referral: str, number: int) -> None:
    """Everything a seller changes there that Partner Center takes."""
    row = deals.opportunity(referral)
    assert row is not None
    person = {"firstname": "Kari", "lastname": f"Nord{number}", "emailaddress1": f"kari.nord{number}@example.com"}
    deals.dynamics_365.admin(
        "PATCH",
        f"/_sim/opportunities/{row['opportunityid']}",
        {
            "estimatedvalue": 70_000 + number + 0.75,
            "currency": ["EUR", "GBP", "USD"][number % 3],
            "estimatedclosedate": f"2032-0{number + 1}-28",
            "description": f"From the CRM, edit {number}",
            "visible": True,
            "contact": {**person, "telephone1": f"+47 22 00 00 0{number}"},
            "owner": OWNERS[number % 2],
            "solutions": [
                {"id": f"SOL-2000{number}-XYZ", "name": f"Hub {number}", "price": 10 + number, "quantity": number + 1},
                {"id": "SOL-10001-AAA", "name": "Fabrikam Supply Hub", "price": 11.5, "quantity": 2},
            ],
        },
    )


def check_the_end(deals: Deals, referral: str) -> None:
    assert deals.stack.topics.read("dead-letters") == []
    assert deals.stack.audit("SELECT * FROM verify_audit()") == []
    rows = [each for each in deals.stack.opportunities() if each[IDENTIFIER] == referral]
    assert len(rows) == 1


@pytest.mark.parametrize("kind", ["microsoft-cosell", "partner-cosell", "partner-led", "private"])
def test_deal_from_partner_center(deals: Deals, kind: str) -> None:
    referral = deals.new(kind)
    wait_agreed(deals, referral, "partner-center", is_new=True)
    if kind == "microsoft-cosell":
        # The seller takes it up by setting it in progress.
        row = deals.opportunity(referral)
        assert row is not None
        deals.dynamics_365.edit_row("opportunities", row["opportunityid"], statecode=0, statuscode=1)
        wait_until(lambda: deals.referral(referral)["status"] == "Active", DEADLINE, "the deal is accepted")
    if kind == "partner-cosell":
        microsofts = linked(deals, referral).microsofts
        assert microsofts is not None
        answer = {"answer": "accept", "msxId": "7-SCENARIO"}
        deals.partner_center.admin("POST", f"/_sim/referrals/{referral}/microsoft", answer)
    edit_in_the_crm(deals, referral, 1)
    wait_agreed(deals, referral, "partner-center")
    edit_at_partner_center(deals, referral, 2)
    wait_agreed(deals, referral, "partner-center")
    edit_in_the_crm(deals, referral, 3)
    wait_agreed(deals, referral, "partner-center")
    check_the_end(deals, referral)


@pytest.mark.parametrize(
    "words",
    [
        {"visible": False},
        {"visible": True, "intent": "HaveNotDecided"},
        {"help": HELP, "intent": "HaveNotDecided"},
    ],
    ids=["private", "partner-led", "co-sell"],
)
def test_deal_from_the_crm(deals: Deals, words: dict[str, Any]) -> None:
    made = deals.dynamics_365.admin("POST", "/_sim/opportunities", {"sync": True, "name": "Ferries", **words})
    referral = wait_until(
        lambda: deals.dynamics_365.row("opportunities", made["id"])[IDENTIFIER], DEADLINE, "it has its identifier"
    )
    wait_agreed(deals, referral, "crm", is_new=True)
    if "help" in words:
        answer = {"answer": "accept", "msxId": "7-SCENARIO"}
        deals.partner_center.admin("POST", f"/_sim/referrals/{referral}/microsoft", answer)
    edit_at_partner_center(deals, referral, 1)
    wait_agreed(deals, referral, "crm")
    edit_in_the_crm(deals, referral, 2)
    wait_agreed(deals, referral, "crm")
    edit_at_partner_center(deals, referral, 3)
    wait_agreed(deals, referral, "crm")
    check_the_end(deals, referral)


def test_every_field_of_the_default_rules_is_compared(deals: Deals) -> None:
    made = deals.dynamics_365.admin("POST", "/_sim/opportunities", {"sync": True, "name": "All of them", "help": HELP})
    there = wait_until(
        lambda: deals.dynamics_365.row("opportunities", made["id"])[IDENTIFIER], DEADLINE, "it has its identifier"
    )
    here = deals.new("partner-cosell")
    found = compared(linked(deals, there), "crm", True) + compared(linked(deals, here), "partner-center", True)
    rules = yaml.safe_load(RULES.read_text())
    assert {each["name"] for each in rules["fields"]} - {name for name, *_ in found} == set()
