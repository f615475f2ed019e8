"""Addresses of the Web API: the segments of a path, and keys in parentheses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

from dataverse import errors
from dataverse.columns import GUID_PATTERN, Column, Kind, Reference, accept
from dataverse.schema import ENTITY_SETS
from dataverse.table import Table

API_ROOT = "/api/data/v9.2/"
KEY_BYTES_MAX = 900
KEY_FORBIDDEN = set("/<>*%&:\\?+")


@dataclass(frozen=True)
class RowKey:
    """How a request addresses one row: by its id, or by the columns of an alternate key."""

    text: str
    id: str | None = None
    columns: tuple[str, ...] = ()
    values: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Segment:
    """`name` or `name(key)`; key is the text between the parentheses, None without them."""

    name: str
    key: str | None


def split_path(path: str) -> list[Segment]:
    """The segments below the API root. A slash inside quotes or parentheses does not separate."""
    parts: list[str] = [""]
    depth, quoted = 0, False
    for character in unquote(path).strip("/"):
        if character == "'":
            quoted = not quoted
        elif not quoted:
            depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "/" and not quoted and depth <= 0:
            parts.append("")
        else:
            parts[-1] += character
    if quoted or depth != 0:
        raise errors.query_syntax("Error in query syntax.")
    return [_segment(part) for part in parts if part]


def _segment(text: str) -> Segment:
    match = re.fullmatch(r"([^()]+)\((.*)\)", text, re.DOTALL)
    if match:
        return Segment(match.group(1), match.group(2))
    return Segment(text, None)


def table_of(entity_set: str) -> Table:
    table = ENTITY_SETS.get(entity_set)
    if table is None:
        raise errors.segment_not_found(entity_set)
    return table


def parse_key(table: Table, text: str) -> RowKey:
    """A row's key: a GUID, `primaryid=guid`, or the columns of a defined alternate key in any order."""
    if GUID_PATTERN.fullmatch(text):
        return RowKey(text, id=text.lower())
    pairs = _pairs(text)
    if set(pairs) == {table.primary_id}:
        if not GUID_PATTERN.fullmatch(pairs[table.primary_id]):
            raise errors.query_syntax("Error in query syntax.")
        return RowKey(text, id=pairs[table.primary_id].lower())
    for key in table.keys:
        columns = [table.columns[name] for name in key.columns]
        if {column.property_name for column in columns} == set(pairs):
            values = tuple(_literal(table, column, pairs[column.property_name]) for column in columns)
            return RowKey(text, columns=key.columns, values=values)
    raise errors.key_not_defined(table.logical_name)


def _pairs(text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    position = 0
    while position < len(text):
        match = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*('(?:[^']|'')*'|[^',]+)\s*(,|$)").match(text, position)
        if not match or match.group(1) in pairs:
            raise errors.query_syntax("Error in query syntax.")
        pairs[match.group(1)] = match.group(2).strip()
        position = match.end()
    if not pairs:
        raise errors.query_syntax("Error in query syntax.")
    return pairs


def _literal(table: Table, column: Column, text: str) -> Any:
    quoted = text.startswith("'")
    if quoted != (column.kind is Kind.TEXT):
        raise errors.query_syntax("Error in query syntax.")
    if quoted:
        value = text[1:-1].replace("''", "'")
        if not value or set(value) & KEY_FORBIDDEN or len(value.encode()) > KEY_BYTES_MAX:
            raise errors.query_syntax("Error in query syntax.")
        return value
    if column.kind is Kind.LOOKUP:
        if not GUID_PATTERN.fullmatch(text):
            raise errors.query_syntax("Error in query syntax.")
        return Reference(next(iter(column.navigation.values())), text.lower())
    if not re.fullmatch(r"-?\d+(\.\d+)?", text):
        raise errors.query_syntax("Error in query syntax.")
    number: Any = Decimal(text) if "." in text else int(text)
    return accept(column, number, table.logical_name, table.entity_set, "0x80061005")


def relative(url: str, base_url: str) -> str:
    """The part of a URL below the API root, from a relative, root-relative or absolute form (all occur in binds)."""
    if "://" in url:
        root = base_url.rstrip("/") + API_ROOT
        if not url.startswith(root):
            raise errors.query_syntax(f"The URL '{url}' does not belong to this service.")
        return url[len(root) :]
    if url.startswith(API_ROOT):
        return url[len(API_ROOT) :]
    return url.lstrip("/")
