// Drives the Dynamics 365 simulator with the npm package dynamics-web-api, which knows nothing about Tandem. What this
// client understands is what the simulator says in the terms of the real service. Prints one line per finished step;
// the first assertion that fails ends the run with its message and exit status 1.
//
// Environment: BASE_URL (the simulator), TOKEN (a living access token), NODE_EXTRA_CA_CERTS (its CA).

"use strict";

const assert = require("node:assert/strict");
const { DynamicsWebApi } = require("dynamics-web-api");

const KEY = "msft_microsoftpartnercenterreferralidentifier";
const configuration = {
    serverUrl: process.env.BASE_URL,
    dataApi: { version: "9.2" },
    onTokenRefresh: async () => process.env.TOKEN,
};
const api = new DynamicsWebApi(configuration);
const GUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

async function refused(promise, status, code) {
    const error = await promise.then(
        () => assert.fail(`expected ${status} ${code}`),
        (reason) => reason,
    );
    assert.equal(error.status, status, error.message);
    assert.equal(error.code, code);
}

async function euro() {
    const found = await api.retrieveMultiple({
        collection: "transactioncurrencies",
        select: ["transactioncurrencyid", "isocurrencycode"],
        filter: "isocurrencycode eq 'EUR'",
    });
    assert.equal(found.value.length, 1);
    return found.value[0].transactioncurrencyid;
}

const state = {};

const steps = {
    async create() {
        state.euro = await euro();
        state.account = await api.create({
            collection: "accounts",
            data: { name: "Alder & Finch Logistics", accountnumber: "AF-20391" },
        });
        assert.match(state.account, GUID);
        const made = await api.create({
            collection: "opportunities",
            data: {
                name: "Größe des Lagers",
                estimatedvalue: 185000.5,
                estimatedclosedate: "2026-09-30",
                "customerid_account@odata.bind": "/accounts(accountnumber='AF-20391')",
                "transactioncurrencyid@odata.bind": `/transactioncurrencies(${state.euro})`,
            },
            returnRepresentation: true,
        });
        assert.match(made.opportunityid, GUID);
        assert.equal(made.name, "Größe des Lagers");
        assert.equal(made.estimatedvalue, 185000.5);
        assert.equal(made._customerid_value, state.account);
        assert.equal(made.statecode, 0);
        state.opportunity = made.opportunityid;
        state.etag = made["@odata.etag"];
    },

    async retrieve() {
        const row = await api.retrieve({
            collection: "opportunities",
            key: state.opportunity,
            select: ["name", "estimatedvalue", "statuscode", "_customerid_value"],
            expand: [{ property: "customerid_account", select: ["name"] }],
            includeAnnotations: "*",
        });
        assert.equal(row.customerid_account.name, "Alder & Finch Logistics");
        assert.equal(row["estimatedvalue@OData.Community.Display.V1.FormattedValue"], "€185,000.50");
        assert.equal(row["statuscode@OData.Community.Display.V1.FormattedValue"], "In Progress");
        assert.equal(row["_customerid_value@Microsoft.Dynamics.CRM.lookuplogicalname"], "account");
        const unchanged = await api.retrieve({
            collection: "opportunities",
            key: state.opportunity,
            select: ["name"],
            ifnonematch: state.etag,
        });
        assert.equal(unchanged, undefined);
    },

    async update() {
        const request = { collection: "opportunities", key: state.opportunity };
        assert.equal(await api.update({ ...request, data: { closeprobability: 55 }, ifmatch: state.etag }), true);
        assert.equal(await api.update({ ...request, data: { closeprobability: 60 }, ifmatch: state.etag }), false);
        const row = await api.update({
            ...request,
            data: { closeprobability: 65 },
            returnRepresentation: true,
            select: ["closeprobability"],
        });
        assert.equal(row.closeprobability, 65);
        assert.notEqual(row["@odata.etag"], state.etag);
        assert.equal(await api.updateSingleProperty({ ...request, fieldValuePair: { stepname: "2-Develop" } }), undefined);
        const changed = await api.retrieve({ ...request, select: ["stepname"] });
        assert.equal(changed.stepname, "2-Develop");
        await refused(
            api.update({ ...request, key: "11111111-2222-4333-8444-555566667777", data: { closeprobability: 1 } }),
            404,
            "0x80040217",
        );
    },

    async upsert() {
        const request = { collection: "opportunities", key: `${KEY}='8e5d1c37-42a6-4f9b-b0d8-6c7a19e3f509'` };
        const made = await api.upsert({ ...request, data: { name: "by key" }, returnRepresentation: true });
        assert.equal(made[KEY], "8e5d1c37-42a6-4f9b-b0d8-6c7a19e3f509");
        const again = await api.upsert({ ...request, data: { name: "by key again" }, returnRepresentation: true });
        assert.equal(again.opportunityid, made.opportunityid);
        assert.equal(again.name, "by key again");
        assert.equal(await api.upsert({ ...request, data: { name: "no" }, ifnonematch: "*" }), null);
        assert.equal(await api.upsert({ ...request, key: `${KEY}='other'`, data: { name: "no" }, ifmatch: "*" }), null);
        const row = await api.retrieve({ ...request, select: ["name"] });
        assert.equal(row.name, "by key again");
        const id = "0b2f6a1e-7c44-4d19-8f3a-52c9e1d07b68";
        await api.upsert({ collection: "opportunities", key: id, data: { name: "by id" } });
        await api.upsert({ collection: "opportunities", key: id, data: { name: "by id again" } });
        const byId = await api.retrieve({ collection: "opportunities", key: id, select: ["name"] });
        assert.equal(byId.name, "by id again");
    },

    async page() {
        for (let number = 0; number < 7; number++) {
            await api.create({ collection: "leads", data: { subject: `lead ${number}` } });
        }
        const request = { collection: "leads", select: ["subject"], orderBy: ["subject desc"], maxPageSize: 3 };
        const first = await api.retrieveMultiple(request);
        assert.equal(first.value.length, 3);
        assert.ok(first.oDataNextLink.startsWith(process.env.BASE_URL));
        const all = await api.retrieveAll(request);
        assert.deepEqual(
            all.value.map((lead) => lead.subject),
            [6, 5, 4, 3, 2, 1, 0].map((number) => `lead ${number}`),
        );
    },

    async close() {
        const closing = (status) => ({
            actionName: "WinOpportunity",
            action: {
                Status: status,
                OpportunityClose: {
                    subject: "Won",
                    actualrevenue: 190000,
                    "opportunityid@odata.bind": `/opportunities(${state.opportunity})`,
                },
            },
        });
        await refused(api.callAction(closing(4)), 400, "0x80048408");
        await api.callAction(closing(3));
        const row = await api.retrieve({
            collection: "opportunities",
            key: state.opportunity,
            select: ["statecode", "statuscode", "actualvalue"],
        });
        assert.deepEqual([row.statecode, row.statuscode, row.actualvalue], [1, 3, 190000]);
        await refused(api.callAction(closing(3)), 400, "0x80040515");
    },

    async trackChanges() {
        const request = { collection: "leads", select: ["subject"], trackChanges: true, maxPageSize: 4 };
        const first = await api.retrieveMultiple(request);
        const last = await api.retrieveMultiple(request, first.oDataNextLink);
        assert.equal(first.value.length + last.value.length, 7);
        const made = await api.create({ collection: "leads", data: { subject: "new" } });
        await api.deleteRecord({ collection: "leads", key: first.value[0].leadid });
        const changes = await api.retrieveMultiple({ collection: "leads" }, last.oDataDeltaLink);
        assert.equal(changes.value.length, 2);
        assert.equal(changes.value[0].leadid, made);
        assert.deepEqual([changes.value[1].id, changes.value[1].reason], [first.value[0].leadid, "deleted"]);
        const nothing = await api.retrieveMultiple({ collection: "leads" }, changes.oDataDeltaLink);
        assert.equal(nothing.value.length, 0);
    },

    async bulk() {
        const target = (name) => ({ "@odata.type": "Microsoft.Dynamics.CRM.contact", lastname: name });
        const answer = await api.callAction({
            collection: "contacts",
            actionName: "Microsoft.Dynamics.CRM.CreateMultiple",
            action: { Targets: [target("Osei"), target("Weidlich")] },
        });
        assert.equal(answer.Ids.length, 2);
        const row = await api.retrieve({ collection: "contacts", key: answer.Ids[1], select: ["fullname"] });
        assert.equal(row.fullname, "Weidlich");
    },

    async batch() {
        api.startBatch();
        api.create({ collection: "accounts", data: { name: "Brightwater Clinics" }, contentId: "1" });
        api.create({
            collection: "opportunities",
            data: { name: "from a batch", "customerid_account@odata.bind": "$1" },
        });
        api.retrieveMultiple({ collection: "accounts", select: ["name"], filter: "name eq 'Brightwater Clinics'" });
        const [account, opportunity, found] = await api.executeBatch();
        assert.match(account, GUID);
        assert.equal(found.value[0].accountid, account);
        const row = await api.retrieve({ collection: "opportunities", key: opportunity, select: ["_customerid_value"] });
        assert.equal(row._customerid_value, account);

        api.startBatch();
        api.retrieve({ collection: "accounts", key: "11111111-2222-4333-8444-555566667777", select: ["name"] });
        api.retrieve({ collection: "accounts", key: account, select: ["name"] });
        const [missing, present] = await api.executeBatch({ continueOnError: true });
        assert.equal(missing.status, 404);
        assert.equal(missing.error?.code ?? missing.code, "0x80040217");
        assert.equal(present.name, "Brightwater Clinics");

        api.startBatch();
        api.create({ collection: "accounts", data: { name: "undone" } });
        api.create({ collection: "accounts", data: { nosuchcolumn: 1 } });
        await assert.rejects(api.executeBatch());
        const undone = await api.retrieveMultiple({ collection: "accounts", select: ["name"], filter: "name eq 'undone'" });
        assert.equal(undone.value.length, 0);
    },

    async collections() {
        const rows = "msft_opportunity_msft_microsoftsolution";
        const detail = (name) => ({ msft_name: name, msft_solutionidentifier: `SOL-${name}` });
        const key = await api.create({
            collection: "opportunities",
            data: {
                name: "with solutions",
                "transactioncurrencyid@odata.bind": `/transactioncurrencies(${state.euro})`,
                [rows]: ["A", "B"].map((name) => ({ msft_price: 12.5, msft_solutionid: detail(name) })),
            },
        });
        const expand = [
            {
                property: rows,
                select: ["msft_price"],
                expand: [{ property: "msft_solutionid", select: ["msft_solutionidentifier"] }],
            },
            { property: "owninguser", select: ["fullname"] },
        ];
        const found = await api.retrieve({ collection: "opportunities", key, select: ["name"], expand });
        const identifiers = found[rows].map((each) => each.msft_solutionid.msft_solutionidentifier);
        assert.deepEqual(identifiers, ["SOL-A", "SOL-B"]);
        assert.equal(found.owninguser.fullname, "# Tandem");
        await api.deleteRecord({ collection: "msft_microsoftsolutions", key: found[rows][0].msft_microsoftsolutionid });
        const left = await api.retrieveMultiple({
            collection: `opportunities(${key})/${rows}`,
            select: ["msft_price"],
        });
        assert.equal(left.value.length, 1);
    },

    async labels() {
        const choice = await api.retrieveAttribute({
            entityKey: "LogicalName='opportunity'",
            attributeKey: "LogicalName='msft_microsoftpartnercenterhelp'",
            castType: "Microsoft.Dynamics.CRM.PicklistAttributeMetadata",
            select: ["LogicalName"],
            expand: [{ property: "OptionSet" }, { property: "GlobalOptionSet" }],
        });
        const option = choice.OptionSet.Options.find((each) => each.Label.UserLocalizedLabel.Label === "General or Other");
        const key = await api.create({
            collection: "opportunities",
            data: { name: "with help", msft_microsoftpartnercenterhelp: option.Value },
        });
        const found = await api.retrieve({
            collection: "opportunities",
            key,
            select: ["msft_microsoftpartnercenterhelp"],
            includeAnnotations: "OData.Community.Display.V1.FormattedValue",
        });
        assert.equal(found["msft_microsoftpartnercenterhelp_Formatted"], "General or Other");
    },

    async entityNames() {
        const byName = new DynamicsWebApi({ ...configuration, useEntityNames: true });
        const found = await byName.retrieveMultiple({ collection: "transactioncurrency", select: ["isocurrencycode"] });
        assert.deepEqual(found.value.map((row) => row.isocurrencycode).sort(), ["EUR", "GBP", "USD"]);
    },
};

async function main() {
    for (const [name, step] of Object.entries(steps)) {
        try {
            await step();
        } catch (error) {
            console.error(`${name}: ${error.stack ?? JSON.stringify(error)}`);
            process.exitCode = 1;
            return;
        }
        console.log(name);
    }
}

main();
