"""What deploy/demo plays: broker, database, simulators and the three programs, and three scenarios told as they happen.

Everything told is read back from where it really stands: the topics, the audit database, and the simulators' journals
of the requests they received.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
import traceback
import urllib.request
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.kafka import Broker  # noqa: E402
from support.postgres import Cluster  # noqa: E402
from support.simulators import DOCUMENTED_CERTIFICATE_HOST, Dynamics365, PartnerCenter  # noqa: E402
from support.stack import Stack  # noqa: E402
from support.tls import Authority  # noqa: E402
from support.topics import Topics  # noqa: E402
from support.waiting import wait_until  # noqa: E402

KEPT = Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local/state")) / "tandem-demo"
DEADLINE = 30
LATENCY_UPDATES = 60
READ_INTERVAL = 0.25  # ingest.fetch.read_interval and a little more
KINDS = {
    "microsoft-cosell": "a co-sell deal that a Microsoft seller sends to us",
    "partner-cosell": "a co-sell deal that we sent to Microsoft",
    "partner-led": "a partner-led deal, which Microsoft can see",
    "private": "a private deal",
}
STATES = {(0, 1): "Open, In Progress", (0, 2): "Open, On Hold", (1, 3): "Won", (2, 4): "Lost, Canceled", (2, 5): "Lost, Out-Sold"}


def say(text: str = "") -> None:
    print(text, flush=True)


def heading(text: str) -> None:
    say(f"\n== {text}")


@contextlib.contextmanager
def step(text: str) -> Iterator[None]:
    print(f"   {text} ... ", end="", flush=True)
    begin = time.monotonic()
    yield
    say(f"{time.monotonic() - begin:.1f} s")


def moment(text: str | None) -> datetime | None:
    if not text:
        return None
    head, _, fraction = text.replace("Z", "+00:00").partition(".")
    if fraction:
        digits = fraction.split("+")[0][:6].ljust(6, "0")
        return datetime.fromisoformat(f"{head}.{digits}+00:00")
    return datetime.fromisoformat(head)


class Demo:
    """The running parts; `close` order is the reverse of their start."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parts = contextlib.ExitStack()

    def start(self) -> None:
        heading("starting")
        authority = Authority(self.folder / "tls", "Tandem demo CA")
        self.broker = Broker(self.folder / "kafka")
        self.cluster = Cluster(self.folder / "postgres", authority)
        with step("Apache Kafka, one node"):
            self.broker.start()
            self.parts.callback(self.broker.stop)
        with step("PostgreSQL, a cluster of its own"):
            self.cluster.start()
            self.parts.callback(self.cluster.stop)
            database = self.cluster.create_database()
        with step("simulated Partner Center and Dynamics 365"):
            self.partner_center = self.parts.enter_context(
                PartnerCenter(self.folder / "partner_center", authority, *DOCUMENTED_CERTIFICATE_HOST)
            )
            self.dynamics_365 = self.parts.enter_context(Dynamics365(self.folder / "dynamics_365", authority))
        topics = Topics(self.broker.bootstrap, "tandem.")
        self.stack = self.parts.enter_context(
            Stack(self.folder / "tandem", topics, database.dsn, authority, self.partner_center, self.dynamics_365)
        )
        with step("tandem-ingest, tandem-mapper, tandem-pusher"):
            self.stack.start()

    # waiting

    def events(self) -> int:
        """How many decisions there are so far, `none` too, by the mapper's own count: cheaper than to read the topic."""
        [_ingest, mapper, _pusher] = self.stack.programs
        with urllib.request.urlopen(f"{self.stack.admin_address(mapper)}/metrics", timeout=DEADLINE) as response:
            lines = response.read().decode().splitlines()
        return sum(int(float(line.rsplit(" ", 1)[1])) for line in lines if line.startswith("tandem_mapper_decisions_total{"))

    def decisions(self, deal: str | None = None) -> list[dict[str, Any]]:
        found = [json.loads(record.value or b"null") for record in self.stack.topics.read("decisions")]
        return [each for each in found if deal in (None, each["deal_key"])]

    def settled(self, referral: str) -> dict[str, Any] | None:
        """The opportunity, when both records name each other and both echoes have been recognised."""
        opportunity = self.stack.opportunity_of(referral)
        ours = self.partner_center.admin("GET", f"/_sim/referrals/{referral}")
        if not opportunity or ours.get("externalReferenceId") != opportunity["opportunityid"]:
            return None
        nones = [each for each in self.decisions(referral) if each["action"] == "none"]
        return opportunity if len(nones) >= 2 else None

    def wait_settled(self, referral: str) -> dict[str, Any]:
        return wait_until(lambda: self.settled(referral), DEADLINE, f"the deal {referral} is the same on both sides")

    # telling

    def story(self, referral: str) -> None:
        """Webhook, notification, record, decision, write, audit: every message of one deal with its time."""
        lines: list[tuple[datetime, str]] = []
        for record in self.stack.topics.read("notifications"):
            value = json.loads(record.value or b"null")
            if value["record_id"] == referral:
                received = moment(value["received_at"])
                assert received is not None
                lines.append((received, f"webhook       {value['event']} taken, signature good"))
                kept = datetime.fromtimestamp(record.timestamp_ms / 1000, timezone.utc)
                lines.append((max(kept, received), f"notification  partition {record.partition}, offset {record.offset}"))
        for record in self.stack.topics.read("records"):
            value = json.loads(record.value or b"null")
            if value["deal_key"] == referral and value.get("read_at"):
                shown = ", ".join(each["role"] for each in value.get("documents", []))
                lines.append((moment(value["read_at"]), f"record        {value['side']}: read {shown}"))
        rows = self.stack.audit(
            "SELECT coalesce(finished_at, started_at, created_at), created_at, phase, purpose, system, result, reason,"
            " fields, status, duration_ms FROM deal_timeline WHERE deal_key = %s ORDER BY created_at",
            referral,
        )
        for at, created, phase, purpose, system, result, reason, fields, status, duration in rows:
            if phase == "none":
                lines.append((created, f"decision      none: {reason}"))
            elif phase == "intent":
                names = ", ".join(each["name"] for each in fields or [])
                lines.append((created, f"decision      {purpose} at {system}: {names}"))
            elif phase == "outcome":
                lines.append((at, f"write         {purpose} at {system}: {result}, HTTP {status}, {duration} ms there"))
                lines.append((created, "audit         intent and outcome committed"))
        lines.sort(key=lambda each: each[0])
        begin = lines[0][0]
        for at, text in lines:
            say(f"   {(at - begin).total_seconds() * 1000:9.1f} ms  {text}")

    def show_opportunity(self, referral: str) -> None:
        row = self.stack.opportunity_of(referral)
        assert row is not None
        names = ["opportunityid", "name", "estimatedvalue", "estimatedclosedate", "description", "statecode", "statuscode"]
        names += sorted(name for name in row if name.startswith("msft_") and row[name] is not None)
        for name in names:
            say(f"   {name:48} {row.get(name)}")

    # scenarios

    def new_deals(self) -> dict[str, str]:
        heading("scenario 1: new deals in Partner Center become opportunities")
        referrals = {}
        for kind, told in KINDS.items():
            referral = self.partner_center.add_referral(kind=kind)["id"]
            row = self.wait_settled(referral)
            state = STATES.get((row["statecode"], row["statuscode"]), "?")
            say(f"   {told}: opportunity {row['opportunityid'][:8]}…, {state}, identifier and link set, CRM id set back")
            referrals[kind] = referral
        say("\n   the story of the first one, from its webhook on:")
        self.story(referrals["microsoft-cosell"])
        return referrals

    def patches(self, since: int) -> list[dict[str, Any]]:
        return self.dynamics_365.journal(since, "PATCH", "/opportunities")

    def position(self) -> int:
        return int(self.dynamics_365.admin("GET", "/_sim/journal")["next"])

    def updates(self, referral: str) -> None:
        heading("scenario 2: an update is one PATCH with the changed columns; no change is no call")
        for told, change in {
            "deal value 61,500.25": {"details": {"dealValue": 61500.25}},
            "closing date 2031-03-31": {"details": {"closingDateTime": "2031-03-31T00:00:00Z"}},
            "notes": {"details": {"notes": "The board has agreed."}},
        }.items():
            since = self.position()
            self.partner_center.edit_referral(referral, **change)
            [patch] = wait_until(lambda: self.patches(since), DEADLINE, "the CRM got a PATCH")
            columns = json.loads(patch["body"]) if isinstance(patch["body"], str) else patch["body"]
            shown = ", ".join(name for name in columns if not name.endswith("syncaudit"))
            say(f"   {told}: one PATCH of {shown} (and the audit text)")
        since, before = self.position(), self.events()
        event = {"EventName": "referral-updated", "ResourceName": "referral", "AuditUri": None}
        event["ResourceUri"] = f"https://api.partnercenter.microsoft.com/engagements/v1/referrals/{referral}"
        event["ResourceChangeUtcDate"] = datetime.now(timezone.utc).isoformat()
        self.partner_center.admin("POST", "/_sim/events", event)
        wait_until(lambda: self.events() > before, DEADLINE, "the event has been decided on")
        say(f"   an event without a change: {len(self.patches(since))} calls; decision none: {self.decisions(referral)[-1]['reason']}")

    def life(self, referrals: dict[str, str]) -> None:
        heading("scenario 3: Microsoft answers; deals are closed")
        shared = referrals["partner-cosell"]
        self.partner_center.microsoft_answers(shared, "accept", msxId="7-DEMO000001")
        row = wait_until(
            lambda: (found := self.stack.opportunity_of(shared)) and found.get("msft_microsoftcrmidentifier") and found,
            DEADLINE,
            "Microsoft's CRM identifier has arrived",
        )
        say(f"   Microsoft accepts: Microsoft CRM Identifier {row['msft_microsoftcrmidentifier']} on the opportunity")
        for kind, substatus in {"partner-cosell": "Won", "private": "Lost"}.items():
            self.partner_center.edit_referral(referrals[kind], status="Closed", substatus=substatus)
            row = wait_until(
                lambda: (found := self.stack.opportunity_of(referrals[kind])) and found["statecode"] != 0 and found,
                DEADLINE,
                "the opportunity is closed",
            )
            say(f"   {substatus} in Partner Center: opportunity {STATES[(row['statecode'], row['statuscode'])]}")

    def latency(self, referral: str) -> None:
        heading(f"latency: {LATENCY_UPDATES} single updates of one deal, one after the other")
        whole, above = [], []
        for k in range(LATENCY_UPDATES):
            before = self.events()
            since, seen = self.position(), int(self.partner_center.admin("GET", "/_sim/journal")["next"])
            self.partner_center.edit_referral(referral, details={"dealValue": 70000 + k})
            [patch] = wait_until(lambda: self.patches(since), DEADLINE, "the CRM got a PATCH")
            reads = self.partner_center.journal(seen, "GET", "/referrals")
            delivery = self.partner_center.deliveries()["deliveries"][-1]
            sent = moment(delivery["attempts"][0]["time"])
            arrived = moment(patch["time"])
            assert sent and arrived
            total = (arrived - sent).total_seconds() * 1000 + patch["duration_ms"]
            whole.append(total)
            above.append(total - patch["duration_ms"] - sum(read["duration_ms"] for read in reads))
            # Unloaded: the next one begins when the write and its echo are dealt with, and the referral may be read again.
            wait_until(lambda: self.events() >= before + 2, DEADLINE, "the echo has been recognised")
            time.sleep(READ_INTERVAL)
        for told, values in {"webhook sent to CRM written": whole, "of it above the simulators' own time": above}.items():
            ordered = sorted(values)
            say(
                f"   {told:38} p50 {statistics.median(values):6.1f} ms   p95 {ordered[int(len(ordered) * 0.95)]:6.1f} ms"
                f"   min {ordered[0]:6.1f}   max {ordered[-1]:6.1f}"
            )

    def audit(self) -> None:
        heading("the audit (PostgreSQL, schema tandem)")
        rows = self.stack.audit(
            "SELECT phase, coalesce(system, '-'), coalesce(purpose, reason), coalesce(result, '-'), count(*)"
            " FROM audit GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
        )
        say(f"   {'phase':10} {'system':16} {'what':24} {'result':10} rows")
        for phase, system, what, result, count in rows:
            say(f"   {phase:10} {system:16} {what:24} {result:10} {count}")
        [(faults,)] = self.stack.audit("SELECT count(*) FROM verify_audit()")
        say(f"   hash chains verified: {faults} faults")

    def play(self) -> None:
        referrals = self.new_deals()
        self.updates(referrals["microsoft-cosell"])
        self.life(referrals)
        self.latency(referrals["partner-led"])
        heading("the first deal's record in the CRM")
        self.show_opportunity(referrals["microsoft-cosell"])
        self.audit()

    def look_around(self) -> None:
        [ingest, _mapper, pusher] = self.stack.programs
        heading("everything runs on; look around")
        say(f"   psql '{self.stack.dsn}' -c 'SELECT * FROM tandem.deal_status'")
        say(f"   /usr/bin/python3 tests/support/topics.py {self.broker.bootstrap} tandem.decisions")
        say(f"   curl -s {self.stack.admin_address(pusher)}/metrics")
        say(f"   curl -s {self.stack.admin_address(ingest)}/readyz")
        ca = self.folder / "tls/ca.pem"
        say(f"   curl -s --cacert {ca} {self.partner_center.url}/_sim/state")
        say(
            f"   curl -s --cacert {ca} -X POST -H 'Content-Type: application/json' -d '{{\"kind\":\"microsoft-cosell\"}}'"
            f" {self.partner_center.url}/_sim/referrals"
        )
        say(f"   curl -s --cacert {ca} {self.dynamics_365.url}/_sim/rows/opportunities")
        say(f"   configurations: {self.stack.folder}/*.yaml")
        say("   deploy/demo --stop   ends it all")


def stop_kept() -> int:
    """Ends what --keep has left running: its process holds everything and stops it in order."""
    try:
        pid = int((KEPT / "pid").read_text())
        os.kill(pid, signal.SIGTERM)
    except (FileNotFoundError, ProcessLookupError):
        say("nothing is running")
        return 0
    wait_until(lambda: not (KEPT / "pid").exists(), 60, "the demo has stopped")
    say("stopped")
    return 0


def play(on_played: Callable[[Demo], None]) -> None:
    # Not below a home directory: PostgreSQL's own user has to get there.
    folder = Path(tempfile.mkdtemp(prefix="tandem-demo-"))
    folder.chmod(0o755)
    demo = Demo(folder)
    try:
        with demo.parts:
            demo.start()
            demo.play()
            on_played(demo)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def keep_in_background() -> int:
    """A child of our own plays and then holds everything until it is told to stop; we end when it has played."""
    if (KEPT / "pid").exists():
        say("deploy/demo: a kept demo runs already; end it with deploy/demo --stop")
        return 1
    played, tell_played = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(played)
        os.setsid()
        hold(tell_played)
    os.close(tell_played)
    try:
        if os.read(played, 1):
            return 0
    except KeyboardInterrupt:
        os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) or 1


def hold(tell_played: int) -> NoReturn:
    def wait_for_the_end(demo: Demo) -> None:
        demo.look_around()
        sys.stdout.flush()
        KEPT.mkdir(parents=True, exist_ok=True)
        (KEPT / "pid").write_text(str(os.getpid()))
        os.write(tell_played, b"k")
        os.close(tell_played)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        signal.pause()

    status = 1
    try:
        play(wait_for_the_end)
    except KeyboardInterrupt:
        status = 0
    except Exception:
        traceback.print_exc()
    finally:
        (KEPT / "pid").unlink(missing_ok=True)
        sys.stdout.flush()
        os._exit(status)


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if "--stop" in sys.argv:
        return stop_kept()
    if "--keep" in sys.argv:
        return keep_in_background()
    play(lambda _demo: heading("stopping"))
    say("   everything stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
