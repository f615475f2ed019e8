"""The OData subset that the Referrals API is documented to take: $filter, $orderby, $select.

Everything else raises QueryError, so that a client cannot come to rely on what is not documented.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

TEXT_FIELDS = ("status", "substatus", "qualification", "direction", "type", "customerProfile/address/country")
ORDER_FIELDS = ("createdDateTime", "updatedDateTime")
GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<bracket>[()])"
    r"|(?P<word>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z|[A-Za-z0-9_@.$/-]+(?::[A-Za-z0-9_/]+)?))"
)
Predicate = Callable[[dict[str, Any]], bool]


class QueryError(Exception):
    """A query the API refuses."""


def value_at(document: dict[str, Any], path: str) -> Any:
    value: Any = document
    for name in path.split("/"):
        value = value.get(name) if isinstance(value, dict) else None
    return value


class Filter:
    """Parses one $filter. `test(document)` applies it, `fields` are the fields it names."""

    def __init__(self, text: str, guid_quoting: str, external_reference: bool, updated: bool) -> None:
        self.fields: set[str] = set()
        self._quoting = guid_quoting
        self._external_reference = external_reference
        self._updated = updated
        self._tokens = self._split(text)
        self._at = 0
        self.test = self._conjunction()
        if self._at != len(self._tokens):
            raise QueryError(f"unexpected {self._tokens[self._at][1]!r} in $filter")

    @staticmethod
    def _split(text: str) -> list[tuple[str, str]]:
        tokens, at = [], 0
        while text[at:].strip():
            match = TOKEN.match(text, at)
            if match is None:
                raise QueryError("the $filter cannot be read")
            tokens.append((match.lastgroup or "", match.group(match.lastgroup or 0)))
            at = match.end()
        if not tokens:
            raise QueryError("the $filter is empty")
        return tokens

    def _next(self, kind: str | None = None, text: str | None = None) -> str:
        if self._at >= len(self._tokens):
            raise QueryError("the $filter ends too early")
        found, value = self._tokens[self._at]
        if (kind and found != kind) or (text and value != text):
            raise QueryError(f"unexpected {value!r} in $filter")
        self._at += 1
        return value

    def _peek(self) -> str | None:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else None

    def _conjunction(self) -> Predicate:
        parts = [self._term()]
        while self._peek() == "and":
            self._at += 1
            parts.append(self._term())
        return lambda document: all(part(document) for part in parts)

    def _term(self) -> Predicate:
        if self._peek() == "(":
            self._next("bracket", "(")
            inner = self._conjunction()
            self._next("bracket", ")")
            return inner
        field = self._next("word")
        self.fields.add(field)
        if field == "team/any":
            return self._team()
        operator = self._next("word")
        if field == "updatedDateTime" and self._updated and operator in ("gt", "ge"):
            moment = self._instant()
            if operator == "gt":
                return lambda document: document["updatedDateTime"] > moment
            return lambda document: document["updatedDateTime"] >= moment
        if operator != "eq":
            raise QueryError(f"operator {operator!r} is not supported for {field!r}")
        if field == "engagementId":
            identifier = self._guid().lower()
            return lambda document: document["engagementId"] == identifier
        if field in TEXT_FIELDS or (field == "externalReferenceId" and self._external_reference):
            wanted = self._text()
            return lambda document: value_at(document, field) == wanted
        raise QueryError(f"property {field!r} cannot be used in $filter")

    def _instant(self) -> str:
        """A UTC instant with seven decimal places, so that it compares as text."""
        match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,7}))?Z", self._next("word"))
        if match is None:
            raise QueryError("updatedDateTime is compared with a value of the wrong form")
        return f"{match[1]}.{(match[2] or '').ljust(7, '0')}Z"

    def _text(self) -> str:
        return self._next("text")[1:-1].replace("''", "'")

    def _guid(self) -> str:
        kind = self._tokens[self._at][0] if self._at < len(self._tokens) else ""
        quoted = kind == "text"
        value = self._text() if quoted else self._next("word")
        if not GUID.fullmatch(value) or self._quoting not in ("both", "quoted" if quoted else "unquoted"):
            raise QueryError("engagementId is compared with a value of the wrong form")
        return value

    def _team(self) -> Predicate:
        self._next("bracket", "(")
        word = self._next("word")
        variable, colon, path = word.partition(":")
        if not colon or path != f"{variable}/email":
            raise QueryError("team/any takes only a comparison of email")
        self._next("word", "eq")
        wanted = self._text().lower()
        self._next("bracket", ")")
        return lambda document: any(
            str(member.get("email") or "").lower() == wanted for member in document.get("team") or []
        )


def ordering(text: str) -> tuple[str, bool]:
    """Field and whether descending."""
    words = text.split()
    if not 1 <= len(words) <= 2 or words[0] not in ORDER_FIELDS or words[1:] not in ([], ["asc"], ["desc"]):
        raise QueryError("$orderby takes createdDateTime or updatedDateTime, with asc or desc")
    return words[0], words[1:] == ["desc"]


def selection(text: str, known: set[str]) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise QueryError(f"property {name!r} cannot be selected")
    return names
