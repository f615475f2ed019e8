"""All of Tandem at once: topics, audit database and the three programs, beside a broker, a cluster and two simulators.

Used by the end-to-end tests and by deploy/demo. Every process has a configuration file of its own, since its instance
name, its addresses and its local store are its own; everything else is the same text.
"""

from __future__ import annotations

import copy
import secrets
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions
import yaml

from support.default_rules import RULES
from support.paths import PROGRAMS
from support.ports import free_port
from support.process import Program
from support.simulators import Dynamics365, PartnerCenter
from support.tls import Authority
from support.topics import Topics

COMMAND_SECONDS = 60
EVENTS = ["referral-created", "referral-updated", "related-referral-created", "related-referral-updated", "test-created"]
WEBHOOK_SECRET = "sandbox-webhook-secret-0123456789"
# What the simulators take; nothing of it is a secret.
TENANT = "9b1f7c52-3d0e-4a86-8c57-e2d4f60a1b39"
PARTNER_CENTER_CLIENT = {"tenant": TENANT, "client_id": "11111111-1111-4111-8111-111111111111"}
DYNAMICS_365_CLIENT = {"tenant": TENANT, "client_id": "e0c6a1d4-5b27-4f93-9a18-7d3c2f80b645"}
PARTNER_CENTER_SECRET = "simulated-client-secret"
DYNAMICS_365_SECRET = "sandbox-secret"
REFRESH_TOKEN = "simulated-refresh-token"


def deep_merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`changes` laid over a copy of `base`, mapping by mapping; None removes a key."""
    merged = copy.deepcopy(base)
    for key, value in changes.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = deep_merge(merged[key], value)
        else:
            merged[key] = value
    return merged


class Stack:
    """Start what is needed with start(); a context manager that stops every process it started."""

    def __init__(
        self,
        folder: Path,
        topics: Topics,
        dsn: str,
        authority: Authority,
        partner_center: PartnerCenter,
        dynamics_365: Dynamics365,
        settings: dict[str, Any] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.topics = topics
        self.dsn = dsn
        self.partner_center = partner_center
        self.dynamics_365 = dynamics_365
        self.programs: list[Program] = []
        self.keeps_logs = False  # each program's beside its configuration
        self._authority = authority
        self._settings = settings or {}
        self._receiver = authority.issue(f"receiver-{secrets.token_hex(3)}")
        self._base = self._base_configuration()

    def __enter__(self) -> Stack:
        return self

    def __exit__(self, exception_type: type[BaseException] | None, *exception: object) -> None:
        # Each of them, also when a sanitizer has found something in one.
        with ExitStack() as ends:
            for program in self.programs:
                ends.callback(program.__exit__, exception_type, *exception)

    # configuration

    def _secret(self, name: str, text: str) -> dict[str, str]:
        path = self.folder / name
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(text + "\n")
        return {"file": str(path)}

    def _base_configuration(self) -> dict[str, Any]:
        server = psycopg2.extensions.parse_dsn(self.dsn)
        password = Path(server["passfile"]).read_text().strip().rsplit(":", 1)[1]
        ca = str(self._authority.cert)
        signing = self.partner_center.signing_folder
        return {
            "kafka": {
                "bootstrap_servers": self.topics.bootstrap,
                "topic_prefix": self.topics.prefix,
                "replication_factor": 1,
            },
            "credentials": {"key": self._secret("credentials.key", secrets.token_hex(32))},
            "partner_center": {
                "api_url": self.partner_center.url,
                "registration_url": self.partner_center.url,
                "login_url": self.partner_center.url,
                **PARTNER_CENTER_CLIENT,
                "client_secret": self._secret("partner-center.secret", PARTNER_CENTER_SECRET),
                "refresh_token": self._secret("partner-center.token", REFRESH_TOKEN),
                "ca_file": ca,
            },
            "dynamics_365": {
                "url": self.dynamics_365.url,
                "login_url": self.dynamics_365.url,
                **DYNAMICS_365_CLIENT,
                "client_secret": self._secret("dynamics-365.secret", DYNAMICS_365_SECRET),
                "ca_file": ca,
            },
            "postgres": {
                "host": server["host"],
                "port": int(server["port"]),
                "database": server["dbname"],
                "user": server["user"],
                "password": self._secret("postgres.password", password),
                "ca_file": ca,
            },
            "ingest": {
                "serve": {
                    "tls_certificate": str(self._receiver.cert),
                    "tls_key": str(self._receiver.key),
                    "dynamics_365_secret": self._secret("webhook.secret", WEBHOOK_SECRET),
                },
                # Webhooks alone, unless a test says otherwise.
                "poll": {"interval": "1h", "engagement_interval": "1h"},
                "signature": {
                    "trusted_roots": str(signing / "ca.pem"),
                    "pinned_certificates": [str(signing / "leaf.pem")],
                },
            },
            "mapper": {"rules": str(RULES)},
        }

    def configuration(self, name: str, instance: str, **changes: Any) -> Path:
        """Writes the configuration of one process and returns its path."""
        own: dict[str, Any] = {"program": {"instance": instance, "admin_address": f"127.0.0.1:{free_port()}"}}
        if name == "ingest":
            own["ingest"] = {"serve": {"listen": f"127.0.0.1:{free_port()}"}}
        if name == "mapper":
            own["mapper"] = {"store_directory": str(self.folder / f"store-{instance}")}
        content = deep_merge(deep_merge(deep_merge(self._base, own), self._settings), changes)
        path = self.folder / f"{name}-{instance}.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False, default_flow_style=False))
        return path

    # commands and programs

    def command(self, program: str, *arguments: str, config: Path | None = None) -> str:
        """Runs a command of one of the programs to its end; fails with its output unless it ends with 0."""
        config = config or self.configuration(program, "command")
        result = subprocess.run(
            [str(PROGRAMS / f"tandem-{program}"), *arguments, "--config", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS,
        )
        assert result.returncode == 0, f"tandem-{program} {' '.join(arguments)}: {result.returncode}\n{result.stdout}"
        return result.stdout

    def prepare(self) -> None:
        """Topics and database schema."""
        self.command("ingest", "topics", "--create")
        self.command("pusher", "migrate")

    def start_program(self, name: str, instance: str, *arguments: str, **changes: Any) -> Program:
        """Starts one process; wait for "program.ready" before it is needed."""
        config = self.configuration(name, instance, **changes)
        program = Program(name, *arguments, config=config)
        program.config = config
        program.log_file = config.with_suffix(".log") if self.keeps_logs else None
        self.programs.append(program)
        return program.start()

    def start_mapper(self, rules: str, instance: str = "mapper-1") -> Program:
        """A mapper with rules of its own, ready."""
        path = self.folder / f"rules-{instance}.yaml"
        path.write_text(rules)
        program = self.start_program("mapper", instance, mapper={"rules": str(path)})
        program.wait_for("program.ready")
        return program

    def running(self, instance: str) -> Program:
        """The process of this instance name that runs."""
        [program] = [
            each for each in self.programs if each.config.name.endswith(f"-{instance}.yaml") and each.returncode is None
        ]
        return program

    def start_again(self, ended: Program) -> Program:
        """The successor of a process that has ended: under its name, at its addresses, with its local store."""
        config = ended.config
        program = Program(config.name.partition("-")[0], config=config)
        program.config = config
        self.programs.append(program)
        return program.start()

    def start(self, ingest: int = 1, mapper: int = 1, pusher: int = 1) -> Stack:
        """Everything, ready, with both simulators' webhooks pointing at the first receiver."""
        self.prepare()
        counts = {"ingest": ingest, "mapper": mapper, "pusher": pusher}
        started = [self.start_program(name, f"{name}-{k}") for name, count in counts.items() for k in range(1, count + 1)]
        for program in started:
            program.wait_for("program.ready")
        self.point_webhooks_at(started[0])
        return self

    def listening_on(self, ingest: Program) -> str:
        content = yaml.safe_load(ingest.config.read_text())
        return f"https://{content['ingest']['serve']['listen']}"

    def admin_address(self, program: Program) -> str:
        return f"http://{yaml.safe_load(program.config.read_text())['program']['admin_address']}"

    def point_webhooks_at(self, ingest: Program) -> None:
        base = self.listening_on(ingest)
        self.partner_center.set_registration({"WebhookUrl": f"{base}/webhooks/partner-center", "WebhookEvents": EVENTS})
        self.dynamics_365.add_webhook(
            url=f"{base}/webhooks/dynamics-365",
            settings={"x-tandem-webhook-key": WEBHOOK_SECRET},
            table="opportunity",
            messages=["Create", "Update", "Delete"],
        )

    def have_rows_tell(self) -> None:
        """Rows of solutions raise webhooks, too, as `register dynamics-365` has them do."""
        self.dynamics_365.add_webhook(
            url=f"{self.listening_on(self.programs[0])}/webhooks/dynamics-365",
            settings={"x-tandem-webhook-key": WEBHOOK_SECRET},
            table="msft_microsoftsolution",
            messages=["Create", "Update", "Delete"],
            pre_image="msft_opportunityid",
            post_image="msft_opportunityid",
        )

    # looking around

    def audit(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Rows of one query on the audit database, schema tandem first in the search path."""
        connection = psycopg2.connect(self.dsn, options="-c search_path=tandem,public")
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(query, parameters or None)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def timeline(self, deal_key: str) -> list[dict[str, Any]]:
        """The deal's story from the audit, in order."""
        columns = "phase, action, purpose, system, result, reason, fields, calls, status, duration_ms, created_at"
        rows = self.audit(f"SELECT {columns} FROM deal_timeline WHERE deal_key = %s ORDER BY created_at", deal_key)
        return [dict(zip(columns.split(", "), row)) for row in rows]

    def opportunity_of(self, referral_id: str) -> dict[str, Any] | None:
        """The opportunity that carries the referral's id, as the CRM holds it."""
        column = "msft_microsoftpartnercenterreferralidentifier"
        found = [row for row in self.opportunities() if str(row.get(column) or "").lower() == referral_id.lower()]
        assert len(found) <= 1, f"{len(found)} opportunities carry the referral {referral_id}"
        return found[0] if found else None

    def opportunities(self) -> list[dict[str, Any]]:
        rows = self.dynamics_365.rows("opportunities")
        return rows["value"] if isinstance(rows, dict) else rows
