"""A random editor on both sides at once, with webhooks lost, doubled and reordered, and programs killed: both sides end the
same, nothing is there twice, and no edit that came alone is lost.

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
CLOSE = 120
IDENTIFIER = "msft_microsoftpartnercenterreferralidentifier"

pytestmark = pytest.mark.asan


@dataclass
class Deal:
    referral: str
    opportunity: str
    last: dict[str, dict[str, Any]] = field(default_factory=lambda: {"value": {}, "notes": {}, "day": {}})


def random_value(name: str, chance: random.Random, number: int) -> Any:
    if name == "value":
        return chance.randint(100, 9_999_999) / 100
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
        pairs = self.pairs()
        assert set(referrals) <= {each.referral for each in pairs}
        assert set(opportunities) <= {each.opportunity for each in pairs}
        self.made = pairs

    def pairs(self) -> list[Deal]:
        rows = {row["opportunityid"]: row for row in self.deals.stack.opportunities()}
        referrals = self.center.admin("GET", "/_sim/referrals")["referrals"]
        return [
            Deal(each["id"], each["externalReferenceId"])
            for each in referrals
            if each.get("externalReferenceId") in rows
            and rows[each["externalReferenceId"]][IDENTIFIER] == each["id"]
        ]

    def edit(self, number: int) -> None:
        deal = self.chance.choice(self.made)
        name = self.chance.choice(("value", "notes", "day"))
        side = self.chance.choice(("partner-center", "crm"))
        value = random_value(name, self.chance, number)
        if side == "crm":
            column = {"value": "estimatedvalue", "notes": "description", "day": "estimatedclosedate"}[name]
            self.crm.edit_row("opportunities", deal.opportunity, **{column: value})
        else:
            path = {"value": "dealValue", "notes": "notes", "day": "closingDateTime"}[name]
            shown = f"{value}T00:00:00Z" if name == "day" else value
            self.center.edit_referral(deal.referral, details={path: shown})
        deal.last[name][side] = value

    def shown(self, deal: Deal) -> dict[str, tuple[Any, Any]]:
        """What each side shows of the mapped fields, Partner Center first."""
        details = self.deals.referral(deal.referral)["details"]
        row = self.crm.row("opportunities", deal.opportunity)
        return {
            "value": (float(details["dealValue"]), float(row["estimatedvalue"])),
            "notes": (details["notes"], row["description"]),
            "day": (details["closingDateTime"][:10], row["estimatedclosedate"]),
        }

    def differences(self) -> list[str]:
        return [
            f"{deal.referral} {name}: {here!r} and {there!r}"
            for deal in self.made
            for name, (here, there) in self.shown(deal).items()
            if here != there
        ]


def policy(deals: Deals, content: dict[str, float]) -> None:
    for simulator in (deals.partner_center, deals.dynamics_365):
        simulator.admin("POST", "/_sim/deliveries/policy", content)


def restart(stack: Stack, program: Program) -> None:
    """Killed and started again under its own name."""
    program.kill()
    name, instance = program.config.stem.split("-", 1)
    fresh = stack.start_program(name, instance)
    fresh.wait_for("program.ready")


def calls(deals: Deals) -> int:
    return sum(
        1
        for simulator in (deals.partner_center, deals.dynamics_365)
        for each in simulator.journal(0)
        if "oauth2" not in each["path"] and "RetrieveMultiple" not in each["path"]
    )


@pytest.mark.parametrize("seed", [SEED])
def test_both_sides_end_the_same(deals: Deals, seed: int) -> None:
    chance = random.Random(seed)
    editor = Editor(deals, chance)
    editor.begin()
    before = calls(deals)
    policy(deals, TROUBLE)
    kill_at = {EDITS * (number + 1) // (KILLS + 1) for number in range(KILLS)}
    begun = time.monotonic()
    for number in range(EDITS):
        editor.edit(number)
        if number in kill_at:
            victims = [each for each in deals.stack.programs if each.returncode is None and "ingest" not in each.config.name]
            restart(deals.stack, chance.choice(victims))
        pause = begun + number / EDITS_PER_SECOND - time.monotonic()
        if pause > 0:  # the editor's own pace; nothing is waited for
            time.sleep(pause)
    policy(deals, PEACE)
    wait_until(lambda: not editor.differences(), CLOSE, "both sides agree on every mapped field")
    spent = calls(deals) - before
    for deal in editor.made:
        for name, (here, _) in editor.shown(deal).items():
            wanted = set(deal.last[name].values())
            assert not wanted or here in wanted, f"{deal.referral} {name}: {here!r} is none of {wanted}"
    assert len(deals.stack.opportunities()) == DEALS
    assert len(editor.pairs()) == DEALS
    print(f"seed {seed}: {DEALS} deals, {EDITS} edits, {spent} calls, {spent / EDITS:.2f} calls an edit")
