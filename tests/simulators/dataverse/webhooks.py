"""Which steps an event fires, and the request each makes to its service endpoint (Dataverse reference, 16)."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit, urlunsplit

import json_text
from dataverse import execution_context
from dataverse.columns import Reference
from dataverse.events import Event
from dataverse.organization import Organization
from dataverse.registration import HTTP_HEADER, WEBHOOK_KEY, attribute_list, auth_settings
from dataverse.store import Row

REPEATED_STATUSES = (502, 503, 504)


@dataclass(frozen=True)
class Call:
    """One request to a receiver. Its body is made once, so that a repeat is the same byte for byte."""

    step_id: str
    url: str
    headers: dict[str, str]
    body: bytes


def calls_for(organization: Organization, event: Event) -> list[Call]:
    """The requests of all steps the event fires, by rank."""
    steps = [step for step in organization.store.rows("sdkmessageprocessingstep") if _fires(organization, step, event)]
    return [_call(organization, step, event) for step in sorted(steps, key=lambda step: step.get("rank") or 0)]


def _fires(organization: Organization, step: Row, event: Event) -> bool:
    message = organization.referenced(step.get("sdkmessageid"))
    message_filter = organization.referenced(step.get("sdkmessagefilterid"))
    if message is None or message_filter is None or step.get("statecode") != 0:
        return False
    if message.get("name") != event.message:
        return False
    if message_filter.get("primaryobjecttypecode") != event.table.logical_name:
        return False
    caller = event.caller
    if organization.settings["bypass_headers_reach_webhooks"]:
        if caller.bypass_asynchronous or step.id in caller.bypassed_steps:
            return False
    wanted = attribute_list(step.get("filteringattributes"))
    return event.message != "Update" or not wanted or bool(set(wanted) & set(event.sent))


def _call(organization: Organization, step: Row, event: Event) -> Call:
    endpoint = organization.referenced(step.get("eventhandler"))
    assert endpoint is not None, "a step goes with its endpoint"
    reference = Reference("sdkmessageprocessingstep", step.id)
    images = [
        image
        for image in organization.store.rows("sdkmessageprocessingstepimage")
        if image.get("sdkmessageprocessingstepid") == reference
    ]
    operation_id = organization.identifiers.uuid()
    context = execution_context.build(organization, event, step, images, operation_id)
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "x-request-id": organization.identifiers.uuid(),
        "x-ms-correlation-request-id": event.correlation_id,
        "x-ms-dynamics-organization": organization.host,
        "x-ms-dynamics-entity-name": event.table.logical_name,
        "x-ms-dynamics-request-name": event.message,
    }
    body = json_text.dumps(context, escape_slash=True).encode()
    if len(body) > organization.settings["webhook_size_limit_bytes"]:
        body = json_text.dumps(execution_context.cut(context), escape_slash=True).encode()
        headers["x-ms-dynamics-msg-size-exceeded"] = organization.settings["webhook_size_exceeded_value"]
    url = endpoint.get("url")
    if endpoint.get("authtype") == WEBHOOK_KEY:
        url = _with_query(url, {"code": endpoint.get("authvalue")})
    elif endpoint.get("authtype") == HTTP_HEADER:
        headers.update(auth_settings(endpoint.get("authvalue")))
    else:
        url = _with_query(url, auth_settings(endpoint.get("authvalue")))
    return Call(step.id, url, headers, body)


def _with_query(url: str, parameters: dict[str, str]) -> str:
    parts = urlsplit(url)
    query = "&".join(part for part in (parts.query, urlencode(parameters)) if part)
    return urlunsplit(parts._replace(query=query))
