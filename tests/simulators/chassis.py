"""What every simulator of an outside service shares.

A simulator is one process with one asyncio loop, its whole state in memory. The chassis gives it: options, TLS, a
port file, a journal of all requests, faults on demand, settings, webhook deliveries, and the admin routes under
`/_sim/`. The simulator itself derives from `Simulator`, adds its routes and calls `main(Class)`.

A simulator is a test double: it checks what its clients send as strictly as the service does, but it is not hardened
against them, and it must listen on loopback only.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import dataclasses
import datetime
import itertools
import json
import os
import random
import re
import signal
import socket
import ssl
import sys
import time
import traceback
import uuid
from typing import Any

import aiohttp
from aiohttp import web

REQUEST_MAX = 128 * 1024 * 1024
JOURNAL_ENTRIES_MAX = 50_000
JOURNAL_TEXT_MAX = 256 * 1024
DELIVERIES_MAX = 50_000
REDACTED = "<redacted>"
SECRET_FIELDS = (
    "access_token",
    "refresh_token",
    "id_token",
    "client_secret",
    "client_assertion",
    "assertion",
    "password",
    "code",
    "authvalue",
)
SECRET_HEADERS = ("cookie", "set-cookie", "x-functions-key", "ocp-apim-subscription-key")
TICKS_PER_SECOND = 10_000_000


@dataclasses.dataclass(frozen=True)
class Setting:
    """A behaviour that can be switched. The type of `default` is the type of the setting."""

    default: Any
    help: str
    choices: tuple[Any, ...] = ()


DELIVERY_SETTINGS: dict[str, Setting] = {
    "delivery_attempts": Setting(10, "attempts per webhook event before it is given up"),
    "delivery_interval_ms": Setting(200, "wait between two attempts of one event"),
    "delivery_timeout_ms": Setting(5000, "time limit of one attempt"),
    "delivery_concurrency": Setting(8, "attempts under way at the same time"),
    "delivery_reorder_ms": Setting(300, "longest time by which the reorder policy holds an event back"),
}


class AdminError(Exception):
    """A wrong call of an admin route; becomes `{"error": message}`."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Ids:
    """Identifiers and chance. With a seed the same calls give the same values in every run."""

    def __init__(self, seed: int | None) -> None:
        self.seed = seed
        self.random = random.Random(seed)

    def reset(self) -> None:
        if self.seed is not None:
            self.random = random.Random(self.seed)

    def uuid(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def text(self, length: int, alphabet: str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") -> str:
        return "".join(self.random.choices(alphabet, k=length))


class Clock:
    """Wall clock in steps of 100 ns which never gives the same instant twice."""

    def __init__(self) -> None:
        self._last = 0

    def ticks(self) -> int:
        """100 ns steps since 1970-01-01 UTC, strictly increasing."""
        self._last = max(self._last + 1, time.time_ns() // 100)
        return self._last


def iso7(ticks: int, suffix: str = "Z") -> str:
    """`2024-03-05T09:12:44.1834567Z`: the form in which .NET services write an instant."""
    seconds, fraction = divmod(ticks, TICKS_PER_SECOND)
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{fraction:07d}{suffix}"


def dump(value: Any) -> str:
    """Compact JSON with UTF-8 text."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def answer(
    value: Any, status: int = 200, headers: dict[str, str] | None = None, content_type: str = "application/json"
) -> web.Response:
    """A JSON answer."""
    return web.Response(
        body=dump(value).encode(), status=status, headers=headers, content_type=content_type, charset="utf-8"
    )


def parse_json(body: bytes) -> Any:
    """The JSON document in `body`; ValueError if it is none (also for NaN and for wrong UTF-8)."""

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    return json.loads(body.decode("utf-8"), parse_constant=refuse)


async def admin_body(request: web.Request) -> dict[str, Any]:
    """The JSON object of an admin call; an absent body counts as `{}`."""
    raw = await request.read()
    if not raw.strip():
        return {}
    try:
        value = parse_json(raw)
    except ValueError as problem:
        raise AdminError(f"body is not JSON: {problem}") from None
    if not isinstance(value, dict):
        raise AdminError("body must be a JSON object")
    return value


def merge(target: Any, patch: Any, null_removes: bool = False) -> Any:
    """Deep merge of objects; everything else is replaced. With `null_removes` this is RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None and null_removes:
            result.pop(name, None)
        else:
            result[name] = merge(result.get(name), value, null_removes)
    return result


class Settings:
    """The switches of a simulator: `settings["name"]` reads one."""

    def __init__(self, definitions: dict[str, Setting], overrides: dict[str, Any]) -> None:
        self.definitions = definitions
        self._start = {name: setting.default for name, setting in definitions.items()}
        self._values = dict(self._start)
        self.change(overrides)
        self._start = dict(self._values)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def reset(self) -> None:
        self._values = dict(self._start)

    def change(self, changes: dict[str, Any]) -> None:
        """Sets several switches, all or none; null gives one its starting value back."""
        checked = {name: self._check(name, value) for name, value in changes.items()}
        self._values.update(checked)

    def _check(self, name: str, value: Any) -> Any:
        setting = self.definitions.get(name)
        if setting is None:
            raise AdminError(f"no setting called {name!r}; there are: {', '.join(sorted(self.definitions))}")
        if value is None:
            return self._start[name]
        if isinstance(setting.default, float) and type(value) is int:
            value = float(value)
        if type(value) is not type(setting.default):
            raise AdminError(f"setting {name!r} must be of type {type(setting.default).__name__}")
        if setting.choices and value not in setting.choices:
            raise AdminError(f"setting {name!r} must be one of {list(setting.choices)}")
        return value

    def values(self) -> dict[str, Any]:
        return dict(self._values)


class Journal:
    """All requests but admin calls, with their answers, secrets replaced. Numbered in the order of completion."""

    def __init__(self, secret_fields: tuple[str, ...]) -> None:
        self._entries: collections.deque[dict[str, Any]] = collections.deque(maxlen=JOURNAL_ENTRIES_MAX)
        self._next = 1
        self._arrivals = itertools.count(1)
        names = "|".join(re.escape(name) for name in secret_fields)
        self._in_form = re.compile(rf"(^|&)({names})=[^&]*", re.IGNORECASE)
        self._in_json = re.compile(rf'("(?:{names})"\s*:\s*)"(?:[^"\\]|\\.)*"', re.IGNORECASE)

    def arrival(self) -> int:
        return next(self._arrivals)

    def redact(self, raw: bytes, form: bool) -> str:
        text = raw[:JOURNAL_TEXT_MAX].decode("utf-8", "replace")
        if form:
            return self._in_form.sub(rf"\1\2={REDACTED}", text)
        return self._in_json.sub(rf'\1"{REDACTED}"', text)

    @staticmethod
    def redact_headers(headers: Any) -> dict[str, str]:
        result: dict[str, str] = {}
        for name, value in headers.items():
            name = name.lower()
            if name == "authorization":
                value = f"{value.split(' ', 1)[0]} {REDACTED}" if " " in value else REDACTED
            elif name in SECRET_HEADERS:
                value = REDACTED
            result[name] = f"{result[name]}, {value}" if name in result else value
        return result

    def add(self, entry: dict[str, Any]) -> None:
        self._entries.append({"seq": self._next, **entry})
        self._next += 1

    def since(self, number: int) -> dict[str, Any]:
        return {"entries": [entry for entry in self._entries if entry["seq"] >= number], "next": self._next}

    def clear(self) -> None:
        self._entries.clear()


FAULT_ACTIONS = (
    "status",
    "drop",
    "apply-then-drop",
    "delay",
    "slow-body",
    "garbage",
    "html",
    "truncate",
    "redirect",
    "oversize",
)
FAULT_MEMBERS = {"match", "action", "status", "headers", "body", "times", "skip", "delay_ms", "size"}
MATCH_MEMBERS = {"method", "path", "query", "body"}
OVERSIZE_DEFAULT = 16 * 1024 * 1024
HTML_PAGE = "<!DOCTYPE html>\n<html><head><title>Service gateway</title></head><body><h1>Gateway</h1></body></html>\n"


@dataclasses.dataclass
class Fault:
    """One fault on demand.

    `status`, `drop`, `html` and `redirect` keep the request from the service. All others let the service do it:
    `apply-then-drop` then closes the connection without an answer, `delay` answers later, `slow-body` sends the body
    in small pieces over `delay_ms`, `garbage` answers bytes that are no JSON, `truncate` announces the full length
    and closes in the middle, `oversize` pads the answer with blanks to `size` bytes. `delay_ms` of any other action
    passes before it. `skip` matching requests go through first; then `times` requests are hit (null: all).
    """

    id: int
    method: str | None
    path: re.Pattern[str]
    query: re.Pattern[str] | None
    body_match: re.Pattern[str] | None
    action: str
    status: int | None
    headers: dict[str, str]
    body: Any
    has_body: bool
    times: int | None
    skip: int
    delay_ms: int
    size: int
    source: dict[str, Any]
    hits: int = 0

    @staticmethod
    def parse(number: int, source: dict[str, Any]) -> Fault:
        unknown = set(source) - FAULT_MEMBERS
        match = source.get("match", {})
        if unknown or not isinstance(match, dict) or set(match) - MATCH_MEMBERS:
            raise AdminError(f"a fault has the members {sorted(FAULT_MEMBERS)}, its match {sorted(MATCH_MEMBERS)}")
        if source.get("action") not in FAULT_ACTIONS:
            raise AdminError(f"action must be one of {list(FAULT_ACTIONS)}")
        for name in ("status", "times", "skip", "delay_ms", "size"):
            value = source.get(name)
            if value is not None and (type(value) is not int or value < 0):
                raise AdminError(f"{name} must be a whole number")
        if source["action"] == "status" and source.get("status") is None:
            raise AdminError("action status needs a status")
        try:
            patterns = {name: re.compile(match[name]) for name in ("path", "query", "body") if name in match}
        except (re.error, TypeError) as problem:
            raise AdminError(f"wrong regular expression: {problem}") from None
        return Fault(
            id=number,
            method=match["method"].upper() if match.get("method") else None,
            path=patterns.get("path", re.compile("")),
            query=patterns.get("query"),
            body_match=patterns.get("body"),
            action=source["action"],
            status=source.get("status"),
            headers={str(name): str(value) for name, value in source.get("headers", {}).items()},
            body=source.get("body"),
            has_body="body" in source,
            times=source.get("times"),
            skip=source.get("skip") or 0,
            delay_ms=source.get("delay_ms") or 0,
            size=source.get("size") or OVERSIZE_DEFAULT,
            source=source,
        )

    def takes(self, request: web.Request, body: bytes) -> bool:
        """Whether this fault hits the request; counts it."""
        if self.times == 0 or (self.method and self.method != request.method):
            return False
        if not self.path.search(request.path) or (self.query and not self.query.search(request.query_string)):
            return False
        if self.body_match and not self.body_match.search(body.decode("utf-8", "replace")):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        self.hits += 1
        return True

    def shown(self) -> dict[str, Any]:
        return {"id": self.id, **self.source, "times": self.times, "skip": self.skip, "hits": self.hits}


@dataclasses.dataclass
class Delivery:
    """One webhook event on its way to one receiver."""

    id: int
    event: str
    url: str
    body: bytes
    headers: dict[str, str]
    context: dict[str, Any]
    state: str = "queued"
    attempts: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    duplicate_of: int | None = None

    def shown(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "event": self.event,
            "url": self.url,
            "state": self.state,
            "duplicate_of": self.duplicate_of,
            "body": self.body.decode("utf-8", "replace"),
            "attempts": self.attempts,
            **{name: value for name, value in self.context.items() if not name.startswith("_")},
        }


class DeliveryWorker:
    """Sends webhook events in the background.

    States of a delivery: `queued` (also between attempts), `delivered`, `offline` (given up), `lost` (dropped by the
    policy). A simulator that signs, adds headers or has other retry rules overrides `prepare`, `succeeded`,
    `retries` and `finished`.
    """

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.policy: dict[str, Any] = {}
        self.log: collections.deque[Delivery] = collections.deque(maxlen=DELIVERIES_MAX)
        self._numbers = itertools.count(1)
        self._ready: collections.deque[Delivery] = collections.deque()
        self._wake = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._timers: set[asyncio.TimerHandle] = set()
        self._session: aiohttp.ClientSession | None = None
        self._pump: asyncio.Task[None] | None = None
        self.reset()

    # What a simulator may override.

    def prepare(self, delivery: Delivery) -> tuple[str, dict[str, str], bytes]:
        """URL, headers and body of the next attempt."""
        return delivery.url, delivery.headers, delivery.body

    def succeeded(self, status: int) -> bool:
        return 200 <= status < 300

    def retries(self, delivery: Delivery, status: int | None) -> bool:
        """Whether a failed attempt (status None: no answer) is repeated while attempts are left."""
        return True

    def attempted(self, delivery: Delivery, attempt: dict[str, Any]) -> None:
        """Told after each attempt."""

    def finished(self, delivery: Delivery) -> None:
        """Told when a delivery has come to its end."""

    # What a simulator calls.

    def send(
        self,
        event: str,
        url: str,
        body: bytes,
        headers: dict[str, str] | None = None,
        context: dict[str, Any] | None = None,
    ) -> Delivery:
        """Queues one event, under the policy; returns at once."""
        delivery = Delivery(next(self._numbers), event, url, body, dict(headers or {}), dict(context or {}))
        self.log.append(delivery)
        chance = self.simulator.ids.random
        if chance.random() < self.policy["drop"]:
            delivery.state = "lost"
            return delivery
        copies = [delivery]
        if chance.random() < self.policy["duplicate"]:
            copy = dataclasses.replace(
                delivery, id=next(self._numbers), attempts=[], context=dict(delivery.context), duplicate_of=delivery.id
            )
            self.log.append(copy)
            copies.append(copy)
        for each in copies:
            if chance.random() < self.policy["reorder"]:
                self._later(each, chance.random() * self.simulator.settings["delivery_reorder_ms"])
            else:
                self._enqueue(each)
        return delivery

    def change_policy(self, changes: dict[str, Any]) -> None:
        for name, value in changes.items():
            if name == "paused" and isinstance(value, bool):
                continue
            if name not in ("drop", "duplicate", "reorder") or type(value) not in (int, float) or not 0 <= value <= 1:
                raise AdminError("policy is {paused: bool, drop: 0..1, duplicate: 0..1, reorder: 0..1}")
        self.policy.update(changes)
        self._wake.set()

    def pending(self) -> int:
        return sum(delivery.state == "queued" for delivery in self.log)

    def reset(self) -> None:
        """Forgets all deliveries; attempts under way are broken off."""
        self.policy = {"paused": False, "drop": 0.0, "duplicate": 0.0, "reorder": 0.0}
        self._ready.clear()
        self.log.clear()
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        for task in self._running:
            task.cancel()

    async def start(self, ca: str | None) -> None:
        context = ssl.create_default_context(cafile=ca)
        connector = aiohttp.TCPConnector(ssl=context, limit=0)
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=True)
        self._pump = asyncio.create_task(self._run())

    async def stop(self) -> None:
        self.reset()
        tasks = [*self._running, *([self._pump] if self._pump else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session:
            await self._session.close()

    # How it works.

    def _enqueue(self, delivery: Delivery) -> None:
        self._ready.append(delivery)
        self._wake.set()

    def _later(self, delivery: Delivery, milliseconds: float) -> None:
        def due() -> None:
            self._timers.discard(timer)
            self._enqueue(delivery)

        timer = asyncio.get_running_loop().call_later(milliseconds / 1000, due)
        self._timers.add(timer)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while (
                self._ready
                and not self.policy["paused"]
                and len(self._running) < self.simulator.settings["delivery_concurrency"]
            ):
                task = asyncio.create_task(self._attempt(self._ready.popleft()))
                self._running.add(task)
                task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            traceback.print_exception(task.exception())
        self._wake.set()

    async def _attempt(self, delivery: Delivery) -> None:
        assert self._session is not None
        settings = self.simulator.settings
        started = time.monotonic()
        attempt: dict[str, Any] = {
            "attempt": len(delivery.attempts) + 1,
            "time": iso7(time.time_ns() // 100),
            "status": None,
            "error": None,
            "response": None,
        }
        try:
            url, headers, body = self.prepare(delivery)
            async with self._session.post(
                url,
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=settings["delivery_timeout_ms"] / 1000),
            ) as response:
                attempt["status"] = response.status
                attempt["response"] = (await response.content.read(4096)).decode("utf-8", "replace")
        except asyncio.TimeoutError:
            attempt["error"] = "time-out"
        except (aiohttp.ClientError, OSError, ValueError) as problem:
            attempt["error"] = type(problem).__name__
        attempt["duration_ms"] = round((time.monotonic() - started) * 1000, 3)
        delivery.attempts.append(attempt)
        self.attempted(delivery, attempt)
        if attempt["error"] is None and self.succeeded(attempt["status"]):
            delivery.state = "delivered"
        elif len(delivery.attempts) >= settings["delivery_attempts"] or not self.retries(delivery, attempt["status"]):
            delivery.state = "offline"
        else:
            self._later(delivery, settings["delivery_interval_ms"])
            return
        self.finished(delivery)


class Simulator:
    """Base of a simulator. The life of one: constructor, `started`, requests, perhaps `reset`, end of process."""

    title = "simulator"
    setting_definitions: dict[str, Setting] = {}
    secret_fields: tuple[str, ...] = SECRET_FIELDS

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.ids = Ids(options.seed)
        self.clock = Clock()
        self.settings = Settings(
            {**DELIVERY_SETTINGS, **self.setting_definitions}, dict(parse_assignment(text) for text in options.set)
        )
        self.journal = Journal(self.secret_fields)
        self.faults: list[Fault] = []
        self._fault_numbers = itertools.count(1)
        self.deliveries = self.make_deliveries()
        self.base_url = ""

    # What a simulator overrides.

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """Options beyond the common ones."""

    def make_deliveries(self) -> DeliveryWorker:
        return DeliveryWorker(self)

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """The service's own routes and further admin routes."""
        raise NotImplementedError

    def reset_state(self) -> None:
        """Back to the state after the start. Called by POST /_sim/reset after journal, faults and settings."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """Everything the simulator knows, for GET /_sim/state."""
        raise NotImplementedError

    def error_response(self, request: web.Request, status: int) -> web.Response:
        """The service's own body for an error status: unknown routes, faults without a body, internal errors."""
        return answer({"error": status}, status)

    def decorate(self, request: web.Request, response: web.StreamResponse) -> None:
        """Adds the headers that every answer of the service carries."""

    async def started(self) -> None:
        """Called once the port is known (`self.base_url`)."""

    # Admin routes.

    def _admin_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/_sim/health", self._health)
        router.add_post("/_sim/reset", self._reset)
        router.add_get("/_sim/state", self._state)
        router.add_get("/_sim/journal", self._journal)
        router.add_delete("/_sim/journal", self._journal_clear)
        router.add_get("/_sim/faults", self._faults)
        router.add_post("/_sim/faults", self._fault_add)
        router.add_delete("/_sim/faults", self._faults_clear)
        router.add_delete(r"/_sim/faults/{id:\d+}", self._fault_remove)
        router.add_get("/_sim/settings", self._settings)
        router.add_patch("/_sim/settings", self._settings_change)
        router.add_get("/_sim/deliveries", self._deliveries)
        router.add_delete("/_sim/deliveries", self._deliveries_clear)
        router.add_get("/_sim/deliveries/policy", self._policy)
        router.add_post("/_sim/deliveries/policy", self._policy_change)

    async def _health(self, request: web.Request) -> web.Response:
        return answer({"ok": True})

    async def _reset(self, request: web.Request) -> web.Response:
        self.faults.clear()
        self.journal.clear()
        self.settings.reset()
        self.deliveries.reset()
        self.ids.reset()
        self.reset_state()
        return answer({"ok": True})

    async def _state(self, request: web.Request) -> web.Response:
        return answer(self.state())

    async def _journal(self, request: web.Request) -> web.Response:
        since = request.query.get("since", "0")
        if not since.isdigit():
            raise AdminError("since must be a whole number")
        return answer(self.journal.since(int(since)))

    async def _journal_clear(self, request: web.Request) -> web.Response:
        self.journal.clear()
        return answer({"ok": True})

    async def _faults(self, request: web.Request) -> web.Response:
        return answer({"faults": [fault.shown() for fault in self.faults]})

    async def _fault_add(self, request: web.Request) -> web.Response:
        fault = Fault.parse(next(self._fault_numbers), await admin_body(request))
        self.faults.append(fault)
        return answer(fault.shown(), 201)

    async def _faults_clear(self, request: web.Request) -> web.Response:
        self.faults.clear()
        return answer({"ok": True})

    async def _fault_remove(self, request: web.Request) -> web.Response:
        number = int(request.match_info["id"])
        left = [fault for fault in self.faults if fault.id != number]
        if len(left) == len(self.faults):
            raise AdminError("no such fault", 404)
        self.faults = left
        return answer({"ok": True})

    async def _settings(self, request: web.Request) -> web.Response:
        if "describe" in request.query:
            return answer(
                {
                    name: {"default": s.default, "choices": list(s.choices), "help": s.help}
                    for name, s in self.settings.definitions.items()
                }
            )
        return answer(self.settings.values())

    async def _settings_change(self, request: web.Request) -> web.Response:
        self.settings.change(await admin_body(request))
        return answer(self.settings.values())

    async def _deliveries(self, request: web.Request) -> web.Response:
        return answer(
            {
                "deliveries": [delivery.shown() for delivery in self.deliveries.log],
                "pending": self.deliveries.pending(),
                "policy": self.deliveries.policy,
            }
        )

    async def _deliveries_clear(self, request: web.Request) -> web.Response:
        self.deliveries.log = collections.deque(
            (delivery for delivery in self.deliveries.log if delivery.state == "queued"), maxlen=DELIVERIES_MAX
        )
        return answer({"ok": True})

    async def _policy(self, request: web.Request) -> web.Response:
        return answer(self.deliveries.policy)

    async def _policy_change(self, request: web.Request) -> web.Response:
        self.deliveries.change_policy(await admin_body(request))
        return answer(self.deliveries.policy)

    # The way of a request.

    def application(self) -> web.Application:
        @web.middleware
        async def outermost(request: web.Request, handler: Any) -> web.StreamResponse:
            if request.path.startswith("/_sim/"):
                return await self._admin(request, handler)
            return await self._served(request, handler)

        app = web.Application(middlewares=[outermost], client_max_size=REQUEST_MAX)
        self._admin_routes(app.router)
        self.add_routes(app.router)
        return app

    async def _admin(self, request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            return await handler(request)
        except AdminError as problem:
            return answer({"error": str(problem)}, problem.status)
        except web.HTTPException as problem:
            return answer({"error": problem.reason}, problem.status)

    async def _perform(self, request: web.Request, handler: Any) -> web.Response:
        try:
            response = await handler(request)
        except web.HTTPException as problem:
            response = self.error_response(request, problem.status)
        except Exception:  # a defect of the simulator must show as an answer, not as a closed connection
            traceback.print_exc(file=sys.stderr)
            response = self.error_response(request, 500)
        self.decorate(request, response)
        return response

    async def _served(self, request: web.Request, handler: Any) -> web.StreamResponse:
        started = time.monotonic()
        arrived = iso7(time.time_ns() // 100)
        arrival = self.journal.arrival()
        body = await request.read()
        fault = next((each for each in self.faults if each.takes(request, body)), None)
        response: web.Response | None
        if fault is None:
            response = await self._perform(request, handler)
        else:
            if fault.delay_ms and fault.action != "slow-body":
                await asyncio.sleep(fault.delay_ms / 1000)
            response = await self._faulty(request, handler, fault)
        form = request.content_type == "application/x-www-form-urlencoded"
        self.journal.add(
            {
                "arrival": arrival,
                "time": arrived,
                "method": request.method,
                "path": request.path,
                "query": request.query_string,
                "headers": self.journal.redact_headers(request.headers),
                "body": self.journal.redact(body, form),
                "status": response.status if response is not None else None,
                "response": self.journal.redact(bytes(response.body or b""), False) if response is not None else None,
                "response_headers": self.journal.redact_headers(response.headers) if response is not None else {},
                "duration_ms": round((time.monotonic() - started) * 1000, 3),
                "fault": fault.action if fault else None,
            }
        )
        if response is None:
            return close_connection(request)
        if fault is not None and fault.action in ("slow-body", "truncate"):
            return await self._distorted(request, response, fault)
        return response

    async def _faulty(self, request: web.Request, handler: Any, fault: Fault) -> web.Response | None:
        """The answer under a fault; None closes the connection."""
        if fault.action == "drop":
            return None
        if fault.action in ("status", "html", "redirect"):
            if fault.has_body:
                text = fault.body if isinstance(fault.body, str) else dump(fault.body)
                response = web.Response(
                    body=text.encode(),
                    status=fault.status or {"html": 200, "redirect": 302}.get(fault.action, 500),
                    content_type="text/html" if fault.action == "html" else "application/json",
                    charset="utf-8",
                )
            elif fault.action == "html":
                response = web.Response(text=HTML_PAGE, status=fault.status or 200, content_type="text/html")
            elif fault.action == "redirect":
                response = web.Response(status=fault.status or 302)
                response.headers["Location"] = "https://redirect.invalid/"
            else:
                response = self.error_response(request, fault.status or 500)
            self.decorate(request, response)
        else:
            response = await self._perform(request, handler)
            if fault.action == "apply-then-drop":
                return None
            if fault.action == "garbage":
                response = copy_response(response, b"\x00\xff{]garbage\r\n\xfe")
            elif fault.action == "oversize":
                content = bytes(response.body or b"")
                response = copy_response(response, content + b" " * max(0, fault.size - len(content)))
        for name, value in fault.headers.items():
            response.headers[name] = value
        return response

    @staticmethod
    async def _distorted(request: web.Request, whole: web.Response, fault: Fault) -> web.StreamResponse:
        content = bytes(whole.body or b"")
        response = web.StreamResponse(status=whole.status, headers=without_framing(whole))
        if whole.status == 204:
            return whole
        response.content_length = max(len(content), 1)
        await response.prepare(request)
        if fault.action == "truncate":
            await response.write(content[: len(content) // 2])
            return close_connection(request, gently=True)
        pieces = 20
        step = max(1, -(-len(content) // pieces))
        for start in range(0, len(content), step):
            await asyncio.sleep(fault.delay_ms / 1000 / pieces)
            await response.write(content[start : start + step])
        await response.write_eof()
        return response


def without_framing(response: web.Response) -> dict[str, str]:
    framing = ("content-length", "transfer-encoding", "content-encoding")
    return {name: value for name, value in response.headers.items() if name.lower() not in framing}


def copy_response(response: web.Response, body: bytes) -> web.Response:
    status = 200 if response.status == 204 else response.status
    return web.Response(body=body, status=status, headers=without_framing(response))


def close_connection(request: web.Request, gently: bool = False) -> web.Response:
    """Ends the connection. The answer returned goes nowhere; it only ends the handler."""
    if request.transport is not None:
        if gently:
            request.transport.close()
        else:
            request.transport.abort()
    return web.Response(status=500)


def parse_assignment(text: str) -> tuple[str, Any]:
    """`name=value` of --set: the value is JSON, or else text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise AdminError(f"--set {text}: wanted NAME=VALUE")
    try:
        return name, parse_json(value.encode())
    except ValueError:
        return name, value


def make_parser(cls: type[Simulator]) -> argparse.ArgumentParser:
    definitions = {**DELIVERY_SETTINGS, **cls.setting_definitions}
    lines = [f"  {name:<28} {dump(s.default):<14} {s.help}" for name, s in sorted(definitions.items())]
    parser = argparse.ArgumentParser(
        description=cls.__doc__,
        epilog="settings (--set NAME=VALUE or PATCH /_sim/settings), with defaults:\n" + "\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one (0)")
    parser.add_argument("--port-file", metavar="FILE", help="file that gets the port number once it is listening")
    parser.add_argument("--cert", metavar="FILE", help="certificate chain for TLS, PEM; without it plain http")
    parser.add_argument("--key", metavar="FILE", help="key of the certificate, PEM")
    parser.add_argument("--ca", metavar="FILE", help="CA that signs the webhook receivers' certificates, PEM")
    parser.add_argument("--seed", type=int, help="makes ids and chance the same in every run")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="setting to start with")
    cls.add_options(parser)
    return parser


def write_atomically(path: str, text: str) -> None:
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "w", encoding="ascii") as file:
        file.write(text)
    os.replace(temporary, path)


async def serve(simulator: Simulator) -> None:
    """Serves until SIGTERM or SIGINT."""
    options = simulator.options
    context = None
    if options.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(options.cert, options.key)
        context.set_alpn_protocols(["http/1.1"])
    listener = socket.create_server((options.host, options.port), backlog=1024)
    port = listener.getsockname()[1]
    simulator.base_url = f"{'https' if context else 'http'}://{options.host}:{port}"
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await simulator.deliveries.start(options.ca)
    await simulator.started()
    runner = web.AppRunner(simulator.application(), access_log=None)
    await runner.setup()
    await web.SockSite(runner, listener, ssl_context=context).start()
    if options.port_file:
        write_atomically(options.port_file, f"{port}\n")
    print(f"{simulator.title} listens on {simulator.base_url}", file=sys.stderr, flush=True)
    await stop.wait()
    await simulator.deliveries.stop()
    try:
        await asyncio.wait_for(runner.cleanup(), 2)
    except asyncio.TimeoutError:  # a handler in a long delay does not hold up the end
        pass


def main(cls: type[Simulator]) -> None:
    """Entry of a simulator's program."""
    parser = make_parser(cls)
    options = parser.parse_args()
    if bool(options.cert) != bool(options.key):
        parser.error("--cert and --key belong together")

    async def run() -> None:
        try:
            simulator = cls(options)
        except AdminError as problem:
            parser.error(str(problem))
        await serve(simulator)

    asyncio.run(run())
