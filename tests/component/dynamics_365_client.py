"""A client for tests of the Dynamics 365 simulator: the process, plain requests with a token, a webhook receiver.
The fixtures `process` and `crm` are imported by the tests that use them."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from aiohttp import web

from support.waiting import wait_until

SIMULATOR = Path(__file__).resolve().parents[1] / "simulators" / "dynamics_365.py"
API = "/api/data/v9.2/"
TENANT = "9b1f7c52-3d0e-4a86-8c57-e2d4f60a1b39"
APPLICATION = "e0c6a1d4-5b27-4f93-9a18-7d3c2f80b645"
SECRET = "sandbox-secret"
APPLICATION_USER = "3c8b61d2-7f05-4e9a-b2c4-90d7e1f3a605"
SELLER = "c4d7e8f1-0a2b-4c3d-8e5f-6a7b8c9d0e06"
EURO = "/transactioncurrencies(0f6f2a33-9d41-4be8-a7c6-3e5b90d1f7a4)"
KEY = "msft_microsoftpartnercenterreferralidentifier"
MISSING = "11111111-2222-4333-8444-555566667777"
DEADLINE = 10.0


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def code(self) -> str | None:
        return self.json["error"]["code"] if self.raw else None


@dataclass
class Simulator:
    """A running simulator with a client that holds a token."""

    port: int
    token: str = ""
    context: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.context else 'http'}://127.0.0.1:{self.port}"

    def raw(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Reply:
        if self.context:
            connection: Any = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=self.context)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, names, response.read())

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """A Web API request. Header names are written with underscores: if_match."""
        sent = {"Authorization": f"Bearer {self.token}", "Accept": "application/json", "OData-Version": "4.0"}
        sent.update({name.replace("_", "-"): value for name, value in headers.items()})
        content = None
        if body is not None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json; charset=utf-8")
        return self.raw(method, API + quote(path, safe="/()='$,&?!%:;@"), content, sent)

    def sim(self, method: str, path: str, body: Any = None) -> Any:
        content = None if body is None else json.dumps(body).encode()
        reply = self.raw(method, f"/_sim/{path}", content, {"Content-Type": "application/json"})
        assert reply.status < 300, reply.raw
        return reply.json

    def set(self, **settings: Any) -> None:
        self.sim("PATCH", "settings", settings)

    def ask_token(self, tenant: str = TENANT, **changes: str | None) -> Reply:
        form = {
            "grant_type": "client_credentials",
            "client_id": APPLICATION,
            "client_secret": SECRET,
            "scope": f"{self.url}/.default",
            **changes,
        }
        content = urlencode({name: value for name, value in form.items() if value is not None}).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.raw("POST", f"/{tenant}/oauth2/v2.0/token", content, headers)

    def opportunity(self, **columns: Any) -> dict[str, Any]:
        """Creates one with a currency and returns its representation."""
        body = {"name": "Warehouse telemetry rollout", "transactioncurrencyid@odata.bind": EURO, **columns}
        reply = self.call("POST", "opportunities", body, Prefer="return=representation")
        assert reply.status == 201, reply.raw
        return reply.json

    def get(self, path: str, **headers: str) -> Any:
        reply = self.call("GET", path, **headers)
        assert reply.status == 200, reply.raw
        return reply.json


@contextlib.contextmanager
def running(directory: Path, *options: str, context: ssl.SSLContext | None = None) -> Iterator[Simulator]:
    port_file = directory / "port"
    command = [sys.executable, str(SIMULATOR), "--port-file", str(port_file), *options]
    with open(directory / "log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(command, stderr=log)
    try:
        wait_until(lambda: port_file.exists() or process.poll() is not None, DEADLINE, "the simulator's port")
        assert process.poll() is None, (directory / "log").read_text()
        yield Simulator(int(port_file.read_text()), context=context)
    finally:
        process.terminate()
        process.wait(timeout=DEADLINE)
    assert "Traceback" not in (directory / "log").read_text()


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    with running(tmp_path_factory.mktemp("dynamics")) as simulator:
        yield simulator


@pytest.fixture
def crm(process: Simulator) -> Simulator:
    process.sim("POST", "reset")
    process.token = process.ask_token().json["access_token"]
    return process


class Receiver:
    """A webhook receiver on a port of its own; answers the statuses it is given, then 200."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.requests: list[tuple[dict[str, str], str, bytes]] = []
        self.statuses: list[int] = []
        self._context = context
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._started.wait(DEADLINE)

    @property
    def url(self) -> str:
        return f"{'https' if self._context else 'http'}://127.0.0.1:{self.port}/hooks/dataverse"

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE)

    def wait(self, count: int) -> list[dict[str, Any]]:
        """The bodies received so far, at least count."""
        wait_until(lambda: len(self.requests) >= count, DEADLINE, f"{count} deliveries")
        return [json.loads(body) for _, _, body in self.requests]

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._runner.cleanup())
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/hooks/dataverse", self._take)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._context)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        status = self.statuses.pop(0) if self.statuses else 200
        self.requests.append(
            ({k.lower(): v for k, v in request.headers.items()}, request.rel_url.raw_query_string, body)
        )
        return web.Response(status=status)


@pytest.fixture(name="receiver")
def _receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def settled(crm: Simulator) -> list[dict[str, Any]]:
    """All deliveries once none is under way."""
    wait_until(lambda: crm.sim("GET", "deliveries")["pending"] == 0, DEADLINE, "the end of all deliveries")
    return crm.sim("GET", "deliveries")["deliveries"]
