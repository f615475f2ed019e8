"""Partner Center behind the system interface, against its simulator over TLS."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.bad_inputs import bad_input
from support.simulators import PartnerCenter
from support.systems import System, partner_center_keys
from support.tls import Authority

REFERRALS = "/v1.0/engagements/referrals"
MISSING = "11111111-2222-4333-8444-555566667777"

pytestmark = pytest.mark.asan


@pytest.fixture
def pc(partner_center: PartnerCenter, authority: Authority, tmp_path: Path) -> Iterator[System]:
    with System("partner-center", tmp_path, partner_center_keys(partner_center, authority)) as system:
        yield system


def decision(record_id: str, etag: str | None, write: dict[str, Any], **more: Any) -> dict[str, Any]:
    made = {
        "id": f"{record_id}#1",
        "number": 1,
        "deal_key": record_id,
        "action": "update",
        "reason": "crm_changed",
        "target": "partner-center",
        "system": "partner-center",
        "record_type": "referral",
        "record_id": record_id,
        "write": write,
        "decided_at": "2026-11-21T04:00:00Z",
        "expected_etag": etag,
        **more,
    }
    return {name: value for name, value in made.items() if value is not None}


def add(simulator: PartnerCenter, kind: str = "partner-led", **more: Any) -> dict[str, Any]:
    """A referral of ours as the API shows it."""
    made = simulator.add_referral(kind=kind, **more)
    return made.get("referral", made)


def calls(simulator: PartnerCenter, path: str = REFERRALS) -> list[dict[str, Any]]:
    return simulator.journal(path=path)


# --- Reading ----------------------------------------------------------------------------------------------------------


def test_reads_a_referral(pc: System, partner_center: PartnerCenter) -> None:
    referral = add(partner_center)

    answer = pc.read("referral", referral["id"].upper())

    assert (answer["result"], answer["status"], answer["calls"]) == ("done", 200, 1)
    assert answer["record_id"] == answer["deal_key"] == referral["id"]
    (document,) = answer["documents"]
    assert document["role"] == "own"
    assert document["etag"] == referral["eTag"]
    assert document["version"] == document["changed_at"] == referral["updatedDateTime"]
    assert document["body"]["details"] == referral["details"]
    assert answer["took_time"] and not answer["is_certain"] and answer["error"] is None


def test_requests_are_as_the_service_wants_them(pc: System, partner_center: PartnerCenter) -> None:
    referral = add(partner_center)
    pc.read("referral", referral["id"])
    pc.read("referral", referral["id"])

    first, second = calls(partner_center)
    headers = {name.lower(): value for name, value in first["headers"].items()}
    assert headers["accept"] == headers["content-type"] == "application/json"
    uuid.UUID(headers["client-request-id"])
    assert headers["client-request-id"] != {n.lower(): v for n, v in second["headers"].items()}["client-request-id"]
    assert len(calls(partner_center, "/oauth2/token")) == 1


def test_shared_engagement_comes_with_the_related_referrals(pc: System, partner_center: PartnerCenter) -> None:
    referral = add(partner_center, "partner-cosell")

    answer = pc.read("referral", referral["id"])

    assert (answer["result"], answer["calls"], answer["deal_key"]) == ("done", 2, referral["id"])
    assert [each["role"] for each in answer["documents"]] == ["own", "related"]
    assert answer["documents"][1]["body"]["organizationId"] == "msft"


def related_id(pc: System, referral: dict[str, Any]) -> str:
    return pc.read("referral", referral["id"])["documents"][1]["id"]


def test_related_referral_leads_to_ours(pc: System, partner_center: PartnerCenter) -> None:
    referral = add(partner_center, "partner-cosell")
    related = related_id(pc, referral)

    answer = pc.read("related-referral", related)

    assert (answer["result"], answer["deal_key"], answer["record_id"]) == ("done", referral["id"], referral["id"])
    assert [(each["role"], each["id"]) for each in answer["documents"]] == [
        ("own", referral["id"]),
        ("related", related),
    ]


@pytest.mark.parametrize("status", ["403", "404"])
def test_invisible_related_referral_leads_to_ours_when_its_engagement_was_seen(
    pc: System, partner_center: PartnerCenter, status: str
) -> None:
    referral = add(partner_center, "partner-cosell")
    related = related_id(pc, referral)
    partner_center.settings(related_get=status)

    answer = pc.read("related-referral", related.upper())

    assert (answer["result"], answer["deal_key"], answer["calls"]) == ("done", referral["id"], 2)


@pytest.mark.parametrize("status", ["403", "404"])
def test_invisible_related_referral_of_an_unknown_engagement_is_gone(
    partner_center: PartnerCenter, authority: Authority, tmp_path: Path, status: str
) -> None:
    referral = add(partner_center, "partner-cosell")
    keys = partner_center_keys(partner_center, authority)
    with System("partner-center", tmp_path / "first", keys) as first:
        related = related_id(first, referral)
    partner_center.settings(related_get=status)

    with System("partner-center", tmp_path / "second", keys) as second:
        assert second.read("related-referral", related)["result"] == "gone"


def test_pages_are_followed_by_their_query_only(pc: System, partner_center: PartnerCenter) -> None:
    """The link to the next page names another scheme and path; no token goes there."""
    partner_center.settings(page_size=1, skiptoken_on="engagements")
    referral = add(partner_center, "partner-cosell")

    answer = pc.read("referral", referral["id"])

    assert (answer["result"], answer["calls"]) == ("done", 3)
    assert [each["role"] for each in answer["documents"]] == ["own", "related"]
    assert {each["path"] for each in calls(partner_center)} == {REFERRALS, f"{REFERRALS}/{referral['id']}"}


@pytest.mark.parametrize(("quotes", "form"), [(True, "quoted"), (False, "unquoted")])
def test_ids_in_filters_with_and_without_quotes(
    partner_center: PartnerCenter, authority: Authority, tmp_path: Path, quotes: bool, form: str
) -> None:
    partner_center.settings(filter_guid_quoting=form)
    referral = add(partner_center, "partner-cosell")
    with System(
        "partner-center", tmp_path, partner_center_keys(partner_center, authority, quotes_guids=quotes)
    ) as system:
        assert len(system.read("referral", referral["id"])["documents"]) == 2


def test_list_that_shows_another_engagement_is_refused(pc: System, partner_center: PartnerCenter) -> None:
    referral = add(partner_center, "partner-cosell")
    stranger = add(partner_center, "partner-cosell")
    partner_center.fault("status", "GET", f"{REFERRALS}$", status=200, body={"value": [stranger]})

    answer = pc.read("referral", referral["id"])

    assert (answer["result"], answer["error"]["code"]) == ("refused", "partner_center.foreign_record")
    assert answer["documents"] is None


def test_list_that_fails_does_not_make_the_referral_gone(pc: System, partner_center: PartnerCenter) -> None:
    referral = add(partner_center, "partner-cosell")
    partner_center.fault("status", "GET", f"{REFERRALS}$", status=404)

    assert pc.read("referral", referral["id"])["result"] == "refused"


@pytest.mark.parametrize(("visible", "code"), [("404", "not_found"), ("403", "forbidden")])
def test_referral_that_is_not_there_or_not_visible_is_gone(
    pc: System, partner_center: PartnerCenter, visible: str, code: str
) -> None:
    referral = add(partner_center, _sim={"visible": visible})

    answer = pc.read("referral", referral["id"])

    assert (answer["result"], answer["status"]) == ("gone", int(visible))
    assert (answer["error"]["class"], answer["error"]["code"]) == ("poison", f"partner_center.{code}")


def test_what_is_no_id_is_not_asked_for(pc: System, partner_center: PartnerCenter) -> None:
    answer = pc.read("referral", "../../registration")

    assert (answer["result"], answer["error"]["code"]) == ("not begun", "partner_center.bad_id")
    assert partner_center.journal() == []


@bad_input("B76")
def test_another_referral_in_the_answer_is_refused(pc: System, partner_center: PartnerCenter) -> None:
    referral, stranger = add(partner_center), add(partner_center)
    partner_center.fault("status", "GET", referral["id"], status=200, body=stranger)

    answer = pc.read("referral", referral["id"])

    assert (answer["result"], answer["error"]["code"]) == ("refused", "partner_center.foreign_record")


# --- Answers that are none --------------------------------------------------------------------------------------------


@bad_input("B75")
@pytest.mark.parametrize("action", ["html", "garbage", "truncate", "oversize"])
def test_useless_answers_to_a_reading_are_repeated(pc: System, partner_center: PartnerCenter, action: str) -> None:
    referral = add(partner_center)
    partner_center.fault(action, "GET", referral["id"])

    answer = pc.read("referral", referral["id"])

    assert (answer["result"], answer["error"]["class"]) == ("retry", "transient")
    assert "Gateway" not in answer["error"]["message"] and referral["name"] not in answer["error"]["message"]
    assert pc.read("referral", referral["id"])["result"] == "done"


def test_connection_that_ends_without_an_answer_is_nothing_read(pc: System, partner_center: PartnerCenter) -> None:
    referral = add(partner_center)
    partner_center.fault("drop", "GET", referral["id"], times=None)

    assert pc.read("referral", referral["id"])["result"] == "retry"


def test_write_on_a_used_connection_is_sent_once(pc: System, partner_center: PartnerCenter) -> None:
    referral = add(partner_center)
    pc.read("referral", referral["id"])
    partner_center.fault("drop", "PATCH", referral["id"], times=None)

    assert pc.write(decision(referral["id"], referral["eTag"], {"details.notes": "changed"}))["result"] == "unknown"

    assert len([each for each in calls(partner_center) if each["method"] == "PATCH"]) == 1


@bad_input("B75")
@pytest.mark.parametrize("body", [[], {}, {"id": 7}, "text", None])
def test_success_that_shows_no_referral_is_repeated(pc: System, partner_center: PartnerCenter, body: Any) -> None:
    referral = add(partner_center)
    partner_center.fault("status", "GET", referral["id"], status=200, body=body)

    answer = pc.read("referral", referral["id"])

    assert (answer["result"], answer["error"]["code"]) == ("retry", "partner_center.bad_response")


@bad_input("B75")
@pytest.mark.parametrize("action", ["html", "garbage", "truncate", "oversize", "apply-then-drop", "drop"])
def test_useless_answers_to_a_write_leave_it_unknown(pc: System, partner_center: PartnerCenter, action: str) -> None:
    referral = add(partner_center)
    wanted = decision(referral["id"], referral["eTag"], {"details.notes": "changed"})
    partner_center.fault(action, "PATCH", referral["id"])

    assert pc.write(wanted)["result"] == "unknown"

    was_applied = action not in ("html", "drop")
    documents = pc.read("referral", referral["id"])["documents"]
    assert pc.shows(documents, wanted) == (was_applied, False)
    assert pc.write(wanted)["result"] == ("conflict" if was_applied else "done")


def test_redirect_is_not_followed(pc: System, partner_center: PartnerCenter) -> None:
    referral = add(partner_center)
    place = {"Location": f"{partner_center.url}/elsewhere"}
    partner_center.fault("redirect", "GET", referral["id"], headers=place)

    answer = pc.read("referral", referral["id"])

    assert (answer["result"], answer["status"]) == ("retry", 302)
    assert partner_center.journal(path="/elsewhere") == []


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_told(pc: System, partner_center: PartnerCenter, status: int) -> None:
    referral = add(partner_center)
    partner_center.fault("status", "GET", referral["id"], status=status, headers={"Retry-After": "7"})

    answer = pc.read("referral", referral["id"])

    assert (answer["result"], answer["status"], answer["retry_after_ms"]) == ("retry", status, 7000)


def test_no_connection_is_nothing_done(
    partner_center: PartnerCenter, authority: Authority, tmp_path: Path
) -> None:
    keys = partner_center_keys(partner_center, authority, api_url="https://127.0.0.1:1")
    with System("partner-center", tmp_path, keys) as system:
        answer = system.write(decision(MISSING, '"x"', {"details.notes": "a"}))
        assert (answer["result"], answer["status"]) == ("retry", 0)


def test_certificate_of_a_stranger_gets_no_token(
    partner_center: PartnerCenter, authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "stranger")
    keys = partner_center_keys(partner_center, authority, ca_file=str(stranger.cert))
    with System("partner-center", tmp_path, keys) as system:
        assert system.read("referral", MISSING)["result"] == "retry"
    assert partner_center.journal() == []


# --- Tokens -----------------------------------------------------------------------------------------------------------


def test_expired_token_is_renewed_once(pc: System, partner_center: PartnerCenter) -> None:
    referral = add(partner_center)
    pc.read("referral", referral["id"])
    partner_center.admin("POST", "/_sim/tokens/expire")

    answer = pc.read("referral", referral["id"])

    assert answer["result"] == "done"
    assert [each["status"] for each in calls(partner_center)] == [200, 401, 200]
    assert len(calls(partner_center, "/oauth2/token")) == 2


def test_second_refusal_of_the_token_blocks(pc: System, partner_center: PartnerCenter) -> None:
    referral = add(partner_center)
    partner_center.fault("status", "GET", referral["id"], status=401, times=None)

    answer = pc.read("referral", referral["id"])

    assert (answer["result"], answer["status"], answer["error"]["class"]) == ("blocked", 401, "config")
    assert len(calls(partner_center)) == 2


def test_lost_sign_in_is_trouble(pc: System, partner_center: PartnerCenter) -> None:
    referral = add(partner_center)
    assert pc.trouble() is None
    partner_center.admin("POST", "/_sim/tokens/revoke")

    answer = pc.read("referral", referral["id"])

    assert (answer["result"], answer["error"]["class"]) == ("blocked", "config")
    assert pc.trouble() is not None


# --- Writing ----------------------------------------------------------------------------------------------------------


def test_update_with_the_version_it_was_read_with(pc: System, partner_center: PartnerCenter) -> None:
    referral = add(partner_center)
    wanted = decision(referral["id"], referral["eTag"], {"details.dealValue": 31000.5, "details.notes": "changed"})

    answer = pc.write(wanted)

    assert (answer["result"], answer["calls"], answer["is_certain"]) == ("done", 1, True)
    (document,) = answer["documents"]
    assert document["etag"] != referral["eTag"]
    assert document["body"]["details"]["notes"] == "changed"
    assert pc.shows(answer["documents"], wanted) == (True, False)
    (patch,) = [each for each in calls(partner_center) if each["method"] == "PATCH"]
    headers = {name.lower(): value for name, value in patch["headers"].items()}
    assert headers["if-match"] == referral["eTag"]
    assert headers["prefer"] == "return=representation"


def test_update_of_another_version_is_a_conflict(pc: System, partner_center: PartnerCenter) -> None:
    referral = add(partner_center)
    partner_center.edit_referral(referral["id"], details={"notes": "by a person"})

    answer = pc.write(decision(referral["id"], referral["eTag"], {"details.notes": "changed"}))

    assert (answer["result"], answer["status"]) == ("conflict", 412)
    assert pc.read("referral", referral["id"])["documents"][0]["body"]["details"]["notes"] == "by a person"


def test_answer_without_body_is_read_after(pc: System, partner_center: PartnerCenter) -> None:
    referral = add(partner_center)
    wanted = decision(referral["id"], referral["eTag"], {"details.notes": "changed"})
    partner_center.fault("status", "PATCH", referral["id"], status=204, body="")

    answer = pc.write(wanted)

    assert (answer["result"], answer["calls"], answer["is_certain"]) == ("done", 2, False)
    assert pc.shows(answer["documents"], wanted) == (False, False)


def test_reading_after_a_write_that_fails_leaves_it_unknown(pc: System, partner_center: PartnerCenter) -> None:
    referral = add(partner_center)
    partner_center.fault("status", "PATCH", referral["id"], status=204, body="")
    partner_center.fault("status", "GET", referral["id"], status=503)

    answer = pc.write(decision(referral["id"], referral["eTag"], {"details.notes": "changed"}))

    assert (answer["result"], answer["error"]["class"]) == ("unknown", "transient")


@bad_input("B76")
def test_another_referral_in_the_answer_to_a_write_leaves_it_unknown(pc: System, partner_center: PartnerCenter) -> None:
    referral, stranger = add(partner_center), add(partner_center)
    partner_center.fault("status", "PATCH", referral["id"], status=200, body=stranger)

    answer = pc.write(decision(referral["id"], referral["eTag"], {"details.notes": "changed"}))

    assert (answer["result"], answer["documents"]) == ("unknown", None)


@pytest.mark.parametrize(("form", "sent"), [("number", 31000.5), ("text", "31000.5")])
def test_deal_value_as_number_and_as_text(
    partner_center: PartnerCenter, authority: Authority, tmp_path: Path, form: str, sent: Any
) -> None:
    referral = add(partner_center)
    wanted = decision(referral["id"], referral["eTag"], {"details.dealValue": 31000.5})
    keys = partner_center_keys(partner_center, authority, deal_value_form=form)
    with System("partner-center", tmp_path, keys) as system:
        answer = system.write(wanted)
        assert answer["result"] == "done"
        assert system.shows(answer["documents"], wanted) == (True, False)
    (patch,) = [each for each in calls(partner_center) if each["method"] == "PATCH"]
    assert json.loads(patch["body"]) == [{"op": "replace", "path": "/details/dealValue", "value": sent}]


def test_closed_deal_refuses(pc: System, partner_center: PartnerCenter) -> None:
    referral = add(partner_center, status="Closed", substatus="Lost")

    answer = pc.write(decision(referral["id"], referral["eTag"], {"details.notes": "changed"}))

    assert (answer["result"], answer["status"], answer["error"]["class"]) == ("refused", 400, "poison")


def test_write_whose_lease_is_lost_is_not_sent(pc: System, partner_center: PartnerCenter) -> None:
    referral = add(partner_center)

    answer = pc.write(decision(referral["id"], referral["eTag"], {"details.notes": "changed"}), may_send=False)

    assert (answer["result"], answer["status"]) == ("retry", 0)
    assert [each for each in calls(partner_center) if each["method"] == "PATCH"] == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"action": "create"}, "partner_center.no_key"),
        ({"record_id": None}, "partner_center.action"),
        ({"record_id": "x/y"}, "partner_center.bad_id"),
        ({"expected_etag": None}, "partner_center.no_version"),
        ({"write": {"customerProfile.name": "x"}}, "partner_center.path"),
        ({"write": {"name": "x", "details.notes": "a"}}, "partner_center.path"),
        ({"write": {}}, "partner_center.no_change"),
    ],
)
def test_decisions_that_cannot_be_sent(
    pc: System, partner_center: PartnerCenter, changes: dict[str, Any], code: str
) -> None:
    wanted = decision(MISSING, '"x"', {"details.notes": "a"}) | changes

    answer = pc.write({name: value for name, value in wanted.items() if value is not None})

    assert (answer["result"], answer["error"]["class"], answer["error"]["code"]) == ("not begun", "poison", code)
    assert partner_center.journal() == []


# A version as an answer may have told it.
@bad_input("B75")
def test_version_with_a_line_end_becomes_no_header(pc: System, partner_center: PartnerCenter) -> None:
    referral = add(partner_center)

    answer = pc.write(decision(referral["id"], '"x"\r\nX-Injected: yes', {"details.notes": "a"}))

    assert (answer["result"], answer["error"]["code"]) == ("refused", "http.bad_header")
    assert partner_center.journal(method="PATCH") == []


# --- End --------------------------------------------------------------------------------------------------------------


def test_freeing_the_system_answers_what_is_under_way(pc: System, partner_center: PartnerCenter) -> None:
    referral = add(partner_center)
    pc.read("referral", referral["id"])
    partner_center.clear_journal()
    partner_center.settings(latency_ms=3000)
    asked = [pc.tell(do="read", record_type="referral", record_id=referral["id"]) for _ in range(3)]
    wanted = decision(referral["id"], referral["eTag"], {"details.notes": "changed"})
    asked.append(pc.tell(do="write", decision=wanted))
    asked += [pc.tell(do="read", record_type="referral", record_id=referral["id"]) for _ in range(3)]
    # The driver takes its lines in order: when this is answered, all the others have begun.
    pc.trouble()

    assert pc.end() == 0

    answers = [pc.answer(number) for number in asked]
    assert {answer["result"] for answer in answers} <= {"retry", "unknown"}
    assert answers[3]["result"] == "unknown"
