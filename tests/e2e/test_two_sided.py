"""A random editor on both sides at once, with webhooks lost, doubled and reordered, and programs killed: both sides end the
same, nothing is there twice, no edit that came alone is lost, and once they agree nothing is written any more.

Deals are born all the while, on both sides and of every kind; every field is edited where it may be; Microsoft answers, and
some deals are closed. TANDEM_EDITOR_DEALS, TANDEM_EDITOR_EDITS and TANDEM_EDITOR_SEED make it larger, or another one; the
figures are printed.
"""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
from support.deals import Deals
from support.editing import Step, schedule_of
from support.editor import Editor
from support.ingest import metrics
from support.process import Program
from support.stack import WEBHOOK_SECRET, Stack
from support.waiting import wait_until

PROCESSES = {"mapper": 2, "pusher": 2}
SETTINGS = {
    "ingest": {"poll": {"interval": "1s", "engagement_interval": "5s"}},
    "partner_center": {"settling_time": "500ms"},
}
DEALS = int(os.environ.get("TANDEM_EDITOR_DEALS", "14"))
EDITS = int(os.environ.get("TANDEM_EDITOR_EDITS", "160"))
SEED = int(os.environ.get("TANDEM_EDITOR_SEED", "1"))
STEPS_PER_SECOND = 40
TROUBLE = {"drop": 0.1, "duplicate": 0.1, "reorder": 0.1}
PEACE = {"drop": 0.0, "duplicate": 0.0, "reorder": 0.0}
CLOSE = 180
STILL_ROUNDS = 10
READS = ("GET", "HEAD")

pytestmark = pytest.mark.asan


@pytest.fixture(scope="module", autouse=True)
def child_steps(stack: Stack) -> None:
    """Rows raise webhooks, too, as `register dynamics-365` has them do."""
    stack.dynamics_365.add_webhook(
        url=f"{stack.listening_on(stack.programs[0])}/webhooks/dynamics-365",
        settings={"x-tandem-webhook-key": WEBHOOK_SECRET},
        table="msft_microsoftsolution",
        messages=["Create", "Update", "Delete"],
        pre_image="msft_opportunityid",
        post_image="msft_opportunityid",
    )


def policy(deals: Deals, content: dict[str, float]) -> None:
    for simulator in (deals.partner_center, deals.dynamics_365):
        simulator.admin("POST", "/_sim/deliveries/policy", content)


def restart(stack: Stack, instance: str) -> None:
    """Killed and started again under its own name; nobody waits for it."""
    [program] = [
        each for each in stack.programs if each.returncode is None and each.config.stem == f"{instance[:-2]}-{instance}"
    ]
    program.kill()
    stack.start_again(program)


def is_asking(entry: dict[str, Any]) -> bool:
    """A question of the poller: what is new?"""
    tables = ("/referrals", "/opportunities", "/leads", "/msft_microsoftsolutions")
    return entry["method"] == "GET" and entry["path"].rstrip("/").endswith(tables)


class Calls:
    """How many calls on records of deals there were since this was made; reads the journals on, page by page."""

    def __init__(self, deals: Deals) -> None:
        self._next = {
            simulator: int(simulator.admin("GET", "/_sim/journal")["next"])
            for simulator in (deals.partner_center, deals.dynamics_365)
        }
        self.reads = self.writes = 0

    def count(self) -> int:
        """Writes."""
        for simulator, since in self._next.items():
            page = simulator.admin("GET", f"/_sim/journal?since={since}")
            self._next[simulator] = int(page["next"])
            for each in page["entries"]:
                if each["method"] not in READS:
                    self.writes += "oauth2" not in each["path"]
                elif not is_asking(each):
                    self.reads += 1
        return self.writes


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


def play(deals: Deals, editor: Editor, steps: list[Step], calls: Calls) -> None:
    begun = time.monotonic()
    for number, step in enumerate(steps):
        if step.what == "kill":
            restart(deals.stack, step.value)
        else:
            editor.play(step)
        editor.go_on()
        if number % 100 == 0:
            calls.count()
        pause = begun + number / STEPS_PER_SECOND - time.monotonic()
        if pause > 0:  # the editor's own pace; nothing is waited for
            time.sleep(pause)
    try:
        wait_until(editor.go_on, CLOSE, "what each step waits for is there")
    except AssertionError as error:
        raise AssertionError("\n".join([str(error), *editor.held_up()])) from None


def wait_agreed(editor: Editor) -> None:
    try:
        wait_until(lambda: not editor.differences(), CLOSE, "both sides agree on every mapped field")
    except AssertionError as error:
        found = editor.differences()
        raise AssertionError("\n".join([str(error), *found, *editor.stories_of(found)])) from None


def wait_still(deals: Deals, calls: Calls) -> None:
    """Nothing loops: both systems are asked what is new, time and again, and nothing is written any more."""
    seen = (calls.count(), rounds(deals))

    def is_still() -> bool:
        nonlocal seen
        now = (calls.count(), rounds(deals))
        if now[0] != seen[0]:
            seen = now
        return now[1] >= seen[1] + STILL_ROUNDS

    wait_until(is_still, CLOSE, "nothing is written any more")


@pytest.mark.parametrize("seed", [SEED])
def test_both_sides_end_the_same(deals: Deals, seed: int) -> None:
    steps = schedule_of(seed, DEALS, EDITS)
    editor = Editor(deals)
    calls = Calls(deals)
    policy(deals, TROUBLE)
    begun = time.monotonic()
    play(deals, editor, steps, calls)
    played = time.monotonic() - begun
    policy(deals, PEACE)
    wait_agreed(editor)
    agreed = time.monotonic() - begun - played
    wait_still(deals, calls)
    lost, settled = editor.lost_edits()
    assert not lost, "\n".join([*lost, *editor.stories_of(lost)])
    assert not (found := editor.overwritten_blindly()), "\n".join(found)
    assert not (found := editor.differences()), "\n".join(found)
    assert not (found := editor.doubles()), "\n".join(found)
    assert len(editor.made) == DEALS
    assert deals.stack.audit("SELECT * FROM verify_audit()") == []
    assert schedule_of(seed, DEALS, EDITS) == steps
    print(
        f"seed {seed}: {DEALS} deals, {editor.edits} edits, {sum(each.what == 'kill' for each in steps)} kills; "
        f"{calls.writes / editor.edits:.2f} writes and {calls.reads / editor.edits:.2f} reads an edit; "
        f"{settled} fields ended by a policy with an earlier edit of the other side; "
        f"played in {played:.0f} s, both sides agreed {agreed:.0f} s later"
    )
