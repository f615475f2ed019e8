"""Query options of the Web API ($select, $expand, ...) and the preferences that go with them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote_plus

from dataverse import errors, expression
from dataverse.schema import TABLES, Table

_KNOWN = ("$select", "$expand", "$filter", "$orderby", "$top", "$count", "$skiptoken", "$deltatoken", "tag")
PAGE_MAX = 5000


@dataclass(frozen=True)
class Projection:
    """Which properties of a row are given back (None: all), and which related rows with them."""

    select: tuple[str, ...] | None = None
    expand: dict[str, "Projection"] = field(default_factory=dict)


@dataclass(frozen=True)
class Preferences:
    """The parts of the Prefer header the service knows."""

    representation: bool = False
    annotations: tuple[str, ...] = ()
    page_size: int | None = None
    track_changes: bool = False
    continue_on_error: bool = False

    def annotates(self, name: str) -> bool:
        return any(
            pattern == "*" or pattern == name or (pattern.endswith("*") and name.startswith(pattern[:-1]))
            for pattern in self.annotations
        )


def parse_options(query: str) -> dict[str, str]:
    """The options of a query string. Unknown ones are refused, as the service refuses them."""
    options: dict[str, str] = {}
    for part in query.split("&"):
        if not part:
            continue
        name, _, value = part.partition("=")
        name = unquote_plus(name)
        if name not in _KNOWN:
            raise errors.query_syntax(f"The query parameter {name} is not supported.")
        if name in options:
            raise errors.query_syntax(f"The query parameter {name} is given twice.")
        options[name] = unquote_plus(value)
    return options


def parse_preferences(header: str) -> Preferences:
    """Reads a Prefer header; preferences the service does not know are ignored (RFC 7240)."""
    found: dict[str, str] = {}
    for match in re.finditer(r'\s*([A-Za-z.\-]+)\s*(?:=\s*("[^"]*"|[^,;\s]*))?[^,]*(?:,|$)', header):
        found.setdefault(match.group(1).lower(), (match.group(2) or "").strip('"'))
    size = found.get("odata.maxpagesize", "")
    if size and (not size.isdigit() or int(size) == 0):
        raise errors.query_syntax("odata.maxpagesize has to be a positive number.")
    return Preferences(
        representation=found.get("return") == "representation",
        annotations=tuple(part.strip() for part in found.get("odata.include-annotations", "").split(",") if part),
        page_size=min(int(size), PAGE_MAX) if size else None,
        track_changes="odata.track-changes" in found,
        continue_on_error=found.get("odata.continue-on-error", "false") in ("", "true"),
    )


def parse_projection(table: Table, select: str | None, expand: str | None) -> Projection:
    names = None
    if select:
        names = tuple(name.strip() for name in select.split(","))
        for name in names:
            if name not in table.properties:
                raise errors.unknown_property(table.logical_name, name)
    return Projection(names, parse_expand(table, expand) if expand else {})


def parse_expand(table: Table, text: str) -> dict[str, Projection]:
    """`a($select=x,y;$expand=b),c`: single-valued navigation properties only."""
    result: dict[str, Projection] = {}
    for item in split_outside(text, ","):
        match = re.fullmatch(r"\s*(\w+)\s*(?:\((.*)\))?\s*", item, re.DOTALL)
        if not match:
            raise errors.query_syntax(f"Syntax error in $expand '{text}'.")
        if match.group(1) not in table.navigation:
            raise errors.unknown_property(table.logical_name, match.group(1))
        target = TABLES[table.navigation[match.group(1)][1]]
        inner = dict(part.strip().partition("=")[::2] for part in split_outside(match.group(2) or "", ";"))
        if set(inner) - {"$select", "$expand"}:
            raise errors.query_syntax(f"Only $select and $expand are supported inside $expand '{text}'.")
        result[match.group(1)] = parse_projection(target, inner.get("$select"), inner.get("$expand"))
    return result


def split_outside(text: str, separator: str) -> list[str]:
    """Splits at separators that stand outside parentheses and quotes. Empty text gives no parts."""
    parts, depth, quoted = [""], 0, False
    for character in text:
        if character == "'":
            quoted = not quoted
        elif not quoted:
            depth += {"(": 1, ")": -1}.get(character, 0)
        if character == separator and depth == 0 and not quoted:
            parts.append("")
        else:
            parts[-1] += character
    return parts if text else []


def parse_filter(table: Table, text: str) -> expression.Node:
    node = expression.parse(text)
    for path in expression.paths(node):
        check_path(table, path)
    return node


def check_path(table: Table, path: str) -> None:
    """A property path: properties of the table, or of a row one navigation property away."""
    *steps, last = path.split("/")
    for step in steps:
        if step not in table.navigation:
            raise errors.unknown_property(table.logical_name, step)
        table = TABLES[table.navigation[step][1]]
    if last not in table.properties:
        raise errors.unknown_property(table.logical_name, last)


def parse_order(table: Table, text: str) -> list[tuple[str, bool]]:
    """Property paths of $orderby, each with whether it is descending."""
    order: list[tuple[str, bool]] = []
    for item in text.split(","):
        match = re.fullmatch(r"\s*([\w/]+)(?:\s+(asc|desc))?\s*", item)
        if not match:
            raise errors.query_syntax(f"Syntax error in $orderby '{text}'.")
        check_path(table, match.group(1))
        order.append((match.group(1), match.group(2) == "desc"))
    return order


def parse_top(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise errors.query_syntax(f"Invalid value '{text}' for $top.")
    return int(text)
