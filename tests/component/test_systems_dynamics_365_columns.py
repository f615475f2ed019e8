"""Labels of choices and rows behind lookups: read from Dynamics 365 and written by their label."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from support.simulators import Dynamics365
from support.systems import System, dynamics_365_keys
from support.tls import Authority

API = "/api/data/v9.2/"
KEY = "msft_microsoftpartnercenterreferralidentifier"
AUDIT = "msft_microsoftpartnercenterreferralsyncaudit"
RATING = "opportunityratingcode"
LABEL = f"{RATING}@OData.Community.Display.V1.FormattedValue"
COLUMNS = [
    "name",
    "estimatedclosedate",
    KEY,
    AUDIT,
    f"{RATING}@label",
    "customerid_account.name",
    "customerid_account.primarycontactid.lastname",
    "customerid_account.primarycontactid.emailaddress1",
]

pytestmark = pytest.mark.asan


@pytest.fixture
def crm(dynamics_365: Dynamics365, authority: Authority, tmp_path: Path) -> Iterator[System]:
    with System("dynamics-365", tmp_path, dynamics_365_keys(dynamics_365, authority, columns=COLUMNS)) as system:
        yield system


def opportunity(simulator: Dynamics365, **more: Any) -> dict[str, Any]:
    return simulator.add_row("opportunities", name="Archive", **more)


def read(crm: System, row: dict[str, Any]) -> dict[str, Any]:
    answer = crm.read("opportunity", row["opportunityid"])
    assert answer["result"] == "done", answer
    return answer["documents"][0]


def update(document: dict[str, Any], write: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "id": "deal#1",
        "number": 1,
        "deal_key": "deal",
        "action": "update",
        "reason": "partner_center_changed",
        "target": "crm",
        "system": "dynamics-365",
        "record_type": "opportunity",
        "record_id": document["id"],
        "write": write,
        "audit_column": AUDIT,
        "audit_text": "Updated from Partner Center",
        "decided_at": "2026-11-21T04:00:00Z",
        "expected_etag": document["etag"],
        **more,
    }


def prefers(simulator: Dynamics365, method: str) -> list[str]:
    entries = [each for each in simulator.journal(method=method, path=f"{API}opportunities")]
    return [{name.lower(): value for name, value in each["headers"].items()}.get("prefer", "") for each in entries]


def metadata_reads(simulator: Dynamics365) -> int:
    return len(simulator.journal(path="EntityDefinitions"))


# --- Labels -----------------------------------------------------------------------------------------------------------


def test_label_of_a_choice_is_read_beside_its_number(crm: System, dynamics_365: Dynamics365) -> None:
    body = read(crm, opportunity(dynamics_365, estimatedclosedate="2026-12-31", **{RATING: 1}))["body"]

    assert (body[RATING], body[LABEL]) == (1, "Hot")
    # The service formats all values; those nobody asked for are left out.
    assert [name for name in body if "FormattedValue" in name] == [LABEL]
    assert prefers(dynamics_365, "GET") == [
        'odata.include-annotations="OData.Community.Display.V1.FormattedValue"',
    ]


def test_choice_without_a_value_has_no_label(crm: System, dynamics_365: Dynamics365) -> None:
    body = read(crm, opportunity(dynamics_365, **{RATING: None}))["body"]

    assert body[RATING] is None and LABEL not in body


def test_formatted_values_are_asked_for_only_where_a_label_is_read(
    dynamics_365: Dynamics365, authority: Authority, tmp_path: Path
) -> None:
    row = opportunity(dynamics_365)
    with System("dynamics-365", tmp_path, dynamics_365_keys(dynamics_365, authority, columns=["name"])) as system:
        document = read(system, row)
        assert system.write(update(document, {"name": "Archive II"}))["result"] == "done"

    assert prefers(dynamics_365, "GET") == [""]
    assert prefers(dynamics_365, "PATCH") == ["return=representation"]


def test_choice_is_written_by_its_label(crm: System, dynamics_365: Dynamics365) -> None:
    row = opportunity(dynamics_365, **{RATING: 1})
    document = read(crm, row)

    answer = crm.write(update(document, {f"{RATING}@label": " cOLD "}))

    assert answer["result"] == "done", answer
    assert dynamics_365.row("opportunities", row["opportunityid"])[RATING] == 3
    (written,) = answer["documents"]
    assert (written["body"][RATING], written["body"][LABEL]) == (3, "Cold")
    assert crm.shows(answer["documents"], update(document, {f"{RATING}@label": "Cold"}, audit_column=None)) == (
        True,
        True,
    )


def test_labels_are_looked_up_once(crm: System, dynamics_365: Dynamics365) -> None:
    row = opportunity(dynamics_365)
    for label in ("Hot", "Warm", "Cold"):
        assert crm.write(update(read(crm, row), {f"{RATING}@label": label}))["result"] == "done"

    assert metadata_reads(dynamics_365) == 1


def test_record_is_created_with_a_label(crm: System, dynamics_365: Dynamics365) -> None:
    made = update({"id": "x", "etag": "x"}, {"name": "Archive", f"{RATING}@label": "Warm"})
    del made["record_id"], made["expected_etag"]

    answer = crm.write(made | {"action": "create", "create_key": {KEY: str(uuid.uuid4())}})

    assert (answer["result"], answer["is_created"]) == ("done", True)
    assert answer["documents"][0]["body"][RATING] == 2


def test_no_label_clears_the_choice_without_a_look(crm: System, dynamics_365: Dynamics365) -> None:
    row = opportunity(dynamics_365, **{RATING: 1})

    assert crm.write(update(read(crm, row), {f"{RATING}@label": None}))["result"] == "done"
    assert dynamics_365.row("opportunities", row["opportunityid"])[RATING] is None
    assert metadata_reads(dynamics_365) == 0


def test_unknown_label_is_refused_and_nothing_written(crm: System, dynamics_365: Dynamics365) -> None:
    row = opportunity(dynamics_365, **{RATING: 1})

    answer = crm.write(update(read(crm, row), {f"{RATING}@label": "Lukewarm", "name": "Other"}))

    assert (answer["result"], answer["error"]["code"]) == ("refused", "dynamics_365.unknown_label")
    assert RATING in answer["error"]["message"] and "Lukewarm" in answer["error"]["message"]
    now = dynamics_365.row("opportunities", row["opportunityid"])
    assert (now[RATING], now["name"]) == (1, "Archive")


@pytest.mark.parametrize("column", ["name", "estimatedvalue", "statuscode", "no_such_column"])
def test_label_of_a_column_without_choices_is_refused(crm: System, dynamics_365: Dynamics365, column: str) -> None:
    row = opportunity(dynamics_365)

    assert crm.write(update(read(crm, row), {f"{column}@label": "Hot"}))["result"] == "refused"
    assert dynamics_365.journal(method="PATCH") == []


@pytest.mark.parametrize("action", ["html", "garbage", "drop"])
def test_labels_that_cannot_be_looked_up_just_now_are_waited_for(
    crm: System, dynamics_365: Dynamics365, action: str
) -> None:
    row = opportunity(dynamics_365)
    document = read(crm, row)
    dynamics_365.fault(action, "GET", "EntityDefinitions", times=2)

    assert crm.write(update(document, {f"{RATING}@label": "Hot"}))["result"] == "retry"
    dynamics_365.clear_faults()
    assert crm.write(update(document, {f"{RATING}@label": "Hot"}))["result"] == "done"


# --- Rows behind lookups ----------------------------------------------------------------------------------------------


def customer(simulator: Dynamics365, **more: Any) -> dict[str, Any]:
    """The columns of an opportunity that bind it to a new account with a primary contact."""
    contact = simulator.add_row("contacts", lastname="Okafor", emailaddress1="a.okafor@litware.example")
    account = simulator.add_row(
        "accounts",
        name="Litware Museums",
        **{"primarycontactid@odata.bind": f"/contacts({contact['contactid']})"},
        **more,
    )
    return {"customerid_account@odata.bind": f"/accounts({account['accountid']})"}


def test_rows_behind_lookups_of_lookups_are_read_at_once(crm: System, dynamics_365: Dynamics365) -> None:
    body = read(crm, opportunity(dynamics_365, **customer(dynamics_365)))["body"]

    account = body["customerid_account"]
    assert account["name"] == "Litware Museums"
    assert (account["primarycontactid"]["lastname"], account["primarycontactid"]["emailaddress1"]) == (
        "Okafor",
        "a.okafor@litware.example",
    )
    (entry,) = dynamics_365.journal(method="GET", path=f"{API}opportunities")
    assert unquote(entry["query"]).endswith(
        "&$expand=customerid_account($select=name,_primarycontactid_value;"
        "$expand=primarycontactid($select=lastname,emailaddress1))"
    )


def test_answer_to_a_write_shows_them_too(crm: System, dynamics_365: Dynamics365) -> None:
    row = opportunity(dynamics_365, **customer(dynamics_365))

    answer = crm.write(update(read(crm, row), {"name": "Archive II"}))

    assert (answer["result"], answer["is_certain"]) == ("done", True)
    body = answer["documents"][0]["body"]
    assert body["name"] == "Archive II"
    assert body["customerid_account"]["primarycontactid"]["lastname"] == "Okafor"


def test_lookup_that_points_to_nothing_has_nothing_behind_it(crm: System, dynamics_365: Dynamics365) -> None:
    row = opportunity(dynamics_365)
    document = read(crm, row)
    assert document["body"]["customerid_account"] is None

    answer = crm.write(update(document, {"name": "Archive II"}))
    assert (answer["calls"], answer["documents"][0]["body"]["customerid_account"]) == (1, None)
