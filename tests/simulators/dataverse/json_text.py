"""JSON as the service writes and reads it: numbers keep their decimals, and webhook bodies escape the slash."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any


def dumps(value: Any, *, escape_slash: bool = False) -> str:
    """Serialises value. A Decimal is written with exactly the digits it has and always with a decimal point."""
    parts: list[str] = []
    _write(value, parts, escape_slash)
    return "".join(parts)


def loads(text: str | bytes) -> Any:
    """Parses JSON with fractions as Decimal. Raises ValueError for anything RFC 8259 does not allow."""
    return json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)


def plain(value: Any) -> Any:
    """The same value with only the types the standard library's JSON writer knows."""
    return json.loads(dumps(value))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _write(value: Any, parts: list[str], escape_slash: bool) -> None:
    if isinstance(value, dict):
        parts.append("{")
        for index, (name, member) in enumerate(value.items()):
            if index:
                parts.append(",")
            _write(str(name), parts, escape_slash)
            parts.append(":")
            _write(member, parts, escape_slash)
        parts.append("}")
    elif isinstance(value, (list, tuple)):
        parts.append("[")
        for index, member in enumerate(value):
            if index:
                parts.append(",")
            _write(member, parts, escape_slash)
        parts.append("]")
    elif isinstance(value, Decimal):
        text = format(value, "f")
        parts.append(text if "." in text else text + ".0")
    else:
        text = json.dumps(value, ensure_ascii=False)
        parts.append(text.replace("/", "\\/") if escape_slash else text)
