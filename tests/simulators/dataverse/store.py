"""Rows of the organisation with their versions, unique keys and deletions. Transactions undo; no types are checked.

Versions grow strictly over all tables, also across rolled back transactions, as the service's row versions do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dataverse import errors
from dataverse.schema import TABLES
from dataverse.table import Table

FIRST_VERSION = 48_210_000


@dataclass(frozen=True)
class Row:
    table: Table
    id: str
    version: int
    values: Mapping[str, Any]

    def get(self, column: str) -> Any:
        return self.version if column == "versionnumber" else self.values.get(column)

    @property
    def etag(self) -> str:
        return f'W/"{self.version}"'

    @property
    def name(self) -> str | None:
        return self.values.get(self.table.primary_name)


class Store:
    """All rows. Not safe for threads; everything happens on the one loop.

    A key whose index could not be made, `keys_hold` says, keeps no values apart.
    """

    def __init__(self, keys_hold: Callable[[], bool]) -> None:
        self.version = FIRST_VERSION
        self._keys_hold = keys_hold
        self._rows: dict[str, dict[str, Row]] = {name: {} for name in TABLES}
        self._deleted: dict[str, dict[str, int]] = {name: {} for name in TABLES}
        self._keys: dict[tuple[str, tuple[str, ...]], dict[tuple[Any, ...], str]] = {}
        self._undo: list[tuple[Table, str, Row | None, int | None]] | None = None

    def get(self, table: Table, row_id: str) -> Row | None:
        return self._rows[table.logical_name].get(row_id)

    def rows(self, logical_name: str) -> list[Row]:
        return list(self._rows[logical_name].values())

    def deletions(self, logical_name: str) -> Mapping[str, int]:
        """Version at which each deleted row went."""
        return self._deleted[logical_name]

    def by_key(self, table: Table, columns: tuple[str, ...], values: tuple[Any, ...]) -> Row | None:
        row_id = self._keys.get((table.logical_name, columns), {}).get(_comparable(values))
        return self.get(table, row_id) if row_id else None

    def put(self, table: Table, row_id: str, values: Mapping[str, Any]) -> Row:
        """Inserts or replaces a row under a new version. Raises ServiceError if another row has its key values."""
        for key in table.keys:
            wanted = tuple(values.get(column) for column in key.columns)
            other = None if None in wanted or not self._keys_hold() else self.by_key(table, key.columns, wanted)
            if other is not None and other.id != row_id:
                raise errors.duplicate_key(table.logical_name, key.columns)
        self.version += 1
        row = Row(table, row_id, self.version, dict(values))
        self._replace(table, row_id, row, None)
        return row

    def delete(self, table: Table, row_id: str) -> None:
        self.version += 1
        self._replace(table, row_id, None, self.version)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside takes effect, or nothing if an exception leaves it. An inner one belongs to the outer."""
        if self._undo is not None:
            yield
            return
        self._undo = []
        try:
            yield
        except BaseException:
            undo, self._undo = self._undo, None
            for table, row_id, before, deleted in reversed(undo):
                self._replace(table, row_id, before, deleted)
            raise
        finally:
            self._undo = None

    def _replace(self, table: Table, row_id: str, row: Row | None, deleted: int | None) -> None:
        rows, deletions = self._rows[table.logical_name], self._deleted[table.logical_name]
        before = rows.get(row_id)
        if self._undo is not None:
            self._undo.append((table, row_id, before, deletions.get(row_id)))
        for key in table.keys:
            index = self._keys.setdefault((table.logical_name, key.columns), {})
            if before is not None and index.get(_key_of(before, key.columns)) == row_id:
                del index[_key_of(before, key.columns)]
            if row is not None and None not in _key_of(row, key.columns):
                index[_key_of(row, key.columns)] = row_id
        if row is None:
            rows.pop(row_id, None)
        else:
            rows[row_id] = row
        if deleted is None:
            deletions.pop(row_id, None)
        else:
            deletions[row_id] = deleted


def _key_of(row: Row, columns: tuple[str, ...]) -> tuple[Any, ...]:
    return _comparable(tuple(row.get(column) for column in columns))


def _comparable(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Texts are unique without regard to case, as the database compares them."""
    return tuple(value.casefold() if isinstance(value, str) else value for value in values)
