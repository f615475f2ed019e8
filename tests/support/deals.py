"""Deals of a running stack, in the words of the trade: made, waited for, looked at."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.simulators import unheard
from support.stack import Stack
from support.waiting import wait_until

DEADLINE = 30
IDENTIFIER = "msft_microsoftpartnercenterreferralidentifier"


def wait_for_the_next_second() -> None:
    """The CRM tells the time of a change in whole seconds: what comes after this is later in both systems' words."""
    after = math.floor(time.time()) + 1
    wait_until(lambda: time.time() >= after, 5, "the second is over")


def _is_of_record(decision: dict[str, Any]) -> bool:
    return str(decision["cause_topic"]).endswith("records")


class Deals:
    """What tests ask of a running stack, in the words of the trade."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.partner_center = stack.partner_center
        self.dynamics_365 = stack.dynamics_365

    def decisions(self, referral: str) -> list[dict[str, Any]]:
        values = [json.loads(record.value or b"null") for record in self.stack.topics.read("decisions")]
        return [each for each in values if each["deal_key"] == referral]

    def referral(self, referral: str) -> dict[str, Any]:
        return self.partner_center.admin("GET", f"/_sim/referrals/{referral}")

    def opportunity(self, referral: str) -> dict[str, Any] | None:
        return self.stack.opportunity_of(referral)

    def referrals_of(self, opportunity: str) -> list[dict[str, Any]]:
        """Ours that name the opportunity; Microsoft's side is not among them."""
        every = self.partner_center.referrals()
        return [each for each in every if each.get("externalReferenceId") == opportunity and each["organizationId"] != "msft"]

    def microsofts(self, engagement: str) -> list[dict[str, Any]]:
        """Microsoft's sides of a deal, of which there is one at most."""
        every = self.partner_center.referrals()
        return [each for each in every if each["engagementId"] == engagement and each["organizationId"] == "msft"]

    def wait_identifier(self, opportunity: str, deadline: float = DEADLINE) -> str:
        """The referral's id, once the opportunity names it."""
        return wait_until(
            lambda: self.dynamics_365.row("opportunities", opportunity)[IDENTIFIER],
            deadline,
            "the opportunity has its identifier",
        )

    @contextmanager
    def unheard(self) -> Iterator[None]:
        """Both systems' webhooks wait until the end of the block."""
        with unheard(self.partner_center, self.dynamics_365):
            yield

    def new(self, kind: str = "private", **overrides: Any) -> str:
        """A new deal in Partner Center, waited for until both records name each other and nothing is under way."""
        referral = self.partner_center.add_referral(kind=kind, **overrides)["id"]
        self.wait_linked(referral)
        return referral

    def wait_linked(self, referral: str) -> dict[str, Any]:
        def linked() -> dict[str, Any] | None:
            row = self.opportunity(referral)
            return row if row and self.referral(referral).get("externalReferenceId") == row["opportunityid"] else None

        row = wait_until(linked, DEADLINE, f"referral {referral} and its opportunity name each other")
        self.wait_quiet(referral)
        return row

    def wait_quiet(self, referral: str) -> None:
        """Every webhook is delivered, every notification is decided on, and every decision has its outcome."""

        def is_quiet() -> bool:
            if any(
                each["state"] == "queued"
                for simulator in (self.partner_center, self.dynamics_365)
                for each in simulator.deliveries()["deliveries"]
            ):
                return False
            found = self.stack.topics.read_each("notifications", "records", "decisions", "outcomes", "dead-letters")
            read = {
                topic: [json.loads(each.value) for each in found[topic] if each.value]
                for topic in ("notifications", "records", "decisions", "outcomes")
            }
            caused = {cause["notification"] for record in read["records"] for cause in record.get("causes") or []}
            told = {(record["system"], each["etag"]) for record in read["records"] for each in record.get("documents") or []}
            notified = {
                each.headers["ce_id"].decode()
                for each, content in zip(found["notifications"], read["notifications"])
                # What the poller finds is not read where that version was told.
                if content["origin"] != "poll" or (content["source"], content.get("etag")) not in told
            }
            if len(notified - caused) > len(found["dead-letters"]):
                return False
            # One that was forwarded to another key is there twice.
            records = len(
                {
                    (each["side"], each["record_id"], each["read_at"])
                    for each in read["records"]
                    if each["kind"] in ("reading", "gone")
                }
            )
            answered = {(each["cause_partition"], each["cause_offset"]) for each in read["decisions"] if _is_of_record(each)}
            writes = {each["id"] for each in read["decisions"] if each["action"] != "none"}
            return writes == {each["decision_id"] for each in read["outcomes"]} and len(answered) >= records

        wait_until(is_quiet, DEADLINE, f"nothing is under way any more (deal {referral})")

    def writes_since(self, center: int, crm: int) -> list[tuple[str, str]]:
        """Calls of either system that change something: method and what of, without the ids."""
        entries = self.partner_center.journal(center) + self.dynamics_365.journal(crm)
        return [
            (each["method"], each["path"].partition("(")[0].rpartition("/")[2] if "(" in each["path"] else "referral")
            for each in entries
            if each["method"] != "GET" and "oauth2" not in each["path"]
        ]

    def calls_about(self, referral: str, center: int, crm: int) -> list[tuple[str, str]]:
        """Calls that name the deal, of either of its records."""
        names = [referral, str(self.referral(referral)["engagementId"]), str(self.referral(referral)["externalReferenceId"])]
        entries = self.partner_center.journal(center) + self.dynamics_365.journal(crm)
        return [
            (each["method"], each["path"])
            for each in entries
            if any(name in json.dumps([each["path"], each["query"], each["body"]]) for name in names)
        ]

    def patches_since(self, position: int, referral: str) -> list[dict[str, Any]]:
        """Bodies of the changes of this deal's opportunity that the CRM was sent."""
        row = self.opportunity(referral)
        assert row is not None
        entries = self.dynamics_365.journal(position, "PATCH", f"opportunities({row['opportunityid']})")
        return [json.loads(each["body"]) for each in entries]

    def position(self) -> int:
        """Of the CRM's journal."""
        return self.dynamics_365.position()
