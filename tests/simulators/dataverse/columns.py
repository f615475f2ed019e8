"""Columns of a table: their types, and what the service accepts, stores and gives back for each.

Stored values: str (text, memo, unique identifier), int, Decimal (money, decimal), bool, int (choices), tuple of int
(multi-select), Reference (lookup), datetime (UTC), date. An absent value is None.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from decimal import ROUND_HALF_EVEN, Decimal
from enum import Enum
from typing import Any

from dataverse import errors

GUID_PATTERN = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
MINIMUM_YEAR = 1753
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,7})?)?(?:Z|[+-]\d\d:\d\d)")


class Kind(Enum):
    TEXT = "String"
    MEMO = "Memo"
    INTEGER = "Integer"
    BIG_INTEGER = "BigInt"
    DECIMAL = "Decimal"
    MONEY = "Money"
    BOOLEAN = "Boolean"
    CHOICE = "Picklist"
    MULTI_CHOICE = "Virtual"
    STATE = "State"
    STATUS = "Status"
    LOOKUP = "Lookup"
    UNIQUE_ID = "Uniqueidentifier"
    DATE_TIME = "DateTime"
    DATE_ONLY = "DateOnly"


CHOICE_KINDS = (Kind.CHOICE, Kind.STATE, Kind.STATUS)


@dataclass(frozen=True)
class Reference:
    """A lookup's value: the row it points at."""

    table: str
    id: str


@dataclass(frozen=True)
class Option:
    """One value of a choice. A status option names the state it belongs to."""

    value: int
    label: str
    state: int | None = None


@dataclass(frozen=True)
class Column:
    name: str
    kind: Kind
    label: str = ""
    max_length: int = 0
    minimum: Decimal | None = None
    maximum: Decimal | None = None
    precision: int = 0
    options: tuple[Option, ...] = ()
    navigation: Mapping[str, str] = field(default_factory=dict)  # navigation property -> logical name of its table
    collections: Mapping[str, str] = field(default_factory=dict)  # table pointed at -> its navigation property to here
    create: bool = True
    update: bool = True
    read: bool = True
    required: bool = False
    true_label: str = "Yes"
    false_label: str = "No"

    @property
    def property_name(self) -> str:
        """The name under which the column is read."""
        return f"_{self.name}_value" if self.kind is Kind.LOOKUP else self.name

    def option(self, value: int) -> Option | None:
        return next((option for option in self.options if option.value == value), None)

    def navigation_to(self, table: str) -> str:
        return next(name for name, target in self.navigation.items() if target == table)


def accept(column: Column, value: Any, logical_name: str, entity_set: str, choice_code: str) -> Any:
    """The stored form of a JSON value written to a column other than a lookup. Raises ServiceError if it is refused."""

    def wrong_type() -> errors.ServiceError:
        return errors.payload(entity_set, f"The value of '{column.name}' is not of the expected type.")

    if value is None:
        return None
    kind = column.kind
    if kind in (Kind.TEXT, Kind.MEMO):
        if not isinstance(value, str):
            raise wrong_type()
        if len(value.encode("utf-16-le")) // 2 > column.max_length:
            raise errors.too_long(logical_name, column.name, column.max_length)
        return value
    if kind is Kind.BOOLEAN:
        if not isinstance(value, bool):
            raise wrong_type()
        return value
    if kind in (Kind.INTEGER, Kind.BIG_INTEGER, *CHOICE_KINDS):
        if not isinstance(value, int) or isinstance(value, bool):
            raise wrong_type()
        if column.options and column.option(value) is None and kind is Kind.CHOICE:
            raise errors.out_of_range(logical_name, column.name, choice_code)
        _check_range(column, Decimal(value), logical_name)
        return value
    if kind in (Kind.DECIMAL, Kind.MONEY):
        if not isinstance(value, (int, Decimal)) or isinstance(value, bool):
            raise wrong_type()
        _check_range(column, Decimal(value), logical_name)
        return round_to(Decimal(value), column.precision)
    if kind is Kind.MULTI_CHOICE:
        return _accept_multi_choice(column, value, logical_name, choice_code, wrong_type())
    if kind is Kind.UNIQUE_ID:
        if not isinstance(value, str) or not GUID_PATTERN.fullmatch(value):
            raise wrong_type()
        return value.lower()
    if not isinstance(value, str):
        raise wrong_type()
    try:
        stored = parse_date(value) if kind is Kind.DATE_ONLY else parse_instant(value)
    except ValueError:
        raise wrong_type() from None
    if stored.year < MINIMUM_YEAR:
        raise errors.too_early(column.name)
    return stored


def _accept_multi_choice(
    column: Column, value: Any, logical_name: str, choice_code: str, wrong_type: errors.ServiceError
) -> tuple[int, ...] | None:
    if not isinstance(value, str):
        raise wrong_type
    if value == "":
        return None
    if not re.fullmatch(r"\d+(,\d+)*", value):
        raise wrong_type
    codes = tuple(sorted({int(code) for code in value.split(",")}))
    if any(column.option(code) is None for code in codes):
        raise errors.out_of_range(logical_name, column.name, choice_code)
    return codes


def _check_range(column: Column, value: Decimal, logical_name: str) -> None:
    if (column.minimum is not None and value < column.minimum) or (
        column.maximum is not None and value > column.maximum
    ):
        raise errors.out_of_range(logical_name, column.name)


def round_to(value: Decimal, precision: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-precision), rounding=ROUND_HALF_EVEN)


def parse_date(text: str) -> date:
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        raise ValueError(text)
    return date.fromisoformat(text)


def parse_instant(text: str) -> datetime:
    """A date and time with its zone, which is not optional. Stored with second resolution."""
    if not _INSTANT.fullmatch(text):
        raise ValueError(text)
    whole = re.sub(r"\.\d+", "", text)
    return datetime.fromisoformat(whole).astimezone(timezone.utc)


def instant_text(value: datetime) -> str:
    if value.microsecond:
        return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"
    return value.strftime("%Y-%m-%dT%H:%M:%SZ")


def as_json(column: Column, value: Any, money_decimals: int) -> Any:
    """The JSON form of a stored value in an answer of the Web API."""
    if value is None:
        return None
    if column.kind is Kind.MONEY:
        if money_decimals >= 0:
            return value.quantize(Decimal(1).scaleb(-money_decimals), rounding=ROUND_HALF_EVEN)
        return shortest(value)
    if column.kind is Kind.DECIMAL:
        return shortest(value)
    if isinstance(value, Reference):
        return value.id
    if isinstance(value, datetime):
        return instant_text(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, tuple):
        return ",".join(str(code) for code in value)
    return value


def shortest(value: Decimal) -> Decimal:
    """The same number with at most the decimals it needs, but no exponent."""
    value = value.normalize()
    exponent = value.as_tuple().exponent
    return value.quantize(Decimal(1)) if isinstance(exponent, int) and exponent > 0 else value


def formatted(column: Column, value: Any, currency_symbol: str) -> str | None:
    """The text a user sees, in the format of US English and UTC; None where the service gives none."""
    if value is None:
        return None
    if column.kind in CHOICE_KINDS:
        option = column.option(value)
        return option.label if option else None
    if column.kind is Kind.MULTI_CHOICE:
        return "; ".join(option.label for option in column.options if option.value in value)
    if column.kind is Kind.BOOLEAN:
        return column.true_label if value else column.false_label
    if column.kind is Kind.MONEY:
        sign = "-" if value < 0 else ""
        return f"{sign}{currency_symbol}{abs(value):,.2f}"
    if column.kind is Kind.DECIMAL:
        return str(shortest(value))
    if column.kind in (Kind.INTEGER, Kind.BIG_INTEGER):
        return f"{value:,}"
    if isinstance(value, datetime):
        half = "AM" if value.hour < 12 else "PM"
        return f"{value.month}/{value.day}/{value.year} {value.hour % 12 or 12}:{value.minute:02d} {half}"
    if isinstance(value, date):
        return f"{value.month}/{value.day}/{value.year}"
    return None
