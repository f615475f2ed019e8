"""A random editor on both sides at once, with webhooks lost, doubled and reordered, and programs killed: both sides end the
same, nothing is there twice, no edit that came alone is lost, and once they agree nothing is called any more.

TANDEM_EDITOR_DEALS, TANDEM_EDITOR_EDITS and TANDEM_EDITOR_SEED make it larger, or another one; the figures are printed.
"""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.deals import Deals
from support.ingest import metrics
from support.mapped_fields import differences_of, linked_of
from support.process import Program
from support.stack import Stack
from support.waiting import wait_until

PROCESSES = {"mapper": 2, "pusher": 2}
SETTINGS = {
    "ingest": {"poll": {"interval": "1s", "engagement_interval": "5s"}},
    "partner_center": {"settling_time": "500ms"},
}
DEALS = int(os.environ.get("TANDEM_EDITOR_DEALS", "20"))
EDITS = int(os.environ.get("TANDEM_EDITOR_EDITS", "300"))
SEED = int(os.environ.get("TANDEM_EDITOR_SEED", "1"))
EDITS_PER_SECOND = 40
KILLS = 4
TROUBLE = {"drop": 0.1, "duplicate": 0.1, "reorder": 0.1}
PEACE = {"drop": 0.0, "duplicate": 0.0, "reorder": 0.0}
CLOSE = 180
STILL_ROUNDS = 10
COLUMNS = {"value": "estimatedvalue", "notes": "description", "day": "estimatedclosedate", "currency": "currency"}
FIELDS = {"value": "deal_value", "notes": "notes", "day": "closing_date", "currency": "currency"}
MEMBERS = {"value": "dealValue", "notes": "notes", "day": "closingDateTime", "currency": "currency"}
IDENTIFIER = "msft_microsoftpartnercenterreferralidentifier"

pytestmark = pytest.mark.asan


@dataclass
class Edit:
    side: str
    value: Any


@dataclass
class Deal:
    referral: str
    opportunity: str
    born: str
    edits: dict[str, list[Edit]] = field(default_factory=lambda: {name: [] for name in COLUMNS})

    def last_of_each_side(self, name: str) -> list[Edit]:
        """The last one first."""
        edits = self.edits[name]
        others = [each for each in edits if each.side != edits[-1].side]
        return [*edits[-1:], *others[-1:]]

    def is_unique(self, name: str, value: Any) -> bool:
        """Whether it never stood there but once. Going back to what the other side shows, or showed, is no change of its own."""
        return name != "currency" and sum(each.value == value for each in self.edits[name]) == 1


def random_value(name: str, chance: random.Random, number: int) -> Any:
    if name == "value":
        return chance.randint(100, 9_999_999) / 100
    if name == "currency":
        return chance.choice(("EUR", "GBP", "USD"))
    if name == "notes":
        return f"edit {number}: {chance.choice(('déjà vu', 'plain', 'Größe', 'emoji 🚋'))}"
    return f"2031-{chance.randint(1, 12):02d}-{chance.randint(1, 28):02d}"


class Editor:
    def __init__(self, deals: Deals, chance: random.Random) -> None:
        self.deals = deals
        self.chance = chance
        self.made: list[Deal] = []

    @property
    def center(self) -> Any:
        return self.deals.partner_center

    @property
    def crm(self) -> Any:
        return self.deals.dynamics_365

    def begin(self) -> None:
        """Half of the deals begin at Partner Center, half in the CRM."""
        referrals = [self.center.add_referral(kind="private")["id"] for _ in range(DEALS // 2)]
        opportunities = [
            self.crm.admin("POST", "/_sim/opportunities", {"name": f"Deal {number}", "sync": True})["id"]
            for number in range(DEALS - DEALS // 2)
        ]
        wait_until(lambda: len(self.pairs()) == DEALS, CLOSE, "every deal is on both sides")
        pairs = self.pairs(frozenset(opportunities))
        assert set(referrals) <= {each.referral for each in pairs}
        assert set(opportunities) <= {each.opportunity for each in pairs}
        self.made = pairs

    def pairs(self, begun_in_the_crm: frozenset[str] = frozenset()) -> list[Deal]:
        rows = {row["opportunityid"]: row for row in self.deals.stack.opportunities()}
        referrals = self.center.referrals()
        return [
            Deal(each["id"], opportunity, "crm" if opportunity in begun_in_the_crm else "partner-center")
            for each in referrals
            if (opportunity := each.get("externalReferenceId")) in rows and rows[opportunity][IDENTIFIER] == each["id"]
        ]

    def edit(self, number: int) -> None:
        deal = self.chance.choice(self.made)
        name = self.chance.choice(tuple(COLUMNS))
        side = self.chance.choice(("partner-center", "crm"))
        value = random_value(name, self.chance, number)
        if side == "crm":
            self.crm.admin("PATCH", f"/_sim/opportunities/{deal.opportunity}", {COLUMNS[name]: value})
        else:
            shown = f"{value}T00:00:00Z" if name == "day" else value
            self.center.edit_referral(deal.referral, details={MEMBERS[name]: shown})
        deal.edits[name].append(Edit(side, value))

    def differences(self) -> list[str]:
        """Of all mapped fields of all deals."""
        referrals = self.center.referrals()
        return [
            f"{deal.referral} {each}"
            for deal in self.made
            for each in differences_of(linked_of(self.deals, referrals, deal.referral, deal.opportunity), deal.born)
        ]

    def settled_against(self, deal: Deal, name: str, side: str) -> list[Any]:
        """Values of this side that have lost, as the audit tells."""
        rows = self.deals.stack.audit(
            "SELECT partner_center, crm FROM conflicts WHERE deal_key = %s AND field = %s AND winner <> %s",
            deal.referral,
            FIELDS[name],
            side,
        )
        found = [row[0] if side == "partner-center" else row[1] for row in rows]
        return [each[:10] if name == "day" else float(each) if name == "value" else each for each in found]

    def values(self, deal: Deal) -> dict[str, Any]:
        details = self.deals.referral(deal.referral)["details"]
        shown = {name: details[member] for name, member in MEMBERS.items()}
        return {**shown, "value": float(shown["value"]), "day": shown["day"][:10]}


def policy(deals: Deals, content: dict[str, float]) -> None:
    for simulator in (deals.partner_center, deals.dynamics_365):
        simulator.admin("POST", "/_sim/deliveries/policy", content)


def restart(stack: Stack, program: Program) -> None:
    """Killed and started again under its own name."""
    program.kill()
    name, instance = program.config.stem.split("-", 1)
    fresh = stack.start_program(name, instance)
    fresh.wait_for("program.ready")


def is_asking(entry: dict[str, Any]) -> bool:
    """A question of the poller: what is new?"""
    tables = ("/referrals", "/opportunities", "/leads", "/msft_microsoftsolutions")
    return entry["method"] == "GET" and entry["path"].rstrip("/").endswith(tables)


class Calls:
    """How many calls on records of deals there were since this was made; reads the journals on, page by page."""

    def __init__(self, deals: Deals) -> None:
        self._next = {
            simulator: simulator.position()
            for simulator in (deals.partner_center, deals.dynamics_365)
        }
        self._count = 0

    def count(self) -> int:
        for simulator, since in self._next.items():
            page = simulator.admin("GET", f"/_sim/journal?since={since}")
            self._next[simulator] = int(page["next"])
            self._count += sum("oauth2" not in each["path"] and not is_asking(each) for each in page["entries"])
        return self._count


def rounds(deals: Deals) -> float:
    """Of the poller, so far."""
    ports = [int(deals.stack.admin_address(each).rsplit(":", 1)[1]) for each in deals.stack.programs if is_ingest(each)]
    return sum(
        value
        for port in ports
        for name, value in metrics(port).items()
        if name.startswith("tandem_poll_rounds_total")
    )


def is_ingest(program: Program) -> bool:
    return program.config is not None and program.config.name.startswith("ingest")


def wait_agreed(editor: Editor) -> None:
    try:
        wait_until(lambda: not editor.differences(), CLOSE, "both sides agree on every mapped field")
    except AssertionError as error:
        raise AssertionError(f"{error}: {editor.differences()}") from None


def wait_still(deals: Deals, calls: Calls) -> None:
    """Nothing loops: both systems are asked what is new, time and again, and nothing else is called any more."""
    seen = (calls.count(), rounds(deals))

    def is_still() -> bool:
        nonlocal seen
        now = (calls.count(), rounds(deals))
        if now[0] != seen[0]:
            seen = now
        return now[1] >= seen[1] + STILL_ROUNDS

    wait_until(is_still, CLOSE, "nothing is called any more")


@pytest.mark.parametrize("seed", [SEED])
def test_both_sides_end_the_same(deals: Deals, seed: int) -> None:
    chance = random.Random(seed)
    editor = Editor(deals, chance)
    editor.begin()
    calls = Calls(deals)
    policy(deals, TROUBLE)
    kill_at = {EDITS * (number + 1) // (KILLS + 1) for number in range(KILLS)}
    begun = time.monotonic()
    for number in range(EDITS):
        editor.edit(number)
        if number % 100 == 0:
            calls.count()
        if number in kill_at:
            victims = [each for each in deals.stack.programs if each.returncode is None and not is_ingest(each)]
            restart(deals.stack, chance.choice(victims))
        pause = begun + number / EDITS_PER_SECOND - time.monotonic()
        if pause > 0:  # the editor's own pace; nothing is waited for
            time.sleep(pause)
    policy(deals, PEACE)
    wait_agreed(editor)
    wait_still(deals, calls)
    spent = calls.count()
    settled = 0
    for deal in editor.made:
        shown = editor.values(deal)
        for name in (each for each in COLUMNS if deal.edits[each]):
            last, *other = deal.last_of_each_side(name)
            if shown[name] == last.value:
                continue
            # The other side's stands: then both had changed before either was heard of, and the audit tells both values.
            assert other and shown[name] == other[0].value, f"{deal.referral} {name}: {shown[name]!r} is neither side's last"
            assert not deal.is_unique(name, last.value) or last.value in editor.settled_against(
                deal, name, last.side
            ), f"{deal.referral} {name}: {last} was lost"
            settled += 1
    assert editor.differences() == []
    assert len(deals.stack.opportunities()) == DEALS
    referrals = editor.center.referrals()
    assert len([each for each in referrals if each["organizationId"] != "msft"]) == DEALS
    assert len(editor.pairs()) == DEALS
    assert deals.stack.audit("SELECT * FROM verify_audit()") == []
    print(
        f"seed {seed}: {DEALS} deals, {EDITS} edits, {spent} calls, {spent / EDITS:.2f} calls an edit; "
        f"{settled} of {DEALS * len(COLUMNS)} fields ended by a policy with an earlier edit of the other side"
    )
