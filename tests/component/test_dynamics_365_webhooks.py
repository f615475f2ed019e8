"""Holds the webhooks of the Dynamics 365 simulator to the Dataverse reference: which steps fire, what they send, what
is tried again."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dynamics_365_client import (
    APPLICATION_USER,
    EURO,
    KEY,
    MISSING,
    SELLER,
    Receiver,
    Reply,
    Simulator,
    crm,
    process,
    running,
    settled,
)
from support.tls import Authority

CONTRACTS = "http://schemas.microsoft.com/xrm/2011/Contracts"
__all__ = ["crm", "process"]  # fixtures


@pytest.fixture(name="receiver")
def _receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def attributes(entity: dict[str, Any]) -> dict[str, Any]:
    return {item["key"]: item["value"] for item in entity["Attributes"]}


def register_step(crm: Simulator, url: str, message: str, **columns: Any) -> Reply:
    """Registers endpoint and step through the Web API, as an integration does."""
    endpoint = {
        "name": "tandem",
        "contract": 8,
        "authtype": 5,
        "url": url,
        "authvalue": '<settings><setting name="x-webhook-key" value="k1" /></settings>',
    }
    made = crm.call("POST", "serviceendpoints", endpoint, Prefer="return=representation").json
    assert made["isauthvalueset"] is True and "authvalue" not in made
    message_id = crm.get(f"sdkmessages?$filter=name eq '{message}'")["value"][0]["sdkmessageid"]
    condition = f"_sdkmessageid_value eq {message_id} and primaryobjecttypecode eq 'opportunity'"
    message_filter = crm.get(f"sdkmessagefilters?$filter={condition}")["value"][0]["sdkmessagefilterid"]
    step = {
        "name": f"tandem: {message} of opportunity",
        "mode": 1,
        "stage": 40,
        "rank": 1,
        "eventhandler_serviceendpoint@odata.bind": f"/serviceendpoints({made['serviceendpointid']})",
        "sdkmessageid@odata.bind": f"/sdkmessages({message_id})",
        "sdkmessagefilterid@odata.bind": f"/sdkmessagefilters({message_filter})",
        **columns,
    }
    return crm.call("POST", "sdkmessageprocessingsteps", step, Prefer="return=representation")


def test_update_step_delivers_the_change_with_both_images(crm: Simulator, receiver: Receiver) -> None:
    reply = register_step(crm, receiver.url, "Update", filteringattributes="estimatedvalue,estimatedclosedate")
    step = reply.json["sdkmessageprocessingstepid"]
    image = {
        "name": "both",
        "imagetype": 2,
        "entityalias": "row",
        "attributes": "name,estimatedvalue,description",
        "messagepropertyname": "Target",
        "sdkmessageprocessingstepid@odata.bind": f"/sdkmessageprocessingsteps({step})",
    }
    assert crm.call("POST", "sdkmessageprocessingstepimages", image).status == 204
    row = crm.opportunity(estimatedvalue=185000)
    address = f"opportunities({row['opportunityid']})"
    crm.call("PATCH", address, {"closeprobability": 10})
    change = {
        "estimatedvalue": 210000,
        "estimatedclosedate": "2026-10-31",
        "description": None,
        "cosl_regions": "100000001",
    }
    assert crm.call("PATCH", f"{address}?tag=tandem", change, User_Agent="tandem-test").status == 204
    body = receiver.wait(1)[0]
    assert len(settled(crm)) == 1
    headers, _, raw = receiver.requests[0]
    assert headers["x-webhook-key"] == "k1"
    assert headers["x-ms-dynamics-organization"] == "nordlicht.crm4.dynamics.com"
    assert headers["x-ms-dynamics-entity-name"] == "opportunity"
    assert headers["x-ms-dynamics-request-name"] == "Update"
    assert headers["x-ms-correlation-request-id"] == body["CorrelationId"]
    assert headers["content-type"] == "application/json; charset=utf-8"
    assert "x-ms-dynamics-msg-size-exceeded" not in headers
    assert list(body) == sorted(body)
    assert b'"__type":"Entity:http:\\/\\/schemas.microsoft.com\\/xrm\\/2011\\/Contracts"' in raw
    assert b"\\/Date(1793404800000)\\/" in raw
    assert (body["InitiatingUserId"], body["Depth"], body["Mode"], body["Stage"]) == (APPLICATION_USER, 1, 1, 40)
    assert body["InitiatingUserAgent"] == "tandem-test" and body["ParentContext"] is None
    assert {"key": "tag", "value": "tandem"} in body["SharedVariables"]
    target = body["InputParameters"][0]["value"]
    assert list(attributes(target)) == [
        "opportunityid",
        "estimatedvalue",
        "estimatedclosedate",
        "description",
        "cosl_regions",
        "modifiedon",
        "modifiedby",
        "modifiedonbehalfby",
    ]
    assert attributes(target)["estimatedvalue"] == {"__type": f"Money:{CONTRACTS}", "Value": 210000.0}
    assert attributes(target)["description"] is None
    assert attributes(target)["cosl_regions"] == [{"__type": f"OptionSetValue:{CONTRACTS}", "Value": 100000001}]
    assert {"key": "estimatedvalue", "value": "€210,000.00"} in target["FormattedValues"]
    before, after = body["PreEntityImages"][0], body["PostEntityImages"][0]
    assert (before["key"], after["key"]) == ("row", "row")
    assert attributes(before["value"])["estimatedvalue"]["Value"] == 185000
    assert attributes(after["value"])["estimatedvalue"]["Value"] == 210000
    assert set(attributes(after["value"])) == {"opportunityid", "name", "estimatedvalue"}
    assert "__type" not in after["value"]
    assert int(after["value"]["RowVersion"]) > int(before["value"]["RowVersion"])


def test_create_and_delete_deliver_their_own_shapes(crm: Simulator, receiver: Receiver) -> None:
    crm.sim("POST", "webhooks", {"url": receiver.url, "messages": ["Create", "Delete"], "pre_image": f"name,{KEY}"})
    row = crm.sim("POST", "rows/opportunities", {"name": "n", KEY: "r1", "transactioncurrencyid@odata.bind": EURO})
    crm.sim("DELETE", f"rows/opportunities/{row['opportunityid']}")
    by_message = {body["MessageName"]: body for body in receiver.wait(2)}
    created, deleted = by_message["Create"], by_message["Delete"]
    assert created["OutputParameters"] == [{"key": "id", "value": row["opportunityid"]}]
    assert created["InitiatingUserId"] == SELLER
    values = attributes(created["InputParameters"][0]["value"])
    assert values["statecode"] == {"__type": f"OptionSetValue:{CONTRACTS}", "Value": 0}
    assert values["transactioncurrencyid"]["LogicalName"] == "transactioncurrency"
    assert deleted["InputParameters"][0]["value"]["__type"] == f"EntityReference:{CONTRACTS}"
    assert deleted["InputParameters"][0]["value"]["Id"] == row["opportunityid"]
    assert attributes(deleted["PreEntityImages"][0]["value"])[KEY] == "r1"
    assert deleted["PostEntityImages"] == []


@pytest.mark.parametrize(("fires", "expected"), [(True, ["Update", "Win"]), (False, ["Win"])])
def test_win_fires_its_own_message_and_by_setting_update(
    crm: Simulator, receiver: Receiver, fires: bool, expected: list[str]
) -> None:
    crm.set(update_step_fires_on_close=fires)
    hook = {"url": receiver.url, "messages": ["Update", "Win"], "filteringattributes": "statecode"}
    crm.sim("POST", "webhooks", hook)
    row = crm.opportunity(estimatedvalue=5)
    crm.sim("POST", f"rows/opportunities/{row['opportunityid']}/close", {"as": "won", "status": 3})
    bodies = receiver.wait(len(expected))
    settled(crm)
    assert sorted(body["MessageName"] for body in bodies) == expected
    win = next(body for body in bodies if body["MessageName"] == "Win")
    assert [item["key"] for item in win["InputParameters"]] == ["OpportunityClose", "Status"]
    if fires:
        update = next(body for body in bodies if body["MessageName"] == "Update")
        assert update["ParentContext"]["Stage"] == 30
    assert crm.sim("POST", f"rows/opportunities/{row['opportunityid']}/reopen")["statecode"] == 0


def test_columns_and_state_in_one_patch_fire_twice(crm: Simulator, receiver: Receiver) -> None:
    crm.sim("POST", "webhooks", {"url": receiver.url, "messages": ["Update"]})
    address = f"opportunities({crm.opportunity()['opportunityid']})"
    crm.call("PATCH", address, {"name": "x", "statuscode": 2})
    sent = [set(attributes(body["InputParameters"][0]["value"])) for body in receiver.wait(2)]
    assert {"name"} <= sent[0] | sent[1] and not any({"name", "statuscode"} <= one for one in sent)


@pytest.mark.parametrize(
    ("statuses", "attempts", "state"),
    [
        ([503], 2, "delivered"),
        ([502, 504], 2, "offline"),
        ([500], 1, "offline"),
        ([429], 1, "offline"),
        ([401], 1, "offline"),
    ],
)
def test_only_gateway_failures_are_tried_once_more(
    crm: Simulator, receiver: Receiver, statuses: list[int], attempts: int, state: str
) -> None:
    crm.set(delivery_interval_ms=10)
    receiver.statuses = list(statuses)
    crm.sim("POST", "webhooks", {"url": receiver.url, "messages": ["Create"]})
    crm.opportunity()
    (delivery,) = settled(crm)
    assert (len(delivery["attempts"]), delivery["state"]) == (attempts, state)
    assert len({body for _, _, body in receiver.requests}) == 1


def test_large_body_is_cut_to_the_identity_of_the_row(crm: Simulator, receiver: Receiver) -> None:
    hook = {"url": receiver.url, "messages": ["Update"], "pre_image": "", "post_image": ""}
    crm.sim("POST", "webhooks", hook)
    audit = "msft_microsoftpartnercenterreferralsyncaudit"
    row = crm.opportunity(**{audit: "x" * 100_000})
    crm.sim("PATCH", f"rows/opportunities/{row['opportunityid']}", {audit: "y" * 100_000})
    body = receiver.wait(1)[0]
    assert receiver.requests[0][0]["x-ms-dynamics-msg-size-exceeded"] == "true"
    assert [body[n] for n in ("InputParameters", "ParentContext", "PreEntityImages", "PostEntityImages")] == [None] * 4
    assert (body["PrimaryEntityName"], body["PrimaryEntityId"]) == ("opportunity", row["opportunityid"])


@pytest.mark.parametrize(
    ("hook", "query"),
    [({"authtype": 4, "authvalue": "a b"}, "code=a+b"), ({"authtype": 6, "settings": {"k": "v&w"}}, "k=v%26w")],
)
def test_secret_travels_in_the_query_for_the_other_kinds(
    crm: Simulator, receiver: Receiver, hook: dict[str, Any], query: str
) -> None:
    crm.sim("POST", "webhooks", {"url": receiver.url, "messages": ["Create"], **hook})
    crm.opportunity()
    receiver.wait(1)
    assert receiver.requests[0][1] == query


def test_refused_write_fires_nothing_and_bypassed_step_stays_silent(crm: Simulator, receiver: Receiver) -> None:
    step = crm.sim("POST", "webhooks", {"url": receiver.url, "messages": ["Create"]})["steps"]["Create"]
    crm.call("POST", "opportunities", {"name": "x", "nosuch": 1})
    crm.call("POST", "opportunities", {"name": "x"}, **{"MSCRM.BypassBusinessLogicExecutionStepIds": step})
    crm.call("POST", "opportunities", {"name": "y"})
    (delivery,) = settled(crm)
    assert attributes(json.loads(delivery["body"])["InputParameters"][0]["value"])["name"] == "y"


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"mode": 0}, 501, "0x80040219"),
        ({"stage": 20}, 400, "0x80040203"),
        ({"filteringattributes": "nosuch"}, 400, "0x80040203"),
        ({"eventhandler_serviceendpoint@odata.bind": f"/serviceendpoints({MISSING})"}, 404, "0x80040217"),
    ],
    ids=["synchronous", "before the operation", "unknown column", "no endpoint"],
)
def test_wrong_step_is_refused(crm: Simulator, change: dict[str, Any], status: int, code: str) -> None:
    reply = register_step(crm, "https://hooks.example/", "Update", **change)
    assert (reply.status, reply.code) == (status, code)
    assert crm.get("sdkmessageprocessingsteps")["value"] == []


def test_webhooks_trust_the_given_authority_only(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    server = authority.issue("receiver")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.cert, server.key)
    receiver = Receiver(context)
    try:
        for number, (options, state) in enumerate([(("--ca", str(authority.cert)), "delivered"), ((), "offline")]):
            directory = tmp_path / str(number)
            directory.mkdir()
            with running(directory, *options) as simulator:
                simulator.sim("POST", "webhooks", {"url": receiver.url, "messages": ["Create"]})
                simulator.sim("POST", "rows/opportunities", {"name": "x"})
                assert [delivery["state"] for delivery in settled(simulator)] == [state]
    finally:
        receiver.close()
    assert len(receiver.requests) == 1
