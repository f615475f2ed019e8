"""What a person does in the user interface, for the admin routes: rows, closing, reopening, webhook registrations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import quoteattr

from dataverse import closing, errors
from dataverse.columns import Reference
from dataverse.organization import Organization, named_id
from dataverse.payload import PayloadReader
from dataverse.query import Preferences, Projection
from dataverse.registration import HTTP_HEADER, HTTP_QUERY_STRING, WEBHOOK_KEY
from dataverse.rendering import entity
from dataverse.resource_path import parse_key, table_of
from dataverse.schema import BUSINESS_TABLES, MESSAGES, OPPORTUNITY, TABLES
from dataverse.store import Row
from dataverse.table import Table
from dataverse.writing import existing

_WEBHOOK_MEMBERS = {
    "url",
    "name",
    "authtype",
    "authvalue",
    "settings",
    "table",
    "messages",
    "filteringattributes",
    "pre_image",
    "post_image",
}


class Seller:
    """Edits the organisation as its seller. Bodies are those of the Web API, bare column names and binds alike."""

    def __init__(self, organization: Organization) -> None:
        self._organization = organization
        self._nobody = Preferences()

    def list(self, entity_set: str) -> dict[str, Any]:
        rows = self._organization.store.rows(table_of(entity_set).logical_name)
        return {"value": [self._json(row) for row in rows]}

    def get(self, entity_set: str, key: str) -> dict[str, Any]:
        return self._json(self._row(table_of(entity_set), key))

    def create(self, entity_set: str, body: dict[str, Any], base_url: str) -> dict[str, Any]:
        table = table_of(entity_set)
        with self._organization.transaction():
            return self._json(self._reader(base_url).create(table, body))

    def update(self, entity_set: str, key: str, body: dict[str, Any], base_url: str) -> dict[str, Any]:
        row = self._row(table_of(entity_set), key)
        with self._organization.transaction():
            values = self._reader(base_url).columns(row.table, body, creating=False)
            return self._json(self._organization.update(row, values, self._organization.seller()))

    def delete(self, entity_set: str, key: str) -> None:
        self._organization.delete(self._row(table_of(entity_set), key), self._organization.seller())

    def close(self, key: str, body: Mapping[str, Any], base_url: str) -> dict[str, Any]:
        """Closes an opportunity: {"as": "won" | "lost", "status": n} and columns of the close activity."""
        messages = {"won": ("Win", 3), "lost": ("Lose", 4)}
        if body.get("as") not in messages:
            raise errors.invalid_argument("as has to be won or lost.")
        message, status = messages[body["as"]]
        activity = {name: value for name, value in body.items() if name not in ("as", "status")}
        row = self._row(OPPORTUNITY, key)
        with self._organization.transaction():
            values = self._reader(base_url).columns(TABLES["opportunityclose"], activity, creating=True)
            values.setdefault("subject", f"Opportunity {body['as']}")
            values["opportunityid"] = Reference("opportunity", row.id)
            status = body.get("status", status)
            seller = self._organization.seller()
            return self._json(closing.close(self._organization, row, message, status, values, seller))

    def reopen(self, key: str) -> dict[str, Any]:
        row = self._row(OPPORTUNITY, key)
        state = {"statecode": 0, "statuscode": 1}
        return self._json(self._organization.update(row, state, self._organization.seller()))

    def register(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A service endpoint with one asynchronous step per message, and images where the message has them.

        settings ({name: value}) are the headers or query parameters of authtype 5 or 6; authvalue is given as it is.
        """
        if set(body) - _WEBHOOK_MEMBERS or not body.get("url"):
            raise errors.invalid_argument(f"A webhook has the members {', '.join(sorted(_WEBHOOK_MEMBERS))}.")
        table = body.get("table", "opportunity")
        messages = body.get("messages", ["Create", "Update", "Delete"])
        if table not in BUSINESS_TABLES or not set(messages) <= set(MESSAGES):
            raise errors.invalid_argument("Unknown table or message.")
        organization, caller = self._organization, self._organization.seller()
        with organization.transaction():
            endpoint = organization.create(TABLES["serviceendpoint"], _endpoint_values(body), caller)
            steps = {}
            for message in messages:
                values = {
                    "name": f"{endpoint.name}: {message} of {table}",
                    "mode": 1,
                    "stage": 40,
                    "rank": 1,
                    "supporteddeployment": 0,
                    "asyncautodelete": True,
                    "filteringattributes": body.get("filteringattributes") if message == "Update" else None,
                    "eventhandler": Reference("serviceendpoint", endpoint.id),
                    "sdkmessageid": Reference("sdkmessage", named_id(f"message {message}")),
                    "sdkmessagefilterid": Reference("sdkmessagefilter", named_id(f"filter {message} {table}")),
                }
                step = organization.create(TABLES["sdkmessageprocessingstep"], values, caller)
                steps[message] = step.id
                self._add_images(step, message, body)
        return {"serviceendpointid": endpoint.id, "steps": steps}

    def _add_images(self, step: Row, message: str, body: Mapping[str, Any]) -> None:
        images = (
            ("pre_image", "before", 0, ("Update", "Delete")),
            ("post_image", "after", 1, ("Create", "Update")),
        )
        for member, alias, kind, messages in images:
            if body.get(member) is None or message not in messages:
                continue
            values = {
                "name": alias,
                "imagetype": kind,
                "entityalias": alias,
                "attributes": body[member],
                "messagepropertyname": "Id" if message == "Create" else "Target",
                "sdkmessageprocessingstepid": Reference("sdkmessageprocessingstep", step.id),
            }
            caller = self._organization.seller()
            self._organization.create(TABLES["sdkmessageprocessingstepimage"], values, caller)

    def _reader(self, base_url: str) -> PayloadReader:
        return PayloadReader(self._organization, base_url, self._organization.seller())

    def _row(self, table: Table, key: str) -> Row:
        return existing(self._organization, table, parse_key(table, key))

    def _json(self, row: Row) -> dict[str, Any]:
        return entity(self._organization, row, Projection(), self._nobody)


def _endpoint_values(body: Mapping[str, Any]) -> dict[str, Any]:
    auth_type = body.get("authtype", HTTP_HEADER)
    auth_value = body.get("authvalue")
    if auth_value is None and auth_type in (HTTP_HEADER, HTTP_QUERY_STRING):
        pairs = body.get("settings") or {"x-webhook-key": "sandbox"}
        items = "".join(f"<setting name={quoteattr(n)} value={quoteattr(v)} />" for n, v in pairs.items())
        auth_value = f"<settings>{items}</settings>"
    if auth_value is None and auth_type == WEBHOOK_KEY:
        auth_value = "sandbox"
    return {
        "name": body.get("name", "webhook"),
        "contract": 8,
        "authtype": auth_type,
        "authvalue": auth_value,
        "url": body["url"],
    }
