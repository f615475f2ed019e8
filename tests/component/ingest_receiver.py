"""tandem-ingest as a receiver of webhooks, with a configuration of the test's own."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from support.ports import free_port
from support.process import Program
from support.tls import Authority
from support.topics import Topics
from webhook_sender import Answer, Connection

SECRET = "first-shared-secret-of-the-test"
NEXT_SECRET = "second-shared-secret-of-the-test"
ORGANIZATION_ID = "6d0f7c1e-52b9-4e0a-9d38-71c4e2a95b10"


def yaml_of(settings: dict[str, Any]) -> str:
    """JSON is YAML, but durations and sizes stand without quotes. Keys that are None are left out."""

    def without_none(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without_none(each) for key, each in value.items() if each is not None}
        return value

    return re.sub(r'"(\d+(?:ms|s|m|h|KiB))"', r"\1", json.dumps(without_none(settings), indent=2))


class Receiver(Program):
    """Serves on a free port; `serve` and `signature` change its configuration."""

    def __init__(
        self,
        folder: Path,
        authority: Authority,
        topics: Topics,
        serve: dict[str, Any] | None = None,
        signature: dict[str, Any] | None = None,
        kafka: dict[str, Any] | None = None,
        program: dict[str, Any] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.authority = authority
        self.certificate = authority.issue(f"receiver-{folder.name}")
        self.admin_port = free_port()
        for name, secret in (("secret", SECRET), ("next_secret", NEXT_SECRET)):
            (folder / name).touch(mode=0o600)
            (folder / name).write_text(secret + "\n")
        self.settings = {
            "program": {"admin_address": f"127.0.0.1:{self.admin_port}", "instance": "test", **(program or {})},
            "kafka": {
                "bootstrap_servers": topics.bootstrap,
                "topic_prefix": topics.prefix,
                "partitions": 1,
                "replication_factor": 1,
                "properties": {"message.timeout.ms": "3000", **(kafka or {})},
            },
            "ingest": {
                "serve": {
                    "listen": "127.0.0.1:0",
                    "tls_certificate": str(self.certificate.cert),
                    "tls_key": str(self.certificate.key),
                    "hosts": ["localhost", "127.0.0.1"],
                    "dynamics_365_secret": {"file": str(folder / "secret")},
                    "dynamics_365_secret_next": {"file": str(folder / "next_secret")},
                    "dynamics_365_organization_id": ORGANIZATION_ID,
                    **(serve or {}),
                },
                "signature": signature or {},
            },
        }
        config = folder / "tandem.yaml"
        config.write_text(yaml_of(self.settings))
        super().__init__("ingest", "--role", "serve", config=config)
        self.topics = topics

    def start(self) -> Receiver:
        """All topics have to be there when it starts."""
        made = subprocess.run(
            [self.command[0], "topics", "--create", "--config", self.command[-1]],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert made.returncode == 0, made.stdout + made.stderr
        super().start()
        return self

    @property
    def port(self) -> int:
        return int(self.wait_for("serve.listening")["port"])

    def ready(self) -> Receiver:
        self.wait_for("program.ready")
        return self

    def connect(self) -> Connection:
        uses_tls = self.settings["ingest"]["serve"].get("tls_certificate") is not None
        return Connection(self.port, self.authority.cert if uses_tls else None)

    def send(self, data: bytes) -> Answer:
        with self.connect() as connection:
            connection.send(data)
            return connection.answer()

    def admin(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}{path}", timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
