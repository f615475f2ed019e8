"""Bodies of writes: which properties a table declares, how lookups are bound, what may be set when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import json_text
from dataverse import errors
from dataverse.caller import Caller
from dataverse.columns import Column, Kind, Reference, accept
from dataverse.organization import Organization
from dataverse.resource_path import parse_key, relative, split_path, table_of
from dataverse.schema import COLLECTIONS, TABLES
from dataverse.store import Row
from dataverse.table import Collection, Table

BIND = "@odata.bind"


@dataclass
class PayloadReader:
    """Turns JSON into stored values. content_ids holds the rows that `$1` and the like stand for in a change set."""

    organization: Organization
    base_url: str
    caller: Caller
    content_ids: Mapping[str, Row] = field(default_factory=dict)
    _nested: list[tuple[Collection, list[Any]]] | None = None

    def create(self, table: Table, body: Mapping[str, Any], more: Mapping[str, Any] | None = None) -> Row:
        """Creates a row with the columns of body and of more, and the new rows nested in its collections after it."""
        outer, self._nested = self._nested, []
        values = self.columns(table, body, creating=True)
        nested, self._nested = self._nested, outer
        row = self.organization.create(table, {**(more or {}), **values}, self.caller)
        for collection, items in nested:
            for item in items:
                if not isinstance(item, dict):
                    raise errors.payload(table.entity_set, f"'{collection.name}' has to hold objects.")
                parent = {collection.column: Reference(table.logical_name, row.id)}
                self.create(TABLES[collection.table], item, parent)
        return row

    def columns(self, table: Table, body: Mapping[str, Any], *, creating: bool) -> dict[str, Any]:
        """The stored values of all columns in body, in its order. Raises ServiceError for the first that is refused.

        On creation a related row may be nested; it is created on the way, inside the caller's transaction. Lists of new
        rows are taken only inside of create().
        """
        values: dict[str, Any] = {}
        for name, value in body.items():
            if name.endswith(BIND):
                column, reference = self._bound(table, name[: -len(BIND)], value, creating)
                self._check_writable(table, column, creating)
                values[column.name] = reference
            elif "@" in name:
                self._check_annotation(table, name, value)
            elif name in table.navigation and isinstance(value, dict) and creating:
                column, target = table.navigation[name]
                self._check_writable(table, column, creating)
                values[column.name] = Reference(target, self.create(TABLES[target], value).id)
            elif name in COLLECTIONS[table.logical_name] and isinstance(value, list) and self._nested is not None:
                self._nested.append((COLLECTIONS[table.logical_name][name], value))
            else:
                self._plain(table, name, value, creating, values)
        return values

    def resolve(self, entity_set: str, target: str, link: Any) -> Row:
        """The row a bind points at. A missing one is 404 0x80040217, or 0x80060891 by alternate key."""
        if not isinstance(link, str):
            raise errors.payload(entity_set, "A bind has to be a text.")
        if link.startswith("$"):
            row = self.content_ids.get(link[1:])
            if row is None:
                raise errors.payload(entity_set, f"Content-ID reference '{link}' does not exist.")
        else:
            row = self._addressed(entity_set, link)
        if row.table.logical_name != target:
            raise errors.payload(entity_set, f"The bind '{link}' points at a row of the wrong table.")
        return row

    def _addressed(self, entity_set: str, link: str) -> Row:
        segments = split_path(relative(link, self.base_url))
        if len(segments) != 1 or segments[0].key is None:
            raise errors.payload(entity_set, f"The bind '{link}' does not address a row.")
        table = table_of(segments[0].name)
        key = parse_key(table, segments[0].key)
        if key.id is not None:
            return self.organization.row(table, key.id)
        row = self.organization.store.by_key(table, key.columns, key.values)
        if row is None:
            raise errors.key_not_found(table.logical_name)
        return row

    def _bound(self, table: Table, name: str, link: Any, creating: bool) -> tuple[Column, Reference | None]:
        if name not in table.navigation:
            raise self._undeclared(table, name)
        column, target = table.navigation[name]
        if link is None:
            if not creating and self.organization.settings["null_bind_clears_lookup"]:
                return column, None
            raise errors.payload(table.entity_set, f"The bind of '{name}' is null.")
        return column, Reference(target, self.resolve(table.entity_set, target, link).id)

    def _plain(self, table: Table, name: str, value: Any, creating: bool, values: dict[str, Any]) -> None:
        column = table.columns.get(name)
        if column is None or column.kind is Kind.LOOKUP:
            raise self._undeclared(table, name)
        settings = self.organization.settings
        accepted = accept(
            self.effective(column),
            value,
            table.logical_name,
            table.entity_set,
            settings["choice_out_of_range_code"],
        )
        if name == table.primary_id and not creating:
            return
        if name == "statecode" and creating:
            if accepted is not None:
                values[name] = accepted
            return
        writable = column.create if creating else column.update
        if not writable and settings["read_only_column_write"] == "ignore":
            return
        self._check_writable(table, column, creating)
        values[name] = accepted

    def effective(self, column: Column) -> Column:
        """The column with the type this organisation gives it (opportunityclose.actualend is disputed)."""
        if column.name == "actualend" and self.organization.settings["opportunityclose_actualend"] == "datetime":
            return Column("actualend", Kind.DATE_TIME, column.label)
        return column

    def _check_writable(self, table: Table, column: Column, creating: bool) -> None:
        if not (column.create if creating else column.update):
            raise errors.invalid_argument(f"The column '{column.name}' of '{table.logical_name}' cannot be set.")

    def _check_annotation(self, table: Table, name: str, value: Any) -> None:
        if name != "@odata.type":
            return
        if not isinstance(value, str) or value.lstrip("#") != f"Microsoft.Dynamics.CRM.{table.logical_name}":
            raise errors.payload(table.entity_set, "The @odata.type does not fit the entity set.")

    def _undeclared(self, table: Table, name: str) -> errors.ServiceError:
        code = self.organization.settings["undeclared_property_code"]
        if code == "0x0":
            return errors.ServiceError(
                400, code, f"Invalid property '{name}' was found in entity '{table.logical_name}'."
            )
        return errors.undeclared(table.entity_set, table.logical_name, name)


def parse_object(entity_set: str, body: bytes) -> dict[str, Any]:
    """The JSON object of a request's body; anything else is a payload error."""
    try:
        value = json_text.loads(body)
    except (ValueError, RecursionError):
        raise errors.payload(entity_set, "The body could not be read as JSON.") from None
    if not isinstance(value, dict):
        raise errors.payload(entity_set, "The body has to be a JSON object.")
    return value
