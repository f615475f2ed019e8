"""What a demo shows: all of it is read back from where it stands, the topics, the audit database and the simulators."""

from __future__ import annotations

import json
import subprocess
from datetime import datetime, timezone
from typing import Any

from demonstration.running import Running, say

AUDIT_COLUMN = "msft_microsoftpartnercenterreferralsyncaudit"
LINK_COLUMN = "msft_microsoftpartnercenterreferrallink"
STATES = {
    (0, 1): "Open, In Progress",
    (0, 2): "Open, On Hold",
    (1, 3): "Won",
    (2, 4): "Lost, Canceled",
    (2, 5): "Lost, Out-Sold",
}
SYSTEMS = {"partner-center": "Partner Center", "dynamics-365": "Dynamics 365"}
LONGEST_CELL = 54
PSQL_SECONDS = 30

TIMELINE = """
    SELECT to_char(created_at, 'HH24:MI:SS.MS') AS committed, purpose, system, result, status AS last_http,
           duration_ms AS ms,
           (SELECT string_agg(entry ->> 'name', ' ')
            FROM (SELECT * FROM jsonb_array_elements(fields) LIMIT 3) AS f(entry))
               || CASE WHEN jsonb_array_length(fields) > 3 THEN ' +' || jsonb_array_length(fields) - 3 ELSE '' END
               AS fields
    FROM tandem.deal_timeline WHERE deal_key IN ({keys}) AND phase = 'outcome'
    ORDER BY created_at"""
TOTALS = """
    SELECT phase, system, result, count(*) AS rows, count(DISTINCT deal_key) AS deals,
           string_agg(DISTINCT coalesce(purpose, reason), ' ') AS what
    FROM tandem.audit GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"""
CONFLICTS = """
    SELECT to_char(created_at, 'HH24:MI:SS.MS') AS committed, field, partner_center, crm, policy, winner
    FROM tandem.conflicts WHERE deal_key IN ({keys}) AND result = 'applied' ORDER BY created_at"""


def moment(text: str | None) -> datetime:
    """A time as the topics and the simulators write it; they give up to nine digits of a second."""
    assert text, "a time is missing"
    head, _, fraction = text.replace("Z", "+00:00").partition(".")
    if fraction:
        digits = fraction.split("+")[0][:6].ljust(6, "0")
        return datetime.fromisoformat(f"{head}.{digits}+00:00")
    return datetime.fromisoformat(head)


def state_of(row: dict[str, Any]) -> str:
    return STATES.get((row["statecode"], row["statuscode"]), "?")


def shorten(text: object, length: int = LONGEST_CELL) -> str:
    shown = " ".join(str(text).split())
    return shown if len(shown) <= length else shown[: length - 1] + "…"


def named(names: list[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def story(running: Running, keys: list[str], records: list[str]) -> None:
    """Webhook, notification, record, decision, write, audit: every message of one deal with its time.

    keys: the deal's; a deal that began in the CRM had another one before it had a referral. records: both sides' ids.
    """
    lines: list[tuple[datetime, str]] = []
    for record in running.stack.topics.read("notifications"):
        value = json.loads(record.value or b"null")
        if value["record_id"] in records and value["origin"] == "webhook":
            received = moment(value["received_at"])
            lines.append((received, f"webhook       {SYSTEMS[value['source']]}: {value['event']}, sender verified"))
            kept = datetime.fromtimestamp(record.timestamp_ms / 1000, timezone.utc)
            place = f"partition {record.partition}, offset {record.offset}; answered 2xx"
            lines.append((max(kept, received), f"notification  {place}"))
    for record in running.stack.topics.read("records"):
        value = json.loads(record.value or b"null")
        if value["deal_key"] in keys and value["kind"] == "reading":
            roles = named([each["role"] for each in value["documents"]])
            lines.append((moment(value["read_at"]), f"record        {SYSTEMS[value['system']]}: read {roles}"))
    rows = running.stack.audit(
        "SELECT coalesce(finished_at, created_at), created_at, phase, purpose, system, result, reason, fields, status,"
        " duration_ms FROM deal_timeline WHERE deal_key = ANY(%s) ORDER BY created_at",
        keys,
    )
    for finished, created, phase, purpose, system, result, reason, fields, status, duration in rows:
        where = SYSTEMS.get(system, "")
        if phase == "none":
            lines.append((created, f"decision      none: {reason}"))
        elif phase == "intent":
            names = named([each["name"] for each in fields or []])
            lines.append((created, f"decision      {purpose} at {where}{': ' if names else ''}{names}"))
        elif phase == "outcome":
            answer = f"{result}, HTTP {status}, {duration} ms there"
            lines.append((finished, f"write         {purpose} at {where}: {answer}"))
            lines.append((created, "audit         outcome committed"))
    lines.sort(key=lambda each: each[0])
    begin = lines[0][0]
    for at, text in lines:
        say(f"   {(at - begin).total_seconds() * 1000:9.1f} ms  {text}")


def side_by_side(running: Running, opportunity: str, referral: str) -> None:
    """The mapped fields of one deal as both systems hold them."""
    deal = running.dynamics_365.deal(opportunity)
    row, ours = deal["row"], running.referral(referral)
    details, customer = ours["details"], ours["customerProfile"]
    parties = running.partner_center.engagement(ours["engagementId"])
    microsoft = [f"{each['status']}, {each['substatus']}" for each in parties["microsoft"]]
    lines = [
        ("record", f"opportunity {row['opportunityid']}", f"referral {ours['id']}"),
        ("names the other", row["msft_microsoftpartnercenterreferralidentifier"], ours["externalReferenceId"]),
        ("link", row[LINK_COLUMN], "-"),
        ("name", row["name"], ours["name"]),
        ("kind", deal["help"] or "no help", f"{ours['type']}; Microsoft: {named(microsoft) or 'not invited'}"),
        ("stage", state_of(row), f"{ours['status']}, {ours['substatus']}"),
        ("value", f"{row['estimatedvalue']} {deal['currency']}", f"{details['dealValue']} {details['currency']}"),
        ("closing date", row["estimatedclosedate"], details["closingDateTime"]),
        ("notes", row["description"], details["notes"]),
        ("customer", deal["account"]["name"], customer["name"]),
        ("country", deal["account"]["address1_country"], customer["address"]["country"]),
        (
            "solutions",
            named([each["id"] for each in deal["solutions"]]),
            named([each["id"] for each in details["requirements"]["solutions"]]),
        ),
        ("own team", deal["owner"]["internalemailaddress"], named([each["email"] for each in ours["team"]])),
        ("Microsoft's id", row["msft_microsoftcrmidentifier"] or "-", _msx_id(parties) or "-"),
    ]
    say(f"   {'':16} {'Dynamics 365':{LONGEST_CELL}} Partner Center")
    for name, left, right in lines:
        say(f"   {name:16} {shorten(left):{LONGEST_CELL}} {shorten(right)}")
    say(f"   {'audit column':16} {shorten(row[AUDIT_COLUMN].splitlines()[0], 100)}")


def _msx_id(parties: dict[str, Any]) -> str:
    found = [(each.get("trackingInfo") or {}).get("microsoftMsxId") for each in parties["own"] + parties["microsoft"]]
    return str(next((each for each in found if each), ""))


def psql(running: Running, query: str, keys: list[str] | None = None) -> None:
    """What psql prints for it."""
    text = query.format(keys=", ".join(f"'{key}'" for key in keys)) if keys else query
    options = ["-X", "-q", "-P", "pager=off", "-P", "footer=off", "-P", "border=1"]
    command = ["psql", *options, "-d", running.stack.dsn, "-c", text]
    result = subprocess.run(command, capture_output=True, text=True, timeout=PSQL_SECONDS, check=True)
    for line in result.stdout.rstrip().splitlines():
        say(f"   {line.rstrip()}")
