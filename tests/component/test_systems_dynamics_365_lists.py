"""Rows, and what has changed, page by page from Dynamics 365: what polling and backfill stand on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import pytest

from support.simulators import Dynamics365
from support.systems import System, dynamics_365_keys
from support.tls import Authority
from support.waiting import wait_until

API = "/api/data/v9.2/"
KEY = "msft_microsoftpartnercenterreferralidentifier"
SYNC = "msft_microsoftpartnercenterreferralsync"
REFERRAL = "abcdef00-0000-4000-8000-000000000001"

pytestmark = pytest.mark.asan


@pytest.fixture
def crm(dynamics_365: Dynamics365, authority: Authority, tmp_path: Path) -> Iterator[System]:
    with System("dynamics-365", tmp_path, dynamics_365_keys(dynamics_365, authority)) as system:
        yield system


def add(simulator: Dynamics365, count: int = 1, **more: Any) -> list[str]:
    """Ids of new opportunities, in the order in which they were made."""
    return [simulator.add_row("opportunities", name=f"Archive {n}", **more)["opportunityid"] for n in range(count)]


def rows(crm: System, **more: Any) -> dict[str, Any]:
    return crm.ask(do="rows", **{"entity": "opportunity", **more})


def changes(crm: System, cursor: str | None = None, **more: Any) -> dict[str, Any]:
    return crm.ask(do="changes", **{"entity": "opportunity", "cursor": cursor, **more})


def ids(page: dict[str, Any]) -> list[str]:
    assert page["result"] == "done", page
    return [document["id"] for document in page["documents"]]


def queries(simulator: Dynamics365) -> list[str]:
    return [unquote(entry["query"]) for entry in simulator.journal(method="GET", path=f"{API}opportunities")]


def header(simulator: Dynamics365, name: str) -> list[str]:
    entries = simulator.journal(method="GET", path=f"{API}opportunities")
    return [{key.lower(): value for key, value in entry["headers"].items()}.get(name, "") for entry in entries]


# --- Rows -------------------------------------------------------------------------------------------------------------


def test_all_rows_come_page_by_page(crm: System, dynamics_365: Dynamics365) -> None:
    wanted = add(dynamics_365, 5)

    first = rows(crm, page_rows=2)
    second = rows(crm, page_rows=2, cursor=first["next"])
    third = rows(crm, page_rows=2, cursor=second["next"])

    assert [len(page["documents"]) for page in (first, second, third)] == [2, 2, 1]
    assert sorted(ids(first) + ids(second) + ids(third)) == sorted(wanted)
    assert third["next"] is None
    assert header(dynamics_365, "prefer") == ["odata.maxpagesize=2"] * 3


def test_listed_row_is_a_document(crm: System, dynamics_365: Dynamics365) -> None:
    add(dynamics_365, **{KEY: REFERRAL, SYNC: True})

    page = rows(crm, columns=[SYNC])

    (document,) = page["documents"]
    body = document["body"]
    assert (document["role"], document["version"], document["etag"]) == (
        "crm",
        str(body["versionnumber"]),
        body["@odata.etag"],
    )
    assert document["changed_at"] == body["modifiedon"]
    assert (body[KEY], body[SYNC], body["statecode"]) == (REFERRAL, True, 0)
    assert "name" not in body
    assert (page["status"], page["skipped"], page["took_time"]) == (200, 0, True)


def test_rows_can_be_filtered(crm: System, dynamics_365: Dynamics365) -> None:
    add(dynamics_365, 2)
    (wanted,) = add(dynamics_365, **{SYNC: True})

    assert ids(rows(crm, filter=f"{SYNC} eq true")) == [wanted]


def test_link_to_the_next_page_leads_nowhere_else(crm: System, dynamics_365: Dynamics365) -> None:
    """Only its query counts: no token goes to another host, and no other path is read."""
    link = "https://elsewhere.example/api/data/v9.2/accounts?$select=name&$skiptoken=x"
    body = {"value": [], "@odata.nextLink": link}
    dynamics_365.fault("status", "GET", "opportunities", status=200, body=body)

    page = rows(crm)

    assert page["next"] == "$select=name&$skiptoken=x"
    rows(crm, cursor=page["next"])
    assert {entry["path"] for entry in dynamics_365.journal(path=API)} == {f"{API}opportunities"}


@pytest.mark.parametrize("cursor", ["a b", "x#y", "a\r\nX-Other: 1", "?"])
def test_cursor_that_is_no_query_is_not_asked_for(crm: System, dynamics_365: Dynamics365, cursor: str) -> None:
    page = rows(crm, cursor=cursor)

    assert (page["result"], page["error"]["code"]) == ("not begun", "dynamics_365.bad_cursor")
    assert dynamics_365.journal() == []


def test_old_place_in_a_list_is_refused(crm: System, dynamics_365: Dynamics365) -> None:
    add(dynamics_365, 3)
    page = rows(crm, page_rows=1)
    dynamics_365.fault("status", "GET", "opportunities", status=400, body={"error": {"code": "0x0", "message": "no"}})

    assert rows(crm, cursor=page["next"])["result"] == "refused"


@pytest.mark.parametrize("ask", [rows, changes])
def test_throttling_says_when_to_come_back(crm: System, dynamics_365: Dynamics365, ask: Any) -> None:
    dynamics_365.fault(
        "status",
        "GET",
        "opportunities",
        status=429,
        headers={"Retry-After": "7"},
        body={"error": {"code": "0x80072322", "message": "x"}},
    )

    page = ask(crm)

    assert (page["result"], page["retry_after_ms"]) == ("retry", 7000)
    assert page["error"]["code"] == "dynamics_365.throttled_requests"


@pytest.mark.parametrize("ask", [rows, changes])
@pytest.mark.parametrize("action", ["html", "garbage", "truncate", "drop"])
def test_useless_pages_are_repeated(crm: System, dynamics_365: Dynamics365, ask: Any, action: str) -> None:
    dynamics_365.fault(action, "GET", "opportunities", times=2)

    page = ask(crm)

    assert (page["result"], page["documents"]) == ("retry", None)


def test_table_that_is_not_synchronised_is_not_listed(crm: System, dynamics_365: Dynamics365) -> None:
    assert rows(crm, entity="systemuser")["error"]["code"] == "dynamics_365.no_such_table"
    assert dynamics_365.journal() == []


def test_listing_under_way_ends_with_the_system(
    dynamics_365: Dynamics365, authority: Authority, tmp_path: Path
) -> None:
    """The driver ends with another status when the callback does not come."""
    dynamics_365.fault("delay", "GET", "opportunities", delay_ms=3000)
    with System("dynamics-365", tmp_path, dynamics_365_keys(dynamics_365, authority)) as system:
        system.tell(do="rows", entity="opportunity")
        system.tell(do="changes", entity="opportunity")


# --- Changes ----------------------------------------------------------------------------------------------------------


def test_first_all_rows_then_only_what_has_changed(crm: System, dynamics_365: Dynamics365) -> None:
    first, second, third = add(dynamics_365, 3)

    page = changes(crm)
    assert sorted(ids(page)) == sorted([first, second, third])
    assert (page["deleted"], page["next"], page["is_expired"]) == ([], None, False)

    dynamics_365.edit_row("opportunities", second, name="Renamed")
    (new,) = add(dynamics_365)
    later = changes(crm, page["resume"])
    assert sorted(ids(later)) == sorted([second, new])
    assert later["documents"][0]["body"]["versionnumber"]

    nothing = changes(crm, later["resume"])
    assert (ids(nothing), nothing["deleted"]) == ([], [])


def test_deleted_rows_are_told(crm: System, dynamics_365: Dynamics365) -> None:
    first, second = add(dynamics_365, 2)
    page = changes(crm)
    dynamics_365.delete_row("opportunities", first)
    dynamics_365.edit_row("opportunities", second, name="Renamed")

    later = changes(crm, page["resume"])

    assert (ids(later), later["deleted"], later["skipped"]) == ([second], [first], 0)


def test_changes_come_in_pages_and_resume_only_after_the_last(crm: System, dynamics_365: Dynamics365) -> None:
    wanted = add(dynamics_365, 3)
    pages = [changes(crm, page_rows=2)]
    while pages[-1]["next"] is not None:
        assert pages[-1]["resume"] is None
        pages.append(changes(crm, pages[-1]["next"], page_rows=2))
    assert sorted(sum(map(ids, pages), [])) == sorted(wanted)

    for row in wanted:
        dynamics_365.edit_row("opportunities", row, name="Renamed")
    first = changes(crm, pages[-1]["resume"], page_rows=2)
    last = changes(crm, first["next"], page_rows=2)
    assert sorted(ids(first) + ids(last)) == sorted(wanted)
    assert first["resume"] is None and last["next"] is None and last["resume"] is not None

    preferences = header(dynamics_365, "prefer")
    assert preferences[:2] == ["odata.track-changes,odata.maxpagesize=2"] * 2
    assert preferences[2] == "odata.maxpagesize=2"


def test_what_changes_between_two_pages_is_not_lost(crm: System, dynamics_365: Dynamics365) -> None:
    add(dynamics_365, 3)
    first = changes(crm, page_rows=2)
    dynamics_365.edit_row("opportunities", ids(first)[0], name="Renamed meanwhile")

    last = changes(crm, first["next"], page_rows=5)
    later = changes(crm, last["resume"])

    assert ids(first)[0] in ids(last) + ids(later)


def test_expired_cursor_is_told_as_such(crm: System, dynamics_365: Dynamics365) -> None:
    add(dynamics_365)
    page = changes(crm)
    dynamics_365.settings(delta_token_lifetime_seconds=0.01)

    expired = wait_until(
        lambda: next((told for told in [changes(crm, page["resume"])] if told["is_expired"]), None), 10, "it expires"
    )

    assert (expired["result"], expired["error"]["code"]) == ("refused", "dynamics_365.cursor_expired")
    dynamics_365.settings(delta_token_lifetime_seconds=604800)
    assert len(ids(changes(crm))) == 1


@pytest.mark.parametrize(
    ("status", "result", "is_expired"),
    [
        (400, "refused", True),
        (404, "refused", True),
        (410, "refused", True),
        (412, "refused", True),
        (401, "blocked", False),
        (403, "refused", False),
        (429, "retry", False),
        (500, "retry", False),
        (503, "retry", False),
    ],
)
def test_only_some_refusals_mean_to_begin_anew(
    crm: System, dynamics_365: Dynamics365, status: int, result: str, is_expired: bool
) -> None:
    page = changes(crm)
    dynamics_365.fault("status", "GET", "opportunities", times=2, status=status, body={})

    refused = changes(crm, page["resume"])

    assert (refused["result"], refused["is_expired"]) == (result, is_expired)


def test_first_page_does_not_expire(crm: System, dynamics_365: Dynamics365) -> None:
    dynamics_365.fault("status", "GET", "opportunities", status=400, body={})

    refused = changes(crm)

    assert (refused["result"], refused["is_expired"]) == ("refused", False)


def test_table_that_tracks_nothing_is_refused(crm: System, dynamics_365: Dynamics365) -> None:
    """The service then shows rows, but no way to go on: taken for the last page, every change would be lost."""
    dynamics_365.fault("status", "GET", "opportunities", status=200, body={"value": []})

    page = changes(crm)

    assert (page["result"], page["error"]["code"]) == ("refused", "dynamics_365.not_tracked")


def test_changes_ask_for_what_tracking_allows(crm: System, dynamics_365: Dynamics365) -> None:
    changes(crm, columns=[SYNC], filter="statecode eq 0")

    (query,) = queries(dynamics_365)
    assert set(parse_qs(query)) == {"$select"}
    assert SYNC in query and KEY in query


# --- Child tables -----------------------------------------------------------------------------------------------------

SOLUTIONS = {"entity": "msft_microsoftsolution", "parent": "msft_opportunityid"}
CONNECTIONS = {"entity": "connection", "parent": "record1id"}
DEFINITION = "EntityDefinitions"


def add_child(simulator: Dynamics365, opportunity: str | None) -> str:
    binds = {} if opportunity is None else {"msft_opportunityid@odata.bind": f"/opportunities({opportunity})"}
    return simulator.add_row("msft_microsoftsolutions", **binds)["msft_microsoftsolutionid"]


def parents(page: dict[str, Any]) -> dict[str, str | None]:
    assert page["result"] == "done", page
    return {document["id"]: document.get("parent") for document in page["documents"]}


def test_child_rows_tell_their_opportunity_and_deleted_ones_their_id(crm: System, dynamics_365: Dynamics365) -> None:
    first, second = add(dynamics_365, 2)
    here, nowhere = add_child(dynamics_365, first), add_child(dynamics_365, None)
    page = changes(crm, **SOLUTIONS)
    assert parents(page) == {here: first, nowhere: None}
    assert all(document["changed_at"] for document in page["documents"])

    dynamics_365.edit_row("msft_microsoftsolutions", here, **{"msft_opportunityid@odata.bind": f"/opportunities({second})"})
    dynamics_365.delete_row("msft_microsoftsolutions", nowhere)
    later = changes(crm, page["resume"], **SOLUTIONS)

    assert (parents(later), later["deleted"]) == ({here: second}, [nowhere])
    assert changes(crm, later["resume"], **SOLUTIONS)["documents"] == []


def test_what_a_child_table_is_called_is_asked_once(crm: System, dynamics_365: Dynamics365) -> None:
    """Neither its name in addresses nor that of its key follow from its own."""
    dynamics_365.settings(untracked_tables=["opportunityclose"])
    for _ in range(2):
        assert changes(crm, entity="opportunityclose", parent="opportunityid")["result"] == "refused"

    assert len(dynamics_365.journal(method="GET", path=DEFINITION)) == 1
    asked = dynamics_365.journal(method="GET", path=f"{API}opportunitycloses")
    assert [unquote(entry["query"]) for entry in asked] == ["$select=activityid,modifiedon,_opportunityid_value"] * 2


def test_child_row_of_another_table_has_no_opportunity(crm: System, dynamics_365: Dynamics365) -> None:
    (opportunity,) = add(dynamics_365)
    account = dynamics_365.add_row("accounts", name="Alpine Ferries AG")["accountid"]
    ours, other = (
        dynamics_365.add_row("connections", **{f"record1id_{table}@odata.bind": f"/{target}"})["connectionid"]
        for table, target in (("opportunity", f"opportunities({opportunity})"), ("account", f"accounts({account})"))
    )
    assert parents(changes(crm, **CONNECTIONS)) == {ours: opportunity, other: None}


@pytest.mark.parametrize(("status", "result"), [(404, "refused"), (403, "refused"), (429, "retry"), (503, "retry")])
def test_child_table_whose_name_is_not_told_has_not_expired(
    crm: System, dynamics_365: Dynamics365, status: int, result: str
) -> None:
    dynamics_365.fault("status", "GET", DEFINITION, times=2, status=status, body={})

    refused = changes(crm, "$deltatoken=7", **SOLUTIONS)

    assert (refused["result"], refused["is_expired"]) == (result, False)
    assert dynamics_365.journal(method="GET", path=f"{API}msft_microsoftsolutions") == []


def test_unknown_child_table_is_refused(crm: System) -> None:
    refused = changes(crm, entity="no_such_table", parent="opportunityid")
    assert refused["result"] == "refused" and "child table" in refused["error"]["message"]


def test_link_of_a_child_table_expires(crm: System, dynamics_365: Dynamics365) -> None:
    page = changes(crm, **SOLUTIONS)
    dynamics_365.admin("POST", "/_sim/delta-links/expire", {})
    expired = changes(crm, page["resume"], **SOLUTIONS)
    assert (expired["result"], expired["is_expired"]) == ("refused", True)


def test_of_child_tables_only_changes_are_listed(crm: System) -> None:
    assert rows(crm, **SOLUTIONS)["result"] == "not begun"
