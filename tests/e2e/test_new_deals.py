"""A new deal in Partner Center becomes an opportunity with its account, and both name each other."""

from __future__ import annotations

import pytest
from support.deals import DEADLINE, Deals
from support.schemas import check_topic
from support.waiting import wait_until

pytestmark = pytest.mark.asan

IN_PROGRESS, ON_HOLD = 1, 2
OTHERS = 3
OF_ONE_DEAL = ("referral", "opportunities", "msft_microsoftsolutions")
KINDS = ["microsoft-cosell", "partner-cosell", "partner-led", "private"]
CUSTOMER = "Lucerne Test Ferries AG"
ADDRESS = {
    "addressLine1": "12 Example Quay",
    "addressLine2": "Second floor",
    "city": "Exampleton",
    "state": "EX",
    "postalCode": "EX1 2AB",
    "country": "GB",
}
NAME = "Ferries on schedule"
FILLED = {
    "referralProgram": "Spring",
    "customerProfile": {"name": CUSTOMER, "address": ADDRESS},
    "details": {
        "dealValue": 61500.25,
        "currency": "EUR",
        "closingDateTime": "2031-03-31T00:00:00Z",
        "notes": "The board has agreed.",
    },
}
ACCOUNT = {
    "name": CUSTOMER,
    "address1_line1": "12 Example Quay",
    "address1_line2": "Second floor",
    "address1_city": "Exampleton",
    "address1_stateorprovince": "EX",
    "address1_postalcode": "EX1 2AB",
    "address1_country": "GB",
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_mapped_field_of_a_new_deal_is_in_the_crm(deals: Deals, kind: str) -> None:
    # What Microsoft sends us has no name of ours yet.
    name = None if kind == "microsoft-cosell" else NAME
    referral = deals.new(kind, name=name, **FILLED)
    row = deals.opportunity(referral)
    assert row is not None
    expected = {
        "name": f"✔ {name or CUSTOMER}",
        "estimatedvalue": 61500.25,
        "estimatedclosedate": "2031-03-31",
        "description": "The board has agreed.",
        "isrevenuesystemcalculated": False,
        "statecode": 0,
        "statuscode": ON_HOLD if kind == "microsoft-cosell" else IN_PROGRESS,
        "msft_microsoftpartnercenterreferralsync": True,
        "msft_microsoftpartnercenterreferralidentifier": referral,
        "msft_microsoftpartnercenterreferrallink": f"https://partner.microsoft.com/referrals/v2/inbox?id={referral}",
        "msft_microsoftpartnercenterreferralvisible": kind != "private",
        "msft_microsoftpartnercenterreferralprogram": "Spring",
        "msft_microsoftcrmidentifier": None,
    }
    assert {column: row[column] for column in expected} == expected
    audit = row["msft_microsoftpartnercenterreferralsyncaudit"]
    assert "Created from Partner Center" in audit and f"[{referral}#1]" in audit
    account = deals.dynamics_365.row("accounts", row["_customerid_value"])
    assert {column: account[column] for column in ACCOUNT} == ACCOUNT
    currency = deals.dynamics_365.row("transactioncurrencies", row["_transactioncurrencyid_value"])
    assert currency["isocurrencycode"] == "EUR"
    assert deals.referral(referral)["externalReferenceId"] == row["opportunityid"]


@pytest.mark.parametrize("kind", KINDS)
def test_audit_tells_the_whole_story_in_order(deals: Deals, kind: str) -> None:
    referral = deals.new(kind)
    # The audit is written after what it tells: the last decision to do nothing may not be there yet.
    nones = [each for each in deals.decisions(referral) if each["action"] == "none"]
    wait_until(
        lambda: [each["phase"] for each in deals.stack.timeline(referral)].count("none") >= len(nones),
        DEADLINE,
        "the audit has every decision",
    )
    story = [(row["phase"], row["purpose"], row["result"]) for row in deals.stack.timeline(referral)]
    writes = [each for each in story if each[0] in ("intent", "outcome")]
    assert writes == [
        ("intent", "create", None),
        ("outcome", "create", "applied"),
        ("intent", "link", None),
        ("outcome", "link", "applied"),
    ]
    # The webhooks of our CRM writes and the one of our referral write all end in a decision to do nothing. So does what
    # tells us of Microsoft's side, which Partner Center adds to a co-sell deal of ours. An opportunity with rows is
    # written twice; whether it is read twice, or before its rows are there, is a matter of speed.
    expected = 3 if kind == "partner-cosell" else 2
    reasons = [row["reason"] for row in deals.stack.timeline(referral) if row["phase"] == "none"]
    assert len(reasons) == len(nones) and expected <= len(nones) <= expected + 1
    assert set(reasons) <= {"echo", "waiting", "older"}
    assert deals.stack.audit("SELECT * FROM verify_audit()") == []


def test_second_deal_of_a_customer_uses_the_same_account(deals: Deals) -> None:
    customer = {"name": "Contoso Test Mills", "address": {"country": "DE", "postalCode": "01067", "city": "Dresden"}}
    first = deals.new("private", customerProfile=customer)
    second = deals.new("partner-led", customerProfile=customer)
    accounts = {deals.opportunity(each)["_customerid_value"] for each in (first, second)}  # type: ignore[index]
    assert len(accounts) == 1


def test_nothing_is_called_after_both_sides_agree(deals: Deals) -> None:
    crm, center = deals.position(), deals.partner_center.position()
    referral = deals.new("partner-cosell")
    assert deals.calls_about(referral, center, crm)
    # Each record once, and both name each other; contact, account and product may be there from other deals.
    own = [each for each in deals.writes_since(center, crm) if each[1] in OF_ONE_DEAL]
    assert sorted(own) == [
        ("PATCH", "msft_microsoftsolutions"),
        ("PATCH", "opportunities"),
        ("PATCH", "opportunities"),
        ("PATCH", "referral"),
    ]
    crm, center = deals.position(), deals.partner_center.position()
    # As long as it takes to make others, one after the other: whatever were still to come would be called by then.
    for _ in range(OTHERS):
        deals.new("partner-cosell")
    assert deals.calls_about(referral, center, crm) == []


def test_messages_of_all_topics_keep_to_their_schemas(deals: Deals) -> None:
    deals.new("partner-cosell")
    for topic in ("notifications", "records", "decisions", "outcomes", "deals"):
        messages = [each.value for each in deals.stack.topics.read(topic) if each.value]
        assert messages
        for message in messages:
            check_topic(topic, message)
