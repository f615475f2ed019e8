"""The Partner Center simulator behaves as the service's documents say; each test talks to a process over TLS."""

from __future__ import annotations

import base64
import http.client
import json
import pathlib
import subprocess
import time
import urllib.parse
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from partner_center_client import PARTNER, PARTNER_CENTER, REFERRALS, Client, Receiver, bearer, make_tls, wait_for

ALL_REFERRAL_EVENTS = [
    "referral-created",
    "referral-updated",
    "related-referral-created",
    "related-referral-updated",
    "test-created",
]


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory, tls: dict[str, str]) -> Iterator[Client]:
    client = Client(tmp_path_factory.mktemp("simulator"), tls, "--set", "delivery_interval_ms=10")
    yield client
    assert client.stop() == 0


@pytest.fixture
def pc(process: Client) -> Client:
    process.sim("POST", "reset")
    process.tokens.clear()
    return process


@pytest.fixture
def receiver(pc: Client, tls: dict[str, str]) -> Iterator[Receiver]:
    server = Receiver(tls)
    pc.sim("PUT", "registration", {"WebhookUrl": server.url, "WebhookEvents": ALL_REFERRAL_EVENTS})
    yield server
    server.stop()


def deal(**changes: Any) -> dict[str, Any]:
    """A body that POST takes."""
    return {
        "name": "Litware Museums - Archive",
        "externalReferenceId": "crm-1",
        "qualification": "SalesQualified",
        "type": "Shared",
        "target": [{"type": "SolutionProfile", "id": "SOL-1-A"}],
        "customerProfile": {
            "name": "Litware Museums",
            "address": {"city": "Porto", "country": "PT"},
            "team": [
                {"firstName": "Rui", "lastName": "Curator", "phoneNumber": "+351 0", "email": "rui@litware.example"}
            ],
        },
        "consent": {
            "consentToToShareInfoWithOthers": True,
            "consentToContact": True,
            "consentToShareReferralWithMicrosoftSellers": True,
        },
        "details": {
            "notes": "Archive in the cloud",
            "dealValue": "1234.50",
            "currency": "EUR",
            "closingDateTime": "2031-05-01T02:00:00+02:00",
            "requirements": {"solutions": [{"id": "SOL-1-A", "name": "Archive", "type": "Name"}]},
        },
        "team": [{"firstName": "Eva", "lastName": "Seller", "phoneNumber": "+351 1", "email": "eva@fabrikam.example"}],
        "inviteContext": {"notes": "Help", "assistanceRequestCode": "ProofOfConceptOrDemo"},
        **changes,
    }


REFERRAL_MEMBERS = set(
    "id engagementId name organizationId organizationName mpnId externalReferenceId lastModifiedVia lastRunId createdVia "
    "createdDateTime updatedDateTime expirationDateTime acceptedDateTime closedDateTime status substatus statusReason "
    "qualification type direction referralProgram referralSource callToAction campaignId salesStage quality isSpam "
    "favorite dealSensitivity tags eTag target customerProfile consent details team inviteContext trackingInfo "
    "registrationStatus registrations links".split()
)


# Tokens


def test_refresh_answers_numbers_as_strings_and_a_new_refresh_token(pc: Client) -> None:
    answer = pc.sign_in(refresh_token="simulated-refresh-token")
    assert answer.status == 200
    assert set(answer.json) == set(
        "token_type scope expires_in ext_expires_in expires_on not_before resource access_token refresh_token "
        "id_token".split()
    )
    assert answer.json["expires_in"] == "3599" and answer.json["expires_on"].isdigit()
    assert answer.json["scope"] == "user_impersonation" and answer.json["resource"] == PARTNER
    assert answer.json["refresh_token"] != "simulated-refresh-token"
    assert pc.sign_in(refresh_token=answer.json["refresh_token"]).status == 200
    assert pc.sign_in(refresh_token="simulated-refresh-token").status == 200


def test_used_refresh_token_is_refused_under_revoke_old(pc: Client) -> None:
    pc.settings(refresh_rotation="revoke-old")
    fresh = pc.sign_in(refresh_token="simulated-refresh-token").json["refresh_token"]
    again = pc.sign_in(refresh_token="simulated-refresh-token")
    assert (again.status, again.json["error"], again.json["error_codes"]) == (400, "invalid_grant", [50173])
    assert pc.sign_in(refresh_token=fresh).status == 200


def test_client_credentials_give_no_refresh_token(pc: Client) -> None:
    answer = pc.sign_in(grant_type="client_credentials", resource=PARTNER_CENTER)
    assert answer.status == 200
    assert set(answer.json) == set(
        "token_type expires_in ext_expires_in expires_on not_before resource access_token".split()
    )


@pytest.mark.parametrize(
    ("settings", "form", "status", "error", "number"),
    [
        ({}, {"client_secret": "wrong"}, 401, "invalid_client", 7000215),
        ({}, {"client_id": "wrong"}, 400, "unauthorized_client", 700016),
        ({}, {"resource": "https://graph.microsoft.com"}, 400, "invalid_resource", 500011),
        ({}, {"grant_type": "password"}, 400, "unsupported_grant_type", 70003),
        ({}, {"refresh_token": "wrong"}, 400, "invalid_grant", 70000),
        ({"token_error": 7000222}, {}, 401, "invalid_client", 7000222),
        ({"token_error": 50076}, {}, 400, "interaction_required", 50076),
    ],
)
def test_token_errors_have_the_form_of_entra(
    pc: Client, settings: dict[str, Any], form: dict[str, str], status: int, error: str, number: int
) -> None:
    pc.settings(**settings)
    answer = pc.sign_in(**{"refresh_token": "simulated-refresh-token", **form})
    assert (answer.status, answer.json["error"], answer.json["error_codes"]) == (status, error, [number])
    assert set(answer.json) == set(
        "error error_description error_codes timestamp trace_id correlation_id error_uri".split()
    )
    assert answer.json["error_description"].startswith(f"AADSTS{number}: ")


def test_refresh_token_dies_after_its_life(pc: Client) -> None:
    pc.settings(refresh_lifetime_s=0)
    value = pc.sim("POST", "tokens/issue")["refresh_token"]
    assert pc.sign_in(refresh_token=value).json["error_codes"] == [700082]


def test_v2_scope_is_accepted_only_by_setting(pc: Client) -> None:
    form = {"refresh_token": "simulated-refresh-token", "scope": f"{PARTNER}/.default offline_access"}
    assert pc.sign_in("/t/oauth2/v2.0/token", **form).json["error"] == "invalid_scope"
    pc.settings(v2_scope=True)
    answer = pc.sign_in("/t/oauth2/v2.0/token", **form)
    assert answer.json["expires_in"] == 3599
    assert pc.call("GET", REFERRALS, None, bearer(answer.json["access_token"])).status == 200


def test_referrals_api_refuses_tokens_that_are_not_of_a_user_for_it(pc: Client) -> None:
    wrong = pc.call("GET", REFERRALS, None, bearer(pc.token(PARTNER_CENTER)))
    assert (wrong.status, wrong.json["error"]["code"]) == (401, "unauthenticated")
    app = pc.call("GET", REFERRALS, None, bearer(pc.token(PARTNER, app_only=True)))
    assert (app.status, app.json["error"]["code"]) == (403, "accessDenied")
    assert set(app.json["error"]) == {"code", "message", "target"}
    pc.settings(app_only="401")
    app = pc.call("GET", REFERRALS, None, bearer(pc.token(PARTNER, app_only=True)))
    assert (app.status, app.json["error"]["code"]) == (401, "unAuthorized")
    assert set(app.json["error"]["innerError"]) == {"code", "message"}


def test_expired_access_token_and_missing_mfa_are_401(pc: Client) -> None:
    assert pc.api("GET").status == 200
    pc.sim("POST", "tokens/expire")
    assert pc.api("GET").status == 401
    plain = pc.sim("POST", "tokens/access", {"mfa": False})["access_token"]
    answer = pc.call("GET", REFERRALS, None, bearer(plain))
    assert (answer.status, answer.json["error"]["innerError"]["code"]) == (401, "900421")
    pc.settings(mfa_enforced=False)
    assert pc.call("GET", REFERRALS, None, bearer(plain)).status == 200


# Registration


def test_registration_is_created_by_post_and_replaced_by_put(pc: Client) -> None:
    body = {"WebhookUrl": "https://hooks.fabrikam.example/e", "WebhookEvents": ["referral-created", "test-created"]}
    absent = pc.hook("GET")
    assert (absent.status, set(absent.json)) == (404, {"code", "description", "data", "source"})
    assert pc.hook("PUT", body=body).status == 404
    created = pc.hook("POST", body=body)
    assert created.status == 200 and set(created.json) == {"SubscriberId", "WebhookUrl", "WebhookEvents"}
    assert created.headers["MS-CorrelationId"] and created.headers["MS-RequestId"] and created.headers["X-Locale"]
    assert pc.hook("POST", body=body).status == 409
    changed = pc.hook("PUT", body=body | {"WebhookUrl": "https://other.example/e"})
    assert changed.json["SubscriberId"] == created.json["SubscriberId"]
    assert pc.hook("GET").json == body | {"WebhookUrl": "https://other.example/e"}
    assert "referral-updated" in pc.hook("GET", "/events").json


@pytest.mark.parametrize(
    "change",
    [
        {"WebhookUrl": "hooks.fabrikam.example"},
        {"WebhookEvents": []},
        {"WebhookEvents": ["referral-deleted"]},
        {"SignatureTokenToMsSignatureHeader": "true"},
    ],
)
def test_registration_refuses_wrong_members(pc: Client, change: dict[str, Any]) -> None:
    body = {"WebhookUrl": "https://hooks.fabrikam.example/e", "WebhookEvents": ["referral-created"]}
    answer = pc.hook("POST", body=body | change)
    assert (answer.status, answer.json["code"]) == (400, "400")
    assert pc.hook("GET").status == 404


def test_registration_refuses_a_referrals_token(pc: Client) -> None:
    answer = pc.hook("GET", resource=PARTNER)
    assert (answer.status, answer.json["code"], answer.json["description"]) == (401, "400", "Access denied")


def test_validation_event_arrives_and_its_result_tells_each_attempt(pc: Client, receiver: Receiver) -> None:
    receiver.status = 500
    correlation = pc.hook("POST", "/validationEvents").json["correlationId"]
    wait_for(lambda: len(receiver.events) >= 2, "two attempts")
    receiver.status = 200

    def result() -> Any:
        found = pc.hook("GET", f"/validationEvents/{correlation}").json
        return found if found["status"] == "completed" else None

    found = wait_for(result, "completed validation")
    assert set(found) == {"correlationId", "partnerId", "status", "callbackUrl", "results"}
    assert {"InternalServerError", "OK"} == {each["responseCode"] for each in found["results"]}
    assert found["results"][-1]["responseCode"] == "OK"
    assert set(found["results"][0]) == {"responseCode", "responseMessage", "systemError", "dateTimeUtc"}
    event = json.loads(receiver.events[0][1])
    assert event["EventName"] == "test-created" and event["ResourceName"] == "test"
    assert event["ResourceUri"] == (
        f"http://api.partnercenter.microsoft.com/webhooks/v1/registration/validationEvents/{correlation}"
    )


def test_third_validation_event_within_a_minute_is_429_with_its_own_body(pc: Client, receiver: Receiver) -> None:
    assert [pc.hook("POST", "/validationEvents").status for _ in range(2)] == [200, 200]
    answer = pc.hook("POST", "/validationEvents")
    assert (answer.status, set(answer.json), answer.json["statusCode"]) == (429, {"statusCode", "message"}, 429)
    assert 0 < int(answer.headers["Retry-After"]) <= 60


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
    ],
)
def test_create_refuses(pc: Client, change: dict[str, Any]) -> None:
    assert pc.api("POST", body=deal(**change)).status == 400
    assert pc.find().json["value"] == []


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
    answer = pc.patch(old["id"], ("/status", status), ("/substatus", substatus))
    assert answer.status == expected
    now = pc.api("GET", f"/{old['id']}").json
    assert (now["status"], now["substatus"]) == ((status, substatus) if expected == 204 else start)
    if expected == 400:
        assert answer.json["error"]["message"] == "Status transition is not allowed."


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


# Webhooks


def test_signature_over_the_raw_body_verifies_with_openssl(
    pc: Client, receiver: Receiver, tmp_path: pathlib.Path
) -> None:
    made = pc.make("microsoft-cosell")
    wait_for(lambda: receiver.events, "the event")
    headers, body = receiver.events[0]
    event = json.loads(body)
    assert body == json.dumps(event, separators=(",", ":")).encode()
    assert list(event) == ["EventName", "ResourceUri", "ResourceName", "AuditUri", "ResourceChangeUtcDate"]
    assert event["ResourceUri"] == (f"https://api.partnercenter.microsoft.com/engagements/v1/referrals/{made['id']}")
    assert event["ResourceChangeUtcDate"].endswith("+00:00") and event["AuditUri"] is None
    assert headers["x-ms-signature-algorithm"] == "rsa-sha256" and "x-ms-signature" not in headers
    scheme, signature = headers["authorization"].split(" ")
    assert scheme == "Signature"
    url = urllib.parse.urlsplit(headers["x-ms-certificate-url"])
    assert url.path == "/cert/pcnotifications-dispatch.microsoft.com.cer"
    (tmp_path / "leaf.der").write_bytes(pc.call("GET", url.path).body)
    (tmp_path / "body").write_bytes(body)
    (tmp_path / "signature").write_bytes(base64.b64decode(signature, validate=True))
    run_openssl(tmp_path, "x509", "-inform", "DER", "-in", "leaf.der", "-out", "leaf.pem")
    run_openssl(tmp_path, "verify", "-CAfile", str(pc.signing / "ca.pem"), "leaf.pem")
    run_openssl(tmp_path, "x509", "-in", "leaf.pem", "-pubkey", "-noout", "-out", "key.pem")
    run_openssl(tmp_path, "dgst", "-sha256", "-verify", "key.pem", "-signature", "signature", "body")
    names = run_openssl(tmp_path, "x509", "-in", "leaf.pem", "-noout", "-issuer", "-subject", "-nameopt", "RFC2253")
    assert names.count("O=Microsoft Corporation") == 2 and "CN=pcnotifications-dispatch.microsoft.com" in names


def run_openssl(directory: pathlib.Path, *arguments: str) -> str:
    result = subprocess.run(["openssl", *arguments], cwd=directory, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_alternate_signature_header_and_certificate_rotation(pc: Client, receiver: Receiver) -> None:
    flag = {"SignatureTokenToMsSignatureHeader": True}
    pc.sim("PUT", "registration", {"WebhookUrl": receiver.url, "WebhookEvents": ["referral-created"]} | flag)
    pc.make("private")
    wait_for(lambda: receiver.events, "the event")
    headers = receiver.events[0][0]
    assert headers["x-ms-signature"].startswith("Signature ") and "authorization" not in headers
    path = urllib.parse.urlsplit(headers["x-ms-certificate-url"]).path
    before = pc.call("GET", path).body
    pc.sim("POST", "signing/rotate")
    assert pc.call("GET", path).body not in (before, b"")
    pc.settings(cert_format="pem", cert_chain=True)
    assert pc.call("GET", path).body.count(b"BEGIN CERTIFICATE") == 2
    crafted = pc.sim("POST", "sign", {"body": '{"EventName":"x"}', "alternate": True})["headers"]
    assert crafted["x-ms-signature"].startswith("Signature ")


def test_event_goes_offline_after_ten_attempts(pc: Client, receiver: Receiver) -> None:
    receiver.status = 503
    pc.make("private")

    def offline() -> Any:
        found = pc.sim("GET", "deliveries")["deliveries"]
        return found[0] if found and found[0]["state"] == "offline" else None

    delivery = wait_for(offline, "the delivery to be given up")
    assert [attempt["status"] for attempt in delivery["attempts"]] == [503] * 10
    assert len(receiver.events) == 10 and len({body for _, body in receiver.events}) == 1


def test_delivery_policy_pauses_drops_and_duplicates(pc: Client, receiver: Receiver) -> None:
    pc.sim("POST", "deliveries/policy", {"paused": True})
    pc.make("private")
    assert pc.sim("GET", "deliveries")["pending"] == 1 and not receiver.events
    pc.sim("POST", "deliveries/policy", {"paused": False, "duplicate": 1})
    wait_for(lambda: len(receiver.events) == 1, "the paused event")
    pc.make("private")
    wait_for(lambda: len(receiver.events) == 3, "the duplicate")
    assert receiver.events[1][1] == receiver.events[2][1]
    pc.sim("POST", "deliveries/policy", {"duplicate": 0, "drop": 1})
    pc.make("private")
    assert pc.sim("GET", "deliveries")["deliveries"][-1]["state"] == "lost"


def test_own_changes_are_echoed_unless_switched_off(pc: Client, receiver: Receiver) -> None:
    made = pc.make("partner-led", _sim={"events": False})
    assert pc.patch(made["id"], ("/details/notes", "x")).status == 204
    wait_for(lambda: receiver.names() == ["referral-updated"], "the echo")
    pc.settings(echo_events=False)
    assert pc.patch(made["id"], ("/details/notes", "y")).status == 204
    assert len(pc.sim("GET", "deliveries")["deliveries"]) == 1
    edited = pc.sim("PATCH", f"referrals/{made['id']}", {"details": {"notes": None}})
    assert edited["details"]["notes"] is None and edited["details"]["currency"] == made["details"]["currency"]
    assert edited["lastModifiedVia"] == "Ui"


def test_receiver_that_does_not_verify_against_the_ca_gets_nothing(pc: Client, tmp_path: pathlib.Path) -> None:
    stranger = Receiver(make_tls(tmp_path))
    pc.settings(delivery_attempts=1)
    pc.sim("PUT", "registration", {"WebhookUrl": stranger.url, "WebhookEvents": ["referral-created"]})
    pc.make("private")
    wait_for(lambda: pc.sim("GET", "deliveries")["deliveries"][0]["state"] == "offline", "the refusal")
    assert not stranger.events
    stranger.stop()


# Faults, throttling, journal


def test_fault_status_keeps_the_request_from_the_service(pc: Client) -> None:
    made = pc.make("partner-led")
    pc.fault("PATCH", "/referrals/", "status", status=503, headers={"Retry-After": "7"})
    answer = pc.patch(made["id"], ("/details/notes", "x"))
    assert (answer.status, answer.headers["Retry-After"]) == (503, "7")
    assert answer.json["error"]["code"] == "serviceNotAvailable"
    assert pc.api("GET", f"/{made['id']}").json["eTag"] == made["eTag"]
    assert pc.patch(made["id"], ("/details/notes", "x")).status == 204


@pytest.mark.parametrize(("action", "applied"), [("drop", False), ("apply-then-drop", True)])
def test_fault_drop_closes_without_an_answer(pc: Client, action: str, applied: bool) -> None:
    made = pc.make("partner-led")
    pc.fault("PATCH", "/referrals/", action)
    with pytest.raises((http.client.HTTPException, OSError)):
        pc.patch(made["id"], ("/details/notes", "x"))
    assert (pc.api("GET", f"/{made['id']}").json["details"]["notes"] == "x") is applied
    entry = next(entry for entry in pc.journal() if entry["method"] == "PATCH")
    assert (entry["status"], entry["fault"]) == (None, action)


def test_faults_delay_and_distort(pc: Client) -> None:
    made = pc.make("partner-led")
    path = f"/{made['id']}"
    pc.fault("GET", "/referrals/", "delay", delay_ms=150)
    started = time.monotonic()
    assert pc.api("GET", path).status == 200 and time.monotonic() - started >= 0.15
    pc.fault("GET", "/referrals/", "slow-body", delay_ms=150)
    started = time.monotonic()
    assert pc.api("GET", path).json["id"] == made["id"] and time.monotonic() - started >= 0.13
    pc.fault("GET", "/referrals/", "garbage")
    answer = pc.api("GET", path)
    assert answer.status == 200 and answer.json is None and answer.body
    pc.fault("GET", "/referrals/", "html", status=502)
    answer = pc.api("GET", path)
    assert answer.status == 502 and answer.headers.get_content_type() == "text/html"
    pc.fault("GET", "/referrals/", "truncate")
    with pytest.raises((http.client.IncompleteRead, OSError)):
        pc.api("GET", path)
    pc.fault("GET", "/referrals/", "redirect")
    answer = pc.api("GET", path)
    assert answer.status == 302 and answer.headers["Location"]
    pc.fault("GET", "/referrals/", "oversize", size=100_000)
    assert len(pc.api("GET", path).body) == 100_000


def test_faults_hit_the_token_endpoint_and_skip_requests(pc: Client) -> None:
    pc.fault("POST", "/oauth2/token$", "status", status=500, skip=1)
    statuses = [pc.sign_in(refresh_token="simulated-refresh-token").status for _ in range(3)]
    assert statuses == [200, 500, 200]


def test_throttling_answers_429_with_retry_after(pc: Client) -> None:
    pc.settings(throttle_rps=2, retry_after_s=3)
    answers = [pc.api("GET") for _ in range(6)]
    refused = [answer for answer in answers if answer.status == 429]
    assert refused and refused[0].headers["Retry-After"] == "3"
    assert refused[0].json["error"] == {
        "code": "generalException",
        "message": "Too many requests.",
        "target": "referral",
    }


def test_journal_has_every_request_without_secrets(pc: Client) -> None:
    token = pc.sign_in(refresh_token="simulated-refresh-token").json
    pc.call("GET", REFERRALS, None, bearer(token["access_token"]))
    entries = pc.journal()
    assert [(entry["method"], entry["path"], entry["status"]) for entry in entries] == [
        ("POST", "/fabrikam.example/oauth2/token", 200),
        ("GET", REFERRALS, 200),
    ]
    assert entries[1]["headers"]["authorization"] == "Bearer <redacted>"
    text = json.dumps(entries)
    for secret in ("simulated-client-secret", "simulated-refresh-token", token["access_token"], token["refresh_token"]):
        assert secret not in text
    after = pc.sim("GET", f"journal?since={entries[-1]['seq'] + 1}")
    assert after["entries"] == [] and after["next"] == entries[-1]["seq"] + 1


def test_wrong_admin_calls_are_told(pc: Client) -> None:
    for path, body in (
        ("settings", {"no_such_setting": 1}),
        ("settings", {"page_size": "2"}),
        ("settings", {"create_status": 204}),
    ):
        answer = pc.call("PATCH", f"/_sim/{path}", body)
        assert answer.status == 400 and "setting" in answer.json["error"]
    assert pc.call("POST", "/_sim/faults", {"action": "explode"}).status == 400
    assert pc.call("POST", "/_sim/referrals", {"kind": "unkind"}).status == 400


def test_seed_makes_ids_repeat_and_signing_directory_is_reused(tmp_path: pathlib.Path, tls: dict[str, str]) -> None:
    made = []
    for _ in range(2):
        client = Client(tmp_path, tls, "--seed", "7", "--set", "page_size=3")
        try:
            made.append((client.make("private")["id"], (client.signing / "leaf.der").read_bytes()))
            assert client.sim("GET", "settings")["page_size"] == 3
        finally:
            status = client.stop()
        assert status == 0
    assert made[0] == made[1]


def test_delayed_event_is_forgotten_by_reset(pc: Client, receiver: Receiver) -> None:
    pc.settings(event_delay_ms=50)
    pc.make("private")
    assert pc.sim("GET", "deliveries")["pending"] == 1
    wait_for(lambda: receiver.names() == ["referral-created"], "the delayed event")
    pc.settings(event_delay_ms=60_000)
    pc.make("private")
    pc.sim("POST", "reset")
    assert pc.sim("GET", "deliveries") == {
        "deliveries": [],
        "pending": 0,
        "policy": {"paused": False, "drop": 0.0, "duplicate": 0.0, "reorder": 0.0},
    }


def test_any_event_can_be_sent_and_reordering_loses_none(pc: Client, receiver: Receiver) -> None:
    pc.sim("POST", "events", {"EventName": "subscription-updated", "ResourceName": "subscription"})
    wait_for(lambda: receiver.names() == ["subscription-updated"], "the event")
    pc.sim("POST", "deliveries/policy", {"reorder": 0.5})
    made = [pc.make("private")["id"] for _ in range(20)]
    wait_for(lambda: len(receiver.events) == 21, "all events")
    arrived = [json.loads(body)["ResourceUri"].rsplit("/", 1)[1] for _, body in receiver.events[1:]]
    assert sorted(arrived) == sorted(made) and arrived != made
