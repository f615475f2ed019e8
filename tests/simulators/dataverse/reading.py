"""GET: one row, a filtered and paged list, and the changes since a delta link (Dataverse reference, 3, 4, 15)."""

from __future__ import annotations

import re
import time
from datetime import datetime, timezone
from typing import Any

from dataverse import errors
from dataverse.exchange import Answer, Exchange, json_answer
from dataverse.organization import Organization
from dataverse.paging import Cookie, link, read_cookie
from dataverse.query import (
    PAGE_MAX,
    Preferences,
    Projection,
    parse_filter,
    parse_options,
    parse_order,
    parse_preferences,
    parse_projection,
    parse_top,
)
from dataverse.rendering import context, entity, matching, members
from dataverse.resource_path import API_ROOT
from dataverse.schema import COLLECTIONS, TABLES
from dataverse.store import Row
from dataverse.table import Collection, Table


def get_row(organization: Organization, exchange: Exchange, row: Row) -> Answer:
    """One row; 304 for an If-None-Match with its etag, unless rows are expanded or annotations asked for."""
    organization.require(exchange.caller, "Read", row.table)
    options = parse_options(exchange.query)
    _allow(options, "$select", "$expand", "tag")
    preferences = parse_preferences(exchange.header("prefer") or "")
    projection = parse_projection(row.table, options.get("$select"), options.get("$expand"))
    _require_expanded(organization, exchange, row.table, projection)
    unchanged = (exchange.header("if-none-match") or "").strip() == row.etag
    if unchanged and not projection.expand and not preferences.annotations:
        return Answer(304, {"ETag": row.etag})
    body = {"@odata.context": context(exchange.base_url, row.table, projection, "/$entity")}
    body.update(entity(organization, row, projection, preferences, exchange.base_url, is_addressed=True))
    return json_answer(body, headers={"ETag": row.etag, **applied(preferences)})


def get_rows(organization: Organization, exchange: Exchange, table: Table) -> Answer:
    """A list of rows, or the changes of a table when the request tracks changes or follows a delta link."""
    organization.require(exchange.caller, "Read", table)
    options = parse_options(exchange.query)
    preferences = parse_preferences(exchange.header("prefer") or "")
    cookie = read_cookie(options)
    if preferences.track_changes or "$deltatoken" in options or (cookie and cookie.start):
        return _get_changes(organization, exchange, table, options, preferences, cookie)
    return _get_page(organization, exchange, table, organization.store.rows(table.logical_name), options, preferences)


def get_collection(organization: Organization, exchange: Exchange, row: Row, collection: Collection) -> Answer:
    """The rows of a collection-valued navigation property, as a list of its own."""
    table = TABLES[collection.table]
    organization.require(exchange.caller, "Read", table)
    options = parse_options(exchange.query)
    preferences = parse_preferences(exchange.header("prefer") or "")
    if preferences.track_changes or "$deltatoken" in options:
        raise errors.query_syntax("Changes are tracked for whole tables only.")
    return _get_page(organization, exchange, table, members(organization, row, collection), options, preferences)


def _get_page(
    organization: Organization,
    exchange: Exchange,
    table: Table,
    rows: list[Row],
    options: dict[str, str],
    preferences: Preferences,
) -> Answer:
    cookie = read_cookie(options)
    projection = parse_projection(table, options.get("$select"), options.get("$expand"))
    _require_expanded(organization, exchange, table, projection)
    rows = select_rows(organization, table, rows, options)
    body: dict[str, Any] = {"@odata.context": context(exchange.base_url, table, projection)}
    if options.get("$count") == "true":
        body["@odata.count"] = min(len(rows), PAGE_MAX)
    if "$top" in options:
        rows = rows[: parse_top(options["$top"])]
    offset = _resume(rows, cookie)
    size = preferences.page_size or PAGE_MAX
    page = rows[offset : offset + size]
    body["value"] = [entity(organization, row, projection, preferences, exchange.base_url) for row in page]
    if offset + size < len(rows):
        token = Cookie((cookie.page if cookie else 1) + 1, page[-1].id, offset + size)
        body["@odata.nextLink"] = link(exchange.base_url, exchange.path, options, "$skiptoken", str(token))
    return json_answer(body, headers=applied(preferences))


def count_rows(organization: Organization, exchange: Exchange, table: Table) -> Answer:
    organization.require(exchange.caller, "Read", table)
    rows = organization.store.rows(table.logical_name)
    return Answer(200, {"Content-Type": "text/plain"}, str(min(len(rows), PAGE_MAX)).encode())


def select_rows(organization: Organization, table: Table, rows: list[Row], options: dict[str, str]) -> list[Row]:
    """The rows $filter keeps, in the order of $orderby or of their creation."""
    condition = parse_filter(table, options["$filter"]) if "$filter" in options else None
    order = parse_order(table, options["$orderby"]) if "$orderby" in options else []
    return matching(organization, rows, condition, order)


def _require_expanded(organization: Organization, exchange: Exchange, table: Table, projection: Projection) -> None:
    """Expanded tables need the privilege to read them, too."""
    for name, inner in projection.expand.items():
        collection = COLLECTIONS[table.logical_name].get(name)
        target = TABLES[collection.table if collection else table.navigation[name][1]]
        organization.require(exchange.caller, "Read", target)
        _require_expanded(organization, exchange, target, inner)


def applied(preferences: Preferences) -> dict[str, str]:
    parts = []
    if preferences.representation:
        parts.append("return=representation")
    if preferences.page_size:
        parts.append(f"odata.maxpagesize={preferences.page_size}")
    if preferences.track_changes:
        parts.append("odata.track-changes")
    if preferences.annotations:
        parts.append(f'odata.include-annotations="{",".join(preferences.annotations)}"')
    return {"Preference-Applied": ",".join(parts)} if parts else {}


def _get_changes(
    organization: Organization,
    exchange: Exchange,
    table: Table,
    options: dict[str, str],
    preferences: Preferences,
    cookie: Cookie | None,
) -> Answer:
    """Rows changed after the token's version, then deletions, ordered by version so that pages lose nothing.

    The final delta link holds the version at which the first page was read: what changed meanwhile comes again.
    """
    if not table.change_tracking or table.logical_name in organization.settings["untracked_tables"]:
        raise errors.invalid_argument(f"Change tracking is not enabled for the table '{table.logical_name}'.")
    _allow(options, "$select", "$skiptoken", "$deltatoken", "tag")
    projection = parse_projection(table, options.get("$select"), None)
    since: int | None = None
    if cookie is not None:
        since, start = int(cookie.since) if cookie.since else None, cookie.start
    else:
        start = _token(organization.store.version)
        if "$deltatoken" in options:
            since = _version_of(organization, options["$deltatoken"])
    changes: list[tuple[int, str, Row | None]] = [
        (row.version, row.id, row) for row in organization.store.rows(table.logical_name) if row.version > (since or 0)
    ]
    if since is not None:
        deleted = organization.store.deletions(table.logical_name).items()
        changes += [(version, row_id, None) for row_id, version in deleted if version > since]
    changes.sort(key=lambda change: change[0])
    after = cookie.offset if cookie else 0  # of change tracking: the last version given
    changes = [change for change in changes if change[0] > after]
    size = preferences.page_size or PAGE_MAX
    page = changes[:size]
    suffix = "/$delta" if since is not None else ""
    body: dict[str, Any] = {"@odata.context": context(exchange.base_url, table, projection, suffix)}
    if len(changes) > size:
        began = "" if since is None else str(since)
        token = Cookie((cookie.page if cookie else 1) + 1, page[-1][1], page[-1][0], began, start)
        body["@odata.nextLink"] = link(exchange.base_url, exchange.path, options, "$skiptoken", str(token))
    else:
        body["@odata.deltaLink"] = link(exchange.base_url, exchange.path, options, "$deltatoken", start)
    body["value"] = [_change(organization, exchange, table, change, projection, preferences) for change in page]
    return json_answer(body, headers=applied(preferences))


def _change(
    organization: Organization,
    exchange: Exchange,
    table: Table,
    change: tuple[int, str, Row | None],
    projection: Projection,
    preferences: Preferences,
) -> dict[str, Any]:
    _, row_id, row = change
    if row is not None:
        return entity(organization, row, projection, preferences)
    where = f"{exchange.base_url}{API_ROOT}$metadata#{table.entity_set}/$deletedEntity"
    return {"@odata.context": where, "id": row_id, "reason": "deleted"}


def _token(version: int) -> str:
    """A delta token: version and time of the read. The time to the millisecond, for expiry, is the sandbox's own."""
    moment = datetime.now(timezone.utc)
    return f"{version}!{moment:%m/%d/%Y %H:%M:%S}.{moment.microsecond // 1000:03d}"


def _version_of(organization: Organization, token: str) -> int:
    match = re.fullmatch(r"(\d+)!(\d\d/\d\d/\d{4} \d\d:\d\d:\d\d\.\d{3})", token)
    if not match:
        raise errors.query_syntax("The delta token is not valid.")
    moment = datetime.strptime(match.group(2), "%m/%d/%Y %H:%M:%S.%f").replace(tzinfo=timezone.utc)
    settings = organization.settings
    is_old = time.time() - moment.timestamp() > settings["delta_token_lifetime_seconds"]
    if is_old or int(match.group(1)) < organization.expired_version:
        text = "The delta token has expired. Read all rows again."
        raise errors.ServiceError(settings["expired_delta_status"], settings["expired_delta_code"], text)
    return int(match.group(1))


def _resume(rows: list[Row], cookie: Cookie | None) -> int:
    if cookie is None:
        return 0
    return next((index + 1 for index, row in enumerate(rows) if row.id == cookie.last), cookie.offset)


def _allow(options: dict[str, str], *names: str) -> None:
    for name in options:
        if name not in names:
            raise errors.query_syntax(f"The query option {name} cannot be used here.")
