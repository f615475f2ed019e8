"""Plays a schedule of support/editing.py to a running stack, and holds what must be true of it afterwards."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from support.deals import Deals
from support.edit_history import Edit, EditHistory
from support.editing import BOTH_WAYS, CENTER, CRM, Step
from support.mapped_fields import Difference, Linked, differences_of, linked_of
from support.simulators import AdminError

IDENTIFIER = "msft_microsoftpartnercenterreferralidentifier"
AUDIT = "msft_microsoftpartnercenterreferralsyncaudit"
# How often a deal is looked at whose next step has to wait.
LOOK_AGAIN_SECONDS = 0.2
STORY_ROWS = 60
# How long both sides of a deal have agreed before an edit counts as alone.
QUIET_SECONDS = 1.0
COLUMNS = {
    "deal_value": "estimatedvalue",
    "currency": "currency",
    "closing_date": "estimatedclosedate",
    "notes": "description",
    "solutions": "solutions",
    "customer_contact": "contact",
    "own_team": "owner",
    "consent": "visible",
    "help": "help",
    "hold": "statuscode",
}
MEMBERS = {"deal_value": "dealValue", "currency": "currency", "closing_date": "closingDateTime", "notes": "notes"}
STATUS = {"Won": ("Closed", "Won"), "Lost": ("Closed", "Lost"), "Declined": ("Closed", "Declined")}


@dataclass
class Deal:
    number: int
    born: str
    is_from_microsoft: bool = False
    referral: str | None = None
    opportunity: str | None = None
    edits: dict[str, EditHistory] = field(default_factory=dict)
    late: Step | None = None  # what was done to it after it was closed
    done: list[str] = field(default_factory=list)  # by whom it was played, and when
    waiting: deque[Step] = field(default_factory=deque)
    look_at: float = 0.0
    agreed_since: float | None = None

    def is_met(self) -> bool:
        return self.referral is not None and self.opportunity is not None

    @property
    def edited(self) -> frozenset[str]:
        """What only goes to Partner Center, and the seller has edited."""
        return frozenset(name for name, history in self.edits.items() if history.of_side(CRM))


def comparable(name: str, value: Any) -> Any:
    """A field's value, of either side or the audit, as the schedule says it."""
    if value is None:
        return None
    return float(value) if name == "deal_value" else value[:10] if name == "closing_date" else value


class Editor:
    def __init__(self, deals: Deals) -> None:
        self.deals = deals
        self.center = deals.partner_center
        self.crm = deals.dynamics_365
        self.made: list[Deal] = []
        self.edits = 0
        self.alone: list[tuple[Deal, Step]] = []  # edits of quiet deals, and whose step they were
        self.lost_alone: list[str] = []
        self._currencies = {each["isocurrencycode"] for each in self.crm.rows("transactioncurrencies")["value"]}

    # playing

    def play(self, step: Step) -> None:
        """At once if it can be; else after what the deal waits for, and nothing else of the deal before it."""
        if step.what == "birth":
            self._bear(step)
            return
        [deal] = [each for each in self.made if each.number == step.deal]
        deal.waiting.append(step)
        if len(deal.waiting) == 1:
            self._go_on(deal)

    def go_on(self) -> bool:
        """What had to wait. Returns whether nothing waits any more."""
        now = time.monotonic()
        for deal in self.made:
            if deal.waiting and deal.look_at <= now:
                self._go_on(deal)
        return not any(deal.waiting for deal in self.made)

    def held_up(self) -> list[str]:
        return [
            f"deal {deal.number} {deal.referral} waits for {deal.waiting[0]}; differs: {self.differences_of(deal)}\n"
            + self.story(deal)
            for deal in self.made
            if deal.waiting
        ]

    def stories_of(self, findings: list[str]) -> list[str]:
        """Of the deals that are named there, and what the programs have warned of lately."""
        numbers = {int(each.split()[1]) for each in findings if each.startswith("deal ")}
        stories = [f"deal {deal.number}\n{self.story(deal)}" for deal in self.made if deal.number in numbers]
        warnings = self._log_lines(lambda line: '"level": "info"' not in line)
        return [*stories, *([f"warnings\n{warnings}"] if stories else [])]

    def _log_lines(self, wanted: Callable[[str], bool]) -> str:
        lines = [json.dumps(entry) for program in self.deals.stack.programs for entry in list(program.log)]
        return "\n".join(f"    {each}" for each in sorted(filter(wanted, lines))[-STORY_ROWS:])

    def story(self, deal: Deal) -> str:
        """What was played, what the seller was told, and the last of what the audit and the logs tell of the deal."""
        told = self.crm.row("opportunities", deal.opportunity)[AUDIT] if deal.opportunity else None
        rows = self.deals.stack.audit(
            "SELECT created_at::time(3)::text, phase, target, purpose, result, reason, detail, error_code, error_message, fields, "
            "conflicts FROM audit WHERE deal_key = %s OR crm_id = %s ORDER BY created_at DESC LIMIT %s",
            deal.referral,
            deal.opportunity,
            STORY_ROWS,
        )
        lines = ["    " + " | ".join(str(each) for each in row if each not in (None, [])) for row in reversed(rows)]
        ids = [each for each in (deal.referral, deal.opportunity) if each]
        logged = self._log_lines(lambda line: any(each in line for each in ids))
        return "\n".join([f"    told: {told}", *(f"    played: {each}" for each in deal.done), *lines, logged])

    def _go_on(self, deal: Deal) -> None:
        while deal.waiting and self._is_ready(deal, deal.waiting[0]):
            self._do(deal, deal.waiting.popleft())
            deal.agreed_since = None
        deal.look_at = time.monotonic() + LOOK_AGAIN_SECONDS

    def _bear(self, step: Step) -> None:
        deal = Deal(step.deal, step.side, step.value.get("kind") == "microsoft-cosell")
        if step.side == CENTER:
            deal.referral = self.center.add_referral(**step.value)["id"]
        else:
            deal.opportunity = self.crm.add_deal(**step.value)["id"]
        self.made.append(deal)

    def _is_ready(self, deal: Deal, step: Step) -> bool:
        self._meet(deal)
        if (deal.referral if step.side == CENTER else deal.opportunity) is None:
            return False
        if step.what == "microsoft":
            parties = self.center.engagement(self.deals.referral(deal.referral)["engagementId"])
            return any(each["status"] == "New" for each in parties["microsoft"])
        if step.what == "alone":
            return self._is_quiet(deal)
        if step.what == "arrival":
            return self._is_written_over(deal, step) or self._is_quiet(deal)
        # What one side does not know of the other when it is closed can never reach it.
        return step.what not in ("close", "late") or (deal.is_met() and not self.differences_of(deal))

    def _is_quiet(self, deal: Deal) -> bool:
        """Both sides agree, have agreed for a while, and nothing is being written."""
        if not deal.is_met() or self.differences_of(deal):
            deal.agreed_since = None
            return False
        deal.agreed_since = deal.agreed_since or time.monotonic()
        query = "SELECT 1 FROM open_intents WHERE deal_key = %s"
        is_over = time.monotonic() >= deal.agreed_since + QUIET_SECONDS
        return is_over and not self.deals.stack.audit(query, deal.referral)

    def _is_written_over(self, deal: Deal, step: Step) -> bool:
        """An edit that came alone is gone from the side it was made on."""
        shown = _shown(self.linked(deal, self._parties(deal)), step.field, step.side)
        return shown != _as_shown(step.field, step.value)

    def _meet(self, deal: Deal) -> None:
        """Learns the other record's id once both name each other."""
        if deal.referral is None:
            deal.referral = self.crm.row("opportunities", deal.opportunity)[IDENTIFIER]
        if deal.opportunity is None:
            deal.opportunity = self.deals.referral(deal.referral).get("externalReferenceId")

    def _do(self, deal: Deal, step: Step) -> None:
        deal.done.append(f"{datetime.now(timezone.utc):%T.%f} {step}")
        if step.what in ("edit", "alone"):
            self._edit(deal, step.side, {step.field: step.value})
        elif step.what == "arrival":
            self.alone.append((deal, step))
            if self._is_written_over(deal, step):
                self.lost_alone.append(f"deal {deal.number} {deal.referral}: {step} was written over")
        elif step.what == "accept" and step.side == CENTER:
            named = {} if "name" in deal.edits else {"name": f"Deal {deal.number}"}
            self.center.edit_referral(deal.referral, status="Active", substatus="Accepted", **named)
        elif step.what == "accept":
            self.crm.edit_row("opportunities", deal.opportunity, statecode=0, statuscode=1)
        elif step.what == "microsoft":
            self.center.microsoft_answers(deal.referral, step.value, reason=f"Reason {deal.number}")
        elif step.what == "close":
            self._edit(deal, step.side, step.value)
            self._close(deal, step)
        else:
            self._edit_closed(deal, step)

    def _edit(self, deal: Deal, side: str, values: dict[str, Any]) -> None:
        if not values:
            return
        if "currency" in values:
            self._know_currency(values["currency"])
        self._look(deal, [name for name in values if name in BOTH_WAYS])
        if side == CRM:
            words = {COLUMNS[name]: value for name, value in values.items()}
            self.crm.edit_deal(deal.opportunity, **words, **({"statecode": 0} if "hold" in values else {}))
        else:
            self.center.edit_referral(deal.referral, **_members(values))
        for name, value in values.items():
            deal.edits.setdefault(name, EditHistory()).add(side, value)
            self.edits += 1

    def _look(self, deal: Deal, names: list[str]) -> None:
        """What both sides show before an edit, so that it is known of which others it knows."""
        if not names or not deal.is_met():
            return
        linked = self.linked(deal, self._parties(deal))
        for name in names:
            shown = {side: _shown(linked, name, side) for side in (CENTER, CRM)}
            deal.edits.setdefault(name, EditHistory()).look(shown, deal.born)

    def _know_currency(self, code: str) -> None:
        """The organisation has a row of each currency it deals in."""
        if code not in self._currencies:
            words = {"currencyname": code, "currencysymbol": code, "currencyprecision": 2, "exchangerate": 1}
            self.crm.add_row("transactioncurrencies", isocurrencycode=code, **words)
            self._currencies.add(code)

    def _close(self, deal: Deal, step: Step) -> None:
        if step.side == CRM:
            status = {"Won": 3, "Lost": 5, "Declined": 4}[step.field]
            self.crm.close_deal(deal.opportunity, "won" if step.field == "Won" else "lost", status=status)
        elif step.field == "Expired":
            self.center.admin("POST", f"/_sim/referrals/{deal.referral}/expire", {})
        else:
            status, substatus = STATUS[step.field]
            self.center.edit_referral(deal.referral, status=status, substatus=substatus, statusReason="Decided.")

    def _edit_closed(self, deal: Deal, step: Step) -> None:
        deal.late = step
        words = f"After the end of deal {deal.number}"
        if step.side == CENTER:
            self.center.edit_referral(deal.referral, details={"notes": words})
        elif step.field == "reopen":
            self.crm.reopen_deal(deal.opportunity)
        else:
            try:
                self.crm.edit_deal(deal.opportunity, description=words)
            except AdminError:
                return
            raise AssertionError("the CRM has taken an edit of a closed opportunity")

    # looking

    def referrals(self) -> list[dict[str, Any]]:
        return self.center.admin("GET", "/_sim/referrals")["referrals"]

    def linked(self, deal: Deal, referrals: list[dict[str, Any]]) -> Linked:
        return linked_of(self.deals, referrals, deal.referral, deal.opportunity)

    def differences_of(self, deal: Deal) -> list[Difference]:
        if not deal.is_met():
            return [Difference("identifier", deal.referral, deal.opportunity)]
        return self._differences(deal, self._parties(deal))

    def _parties(self, deal: Deal) -> list[dict[str, Any]]:
        """The referrals of the deal, of either party."""
        parties = self.center.engagement(self.deals.referral(deal.referral)["engagementId"])
        return [*parties["own"], *parties["microsoft"]]

    def _differences(self, deal: Deal, referrals: list[dict[str, Any]]) -> list[Difference]:
        found = differences_of(self.linked(deal, referrals), deal.born, edited=deal.edited)
        return [each for each in found if each.field not in _left_apart(deal.late)]

    def differences(self) -> list[str]:
        """Of all mapped fields of all deals, and what has not been told of edits of closed ones."""
        referrals = self.referrals()
        found = []
        for deal in self.made:
            self._meet(deal)
            each = self._differences(deal, referrals) if deal.is_met() else self.differences_of(deal)
            found += [f"deal {deal.number} {deal.referral} {one}" for one in each]
            if deal.late is not None and not self._is_told(deal, deal.late):
                found.append(f"deal {deal.number} {deal.referral}: {deal.late} is not explained")
        return found

    def _is_told(self, deal: Deal, late: Step) -> bool:
        if late.field == "reopen":
            row = self.crm.row("opportunities", deal.opportunity)
            # Reopened before the answer to our closing of it had come, it is a conflict, which the end wins once more.
            query = "SELECT 1 FROM conflicts WHERE deal_key = %s AND field = 'stage' AND policy = 'closed' AND result = 'applied'"
            is_closed_again = row["statecode"] != 0 and bool(self.deals.stack.audit(query, deal.referral))
            return is_closed_again or "is final" in (row[AUDIT] or "")
        query = "SELECT 1 FROM deal_timeline WHERE deal_key = %s AND reason = 'crm_closed'"
        return late.side == CRM or bool(self.deals.stack.audit(query, deal.referral))

    # afterwards

    def lost_edits(self) -> tuple[list[str], int]:
        """Last edits of fields that do not stand there in the end, though nothing excuses it; and how many fields ended with
        an earlier edit of the other side, by their policy.

        The last edit of a field may lose only to an edit of the other side, or to what the deal was made with there, that
        was not yet visible where it was made. Values that were given to the field of a deal more than once are not judged:
        which of these edits the audit means could not be told. The schedule gives none twice within 600 edits."""
        referrals = self.referrals()
        lost, settled = [], 0
        for deal in self.made:
            linked = self.linked(deal, referrals)
            for name, history in deal.edits.items():
                last = history.last
                shown = _shown(linked, name, last.side)
                if shown == _as_shown(name, last.value) or name in _left_apart(deal.late):
                    continue
                if name == "hold" and (deal.is_from_microsoft or linked.row["statecode"] != 0):
                    continue  # answered or closed since
                other = history.of_side(CRM if last.side == CENTER else CENTER)
                if name not in BOTH_WAYS or not other or shown != other[-1].value:
                    lost.append(f"deal {deal.number} {deal.referral} {name}: {shown!r} is neither side's last, {last}")
                elif history.is_unique(last.value) and not self._is_excused(deal, name, last):
                    lost.append(f"deal {deal.number} {deal.referral} {name}: {last} was lost")
                else:
                    settled += 1
        return lost, settled

    def _conflicts(self, deal: Deal, name: str) -> list[tuple[dict[str, Any], str, str]]:
        """Both values, the winner and the result of each conflict of a field that the audit tells."""
        rows = self.deals.stack.audit(
            "SELECT partner_center, crm, winner, coalesce(result, '') FROM conflicts WHERE deal_key = %s AND field = %s",
            deal.referral,
            name,
        )
        return [({CENTER: comparable(name, row[0]), CRM: comparable(name, row[1])}, row[2], row[3]) for row in rows]

    def _winners(self, deal: Deal, name: str, edit: Edit) -> list[Edit]:
        """What the edit has lost to in a conflict that was settled, as the audit tells. That it says so is not enough: it
        has to be something the editor did."""
        return [
            each
            for values, winner, result in self._conflicts(deal, name)
            if result == "applied" and winner in (CENTER, CRM) and winner != edit.side and values[edit.side] == edit.value
            for each in deal.edits[name].of_side(winner)
            if each.value == values[winner]
        ]

    def _is_excused(self, deal: Deal, name: str, edit: Edit) -> bool:
        return any(edit.may_lose_to(each) for each in self._winners(deal, name, edit))

    def made_up_conflicts(self) -> list[str]:
        """Edits that lost, as the audit tells, though they were made in knowledge of what they lost to, or lost to nothing
        the editor has ever done."""
        found = []
        for deal in self.made:
            for name in (each for each in BOTH_WAYS if each in deal.edits):
                history = deal.edits[name]
                for values, winner, result in self._conflicts(deal, name):
                    losers = [each for each in history.edits if each.side != winner and each.value == values[each.side]]
                    if result != "applied" or not losers or not history.is_unique(losers[0].value):
                        continue
                    if not self._is_excused(deal, name, losers[0]):
                        found.append(f"deal {deal.number} {deal.referral} {name}: {losers[0]} lost, by {values} for {winner}")
        return found

    def conflicts_of_edits_alone(self) -> list[str]:
        """Edits of quiet deals that are in any conflict the audit tells, of whatever result."""
        return [
            f"deal {deal.number} {deal.referral}: {step} in a conflict for {winner}: {values}"
            for deal, step in self.alone
            for values, winner, _ in self._conflicts(deal, step.field)
            if values[step.side] == step.value
        ]

    def overwritten_blindly(self) -> list[str]:
        """Edits that were written over by us, though they had neither reached the other side nor lost to an edit that they
        could not know of."""
        found = []
        for deal in self.made:
            rows = self.deals.stack.audit(
                "SELECT target, field ->> 'name', field -> 'old', field -> 'new', field -> 'from' FROM audit, "
                "jsonb_array_elements(fields) AS field WHERE phase = 'outcome' AND result = 'applied' "
                "AND (deal_key = %s OR crm_id = %s)",
                deal.referral,
                deal.opportunity,
            )
            for name in (each for each in BOTH_WAYS if each in deal.edits):
                history = deal.edits[name]
                written = [row for row in rows if row[1] == name]
                for target, _, old, *_ in written:
                    value = comparable(name, old)
                    edits = [each for each in history.edits if each.side == target and each.value == value]
                    if not edits or not history.is_unique(value) or self._is_excused(deal, name, edits[0]):
                        continue
                    if not any(row[0] != target and comparable(name, row[3]) == value for row in written):
                        found.append(f"deal {deal.number} {deal.referral} {name}: {value!r} of {target} was written over")
        return found

    def doubles(self) -> list[str]:
        """Records that are there twice, on either side."""
        referrals = self.referrals()
        ours = [each for each in referrals if each["organizationId"] != "msft"]
        microsofts = [each for each in referrals if each["organizationId"] == "msft"]
        rows = self.crm.rows
        counted = {
            "referral of an opportunity": [each["externalReferenceId"] for each in ours],
            "invitation": [each["engagementId"] for each in microsofts],
            "opportunity of a referral": [each[IDENTIFIER] for each in rows("opportunities")["value"]],
            "account": [(each["name"], each["address1_postalcode"]) for each in rows("accounts")["value"]],
            "contact": [each["emailaddress1"] for each in rows("contacts")["value"]],
            "solution": [each["msft_solutionidentifier"] for each in rows("msft_microsoftsolutiondetails")["value"]],
            "row of a solution": [
                (each["_msft_opportunityid_value"], each["_msft_solutionid_value"])
                for each in rows("msft_microsoftsolutions")["value"]
            ],
        }
        found = [f"{what}: {key}" for what, keys in counted.items() for key in set(keys) if keys.count(key) > 1]
        counts = {"referrals": len(ours), "opportunities": len(counted["opportunity of a referral"])}
        return found + [f"{count} {what}" for what, count in counts.items() if count != len(self.made)]


def _members(values: dict[str, Any]) -> dict[str, Any]:
    """What an edit in the portal sends."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name in MEMBERS:
            shown = f"{value}T00:00:00Z" if name == "closing_date" else value
            found.setdefault("details", {})[MEMBERS[name]] = shown
        elif name == "visibility":
            found["consent"] = {"consentToShareReferralWithMicrosoftSellers": value}
        else:
            found[{"name": "name", "referral_program": "referralProgram"}[name]] = value
    return found


def _left_apart(late: Step | None) -> frozenset[str]:
    """What stays different on both sides of a deal that was edited after its end."""
    if late is None or (late.side == CRM and late.field != "reopen"):
        return frozenset()
    return frozenset({"stage", "hold"} if late.field == "reopen" else {"notes"})


def _solutions(rows: list[dict[str, Any]]) -> list[tuple[str, float, int]]:
    return sorted((each["id"], float(each["price"]), each["quantity"]) for each in rows)


def _as_shown(name: str, value: Any) -> Any:
    if name == "solutions":
        return _solutions(value)
    return value["emailaddress1"] if name == "customer_contact" else value


def _shown(linked: Linked, name: str, side: str) -> Any:
    """What a side shows, in the words of the schedule."""
    form, referral = linked.form, linked.referral
    if side == CENTER:
        if name in MEMBERS:
            return comparable(name, referral["details"][MEMBERS[name]])
        consent = referral["consent"]["consentToShareReferralWithMicrosoftSellers"]
        return {"name": referral["name"], "referral_program": referral["referralProgram"], "visibility": consent}[name]
    if name == "solutions":
        return _solutions(form["solutions"])
    if name == "customer_contact":
        return form["contact"]["emailaddress1"]
    if name == "own_team":
        return {key: form["owner"].get(key) for key in ("firstname", "lastname", "internalemailaddress", "address1_telephone1")}
    if name in ("consent", "help"):
        return form[COLUMNS[name]]
    return comparable(name, form["currency"] if name == "currency" else form["row"][COLUMNS[name]])
