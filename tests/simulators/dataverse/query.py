"""Query options of the Web API ($select, $expand, ...) and the preferences that go with them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_plus

from dataverse import errors, expression
from dataverse.schema import COLLECTIONS, TABLES
from dataverse.table import Table

_KNOWN = ("$select", "$expand", "$filter", "$orderby", "$top", "$count", "$skiptoken", "$deltatoken", "tag")
PAGE_MAX = 5000
EXPANSIONS_MAX = 15
_NESTED_LIMIT = (
    "Only $select and $filter clause can be provided while doing $expand on many-to-one relationship or nested "
    "one-to-many relationship."
)


@dataclass(frozen=True)
class Projection:
    """Which properties of a row are given back (None: all), and which related rows with them.

    Of the rows of a collection also which ones, in what order and how many; `options` is all of it as it was asked for.
    """

    select: tuple[str, ...] | None = None
    expand: dict[str, "Projection"] = field(default_factory=dict)
    condition: expression.Node | None = None
    order: tuple[tuple[str, bool], ...] = ()
    top: int | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_nested(self) -> bool:
        """Whether anything is expanded below something expanded; collections are then paged."""
        return any(inner.expand for inner in self.expand.values())


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
    """$select and $expand of a query, checked against the tables."""
    projection = Projection(_selected(table, select), _expanded(table, expand) if expand else {})
    if _expansions(projection) > EXPANSIONS_MAX:
        raise errors.query_syntax(f"A query has no more than {EXPANSIONS_MAX} $expand options.")
    if projection.is_nested and any(inner.order or inner.top for inner in projection.expand.values()):
        raise errors.query_syntax(_NESTED_LIMIT)
    return projection


def _expansions(projection: Projection) -> int:
    return sum(1 + _expansions(inner) for inner in projection.expand.values())


def _selected(table: Table, select: str | None) -> tuple[str, ...] | None:
    names = None
    if select:
        names = tuple(name.strip() for name in select.split(","))
        for name in names:
            if name not in table.properties:
                raise errors.unknown_property(table.logical_name, name)
    return names


def _expanded(table: Table, text: str, depth: int = 0) -> dict[str, Projection]:
    """`a($select=x,y;$expand=b),c`. Only collections take $filter, and on the first level $orderby and $top."""
    result: dict[str, Projection] = {}
    for item in split_outside(text, ","):
        match = re.fullmatch(r"\s*(\w+)\s*(?:\((.*)\))?\s*", item, re.DOTALL)
        if not match:
            raise errors.query_syntax(f"Syntax error in $expand '{text}'.")
        name, options = match.group(1), match.group(2) or ""
        inner = dict(part.strip().partition("=")[::2] for part in split_outside(options, ";"))
        collection = COLLECTIONS[table.logical_name].get(name)
        if collection is None and name not in table.navigation:
            raise errors.unknown_property(table.logical_name, name)
        target = TABLES[collection.table if collection else table.navigation[name][1]]
        if set(inner) - {"$select", "$expand", "$filter", "$orderby", "$top"}:
            raise errors.query_syntax(f"The query option is not supported inside $expand '{text}'.")
        if set(inner) & {"$orderby", "$top"} and (depth or collection is None):
            raise errors.query_syntax(_NESTED_LIMIT)
        if "$filter" in inner and collection is None:
            raise errors.query_syntax(f"$filter is for collections only, not for '{name}'.")
        result[name] = Projection(
            _selected(target, inner.get("$select")),
            _expanded(target, inner["$expand"], depth + 1) if inner.get("$expand") else {},
            parse_filter(target, inner["$filter"]) if "$filter" in inner else None,
            tuple(parse_order(target, inner["$orderby"])) if "$orderby" in inner else (),
            parse_top(inner["$top"]) if "$top" in inner else None,
            inner,
        )
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
