"""The driver that asks an outside system what a test tells it to (tests/component/systems/systems_driver.c)."""

from __future__ import annotations

import json
import os
import queue
import re
import subprocess
import threading
from pathlib import Path
from typing import Any

from support.paths import BUILD
from support.process import SANITIZER_EXIT_STATUS
from support.simulators import Dynamics365, PartnerCenter
from support.tls import Authority

ANSWER_SECONDS = 30
STOP_SECONDS = 30

PARTNER_CENTER_CLIENT = "11111111-1111-4111-8111-111111111111"
PARTNER_CENTER_SECRET = "simulated-client-secret"
REFRESH_TOKEN = "simulated-refresh-token"
DYNAMICS_TENANT = "9b1f7c52-3d0e-4a86-8c57-e2d4f60a1b39"
DYNAMICS_CLIENT = "e0c6a1d4-5b27-4f93-9a18-7d3c2f80b645"
DYNAMICS_SECRET = "sandbox-secret"


def _yaml(section: str, keys: dict[str, Any]) -> str:
    """JSON is YAML; but durations and words are written without quotes."""

    def plain(value: Any) -> str:
        return value if isinstance(value, str) and re.fullmatch(r"\w+", value) else json.dumps(value)

    return f"{section}:\n" + "".join(f"  {name}: {plain(value)}\n" for name, value in keys.items())


def partner_center_keys(simulator: PartnerCenter, authority: Authority, **changes: Any) -> dict[str, Any]:
    return {
        "api_url": simulator.url,
        "registration_url": simulator.url,
        "login_url": simulator.url,
        "tenant": "fabrikam.example",
        "client_id": PARTNER_CENTER_CLIENT,
        "client_secret": {"env": "SYSTEMS_CLIENT_SECRET"},
        "refresh_token": {"env": "SYSTEMS_REFRESH_TOKEN"},
        "ca_file": str(authority.cert),
        "timeout": "5s",
        **changes,
    }


def dynamics_365_keys(simulator: Dynamics365, authority: Authority, **changes: Any) -> dict[str, Any]:
    return {
        "url": simulator.url,
        "login_url": simulator.url,
        "tenant": DYNAMICS_TENANT,
        "client_id": DYNAMICS_CLIENT,
        "client_secret": {"env": "SYSTEMS_CLIENT_SECRET"},
        "ca_file": str(authority.cert),
        "timeout": "5s",
        **changes,
    }


class System:
    """The driver as a process; a context manager. Leaving it frees the system and checks how the process ended."""

    def __init__(self, name: str, folder: Path, keys: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "systems.yaml"
        config.write_text(_yaml(name.replace("-", "_"), keys))
        self._log = folder / "systems.log"
        secret = PARTNER_CENTER_SECRET if name == "partner-center" else DYNAMICS_SECRET
        self._environment = {
            **os.environ,
            "SYSTEMS_CLIENT_SECRET": secret,
            "SYSTEMS_REFRESH_TOKEN": REFRESH_TOKEN,
            "ASAN_OPTIONS": f"exitcode={SANITIZER_EXIT_STATUS}:detect_stack_use_after_return=1",
            "UBSAN_OPTIONS": f"exitcode={SANITIZER_EXIT_STATUS}:print_stacktrace=1",
        }
        self._command = [str(BUILD / "tests/systems_driver"), name, str(config)]
        self._answers: dict[int, dict[str, Any]] = {}
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._asked = 0
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> System:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()
        return self

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._lines.put(json.loads(line))
        self._lines.put(None)

    def __exit__(self, exception_type: type[BaseException] | None, *_exception: object) -> None:
        status = self.end()
        if exception_type is None:
            assert status == 0, f"ended with {status}:\n{self.log}"

    def end(self) -> int:
        """Frees the system, whatever is under way, and returns the exit status."""
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def tell(self, **question: Any) -> int:
        """Asks without waiting; returns the number to wait for."""
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        self._asked += 1
        return self._asked

    def answer(self, number: int) -> dict[str, Any]:
        while number not in self._answers:
            line = self._lines.get(timeout=ANSWER_SECONDS)
            assert line is not None, f"the driver has ended:\n{self.log}"
            assert line["number"] not in self._answers, "a question was answered twice"
            self._answers[line["number"]] = line
        return self._answers[number]

    def ask(self, **question: Any) -> dict[str, Any]:
        return self.answer(self.tell(**question))

    def read(self, record_type: str, record_id: str) -> dict[str, Any]:
        return self.ask(do="read", record_type=record_type, record_id=record_id)

    def find(self, decision: dict[str, Any]) -> dict[str, Any]:
        return self.ask(do="find", decision=decision)

    def write(self, decision: dict[str, Any], may_send: bool = True) -> dict[str, Any]:
        return self.ask(do="write", decision=decision, may_send=may_send)

    def shows(self, documents: Any, decision: dict[str, Any]) -> tuple[bool, bool]:
        """Whether the documents show the decision, and whether that is certain."""
        answer = self.ask(do="shows", documents=documents, decision=decision)
        return answer["shows"], answer["is_certain"]

    def list(self, listing: str, next_page: str | None = None) -> dict[str, Any]:
        """One page of referrals, `next_page` being what the page before it said."""
        return self.ask(do="list", listing=listing, **({} if next_page is None else {"next": next_page}))

    def settling_ms(self, decision: dict[str, Any]) -> int:
        return self.ask(do="settling", decision=decision)["settling_ms"]

    def trouble(self) -> str | None:
        return self.ask(do="trouble")["trouble"]
