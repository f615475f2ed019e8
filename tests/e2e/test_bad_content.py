"""Content of deals that would be dangerous elsewhere, or that no rule can map, on its whole way through all programs.

A row of tests/cases/bad-content.json is a new deal, `referral`, and what becomes of it: columns of its opportunity (`row`)
or of the opportunity's contact (`contact`), exactly; or no opportunity, and a dead letter with the code `letter` that
names `field`. {"repeat": [text, count]} with "before" and "after" is a long text.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from support.bad_inputs import bad_input
from support.deals import DEADLINE, Deals
from support.paths import ROOT
from support.stack import Stack
from support.waiting import wait_until

pytestmark = pytest.mark.asan

REFERRAL_URL = "https://api.partnercenter.microsoft.com/engagements/v1/referrals/"
REPEATS = 200


def spelled_out(value: Any) -> Any:
    if isinstance(value, dict) and "repeat" in value:
        text, count = value["repeat"]
        return value.get("before", "") + text * count + value.get("after", "")
    if isinstance(value, dict):
        return {name: spelled_out(each) for name, each in value.items()}
    return value


ROWS = {
    f"{row['id']} {row['what']}": spelled_out(row)
    for row in json.loads((ROOT / "tests/cases/bad-content.json").read_text())["rows"]
}


@pytest.fixture(scope="module")
def referrals(stack: Stack) -> dict[str, str]:
    """The id of each row's deal; all of them are made before the first is looked at."""
    return {name: stack.partner_center.add_referral(kind="private", **row["referral"])["id"] for name, row in ROWS.items()}


def dead_letters(deals: Deals, referral: str) -> list[dict[str, str]]:
    letters = [each for each in deals.stack.topics.read("dead-letters") if (each.key or b"").decode() == referral]
    return [{name: value.decode() for name, value in each.headers.items()} for each in letters]


@pytest.mark.parametrize("name", ROWS)
def test_content_is_data_or_set_aside_with_its_reason(deals: Deals, referrals: dict[str, str], name: str) -> None:
    row, referral = ROWS[name], referrals[name]
    if "letter" in row:
        (letter,) = wait_until(lambda: dead_letters(deals, referral), DEADLINE, "it is set aside")
        assert letter["err.code"] == row["letter"] and row["field"] in letter["err.message"]
        told = [("mapper", row["letter"])]
        query = "SELECT reason, error_code FROM failures_today WHERE deal_key = %s"
        wait_until(lambda: deals.stack.audit(query, referral) == told, DEADLINE, "the audit tells it")
        assert {each["action"] for each in deals.decisions(referral)} == {"none"}
        assert deals.opportunity(referral) is None
        return
    opportunity = deals.wait_linked(referral)
    assert {column: opportunity[column] for column in row.get("row", {})} == row.get("row", {})
    if "contact" in row:
        contact = deals.dynamics_365.row("contacts", opportunity["_parentcontactid_value"])
        assert {column: contact[column] for column in row["contact"]} == row["contact"]
    assert dead_letters(deals, referral) == []
    created = next(each for each in deals.stack.timeline(referral) if each["action"] == "create")
    told = {each["name"]: each["new"] for each in created["fields"]}
    wanted = row.get("row", {})
    assert [told[field] for field, column in (("name", "name"), ("notes", "description")) if column in wanted] == [
        wanted[column] for column in ("name", "description") if column in wanted
    ]


@bad_input("B65", "B66", "B67")
def test_log_holds_no_content_and_one_object_a_line(deals: Deals, referrals: dict[str, str]) -> None:
    for name, row in ROWS.items():
        wait_until(lambda: deals.decisions(referrals[name]), DEADLINE, f"{name}: decided on")
    for program in deals.stack.programs:
        assert program.log and not program.other_lines
        text = "\n".join(json.dumps(each, ensure_ascii=False) for each in program.log)
        for part in ("\x1b", "jndi", "DROP TABLE", "HYPERLINK", "script", "no mail", "Atlantis"):
            assert part not in text
    assert deals.stack.audit("SELECT * FROM verify_audit()") == []


# --- What cannot follow on what was ------------------------------------------------------------------------------------


@bad_input("B64")
@pytest.mark.parametrize(
    "impossible",
    [{"status": "Active", "substatus": "Vaporised"}, {"status": "Frozen", "substatus": "Solid"}],
    ids=["substatus", "status"],
)
def test_stage_that_nobody_knows_is_set_aside_and_a_known_one_goes_on(deals: Deals, impossible: dict[str, str]) -> None:
    referral = deals.new("private")
    before = deals.opportunity(referral)
    deals.partner_center.edit_referral(referral, **impossible, details={"dealValue": 77})
    (letter,) = wait_until(lambda: dead_letters(deals, referral), DEADLINE, "it is set aside")
    assert letter["err.code"] == "rules.unmappable" and "status" in letter["err.message"]
    deals.partner_center.edit_referral(referral, status="Closed", substatus="Lost")
    wait_until(lambda: (deals.opportunity(referral) or {})["statecode"] == 2, DEADLINE, "the next one is followed")
    assert before is not None and before["statecode"] == 0


@bad_input("B64")
def test_closed_deal_that_opens_again_changes_nothing_in_the_crm(deals: Deals) -> None:
    referral = deals.new("private")
    deals.partner_center.edit_referral(referral, status="Closed", substatus="Won")
    wait_until(lambda: (deals.opportunity(referral) or {})["statecode"] == 1, DEADLINE, "the opportunity is won")
    deals.wait_quiet(referral)
    position, count = deals.position(), len(deals.decisions(referral))
    deals.partner_center.edit_referral(referral, status="New", substatus="Received", details={"dealValue": 1})
    wait_until(lambda: len(deals.decisions(referral)) > count, DEADLINE, "it has been decided on")
    deals.wait_quiet(referral)
    assert deals.patches_since(position, referral) == []
    assert {each["action"] for each in deals.decisions(referral)[count:]} == {"none"}


# --- What comes again --------------------------------------------------------------------------------------------------


def event(referral: str, date: str) -> dict[str, Any]:
    return {
        "EventName": "referral-updated",
        "ResourceName": "referral",
        "ResourceUri": REFERRAL_URL + referral,
        "ResourceChangeUtcDate": date,
        "AuditUri": None,
    }


@bad_input("B44")
def test_one_event_very_often_has_one_effect(deals: Deals) -> None:
    referral = deals.new("private")
    position, center = deals.position(), deals.partner_center.position()
    deals.partner_center.edit_referral_quietly(referral, details={"dealValue": 4711})
    notified = len(deals.stack.topics.read("notifications"))
    for _ in range(REPEATS):
        deals.partner_center.admin("POST", "/_sim/events", event(referral, "2031-01-01T00:00:00Z"))
    wait_until(
        lambda: len(deals.stack.topics.read("notifications")) >= notified + REPEATS, DEADLINE, "all of them are taken"
    )
    wait_until(lambda: (deals.opportunity(referral) or {})["estimatedvalue"] == 4711, DEADLINE, "it has its effect")
    deals.wait_quiet(referral)
    assert len(deals.patches_since(position, referral)) == 1
    assert len(deals.partner_center.journal(center, "GET", referral)) < REPEATS, "they are folded"
    assert deals.partner_center.journal(center, "PATCH", referral) == []


@bad_input("B45")
def test_old_event_after_newer_ones_takes_nothing_back(deals: Deals) -> None:
    referral = deals.new("private", details={"dealValue": 10})
    first = deals.referral(referral)["updatedDateTime"]
    deals.partner_center.edit_referral(referral, details={"dealValue": 20})
    wait_until(lambda: (deals.opportunity(referral) or {})["estimatedvalue"] == 20, DEADLINE, "the newer value")
    deals.wait_quiet(referral)
    position, count = deals.position(), len(deals.decisions(referral))
    assert datetime.fromisoformat(first[:19]) <= datetime.fromisoformat(deals.referral(referral)["updatedDateTime"][:19])
    deals.partner_center.admin("POST", "/_sim/events", event(referral, first))
    wait_until(lambda: len(deals.decisions(referral)) > count, DEADLINE, "it has been decided on")
    deals.wait_quiet(referral)
    assert deals.patches_since(position, referral) == []
    assert (deals.opportunity(referral) or {})["estimatedvalue"] == 20
