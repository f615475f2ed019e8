#include "mapper/rules_language.h"

#include "mapper/rules_yaml.h"

const struct rules_section RULES_SECTIONS[RULES_SECTION_COUNT] = {
    [RULES_FILE] =
        {.title = "The file",
         .what = "the rules",
         .help =
             "One YAML file for one CRM. Everything that is wrong in it is told at once, with line, column and, where "
             "there is one, the word that was probably meant.",
         .keys =
             {{"version", "1", "The version of this language. Needed."},
              {"crm", "dynamics-365, salesforce", "The CRM. Needed."},
              {"record", "table", "The CRM's table, like opportunity. Needed."},
              {"identity", "mapping", "The columns by which records pair. Needed."},
              {"select", "conditions by side",
               "Which deals are taken up: all conditions of a side hold. A deal that is known stays, whatever becomes "
               "of it. Without conditions for the CRM nothing is created from there."},
              {"leave_out", "list of conditions",
               "Referrals that are none of this CRM's deals: all conditions of one entry hold. With it, a new "
               "referral that is "
               "neither selected nor left out is set aside for a person."},
              {"closed", "conditions by side",
               "When a record is closed: one condition of a side holds. Nothing is written to a closed record, and "
               "at Partner Center closed is final."},
              {"invitation", "mapping", "When Microsoft is invited, and how."},
              {"unanswered", "mapping", "How a referral that nobody has answered is closed."},
              {"removal", "mapping", "What becomes of a deal whose record leaves."},
              {"fields", "list", "What is kept the same. Needed."},
              {"lookups", "mapping", "The records that columns of the CRM point to, by column."},
              {"rows", "mapping", "Child rows that are made with a new CRM record, by navigation property."},
              {"tables", "mapping", "The value tables, by name."}}},
    [RULES_IDENTITY] =
        {.title = "`identity`",
         .what = "identity",
         .example = "identity:\n"
                    "  identifier: msft_microsoftpartnercenterreferralidentifier\n"
                    "  sync: msft_microsoftpartnercenterreferralsync\n"
                    "  audit: msft_microsoftpartnercenterreferralsyncaudit\n",
         .keys =
             {{"identifier", "column", "Holds the referral's id; has an alternate key. Needed."},
              {"sync", "column",
               "The seller's switch. While it is off nothing leaves the CRM; see also `removal`. Needed."},
              {"audit", "column",
               "A text for the seller: what was done last, or why nothing is. With it our own writes are recognised "
               "after a lost answer."},
              {"audit_length", "whole number",
               "Longest text of the audit column, in UTF-16 units, 1000 to 1000000; 2000, unless said otherwise."},
              {"link", "as-soon-as-created, with-acceptance",
               "When the CRM record's id is written to the referral; as soon as the record is there, unless said "
               "otherwise."}}},
    [RULES_INVITATION] =
        {.title = "`invitation`",
         .what = "the invitation",
         .help =
             "A second referral of the same deal makes Microsoft a party of it: a co-sell deal. It is sent once the "
             "condition holds, for a new deal as for one that is known, and never for one that was sent to us. It "
             "repeats the fields of a creation, with those that are written on `invite` and `write` over them.",
         .example = "invitation:\n"
                    "  crm: {msft_microsoftpartnercenterhelp@label: present}\n"
                    "  write: {target: [{type: BusinessProfileLocation, id: msft}]}\n",
         .keys = {{"crm", "conditions", "All hold for Microsoft to be invited. Needed."},
                  {"write", "mapping", "Constants of any shape by path of Partner Center."}}},
    [RULES_UNANSWERED] =
        {.title = "`unanswered`",
         .what = "unanswered",
         .help =
             "A referral that nobody has answered cannot be won or lost. While the condition holds, closing it from "
             "the CRM declines it.",
         .example = "unanswered:\n"
                    "  partner_center: {status: [New]}\n"
                    "  substitute: {substatus: {Lost: Declined}}\n"
                    "  write: {statusReason: Declined in the CRM}\n",
         .keys = {{"partner_center", "conditions", "All hold for a referral that waits for an answer. Needed."},
                  {"substitute", "mapping", "By path: which value stands in place of which."},
                  {"write", "mapping", "Constants by path, beside what is substituted."}}},
    [RULES_REMOVAL] =
        {.title = "`removal`",
         .what = "removal",
         .help =
             "Each of them is told in the audit. It ends when Tandem reads that its cause is over: the switch is set again, "
             "the record is restored, the referral is visible again.",
         .example = "removal: {sync_off: pause, crm_deleted: keep, referral_gone: keep}\n",
         .keys =
             {{"sync_off", "pause, hold",
               "The seller's switch is off. pause: neither side is written; hold: Partner Center's changes still "
               "arrive in the CRM. pause, unless said otherwise."},
              {"crm_deleted", "keep, recreate",
               "The CRM's record is deleted. keep: the deal rests; recreate: a new record is made of the referral. "
               "keep, unless said otherwise."},
              {"referral_gone", "keep",
               "The referral is no longer visible to us: the seller is told, and the deal rests. It is read again when "
               "it changes or a backfill tells it; an open shared one is at ingest.poll.engagement_interval, too."}}},
    [RULES_FIELD] =
        {.title = "`fields`",
         .what = "a field",
         .help = "A list. Each field is one value, or several that belong together, of both sides.",
         .example = "fields:\n"
                    "  - name: deal_value\n"
                    "    partner_center: details.dealValue\n"
                    "    crm: estimatedvalue\n"
                    "    required: [to-partner-center]\n"
                    "    explain: Enter an estimated revenue of more than zero.\n"
                    "    conflict: latest\n"
                    "    to_crm: [{decimal: {scale: 2}}]\n"
                    "    to_partner_center: [{default: leave}, {decimal: {scale: 2, minimum: 0.01}}]\n",
         .keys =
             {{"name", "word", "In the audit and in messages; lower-case letters, digits and _. Needed."},
              {"partner_center", "path or list of up to 8", "What is read and written there."},
              {"crm", "path or list of up to 8", "The same of the CRM."},
              {"direction", "both, to-crm, to-partner-center",
               "Which way values go; both, as far as there is a path to write, unless said otherwise."},
              {"on", "create, update, invite, or a list",
               "When the field is written: when a record is created, later, and to Partner Center with the invitation of "
               "Microsoft. [create, update], unless said otherwise. Also by direction: {to-crm: …, to-partner-center: "
               "…}."},
              {"required", "to-crm, to-partner-center, or a list",
               "Without a value no record is created that way (or Microsoft is not invited)."},
              {"explain", "text",
               "What the seller has to do when a value that Partner Center needs is missing or cannot be mapped; written "
               "to the audit column."},
              {"conflict", "partner-center, crm, latest, manual",
               "Whose value holds when both sides were changed: a side's, the one's that was changed last, or nobody's: "
               "both are kept until somebody settles it. partner-center, unless said otherwise."},
              {"when", "conditions",
               "By paths of this field, which may stand here without their members: what holds of the side that is read for "
               "the field to be written to the other."},
              {"transform", "transform or list",
               "What happens to the value on its way to the CRM; on the way back it is undone, in reverse order."},
              {"table", "name", "Short for `transform: [{table: name}]`."},
              {"to_crm", "transform or list", "In place of `transform`: a chain for this direction alone."},
              {"to_partner_center", "transform or list", "The same for the other direction."}}},
    [RULES_LOOKUP] =
        {.title = "`lookups`",
         .what = "a lookup",
         .help =
             "What writes `lookup.attribute` finds a record by all attributes of `match`, or creates it. One that is "
             "found is never changed. What is only read needs no lookup here.",
         .example = "lookups:\n"
                    "  customerid_account: {entity: account, match: [name, address1_postalcode], create: true}\n",
         .keys = {{"entity", "table", "The table that is pointed to. Needed."},
                  {"entity_set", "name",
                   "The table's name in addresses; of a table with a publisher's prefix the logical name and s, unless "
                   "said otherwise."},
                  {"match", "list of attributes", "By which the record is found; fields write them all. Needed."},
                  {"create", "true, false",
                   "Whether one that is not found is created; false, unless said otherwise."}}},
    [RULES_ROWS] =
        {.title = "`rows`",
         .what = "rows",
         .help =
             "A field that writes a list of the CRM (`solutions[]{price,productid.number}`) makes rows of a table of "
             "its own, which point to the new record. They are made with it and never afterwards, so such a field "
             "stands on `create` alone: from then on the list is the seller's. A row that is there already is left as it "
             "is. A row the CRM refuses is set aside and told; the record and the other rows are made.",
         .example = "rows:\n"
                    "  solutions:\n"
                    "    entity: my_solution\n"
                    "    parent: my_opportunityid\n"
                    "    lookups:\n"
                    "      productid: {entity: my_product, match: [number], create: true}\n",
         .keys = {{"entity", "table", "The table of the rows. Needed."},
                  {"entity_set", "name", "As in a lookup."},
                  {"parent", "column", "The navigation property of a row that points to the record. Needed."},
                  {"lookups", "mapping",
                   "As `lookups`, of columns of the rows; the members of the path name what a lookup is found by."}}},
    [RULES_TABLE] =
        {.title = "`tables`",
         .what = "a table",
         .help = "Which values of one side stand for which of the other. A direction in which a value has two rows is "
                 "refused; `direction` says which of them holds.",
         .example = "tables:\n"
                    "  deal_stages:\n"
                    "    partner_center: [status, substatus]\n"
                    "    crm: [statecode, statuscode]\n"
                    "    rows:\n"
                    "      - {partner_center: [New, Pending], crm: [0, 2], direction: to-crm}\n"
                    "      - {partner_center: [Active, Accepted], crm: [0, 1]}\n"
                    "      - {partner_center: leave, crm: [0, 2]}\n",
         .keys = {{"partner_center", "name or list of names", "For people, and how many values a row has."},
                  {"crm", "name or list of names", "The same of the CRM."},
                  {"rows", "list", "The rows. Needed."}}},
    [RULES_TABLE_ROW] =
        {.title = "A row of a table",
         .what = "a row",
         .keys = {{"partner_center", "value or list, or leave", "The word leave: nothing is written that way. Needed."},
                  {"crm", "value or list, or leave",
                   "The same of the CRM. Needed. When two records meet for the first time, a value of the "
                   "CRM that leaves Partner Center alone stays as long as the referral is open."},
                  {"direction", "both, to-crm, to-partner-center", "both, unless said otherwise."}}},
};

const struct rules_path_form RULES_PATH_FORMS[] = {
    {"details.dealValue", "partner_center", "A member of nested objects, whatever the case of its name."},
    {"customerProfile.team.0.email", "partner_center", "A member of a list's item, counted from 0. Only read."},
    {"microsoft.status", "partner_center", "Of Microsoft's referral of the same deal. Only read."},
    {"estimatedvalue", "crm", "A column."},
    {"customerid_account.name", "crm", "An attribute of the record a lookup points to; written by `lookups`."},
    {"msft_microsoftpartnercenterhelp@label", "crm", "The label of a choice, read and written in place of its number."},
    {"parentcontactid{firstname,lastname}", "both",
     "An object with just these members; those that are null are left out. In the CRM only read."},
    {"details.requirements.solutions[]{id,price}", "partner_center",
     "A list of such objects, replaced as a whole. Its order never matters."},
    {"solutions[]{price,productid.name}", "crm",
     "The rows of a collection-valued navigation property, also with attributes of a row's lookup. Written by `rows`, "
     "when a record is created."},
};
const size_t RULES_PATH_FORM_COUNT = sizeof(RULES_PATH_FORMS) / sizeof(RULES_PATH_FORMS[0]);

int rules_language_check(struct diagnostics *diagnostics, const struct yaml_node *node, enum rules_section_id id)
{
    const struct rules_section *section = &RULES_SECTIONS[id];
    const char *names[RULES_KEYS_MAX];
    size_t count = 0;

    for (; section->keys[count].name != NULL; count++)
        names[count] = section->keys[count].name;
    return rules_yaml_check_keys(diagnostics, node, section->what, names, count);
}
