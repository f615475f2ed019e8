"""RemoteExecutionContext: the body of a webhook, as the DataContract serialiser writes it (Dataverse reference, 17).

Members stand in alphabetical order, `__type` first, slashes are escaped, instants are `\\/Date(milliseconds)\\/`.
"""

from __future__ import annotations

from datetime import date, datetime, timezone
from typing import Any

from dataverse.columns import CHOICE_KINDS, Column, Kind, Reference, shortest
from dataverse.events import Event
from dataverse.organization import BUSINESS_UNIT_ID, ORGANIZATION_ID, ORGANIZATION_NAME, Organization
from dataverse.registration import BOTH_IMAGES, POST_IMAGE, PRE_IMAGE, attribute_list
from dataverse.rendering import format_value
from dataverse.store import Row

CONTRACTS = "http://schemas.microsoft.com/xrm/2011/Contracts"
NO_ID = "00000000-0000-0000-0000-000000000000"
_CUT = ("InputParameters", "ParentContext", "PostEntityImages", "PreEntityImages")


def build(organization: Organization, event: Event, step: Row, images: list[Row], operation_id: str) -> dict[str, Any]:
    """The context of one event for one asynchronous step."""
    context = _frame(organization, event)
    context.update(
        IsInTransaction=False,
        Mode=1,
        OperationCreatedOn=_date(event.time, organization.settings["webhook_date_zone"]),
        OperationId=operation_id,
        OwningExtension={
            "Id": step.id,
            "KeyAttributes": [],
            "LogicalName": "sdkmessageprocessingstep",
            "Name": step.name,
            "RowVersion": None,
        },
        Stage=40,
    )
    parent = organization.settings["webhook_parent_context"]
    interactive_update = event.caller.interactive and event.message == "Update"
    if parent == "always" or (parent == "interactive" and interactive_update):
        context["ParentContext"] = _frame(organization, event)
    context["PreEntityImages"] = _images(organization, images, event.before, PRE_IMAGE)
    context["PostEntityImages"] = _images(organization, images, event.after, POST_IMAGE)
    if organization.settings["webhook_step_primary_name"] and event.after is not None:
        primary = event.table.columns[event.table.primary_name]
        primary_image = {"key": "AsynchronousStepPrimaryName", "value": _image(organization, event.after, [primary])}
        context["PostEntityImages"].insert(0, primary_image)
    return context


def cut(context: dict[str, Any]) -> dict[str, Any]:
    """What is left of a context too large to send: identity, but no data."""
    return {name: None if name in _CUT else member for name, member in context.items()}


def _frame(organization: Organization, event: Event) -> dict[str, Any]:
    """All members, with the values they have inside the transaction of the platform's main operation."""
    caller = event.caller
    shared: list[dict[str, Any]] = []
    if caller.tag is not None:
        shared = [{"key": "tag", "value": caller.tag}, {"key": "IsAutoTransact", "value": True}]
    return {
        "BusinessUnitId": BUSINESS_UNIT_ID,
        "CorrelationId": event.correlation_id,
        "Depth": 1,
        "InitiatingUserAgent": caller.user_agent,
        "InitiatingUserAzureActiveDirectoryObjectId": NO_ID,
        "InitiatingUserId": caller.initiating_user_id,
        "InputParameters": _input_parameters(organization, event),
        "IsExecutingOffline": False,
        "IsInTransaction": True,
        "IsOfflinePlayback": False,
        "IsolationMode": 1,
        "MessageName": event.message,
        "Mode": 0,
        "OperationCreatedOn": _date(event.time, organization.settings["webhook_date_zone"]),
        "OperationId": NO_ID,
        "OrganizationId": ORGANIZATION_ID,
        "OrganizationName": ORGANIZATION_NAME,
        "OutputParameters": [{"key": "id", "value": event.row_id}] if event.message == "Create" else [],
        "OwningExtension": None,
        "ParentContext": None,
        "PostEntityImages": [],
        "PreEntityImages": [],
        "PrimaryEntityId": event.row_id,
        "PrimaryEntityName": event.table.logical_name,
        "RequestId": event.request_id,
        "SecondaryEntityName": "none",
        "SharedVariables": shared,
        "Stage": 30,
        "UserAzureActiveDirectoryObjectId": NO_ID,
        "UserId": caller.user_id,
    }


def _input_parameters(organization: Organization, event: Event) -> list[dict[str, Any]]:
    if event.message == "Delete":
        return [{"key": "Target", "value": _reference(Reference(event.table.logical_name, event.row_id))}]
    if event.close_activity is not None:
        activity = event.close_activity
        columns = [column for column in activity.table.column_list if activity.get(column.name) is not None]
        return [
            {"key": "OpportunityClose", "value": _target(organization, activity, columns)},
            {"key": "Status", "value": _typed("OptionSetValue", Value=event.close_status)},
        ]
    assert event.after is not None
    table = event.table
    if event.message == "Create":
        names = list(event.sent)
    else:
        stamps = ("modifiedon", "modifiedby", "modifiedonbehalfby")
        names = [table.primary_id, *(n for n in event.sent if n not in stamps and n != table.primary_id)]
        names += [name for name in stamps if name in table.columns]
    parameters = [{"key": "Target", "value": _target(organization, event.after, [table.columns[n] for n in names])}]
    if event.caller.interactive and event.message == "Update":
        parameters.append({"key": "SuppressDuplicateDetection", "value": False})
    return parameters


def _images(organization: Organization, images: list[Row], row: Row | None, kind: int) -> list[dict[str, Any]]:
    if row is None:
        return []
    result = []
    for image in images:
        if image.get("imagetype") not in (kind, BOTH_IMAGES):
            continue
        wanted = attribute_list(image.get("attributes"))
        columns = [column for column in row.table.column_list if not wanted or column.name in wanted]
        result.append({"key": image.get("entityalias"), "value": _image(organization, row, columns)})
    return result


def _image(organization: Organization, row: Row, columns: list[Column]) -> dict[str, Any]:
    """The row as an image: without __type, with its version, columns without a value left out."""
    primary = row.table.columns[row.table.primary_id]
    present = [column for column in columns if row.get(column.name) is not None and column is not primary]
    value = _entity(organization, row, [primary, *present])
    value["RowVersion"] = str(row.version)
    return value


def _target(organization: Organization, row: Row, columns: list[Column]) -> dict[str, Any]:
    return {"__type": f"Entity:{CONTRACTS}", **_entity(organization, row, columns)}


def _entity(organization: Organization, row: Row, columns: list[Column]) -> dict[str, Any]:
    texts = [(column.name, _format(organization, row, column)) for column in columns]
    return {
        "Attributes": [{"key": column.name, "value": _value(column, row.get(column.name))} for column in columns],
        "EntityState": None,
        "FormattedValues": [{"key": name, "value": text} for name, text in texts if text is not None],
        "Id": row.id,
        "KeyAttributes": [],
        "LogicalName": row.table.logical_name,
        "RelatedEntities": [],
        "RowVersion": None,
    }


def _value(column: Column, value: Any) -> Any:
    if value is None:
        return None
    if column.kind is Kind.MONEY:
        return _typed("Money", Value=shortest(value))
    if column.kind in CHOICE_KINDS:
        return _typed("OptionSetValue", Value=value)
    if column.kind is Kind.MULTI_CHOICE:
        return [_typed("OptionSetValue", Value=code) for code in value]
    if isinstance(value, Reference):
        return _reference(value)
    if isinstance(value, datetime):
        return _date(value)
    if isinstance(value, date):
        return _date(datetime(value.year, value.month, value.day, tzinfo=timezone.utc))
    return shortest(value) if column.kind is Kind.DECIMAL else value


def _format(organization: Organization, row: Row, column: Column) -> str | None:
    """Texts of a webhook: money, choices and numbers as a user sees them, dates in ISO form, none for lookups."""
    value = row.get(column.name)
    if value is None or isinstance(value, Reference):
        return None
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S-00:00")
    if isinstance(value, date):
        return value.isoformat()
    return format_value(organization, row, column)


def _reference(reference: Reference) -> dict[str, Any]:
    return _typed(
        "EntityReference", Id=reference.id, KeyAttributes=[], LogicalName=reference.table, Name=None, RowVersion=None
    )


def _typed(name: str, **members: Any) -> dict[str, Any]:
    return {"__type": f"{name}:{CONTRACTS}", **members}


def _date(moment: datetime, zone: str = "") -> str:
    return f"/Date({int(moment.timestamp() * 1000)}{zone})/"
