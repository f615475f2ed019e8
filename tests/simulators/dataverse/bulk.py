"""CreateMultiple, UpdateMultiple and UpsertMultiple: many rows, all or none, no etags (Dataverse reference, 10)."""

from __future__ import annotations

from typing import Any

from dataverse import errors
from dataverse.exchange import Answer, Exchange, json_answer
from dataverse.organization import Organization
from dataverse.payload import parse_object
from dataverse.resource_path import API_ROOT, RowKey, parse_key, relative, split_path, table_of
from dataverse.table import Table
from dataverse.writing import existing, find, payload_reader

NAMESPACE = "Microsoft.Dynamics.CRM."
ACTIONS = ("CreateMultiple", "UpdateMultiple", "UpsertMultiple")


def perform(organization: Organization, exchange: Exchange, table: Table, action: str) -> Answer:
    targets = _targets(exchange, table)
    reader = payload_reader(organization, exchange)
    ids: list[str] = []
    with organization.transaction():
        for target in targets:
            if action == "CreateMultiple":
                ids.append(reader.create(table, target).id)
                continue
            key = _key(exchange, table, target)
            rest = {name: value for name, value in target.items() if name not in ("@odata.id", table.primary_id)}
            row = existing(organization, table, key) if action == "UpdateMultiple" else find(organization, table, key)
            if row is not None:
                body = {name: value for name, value in rest.items() if name not in key.columns}
                organization.update(row, reader.columns(table, body, creating=False), exchange.caller)
            else:
                values = {} if key.id is None else {table.primary_id: key.id}
                values.update(zip(key.columns, key.values))
                reader.create(table, rest, values)
    if action != "CreateMultiple":
        return Answer(204)
    context = f"{exchange.base_url}{API_ROOT}$metadata#{NAMESPACE}CreateMultipleResponse"
    return json_answer({"@odata.context": context, "Ids": ids})


def _targets(exchange: Exchange, table: Table) -> list[dict[str, Any]]:
    body = parse_object(table.entity_set, exchange.body)
    targets = body.get("Targets")
    if set(body) != {"Targets"} or not isinstance(targets, list) or not targets:
        raise errors.payload(table.entity_set, "The action needs the parameter Targets, a list of rows.")
    for target in targets:
        if not isinstance(target, dict) or "@odata.type" not in target:
            raise errors.payload(table.entity_set, "Every target needs its @odata.type.")
    return targets


def _key(exchange: Exchange, table: Table, target: dict[str, Any]) -> RowKey:
    link = target.get("@odata.id")
    if table.primary_id in target:
        return parse_key(table, str(target[table.primary_id]))
    if not isinstance(link, str):
        raise errors.invalid_argument(f"A target lacks its key '{table.primary_id}'.")
    segments = split_path(relative(link, exchange.base_url))
    if len(segments) != 1 or segments[0].key is None or table_of(segments[0].name) is not table:
        raise errors.invalid_argument("The @odata.id of a target does not address a row of this table.")
    return parse_key(table, segments[0].key)
