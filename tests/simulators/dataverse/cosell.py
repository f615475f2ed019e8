"""What the co-sell connector's solution adds to an organisation (Partner Center reference, 5.3): columns of opportunity
and lead, and tables of its own.

The integer codes of its choices, and the names of the tables of solutions, are unconfirmed; the ones here are likely, the
codes are invented in the solution's range.
"""

from __future__ import annotations

from dataverse.columns import Column
from dataverse.table import (
    ACTIVE_OR_NOT,
    AUDIT,
    CURRENCY,
    Key,
    Table,
    boolean,
    choice,
    identifier,
    lookup,
    memo,
    money,
    text,
    whole,
)

CHOICE_BASE = 299_600_000

REFERRAL_COLUMNS = (
    boolean("msft_microsoftpartnercenterreferralsync", "Sync with Partner Center"),
    text("msft_microsoftpartnercenterreferralidentifier", 100, "Referral Identifier"),
    text("msft_microsoftpartnercenterreferrallink", 500, "Referral Link"),
    text("msft_microsoftpartnercenterreferralprogram", 200, "Referral Program"),
    memo("msft_microsoftpartnercenterreferralsyncaudit", 100_000, "Audit"),
)
OPPORTUNITY_COLUMNS = (
    choice(
        "msft_microsoftpartnercenterhelp",
        "How can Microsoft help?",
        "Workload Specific Value Proposition",
        "Customer Technical Architecture",
        "Proof Of Concept or Demo",
        "Quotes or Licensing",
        "Post Sales Customer Success",
        "General or Other",
        first=CHOICE_BASE,
    ),
    boolean("msft_microsoftpartnercenterreferralvisible", "Referral visible to Microsoft sellers"),
    text("msft_microsoftcrmidentifier", 100, "Microsoft CRM Identifier"),
    text("msft_microsoftpartnercentersolutions", 255, "Products"),
    choice("msft_coselltype", "Co-sell Type", "IP Co-sell", "Services Co-sell", first=CHOICE_BASE),
    choice("msft_customerpurchaseintent", "Customer purchase intent", "Yes", "No", "HaveNotDecided", first=CHOICE_BASE),
    lookup("msft_partnerrole", "msft_partnerrole", "Partner role"),
    lookup("msft_solutionarea", "msft_solutionarea", "Solution area"),
    lookup("msft_solutionplay", "msft_solutionplay", "Solution play"),
)


def named(logical_name: str, entity_set: str, schema_name: str, extra: tuple[Column, ...] = ()) -> Table:
    columns = (identifier(f"{logical_name}id"), text("msft_name", 200, "Name"), *extra, *ACTIVE_OR_NOT, *AUDIT)
    return Table(logical_name, entity_set, schema_name, f"{logical_name}id", "msft_name", columns)


MICROSOFT_SOLUTION = Table(
    "msft_microsoftsolution",
    "msft_microsoftsolutions",
    "msft_MicrosoftSolution",
    "msft_microsoftsolutionid",
    "msft_name",
    (
        identifier("msft_microsoftsolutionid"),
        text("msft_name", 200, "Name"),
        lookup(
            "msft_opportunityid",
            "opportunity",
            "Opportunity",
            collections={"opportunity": "msft_opportunity_msft_microsoftsolution"},
        ),
        lookup(
            "msft_solutionid",
            "msft_microsoftsolutiondetail",
            "Solution",
            collections={
                "msft_microsoftsolutiondetail": "msft_microsoftsolutiondetail_msft_microsoftsolution",
            },
        ),
        *money("msft_price", "Price"),
        whole("msft_quantity", 0, 1_000_000_000, "Quantity"),
        *ACTIVE_OR_NOT,
        *CURRENCY,
        *AUDIT,
    ),
    change_tracking=True,
)

MICROSOFT_SOLUTION_DETAIL = Table(
    "msft_microsoftsolutiondetail",
    "msft_microsoftsolutiondetails",
    "msft_MicrosoftSolutionDetail",
    "msft_microsoftsolutiondetailid",
    "msft_name",
    (
        identifier("msft_microsoftsolutiondetailid"),
        text("msft_name", 200, "Name"),
        text("msft_solutionidentifier", 100, "Solution Identifier", required=True),
        choice("msft_type", "Type", "1P", "3P", first=CHOICE_BASE),
        text("msft_publishername", 200, "Publisher Name"),
        *ACTIVE_OR_NOT,
        *AUDIT,
    ),
    (Key("msft_solutionidentifier_key", ("msft_solutionidentifier",)),),
    change_tracking=True,
)

TABLES = (
    MICROSOFT_SOLUTION,
    MICROSOFT_SOLUTION_DETAIL,
    named("msft_partnerrole", "msft_partnerroles", "msft_PartnerRole"),
    named("msft_solutionarea", "msft_solutionareas", "msft_SolutionArea"),
    named(
        "msft_solutionplay",
        "msft_solutionplays",
        "msft_SolutionPlay",
        (lookup("msft_solutionarea", "msft_solutionarea", "Solution area"),),
    ),
)
