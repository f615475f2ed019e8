"""The journal of a simulator: what was asked and answered, without secrets."""

from __future__ import annotations

import collections
import itertools
import re
from typing import Any

JOURNAL_ENTRIES_MAX = 50_000
JOURNAL_TEXT_MAX = 256 * 1024
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
