"""A random editor on both sides at once, with webhooks lost, doubled and reordered, and programs killed: both sides end the
same, nothing is there twice, no edit that came alone is lost, and once they agree nothing is called any more.

Deals are born all the while, on both sides and of every kind; every field is edited where it may be; Microsoft answers, and
some deals are closed. What an edit could know of others is told by the editor, not by Tandem; and now and then a deal that
rests is edited once, which has to arrive. TANDEM_EDITOR_DEALS, TANDEM_EDITOR_EDITS and TANDEM_EDITOR_SEED make it larger, or
another one; the figures stand in the report, which tests/summary.py prints.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from support.deals import Deals
from support.editing import EDITS_PER_ALONE, Step, schedule_of
from support.editor import Editor
from support.ingest import metrics
from support.process import Program
from support.stack import Stack
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
# The CRM takes 6,000 requests of a user in 300 seconds. A large run meets that limit, and waits for its end.
CLOSE = 420
# Of each source of the poller, the slowest among them.
STILL_ROUNDS = 3
SOURCES = 4
SHARED_ROUNDS = 'tandem_poll_rounds_total{source="poll/partner-center/shared"}'
# The referral, and the parties of its deal.
CALLS_PER_READING = 2
READS = ("GET", "HEAD")

pytestmark = pytest.mark.asan


@pytest.fixture(scope="module", autouse=True)
def child_steps(stack: Stack) -> None:
    stack.have_rows_tell()


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


def is_poll(entry: dict[str, Any]) -> bool:
    """A question of the poller, what is new? Other than the look for a referral that may have been created already, and the
    reading of a deal, which ask for a list, too; but not for its next page."""
    path = entry["path"].rstrip("/")
    if path.endswith("/referrals"):
        asked = json.dumps(entry["query"])
        return entry["method"] == "GET" and ("updatedDateTime" in asked or "$skiptoken" in asked)
    return entry["method"] == "GET" and path.endswith(("/opportunities", "/leads", "/msft_microsoftsolutions"))


class Calls:
    """Calls since this was made: of what kind, and, since forget(), which there were beside those of the poller."""

    def __init__(self, deals: Deals) -> None:
        self._next = {
            simulator: int(simulator.admin("GET", "/_sim/journal")["next"])
            for simulator in (deals.partner_center, deals.dynamics_365)
        }
        self.reads = self.writes = self.polls = self.tokens = 0
        self.latest: list[dict[str, Any]] = []

    def forget(self) -> None:
        self.latest = []

    def count(self) -> None:
        """Reads the journals on."""
        for simulator, since in self._next.items():
            page = simulator.admin("GET", f"/_sim/journal?since={since}")
            self._next[simulator] = int(page["next"])
            for each in page["entries"]:
                if "oauth2" in each["path"]:
                    self.tokens += 1
                elif is_poll(each):
                    self.polls += 1
                else:
                    self.reads += each["method"] in READS
                    self.writes += each["method"] not in READS
                    self.latest.append(each)


def rounds(deals: Deals) -> dict[str, float]:
    """Of each source of the poller, so far."""
    [ingest] = [each for each in deals.stack.programs if is_ingest(each)]
    found = metrics(int(deals.stack.admin_address(ingest).rsplit(":", 1)[1]))
    return {name: value for name, value in found.items() if name.startswith("tandem_poll_rounds_total")}


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
            calls.forget()
        pause = begun + number / STEPS_PER_SECOND - time.monotonic()
        if pause > 0:  # the editor's own pace; nothing is waited for
            time.sleep(pause)
    try:
        wait_until(lambda: editor.lost_alone or editor.go_on(), CLOSE, "what each step waits for is there")
    except AssertionError as error:
        raise AssertionError("\n".join([str(error), *editor.held_up()])) from None


def wait_agreed(editor: Editor) -> None:
    try:
        wait_until(lambda: not editor.differences(), CLOSE, "both sides agree on every mapped field")
    except AssertionError as error:
        found = editor.differences()
        raise AssertionError("\n".join([str(error), *found, *editor.stories_of(found)])) from None


def shared_and_open(deals: Deals) -> set[str]:
    """Engagements whose deals the poller has read at each round of shared ones, since the change of Microsoft's side does not
    show in the list."""
    return {
        each["engagementId"]
        for each in deals.partner_center.referrals()
        if each["type"] == "Shared" and each["status"] in ("New", "Active")
    }


def wait_still(deals: Deals, calls: Calls) -> None:
    """Nothing loops: every source is asked what is new, time and again, and nothing is called beside it but what the poller
    has read of shared deals."""
    shared = shared_and_open(deals)
    names = {each["id"] for each in deals.partner_center.referrals() if each["engagementId"] in shared} | shared
    before: dict[str, float] = {}
    calls.count()

    def is_still() -> bool:
        nonlocal before
        calls.count()
        others = [each for each in calls.latest if each["method"] not in READS or not is_named(each, names)]
        if others or not before:
            before = rounds(deals)
            calls.forget()
            return False
        now = rounds(deals)
        assert len(now) == SOURCES
        # Each such deal is read once a round, beside what was under way when the first one began.
        ended = now[SHARED_ROUNDS] - before[SHARED_ROUNDS]
        assert len(calls.latest) <= CALLS_PER_READING * len(shared) * (ended + 2), calls.latest
        return all(value >= before[name] + STILL_ROUNDS for name, value in now.items())

    try:
        wait_until(is_still, CLOSE, "nothing is called any more")
    except AssertionError as error:
        last = [f"{each['method']} {each['path']} {each['query']}" for each in calls.latest]
        raise AssertionError("\n".join([str(error), *last])) from None


def is_named(entry: dict[str, Any], names: set[str]) -> bool:
    told = f"{entry['path']} {json.dumps(entry['query'])}"
    return any(each in told for each in names)


@pytest.mark.parametrize("seed", [SEED])
def test_both_sides_end_the_same(deals: Deals, seed: int, record_property: Callable[[str, object], None]) -> None:
    steps = schedule_of(seed, DEALS, EDITS)
    editor = Editor(deals)
    calls = Calls(deals)
    policy(deals, TROUBLE)
    begun = time.monotonic()
    play(deals, editor, steps, calls)
    played = time.monotonic() - begun
    assert not editor.lost_alone, "\n".join([*editor.lost_alone, *editor.stories_of(editor.lost_alone)])
    policy(deals, PEACE)
    wait_agreed(editor)
    agreed = time.monotonic() - begun - played
    wait_still(deals, calls)
    lost, settled = editor.lost_edits()
    assert not lost, "\n".join([*lost, *editor.stories_of(lost)])
    for found in (editor.made_up_conflicts(), editor.conflicts_of_edits_alone(), editor.overwritten_blindly()):
        assert not found, "\n".join([*found, *editor.stories_of(found)])
    assert len(editor.alone) == sum(each.what == "alone" for each in steps) >= min(10, EDITS // EDITS_PER_ALONE)
    assert not (found := editor.differences()), "\n".join(found)
    assert not (found := editor.doubles()), "\n".join(found)
    assert len(editor.made) == DEALS
    assert deals.stack.audit("SELECT * FROM verify_audit()") == []
    assert schedule_of(seed, DEALS, EDITS) == steps
    figures = (
        f"seed {seed}, {DEALS} deals, {editor.edits} edits ({len(editor.alone)} of deals at rest), "
        f"{sum(each.what == 'kill' for each in steps)} kills; {calls.writes / editor.edits:.2f} writes and "
        f"{calls.reads / editor.edits:.2f} reads an edit, of both systems' records from the first birth to the end, with what "
        f"births, answers and closings took, look-ups, repeats and refused calls; beside them {calls.polls} questions of the "
        f"poller and {calls.tokens} of tokens; {settled} fields ended by a policy with an earlier edit of the other side; "
        f"played in {played:.0f} s, both sides agreed {agreed:.0f} s later"
    )
    print(figures)
    record_property("two-sided editor", figures)
