"""How long a single change takes from one system to the other, unloaded."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from demonstration.running import DEADLINE, Running, heading, say
from demonstration.telling import moment
from support.simulators import Simulator
from support.waiting import wait_until

TO_CRM_UPDATES = 30
TO_PARTNER_CENTER_UPDATES = 20
READ_INTERVAL = 0.25  # ingest.fetch.read_interval and a little more


def next_entry(simulator: Simulator) -> int:
    return int(simulator.admin("GET", "/_sim/journal")["next"])


def measure(
    running: Running, count: int, source: Simulator, read: str, target: Simulator, edit: Callable[[int], Any]
) -> tuple[list[float], list[float]]:
    """Milliseconds from the first attempt to deliver the webhook to the answer of the PATCH; and the same without what
    the simulators took for the reads and the PATCH."""
    whole, ours = [], []
    for number in range(count):
        before, written, seen = running.decision_count(), next_entry(target), next_entry(source)
        edit(number)
        [patch] = wait_until(lambda: target.journal(written, "PATCH"), DEADLINE, f"{target.name} got a PATCH")
        reads = source.journal(seen, "GET", read)
        sent = moment(source.deliveries()["deliveries"][-1]["attempts"][0]["time"])
        total = (moment(patch["time"]) - sent).total_seconds() * 1000 + patch["duration_ms"]
        whole.append(total)
        ours.append(total - patch["duration_ms"] - sum(each["duration_ms"] for each in reads))
        # Unloaded: the next one begins when the write and its echo are dealt with, and the record may be read again.
        wait_until(lambda: running.decision_count() >= before + 2, DEADLINE, "the echo has been recognised")
        time.sleep(READ_INTERVAL)
    return whole, ours


def show(told: str, values: list[float]) -> None:
    ordered = sorted(values)
    say(
        f"   {told:44} p50 {statistics.median(values):6.1f} ms   p95 {ordered[int(len(ordered) * 0.95)]:6.1f} ms"
        f"   min {ordered[0]:6.1f}   max {ordered[-1]:6.1f}"
    )


def play(running: Running, referral: str, opportunity: str) -> None:
    heading("latency: single updates of one deal, one after the other, from the webhook sent to the write answered")
    center, crm = running.partner_center, running.dynamics_365
    whole, ours = measure(
        running,
        TO_CRM_UPDATES,
        center,
        "/referrals",
        crm,
        lambda number: center.edit_referral(referral, details={"dealValue": 70000 + number}),
    )
    show(f"Partner Center to CRM, {TO_CRM_UPDATES} updates", whole)
    show("   without the simulators' own time", ours)
    whole, ours = measure(
        running,
        TO_PARTNER_CENTER_UPDATES,
        crm,
        "/opportunities",
        center,
        lambda number: crm.edit_row("opportunities", opportunity, estimatedvalue=80000 + number),
    )
    show(f"CRM to Partner Center, {TO_PARTNER_CENTER_UPDATES} updates", whole)
    show("   without the simulators' own time", ours)
