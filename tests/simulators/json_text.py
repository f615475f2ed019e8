"""JSON as the services write and read it: compact, money with exactly the digits it has. Webhook bodies of Dataverse
escape the slash as well.
"""

from __future__ import annotations

import json
import secrets
from decimal import Decimal
from typing import Any

# The standard library's writer knows no Decimal. It is given marked texts instead, whose quotes then go; the mark is
# made anew for every process, so that no text of a client can hold it.
_MARK = secrets.token_hex(16)


def dumps(value: Any, *, escape_slash: bool = False) -> str:
    """Serialises value. A Decimal is written with exactly the digits it has and always with a decimal point."""
    first, *marked = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_marked).split(f'"{_MARK}')
    text = first + "".join(part.replace('"', "", 1) for part in marked)
    return text.replace("/", "\\/") if escape_slash else text  # a slash stands in texts only


def loads(text: str | bytes, exact: bool = True) -> Any:
    """Parses JSON, fractions as Decimal or else as float. Raises ValueError for anything RFC 8259 does not allow."""
    return json.loads(text, parse_float=Decimal if exact else float, parse_constant=_refuse_constant)


def plain(value: Any) -> Any:
    """The same value with only the types the standard library's JSON writer knows."""
    return json.loads(dumps(value))


def _marked(value: Any) -> str:
    if not isinstance(value, Decimal):
        raise TypeError(f"{type(value).__name__} is not JSON")
    text = format(value, "f")
    return _MARK + (text if "." in text else text + ".0")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
