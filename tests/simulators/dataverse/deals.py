"""Opportunities with everything that belongs to them, made, edited and seen in one call of the admin routes."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from dataverse import errors
from dataverse.columns import Reference
from dataverse.organization import SALES_TEAM_ROLE_ID, SELLER_ID, Organization
from dataverse.payload import PayloadReader
from dataverse.query import Preferences, Projection
from dataverse.rendering import entity, members
from dataverse.resource_path import parse_key
from dataverse.schema import COLLECTIONS, OPPORTUNITY, TABLES
from dataverse.store import Row
from dataverse.table import Table
from dataverse.writing import existing

EXAMPLE: Mapping[str, Any] = {
    "name": "Supply Hub for the depots",
    "description": "The customer wants to replace its spreadsheets.",
    "estimatedvalue": Decimal("48000"),
    "estimatedclosedate": "2030-06-28",
    "sync": False,
    "visible": False,
    "currency": "EUR",
    "account": {
        "name": "Wingtip Trams GmbH",
        "address1_line1": "Musterallee 12",
        "address1_city": "Leipzig",
        "address1_postalcode": "04109",
        "address1_country": "DE",
    },
    "contact": {
        "firstname": "Jörg",
        "lastname": "Fahrplan",
        "emailaddress1": "joerg.fahrplan@wingtip.example",
        "telephone1": "+49 341 0000001",
    },
    "team": [],
    "solutions": [{"id": "SOL-10001-AAA", "name": "Fabrikam Supply Hub", "type": "3P", "price": 1200, "quantity": 10}],
}
_SWITCHES = {
    "sync": "msft_microsoftpartnercenterreferralsync",
    "visible": "msft_microsoftpartnercenterreferralvisible",
}
_CHOICES = {
    "help": "msft_microsoftpartnercenterhelp",
    "intent": "msft_customerpurchaseintent",
    "cosell_type": "msft_coselltype",
}
_PEOPLE = ("account", "contact", "owner")
_LISTS = ("team", "solutions")
_SOLUTION_MEMBERS = {"id", "name", "type", "price", "quantity"}
_SOLUTIONS = COLLECTIONS["opportunity"]["msft_opportunity_msft_microsoftsolution"]
_CONNECTIONS = COLLECTIONS["opportunity"]["opportunity_connections1"]


class Deals:
    """What a seller sees of a deal as one form. Words that are no columns of an opportunity are explained in docs/."""

    def __init__(self, organization: Organization) -> None:
        self._organization = organization

    def make(self, body: Mapping[str, Any], base_url: str) -> dict[str, Any]:
        given = {**EXAMPLE, **body}
        with self._organization.transaction():
            columns, values = self._values(given, None)
            row = self._reader(base_url).create(OPPORTUNITY, columns, values)
            self._fill(row, given, base_url)
        return self.show(row.id)

    def edit(self, key: str, body: Mapping[str, Any], base_url: str) -> dict[str, Any]:
        """Changes what differs, as a form does: columns that stay as they are do not count as sent."""
        row = existing(self._organization, OPPORTUNITY, parse_key(OPPORTUNITY, key))
        with self._organization.transaction():
            columns, values = self._values(body, row)
            values.update(self._reader(base_url).columns(OPPORTUNITY, columns, creating=False))
            self._change(row, values)
            self._fill(row, body, base_url)
        return self.show(row.id)

    def show(self, key: str) -> dict[str, Any]:
        row = existing(self._organization, OPPORTUNITY, parse_key(OPPORTUNITY, key))
        referenced = self._organization.referenced
        currency = referenced(row.get("transactioncurrencyid"))
        contact = row.get("parentcontactid")
        result: dict[str, Any] = {"id": row.id, "row": self._json(row)}
        result.update({word: row.get(column) for word, column in _SWITCHES.items()})
        result.update({word: _label(column, row.get(column)) for word, column in _CHOICES.items()})
        result["currency"] = currency.get("isocurrencycode") if currency else None
        result["account"] = self._json(referenced(row.get("customerid")))
        result["contact"] = self._json(referenced(contact))
        result["owner"] = self._json(referenced(row.get("ownerid")))
        result["team"] = [self._json(referenced(each.get("record2id"))) for each in self._connections(row)]
        result["solutions"] = [self._solution(each) for each in self._solutions(row)]
        return result

    # Columns of the opportunity

    def _values(self, body: Mapping[str, Any], row: Row | None) -> tuple[dict[str, Any], dict[str, Any]]:
        """The columns and binds of body as they are, and the stored values behind its words."""
        words = {*_SWITCHES, *_CHOICES, *_PEOPLE, *_LISTS, "currency"}
        columns = {name: value for name, value in body.items() if name not in words}
        columns.update({column: body[word] for word, column in _SWITCHES.items() if word in body})
        columns.update({column: _code(column, body[word]) for word, column in _CHOICES.items() if word in body})
        values: dict[str, Any] = {}
        if "currency" in body:
            values["transactioncurrencyid"] = self._currency(body["currency"])
        if "account" in body:
            keys = ("name", "address1_postalcode")
            values["customerid"] = self._found(body["account"], "account", keys, row and row.get("customerid"))
        if "contact" in body:
            present = row and row.get("parentcontactid")
            contact = self._found(body["contact"], "contact", ("emailaddress1",), present)
            values["parentcontactid"] = contact
            self._employ(contact, values.get("customerid"))
        if "owner" in body:
            values["ownerid"] = self._person(body["owner"])
        return columns, values

    def _currency(self, code: Any) -> Reference | None:
        if code is None:
            return None
        for row in self._organization.store.rows("transactioncurrency"):
            if row.get("isocurrencycode") == code:
                return Reference("transactioncurrency", row.id)
        raise errors.invalid_argument(f"The organisation has no currency {code!r}.")

    def _found(
        self, columns: Any, logical_name: str, keys: tuple[str, ...], present: Reference | None
    ) -> Reference | None:
        """A row with these columns: the one that has these keys, else a new one; without the first key the present."""
        if columns is None:
            return None
        if not isinstance(columns, dict):
            raise errors.invalid_argument(f"An {logical_name} is given by its columns.")
        table = TABLES[logical_name]
        if columns.get(keys[0]) is None:
            row = self._organization.referenced(present)
            if row is None and keys[0] not in columns and logical_name != "contact":
                raise errors.invalid_argument(f"{keys[0]} is missing, and there is no {logical_name} to change.")
        else:
            wanted = [_comparable(columns.get(key)) for key in keys]
            rows = self._organization.store.rows(logical_name)
            row = next((each for each in rows if [_comparable(each.get(key)) for key in keys] == wanted), None)
        reader = self._reader("")
        if row is None:
            return Reference(logical_name, reader.create(table, columns).id)
        self._change(row, reader.columns(table, columns, creating=False))
        return Reference(logical_name, row.id)

    def _person(self, given: Any) -> Reference:
        if given is None:
            return Reference("systemuser", SELLER_ID)
        if isinstance(given, str):
            for row in self._organization.store.rows("systemuser"):
                if _comparable(row.get("internalemailaddress")) == _comparable(given):
                    return Reference("systemuser", row.id)
            raise errors.invalid_argument(f"The organisation has no user {given!r}.")
        if not isinstance(given, dict) or "internalemailaddress" not in given:
            raise errors.invalid_argument("A user is given by its columns, with internalemailaddress.")
        found = self._found(given, "systemuser", ("internalemailaddress",), None)
        assert found is not None, "columns were given"
        return found

    def _employ(self, contact: Reference | None, account: Reference | None) -> None:
        """A new contact belongs to the account that is given with it."""
        row = self._organization.referenced(contact)
        if row is not None and account is not None and row.get("parentcustomerid") is None:
            self._change(row, {"parentcustomerid": account})

    # Rows below the opportunity

    def _fill(self, row: Row, body: Mapping[str, Any], base_url: str) -> None:
        for word in _LISTS:
            if word in body and not isinstance(body[word], list):
                raise errors.invalid_argument(f"{word} is a list.")
        if "solutions" in body:
            self._fill_solutions(row, body["solutions"], base_url)
        if "team" in body:
            self._fill_team(row, body["team"])

    def _fill_solutions(self, row: Row, wanted: list[Any], base_url: str) -> None:
        left = self._solutions(row)
        table = TABLES[_SOLUTIONS.table]
        reader = self._reader(base_url)
        for item in wanted:
            if not isinstance(item, dict) or set(item) - _SOLUTION_MEMBERS:
                raise errors.invalid_argument(f"A solution has the members {', '.join(sorted(_SOLUTION_MEMBERS))}.")
            detail = self._detail(item)
            columns = {"msft_price": item.get("price"), "msft_quantity": item.get("quantity")}
            values = reader.columns(table, columns, creating=False)
            present = next((each for each in left if each.get("msft_solutionid") == detail), None)
            if present is not None:
                left.remove(present)
                self._change(present, values)
                continue
            values.update({_SOLUTIONS.column: Reference("opportunity", row.id), "msft_solutionid": detail})
            self._organization.create(table, values, self._organization.seller())
        for each in left:
            self._organization.delete(each, self._organization.seller())

    def _detail(self, item: Mapping[str, Any]) -> Reference | None:
        """The catalogue's row of a solution; without an id there is none."""
        if item.get("id") is None:
            return None
        columns = {"msft_solutionidentifier": item["id"]}
        if "name" in item:
            columns["msft_name"] = item["name"]
        if "type" in item:
            columns["msft_type"] = _code("msft_type", item["type"], TABLES["msft_microsoftsolutiondetail"])
        return self._found(columns, "msft_microsoftsolutiondetail", ("msft_solutionidentifier",), None)

    def _fill_team(self, row: Row, wanted: list[Any]) -> None:
        left = self._connections(row)
        for given in wanted:
            person = self._person(given)
            present = next((each for each in left if each.get("record2id") == person), None)
            if present is not None:
                left.remove(present)
                continue
            values = {
                "record1id": Reference("opportunity", row.id),
                "record2id": person,
                "record2roleid": Reference("connectionrole", SALES_TEAM_ROLE_ID),
            }
            self._organization.create(TABLES["connection"], values, self._organization.seller())
        for each in left:
            self._organization.delete(each, self._organization.seller())

    def _solutions(self, row: Row) -> list[Row]:
        return members(self._organization, row, _SOLUTIONS)

    def _connections(self, row: Row) -> list[Row]:
        role = Reference("connectionrole", SALES_TEAM_ROLE_ID)
        rows = members(self._organization, row, _CONNECTIONS)
        return [each for each in rows if each.get("record2roleid") == role]

    def _solution(self, row: Row) -> dict[str, Any]:
        detail = self._organization.referenced(row.get("msft_solutionid"))
        shown: dict[str, Any] = {"row": row.id, "id": None, "name": None, "type": None}
        if detail is not None:
            label = _label("msft_type", detail.get("msft_type"), detail.table)
            shown.update(id=detail.get("msft_solutionidentifier"), name=detail.name, type=label)
        return {**shown, "price": row.get("msft_price"), "quantity": row.get("msft_quantity")}

    # Helpers of all these

    def _change(self, row: Row, values: Mapping[str, Any]) -> None:
        differing = {name: value for name, value in values.items() if row.get(name) != value}
        if differing:
            self._organization.update(row, differing, self._organization.seller())

    def _reader(self, base_url: str) -> PayloadReader:
        return PayloadReader(self._organization, base_url, self._organization.seller())

    def _json(self, row: Row | None) -> dict[str, Any] | None:
        return entity(self._organization, row, Projection(), Preferences()) if row else None


def _code(name: str, label: Any, table: Table = OPPORTUNITY) -> int | None:
    """The number of a choice's label, whatever its case."""
    if label is None:
        return None
    options = table.columns[name].options
    for option in options:
        if _comparable(option.label) == _comparable(label):
            return option.value
    raise errors.invalid_argument(f"{name} has the labels {', '.join(option.label for option in options)}.")


def _label(name: str, value: int | None, table: Table = OPPORTUNITY) -> str | None:
    option = None if value is None else table.columns[name].option(value)
    return option.label if option else None


def _comparable(value: Any) -> Any:
    return value.strip().casefold() if isinstance(value, str) else value
