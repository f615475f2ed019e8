"""What tables are made of: keys, and short forms for the columns that occur again and again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from dataverse.columns import Column, Kind, Option

MONEY_LIMIT = Decimal("1000000000000")


@dataclass(frozen=True)
class Key:
    """An alternate key: its columns are unique together, and rows can be addressed by them."""

    name: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Collection:
    """A collection-valued navigation property: the rows of a table whose lookup points at the row that has it."""

    name: str
    table: str
    column: str


@dataclass(frozen=True)
class Table:
    logical_name: str
    entity_set: str
    schema_name: str
    primary_id: str
    primary_name: str
    column_list: tuple[Column, ...]
    keys: tuple[Key, ...] = ()
    change_tracking: bool = False
    writable: bool = True

    @cached_property
    def columns(self) -> Mapping[str, Column]:
        return {column.name: column for column in self.column_list}

    @cached_property
    def properties(self) -> Mapping[str, Column]:
        """Columns by the name under which they are read."""
        return {column.property_name: column for column in self.column_list if column.read}

    @cached_property
    def navigation(self) -> Mapping[str, tuple[Column, str]]:
        """Single-valued navigation properties: the lookup behind each and the logical name of its target."""
        return {
            name: (column, target)
            for column in self.column_list
            if column.kind is Kind.LOOKUP
            for name, target in column.navigation.items()
        }

    @property
    def has_currency(self) -> bool:
        return "transactioncurrencyid" in self.columns and self.logical_name != "transactioncurrency"

    def status_options(self, number: int) -> tuple[Option, ...]:
        return tuple(option for option in self.columns["statuscode"].options if option.state == number)


def text(name: str, length: int, label: str = "", required: bool = False) -> Column:
    return Column(name, Kind.TEXT, label, max_length=length, required=required)


def memo(name: str, length: int, label: str = "") -> Column:
    return Column(name, Kind.MEMO, label, max_length=length)


def whole(name: str, minimum: int, maximum: int, label: str = "", required: bool = False) -> Column:
    return Column(name, Kind.INTEGER, label, minimum=Decimal(minimum), maximum=Decimal(maximum), required=required)


def boolean(name: str, label: str = "", yes: str = "Yes", no: str = "No") -> Column:
    return Column(name, Kind.BOOLEAN, label, true_label=yes, false_label=no)


def money(name: str, label: str = "") -> tuple[Column, Column]:
    """A money column and its computed companion in the organisation's currency."""
    column = Column(name, Kind.MONEY, label, minimum=-MONEY_LIMIT, maximum=MONEY_LIMIT, precision=2)
    base = Column(f"{name}_base", Kind.MONEY, f"{label} (Base)", precision=2, create=False, update=False)
    return column, base


def choice(name: str, label: str, *labels: str, first: int = 0) -> Column:
    options = tuple(Option(first + index, each) for index, each in enumerate(labels))
    return Column(name, Kind.CHOICE, label, options=options)


def lookup(
    name: str,
    targets: dict[str, str] | str,
    label: str = "",
    update: bool = True,
    collections: Mapping[str, str] | None = None,
) -> Column:
    """targets: navigation properties with the table of each. collections: tables with their property back to here."""
    navigation = {name: targets} if isinstance(targets, str) else targets
    return Column(name, Kind.LOOKUP, label, navigation=navigation, update=update, collections=collections or {})


def date(name: str, label: str = "") -> Column:
    return Column(name, Kind.DATE_ONLY, label)


def identifier(name: str) -> Column:
    return Column(name, Kind.UNIQUE_ID, update=False, required=True)


def state(*states: tuple[int, str, tuple[tuple[int, str], ...]]) -> tuple[Column, Column]:
    state_options = tuple(Option(value, label) for value, label, _ in states)
    status_options = tuple(Option(value, label, number) for number, _, statuses in states for value, label in statuses)
    return (
        Column("statecode", Kind.STATE, "Status", options=state_options, create=False),
        Column("statuscode", Kind.STATUS, "Status Reason", options=status_options),
    )


ACTIVE_OR_NOT = state((0, "Active", ((1, "Active"),)), (1, "Inactive", ((2, "Inactive"),)))
ENABLED_OR_NOT = state((0, "Enabled", ((1, "Enabled"),)), (1, "Disabled", ((2, "Disabled"),)))


def computed(name: str, kind: Kind, label: str, target: str = "", precision: int = 0) -> Column:
    navigation = {name: target} if target else {}
    return Column(name, kind, label, navigation=navigation, precision=precision, create=False, update=False)


AUDIT = (
    computed("createdon", Kind.DATE_TIME, "Created On"),
    computed("createdby", Kind.LOOKUP, "Created By", "systemuser"),
    computed("modifiedon", Kind.DATE_TIME, "Modified On"),
    computed("modifiedby", Kind.LOOKUP, "Modified By", "systemuser"),
    computed("modifiedonbehalfby", Kind.LOOKUP, "Modified By (Delegate)", "systemuser"),
    computed("versionnumber", Kind.BIG_INTEGER, "Version Number"),
)
BUSINESS = (
    *AUDIT,
    lookup("ownerid", "systemuser", "Owner"),
    computed("owninguser", Kind.LOOKUP, "Owning User", "systemuser"),
    Column("overriddencreatedon", Kind.DATE_ONLY, "Record Created On", update=False),
)
CURRENCY = (
    lookup("transactioncurrencyid", "transactioncurrency", "Currency"),
    computed("exchangerate", Kind.DECIMAL, "Exchange Rate", precision=10),
)
ADDRESS = (
    text("address1_line1", 250),
    text("address1_line2", 250),
    text("address1_city", 80),
    text("address1_stateorprovince", 50),
    text("address1_postalcode", 20),
    text("address1_country", 80),
)
