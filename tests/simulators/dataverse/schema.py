"""The tables of the sandbox: standard ones with the columns of the Dataverse reference (sections 7, 8, 16), and those of
the co-sell connector's solution.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from dataverse import cosell
from dataverse.columns import Column, Kind, Option
from dataverse.cosell import OPPORTUNITY_COLUMNS, REFERRAL_COLUMNS
from dataverse.table import (
    ACTIVE_OR_NOT,
    ADDRESS,
    AUDIT,
    BUSINESS,
    CURRENCY,
    ENABLED_OR_NOT,
    Collection,
    Key,
    Table,
    boolean,
    choice,
    computed,
    date,
    identifier,
    lookup,
    memo,
    money,
    state,
    text,
    whole,
)

# A column of the organisation's own, so that every kind of value occurs.
_REGIONS = tuple(Option(100_000_000 + index, label) for index, label in enumerate(("North", "East", "South", "West")))

OPPORTUNITY = Table(
    "opportunity",
    "opportunities",
    "Opportunity",
    "opportunityid",
    "name",
    (
        identifier("opportunityid"),
        text("name", 300, "Topic"),
        memo("description", 2000, "Description"),
        *money("estimatedvalue", "Est. Revenue"),
        *money("actualvalue", "Actual Revenue"),
        *money("budgetamount", "Budget Amount"),
        boolean("isrevenuesystemcalculated", "Revenue", "System Calculated", "User Provided"),
        date("estimatedclosedate", "Est. Close Date"),
        date("actualclosedate", "Actual Close Date"),
        date("finaldecisiondate", "Final Decision Date"),
        whole("closeprobability", 0, 100, "Probability"),
        lookup(
            "customerid",
            {"customerid_account": "account", "customerid_contact": "contact"},
            "Potential Customer",
            collections={"account": "opportunity_customer_accounts", "contact": "opportunity_customer_contacts"},
        ),
        lookup("parentaccountid", "account", "Account", collections={"account": "opportunity_parent_account"}),
        lookup("parentcontactid", "contact", "Contact", collections={"contact": "opportunity_parent_contact"}),
        lookup("originatingleadid", "lead", "Originating Lead", update=False),
        choice("salesstage", "Sales Stage", "Qualify", "Develop", "Propose", "Close"),
        text("stepname", 200, "Pipeline Phase"),
        choice("opportunityratingcode", "Rating", "Hot", "Warm", "Cold", first=1),
        choice(
            "purchasetimeframe",
            "Purchase Timeframe",
            "Immediate",
            "This Quarter",
            "Next Quarter",
            "This Year",
            "Unknown",
        ),
        choice("need", "Need", "Must have", "Should have", "Good to have", "No need"),
        choice("budgetstatus", "Budget", "No Committed Budget", "May Buy", "Can Buy", "Will Buy"),
        memo("customerneed", 2000, "Customer Need"),
        memo("proposedsolution", 2000, "Proposed Solution"),
        memo("currentsituation", 2000, "Current Situation"),
        memo("qualificationcomments", 2000, "Qualification Comments"),
        text("emailaddress", 100, "Email Address"),
        *state(
            (0, "Open", ((1, "In Progress"), (2, "On Hold"))),
            (1, "Won", ((3, "Won"),)),
            (2, "Lost", ((4, "Canceled"), (5, "Out-Sold"))),
        ),
        *CURRENCY,
        *REFERRAL_COLUMNS,
        *OPPORTUNITY_COLUMNS,
        Column("cosl_regions", Kind.MULTI_CHOICE, "Regions", options=_REGIONS),
        *BUSINESS,
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
        identifier("leadid"),
        text("subject", 300, "Topic"),
        text("firstname", 50),
        text("lastname", 50),
        Column("fullname", Kind.TEXT, "Name", max_length=160, create=False, update=False),
        text("companyname", 100),
        text("emailaddress1", 100),
        text("telephone1", 50),
        text("websiteurl", 200),
        memo("description", 2000),
        *money("revenue", "Annual Revenue"),
        *money("budgetamount", "Budget Amount"),
        whole("numberofemployees", 0, 1_000_000),
        date("estimatedclosedate", "Est. Close Date"),
        lookup("parentaccountid", "account"),
        lookup("parentcontactid", "contact"),
        lookup("qualifyingopportunityid", "opportunity"),
        *ADDRESS,
        *state(
            (0, "Open", ((1, "New"), (2, "Contacted"))),
            (1, "Qualified", ((3, "Qualified"),)),
            (
                2,
                "Disqualified",
                ((4, "Lost"), (5, "Cannot Contact"), (6, "No Longer Interested"), (7, "Canceled")),
            ),
        ),
        *CURRENCY,
        *REFERRAL_COLUMNS,
        *BUSINESS,
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
        identifier("accountid"),
        text("name", 160, "Account Name"),
        text("accountnumber", 20, "Account Number"),
        text("emailaddress1", 100),
        text("telephone1", 50),
        text("websiteurl", 200),
        memo("description", 2000),
        *money("revenue", "Annual Revenue"),
        whole("numberofemployees", 0, 1_000_000_000),
        lookup("parentaccountid", "account"),
        lookup("primarycontactid", "contact"),
        *ADDRESS,
        *ACTIVE_OR_NOT,
        *CURRENCY,
        *BUSINESS,
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
        identifier("contactid"),
        text("firstname", 50),
        text("lastname", 50),
        Column("fullname", Kind.TEXT, "Full Name", max_length=160, create=False, update=False),
        text("jobtitle", 100),
        text("emailaddress1", 100),
        text("telephone1", 50),
        text("mobilephone", 50),
        lookup(
            "parentcustomerid",
            {"parentcustomerid_account": "account", "parentcustomerid_contact": "contact"},
            "Company Name",
            collections={"account": "contact_customer_accounts"},
        ),
        *ADDRESS,
        *ACTIVE_OR_NOT,
        *CURRENCY,
        *BUSINESS,
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
        identifier("transactioncurrencyid"),
        text("currencyname", 100, "Currency Name", required=True),
        text("isocurrencycode", 5, "Currency Code", required=True),
        text("currencysymbol", 13, "Currency Symbol"),
        whole("currencyprecision", 0, 4),
        Column(
            "exchangerate",
            Kind.DECIMAL,
            "Exchange Rate",
            minimum=Decimal("0.0000000001"),
            maximum=Decimal("100000000000"),
            precision=10,
            required=True,
        ),
        *ACTIVE_OR_NOT,
        *AUDIT,
    ),
)

OPPORTUNITY_CLOSE = Table(
    "opportunityclose",
    "opportunitycloses",
    "OpportunityClose",
    "activityid",
    "subject",
    (
        identifier("activityid"),
        text("subject", 400, "Subject"),
        memo("description", 2000, "Description"),
        *money("actualrevenue", "Actual Revenue"),
        date("actualend", "Close Date"),
        lookup("opportunityid", "opportunity", "Opportunity"),
        Column("opportunitystatecode", Kind.INTEGER, "Opportunity Status", create=False, update=False),
        Column("opportunitystatuscode", Kind.INTEGER, "Opportunity Status Reason", create=False, update=False),
        *state((0, "Open", ((1, "Open"),)), (1, "Completed", ((2, "Completed"),)), (2, "Canceled", ((3, "Canceled"),))),
        *CURRENCY,
        *BUSINESS,
    ),
)

SYSTEM_USER = Table(
    "systemuser",
    "systemusers",
    "SystemUser",
    "systemuserid",
    "fullname",
    (
        identifier("systemuserid"),
        text("firstname", 256, "First Name"),
        text("lastname", 256, "Last Name"),
        computed("fullname", Kind.TEXT, "Full Name"),
        text("domainname", 1024, "User Name"),
        text("internalemailaddress", 100, "Primary Email"),
        text("address1_telephone1", 64, "Main Phone"),
        text("title", 128, "Title"),
        Column("applicationid", Kind.UNIQUE_ID, "Application ID"),
        Column("azureactivedirectoryobjectid", Kind.UNIQUE_ID, "Microsoft Entra Object ID"),
        boolean("isdisabled", "Status", "Disabled", "Enabled"),
        *AUDIT,
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
        identifier("serviceendpointid"),
        text("name", 256, required=True),
        choice(
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
        choice(
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
        text("url", 2000),
        text("description", 256),
        *AUDIT,
    ),
)

SDK_MESSAGE = Table(
    "sdkmessage",
    "sdkmessages",
    "SdkMessage",
    "sdkmessageid",
    "name",
    (identifier("sdkmessageid"), text("name", 256), text("categoryname", 25), *AUDIT),
    writable=False,
)

SDK_MESSAGE_FILTER = Table(
    "sdkmessagefilter",
    "sdkmessagefilters",
    "SdkMessageFilter",
    "sdkmessagefilterid",
    "name",
    (
        identifier("sdkmessagefilterid"),
        text("name", 256),
        text("primaryobjecttypecode", 100),
        text("secondaryobjecttypecode", 100),
        boolean("iscustomprocessingstepallowed"),
        lookup("sdkmessageid", "sdkmessage"),
        *AUDIT,
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
        identifier("sdkmessageprocessingstepid"),
        text("name", 256),
        text("description", 256),
        Column("mode", Kind.CHOICE, options=(Option(0, "Synchronous"), Option(1, "Asynchronous")), required=True),
        Column(
            "stage",
            Kind.CHOICE,
            options=(Option(10, "Pre-validation"), Option(20, "Pre-operation"), Option(40, "Post-operation")),
            required=True,
        ),
        whole("rank", -2_147_483_648, 2_147_483_647),
        choice(
            "supporteddeployment", "Deployment", "Server Only", "Microsoft Dynamics 365 Client for Outlook Only", "Both"
        ),
        boolean("asyncautodelete"),
        text("filteringattributes", 100_000),
        text("configuration", 1_073_741_823),
        lookup(
            "eventhandler",
            {"eventhandler_serviceendpoint": "serviceendpoint"},
            collections={"serviceendpoint": "serviceendpoint_sdkmessageprocessingstep"},
        ),
        lookup("sdkmessageid", "sdkmessage"),
        lookup("sdkmessagefilterid", "sdkmessagefilter"),
        *ENABLED_OR_NOT,
        *AUDIT,
    ),
)

STEP_IMAGE = Table(
    "sdkmessageprocessingstepimage",
    "sdkmessageprocessingstepimages",
    "SdkMessageProcessingStepImage",
    "sdkmessageprocessingstepimageid",
    "name",
    (
        identifier("sdkmessageprocessingstepimageid"),
        text("name", 256),
        Column(
            "imagetype",
            Kind.CHOICE,
            options=(Option(0, "PreImage"), Option(1, "PostImage"), Option(2, "Both")),
            required=True,
        ),
        text("entityalias", 256, required=True),
        text("attributes", 100_000),
        text("messagepropertyname", 256, required=True),
        lookup(
            "sdkmessageprocessingstepid",
            "sdkmessageprocessingstep",
            collections={"sdkmessageprocessingstep": "sdkmessageprocessingstepid_sdkmessageprocessingstepimage"},
        ),
        *AUDIT,
    ),
)

_CONNECTED = ("opportunity", "systemuser", "contact", "account")

CONNECTION = Table(
    "connection",
    "connections",
    "Connection",
    "connectionid",
    "name",
    (
        identifier("connectionid"),
        text("name", 500, "Name"),
        memo("description", 10_000, "Description"),
        lookup(
            "record1id",
            {f"record1id_{table}": table for table in _CONNECTED},
            "Connected From",
            collections={"opportunity": "opportunity_connections1"},
        ),
        lookup("record2id", {f"record2id_{table}": table for table in _CONNECTED}, "Connected To"),
        lookup("record1roleid", "connectionrole", "Role (From)"),
        lookup("record2roleid", "connectionrole", "Role (To)"),
        *ACTIVE_OR_NOT,
        *BUSINESS,
    ),
    change_tracking=True,
)

CONNECTION_ROLE = Table(
    "connectionrole",
    "connectionroles",
    "ConnectionRole",
    "connectionroleid",
    "name",
    (
        identifier("connectionroleid"),
        text("name", 100, "Name", required=True),
        Column(
            "category",
            Kind.CHOICE,
            "Connection Role Category",
            options=(Option(1000, "Stakeholder"), Option(1001, "Sales Team"), Option(1002, "Service")),
        ),
        *ACTIVE_OR_NOT,
        *AUDIT,
    ),
    writable=False,
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
        CONNECTION,
        CONNECTION_ROLE,
        *cosell.TABLES,
    )
}
ENTITY_SETS: Mapping[str, Table] = {table.entity_set: table for table in TABLES.values()}
COLLECTIONS: Mapping[str, Mapping[str, Collection]] = {
    logical_name: {
        name: Collection(name, table.logical_name, column.name)
        for table in TABLES.values()
        for column in table.column_list
        for target, name in column.collections.items()
        if target == logical_name
    }
    for logical_name in TABLES
}
# Tables that steps can be registered for.
BUSINESS_TABLES = (
    "opportunity",
    "lead",
    "account",
    "contact",
    "opportunityclose",
    "systemuser",
    "connection",
    *(table.logical_name for table in cosell.TABLES),
)
MESSAGES = ("Create", "Update", "Delete", "Win", "Lose")
