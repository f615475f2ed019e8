"""Delivers webhook events in the background, with retries and with faults by policy."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import itertools
import ssl
import time
import traceback
from typing import TYPE_CHECKING, Any

import aiohttp

from chassis_values import AdminError, Setting, iso7

if TYPE_CHECKING:
    from chassis import Simulator

DELIVERIES_MAX = 50_000
DELIVERY_SETTINGS: dict[str, Setting] = {
    "delivery_attempts": Setting(10, "attempts per webhook event before it is given up"),
    "delivery_interval_ms": Setting(200, "wait between two attempts of one event"),
    "delivery_timeout_ms": Setting(5000, "time limit of one attempt"),
    "delivery_concurrency": Setting(8, "attempts under way at the same time"),
    "delivery_reorder_ms": Setting(300, "longest time by which the reorder policy holds an event back"),
}


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
        delay_ms: float = 0,
    ) -> Delivery:
        """Queues one event, under the policy, not before `delay_ms` have passed; returns at once."""
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
            wait = delay_ms
            if chance.random() < self.policy["reorder"]:
                wait += chance.random() * self.simulator.settings["delivery_reorder_ms"]
            if wait:
                self._later(each, wait)
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
