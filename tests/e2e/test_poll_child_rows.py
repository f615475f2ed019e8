"""A row of a child table that was made, changed, moved or deleted while its webhook was lost is found by asking."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from support.deals import DEADLINE, Deals
from support.ingest import metrics
from support.process import Program
from support.stack import Stack
from support.waiting import wait_until

SETTINGS = {"ingest": {"poll": {"interval": "300ms", "engagement_interval": "1h"}}}
ROWS = "msft_microsoftsolutions"
CHILDREN = "poll/dynamics-365/msft_microsoftsolution/msft_opportunityid"
OPPORTUNITIES = "poll/dynamics-365"
MORE_ROUNDS = 3
NUMBERS = itertools.count(1)

pytestmark = pytest.mark.asan


@pytest.fixture
def deaf(deals: Deals) -> Iterator[Deals]:
    """No webhook is sent by either system, and a child row's change does not show at its opportunity."""
    assert not deals.dynamics_365.settings()["child_write_touches_parent"]
    for simulator in (deals.partner_center, deals.dynamics_365):
        simulator.delivery_policy(drop=1.0)
    yield deals
    for simulator in (deals.partner_center, deals.dynamics_365):
        simulator.delivery_policy(drop=0.0)
    deals.dynamics_365.settings(untracked_tables=[])


def new_deal(deals: Deals, solutions: int = 2) -> tuple[str, str]:
    """A deal with solutions of its own; referral and opportunity. Both sides agree, and polling knows of the rows."""
    wanted = [{"id": f"SOL-{next(NUMBERS)}-ROW", "name": "A product", "type": "Name"} for _ in range(solutions)]
    referral = deals.new("private", details={"requirements": {"solutions": wanted}})
    row = deals.opportunity(referral)
    assert row is not None
    wait_for_rounds(deals, CHILDREN)
    deals.wait_quiet(referral)
    return referral, row["opportunityid"]


def in_the_crm(deals: Deals, opportunity: str) -> list[dict[str, Any]]:
    return deals.dynamics_365.admin("GET", f"/_sim/opportunities/{opportunity}")["solutions"]


def rows(deals: Deals, opportunity: str) -> list[str]:
    return [each["row"] for each in in_the_crm(deals, opportunity)]


def shown(solutions: list[dict[str, Any]]) -> set[tuple[str, int | None]]:
    return {(each["id"], each.get("quantity")) for each in solutions}


def wait_agreed(deals: Deals, referral: str, opportunity: str) -> None:
    def sides() -> list[set[tuple[str, int | None]]]:
        there = deals.referral(referral)["details"]["requirements"]["solutions"]
        return [shown(there), shown(in_the_crm(deals, opportunity))]

    wait_until(lambda: sides()[0] == sides()[1], DEADLINE, f"Partner Center has the CRM's list of {referral}")


def rounds(stack: Stack, source: str, result: str = "rounds") -> float:
    """Of all running processes."""
    running = [each for each in stack.programs if "ingest" in each.config.name and each.returncode is None]
    return sum(
        metrics(int(stack.admin_address(each).rsplit(":", 1)[1])).get(f'tandem_poll_{result}_total{{source="{source}"}}', 0)
        for each in running
    )


def wait_for_rounds(deals: Deals, source: str, result: str = "rounds") -> None:
    before = rounds(deals.stack, source, result)
    wait_until(
        lambda: rounds(deals.stack, source, result) >= before + MORE_ROUNDS, DEADLINE, f"{MORE_ROUNDS} more {result}"
    )


def parents(deals: Deals) -> dict[str, str]:
    """What is kept in Kafka: row and opportunity."""
    kept: dict[str, str] = {}
    for each in deals.stack.topics.read("cursors"):
        source, _, row = (each.key or b"").decode().rpartition("/")
        if source == CHILDREN and each.value:
            kept[row] = json.loads(each.value)["position"]
        elif source == CHILDREN:
            kept.pop(row, None)
    return kept


def times_told(deals: Deals, opportunity: str) -> int:
    values = [json.loads(each.value or b"{}") for each in deals.stack.topics.read("notifications")]
    return sum(each["record_id"] == opportunity and each["origin"] == "poll" for each in values)


def the_poller(stack: Stack) -> Program:
    [program] = [each for each in stack.programs if "ingest" in each.config.name and each.returncode is None]
    return program


def test_changed_row_is_found(deaf: Deals) -> None:
    referral, opportunity = new_deal(deaf)
    version = deaf.dynamics_365.row("opportunities", opportunity)["versionnumber"]
    deaf.dynamics_365.edit_row(ROWS, rows(deaf, opportunity)[0], msft_quantity=25)
    wait_agreed(deaf, referral, opportunity)
    assert 25 in {quantity for _, quantity in shown(in_the_crm(deaf, opportunity))}
    assert deaf.dynamics_365.row("opportunities", opportunity)["versionnumber"] >= version


def test_new_row_is_found(deaf: Deals) -> None:
    referral, opportunity = new_deal(deaf)
    detail = deaf.dynamics_365.add_row(
        "msft_microsoftsolutiondetails", msft_solutionidentifier=f"SOL-{next(NUMBERS)}-NEW", msft_name="Another"
    )
    row = deaf.dynamics_365.add_row(
        ROWS,
        **{
            "msft_opportunityid@odata.bind": f"/opportunities({opportunity})",
            "msft_solutionid@odata.bind": f"/msft_microsoftsolutiondetails({detail['msft_microsoftsolutiondetailid']})",
        },
    )
    wait_agreed(deaf, referral, opportunity)
    assert len(in_the_crm(deaf, opportunity)) == 3
    wait_until(
        lambda: parents(deaf).get(row["msft_microsoftsolutionid"]) == opportunity, DEADLINE, "its opportunity is kept"
    )


def test_deleted_row_is_found_and_forgotten(deaf: Deals) -> None:
    referral, opportunity = new_deal(deaf)
    gone, stays = rows(deaf, opportunity)
    assert parents(deaf)[gone] == opportunity
    deaf.dynamics_365.delete_row(ROWS, gone)
    wait_agreed(deaf, referral, opportunity)
    wait_until(lambda: gone not in parents(deaf), DEADLINE, "the row is forgotten")
    assert parents(deaf)[stays] == opportunity


def test_moved_row_is_found_at_both_opportunities(deaf: Deals) -> None:
    (first, from_there), (second, to_there) = new_deal(deaf), new_deal(deaf)
    row = rows(deaf, from_there)[0]
    deaf.dynamics_365.edit_row(ROWS, row, **{"msft_opportunityid@odata.bind": f"/opportunities({to_there})"})
    wait_agreed(deaf, first, from_there)
    wait_agreed(deaf, second, to_there)
    assert (len(in_the_crm(deaf, from_there)), len(in_the_crm(deaf, to_there))) == (1, 3)
    wait_until(lambda: parents(deaf)[row] == to_there, DEADLINE, "its new opportunity is kept")


def test_row_that_was_deleted_while_nobody_polled_is_found(deaf: Deals) -> None:
    """What was known is in Kafka and outlives the process."""
    referral, opportunity = new_deal(deaf)
    poller = the_poller(deaf.stack)
    poller.kill()
    deaf.dynamics_365.delete_row(ROWS, rows(deaf, opportunity)[0])
    deaf.stack.start_again(poller).wait_for("program.ready")
    wait_agreed(deaf, referral, opportunity)
    assert len(in_the_crm(deaf, opportunity)) == 1


def test_expired_link_of_the_child_table_is_begun_anew_and_what_is_gone_is_found(deaf: Deals) -> None:
    """A listing of all rows shows what is gone by not showing it, also where no other row of the opportunity is left. The
    other sources go on from where they are.
    """
    (changed, first), (lost, second), (_, bare) = new_deal(deaf), new_deal(deaf), new_deal(deaf, solutions=1)
    poller = the_poller(deaf.stack)
    poller.kill()
    deaf.dynamics_365.edit_row(ROWS, rows(deaf, first)[0], msft_quantity=7)
    gone = {rows(deaf, second)[0]: second, rows(deaf, bare)[0]: bare}
    assert gone.items() <= parents(deaf).items()
    for row in gone:
        deaf.dynamics_365.delete_row(ROWS, row)
    told = times_told(deaf, bare)
    refused = {"error": {"code": "0x80044352", "message": "The delta token has expired."}}
    deaf.dynamics_365.fault("status", "GET", f"{ROWS}$", times=1, status=400, body=refused)
    since = deaf.position()
    deaf.stack.start_again(poller).wait_for("program.ready")
    wait_agreed(deaf, changed, first)
    wait_agreed(deaf, lost, second)
    wait_until(lambda: not gone.keys() & parents(deaf).keys(), DEADLINE, "the rows are forgotten")
    assert times_told(deaf, bare) > told
    asked = [each for each in deaf.dynamics_365.journal(since, "GET") if each["path"].endswith(f"/{ROWS}")]
    assert ["$deltatoken" in each["query"] for each in asked[:3]] == [True, False, True]
    others = [each for each in deaf.dynamics_365.journal(since, "GET") if each["path"].endswith("/opportunities")]
    assert others and all("$deltatoken" in each["query"] for each in others)


def test_table_that_is_not_tracked_holds_up_no_other_source(deaf: Deals) -> None:
    referral, opportunity = new_deal(deaf)
    deaf.dynamics_365.settings(untracked_tables=["msft_microsoftsolution"])
    failed = rounds(deaf.stack, CHILDREN, "failures")
    wait_until(lambda: rounds(deaf.stack, CHILDREN, "failures") > failed, DEADLINE, "the child table's round fails")
    deaf.dynamics_365.edit_row("opportunities", opportunity, estimatedvalue=4712)
    wait_until(lambda: deaf.referral(referral)["details"]["dealValue"] == 4712, DEADLINE, "the edit has arrived")
    wait_for_rounds(deaf, OPPORTUNITIES)
    deaf.dynamics_365.edit_row(ROWS, rows(deaf, opportunity)[0], msft_quantity=9)
    deaf.dynamics_365.settings(untracked_tables=[])
    wait_agreed(deaf, referral, opportunity)
