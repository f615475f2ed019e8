"""EntityDefinitions: tables, attributes, choices and keys as the Web API describes them."""

from __future__ import annotations

import uuid
from typing import Any

from dataverse import errors, expression
from dataverse.columns import Column, Kind, Option
from dataverse.exchange import Answer, Exchange, json_answer
from dataverse.organization import Organization
from dataverse.query import parse_options, split_outside
from dataverse.resource_path import API_ROOT, Segment
from dataverse.schema import TABLES
from dataverse.table import Key, Table

NAMESPACE = "Microsoft.Dynamics.CRM."
ENGLISH = 1033
_BASE_PROPERTIES = (
    "MetadataId",
    "LogicalName",
    "SchemaName",
    "EntityLogicalName",
    "AttributeType",
    "AttributeTypeName",
    "DisplayName",
    "RequiredLevel",
    "IsPrimaryId",
    "IsPrimaryName",
    "IsValidForCreate",
    "IsValidForUpdate",
    "IsValidForRead",
    "IsCustomAttribute",
)
_TYPE_NAMES = {
    Kind.TEXT: "String",
    Kind.MEMO: "Memo",
    Kind.INTEGER: "Integer",
    Kind.BIG_INTEGER: "BigInt",
    Kind.DECIMAL: "Decimal",
    Kind.MONEY: "Money",
    Kind.BOOLEAN: "Boolean",
    Kind.CHOICE: "Picklist",
    Kind.MULTI_CHOICE: "MultiSelectPicklist",
    Kind.STATE: "State",
    Kind.STATUS: "Status",
    Kind.LOOKUP: "Lookup",
    Kind.UNIQUE_ID: "UniqueIdentifier",
    Kind.DATE_TIME: "DateTime",
    Kind.DATE_ONLY: "DateTime",
}


def get(organization: Organization, exchange: Exchange, segments: list[Segment]) -> Answer:
    """GET below EntityDefinitions."""
    if exchange.method != "GET":
        raise errors.method_not_allowed(exchange.method)
    options = parse_options(exchange.query)
    first, *rest = segments
    if first.key is None:
        if rest:
            raise errors.segment_not_found(rest[0].name)
        values = [_table_json(organization, table) for table in TABLES.values()]
        return _answer(exchange, "EntityDefinitions", values, options, ("Attributes", "Keys"))
    table = _table(first.key)
    if not rest:
        return _answer(exchange, "EntityDefinitions", _table_json(organization, table), options, ("Attributes", "Keys"))
    if rest[0].name == "Keys" and len(rest) == 1 and rest[0].key is None:
        return _answer(exchange, "Keys", [_key_json(organization, table, key) for key in table.keys], options, ())
    if rest[0].name != "Attributes":
        raise errors.segment_not_found(rest[0].name)
    return _attributes(exchange, table, rest[0], rest[1:], options)


def _attributes(
    exchange: Exchange, table: Table, segment: Segment, cast: list[Segment], options: dict[str, str]
) -> Answer:
    """Attributes of a table: all, one, or those of one type. Only a cast to its type lets a type's own be selected."""
    values = [_attribute_json(table, column) for column in table.column_list]
    if segment.key is not None:
        name = _quoted(segment.key, "LogicalName")
        values = [value for value in values if value["LogicalName"] == name]
        if not values:
            text = f"Could not find an attribute with specified name: {name}."
            raise errors.ServiceError(404, "0x80060888", text)
    if cast:
        wanted = "#" + cast[0].name
        known = {f"#{NAMESPACE}{name}AttributeMetadata" for name in (*_TYPE_NAMES.values(), "Customer")}
        if len(cast) != 1 or wanted not in known:
            raise errors.segment_not_found(cast[0].name)
        values = [value for value in values if value["@odata.type"] == wanted]
        if segment.key is not None and not values:
            raise errors.segment_not_found(cast[0].name)
        has_options = any("OptionSet" in value for value in values)
        expandable: tuple[str, ...] = ("OptionSet", "GlobalOptionSet") if has_options else ()
        return _answer(exchange, "Attributes", values[0] if segment.key else values, options, expandable, cast=True)
    for value in values:
        value.pop("OptionSet", None)
        value.pop("GlobalOptionSet", None)
    return _answer(exchange, "Attributes", values[0] if segment.key else values, options, ())


def _answer(
    exchange: Exchange,
    what: str,
    value: Any,
    options: dict[str, str],
    expandable: tuple[str, ...],
    cast: bool = False,
) -> Answer:
    for name in options:
        if name not in ("$select", "$expand", "$filter"):
            raise errors.query_syntax(f"The query option {name} is not supported for metadata.")
    context = f"{exchange.base_url}{API_ROOT}$metadata#{what}"
    select = [name.strip() for name in options["$select"].split(",")] if options.get("$select") else None
    expand = _expand(options.get("$expand", ""), expandable)
    if isinstance(value, list):
        if "$filter" in options:
            node = expression.parse(options["$filter"])
            value = [one for one in value if expression.holds(node, lambda path, one=one: _read(one, path))]
        members = [_project(one, select, expand, expandable, cast) for one in value]
        return json_answer({"@odata.context": context, "value": members})
    if "$filter" in options:
        raise errors.query_syntax("A single definition cannot be filtered.")
    return json_answer({"@odata.context": f"{context}/$entity", **_project(value, select, expand, expandable, cast)})


def _project(
    value: dict[str, Any],
    select: list[str] | None,
    expand: dict[str, list[str] | None],
    expandable: tuple[str, ...],
    cast: bool,
) -> dict[str, Any]:
    is_attribute = "AttributeType" in value
    result: dict[str, Any] = {}
    for name in select or []:
        if name not in value or name in expandable or (is_attribute and not cast and name not in _BASE_PROPERTIES):
            raise errors.query_syntax(f"Could not find a property named '{name}'.")
    for name, member in value.items():
        always = name in ("@odata.type", "MetadataId")
        if name not in expandable and (select is None or name in select or always):
            result[name] = member
    for name, inner in expand.items():
        member = value.get(name)
        if inner is not None and isinstance(member, list):
            member = [_project(one, inner, {}, (), False) for one in member]
        elif inner is not None and isinstance(member, dict):
            member = {key: part for key, part in member.items() if key in inner or key == "MetadataId"}
        result[name] = member
    return result


def _expand(text: str, expandable: tuple[str, ...]) -> dict[str, list[str] | None]:
    result: dict[str, list[str] | None] = {}
    for item in split_outside(text, ","):
        name, _, inner = item.strip().partition("(")
        if name not in expandable:
            raise errors.query_syntax(f"Could not find a property named '{name}'.")
        option, _, names = inner.rstrip(")").partition("=")
        if inner and option != "$select":
            raise errors.query_syntax(f"Only $select is supported inside $expand '{text}'.")
        result[name] = [part.strip() for part in names.split(",")] if names else None
    return result


def _read(value: dict[str, Any], path: str) -> Any:
    current: Any = value
    for name in path.split("/"):
        if not isinstance(current, dict) or name not in current:
            raise errors.query_syntax(f"Could not find a property named '{name}'.")
        current = current[name]
    return current


def _table(key: str) -> Table:
    for table in TABLES.values():
        if key == _metadata_id(table.logical_name) or key == f"LogicalName='{table.logical_name}'":
            return table
    text = f"The entity with a name = '{_quoted(key, 'LogicalName')}' was not found in the MetadataCache."
    raise errors.ServiceError(404, "0x80041102", text)


def _quoted(key: str, name: str) -> str:
    prefix, suffix = f"{name}='", "'"
    if not key.startswith(prefix) or not key.endswith(suffix) or len(key) <= len(prefix):
        raise errors.query_syntax("Error in query syntax.")
    return key[len(prefix) : -1]


def _table_json(organization: Organization, table: Table) -> dict[str, Any]:
    attributes = [_attribute_json(table, column) for column in table.column_list]
    for attribute in attributes:
        attribute.pop("OptionSet", None)
        attribute.pop("GlobalOptionSet", None)
    return {
        "MetadataId": _metadata_id(table.logical_name),
        "LogicalName": table.logical_name,
        "SchemaName": table.schema_name,
        "EntitySetName": table.entity_set,
        "LogicalCollectionName": table.entity_set,
        "PrimaryIdAttribute": table.primary_id,
        "PrimaryNameAttribute": table.primary_name,
        "DisplayName": _label(table.schema_name),
        "ChangeTrackingEnabled": table.change_tracking,
        "IsOptimisticConcurrencyEnabled": True,
        "IsCustomEntity": table.logical_name.startswith("msft_"),
        "Attributes": attributes,
        "Keys": [_key_json(organization, table, key) for key in table.keys],
    }


def _key_json(organization: Organization, table: Table, key: Key) -> dict[str, Any]:
    return {
        "MetadataId": _metadata_id(f"{table.logical_name} key {key.name}"),
        "LogicalName": key.name,
        "SchemaName": key.name,
        "EntityLogicalName": table.logical_name,
        "KeyAttributes": list(key.columns),
        "EntityKeyIndexStatus": organization.settings["alternate_key_status"],
        "DisplayName": _label(key.name),
    }


def _attribute_json(table: Table, column: Column) -> dict[str, Any]:
    kind = column.kind
    type_name = _TYPE_NAMES[kind]
    attribute_type = "Virtual" if kind is Kind.MULTI_CHOICE else type_name.replace("UniqueI", "Uniquei")
    if kind is Kind.LOOKUP and column.name in ("customerid", "parentcustomerid"):
        attribute_type = "Customer"
    if column.name == "ownerid":
        attribute_type = "Owner"
    value: dict[str, Any] = {
        "@odata.type": f"#{NAMESPACE}{type_name}AttributeMetadata",
        "MetadataId": _metadata_id(f"{table.logical_name} attribute {column.name}"),
        "LogicalName": column.name,
        "SchemaName": column.name,
        "EntityLogicalName": table.logical_name,
        "AttributeType": attribute_type,
        "AttributeTypeName": {
            "Value": f"{'MultiSelectPicklist' if attribute_type == 'Virtual' else attribute_type}Type"
        },
        "DisplayName": _label(column.label or column.name),
        "RequiredLevel": {"Value": "SystemRequired" if column.required else "None"},
        "IsPrimaryId": column.name == table.primary_id,
        "IsPrimaryName": column.name == table.primary_name,
        "IsValidForCreate": column.create,
        "IsValidForUpdate": column.update,
        "IsValidForRead": column.read,
        "IsCustomAttribute": column.name.startswith("msft_"),
    }
    if kind in (Kind.TEXT, Kind.MEMO):
        value.update(MaxLength=column.max_length, Format="TextArea" if kind is Kind.MEMO else "Text")
    if kind in (Kind.MONEY, Kind.DECIMAL):
        value["Precision"] = column.precision
    if kind in (Kind.MONEY, Kind.DECIMAL, Kind.INTEGER):
        value.update(MinValue=column.minimum, MaxValue=column.maximum)
        if kind is Kind.INTEGER:
            value["MinValue"] = None if column.minimum is None else int(column.minimum)
            value["MaxValue"] = None if column.maximum is None else int(column.maximum)
    if kind in (Kind.DATE_TIME, Kind.DATE_ONLY):
        value["Format"] = "DateOnly" if kind is Kind.DATE_ONLY else "DateAndTime"
        value["DateTimeBehavior"] = {"Value": "DateOnly" if kind is Kind.DATE_ONLY else "UserLocal"}
    if kind is Kind.LOOKUP:
        value["Targets"] = list(dict.fromkeys(column.navigation.values()))
    if column.options:
        value["OptionSet"] = _option_set(table, column)
        value["GlobalOptionSet"] = None
    if kind is Kind.BOOLEAN:
        value["OptionSet"] = {
            "MetadataId": _metadata_id(f"{table.logical_name} options {column.name}"),
            "TrueOption": {"Value": 1, "Label": _label(column.true_label)},
            "FalseOption": {"Value": 0, "Label": _label(column.false_label)},
        }
    return value


def _option_set(table: Table, column: Column) -> dict[str, Any]:
    return {
        "MetadataId": _metadata_id(f"{table.logical_name} options {column.name}"),
        "Name": f"{table.logical_name}_{column.name}",
        "IsGlobal": False,
        "OptionSetType": _TYPE_NAMES[column.kind].replace("MultiSelect", ""),
        "Options": [_option(column, option) for option in column.options],
    }


def _option(column: Column, option: Option) -> dict[str, Any]:
    value: dict[str, Any] = {"Value": option.value, "Label": _label(option.label)}
    if column.kind is Kind.STATUS:
        value["State"] = option.state
    return value


def _label(text: str) -> dict[str, Any]:
    label = {"Label": text, "LanguageCode": ENGLISH, "IsManaged": True}
    return {"LocalizedLabels": [label], "UserLocalizedLabel": label}


def _metadata_id(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"metadata {name}"))
