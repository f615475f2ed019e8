"""Referrals of the Partner Center simulator: making, changing, listing them, and Microsoft's side of a deal."""

from __future__ import annotations

import http.client
import json
import urllib.parse
import uuid
from typing import Any

import pytest

from partner_center_client import REFERRAL_MEMBERS, Client, Receiver, deal, pc, process, receiver, tls, wait_for

__all__ = ["pc", "process", "receiver", "tls"]  # fixtures

MICROSOFT = [{"type": "BusinessProfileLocation", "id": "msft"}]
DETAILS: dict[str, Any] = deal()["details"]
CUSTOMER: dict[str, Any] = deal()["customerProfile"]
CONTACT: dict[str, Any] = CUSTOMER["team"][0]


# Creating


def test_created_deal_is_active_and_complete(pc: Client) -> None:
    answer = pc.api("POST", body=deal(status="New", substatus="Pending"))
    assert answer.status == 201
    assert set(answer.json) == REFERRAL_MEMBERS | {"@odata.context"}
    assert (answer.json["status"], answer.json["substatus"]) == ("Active", "Accepted")
    assert answer.json["direction"] == "Outgoing" and answer.json["acceptedDateTime"]
    assert answer.json["details"]["dealValue"] == 1234.5
    assert answer.json["details"]["closingDateTime"] == "2031-05-01T00:00:00Z"
    assert answer.json["eTag"].startswith('"') and answer.json["eTag"].endswith('"')
    assert pc.api("GET", f"/{answer.json['id']}").json == answer.json
    pc.settings(create_status=200)
    assert pc.api("POST", body=deal()).status == 200


@pytest.mark.parametrize("name", ["type", "customerProfile", "consent", "details"])
def test_create_needs_the_documented_members(pc: Client, name: str) -> None:
    pc.settings(create_validation="documented")
    body = deal()
    del body[name]
    answer = pc.api("POST", body=body)
    assert (answer.status, answer.json["error"]["code"], answer.json["error"]["target"]) == (
        400,
        "invalidRequest",
        "referral",
    )
    assert name in answer.json["error"]["innerError"]["message"]
    assert pc.find().json["value"] == []


@pytest.mark.parametrize(
    "change",
    [
        {"team": []},
        {"name": ""},
        {"type": "Invitation"},
        {"eTag": '"1"'},
        {"details": {"dealValue": "much", "currency": "EUR", "closingDateTime": "2031-05-01T00:00:00Z"}},
        {"customerProfile": {"name": "Litware", "address": {"country": "Portugal"}}},
        {"target": [{"type": "BusinessProfileLocation", "id": "msft"}]},
        {"engagementId": "e0000001-0a1b-4c2d-8e3f-00000000ffff"},
        {"details": DETAILS | {"dealValue": 0}},
        {"details": DETAILS | {"dealValue": "0.00"}},
        {"details": DETAILS | {"dealValue": None}},
        {"details": DETAILS | {"dealValue": 1e300}},
        {"details": DETAILS | {"currency": None}},
        {"details": DETAILS | {"currency": "Euro"}},
        {"details": DETAILS | {"closingDateTime": None}},
        {"details": DETAILS | {"closingDateTime": "2031-05-01"}},
        {"details": DETAILS | {"requirements": {"solutions": []}}},
        {"details": DETAILS | {"requirements": {"solutions": [{"id": "SOL-1", "price": -1}]}}},
        {"details": DETAILS | {"requirements": {"solutions": [{"id": "SOL-1", "quantity": 1.5}]}}},
        {"customerProfile": {"name": "Litware", "address": {"country": None}}},
        {"customerProfile": {"name": "Litware", "address": {"country": "pt"}}},
        {"customerProfile": CUSTOMER | {"team": []}},
        {"customerProfile": CUSTOMER | {"team": [CONTACT | {"phoneNumber": " "}]}},
        {"customerProfile": CUSTOMER | {"team": [CONTACT | {"email": None}]}},
        {"team": [CONTACT | {"lastName": ""}]},
        {"consent": {"consentToContact": True}},
    ],
)
def test_create_refuses(pc: Client, change: dict[str, Any]) -> None:
    answer = pc.api("POST", body=deal(**change))
    assert (answer.status, answer.json["error"]["code"]) == (400, "invalidRequest")
    assert answer.json["error"]["innerError"]["message"]
    assert pc.find().json["value"] == []


def test_deal_without_help_needs_no_contact_that_can_be_called(pc: Client) -> None:
    quiet = {"inviteContext": None, "type": "Independent", "target": []}
    for team in ([], [CONTACT | {"phoneNumber": None}]):
        assert pc.api("POST", body=deal(customerProfile=CUSTOMER | {"team": team}, **quiet)).status == 201
    own = deal()["team"][0] | {"phoneNumber": None}
    assert pc.api("POST", body=deal(team=[own], **quiet)).status == 201
    without_phone = deal(customerProfile=CUSTOMER | {"team": [CONTACT | {"phoneNumber": None}]})
    assert pc.api("POST", body=without_phone).status == 400
    pc.settings(contact_phone=False)
    assert pc.api("POST", body=without_phone).status == 201
    pc.settings(team_phone=True)
    assert pc.api("POST", body=deal(team=[own], **quiet)).status == 400


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("48000.10", "48000.10"),
        ('"48000.10"', "48000.10"),
        ("90071992547409.93", "90071992547409.93"),
        ("0.1", "0.1"),
        ("5", "5.0"),
        ("1e3", "1000.0"),
    ],
)
def test_money_keeps_every_digit(pc: Client, text: str, shown: str) -> None:
    body = json.dumps(deal()).replace('"1234.50"', text)
    made = pc.api("POST", body=body)
    assert made.status == 201 and f'"dealValue":{shown},'.encode() in made.body
    patch = '[{"op":"replace","path":"/details/dealValue","value":%s}]'
    assert pc.api("PATCH", f"/{made.json['id']}", patch % "7").status == 204
    changed = pc.api("PATCH", f"/{made.json['id']}", patch % text, Prefer="return=representation")
    assert f'"dealValue":{shown},'.encode() in changed.body
    assert f'"dealValue":{shown},'.encode() in pc.find().body
    solutions = '[{"op":"replace","path":"/details/requirements/solutions","value":[{"id":"SOL-1","price":%s}]}]'
    assert pc.api("PATCH", f"/{made.json['id']}", solutions % text).status == 204
    assert f'"price":{shown}'.encode() in pc.api("GET", f"/{made.json['id']}").body


def test_created_deal_survives_a_lost_answer(pc: Client) -> None:
    pc.settings(list_lag_ms=150)
    pc.fault("POST", "/referrals$", "apply-then-drop")
    with pytest.raises((http.client.HTTPException, OSError)):
        pc.api("POST", body=deal(externalReferenceId="crm-lost"))
    assert pc.find(orderby="createdDateTime desc").json["value"] == []
    wait_for(lambda: pc.find(orderby="createdDateTime desc").json["value"], "the list to catch up")
    (found,) = pc.find(orderby="createdDateTime desc").json["value"]
    assert found["externalReferenceId"] == "crm-lost"
    pc.fault("POST", "/referrals$", "drop")
    with pytest.raises((http.client.HTTPException, OSError)):
        pc.api("POST", body=deal(externalReferenceId="crm-never"))
    assert len(pc.sim("GET", "state")["referrals"]) == 1


def test_invitation_survives_a_lost_answer(pc: Client) -> None:
    ours = pc.api("POST", body=deal()).json
    pc.fault("POST", "/referrals$", "apply-then-drop")
    with pytest.raises((http.client.HTTPException, OSError)):
        pc.api("POST", body=deal(engagementId=ours["engagementId"], target=MICROSOFT))
    parties = pc.sim("GET", f"engagements/{ours['engagementId']}")
    assert [each["id"] for each in parties["own"]] == [ours["id"]]
    (theirs,) = parties["microsoft"]
    found = pc.find(filter=f"engagementId eq '{ours['engagementId']}'").json["value"]
    assert {each["id"] for each in found} == {ours["id"], theirs["id"]}
    assert pc.call("GET", f"/_sim/engagements/{uuid.uuid4()}").status == 404


def test_second_post_brings_microsoft_into_the_engagement(pc: Client, receiver: Receiver) -> None:
    ours = pc.api("POST", body=deal()).json
    target = [{"type": "BusinessProfileLocation", "id": "msft"}]
    theirs = pc.api("POST", body=deal(engagementId=ours["engagementId"], target=target)).json
    assert (theirs["organizationId"], theirs["status"], theirs["substatus"]) == ("msft", "New", "Pending")
    assert theirs["engagementId"] == ours["engagementId"] and theirs["expirationDateTime"]
    found = pc.find(filter=f"engagementId eq '{ours['engagementId']}'").json
    assert found["@odata.count"] == 2 and {each["id"] for each in found["value"]} == {ours["id"], theirs["id"]}
    assert [each["id"] for each in pc.find().json["value"]] == [ours["id"]]
    wait_for(lambda: len(receiver.events) == 2, "both events")
    assert sorted(receiver.names()) == ["referral-created", "related-referral-created"]


def test_invitation_upgrades_a_private_deal(pc: Client) -> None:
    ours = pc.make("private")
    target = [{"type": "BusinessProfileLocation", "id": "msft"}]
    assert pc.api("POST", body=deal(engagementId=ours["engagementId"], target=target)).status == 201
    now = pc.api("GET", f"/{ours['id']}").json
    assert now["type"] == "Shared" and now["consent"]["consentToShareReferralWithMicrosoftSellers"] is True


def test_private_deal_becomes_partner_led_then_cosell_and_never_goes_back(pc: Client, receiver: Receiver) -> None:
    consent = "/consent/consentToShareReferralWithMicrosoftSellers"
    hidden = deal()["consent"] | {"consentToShareReferralWithMicrosoftSellers": False}
    body = deal(type="Independent", target=[], inviteContext=None, consent=hidden)
    ours = pc.api("POST", body=body).json
    assert (ours["type"], ours["inviteContext"]) == ("Independent", None)
    invitation = deal(engagementId=ours["engagementId"], target=MICROSOFT)
    pc.settings(invite_private="refuse", invite_needs_help=True)
    assert pc.api("POST", body=invitation).status == 400
    assert pc.patch(ours["id"], (consent, True)).status == 204
    assert pc.api("POST", body=invitation | {"inviteContext": None}).status == 400
    assert pc.api("POST", body=invitation | {"type": "Independent"}).status == 400
    theirs = pc.api("POST", body=invitation)
    assert theirs.status == 201
    now = pc.api("GET", f"/{ours['id']}").json
    assert (now["type"], now["inviteContext"]["assistanceRequestCode"]) == ("Shared", "ProofOfConceptOrDemo")
    assert now["target"] == [] and now["status"] == "Active"
    assert pc.patch(ours["id"], (consent, False)).status == 400
    assert pc.patch(ours["id"], ("/type", "Independent")).status == 400
    wait_for(lambda: "related-referral-created" in receiver.names(), "the event of Microsoft's referral")
    pc.settings(second_invite="409")
    assert pc.api("POST", body=invitation).status == 409
    assert pc.patch(ours["id"], ("/status", "Closed"), ("/substatus", "Won")).status == 204
    pc.settings(second_invite="duplicate")
    assert pc.api("POST", body=invitation).status == 400


def test_contacts_of_a_deal_that_microsoft_helps_with_can_be_settled(pc: Client) -> None:
    ours = pc.api("POST", body=deal(inviteContext=None)).json
    change = ("/customerProfile/team", [CONTACT | {"firstName": "Ada"}])
    pc.settings(contacts_after_share="refuse", error_target="member")
    assert pc.patch(ours["id"], change).status == 204
    assert pc.api("POST", body=deal(engagementId=ours["engagementId"], target=MICROSOFT)).status == 201
    refused = pc.patch(ours["id"], change)
    assert (refused.status, refused.json["error"]["target"]) == (400, "/customerProfile/team")
    assert pc.patch(ours["id"], ("/details/dealValue", 7)).status == 204


# Changing


def test_patch_answers_204_or_the_referral_and_moves_version(pc: Client) -> None:
    old = pc.make("partner-led")
    plain = pc.patch(old["id"], ("/details/notes", "one"))
    assert (plain.status, plain.body) == (204, b"")
    new = pc.patch(old["id"], ("/details/dealValue", "62500"), Prefer="return=representation")
    assert new.status == 200 and new.json["details"]["dealValue"] == 62500.0
    assert new.json["details"]["notes"] == "one"
    assert new.json["eTag"] != old["eTag"] and new.json["updatedDateTime"] > old["updatedDateTime"]
    assert len(new.json["updatedDateTime"]) == len("2024-03-07T14:03:10.9912345Z")


def test_stale_etag_is_412_and_changes_nothing(pc: Client) -> None:
    old = pc.make("partner-led")
    assert pc.patch(old["id"], ("/details/notes", "first"), If_Match=old["eTag"]).status == 204
    stale = pc.patch(old["id"], ("/details/notes", "second"), If_Match=old["eTag"])
    assert (stale.status, stale.json["error"]["code"]) == (412, "preconditionFailed")
    assert pc.api("GET", f"/{old['id']}").json["details"]["notes"] == "first"
    assert pc.patch(old["id"], ("/details/notes", "x"), If_Match=old["eTag"].strip('"')).status == 400
    pc.settings(etag_conflict_code="resourceModified")
    assert pc.patch(old["id"], ("/details/notes", "x"), If_Match=old["eTag"]).json["error"]["code"] == (
        "resourceModified"
    )


@pytest.mark.parametrize(
    ("op", "path", "value"),
    [
        ("replace", "/name", "Other"),
        ("replace", "/customerProfile/name", "Other"),
        ("replace", "/inviteContext/notes", "Other"),
        ("replace", "/target", []),
        ("replace", "/type", "Shared"),
        ("replace", "/details/notes/", "x"),
        ("remove", "/details/notes", None),
        ("test", "/status", "Active"),
        ("add", "/details/notes", "x"),
        ("replace", "/team/-", {"firstName": "A", "lastName": "B", "email": "a@b.example"}),
        ("replace", "/team/0", {"firstName": "A", "lastName": "B", "email": "a@b.example"}),
        ("replace", "/details/currency", "eur"),
        ("replace", "/details/dealValue", True),
        ("replace", "/details/closingDateTime", "2031-05-01"),
        ("replace", "/details/requirements/solutions", []),
        ("replace", "/salesStage", "Dreaming"),
        ("add", "/registrations/-", {"type": "AzureIPCoSell"}),
    ],
)
def test_patch_refuses(pc: Client, op: str, path: str, value: Any) -> None:
    old = pc.make("partner-led")
    body = [
        {"op": "replace", "path": "/details/notes", "value": "before"},
        {"op": op, "path": path, "value": value},
    ]
    answer = pc.api("PATCH", f"/{old['id']}", body)
    assert (answer.status, answer.json["error"]["code"]) == (400, "invalidRequest")
    assert pc.api("GET", f"/{old['id']}").json["eTag"] == old["eTag"]


def test_patch_is_half_done_when_not_atomic(pc: Client) -> None:
    pc.settings(patch_atomic=False)
    old = pc.make("partner-led")
    assert pc.patch(old["id"], ("/details/notes", "half"), ("/name", "x")).status == 400
    assert pc.api("GET", f"/{old['id']}").json["details"]["notes"] == "half"


def test_patch_appends_and_name_can_be_switched_on(pc: Client) -> None:
    old = pc.make("partner-led")
    person = {"firstName": "Kim", "lastName": "Engineer", "phoneNumber": "+1", "email": "kim@fabrikam.example"}
    pc.settings(name_patchable=True)
    answer = pc.patch(
        old["id"],
        ("/team/-", person),
        ("/customerProfile/team/-", person),
        ("/details/requirements/solutions/-", {"id": "SOL-2"}),
        ("/name", "New name"),
        Prefer="return=representation",
    )
    assert len(answer.json["team"]) == len(old["team"]) + 1
    assert answer.json["customerProfile"]["team"][-1]["email"] == "kim@fabrikam.example"
    assert answer.json["details"]["requirements"]["solutions"][-1] == {"id": "SOL-2"}
    assert answer.json["name"] == "New name"


def test_lists_are_replaced_as_a_whole(pc: Client) -> None:
    old = pc.make("partner-led")
    people = [CONTACT | {"email": f"{name}@litware.example"} for name in "ab"]
    answer = pc.patch(
        old["id"],
        ("/team", people),
        ("/customerProfile/team", people[::-1]),
        ("/details/requirements/solutions", [{"id": "SOL-2", "type": "Name", "price": 1.5, "quantity": 2}]),
        Prefer="return=representation",
    )
    assert [each["email"] for each in answer.json["team"]] == ["a@litware.example", "b@litware.example"]
    assert [each["email"] for each in answer.json["customerProfile"]["team"]] == [
        "b@litware.example",
        "a@litware.example",
    ]
    assert answer.json["details"]["requirements"]["solutions"] == [
        {"id": "SOL-2", "type": "Name", "price": 1.5, "quantity": 2}
    ]
    assert pc.patch(old["id"], ("/customerProfile/team", [])).status == 204
    assert pc.patch(old["id"], ("/team", [])).status == 400
    assert pc.patch(old["id"], ("/team", [CONTACT] * 51)).status == 400


def test_consent_goes_one_way(pc: Client) -> None:
    path = "/consent/consentToShareReferralWithMicrosoftSellers"
    old = pc.make("private")
    assert pc.patch(old["id"], (path, False)).status == 204
    assert pc.patch(old["id"], (path, True)).status == 204
    assert pc.patch(old["id"], (path, True)).status == 204
    assert pc.patch(old["id"], (path, False)).status == 400


@pytest.mark.parametrize(
    ("start", "status", "substatus", "expected"),
    [
        (("New", "Pending"), "New", "Received", 204),
        (("New", "Received"), "New", "Pending", 400),
        (("New", "Pending"), "Active", "Accepted", 204),
        (("New", "Pending"), "Active", "Pending", 400),
        (("New", "Pending"), "Closed", "Declined", 204),
        (("New", "Pending"), "Closed", "Expired", 400),
        (("New", "Pending"), "Closed", "Error", 204),
        (("New", "Pending"), "Closed", "Lost", 400),
        (("New", "Received"), "Closed", "Won", 400),
        (("Active", "Accepted"), "New", "Pending", 400),
        (("Active", "Accepted"), "Closed", "Won", 204),
        (("Active", "Accepted"), "Closed", "Lost", 204),
        (("Active", "Accepted"), "Closed", "Error", 204),
        (("Active", "Accepted"), "Closed", "Declined", 400),
        (("Closed", "Lost"), "Active", "Accepted", 400),
        (("Closed", "Won"), "Closed", "Lost", 400),
        (("Closed", "Won"), "Closed", "Won", 400),
    ],
)
def test_life_cycle(pc: Client, start: tuple[str, str], status: str, substatus: str, expected: int) -> None:
    old = pc.make("microsoft-cosell", status=start[0], substatus=start[1])
    answer = pc.patch(old["id"], ("/status", status), ("/substatus", substatus), ("/statusReason", "Not a customer"))
    assert answer.status == expected
    now = pc.api("GET", f"/{old['id']}").json
    assert (now["status"], now["substatus"]) == ((status, substatus) if expected == 204 else start)
    if expected == 400:
        assert answer.json["error"]["message"] == "Status transition is not allowed."


def test_decline_needs_a_reason_unless_switched_off(pc: Client) -> None:
    old = pc.make("microsoft-cosell")
    decline = (("/status", "Closed"), ("/substatus", "Declined"))
    assert pc.patch(old["id"], *decline).status == 400
    assert pc.patch(old["id"], *decline, ("/statusReason", " ")).status == 400
    new = pc.patch(old["id"], *decline, ("/statusReason", "Budget too small"), Prefer="return=representation").json
    assert (new["statusReason"], bool(new["closedDateTime"])) == ("Budget too small", True)
    pc.settings(decline_reason=False, close_unanswered="any")
    assert pc.patch(pc.make("microsoft-cosell")["id"], *decline).status == 204
    assert pc.patch(pc.make("microsoft-cosell")["id"], ("/status", "Closed"), ("/substatus", "Lost")).status == 204


def test_accepting_what_microsoft_sent_brings_its_crm_id(pc: Client) -> None:
    old = pc.make("microsoft-cosell")
    assert (old["direction"], old["type"], old["inviteContext"]["invitedBy"]["organizationId"]) == (
        "Incoming",
        "Shared",
        "msft",
    )
    assert old["expirationDateTime"] and old["trackingInfo"]["microsoftMsxId"] is None
    new = pc.patch(
        old["id"], ("/status", "Active"), ("/substatus", "Accepted"), ("/details/notes", "n"),
        Prefer="return=representation",
    ).json  # fmt: skip
    assert new["acceptedDateTime"] and new["expirationDateTime"] is None
    assert new["trackingInfo"]["microsoftMsxId"].startswith("7-")


def test_only_the_crm_id_can_be_written_before_acceptance(pc: Client) -> None:
    old = pc.make("microsoft-cosell")
    assert pc.patch(old["id"], ("/externalReferenceId", "crm-7")).status == 204
    assert pc.patch(old["id"], ("/details/notes", "x")).status == 400
    pc.settings(new_editable="all")
    assert pc.patch(old["id"], ("/details/notes", "x")).status == 204


def test_won_deal_takes_only_a_registration(pc: Client) -> None:
    old = pc.make("partner-cosell", status="Closed", substatus="Won")
    assert pc.patch(old["id"], ("/externalReferenceId", "x")).status == 400
    value = {
        "type": "AzureIPCoSell",
        "contract": {"currency": "EUR", "value": 60000, "term": "Finite", "endDateTime": "2032-01-01T00:00:00Z"},
        "solutionDetails": [{"id": "SOL-1-A", "currency": "EUR", "value": 50000}],
    }
    assert pc.patch(old["id"], ("/registrations/-", value)).status == 204
    assert pc.patch(old["id"], ("/registrations/0/solutionDetails/0/value", 51000)).status == 204
    assert pc.patch(old["id"], ("/registrations/1/contract/value", 1)).status == 400
    now = pc.api("GET", f"/{old['id']}").json
    assert now["registrationStatus"] == "ReviewPending"
    assert now["registrations"][0]["solutionDetails"][0]["value"] == 51000
    assert set(now["registrations"][0]) == set(
        "id registrationDateTime status statusReason contract solutionDetails statusHistory".split()
    )


def test_required_headers_and_unknown_referrals(pc: Client) -> None:
    assert pc.api("GET", client_request_id="no-guid").status == 400
    assert pc.api("PATCH", f"/{uuid.uuid4()}", [], Content_Type="application/json-patch+json").status == 415
    answer = pc.api("GET", f"/{uuid.uuid4()}")
    assert (answer.status, answer.json["error"]["code"]) == (404, "itemNotFound")
    assert answer.headers["request-id"] and answer.headers["x-ms-ags-diagnostic"]
    assert pc.api("DELETE", f"/{uuid.uuid4()}").json["error"]["code"] == "invalidRequest"


# Lists


def test_pages_are_linked_by_the_odd_next_link(pc: Client) -> None:
    pc.settings(page_size=2)
    made = [pc.make("partner-led")["id"] for _ in range(5)]
    pc.make("microsoft-cosell")
    seen: list[str] = []
    answer = pc.find(filter="direction eq 'Outgoing'", orderby="createdDateTime desc").json
    assert answer["@odata.count"] == 5
    while True:
        assert set(answer) <= {"@odata.context", "@odata.count", "value", "@odata.nextLink"}
        seen += [each["id"] for each in answer["value"]]
        if "@odata.nextLink" not in answer:
            break
        link = urllib.parse.urlsplit(answer["@odata.nextLink"])
        assert (link.scheme, link.path) == ("http", "/v1.0/referrals")
        assert link.query.startswith("$skiptoken=")
        answer = pc.api("GET", f"?{link.query}").json
        assert "@odata.count" not in answer
    assert seen == made[::-1]
    assert set(answer["value"][0]) == REFERRAL_MEMBERS


def test_filters_of_the_documents_select(pc: Client) -> None:
    cosell = pc.make("partner-cosell", customerProfile={"address": {"country": "GB"}})
    lead = pc.make("marketplace-lead", customerProfile={"address": {"country": "US"}})
    incoming = pc.make("microsoft-cosell", customerProfile={"address": {"country": "US"}})
    for text, expected in (
        ("status eq 'Active'", [cosell]),
        ("(direction eq 'Incoming' and substatus eq 'Pending')", [lead, incoming]),
        ("type eq 'Independent' and (qualification eq 'Direct')", [lead]),
        ("customerProfile/address/country eq 'US' and type eq 'Shared'", [incoming]),
        ("team/any(t:t/email eq 'robin.seller@fabrikam.example')", [cosell]),
        (f"engagementId eq {lead['engagementId']}", [lead]),
        (f"engagementId eq '{lead['engagementId']}'", [lead]),
        ("status eq 'Closed'", []),
    ):
        answer = pc.find(filter=text, orderby="createdDateTime")
        assert [each["id"] for each in answer.json["value"]] == [each["id"] for each in expected], text


@pytest.mark.parametrize(
    "options",
    [
        {"filter": "status ne 'New'"},
        {"filter": "status eq 'New' or status eq 'Active'"},
        {"filter": "updatedDateTime gt 2024-01-01T00:00:00Z"},
        {"filter": "externalReferenceId eq 'x'"},
        {"filter": "name eq 'x'"},
        {"filter": "status eq New"},
        {"filter": "(status eq 'New'"},
        {"filter": "engagementId eq 'x'"},
        {"orderby": "name"},
        {"select": "id,secret"},
        {"top": "1"},
        {"expand": "team"},
        {"skiptoken": "x"},
    ],
)
def test_queries_beyond_the_documents_are_refused(pc: Client, options: dict[str, str]) -> None:
    answer = pc.find(**options)
    assert (answer.status, answer.json["error"]["code"]) == (400, "invalidRequest")


def test_unconfirmed_queries_can_be_switched_on(pc: Client) -> None:
    pc.settings(filter_updated=True, filter_external_reference=True, list_options="swagger")
    old, new = pc.make("partner-led", externalReferenceId="a"), pc.make("partner-led", externalReferenceId="b")
    found = pc.find(filter=f"updatedDateTime gt {old['updatedDateTime']}", select="id").json["value"]
    assert found == [{"id": new["id"]}]
    assert pc.find(filter="externalReferenceId eq 'a'").json["value"][0]["id"] == old["id"]
    assert [each["id"] for each in pc.find(top="1", skip="1").json["value"]] == [new["id"]]


def test_lagging_list_shows_the_past_while_get_is_current(pc: Client) -> None:
    pc.settings(list_lag_ms=60_000)
    made = pc.make("partner-led")
    assert pc.find().json["value"] == []
    assert pc.api("GET", f"/{made['id']}").status == 200
    pc.settings(list_lag_ms=1)
    wait_for(lambda: pc.find().json["value"], "the list to catch up")


# Microsoft's side


def test_microsoft_answers_the_invitation(pc: Client, receiver: Receiver) -> None:
    ours = pc.make("partner-cosell")
    theirs = pc.sim("POST", f"referrals/{ours['id']}/microsoft", {"answer": "accept", "msxId": "7-TEST"})
    assert (theirs["status"], theirs["trackingInfo"]["microsoftMsxId"]) == ("Active", "7-TEST")
    now = pc.api("GET", f"/{ours['id']}").json
    assert now["eTag"] == ours["eTag"] and now["trackingInfo"]["microsoftMsxId"] is None
    names = ["referral-created", "related-referral-created", "related-referral-updated"]
    wait_for(lambda: sorted(receiver.names()) == names, "three events")
    event = next(json.loads(body) for _, body in receiver.events if b"related-referral-updated" in body)
    assert event["ResourceUri"].endswith(theirs["id"])
    refused = pc.call("POST", f"/_sim/referrals/{ours['id']}/microsoft", {"answer": "decline"})
    assert refused.status == 409


def test_settings_choose_how_microsofts_answer_shows_on_our_referral(pc: Client, receiver: Receiver) -> None:
    pc.settings(related_moves_own=True, related_event_id="own", msx_id_on="own", related_get="403")
    ours = pc.make("partner-cosell")
    theirs = pc.sim("POST", f"referrals/{ours['id']}/microsoft", {"answer": "accept"})
    now = pc.api("GET", f"/{ours['id']}").json
    assert now["trackingInfo"]["microsoftMsxId"] and now["updatedDateTime"] > ours["updatedDateTime"]
    assert theirs["trackingInfo"]["microsoftMsxId"] is None
    assert pc.api("GET", f"/{theirs['id']}").json["error"]["code"] == "accessDenied"
    wait_for(lambda: "related-referral-updated" in receiver.names(), "the event")
    event = next(json.loads(body) for _, body in receiver.events if b"related-referral-updated" in body)
    assert event["ResourceUri"].endswith(ours["id"])


def test_expired_incoming_deal_hides_the_contacts(pc: Client) -> None:
    ours = pc.make("microsoft-cosell")
    pc.sim("POST", f"referrals/{ours['id']}/expire")
    now = pc.api("GET", f"/{ours['id']}").json
    assert (now["status"], now["substatus"], now["customerProfile"]["team"]) == ("Closed", "Expired", None)
    assert pc.patch(ours["id"], ("/status", "Active"), ("/substatus", "Accepted")).status == 400
