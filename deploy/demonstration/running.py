"""The running parts of a demo, and what is asked of them while it plays."""

from __future__ import annotations

import contextlib
import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support import interruption
from support.kafka import Broker
from support.postgres import Cluster
from support.simulators import DOCUMENTED_CERTIFICATE_HOST, Dynamics365, PartnerCenter, unheard
from support.stack import Stack
from support.tls import Authority
from support.topics import Topics
from support.waiting import wait_until

DEADLINE = 30
QUIET_SECONDS = 0.7
IDENTIFIER = "msft_microsoftpartnercenterreferralidentifier"


def say(text: str = "") -> None:
    interruption.check()
    print(text, flush=True)


def heading(text: str) -> None:
    say(f"\n== {text}")


@contextlib.contextmanager
def step(text: str) -> Iterator[None]:
    print(f"   {text} ... ", end="", flush=True)
    begin = time.monotonic()
    yield
    say(f"{time.monotonic() - begin:.1f} s")


def body_of(entry: dict[str, Any]) -> Any:
    """The JSON a simulator was sent."""
    body = entry["body"]
    return json.loads(body) if isinstance(body, str) else body


class Running:
    """Broker, cluster, simulators, programs; close() stops them in reverse order, also when half are started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._parts = contextlib.ExitStack()

    def start(self) -> None:
        heading("starting")
        authority = Authority(self.folder / "tls", "Tandem demo CA")
        self.broker = Broker(self.folder / "kafka")
        self.cluster = Cluster(self.folder / "postgres", authority)
        with step("Apache Kafka, one node"):
            self._parts.callback(self.broker.stop)
            self.broker.start()
        with step("PostgreSQL, a cluster of its own"):
            self._parts.callback(self.cluster.stop)
            self.cluster.start()
            database = self.cluster.create_database()
        with step("simulated Partner Center and Dynamics 365"):
            self.partner_center = PartnerCenter(
                self.folder / "partner_center", authority, *DOCUMENTED_CERTIFICATE_HOST
            )
            self.dynamics_365 = Dynamics365(self.folder / "dynamics_365", authority)
            for simulator in (self.partner_center, self.dynamics_365):
                self._parts.callback(simulator.stop)
                simulator.start()
        topics = Topics(self.broker.bootstrap, "tandem.")
        self.stack = Stack(
            self.folder / "tandem", topics, database.dsn, authority, self.partner_center, self.dynamics_365
        )
        self.stack.keeps_logs = True
        self._parts.callback(self.stack.__exit__, None)
        with step("tandem-ingest, tandem-mapper, tandem-pusher"):
            self.stack.start()

    def close(self) -> None:
        self._parts.close()

    def ended(self) -> list[str]:
        """The programs that should be running and are not."""
        programs = self.stack.programs if hasattr(self, "stack") else []
        found = [(each, each.returncode) for each in programs]
        return [f"{each.config.stem} has ended ({status})" for each, status in found if status is not None]

    # what was done so far

    def decision_count(self) -> int:
        """How many decisions there are, `none` too, by the mapper's own count: cheaper than to read the topic."""
        [_ingest, mapper, _pusher] = self.stack.programs
        with urllib.request.urlopen(f"{self.stack.admin_address(mapper)}/metrics", timeout=DEADLINE) as response:
            lines = response.read().decode().splitlines()
        counts = [line.rsplit(" ", 1)[1] for line in lines if line.startswith("tandem_mapper_decisions_total{")]
        return sum(int(float(each)) for each in counts)

    def decisions(self, deal: str) -> list[dict[str, Any]]:
        found = [json.loads(record.value or b"null") for record in self.stack.topics.read("decisions")]
        return [each for each in found if each["deal_key"] == deal]

    def partner_center_position(self) -> int:
        return self.partner_center.position()

    def dynamics_365_position(self) -> int:
        return self.dynamics_365.position()

    def referral(self, referral: str) -> dict[str, Any]:
        found: dict[str, Any] = self.partner_center.admin("GET", f"/_sim/referrals/{referral}")
        return found

    def row(self, opportunity: str) -> dict[str, Any]:
        found: dict[str, Any] = self.dynamics_365.row("opportunities", opportunity)
        return found

    # waiting

    def wait_quiet(self) -> None:
        """Every webhook has been delivered, and for a while no decision was made."""
        seen, since = -1, time.monotonic()

        def is_quiet() -> bool:
            nonlocal seen, since
            count = self.decision_count()
            for simulator in (self.partner_center, self.dynamics_365):
                if any(each["state"] == "queued" for each in simulator.deliveries()["deliveries"]):
                    count = -1
            if count < 0 or count != seen:
                seen, since = count, time.monotonic()
            return time.monotonic() - since >= QUIET_SECONDS

        wait_until(is_quiet, DEADLINE, "nothing is under way any more")

    def wait_linked_row(self, referral: str) -> dict[str, Any]:
        """The opportunity of a deal that began at Partner Center, when each record names the other."""

        def linked() -> dict[str, Any] | None:
            row = self.stack.opportunity_of(referral)
            is_linked = row and self.referral(referral).get("externalReferenceId") == row["opportunityid"]
            return row if is_linked else None

        return wait_until(linked, DEADLINE, f"the deal {referral} and its opportunity name each other")

    def wait_linked_referral(self, opportunity: str) -> str:
        """The referral's id, when the opportunity names it."""
        row = wait_until(
            lambda: (found := self.row(opportunity))[IDENTIFIER] and found,
            DEADLINE,
            "the opportunity has its identifier",
        )
        return str(row[IDENTIFIER])

    @contextlib.contextmanager
    def unheard(self) -> Iterator[None]:
        """Both systems' webhooks wait until the end of the block."""
        with unheard(self.partner_center, self.dynamics_365):
            yield
