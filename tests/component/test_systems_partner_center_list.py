"""Listing referrals page by page, against the simulator over TLS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.simulators import PartnerCenter
from support.systems import System, partner_center_keys
from support.tls import Authority

REFERRALS = "/v1.0/engagements/referrals"

pytestmark = pytest.mark.asan


@pytest.fixture
def pc(partner_center: PartnerCenter, authority: Authority, tmp_path: Path) -> Iterator[System]:
    with System("partner-center", tmp_path, partner_center_keys(partner_center, authority)) as system:
        yield system


def ids(page: dict[str, Any]) -> list[str]:
    return [each["id"] for each in page["documents"]]


def all_pages(pc: System, listing: str) -> list[dict[str, Any]]:
    pages = [pc.list(listing)]
    while pages[-1].get("next") is not None:
        assert len(pages) < 100
        pages.append(pc.list(listing, pages[-1]["next"]))
    return pages


def test_changes_come_newest_first_a_page_at_a_call(pc: System, partner_center: PartnerCenter) -> None:
    partner_center.settings(page_size=2, skiptoken_on="engagements")
    made = [partner_center.add_referral(kind="partner-led")["id"] for _ in range(5)]
    partner_center.edit_referral(made[1], details={"notes": "changed"})

    pages = all_pages(pc, "updated")

    assert [len(page["documents"]) for page in pages] == [2, 2, 1]
    assert [each for page in pages for each in ids(page)] == [made[1], made[4], made[3], made[2], made[0]]
    assert {page["result"] for page in pages} == {"done"}
    assert {page["skipped"] for page in pages} == {0}
    assert len(partner_center.journal(method="GET", path=REFERRALS)) == 3
    assert {each["path"] for each in partner_center.journal(path="/v1.0/")} == {REFERRALS}


def test_creations_come_newest_first_whatever_has_changed(pc: System, partner_center: PartnerCenter) -> None:
    made = [partner_center.add_referral(kind="partner-led")["id"] for _ in range(3)]
    partner_center.edit_referral(made[0], details={"notes": "changed"})

    (page,) = all_pages(pc, "created")

    assert ids(page) == made[::-1]


def test_documents_are_as_a_reading_gives_them(pc: System, partner_center: PartnerCenter) -> None:
    referral = partner_center.add_referral(kind="partner-led")

    (document,) = pc.list("updated")["documents"]

    read = pc.read("referral", referral["id"])["documents"][0]
    del read["body"]["@odata.context"]
    assert document == read


@pytest.mark.parametrize(("listing", "status"), [("shared-active", "Active"), ("shared-new", "New")])
def test_open_shared_deals(pc: System, partner_center: PartnerCenter, listing: str, status: str) -> None:
    wanted = {}
    for each in ("Active", "New"):
        wanted[each] = partner_center.add_referral(kind="partner-cosell", status=each)["id"]
    partner_center.add_referral(kind="partner-cosell", status="Closed", substatus="Lost")
    partner_center.add_referral(kind="partner-led", status=status)

    assert ids(pc.list(listing)) == [wanted[status]]


def test_microsofts_referrals_are_told_from_ours(pc: System, partner_center: PartnerCenter) -> None:
    partner_center.settings(related_in_lists="always")
    referral = partner_center.add_referral(kind="partner-cosell")

    roles = {each["id"]: each["role"] for each in pc.list("updated")["documents"]}

    assert len(roles) == 2 and roles.pop(referral["id"]) == "own"
    assert list(roles.values()) == ["related"]


def test_an_entry_without_an_id_does_not_hold_up_the_others(pc: System, partner_center: PartnerCenter) -> None:
    referral = partner_center.add_referral(kind="partner-led")
    body = {"value": [None, {}, {"id": "x/../y"}, referral, "text"]}
    partner_center.fault("status", "GET", f"{REFERRALS}$", status=200, body=body)

    page = pc.list("updated")

    assert (page["result"], ids(page), page["skipped"]) == ("done", [referral["id"]], 4)


def test_an_empty_list_is_one_page(pc: System) -> None:
    page = pc.list("updated")

    assert (page["result"], page["documents"], page.get("next")) == ("done", [], None)


def test_a_link_without_a_query_is_not_the_end_of_the_list(pc: System, partner_center: PartnerCenter) -> None:
    body = {"value": [], "@odata.nextLink": "http://elsewhere.example/v1.0/referrals"}
    partner_center.fault("status", "GET", f"{REFERRALS}$", status=200, body=body)

    page = pc.list("updated")

    assert (page["result"], page["error"]["code"]) == ("refused", "partner_center.bad_response")
    assert page["documents"] is None


@pytest.mark.parametrize("token", ["$skiptoken=old", "$skiptoken=a b", "a#b", "\r\nHost: elsewhere.example", ""])
def test_a_continuation_that_is_not_taken_is_refused(pc: System, partner_center: PartnerCenter, token: str) -> None:
    partner_center.fault("status", "GET", f"{REFERRALS}$", status=400, times=None)

    page = pc.list("updated", token)

    assert (page["result"], page["error"]["class"]) == ("refused", "poison")
    assert {each["path"] for each in partner_center.journal(path="/v1.0/")} <= {REFERRALS}


@pytest.mark.parametrize(
    ("action", "more", "result"),
    [
        ("status", {"status": 500}, "retry"),
        ("status", {"status": 403}, "refused"),
        ("status", {"status": 404}, "refused"),
        ("status", {"status": 401, "times": 2}, "blocked"),
        ("status", {"status": 200, "body": {"value": {}}}, "retry"),
        ("html", {}, "retry"),
        ("oversize", {}, "retry"),
        ("drop", {"times": None}, "retry"),
    ],
)
def test_failures_are_told_as_of_a_reading(
    pc: System, partner_center: PartnerCenter, action: str, more: dict[str, Any], result: str
) -> None:
    partner_center.fault(action, "GET", f"{REFERRALS}$", **more)

    page = pc.list("updated")

    assert (page["result"], page["documents"], page.get("next")) == (result, None, None)


def test_retry_after_is_told(pc: System, partner_center: PartnerCenter) -> None:
    partner_center.fault("status", "GET", f"{REFERRALS}$", status=429, headers={"Retry-After": "7"})

    page = pc.list("updated")

    assert (page["result"], page["status"], page["retry_after_ms"]) == ("retry", 429, 7000)
