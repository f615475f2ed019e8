"""Ctrl-C, SIGTERM and SIGHUP for a program that has started others and must stop them: raised once, and only where that
does no harm.

    interruption.install()
    try:
        with interruption.raised():
            ...                       # the work; Interruption may come up anywhere in it
    finally:
        ...                           # the end, which no second Ctrl-C disturbs

Outside raised() a signal is only noted. Without install() nothing here does anything. Main thread only.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption(KeyboardInterrupt):
    """Somebody wants this to end."""


class _State:
    noted: int | None = None
    may_raise = False
    has_raised = False


def install() -> None:
    for each in SIGNALS:
        signal.signal(each, _on_signal)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    # One that comes up in a destructor cannot leave it, and check() raises it again.
    sys.unraisablehook = lambda hooked: None if hooked.exc_type is Interruption else sys.__unraisablehook__(hooked)


def noted() -> int | None:
    """The first signal that came, raised or not."""
    return _State.noted


def check() -> None:
    """Raises what was swallowed on its way up."""
    if _State.may_raise and _State.noted is not None:
        _State.has_raised = True
        raise Interruption


@contextmanager
def raised() -> Iterator[None]:
    _State.may_raise = True
    try:
        _raise_if_due()
        yield
    finally:
        _State.may_raise = False


@contextmanager
def deferred() -> Iterator[None]:
    """A signal waits for the end of the block: for steps between which a started process would be forgotten."""
    before, _State.may_raise = _State.may_raise, False
    try:
        yield
    finally:
        _State.may_raise = before
    _raise_if_due()


def _raise_if_due() -> None:
    if not _State.has_raised:
        check()


def _on_signal(number: int, _frame: FrameType | None) -> None:
    if _State.noted is None:
        _State.noted = number
    _raise_if_due()
