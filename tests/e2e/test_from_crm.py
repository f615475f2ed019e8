"""What a seller does in the CRM reaches Partner Center: deals that begin there, their life, and what sellers are told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from support.deals import DEADLINE, IDENTIFIER, Deals
from support.default_rules import RULES
from support.stack import Stack
from support.waiting import wait_until

LINK = "msft_microsoftpartnercenterreferrallink"
AUDIT = "msft_microsoftpartnercenterreferralsyncaudit"
SYNC = "msft_microsoftpartnercenterreferralsync"
VISIBLE = "msft_microsoftpartnercenterreferralvisible"
HELP = "Proof of Concept or Demo"
SETTINGS = {"partner_center": {"settling_time": "500ms"}}
# The mapper is started below: its rules lack an option that the CRM has, as one that was added there later.
PROCESSES = {"mapper": 0}
UNKNOWN_HELP = "General or Other"

pytestmark = pytest.mark.asan


class Seller:
    """Edits opportunities of one stack as a seller does."""

    def __init__(self, deals: Deals) -> None:
        self.deals = deals
        self.crm = deals.dynamics_365

    def new(self, **words: Any) -> str:
        return str(self.crm.admin("POST", "/_sim/opportunities", {"sync": True, **words})["id"])

    def edit(self, opportunity: str, **words: Any) -> None:
        self.crm.admin("PATCH", f"/_sim/opportunities/{opportunity}", words)

    def row(self, opportunity: str) -> dict[str, Any]:
        return dict(self.crm.row("opportunities", opportunity))

    def restore(self, row: dict[str, Any]) -> None:
        """A deleted opportunity is made again under its id."""
        binds = {
            f"{property}@odata.bind": f"/{entity_set}({row[column]})"
            for property, entity_set, column in (
                ("customerid_account", "accounts", "_customerid_value"),
                ("parentcontactid", "contacts", "_parentcontactid_value"),
                ("transactioncurrencyid", "transactioncurrencies", "_transactioncurrencyid_value"),
            )
        }
        kept = ("opportunityid", "name", "description", "estimatedvalue", "estimatedclosedate", IDENTIFIER, SYNC)
        self.crm.add_row("opportunities", **{name: row[name] for name in kept}, **binds)

    def audit(self, opportunity: str) -> str:
        return str(self.row(opportunity)[AUDIT] or "")

    def standing(self, deal: str) -> list[tuple[Any, ...]]:
        query = "SELECT status, reason, since, decision_id FROM deal_status WHERE deal_key = %s"
        return list(self.deals.stack.audit(query, deal))

    def wait_linked(self, opportunity: str) -> dict[str, Any]:
        identifier = self.deals.wait_identifier(opportunity)
        [referral] = self.deals.referrals_of(opportunity)
        assert identifier == referral["id"]
        self.deals.wait_quiet(referral["id"])
        return referral


@pytest.fixture(scope="module", autouse=True)
def mapper(stack: Stack) -> None:
    rules = RULES.read_text()
    row = f"      - {{partner_center: GeneralOrOther, crm: {UNKNOWN_HELP}}}\n"
    assert rules.count(row) == 1
    stack.start_mapper(rules.replace(row, ""))


@pytest.fixture
def seller(deals: Deals) -> Iterator[Seller]:
    yield Seller(deals)


def posts(deals: Deals, since: int) -> list[dict[str, Any]]:
    """Every attempt to create a referral, whatever was answered."""
    return deals.partner_center.journal(since, "POST", "/referrals")


def position(deals: Deals) -> int:
    return deals.partner_center.position()


@pytest.mark.parametrize(
    ("words", "kind", "visible", "invited"),
    [
        ({"visible": False}, "Independent", False, 0),
        ({"visible": True}, "Independent", True, 0),
        ({"help": HELP}, "Shared", True, 1),
    ],
    ids=["private", "partner-led", "co-sell"],
)
def test_opportunity_becomes_a_referral(
    seller: Seller, words: dict[str, Any], kind: str, visible: bool, invited: int
) -> None:
    since = position(seller.deals)
    opportunity = seller.new(name="Trams", **words)
    referral = seller.wait_linked(opportunity)
    row = seller.row(opportunity)
    assert row["name"] == "✔ Trams" and referral["id"] in row[LINK]
    assert "Linked with Partner Center" in row[AUDIT]
    assert len(posts(seller.deals, since)) == 1 + invited
    assert referral["name"] == "Trams" and referral["type"] == kind
    assert (referral["status"], referral["substatus"]) == ("Active", "Accepted")
    assert bool(referral["consent"]["consentToShareReferralWithMicrosoftSellers"]) is visible
    assert referral["details"]["dealValue"] == row["estimatedvalue"] and referral["details"]["currency"] == "EUR"
    assert referral["details"]["closingDateTime"].startswith(row["estimatedclosedate"])
    assert [each["id"] for each in referral["details"]["requirements"]["solutions"]] == ["SOL-10001-AAA"]
    assert [each["email"] for each in referral["team"]] == ["jonas.weidlich@nordlicht.example"]
    assert referral["customerProfile"]["name"] == "Wingtip Trams GmbH"
    assert referral["customerProfile"]["address"]["country"] == "DE"
    assert len(seller.deals.microsofts(referral["engagementId"])) == invited
    # One deal, under its referral's key, whatever key it began with; and nobody has typed over anything.
    audit = seller.deals.stack.audit
    assert audit("SELECT deal_key, status FROM deal_status WHERE crm_id = %s", opportunity) == [(referral["id"], "applied")]
    assert audit("SELECT * FROM near_misses WHERE crm_id = %s", opportunity) == []
    # Its story is one, by whatever it is asked for.
    story = "SELECT deal_key, purpose, phase FROM deal_story(%s)"
    told = audit(story, referral["id"])
    assert ((f"crm:{opportunity}", "create", "outcome") in told) and told[-1][0] == referral["id"]
    assert told == audit(story, opportunity) == audit(story, f"crm:{opportunity}")


def test_edits_alternate_between_the_sides(seller: Seller) -> None:
    opportunity = seller.new(name="Alternating")
    referral = seller.wait_linked(opportunity)["id"]
    for value in (51000.5, 52000.25, 53000.75):
        seller.edit(opportunity, estimatedvalue=value)
        wait_until(
            lambda: seller.deals.referral(referral)["details"]["dealValue"] == value, DEADLINE, "the value is there"
        )
        seller.deals.partner_center.edit_referral(referral, details={"notes": f"Worth {value}"})
        wait_until(lambda: seller.row(opportunity)["description"] == f"Worth {value}", DEADLINE, "the notes are here")
    seller.deals.wait_quiet(referral)
    assert seller.deals.stack.topics.read("dead-letters") == []


def test_what_is_given_at_creation_alone_does_not_travel_later(seller: Seller) -> None:
    """The deal's name and the customer towards Partner Center; the customer and the contact towards the CRM."""
    account = {"name": "Einmalig AG", "address1_postalcode": "10115", "address1_country": "DE", "address1_city": "Bonn"}
    contact = {"firstname": "Eva", "lastname": "Einmal", "emailaddress1": "eva@einmalig.example"}
    opportunity = seller.new(name="Given once", account=account, contact=contact)
    before = seller.wait_linked(opportunity)
    since, position_crm = position(seller.deals), seller.deals.position()
    decided = len(seller.deals.decisions(before["id"]))
    seller.edit(opportunity, name="Another name", intent="Yes", account={**account, "address1_city": "Potsdam"})
    wait_until(lambda: len(seller.deals.decisions(before["id"])) > decided, DEADLINE, "the edit is decided on")
    seller.deals.wait_quiet(before["id"])
    assert seller.deals.partner_center.journal(since, "PATCH") == posts(seller.deals, since) == []
    decided = len(seller.deals.decisions(before["id"]))
    profile = seller.deals.referral(before["id"])["customerProfile"]
    [person] = profile["team"]
    profile = {"address": {**profile["address"], "city": "Bernau"}, "team": [{**person, "firstName": "Evelyn"}]}
    seller.deals.partner_center.edit_referral(before["id"], customerProfile=profile)
    wait_until(lambda: len(seller.deals.decisions(before["id"])) > decided, DEADLINE, "that one is decided on")
    seller.deals.wait_quiet(before["id"])
    assert [each for each in seller.crm.journal(position_crm) if each["method"] != "GET"] == []
    assert seller.row(opportunity)["name"] == "Another name"
    found = seller.crm.deal(opportunity)
    assert (found["account"]["address1_city"], found["contact"]["firstname"]) == ("Potsdam", "Eva")


def test_edit_is_one_patch_of_the_changed_paths(seller: Seller) -> None:
    opportunity = seller.new(name="Exact")
    referral = seller.wait_linked(opportunity)["id"]
    since = position(seller.deals)
    seller.edit(opportunity, estimatedvalue=777.25, description="new")
    wait_until(lambda: seller.deals.referral(referral)["details"]["notes"] == "new", DEADLINE, "the edit is there")
    seller.deals.wait_quiet(referral)
    [patch] = seller.deals.partner_center.journal(since, "PATCH", f"/referrals/{referral}")
    body = patch["body"] if not isinstance(patch["body"], str) else json.loads(patch["body"])
    assert {each["path"] for each in body} == {"/details/dealValue", "/details/notes"}
    assert "if-match" in {name.lower() for name in patch["headers"]}


def test_solutions_are_replaced_as_a_whole(seller: Seller) -> None:
    opportunity = seller.new(name="Lists")
    referral = seller.wait_linked(opportunity)["id"]
    wanted = [
        {"id": "SOL-10001-AAA", "name": "Fabrikam Supply Hub", "price": 10, "quantity": 1},
        {"id": "SOL-10002-BBB", "name": "Second", "price": 20, "quantity": 2},
    ]
    since = position(seller.deals)
    seller.edit(opportunity, solutions=wanted, description="touched")  # child rows do not touch the opportunity
    wait_until(
        lambda: {each["id"] for each in seller.deals.referral(referral)["details"]["requirements"]["solutions"]}
        == {"SOL-10001-AAA", "SOL-10002-BBB"},
        DEADLINE,
        "both solutions are there",
    )
    seller.deals.wait_quiet(referral)
    operations = [
        operation
        for patch in seller.deals.partner_center.journal(since, "PATCH", f"/referrals/{referral}")
        for operation in (json.loads(patch["body"]) if isinstance(patch["body"], str) else patch["body"])
        if operation["path"].startswith("/details/requirements")
    ]
    # Not one of them names an entry of the list, and the last holds what the CRM holds, whole.
    assert {(each["op"], each["path"]) for each in operations} == {("replace", "/details/requirements/solutions")}
    last = sorted(operations[-1]["value"], key=lambda each: str(each["id"]))
    assert [{name: each[name] for name in ("id", "name", "price", "quantity")} for each in last] == wanted


def test_what_is_missing_is_told_and_then_sent(seller: Seller) -> None:
    since = position(seller.deals)
    opportunity = seller.new(name="Incomplete", solutions=[], estimatedvalue=None)
    wait_until(lambda: "Not sent to Partner Center" in seller.audit(opportunity), DEADLINE, "the seller is told")
    told = seller.audit(opportunity)
    assert "solution" in told.lower()
    seller.deals.wait_quiet(f"crm:{opportunity}")
    assert posts(seller.deals, since) == [] and seller.row(opportunity)[IDENTIFIER] is None
    assert seller.deals.stack.audit(
        "SELECT count(*) FROM audit WHERE deal_key = %s AND phase = 'outcome' AND purpose = 'explain'",
        f"crm:{opportunity}",
    ) == [(1,)]
    seller.edit(
        opportunity,
        estimatedvalue=1000,
        solutions=[{"id": "SOL-10001-AAA", "name": "Fabrikam Supply Hub", "price": 10, "quantity": 1}],
    )
    seller.edit(opportunity, description="complete now")
    seller.wait_linked(opportunity)
    assert "Linked with Partner Center" in seller.audit(opportunity).splitlines()[0]


# A deal that lacks one thing, and all that its seller is told.
INVALID: dict[str, tuple[dict[str, Any], str]] = {
    "no country": (
        {"account": {"name": "Nirgendwo AG", "address1_postalcode": "00000"}},
        "Enter the customer's country as a two-letter code in the account's address.",
    ),
    "country by name": (
        {"account": {"name": "Irgendwo AG", "address1_postalcode": "00001", "address1_country": "Nowhereland"}},
        "Enter the customer's country as a two-letter code in the account's address.",
    ),
    "no solution": ({"solutions": []}, "Add at least one solution, each with its solution identifier."),
    "solution without identifier": (
        {"solutions": [{"price": 10, "quantity": 1}]},
        "Add at least one solution, each with its solution identifier.",
    ),
    "contact without first name": (
        {"contact": {"lastname": "Ohne", "emailaddress1": "ohne@wingtip.example", "telephone1": "+49 341 0000002"}},
        "Complete the contact with first name, last name and e-mail address.",
    ),
    "contact without telephone for Microsoft": (
        {"contact": {"firstname": "Ina", "lastname": "Still", "emailaddress1": "still@wingtip.example"}, "help": HELP},
        "For help from Microsoft choose a contact with first name, last name, e-mail address and business phone.",
    ),
    "unknown help option": (
        {"help": UNKNOWN_HELP},
        'Choose one of the known options in "How can Microsoft help?".',
    ),
    "zero value": ({"estimatedvalue": 0}, "Enter an estimated revenue of more than zero."),
}


@pytest.mark.parametrize("name", INVALID)
def test_what_is_not_valid_is_told_before_any_call(seller: Seller, name: str) -> None:
    words, told = INVALID[name]
    since = position(seller.deals)
    opportunity = seller.new(name="Invalid", **words)
    wait_until(lambda: seller.audit(opportunity), DEADLINE, "the seller is told")
    seller.deals.wait_quiet(f"crm:{opportunity}")
    assert f" - Not sent to Partner Center: {told} [crm:{opportunity}#" in seller.audit(opportunity).splitlines()[0]
    query = "SELECT fields FROM audit WHERE crm_id = %s AND phase = 'outcome' AND purpose = 'explain'"
    [(fields,)] = seller.deals.stack.audit(query, opportunity)
    assert [each["new"] for each in fields] == [f"Not sent to Partner Center: {told}"]
    assert posts(seller.deals, since) == [] and seller.row(opportunity)[IDENTIFIER] is None


def test_lost_answers_make_no_second_referral(seller: Seller) -> None:
    center = seller.deals.partner_center
    center.fault("apply-then-drop", "POST", "/referrals")
    opportunity = seller.new(name="Lost answer", help=HELP)
    referral = seller.wait_linked(opportunity)
    assert len(seller.deals.referrals_of(opportunity)) == 1
    assert len(seller.deals.microsofts(referral["engagementId"])) == 1


def test_help_upgrades_a_private_deal(seller: Seller) -> None:
    opportunity = seller.new(name="Upgrade", visible=False)
    referral = seller.wait_linked(opportunity)
    assert seller.deals.microsofts(referral["engagementId"]) == []
    seller.edit(opportunity, help=HELP)
    wait_until(lambda: len(seller.deals.microsofts(referral["engagementId"])) == 1, DEADLINE, "Microsoft is invited")
    seller.deals.wait_quiet(referral["id"])
    consent = seller.deals.referral(referral["id"])["consent"]
    assert consent["consentToShareReferralWithMicrosoftSellers"] is True
    seller.edit(opportunity, help=None)  # never a downgrade
    seller.deals.wait_quiet(referral["id"])
    assert seller.deals.referral(referral["id"])["consent"]["consentToShareReferralWithMicrosoftSellers"] is True


@pytest.mark.parametrize("words", [{"visible": True}, {"help": HELP, "visible": True}], ids=["partner-led", "co-sell"])
def test_a_deal_is_never_taken_back(seller: Seller, words: dict[str, Any]) -> None:
    """Visible no more, help no more: that stays in the CRM. Nothing changes at Partner Center, and the rest goes on."""
    opportunity = seller.new(name="Kept", **words)
    before = seller.wait_linked(opportunity)
    theirs = seller.deals.microsofts(before["engagementId"])
    told, since, decided = seller.audit(opportunity), position(seller.deals), len(seller.deals.decisions(before["id"]))
    seller.edit(opportunity, visible=False)
    seller.edit(opportunity, help=None)
    wait_until(lambda: len(seller.deals.decisions(before["id"])) > decided, DEADLINE, "the edits are decided on")
    seller.deals.wait_quiet(before["id"])
    assert seller.deals.partner_center.journal(since, "PATCH") == posts(seller.deals, since) == []
    assert seller.deals.referral(before["id"]) == before
    assert seller.deals.microsofts(before["engagementId"]) == theirs
    assert {each["action"] for each in seller.deals.decisions(before["id"])[decided:]} == {"none"}
    assert seller.audit(opportunity) == told and seller.row(opportunity)[VISIBLE] is False
    seller.edit(opportunity, estimatedvalue=4711)
    wait_until(
        lambda: seller.deals.referral(before["id"])["details"]["dealValue"] == 4711, DEADLINE, "the value is there"
    )
    seller.deals.wait_quiet(before["id"])
    seller.deals.partner_center.edit_referral(before["id"], details={"notes": "And back"})
    wait_until(lambda: seller.row(opportunity)["description"] == "And back", DEADLINE, "the notes are here")
    seller.deals.wait_quiet(before["id"])
    after = seller.deals.referral(before["id"])
    assert (after["type"], after["consent"]) == (before["type"], before["consent"])
    assert seller.row(opportunity)[VISIBLE] is False


def test_closing_in_the_crm_closes_the_referral(seller: Seller) -> None:
    for words, substatus in (({"as": "won"}, "Won"), ({"as": "lost", "status": 5}, "Lost")):
        opportunity = seller.new(name=f"Closing {substatus}")
        referral = seller.wait_linked(opportunity)["id"]
        seller.crm.admin("POST", f"/_sim/rows/opportunities/{opportunity}/close", words)
        wait_until(lambda: seller.deals.referral(referral)["substatus"] == substatus, DEADLINE, "the referral is closed")
        seller.deals.wait_quiet(referral)


def test_incoming_deal_is_accepted_and_declined_from_the_crm(seller: Seller) -> None:
    accepted = seller.deals.new("microsoft-cosell")
    row = seller.deals.opportunity(accepted)
    assert row is not None and (row["statecode"], row["statuscode"]) == (0, 2)
    seller.crm.edit_row("opportunities", row["opportunityid"], statecode=0, statuscode=1)
    wait_until(lambda: seller.deals.referral(accepted)["status"] == "Active", DEADLINE, "the deal is accepted")
    declined = seller.deals.new("microsoft-cosell")
    row = seller.deals.opportunity(declined)
    assert row is not None
    seller.crm.admin("POST", f"/_sim/rows/opportunities/{row['opportunityid']}/close", {"as": "lost", "status": 4})
    wait_until(lambda: seller.deals.referral(declined)["substatus"] == "Declined", DEADLINE, "the deal is declined")


def test_reopened_record_is_explained_and_not_fought_over(seller: Seller) -> None:
    opportunity = seller.new(name="Final")
    referral = seller.wait_linked(opportunity)["id"]
    seller.crm.admin("POST", f"/_sim/rows/opportunities/{opportunity}/close", {"as": "won"})
    wait_until(lambda: seller.deals.referral(referral)["substatus"] == "Won", DEADLINE, "the referral is closed")
    seller.deals.wait_quiet(referral)
    since = position(seller.deals)
    seller.crm.admin("POST", f"/_sim/rows/opportunities/{opportunity}/reopen", {})
    wait_until(lambda: "is final" in seller.audit(opportunity), DEADLINE, "the seller is told")
    seller.deals.wait_quiet(referral)
    assert seller.deals.partner_center.journal(since, "PATCH", referral) == []
    assert seller.deals.referral(referral)["substatus"] == "Won"
    writes = seller.deals.dynamics_365.journal(0, "PATCH", f"opportunities({opportunity})")
    assert sum("is final" in json.dumps(each["body"]) for each in writes) == 1


def test_switching_sync_off_pauses_and_on_goes_on(seller: Seller) -> None:
    opportunity = seller.new(name="Pausing")
    referral = seller.wait_linked(opportunity)["id"]
    seller.edit(opportunity, sync=False)
    query = "SELECT status, reason FROM deal_status WHERE deal_key = %s"
    wait_until(lambda: seller.deals.stack.audit(query, referral) == [("rests", "sync_off")], DEADLINE, "the deal rests")
    since = position(seller.deals)
    seller.edit(opportunity, estimatedvalue=4242)
    seller.deals.wait_quiet(referral)
    assert seller.deals.partner_center.journal(since, "PATCH", "/referrals") == []
    seller.edit(opportunity, sync=True)
    wait_until(lambda: seller.deals.referral(referral)["details"]["dealValue"] == 4242, DEADLINE, "the edit is there")


def test_deleted_opportunity_rests_and_goes_on_when_it_is_restored(seller: Seller) -> None:
    opportunity = seller.new(name="Restored")
    referral = seller.wait_linked(opportunity)["id"]
    row = seller.row(opportunity)
    query = "SELECT status, reason FROM deal_status WHERE deal_key = %s"
    seller.crm.delete_row("opportunities", opportunity)
    wait_until(lambda: seller.deals.stack.audit(query, referral) == [("rests", "crm_gone")], DEADLINE, "the deal rests")
    since = seller.deals.position()
    seller.deals.partner_center.edit_referral(referral, details={"notes": "Meanwhile"})
    seller.deals.wait_quiet(referral)
    assert [each for each in seller.crm.journal(since, path="opportunities") if each["method"] != "GET"] == []
    seller.restore(row)
    wait_until(lambda: seller.row(opportunity)["description"] == "Meanwhile", DEADLINE, "the notes are here")
    seller.edit(opportunity, estimatedvalue=1234.5)
    wait_until(lambda: seller.deals.referral(referral)["details"]["dealValue"] == 1234.5, DEADLINE, "the edit is there")
    seller.deals.wait_quiet(referral)
    assert [each["id"] for each in seller.deals.referrals_of(opportunity)] == [referral]
    assert [each["opportunityid"] for each in seller.deals.stack.opportunities() if each[IDENTIFIER] == referral] == [
        opportunity
    ]


@pytest.mark.parametrize("reason", ["sync_off", "crm_gone"])
def test_rest_taken_back_without_an_edit_shows_what_stood_before(seller: Seller, reason: str) -> None:
    opportunity = seller.new(name="As before")
    referral = seller.wait_linked(opportunity)["id"]
    row, before = seller.row(opportunity), seller.standing(referral)
    assert [each[0] for each in before] == ["applied"]
    for _ in range(2):
        if reason == "sync_off":
            seller.edit(opportunity, sync=False)
        else:
            seller.crm.delete_row("opportunities", opportunity)
        wait_until(lambda: [each[:2] for each in seller.standing(referral)] == [("rests", reason)], DEADLINE, "it rests")
        seller.deals.wait_quiet(referral)
        positions = position(seller.deals), seller.deals.position()
        if reason == "sync_off":
            seller.edit(opportunity, sync=True)
        else:
            seller.restore(row)
        wait_until(lambda: seller.standing(referral) == before, DEADLINE, "the deal stands where it stood")
        seller.deals.wait_quiet(referral)
        assert seller.standing(referral) == before
        assert seller.deals.writes_since(*positions) == []


def test_switch_of_an_invalid_opportunity_shows_what_it_was_told(seller: Seller) -> None:
    opportunity = seller.new(name="Incomplete", estimatedvalue=None)
    key = f"crm:{opportunity}"
    wait_until(lambda: [each[:2] for each in seller.standing(key)] == [("applied", "invalid")], DEADLINE, "the seller is told")
    seller.deals.wait_quiet(key)
    before = seller.standing(key)
    seller.edit(opportunity, sync=False)
    wait_until(lambda: [each[:2] for each in seller.standing(key)] == [("rests", "sync_off")], DEADLINE, "it rests")
    seller.edit(opportunity, sync=True)
    wait_until(lambda: seller.standing(key) == before, DEADLINE, "it is invalid, as it was told")
