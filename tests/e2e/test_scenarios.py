"""Deals of every kind from either side: made, changed three times on alternating sides, closed; every field held on both."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from support.deals import DEADLINE, IDENTIFIER, Deals
from support.mapped_fields import compared, differences, linked
from support.stack import RULES
from support.waiting import wait_until

pytestmark = pytest.mark.asan

SETTINGS = {"partner_center": {"settling_time": "500ms"}}
HELP = "Quotes or Licensing"
OWNERS = [
    {"firstname": "Mira", "lastname": "Steg", "internalemailaddress": "mira.steg@fabrikam.example"},
    {"firstname": "Olav", "lastname": "Dahl", "internalemailaddress": "olav.dahl@fabrikam.example"},
]
ADDRESS = {"addressLine2": "Back entrance", "state": "Saxony"}
ACCOUNT = {"name": "Alpine Ferries AG", "address1_postalcode": "80331", "address1_country": "DE"} | {
    "address1_line1": "Musterkai 1",
    "address1_line2": "Hof 2",
    "address1_city": "München",
    "address1_stateorprovince": "Bayern",
}
SIDES = ("partner-center", "crm")


@dataclass(frozen=True)
class Scenario:
    """A deal as it is made, and how it ends. `takes_up` says how the party that was asked takes part."""

    born: str
    words: dict[str, Any]
    ends: str  # "won" or "lost"
    ends_in: str
    takes_up: str = "nobody"
    upgrade: dict[str, Any] = field(default_factory=dict)  # what the seller adds in the CRM's last edit

    @property
    def editors(self) -> list[str]:
        """Who edits, in order: never who made it first."""
        other = next(side for side in SIDES if side != self.born)
        return [other, self.born, other]


SCENARIOS = {
    "from Partner Center, Microsoft's": Scenario(
        "partner-center", {"kind": "microsoft-cosell"}, ends="won", ends_in="crm", takes_up="seller"
    ),
    "from Partner Center, co-sell": Scenario(
        "partner-center", {"kind": "partner-cosell"}, ends="lost", ends_in="crm", takes_up="microsoft"
    ),
    "from Partner Center, partner-led": Scenario(
        "partner-center", {"kind": "partner-led"}, ends="lost", ends_in="partner-center"
    ),
    "from Partner Center, private, then co-sell": Scenario(
        "partner-center", {"kind": "private"}, ends="won", ends_in="partner-center", upgrade={"help": HELP}
    ),
    "from the CRM, private": Scenario("crm", {"visible": False}, ends="won", ends_in="crm"),
    "from the CRM, partner-led, then co-sell": Scenario(
        "crm",
        {"visible": True, "intent": "HaveNotDecided"},
        ends="lost",
        ends_in="partner-center",
        upgrade={"help": "General or Other"},
    ),
    "from the CRM, co-sell": Scenario(
        "crm", {"help": HELP, "intent": "HaveNotDecided"}, ends="lost", ends_in="crm", takes_up="microsoft"
    ),
    "from the CRM, co-sell, won there": Scenario(
        "crm", {"help": HELP}, ends="won", ends_in="partner-center", takes_up="microsoft"
    ),
}


class Played:
    """One scenario and the deal it is played with."""

    def __init__(self, deals: Deals, scenario: Scenario) -> None:
        self.deals = deals
        self.scenario = scenario
        self.is_sellers = False
        if scenario.born == "crm":
            words = {"sync": True, "name": "Ferries", "account": ACCOUNT, **scenario.words}
            self.referral = deals.wait_identifier(deals.dynamics_365.add_deal(**words)["id"])
        else:
            self.referral = deals.new(**scenario.words, customerProfile={"address": ADDRESS})
        row = deals.opportunity(self.referral)
        assert row is not None
        self.opportunity = str(row["opportunityid"])

    def differences(self, is_new: bool) -> list[Any]:
        return differences(self.deals, self.referral, self.scenario.born, is_new, self.is_sellers)

    def wait_agreed(self, is_new: bool = False) -> None:
        try:
            wait_until(lambda: not self.differences(is_new), DEADLINE, "both sides agree on every field")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.differences(is_new)}") from None
        self.deals.wait_quiet(self.referral)
        assert self.differences(is_new) == []

    def take_up(self) -> None:
        if self.scenario.takes_up == "seller":  # by setting it in progress
            self.deals.dynamics_365.edit_row("opportunities", self.opportunity, statecode=0, statuscode=1)
            wait_until(lambda: self.status()[0] == "Active", DEADLINE, "the deal is accepted")
        if self.scenario.takes_up == "microsoft":
            self.deals.partner_center.microsoft_answers(self.referral, "accept", msxId="7-SCENARIO")

    def status(self) -> tuple[str, str]:
        referral = self.deals.referral(self.referral)
        return referral["status"], referral["substatus"]

    def edit(self, side: str, number: int) -> None:
        if side == "crm":
            self.edit_in_the_crm(number)
        else:
            self.edit_at_partner_center(number)

    def edit_at_partner_center(self, number: int) -> None:
        """Everything a partner changes there that the CRM takes."""
        self.deals.partner_center.edit_referral(
            self.referral,
            name=f"Renamed {number}",
            referralProgram=f"Programme {number}",
            consent={"consentToShareReferralWithMicrosoftSellers": True},
            details={
                "dealValue": 50_000 + number + 0.25,
                "currency": ["GBP", "USD", "EUR"][number % 3],
                "closingDateTime": f"2031-0{number + 1}-15T00:00:00Z",
                "notes": f"Größer als gedacht, edit {number}",
            },
        )

    def edit_in_the_crm(self, number: int) -> None:
        """Everything a seller changes there that Partner Center takes."""
        person = {"firstname": "Kari", "lastname": f"Nord{number}", "emailaddress1": f"kari.nord{number}@example.com"}
        is_last = number >= len(self.scenario.editors) - 1
        self.deals.dynamics_365.edit_deal(
            self.opportunity,
            estimatedvalue=70_000 + number + 0.75,
            currency=["EUR", "GBP", "USD"][number % 3],
            estimatedclosedate=f"2032-0{number + 1}-28",
            description=f"From the CRM, edit {number}",
            visible=True,
            contact={**person, "telephone1": f"+47 22 00 00 0{number}"},
            owner=OWNERS[number % 2],
            solutions=[
                {"id": f"SOL-2000{number}-XYZ", "name": f"Hub {number}", "price": 10 + number, "quantity": number + 1},
                {"id": "SOL-10001-AAA", "name": "Fabrikam Supply Hub", "price": 11.5, "quantity": 2},
            ],
            **(self.scenario.upgrade if is_last else {}),
        )
        self.is_sellers = True

    def end(self) -> None:
        if self.scenario.ends_in == "crm":
            self.deals.dynamics_365.close_deal(self.opportunity, self.scenario.ends)
        else:
            self.deals.partner_center.edit_referral(
                self.referral, status="Closed", substatus=self.scenario.ends.capitalize()
            )
        states = {"won": 1, "lost": 2}

        def is_closed() -> bool:
            row = self.deals.opportunity(self.referral)
            assert row is not None
            is_there = self.status() == ("Closed", self.scenario.ends.capitalize())
            return is_there and row["statecode"] == states[self.scenario.ends]

        wait_until(is_closed, DEADLINE, f"the deal is {self.scenario.ends} on both sides")

    def check_the_end(self) -> None:
        stack = self.deals.stack
        assert stack.topics.read("dead-letters") == []
        assert stack.audit("SELECT * FROM verify_audit()") == []
        rows = [each for each in stack.opportunities() if each[IDENTIFIER] == self.referral]
        assert len(rows) == 1
        assert [each["id"] for each in self.deals.referrals_of(self.opportunity)] == [self.referral]


def play(deals: Deals, name: str) -> Played:
    played = Played(deals, SCENARIOS[name])
    played.wait_agreed(is_new=True)
    played.take_up()
    for number, side in enumerate(played.scenario.editors, start=1):
        played.edit(side, number)
        played.wait_agreed()
    played.end()
    played.wait_agreed()
    played.check_the_end()
    return played


@pytest.fixture(scope="module")
def all_played() -> dict[str, Played]:
    """Those that were played so far."""
    return {}


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(deals: Deals, all_played: dict[str, Played], name: str) -> None:
    all_played[name] = play(deals, name)


def test_every_field_of_the_default_rules_is_written_and_compared(deals: Deals, all_played: dict[str, Played]) -> None:
    """In each direction it has."""
    for name in SCENARIOS:
        if name not in all_played:
            all_played[name] = play(deals, name)
    fields = yaml.safe_load(RULES.read_text())["fields"]
    seen = {
        field
        for played in all_played.values()
        for field, *_ in compared(linked(deals, played.referral), played.scenario.born, True, True)
    }
    assert {each["name"] for each in fields} - seen == set()
    written = {
        (change["name"], decision["target"])
        for played in all_played.values()
        for key in (played.referral, f"crm:{played.opportunity}")
        for decision in deals.decisions(key)
        if decision["action"] != "none"
        for change in decision["fields"]
    }
    assert {(each["name"], side) for each in fields for side in sides_written(each)} - written == set()


def sides_written(rule: dict[str, Any]) -> set[str]:
    if "direction" in rule:
        return {rule["direction"].removeprefix("to-")}
    return {side for side in SIDES if side.replace("-", "_") in rule}
