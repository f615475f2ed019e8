"""Holds the Dynamics 365 simulator to the behaviour of the Dataverse Web API, by plain requests and by the npm package
dynamics-web-api, a client that is not ours. Needs node and npm for the latter; `npm ci` goes into TANDEM_NPM_CACHE or
a directory of the test run."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import ssl
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from dynamics_365_client import (
    API,
    APPLICATION_USER,
    DEADLINE,
    KEY,
    MISSING,
    SECRET,
    SELLER,
    Reply,
    Simulator,
    crm,
    process,
    running,
)
from support.tls import Authority
from support.waiting import wait_until

CLIENT = Path(__file__).resolve().parent / "dynamics_web_api"
__all__ = ["crm", "process"]  # fixtures

# Tokens


@pytest.mark.parametrize(
    ("changes", "status", "error", "number"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client", 7000215),
        ({"client_secret": None}, 401, "invalid_client", 7000218),
        ({"client_id": MISSING}, 400, "unauthorized_client", 700016),
        ({"scope": "https://nordlicht.crm4.dynamics.com"}, 400, "invalid_scope", 70011),
        ({"scope": None}, 400, "invalid_scope", 900144),
        ({"scope": "https://elsewhere.example/.default"}, 400, "invalid_resource", 500011),
        ({"grant_type": "password"}, 400, "unsupported_grant_type", 70003),
        ({"tenant": MISSING}, 400, "invalid_request", 90002),
    ],
)
def test_wrong_token_requests_are_refused(
    crm: Simulator, changes: dict[str, str], status: int, error: str, number: int
) -> None:
    reply = crm.ask_token(**changes)
    assert (reply.status, reply.json["error"], reply.json["error_codes"]) == (status, error, [number])
    assert reply.json["error_description"].startswith(f"AADSTS{number}: ")
    assert {"timestamp", "trace_id", "correlation_id"} <= set(reply.json)


def test_token_expires_and_the_challenge_names_the_authority(crm: Simulator) -> None:
    crm.set(token_lifetime_seconds=1)
    token = crm.ask_token(scope="https://nordlicht.crm4.dynamics.com/.default").json
    assert (token["token_type"], token["expires_in"]) == ("Bearer", 1)
    crm.token = token["access_token"]
    assert crm.call("GET", "WhoAmI").status == 200
    wait_until(lambda: crm.call("GET", "WhoAmI").status == 401, DEADLINE, "expiry of the token")
    reply = crm.call("GET", "WhoAmI")
    assert reply.headers["www-authenticate"].startswith("Bearer authorization_uri=")
    assert reply.raw == b""


def test_valid_token_without_application_user_is_403(crm: Simulator) -> None:
    crm.set(application_user_exists=False)
    reply = crm.call("GET", "WhoAmI")
    assert (reply.status, reply.code) == (403, "0x80072560")


# Rows


def test_created_row_comes_back_with_defaults_and_computed_columns(crm: Simulator) -> None:
    row = crm.opportunity(estimatedvalue=185000, estimatedclosedate="2026-09-30", closeprobability=40)
    assert row["@odata.context"].endswith("$metadata#opportunities/$entity")
    assert row["@odata.etag"] == f'W/"{row["versionnumber"]}"'
    assert (row["statecode"], row["statuscode"], row["isrevenuesystemcalculated"]) == (0, 1, False)
    assert (row["estimatedvalue"], row["estimatedvalue_base"]) == (185000.0, 201650.0)
    assert row["estimatedclosedate"] == "2026-09-30"
    assert row["_ownerid_value"] == row["_modifiedby_value"] == APPLICATION_USER
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", row["modifiedon"])
    assert row["actualclosedate"] is None


def test_create_without_representation_names_the_row_in_a_header(crm: Simulator) -> None:
    reply = crm.call("POST", "leads", {"leadid": MISSING, "subject": "x", "firstname": "A", "lastname": "B"})
    assert (reply.status, reply.raw) == (204, b"")
    assert reply.headers["odata-entityid"] == f"{crm.url}{API}leads({MISSING})"
    assert crm.get(f"leads({MISSING})?$select=fullname")["fullname"] == "A B"
    again = crm.call("POST", "leads", {"leadid": MISSING, "subject": "y"})
    assert (again.status, again.code) == (412, "0x80040237")


def test_versions_grow_over_all_tables(crm: Simulator) -> None:
    versions = [crm.opportunity()["versionnumber"]]
    crm.call("POST", "leads", {"subject": "x"})
    versions.append(crm.opportunity()["versionnumber"])
    assert versions[1] > versions[0] + 1


def test_binds_take_relative_absolute_and_key_addresses(crm: Simulator) -> None:
    crm.call("POST", "accounts", {"accountid": MISSING, "name": "Alder & Finch", "accountnumber": "AF-20391"})
    for link in (
        f"/accounts({MISSING})",
        f"accounts({MISSING})",
        f"{API}accounts({MISSING})",
        f"{crm.url}{API}accounts({MISSING})",
        "/accounts(accountnumber='AF-20391')",
    ):
        row = crm.opportunity(**{"customerid_account@odata.bind": link})
        assert row["_customerid_value"] == MISSING
    address = f"opportunities({row['opportunityid']})"
    assert crm.call("PATCH", address, {"customerid_account@odata.bind": None}).status == 204
    assert crm.get(address)["_customerid_value"] is None
    assert crm.call("PUT", f"{address}/customerid_account/$ref", {"@odata.id": f"accounts({MISSING})"}).status == 204
    assert crm.get(f"{address}/customerid_account?$select=name")["name"] == "Alder & Finch"
    assert crm.call("DELETE", f"{address}/customerid_account/$ref").status == 204
    assert crm.get(address)["_customerid_value"] is None


def test_nested_row_is_created_with_its_parent_or_not_at_all(crm: Simulator) -> None:
    row = crm.opportunity(customerid_account={"name": "Brightwater"})
    assert crm.get(f"accounts({row['_customerid_value']})")["name"] == "Brightwater"
    reply = crm.call("POST", "opportunities", {"customerid_account": {"name": "Undone"}, "nosuch": 1})
    assert reply.status == 400
    assert crm.get("accounts?$filter=name eq 'Undone'")["value"] == []


def test_single_column_is_set_and_cleared(crm: Simulator) -> None:
    address = f"opportunities({crm.opportunity()['opportunityid']})"
    assert crm.call("PUT", f"{address}/stepname", {"value": "2-Develop"}).status == 204
    assert crm.get(f"{address}/stepname")["value"] == "2-Develop"
    assert crm.call("DELETE", f"{address}/stepname").status == 204
    assert crm.call("GET", f"{address}/stepname").status == 204


def test_money_may_come_back_with_ten_decimals(crm: Simulator) -> None:
    row = crm.opportunity(estimatedvalue=4990.126)
    crm.set(money_decimals=10)
    reply = crm.call("GET", f"opportunities({row['opportunityid']})?$select=estimatedvalue")
    assert b'"estimatedvalue":4990.1300000000' in reply.raw


def test_estimated_value_is_lost_while_it_is_computed(crm: Simulator) -> None:
    address = f"opportunities({crm.opportunity(estimatedvalue=5)['opportunityid']})"
    assert crm.call("PATCH", address, {"isrevenuesystemcalculated": True, "estimatedvalue": 7}).status == 204
    assert crm.get(address)["estimatedvalue"] == 5


def test_multiple_choice_is_a_list_of_codes(crm: Simulator) -> None:
    row = crm.opportunity(cosl_regions="100000003,100000000")
    assert row["cosl_regions"] == "100000000,100000003"
    address = f"opportunities({row['opportunityid']})?$select=cosl_regions"
    annotated = crm.get(address, Prefer='odata.include-annotations="OData.Community.Display.V1.FormattedValue"')
    assert annotated["cosl_regions@OData.Community.Display.V1.FormattedValue"] == "North; West"
    assert crm.call("PATCH", address.partition("?")[0], {"cosl_regions": "100000009"}).code == "0x80061005"
    assert crm.call("PATCH", address.partition("?")[0], {"cosl_regions": 100000001}).code == "0x80048d19"


def test_writes_for_another_user_tell_both(crm: Simulator) -> None:
    row = crm.call("POST", "opportunities", {"name": "x"}, MSCRMCallerID=SELLER, Prefer="return=representation").json
    assert (row["_modifiedby_value"], row["_modifiedonbehalfby_value"]) == (SELLER, APPLICATION_USER)
    assert crm.call("GET", "WhoAmI", MSCRMCallerID=MISSING).status == 403
    assert crm.get("WhoAmI")["UserId"] == APPLICATION_USER


def test_annotations_tell_labels_names_and_tables(crm: Simulator) -> None:
    account = crm.call("POST", "accounts", {"name": "Alder"}).headers["odata-entityid"]
    row = crm.opportunity(estimatedvalue=1234.5, **{"customerid_account@odata.bind": account})
    address = f"opportunities({row['opportunityid']})?$expand=customerid_account($select=name)"
    found = crm.get(address, Prefer='odata.include-annotations="*"')
    formatted = "@OData.Community.Display.V1.FormattedValue"
    assert found["estimatedvalue" + formatted] == "€1,234.50"
    assert found["statuscode" + formatted] == "In Progress"
    assert found["msft_microsoftpartnercenterreferralsync" + formatted] == "No"
    assert found["_customerid_value" + formatted] == "Alder"
    assert found["_customerid_value@Microsoft.Dynamics.CRM.associatednavigationproperty"] == "customerid_account"
    assert found["customerid_account"]["name"] == "Alder"
    assert not any("@" in name for name in crm.get(address) if not name.startswith("@"))


# Conditions and keys


def test_etag_guards_updates_and_reads(crm: Simulator) -> None:
    row = crm.opportunity()
    address, etag = f"opportunities({row['opportunityid']})", row["@odata.etag"]
    assert crm.call("GET", address, If_None_Match=etag).status == 304
    with_expansion = crm.call("GET", address + "?$expand=ownerid", If_None_Match=etag)
    assert with_expansion.status == 200
    changed = crm.call("PATCH", address, {"name": "b"}, If_Match=etag, Prefer="return=representation")
    assert changed.status == 200
    assert changed.headers["etag"] == changed.json["@odata.etag"] != etag
    assert changed.headers["preference-applied"] == "return=representation"
    assert crm.call("PATCH", address, {"name": "c"}, If_Match=etag).code == "0x80060882"
    assert crm.call("GET", address, If_None_Match=etag).status == 200
    assert crm.call("DELETE", address, If_Match=etag).status == 412
    assert crm.call("DELETE", address, If_Match=changed.json["@odata.etag"]).status == 204
    assert crm.call("GET", address).status == 404


@pytest.mark.parametrize("address", [f"opportunities({MISSING})", f"opportunities({KEY}='a''b')"])
def test_upsert_creates_then_updates(crm: Simulator, address: str) -> None:
    first = crm.call("PATCH", address, {"name": "a"}, Prefer="return=representation")
    second = crm.call("PATCH", address, {"name": "b", KEY: "a'b"}, Prefer="return=representation")
    assert (first.status, second.status) == (201, 200)
    assert first.json["opportunityid"] == second.json["opportunityid"]
    third = crm.call("PATCH", address, {"name": "c"})
    assert third.status == 204
    assert third.headers["odata-entityid"] == f"{crm.url}{API}{address}"
    assert crm.call("PATCH", address, {"name": "d"}, If_None_Match="*").code == "0x80040237"
    assert crm.get(address)["name"] == "c"


def test_key_in_the_body_wins_on_creation_and_is_dropped_on_update(crm: Simulator) -> None:
    created = crm.call("PATCH", f"opportunities({KEY}='url')", {KEY: "body"}, Prefer="return=representation")
    assert created.json[KEY] == "body"
    updated = crm.call("PATCH", f"opportunities({KEY}='body')", {KEY: "new"}, Prefer="return=representation")
    assert updated.json[KEY] == "body"


def test_create_only_with_alternate_key_follows_its_setting(crm: Simulator) -> None:
    crm.opportunity(**{KEY: "x"})
    answers = {}
    for behaviour in ("works", "ignored", "refused"):
        crm.set(if_none_match_with_alternate_key=behaviour)
        answers[behaviour] = crm.call("PATCH", f"opportunities({KEY}='x')", {"name": "y"}, If_None_Match="*").status
    assert answers == {"works": 412, "ignored": 204, "refused": 400}


def test_key_values_are_unique_and_free_again_after_deletion(crm: Simulator) -> None:
    row = crm.opportunity(**{KEY: "x"})
    reply = crm.call("POST", "opportunities", {KEY: "X"})
    assert (reply.status, reply.code) == (412, "0x80060892")
    other = crm.opportunity()
    assert crm.call("PATCH", f"opportunities({other['opportunityid']})", {KEY: "x"}).code == "0x80060892"
    crm.call("DELETE", f"opportunities({row['opportunityid']})")
    assert crm.call("PATCH", f"opportunities({other['opportunityid']})", {KEY: "x"}).status == 204


def test_loser_of_two_upserts_of_a_new_key_gets_a_duplicate_key(crm: Simulator) -> None:
    crm.set(upsert_race_window_ms=1000)
    replies: list[Reply] = []
    body = {"name": "x"}
    threads = [
        threading.Thread(target=lambda: replies.append(crm.call("PATCH", f"opportunities({KEY}='new')", body)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(reply.status for reply in replies) == [204, 412]
    assert next(reply.code for reply in replies if reply.status == 412) == "0x80060892"
    assert crm.call("PATCH", f"opportunities({KEY}='new')", body).status == 204
    assert len(crm.get("opportunities")["value"]) == 1


def test_duplicate_detection_is_off_unless_asked_for(crm: Simulator) -> None:
    assert crm.call("POST", "accounts", {"name": "Alder"}).status == 204
    asked = {"MSCRM.SuppressDuplicateDetection": "false"}
    reply = crm.call("POST", "accounts", {"name": "alder"}, **asked)
    assert (reply.status, reply.code) == (412, "0x80040333")
    crm.set(duplicate_detection_status=500)
    assert crm.call("POST", "accounts", {"name": "alder"}, **asked).status == 500
    assert crm.call("POST", "accounts", {"name": "alder"}).status == 204


# Queries


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        ("name eq 'A'", "a"),
        ("name ne 'a' and closeprobability ge 20", "bc"),
        ("not (name eq 'a' or name eq 'b')", "cd"),
        ("closeprobability gt 10 and closeprobability lt 30", "b"),
        ("closeprobability le 20", "ab"),
        ("closeprobability eq null", "d"),
        ("closeprobability ne null", "abc"),
        ("not (closeprobability eq 10)", "bcd"),
        ("contains(description,'x') and startswith(description,'y')", "b"),
        ("estimatedclosedate ge 2026-06-01", "bc"),
        ("modifiedon ge 2020-01-01T00:00:00Z", "abcd"),
        ("modifiedon lt 2020-01-01T00:00:00Z", ""),
        (f"_ownerid_value eq {APPLICATION_USER}", "abcd"),
        ("ownerid/fullname eq '# Tandem' and name eq 'd'", "d"),
        ("statecode eq 0 and isrevenuesystemcalculated eq false", "abcd"),
        ("transactioncurrencyid/isocurrencycode eq 'GBP'", ""),
        ("estimatedvalue gt 1.5", "c"),
    ],
)
def test_filter_keeps_the_rows_it_names(crm: Simulator, condition: str, names: str) -> None:
    crm.opportunity(name="a", closeprobability=10, description="x", estimatedclosedate="2026-05-31", estimatedvalue=1)
    crm.opportunity(name="b", closeprobability=20, description="yx", estimatedclosedate="2026-06-01")
    crm.opportunity(name="c", closeprobability=30, estimatedclosedate="2026-06-02", estimatedvalue=2)
    crm.opportunity(name="d")
    found = crm.get(f"opportunities?$select=name&$filter={condition}&$orderby=name")["value"]
    assert "".join(row["name"] for row in found) == names


def test_long_filters_are_read_and_deep_ones_refused(crm: Simulator) -> None:
    crm.opportunity(name="n599")
    condition = " or ".join(f"name eq 'n{number}'" for number in range(600))
    assert len(crm.get(f"opportunities?$select=name&$filter={condition}")["value"]) == 1
    reply = crm.call("GET", f"opportunities?$filter={'(' * 60}name eq 'x'{')' * 60}")
    assert (reply.status, reply.code) == (400, "0x80060888")


def test_pages_follow_links_built_from_the_host_header(crm: Simulator) -> None:
    for number in range(7):
        crm.opportunity(name=f"o{number}", closeprobability=number % 2)
    path = "opportunities?$select=name&$orderby=closeprobability desc,name&$count=true"
    names: list[str] = []
    pages = 0
    url = path
    while url:
        reply = crm.call("GET", url, Prefer="odata.maxpagesize=3", Host="crm.example:444")
        assert reply.headers["preference-applied"] == "odata.maxpagesize=3"
        assert reply.json["@odata.count"] == 7
        names += [row["name"] for row in reply.json["value"]]
        pages += 1
        link = reply.json.get("@odata.nextLink", "")
        assert not link or link.startswith(f"http://crm.example:444{API}opportunities?$select=name")
        url = link.removeprefix(f"http://crm.example:444{API}")
    assert (pages, names) == (3, ["o1", "o3", "o5", "o0", "o2", "o4", "o6"])
    assert [row["name"] for row in crm.get("opportunities?$select=name&$orderby=name desc&$top=2")["value"]] == [
        "o6",
        "o5",
    ]


def test_metadata_describes_columns_choices_and_keys(crm: Simulator) -> None:
    table = "EntityDefinitions(LogicalName='opportunity')"
    found = crm.get(f"{table}?$select=EntitySetName,IsOptimisticConcurrencyEnabled,ChangeTrackingEnabled")
    assert found["EntitySetName"] == "opportunities"
    name = crm.get(f"{table}/Attributes(LogicalName='name')/Microsoft.Dynamics.CRM.StringAttributeMetadata")
    assert name["MaxLength"] == 300
    money = crm.get(f"{table}/Attributes/Microsoft.Dynamics.CRM.MoneyAttributeMetadata?$select=LogicalName,Precision")
    assert {"estimatedvalue": 2}.items() <= {one["LogicalName"]: one["Precision"] for one in money["value"]}.items()
    status = crm.get(
        f"{table}/Attributes(LogicalName='statuscode')/Microsoft.Dynamics.CRM.StatusAttributeMetadata?$expand=OptionSet"
    )
    options = {
        one["Value"]: (one["State"], one["Label"]["UserLocalizedLabel"]["Label"])
        for one in status["OptionSet"]["Options"]
    }
    assert options[3] == (1, "Won") and options[5] == (2, "Out-Sold")
    keys = crm.get(f"{table}/Keys?$select=KeyAttributes,EntityKeyIndexStatus")["value"]
    assert [(key["KeyAttributes"], key["EntityKeyIndexStatus"]) for key in keys] == [([KEY], "Active")]
    assert crm.call("GET", f"{table}/Attributes?$select=MaxLength").status == 400
    assert crm.call("GET", "EntityDefinitions(LogicalName='nosuch')").status == 404


# Closing


def test_win_closes_with_an_activity_and_makes_the_row_read_only(crm: Simulator) -> None:
    row = crm.opportunity(estimatedvalue=100)
    address = f"opportunities({row['opportunityid']})"
    activity = {"subject": "Won", "actualrevenue": 90, "actualend": "2026-10-14", "opportunityid@odata.bind": address}
    assert crm.call("POST", "WinOpportunity", {"Status": 3, "OpportunityClose": activity}).status == 204
    won = crm.get(address)
    assert (won["statecode"], won["statuscode"], won["actualvalue"]) == (1, 3, 90)
    assert won["actualclosedate"] == "2026-10-14"
    closes = crm.get(f"opportunitycloses?$filter=_opportunityid_value eq {row['opportunityid']}")["value"]
    assert [(one["subject"], one["actualrevenue"], one["statecode"]) for one in closes] == [("Won", 90, 1)]
    again = crm.call("POST", "LoseOpportunity", {"Status": 4, "OpportunityClose": activity})
    assert (again.status, again.code) == (400, "0x80040515")
    assert crm.call("PATCH", address, {"name": "x"}).code == "0x80040515"
    assert crm.call("PATCH", address, {"statecode": 0, "statuscode": 1}).status == 204
    assert crm.call("PATCH", address, {"name": "x"}).status == 204
    crm.set(closed_opportunity_read_only=False)
    assert crm.call("PATCH", address, {"statecode": 2, "statuscode": 5}).status == 204
    assert crm.call("PATCH", address, {"name": "y"}).status == 204


def test_close_date_is_an_instant_by_setting(crm: Simulator) -> None:
    crm.set(opportunityclose_actualend="datetime")
    address = f"opportunities({crm.opportunity()['opportunityid']})"
    activity = {"subject": "Lost", "opportunityid@odata.bind": address}
    bad = {"Status": 4, "OpportunityClose": {**activity, "actualend": "2026-10-14"}}
    assert crm.call("POST", "LoseOpportunity", bad).status == 400
    good = {"Status": 4, "OpportunityClose": {**activity, "actualend": "2026-10-14T23:30:00Z"}}
    assert crm.call("POST", "LoseOpportunity", good).status == 204
    assert crm.get(address)["actualclosedate"] == "2026-10-14"


# Change tracking


def test_delta_link_gives_each_change_once_and_deletions(crm: Simulator) -> None:
    kept, gone = crm.opportunity(name="kept"), crm.opportunity(name="gone")
    first = crm.call("GET", "opportunities?$select=name", Prefer="odata.track-changes")
    assert first.headers["preference-applied"] == "odata.track-changes"
    assert len(first.json["value"]) == 2
    for name in ("b", "c"):
        crm.call("PATCH", f"opportunities({kept['opportunityid']})", {"name": name})
    crm.call("DELETE", f"opportunities({gone['opportunityid']})")
    link = first.json["@odata.deltaLink"].removeprefix(crm.url + API)
    assert re.search(r"\$deltatoken=\d+%21", link)
    delta = crm.get(link)
    assert delta["@odata.context"].endswith("#opportunities(name)/$delta")
    changed, deleted = delta["value"]
    assert (changed["name"], changed["opportunityid"]) == ("c", kept["opportunityid"])
    assert deleted == {
        "@odata.context": f"{crm.url}{API}$metadata#opportunities/$deletedEntity",
        "id": gone["opportunityid"],
        "reason": "deleted",
    }
    assert crm.get(delta["@odata.deltaLink"].removeprefix(crm.url + API))["value"] == []


def test_rows_changed_between_pages_of_a_tracked_read_are_not_lost(crm: Simulator) -> None:
    rows = [crm.opportunity(name=f"o{number}") for number in range(4)]
    page = crm.get("opportunities?$select=name", Prefer="odata.track-changes,odata.maxpagesize=3")
    crm.call("PATCH", f"opportunities({rows[0]['opportunityid']})", {"name": "changed"})
    crm.call("DELETE", f"opportunities({rows[1]['opportunityid']})")
    last = crm.get(page["@odata.nextLink"].removeprefix(crm.url + API), Prefer="odata.maxpagesize=3")
    delta = crm.get(last["@odata.deltaLink"].removeprefix(crm.url + API))
    assert "changed" in [row.get("name") for row in delta["value"]]
    assert rows[1]["opportunityid"] in [row.get("id") for row in delta["value"]]


def test_delta_link_expires(crm: Simulator) -> None:
    crm.opportunity()
    link = crm.get("opportunities", Prefer="odata.track-changes")["@odata.deltaLink"].removeprefix(crm.url + API)
    crm.set(delta_token_lifetime_seconds=0.0)
    wait_until(lambda: crm.call("GET", link).status == 400, DEADLINE, "expiry of the delta link")
    assert crm.call("GET", link).code == "0x80044352"
    crm.set(expired_delta_status=410, expired_delta_code="")
    assert (crm.call("GET", link).status, crm.call("GET", link).code) == (410, "")


# Batches and bulk actions


def batch(*parts: str, boundary: str = "b1", end: str = "\r\n") -> bytes:
    text = "".join(f"--{boundary}\n{part}\n" for part in parts) + f"--{boundary}--\n"
    return text.replace("\n", end).encode()


def request_part(line: str, body: Any = None, content_id: str = "", headers: str = "") -> str:
    identifier = f"Content-ID: {content_id}\n" if content_id else ""
    head = f"Content-Type: application/http\nContent-Transfer-Encoding: binary\n{identifier}\n{line} HTTP/1.1\n"
    if body is not None:
        headers += "Content-Type: application/json; type=entry\n"
    return f"{head}{headers}\n{json.dumps(body) if body is not None else ''}"


def change_set(*parts: str) -> str:
    inner = "".join(f"--c1\n{part}\n" for part in parts)
    return f"Content-Type: multipart/mixed; boundary=c1\n\n{inner}--c1--"


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_batch_performs_change_sets_and_single_requests(crm: Simulator, end: str) -> None:
    content = b"\r\n" + batch(
        change_set(
            request_part(f"POST {API}accounts", {"name": "Alder"}, "1"),
            request_part("POST opportunities", {"name": "x", "customerid_account@odata.bind": "$1"}, "2"),
            request_part("PATCH $2", {"description": "y"}, "3", "If-Match: *\n"),
        ),
        request_part(f"GET {crm.url}{API}opportunities?$select=description&$expand=customerid_account($select=name)"),
        end=end,
    )
    reply = crm.call("POST", "$batch", content, Content_Type='multipart/mixed;boundary="b1"')
    text = reply.raw.decode()
    assert reply.status == 200
    assert text.startswith("--batchresponse_") and "\r\n--changesetresponse_" in text
    assert text.count("HTTP/1.1 204 No Content") == 3 and text.count("HTTP/1.1 200 OK") == 1
    assert [line for line in text.splitlines() if line.startswith("Content-ID")] == [
        f"Content-ID: {number}" for number in (1, 2, 3)
    ]
    found = json.loads(next(line for line in text.splitlines() if line.startswith('{"@odata.context')))
    assert [(one["description"], one["customerid_account"]["name"]) for one in found["value"]] == [("y", "Alder")]


def test_failing_change_set_is_undone_and_ends_the_batch(crm: Simulator) -> None:
    parts = (
        change_set(
            request_part("POST accounts", {"name": "undone"}, "1"),
            request_part("POST accounts", {"nosuch": 1}, "2"),
        ),
        request_part("POST accounts", {"name": "after"}),
    )
    kind = {"Content_Type": "multipart/mixed; boundary=b1"}
    reply = crm.call("POST", "$batch", batch(*parts), **kind)
    assert reply.status == 400
    assert reply.raw.count(b"HTTP/1.1 ") == 1 and b"0x80048d19" in reply.raw
    assert crm.get("accounts")["value"] == []
    reply = crm.call("POST", "$batch", batch(*parts), Prefer="odata.continue-on-error", **kind)
    assert reply.status == 200
    assert [row["name"] for row in crm.get("accounts")["value"]] == ["after"]


@pytest.mark.parametrize(
    ("content", "settings"),
    [
        (batch(change_set(request_part("GET accounts", content_id="1"))), {}),
        (batch(change_set(request_part("PATCH $9", {"name": "x"}, "1"))), {}),
        (batch(change_set(request_part("POST accounts", {"name": "x"}))), {"batch_requires_content_id": True}),
        (batch(request_part("POST accounts", {"name": "x"}), end="\n"), {"batch_requires_crlf": True}),
        (batch(request_part("POST $batch", {})), {}),
        (batch(request_part("POST accounts", {"name": "x"}))[:-6], {}),
    ],
    ids=["GET in a change set", "unknown reference", "no Content-ID", "bare LF", "nested batch", "no end"],
)
def test_wrong_batch_is_refused(crm: Simulator, content: bytes, settings: dict[str, Any]) -> None:
    crm.set(**settings)
    reply = crm.call("POST", "$batch", content, Content_Type="multipart/mixed; boundary=b1")
    assert reply.status == 400
    assert b"0x80048d19" in reply.raw
    assert crm.get("accounts")["value"] == []


def test_bulk_actions_do_all_or_nothing(crm: Simulator) -> None:
    kind = {"@odata.type": "Microsoft.Dynamics.CRM.opportunity"}
    action = "opportunities/Microsoft.Dynamics.CRM."
    made = crm.call("POST", action + "CreateMultiple", {"Targets": [{**kind, "name": n} for n in "ab"]})
    assert made.status == 200 and made.json["@odata.context"].endswith("#Microsoft.Dynamics.CRM.CreateMultipleResponse")
    first, second = made.json["Ids"]
    targets = [{**kind, "opportunityid": first, "name": "c"}, {**kind, "opportunityid": MISSING, "name": "d"}]
    reply = crm.call("POST", action + "UpdateMultiple", {"Targets": targets})
    assert (reply.status, reply.code) == (404, "0x80040217")
    assert crm.get(f"opportunities({first})")["name"] == "a"
    targets = [
        {**kind, "@odata.id": f"opportunities({KEY}='k')", "name": "new"},
        {**kind, "opportunityid": second, "name": "changed"},
    ]
    assert crm.call("POST", action + "UpsertMultiple", {"Targets": targets}).status == 204
    assert crm.get(f"opportunities({KEY}='k')")["name"] == "new"
    assert crm.get(f"opportunities({second})")["name"] == "changed"


# Service protection and faults


def test_request_count_is_limited_until_the_window_has_moved(crm: Simulator) -> None:
    crm.set(limit_requests=3, limit_window_seconds=2.0)
    statuses = [crm.call("GET", "WhoAmI").status for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    reply = crm.call("GET", "WhoAmI")
    assert reply.code == "0x80072322"
    deadline = time.monotonic() + DEADLINE
    while reply.status == 429:
        assert time.monotonic() < deadline
        time.sleep(int(reply.headers["retry-after"]))  # asking sooner would prolong the wait
        reply = crm.call("GET", "WhoAmI")


def test_execution_time_is_limited(crm: Simulator) -> None:
    crm.set(limit_execution_ms=50, request_duration_ms=60, retry_after_seconds=7)
    assert crm.call("GET", "WhoAmI").status == 200
    reply = crm.call("GET", "WhoAmI")
    assert (reply.status, reply.code, reply.headers["retry-after"]) == (429, "0x80072321", "7")


def test_concurrency_is_limited(crm: Simulator) -> None:
    crm.set(limit_concurrency=2, request_duration_ms=1000)
    replies: list[Reply] = []
    threads = [threading.Thread(target=lambda: replies.append(crm.call("GET", "WhoAmI"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(reply.status for reply in replies) == [200, 200, 429, 429]
    assert {reply.code for reply in replies if reply.status == 429} == {"0x80072326"}


def test_fault_answers_with_the_body_of_its_status(crm: Simulator) -> None:
    for status, code in ((503, "0x80044151"), (429, "0x80072322"), (401, None), (500, "0x80040216")):
        headers = {"Retry-After": "3"} if status == 429 else {}
        crm.sim("POST", "faults", {"match": {}, "action": "status", "status": status, "headers": headers, "times": 1})
        reply = crm.call("GET", "WhoAmI")
        assert (reply.status, reply.code) == (status, code)
    crm.sim("POST", "faults", {"match": {"path": "/token$"}, "action": "status", "status": 503, "times": 1})
    assert crm.ask_token().json["error"] == "temporarily_unavailable"
    assert crm.call("GET", "WhoAmI").status == 200


def test_fault_may_apply_a_write_and_lose_its_answer(crm: Simulator) -> None:
    fault = {"match": {"method": "PATCH", "path": "opportunities"}, "action": "apply-then-drop", "times": 1}
    crm.sim("POST", "faults", fault)
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        crm.call("PATCH", f"opportunities({MISSING})", {"name": "lost answer"})
    assert crm.get(f"opportunities({MISSING})")["name"] == "lost answer"
    journal = crm.sim("GET", "journal")["entries"]
    assert journal[-2]["fault"] == "apply-then-drop"
    assert crm.token not in json.dumps(journal) and SECRET not in json.dumps(journal)


# The independent client


def without_proxies() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


def install_client(fallback: Path) -> Path:
    """A directory with the client and what it needs, by npm ci from the lock file; kept when a cache is named."""
    directory = Path(os.environ.get("TANDEM_NPM_CACHE", str(fallback))) / "dynamics_web_api"
    directory.mkdir(parents=True, exist_ok=True)
    lock = CLIENT / "package-lock.json"
    installed = directory / "package-lock.json"
    if not (directory / "node_modules").exists() or installed.read_bytes() != lock.read_bytes():
        for name in ("package.json", "package-lock.json"):
            shutil.copy(CLIENT / name, directory / name)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=directory, check=True, capture_output=True, timeout=300)
    shutil.copy(CLIENT / "check.js", directory / "check.js")
    return directory


def test_independent_client_understands_the_simulator_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    server = authority.issue("server")
    client = install_client(tmp_path / "npm")
    context = ssl.create_default_context(cafile=str(authority.cert))
    with running(tmp_path, "--cert", str(server.cert), "--key", str(server.key), context=context) as simulator:
        token = simulator.ask_token().json["access_token"]
        environment = {
            **without_proxies(),
            "BASE_URL": simulator.url,
            "TOKEN": token,
            "NODE_EXTRA_CA_CERTS": str(authority.cert),
        }
        command = ["node", "check.js"]
        run = subprocess.run(command, cwd=client, env=environment, capture_output=True, text=True, timeout=120)
    steps = re.findall(r"^    async (\w+)\(\)", (CLIENT / "check.js").read_text(), re.MULTILINE)
    assert (run.returncode, run.stdout.split()) == (0, steps), run.stderr
