"""Refusals of the Dataverse Web API: HTTP status, error code and message of each (Dataverse reference, section 12).

The message texts are ours where no sample shows one; clients are meant to go by status and code.
"""

from __future__ import annotations

from typing import Any


class ServiceError(Exception):
    """A request the service refuses. It becomes {"error": {"code", "message"}} under the given HTTP status."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        return {"error": {"code": self.code, "message": self.message}}


def payload(entity_set: str, message: str) -> ServiceError:
    """A body that does not fit the model: undeclared property, wrong type, wrong navigation name."""
    text = f"Error identified in Payload provided by the user for Entity :'{entity_set}'. {message}"
    return ServiceError(400, "0x80048d19", text)


def undeclared(entity_set: str, logical_name: str, name: str) -> ServiceError:
    return payload(entity_set, f"The property '{name}' does not exist on type 'Microsoft.Dynamics.CRM.{logical_name}'.")


def unknown_property(logical_name: str, name: str) -> ServiceError:
    """A query option naming a property the table does not have."""
    text = f"Could not find a property named '{name}' on type 'Microsoft.Dynamics.CRM.{logical_name}'."
    return ServiceError(400, "0x80060888", text)


def query_syntax(message: str) -> ServiceError:
    return ServiceError(400, "0x80060888", message)


def segment_not_found(segment: str) -> ServiceError:
    return ServiceError(404, "0x8006088a", f"Resource not found for the segment '{segment}'.")


def row_not_found(logical_name: str, row_id: str) -> ServiceError:
    return ServiceError(404, "0x80040217", f"{logical_name} With Id = {row_id} Does Not Exist")


def key_not_found(logical_name: str) -> ServiceError:
    text = f"A record with the specified key values does not exist in {logical_name} entity"
    return ServiceError(404, "0x80060891", text)


def key_not_defined(logical_name: str) -> ServiceError:
    text = f"The specified key attributes are not a defined key for the {logical_name} entity"
    return ServiceError(400, "0x80060890", text)


def invalid_argument(message: str) -> ServiceError:
    return ServiceError(400, "0x80040203", message)


def version_mismatch() -> ServiceError:
    text = "The version of the existing record doesn't match the RowVersion property provided."
    return ServiceError(412, "0x80060882", text)


def exists_already(code: str = "0x80040237") -> ServiceError:
    return ServiceError(412, code, "A record with matching key values already exists.")


def duplicate_key(logical_name: str, columns: tuple[str, ...]) -> ServiceError:
    text = f"A {logical_name} record with the same values of the key ({', '.join(columns)}) already exists."
    return ServiceError(412, "0x80060892", text)


def duplicate_found(status: int) -> ServiceError:
    text = "A record was not created or updated because a duplicate of the current record already exists."
    return ServiceError(status, "0x80040333", text)


def too_long(logical_name: str, column: str, limit: int) -> ServiceError:
    text = (
        f"A validation error occurred. The length of the '{column}' attribute of the '{logical_name}' entity exceeded "
        f"the maximum allowed length of '{limit}'."
    )
    return ServiceError(400, "0x80044331", text)


def out_of_range(logical_name: str, column: str, code: str = "0x80044330") -> ServiceError:
    text = f"A validation error occurred. The value of '{column}' of the '{logical_name}' entity is outside its range."
    return ServiceError(400, code, text)


def too_early(column: str) -> ServiceError:
    return ServiceError(400, "0x80040239", f"The value of '{column}' is before the minimum date 1753-01-01.")


def currency_missing(column: str) -> ServiceError:
    return ServiceError(400, "0x80048cfb", f"The currency cannot be null when the money value '{column}' is set.")


def invalid_status(status: int, state: int | str, logical_name: str, row_id: str) -> ServiceError:
    text = f"{status} is not a valid status code for state code {state} on {logical_name} with Id {row_id}."
    return ServiceError(400, "0x80048408", text)


def already_closed() -> ServiceError:
    return ServiceError(400, "0x80040515", "The opportunity has already been closed.")


def privilege_missing(user_id: str, privilege: str) -> ServiceError:
    return ServiceError(403, "0x80040220", f"Principal user (Id={user_id}) is missing {privilege} privilege")


def not_a_member() -> ServiceError:
    return ServiceError(403, "0x80072560", "The user is not a member of the organization.")


def method_not_allowed(method: str) -> ServiceError:
    return ServiceError(405, "0x80060888", f"The method '{method}' is not allowed for this resource.")


def not_implemented(message: str) -> ServiceError:
    return ServiceError(501, "0x80040219", message)
