"""Scenarios 1 to 3: what happens at Partner Center reaches the CRM."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from demonstration.running import DEADLINE, Running, body_of, heading, say
from demonstration.telling import state_of, story
from support.waiting import wait_until

KINDS = {
    "microsoft-cosell": "a co-sell deal that a Microsoft seller sends to us",
    "partner-cosell": "a co-sell deal that we sent to Microsoft",
    "partner-led": "a partner-led deal, which Microsoft can see",
    "private": "a private deal",
}


def new_deals(running: Running) -> dict[str, str]:
    """Referrals by kind."""
    heading("scenario 1: new deals in Partner Center become opportunities")
    referrals, rows = {}, {}
    for kind, told in KINDS.items():
        referral = running.partner_center.add_referral(kind=kind)["id"]
        row = rows[kind] = running.wait_linked_row(referral)
        say(f"   {told + ':':52} opportunity {row['opportunityid'][:8]}…, {state_of(row)}; each names the other")
        referrals[kind] = referral
    running.wait_quiet()
    say("\n   the story of the first one, from its webhook on:")
    first = referrals["microsoft-cosell"]
    story(running, [first], [first, rows["microsoft-cosell"]["opportunityid"]])
    return referrals


def updates(running: Running, referral: str) -> None:
    heading("scenario 2: an update is one PATCH of the changed columns; no change is no call")

    def patches(since: int) -> list[dict[str, Any]]:
        return running.dynamics_365.journal(since, "PATCH", "/opportunities")

    for told, change in {
        "deal value 61,500.25": {"dealValue": 61500.25},
        "closing date 2031-03-31": {"closingDateTime": "2031-03-31T00:00:00Z"},
        "notes": {"notes": "The board has agreed."},
    }.items():
        since = running.dynamics_365_position()
        running.partner_center.edit_referral(referral, details=change)
        [patch] = wait_until(lambda: patches(since), DEADLINE, "the CRM got a PATCH")
        shown = ", ".join(name for name in body_of(patch) if not name.endswith("syncaudit"))
        say(f"   {told + ':':26} PATCH of {shown} (and the audit text)")
    running.wait_quiet()
    since, before = running.dynamics_365_position(), running.decision_count()
    event = {"EventName": "referral-updated", "ResourceName": "referral", "AuditUri": None}
    event["ResourceUri"] = f"https://api.partnercenter.microsoft.com/engagements/v1/referrals/{referral}"
    event["ResourceChangeUtcDate"] = datetime.now(timezone.utc).isoformat()
    running.partner_center.admin("POST", "/_sim/events", event)
    wait_until(lambda: running.decision_count() > before, DEADLINE, "the event has been decided on")
    reason = running.decisions(referral)[-1]["reason"]
    say(f"   {'an event without a change:':26} {len(patches(since))} writes; decision none: {reason}")


def life(running: Running, referrals: dict[str, str]) -> None:
    heading("scenario 3: Microsoft answers; deals are closed")
    shared = referrals["partner-cosell"]
    running.partner_center.microsoft_answers(shared, "accept", msxId="7-DEMO000001")
    row = wait_until(
        lambda: (found := running.stack.opportunity_of(shared)) and found.get("msft_microsoftcrmidentifier") and found,
        DEADLINE,
        "Microsoft's CRM identifier has arrived",
    )
    say(f"   Microsoft accepts: Microsoft CRM Identifier {row['msft_microsoftcrmidentifier']} on the opportunity")
    for kind, substatus in {"partner-cosell": "Won", "private": "Lost"}.items():
        running.partner_center.edit_referral(referrals[kind], status="Closed", substatus=substatus)
        row = wait_until(
            lambda: (found := running.stack.opportunity_of(referrals[kind])) and found["statecode"] != 0 and found,
            DEADLINE,
            "the opportunity is closed",
        )
        say(f"   {substatus} in Partner Center: opportunity {state_of(row)}")
