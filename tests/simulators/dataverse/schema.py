"""The tables of the sandbox: standard columns of the Dataverse reference (sections 7, 8, 16) and the columns of the
co-sell connector's solution (Partner Center reference, 5.3).

The integer codes of the connector's choices are unconfirmed; the ones here are invented in the solution's range.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from dataverse.columns import Column, Kind, Option

MONEY_LIMIT = Decimal("1000000000000")
CHOICE_BASE = 299_600_000


@dataclass(frozen=True)
class Key:
    """An alternate key: its columns are unique together, and rows can be addressed by them."""

    name: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    logical_name: str
    entity_set: str
    schema_name: str
    primary_id: str
    primary_name: str
    column_list: tuple[Column, ...]
    keys: tuple[Key, ...] = ()
    change_tracking: bool = False
    writable: bool = True

    @cached_property
    def columns(self) -> Mapping[str, Column]:
        return {column.name: column for column in self.column_list}

    @cached_property
    def properties(self) -> Mapping[str, Column]:
        """Columns by the name under which they are read."""
        return {column.property_name: column for column in self.column_list if column.read}

    @cached_property
    def navigation(self) -> Mapping[str, tuple[Column, str]]:
        """Single-valued navigation properties: the lookup behind each and the logical name of its target."""
        return {
            name: (column, target)
            for column in self.column_list
            if column.kind is Kind.LOOKUP
            for name, target in column.navigation.items()
        }

    @property
    def has_currency(self) -> bool:
        return "transactioncurrencyid" in self.columns and self.logical_name != "transactioncurrency"

    def status_options(self, state: int) -> tuple[Option, ...]:
        return tuple(option for option in self.columns["statuscode"].options if option.state == state)


def _text(name: str, length: int, label: str = "", required: bool = False) -> Column:
    return Column(name, Kind.TEXT, label, max_length=length, required=required)


def _memo(name: str, length: int, label: str = "") -> Column:
    return Column(name, Kind.MEMO, label, max_length=length)


def _whole(name: str, minimum: int, maximum: int, label: str = "", required: bool = False) -> Column:
    return Column(name, Kind.INTEGER, label, minimum=Decimal(minimum), maximum=Decimal(maximum), required=required)


def _boolean(name: str, label: str = "", yes: str = "Yes", no: str = "No") -> Column:
    return Column(name, Kind.BOOLEAN, label, true_label=yes, false_label=no)


def _money(name: str, label: str = "") -> tuple[Column, Column]:
    """A money column and its computed companion in the organisation's currency."""
    column = Column(name, Kind.MONEY, label, minimum=-MONEY_LIMIT, maximum=MONEY_LIMIT, precision=2)
    base = Column(f"{name}_base", Kind.MONEY, f"{label} (Base)", precision=2, create=False, update=False)
    return column, base


def _choice(name: str, label: str, *labels: str, first: int = 0) -> Column:
    options = tuple(Option(first + index, text) for index, text in enumerate(labels))
    return Column(name, Kind.CHOICE, label, options=options)


def _lookup(name: str, targets: dict[str, str] | str, label: str = "", update: bool = True) -> Column:
    navigation = {name: targets} if isinstance(targets, str) else targets
    return Column(name, Kind.LOOKUP, label, navigation=navigation, update=update)


def _date(name: str, label: str = "") -> Column:
    return Column(name, Kind.DATE_ONLY, label)


def _id(name: str) -> Column:
    return Column(name, Kind.UNIQUE_ID, update=False, required=True)


def _state(*states: tuple[int, str, tuple[tuple[int, str], ...]]) -> tuple[Column, Column]:
    state_options = tuple(Option(value, label) for value, label, _ in states)
    status_options = tuple(Option(value, label, state) for state, _, statuses in states for value, label in statuses)
    return (
        Column("statecode", Kind.STATE, "Status", options=state_options, create=False),
        Column("statuscode", Kind.STATUS, "Status Reason", options=status_options),
    )


_ACTIVE_OR_NOT = _state((0, "Active", ((1, "Active"),)), (1, "Inactive", ((2, "Inactive"),)))
_ENABLED_OR_NOT = _state((0, "Enabled", ((1, "Enabled"),)), (1, "Disabled", ((2, "Disabled"),)))


def _computed(name: str, kind: Kind, label: str, target: str = "", precision: int = 0) -> Column:
    navigation = {name: target} if target else {}
    return Column(name, kind, label, navigation=navigation, precision=precision, create=False, update=False)


_AUDIT = (
    _computed("createdon", Kind.DATE_TIME, "Created On"),
    _computed("createdby", Kind.LOOKUP, "Created By", "systemuser"),
    _computed("modifiedon", Kind.DATE_TIME, "Modified On"),
    _computed("modifiedby", Kind.LOOKUP, "Modified By", "systemuser"),
    _computed("modifiedonbehalfby", Kind.LOOKUP, "Modified By (Delegate)", "systemuser"),
    _computed("versionnumber", Kind.BIG_INTEGER, "Version Number"),
)
_BUSINESS = (
    *_AUDIT,
    _lookup("ownerid", "systemuser", "Owner"),
    Column("overriddencreatedon", Kind.DATE_ONLY, "Record Created On", update=False),
)
_CURRENCY = (
    _lookup("transactioncurrencyid", "transactioncurrency", "Currency"),
    _computed("exchangerate", Kind.DECIMAL, "Exchange Rate", precision=10),
)
_REFERRAL = (
    _boolean("msft_microsoftpartnercenterreferralsync", "Sync with Partner Center"),
    _text("msft_microsoftpartnercenterreferralidentifier", 100, "Referral Identifier"),
    _text("msft_microsoftpartnercenterreferrallink", 500, "Referral Link"),
    _text("msft_microsoftpartnercenterreferralprogram", 200, "Referral Program"),
    _memo("msft_microsoftpartnercenterreferralsyncaudit", 100_000, "Audit"),
)
# A column of the organisation's own, so that every kind of value occurs.
_REGIONS = tuple(Option(100_000_000 + index, label) for index, label in enumerate(("North", "East", "South", "West")))
_ADDRESS = (
    _text("address1_line1", 250),
    _text("address1_line2", 250),
    _text("address1_city", 80),
    _text("address1_stateorprovince", 50),
    _text("address1_postalcode", 20),
    _text("address1_country", 80),
)


def _named(logical_name: str, entity_set: str, schema_name: str, extra: tuple[Column, ...] = ()) -> Table:
    columns = (_id(f"{logical_name}id"), _text("msft_name", 200, "Name"), *extra, *_ACTIVE_OR_NOT, *_AUDIT)
    return Table(logical_name, entity_set, schema_name, f"{logical_name}id", "msft_name", columns)


OPPORTUNITY = Table(
    "opportunity",
    "opportunities",
    "Opportunity",
    "opportunityid",
    "name",
    (
        _id("opportunityid"),
        _text("name", 300, "Topic"),
        _memo("description", 2000, "Description"),
        *_money("estimatedvalue", "Est. Revenue"),
        *_money("actualvalue", "Actual Revenue"),
        *_money("budgetamount", "Budget Amount"),
        _boolean("isrevenuesystemcalculated", "Revenue", "System Calculated", "User Provided"),
        _date("estimatedclosedate", "Est. Close Date"),
        _date("actualclosedate", "Actual Close Date"),
        _date("finaldecisiondate", "Final Decision Date"),
        _whole("closeprobability", 0, 100, "Probability"),
        _lookup("customerid", {"customerid_account": "account", "customerid_contact": "contact"}, "Potential Customer"),
        _lookup("parentaccountid", "account", "Account"),
        _lookup("parentcontactid", "contact", "Contact"),
        _lookup("originatingleadid", "lead", "Originating Lead", update=False),
        _choice("salesstage", "Sales Stage", "Qualify", "Develop", "Propose", "Close"),
        _text("stepname", 200, "Pipeline Phase"),
        _choice("opportunityratingcode", "Rating", "Hot", "Warm", "Cold", first=1),
        _choice(
            "purchasetimeframe",
            "Purchase Timeframe",
            "Immediate",
            "This Quarter",
            "Next Quarter",
            "This Year",
            "Unknown",
        ),
        _choice("need", "Need", "Must have", "Should have", "Good to have", "No need"),
        _choice("budgetstatus", "Budget", "No Committed Budget", "May Buy", "Can Buy", "Will Buy"),
        _memo("customerneed", 2000, "Customer Need"),
        _memo("proposedsolution", 2000, "Proposed Solution"),
        _memo("currentsituation", 2000, "Current Situation"),
        _memo("qualificationcomments", 2000, "Qualification Comments"),
        _text("emailaddress", 100, "Email Address"),
        *_state(
            (0, "Open", ((1, "In Progress"), (2, "On Hold"))),
            (1, "Won", ((3, "Won"),)),
            (2, "Lost", ((4, "Canceled"), (5, "Out-Sold"))),
        ),
        *_CURRENCY,
        *_REFERRAL,
        _choice(
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
        _boolean("msft_microsoftpartnercenterreferralvisible", "Referral visible to Microsoft sellers"),
        _text("msft_microsoftcrmidentifier", 100, "Microsoft CRM Identifier"),
        _text("msft_microsoftpartnercentersolutions", 255, "Products"),
        _choice("msft_coselltype", "Co-sell Type", "IP Co-sell", "Services Co-sell", first=CHOICE_BASE),
        _choice(
            "msft_customerpurchaseintent", "Customer purchase intent", "Yes", "No", "HaveNotDecided", first=CHOICE_BASE
        ),
        _lookup("msft_partnerrole", "msft_partnerrole", "Partner role"),
        _lookup("msft_solutionarea", "msft_solutionarea", "Solution area"),
        _lookup("msft_solutionplay", "msft_solutionplay", "Solution play"),
        Column("cosl_regions", Kind.MULTI_CHOICE, "Regions", options=_REGIONS),
        *_BUSINESS,
    ),
    (Key("msft_referralidentifier", ("msft_microsoftpartnercenterreferralidentifier",)),),
    change_tracking=True,
)

LEAD = Table(
    "lead",
    "leads",
    "Lead",
    "leadid",
    "fullname",
    (
        _id("leadid"),
        _text("subject", 300, "Topic"),
        _text("firstname", 50),
        _text("lastname", 50),
        Column("fullname", Kind.TEXT, "Name", max_length=160, create=False, update=False),
        _text("companyname", 100),
        _text("emailaddress1", 100),
        _text("telephone1", 50),
        _text("websiteurl", 200),
        _memo("description", 2000),
        *_money("revenue", "Annual Revenue"),
        *_money("budgetamount", "Budget Amount"),
        _whole("numberofemployees", 0, 1_000_000),
        _date("estimatedclosedate", "Est. Close Date"),
        _lookup("parentaccountid", "account"),
        _lookup("parentcontactid", "contact"),
        _lookup("qualifyingopportunityid", "opportunity"),
        *_ADDRESS,
        *_state(
            (0, "Open", ((1, "New"), (2, "Contacted"))),
            (1, "Qualified", ((3, "Qualified"),)),
            (
                2,
                "Disqualified",
                ((4, "Lost"), (5, "Cannot Contact"), (6, "No Longer Interested"), (7, "Canceled")),
            ),
        ),
        *_CURRENCY,
        *_REFERRAL,
        *_BUSINESS,
    ),
    (Key("msft_leadreferralidentifier", ("msft_microsoftpartnercenterreferralidentifier",)),),
    change_tracking=True,
)

ACCOUNT = Table(
    "account",
    "accounts",
    "Account",
    "accountid",
    "name",
    (
        _id("accountid"),
        _text("name", 160, "Account Name"),
        _text("accountnumber", 20, "Account Number"),
        _text("emailaddress1", 100),
        _text("telephone1", 50),
        _text("websiteurl", 200),
        _memo("description", 2000),
        *_money("revenue", "Annual Revenue"),
        _whole("numberofemployees", 0, 1_000_000_000),
        _lookup("parentaccountid", "account"),
        _lookup("primarycontactid", "contact"),
        *_ADDRESS,
        *_ACTIVE_OR_NOT,
        *_CURRENCY,
        *_BUSINESS,
    ),
    (Key("accountnumber_key", ("accountnumber",)),),
    change_tracking=True,
)

CONTACT = Table(
    "contact",
    "contacts",
    "Contact",
    "contactid",
    "fullname",
    (
        _id("contactid"),
        _text("firstname", 50),
        _text("lastname", 50),
        Column("fullname", Kind.TEXT, "Full Name", max_length=160, create=False, update=False),
        _text("jobtitle", 100),
        _text("emailaddress1", 100),
        _text("telephone1", 50),
        _text("mobilephone", 50),
        _lookup(
            "parentcustomerid",
            {"parentcustomerid_account": "account", "parentcustomerid_contact": "contact"},
            "Company Name",
        ),
        *_ADDRESS,
        *_ACTIVE_OR_NOT,
        *_CURRENCY,
        *_BUSINESS,
    ),
    change_tracking=True,
)

TRANSACTION_CURRENCY = Table(
    "transactioncurrency",
    "transactioncurrencies",
    "TransactionCurrency",
    "transactioncurrencyid",
    "currencyname",
    (
        _id("transactioncurrencyid"),
        _text("currencyname", 100, "Currency Name", required=True),
        _text("isocurrencycode", 5, "Currency Code", required=True),
        _text("currencysymbol", 13, "Currency Symbol"),
        _whole("currencyprecision", 0, 4),
        Column(
            "exchangerate",
            Kind.DECIMAL,
            "Exchange Rate",
            minimum=Decimal("0.0000000001"),
            maximum=Decimal("100000000000"),
            precision=10,
            required=True,
        ),
        *_ACTIVE_OR_NOT,
        *_AUDIT,
    ),
)

OPPORTUNITY_CLOSE = Table(
    "opportunityclose",
    "opportunitycloses",
    "OpportunityClose",
    "activityid",
    "subject",
    (
        _id("activityid"),
        _text("subject", 400, "Subject"),
        _memo("description", 2000, "Description"),
        *_money("actualrevenue", "Actual Revenue"),
        _date("actualend", "Close Date"),
        _lookup("opportunityid", "opportunity", "Opportunity"),
        Column("opportunitystatecode", Kind.INTEGER, "Opportunity Status", create=False, update=False),
        Column("opportunitystatuscode", Kind.INTEGER, "Opportunity Status Reason", create=False, update=False),
        *_state(
            (0, "Open", ((1, "Open"),)), (1, "Completed", ((2, "Completed"),)), (2, "Canceled", ((3, "Canceled"),))
        ),
        *_CURRENCY,
        *_BUSINESS,
    ),
)

SYSTEM_USER = Table(
    "systemuser",
    "systemusers",
    "SystemUser",
    "systemuserid",
    "fullname",
    (
        _id("systemuserid"),
        _text("fullname", 200, "Full Name"),
        _text("domainname", 1024, "User Name"),
        _text("internalemailaddress", 100, "Primary Email"),
        Column("applicationid", Kind.UNIQUE_ID, "Application ID"),
        Column("azureactivedirectoryobjectid", Kind.UNIQUE_ID, "Microsoft Entra Object ID"),
        _boolean("isdisabled", "Status", "Disabled", "Enabled"),
        *_AUDIT,
    ),
    writable=False,
)

SERVICE_ENDPOINT = Table(
    "serviceendpoint",
    "serviceendpoints",
    "ServiceEndpoint",
    "serviceendpointid",
    "name",
    (
        _id("serviceendpointid"),
        _text("name", 256, required=True),
        _choice(
            "contract",
            "Contract",
            "OneWay",
            "Queue",
            "Rest",
            "TwoWay",
            "Topic",
            "Queue",
            "EventHub",
            "Webhook",
            first=1,
        ),
        _choice(
            "authtype",
            "Auth Type",
            "NotSpecified",
            "ACS",
            "SASKey",
            "SASToken",
            "WebhookKey",
            "HttpHeader",
            "HttpQueryString",
        ),
        Column("authvalue", Kind.TEXT, max_length=2048, read=False),
        Column("isauthvalueset", Kind.BOOLEAN, create=False, update=False),
        _text("url", 2000),
        _text("description", 256),
        *_AUDIT,
    ),
)

SDK_MESSAGE = Table(
    "sdkmessage",
    "sdkmessages",
    "SdkMessage",
    "sdkmessageid",
    "name",
    (_id("sdkmessageid"), _text("name", 256), _text("categoryname", 25), *_AUDIT),
    writable=False,
)

SDK_MESSAGE_FILTER = Table(
    "sdkmessagefilter",
    "sdkmessagefilters",
    "SdkMessageFilter",
    "sdkmessagefilterid",
    "name",
    (
        _id("sdkmessagefilterid"),
        _text("name", 256),
        _text("primaryobjecttypecode", 100),
        _text("secondaryobjecttypecode", 100),
        _boolean("iscustomprocessingstepallowed"),
        _lookup("sdkmessageid", "sdkmessage"),
        *_AUDIT,
    ),
    writable=False,
)

PROCESSING_STEP = Table(
    "sdkmessageprocessingstep",
    "sdkmessageprocessingsteps",
    "SdkMessageProcessingStep",
    "sdkmessageprocessingstepid",
    "name",
    (
        _id("sdkmessageprocessingstepid"),
        _text("name", 256),
        _text("description", 256),
        Column("mode", Kind.CHOICE, options=(Option(0, "Synchronous"), Option(1, "Asynchronous")), required=True),
        Column(
            "stage",
            Kind.CHOICE,
            options=(Option(10, "Pre-validation"), Option(20, "Pre-operation"), Option(40, "Post-operation")),
            required=True,
        ),
        _whole("rank", -2_147_483_648, 2_147_483_647),
        _choice(
            "supporteddeployment", "Deployment", "Server Only", "Microsoft Dynamics 365 Client for Outlook Only", "Both"
        ),
        _boolean("asyncautodelete"),
        _text("filteringattributes", 100_000),
        _text("configuration", 1_073_741_823),
        _lookup("eventhandler", {"eventhandler_serviceendpoint": "serviceendpoint"}),
        _lookup("sdkmessageid", "sdkmessage"),
        _lookup("sdkmessagefilterid", "sdkmessagefilter"),
        *_ENABLED_OR_NOT,
        *_AUDIT,
    ),
)

STEP_IMAGE = Table(
    "sdkmessageprocessingstepimage",
    "sdkmessageprocessingstepimages",
    "SdkMessageProcessingStepImage",
    "sdkmessageprocessingstepimageid",
    "name",
    (
        _id("sdkmessageprocessingstepimageid"),
        _text("name", 256),
        Column(
            "imagetype",
            Kind.CHOICE,
            options=(Option(0, "PreImage"), Option(1, "PostImage"), Option(2, "Both")),
            required=True,
        ),
        _text("entityalias", 256, required=True),
        _text("attributes", 100_000),
        _text("messagepropertyname", 256, required=True),
        _lookup("sdkmessageprocessingstepid", "sdkmessageprocessingstep"),
        *_AUDIT,
    ),
)

TABLES: Mapping[str, Table] = {
    table.logical_name: table
    for table in (
        OPPORTUNITY,
        LEAD,
        ACCOUNT,
        CONTACT,
        TRANSACTION_CURRENCY,
        OPPORTUNITY_CLOSE,
        SYSTEM_USER,
        SERVICE_ENDPOINT,
        SDK_MESSAGE,
        SDK_MESSAGE_FILTER,
        PROCESSING_STEP,
        STEP_IMAGE,
        _named("msft_partnerrole", "msft_partnerroles", "msft_PartnerRole"),
        _named("msft_solutionarea", "msft_solutionareas", "msft_SolutionArea"),
        _named(
            "msft_solutionplay",
            "msft_solutionplays",
            "msft_SolutionPlay",
            (_lookup("msft_solutionarea", "msft_solutionarea", "Solution area"),),
        ),
    )
}
ENTITY_SETS: Mapping[str, Table] = {table.entity_set: table for table in TABLES.values()}
BUSINESS_TABLES = ("opportunity", "lead", "account", "contact", "opportunityclose")
MESSAGES = ("Create", "Update", "Delete", "Win", "Lose")
