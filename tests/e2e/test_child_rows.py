"""Solutions of a new deal in Partner Center become rows of the new opportunity, once; from then on the list is the seller's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.deals import DEADLINE, Deals
from support.stack import Stack
from support.waiting import wait_until

KINDS = ["microsoft-cosell", "partner-cosell", "partner-led", "private"]
ROWS, DETAILS = "msft_microsoftsolutions", "msft_microsoftsolutiondetails"
PATH = "/details/requirements/solutions"
SETTINGS = {"pusher": {"pause_max": "1s"}}

pytestmark = pytest.mark.asan


@pytest.fixture(scope="module", autouse=True)
def child_steps(stack: Stack) -> None:
    stack.have_rows_tell()


def solution(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"SOL-{number}-TST", "name": f"Product {number}", "type": "Name", "price": None, "quantity": None, **more}


def with_solutions(*solutions: dict[str, Any]) -> dict[str, Any]:
    return {"details": {"requirements": {"solutions": list(solutions)}}}


def shown(solutions: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What both sides tell of a solution, in one order."""
    price = (None if each.get("price") is None else float(each["price"]) for each in solutions)
    return sorted(((each["id"], each["name"], cost, each.get("quantity")) for each, cost in zip(solutions, price)), key=str)


def form(deals: Deals, referral: str) -> dict[str, Any]:
    row = deals.opportunity(referral)
    assert row is not None
    return deals.dynamics_365.admin("GET", f"/_sim/opportunities/{row['opportunityid']}")


def at_partner_center(deals: Deals, referral: str) -> list[tuple[Any, ...]]:
    return shown(deals.referral(referral)["details"]["requirements"]["solutions"])


def in_the_crm(deals: Deals, referral: str) -> list[tuple[Any, ...]]:
    return shown(form(deals, referral)["solutions"])


def written_at_partner_center(deals: Deals, referral: str, since: int = 0) -> list[list[str]]:
    """The paths of each change of the referral."""
    entries = deals.partner_center.journal(since, "PATCH", f"/referrals/{referral}")
    bodies = [json.loads(each["body"]) if isinstance(each["body"], str) else each["body"] for each in entries]
    return [[operation["path"] for operation in body] for body in bodies]


def position(deals: Deals) -> int:
    return deals.partner_center.position()


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_there_with_the_opportunity_and_rest(deals: Deals, kind: str) -> None:
    wanted = with_solutions(solution(1, price=1200, quantity=10), solution(2), solution(3, price=0.5, quantity=1))

    since, crm = position(deals), deals.position()
    referral = deals.new(kind, **wanted)

    assert in_the_crm(deals, referral) == at_partner_center(deals, referral) == [
        ("SOL-1-TST", "Product 1", 1200.0, 10),
        ("SOL-2-TST", "Product 2", None, None),
        ("SOL-3-TST", "Product 3", 0.5, 1),
    ]
    assert written_at_partner_center(deals, referral) == [["/externalReferenceId"]]
    writes = deals.writes_since(since, crm)
    assert (writes.count(("PATCH", "opportunities")), writes.count(("PATCH", ROWS))) == (2, 3)
    since, crm = position(deals), deals.position()
    # As long as it takes to make another: whatever were still to come would be called by then.
    deals.new(kind)
    assert deals.calls_about(referral, since, crm) == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_seller_changes_is_one_patch_of_the_whole_list(deals: Deals, kind: str) -> None:
    referral = deals.new(kind, **with_solutions(solution(4, price=7, quantity=1), solution(5)))
    if kind == "microsoft-cosell":
        # Only a deal that was accepted takes another list.
        identifier = form(deals, referral)["row"]["opportunityid"]
        deals.dynamics_365.edit_row("opportunities", identifier, statecode=0, statuscode=1)
        wait_until(lambda: deals.referral(referral)["status"] == "Active", DEADLINE, "the deal is accepted")
        deals.wait_quiet(referral)
    row = form(deals, referral)["solutions"][0]
    since = position(deals)

    deals.dynamics_365.edit_row(ROWS, row["row"], msft_quantity=25)

    wait_until(lambda: written_at_partner_center(deals, referral, since), DEADLINE, "Partner Center is told")
    deals.wait_quiet(referral)
    assert written_at_partner_center(deals, referral, since) == [[PATH]]
    assert at_partner_center(deals, referral) == in_the_crm(deals, referral)
    assert {each[3] for each in at_partner_center(deals, referral) if each[0] == row["id"]} == {25}


def test_solutions_that_change_at_partner_center_stay_there(deals: Deals) -> None:
    referral = deals.new("private", **with_solutions(solution(6)))
    deals.partner_center.edit_referral(referral, **with_solutions(solution(7)))
    deals.partner_center.edit_referral(referral, details={"notes": "Another solution."})
    wait_until(lambda: form(deals, referral)["row"]["description"] == "Another solution.", DEADLINE, "the notes are there")
    deals.wait_quiet(referral)
    assert [each[0] for each in in_the_crm(deals, referral)] == ["SOL-6-TST"]
    assert [each[0] for each in at_partner_center(deals, referral)] == ["SOL-7-TST"]


def test_catalogue_that_calls_a_solution_otherwise_changes_nothing_at_partner_center(deals: Deals) -> None:
    deals.dynamics_365.add_row(DETAILS, msft_solutionidentifier="SOL-8-TST", msft_name="Our own name")
    referral = deals.new("private", **with_solutions(solution(8)))
    assert [each[1] for each in in_the_crm(deals, referral)] == ["Our own name"]
    assert [each[1] for each in at_partner_center(deals, referral)] == ["Product 8"]
    assert written_at_partner_center(deals, referral) == [["/externalReferenceId"]]


def test_category_is_no_row_and_stays(deals: Deals) -> None:
    category = solution(0, id="BigData", name="Big data", type="Category")
    referral = deals.new("private", **with_solutions(category, solution(9)))
    assert [each[0] for each in in_the_crm(deals, referral)] == ["SOL-9-TST"]
    assert [each[0] for each in at_partner_center(deals, referral)] == ["BigData", "SOL-9-TST"]


@pytest.mark.parametrize("action", ["drop", "apply-then-drop"])
@pytest.mark.parametrize(("method", "path"), [("PATCH", r"opportunities\("), ("PATCH", ROWS), ("GET", DETAILS)])
def test_lost_answers_double_nothing(deals: Deals, action: str, method: str, path: str) -> None:
    number = 100 + len(deals.stack.opportunities())
    solutions = [solution(number + k, quantity=k) for k in range(1, 4)]
    deals.dynamics_365.fault(action, method, path, times=2)

    referral = deals.new("private", **with_solutions(*solutions))

    assert in_the_crm(deals, referral) == at_partner_center(deals, referral) == shown(solutions)
    named = [each["msft_solutionidentifier"] for each in deals.dynamics_365.rows(DETAILS)["value"]]
    assert len(named) == len(set(named))
    assert written_at_partner_center(deals, referral) == [["/externalReferenceId"]]
    identifier = "msft_microsoftpartnercenterreferralidentifier"
    assert len([each for each in deals.stack.opportunities() if each[identifier] == referral]) == 1


def test_pusher_killed_between_two_rows_is_gone_on_from(deals: Deals) -> None:
    solutions = [solution(200 + k) for k in range(1, 6)]
    deals.dynamics_365.fault("delay", "PATCH", ROWS, delay_ms=1500, times=3)
    referral = deals.partner_center.add_referral(kind="private", **with_solutions(*solutions))["id"]
    wait_until(lambda: deals.opportunity(referral), DEADLINE, "the opportunity is there")
    deals.stack.running("pusher-1").kill()
    deals.stack.start_program("pusher", "pusher-after").wait_for("program.ready")

    deals.wait_linked(referral)

    assert in_the_crm(deals, referral) == at_partner_center(deals, referral) == shown(solutions)
    assert written_at_partner_center(deals, referral) == [["/externalReferenceId"]]


def test_refused_row_is_told_and_the_deal_goes_on(deals: Deals) -> None:
    referral = deals.new("private", **with_solutions(solution(10, quantity=-1), solution(11)))

    assert [each[0] for each in in_the_crm(deals, referral)] == ["SOL-11-TST"]
    assert [each[0] for each in at_partner_center(deals, referral)] == ["SOL-10-TST", "SOL-11-TST"]
    assert written_at_partner_center(deals, referral) == [["/externalReferenceId"]]
    assert "1 of 2 rows were refused" in form(deals, referral)["row"]["msft_microsoftpartnercenterreferralsyncaudit"]
    letters = deals.stack.topics.read("dead-letters")
    [letter] = [each for each in letters if each.key == referral.encode()]
    assert letter.headers["err.message"].startswith(b"the record was created without row 1 of 2")

    query = "SELECT purpose, result, error_message FROM recent_failures WHERE deal_key = %s"
    [(purpose, result, message)] = deals.stack.audit(query, referral)
    assert (purpose, result) == ("create", "applied") and "without row 1 of 2" in message
    deals.partner_center.edit_referral(referral, details={"notes": "It goes on."})
    wait_until(lambda: form(deals, referral)["row"]["description"] == "It goes on.", DEADLINE, "later changes arrive")
