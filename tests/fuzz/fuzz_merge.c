/* A deal through any order of readings, outcomes, disappearances and settlements: the merge always ends, one decision at
 * a time, numbered without a gap, and the deal it leaves is the one that is read from its topic again. Each step takes
 * four bytes: what happens, to which side, and the values it shows. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "mapper/merge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REFERRAL   "11111111-1111-4111-8111-111111111111"
#define CRM_RECORD "22222222-2222-4222-8222-222222222222"
#define OTHER      "33333333-3333-4333-8333-333333333333"

enum { STEP_BYTES = 4, STEPS_MAX = 64 };

static const char rules_text[] =
    "version: 1\n"
    "crm: dynamics-365\n"
    "record: opportunity\n"
    "identity: {identifier: referral_id, sync: sync, audit: audit}\n"
    "select: {partner_center: {type: [Shared], status: [New, Active]}, crm: {sync: [true]}}\n"
    "closed: {partner_center: {status: [Closed]}, crm: {state: [2]}}\n"
    "fields:\n"
    "  - {name: name, partner_center: name, crm: name, required: [to-partner-center], explain: Enter a name.}\n"
    "  - {name: value, partner_center: details.dealValue, crm: value, conflict: latest, transform: {decimal: 2}}\n"
    "  - {name: notes, partner_center: details.notes, crm: notes, transform: {truncate: 8}}\n"
    "  - {name: city, partner_center: city, crm: city, conflict: crm}\n"
    "  - {name: memo, partner_center: memo, crm: memo, conflict: manual}\n"
    "  - {name: stage, partner_center: status, crm: state, on: update, table: stages}\n"
    "tables:\n"
    "  stages:\n"
    "    rows:\n"
    "      - {partner_center: Active, crm: 1}\n"
    "      - {partner_center: Closed, crm: 2}\n"
    "      - {partner_center: New, crm: leave}\n";

struct world {
    const struct rules *rules;
    struct deal deal;
    unsigned version;
    int64_t offset;
};

static void require(bool holds)
{
    if (!holds)
        abort();
}

static struct rules *load_rules(void)
{
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    struct rules *rules = rules_load(
        &diagnostics, diagnostics_add_source(&diagnostics, "rules.yaml", rules_text, sizeof(rules_text) - 1));
    require(rules != NULL);
    diagnostics_done(&diagnostics);
    return rules;
}

/* --- Documents ---------------------------------------------------------------------------------------------------- */

/* A value for a field: mostly one that fits, seldom one that nobody expects. */
static json_t *value_of(uint8_t choice, bool is_number)
{
    switch (choice & 15) {
    case 0:
        return json_null();
    case 1:
        return json_array();
    case 2:
        return json_object();
    case 3:
        return json_string("");
    case 4:
        return json_string("a text longer than eight");
    case 5:
        return is_number ? json_string("12.345") : json_integer(7);
    default:
        return is_number ? json_integer(choice) : json_pack("s%", "abcdefgh", (size_t)(choice & 7));
    }
}

static json_t *body_of(enum side side, const uint8_t step[static STEP_BYTES])
{
    static const char *const statuses[] = {"New", "Active", "Active", "Closed"};
    const uint8_t a = step[2], b = step[3];
    json_t *details = json_pack("{s:o, s:o}", "dealValue", value_of(b, true), "notes", value_of(a, false));
    json_t *body;

    if (side == SIDE_PARTNER_CENTER)
        body = json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o}", "id", REFERRAL, "engagementId", OTHER, "type",
                         a & 64 ? "Independent" : "Shared", "status", statuses[b >> 6], "name", value_of(a >> 4, false),
                         "city", value_of(b >> 2, false), "memo", value_of(b >> 3, false), "details", details);
    else
        body = json_pack("{s:s, s:b, s:i, s:o, s:o, s:o, s:o}", "opportunityid", CRM_RECORD, "sync", !(a & 64), "state",
                         b >> 6 == 3 ? 2 : 1, "name", value_of(a >> 4, false), "city", value_of(b >> 2, false), "memo",
                         value_of(b >> 3, false), "value", value_of(b, true));
    if (side == SIDE_CRM) {
        require(json_object_set(body, "notes", json_object_get(details, "notes")) == 0);
        json_decref(details);
    }
    if (a & 128)
        require(json_object_set_new(body, side == SIDE_CRM ? "referral_id" : "externalReferenceId",
                                    json_string(side == SIDE_CRM ? REFERRAL : CRM_RECORD)) == 0);
    return body;
}

/* Takes over what the decision under way would have written. */
static void write_into(json_t *body, const json_t *pending)
{
    const char *path;
    json_t *value;

    json_object_foreach (json_object_get(pending, "write"), path, value) {
        const char *dot = strchr(path, '.');
        json_t *within = body;
        if (dot != NULL && strncmp(path, "details.", 8) == 0)
            within = json_object_get(body, "details");
        require(json_object_set(within, dot == NULL ? path : dot + 1, value) == 0);
    }
}

static json_t *documents_of(struct world *world, enum side side, json_t *body, uint8_t what)
{
    char version[16], at[32];
    unsigned number = what & 32 ? world->version : ++world->version;

    (void)snprintf(version, sizeof(version), "%u", number);
    (void)snprintf(at, sizeof(at), "2026-01-01T00:%02u:%02uZ", number / 60 % 60, number % 60);
    json_t *document = record_document(side == SIDE_CRM ? "crm" : "own", side == SIDE_CRM ? CRM_RECORD : REFERRAL,
                                       side == SIDE_CRM ? version : at, at, "\"1\"", body);
    json_t *documents = json_pack("[o]", document);
    require(documents != NULL);
    return documents;
}

/* --- Steps -------------------------------------------------------------------------------------------------------- */

static void check_deal(const struct deal *deal)
{
    struct error err = ERROR_INIT;
    struct deal again;
    size_t length, length_again;
    char *written = deal_write(deal, &length);

    require(written != NULL && deal_read(written, length, &again, &err) == 0);
    char *written_again = deal_write(&again, &length_again);
    require(written_again != NULL && length == length_again && memcmp(written, written_again, length) == 0);
    deal_done(&again);
    free(written);
    free(written_again);
}

static void check_effects(const struct world *world, struct merge_effects *effects, bool was_free, int64_t next)
{
    struct error err = ERROR_INIT;
    struct decision again;
    size_t length;

    if (effects->has_decision) {
        char *written = decision_write(&effects->decision, &length);
        require(written != NULL && decision_read(written, length, &again, &err) == 0);
        decision_done(&again);
        free(written);
    }
    if (effects->has_decision && effects->decision.action != DECISION_NONE) {
        require(was_free && world->deal.pending != NULL);
        require(effects->decision.number == next && world->deal.next_number == next + 1);
    } else if (world->deal.alias == NULL) {
        require(world->deal.next_number == next);
    }
    merge_effects_done(effects);
}

static void take_record(struct world *world, struct record *record)
{
    const struct merge_context context = {.rules = world->rules, .topic = "records", .offset = world->offset++};
    struct merge_effects effects = {0};
    struct error err = ERROR_INIT;
    bool was_free = world->deal.pending == NULL;
    int64_t next = world->deal.next_number;

    record->deal_key = text_copy(world->deal.key);
    record->read_at = text_copy("2026-01-01T01:00:00Z");
    require(merge_record(&world->deal, &context, record, &effects, &err) == 0);
    check_effects(world, &effects, was_free, next);
    record_done(record);
}

static void take_outcome(struct world *world, const uint8_t step[static STEP_BYTES])
{
    static const enum outcome_result results[] = {OUTCOME_APPLIED, OUTCOME_APPLIED,    OUTCOME_CONFLICT,
                                                  OUTCOME_GONE,    OUTCOME_SUPERSEDED, OUTCOME_REFUSED};
    const struct merge_context context = {.rules = world->rules, .topic = "outcomes", .offset = world->offset++};
    const json_t *pending = world->deal.pending;
    const bool is_late = pending == NULL || (step[1] & 64);
    const char *target = is_late ? (step[1] & 1 ? "crm" : "partner-center") : json_text_of(pending, "target");
    const enum side side = strcmp(target, "crm") == 0 ? SIDE_CRM : SIDE_PARTNER_CENTER;
    const enum outcome_result result = results[(step[1] >> 1) % 6];
    json_t *body = body_of(side, step);
    struct merge_effects effects = {0};
    struct error err = ERROR_INIT;

    if (result == OUTCOME_APPLIED && !is_late)
        write_into(body, pending);
    struct outcome outcome = {
        .decision_id = text_copy(is_late ? "11111111-1111-4111-8111-111111111111#9999" : json_text_of(pending, "id")),
        .deal_key = text_copy(world->deal.key),
        .result = (int)result,
        .target = text_copy(target),
        .is_certain = !(step[1] & 128),
        .is_created = result == OUTCOME_APPLIED && json_integer_of(pending, "action", 0) == DECISION_CREATE,
        .record_id = text_copy(side == SIDE_CRM ? CRM_RECORD : REFERRAL),
        .documents = documents_of(world, side, body, step[1]),
        .error_code = result == OUTCOME_REFUSED ? text_copy("too_long") : NULL,
        .finished_at = text_copy("2026-01-01T01:00:00Z"),
    };
    int64_t next = world->deal.next_number;
    require(merge_outcome(&world->deal, &context, &outcome, &effects, &err) == 0);
    check_effects(world, &effects, !is_late || pending == NULL, next);
    outcome_done(&outcome);
}

static void take_step(struct world *world, const uint8_t step[static STEP_BYTES])
{
    static const char *const reasons[] = {"deleted", "not_found", "forbidden"};
    static const char *const fields[] = {"memo", "name", "value", "nothing"};
    const enum side side = step[1] & 1 ? SIDE_CRM : SIDE_PARTNER_CENTER;
    struct record record = {.side = text_copy(side_name(side))};

    switch (step[0] & 7) {
    case 0:
    case 1:
    case 2:
        record.kind = RECORD_READING;
        record.record_id = text_copy(side == SIDE_CRM ? CRM_RECORD : REFERRAL);
        record.documents = documents_of(world, side, body_of(side, step), step[1]);
        break;
    case 3:
        record.kind = RECORD_GONE;
        record.record_id = text_copy(side == SIDE_CRM ? CRM_RECORD : REFERRAL);
        record.reason = text_copy(reasons[step[2] % 3]);
        break;
    case 4:
        record.kind = RECORD_FOUND;
        record.record_id = text_copy(step[2] & 1 ? REFERRAL : OTHER);
        break;
    case 5:
        record.kind = RECORD_SETTLE;
        record.field = text_copy(fields[step[2] & 3]);
        record.take = text_copy(step[3] & 1 ? "crm" : "partner-center");
        break;
    default:
        record_done(&record);
        take_outcome(world, step);
        check_deal(&world->deal);
        return;
    }
    take_record(world, &record);
    check_deal(&world->deal);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct rules *rules;
    struct world world = {0};
    struct error err = ERROR_INIT;

    if (rules == NULL)
        rules = load_rules();
    if (size == 0)
        return 0;
    world.rules = rules;
    require(deal_init(&world.deal, data[0] & 1 ? REFERRAL : DEAL_KEY_PREFIX_CRM CRM_RECORD, &err) == 0);
    for (size_t i = 0; i < STEPS_MAX && 1 + (i + 1) * STEP_BYTES <= size; i++)
        take_step(&world, data + 1 + i * STEP_BYTES);
    deal_done(&world.deal);
    return 0;
}
