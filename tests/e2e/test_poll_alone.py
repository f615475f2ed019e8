"""No webhook of either system arrives, ever: asking alone brings both to agree on every field, and then nothing is written."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.deals import DEADLINE, Deals
from support.ingest import metrics
from support.mapped_fields import differences, linked
from support.waiting import wait_until

SETTINGS = {
    "ingest": {"poll": {"interval": "500ms", "engagement_interval": "1s"}},
    "partner_center": {"settling_time": "500ms"},
}
AGREED_SECONDS = 60
STILL_ROUNDS = 12
IDENTIFIER = "msft_microsoftpartnercenterreferralidentifier"
ROWS, DETAILS = "msft_microsoftsolutions", "msft_microsoftsolutiondetails"
HELP = "Quotes or Licensing"
OWNERS = [
    {"firstname": "Mira", "lastname": "Steg", "internalemailaddress": "mira.steg@fabrikam.example"},
    {"firstname": "Olav", "lastname": "Dahl", "internalemailaddress": "olav.dahl@fabrikam.example"},
]
WON, LOST = ("Closed", "Won"), ("Closed", "Lost")

pytestmark = pytest.mark.asan


@dataclass
class Deal:
    """A deal, and what becomes of it. `answer`: Microsoft's; `closed`: the side it ends on."""

    born: str
    words: dict[str, Any]
    end: tuple[str, str]
    closed: str
    answer: str = ""
    help_later: str = ""
    referral: str = ""
    opportunity: str = ""
    expected: dict[str, Any] = field(default_factory=dict)  # the last edits of the details, at Partner Center


def all_kinds() -> list[Deal]:
    return [
        Deal("partner-center", {"kind": "microsoft-cosell"}, WON, "crm"),
        Deal("partner-center", {"kind": "partner-cosell"}, LOST, "crm", answer="accept"),
        Deal("partner-center", {"kind": "partner-led"}, WON, "partner-center"),
        Deal("partner-center", {"kind": "private"}, LOST, "partner-center"),
        Deal("crm", {"name": "Private"}, LOST, "crm"),
        Deal("crm", {"name": "Later with help"}, WON, "crm", help_later="General or Other"),
        Deal("crm", {"name": "Partner-led", "visible": True, "intent": "HaveNotDecided"}, LOST, "partner-center"),
        Deal("crm", {"name": "Co-sell", "help": HELP, "intent": "HaveNotDecided"}, WON, "partner-center", answer="accept"),
        Deal("crm", {"name": "Declined co-sell", "help": HELP}, LOST, "crm", answer="decline"),
    ]


class Played:
    """All deals at once, on both sides."""

    def __init__(self, deals: Deals) -> None:
        self.deals = deals
        self.center = deals.partner_center
        self.crm = deals.dynamics_365
        self.all = all_kinds()

    def begin(self) -> None:
        for deal in self.all:
            if deal.born == "crm":
                deal.opportunity = self.crm.admin("POST", "/_sim/opportunities", {"sync": True, **deal.words})["id"]
            else:
                deal.referral = self.center.add_referral(**deal.words)["id"]
        wait_until(self.are_linked, AGREED_SECONDS, "every deal is on both sides")

    def are_linked(self) -> bool:
        referrals = {each["id"]: each for each in self.center.admin("GET", "/_sim/referrals")["referrals"]}
        rows = {row[IDENTIFIER]: row for row in self.deals.stack.opportunities() if row[IDENTIFIER]}
        for deal in self.all:
            if deal.born == "crm":
                deal.referral = self.crm.row("opportunities", deal.opportunity)[IDENTIFIER] or ""
            elif deal.referral in rows:
                deal.opportunity = rows[deal.referral]["opportunityid"]
        return all(
            deal.opportunity and referrals.get(deal.referral, {}).get("externalReferenceId") == deal.opportunity
            for deal in self.all
        )

    def differences(self, is_new: bool) -> list[str]:
        return [
            f"{deal.born} {deal.words}: {each}"
            for deal in self.all
            for each in differences(self.deals, deal.referral, deal.born, is_new)
        ]

    def wait_agreed(self, is_new: bool = False) -> None:
        """On every field, and on what was edited last."""
        try:
            wait_until(lambda: not self.differences(is_new), AGREED_SECONDS, "both sides agree on every field")
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *self.differences(is_new)])) from None
        self.deals.wait_quiet(self.all[0].referral)
        assert self.differences(is_new) == []
        for deal in self.all:
            details = self.deals.referral(deal.referral)["details"]
            assert {name: details[name] for name in deal.expected} == deal.expected, deal.words

    def take_up(self) -> None:
        """Microsoft answers where it was asked, and so does our seller."""
        for deal in self.all:
            if deal.answer:
                more = {"msxId": "7-POLLEDALONE"} if deal.answer == "accept" else {}
                self.center.microsoft_answers(deal.referral, deal.answer, **more)
            if deal.words.get("kind") == "microsoft-cosell":
                self.crm.edit_row("opportunities", deal.opportunity, statecode=0, statuscode=1)

        def is_taken_up() -> bool:
            return all(self.deals.referral(each.referral)["status"] == "Active" for each in self.all)

        wait_until(is_taken_up, AGREED_SECONDS, "every deal is active")

    def edit_in_the_crm(self) -> None:
        """Everything a seller changes there that Partner Center takes."""
        for number, deal in enumerate(self.all):
            person = {"firstname": "Kari", "lastname": f"Nord{number}", "emailaddress1": f"kari.nord{number}@example.com"}
            more = {"help": deal.help_later} if deal.help_later else {}
            self.crm.admin(
                "PATCH",
                f"/_sim/opportunities/{deal.opportunity}",
                {
                    "estimatedvalue": 70_000 + number + 0.75,
                    "currency": "USD",
                    "estimatedclosedate": f"2032-03-1{number}",
                    "description": f"From the CRM, edit {number}",
                    "visible": True,
                    "contact": {**person, "telephone1": f"+47 22 00 00 0{number}"},
                    "owner": OWNERS[number % 2],
                    "solutions": [
                        {"id": f"SOL-2000{number}-XYZ", "name": f"Hub {number}", "price": 10 + number, "quantity": 3},
                        {"id": "SOL-10001-AAA", "name": "Fabrikam Supply Hub", "price": 11.5, "quantity": 2},
                    ],
                    **more,
                },
            )
            deal.expected = {
                "dealValue": 70_000 + number + 0.75,
                "currency": "USD",
                "closingDateTime": f"2032-03-1{number}T00:00:00Z",
                "notes": f"From the CRM, edit {number}",
            }

    def check_people(self) -> None:
        """Contact and owner go to Partner Center, wherever the deal began."""
        for number, deal in enumerate(self.all):
            referral = self.deals.referral(deal.referral)
            assert [each["email"] for each in referral["customerProfile"]["team"]] == [f"kari.nord{number}@example.com"]
            assert [each["email"] for each in referral["team"]] == [OWNERS[number % 2]["internalemailaddress"]]

    def edit_at_partner_center(self) -> None:
        """Everything a partner changes there that the CRM takes."""
        for number, deal in enumerate(self.all):
            details = {
                "dealValue": 50_000 + number + 0.25,
                "currency": "GBP",
                "closingDateTime": f"2031-04-1{number}T00:00:00Z",
                "notes": f"Größer als gedacht, edit {number}",
            }
            # The name of a new referral is held against the CRM's, which the seller's own deals keep.
            name = {"name": f"Renamed {number}"} if deal.born == "partner-center" else {}
            self.center.edit_referral(deal.referral, referralProgram=f"Programme {number}", details=details, **name)
            deal.expected = details

    def edit_both_at_once(self) -> None:
        """Other fields on either side: both edits stay."""
        for number, deal in enumerate(self.all):
            self.center.edit_referral(deal.referral, details={"dealValue": 60_000.5 + number, "currency": "EUR"})
            words = f"Both at once {number}"
            self.crm.admin("PATCH", f"/_sim/opportunities/{deal.opportunity}", {"description": words})
            deal.expected |= {"dealValue": 60_000.5 + number, "currency": "EUR", "notes": words}

    def change_rows_alone(self) -> None:
        """Of each list of solutions one row is deleted, one is changed, one is new; the opportunity itself stays as it is."""
        detail = self.crm.add_row(DETAILS, msft_solutionidentifier="SOL-30000-ROW", msft_name="By itself")
        for deal in self.all:
            rows = {each["id"]: each["row"] for each in linked(self.deals, deal.referral).form["solutions"]}
            self.crm.edit_row(ROWS, rows.pop("SOL-10001-AAA"), msft_quantity=77)
            [other] = rows.values()
            self.crm.delete_row(ROWS, other)
            self.crm.add_row(
                ROWS,
                msft_quantity=5,
                **{
                    "msft_opportunityid@odata.bind": f"/opportunities({deal.opportunity})",
                    "msft_solutionid@odata.bind": f"/{DETAILS}({detail['msft_microsoftsolutiondetailid']})",
                },
            )

    def check_rows(self) -> None:
        for deal in self.all:
            solutions = self.deals.referral(deal.referral)["details"]["requirements"]["solutions"]
            assert {each["id"]: each["quantity"] for each in solutions} == {"SOL-10001-AAA": 77, "SOL-30000-ROW": 5}

    def close(self) -> None:
        for deal in self.all:
            if deal.closed == "crm":
                path = f"/_sim/rows/opportunities/{deal.opportunity}/close"
                self.crm.admin("POST", path, {"as": deal.end[1].lower()})
            else:
                self.center.edit_referral(deal.referral, status=deal.end[0], substatus=deal.end[1])

        def are_closed() -> bool:
            return all(self.stages(deal) == (deal.end, 1 if deal.end == WON else 2) for deal in self.all)

        wait_until(are_closed, AGREED_SECONDS, "every deal is closed on both sides")

    def stages(self, deal: Deal) -> tuple[tuple[str, str], int]:
        referral = self.deals.referral(deal.referral)
        return (referral["status"], referral["substatus"]), self.crm.row("opportunities", deal.opportunity)["statecode"]


def writes(deals: Deals, since: tuple[int, int]) -> list[tuple[str, str]]:
    entries = deals.partner_center.journal(since[0]) + deals.dynamics_365.journal(since[1])
    return [
        (each["method"], each["path"]) for each in entries if each["method"] != "GET" and "oauth2" not in each["path"]
    ]


def positions(deals: Deals) -> tuple[int, int]:
    center, crm = (
        int(each.admin("GET", "/_sim/journal")["next"]) for each in (deals.partner_center, deals.dynamics_365)
    )
    return center, crm


def rounds(deals: Deals) -> dict[str, float]:
    """Of each source."""
    [ingest] = [each for each in deals.stack.programs if "ingest" in each.config.name]
    found = metrics(int(deals.stack.admin_address(ingest).rsplit(":", 1)[1]))
    return {name: value for name, value in found.items() if name.startswith("tandem_poll_rounds_total")}


def wait_for_rounds(deals: Deals, count: int) -> None:
    before = rounds(deals)
    assert len(before) == 4
    wait_until(
        lambda: all(value >= before[name] + count for name, value in rounds(deals).items()),
        AGREED_SECONDS,
        f"{count} more rounds of every source",
    )


def test_both_sides_agree_without_a_webhook(deals: Deals) -> None:
    for simulator in (deals.partner_center, deals.dynamics_365):
        simulator.delivery_policy(drop=1.0)
    played = Played(deals)
    played.begin()
    played.wait_agreed(is_new=True)
    played.take_up()
    played.wait_agreed()
    played.edit_in_the_crm()
    played.wait_agreed()
    played.check_people()
    played.edit_at_partner_center()
    played.wait_agreed()
    played.edit_both_at_once()
    played.wait_agreed()
    played.change_rows_alone()
    played.wait_agreed()
    played.check_rows()
    played.close()
    played.wait_agreed()

    since = positions(deals)
    wait_for_rounds(deals, STILL_ROUNDS)
    assert writes(deals, since) == []
    check_the_end(played)


def check_the_end(played: Played) -> None:
    deals = played.deals
    assert len(deals.stack.opportunities()) == len(played.all)
    every = deals.partner_center.admin("GET", "/_sim/referrals")["referrals"]
    assert sorted(each["id"] for each in every if each["organizationId"] != "msft") == sorted(
        each.referral for each in played.all
    )
    # Microsoft has one side at most of each deal.
    theirs = [each["engagementId"] for each in every if each["organizationId"] == "msft"]
    assert len(theirs) == len(set(theirs))
    names = [row["msft_solutionidentifier"] for row in deals.dynamics_365.rows(DETAILS)["value"]]
    assert len(names) == len(set(names))
    origins = {json.loads(each.value or b"{}")["origin"] for each in deals.stack.topics.read("notifications")}
    assert origins <= {"poll", "mapper"}
    assert deals.stack.topics.read("dead-letters") == []
    assert deals.stack.audit("SELECT * FROM verify_audit()") == []


def test_microsofts_deal_is_declined_without_a_webhook(deals: Deals) -> None:
    for simulator in (deals.partner_center, deals.dynamics_365):
        simulator.delivery_policy(drop=1.0)
    referral = deals.new("microsoft-cosell")
    row = deals.opportunity(referral)
    assert row is not None
    deals.dynamics_365.admin("POST", f"/_sim/rows/opportunities/{row['opportunityid']}/close", {"as": "lost"})

    def is_declined() -> bool:
        found = deals.referral(referral)
        return (found["status"], found["substatus"]) == ("Closed", "Declined")

    wait_until(is_declined, DEADLINE, "the deal is declined")
    deals.wait_quiet(referral)
    assert differences(deals, referral, "partner-center") == []
