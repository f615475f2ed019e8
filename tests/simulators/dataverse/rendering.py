"""Rows as the JSON of answers: selected properties, expanded rows, annotations."""

from __future__ import annotations

from typing import Any

from dataverse.columns import Column, Kind, Reference, as_json, formatted
from dataverse.organization import BASE_CURRENCY_SYMBOL, Organization
from dataverse.query import Preferences, Projection
from dataverse.resource_path import API_ROOT
from dataverse.schema import Table
from dataverse.store import Row

FORMATTED = "OData.Community.Display.V1.FormattedValue"
LOGICAL_NAME = "Microsoft.Dynamics.CRM.lookuplogicalname"
NAVIGATION = "Microsoft.Dynamics.CRM.associatednavigationproperty"


def entity(organization: Organization, row: Row, projection: Projection, preferences: Preferences) -> dict[str, Any]:
    """The row's JSON, beginning with its etag. The primary key is always there, selected or not."""
    result: dict[str, Any] = {"@odata.etag": row.etag}
    table = row.table
    selected = projection.select if projection.select is not None else tuple(table.properties)
    if table.primary_id not in selected:
        selected = (*selected, table.primary_id)
    for name in selected:
        column = table.properties[name]
        _annotate(organization, row, column, preferences, result)
        result[name] = as_json(column, row.get(column.name), organization.settings["money_decimals"])
    for name, inner in projection.expand.items():
        column, target = table.navigation[name]
        reference = row.get(column.name)
        other = organization.referenced(reference) if reference and reference.table == target else None
        result[name] = entity(organization, other, inner, preferences) if other else None
    return result


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
        column, target = row.table.navigation[step]
        reference = row.get(column.name)
        row = organization.referenced(reference) if reference and reference.table == target else None
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
    names = list(projection.select or ())
    for name, inner in projection.expand.items():
        names.append(f"{name}({','.join(inner.select or ())})")
    selected = f"({','.join(names)})" if names else ""
    return f"{base_url}{API_ROOT}$metadata#{table.entity_set}{selected}{suffix}"


def row_url(base_url: str, table: Table, key: str) -> str:
    return f"{base_url}{API_ROOT}{table.entity_set}({key})"
