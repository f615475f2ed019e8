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
    # As secret as `tandem-pusher migrate --conninfo-file` wants it.
    (folder / "database").touch(mode=0o600)
    (folder / "database").write_text(stack.dsn + "\n")
    psql = f'psql "$(cat {folder}/database)"'
    topics = f"{sys.executable} {ROOT}/tests/support/topics.py {running.broker.bootstrap}"
    ingest, mapper, pusher = ((each.command[0], each.config) for each in stack.programs)
    read = f"{ingest[0]} read --config {ingest[1]}"
    records = {"referral": (folder / "referral.json", referral), "opportunity": (folder / "opportunity.json", opportunity)}
    reads = [f"{read} --{side} {identifier} > {file}" for side, (file, identifier) in records.items()]
    previewed = f"{mapper[0]} preview --deal {referral} --config {mapper[1]}"
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
        f"   {psql} -c \"SELECT created_at, phase, purpose, system, result, fields FROM tandem.deal_story('{referral}')\"",
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
        "the real commands, with this demo's configuration: what is registered; what of existing deals would be taken up",
        f"   {ingest[0]} register show --config {ingest[1]}",
        f"   {ingest[0]} backfill --dry-run --config {ingest[1]}",
        "both records of a deal as Tandem reads them, and what would be written for them now, and why",
        f"   {read} --referral {referral}",
        f"   {' && '.join(reads)} && {previewed} {' '.join(str(file) for file, _ in records.values())}",
        "what was set aside; what would be driven again; what waits for a person, and how it is settled",
        f"   {pusher[0]} letters --deal {opportunity} --config {pusher[1]}",
        f"   {pusher[0]} redrive --since 24h --dry-run --config {pusher[1]}",
        f"   {psql} -c 'SELECT * FROM tandem.manual_conflicts'",
        f"   {mapper[0]} settle --help",
        f"everything is below {folder}; more routes are in docs/simulators.md",
        f"   {ROOT}/deploy/demo --show   prints this again",
        f"   {ROOT}/deploy/demo --stop   ends it all",
    ]
    return "\n".join(text)
