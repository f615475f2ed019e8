"""What the Dataverse Web API refuses, the Dynamics 365 simulator refuses: one table of bad requests, each with the status
and the error code of its answer."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from dynamics_365_client import EURO, KEY, MISSING, Simulator, crm, process

__all__ = ["crm", "process"]  # fixtures


@dataclass
class Bad:
    """A request against an organisation with one opportunity (ROW) and what it is answered with."""

    method: str
    path: str
    body: Any
    status: int
    code: str
    headers: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


CLOSE = {"OpportunityClose": {"opportunityid@odata.bind": "/ROW"}}
BAD = {
    "undeclared property": Bad("POST", "opportunities", {"nmae": "x"}, 400, "0x80048d19"),
    "undeclared property, other code": Bad(
        "POST", "opportunities", {"nmae": "x"}, 400, "0x0", settings={"undeclared_property_code": "0x0"}
    ),
    "column in other case": Bad("POST", "opportunities", {"Name": "x"}, 400, "0x80048d19"),
    "lookup by column name": Bad("POST", "opportunities", {"customerid": MISSING}, 400, "0x80048d19"),
    "lookup by read name": Bad("POST", "opportunities", {"_customerid_value": MISSING}, 400, "0x80048d19"),
    "bind by column name": Bad(
        "POST", "opportunities", {"customerid@odata.bind": f"/accounts({MISSING})"}, 400, "0x80048d19"
    ),
    "bind to a missing row": Bad(
        "POST", "opportunities", {"customerid_account@odata.bind": f"/accounts({MISSING})"}, 404, "0x80040217"
    ),
    "bind to a missing key": Bad(
        "POST", "opportunities", {"customerid_account@odata.bind": "/accounts(accountnumber='X')"}, 404, "0x80060891"
    ),
    "bind to the wrong table": Bad("POST", "opportunities", {"parentaccountid@odata.bind": EURO}, 400, "0x80048d19"),
    "bind to an unknown set": Bad("POST", "opportunities", {"parentaccountid@odata.bind": "/x(1)"}, 404, "0x8006088a"),
    "text too long": Bad("PATCH", "ROW", {"name": "x" * 301}, 400, "0x80044331"),
    "memo too long": Bad("PATCH", "ROW", {"description": "x" * 2001}, 400, "0x80044331"),
    "number as text": Bad("PATCH", "ROW", {"estimatedvalue": "10"}, 400, "0x80048d19"),
    "text as number": Bad("PATCH", "ROW", {"name": 10}, 400, "0x80048d19"),
    "boolean as number": Bad("PATCH", "ROW", {"isrevenuesystemcalculated": 1}, 400, "0x80048d19"),
    "number as boolean": Bad("PATCH", "ROW", {"closeprobability": True}, 400, "0x80048d19"),
    "probability too large": Bad("PATCH", "ROW", {"closeprobability": 101}, 400, "0x80044330"),
    "money too large": Bad("PATCH", "ROW", {"estimatedvalue": 1e13}, 400, "0x80044330"),
    "money without currency": Bad("POST", "opportunities", {"estimatedvalue": 1}, 400, "0x80048cfb"),
    "currency taken away": Bad(
        "PATCH", "ROW", {"estimatedvalue": 1, "transactioncurrencyid@odata.bind": None}, 400, "0x80048cfb"
    ),
    "instant as date": Bad("PATCH", "ROW", {"estimatedclosedate": "2026-09-30T00:00:00Z"}, 400, "0x80048d19"),
    "no such date": Bad("PATCH", "ROW", {"estimatedclosedate": "2026-02-30"}, 400, "0x80048d19"),
    "date too early": Bad("PATCH", "ROW", {"estimatedclosedate": "1752-12-31"}, 400, "0x80040239"),
    "unknown choice": Bad("PATCH", "ROW", {"opportunityratingcode": 4}, 400, "0x80061005"),
    "choice by label": Bad("PATCH", "ROW", {"opportunityratingcode": "Hot"}, 400, "0x80048d19"),
    "computed amount": Bad("PATCH", "ROW", {"estimatedvalue_base": 1}, 400, "0x80040203"),
    "computed time": Bad("PATCH", "ROW", {"modifiedon": "2026-01-01T00:00:00Z"}, 400, "0x80040203"),
    "state and status do not fit": Bad("PATCH", "ROW", {"statecode": 0, "statuscode": 3}, 400, "0x80048408"),
    "status of another state": Bad("PATCH", "ROW", {"statuscode": 5}, 400, "0x80048408"),
    "unknown state": Bad("PATCH", "ROW", {"statecode": 3}, 400, "0x80048408"),
    "closed at birth": Bad("POST", "opportunities", {"statecode": 1, "statuscode": 3}, 400, "0x80048408"),
    "wrong type annotation": Bad(
        "POST", "opportunities", {"@odata.type": "Microsoft.Dynamics.CRM.lead"}, 400, "0x80048d19"
    ),
    "null bind where not allowed": Bad(
        "PATCH",
        "ROW",
        {"customerid_account@odata.bind": None},
        400,
        "0x80048d19",
        settings={"null_bind_clears_lookup": False},
    ),
    "not JSON": Bad("POST", "opportunities", b"{", 400, "0x80048d19"),
    "NaN": Bad("PATCH", "ROW", b'{"estimatedvalue":NaN}', 400, "0x80048d19"),
    "JSON, but a list": Bad("POST", "opportunities", [], 400, "0x80048d19"),
    "wrong content type": Bad("POST", "opportunities", b"{}", 400, "0x80060888", {"Content-Type": "text/plain"}),
    "wrong OData version": Bad("GET", "WhoAmI", None, 400, "0x80060888", {"OData-Version": "3.0"}),
    "unknown entity set": Bad("GET", "opportunity", None, 404, "0x8006088a"),
    "entity set in other case": Bad("GET", "Opportunities", None, 404, "0x8006088a"),
    "unknown property of a row": Bad("GET", "ROW/nosuch", None, 404, "0x8006088a"),
    "unknown selection": Bad("GET", "opportunities?$select=customerid", None, 400, "0x80060888"),
    "unknown expansion": Bad("GET", "opportunities?$expand=customerid", None, 400, "0x80060888"),
    "unknown filter property": Bad("GET", "opportunities?$filter=nmae eq 'x'", None, 400, "0x80060888"),
    "broken filter": Bad("GET", "opportunities?$filter=name eq", None, 400, "0x80060888"),
    "filter of wrong type": Bad("GET", "opportunities?$filter=name eq 1", None, 400, "0x80060888"),
    "unsupported option": Bad("GET", "opportunities?$skip=1", None, 400, "0x80060888"),
    "malformed id": Bad("GET", "opportunities(1234)", None, 400, "0x80060888"),
    "unknown key": Bad("GET", "opportunities(name='x')", None, 400, "0x80060890"),
    "key without quotes": Bad("GET", f"opportunities({KEY}=x)", None, 400, "0x80060888"),
    "key with a slash": Bad("GET", f"opportunities({KEY}='a/b')", None, 400, "0x80060888"),
    "key not active": Bad(
        "GET", f"opportunities({KEY}='x')", None, 400, "0x80060890", settings={"alternate_key_status": "Pending"}
    ),
    "missing row": Bad("GET", f"opportunities({MISSING})", None, 404, "0x80040217"),
    "missing key": Bad("GET", f"opportunities({KEY}='x')", None, 404, "0x80060891"),
    "update of a missing row": Bad(
        "PATCH", f"opportunities({MISSING})", {"name": "x"}, 404, "0x80040217", {"If-Match": "*"}
    ),
    "update of a missing key": Bad(
        "PATCH", f"opportunities({KEY}='x')", {"name": "x"}, 404, "0x80060891", {"If-Match": "*"}
    ),
    "delete of a missing row": Bad("DELETE", f"opportunities({MISSING})", None, 404, "0x80040217"),
    "other version": Bad("PATCH", "ROW", {"name": "x"}, 412, "0x80060882", {"If-Match": 'W/"1"'}),
    "other version, empty code": Bad("DELETE", "ROW", None, 412, "", {"If-Match": 'W/"1"'}, {"concurrency_code": ""}),
    "malformed etag": Bad("PATCH", "ROW", {"name": "x"}, 400, "0x80060888", {"If-Match": "1"}),
    "create only": Bad("PATCH", "ROW", {"name": "x"}, 412, "0x80040237", {"If-None-Match": "*"}),
    "replacing a row": Bad("PUT", "ROW", {"name": "x"}, 405, "0x80060888"),
    "missing privilege": Bad(
        "PATCH", "ROW", {"name": "x"}, 403, "0x80040220", settings={"missing_privileges": ["prvWriteOpportunity"]}
    ),
    "win with the status of lost": Bad("POST", "WinOpportunity", {"Status": 4, **CLOSE}, 400, "0x80048408"),
    "lose with the status of won": Bad("POST", "LoseOpportunity", {"Status": 3, **CLOSE}, 400, "0x80048408"),
    "win without status": Bad("POST", "WinOpportunity", CLOSE, 400, "0x80048d19"),
    "win of nothing": Bad("POST", "WinOpportunity", {"Status": 3, "OpportunityClose": {}}, 400, "0x80040203"),
    "close date of the wrong type": Bad(
        "POST",
        "WinOpportunity",
        {"Status": 3, "OpportunityClose": {"actualend": "2026-10-14T00:00:00Z", "opportunityid@odata.bind": "/ROW"}},
        400,
        "0x80048d19",
    ),
    "closing by PATCH where not allowed": Bad(
        "PATCH", "ROW", {"statecode": 1, "statuscode": 3}, 400, "0x80040203", settings={"close_by_patch": False}
    ),
    "tracking with a filter": Bad(
        "GET", "opportunities?$filter=name eq 'x'", None, 400, "0x80060888", {"Prefer": "odata.track-changes"}
    ),
    "tracking where not enabled": Bad("GET", "systemusers", None, 400, "0x80040203", {"Prefer": "odata.track-changes"}),
    "bulk without type": Bad(
        "POST", "opportunities/Microsoft.Dynamics.CRM.CreateMultiple", {"Targets": [{"name": "x"}]}, 400, "0x80048d19"
    ),
    "batch without boundary": Bad("POST", "$batch", b"", 400, "0x80048d19", {"Content-Type": "multipart/mixed"}),
    "endpoint of another kind": Bad("POST", "serviceendpoints", {"name": "x", "contract": 1}, 501, "0x80040219"),
    "endpoint on another port": Bad(
        "POST",
        "serviceendpoints",
        {"name": "x", "contract": 8, "authtype": 4, "authvalue": "k", "url": "https://hooks.example:8443/"},
        400,
        "0x80040203",
        settings={"webhook_standard_ports_only": True},
    ),
    "endpoint with broken headers": Bad(
        "POST",
        "serviceendpoints",
        {"name": "x", "contract": 8, "authtype": 5, "authvalue": "x", "url": "https://hooks.example/"},
        400,
        "0x80040203",
    ),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_what_the_service_refuses_is_refused_and_changes_nothing(crm: Simulator, bad: Bad) -> None:
    row = crm.opportunity(estimatedvalue=10)
    address = f"opportunities({row['opportunityid']})"
    crm.set(**bad.settings)
    before = crm.sim("GET", "state")["rows"]
    body = bad.body
    if body is not None and not isinstance(body, bytes):
        body = json.loads(json.dumps(body).replace("ROW", address))
    reply = crm.call(bad.method, bad.path.replace("ROW", address), body, **bad.headers)
    assert (reply.status, reply.code) == (bad.status, bad.code), reply.raw
    assert crm.sim("GET", "state")["rows"] == before
