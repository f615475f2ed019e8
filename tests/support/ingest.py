"""tandem-ingest with a configuration of its own, on one test's topics."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from support.paths import PROGRAMS, ROOT
from support.process import Program
from support.simulators import Dynamics365, PartnerCenter
from support.tls import Authority
from support.topics import Record, Topics

COMMAND_SECONDS = 60
PARTITIONS = 3
FIRST_REFRESH_TOKEN = "simulated-refresh-token"


def yaml_of(sections: dict[str, Any], indent: str = "") -> str:
    """Numbers, truth values and durations are plain, other values quoted; lists in one line."""
    lines = []
    for name, value in sections.items():
        if isinstance(value, dict):
            lines.append(f"{indent}{name}:\n{yaml_of(value, indent + '  ')}")
        elif isinstance(value, str) and re.fullmatch(r"[0-9]+(ms|s|m|h|d|KiB|MiB)", value):
            lines.append(f"{indent}{name}: {value}\n")
        else:
            lines.append(f"{indent}{name}: {json.dumps(value)}\n")
    return "".join(lines)


class Ingest:
    """Writes configurations and secrets below `folder`; the topics exist when it has been made."""

    def __init__(
        self,
        folder: Path,
        topics: Topics,
        authority: Authority,
        partner_center: PartnerCenter,
        dynamics_365: Dynamics365 | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.topics = topics
        self.partner_center = partner_center
        self.dynamics_365 = dynamics_365
        self.ca = authority.cert
        self.key = secrets.token_hex(32)
        self.refresh_token = FIRST_REFRESH_TOKEN
        self.fetch: dict[str, Any] = {"first_retry_delay": "50ms", "longest_retry_delay": "500ms"}
        self.backfill: dict[str, Any] = {}
        self.serve: dict[str, Any] = {}
        self.signature: dict[str, Any] = {}
        created = self.run("topics", "--create")
        assert created.returncode == 0, created.stdout + created.stderr

    def secret(self, name: str, value: str) -> dict[str, str]:
        path = self.folder / f"{name}-{uuid.uuid4().hex[:8]}.secret"
        path.touch(mode=0o600)
        path.write_text(value + "\n")
        return {"file": str(path)}

    def sections(self, instance: str, admin_port: int | None) -> dict[str, Any]:
        program: dict[str, Any] = {"instance": instance, "drain_deadline": "8s"}
        if admin_port is not None:
            program["admin_address"] = f"127.0.0.1:{admin_port}"
        sections: dict[str, Any] = {
            "program": program,
            "kafka": {
                "bootstrap_servers": self.topics.bootstrap,
                "topic_prefix": self.topics.prefix,
                "partitions": PARTITIONS,
                "replication_factor": 1,
                "session_timeout": "6s",
            },
            "credentials": {"key": self.secret("key", self.key)},
            "partner_center": {
                "api_url": self.partner_center.url,
                "registration_url": self.partner_center.url,
                "login_url": self.partner_center.url,
                "tenant": "fabrikam.example",
                "client_id": "11111111-1111-4111-8111-111111111111",
                "client_secret": self.secret("client", "simulated-client-secret"),
                "refresh_token": self.secret("refresh", self.refresh_token),
                "ca_file": str(self.ca),
                "timeout": "5s",
            },
            "ingest": {"fetch": self.fetch, "serve": {"listen": "127.0.0.1:0", **self.serve}},
        }
        if self.backfill:
            sections["ingest"]["backfill"] = self.backfill
        if self.signature:
            sections["ingest"]["signature"] = self.signature
        if self.dynamics_365 is not None:
            sections["dynamics_365"] = {
                "url": self.dynamics_365.url,
                "login_url": self.dynamics_365.url,
                "tenant": "9b1f7c52-3d0e-4a86-8c57-e2d4f60a1b39",
                "client_id": "e0c6a1d4-5b27-4f93-9a18-7d3c2f80b645",
                "client_secret": self.secret("dynamics", "sandbox-secret"),
                "ca_file": str(self.ca),
            }
        return sections

    def config(self, instance: str = "one", admin_port: int | None = None) -> Path:
        path = self.folder / f"{instance}-{uuid.uuid4().hex[:8]}.yaml"
        path.write_text(yaml_of(self.sections(instance, admin_port)))
        return path

    def program(self, *arguments: str, instance: str = "one", admin_port: int | None = None) -> Program:
        return Program("ingest", *arguments, config=self.config(instance, admin_port))

    def fetcher(self, instance: str = "one", admin_port: int | None = None) -> Program:
        return self.program("--role", "fetch", instance=instance, admin_port=admin_port)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command that ends by itself."""
        return subprocess.run(
            [PROGRAMS / "tandem-ingest", *arguments, "--config", self.config("command")],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
        )

    def notify(self, *notifications: tuple[str, str, dict[str, str]]) -> None:
        """Puts notifications made by notification() into the topic, in this order."""
        self.topics.produce_all("notifications", notifications)

    def records(self, count: int = 0, **options: Any) -> list[Record]:
        return self.topics.read("records", count, **options)

    def dead_letters(self, count: int = 0, **options: Any) -> list[Record]:
        return self.topics.read("dead-letters", count, **options)


def notification(
    record_id: str,
    record_type: str = "referral",
    source: str = "partner-center",
    event: str = "referral-updated",
    origin: str = "webhook",
    **more: Any,
) -> tuple[str, str, dict[str, str]]:
    """Key, value and headers of a message that says something happened to a record."""
    value = {
        "source": source,
        "origin": origin,
        "event": event,
        "record_type": record_type,
        "record_id": record_id,
        "received_at": "2026-11-21T04:00:00.123Z",
        **more,
    }
    trace = secrets.token_hex(16)
    headers = {
        "ce_specversion": "1.0",
        "ce_id": secrets.token_hex(32),
        "ce_source": "/tandem/ingest/serve",
        "ce_type": "tandem.notification.v1",
        "ce_time": value["received_at"],
        "ce_subject": record_id,
        "traceparent": f"00-{trace}-{secrets.token_hex(8)}-01",
        "content-type": "application/json",
    }
    return f"{source}/{record_id}", json.dumps(value), headers


def id_of(message: tuple[str, str, dict[str, str]]) -> str:
    return message[2]["ce_id"]


def value_of(record: Record) -> dict[str, Any]:
    assert record.value is not None
    return json.loads(record.value)


def causes_of(records: Iterable[Record]) -> list[str]:
    """The ids of the notifications that these messages answer, in order, with repeats."""
    return [cause["notification"] for record in records for cause in value_of(record)["causes"]]


def readiness(port: int) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def metrics(port: int) -> dict[str, float]:
    """Series as they are written, with their labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
        lines = response.read().decode().splitlines()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if line and line[0] != "#"}
