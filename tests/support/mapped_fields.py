"""What both systems have to say of a linked deal, field by field, under the default rules.

Told again in Python from what the fields mean, beside the rules and not from them, so that a wrong rule shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from support.deals import Deals

Document = dict[str, Any]

CHECK_MARK = "✔ "
AUDIT_LENGTH = 2000  # identity.audit_length of the default rules
LINE_LENGTH = 100
PREFIX = "msft_microsoftpartnercenter"
LINK = "https://partner.microsoft.com/referrals/v2/inbox?id="
STAGES = {
    ("New", "Pending"): {(0, 2)},
    ("New", "Received"): {(0, 2)},
    ("Active", "Accepted"): {(0, 1), (0, 2)},
    ("Closed", "Won"): {(1, 3)},
    ("Closed", "Lost"): {(2, 4), (2, 5)},
    ("Closed", "Declined"): {(2, 4)},
    ("Closed", "Expired"): {(2, 4)},
    ("Closed", "Error"): {(2, 4)},
}
HELP = {
    "Workload Specific Value Proposition": "WorkloadSpecificValueProposition",
    "Customer Technical Architecture": "CustomerTechnicalArchitecture",
    "Proof Of Concept or Demo": "ProofOfConceptOrDemo",
    "Quotes or Licensing": "QuotesOrLicensing",
    "Post Sales Customer Success": "PostSalesCustomerSuccess",
    "General or Other": "GeneralOrOther",
}
ADDRESS = {
    "customer_postal_code": ("postalCode", "address1_postalcode"),
    "customer_address_line_1": ("addressLine1", "address1_line1"),
    "customer_address_line_2": ("addressLine2", "address1_line2"),
    "customer_city": ("city", "address1_city"),
    "customer_state": ("state", "address1_stateorprovince"),
    "customer_country": ("country", "address1_country"),
}
CONTACT = {
    "contact_email": ("email", "emailaddress1"),
    "contact_first_name": ("firstName", "firstname"),
    "contact_last_name": ("lastName", "lastname"),
    "contact_phone": ("phoneNumber", "telephone1"),
}


@dataclass(frozen=True)
class Difference:
    field: str
    partner_center: Any
    crm: Any


@dataclass
class Linked:
    """Both records of a deal as they stand."""

    referral: Document
    microsofts: Document | None
    form: Document

    @property
    def row(self) -> Document:
        return self.form["row"]


def linked(deals: Deals, referral: str) -> Linked:
    row = deals.opportunity(referral)
    assert row is not None, f"referral {referral} has no opportunity"
    every = deals.partner_center.referrals()
    return linked_of(deals, every, referral, row["opportunityid"])


def linked_of(deals: Deals, referrals: list[Document], referral: str, opportunity: str) -> Linked:
    """The same where all referrals are known already."""
    [ours] = [each for each in referrals if each["id"] == referral]
    related = [
        each for each in referrals if each["engagementId"] == ours["engagementId"] and each["organizationId"] == "msft"
    ]
    form = deals.dynamics_365.admin("GET", f"/_sim/opportunities/{opportunity}")
    return Linked(ours, related[0] if related else None, form)


def _number(value: Any) -> Decimal | None:
    return None if value is None else Decimal(str(value)).quantize(Decimal("0.01"))


def _people(people: list[Document] | None, names: dict[str, str]) -> list[tuple[Any, ...]]:
    return [tuple(person.get(name) or None for name in names.values()) for person in people or [] if person]


def _solutions(deal: Linked) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    sides = (deal.referral["details"]["requirements"]["solutions"], deal.form["solutions"])
    ours, theirs = (
        sorted(((each["id"], each["name"], _number(each.get("price")), each.get("quantity")) for each in side), key=str)
        for side in sides
    )
    return ours, theirs


def _of_both(deal: Linked) -> Iterator[tuple[str, Any, Any]]:
    referral, row, form = deal.referral, deal.row, deal.form
    details = referral["details"]
    yield "name", CHECK_MARK + (referral["name"] or referral["customerProfile"]["name"]), row["name"]
    yield "deal_value", _number(details["dealValue"]), _number(row["estimatedvalue"])
    yield "currency", details["currency"], form["currency"]
    yield "closing_date", details["closingDateTime"][:10], row["estimatedclosedate"]
    yield "notes", details["notes"], row["description"]
    stage = (row["statecode"], row["statuscode"])
    yield "stage", stage if stage in STAGES[referral["status"], referral["substatus"]] else referral["status"], stage
    yield "identifier", referral["id"], row[f"{PREFIX}referralidentifier"]
    yield "referral_link", LINK + referral["id"], row[f"{PREFIX}referrallink"]
    yield "referral_program", referral["referralProgram"], row[f"{PREFIX}referralprogram"]
    yield "link", referral["externalReferenceId"], row["opportunityid"]
    yield "sync", True, row[f"{PREFIX}referralsync"]
    customer = referral["customerProfile"]
    yield "customer_name", customer["name"], form["account"]["name"]
    for field, (ours, theirs) in ADDRESS.items():
        yield field, customer["address"].get(ours) or None, form["account"].get(theirs) or None
    tracked = [(each or {}).get("trackingInfo") or {} for each in (referral, deal.microsofts)]
    identifiers = [each["microsoftMsxId"] for each in tracked if each.get("microsoftMsxId")]
    yield "microsoft_crm_identifier", identifiers[0] if identifiers else None, row["msft_microsoftcrmidentifier"]
    answered = deal.microsofts if deal.microsofts and deal.microsofts["status"] in ("Active", "Closed") else None
    answer = f"Microsoft: {answered['status']} / {answered['substatus']}" if answered else ""
    told = row[f"{PREFIX}referralsyncaudit"] or ""
    # The column keeps what is newest, so that a much edited deal has pushed the answer out of it.
    is_full = len(told) >= AUDIT_LENGTH - LINE_LENGTH
    yield "microsoft_answer", answer, answer if answer in told or is_full else told


def _born_at_partner_center(deal: Linked) -> Iterator[tuple[str, Any, Any]]:
    shared = deal.referral["consent"]["consentToShareReferralWithMicrosoftSellers"]
    yield "visibility", bool(shared), bool(deal.row[f"{PREFIX}referralvisible"])
    yield "revenue_is_entered", False, deal.row["isrevenuesystemcalculated"]
    yield "solutions", *_solutions(deal)
    if deal.form["help"]:
        yield from _invited(deal)


def _invited(deal: Linked) -> Iterator[tuple[str, Any, Any]]:
    wanted = deal.form["help"]
    invited = deal.microsofts["inviteContext"]["assistanceRequestCode"] if deal.microsofts else None
    yield "help", invited, HELP[wanted] if wanted else None
    yield "kind", deal.referral["type"], "Shared" if wanted else "Independent"


def _solutions_of_new_opportunity(deal: Linked) -> Iterator[tuple[str, Any, Any]]:
    """As the deal was made: from then on the seller's list goes to Partner Center."""
    yield "solutions_of_new_opportunity", *_solutions(deal)


def _contact_of_new_opportunity(deal: Linked) -> Iterator[tuple[str, Any, Any]]:
    """As the deal was made: later on either side goes its own way."""
    person = deal.referral["customerProfile"]["team"][0]
    for field, (ours, theirs) in CONTACT.items():
        yield field, person[ours], deal.form["contact"][theirs]


def _born_in_the_crm(deal: Linked) -> Iterator[tuple[str, Any, Any]]:
    referral, form = deal.referral, deal.form
    wanted = form["help"] is not None
    yield "name_of_new_referral", referral["name"], deal.row["name"].removeprefix(CHECK_MARK)
    yield "qualification", referral["qualification"], "SalesQualified"
    consent = referral["consent"]
    visible = wanted or bool(form["visible"])
    yield "consent_of_new_referral", bool(consent["consentToShareReferralWithMicrosoftSellers"]), visible
    yield "consent", bool(consent["consentToShareReferralWithMicrosoftSellers"]), visible
    yield "consent_to_contact", consent["consentToContact"], True
    yield "consent_to_share", consent["consentToToShareInfoWithOthers"], True
    yield from _invited(deal)
    further = referral["details"]["requirements"]["additionalRequirements"] or {}
    intents = [each["id"] for each in further.get("attributes") or [] if each["type"] == "CustomerMarketplaceIntent"]
    yield "purchase_intent", intents, [form["intent"]] if form["intent"] else []


def _invited_later(deal: Linked) -> Iterator[tuple[str, Any, Any]]:
    invited = deal.microsofts["inviteContext"]["assistanceRequestCode"] if deal.microsofts else None
    yield "help", invited, HELP[deal.form["help"]]
    yield "consent", bool(deal.referral["consent"]["consentToShareReferralWithMicrosoftSellers"]), True


def _target_of_new_referral(deal: Linked) -> Iterator[tuple[str, Any, Any]]:
    """As the deal was made: only a new referral takes one."""
    solutions = {("SolutionProfile", each["id"]) for each in deal.form["solutions"]} if deal.form["help"] else set()
    yield "target", {(each["type"], each["id"]) for each in deal.referral["target"]}, solutions


def _people_of_the_crm(deal: Linked) -> Iterator[tuple[str, Any, Any]]:
    referral, form = deal.referral, deal.form
    names = {"firstName": "firstname", "lastName": "lastname", "email": "emailaddress1", "phoneNumber": "telephone1"}
    keys = {name: name for name in names}
    team = _people(referral["customerProfile"]["team"], keys)
    yield "customer_contact", team, _people([form["contact"]], names)
    yield "customer_contact_for_microsoft", team, _people([form["contact"]], names)
    names = {**names, "email": "internalemailaddress", "phoneNumber": "address1_telephone1"}
    yield "own_team", _people(referral["team"], keys), _people([form["owner"]], names)


def compared(
    deal: Linked, born: str, is_new: bool, is_sellers: bool = False, edited: frozenset[str] = frozenset()
) -> list[tuple[str, Any, Any]]:
    """Field, what Partner Center says, what the CRM says. `born`: the side the deal began on, "partner-center" or "crm".
    `is_sellers`: in a deal from Partner Center a seller has since chosen contact and owner; `edited`: just these fields.
    """
    found = list(_of_both(deal))
    if born == "crm":
        found += _born_in_the_crm(deal)
        found.append(("solutions", *_solutions(deal)))
        found += _people_of_the_crm(deal)
        if is_new:
            found += _target_of_new_referral(deal)
    else:
        found += _born_at_partner_center(deal)
        found += [each for each in _people_of_the_crm(deal) if is_sellers or each[0] in edited]
        if "help" in edited:
            found += _invited_later(deal)
        if is_new:
            found += _contact_of_new_opportunity(deal)
            found += _solutions_of_new_opportunity(deal)
    return found


def differences(
    deals: Deals, referral: str, born: str, is_new: bool = False, is_sellers: bool = False
) -> list[Difference]:
    return differences_of(linked(deals, referral), born, is_new, is_sellers)


def differences_of(
    deal: Linked,
    born: str,
    is_new: bool = False,
    is_sellers: bool = False,
    edited: frozenset[str] = frozenset(),
) -> list[Difference]:
    return [Difference(*each) for each in compared(deal, born, is_new, is_sellers, edited) if each[1] != each[2]]
