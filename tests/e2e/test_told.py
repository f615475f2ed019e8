"""What sellers read in the Audit column when something is refused or not valid: in our words, once, and taken back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from support.deals import DEADLINE, Deals
from support.waiting import wait_until

IDENTIFIER = "msft_microsoftpartnercenterreferralidentifier"
AUDIT = "msft_microsoftpartnercenterreferralsyncaudit"
HELP = "Proof of Concept or Demo"
SETTINGS = {"partner_center": {"settling_time": "500ms"}}
MENDED = "In order again: nothing of this record is missing or refused."
SECRET = "Contoso of Jane Doe"  # stands in the service's own messages

pytestmark = pytest.mark.asan


def refusal(target: str = "referral", code: str = "invalidRequest") -> dict[str, Any]:
    inner = {"code": "validationFailed", "message": f"{SECRET} is not valid."}
    return {"error": {"code": code, "message": f"Not for {SECRET}.", "target": target, "innerError": inner}}


class Desk:
    """A seller's opportunity, and what the seller reads in it."""

    def __init__(self, deals: Deals, **words: Any) -> None:
        self.deals = deals
        self.crm = deals.dynamics_365
        self.id = str(self.crm.admin("POST", "/_sim/opportunities", {"sync": True, **words})["id"])

    def edit(self, **words: Any) -> None:
        self.crm.admin("PATCH", f"/_sim/opportunities/{self.id}", words)

    @property
    def row(self) -> dict[str, Any]:
        return dict(self.crm.row("opportunities", self.id))

    @property
    def newest(self) -> str:
        """The uppermost line of the Audit column."""
        return (str(self.row[AUDIT] or "").splitlines() or [""])[0]

    def wait_told(self, words: str) -> None:
        wait_until(lambda: words in self.newest, DEADLINE, f"the seller reads '{words}', after '{self.newest}'")

    def wait_linked(self) -> str:
        identifier = wait_until(lambda: self.row[IDENTIFIER], DEADLINE, "the opportunity has its identifier")
        self.deals.wait_quiet(identifier)
        return str(identifier)

    def times_written(self, words: str) -> int:
        """How often these words were sent to the CRM as the column's uppermost line."""
        writes = self.crm.journal(0, "PATCH", f"opportunities({self.id})")
        bodies = [json.loads(each["body"]) if isinstance(each["body"], str) else each["body"] for each in writes]
        return sum(words in (str(each.get(AUDIT) or "").splitlines() or [""])[0] for each in bodies)

    def told_in_audit(self) -> list[str]:
        """What the audit's explanations told, oldest first."""
        rows = self.deals.stack.audit(
            "SELECT fields FROM audit WHERE crm_id = %s AND purpose = 'explain' AND phase = 'outcome' AND result = 'applied'"
            " ORDER BY created_at",
            self.id,
        )
        return [fields[0]["new"] for (fields,) in rows]

    def refusals_in_audit(self) -> list[tuple[Any, ...]]:
        return self.deals.stack.audit(
            "SELECT purpose, error_code FROM audit WHERE crm_id = %s AND phase = 'outcome' AND result = 'refused'"
            " ORDER BY created_at",
            self.id,
        )

    def assert_discreet(self) -> None:
        """Nothing that the service said of the customer stands in the CRM or in the audit."""
        assert SECRET not in str(self.row[AUDIT])
        rows = self.deals.stack.audit("SELECT to_jsonb(audit)::text FROM audit WHERE crm_id = %s", self.id)
        assert rows and not any(SECRET in text for (text,) in rows)


@pytest.fixture
def strict(deals: Deals) -> Iterator[Deals]:
    """Partner Center asks for more than the rules know, and names what it refuses."""
    deals.partner_center.settings(team_phone=True, error_target="member")
    yield deals
    deals.partner_center.settings(team_phone=False, error_target="referral")


def test_refused_creation_is_told_and_goes_through_when_mended(strict: Deals) -> None:
    [owner] = [
        each for each in strict.dynamics_365.rows("systemusers")["value"] if "weidlich" in str(each.get("internalemailaddress"))
    ]
    phone = owner["address1_telephone1"]
    strict.dynamics_365.edit_row("systemusers", owner["systemuserid"], address1_telephone1=None)
    try:
        desk = Desk(strict, name="Without a telephone")
        desk.wait_told("Not sent to Partner Center: Partner Center does not take one of the sales team. Complete first name,")
        strict.wait_quiet(f"crm:{desk.id}")
        told = [desk.newest]
        assert desk.times_written("sales team") == 1 and desk.row[IDENTIFIER] is None
        assert desk.refusals_in_audit() == [("create", "partner_center.refused")]
        [words] = desk.told_in_audit()
        assert words.startswith("Not sent to Partner Center: Partner Center does not take one of the sales team.")
        assert words in told[0]
    finally:
        strict.dynamics_365.edit_row("systemusers", owner["systemuserid"], address1_telephone1=phone or "+49 30 5550100")
    desk.edit(description="with a telephone")
    desk.wait_linked()
    desk.wait_told("Linked with Partner Center")
    assert desk.times_written("sales team") == 1


@pytest.mark.parametrize(
    ("target", "code", "status", "words"),
    [
        ("customerProfile.address.country", "invalidRequest", 400, "Partner Center does not know the customer's country."),
        ("/details/requirements/solutions/0/id", "invalidRequest", 400, "does not know one of the solutions"),
        ("referral", "invalidRequest", 400, "does not take the deal as it is and does not say why."),
        ("referral", "accessDenied", 403, "Partner Center does not permit this to the account Tandem works with."),
        ("referral", "itemNotFound", 404, "The deal is not visible in Partner Center any more"),
    ],
)
def test_each_refusal_of_a_creation_has_its_words(deals: Deals, target: str, code: str, status: int, words: str) -> None:
    body = refusal(target, code)
    deals.partner_center.fault("status", "POST", "/referrals$", times=1, status=status, body=body)
    desk = Desk(deals, name="Refused")
    desk.wait_told(words)
    deals.wait_quiet(f"crm:{desk.id}")
    assert desk.times_written(words) == 1 and len(desk.told_in_audit()) == 1
    desk.assert_discreet()
    desk.edit(description="tried again")
    desk.wait_linked()
    desk.wait_told("Linked with Partner Center")


def test_refused_update_is_told_and_taken_back(deals: Deals) -> None:
    desk = Desk(deals, name="Updated")
    referral = desk.wait_linked()
    deals.partner_center.fault("status", "PATCH", f"/referrals/{referral}", times=1, status=400, body=refusal())
    desk.edit(estimatedvalue=99_000_000)
    desk.wait_told("Not sent to Partner Center: Partner Center does not take the deal's value. Enter a number of more than zero.")
    deals.wait_quiet(referral)
    assert desk.times_written("the deal's value") == 1
    assert desk.refusals_in_audit() == [("update", "partner_center.refused")]
    desk.assert_discreet()
    desk.edit(estimatedvalue=98_000)
    wait_until(lambda: deals.referral(referral)["details"]["dealValue"] == 98_000, DEADLINE, "the mended value is there")
    desk.wait_told(MENDED)
    deals.wait_quiet(referral)
    assert [each[: len(MENDED)] for each in desk.told_in_audit()][1:] == [MENDED]
    assert desk.times_written("the deal's value") == desk.times_written(MENDED) == 1
    # And quiet it stays.
    since = deals.position()
    desk.edit(description="beside it")
    wait_until(lambda: deals.referral(referral)["details"]["notes"] == "beside it", DEADLINE, "the edit is there")
    deals.wait_quiet(referral)
    assert deals.patches_since(since, referral) == []


@pytest.fixture
def settled_contacts(deals: Deals) -> Iterator[Deals]:
    """Partner Center keeps the customer's contacts as they are once help was asked for, and says so."""
    deals.partner_center.settings(contacts_after_share="refuse", error_target="member")
    yield deals
    deals.partner_center.settings(contacts_after_share="allow", error_target="referral")


def test_refused_field_does_not_hold_up_the_others(settled_contacts: Deals) -> None:
    deals, words = settled_contacts, "Not sent to Partner Center: Partner Center does not take the customer's contact."
    desk = Desk(deals, name="Another contact", help=HELP)
    referral = desk.wait_linked()
    first = deals.referral(referral)["customerProfile"]["team"]
    since = deals.partner_center.position()

    def patches() -> list[tuple[int, list[str]]]:
        """Of each change of the referral that was sent: the answer's status, and what it was to change."""
        sent = deals.partner_center.journal(since, "PATCH", f"/referrals/{referral}")
        bodies = [json.loads(each["body"]) if isinstance(each["body"], str) else each["body"] for each in sent]
        return [(each["status"] // 100, [op["path"] for op in body]) for each, body in zip(sent, bodies)]

    contact = {"firstname": "Ada", "lastname": "Sailer", "emailaddress1": "ada.sailer@fabrikam.example"}
    desk.edit(contact=contact, estimatedvalue=4_100)
    desk.wait_told(words)
    deals.wait_quiet(referral)
    assert deals.referral(referral)["details"]["dealValue"] == 4_100
    desk.edit(description="beside it")
    wait_until(lambda: deals.referral(referral)["details"]["notes"] == "beside it", DEADLINE, "the later edit is there")
    deals.wait_quiet(referral)
    whole, *others = patches()
    assert whole[0] == 4 and sorted(whole[1]) == ["/customerProfile/team", "/details/dealValue"]
    assert others == [(2, ["/details/dealValue"]), (2, ["/details/notes"])]
    assert deals.referral(referral)["customerProfile"]["team"] == first
    assert desk.times_written(words) == 1 and desk.refusals_in_audit() == [("update", "partner_center.refused")]
    # The contact is tried again when it changes; now Partner Center takes it.
    deals.partner_center.settings(contacts_after_share="allow")
    desk.edit(contact=contact | {"emailaddress1": "ada@fabrikam.example"})
    desk.wait_told(MENDED)
    deals.wait_quiet(referral)
    assert patches()[3:] == [(2, ["/customerProfile/team"])]
    assert deals.referral(referral)["customerProfile"]["team"][0]["firstName"] == "Ada"


@pytest.mark.parametrize("is_read_only", [False, True], ids=["open-to-words", "read-only"])
def test_refused_closing_is_told(deals: Deals, is_read_only: bool) -> None:
    """In the record, where the CRM lets a closed one be written; in the audit in any case."""
    words = "Partner Center does not allow this step of the deal's life."
    desk = Desk(deals, name="Closed")
    referral = desk.wait_linked()
    deals.partner_center.fault("status", "PATCH", f"/referrals/{referral}", times=1, status=400, body=refusal())
    deals.dynamics_365.settings(closed_opportunity_read_only=is_read_only)
    try:
        desk.crm.admin("POST", f"/_sim/rows/opportunities/{desk.id}/close", {"as": "won"})
        result = "conflict" if is_read_only else "applied"
        query = "SELECT fields FROM audit WHERE crm_id = %s AND purpose = 'explain' AND phase = 'outcome' AND result = %s"
        rows = wait_until(lambda: deals.stack.audit(query, desk.id, result), DEADLINE, "the audit holds what was told")
        assert [words in fields[0]["new"] for (fields,) in rows] == [True]
        deals.wait_quiet(referral)
        assert (words in desk.newest) is not is_read_only and desk.times_written(words) == 1
        desk.crm.admin("POST", f"/_sim/rows/opportunities/{desk.id}/reopen", {})
        desk.wait_told(MENDED)
        deals.wait_quiet(referral)
    finally:
        deals.dynamics_365.settings(closed_opportunity_read_only=True)


def test_deal_that_was_closed_meanwhile_is_told_as_closed(deals: Deals) -> None:
    desk = Desk(deals, name="Closed meanwhile")
    referral = desk.wait_linked()
    deals.partner_center.delivery_policy(paused=True)
    try:
        deals.partner_center.edit_referral(referral, status="Closed", substatus="Lost")
        desk.edit(estimatedvalue=4_321)
        wait_until(lambda: desk.row["statecode"] == 2, DEADLINE, "the opportunity is closed as well")
    finally:
        deals.partner_center.delivery_policy(paused=False)
    deals.wait_quiet(referral)
    assert "Closed in Partner Center: Lost" in desk.newest and desk.times_written("Closed in Partner Center") == 1


def test_refused_invitation_is_told_and_the_deal_goes_on(deals: Deals) -> None:
    desk = Desk(deals, name="Invited", visible=True)
    referral = desk.wait_linked()
    deals.partner_center.fault("status", "POST", "/referrals$", times=1, status=403, body=refusal(code="accessDenied"))
    desk.edit(help=HELP)
    desk.wait_told("Not sent to Partner Center: Partner Center does not permit this to the account Tandem works with.")
    deals.wait_quiet(referral)
    assert desk.times_written("does not permit") == 1
    assert ("invite", "partner_center.forbidden") in desk.refusals_in_audit()
    desk.edit(help=None)
    desk.wait_told(MENDED)
    deals.wait_quiet(referral)


def test_problems_of_an_edit_are_told_at_once_and_taken_back(deals: Deals) -> None:
    desk = Desk(deals, name="Edited")
    referral = desk.wait_linked()
    before = deals.referral(referral)["details"]["dealValue"]
    desk.edit(estimatedvalue=0, description="valid", contact={"emailaddress1": "no.name@fabrikam.example"})
    words = (
        "Not sent to Partner Center: Enter an estimated revenue of more than zero. "
        "Complete the contact with first name, last name and e-mail address."
    )
    desk.wait_told(words)
    deals.wait_quiet(referral)
    now = deals.referral(referral)["details"]
    assert (now["notes"], now["dealValue"]) == ("valid", before)
    desk.edit(description="valid again")
    wait_until(lambda: deals.referral(referral)["details"]["notes"] == "valid again", DEADLINE, "the valid edit is there")
    deals.wait_quiet(referral)
    assert desk.times_written("Not sent") == 1 and desk.told_in_audit() == [words]
    contact = {"firstname": "Ada", "lastname": "Sailer", "emailaddress1": "ada.sailer@fabrikam.example"}
    desk.edit(estimatedvalue=7_000, contact=contact)
    wait_until(lambda: deals.referral(referral)["details"]["dealValue"] == 7_000, DEADLINE, "the mended value is there")
    desk.wait_told(MENDED)
    deals.wait_quiet(referral)
    assert deals.referral(referral)["customerProfile"]["team"][0]["firstName"] == "Ada"
    assert desk.times_written("Not sent") == desk.times_written(MENDED) == 1


def test_refusal_of_the_crm_is_told_in_its_record(deals: Deals) -> None:
    desk = Desk(deals, name="Refused by the CRM")
    referral = desk.wait_linked()
    too_long = {"error": {"code": "0x80044331", "message": f"A validation error: {SECRET}"}}
    deals.dynamics_365.fault("status", "PATCH", rf"opportunities\({desk.id}\)", times=1, status=400, body=too_long)
    deals.partner_center.edit_referral(referral, details={"notes": "far too long"})
    desk.wait_told("Not written to this record: There are too many characters in description.")
    deals.wait_quiet(referral)
    assert desk.times_written("too many characters") == 1
    assert desk.refusals_in_audit() == [("update", "dynamics_365.too_long")]
    desk.assert_discreet()
    desk.edit(estimatedvalue=5_000)  # not held up by what the CRM does not take
    wait_until(lambda: deals.referral(referral)["details"]["dealValue"] == 5_000, DEADLINE, "the seller's edit is there")
    deals.partner_center.edit_referral(referral, details={"notes": "shorter"})
    wait_until(lambda: desk.row["description"] == "shorter", DEADLINE, "the mended notes are here")
    desk.wait_told("Updated from Partner Center")
    deals.wait_quiet(referral)


def test_referral_that_is_not_visible_is_told(deals: Deals) -> None:
    desk = Desk(deals, name="Hidden")
    referral = desk.wait_linked()
    deals.partner_center.hide_referral(referral, "404")
    desk.edit(description="written meanwhile")
    desk.wait_told("The deal is not visible in Partner Center any more; changes of this record are not sent.")
    deals.wait_quiet(referral)
    assert desk.times_written("not visible") == 1
    query = "SELECT status, reason FROM deal_status WHERE deal_key = %s"
    assert deals.stack.audit(query, referral) == [("rests", "referral_gone")]
    deals.partner_center.hide_referral(referral, "visible")
    deals.partner_center.edit_referral(referral, details={"dealValue": 321})
    wait_until(lambda: deals.referral(referral)["details"]["notes"] == "written meanwhile", DEADLINE, "the edit is there")
    deals.wait_quiet(referral)
    assert "not visible" not in desk.newest
