"""The Partner Center simulator behaves as the service's documents say: signing in, registering, and what goes wrong."""

from __future__ import annotations

import http.client
import json
import pathlib
import time
from typing import Any

import pytest

from partner_center_client import (
    PARTNER,
    PARTNER_CENTER,
    REFERRALS,
    Client,
    Receiver,
    bearer,
    pc,
    process,
    receiver,
    tls,
    wait_for,
)

__all__ = ["pc", "process", "receiver", "tls"]  # fixtures

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
