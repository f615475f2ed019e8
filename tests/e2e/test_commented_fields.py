"""Fields that stand in comments of the default rules, all switched on: they travel like any other."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from support.deals import DEADLINE, Deals
from support.default_rules import RULES, commented, switched_on
from support.paths import ROOT
from support.stack import Stack
from support.waiting import wait_until

pytestmark = pytest.mark.asan

HELP = "Quotes or Licensing"
USER = ("firstname", "lastname", "internalemailaddress", "address1_telephone1")
MORE_COLUMNS = [f"opportunity_connections1[].record2id_systemuser.{each}" for each in USER]
MORE_COLUMNS += [f"msft_{each}.msft_name" for each in ("partnerrole", "solutionarea", "solutionplay")]
TAGS = {"partnerrole": "Transaction", "solutionarea": "Infrastructure", "solutionplay": "Migration"}


def person(first: str, last: str) -> dict[str, str]:
    return {"firstname": first, "lastname": last, "internalemailaddress": f"{first}.{last}@fabrikam.example".lower()}


MIRA, OLAV, KARI = person("Mira", "Steg"), person("Olav", "Dahl"), person("Kari", "Nord")


def columns_read_by_default() -> list[str]:
    """As the code has them; tests are collected where nothing is built yet."""
    header = (ROOT / "common/systems/dynamics365_columns.h").read_text()
    literals = header.split("#define DYNAMICS_365_COLUMNS_DEFAULT")[1].split("\n\n")[0]
    found: list[str] = yaml.safe_load("".join(re.findall(r'"([^"]*)"', literals)))
    return found


# The mapper is started below.
PROCESSES = {"mapper": 0}
SETTINGS: dict[str, Any] = {
    "partner_center": {"settling_time": "500ms"},
    "dynamics_365": {"columns": columns_read_by_default() + MORE_COLUMNS},
}


@pytest.fixture(scope="module", autouse=True)
def mapper(stack: Stack) -> None:
    rules = RULES.read_text()
    stack.start_mapper(switched_on(rules, *commented(rules)))


def team_at_partner_center(deals: Deals, referral: str) -> set[str]:
    return {each["email"] for each in deals.referral(referral)["team"]}


def emails(*people: dict[str, str]) -> set[str]:
    return {each["internalemailaddress"] for each in people}


def wait_team(deals: Deals, referral: str, *people: dict[str, str]) -> None:
    wait_until(lambda: team_at_partner_center(deals, referral) == emails(*people), DEADLINE, "the team is that of the CRM")
    deals.wait_quiet(referral)
    assert team_at_partner_center(deals, referral) == emails(*people)


def test_deal_of_the_crm_takes_them_along(deals: Deals) -> None:
    crm = deals.dynamics_365
    rows = {name: crm.add_row(f"msft_{name}s", msft_name=label) for name, label in TAGS.items()}
    binds = {f"msft_{name}@odata.bind": f"/msft_{name}s({row[f'msft_{name}id']})" for name, row in rows.items()}
    opportunity = crm.add_deal(
        sync=True, name="Trams", intent="Yes", help=HELP, description="For the board", owner=MIRA, team=[OLAV, MIRA], **binds
    )["id"]
    referral = deals.wait_identifier(opportunity)
    wait_team(deals, referral, MIRA, OLAV)
    ours = deals.referral(referral)
    tags = ours["details"]["requirements"]["additionalRequirements"]["attributes"]
    assert {(each["type"], each["id"]) for each in tags} == {
        ("CustomerMarketplaceIntent", "Yes"),
        ("PartnerRole", "Transaction"),
        ("SolutionArea", "Infrastructure"),
        ("SolutionPlay", "Migration"),
    }
    [theirs] = deals.microsofts(ours["engagementId"])
    assert theirs["inviteContext"]["notes"] == "For the board"
    assert theirs["inviteContext"]["assistanceRequestCode"] == "QuotesOrLicensing"
    # Connections do not touch the opportunity; what the seller saves with them does.
    crm.edit_deal(opportunity, owner=OLAV, team=[KARI], description="For everybody")
    wait_team(deals, referral, OLAV, KARI)
    assert deals.stack.topics.read("dead-letters") == []


def test_deal_of_partner_center_gets_the_sellers_team(deals: Deals) -> None:
    referral = deals.new("partner-led")
    row = deals.opportunity(referral)
    assert row is not None
    before = team_at_partner_center(deals, referral)
    assert before and row["description"] == deals.referral(referral)["details"]["notes"]
    deals.dynamics_365.edit_deal(row["opportunityid"], owner=MIRA, team=[KARI])
    wait_team(deals, referral, MIRA, KARI)
    # The CRM's list holds; another one there stays until the seller changes his.
    other = {"firstName": "Robin", "lastName": "Seller", "email": "robin.seller@fabrikam.example"}
    deals.partner_center.edit_referral(referral, team=[other], details={"notes": "Another team"})
    wait_until(
        lambda: (deals.opportunity(referral) or row)["description"] == "Another team", DEADLINE, "the notes are in the CRM"
    )
    deals.wait_quiet(referral)
    assert team_at_partner_center(deals, referral) == {other["email"]}
    deals.dynamics_365.edit_deal(row["opportunityid"], owner=OLAV, description="Mine again")
    wait_team(deals, referral, OLAV, KARI)
    assert deals.stack.topics.read("dead-letters") == []
