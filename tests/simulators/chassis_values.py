"""What simulators are made of: settings, identifiers, instants, JSON. No requests are served in here."""

from __future__ import annotations

import dataclasses
import datetime
import random
import time
import uuid
from typing import Any

from aiohttp import web

import json_text

TICKS_PER_SECOND = 10_000_000


@dataclasses.dataclass(frozen=True)
class Setting:
    """A behaviour that can be switched. The type of `default` is the type of the setting."""

    default: Any
    help: str
    choices: tuple[Any, ...] = ()


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

    def text(
        self, length: int, alphabet: str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    ) -> str:
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
    return json_text.dumps(value)


def answer(
    value: Any, status: int = 200, headers: dict[str, str] | None = None, content_type: str = "application/json"
) -> web.Response:
    """A JSON answer."""
    return web.Response(
        body=dump(value).encode(), status=status, headers=headers, content_type=content_type, charset="utf-8"
    )


def parse_json(body: bytes, exact: bool = False) -> Any:
    """The JSON document in `body`; ValueError if it is none (also for NaN and for wrong UTF-8). exact: as Decimal."""
    text = body.decode("utf-8")
    return json_text.loads(text, exact)


async def admin_body(request: web.Request, exact: bool = False) -> dict[str, Any]:
    """The JSON object of an admin call; an absent body counts as `{}`. exact: fractions are Decimal, not float."""
    raw = await request.read()
    if not raw.strip():
        return {}
    try:
        value = parse_json(raw, exact)
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


def parse_assignment(text: str) -> tuple[str, Any]:
    """`name=value` of --set: the value is JSON, or else text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise AdminError(f"--set {text}: wanted NAME=VALUE")
    try:
        return name, parse_json(value.encode())
    except ValueError:
        return name, value
