"""Rows as the JSON of answers: selected properties, expanded rows and collections, annotations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dataverse import expression
from dataverse.columns import Column, Kind, Reference, as_json, formatted
from dataverse.organization import BASE_CURRENCY_SYMBOL, Organization
from dataverse.paging import Cookie, link
from dataverse.query import PAGE_MAX, Preferences, Projection
from dataverse.resource_path import API_ROOT
from dataverse.schema import COLLECTIONS, TABLES
from dataverse.store import Row
from dataverse.table import Collection, Table

FORMATTED = "OData.Community.Display.V1.FormattedValue"
LOGICAL_NAME = "Microsoft.Dynamics.CRM.lookuplogicalname"
NAVIGATION = "Microsoft.Dynamics.CRM.associatednavigationproperty"


def entity(
    organization: Organization,
    row: Row,
    projection: Projection,
    preferences: Preferences,
    base_url: str = "",
    is_addressed: bool = False,
) -> dict[str, Any]:
    """The row's JSON, beginning with its etag. The primary key is always there, selected or not.

    is_addressed: the row was asked for by its key; what is nested in a collection may then be missing, by a setting.
    """
    cuts_nested = is_addressed and organization.settings["nested_expand_of_one_row"] == "empty"
    renderer = _Renderer(organization, preferences, base_url, projection.is_nested, cuts_nested)
    return {"@odata.etag": row.etag, **renderer.row(row, projection)}


@dataclass(frozen=True)
class _Renderer:
    """Rows of one answer. is_nested: something is expanded below something expanded, so collections come in pages."""

    organization: Organization
    preferences: Preferences
    base_url: str
    is_nested: bool
    cuts_nested: bool

    def row(self, row: Row, projection: Projection, always: tuple[str, ...] = ()) -> dict[str, Any]:
        result: dict[str, Any] = {}
        table = row.table
        selected = projection.select if projection.select is not None else tuple(table.properties)
        for name in dict.fromkeys((*selected, *always, table.primary_id)):
            column = table.properties[name]
            _annotate(self.organization, row, column, self.preferences, result)
            result[name] = as_json(column, row.get(column.name), self.organization.settings["money_decimals"])
        for name, inner in projection.expand.items():
            collection = COLLECTIONS[table.logical_name].get(name)
            if collection is None:
                other = related(self.organization, row, name)
                result[name] = self.row(other, inner) if other else None
            else:
                self._collection(row, collection, inner, result)
        return result

    def _collection(self, row: Row, collection: Collection, inner: Projection, result: dict[str, Any]) -> None:
        """The rows of a collection, and the link that goes with them (learn.microsoft.com, "Join tables using OData").

        Without a nested $expand all rows are there and the link repeats them. With one there is one page of them, without
        etags, and the link leads to the rest, should there be one.
        """
        organization = self.organization
        rows = matching(organization, members(organization, row, collection), inner.condition, inner.order)[: inner.top]
        path = f"{row.table.entity_set}({row.id})/{collection.name}"
        if not self.is_nested:
            column = TABLES[collection.table].columns[collection.column].property_name
            always = (column,) if inner.select is not None else ()
            result[collection.name] = [
                {"@odata.etag": each.etag, **self.row(each, inner, always)} for each in rows[:PAGE_MAX]
            ]
            result[f"{collection.name}@odata.nextLink"] = link(self.base_url, path, inner.options)
            return
        page = rows[: self.preferences.page_size or PAGE_MAX]
        deeper = inner
        if self.cuts_nested:
            deeper = Projection(inner.select)
        items = [self.row(each, deeper) for each in page]
        for item in items if self.cuts_nested else ():
            nested = COLLECTIONS[collection.table]
            item.update({name: [] if name in nested else None for name in inner.expand})
        result[collection.name] = items
        if page:
            cookie = Cookie(2, page[-1].id, len(page))
            next_page = link(self.base_url, path, inner.options, "$skiptoken", str(cookie))
            result[f"{collection.name}@odata.nextLink"] = next_page


def related(organization: Organization, row: Row, name: str) -> Row | None:
    """The row behind a single-valued navigation property."""
    column, target = row.table.navigation[name]
    reference = row.get(column.name)
    return organization.referenced(reference) if reference and reference.table == target else None


def members(organization: Organization, row: Row, collection: Collection) -> list[Row]:
    """The rows of a collection-valued navigation property, in the order of their creation."""
    reference = Reference(row.table.logical_name, row.id)
    return [each for each in organization.store.rows(collection.table) if each.get(collection.column) == reference]


def matching(
    organization: Organization,
    rows: list[Row],
    condition: expression.Node | None,
    order: Sequence[tuple[str, bool]],
) -> list[Row]:
    """The rows a $filter keeps, in the order of $orderby (nulls first, as the database sorts)."""
    if condition is not None:
        rows = [
            row for row in rows if expression.holds(condition, lambda path, row=row: read_path(organization, row, path))
        ]
    for path, descending in reversed(order):
        rows = sorted(rows, key=lambda row: _sort_key(read_path(organization, row, path)), reverse=descending)
    return rows


def _sort_key(value: Any) -> tuple[bool, Any]:
    if isinstance(value, str):
        value = value.casefold()
    return (value is not None, value if value is not None else 0)


def _annotate(
    organization: Organization, row: Row, column: Column, preferences: Preferences, result: dict[str, Any]
) -> None:
    value = row.get(column.name)
    if value is None or not preferences.annotations:
        return
    name = column.property_name
    text = format_value(organization, row, column)
    if text is not None and preferences.annotates(FORMATTED):
        result[f"{name}@{FORMATTED}"] = text
    if isinstance(value, Reference):
        if preferences.annotates(NAVIGATION):
            result[f"{name}@{NAVIGATION}"] = column.navigation_to(value.table)
        if preferences.annotates(LOGICAL_NAME):
            result[f"{name}@{LOGICAL_NAME}"] = value.table


def format_value(organization: Organization, row: Row, column: Column) -> str | None:
    """What a user sees for a column: for a lookup the name of the row, for money with the currency's sign."""
    value = row.get(column.name)
    if isinstance(value, Reference):
        other = organization.referenced(value)
        return other.name if other else None
    symbol = BASE_CURRENCY_SYMBOL if column.name.endswith("_base") else organization.currency_symbol(row)
    return formatted(column, value, symbol)


def read_path(organization: Organization, row: Row | None, path: str) -> Any:
    """The value at a checked property path, in the form expressions compare; None along a missing row."""
    *steps, last = path.split("/")
    for step in steps:
        if row is None:
            return None
        row = related(organization, row, step)
    if row is None:
        return None
    value = row.get(row.table.properties[last].name)
    if isinstance(value, Reference):
        return value.id
    if row.table.properties[last].kind is Kind.MULTI_CHOICE and value is not None:
        return ",".join(str(code) for code in value)
    return value


def context(base_url: str, table: Table, projection: Projection, suffix: str = "") -> str:
    """The @odata.context of an answer: entity set, selected and expanded properties."""
    names = _names(projection)
    selected = f"({names})" if names else ""
    return f"{base_url}{API_ROOT}$metadata#{table.entity_set}{selected}{suffix}"


def _names(projection: Projection) -> str:
    expanded = (f"{name}({_names(inner)})" for name, inner in projection.expand.items())
    return ",".join((*(projection.select or ()), *expanded))


def row_url(base_url: str, table: Table, key: str) -> str:
    return f"{base_url}{API_ROOT}{table.entity_set}({key})"
