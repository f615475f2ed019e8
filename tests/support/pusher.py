"""tandem-pusher with a configuration of its own, on one test's topics and one test's database."""

from __future__ import annotations

import json
import secrets
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from support.ingest import Ingest, value_of, yaml_of
from support.paths import PROGRAMS, ROOT
from support.postgres import Cluster, Database
from support.process import Program
from support.simulators import Dynamics365, PartnerCenter
from support.tls import Authority
from support.topics import Record, Topics
from support.waiting import wait_until

COMMAND_SECONDS = 60
SCHEMA = "tandem"


class Pusher:
    """Topics and schema are there when it has been made; `settings` is the section pusher of what is started next,
    `partner_center_settings` what is added to the section partner_center."""

    def __init__(
        self,
        folder: Path,
        topics: Topics,
        authority: Authority,
        cluster: Cluster,
        database: Database,
        partner_center: PartnerCenter,
        dynamics_365: Dynamics365,
    ) -> None:
        # Makes the topics, and knows how the systems are configured.
        self._common = Ingest(folder, topics, authority, partner_center, dynamics_365)
        self.topics = topics
        self.database = database
        self.dynamics_365 = dynamics_365
        self.partner_center = partner_center
        self.settings: dict[str, Any] = {"pause_first": "50ms", "pause_max": "500ms"}
        self.partner_center_settings: dict[str, Any] = {}
        self._cluster = cluster
        self.login = f"login_{secrets.token_hex(6)}"
        self.password = secrets.token_urlsafe(18)
        self.conninfo = folder / "admin.conninfo"
        self.conninfo.touch(mode=0o600)
        self.conninfo.write_text(database.dsn + "\n")

    def prepare(self) -> Pusher:
        done = self.migrate()
        assert done.returncode == 0, done.stdout + done.stderr
        self.database.rows(f"CREATE ROLE {self.login} LOGIN PASSWORD '{self.password}' IN ROLE {SCHEMA}_pusher")
        return self

    def config(self, instance: str = "one", admin_port: int | None = None, **settings: Any) -> Path:
        sections = self._common.sections(instance, admin_port)
        del sections["ingest"]
        sections["partner_center"].update(self.partner_center_settings)
        password = self._common.secret("database", self.password)
        self.password_file = Path(password["file"])  # of the configuration made last
        sections["postgres"] = {
            "host": "127.0.0.1",
            "port": int((self._cluster.folder / "port").read_text()),
            "database": self.database.name,
            "user": self.login,
            "password": password,
            "ca_file": str(self._common.ca),
            "schema": SCHEMA,
            "statement_timeout": "3s",
        }
        sections["pusher"] = {**self.settings, **settings}
        path = self._common.folder / f"pusher-{instance}-{uuid.uuid4().hex[:8]}.yaml"
        path.write_text(yaml_of(sections))
        return path

    def program(self, instance: str = "one", admin_port: int | None = None, **settings: Any) -> Program:
        return Program("pusher", config=self.config(instance, admin_port, **settings))

    def migrate(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        config = self.config("migrate")
        command = [PROGRAMS / "tandem-pusher", "migrate", *arguments, "--conninfo-file", self.conninfo]
        return subprocess.run(
            [*command, "--config", config],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
        )

    # --- What goes in ---

    def decide(self, *decisions: dict[str, Any]) -> None:
        self.topics.produce_all("decisions", [message_of(each) for each in decisions])

    # --- What comes out ---

    def outcomes(self, count: int = 0, deadline: float = 30, until: Any = None) -> list[dict[str, Any]]:
        return [value_of(each) for each in self.topics.read("outcomes", count, until=until, deadline=deadline)]

    def outcome_of(self, made: dict[str, Any], deadline: float = 30) -> dict[str, Any]:
        """The only outcome of a decision."""

        def is_there(records: list[Record]) -> bool:
            return any(value_of(each)["decision_id"] == made["id"] for each in records)

        found = [each for each in self.outcomes(until=is_there, deadline=deadline)]
        found = [each for each in found if each["decision_id"] == made["id"]]
        assert len(found) == 1, found
        return found[0]

    def dead_letters(self, count: int = 0) -> list[Record]:
        return self.topics.read("dead-letters", count)

    def rows(self, made: dict[str, Any], columns: str = "phase, attempt, result") -> list[tuple]:
        """The audit rows of a decision in the order they were written."""
        return self.database.rows(
            f"SELECT {columns} FROM {SCHEMA}.audit WHERE decision_id = %s ORDER BY chain_number", made["id"]
        )

    def audit(self, query: str, *parameters: object) -> list[tuple]:
        """One query in the schema of the audit, as the superuser."""
        return self.database.rows(f"SET search_path = {SCHEMA}; {query}", *parameters)

    def wait_for_rows(self, made: dict[str, Any], condition: Callable[[list[tuple]], object]) -> list[tuple]:
        return wait_until(
            lambda: (lambda rows: rows if condition(rows) else None)(self.rows(made)), 20, "the rows are there"
        )

    def uncommitted(self, topic: str = "decisions") -> int:
        """Decisions (dead letters) whose offsets are not committed."""
        name = self.topics.name(topic)
        consumer = Consumer({"bootstrap.servers": self.topics.bootstrap, "group.id": self.topics.name("pusher")})
        try:
            places = [TopicPartition(name, number) for number in range(self.topics.partitions(topic))]
            left = 0
            for place in consumer.committed(places, timeout=10):
                low, high = consumer.get_watermark_offsets(TopicPartition(name, place.partition), timeout=10)
                left += high - (place.offset if place.offset >= 0 else low)
            return left
        finally:
            consumer.close()

    def forget_offsets(self, topic: str) -> None:
        """The group begins anew with the topic; no member of it may be running, and its static ones have to be over."""
        name = self.topics.name(topic)
        consumer = Consumer({"bootstrap.servers": self.topics.bootstrap, "group.id": self.topics.name("pusher")})
        try:
            places = [TopicPartition(name, number, 0) for number in range(self.topics.partitions(topic))]

            def is_committed() -> bool:
                try:
                    consumer.commit(offsets=places, asynchronous=False)
                    return True
                except KafkaException:
                    return False

            wait_until(is_committed, 30, "the group has no members")
        finally:
            consumer.close()

    def is_settled(self) -> None:
        """Everything is committed, nothing waits in the outbox, no intent is open, and the chains are whole."""
        wait_until(lambda: self.uncommitted() == 0, 20, "all offsets are committed")
        assert self.audit("SELECT count(*) FROM outbox") == [(0,)]
        assert self.audit("SELECT count(*) FROM open_intents") == [(0,)]
        assert self.audit("SELECT * FROM verify_audit()") == []


def message_of(made: dict[str, Any]) -> tuple[str, str, dict[str, str]]:
    headers = {
        "ce_specversion": "1.0",
        "ce_id": secrets.token_hex(32),
        "ce_source": "/tandem/mapper",
        "ce_type": "tandem.decision.v1",
        "ce_time": made["decided_at"],
        "traceparent": f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01",
        "content-type": "application/json",
    }
    return made["deal_key"], json.dumps(made), headers


def decision(deal_key: str | None = None, number: int = 1, **more: Any) -> dict[str, Any]:
    """The members every decision has; None leaves one out."""
    deal_key = deal_key or str(uuid.uuid4())
    made = {
        "id": f"{deal_key}#{number}",
        "number": number,
        "deal_key": deal_key,
        "action": "none",
        "reason": "unchanged",
        "rules_version": "1a2b",
        "decided_at": "2026-11-21T04:00:01Z",
        "received_at": "2026-11-21T04:00:00Z",
        **more,
    }
    return {name: value for name, value in made.items() if value is not None}
