"""Lines to paste, for looking around in a demo that was kept."""

from __future__ import annotations

import sys
from pathlib import Path

from demonstration.running import Running

ROOT = Path(__file__).resolve().parents[2]


def lines(running: Running, referral: str, opportunity: str) -> str:
    """referral, opportunity: a deal that is open, for the lines that edit one."""
    stack, folder = running.stack, running.folder
    ca = folder / "tls/ca.pem"
    center, crm = running.partner_center.url + "/_sim", running.dynamics_365.url + "/_sim"
    curl = f"curl -sS --cacert {ca}"
    (folder / "database").write_text(stack.dsn + "\n")
    psql = f'psql "$(cat {folder}/database)"'
    topics = f"{sys.executable} {ROOT}/tests/support/topics.py {running.broker.bootstrap}"
    ingest = stack.programs[0]
    text = [
        "the programs: metrics, readiness, log (JSON, a line an entry), configuration",
        *(
            f"   curl -sS {stack.admin_address(each)}/metrics\n"
            f"   curl -sS {stack.admin_address(each)}/readyz\n"
            f"   tail -n 20 {each.log_file}\n"
            f"   cat {each.config}"
            for each in stack.programs
        ),
        "where every deal stands, and the story of one",
        f"   {psql} -c 'SELECT deal_key, purpose, direction, status, since FROM tandem.deal_status'",
        f"   {psql} -c \"SELECT created_at, phase, purpose, system, result, fields FROM tandem.deal_timeline"
        f" WHERE deal_key = '{referral}'\"",
        "what a topic holds: notifications, records, decisions, outcomes, deals, dead-letters",
        f"   {topics} tandem.decisions",
        "Partner Center, as a person in the portal: see a deal, edit it, make one; what came in there",
        f"   {curl} {center}/referrals/{referral}",
        f"   {curl} -X PATCH {center}/referrals/{referral}"
        " -d '{\"details\": {\"notes\": \"Written in the portal\"}}'",
        f"   {curl} {center}/referrals -d '{{\"kind\": \"microsoft-cosell\"}}'",
        f"   {curl} {center}/journal",
        "Dynamics 365, as a seller: see an opportunity, edit it, make one that is synchronised; what came in there",
        f"   {curl} {crm}/opportunities/{opportunity}",
        f"   {curl} -X PATCH {crm}/opportunities/{opportunity} -d '{{\"description\": \"Written in the CRM\"}}'",
        f"   {curl} {crm}/opportunities -d '{{\"name\": \"One more\", \"sync\": true}}'",
        f"   {curl} {crm}/journal",
        "the real commands, with this demo's configuration",
        f"   {ingest.command[0]} register show --config {ingest.config}",
        f"everything is below {folder}; more routes are in docs/simulators.md",
        f"   {ROOT}/deploy/demo --show   prints this again",
        f"   {ROOT}/deploy/demo --stop   ends it all",
    ]
    return "\n".join(text)
