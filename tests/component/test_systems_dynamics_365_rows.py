"""Child rows made with a new record of Dynamics 365, against its simulator over TLS."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.simulators import Dynamics365
from support.systems import System, dynamics_365_keys
from support.tls import Authority

API = "/api/data/v9.2/"
KEY = "msft_microsoftpartnercenterreferralidentifier"
AUDIT = "msft_microsoftpartnercenterreferralsyncaudit"
SOLUTIONS = "msft_opportunity_msft_microsoftsolution"
ROWS, DETAILS = "msft_microsoftsolutions", "msft_microsoftsolutiondetails"
NUMBER = "msft_solutionid.msft_solutionidentifier"
NAME = "msft_solutionid.msft_name"
CURRENCY = "transactioncurrencyid.isocurrencycode"
COLUMNS = [
    "name",
    KEY,
    AUDIT,
    CURRENCY,
    f"{SOLUTIONS}[].msft_price",
    f"{SOLUTIONS}[].msft_quantity",
    f"{SOLUTIONS}[].{NUMBER}",
    f"{SOLUTIONS}[].{NAME}",
]
HOW = {
    SOLUTIONS: {
        "entity": "msft_microsoftsolution",
        "parent": "msft_opportunityid",
        "lookups": {
            "msft_solutionid": {
                "entity": "msft_microsoftsolutiondetail",
                "match": ["msft_solutionidentifier"],
                "create": True,
            }
        },
    }
}
HUB = {"msft_price": 1200.50, "msft_quantity": 10, NUMBER: "SOL-10001-AAA", NAME: "Supply Hub"}
BOX = {NUMBER: "SOL-20002-BBB", NAME: "Telemetry Box"}
SHOWN = [("SOL-10001-AAA", "Supply Hub", 1200.5, 10), ("SOL-20002-BBB", "Telemetry Box", None, None)]

pytestmark = pytest.mark.asan


@pytest.fixture
def keys(dynamics_365: Dynamics365, authority: Authority) -> dict[str, Any]:
    return dynamics_365_keys(dynamics_365, authority, columns=COLUMNS)


@pytest.fixture
def crm(keys: dict[str, Any], tmp_path: Path) -> Iterator[System]:
    with System("dynamics-365", tmp_path, keys) as system:
        yield system


def create(children: list[dict[str, Any]], how: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    write = {"name": "Archive", CURRENCY: "EUR", SOLUTIONS: children, **more.pop("write", {})}
    made = {
        "id": "deal#1",
        "number": 1,
        "deal_key": "deal",
        "action": "create",
        "reason": "new_referral",
        "target": "crm",
        "system": "dynamics-365",
        "record_type": "opportunity",
        "create_key": {KEY: str(uuid.uuid4())},
        "write": write,
        "lookups": {"transactioncurrencyid": {"entity": "transactioncurrency", "match": ["isocurrencycode"]}},
        "rows": HOW if how is None else how,
        "audit_column": AUDIT,
        "audit_text": "Created from Partner Center",
        "decided_at": "2026-11-21T04:00:00Z",
        **more,
    }
    return {name: value for name, value in made.items() if value is not None}


def shown(answer: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The rows as the answer's document has them."""
    children = answer["documents"][0]["body"][SOLUTIONS]
    names = ("msft_solutionidentifier", "msft_name")
    every = [
        (*((each["msft_solutionid"] or {}).get(name) for name in names), each["msft_price"], each["msft_quantity"])
        for each in children
    ]
    return sorted(every, key=str)


def rows(simulator: Dynamics365, name: str = ROWS) -> list[dict[str, Any]]:
    return simulator.rows(name)["value"]


def requests(simulator: Dynamics365, since: int = 0) -> list[str]:
    """Method and table of what was asked, in its order; without who we are and the currency, which are asked once."""
    entries = simulator.journal(since, path=API)
    asked = [f"{each['method']} {each['path'].removeprefix(API).partition('(')[0]}" for each in entries]
    return [each for each in asked if each not in ("GET WhoAmI", "GET transactioncurrencies")]


def position(simulator: Dynamics365) -> int:
    return int(simulator.admin("GET", "/_sim/journal")["next"])


def audit_text(answer: dict[str, Any]) -> str:
    return answer["documents"][0]["body"][AUDIT]


# --- Making -----------------------------------------------------------------------------------------------------------


def test_rows_are_made_after_the_record(crm: System, dynamics_365: Dynamics365) -> None:
    wanted = create([HUB, BOX])

    answer = crm.write(wanted)

    assert (answer["result"], answer["is_created"], answer["is_certain"]) == ("done", True, True)
    assert answer["error"] is None
    assert shown(answer) == SHOWN
    assert {each["_msft_opportunityid_value"] for each in rows(dynamics_365)} == {answer["record_id"]}
    row = [f"GET {DETAILS}", f"PATCH {DETAILS}", f"PATCH {ROWS}"]
    assert requests(dynamics_365) == ["PATCH opportunities", *row, *row, "PATCH opportunities", "GET opportunities"]
    assert crm.shows(answer["documents"], wanted) == (True, True)
    assert audit_text(answer) == "2026-11-21 04:00 - Created from Partner Center [deal#1]"


def test_rows_are_only_ever_created(crm: System, dynamics_365: Dynamics365) -> None:
    crm.write(create([HUB]))

    (sent,) = dynamics_365.journal(method="PATCH", path=API + ROWS)
    assert {name.lower(): value for name, value in sent["headers"].items()}["if-none-match"] == "*"
    assert "msft_opportunityid@odata.bind" in sent["body"] and "msft_solutionid@odata.bind" in sent["body"]


def test_record_of_no_rows_costs_nothing_more(crm: System, dynamics_365: Dynamics365) -> None:
    assert crm.write(create([], how={}))["result"] == "done"
    assert requests(dynamics_365) == ["PATCH opportunities", "GET opportunities"]
    assert rows(dynamics_365) == []


def test_catalogue_is_asked_once_for_many_deals(crm: System, dynamics_365: Dynamics365) -> None:
    detail = dynamics_365.add_row(DETAILS, msft_solutionidentifier="SOL-10001-AAA", msft_name="Supply Hub")

    answers = [crm.write(create([HUB])) for _ in range(3)]

    assert [each["result"] for each in answers] == ["done"] * 3
    assert requests(dynamics_365).count(f"GET {DETAILS}") == 1
    assert f"PATCH {DETAILS}" not in requests(dynamics_365)
    made = rows(dynamics_365)
    assert {each["_msft_solutionid_value"] for each in made} == {detail["msft_microsoftsolutiondetailid"]}
    assert {each["_msft_opportunityid_value"] for each in made} == {each["record_id"] for each in answers}
    assert len(made) == 3


def test_entry_of_the_catalogue_is_never_changed(crm: System, dynamics_365: Dynamics365) -> None:
    dynamics_365.add_row(DETAILS, msft_solutionidentifier="SOL-10001-AAA", msft_name="Called otherwise here")

    answer = crm.write(create([HUB]))

    assert shown(answer) == [("SOL-10001-AAA", "Called otherwise here", 1200.5, 10)]


def test_remembered_entry_that_went_away_is_looked_for_again(crm: System, dynamics_365: Dynamics365) -> None:
    crm.write(create([HUB]))
    (made,) = rows(dynamics_365)
    (detail,) = rows(dynamics_365, DETAILS)
    dynamics_365.delete_row(ROWS, made["msft_microsoftsolutionid"])
    dynamics_365.delete_row(DETAILS, detail["msft_microsoftsolutiondetailid"])

    answer = crm.write(create([HUB]))

    assert (answer["result"], answer["error"]) == ("done", None)
    assert shown(answer) == SHOWN[:1]


def test_equal_rows_are_two(crm: System, dynamics_365: Dynamics365) -> None:
    answer = crm.write(create([BOX, BOX]))

    assert shown(answer) == [SHOWN[1]] * 2
    assert len(rows(dynamics_365, DETAILS)) == 1


def test_closed_deal_gets_its_rows_before_it_is_closed(crm: System, dynamics_365: Dynamics365) -> None:
    wanted = create([BOX], write={"statecode": 1, "statuscode": 3})

    answer = crm.write(wanted)

    assert answer["documents"][0]["body"]["statecode"] == 1
    assert shown(answer) == SHOWN[1:]
    assert requests(dynamics_365)[-4:] == [
        f"PATCH {ROWS}",
        "PATCH opportunities",
        "POST WinOpportunity",
        "GET opportunities",
    ]
    assert crm.shows(answer["documents"], wanted) == (True, True)


def test_rows_without_an_audit_column(crm: System, dynamics_365: Dynamics365) -> None:
    wanted = create([BOX], audit_column=None, audit_text=None)
    dynamics_365.fault("apply-then-drop", "PATCH", ROWS)

    assert crm.write(wanted)["result"] == "unknown"
    assert crm.find(wanted)["is_unfinished"]
    answer = crm.write(wanted)

    assert (answer["result"], answer["is_created"]) == ("done", True)
    assert shown(answer) == SHOWN[1:]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": None}, "belong to a table the rules do not tell"),
        ({"write": {SOLUTIONS: [BOX] * 51}}, "are more than can be made"),
        ({"rows": {SOLUTIONS: HOW[SOLUTIONS] | {"lookups": {}}}}, "say of no lookup 'msft_solutionid'"),
        ({"action": "update", "record_id": str(uuid.uuid4()), "expected_etag": "x"}, "are made with a new record only"),
    ],
)
def test_rows_that_cannot_be_sent(
    crm: System, dynamics_365: Dynamics365, changes: dict[str, Any], message: str
) -> None:
    wanted = create([BOX]) | changes

    answer = crm.write({name: value for name, value in wanted.items() if value is not None})

    assert (answer["result"], answer["error"]["code"]) == ("not begun", "dynamics_365.write")
    assert message in answer["error"]["message"]
    assert dynamics_365.journal() == []


# --- Going on after a lost answer -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "method", "times"),
    [
        ("opportunities", "PATCH", 1),
        (DETAILS, "GET", 1),
        (DETAILS, "PATCH", 1),
        (ROWS, "PATCH", 1),
        (ROWS, "PATCH", 2),
        (r"opportunities\([0-9a-f-]{36}\)", "PATCH", 1),
        (r"opportunities\([0-9a-f-]{36}\)", "GET", 1),
    ],
)
@pytest.mark.parametrize("action", ["drop", "apply-then-drop"])
def test_lost_answer_at_any_step_is_gone_on_from(
    crm: System, dynamics_365: Dynamics365, path: str, method: str, times: int, action: str
) -> None:
    wanted = create([HUB, BOX])
    dynamics_365.fault(action, method, path, times=times)

    answer = crm.write(wanted)
    for _ in range(times):
        if answer["result"] == "done":
            break
        # As the pusher does after a doubt.
        found = crm.find(wanted)
        if found["result"] == "done" and not found["is_unfinished"]:
            answer = found
        else:
            answer = crm.write(wanted)

    assert answer["result"] == "done", answer
    assert crm.shows(answer["documents"], wanted) == (True, True)
    assert shown(answer) == SHOWN
    assert (len(rows(dynamics_365)), len(rows(dynamics_365, DETAILS))) == (2, 2)
    assert len([each for each in rows(dynamics_365, "opportunities") if each[KEY] == wanted["create_key"][KEY]]) == 1


def test_record_that_was_begun_is_known_by_its_marker(crm: System, dynamics_365: Dynamics365) -> None:
    wanted = create([HUB, BOX])
    dynamics_365.fault("drop", "PATCH", ROWS)
    assert crm.write(wanted)["result"] == "unknown"

    found = crm.find(wanted)

    assert (found["result"], found["is_unfinished"]) == ("done", True)
    assert audit_text(found).endswith("[deal#1 begun]")
    assert crm.shows(found["documents"], wanted)[0] is False
    answer = crm.write(wanted)
    assert (answer["result"], answer["is_created"], answer["is_certain"]) == ("done", True, True)
    assert not crm.find(wanted)["is_unfinished"]


def test_what_a_seller_has_changed_meanwhile_stays(crm: System, dynamics_365: Dynamics365) -> None:
    wanted = create([HUB, BOX])
    dynamics_365.fault("apply-then-drop", "PATCH", ROWS)
    crm.write(wanted)
    (first,) = rows(dynamics_365)
    dynamics_365.edit_row(ROWS, first["msft_microsoftsolutionid"], msft_quantity=99)

    answer = crm.write(wanted)

    assert shown(answer) == [("SOL-10001-AAA", "Supply Hub", 1200.5, 99), SHOWN[1]]


def test_record_of_another_decision_gets_no_rows(crm: System, dynamics_365: Dynamics365) -> None:
    wanted = create([BOX])
    dynamics_365.add_row("opportunities", name="A seller's", **wanted["create_key"])

    answer = crm.write(wanted)

    assert (answer["result"], answer["error"]["code"]) == ("conflict", "dynamics_365.conflict")
    assert not crm.find(wanted)["is_unfinished"]
    assert rows(dynamics_365) == []


def test_closing_that_got_through_is_not_repeated(crm: System, dynamics_365: Dynamics365) -> None:
    wanted = create([BOX], audit_column=None, audit_text=None, write={"statecode": 1, "statuscode": 3})
    dynamics_365.fault("apply-then-drop", "POST", "WinOpportunity")
    assert crm.write(wanted)["result"] == "unknown"

    answer = crm.write(wanted)

    assert (answer["result"], answer["documents"][0]["body"]["statecode"]) == ("done", 1)
    assert requests(dynamics_365).count("POST WinOpportunity") == 1


@pytest.mark.parametrize("status", [429, 503])
def test_throttled_row_is_gone_on_with_later(crm: System, dynamics_365: Dynamics365, status: int) -> None:
    wanted = create([HUB, BOX])
    dynamics_365.fault("status", "PATCH", ROWS, status=status, headers={"Retry-After": "7"}, body={})

    answer = crm.write(wanted)

    assert (answer["result"], answer["retry_after_ms"]) == ("unknown", 7000)
    assert shown(crm.write(wanted)) == SHOWN


# --- Refused rows -----------------------------------------------------------------------------------------------------


def test_refused_row_is_left_out_and_told(crm: System, dynamics_365: Dynamics365) -> None:
    wanted = create([HUB | {"msft_quantity": -1}, BOX])

    answer = crm.write(wanted)

    assert (answer["result"], answer["is_created"]) == ("done", True)
    assert shown(answer) == SHOWN[1:]
    assert answer["error"]["class"] == "poison"
    assert answer["error"]["message"].startswith(
        "the record was created without row 1 of 2, table 'msft_microsoftsolution'"
    )
    assert "1 of 2 rows were refused" in audit_text(answer)
    assert crm.shows(answer["documents"], wanted) == (True, True)


def test_several_entries_that_match_are_for_a_person(crm: System, dynamics_365: Dynamics365) -> None:
    entry = {"msft_microsoftsolutiondetailid": str(uuid.uuid4())}
    dynamics_365.fault("status", "GET", DETAILS, status=200, body={"value": [entry, entry]})

    answer = crm.write(create([HUB, BOX]))

    assert (answer["result"], answer["error"]["code"]) == ("done", "lookup.ambiguous")
    assert shown(answer) == SHOWN[1:]


def test_entry_that_is_not_to_be_made_leaves_its_row_out(crm: System, dynamics_365: Dynamics365) -> None:
    lookup = HOW[SOLUTIONS]["lookups"]["msft_solutionid"] | {"create": False}

    answer = crm.write(create([HUB], how={SOLUTIONS: HOW[SOLUTIONS] | {"lookups": {"msft_solutionid": lookup}}}))

    assert (answer["result"], answer["error"]["code"]) == ("done", "lookup.not_found")
    assert rows(dynamics_365) == rows(dynamics_365, DETAILS) == []


@pytest.mark.parametrize("changes", [{"entity": "msft_solutionofold"}, {"parent": "msft_opportunity"}])
def test_names_the_organisation_does_not_have_cost_the_rows_alone(
    crm: System, dynamics_365: Dynamics365, changes: dict[str, str]
) -> None:
    answer = crm.write(create([HUB, BOX], how={SOLUTIONS: HOW[SOLUTIONS] | changes}))

    assert (answer["result"], answer["error"]["class"]) == ("done", "poison")
    assert "2 of 2 rows were refused" in audit_text(answer)
    assert rows(dynamics_365) == []


def test_missing_privilege_costs_the_rows_alone(crm: System, dynamics_365: Dynamics365) -> None:
    body = {"error": {"code": "0x80040220", "message": "no"}}
    dynamics_365.fault("status", "PATCH", ROWS, status=403, body=body, times=None)

    answer = crm.write(create([HUB, BOX]))

    assert (answer["result"], answer["error"]["code"]) == ("done", "dynamics_365.privilege")
    assert rows(dynamics_365) == []


def test_table_with_a_name_of_its_own_in_addresses(crm: System, dynamics_365: Dynamics365) -> None:
    how = {SOLUTIONS: HOW[SOLUTIONS] | {"entity_set": "msft_solutionset"}}

    crm.write(create([BOX], how=how))

    assert "PATCH msft_solutionset" in requests(dynamics_365)


def test_write_whose_lease_is_lost_sends_no_row(crm: System, dynamics_365: Dynamics365) -> None:
    answer = crm.write(create([BOX]), may_send=False)

    assert answer["error"]["code"] == "http.not_sent" or answer["result"] == "retry"
    assert rows(dynamics_365) == []
