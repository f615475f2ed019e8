"""POST, PATCH, PUT and DELETE of rows with their conditions and representations (Dataverse reference, 3, 4, 5)."""

from __future__ import annotations

import re
from typing import Any

from dataverse import errors
from dataverse.exchange import Answer, Exchange, json_answer
from dataverse.organization import Organization
from dataverse.payload import PayloadReader, parse_object
from dataverse.query import Preferences, Projection, parse_options, parse_preferences, parse_projection
from dataverse.reading import applied
from dataverse.rendering import context, entity, row_url
from dataverse.resource_path import RowKey
from dataverse.store import Row
from dataverse.table import Table

_ETAG = re.compile(r'(?:W/)?"(\d+)"')


def create_row(organization: Organization, exchange: Exchange, table: Table) -> Answer:
    """204 with OData-EntityId, or 201 with the row when its representation is preferred."""
    _check_writable(table)
    preferences, projection = _wanted(exchange, table)
    body = parse_object(table.entity_set, exchange.body)
    reader = payload_reader(organization, exchange)
    row = reader.create(table, body)
    return _written(organization, exchange, row, row.id, preferences, projection, created=True)


def upsert_row(organization: Organization, exchange: Exchange, table: Table, key: RowKey) -> Answer:
    """PATCH: updates the row at the key, or inserts it unless If-Match forbids that."""
    _check_writable(table)
    preferences, projection = _wanted(exchange, table)
    body = parse_object(table.entity_set, exchange.body)
    row = None if exchange.key_seen_missing else find(organization, table, key)
    if_match, if_none_match = exchange.header("if-match"), exchange.header("if-none-match")
    if if_match is not None and if_none_match is not None:
        raise errors.query_syntax("If-Match and If-None-Match cannot be combined.")
    create_only = _creates_only(organization, key, if_none_match)
    if row is None:
        if if_match is not None:
            raise missing(table, key)
        values = {} if key.id is None else {table.primary_id: key.id}
        values.update(zip(key.columns, key.values))
        reader = payload_reader(organization, exchange)
        row = reader.create(table, {n: v for n, v in body.items() if n != table.primary_id}, values)
        return _written(organization, exchange, row, key.text, preferences, projection, created=True)
    if create_only:
        raise errors.exists_already(organization.settings["create_only_code"])
    check_match(organization, exchange, row)
    body = {name: value for name, value in body.items() if name not in key.columns}
    row = update_columns(organization, exchange, row, body)
    return _written(organization, exchange, row, key.text, preferences, projection, created=False)


def update_columns(organization: Organization, exchange: Exchange, row: Row, body: dict[str, Any]) -> Row:
    values = payload_reader(organization, exchange).columns(row.table, body, creating=False)
    return organization.update(row, values, exchange.caller)


def delete_row(organization: Organization, exchange: Exchange, table: Table, key: RowKey) -> Answer:
    _check_writable(table)
    parse_options(exchange.query)
    row = existing(organization, table, key)
    check_match(organization, exchange, row)
    organization.delete(row, exchange.caller)
    return Answer(204)


def set_property(organization: Organization, exchange: Exchange, row: Row, name: str) -> Answer:
    """PUT of one column with {"value": ...}, or DELETE, which clears it."""
    _check_writable(row.table)
    check_match(organization, exchange, row)
    value = None
    if exchange.method == "PUT":
        body = parse_object(row.table.entity_set, exchange.body)
        if "value" not in body or any(member != "value" and not member.startswith("@") for member in body):
            raise errors.payload(row.table.entity_set, "The body has to hold the member value.")
        value = body["value"]
    return Answer(204, row=update_columns(organization, exchange, row, {name: value}))


def set_reference(organization: Organization, exchange: Exchange, row: Row, name: str) -> Answer:
    """PUT or DELETE of `navigation/$ref`."""
    _check_writable(row.table)
    check_match(organization, exchange, row)
    column, target = row.table.navigation[name]
    if exchange.method == "DELETE":
        pointing = row.get(column.name)
        if pointing is None or pointing.table != target:
            raise errors.query_syntax(f"The lookup '{name}' is empty.")
        return Answer(204, row=organization.update(row, {column.name: None}, exchange.caller))
    body = parse_object(row.table.entity_set, exchange.body)
    changed = update_columns(organization, exchange, row, {f"{name}@odata.bind": body.get("@odata.id")})
    return Answer(204, row=changed)


def payload_reader(organization: Organization, exchange: Exchange) -> PayloadReader:
    return PayloadReader(organization, exchange.base_url, exchange.caller, exchange.content_ids)


def find(organization: Organization, table: Table, key: RowKey) -> Row | None:
    if key.id is not None:
        return organization.store.get(table, key.id)
    if organization.settings["alternate_key_status"] != "Active":
        raise errors.key_not_defined(table.logical_name)
    return organization.store.by_key(table, key.columns, key.values)


def existing(organization: Organization, table: Table, key: RowKey) -> Row:
    row = find(organization, table, key)
    if row is None:
        raise missing(table, key)
    return row


def missing(table: Table, key: RowKey) -> errors.ServiceError:
    return (
        errors.key_not_found(table.logical_name) if key.id is None else errors.row_not_found(table.logical_name, key.id)
    )


def check_match(organization: Organization, exchange: Exchange, row: Row) -> None:
    """If-Match with an etag: another version is 412."""
    condition = exchange.header("if-match")
    if condition is None or condition.strip() == "*":
        return
    match = _ETAG.fullmatch(condition.strip())
    if not match:
        raise errors.query_syntax(f"The etag '{condition}' is not valid.")
    if int(match.group(1)) != row.version:
        mismatch = errors.version_mismatch()
        mismatch.code = organization.settings["concurrency_code"]
        raise mismatch


def _creates_only(organization: Organization, key: RowKey, if_none_match: str | None) -> bool:
    if if_none_match is None or if_none_match.strip() == "null":
        return False
    if if_none_match.strip() != "*":
        raise errors.query_syntax("If-None-Match of a PATCH has to be *.")
    if key.id is None:
        behaviour = organization.settings["if_none_match_with_alternate_key"]
        if behaviour == "refused":
            raise errors.query_syntax("If-None-Match cannot be used with an alternate key.")
        return behaviour == "works"
    return True


def _wanted(exchange: Exchange, table: Table) -> tuple[Preferences, Projection]:
    """What the answer to a write shall hold. $expand is checked and ignored, as the service does on writes."""
    options = parse_options(exchange.query)
    for name in options:
        if name not in ("$select", "$expand", "tag"):
            raise errors.query_syntax(f"The query option {name} cannot be used here.")
    projection = parse_projection(table, options.get("$select"), options.get("$expand"))
    return parse_preferences(exchange.header("prefer") or ""), Projection(projection.select)


def _written(
    organization: Organization,
    exchange: Exchange,
    row: Row,
    key: str,
    preferences: Preferences,
    projection: Projection,
    *,
    created: bool,
) -> Answer:
    if not preferences.representation:
        return Answer(204, {"OData-EntityId": row_url(exchange.base_url, row.table, key)}, row=row)
    body = {"@odata.context": context(exchange.base_url, row.table, projection, "/$entity")}
    body.update(entity(organization, row, projection, preferences))
    answer = json_answer(body, 201 if created else 200, {"ETag": row.etag, **applied(preferences)})
    answer.row = row
    return answer


def _check_writable(table: Table) -> None:
    if not table.writable:
        raise errors.not_implemented(f"Rows of '{table.logical_name}' are fixed in this organisation.")
