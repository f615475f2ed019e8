"""What the Referrals API accepts: required members on create, patchable paths, life cycle. Pure functions.

A value is answered with the form in which the service stores it; everything else raises Refused.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

STATUSES = {
    "New": ("Pending", "Received"),
    "Active": ("Accepted",),
    "Closed": ("Won", "Lost", "Declined", "Expired", "Error"),
}
QUALIFICATIONS = ("None", "Direct", "MarketingQualified", "SalesQualified")
TYPES = ("Independent", "Shared")
HELP_CODES = (
    "WorkloadSpecificValueProposition",
    "CustomerTechnicalArchitecture",
    "ProofOfConceptOrDemo",
    "QuotesOrLicensing",
    "PostSalesCustomerSuccess",
    "GeneralOrOther",
    "Unknown",
)
SALES_STAGES = ("10", "20", "40", "60", "80", "100", "Qualify", "Develop", "Propose", "Close")
ITEMS_MAX = 50  # solutions and team members of one deal
CREATE_MEMBERS = {
    "name",
    "engagementId",
    "mpnId",
    "externalReferenceId",
    "status",
    "substatus",
    "statusReason",
    "qualification",
    "type",
    "target",
    "customerProfile",
    "consent",
    "details",
    "team",
    "inviteContext",
    "campaignId",
    "referralProgram",
    "salesStage",
    "customerMarketplaceIntent",
}
GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


MONEY_LIMIT = Decimal(10) ** 15
MONEY_DECIMALS = 6


@dataclass(frozen=True)
class Strictness:
    """What a POST needs beyond the four members of the document: each a setting of the simulator."""

    practice: bool  # what the portal insists on
    refuse_unknown: bool
    contact_phone: bool  # of a customer contact, when help is asked for
    team_phone: bool
    invite_needs_help: bool


class Refused(Exception):
    """A request the API answers with an error of this status, code and inner message."""

    def __init__(self, inner: str, status: int = 400, code: str = "invalidRequest", message: str | None = None) -> None:
        super().__init__(inner)
        self.inner = inner
        self.status = status
        self.code = code
        self.message = message

    @property
    def member(self) -> str | None:
        """The member the inner message is about; None where it is about the referral as a whole."""
        first = self.inner.partition(" ")[0].rstrip(":")
        return first if re.fullmatch(r"/?[a-z][A-Za-z]*([./[\]]+[A-Za-z0-9]+)*\]?", first) else None


def text(value: Any, name: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise Refused(f"{name} must be a string.")
    return value


def filled(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Refused(f"{name} is required.")
    return value


def one_of(values: tuple[str, ...]) -> Callable[[Any, str], str]:
    def check(value: Any, name: str) -> str:
        if value not in values:
            raise Refused(f"{name} has an unknown value.")
        return value

    return check


def stage(value: Any, name: str) -> str | None:
    return None if value is None else one_of(SALES_STAGES)(value, name)


def money(value: Any, name: str) -> Decimal:
    """Takes a number or the same as a string, as the documents show both. Every digit of it is kept."""
    if isinstance(value, str) and re.fullmatch(r"\d{1,15}(\.\d{1,6})?", value):
        value = Decimal(value)
    if isinstance(value, int) and not isinstance(value, bool):
        value = Decimal(value)
    if not isinstance(value, Decimal) or not 0 <= value < MONEY_LIMIT or value.as_tuple().exponent < -MONEY_DECIMALS:
        raise Refused(f"{name} must be a number that is not negative.")
    return value


def amount(value: Any, name: str) -> Decimal:
    """Money that is more than nothing."""
    checked = money(value, name)
    if checked == 0:
        raise Refused(f"{name} must be greater than zero.")
    return checked


def currency(value: Any, name: str) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Z]{3}", value):
        raise Refused(f"{name} must be an ISO 4217 code.")
    return value


def instant(value: Any, name: str) -> str:
    """A UTC date-time; returned without fraction, as the service writes closing dates."""
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,7})?(Z|[+-]\d\d:\d\d)", value):
        plain = re.sub(r"\.\d+", "", value).replace("Z", "+00:00")
        try:
            return f"{datetime.datetime.fromisoformat(plain).astimezone(datetime.timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
        except (ValueError, OverflowError):
            pass
    raise Refused(f"{name} must be a UTC date and time.")


def boolean(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise Refused(f"{name} must be a boolean.")
    return value


def contact(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Refused(f"{name} must be an object.")
    for key in ("firstName", "lastName", "email"):
        filled(value.get(key), f"{name}.{key}")
    text(value.get("phoneNumber"), f"{name}.phoneNumber")
    preference = value.get("contactPreference") or {"locale": "en-us", "disableNotifications": False}
    return {"contactPreference": preference, "phoneNumber": None, **value}


def reachable(value: dict[str, Any]) -> bool:
    """Whether a contact, checked already, can be called."""
    return bool((value.get("phoneNumber") or "").strip())


def solution(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Refused(f"{name} must be an object.")
    filled(value.get("id"), f"{name}.id")
    if value.get("type") is not None:
        one_of(("None", "Category", "Name"))(value["type"], f"{name}.type")
    if value.get("price") is not None:
        value = {**value, "price": money(value["price"], f"{name}.price")}
    quantity = value.get("quantity")
    if quantity is not None and (type(quantity) is not int or quantity < 0):
        raise Refused(f"{name}.quantity must be a whole number.")
    return value


def list_of(item: Callable[[Any, str], Any], least: int = 0) -> Callable[[Any, str], list[Any]]:
    def check(value: Any, name: str) -> list[Any]:
        if not isinstance(value, list) or not least <= len(value) <= ITEMS_MAX:
            raise Refused(f"{name} must be a list of {least} to {ITEMS_MAX} items.")
        return [item(each, f"{name}[{number}]") for number, each in enumerate(value)]

    return check


def registration(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict) or value.get("type") != "AzureIPCoSell":
        raise Refused(f"{name}.type must be AzureIPCoSell.")
    contract, solutions = value.get("contract"), value.get("solutionDetails")
    if not isinstance(contract, dict) or not isinstance(solutions, list) or not solutions:
        raise Refused(f"{name} needs contract and solutionDetails.")
    currency(contract.get("currency"), f"{name}.contract.currency")
    money(contract.get("value"), f"{name}.contract.value")
    one_of(("Perpetual", "Finite"))(contract.get("term"), f"{name}.contract.term")
    for each in solutions:
        if not isinstance(each, dict):
            raise Refused(f"{name}.solutionDetails must hold objects.")
        filled(each.get("id"), f"{name}.solutionDetails.id")
    return value


# path: operation, check of the value
PATCHABLE: dict[str, tuple[str, Callable[[Any, str], Any]]] = {
    "/status": ("replace", one_of(tuple(STATUSES))),
    "/substatus": ("replace", one_of(tuple(sub for subs in STATUSES.values() for sub in subs))),
    "/statusReason": ("replace", text),
    "/externalReferenceId": ("replace", text),
    "/campaignId": ("replace", text),
    "/referralProgram": ("replace", text),
    "/salesStage": ("replace", stage),
    "/details/dealValue": ("replace", money),
    "/details/currency": ("replace", currency),
    "/details/closingDateTime": ("replace", instant),
    "/details/notes": ("replace", text),
    "/details/requirements/solutions": ("replace", list_of(solution, 1)),
    "/details/requirements/solutions/-": ("add", solution),
    "/consent/consentToShareReferralWithMicrosoftSellers": ("replace", boolean),
    "/customerProfile/team": ("replace", list_of(contact)),
    "/customerProfile/team/-": ("add", contact),
    "/team": ("replace", list_of(contact, 1)),
    "/team/-": ("add", contact),
    "/registrations/-": ("add", registration),
    "/name": ("replace", filled),
}
REGISTRATION_CHANGE = re.compile(
    r"/registrations/(\d+)/(?:contract/(?:startDateTime|endDateTime|signDateTime|term|value)"
    r"|solutionDetails/\d+/(?:value|currency|isDeployedOnAzure|primaryDeploymentOn|pricingModel"
    r"|marketplaceTransactionDetails/(?:isMarketplaceTransacted|marketplaceTransactionDateTime)))"
)
LIFE_CYCLE_PATHS = ("/status", "/substatus", "/statusReason")


def check_create(body: Any, invites: bool, strictness: Strictness) -> None:
    """The form of all members, and which are required. invites: the POST is the one that invites Microsoft."""
    if not isinstance(body, dict):
        raise Refused("The referral must be an object.")
    for name in ("type", "customerProfile", "consent", "details"):
        if body.get(name) is None:
            raise Refused(f"{name} is required.")
    if strictness.refuse_unknown and set(body) - CREATE_MEMBERS:
        raise Refused(f"{sorted(set(body) - CREATE_MEMBERS)[0]} cannot be set.")
    for name in ("customerProfile", "consent", "details"):
        if not isinstance(body[name], dict):
            raise Refused(f"{name} must be an object.")
    one_of(TYPES)(body["type"], "type")
    one_of(QUALIFICATIONS)(body.get("qualification", "None"), "qualification")
    if body.get("mpnId") is not None and not re.fullmatch(r"\d{1,10}", str(body["mpnId"])):
        raise Refused("mpnId must be a numeric string.")
    for name in ("name", "externalReferenceId", "campaignId", "referralProgram"):
        text(body.get(name), name)
    profile, details = body["customerProfile"], body["details"]
    filled(profile.get("name"), "customerProfile.name")
    address = profile.get("address")
    if not isinstance(address, dict) or not re.fullmatch(r"[A-Z]{2}", str(address.get("country"))):
        raise Refused("customerProfile.address.country must be a two letter code.")
    for name, value in body["consent"].items():
        boolean(value, f"consent.{name}")
    check_targets(body.get("target") or [])
    requirements = details.get("requirements") or {}
    invite = body.get("inviteContext") or {}
    if not isinstance(requirements, dict) or not isinstance(invite, dict):
        raise Refused("details.requirements and inviteContext must be objects.")
    code = one_of(HELP_CODES)(invite.get("assistanceRequestCode") or "Unknown", "inviteContext.assistanceRequestCode")
    list_of(solution)(requirements.get("solutions") or [], "details.requirements.solutions")
    team = list_of(contact)(body.get("team") or [], "team")
    customers = list_of(contact)(profile.get("team") or [], "customerProfile.team")
    value = amount if strictness.practice else money
    for name, check in (("dealValue", value), ("currency", currency), ("closingDateTime", instant)):
        if details.get(name) is not None or strictness.practice:
            check(details.get(name), f"details.{name}")
    if strictness.team_phone and not all(reachable(each) for each in team):
        raise Refused("team.phoneNumber is required.")
    if invites and strictness.invite_needs_help and code == "Unknown":
        raise Refused("inviteContext.assistanceRequestCode is required to invite Microsoft.")
    if not strictness.practice:
        return
    filled(body.get("name"), "name")
    if not requirements.get("solutions"):
        raise Refused("At least one solution is required.")
    if not body.get("team"):
        raise Refused("At least one team member is required.")
    if code != "Unknown" and not any(reachable(each) or not strictness.contact_phone for each in customers):
        raise Refused("A complete customer contact is required when help is asked for.")
    if code != "Unknown" and body["consent"].get("consentToShareReferralWithMicrosoftSellers") is not True:
        raise Refused("Help can only be asked for when the referral is shared with Microsoft sellers.")


def check_targets(targets: Any) -> None:
    if not isinstance(targets, list):
        raise Refused("target must be a list.")
    for target in targets:
        if not isinstance(target, dict):
            raise Refused("target must hold objects.")
        one_of(("None", "BusinessProfileLocation", "SolutionProfile"))(target.get("type"), "target.type")
        filled(target.get("id"), "target.id")


def check_transition(old: dict[str, Any], new: dict[str, Any], declines_only: bool, needs_reason: bool) -> None:
    """New -> New, Active, Closed; Active -> Active, Closed; Closed is final. The substatus has to fit.

    declines_only: what nobody has answered is declined or a mistake, not won or lost. needs_reason: of a decline.
    """
    if new["substatus"] not in STATUSES.get(new["status"], ()):
        raise Refused("Status and substatus do not fit.", message="Status transition is not allowed.")
    if (old["status"], old["substatus"]) == (new["status"], new["substatus"]):
        return
    refused = (
        (old["status"] == "Active" and new["status"] == "New")
        or (new["substatus"] == "Expired")
        or (new["substatus"] == "Declined" and old["status"] != "New")
        or (old["substatus"] == "Received" and new["substatus"] == "Pending")
        or (declines_only and old["status"] == "New" and new["substatus"] in ("Won", "Lost"))
    )
    if refused:
        raise Refused(
            f"{old['status']}/{old['substatus']} cannot become {new['status']}/{new['substatus']}.",
            message="Status transition is not allowed.",
        )
    if needs_reason and new["substatus"] == "Declined" and not (new["statusReason"] or "").strip():
        raise Refused("statusReason is required to decline.")


def operations(body: Any) -> list[tuple[str, str, Any]]:
    """The operations of a JSON Patch document, checked for form only."""
    if not isinstance(body, list) or not body:
        raise Refused("The body must be a list of operations.")
    result = []
    for each in body:
        if not isinstance(each, dict) or set(each) != {"op", "path", "value"}:
            raise Refused("An operation has exactly op, path and value.")
        if each["op"] not in ("replace", "add"):
            raise Refused("Only replace and add are supported.")
        if not isinstance(each["path"], str):
            raise Refused("path must be a string.")
        result.append((each["op"], each["path"], each["value"]))
    return result


def allowed(op: str, path: str, name_patchable: bool) -> Callable[[Any, str], Any] | None:
    """The check of the value for this path (None: no check); Refused if the path cannot be patched so."""
    if REGISTRATION_CHANGE.fullmatch(path):
        return None
    if path not in PATCHABLE or (path == "/name" and not name_patchable):
        raise Refused(f"{path} cannot be patched.")
    if PATCHABLE[path][0] != op:
        raise Refused(f"{path} takes {PATCHABLE[path][0]} only.")
    return PATCHABLE[path][1]


def apply(document: dict[str, Any], path: str, value: Any) -> None:
    """Changes `document` in place."""
    *parents, last = path.strip("/").split("/")
    target: Any = document
    for name in parents:
        if isinstance(target, list):
            if not name.isdigit() or int(name) >= len(target):
                raise Refused(f"{path} does not exist.")
            target = target[int(name)]
            continue
        if target.get(name) is None:
            target[name] = [] if last == "-" and name == parents[-1] else {}
        target = target[name]
    if last == "-":
        if len(target) >= ITEMS_MAX:
            raise Refused(f"{path}: the list is full.")
        target.append(value)
    else:
        target[last] = value
