"""Complete referrals of every kind, for POST /_sim/referrals. All organisations and persons are fictional."""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any

ORGANIZATION = {"organizationId": "6d1f2a30-9c4e-4b57-8a21-0c5e7f3b9d10", "organizationName": "Fabrikam Software"}
MICROSOFT = {"organizationId": "msft", "organizationName": "Microsoft"}
PARTNER_ID = "1234567"
KINDS = ("microsoft-cosell", "partner-cosell", "partner-led", "private", "marketplace-lead", "qualified-lead")


def member(first: str, last: str, phone: str, email: str, **more: Any) -> dict[str, Any]:
    return {
        "contactPreference": {"locale": "en-us", "disableNotifications": False},
        "firstName": first,
        "lastName": last,
        "phoneNumber": phone,
        "email": email,
        **more,
    }


def place(line: str, city: str, state: str | None, code: str, country: str) -> dict[str, Any]:
    return {
        "addressLine1": line,
        "addressLine2": None,
        "city": city,
        "state": state,
        "postalCode": code,
        "country": country,
        "region": None,
    }


CUSTOMERS: list[dict[str, Any]] = [
    {
        "name": "Northwind Orchards Ltd",
        "address": place("4 Sample Lane", "Bristol", None, "BS1 0AA", "GB"),
        "team": [member("Ada", "Grower", "+44 117 496 0101", "ada.grower@northwind.example", title="Head of IT")],
        "currency": "GBP",
    },
    {
        "name": "Wingtip Trams GmbH",
        "address": place("Musterallee 12", "Leipzig", None, "04109", "DE"),
        "team": [member("Jörg", "Fahrplan", "+49 341 0000001", "joerg.fahrplan@wingtip.example", title="CIO")],
        "currency": "EUR",
    },
    {
        "name": "Tailspin Libraries Inc.",
        "address": place("77 Example Avenue", "Spokane", "WA", "99201", "US"),
        "team": [member("Lee", "Reader", "+1 509 555 0147", "lee.reader@tailspin.example", title="Director")],
        "currency": "USD",
    },
]
SELLER = member("Robin", "Seller", "+44 20 7946 0001", "robin.seller@fabrikam.example")
MICROSOFT_SELLER = member("Sam", "Accountteam", "+1 425 555 0100", "sam.accountteam@microsoft.example")
SOLUTION = {
    "id": "SOL-10001-AAA",
    "name": "Fabrikam Supply Hub",
    "type": "Name",
    "price": Decimal("1200.00"),
    "quantity": 10,
    "currency": "GBP",
    "publisherName": "Fabrikam Software",
    "solutionType": "3P",
}


def blank() -> dict[str, Any]:
    """A referral with every member the API returns, empty. The order is the one of the service's answers."""
    return {
        "id": None,
        "engagementId": None,
        "name": None,
        **ORGANIZATION,
        "mpnId": PARTNER_ID,
        "externalReferenceId": None,
        "lastModifiedVia": "Api",
        "lastRunId": None,
        "createdVia": "Api",
        "createdDateTime": None,
        "updatedDateTime": None,
        "expirationDateTime": None,
        "acceptedDateTime": None,
        "closedDateTime": None,
        "status": "New",
        "substatus": "Pending",
        "statusReason": None,
        "qualification": "None",
        "type": "Independent",
        "direction": "Outgoing",
        "referralProgram": None,
        "referralSource": None,
        "callToAction": None,
        "campaignId": None,
        "salesStage": None,
        "quality": "Unknown",
        "isSpam": False,
        "favorite": False,
        "dealSensitivity": "None",
        "tags": [],
        "eTag": None,
        "target": [],
        "customerProfile": {
            "name": None,
            "size": None,
            "isMatchingComplete": False,
            "address": place("", "", None, "", "") | {"addressLine1": None, "city": None, "postalCode": None},
            "team": [],
            "ids": [],
        },
        "consent": {
            "consentToToShareInfoWithOthers": True,
            "consentToContact": True,
            "consentToShareReferralWithMicrosoftSellers": False,
        },
        "details": {
            "notes": None,
            "dealValue": None,
            "currency": None,
            "closingDateTime": None,
            "customerRequestedContact": None,
            "customerAction": None,
            "incentiveLevel": None,
            "requirements": {
                "industries": [],
                "products": [],
                "services": [],
                "solutions": [],
                "offers": [],
                "salesPlays": [],
                "additionalRequirements": None,
            },
        },
        "team": [],
        "inviteContext": invitation(None, "Unknown", ORGANIZATION),
        "trackingInfo": {
            "microsoftMsxId": None,
            "microsoftUSFedOpportunityId": None,
            "microsoftUSFedLeadId": None,
            "migratedPSCDealId": None,
            "migratedPSCPartnerDealId": None,
        },
        "registrationStatus": "None",
        "registrations": [],
        "links": None,
    }


def invitation(notes: str | None, code: str, inviter: dict[str, Any]) -> dict[str, Any]:
    return {"notes": notes, "assistanceRequestCode": code, "invitedMpnId": None, "invitedBy": dict(inviter)}


def preset(kind: str, number: int) -> dict[str, Any]:
    """A referral of this kind without ids and times; `number` picks the customer."""
    customer = copy.deepcopy(CUSTOMERS[number % len(CUSTOMERS)])
    currency = customer.pop("currency")
    document = blank()
    document["customerProfile"] |= customer | {"size": "251to1000employees", "isMatchingComplete": True}
    document["customerProfile"]["ids"] = [
        {"profileType": "Duns", "id": f"{number + 1:09d}"},
        {"profileType": "External", "id": f"6-SIMULATED{number + 1}"},
    ]
    document["target"] = [{"type": "SolutionProfile", "id": SOLUTION["id"]}]
    document["details"] |= {
        "notes": "The customer wants to replace its spreadsheets.",
        "dealValue": Decimal("48000.00") + 1000 * (number % 10),
        "currency": currency,
        "closingDateTime": "2030-06-28T00:00:00Z",
    }
    document["details"]["requirements"] |= {
        "industries": [{"id": "Manufacturing"}],
        "products": [{"id": "Azure"}],
        "services": [{"id": "IPServices(ISV)"}],
        "solutions": [dict(SOLUTION)],
    }
    document["qualification"] = "SalesQualified"
    if kind in ("partner-cosell", "partner-led", "private"):
        document["name"] = f"{customer['name']} - Supply Hub {number + 1}"
        document |= {"status": "Active", "substatus": "Accepted", "team": [dict(SELLER)], "salesStage": "20"}
        document["consent"]["consentToShareReferralWithMicrosoftSellers"] = kind != "private"
        document["createdVia"] = document["lastModifiedVia"] = "Ui"
        if kind == "partner-cosell":
            document["type"] = "Shared"
            document["inviteContext"] = invitation(
                "Help is needed with the landing zone.", "CustomerTechnicalArchitecture", ORGANIZATION
            )
        elif kind == "private":
            document["inviteContext"] = None
            document["target"] = []
        return document
    document["direction"] = "Incoming"
    document["createdVia"] = document["lastModifiedVia"] = "Msx"
    document["consent"]["consentToShareReferralWithMicrosoftSellers"] = True
    document["inviteContext"] = invitation("Please get in touch with this customer.", "Unknown", MICROSOFT)
    if kind == "microsoft-cosell":
        document["type"] = "Shared"
    elif kind == "qualified-lead":
        document["qualification"] = "MarketingQualified"
        document["referralProgram"] = "Example Qualified Lead Program"
    else:
        document["qualification"] = "Direct"
        document["consent"]["consentToShareReferralWithMicrosoftSellers"] = None
        document["target"] = [{"type": "BusinessProfileLocation", "id": "01e2abcd-52b0-4af3-a3ae-1fd1530b00bb"}]
        document["details"] |= {"dealValue": None, "closingDateTime": None, "customerRequestedContact": True}
        document["details"]["requirements"]["solutions"] = []
        document["inviteContext"] = invitation(None, "Unknown", {"organizationId": None, "organizationName": None})
        document["trackingInfo"] = None
        for contact in document["customerProfile"]["team"]:
            contact |= {"emailValidationStatus": "Valid", "phoneValidationStatus": "Unknown"}
    return document
