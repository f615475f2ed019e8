"""Child rows of an opportunity: read with it, and their changes told as its own, from registration to notification."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from ingest_receiver import Receiver, yaml_of
from support.simulators import Dynamics365
from support.systems import System, dynamics_365_keys
from support.tls import Authority
from support.topics import Topics
from test_ingest_register_dynamics import Register

API = "/api/data/v9.2/"
SOLUTIONS = "msft_opportunity_msft_microsoftsolution"
COLUMNS = [
    "name",
    "msft_microsoftpartnercenterreferralsyncaudit",
    f"{SOLUTIONS}[].msft_price",
    f"{SOLUTIONS}[].msft_quantity",
    f"{SOLUTIONS}[].msft_solutionid.msft_name",
    f"{SOLUTIONS}[].msft_solutionid.msft_solutionidentifier",
]
EURO = "/transactioncurrencies(0f6f2a33-9d41-4be8-a7c6-3e5b90d1f7a4)"
CHILD_TABLES = {"msft_microsoftsolution": "msft_opportunityid"}

pytestmark = pytest.mark.asan


@pytest.fixture
def crm(dynamics_365: Dynamics365, authority: Authority, tmp_path: Path) -> Iterator[System]:
    with System("dynamics-365", tmp_path, dynamics_365_keys(dynamics_365, authority, columns=COLUMNS)) as system:
        yield system


def opportunity(simulator: Dynamics365) -> str:
    row = simulator.add_row("opportunities", name="Archive", **{"transactioncurrencyid@odata.bind": EURO})
    return row["opportunityid"]


def add_solution(simulator: Dynamics365, parent: str | None, identifier: str, **more: Any) -> str:
    detail = simulator.add_row(
        "msft_microsoftsolutiondetails", msft_name=f"Solution {identifier}", msft_solutionidentifier=identifier
    )
    binds = {"msft_solutionid@odata.bind": f"/msft_microsoftsolutiondetails({detail['msft_microsoftsolutiondetailid']})"}
    if parent is not None:
        binds["msft_opportunityid@odata.bind"] = f"/opportunities({parent})"
    return simulator.add_row("msft_microsoftsolutions", **binds, **more)["msft_microsoftsolutionid"]


def solutions(answer: dict[str, Any]) -> list[tuple[Any, Any]]:
    """Identifier and quantity of each, sorted."""
    assert answer["result"] == "done", answer
    rows = answer["documents"][0]["body"][SOLUTIONS]
    return sorted((row["msft_solutionid"]["msft_solutionidentifier"], row["msft_quantity"]) for row in rows)


# --- Reading ----------------------------------------------------------------------------------------------------------


def test_child_rows_come_with_the_record(crm: System, dynamics_365: Dynamics365) -> None:
    row = opportunity(dynamics_365)
    add_solution(dynamics_365, row, "SOL-1", msft_quantity=3)
    add_solution(dynamics_365, row, "SOL-2", msft_quantity=1)
    add_solution(dynamics_365, opportunity(dynamics_365), "SOL-3", msft_quantity=7)

    assert solutions(crm.read("opportunity", row)) == [("SOL-1", 3), ("SOL-2", 1)]

    (entry,) = dynamics_365.journal(method="GET", path=f"{API}opportunities")
    assert unquote(entry["query"]).endswith(
        f"&$expand={SOLUTIONS}($select=msft_price,msft_quantity,_msft_solutionid_value;"
        "$expand=msft_solutionid($select=msft_name,msft_solutionidentifier))"
    )
    assert {name.lower(): value for name, value in entry["headers"].items()}["if-none-match"] == "null"


def test_record_without_child_rows_has_an_empty_list(crm: System, dynamics_365: Dynamics365) -> None:
    assert crm.read("opportunity", opportunity(dynamics_365))["documents"][0]["body"][SOLUTIONS] == []


def test_child_rows_are_read_by_themselves_where_the_record_shows_only_a_part(
    crm: System, dynamics_365: Dynamics365
) -> None:
    dynamics_365.settings(nested_expand_of_one_row="empty")
    row = opportunity(dynamics_365)
    add_solution(dynamics_365, row, "SOL-1", msft_quantity=3)

    answer = crm.read("opportunity", row)

    assert solutions(answer) == [("SOL-1", 3)]
    paths = [entry["path"] for entry in dynamics_365.journal(method="GET", path=f"{API}opportunities")]
    assert [path.removeprefix(API) for path in paths] == [f"opportunities({row})", f"opportunities({row})/{SOLUTIONS}"]


def test_answer_to_a_write_shows_the_child_rows_of_now(crm: System, dynamics_365: Dynamics365) -> None:
    row = opportunity(dynamics_365)
    document = crm.read("opportunity", row)["documents"][0]
    add_solution(dynamics_365, row, "SOL-1", msft_quantity=3)

    answer = crm.write(
        {
            "id": "deal#1",
            "number": 1,
            "deal_key": "deal",
            "action": "update",
            "reason": "partner_center_changed",
            "target": "crm",
            "system": "dynamics-365",
            "record_type": "opportunity",
            "record_id": row,
            "write": {"name": "Archive II"},
            "decided_at": "2026-11-21T04:00:00Z",
            "expected_etag": document["etag"],
        }
    )

    assert solutions(answer) == [("SOL-1", 3)] and answer["is_certain"]


# --- Webhooks ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def register(tmp_path: Path, authority: Authority, dynamics_365: Dynamics365) -> Register:
    made = Register(tmp_path, authority, dynamics_365)
    made.dynamics_365["child_tables"] = CHILD_TABLES
    return made


def test_child_tables_are_registered_with_images_of_the_opportunity(register: Register) -> None:
    register.good("--url", "https://hooks.fabrikam.example/webhooks")
    assert "everything is registered" in register.good("--url", "https://hooks.fabrikam.example/webhooks")

    steps = {step["sdkmessageprocessingstepid"]: name for name, step in register.steps().items()}
    images = {
        steps[image["_sdkmessageprocessingstepid_value"]]: (image["imagetype"], image["attributes"])
        for image in register.rows("sdkmessageprocessingstepimages")
    }
    assert images == {
        "Tandem: Update of msft_microsoftsolution": (2, "msft_opportunityid"),
        "Tandem: Delete of msft_microsoftsolution": (0, "msft_opportunityid"),
    }
    assert "Tandem: Create of msft_microsoftsolution" in steps.values()


def test_image_that_was_changed_is_repaired(register: Register) -> None:
    url = "https://hooks.fabrikam.example/webhooks"
    register.good("--url", url)
    (image,) = [each for each in register.rows("sdkmessageprocessingstepimages") if each["imagetype"] == 2]
    identifier = image["sdkmessageprocessingstepimageid"]
    register.simulator.edit_row("sdkmessageprocessingstepimages", identifier, attributes="msft_price")

    refused = register.run("--url", url)
    assert refused.returncode == 1 and "attributes" in refused.stdout
    register.good("--url", url, "--replace")
    assert register.simulator.row("sdkmessageprocessingstepimages", identifier)["attributes"] == "msft_opportunityid"


def test_default_child_tables_can_be_registered(register: Register) -> None:
    del register.dynamics_365["child_tables"]

    register.good("--url", "https://hooks.fabrikam.example/webhooks")
    assert "Tandem: Update of msft_microsoftsolution" in register.steps()


def test_changes_of_child_rows_are_told_as_the_opportunitys(
    register: Register, tmp_path: Path, authority: Authority, topics: Topics, dynamics_365: Dynamics365
) -> None:
    receiver = Receiver(tmp_path / "receiver", authority, topics)
    receiver.settings["dynamics_365"] = register.dynamics_365
    (tmp_path / "receiver" / "tandem.yaml").write_text(yaml_of(receiver.settings))
    with receiver:
        receiver.ready()
        row = opportunity(dynamics_365)
        other = opportunity(dynamics_365)
        register.good("--url", f"https://127.0.0.1:{receiver.port}/webhooks/dynamics-365")
        solution = add_solution(dynamics_365, row, "SOL-1", msft_quantity=1)
        told = [("msft_microsoftsolution.Create", row)]
        assert notifications(topics, told) == told

        dynamics_365.edit_row("msft_microsoftsolutions", solution, msft_quantity=2)
        told.append(("msft_microsoftsolution.Update", row))
        assert notifications(topics, told) == told

        bind = {"msft_opportunityid@odata.bind": f"/opportunities({other})"}
        dynamics_365.edit_row("msft_microsoftsolutions", solution, **bind)
        told.append(("msft_microsoftsolution.Update", other))
        assert notifications(topics, told) == told

        dynamics_365.delete_row("msft_microsoftsolutions", solution)
        told.append(("msft_microsoftsolution.Delete", other))
        assert notifications(topics, told) == told
        assert receiver.stop() == 0


def notifications(topics: Topics, told: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Events and records told so far, as many as are expected."""
    values = [json.loads(record.value) for record in topics.read("notifications", len(told)) if record.value]
    assert {value["record_type"] for value in values} == {"opportunity"}
    return [(value["event"], value["record_id"]) for value in values]
