"""The simulated services outside (tests/simulators/), and their admin interface."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from support import interruption
from support.paths import ROOT
from support.tls import Authority
from support.waiting import wait_until

START_SECONDS = 20
STOP_SECONDS = 10
REQUEST_SECONDS = 20

# Webhooks then name the certificate where Microsoft's pages have it, which pinned certificates are selected by.
DOCUMENTED_CERTIFICATE_HOST = ("--cert-url-base", "https://3psostorageacct.blob.core.windows.net/cert")


class AdminError(RuntimeError):
    """The admin interface refused a request: a mistake in the test."""


class Simulator:
    """`tests/simulators/<name>.py` on a free port with TLS, as its own process; a context manager.

    The admin client is the standard library's and knows nothing of our code. `admin()` reaches everything; the other
    methods name what tests use most.
    """

    def __init__(self, name: str, folder: Path, authority: Authority, *arguments: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self._port_file = folder / f"{name}.port"
        self._log = folder / f"{name}.log"
        self._port = 0
        certificate = authority.issue(name)
        self._arguments = ["--cert", str(certificate.cert), "--key", str(certificate.key), "--ca", str(authority.cert)]
        self._arguments += arguments
        self._context = ssl.create_default_context(cafile=str(authority.cert))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Simulator:
        return self.start()

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        """Base address, without a slash at the end."""
        return f"https://127.0.0.1:{self._port}"

    def start(self) -> Simulator:
        """Starts it; a second start, after stop(), takes the same port again but begins with empty state."""
        self._port_file.unlink(missing_ok=True)
        script = ROOT / "tests/simulators" / f"{self.name}.py"
        command = [sys.executable, str(script), "--host", "127.0.0.1", "--port", str(self._port)]
        command += ["--port-file", str(self._port_file), *self._arguments]
        with self._log.open("ab") as log, interruption.deferred():
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            wait_until(self._is_listening, START_SECONDS, f"the simulator {self.name} listens")
            self._port = int(self._port_file.read_text())
            self.admin("GET", "/_sim/health")
        except BaseException:
            self.stop()
            raise
        return self

    def _is_listening(self) -> bool:
        assert self._process is not None
        status = self._process.poll()
        assert status is None, f"{self.name} ended ({status}):\n{self._log.read_text(errors='replace')[-4000:]}"
        return self._port_file.exists()

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def admin(self, method: str, path: str, body: object = None) -> Any:
        """One request to the admin interface; returns the decoded answer, None for an empty one."""
        data = None if body is None else json.dumps(body).encode()
        headers = {} if data is None else {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_SECONDS, context=self._context) as response:
                answer = response.read()
        except urllib.error.HTTPError as error:
            with error:
                text = error.read().decode(errors="replace")
            raise AdminError(f"{self.name}: {method} {path}: {error.code} {text}") from None
        return json.loads(answer) if answer else None

    def reset(self) -> None:
        self.admin("POST", "/_sim/reset")

    def state(self) -> Any:
        return self.admin("GET", "/_sim/state")

    def journal(self, since: int = 0, method: str | None = None, path: str = "") -> list[dict[str, Any]]:
        """The requests it has answered since entry `since`, filtered by method and by a part of the path."""
        entries = self.admin("GET", f"/_sim/journal?since={since}")["entries"]
        return [each for each in entries if (method is None or each["method"] == method) and path in each["path"]]

    def position(self) -> int:
        """Where the journal goes on, for journal(since)."""
        return int(self.admin("GET", "/_sim/journal")["next"])

    def clear_journal(self) -> None:
        self.admin("DELETE", "/_sim/journal")

    def fault(
        self, action: str, method: str | None = None, path: str = ".*", times: int | None = 1, **more: Any
    ) -> Any:
        """The next `times` requests that match are answered with this fault; None: until clear_faults()."""
        match = {"path": path} if method is None else {"method": method, "path": path}
        return self.admin("POST", "/_sim/faults", {"match": match, "action": action, "times": times, **more})

    def clear_faults(self) -> None:
        self.admin("DELETE", "/_sim/faults")

    def settings(self, **changes: Any) -> Any:
        """Changes settings, if any are given, and returns all of them."""
        if changes:
            self.admin("PATCH", "/_sim/settings", changes)
        return self.admin("GET", "/_sim/settings")

    def deliveries(self) -> Any:
        return self.admin("GET", "/_sim/deliveries")

    def delivery_policy(self, **policy: Any) -> None:
        """paused, drop, duplicate, reorder: what happens to its webhooks on their way."""
        self.admin("POST", "/_sim/deliveries/policy", policy)


@contextmanager
def unheard(*simulators: Simulator) -> Iterator[None]:
    """Their webhooks wait until the end of the block."""
    for simulator in simulators:
        simulator.delivery_policy(paused=True)
    try:
        yield
    finally:
        for simulator in simulators:
            simulator.delivery_policy(paused=False)


class PartnerCenter(Simulator):
    """Partner Center: referrals, as Microsoft or a person in the portal would make and edit them."""

    def __init__(self, folder: Path, authority: Authority, *arguments: str) -> None:
        self.signing_folder = folder / "signing"
        super().__init__("partner_center", folder, authority, "--signing-dir", str(self.signing_folder), *arguments)

    def referrals(self) -> list[dict[str, Any]]:
        """All parties'."""
        found: list[dict[str, Any]] = self.admin("GET", "/_sim/referrals")["referrals"]
        return found

    def add_referral(self, **referral: Any) -> Any:
        return self.admin("POST", "/_sim/referrals", referral)

    def edit_referral(self, identifier: str, **changes: Any) -> Any:
        return self.admin("PATCH", f"/_sim/referrals/{quote(identifier, safe='')}", changes)

    def microsoft_answers(self, identifier: str, answer: str, **more: Any) -> Any:
        return self.admin("POST", f"/_sim/referrals/{quote(identifier, safe='')}/microsoft", {"answer": answer, **more})

    def edit_referral_quietly(self, identifier: str, **changes: Any) -> Any:
        """An edit whose event is lost."""
        return self.edit_referral(identifier, _sim={"events": False}, **changes)

    def hide_referral(self, identifier: str, status: str = "404") -> Any:
        """Our user sees it no longer: 404, 403, or `visible` again."""
        return self.edit_referral(identifier, _sim={"visible": status})

    def engagement(self, identifier: str) -> Any:
        """The parties of a deal: {"own": [...], "microsoft": [...]}."""
        return self.admin("GET", f"/_sim/engagements/{quote(identifier, safe='')}")

    def set_registration(self, registration: dict[str, Any]) -> Any:
        return self.admin("PUT", "/_sim/registration", registration)


class Dynamics365(Simulator):
    """Dynamics 365: rows, as a seller would make and edit them."""

    def __init__(self, folder: Path, authority: Authority, *arguments: str) -> None:
        super().__init__("dynamics_365", folder, authority, *arguments)

    def rows(self, entity_set: str) -> Any:
        return self.admin("GET", f"/_sim/rows/{entity_set}")

    def row(self, entity_set: str, identifier: str) -> Any:
        return self.admin("GET", f"/_sim/rows/{entity_set}/{identifier}")

    def add_row(self, entity_set: str, **row: Any) -> Any:
        return self.admin("POST", f"/_sim/rows/{entity_set}", row)

    def edit_row(self, entity_set: str, identifier: str, **changes: Any) -> Any:
        return self.admin("PATCH", f"/_sim/rows/{entity_set}/{identifier}", changes)

    def delete_row(self, entity_set: str, identifier: str) -> None:
        self.admin("DELETE", f"/_sim/rows/{entity_set}/{identifier}")

    def add_deal(self, **words: Any) -> Any:
        """An opportunity with account, contact, owner, team and solutions (docs/simulators.md); what is left out is filled."""
        return self.admin("POST", "/_sim/opportunities", words)

    def deal(self, identifier: str) -> Any:
        """The opportunity with everything that belongs to it, in the words of add_deal()."""
        return self.admin("GET", f"/_sim/opportunities/{identifier}")

    def edit_deal(self, identifier: str, **words: Any) -> Any:
        return self.admin("PATCH", f"/_sim/opportunities/{identifier}", words)

    def close_deal(self, identifier: str, outcome: str, **more: Any) -> Any:
        """outcome: won or lost."""
        return self.admin("POST", f"/_sim/rows/opportunities/{identifier}/close", {"as": outcome, **more})

    def reopen_deal(self, identifier: str) -> Any:
        return self.admin("POST", f"/_sim/rows/opportunities/{identifier}/reopen", {})

    def expire_delta_links(self) -> None:
        self.admin("POST", "/_sim/delta-links/expire", {})

    def add_webhook(self, **webhook: Any) -> Any:
        return self.admin("POST", "/_sim/webhooks", webhook)
