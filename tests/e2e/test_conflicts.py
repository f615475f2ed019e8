"""The same field changed on both sides at once: settled by the field's policy, both values kept."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.deals import DEADLINE, Deals, wait_for_the_next_second
from support.default_rules import RULES, with_policies
from support.ingest import metrics
from support.simulators import unheard
from support.stack import Stack
from support.waiting import wait_until

pytestmark = pytest.mark.asan

# The mapper is started below, with rules of this file's own.
PROCESSES = {"mapper": 0}
POLICIES = {"deal_value": "partner-center", "notes": "crm", "closing_date": "latest", "currency": "manual"}


@pytest.fixture(scope="module", autouse=True)
def mapper(stack: Stack) -> None:
    stack.start_mapper(with_policies(RULES.read_text(), POLICIES))


class Conflict:
    """A linked deal that is then edited on both sides before Tandem hears of either edit."""

    def __init__(self, deals: Deals) -> None:
        self.deals = deals
        self.referral = deals.new("private", details={"currency": "EUR"})
        row = deals.opportunity(self.referral)
        assert row is not None
        self.opportunity = str(row["opportunityid"])
        self.crm_position = deals.position()
        self.partner_center_position = deals.partner_center.position()

    def in_partner_center(self, **details: Any) -> None:
        self.deals.partner_center.edit_referral(self.referral, details=details)

    def in_the_crm(self, **columns: Any) -> None:
        self.deals.dynamics_365.edit_row("opportunities", self.opportunity, **columns)

    def details(self) -> dict[str, Any]:
        found: dict[str, Any] = self.deals.referral(self.referral)["details"]
        return found

    def row(self) -> dict[str, Any]:
        found = self.deals.opportunity(self.referral)
        assert found is not None
        return found

    def audited(self) -> list[tuple[Any, ...]]:
        return self.deals.stack.audit(
            "SELECT field, partner_center, crm, policy, winner FROM conflicts WHERE deal_key = %s AND result = 'applied'",
            self.referral,
        )

    def waiting(self) -> list[tuple[Any, ...]]:
        query = "SELECT field, partner_center, crm FROM manual_conflicts WHERE deal_key = %s"
        return self.deals.stack.audit(query, self.referral)

    def state(self) -> dict[str, Any]:
        """The deal as the mapper keeps it."""
        records = [each for each in self.deals.stack.topics.read("deals") if each.key == self.referral.encode()]
        found: dict[str, Any] = json.loads(records[-1].value or b"null")
        return found

    def taken_by_the_crm(self) -> list[dict[str, Any]]:
        """Bodies of the changes the CRM has carried out; not those it refused for their version."""
        entries = self.deals.dynamics_365.journal(self.crm_position, "PATCH", f"opportunities({self.opportunity})")
        return [json.loads(each["body"]) for each in entries if each["status"] < 300]

    def taken_by_partner_center(self) -> list[str]:
        entries = self.deals.partner_center.journal(self.partner_center_position, path=self.referral)
        return [each["body"] for each in entries if each["method"] != "GET" and each["status"] < 300]


@pytest.fixture
def conflict(deals: Deals) -> Conflict:
    return Conflict(deals)


def test_late_knowledge_of_a_sellers_edit_is_a_412_and_merged_at_once(deals: Deals) -> None:
    """The CRM's webhooks are held back, so the write meets a version the mapper has not seen."""
    referral = deals.new("private")
    row = deals.opportunity(referral)
    assert row is not None
    with unheard(deals.dynamics_365):
        position = deals.position()
        deals.dynamics_365.edit_row("opportunities", row["opportunityid"], description="The seller's words")
        deals.partner_center.edit_referral(referral, details={"dealValue": 777})

        def is_merged() -> bool:
            now, ours = deals.opportunity(referral), deals.referral(referral)
            assert now is not None
            return float(now["estimatedvalue"]) == 777 and ours["details"]["notes"] == "The seller's words"

        wait_until(is_merged, DEADLINE, "both edits stand on both sides")
        answers = [each["status"] for each in deals.dynamics_365.journal(position, "PATCH", "opportunities(")]
        assert 412 in answers
        results = [each["result"] for each in deals.stack.timeline(referral) if each["phase"] == "outcome"]
        assert "conflict" in results


def test_policy_partner_center_wins_over_a_later_edit_of_the_crm(conflict: Conflict) -> None:
    with conflict.deals.unheard():
        conflict.in_partner_center(dealValue=1111)
        wait_for_the_next_second()
        conflict.in_the_crm(estimatedvalue=2222)
    wait_until(conflict.audited, DEADLINE, "the conflict is settled")
    conflict.deals.wait_quiet(conflict.referral)
    assert float(conflict.row()["estimatedvalue"]) == 1111
    assert float(conflict.details()["dealValue"]) == 1111
    assert conflict.audited() == [("deal_value", 1111, 2222, "partner-center", "partner-center")]


def test_policy_crm_wins_over_a_later_edit_of_partner_center(conflict: Conflict) -> None:
    with conflict.deals.unheard():
        conflict.in_the_crm(description="The seller's words")
        wait_for_the_next_second()
        conflict.in_partner_center(notes="The portal's words")
    wait_until(conflict.audited, DEADLINE, "the conflict is settled")
    conflict.deals.wait_quiet(conflict.referral)
    assert conflict.details()["notes"] == "The seller's words"
    assert conflict.row()["description"] == "The seller's words"
    assert conflict.audited() == [("notes", "The portal's words", "The seller's words", "crm", "crm")]


@pytest.mark.parametrize("later", ["partner-center", "crm"])
def test_policy_latest_takes_the_later_edit(conflict: Conflict, later: str) -> None:
    edits = [
        lambda: conflict.in_partner_center(closingDateTime="2033-03-03T00:00:00Z"),
        lambda: conflict.in_the_crm(estimatedclosedate="2032-02-02"),
    ]
    with conflict.deals.unheard():
        for edit in edits if later == "crm" else reversed(edits):
            edit()
            wait_for_the_next_second()
    wait_until(conflict.audited, DEADLINE, "the conflict is settled")
    conflict.deals.wait_quiet(conflict.referral)
    date = "2032-02-02" if later == "crm" else "2033-03-03"
    assert conflict.row()["estimatedclosedate"] == date
    assert conflict.details()["closingDateTime"][:10] == date
    assert conflict.audited() == [("closing_date", "2033-03-03T00:00:00Z", "2032-02-02", "latest", later)]


def test_policy_manual_keeps_both_values_and_lets_other_fields_flow(conflict: Conflict) -> None:
    currencies = {each["isocurrencycode"]: each["transactioncurrencyid"] for each in currency_rows(conflict.deals)}

    def currency_of_the_crm() -> str:
        bound = conflict.row()["_transactioncurrencyid_value"]
        return next(code for code, identifier in currencies.items() if identifier == bound)

    with conflict.deals.unheard():
        conflict.in_the_crm(**{"transactioncurrencyid@odata.bind": f"/transactioncurrencies({currencies['USD']})"})
        conflict.in_partner_center(currency="GBP", dealValue=3333)
    wait_until(lambda: float(conflict.row()["estimatedvalue"]) == 3333, DEADLINE, "the deal value flows to the CRM")
    conflict.in_the_crm(description="Written while the currency waits")
    wait_until(
        lambda: conflict.details()["notes"] == "Written while the currency waits", DEADLINE, "notes flow to Partner Center"
    )
    conflict.deals.wait_quiet(conflict.referral)

    assert (conflict.details()["currency"], currency_of_the_crm()) == ("GBP", "USD")
    assert conflict.state()["parked"] == {"currency": {"partner_center": "GBP", "crm": "USD"}}
    to_crm, to_partner_center = conflict.taken_by_the_crm(), conflict.taken_by_partner_center()
    assert to_crm and not any("transactioncurrencyid@odata.bind" in each for each in to_crm)
    assert to_partner_center and not any("USD" in each for each in to_partner_center)
    assert not [each for each in conflict.audited() if each[4] in ("partner-center", "crm")]

    assert conflict.waiting() == [("currency", "GBP", "USD")]

    # A person settles it by editing: both sides then say the same.
    conflict.in_partner_center(currency="USD")
    wait_until(lambda: conflict.state()["parked"] == {}, DEADLINE, "nothing is parked any more")
    wait_until(lambda: conflict.waiting() == [], DEADLINE, "the view says so, too")


@pytest.mark.parametrize("take", ["partner-center", "crm"])
def test_manual_conflict_is_settled_by_the_command(conflict: Conflict, take: str) -> None:
    currencies = {each["isocurrencycode"]: each["transactioncurrencyid"] for each in currency_rows(conflict.deals)}
    with conflict.deals.unheard():
        conflict.in_the_crm(**{"transactioncurrencyid@odata.bind": f"/transactioncurrencies({currencies['USD']})"})
        conflict.in_partner_center(currency="GBP")
    wait_until(lambda: conflict.waiting() == [("currency", "GBP", "USD")], DEADLINE, "the view lists the conflict")
    conflict.deals.wait_quiet(conflict.referral)
    mapper = conflict.deals.stack.running("mapper-1")
    said = conflict.deals.stack.command(
        "mapper", "settle", "--deal", conflict.referral, "--field", "currency", "--take", take, config=mapper.config
    )
    assert conflict.referral in said
    wanted = "GBP" if take == "partner-center" else "USD"

    def both() -> tuple[str, str]:
        bound = conflict.row()["_transactioncurrencyid_value"]
        return str(conflict.details()["currency"]), next(code for code, each in currencies.items() if each == bound)

    wait_until(lambda: both() == (wanted, wanted), DEADLINE, "both sides have the value that was taken")
    wait_until(lambda: conflict.waiting() == [], DEADLINE, "nothing waits any more")
    reasons = [each["reason"] for each in conflict.deals.stack.timeline(conflict.referral) if each["phase"] == "outcome"]
    assert reasons[-1] == "settled_by_person"


@pytest.mark.parametrize(
    ("deal", "told"), [("none-such", "there is no deal 'none-such'"), (None, "no conflict of 'currency' waits")]
)
def test_settling_what_does_not_wait_is_refused(conflict: Conflict, deal: str | None, told: str) -> None:
    conflict.deals.wait_quiet(conflict.referral)
    mapper = next(each for each in conflict.deals.stack.programs if each.config.name.startswith("mapper"))
    arguments = ("settle", "--deal", deal or conflict.referral, "--field", "currency", "--take", "crm")
    with pytest.raises(AssertionError, match=f": 64\n.*{told}"):
        conflict.deals.stack.command("mapper", *arguments, config=mapper.config)


def test_near_miss_is_told_in_the_view_and_counted(conflict: Conflict) -> None:
    """A seller types over what we have just written, before we have read it back."""
    before = near_misses_counted(conflict)
    with unheard(conflict.deals.dynamics_365):
        conflict.in_partner_center(dealValue=1000)
        wait_until(lambda: float(conflict.row()["estimatedvalue"]) == 1000, DEADLINE, "the value has arrived")
        conflict.in_the_crm(estimatedvalue=1001)
    query = "SELECT field, written, found FROM near_misses WHERE deal_key = %s"
    wait_until(
        lambda: conflict.deals.stack.audit(query, conflict.referral) == [("deal_value", 1000, 1001)],
        DEADLINE,
        "the view tells both values",
    )
    assert near_misses_counted(conflict) == before + 1


def near_misses_counted(conflict: Conflict) -> float:
    stack = conflict.deals.stack
    found = metrics(int(stack.admin_address(stack.running("mapper-1")).rsplit(":", 1)[1]))
    return sum(value for name, value in found.items() if name.startswith("tandem_mapper_near_misses_total"))


def currency_rows(deals: Deals) -> list[dict[str, Any]]:
    rows = deals.dynamics_365.rows("transactioncurrencies")
    found: list[dict[str, Any]] = rows["value"] if isinstance(rows, dict) else rows
    return found
