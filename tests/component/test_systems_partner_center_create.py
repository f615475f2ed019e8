"""Creating at Partner Center: referrals and invitations, against its simulator over TLS."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.simulators import PartnerCenter
from support.systems import System, partner_center_keys
from support.tls import Authority

REFERRALS = "/v1.0/engagements/referrals"
LONG_AGO = "2020-01-01T00:00:00Z"
LONG_HENCE = "2090-01-01T00:00:00Z"
PERSON = {
    "firstName": "Robin",
    "lastName": "Seller",
    "email": "robin.seller@fabrikam.example",
    "phoneNumber": "+44 20 7946 0001",
}

pytestmark = pytest.mark.asan


@pytest.fixture
def pc(partner_center: PartnerCenter, authority: Authority, tmp_path: Path) -> Iterator[System]:
    with System("partner-center", tmp_path, partner_center_keys(partner_center, authority)) as system:
        yield system


@pytest.fixture
def crm_id() -> str:
    return str(uuid.uuid4())


def deal(**paths: Any) -> dict[str, Any]:
    """The paths of a complete private deal."""
    return {
        "name": "Archive",
        "type": "Independent",
        "qualification": "SalesQualified",
        "customerProfile.name": "Northwind Orchards Ltd",
        "customerProfile.address.country": "GB",
        "customerProfile.address.city": None,
        "consent.consentToShareReferralWithMicrosoftSellers": False,
        "consent.consentToContact": True,
        "details.dealValue": 31000.5,
        "details.currency": "GBP",
        "details.closingDateTime": "2027-03-01T00:00:00Z",
        "details.notes": None,
        "details.requirements.solutions": [{"id": "SOL-10001-AAA", "name": "Supply Hub", "type": "Name"}],
        "team": [PERSON],
        **paths,
    }


def shared(**paths: Any) -> dict[str, Any]:
    """The paths of a deal that asks Microsoft for help."""
    return deal(
        **{
            "type": "Shared",
            "consent.consentToShareReferralWithMicrosoftSellers": True,
            "customerProfile.team": [PERSON],
            **paths,
        }
    )


def create(crm_id: str, write: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {
        "id": f"crm:{crm_id}#1",
        "number": 1,
        "deal_key": f"crm:{crm_id}",
        "action": "create",
        "purpose": "create",
        "reason": "crm_changed",
        "target": "partner-center",
        "system": "partner-center",
        "record_type": "referral",
        "crm_id": crm_id,
        "create_key": {"externalReferenceId": crm_id},
        "write": deal() if write is None else write,
        "decided_at": LONG_HENCE,
        **more,
    }


def invite(own: dict[str, Any], write: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    made = {
        **create(own["externalReferenceId"] or "none"),
        "id": f"{own['id']}#2",
        "deal_key": own["id"],
        "purpose": "invite",
        "record_type": "invitation",
        "referral_id": own["id"],
        "create_key": {"engagementId": own["engagementId"]},
        "write": {
            **shared(),
            "target": [{"type": "BusinessProfileLocation", "id": "msft"}],
            "inviteContext.assistanceRequestCode": "CustomerTechnicalArchitecture",
            **(write or {}),
        },
        **more,
    }
    return {name: value for name, value in made.items() if value is not None}


def created(pc: System, crm_id: str, write: dict[str, Any] | None = None) -> dict[str, Any]:
    """A referral of ours that has been made through the API."""
    answer = pc.write(create(crm_id, write))
    assert answer["result"] == "done", answer
    return answer["documents"][0]["body"]


def referrals(simulator: PartnerCenter) -> list[dict[str, Any]]:
    return simulator.state()["referrals"]


def posts(simulator: PartnerCenter) -> list[dict[str, Any]]:
    return simulator.journal(method="POST", path=REFERRALS)


def lists(simulator: PartnerCenter) -> list[dict[str, Any]]:
    return [each for each in simulator.journal(method="GET", path=REFERRALS) if each["path"] == REFERRALS]


def headers(entry: dict[str, Any]) -> dict[str, str]:
    return {name.lower(): value for name, value in entry["headers"].items()}


# --- Creating ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201])
def test_a_referral_is_created_after_a_look(
    pc: System, partner_center: PartnerCenter, crm_id: str, status: int
) -> None:
    partner_center.settings(create_status=status)
    wanted = create(crm_id)

    answer = pc.write(wanted)

    assert (answer["result"], answer["status"], answer["calls"]) == ("done", status, 2)
    assert answer["is_created"] and answer["is_certain"]
    (stored,) = referrals(partner_center)
    assert answer["record_id"] == answer["deal_key"] == stored["id"]
    (document,) = answer["documents"]
    assert (document["role"], document["etag"], document["body"]["status"]) == ("own", stored["eTag"], "Active")
    assert pc.shows(answer["documents"], wanted) == (True, False)
    assert [each["query"] for each in lists(partner_center)] == ["$orderby=createdDateTime desc"]


def test_the_body_is_nested_and_has_no_nulls(pc: System, partner_center: PartnerCenter, crm_id: str) -> None:
    created(pc, crm_id)

    body = json.loads(posts(partner_center)[0]["body"])
    assert body["details"] == {
        "dealValue": 31000.5,
        "currency": "GBP",
        "closingDateTime": "2027-03-01T00:00:00Z",
        "requirements": {"solutions": [{"id": "SOL-10001-AAA", "name": "Supply Hub", "type": "Name"}]},
    }
    assert body["customerProfile"] == {"name": "Northwind Orchards Ltd", "address": {"country": "GB"}}
    assert body["externalReferenceId"] == crm_id


def test_a_repeat_names_itself_by_the_decision(
    pc: System, partner_center: PartnerCenter, authority: Authority, tmp_path: Path, crm_id: str
) -> None:
    """The same decision says the same MS-RequestId in any process, another decision another."""
    partner_center.fault("status", "POST", f"{REFERRALS}$", times=3, status=503)
    pc.write(create(crm_id))
    with System("partner-center", tmp_path / "other", partner_center_keys(partner_center, authority)) as successor:
        successor.write(create(crm_id))
    pc.write(create(crm_id, id=f"crm:{crm_id}#2", number=2))

    sent = [headers(each) for each in posts(partner_center)]
    names = [each["ms-requestid"] for each in sent]
    uuid.UUID(names[0])
    assert names[0] == names[1] != names[2]
    assert len({each["client-request-id"] for each in sent}) == 3


def test_what_names_the_record_already_is_found_not_created(
    pc: System, partner_center: PartnerCenter, crm_id: str
) -> None:
    partner_center.settings(page_size=2, skiptoken_on="engagements")
    there = partner_center.add_referral(kind="partner-led", externalReferenceId=crm_id.upper())
    for _ in range(5):
        partner_center.add_referral(kind="partner-led")
    wanted = create(crm_id)

    answer = pc.write(wanted)

    assert (answer["result"], answer["is_created"], answer["is_certain"]) == ("done", False, False)
    assert answer["record_id"] == answer["deal_key"] == there["id"]
    assert pc.shows(answer["documents"], wanted) == (True, False)
    assert posts(partner_center) == []
    found = pc.find(wanted)
    assert (found["result"], found["record_id"], found["documents"]) == ("done", there["id"], answer["documents"])


def test_what_is_found_comes_with_microsofts_side(pc: System, partner_center: PartnerCenter, crm_id: str) -> None:
    there = partner_center.add_referral(kind="partner-cosell", externalReferenceId=crm_id)

    answer = pc.find(create(crm_id))

    assert [each["role"] for each in answer["documents"]] == ["own", "related"]
    assert answer["record_id"] == there["id"]


def test_nothing_to_find_is_gone(pc: System, partner_center: PartnerCenter, crm_id: str) -> None:
    partner_center.add_referral(kind="partner-led")

    answer = pc.find(create(crm_id))

    assert (answer["result"], answer["error"]["code"]) == ("gone", "partner_center.not_found")
    assert posts(partner_center) == []


def test_an_open_deal_is_preferred_to_a_closed_one(pc: System, partner_center: PartnerCenter, crm_id: str) -> None:
    partner_center.add_referral(
        kind="partner-led", externalReferenceId=crm_id, status="Closed", substatus="Lost", createdDateTime=LONG_AGO
    )
    still_open = partner_center.add_referral(kind="partner-led", externalReferenceId=crm_id)

    assert pc.write(create(crm_id))["record_id"] == still_open["id"]


def test_what_is_found_and_cannot_be_read_is_not_created_again(
    pc: System, partner_center: PartnerCenter, crm_id: str
) -> None:
    partner_center.add_referral(kind="partner-led", externalReferenceId=crm_id)
    partner_center.fault("status", "GET", f"{REFERRALS}/", status=404, times=None)

    for answer in (pc.write(create(crm_id)), pc.find(create(crm_id))):
        assert answer["result"] == "refused"
    assert posts(partner_center) == []


# --- The bounds of a look ---------------------------------------------------------------------------------------------


def bounded(partner_center: PartnerCenter, authority: Authority, folder: Path, pages: int, **keys: Any) -> System:
    partner_center.settings(page_size=1)
    return System("partner-center", folder, partner_center_keys(partner_center, authority, lookup_pages=pages, **keys))


def test_a_look_ends_after_its_pages(
    partner_center: PartnerCenter, authority: Authority, tmp_path: Path, crm_id: str
) -> None:
    for _ in range(6):
        partner_center.add_referral(kind="partner-led")
    with bounded(partner_center, authority, tmp_path, 3) as system:
        assert system.find(create(crm_id))["result"] == "gone"
    assert len(lists(partner_center)) == 3


def test_a_look_goes_on_while_referrals_are_younger_than_the_decision(
    partner_center: PartnerCenter, authority: Authority, tmp_path: Path, crm_id: str
) -> None:
    """The decision waited while others were created: its referral, if it was made, is behind them."""
    there = partner_center.add_referral(kind="partner-led", externalReferenceId=crm_id)
    for _ in range(5):
        partner_center.add_referral(kind="partner-led")
    with bounded(partner_center, authority, tmp_path, 1) as system:
        assert system.find(create(crm_id, decided_at=LONG_AGO))["record_id"] == there["id"]
    assert len(lists(partner_center)) == 6


def test_a_look_that_cannot_tell_creates_nothing(
    partner_center: PartnerCenter, authority: Authority, tmp_path: Path, crm_id: str
) -> None:
    for _ in range(101):
        partner_center.add_referral(kind="partner-led", _sim={"events": False})
    with bounded(partner_center, authority, tmp_path, 1) as system:
        answer = system.write(create(crm_id, decided_at=LONG_AGO))
    assert (answer["result"], answer["calls"]) == ("refused", 100)
    assert answer["error"]["code"] == "partner_center.lookup_incomplete"
    assert posts(partner_center) == []


@pytest.mark.parametrize("link", ["http://elsewhere.example/v1.0/referrals", 'http://elsewhere.example/?a="b c"#d'])
def test_a_list_that_cannot_be_followed_is_no_absence(
    pc: System, partner_center: PartnerCenter, crm_id: str, link: str
) -> None:
    page = {"value": [], "@odata.nextLink": link}
    partner_center.fault("status", "GET", f"{REFERRALS}$", status=200, body=page, times=None)

    assert pc.write(create(crm_id))["result"] == "refused"
    assert posts(partner_center) == []


@pytest.mark.parametrize(
    ("action", "more", "result"),
    [
        ("status", {"status": 503}, "retry"),
        ("status", {"status": 500}, "retry"),
        ("status", {"status": 404}, "refused"),
        ("status", {"status": 200, "body": {}}, "retry"),
        ("html", {}, "retry"),
        ("truncate", {}, "retry"),
        ("drop", {"times": None}, "retry"),
    ],
)
def test_a_look_that_fails_creates_nothing(
    pc: System, partner_center: PartnerCenter, crm_id: str, action: str, more: dict[str, Any], result: str
) -> None:
    partner_center.fault(action, "GET", f"{REFERRALS}$", **more)

    assert pc.write(create(crm_id))["result"] == result
    assert posts(partner_center) == []


def test_a_look_by_filter(
    partner_center: PartnerCenter, authority: Authority, tmp_path: Path, crm_id: str
) -> None:
    partner_center.settings(filter_external_reference=True)
    there = partner_center.add_referral(kind="partner-led", externalReferenceId="it's 1&2")
    keys = partner_center_keys(partner_center, authority, lookup="filter")
    with System("partner-center", tmp_path, keys) as system:
        assert system.find(create("it's 1&2"))["record_id"] == there["id"]
        assert system.find(create(crm_id))["result"] == "gone"
    assert len(lists(partner_center)) == 2


def test_a_filter_the_service_does_not_take_creates_nothing(
    partner_center: PartnerCenter, authority: Authority, tmp_path: Path, crm_id: str
) -> None:
    keys = partner_center_keys(partner_center, authority, lookup="filter")
    with System("partner-center", tmp_path, keys) as system:
        assert system.write(create(crm_id))["result"] == "refused"
    assert posts(partner_center) == []


# --- Answers to the POST ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["html", "garbage", "truncate", "oversize", "apply-then-drop", "drop"])
def test_useless_answers_to_a_post_leave_it_unknown(
    pc: System, partner_center: PartnerCenter, crm_id: str, action: str
) -> None:
    """However often it is repeated, there is one referral."""
    wanted = create(crm_id)
    partner_center.fault(action, "POST", f"{REFERRALS}$")

    lost = pc.write(wanted)
    assert (lost["result"], lost["error"]["class"], lost["documents"]) == ("unknown", "transient", None)
    assert not lost["is_created"]

    was_applied = len(referrals(partner_center)) == 1
    assert was_applied == (action not in ("html", "drop"))
    found = pc.find(wanted)
    assert found["result"] == ("done" if was_applied else "gone")
    repeated = pc.write(wanted)
    assert (repeated["result"], repeated["is_created"]) == ("done", not was_applied)
    assert len(referrals(partner_center)) == 1


@pytest.mark.parametrize(
    ("status", "code", "result", "word"),
    [
        (400, "invalidRequest", "refused", "refused"),
        (400, "serviceNotAvailable", "retry", "unavailable"),
        (403, "accessDenied", "refused", "forbidden"),
        (404, "itemNotFound", "refused", "not_found"),
        (413, "invalidRequest", "refused", "refused"),
        (422, "invalidRequest", "refused", "refused"),
        (423, "resourceModified", "retry", "unavailable"),
        (429, "generalException", "retry", "unavailable"),
        (500, "generalException", "unknown", "unknown_outcome"),
        (502, "generalException", "unknown", "unknown_outcome"),
        (503, "serviceNotAvailable", "retry", "unavailable"),
        (504, "generalException", "unknown", "unknown_outcome"),
        (507, "generalException", "unknown", "unknown_outcome"),
        (509, "generalException", "retry", "unavailable"),
    ],
)
def test_what_answers_to_a_post_mean(
    pc: System, partner_center: PartnerCenter, crm_id: str, status: int, code: str, result: str, word: str
) -> None:
    body = {"error": {"code": code, "message": "No.", "target": "referral"}}
    partner_center.fault("status", "POST", f"{REFERRALS}$", status=status, body=body)

    answer = pc.write(create(crm_id))

    assert (answer["result"], answer["status"]) == (result, status)
    assert answer["error"]["code"] == f"partner_center.{word}"
    assert len(posts(partner_center)) == 1


@pytest.mark.parametrize("body", ["", {}, {"id": "7"}, {"id": str(uuid.uuid4()), "organizationId": "msft"}])
def test_a_success_that_shows_no_referral_leaves_it_unknown(
    pc: System, partner_center: PartnerCenter, crm_id: str, body: Any
) -> None:
    partner_center.fault("status", "POST", f"{REFERRALS}$", status=201, body=body)

    assert pc.write(create(crm_id))["result"] == "unknown"


@pytest.mark.parametrize("status", [409, 412])
def test_what_is_said_to_exist_is_looked_for_again(
    pc: System, partner_center: PartnerCenter, crm_id: str, status: int
) -> None:
    partner_center.fault("status", "POST", f"{REFERRALS}$", status=status)

    answer = pc.write(create(crm_id))

    assert (answer["result"], answer["error"]["class"]) == ("conflict", "transient")
    assert (len(lists(partner_center)), len(posts(partner_center))) == (2, 1)


def test_a_creation_that_the_service_refuses_is_refused(
    pc: System, partner_center: PartnerCenter, crm_id: str
) -> None:
    answer = pc.write(create(crm_id, deal(**{"customerProfile.address.country": "Britain"})))

    assert (answer["result"], answer["status"], answer["error"]["class"]) == ("refused", 400, "poison")
    assert "Britain" not in answer["error"]["message"]


def test_a_creation_whose_lease_is_lost_is_not_sent(pc: System, partner_center: PartnerCenter, crm_id: str) -> None:
    answer = pc.write(create(crm_id), may_send=False)

    assert (answer["result"], answer["status"]) == ("retry", 0)
    assert posts(partner_center) == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"create_key": {}}, "partner_center.no_key"),
        ({"create_key": {"externalReferenceId": ""}}, "partner_center.no_key"),
        ({"create_key": {"externalReferenceId": "a", "name": "b"}}, "partner_center.no_key"),
        ({"create_key": {"engagementId": str(uuid.uuid4())}}, "partner_center.no_key"),
        ({"record_type": "invitation"}, "partner_center.no_key"),
        ({"record_type": "invitation", "create_key": {"engagementId": "x' or 'a' eq 'a"}}, "partner_center.no_key"),
        ({"record_type": "lead"}, "partner_center.action"),
        ({"write": {"details": {}, "details.notes": "a"}}, "partner_center.path"),
        ({"write": {"team[].email": "a"}}, "partner_center.path"),
    ],
)
def test_creations_that_cannot_be_sent(
    pc: System, partner_center: PartnerCenter, crm_id: str, changes: dict[str, Any], code: str
) -> None:
    answer = pc.write(create(crm_id) | changes)

    assert (answer["result"], answer["error"]["class"], answer["error"]["code"]) == ("not begun", "poison", code)
    assert partner_center.journal() == []


def test_only_creations_settle(
    partner_center: PartnerCenter, authority: Authority, tmp_path: Path, crm_id: str
) -> None:
    keys = partner_center_keys(partner_center, authority, settling_time="7s")
    with System("partner-center", tmp_path, keys) as system:
        assert system.settling_ms(create(crm_id)) == 7000
        update = create(crm_id, action="update", record_id=crm_id, expected_etag='"x"')
        assert system.settling_ms(update) == 0


# --- Inviting Microsoft -----------------------------------------------------------------------------------------------


def test_microsoft_is_invited_by_a_second_post(pc: System, partner_center: PartnerCenter, crm_id: str) -> None:
    own = created(pc, crm_id, shared())
    wanted = invite(own)

    answer = pc.write(wanted)

    assert answer["result"] == "done" and answer["is_created"]
    assert [(each["role"], each["body"]["organizationId"]) for each in answer["documents"]][1] == ("related", "msft")
    assert (answer["deal_key"], answer["documents"][0]["id"]) == (own["id"], own["id"])
    assert answer["record_id"] == answer["documents"][1]["id"] != own["id"]
    assert pc.shows(answer["documents"], wanted) == (True, False)
    body = json.loads(posts(partner_center)[1]["body"])
    assert body["engagementId"] == own["engagementId"]
    assert body["target"] == [{"type": "BusinessProfileLocation", "id": "msft"}]
    assert body["inviteContext"] == {"assistanceRequestCode": "CustomerTechnicalArchitecture"}


def test_an_invitation_upgrades_and_the_answer_shows_it(
    pc: System, partner_center: PartnerCenter, crm_id: str
) -> None:
    own = created(pc, crm_id, deal(**{"consent.consentToShareReferralWithMicrosoftSellers": True}))

    answer = pc.write(invite(own))

    assert answer["documents"][0]["body"]["type"] == "Shared"
    assert answer["documents"][0]["etag"] != own["eTag"]


@pytest.mark.parametrize("knows_ours", [True, False])
def test_microsoft_is_not_invited_twice(
    pc: System, partner_center: PartnerCenter, crm_id: str, knows_ours: bool
) -> None:
    own = created(pc, crm_id, shared())
    wanted = invite(own, referral_id=own["id"] if knows_ours else None)
    first = pc.write(wanted)

    again, found = pc.write(wanted), pc.find(wanted)

    assert (again["result"], again["is_created"], again["is_certain"]) == ("done", False, False)
    assert first["record_id"] == again["record_id"] == found["record_id"]
    versions = [[(each["id"], each["etag"]) for each in answer["documents"]] for answer in (first, again, found)]
    assert versions[0] == versions[1] == versions[2]
    assert again["deal_key"] == own["id"]
    assert len(posts(partner_center)) == 2


def test_an_invitation_of_nobody_is_gone(pc: System, partner_center: PartnerCenter, crm_id: str) -> None:
    own = created(pc, crm_id, shared())

    assert pc.find(invite(own))["result"] == "gone"
    assert pc.shows([{"role": "own", "id": own["id"], "body": own}], invite(own)) == (False, False)


@pytest.mark.parametrize("action", ["apply-then-drop", "drop", "garbage"])
def test_a_lost_answer_to_an_invitation_makes_one(
    pc: System, partner_center: PartnerCenter, crm_id: str, action: str
) -> None:
    own = created(pc, crm_id, shared())
    wanted = invite(own)
    partner_center.fault(action, "POST", f"{REFERRALS}$")

    assert pc.write(wanted)["result"] == "unknown"
    assert pc.find(wanted)["result"] == ("gone" if action == "drop" else "done")
    assert pc.write(wanted)["result"] == "done"
    assert len(referrals(partner_center)) == 2


def test_an_invitation_that_is_said_to_exist_is_found(pc: System, partner_center: PartnerCenter, crm_id: str) -> None:
    """The list did not show it yet at the first look."""
    partner_center.settings(second_invite="409")
    own = created(pc, crm_id, shared())
    pc.write(invite(own))
    page = {"value": [own]}
    partner_center.fault("status", "GET", f"{REFERRALS}$", status=200, body=page)

    answer = pc.write(invite(own))

    assert (answer["result"], answer["is_created"]) == ("done", False)
    assert len(referrals(partner_center)) == 2


def test_an_invitation_whose_result_cannot_be_read_is_unknown_and_found(
    pc: System, partner_center: PartnerCenter, crm_id: str
) -> None:
    own = created(pc, crm_id, shared())
    partner_center.fault("status", "GET", own["id"], status=503)

    answer = pc.write(invite(own))

    assert (answer["result"], answer["is_created"]) == ("unknown", False)
    assert pc.find(invite(own))["result"] == "done"


def test_an_invitation_to_a_closed_deal_is_refused(pc: System, partner_center: PartnerCenter, crm_id: str) -> None:
    own = created(pc, crm_id, shared())
    partner_center.edit_referral(own["id"], status="Closed", substatus="Lost")

    answer = pc.write(invite(own))

    assert (answer["result"], answer["status"]) == ("refused", 400)


def test_microsofts_side_alone_is_not_taken_for_ours(pc: System, partner_center: PartnerCenter, crm_id: str) -> None:
    """Our referral has become invisible: that is no reason to invite again."""
    own = created(pc, crm_id, shared())
    pc.write(invite(own))
    partner_center.edit_referral(own["id"], _sim={"visible": "404"})

    for wanted in (invite(own), invite(own, referral_id=None)):
        assert pc.write(wanted)["result"] == "refused"
    assert len(posts(partner_center)) == 2


# --- End --------------------------------------------------------------------------------------------------------------


def test_freeing_the_system_answers_creations_under_way(
    pc: System, partner_center: PartnerCenter, crm_id: str
) -> None:
    pc.find(create(crm_id))
    partner_center.settings(latency_ms=3000)
    asked = [pc.tell(do="write", decision=create(str(uuid.uuid4())), may_send=True) for _ in range(3)]
    asked.append(pc.tell(do="list", listing="updated"))
    pc.trouble()

    assert pc.end() == 0

    assert {pc.answer(number)["result"] for number in asked} == {"retry"}
    assert posts(partner_center) == []
