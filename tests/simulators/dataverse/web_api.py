"""The Web API v9.2: from a request to the rows it is about. Refusals become answers here and nowhere else."""

from __future__ import annotations

import dataclasses
from urllib.parse import unquote_plus

import json_text
from dataverse import bulk, closing, errors, metadata, reading, writing
from dataverse.caller import Caller
from dataverse.columns import GUID_PATTERN, as_json
from dataverse.exchange import JSON_TYPE, Answer, Exchange, json_answer
from dataverse.organization import APPLICATION_USER_ID, BUSINESS_UNIT_ID, ORGANIZATION_ID, Organization
from dataverse.payload import parse_object
from dataverse.query import parse_options, parse_preferences
from dataverse.resource_path import API_ROOT, RowKey, Segment, parse_key, split_path, table_of
from dataverse.schema import COLLECTIONS, ENTITY_SETS, TABLES
from dataverse.table import Table

BYPASSED_STEPS_MAX = 3
_WITH_BODY = ("POST", "PATCH", "PUT")


class WebApi:
    def __init__(self, organization: Organization) -> None:
        self.organization = organization

    def handle(self, exchange: Exchange) -> Answer:
        """Performs one request in a transaction of its own (or inside the one of a change set)."""
        try:
            return self.perform(exchange)
        except errors.ServiceError as refusal:
            return error_answer(refusal, exchange)

    def perform(self, exchange: Exchange) -> Answer:
        """As handle, but refusals leave as ServiceError."""
        self._check_headers(exchange)
        exchange.caller = self.caller(exchange)
        with self.organization.transaction():
            return self._dispatch(exchange, split_path(exchange.path))

    def missing_upsert_key(self, exchange: Exchange) -> bool:
        """Whether the request is an upsert by an alternate key that no row has at this moment."""
        try:
            segments = split_path(exchange.path)
            if exchange.method != "PATCH" or len(segments) != 1 or segments[0].key is None:
                return False
            table = table_of(segments[0].name)
            key = parse_key(table, segments[0].key)
            return key.id is None and writing.find(self.organization, table, key) is None
        except errors.ServiceError:
            return False

    def caller(self, exchange: Exchange) -> Caller:
        """The application user, or the user it acts for, with what the headers say about custom logic."""
        initiating = APPLICATION_USER_ID
        bypass = [part.strip() for part in (exchange.header("mscrm.bypassbusinesslogicexecution") or "").split(",")]
        steps = exchange.header("mscrm.bypassbusinesslogicexecutionstepids")
        step_ids = frozenset(part.strip().lower() for part in steps.split(",")) if steps else frozenset()
        if len(step_ids) > BYPASSED_STEPS_MAX:
            raise errors.invalid_argument(f"No more than {BYPASSED_STEPS_MAX} steps can be bypassed.")
        suppress = (exchange.header("mscrm.suppressduplicatedetection") or "true").strip().lower() != "false"
        tag = next((part[4:] for part in exchange.query.split("&") if part.startswith("tag=")), None)
        return Caller(
            user_id=self._impersonated(exchange) or initiating,
            initiating_user_id=initiating,
            user_agent=exchange.header("user-agent") or "",
            tag=unquote_plus(tag) if tag is not None else None,
            bypassed_steps=step_ids,
            bypass_asynchronous="CustomAsync" in bypass,
            suppress_duplicate_detection=suppress,
        )

    def _impersonated(self, exchange: Exchange) -> str | None:
        for header, column in (
            ("mscrmcallerid", "systemuserid"),
            ("callerobjectid", "azureactivedirectoryobjectid"),
        ):
            value = exchange.header(header)
            if value is None:
                continue
            if not GUID_PATTERN.fullmatch(value.strip()):
                raise errors.invalid_argument(f"The header {header} does not hold a GUID.")
            for row in self.organization.store.rows("systemuser"):
                if row.get(column) == value.strip().lower():
                    return row.id
            raise errors.not_a_member()
        return None

    def _check_headers(self, exchange: Exchange) -> None:
        version = exchange.header("odata-version")
        if version is None and self.organization.settings["require_odata_version"]:
            raise errors.query_syntax("The header OData-Version is missing.")
        if version is not None and version.strip() not in ("4.0", "4.01"):
            raise errors.query_syntax(f"The OData-Version '{version}' is not supported.")
        if (exchange.header("odata-maxversion") or "4.0").strip() not in ("4.0", "4.01"):
            raise errors.query_syntax("The OData-MaxVersion is not supported.")
        if exchange.method in _WITH_BODY and exchange.body:
            kind = (exchange.header("content-type") or "").split(";")[0].strip().lower()
            if kind != "application/json":
                raise errors.query_syntax(f"The content type '{kind}' is not supported; it has to be application/json.")

    def _dispatch(self, exchange: Exchange, segments: list[Segment]) -> Answer:
        if not segments:
            return self._service_document(exchange)
        first = segments[0]
        if first.name == "EntityDefinitions":
            return metadata.get(self.organization, exchange, segments)
        if first.name == "WhoAmI" and first.key in (None, "") and len(segments) == 1:
            return self._who_am_i(exchange)
        if first.name in closing.ACTIONS and first.key is None and len(segments) == 1:
            return self._close(exchange, first.name)
        table, key = self._addressed(exchange, first)
        if key is None:
            return self._rows(exchange, table, segments[1:])
        if len(segments) == 1:
            return self._row(exchange, table, key)
        return self._part_of_row(exchange, table, key, segments[1:])

    def _addressed(self, exchange: Exchange, segment: Segment) -> tuple[Table, RowKey | None]:
        if segment.name.startswith("$"):
            row = exchange.content_ids.get(segment.name[1:])
            if row is None:
                text = f"Content-ID reference '{segment.name}' does not exist in the batch context."
                raise errors.ServiceError(400, "0x80048d19", text)
            return row.table, RowKey(row.id, id=row.id)
        table = table_of(segment.name)
        return table, None if segment.key is None else parse_key(table, segment.key)

    def _rows(self, exchange: Exchange, table: Table, rest: list[Segment]) -> Answer:
        if not rest:
            if exchange.method == "GET":
                return reading.get_rows(self.organization, exchange, table)
            if exchange.method == "POST":
                return writing.create_row(self.organization, exchange, table)
            raise errors.method_not_allowed(exchange.method)
        name = rest[0].name
        if name == "$count" and len(rest) == 1:
            self._require_method(exchange, "GET")
            return reading.count_rows(self.organization, exchange, table)
        action = name[len(bulk.NAMESPACE) :] if name.startswith(bulk.NAMESPACE) else ""
        if action in bulk.ACTIONS and len(rest) == 1:
            self._require_method(exchange, "POST")
            return bulk.perform(self.organization, exchange, table, action)
        raise errors.segment_not_found(name)

    def _row(self, exchange: Exchange, table: Table, key: RowKey) -> Answer:
        if exchange.method == "GET":
            return reading.get_row(self.organization, exchange, writing.existing(self.organization, table, key))
        if exchange.method == "PATCH":
            return writing.upsert_row(self.organization, exchange, table, key)
        if exchange.method == "DELETE":
            return writing.delete_row(self.organization, exchange, table, key)
        raise errors.method_not_allowed(exchange.method)

    def _part_of_row(self, exchange: Exchange, table: Table, key: RowKey, rest: list[Segment]) -> Answer:
        """One property of a row, a related row, or the reference to it."""
        row = writing.existing(self.organization, table, key)
        name = rest[0].name
        if name in table.navigation and [segment.name for segment in rest[1:]] == ["$ref"]:
            if exchange.method not in ("PUT", "DELETE"):
                raise errors.method_not_allowed(exchange.method)
            return writing.set_reference(self.organization, exchange, row, name)
        collection = COLLECTIONS[table.logical_name].get(name)
        if collection is not None and len(rest) == 1 and rest[0].key is None:
            self._require_method(exchange, "GET")
            return reading.get_collection(self.organization, exchange, row, collection)
        if len(rest) != 1 or (name not in table.properties and name not in table.navigation):
            raise errors.segment_not_found(rest[-1].name)
        if name in table.navigation:
            self._require_method(exchange, "GET")
            column, target = table.navigation[name]
            reference = row.get(column.name)
            if reference is None or reference.table != target:
                return Answer(204)
            return reading.get_row(self.organization, exchange, self.organization.row(TABLES[target], reference.id))
        if exchange.method in ("PUT", "DELETE"):
            return writing.set_property(self.organization, exchange, row, name)
        self._require_method(exchange, "GET")
        column = table.properties[name]
        value = as_json(column, row.get(column.name), self.organization.settings["money_decimals"])
        if value is None:
            return Answer(204)
        where = f"{exchange.base_url}{API_ROOT}$metadata#{table.entity_set}({row.id})/{name}"
        return json_answer({"@odata.context": where, "value": value})

    def _close(self, exchange: Exchange, action: str) -> Answer:
        self._require_method(exchange, "POST")
        parse_options(exchange.query)
        reader = writing.payload_reader(self.organization, exchange)
        closing.close_by_action(self.organization, action, parse_object(action, exchange.body), reader)
        return Answer(204)

    def _who_am_i(self, exchange: Exchange) -> Answer:
        self._require_method(exchange, "GET")
        return json_answer(
            {
                "@odata.context": f"{exchange.base_url}{API_ROOT}$metadata#Microsoft.Dynamics.CRM.WhoAmIResponse",
                "BusinessUnitId": BUSINESS_UNIT_ID,
                "UserId": exchange.caller.user_id,
                "OrganizationId": ORGANIZATION_ID,
            }
        )

    def _service_document(self, exchange: Exchange) -> Answer:
        self._require_method(exchange, "GET")
        sets = [{"name": name, "kind": "EntitySet", "url": name} for name in ENTITY_SETS]
        return json_answer({"@odata.context": f"{exchange.base_url}{API_ROOT}$metadata", "value": sets})

    @staticmethod
    def _require_method(exchange: Exchange, method: str) -> None:
        if exchange.method != method:
            raise errors.method_not_allowed(exchange.method)


def error_answer(refusal: errors.ServiceError, exchange: Exchange) -> Answer:
    """The body of a refusal. A request that wants annotations gets the error's own as well."""
    body = refusal.body()
    try:
        wanted = parse_preferences(exchange.header("prefer") or "").annotates("Microsoft.PowerApps.CDS.HelpLink")
    except errors.ServiceError:
        wanted = False
    if wanted:
        body["error"]["@Microsoft.PowerApps.CDS.HelpLink"] = "https://help.invalid/error"
        body["error"]["@Microsoft.PowerApps.CDS.TraceText"] = ""
    return Answer(refusal.status, {"Content-Type": JSON_TYPE, **refusal.headers}, json_text.dumps(body).encode())


def part_of(exchange: Exchange, **changes: object) -> Exchange:
    """A request inside a batch: as the outer one, but with its own method, address, headers and body."""
    return dataclasses.replace(exchange, **changes)  # type: ignore[arg-type]
