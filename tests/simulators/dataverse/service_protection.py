"""Service protection limits: requests, execution time and concurrency of a user (Dataverse reference, 13)."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

from dataverse.errors import ServiceError


class ServiceProtection:
    """Counts over a sliding window. Times are given by the caller in seconds of any steady clock.

    Refused requests count as well: whoever goes on sending waits longer.
    """

    def __init__(self, settings: Any) -> None:
        self._settings = settings
        self.reset()

    def reset(self) -> None:
        self._requests: deque[float] = deque()
        self._executions: deque[tuple[float, float]] = deque()  # end of the request, milliseconds it took
        self._spent = 0.0
        self._running = 0

    def enter(self, now: float) -> None:
        """Admits a request or raises 429 with Retry-After. Every admitted one must leave."""
        self._forget(now)
        self._requests.append(now)
        limit, window = self._settings["limit_requests"], self._settings["limit_window_seconds"]
        if len(self._requests) > limit:
            wait = self._requests[-limit] + window - now if limit else window
            text = f"Number of requests exceeded the limit of {limit} over time window of {window:g} seconds."
            raise self._refusal("0x80072322", text, wait)
        limit = self._settings["limit_execution_ms"]
        if self._spent >= limit:
            text = (
                f"Combined execution time of incoming requests exceeded limit of {limit} milliseconds over time window "
                f"of {window:g} seconds. Decrease number of concurrent requests or reduce the duration of requests and "
                "try again later."
            )
            raise self._refusal(
                "0x80072321", text, self._executions[0][0] + window - now if self._executions else window
            )
        limit = self._settings["limit_concurrency"]
        if self._running >= limit:
            raise self._refusal("0x80072326", f"Number of concurrent requests exceeded the limit of {limit}.", 1)
        self._running += 1

    def leave(self, now: float, milliseconds: float) -> None:
        self._running -= 1
        self._executions.append((now, milliseconds))
        self._spent += milliseconds

    def headers(self) -> dict[str, str]:
        """What is left of the window, as the service tells it for debugging."""
        seconds = max(0.0, (self._settings["limit_execution_ms"] - self._spent) / 1000)
        return {
            "x-ms-ratelimit-burst-remaining-xrm-requests": str(
                max(0, self._settings["limit_requests"] - len(self._requests))
            ),
            "x-ms-ratelimit-time-remaining-xrm-requests": f"{seconds:,.2f}",
        }

    def _forget(self, now: float) -> None:
        start = now - self._settings["limit_window_seconds"]
        while self._requests and self._requests[0] <= start:
            self._requests.popleft()
        while self._executions and self._executions[0][0] <= start:
            self._spent -= self._executions.popleft()[1]

    def _refusal(self, code: str, message: str, wait: float) -> ServiceError:
        fixed = self._settings["retry_after_seconds"]
        seconds = fixed if fixed >= 0 else max(1, math.ceil(wait))
        return ServiceError(429, code, message, {"Retry-After": str(seconds)})
