"""Rules for webhook registrations: service endpoints, processing steps and their images (Dataverse reference, 16)."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dataverse import errors
from dataverse.columns import Reference
from dataverse.schema import TABLES
from dataverse.table import Table

if TYPE_CHECKING:
    from dataverse.organization import Organization

WEBHOOK_CONTRACT = 8
WEBHOOK_KEY, HTTP_HEADER, HTTP_QUERY_STRING = 4, 5, 6
ASYNCHRONOUS = 1
POST_OPERATION = 40
PRE_IMAGE, POST_IMAGE, BOTH_IMAGES = 0, 1, 2


def check_registration(organization: Organization, table: Table, values: Mapping[str, Any]) -> None:
    """Refuses a row of these tables that the platform would not accept. Rows of other tables pass."""
    for column in table.column_list:
        if column.required and values.get(column.name) is None:
            raise errors.invalid_argument(f"The required column '{column.name}' is missing.")
    check = _CHECKS.get(table.logical_name)
    if check is not None:
        check(organization, values)


def auth_settings(auth_value: str | None) -> dict[str, str]:
    """Names and values of `<settings><setting name= value=/></settings>`. Raises ValueError for anything else."""
    try:
        root = ElementTree.fromstring(auth_value or "")
    except ElementTree.ParseError:
        raise ValueError("authvalue is not XML") from None
    if root.tag != "settings" or len(root) == 0:
        raise ValueError("authvalue has no settings")
    result: dict[str, str] = {}
    for setting in root:
        name, value = setting.get("name"), setting.get("value")
        if setting.tag != "setting" or not name or value is None:
            raise ValueError("a setting of authvalue lacks its name or value")
        result[name] = value
    return result


def attribute_list(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _check_endpoint(organization: Organization, values: Mapping[str, Any]) -> None:
    if values.get("contract") != WEBHOOK_CONTRACT:
        raise errors.not_implemented("This organisation has endpoints of contract 8 (webhook) only.")
    if values.get("authtype") not in (WEBHOOK_KEY, HTTP_HEADER, HTTP_QUERY_STRING):
        raise errors.invalid_argument("A webhook has the authtype WebhookKey, HttpHeader or HttpQueryString.")
    parts = urlsplit(values.get("url") or "")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise errors.invalid_argument("The url of a webhook has to be an absolute http or https URL.")
    if organization.settings["webhook_standard_ports_only"]:
        if parts.port not in (None, 443 if parts.scheme == "https" else 80):
            raise errors.invalid_argument("The url of a webhook has to use port 443 (https) or 80 (http).")
    if values["authtype"] != WEBHOOK_KEY:
        try:
            auth_settings(values.get("authvalue"))
        except ValueError as fault:
            raise errors.invalid_argument(str(fault)) from None
    elif not values.get("authvalue"):
        raise errors.invalid_argument("A webhook with authtype WebhookKey needs an authvalue.")


def _check_step(organization: Organization, values: Mapping[str, Any]) -> None:
    message_row = organization.referenced(values.get("sdkmessageid"))
    message_filter = organization.referenced(values.get("sdkmessagefilterid"))
    if message_row is None or message_filter is None or organization.referenced(values.get("eventhandler")) is None:
        raise errors.invalid_argument("A webhook step needs its message, its message filter and its service endpoint.")
    if message_filter.get("sdkmessageid") != Reference("sdkmessage", message_row.id):
        raise errors.invalid_argument("The message filter does not belong to the message.")
    if values["mode"] != ASYNCHRONOUS:
        raise errors.not_implemented("This organisation runs asynchronous steps only.")
    if values["stage"] != POST_OPERATION:
        raise errors.invalid_argument("An asynchronous step has to be registered in stage 40.")
    names = attribute_list(values.get("filteringattributes"))
    if names and message_row.get("name") != "Update":
        raise errors.invalid_argument("Filtering attributes apply to the message Update only.")
    _check_attributes(TABLES[message_filter.get("primaryobjecttypecode")], names)


def _check_image(organization: Organization, values: Mapping[str, Any]) -> None:
    step = organization.referenced(values.get("sdkmessageprocessingstepid"))
    if step is None:
        raise errors.invalid_argument("An image needs its step.")
    message_row = organization.referenced(step.get("sdkmessageid"))
    message_filter = organization.referenced(step.get("sdkmessagefilterid"))
    if message_row is None or message_filter is None:
        raise errors.invalid_argument("The step of the image is incomplete.")
    message = message_row.get("name")
    if message == "Create" and values["imagetype"] != POST_IMAGE:
        raise errors.invalid_argument("The message Create has no pre-image.")
    if message == "Delete" and values["imagetype"] != PRE_IMAGE:
        raise errors.invalid_argument("The message Delete has no post-image.")
    wanted = {"Create": "Id", "Update": "Target", "Delete": "Target"}.get(message)
    if organization.settings["webhook_image_property_check"] and wanted != values["messagepropertyname"]:
        raise errors.invalid_argument(
            f"The messagepropertyname '{values['messagepropertyname']}' does not fit {message}."
        )
    _check_attributes(TABLES[message_filter.get("primaryobjecttypecode")], attribute_list(values.get("attributes")))


def _check_attributes(table: Table, names: list[str]) -> None:
    for name in names:
        if name not in table.columns:
            raise errors.invalid_argument(f"The table '{table.logical_name}' has no column '{name}'.")


_CHECKS: dict[str, Callable[[Any, Mapping[str, Any]], None]] = {
    "serviceendpoint": _check_endpoint,
    "sdkmessageprocessingstep": _check_step,
    "sdkmessageprocessingstepimage": _check_image,
}
