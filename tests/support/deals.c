#include "tests/support/deals.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"

const char DEAL_RULES[] =
    "version: 1\n"
    "crm: dynamics-365\n"
    "record: opportunity\n"
    "identity: {identifier: referral_id, sync: sync, audit: audit}\n"
    "select: {partner_center: {type: [Shared], status: [New, Active]}}\n"
    "closed: {partner_center: {status: [Closed]}, crm: {state: [2]}}\n"
    "fields:\n"
    "  - {name: name, partner_center: name, crm: name, direction: to-crm}\n"
    "  - {name: value, partner_center: details.dealValue, crm: value, conflict: latest, transform: {decimal: 2}}\n"
    "  - {name: notes, partner_center: details.notes, crm: notes, transform: {truncate: 8}}\n"
    "  - {name: city, partner_center: city, crm: city, conflict: crm}\n"
    "  - {name: memo, partner_center: memo, crm: memo, conflict: manual}\n"
    "  - {name: stage, partner_center: status, crm: state, on: update, table: stages}\n"
    "  - {name: tag, partner_center: tag, crm: tag, direction: to-crm, on: create, required: to-crm}\n"
    "  - {name: origin, partner_center: origin, crm: origin, direction: to-crm, on: create, to_crm: {default: web}}\n"
    "  - {name: answer, partner_center: microsoft.status, crm: answer, direction: to-crm, on: update}\n"
    "tables:\n"
    "  stages:\n"
    "    rows:\n"
    "      - {partner_center: Active, crm: 1}\n"
    "      - {partner_center: Closed, crm: 2}\n"
    "      - {partner_center: New, crm: leave}\n"
    "      - {partner_center: leave, crm: 3}\n";

json_t *json_of(const char *text)
{
    struct json_fault fault;
    json_t *json;
    char *copy = text_copy(text);
    assert_non_null(copy);
    for (char *at = copy; *at != '\0'; at++)
        *at = *at == '\'' ? '"' : *at;
    if (json_read(copy, strlen(copy), &JSON_LIMITS_OWN, &json, &fault) < 0)
        fail_msg("%s: %s", text, json_problem_code(fault.problem));
    free(copy);
    return json;
}

void assert_json_is(json_t *json, const char *wanted_text)
{
    json_t *wanted = json_of(wanted_text);
    if (!json_same(json, wanted)) {
        char *shown = json == NULL ? NULL : json_write(json, true, NULL);
        fail_msg("%s instead of %s", shown == NULL ? "nothing" : shown, wanted_text);
    }
    json_decref(wanted);
    json_decref(json);
}

void scene_begin(struct scene *scene, const char *rules_text, const char *key)
{
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    struct error err = ERROR_INIT;
    *scene = (struct scene){0};
    scene->rules =
        rules_load(&diagnostics, diagnostics_add_source(&diagnostics, "rules.yaml", rules_text, strlen(rules_text)));
    if (scene->rules == NULL)
        fail_msg("%s", diagnostics_message(&diagnostics, 0, NULL));
    diagnostics_done(&diagnostics);
    assert_int_equal(deal_init(&scene->deal, key, &err), 0);
}

void scene_end(struct scene *scene)
{
    merge_effects_done(&scene->effects);
    deal_done(&scene->deal);
    rules_free(scene->rules);
}

static void time_of(int version, char out[static 32])
{
    (void)snprintf(out, 32, "2026-01-01T00:00:%02dZ", version);
}

json_t *documents_of(enum side side, int version, const char *body_text)
{
    const bool is_crm = side == SIDE_CRM;
    char at[32], number[16];
    json_t *body = json_of(body_text);
    time_of(version, at);
    (void)snprintf(number, sizeof(number), "%d", version);
    if (!is_crm)
        assert_int_equal(json_object_set_new(body, "id", json_string(REFERRAL)), 0);
    if (!is_crm)
        assert_int_equal(json_object_set_new(body, "engagementId", json_string(ENGAGEMENT)), 0);
    json_t *documents = json_pack("[o]", record_document(is_crm ? "crm" : "own", is_crm ? CRM_RECORD : REFERRAL,
                                                         is_crm ? number : at, at, is_crm ? "W/\"1\"" : NULL, body));
    assert_non_null(documents);
    return documents;
}

json_t *of_record(json_t *documents, const char *id)
{
    assert_int_equal(json_object_set_new(json_array_get(documents, 0), "id", json_string(id)), 0);
    return documents;
}

void add_microsofts(json_t *documents, int version, const char *body_text)
{
    char at[32];
    json_t *body = json_of(body_text);
    time_of(version, at);
    assert_int_equal(json_object_set_new(body, "organizationId", json_string("MSFT")), 0);
    assert_int_equal(json_array_append_new(documents, record_document("related", STRANGER, at, at, NULL, body)), 0);
}

static struct merge_context next_context(struct scene *scene)
{
    merge_effects_done(&scene->effects);
    return (struct merge_context){.rules = scene->rules, .topic = "records", .offset = scene->offset++};
}

static void give_record(struct scene *scene, struct record *record)
{
    const struct merge_context context = next_context(scene);
    struct error err = ERROR_INIT;
    if (record->deal_key == NULL)
        record->deal_key = text_copy(scene->deal.key);
    if (record->read_at == NULL)
        record->read_at = text_copy("2026-01-01T00:01:00Z");
    if (merge_record(&scene->deal, &context, record, &scene->effects, &err) < 0)
        fail_msg("%s", err.message);
    record_done(record);
}

void record_arrives(struct scene *scene, enum side side, json_t *documents)
{
    struct record record = {
        .kind = RECORD_READING,
        .side = text_copy(side_name(side)),
        .record_id = text_copy(json_text_of(json_array_get(documents, 0), "id")),
        .documents = documents,
        .causes =
            json_pack("[{s:I, s:s}]", "notification", (json_int_t)scene->offset, "received_at", "2026-01-01T00:00:59Z"),
    };
    give_record(scene, &record);
}

void reading_arrives(struct scene *scene, enum side side, int version, const char *body)
{
    record_arrives(scene, side, documents_of(side, version, body));
}

void gone_arrives(struct scene *scene, enum side side, const char *reason)
{
    struct record record = {.kind = RECORD_GONE,
                            .side = text_copy(side_name(side)),
                            .record_id = text_copy(side == SIDE_CRM ? CRM_RECORD : REFERRAL),
                            .reason = text_copy(reason)};
    give_record(scene, &record);
}

void found_arrives(struct scene *scene, const char *referral_id)
{
    struct record record = {.kind = RECORD_FOUND, .record_id = text_copy(referral_id)};
    give_record(scene, &record);
}

void settle_arrives(struct scene *scene, const char *field, const char *take)
{
    struct record record = {.kind = RECORD_SETTLE, .field = text_copy(field), .take = text_copy(take)};
    give_record(scene, &record);
}

void message_arrives(struct scene *scene, struct record *record)
{
    give_record(scene, record);
}

static void give_outcome(struct scene *scene, enum outcome_result result, bool is_certain, json_t *documents,
                         const char *code, const char *field)
{
    const json_t *pending = scene->deal.pending;
    struct error err = ERROR_INIT;
    assert_non_null(pending);
    const char *shown = json_text_of(json_array_get(documents, 0), "id");
    struct outcome outcome = {
        .decision_id = text_copy(json_text_of(pending, "id")),
        .deal_key = text_copy(scene->deal.key),
        .result = (int)result,
        .target = text_copy(json_text_of(pending, "target")),
        .is_certain = is_certain,
        .is_created = result == OUTCOME_APPLIED && json_integer_of(pending, "action", 0) == DECISION_CREATE,
        .record_id = text_copy(shown != NULL                                         ? shown
                               : strcmp(json_text_of(pending, "target"), "crm") == 0 ? CRM_RECORD
                                                                                     : REFERRAL),
        .documents = documents,
        .error_code = code == NULL ? NULL : text_copy(code),
        .error_field = field == NULL ? NULL : text_copy(field),
        .finished_at = text_copy(scene->finished_at == NULL ? "2026-01-01T00:02:00Z" : scene->finished_at),
    };
    const struct merge_context context = next_context(scene);
    if (merge_outcome(&scene->deal, &context, &outcome, &scene->effects, &err) < 0)
        fail_msg("%s", err.message);
    outcome_done(&outcome);
}

void outcome_arrives(struct scene *scene, enum outcome_result result, bool is_certain, json_t *documents)
{
    give_outcome(scene, result, is_certain, documents, result == OUTCOME_REFUSED ? "too_long" : NULL, NULL);
}

void refusal_arrives(struct scene *scene, const char *code, const char *field, json_t *documents)
{
    give_outcome(scene, OUTCOME_REFUSED, false, documents, code, field);
}

static json_t *linked(const char *body_text, const char *path, const char *id)
{
    json_t *body = json_of(body_text);
    assert_int_equal(json_object_set_new(body, path, json_string(id)), 0);
    return body;
}

void scene_agrees(struct scene *scene, const char *partner_center_body, const char *crm_body)
{
    const char *const bodies[SIDE_COUNT] = {partner_center_body, crm_body};
    struct error err = ERROR_INIT;

    scene->deal.id[SIDE_PARTNER_CENTER] = text_copy(REFERRAL);
    scene->deal.id[SIDE_CRM] = text_copy(CRM_RECORD);
    scene->deal.is_told = true;
    for (int side = 0; side < SIDE_COUNT; side++) {
        json_t *body = linked(bodies[side], side == SIDE_CRM ? "referral_id" : "externalReferenceId",
                              side == SIDE_CRM ? REFERRAL : CRM_RECORD);
        char *text = json_write(body, true, NULL);
        json_t *documents = documents_of((enum side)side, 1, text);
        struct deal_sight sight;
        assert_int_equal(deal_see(&scene->deal, scene->rules, (enum side)side, documents, &sight, &err), 0);
        for (size_t i = 0; i < scene->rules->field_count; i++) {
            const struct rule_field *field = &scene->rules->fields[i];
            json_t *value = rule_field_value(field, (enum side)side, deal_values(&scene->deal, (enum side)side));
            if (value != NULL)
                assert_int_equal(json_object_set_new(scene->deal.base[side], field->name, value), 0);
        }
        json_decref(documents);
        free(text);
        json_decref(body);
    }
}

void assert_writes(const struct scene *scene, const char *target, const char *write)
{
    const struct decision *decision = &scene->effects.decision;
    assert_true(scene->effects.has_decision);
    if (decision->action == DECISION_NONE)
        fail_msg("none (%s) instead of %s", decision->reason, write);
    assert_string_equal(decision->target, target);
    assert_json_is(json_incref(decision->write), write);
}

void assert_none(const struct scene *scene, const char *reason)
{
    const struct decision *decision = &scene->effects.decision;
    assert_true(scene->effects.has_decision);
    if (decision->action != DECISION_NONE) {
        char *shown = json_write(decision->write, true, NULL);
        fail_msg("writes %s instead of none (%s)", shown, reason);
    }
    assert_string_equal(decision->reason, reason);
    assert_null(decision->target);
}

void assert_silent(const struct scene *scene)
{
    assert_false(scene->effects.has_decision);
}
