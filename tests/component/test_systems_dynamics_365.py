"""Dynamics 365 behind the system interface, against its simulator over TLS."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.bad_inputs import bad_input
from support.simulators import Dynamics365
from support.systems import System, dynamics_365_keys
from support.tls import Authority

API = "/api/data/v9.2/"
KEY = "msft_microsoftpartnercenterreferralidentifier"
AUDIT = "msft_microsoftpartnercenterreferralsyncaudit"
EURO = "/transactioncurrencies(0f6f2a33-9d41-4be8-a7c6-3e5b90d1f7a4)"
MISSING = "11111111-2222-4333-8444-555566667777"
COLUMNS = [
    "name",
    "description",
    "estimatedvalue",
    "estimatedclosedate",
    KEY,
    AUDIT,
    "transactioncurrencyid.isocurrencycode",
    "customerid_account.name",
    "customerid_account.address1_postalcode",
]
LOOKUPS = {
    "transactioncurrencyid": {"entity": "transactioncurrency", "match": ["isocurrencycode"]},
    "customerid_account": {"entity": "account", "match": ["name", "address1_postalcode"], "create": True},
}

pytestmark = pytest.mark.asan


@pytest.fixture
def keys(dynamics_365: Dynamics365, authority: Authority) -> dict[str, Any]:
    return dynamics_365_keys(dynamics_365, authority, columns=COLUMNS)


@pytest.fixture
def crm(keys: dict[str, Any], tmp_path: Path) -> Iterator[System]:
    with System("dynamics-365", tmp_path, keys) as system:
        yield system


def opportunity(simulator: Dynamics365, **more: Any) -> dict[str, Any]:
    row = {"name": "Archive", "transactioncurrencyid@odata.bind": EURO, **more}
    return simulator.add_row("opportunities", **row)


def update(document: dict[str, Any], write: dict[str, Any], number: int = 1, **more: Any) -> dict[str, Any]:
    """A decision to change the record of a document, as it was read."""
    return {
        "id": f"deal#{number}",
        "number": number,
        "deal_key": "deal",
        "action": "update",
        "reason": "partner_center_changed",
        "target": "crm",
        "system": "dynamics-365",
        "record_type": "opportunity",
        "record_id": document["id"],
        "write": write,
        "lookups": LOOKUPS,
        "audit_column": AUDIT,
        "audit_text": "Updated from Partner Center",
        "decided_at": "2026-11-21T04:00:00Z",
        "expected_etag": document["etag"],
        **more,
    }


def create(write: dict[str, Any], key: str | None = None, **more: Any) -> dict[str, Any]:
    made = update({"id": MISSING, "etag": "x"}, {"name": "Archive", **write}, **more)
    del made["record_id"], made["expected_etag"]
    return made | {"action": "create", "create_key": {KEY: key or str(uuid.uuid4())}}


def read(crm: System, row: dict[str, Any]) -> dict[str, Any]:
    answer = crm.read("opportunity", row["opportunityid"])
    assert answer["result"] == "done", answer
    return answer["documents"][0]


def requests(simulator: Dynamics365, method: str | None = None) -> list[str]:
    """What was asked of the Web API, without the look at who we are."""
    entries = simulator.journal(method=method, path=API)
    return [f"{each['method']} {each['path'].removeprefix(API)}" for each in entries if "WhoAmI" not in each["path"]]


# --- Reading ----------------------------------------------------------------------------------------------------------


def test_reads_a_record_with_what_its_lookups_point_to(crm: System, dynamics_365: Dynamics365) -> None:
    account = dynamics_365.add_row("accounts", name="Litware Museums", address1_postalcode="4000-001")
    row = opportunity(
        dynamics_365, estimatedvalue=10.5, **{"customerid_account@odata.bind": f"/accounts({account['accountid']})"}
    )

    answer = crm.read("opportunity", row["opportunityid"].upper())

    assert (answer["result"], answer["status"], answer["calls"]) == ("done", 200, 2)
    assert answer["record_id"] == row["opportunityid"]
    assert answer["deal_key"] == f"crm:{row['opportunityid']}"
    (document,) = answer["documents"]
    body = document["body"]
    assert (document["role"], document["version"]) == ("crm", str(body["versionnumber"]))
    assert (document["etag"], document["changed_at"]) == (body["@odata.etag"], body["modifiedon"])
    assert document["modified_by_us"] is False and answer["is_certain"] is False
    assert body["estimatedvalue"] == 10.5
    assert body["transactioncurrencyid"]["isocurrencycode"] == "EUR"
    assert body["customerid_account"]["name"] == "Litware Museums"


def test_record_that_names_its_referral_has_its_deal_key(crm: System, dynamics_365: Dynamics365) -> None:
    row = opportunity(dynamics_365, **{KEY: "ABCDEF00-0000-4000-8000-000000000001"})

    assert crm.read("opportunity", row["opportunityid"])["deal_key"] == "abcdef00-0000-4000-8000-000000000001"


def test_who_we_are_is_asked_once(crm: System, dynamics_365: Dynamics365) -> None:
    row = opportunity(dynamics_365)
    assert [crm.read("opportunity", row["opportunityid"])["calls"] for _ in range(3)] == [2, 1, 1]
    assert len(dynamics_365.journal(path="/oauth2/v2.0/token")) == 1


def test_missing_record_is_gone(crm: System) -> None:
    answer = crm.read("opportunity", MISSING)

    assert (answer["result"], answer["status"], answer["error"]["class"]) == ("gone", 404, "poison")


@pytest.mark.parametrize(
    ("record_type", "record_id", "code"),
    [("systemuser", MISSING, "no_such_table"), ("opportunity", "1)/owner", "bad_id")],
)
def test_what_is_no_record_is_not_asked_for(
    crm: System, dynamics_365: Dynamics365, record_type: str, record_id: str, code: str
) -> None:
    answer = crm.read(record_type, record_id)

    assert (answer["result"], answer["error"]["code"]) == ("not begun", f"dynamics_365.{code}")
    assert dynamics_365.journal() == []


@bad_input("B76")
def test_another_record_in_the_answer_is_refused(crm: System, dynamics_365: Dynamics365) -> None:
    first, second = opportunity(dynamics_365), opportunity(dynamics_365)
    dynamics_365.fault("status", "GET", first["opportunityid"], status=200, body=second)

    answer = crm.read("opportunity", first["opportunityid"])

    assert (answer["result"], answer["error"]["code"]) == ("refused", "dynamics_365.foreign_record")


@bad_input("B75")
@pytest.mark.parametrize("action", ["html", "garbage", "truncate", "oversize"])
def test_useless_answers_to_a_reading_are_repeated(crm: System, dynamics_365: Dynamics365, action: str) -> None:
    row = opportunity(dynamics_365)
    dynamics_365.fault(action, "GET", row["opportunityid"])

    assert crm.read("opportunity", row["opportunityid"])["result"] == "retry"
    assert crm.read("opportunity", row["opportunityid"])["result"] == "done"


def test_page_without_who_we_are_is_repeated(crm: System, dynamics_365: Dynamics365) -> None:
    row = opportunity(dynamics_365)
    dynamics_365.fault("status", "GET", "WhoAmI", status=404)
    dynamics_365.fault("html", "GET", "WhoAmI")

    assert crm.read("opportunity", row["opportunityid"])["result"] == "refused"
    assert crm.read("opportunity", row["opportunityid"])["result"] == "retry"
    assert crm.read("opportunity", row["opportunityid"])["result"] == "done"


# --- The account as a whole -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "word"),
    [
        (429, "0x80072322", "throttled_requests"),
        (429, "0x80072321", "throttled_time"),
        (429, "0x80072326", "throttled_concurrency"),
        (503, "0x8004A001", "busy"),
    ],
)
def test_throttling_is_waited_for(
    crm: System, dynamics_365: Dynamics365, status: int, code: str, word: str
) -> None:
    row = opportunity(dynamics_365)
    dynamics_365.fault(
        "status",
        "GET",
        row["opportunityid"],
        status=status,
        headers={"Retry-After": "12"},
        body={"error": {"code": code, "message": "later"}},
    )

    answer = crm.read("opportunity", row["opportunityid"])

    assert (answer["result"], answer["retry_after_ms"], answer["error"]["code"]) == (
        "retry",
        12000,
        f"dynamics_365.{word}",
    )


def test_application_that_is_no_member_is_blocked(crm: System, dynamics_365: Dynamics365) -> None:
    dynamics_365.settings(application_user_exists=False)

    answer = crm.read("opportunity", MISSING)

    assert (answer["result"], answer["error"]["code"]) == ("blocked", "dynamics_365.not_a_member")


def test_wrong_secret_is_trouble(dynamics_365: Dynamics365, keys: dict[str, Any], tmp_path: Path) -> None:
    with System("dynamics-365", tmp_path, keys | {"client_id": MISSING}) as system:
        answer = system.read("opportunity", MISSING)
        assert (answer["result"], answer["error"]["class"]) == ("blocked", "config")
        assert system.trouble() is not None


def test_missing_privilege_is_refused(crm: System, dynamics_365: Dynamics365) -> None:
    document = read(crm, opportunity(dynamics_365))
    dynamics_365.settings(missing_privileges=["prvWriteOpportunity"])

    answer = crm.write(update(document, {"name": "B"}))

    assert (answer["result"], answer["status"], answer["error"]["code"]) == ("refused", 403, "dynamics_365.privilege")


def test_expired_token_is_renewed_once(crm: System, dynamics_365: Dynamics365) -> None:
    row = opportunity(dynamics_365)
    read(crm, row)
    dynamics_365.fault("status", "GET", row["opportunityid"], status=401)

    assert crm.read("opportunity", row["opportunityid"])["result"] == "done"
    assert len(dynamics_365.journal(path="/oauth2/v2.0/token")) == 2


# --- Changes ----------------------------------------------------------------------------------------------------------


def test_update_sends_exactly_the_changed_columns_and_the_audit_text(crm: System, dynamics_365: Dynamics365) -> None:
    document = read(crm, opportunity(dynamics_365, description="old"))
    dynamics_365.clear_journal()
    wanted = update(document, {"estimatedvalue": 12500.5, "description": None})

    answer = crm.write(wanted)

    assert (answer["result"], answer["calls"], answer["is_certain"]) == ("done", 1, True)
    (patch,) = dynamics_365.journal(path=API)
    assert json.loads(patch["body"]) == {
        "estimatedvalue": 12500.5,
        "description": None,
        AUDIT: "2026-11-21 04:00 - Updated from Partner Center [deal#1]",
    }
    headers = {name.lower(): value for name, value in patch["headers"].items()}
    assert (headers["if-match"], headers["prefer"]) == (document["etag"], "return=representation")
    (written,) = answer["documents"]
    assert written["modified_by_us"] is True
    # As complete as a reading, though the answer to a write shows no lookup's attributes.
    again = crm.read("opportunity", document["id"])["documents"][0]["body"]
    assert written["body"]["transactioncurrencyid"] == {"isocurrencycode": "EUR"}
    ignored = ("@odata.context", "transactioncurrencyid")
    assert {n: v for n, v in written["body"].items() if n not in ignored} == {
        n: v for n, v in again.items() if n not in ignored
    }
    assert crm.shows(answer["documents"], wanted) == (True, True)


def test_update_of_another_version_is_a_conflict(crm: System, dynamics_365: Dynamics365) -> None:
    row = opportunity(dynamics_365)
    document = read(crm, row)
    dynamics_365.edit_row("opportunities", row["opportunityid"], name="By a seller")

    answer = crm.write(update(document, {"name": "By us"}))

    assert (answer["result"], answer["status"], answer["error"]["code"]) == ("conflict", 412, "dynamics_365.version")
    assert read(crm, row)["body"]["name"] == "By a seller"


@pytest.mark.parametrize("action", ["apply-then-drop", "html", "garbage", "truncate", "oversize", "drop"])
def test_lost_answer_is_unknown_and_then_shown_by_the_marker(
    crm: System, dynamics_365: Dynamics365, action: str
) -> None:
    row = opportunity(dynamics_365)
    wanted = update(read(crm, row), {"name": "By us"})
    dynamics_365.fault(action, "PATCH", row["opportunityid"])

    assert crm.write(wanted)["result"] == "unknown"

    was_applied = action not in ("html", "drop")
    answer = crm.read("opportunity", row["opportunityid"])
    assert crm.shows(answer["documents"], wanted) == (was_applied, was_applied)
    if was_applied:
        # Somebody else's change afterwards leaves the marker and takes the certainty.
        dynamics_365.edit_row("opportunities", row["opportunityid"], name="By a seller")
        answer = crm.read("opportunity", row["opportunityid"])
        assert crm.shows(answer["documents"], wanted) == (True, False)


def test_values_that_do_not_fit_are_refused(crm: System, dynamics_365: Dynamics365) -> None:
    document = read(crm, opportunity(dynamics_365))

    answer = crm.write(update(document, {"name": "x" * 301}))

    assert (answer["result"], answer["error"]["code"]) == ("refused", "dynamics_365.too_long")


def test_currency_is_looked_up_once_and_bound(crm: System, dynamics_365: Dynamics365) -> None:
    first, second = (read(crm, opportunity(dynamics_365)) for _ in range(2))
    dynamics_365.clear_journal()

    answer = crm.write(update(first, {"transactioncurrencyid.isocurrencycode": "USD"}))
    assert (answer["result"], answer["calls"]) == ("done", 2)
    assert answer["documents"][0]["body"]["transactioncurrencyid"]["isocurrencycode"] == "USD"
    answer = crm.write(update(second, {"transactioncurrencyid.isocurrencycode": "USD"}))
    assert (answer["result"], answer["calls"]) == ("done", 1)

    assert requests(dynamics_365, "GET") == ["GET transactioncurrencies"]


def test_currency_that_is_not_there_is_refused(crm: System, dynamics_365: Dynamics365) -> None:
    document = read(crm, opportunity(dynamics_365))

    answer = crm.write(update(document, {"transactioncurrencyid.isocurrencycode": "XTS"}))

    assert (answer["result"], answer["error"]["code"]) == ("refused", "lookup.not_found")
    assert requests(dynamics_365, "PATCH") == []


def test_currency_that_went_away_is_looked_up_again(crm: System, dynamics_365: Dynamics365) -> None:
    row = opportunity(dynamics_365)
    first = read(crm, row)
    answer = crm.write(update(first, {"transactioncurrencyid.isocurrencycode": "USD"}))
    dynamics_365.fault(
        "status",
        "PATCH",
        row["opportunityid"],
        status=404,
        body={"error": {"code": "0x80040217", "message": "transactioncurrency does not exist"}},
    )
    wanted = update(answer["documents"][0], {"transactioncurrencyid.isocurrencycode": "USD", "name": "B"}, 2)

    assert crm.write(wanted)["result"] == "conflict"
    answer = crm.write(wanted)
    assert (answer["result"], answer["calls"]) == ("done", 2)


# --- Creating ---------------------------------------------------------------------------------------------------------


def test_create_by_alternate_key_with_an_account_that_is_there(crm: System, dynamics_365: Dynamics365) -> None:
    account = dynamics_365.add_row("accounts", name="O'Neill & Sons", address1_postalcode="D02")
    wanted = create(
        {
            "estimatedvalue": 5000,
            "transactioncurrencyid.isocurrencycode": "EUR",
            "customerid_account.name": "O'Neill & Sons",
            "customerid_account.address1_postalcode": "D02",
        }
    )
    key = wanted["create_key"][KEY]

    answer = crm.write(wanted)

    assert (answer["result"], answer["is_created"], answer["is_certain"]) == ("done", True, True)
    assert answer["deal_key"] == key
    body = answer["documents"][0]["body"]
    assert (body["name"], body[KEY], body["_customerid_value"]) == ("Archive", key, account["accountid"])
    assert body["customerid_account"]["name"] == "O'Neill & Sons"
    assert body["transactioncurrencyid"]["isocurrencycode"] == "EUR"
    assert requests(dynamics_365) == [
        "GET transactioncurrencies",
        "GET accounts",
        f"PATCH opportunities({KEY}='{key}')",
    ] or requests(dynamics_365) == [
        "GET accounts",
        "GET transactioncurrencies",
        f"PATCH opportunities({KEY}='{key}')",
    ]
    assert crm.shows(answer["documents"], wanted) == (True, True)


def account_write(name: str, code: str | None = "1000") -> dict[str, Any]:
    return {
        "transactioncurrencyid.isocurrencycode": "EUR",
        "customerid_account.name": name,
        "customerid_account.address1_postalcode": code,
    }


def accounts(simulator: Dynamics365, name: str) -> list[dict[str, Any]]:
    return [each for each in simulator.rows("accounts")["value"] if each["name"] == name]


def test_account_that_is_not_there_is_made_once(crm: System, dynamics_365: Dynamics365) -> None:
    first = crm.write(create(account_write("Alder & Finch", None)))
    second = crm.write(create(account_write("Alder & Finch", None)))

    assert (first["result"], second["result"]) == ("done", "done")
    (account,) = accounts(dynamics_365, "Alder & Finch")
    assert account["accountid"] == first["documents"][0]["body"]["_customerid_value"]
    assert account["accountid"] == second["documents"][0]["body"]["_customerid_value"]


def test_account_made_by_a_worker_beside_us_is_taken(crm: System, dynamics_365: Dynamics365) -> None:
    """The search lags: both workers find nothing, and both make the same record."""
    crm.write(create(account_write("Alder & Finch")))
    dynamics_365.fault("status", "GET", "accounts", status=200, body={"value": []})

    answer = crm.write(create(account_write("Alder & Finch")))

    assert answer["result"] == "done"
    assert len(accounts(dynamics_365, "Alder & Finch")) == 1


def test_account_whose_making_was_not_answered_is_made_once(crm: System, dynamics_365: Dynamics365) -> None:
    wanted = create(account_write("Alder & Finch"))
    dynamics_365.fault("apply-then-drop", "PATCH", "accounts")

    assert crm.write(wanted)["result"] == "retry"
    assert crm.write(wanted)["result"] == "done"
    assert len(accounts(dynamics_365, "Alder & Finch")) == 1


def test_several_accounts_that_match_are_for_a_person(crm: System, dynamics_365: Dynamics365) -> None:
    for _ in range(2):
        dynamics_365.add_row("accounts", name="Twin", address1_postalcode="1000")

    answer = crm.write(create(account_write("Twin")))

    assert (answer["result"], answer["error"]["code"]) == ("refused", "lookup.ambiguous")
    assert "Twin" not in answer["error"]["message"]
    assert requests(dynamics_365, "PATCH") == []


def test_create_repeated_is_a_conflict_and_the_record_is_found(crm: System, dynamics_365: Dynamics365) -> None:
    wanted = create({"transactioncurrencyid.isocurrencycode": "EUR"})
    assert crm.find(wanted)["result"] == "gone"
    dynamics_365.fault("apply-then-drop", "PATCH", "opportunities")
    assert crm.write(wanted)["result"] == "unknown"

    assert crm.write(wanted)["result"] == "conflict"

    found = crm.find(wanted)
    assert (found["result"], found["deal_key"]) == ("done", wanted["create_key"][KEY])
    assert crm.shows(found["documents"], wanted) == (True, True)


@pytest.mark.parametrize("code", ["0x80060892", "0x80040237", "0x80060882"])
def test_existing_record_whatever_code_says_so(crm: System, dynamics_365: Dynamics365, code: str) -> None:
    dynamics_365.settings(create_only_code=code)
    wanted = create({})
    assert crm.write(wanted)["is_created"]

    assert crm.write(wanted)["result"] == "conflict"


def test_create_without_condition_takes_an_existing_record(
    dynamics_365: Dynamics365, keys: dict[str, Any], tmp_path: Path
) -> None:
    dynamics_365.settings(if_none_match_with_alternate_key="refused")
    with System("dynamics-365", tmp_path, keys | {"conditional_create": False}) as system:
        wanted = create({"description": "first"})
        first = system.write(wanted)
        second = system.write(wanted | {"write": wanted["write"] | {"description": "second"}})
    assert (first["result"], first["is_created"]) == ("done", True)
    assert (second["result"], second["is_created"]) == ("done", False)
    assert second["record_id"] == first["record_id"]
    assert second["documents"][0]["body"]["description"] == "second"


def test_create_of_a_closed_deal_opens_and_closes(crm: System, dynamics_365: Dynamics365) -> None:
    wanted = create({"statecode": 2, "statuscode": 4})

    answer = crm.write(wanted)

    assert (answer["result"], answer["is_created"]) == ("done", True)
    assert answer["documents"][0]["body"]["statecode"] == 2
    assert crm.shows(answer["documents"], wanted) == (True, True)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"create_key": None}, "dynamics_365.no_key"),
        ({"create_key": {KEY: ""}}, "dynamics_365.no_key"),
        ({"action": "none"}, "dynamics_365.action"),
        ({"action": "update"}, "dynamics_365.no_version"),
        ({"record_type": "systemuser"}, "dynamics_365.no_such_table"),
        ({"lookups": {}, "write": {"customerid_account.name": "A"}}, "dynamics_365.write"),
        ({"write": {"statecode": 1}}, "dynamics_365.write"),
    ],
)
def test_decisions_that_cannot_be_sent(
    crm: System, dynamics_365: Dynamics365, changes: dict[str, Any], code: str
) -> None:
    wanted = create({}) | changes
    answer = crm.write({name: value for name, value in wanted.items() if value is not None})

    assert (answer["result"], answer["error"]["class"], answer["error"]["code"]) == ("not begun", "poison", code)
    assert dynamics_365.journal() == []


# --- Closing and reopening --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("with_time", "form"), [(False, "date"), (True, "datetime")]
)
@pytest.mark.parametrize(
    ("state", "status", "action"), [(1, 3, "WinOpportunity"), (2, 5, "LoseOpportunity")]
)
def test_closing(
    dynamics_365: Dynamics365,
    keys: dict[str, Any],
    tmp_path: Path,
    state: int,
    status: int,
    action: str,
    with_time: bool,
    form: str,
) -> None:
    dynamics_365.settings(opportunityclose_actualend=form)
    with System("dynamics-365", tmp_path, keys | {"close_with_time": with_time}) as system:
        document = read(system, opportunity(dynamics_365))
        wanted = update(document, {"statecode": state, "statuscode": status, "name": "Closed"})

        answer = system.write(wanted)

        assert answer["result"] == "done", answer
        body = answer["documents"][0]["body"]
        assert (body["statecode"], body["statuscode"], body["name"]) == (state, status, "Closed")
        assert answer["is_certain"]
        assert system.shows(answer["documents"], wanted) == (True, True)
    assert requests(dynamics_365, "POST") == [f"POST {action}"]


def test_closing_what_is_closed_is_a_conflict(crm: System, dynamics_365: Dynamics365) -> None:
    row = opportunity(dynamics_365)
    document = read(crm, row)
    dynamics_365.fault(
        "status",
        "POST",
        "WinOpportunity",
        status=400,
        body={"error": {"code": "0x80040515", "message": "already closed"}},
    )

    answer = crm.write(update(document, {"statecode": 1, "statuscode": 3}))

    assert (answer["result"], answer["error"]["code"]) == ("conflict", "dynamics_365.already_closed")


def test_closing_whose_answer_is_lost_shows_only_when_it_closed(crm: System, dynamics_365: Dynamics365) -> None:
    row = opportunity(dynamics_365)
    wanted = update(read(crm, row), {"statecode": 1, "statuscode": 3})
    dynamics_365.fault("drop", "POST", "WinOpportunity")

    assert crm.write(wanted)["result"] == "unknown"
    answer = crm.read("opportunity", row["opportunityid"])
    # The marker stands, the closing does not.
    assert "[deal#1]" in answer["documents"][0]["body"][AUDIT]
    assert crm.shows(answer["documents"], wanted)[0] is False
    assert crm.write(wanted)["result"] == "conflict"

    again = update(answer["documents"][0], {"statecode": 1, "statuscode": 3}, 2)
    dynamics_365.fault("apply-then-drop", "POST", "WinOpportunity")
    assert crm.write(again)["result"] == "unknown"
    assert crm.shows(crm.read("opportunity", row["opportunityid"])["documents"], again) == (True, True)


def test_page_instead_of_the_closing_is_unknown(crm: System, dynamics_365: Dynamics365) -> None:
    document = read(crm, opportunity(dynamics_365))
    dynamics_365.fault("html", "POST", "WinOpportunity")

    assert crm.write(update(document, {"statecode": 1, "statuscode": 3}))["result"] == "unknown"


def test_throttled_closing_after_the_columns_is_unknown(crm: System, dynamics_365: Dynamics365) -> None:
    document = read(crm, opportunity(dynamics_365))
    dynamics_365.fault("status", "POST", "WinOpportunity", status=429, headers={"Retry-After": "3"})

    answer = crm.write(update(document, {"statecode": 1, "statuscode": 3}))

    assert (answer["result"], answer["retry_after_ms"]) == ("unknown", 3000)


def test_reopening(crm: System, dynamics_365: Dynamics365) -> None:
    row = opportunity(dynamics_365)
    closed = crm.write(update(read(crm, row), {"statecode": 2, "statuscode": 4}))["documents"][0]

    answer = crm.write(update(closed, {"statecode": 0, "statuscode": 1}, 2))

    assert answer["result"] == "done", answer
    assert (answer["documents"][0]["body"]["statecode"], answer["documents"][0]["body"]["statuscode"]) == (0, 1)


# --- End --------------------------------------------------------------------------------------------------------------


def test_write_whose_lease_is_lost_is_not_sent(crm: System, dynamics_365: Dynamics365) -> None:
    document = read(crm, opportunity(dynamics_365))
    dynamics_365.clear_journal()

    answer = crm.write(update(document, {"name": "B"}), may_send=False)

    assert (answer["result"], answer["status"]) == ("retry", 0)
    assert dynamics_365.journal() == []


def test_freeing_the_system_answers_what_is_under_way(crm: System, dynamics_365: Dynamics365) -> None:
    row = opportunity(dynamics_365)
    wanted = update(read(crm, row), {"name": "B"})
    dynamics_365.settings(request_duration_ms=3000)
    asked = [crm.tell(do="read", record_type="opportunity", record_id=row["opportunityid"]) for _ in range(3)]
    asked.append(crm.tell(do="write", decision=wanted))
    asked.append(crm.tell(do="write", decision=create(account_write("Alder & Finch"))))
    crm.trouble()

    assert crm.end() == 0

    assert [crm.answer(number)["result"] for number in asked[:3]] == ["retry"] * 3
    assert crm.answer(asked[3])["result"] in ("unknown", "retry")
    assert crm.answer(asked[4])["result"] == "retry"
