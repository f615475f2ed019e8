"""A change in Partner Center is one PATCH with the changed columns; no change is no call."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import pytest
from support.deals import DEADLINE, Deals
from support.ingest import metrics
from support.waiting import wait_until

pytestmark = pytest.mark.asan

AUDIT = "msft_microsoftpartnercenterreferralsyncaudit"
CRM_ID = "7-ABCDEF0042"


@dataclass(frozen=True)
class Change:
    """What a deal of this kind is edited to, and the columns of the PATCH that follows, but for the audit text.

    A column's value may be a function of the referral as it then stands. `stage` is the body of a PATCH of its own that
    goes before: a record's state is changed in no request that changes something else.
    """

    edit: dict[str, Any]
    columns: dict[str, Any]
    stage: dict[str, Any] | None = None
    kind: str = "private"
    start: dict[str, Any] = field(default_factory=dict)


CHANGES = {
    "deal value": Change({"details": {"dealValue": 61500.25}}, {"estimatedvalue": 61500.25}),
    "closing date": Change(
        {"details": {"closingDateTime": "2031-03-31T00:00:00Z"}}, {"estimatedclosedate": "2031-03-31"}
    ),
    "notes": Change({"details": {"notes": "The board has agreed."}}, {"description": "The board has agreed."}),
    "name": Change({"name": "Renamed rollout"}, {"name": "✔ Renamed rollout"}),
    "referral program": Change(
        {"referralProgram": "Spring"}, {"msft_microsoftpartnercenterreferralprogram": "Spring"}
    ),
    "visibility": Change(
        {"consent": {"consentToShareReferralWithMicrosoftSellers": True}},
        {"msft_microsoftpartnercenterreferralvisible": True},
    ),
    # The bind names the currency's row, which stands for its code here.
    "currency": Change(
        {"details": {"currency": "GBP"}},
        {"transactioncurrencyid@odata.bind": "GBP"},
        start={"details": {"currency": "EUR"}},
    ),
    "acceptance, on hold to in progress": Change(
        {"status": "Active", "substatus": "Accepted"},
        # Microsoft gives it when we accept.
        {"msft_microsoftcrmidentifier": lambda referral: referral["trackingInfo"]["microsoftMsxId"]},
        stage={"statecode": 0, "statuscode": 1},
        kind="microsoft-cosell",
    ),
    "Microsoft's CRM identifier": Change(
        {"trackingInfo": {"microsoftMsxId": CRM_ID}}, {"msft_microsoftcrmidentifier": CRM_ID}, kind="partner-cosell"
    ),
    "two fields": Change(
        {"details": {"dealValue": 7, "notes": "Smaller."}},
        {"estimatedvalue": 7, "description": "Smaller."},
    ),
}


def echoes(deals: Deals) -> tuple[float, float]:
    """What the mapper has counted: fields it wrote and has read back as written; readings that showed nothing else."""
    port = int(deals.stack.admin_address(deals.stack.running("mapper-1")).rsplit(":", 1)[1])
    found = metrics(port)
    return found["tandem_mapper_echoed_fields_total"], found["tandem_mapper_echoes_total"]


def check_echoes(deals: Deals, referral: str, before: tuple[float, float], decided: int, fields: int) -> None:
    """Each field that was written is read back once, in whichever order its outcome and its webhook came."""
    known = sum(each["reason"] == "echo" for each in deals.decisions(referral)[decided:])
    wait_until(lambda: echoes(deals)[0] - before[0] >= fields, DEADLINE, "the fields are counted")
    after = echoes(deals)
    assert (after[0] - before[0], after[1] - before[1]) == (fields, known)


@pytest.mark.parametrize("name", CHANGES)
def test_change_is_one_patch_of_the_changed_columns(deals: Deals, name: str) -> None:
    change = CHANGES[name]
    referral = deals.new(change.kind, **change.start)
    position, decided, echoed = deals.position(), len(deals.decisions(referral)), echoes(deals)
    deals.partner_center.edit_referral(referral, **change.edit)
    stages = [change.stage] if change.stage else []
    count = len(stages) + 1

    def patches() -> list[dict[str, Any]] | None:
        return found if len(found := deals.patches_since(position, referral)) >= count else None

    *before, patch = wait_until(patches, DEADLINE, f"the CRM got {count} PATCH")
    assert before == stages
    assert f"[{referral}#" in patch.pop(AUDIT)
    if bind := patch.get("transactioncurrencyid@odata.bind"):
        currency = deals.dynamics_365.row(*bind.strip("/)").split("("))
        patch["transactioncurrencyid@odata.bind"] = currency["isocurrencycode"]
    ours, row = deals.referral(referral), deals.opportunity(referral)
    columns = {name: value(ours) if callable(value) else value for name, value in change.columns.items()}
    assert patch == columns and None not in columns.values()
    assert row is not None
    shown = {**columns, **(change.stage or {})}
    assert {name: row[name] for name in shown if "@" not in name} == {name: shown[name] for name in shown if "@" not in name}
    deals.wait_quiet(referral)
    assert len(deals.patches_since(position, referral)) == count
    # The webhook of our own write: known by its version, unless it overtook the write's outcome.
    assert deals.decisions(referral)[-1]["reason"] in ("echo", "waiting")
    check_echoes(deals, referral, echoed, decided, len(change.columns) + len(stages))


def test_unchanged_event_is_no_call_to_the_crm_and_no_write_to_partner_center(deals: Deals) -> None:
    referral = deals.new("private")
    position, before = deals.position(), len(deals.decisions(referral))
    center = deals.partner_center.position()
    event = {"EventName": "referral-updated", "ResourceName": "referral", "AuditUri": None}
    event["ResourceUri"] = f"https://api.partnercenter.microsoft.com/engagements/v1/referrals/{referral}"
    event["ResourceChangeUtcDate"] = datetime.now(timezone.utc).isoformat()
    deals.partner_center.admin("POST", "/_sim/events", event)
    wait_until(lambda: len(deals.decisions(referral)) > before, DEADLINE, "the event has been decided on")
    deals.wait_quiet(referral)
    assert deals.dynamics_365.journal(position) == []
    # It was looked at, which is a read.
    assert {each["method"] for each in deals.partner_center.journal(center)} == {"GET"}
    assert deals.decisions(referral)[-1]["action"] == "none"


def test_sellers_edit_reaches_partner_center_once(deals: Deals) -> None:
    referral = deals.new("private")
    row = deals.opportunity(referral)
    assert row is not None
    before, decided, echoed = deals.partner_center.position(), len(deals.decisions(referral)), echoes(deals)
    words = {"estimatedvalue": 4321.5, "description": "Read back"}
    deals.dynamics_365.edit_row("opportunities", row["opportunityid"], **words)
    wait_until(
        lambda: float(deals.referral(referral)["details"]["dealValue"]) == 4321.5, DEADLINE, "the referral has the value"
    )
    deals.wait_quiet(referral)
    [patch] = deals.partner_center.journal(before, "PATCH", referral)
    body = patch["body"] if not isinstance(patch["body"], str) else json.loads(patch["body"])
    assert {each["path"] for each in body} == {"/details/dealValue", "/details/notes"}
    check_echoes(deals, referral, echoed, decided, len(words))
