"""The organisation: its rows, its users, and create, update and delete with the rules the platform applies to them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any, Protocol

from dataverse import errors
from dataverse.caller import BROWSER, Caller
from dataverse.columns import Kind, Reference, round_to
from dataverse.events import Event
from dataverse.registration import check_registration
from dataverse.schema import BUSINESS_TABLES, MESSAGES, TABLES
from dataverse.store import Row, Store
from dataverse.table import Table

ORGANIZATION_ID = "6d0f7c1e-52b9-4e0a-9d38-71c4e2a95b10"
ORGANIZATION_NAME = "unq6d0f7c1e52b9ed11b8e5000d3a2"
BUSINESS_UNIT_ID = "17a9b3c5-d7e9-4f01-8a23-4b5c6d7e8f07"
APPLICATION_USER_ID = "3c8b61d2-7f05-4e9a-b2c4-90d7e1f3a605"
SELLER_ID = "c4d7e8f1-0a2b-4c3d-8e5f-6a7b8c9d0e06"
COLLEAGUE_ID = "8e2b5d17-4c60-4a91-b3f8-2d7c6e5f4a08"
SALES_TEAM_ROLE_ID = "b1c9e4a6-7d38-4f25-9e60-5a4b3c2d1e09"
SALES_TEAM = 1001  # connectionrole.category
EURO_ID = "0f6f2a33-9d41-4be8-a7c6-3e5b90d1f7a4"
BASE_CURRENCY_SYMBOL = "$"
_NAMES = uuid.UUID("5d3b1f5e-6a0c-4d7b-9b5e-2f6f0c1d8a11")

# Lookups whose rows go with the row they point at; every other lookup at a deleted row is cleared.
_CASCADES = {
    ("sdkmessageprocessingstep", "eventhandler"),
    ("sdkmessageprocessingstepimage", "sdkmessageprocessingstepid"),
    ("opportunityclose", "opportunityid"),
    ("msft_microsoftsolution", "msft_opportunityid"),
    ("connection", "record1id"),
    ("connection", "record2id"),
}
# Columns of the default duplicate detection rules (Dataverse reference, section 11: account, contact, lead only).
_DUPLICATE_RULES = {"account": "name", "contact": "emailaddress1", "lead": "emailaddress1"}


class Identifiers(Protocol):
    def uuid(self) -> str:
        ...


class Organization:
    def __init__(self, settings: Any, identifiers: Identifiers, application_id: str, host: str) -> None:
        self.settings = settings
        self.identifiers = identifiers
        self.application_id = application_id
        self.host = host
        self.listener: Callable[[Event], None] = lambda event: None
        self.store = Store(self._keys_hold)
        self.expired_version = 0
        self._events: list[Event] | None = None
        self.reset()

    # State

    def _keys_hold(self) -> bool:
        return self.settings["alternate_key_status"] == "Active"

    def reset(self) -> None:
        """The sandbox as it starts: users, currencies, messages, nothing else."""
        self.store = Store(self._keys_hold)
        self.expired_version = 0
        moment = self.now()

        def seed(logical_name: str, row_id: str, values: dict[str, Any]) -> None:
            stamp = {"createdon": moment, "modifiedon": moment}
            self.store.put(TABLES[logical_name], row_id, {TABLES[logical_name].primary_id: row_id, **values, **stamp})

        seed(
            "systemuser",
            APPLICATION_USER_ID,
            {
                "firstname": "#",
                "lastname": "Tandem",
                "fullname": "# Tandem",
                "applicationid": self.application_id,
                "isdisabled": False,
            },
        )
        for row_id, first, last, phone in (
            (SELLER_ID, "Jonas", "Weidlich", "+49 40 0000001"),
            (COLLEAGUE_ID, "Mira", "Holt", "+49 40 0000002"),
        ):
            email = f"{first}.{last}@nordlicht.example".lower()
            person = {"firstname": first, "lastname": last, "fullname": f"{first} {last}", "domainname": email}
            reached = {"internalemailaddress": email, "address1_telephone1": phone, "isdisabled": False}
            seed("systemuser", row_id, {**person, **reached})
        role = {"name": "Sales Team", "category": SALES_TEAM, "statecode": 0, "statuscode": 1}
        seed("connectionrole", SALES_TEAM_ROLE_ID, role)
        for row_id, name, code, symbol, rate in (
            (EURO_ID, "Euro", "EUR", "€", "0.9174311927"),
            (named_id("currency USD"), "US Dollar", "USD", "$", "1"),
            (named_id("currency GBP"), "Pound Sterling", "GBP", "£", "0.7936507937"),
        ):
            values = {"currencyname": name, "isocurrencycode": code, "currencysymbol": symbol, "currencyprecision": 2}
            status = {"exchangerate": Decimal(rate), "statecode": 0, "statuscode": 1}
            seed("transactioncurrency", row_id, {**values, **status})
        for message in MESSAGES:
            message_id = named_id(f"message {message}")
            seed("sdkmessage", message_id, {"name": message})
            for table in BUSINESS_TABLES if message not in ("Win", "Lose") else ("opportunity",):
                values = {
                    "name": f"{message} of {table}",
                    "primaryobjecttypecode": table,
                    "secondaryobjecttypecode": "none",
                    "iscustomprocessingstepallowed": True,
                    "sdkmessageid": Reference("sdkmessage", message_id),
                }
                seed("sdkmessagefilter", named_id(f"filter {message} {table}"), values)

    def now(self) -> datetime:
        moment = datetime.now(timezone.utc)
        if self.settings["time_resolution"] == "millisecond":
            return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
        return moment.replace(microsecond=0)

    def seller(self) -> Caller:
        return Caller(SELLER_ID, SELLER_ID, BROWSER, interactive=True)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Rows and events take effect together. An inner transaction belongs to the outer one."""
        if self._events is not None:
            yield
            return
        self._events = []
        try:
            with self.store.transaction():
                yield
            for event in self._events:
                self.listener(event)
        finally:
            self._events = None

    def emit(
        self,
        message: str,
        table: Table,
        row_id: str,
        sent: tuple[str, ...],
        before: Row | None,
        after: Row | None,
        caller: Caller,
        **closing: Any,
    ) -> None:
        assert self._events is not None, "events belong to a transaction"
        correlation, request = self.identifiers.uuid(), self.identifiers.uuid()
        moment = datetime.now(timezone.utc)
        event = Event(message, table, row_id, sent, before, after, caller, moment, correlation, request, **closing)
        self._events.append(event)

    # Reading

    def row(self, table: Table, row_id: str) -> Row:
        row = self.store.get(table, row_id)
        if row is None:
            raise errors.row_not_found(table.logical_name, row_id)
        return row

    def referenced(self, reference: Reference | None) -> Row | None:
        return self.store.get(TABLES[reference.table], reference.id) if reference else None

    def currency_symbol(self, row: Row) -> str:
        own = row.table.logical_name == "transactioncurrency"
        currency = row if own else self.referenced(row.get("transactioncurrencyid"))
        return (currency.get("currencysymbol") or "") if currency else ""

    def require(self, caller: Caller, action: str, table: Table) -> None:
        """Checks a privilege such as prvWriteOpportunity. People at the user interface have all of them."""
        privilege = f"prv{action}{table.schema_name}"
        if not caller.interactive and privilege in self.settings["missing_privileges"]:
            raise errors.privilege_missing(caller.user_id, privilege)

    # Writing

    def create(self, table: Table, values: Mapping[str, Any], caller: Caller) -> Row:
        """Inserts a row. A primary key among the values is taken over."""
        self.require(caller, "Create", table)
        row_id = values.get(table.primary_id) or self.identifiers.uuid()
        if self.store.get(table, row_id) is not None:
            raise errors.exists_already()
        self._check_duplicates(table, values, row_id, caller)
        moment = self.now()
        creator = Reference("systemuser", caller.user_id)
        stored: dict[str, Any] = {table.primary_id: row_id, **self._defaults(table), **values}
        stored.update(createdon=moment, createdby=creator, modifiedon=moment, modifiedby=creator)
        stored["modifiedonbehalfby"] = _delegate(caller)
        self._inherit_currency(stored)
        if "ownerid" in table.columns and stored.get("ownerid") is None:
            stored["ownerid"] = creator
        if "statecode" in table.columns:
            self._check_initial_state(table, stored, row_id)
        self._compute(table, stored, values, None)
        with self.transaction():
            check_registration(self, table, stored)
            after = self.store.put(table, row_id, stored)
            sent = [name for name in stored if stored[name] is not None and not name.endswith("_base")]
            self.emit("Create", table, row_id, tuple(sent), None, after, caller)
            self._touch_opportunities(None, after, caller)
        return after

    def update(self, row: Row, values: Mapping[str, Any], caller: Caller) -> Row:
        """Changes the given columns; with none given nothing happens at all."""
        table = row.table
        self.require(caller, "Write", table)
        if not values:
            return row
        state = {name: value for name, value in values.items() if name in ("statecode", "statuscode")}
        rest = {name: value for name, value in values.items() if name not in state}
        with self.transaction():
            if state:
                state = self._next_state(row, state)
            self._check_closed(row, rest, state)
            if state and rest and self.settings["split_state_updates"]:
                return self.apply(self.apply(row, rest, caller), state, caller)
            return self.apply(row, {**rest, **state}, caller)

    def delete(self, row: Row, caller: Caller) -> None:
        self.require(caller, "Delete", row.table)
        with self.transaction():
            self.store.delete(row.table, row.id)
            self.emit("Delete", row.table, row.id, (), row, None, caller)
            self._touch_opportunities(row, None, caller)
            self._unlink(row, caller)

    def apply(self, row: Row, values: Mapping[str, Any], caller: Caller, *, fires: bool = True) -> Row:
        """Stores columns without asking whether the row may be changed. fires: steps on Update learn of it."""
        table = row.table
        self._check_duplicates(table, values, row.id, caller)
        stored = {**row.values, **values}
        stored.update(modifiedon=self.now(), modifiedby=Reference("systemuser", caller.user_id))
        stored["modifiedonbehalfby"] = _delegate(caller)
        self._compute(table, stored, values, row)
        with self.transaction():
            check_registration(self, table, stored)
            after = self.store.put(table, row.id, stored)
            sent = tuple(values) + (("fullname",) if {"firstname", "lastname"} & set(values) else ())
            if fires:
                self.emit("Update", table, row.id, sent, row, after, caller)
            self._touch_opportunities(row, after, caller)
        return after

    def expire_deltas(self) -> None:
        """Every delta link given so far has expired. Links given from now on name a later version."""
        self.store.version += 1
        self.expired_version = self.store.version

    def _touch_opportunities(self, before: Row | None, after: Row | None, caller: Caller) -> None:
        """Where a change of a child row is one of its opportunity as well: a new version, but no event."""
        if not self.settings["child_write_touches_parent"]:
            return
        parents = {row.get("msft_opportunityid"): None for row in (before, after) if row is not None}
        for parent in parents:
            row = self.referenced(parent)
            if row is not None:
                self.apply(row, {}, caller, fires=False)

    def _inherit_currency(self, stored: dict[str, Any]) -> None:
        """A solution without a currency has the one of its opportunity."""
        opportunity = self.referenced(stored.get("msft_opportunityid"))
        if opportunity is not None and stored.get("transactioncurrencyid") is None:
            stored["transactioncurrencyid"] = opportunity.get("transactioncurrencyid")

    def _defaults(self, table: Table) -> dict[str, Any]:
        defaults: dict[str, Any] = {
            name: False for name, column in table.columns.items() if column.kind is Kind.BOOLEAN and column.create
        }
        if "statecode" in table.columns:
            defaults.update(statecode=0, statuscode=None)
        if "msft_coselltype" in table.columns:
            defaults["msft_coselltype"] = table.columns["msft_coselltype"].options[0].value
        return defaults

    def _check_initial_state(self, table: Table, stored: dict[str, Any], row_id: str) -> None:
        statuses = [option.value for option in table.status_options(0)]
        if stored["statuscode"] is None:
            stored["statuscode"] = statuses[0]
        if stored["statecode"] != 0 or stored["statuscode"] not in statuses:
            raise errors.invalid_status(stored["statuscode"], stored["statecode"], table.logical_name, row_id)

    def _next_state(self, row: Row, state: Mapping[str, Any]) -> dict[str, Any]:
        """State and status after a write of either or both. The pair has to fit (0x80048408)."""
        table = row.table
        wanted_state = state.get("statecode", row.get("statecode"))
        statuses = [option.value for option in table.status_options(wanted_state if wanted_state is not None else -1)]
        wanted_status = state.get("statuscode", statuses[0] if statuses else None)
        if wanted_status not in statuses:
            raise errors.invalid_status(wanted_status, wanted_state, table.logical_name, row.id)
        return {"statecode": wanted_state, "statuscode": wanted_status}

    def _check_closed(self, row: Row, rest: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """A closed opportunity takes nothing but being reopened; closing by PATCH may be forbidden."""
        if row.table.logical_name != "opportunity":
            return
        closed = row.get("statecode") != 0
        if closed and self.settings["closed_opportunity_read_only"] and (rest or state.get("statecode") != 0):
            raise errors.already_closed()
        if not closed and state.get("statecode", 0) != 0 and not self.settings["close_by_patch"]:
            raise errors.invalid_argument("Close an opportunity by the actions WinOpportunity and LoseOpportunity.")

    def _compute(self, table: Table, stored: dict[str, Any], values: Mapping[str, Any], before: Row | None) -> None:
        """Fills computed columns of a row about to be stored: names, exchange rate, base amounts."""
        if "owninguser" in table.columns:
            stored["owninguser"] = stored.get("ownerid")
        if "fullname" in table.columns:
            names = [stored.get("firstname"), stored.get("lastname")]
            stored["fullname"] = " ".join(name for name in names if name) or None
        if stored.get("isrevenuesystemcalculated"):
            stored["estimatedvalue"] = before.get("estimatedvalue") if before else None
        if table.logical_name == "serviceendpoint":
            stored["isauthvalueset"] = bool(stored.get("authvalue"))
        if not table.has_currency:
            return
        currency = self.referenced(stored.get("transactioncurrencyid"))
        rate: Decimal | None = currency.get("exchangerate") if currency else None
        stored["exchangerate"] = rate
        for name, column in table.columns.items():
            if column.kind is not Kind.MONEY or not column.create:
                continue
            amount = stored.get(name)
            if rate is None and amount is not None:
                raise errors.currency_missing(name)
            base = None if rate is None or amount is None else round_to(amount / rate, column.precision)
            stored[f"{name}_base"] = base

    def _check_duplicates(self, table: Table, values: Mapping[str, Any], row_id: str, caller: Caller) -> None:
        column = _DUPLICATE_RULES.get(table.logical_name, "")
        value = values.get(column)
        if caller.suppress_duplicate_detection or not value:
            return
        for other in self.store.rows(table.logical_name):
            if other.id != row_id and (other.get(column) or "").casefold() == value.casefold():
                raise errors.duplicate_found(self.settings["duplicate_detection_status"])

    def _unlink(self, gone: Row, caller: Caller) -> None:
        reference = Reference(gone.table.logical_name, gone.id)
        for table in TABLES.values():
            lookups = [c.name for c in table.column_list if reference.table in c.navigation.values() and c.update]
            for row in self.store.rows(table.logical_name) if lookups else ():
                pointing = [name for name in lookups if row.get(name) == reference]
                if any((table.logical_name, name) in _CASCADES for name in pointing):
                    self.delete(row, caller)
                elif pointing:
                    self.store.put(table, row.id, {**row.values, **dict.fromkeys(pointing)})


def named_id(name: str) -> str:
    """The fixed GUID of something the sandbox starts with."""
    return str(uuid.uuid5(_NAMES, name))


def _delegate(caller: Caller) -> Reference | None:
    if caller.user_id == caller.initiating_user_id:
        return None
    return Reference("systemuser", caller.initiating_user_id)
