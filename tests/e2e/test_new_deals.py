"""A new deal in Partner Center becomes an opportunity with its account, and both name each other."""

from __future__ import annotations

import pytest
from support.deals import Deals
from support.schemas import check_topic

pytestmark = pytest.mark.asan

IN_PROGRESS, ON_HOLD = 1, 2


@pytest.mark.parametrize("kind", ["microsoft-cosell", "partner-cosell", "partner-led", "private"])
def test_new_deal_becomes_an_opportunity(deals: Deals, kind: str) -> None:
    referral = deals.new(kind)
    ours, row = deals.referral(referral), deals.opportunity(referral)
    assert row is not None
    details = ours["details"]
    assert row["name"] == "✔ " + (ours.get("name") or ours["customerProfile"]["name"])
    assert float(row["estimatedvalue"]) == float(details["dealValue"])
    assert row["estimatedclosedate"] == details["closingDateTime"][:10]
    assert row["description"] == details["notes"]
    assert row["statecode"] == 0
    assert row["statuscode"] == (ON_HOLD if kind == "microsoft-cosell" else IN_PROGRESS)
    assert row["msft_microsoftpartnercenterreferralsync"] is True
    assert row["msft_microsoftpartnercenterreferrallink"].endswith(referral)
    assert row["msft_microsoftpartnercenterreferralvisible"] is (kind != "private")
    account = deals.dynamics_365.row("accounts", row["_customerid_value"])
    assert account["name"] == ours["customerProfile"]["name"]
    assert account["address1_postalcode"] == ours["customerProfile"]["address"]["postalCode"]
    currency = deals.dynamics_365.row("transactioncurrencies", row["_transactioncurrencyid_value"])
    assert currency["isocurrencycode"] == details["currency"]


def test_audit_tells_the_whole_story_in_order(deals: Deals) -> None:
    referral = deals.new("private")
    story = [(row["phase"], row["purpose"], row["result"]) for row in deals.stack.timeline(referral)]
    writes = [each for each in story if each[0] in ("intent", "outcome")]
    assert writes == [
        ("intent", "create", None),
        ("outcome", "create", "applied"),
        ("intent", "link", None),
        ("outcome", "link", "applied"),
    ]
    # The webhook of our CRM write and the one of our referral write both end in a decision to do nothing.
    assert len([each for each in story if each[0] == "none"]) == 2
    assert deals.stack.audit("SELECT * FROM verify_audit()") == []


def test_second_deal_of_a_customer_uses_the_same_account(deals: Deals) -> None:
    customer = {"name": "Contoso Test Mills", "address": {"country": "DE", "postalCode": "01067", "city": "Dresden"}}
    first = deals.new("private", customerProfile=customer)
    second = deals.new("partner-led", customerProfile=customer)
    accounts = {deals.opportunity(each)["_customerid_value"] for each in (first, second)}  # type: ignore[index]
    assert len(accounts) == 1


def test_nothing_is_called_after_both_sides_agree(deals: Deals) -> None:
    referral = deals.new("partner-cosell")
    crm, center = deals.position(), int(deals.partner_center.admin("GET", "/_sim/journal")["next"])
    deals.wait_quiet(referral)
    assert deals.dynamics_365.journal(crm) == []
    assert deals.partner_center.journal(center) == []


def test_messages_of_all_topics_keep_to_their_schemas(deals: Deals) -> None:
    deals.new("partner-cosell")
    for topic in ("notifications", "records", "decisions", "outcomes", "deals"):
        messages = [each.value for each in deals.stack.topics.read(topic) if each.value]
        assert messages
        for message in messages:
            check_topic(topic, message)
