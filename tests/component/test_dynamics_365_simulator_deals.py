"""Holds the Dynamics 365 simulator to what a deal is made of: solutions, contact, owner and sales team, expanded as the
Web API does it, with labels, webhooks of child rows, and the admin routes that make and edit a deal as a whole."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote

import pytest

from dynamics_365_client import API, KEY, MISSING, SELLER, Receiver, Simulator, crm, process, settled

SOLUTIONS = "msft_opportunity_msft_microsoftsolution"
LABEL = "OData.Community.Display.V1.FormattedValue"
LABELS = f'odata.include-annotations="{LABEL}"'
NEXT = "@odata.nextLink"
FOUR_LOOKUPS = ("owninguser", "createdby", "modifiedby", "parentcontactid")
__all__ = ["crm", "process"]  # fixtures


@pytest.fixture(name="receiver")
def _receiver() -> Any:
    receiver = Receiver()
    yield receiver
    receiver.close()


def deal(crm: Simulator, **words: Any) -> dict[str, Any]:
    return crm.sim("POST", "opportunities", words)


def solution(identifier: str, price: float = 10.5, quantity: int = 1) -> dict[str, Any]:
    return {"id": identifier, "name": f"Product {identifier}", "type": "3P", "price": price, "quantity": quantity}


def below(crm: Simulator, link: str) -> str:
    """A link as the path of a request to the same service."""
    assert link.startswith(crm.url + API)
    return unquote(link.removeprefix(crm.url + API))


# Reading


def test_everything_the_rules_read_comes_in_one_request(crm: Simulator) -> None:
    made = deal(crm, help="proof of concept or demo ", intent="Yes", solutions=[solution("SOL-1"), solution("SOL-2")])
    expand = (
        "customerid_account($select=name,address1_country),transactioncurrencyid($select=isocurrencycode),"
        "parentcontactid($select=firstname,lastname,emailaddress1,telephone1),"
        "owninguser($select=firstname,lastname,internalemailaddress,address1_telephone1),"
        f"{SOLUTIONS}($select=msft_price,msft_quantity;"
        "$expand=msft_solutionid($select=msft_name,msft_solutionidentifier,msft_type))"
    )
    select = "name,msft_microsoftpartnercenterhelp,msft_customerpurchaseintent"
    row = crm.get(f"opportunities({made['id']})?$select={select}&$expand={expand}", Prefer=LABELS)
    assert row["customerid_account"]["address1_country"] == "DE"
    assert row["transactioncurrencyid"]["isocurrencycode"] == "EUR"
    assert row["parentcontactid"]["emailaddress1"] == "joerg.fahrplan@wingtip.example"
    assert (row["owninguser"]["firstname"], row["owninguser"]["lastname"]) == ("Jonas", "Weidlich")
    assert row["owninguser"]["internalemailaddress"] == "jonas.weidlich@nordlicht.example"
    assert row["owninguser"]["address1_telephone1"]
    assert row[f"msft_microsoftpartnercenterhelp@{LABEL}"] == "Proof Of Concept or Demo"
    assert row[f"msft_customerpurchaseintent@{LABEL}"] == "Yes"
    found = [(each["msft_price"], each["msft_solutionid"]["msft_solutionidentifier"]) for each in row[SOLUTIONS]]
    assert found == [(10.5, "SOL-1"), (10.5, "SOL-2")]
    assert row[SOLUTIONS][0]["msft_solutionid"][f"msft_type@{LABEL}"] == "3P"
    assert row["@odata.context"].endswith("msft_solutionid(msft_name,msft_solutionidentifier,msft_type)))/$entity")


def test_link_of_a_collection_repeats_it_where_nothing_is_nested(crm: Simulator) -> None:
    made = deal(crm, solutions=[solution("SOL-1", 1), solution("SOL-2", 2), solution("SOL-3", 3)])
    deal(crm, solutions=[])
    query = f"opportunities?$select=name&$orderby=createdon&$expand={SOLUTIONS}($select=msft_price)"
    full, empty = crm.get(query, Prefer="odata.maxpagesize=2")["value"]
    (one,) = [crm.get(f"opportunities({made['id']})?$select=name&$expand={SOLUTIONS}($select=msft_price)")]
    for row in (full, one):
        assert [each["msft_price"] for each in row[SOLUTIONS]] == [1, 2, 3]
        assert set(row[SOLUTIONS][0]) == {
            "@odata.etag",
            "msft_price",
            "_msft_opportunityid_value",
            "msft_microsoftsolutionid",
        }
        assert "skiptoken" not in row[SOLUTIONS + NEXT]
        again = crm.get(below(crm, row[SOLUTIONS + NEXT]))["value"]
        assert [each["msft_price"] for each in again] == [1, 2, 3]
    assert empty[SOLUTIONS] == [] and empty[SOLUTIONS + NEXT]


def test_collections_come_in_pages_where_something_is_nested(crm: Simulator) -> None:
    made = deal(crm, solutions=[solution(f"SOL-{number}", number) for number in range(5)])
    expand = f"{SOLUTIONS}($select=msft_price;$expand=msft_solutionid($select=msft_solutionidentifier))"
    row = crm.get(f"opportunities({made['id']})?$select=name&$expand={expand}", Prefer="odata.maxpagesize=2")
    seen, pages = row[SOLUTIONS], 1
    assert not any("@odata.etag" in each for each in seen)
    link = row.get(SOLUTIONS + NEXT)
    while link:
        page = crm.get(below(crm, link), Prefer="odata.maxpagesize=2")
        seen, pages, link = seen + page["value"], pages + 1, page.get(NEXT)
    identifiers = [each["msft_solutionid"]["msft_solutionidentifier"] for each in seen]
    assert (pages, identifiers) == (3, [f"SOL-{number}" for number in range(5)])


def test_nested_expansion_of_one_row_may_come_back_empty(crm: Simulator) -> None:
    made = deal(crm)
    path = f"opportunities({made['id']})?$expand={SOLUTIONS}($select=msft_price;$expand=msft_solutionid)"
    assert crm.get(path)[SOLUTIONS][0]["msft_solutionid"]["msft_solutionidentifier"] == "SOL-10001-AAA"
    crm.set(nested_expand_of_one_row="empty")
    assert crm.get(path)[SOLUTIONS][0]["msft_solutionid"] is None
    listed = crm.get(f"opportunities?$filter=opportunityid eq {made['id']}&{path.partition('?')[2]}")["value"][0]
    assert listed[SOLUTIONS][0]["msft_solutionid"]["msft_solutionidentifier"] == "SOL-10001-AAA"


def test_collections_are_filtered_ordered_and_cut(crm: Simulator) -> None:
    made = deal(crm, solutions=[solution("SOL-1", 3), solution("SOL-2", 1), solution("SOL-3", 2)])
    options = "$select=msft_price;$filter=msft_price gt 1;$orderby=msft_price desc;$top=1"
    row = crm.get(f"opportunities({made['id']})?$select=name&$expand={SOLUTIONS}({options})")
    assert [each["msft_price"] for each in row[SOLUTIONS]] == [3]
    path = f"opportunities({made['id']})/{SOLUTIONS}"
    found = crm.get(f"{path}?$filter=msft_solutionid/msft_solutionidentifier eq 'SOL-2'&$select=msft_quantity")
    assert [each["msft_quantity"] for each in found["value"]] == [1]


@pytest.mark.parametrize(
    "expand",
    [
        f"{SOLUTIONS}($select=nosuch)",
        f"{SOLUTIONS}($skip=1)",
        f"{SOLUTIONS}($top=1;$expand=msft_solutionid)",
        f"{SOLUTIONS}($orderby=msft_price),parentcontactid($expand=parentcustomerid_account)",
        f"parentcontactid($expand=opportunity_parent_contact($expand={SOLUTIONS}($top=1)))",
        "parentcontactid($filter=firstname eq 'x')",
        "parentcontactid($orderby=firstname)",
        "msft_opportunityid",
        ",".join(f"{name}($expand=createdby,modifiedby,modifiedonbehalfby)" for name in FOUR_LOOKUPS),
    ],
)
def test_expansions_the_service_does_not_do_are_refused(crm: Simulator, expand: str) -> None:
    made = deal(crm)
    reply = crm.call("GET", f"opportunities({made['id']})?$expand={expand}")
    assert (reply.status, reply.code) == (400, "0x80060888")


def test_expanded_tables_need_the_privilege_to_read_them(crm: Simulator) -> None:
    made = deal(crm)
    crm.set(missing_privileges=["prvReadmsft_MicrosoftSolution"])
    assert crm.call("GET", f"opportunities({made['id']})").status == 200
    reply = crm.call("GET", f"opportunities({made['id']})?$expand={SOLUTIONS}")
    assert (reply.status, reply.code) == (403, "0x80040220")


def test_sales_team_are_connections_to_users(crm: Simulator) -> None:
    colleague = {"firstname": "Ole", "lastname": "Brandt", "internalemailaddress": "ole.brandt@nordlicht.example"}
    made = deal(crm, team=["mira.holt@nordlicht.example", colleague])
    expand = (
        "opportunity_connections1($select=name;$expand=record2id_systemuser($select=fullname,internalemailaddress),"
        "record2roleid($select=name,category))"
    )
    row = crm.get(f"opportunities({made['id']})?$select=name&$expand={expand}")
    found = [
        (each["record2id_systemuser"]["fullname"], each["record2roleid"]["category"])
        for each in row["opportunity_connections1"]
    ]
    assert found == [("Mira Holt", 1001), ("Ole Brandt", 1001)]


# Choices


@pytest.mark.parametrize(
    ("column", "labels"),
    [
        (
            "msft_microsoftpartnercenterhelp",
            {
                "Workload Specific Value Proposition",
                "Customer Technical Architecture",
                "Proof Of Concept or Demo",
                "Quotes or Licensing",
                "Post Sales Customer Success",
                "General or Other",
            },
        ),
        ("msft_customerpurchaseintent", {"Yes", "No", "HaveNotDecided"}),
        ("msft_coselltype", {"IP Co-sell", "Services Co-sell"}),
    ],
)
def test_labels_of_a_choice_come_with_its_metadata(crm: Simulator, column: str, labels: set[str]) -> None:
    found = crm.get(
        f"EntityDefinitions(LogicalName='opportunity')/Attributes(LogicalName='{column}')"
        "/Microsoft.Dynamics.CRM.PicklistAttributeMetadata?$select=LogicalName"
        "&$expand=OptionSet($select=Options),GlobalOptionSet($select=Options)"
    )
    assert found["LogicalName"] == column and found["GlobalOptionSet"] is None
    options = {each["Label"]["UserLocalizedLabel"]["Label"]: each["Value"] for each in found["OptionSet"]["Options"]}
    assert set(options) == labels
    row = crm.opportunity(**{column: options[min(labels)]})
    address = f"opportunities({row['opportunityid']})"
    assert crm.get(f"{address}?$select={column}", Prefer=LABELS)[f"{column}@{LABEL}"] == min(labels)
    assert crm.call("PATCH", address, {column: min(labels)}).code == "0x80048d19"
    assert crm.call("PATCH", address, {column: 7}).code == "0x80061005"


def test_boolean_is_no_picklist(crm: Simulator) -> None:
    attribute = "Attributes(LogicalName='msft_microsoftpartnercenterreferralsync')/Microsoft.Dynamics.CRM."
    table = "EntityDefinitions(LogicalName='opportunity')/"
    assert crm.call("GET", f"{table}{attribute}PicklistAttributeMetadata?$expand=OptionSet").status == 404
    found = crm.get(f"{table}{attribute}BooleanAttributeMetadata?$expand=OptionSet")
    assert found["OptionSet"]["TrueOption"]["Value"] == 1


# Writing


def test_solutions_are_rows_of_their_own(crm: Simulator) -> None:
    detail = {"msft_name": "Hub", "msft_solutionidentifier": "SOL-9"}
    details = crm.call("POST", "msft_microsoftsolutiondetails", detail)
    assert details.status == 204
    row = crm.opportunity()
    body = {
        "msft_opportunityid@odata.bind": f"/opportunities({row['opportunityid']})",
        "msft_solutionid@odata.bind": "/msft_microsoftsolutiondetails(msft_solutionidentifier='SOL-9')",
        "msft_price": 99.95,
        "msft_quantity": 3,
    }
    made = crm.call("POST", "msft_microsoftsolutions", body, Prefer="return=representation").json
    assert made["msft_price"] == 99.95 and made["_transactioncurrencyid_value"] == row["_transactioncurrencyid_value"]
    assert crm.call("POST", "msft_microsoftsolutiondetails", detail).code == "0x80060892"
    assert crm.call("POST", "msft_microsoftsolutiondetails", {"msft_name": "x"}).code == "0x80040203"
    assert crm.call("DELETE", f"opportunities({row['opportunityid']})").status == 204
    assert crm.get("msft_microsoftsolutions")["value"] == []
    assert len(crm.get("msft_microsoftsolutiondetails")["value"]) == 1


def test_new_rows_may_be_nested_in_a_collection_or_nothing_is_made(crm: Simulator) -> None:
    item = {
        "msft_quantity": 2,
        "msft_solutionid": {"msft_name": "Nested", "msft_solutionidentifier": "SOL-N"},
    }
    row = crm.opportunity(**{SOLUTIONS: [item]})
    found = crm.get(f"opportunities({row['opportunityid']})/{SOLUTIONS}?$expand=msft_solutionid")["value"]
    assert [(each["msft_quantity"], each["msft_solutionid"]["msft_name"]) for each in found] == [(2, "Nested")]
    wrong = {"name": "undone", SOLUTIONS: [{"msft_quantity": 1}, {"msft_quantity": "many"}]}
    assert crm.call("POST", "opportunities", wrong).status == 400
    assert crm.call("PATCH", f"opportunities({row['opportunityid']})", {SOLUTIONS: [item]}).status == 400
    assert len(crm.get("opportunities")["value"]) == len(crm.get("msft_microsoftsolutions")["value"]) == 1


def test_child_rows_do_not_move_the_opportunity_unless_set(crm: Simulator) -> None:
    made = deal(crm)
    address = f"opportunities({made['id']})?$select=modifiedon"
    child = f"msft_microsoftsolutions({made['solutions'][0]['row']})"
    before = crm.get(address)["@odata.etag"]
    assert crm.call("PATCH", child, {"msft_quantity": 4}).status == 204
    assert crm.get(address)["@odata.etag"] == before
    crm.set(child_write_touches_parent=True)
    etags = [before]
    body = {"msft_opportunityid@odata.bind": f"/opportunities({made['id']})"}
    for method, path, content in (
        ("PATCH", child, {"msft_quantity": 5}),
        ("POST", "msft_microsoftsolutions", body),
        ("DELETE", child, None),
    ):
        assert crm.call(method, path, content).status == 204
        etags.append(crm.get(address)["@odata.etag"])
    assert len(set(etags)) == 4


def test_child_rows_raise_webhooks_of_their_own_table(crm: Simulator, receiver: Receiver) -> None:
    crm.sim("POST", "webhooks", {"url": receiver.url})
    made = deal(crm, solutions=[])
    receiver.wait(1)
    images = {"pre_image": "msft_opportunityid", "post_image": "msft_opportunityid"}
    crm.sim("POST", "webhooks", {"url": receiver.url, "table": "msft_microsoftsolution", **images})
    for quantity in (1, 2):
        crm.sim("PATCH", f"opportunities/{made['id']}", {"solutions": [solution("SOL-1", quantity=quantity)]})
    crm.sim("PATCH", f"opportunities/{made['id']}", {"solutions": []})
    receiver.wait(4)
    settled(crm)
    events = [json.loads(body) for _, _, body in receiver.requests[1:]]
    assert {each["PrimaryEntityName"] for each in events} == {"msft_microsoftsolution"}
    by_message = {each["MessageName"]: each for each in events}
    assert set(by_message) == {"Create", "Update", "Delete"} and len(events) == 3
    sent = {each["key"] for each in by_message["Update"]["InputParameters"][0]["value"]["Attributes"]}
    assert sent == {"msft_microsoftsolutionid", "msft_quantity", "modifiedon", "modifiedby", "modifiedonbehalfby"}
    for message, images_of in (
        ("Update", "PreEntityImages"),
        ("Delete", "PreEntityImages"),
        ("Create", "PostEntityImages"),
    ):
        image = {each["key"]: each["value"] for each in by_message[message][images_of][0]["value"]["Attributes"]}
        assert image["msft_opportunityid"]["Id"] == made["id"], message


def test_owner_is_sent_as_ownerid_and_owninguser_follows(crm: Simulator, receiver: Receiver) -> None:
    columns = {"filteringattributes": "owninguser", "messages": ["Update"]}
    crm.sim("POST", "webhooks", {"url": receiver.url, **columns})
    crm.sim("POST", "webhooks", {"url": receiver.url, **columns, "filteringattributes": "ownerid"})
    made = deal(crm)
    assert made["owner"]["systemuserid"] == SELLER
    owner = "mira.holt@nordlicht.example"
    changed = crm.sim("PATCH", f"opportunities/{made['id']}", {"owner": owner})
    assert changed["owner"]["internalemailaddress"] == owner
    assert changed["row"]["_owninguser_value"] == changed["row"]["_ownerid_value"] != SELLER
    receiver.wait(1)
    assert len(settled(crm)) == 1
    row = f"opportunities({made['id']})"
    assert crm.call("PATCH", row, {"owninguser@odata.bind": f"/systemusers({SELLER})"}).status == 400
    assert crm.call("PATCH", f"systemusers({SELLER})", {"firstname": "x"}).status == 501


# Change tracking


def test_child_rows_are_tracked_until_switched_off(crm: Simulator) -> None:
    made = deal(crm)
    path = "msft_microsoftsolutions?$select=msft_quantity,_msft_opportunityid_value"
    first = crm.get(path, Prefer="odata.track-changes")
    child = made["solutions"][0]["row"]
    crm.call("DELETE", f"msft_microsoftsolutions({child})")
    delta = crm.get(below(crm, first["@odata.deltaLink"]))
    assert [(each["id"], each["reason"]) for each in delta["value"]] == [(child, "deleted")]
    crm.set(untracked_tables=["msft_microsoftsolution"])
    assert crm.call("GET", path, Prefer="odata.track-changes").code == "0x80040203"
    assert crm.get("opportunities", Prefer="odata.track-changes")["@odata.deltaLink"]


def test_all_delta_links_can_be_made_to_expire(crm: Simulator) -> None:
    deal(crm)
    old = below(crm, crm.get("opportunities", Prefer="odata.track-changes")["@odata.deltaLink"])
    assert crm.call("GET", old).status == 200
    crm.sim("POST", "delta-links/expire")
    reply = crm.call("GET", old)
    assert (reply.status, reply.code) == (400, "0x80044352")
    new = crm.get("opportunities", Prefer="odata.track-changes")
    assert len(new["value"]) == 1
    assert crm.get(below(crm, new["@odata.deltaLink"]))["value"] == []


# The admin routes


def test_deal_is_complete_unless_told_otherwise(crm: Simulator) -> None:
    made = deal(crm)
    assert (made["sync"], made["visible"], made["help"], made["currency"]) == (False, False, None, "EUR")
    assert made["row"]["estimatedvalue"] == 48000 and made["row"]["estimatedclosedate"] == "2030-06-28"
    assert made["account"]["address1_country"] == "DE" and made["contact"]["telephone1"]
    assert made["contact"]["_parentcustomerid_value"] == made["account"]["accountid"]
    assert [(each["id"], each["price"], each["quantity"]) for each in made["solutions"]] == [
        ("SOL-10001-AAA", 1200, 10)
    ]
    assert made["row"]["_modifiedby_value"] == SELLER
    assert made == crm.sim("GET", f"opportunities/{made['id']}")
    nothing = dict.fromkeys(("name", "estimatedvalue", "estimatedclosedate", "currency", "account", "contact"))
    bare = deal(crm, **nothing, solutions=[])
    assert [bare[word] for word in ("currency", "account", "contact", "solutions")] == [None, None, None, []]
    assert bare["row"]["name"] is None and bare["row"]["estimatedvalue"] is None


def test_deal_shares_what_is_there_already(crm: Simulator) -> None:
    account = {"name": "Wingtip Trams GmbH", "address1_postalcode": "04109", "address1_country": "DE"}
    first = deal(crm, sync=True, visible=True, help="General or Other", account=account)
    second = deal(crm, account={**account, "address1_country": "Germany"}, solutions=[{"id": "SOL-10001-AAA"}])
    other = deal(crm, account={**account, "address1_postalcode": "04110"})
    assert (first["sync"], first["visible"], first["help"]) == (True, True, "General or Other")
    assert first["account"]["accountid"] == second["account"]["accountid"] != other["account"]["accountid"]
    assert second["account"]["address1_country"] == "Germany"
    assert first["contact"]["contactid"] == other["contact"]["contactid"]
    state = crm.sim("GET", "state")["rows"]
    counts = {
        name: len(state[name]) for name in ("opportunities", "accounts", "contacts", "msft_microsoftsolutiondetails")
    }
    assert counts == {"opportunities": 3, "accounts": 2, "contacts": 1, "msft_microsoftsolutiondetails": 1}


def test_edit_changes_only_what_differs(crm: Simulator, receiver: Receiver) -> None:
    made = deal(crm, solutions=[solution("SOL-1"), solution("SOL-2")], team=["mira.holt@nordlicht.example"])
    for table in ("opportunity", "msft_microsoftsolution", "contact", "connection"):
        crm.sim("POST", "webhooks", {"url": receiver.url, "table": table})
    path = f"opportunities/{made['id']}"
    same = {"name": made["row"]["name"], "solutions": [solution("SOL-2"), solution("SOL-1")], "currency": "EUR"}
    assert crm.sim("PATCH", path, same) == made
    assert settled(crm) == []
    lists = {"solutions": [solution("SOL-2", 7), solution("SOL-3")], "team": []}
    changed = crm.sim(
        "PATCH", path, {"description": "new", "contact": {"jobtitle": "CIO"}, "help": "Quotes or Licensing", **lists}
    )
    assert [(each["id"], each["price"]) for each in changed["solutions"]] == [("SOL-2", 7), ("SOL-3", 10.5)]
    assert changed["solutions"][0]["row"] == made["solutions"][1]["row"] and changed["team"] == []
    assert changed["contact"]["jobtitle"] == "CIO"
    found = sorted((each["PrimaryEntityName"], each["MessageName"]) for each in receiver.wait(6))
    assert found == [
        ("connection", "Delete"),
        ("contact", "Update"),
        ("msft_microsoftsolution", "Create"),
        ("msft_microsoftsolution", "Delete"),
        ("msft_microsoftsolution", "Update"),
        ("opportunity", "Update"),
    ]
    update = next(each for each in receiver.wait(6) if each["PrimaryEntityName"] == "opportunity")
    sent = {each["key"] for each in update["InputParameters"][0]["value"]["Attributes"]}
    assert {"description", "msft_microsoftpartnercenterhelp"} < sent and "name" not in sent


@pytest.mark.parametrize(
    "body",
    [
        {"help": "Everything"},
        {"currency": "XYZ"},
        {"account": "Wingtip"},
        {"account": {"address1_country": "DE"}},
        {"contact": {"nosuch": "x"}},
        {"owner": "nobody"},
        {"owner": {"firstname": "x"}},
        {"solutions": [{"identifier": "SOL-1"}]},
        {"solutions": "SOL-1"},
        {"sync": "yes"},
        {"nosuch": 1},
        {KEY: MISSING, "solutions": [{"id": "SOL-1", "quantity": -1}]},
    ],
)
def test_wrong_deals_are_refused_as_a_whole(crm: Simulator, body: dict[str, Any]) -> None:
    reply = crm.raw("POST", "/_sim/opportunities", json.dumps(body).encode())
    assert 400 <= reply.status < 500, reply.raw
    rows = crm.sim("GET", "state")["rows"]
    assert not any(rows[name] for name in ("opportunities", "accounts", "contacts", "msft_microsoftsolutions"))


def test_removed_rows_are_gone_with_what_belongs_to_them(crm: Simulator) -> None:
    made = deal(crm, team=["mira.holt@nordlicht.example"])
    crm.sim("DELETE", f"rows/msft_microsoftsolutions/{made['solutions'][0]['row']}")
    assert crm.sim("GET", f"opportunities/{made['id']}")["solutions"] == []
    crm.sim("DELETE", f"rows/opportunities/{made['id']}")
    assert crm.raw("GET", f"/_sim/opportunities/{made['id']}").status == 404
    state = crm.sim("GET", "state")["rows"]
    assert state["connections"] == [] and len(state["accounts"]) == 1
    assert re.fullmatch("[0-9a-f-]{36}", state["contacts"][0]["contactid"])
