"""How long a single change takes from one system to the other, unloaded."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from demonstration.running import DEADLINE, Running, heading, say
from demonstration.telling import moment
from support.simulators import Simulator
from support.waiting import wait_until

TO_CRM_UPDATES = 30
TO_PARTNER_CENTER_UPDATES = 20
# Nobody looks on in the meantime: a question to the simulators or programs takes milliseconds of the same two cores.
# It is also longer than ingest.fetch.read_interval, so that the record may be read again at once.
UNWATCHED = 0.4


def next_entry(simulator: Simulator) -> int:
    return int(simulator.admin("GET", "/_sim/journal")["next"])


class Times(NamedTuple):
    """Of one update, in milliseconds since the webhook was sent; `ours` is `written` without what the simulators took."""

    acknowledged: float
    read: float
    asked: float
    written: float
    ours: float


def milliseconds(sent: datetime, entry: dict[str, Any]) -> float:
    return (moment(entry["time"]) - sent).total_seconds() * 1000


def measure(
    running: Running, count: int, source: Simulator, read: str, target: Simulator, edit: Callable[[int], Any]
) -> list[Times]:
    found = []
    for number in range(count):
        before, written, seen = running.decision_count(), next_entry(target), next_entry(source)
        edit(number)
        time.sleep(UNWATCHED)
        [patch] = wait_until(lambda: target.journal(written, "PATCH"), DEADLINE, f"{target.name} got a PATCH")
        reads = source.journal(seen, "GET", read)
        attempt = source.deliveries()["deliveries"][-1]["attempts"][0]
        sent = moment(attempt["time"])
        asked = milliseconds(sent, patch)
        written = asked + patch["duration_ms"]
        theirs = patch["duration_ms"] + sum(each["duration_ms"] for each in reads)
        found.append(Times(attempt["duration_ms"], milliseconds(sent, reads[0]), asked, written, written - theirs))
        # Unloaded: the next one begins when the write and its echo are dealt with.
        wait_until(lambda: running.decision_count() >= before + 2, DEADLINE, "the echo has been recognised")
        time.sleep(UNWATCHED)
    return found


def line(told: str, values: list[float]) -> None:
    ordered = sorted(values)
    say(
        f"   {told:44} p50 {statistics.median(values):6.1f} ms   p95 {ordered[int(len(ordered) * 0.95)]:6.1f} ms"
        f"   min {ordered[0]:6.1f}   max {ordered[-1]:6.1f}"
    )


def show(told: str, found: list[Times]) -> None:
    line(f"{told}, {len(found)} updates", [each.written for each in found])
    line("   without the simulators' own time", [each.ours for each in found])
    stages = [statistics.median(values) for values in zip(*found, strict=True)]
    say("      of it, p50: webhook acknowledged {:.1f}, record asked for {:.1f}, write asked for {:.1f} ms".format(*stages))


def play(running: Running, referral: str, opportunity: str) -> None:
    heading("latency: single updates of one deal, one after the other, from the webhook sent to the write answered")
    center, crm = running.partner_center, running.dynamics_365
    to_crm = measure(
        running,
        TO_CRM_UPDATES,
        center,
        "/referrals",
        crm,
        lambda number: center.edit_referral(referral, details={"dealValue": 70000 + number}),
    )
    show("Partner Center to CRM", to_crm)
    to_center = measure(
        running,
        TO_PARTNER_CENTER_UPDATES,
        crm,
        "/opportunities",
        center,
        lambda number: crm.edit_row("opportunities", opportunity, estimatedvalue=80000 + number),
    )
    show("CRM to Partner Center", to_center)
