"""Waiting for a condition with a deadline, which is the only way a test may wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

FIRST_PAUSE_SECONDS = 0.005
LONGEST_PAUSE_SECONDS = 0.1


def wait_until(condition: Callable[[], Result], deadline: float, what: str) -> Result:
    """Calls `condition` until it returns something true, and returns that.

    After `deadline` seconds the test fails with `what` (a statement, "the broker answers") and the last value seen.
    """
    end = time.monotonic() + deadline
    pause = FIRST_PAUSE_SECONDS
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() >= end:
            raise AssertionError(f"not within {deadline:g} s: {what} (last seen: {result!r})")
        time.sleep(min(pause, max(end - time.monotonic(), 0)))
        pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)
