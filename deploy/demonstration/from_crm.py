"""Scenarios 4 to 7: what a seller does in the CRM reaches Partner Center, and both sides at once."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Any

from demonstration.running import DEADLINE, IDENTIFIER, Running, body_of, heading, say
from demonstration.telling import AUDIT_COLUMN, CONFLICTS, LINK_COLUMN, moment, psql, shorten, state_of, story
from support.waiting import wait_until

HELP = "Proof of Concept or Demo"
NEXT_SECOND = 1.1  # the CRM tells times in whole seconds


class Clock:
    """Tells what happened how long after a seller's click."""

    def __init__(self) -> None:
        self._begin = datetime.now(timezone.utc)

    def say(self, text: str, at: datetime | None = None) -> None:
        passed = ((at or datetime.now(timezone.utc)) - self._begin).total_seconds() * 1000
        say(f"   {passed:9.1f} ms  {text}")


def audit_line(running: Running, opportunity: str) -> str:
    return str(running.row(opportunity)[AUDIT_COLUMN] or "").partition("\n")[0]


def creations(running: Running, since: int) -> list[dict[str, Any]]:
    return running.partner_center.journal(since, "POST", "/referrals")


def private_deal(running: Running) -> str:
    heading("scenario 4: an opportunity with Sync with Partner Center = Yes becomes a referral; here a private one")
    since = running.partner_center_position()
    opportunity = running.dynamics_365.add_deal(name="Ticket machines", sync=True)["id"]
    referral = running.wait_linked_referral(opportunity)
    running.wait_quiet()
    story(running, [f"crm:{opportunity}", referral], [opportunity, referral])
    row, ours = running.row(opportunity), running.referral(referral)
    is_visible = ours["consent"]["consentToShareReferralWithMicrosoftSellers"]
    say(
        f"   referral {referral[:8]}… by {len(creations(running, since))} POST: {ours['type']}, {ours['status']},"
        f" {'visible' if is_visible else 'not visible'} to Microsoft, externalReferenceId is the opportunity's id"
    )
    say(f"   in the CRM: \"{row['name']}\", identifier {row[IDENTIFIER][:8]}…, link {shorten(row[LINK_COLUMN], 60)}")
    return opportunity


def cosell_deal(running: Running) -> tuple[str, str]:
    heading("scenario 5: a co-sell deal, with something missing at first")
    since = running.partner_center_position()
    opportunity = running.dynamics_365.add_deal(
        name="Tram depots", sync=True, help=HELP, estimatedvalue=None, estimatedclosedate=None
    )["id"]
    clock = Clock()
    clock.say(f'a seller saves "Tram depots", help: {HELP}; revenue and closing date are empty')
    wait_until(lambda: audit_line(running, opportunity), DEADLINE, "the seller is told")
    clock.say("the seller reads in the Audit column:")
    say(f"                 {audit_line(running, opportunity)}")
    say(f"                 sent to Partner Center so far: {len(creations(running, since))} POSTs")
    running.dynamics_365.edit_deal(opportunity, estimatedvalue=84000, estimatedclosedate="2031-06-30")
    clock = Clock()
    clock.say("the seller enters both")
    referral = running.wait_linked_referral(opportunity)
    linked = datetime.now(timezone.utc)
    for entry in creations(running, since):
        body = body_of(entry)
        if "engagementId" in body:
            asked = (body.get("inviteContext") or {}).get("assistanceRequestCode")
            told = f"POST: Microsoft is invited (help: {asked})"
        else:
            told = f"POST: the referral ({body['type']}, {body['details']['dealValue']} {body['details']['currency']})"
        clock.say(f"{told}, HTTP {entry['status']}, {entry['duration_ms']:.0f} ms there", moment(entry["time"]))
    row = running.row(opportunity)
    clock.say(f"the CRM has identifier {row[IDENTIFIER][:8]}…, link and check mark: \"{row['name']}\"", linked)
    clock.say(f'Audit column: "{audit_line(running, opportunity)}"', linked)
    running.wait_quiet()
    running.partner_center.microsoft_answers(referral, "accept", msxId="7-DEMO000002")
    wait_until(lambda: running.row(opportunity)["msft_microsoftcrmidentifier"], DEADLINE, "Microsoft's id has arrived")
    say("   Microsoft accepts: Microsoft CRM Identifier 7-DEMO000002 on the opportunity")
    running.wait_quiet()
    return opportunity, referral


def edit(running: Running, opportunity: str, referral: str) -> None:
    heading("scenario 6: an edit in the CRM is one PATCH at Partner Center")
    since = running.partner_center_position()
    clock = Clock()
    changes = {"estimatedvalue": 91250.5, "description": "Two depots, not one."}
    running.dynamics_365.edit_row("opportunities", opportunity, **changes)
    clock.say("the seller saves estimated revenue and description")

    def patches() -> list[dict[str, Any]]:
        return running.partner_center.journal(since, "PATCH", f"/referrals/{referral}")

    wait_until(patches, DEADLINE, "Partner Center got a PATCH")
    running.wait_quiet()
    [patch] = patches()
    tag = next(value for name, value in patch["headers"].items() if name.lower() == "if-match")
    clock.say(f"PATCH, If-Match: {tag}, HTTP {patch['status']}", moment(patch["time"]))
    for operation in body_of(patch):
        say(f"                 {operation['op']} {operation['path']} {operation['value']}")


def both_at_once(running: Running, opportunity: str, referral: str) -> None:
    heading("scenario 7: both sides at once, before Tandem hears of either")
    with running.unheard():
        running.dynamics_365.edit_row("opportunities", opportunity, description="The seller's words")
        running.partner_center.edit_referral(referral, details={"dealValue": 93000})

    def has_both() -> bool:
        row, details = running.row(opportunity), running.referral(referral)["details"]
        return float(row["estimatedvalue"]) == 93000 and details["notes"] == "The seller's words"

    wait_until(has_both, DEADLINE, "both edits stand on both sides")
    say("   different fields: value 93000 set in the portal, notes set in the CRM; both stand on both sides")
    running.wait_quiet()
    with running.unheard():
        running.partner_center.edit_referral(referral, details={"closingDateTime": "2032-02-02T00:00:00Z"})
        time.sleep(NEXT_SECOND)
        running.dynamics_365.edit_row("opportunities", opportunity, estimatedclosedate="2033-03-03")

    def is_settled() -> bool:
        date = running.referral(referral)["details"]["closingDateTime"]
        return bool(date[:10] == running.row(opportunity)["estimatedclosedate"] == "2033-03-03")

    wait_until(is_settled, DEADLINE, "the later closing date stands on both sides")
    say("   the same field: closing date 2032-02-02 in the portal, a second later 2033-03-03 in the CRM; the rules say")
    say("   `conflict: latest`, so 2033-03-03 stands on both sides. Both values are in the audit (view conflicts):")
    running.wait_quiet()
    psql(running, CONFLICTS, [referral])


def won(running: Running, opportunity: str, referral: str) -> None:
    running.dynamics_365.close_deal(opportunity, "won")
    wait_until(lambda: running.referral(referral)["substatus"] == "Won", DEADLINE, "the referral is closed")
    running.wait_quiet()
    say(f"   and at last the seller closes it: opportunity {state_of(running.row(opportunity))}, referral Closed, Won")
