#include "mapper/trial.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "mapper/merge.h"
#include "mapper/rules_path_read.h"

#define UNKNOWN_REFERRAL "00000000-0000-4000-8000-000000000001"
#define UNKNOWN_CRM      "00000000-0000-4000-8000-000000000002"
#define NOW              "2026-01-01T00:00:00Z" /* where the documents do not say */

struct trial {
    const struct rules *rules;
    json_t *documents[SIDE_COUNT]; /* as they stand; NULL: not there */
    json_t *related;               /* borrowed; NULL: none */
    struct deal deal;
    struct merge_context context;
    json_t *steps;
};

/* --- Documents ---------------------------------------------------------------------------------------------------- */

/* The member that holds the record's id, "opportunityid" or, in other CRMs, "Id". */
static const char *crm_id(const struct rules *rules, const json_t *document)
{
    char *member = text_format("%sid", rules->record_type);
    const char *id = member != NULL ? json_text_of(document, member) : NULL;

    free(member);
    if (id == NULL)
        id = json_text_of(document, "Id");
    return id != NULL ? id : UNKNOWN_CRM;
}

static const char *id_of(const struct rules *rules, enum side side, const json_t *document)
{
    const char *id = side == SIDE_CRM ? crm_id(rules, document) : json_text_of(document, "id");

    return id != NULL ? id : UNKNOWN_REFERRAL;
}

static const char *changed_at(enum side side, const json_t *document)
{
    const char *at = NULL;

    if (side == SIDE_PARTNER_CENTER)
        at = json_text_of(document, "updatedDateTime");
    else if ((at = json_text_of(document, "modifiedon")) == NULL)
        at = json_text_of(document, "SystemModstamp");
    return at != NULL ? at : NOW;
}

/* As ingest and pusher make them; without a version, so that the newest is whatever comes last. */
static json_t *readings_of(const struct trial *trial, enum side side, const json_t *document, struct error *err)
{
    json_t *entry = record_document(side == SIDE_CRM ? "crm" : "own", id_of(trial->rules, side, document), NULL,
                                    changed_at(side, document), NULL, json_deep_copy(document));
    json_t *readings = json_array();

    if (entry == NULL || readings == NULL || json_array_append_new(readings, entry) < 0 ||
        (side == SIDE_PARTNER_CENTER && trial->related != NULL && json_array_extend(readings, trial->related) < 0)) {
        json_decref(readings);
        error_no_memory(err);
        return NULL;
    }
    return readings;
}

static int see(struct trial *trial, enum side side, const json_t *document, struct error *err)
{
    json_auto_t *readings = readings_of(trial, side, document, err);
    char **id = &trial->deal.id[side];
    char **gone = &trial->deal.gone[side];
    struct deal_sight sight;

    /* A record that is given is there, whatever was known of it. */
    if (readings == NULL || text_assign(gone, NULL, err) < 0 ||
        deal_see(&trial->deal, trial->rules, side, readings, &sight, err) < 0)
        return -1;
    if (side == SIDE_PARTNER_CENTER &&
        text_assign(&trial->deal.engagement_id, json_text_of(document, "engagementId"), err) < 0)
        return -1;
    return text_assign(id, id_of(trial->rules, side, document), err);
}

/* --- Steps -------------------------------------------------------------------------------------------------------- */

static int add_step(struct trial *trial, const char *kind, json_t *content, struct error *err)
{
    json_t *step = content != NULL ? json_pack("{s:o}", kind, content) : NULL;

    return step == NULL || json_array_append_new(trial->steps, step) < 0 ? error_no_memory(err) : 0;
}

static int add_effects(struct trial *trial, const struct merge_effects *effects, struct error *err)
{
    if (effects->has_decision &&
        add_step(trial, "decision", message_to_json(DECISION_MEMBERS, DECISION_MEMBER_COUNT, &effects->decision), err) <
            0)
        return -1;
    if (effects->has_record &&
        add_step(trial, "record", message_to_json(RECORD_MEMBERS, RECORD_MEMBER_COUNT, &effects->record), err) < 0)
        return -1;
    if (effects->has_notification &&
        add_step(trial, "request",
                 message_to_json(NOTIFICATION_MEMBERS, NOTIFICATION_MEMBER_COUNT, &effects->notification), err) < 0)
        return -1;
    if (effects->has_problem &&
        add_step(trial, "problem",
                 json_pack("{s:s, s:s}", "code", effects->problem.code, "message", effects->problem.message), err) < 0)
        return -1;
    return 0;
}

/* The target's record with what was written in it. */
static int carry_out(struct trial *trial, const struct decision *decision, enum side target, struct error *err)
{
    json_t *document = trial->documents[target];
    json_t *created = document != NULL ? NULL : json_object();
    json_t *copy;
    const char *path;
    json_t *value;

    if (document == NULL && created == NULL)
        return error_no_memory(err);
    json_object_foreach (decision->write, path, value) {
        copy = json_deep_copy(value);
        if (copy == NULL || rules_path_put(path, document != NULL ? document : created, copy) < 0) {
            json_decref(created);
            return error_set(err, ERROR_CONFIG, "trial.unwritable", "'%s' has no place in the given record", path);
        }
    }
    if (created != NULL)
        trial->documents[target] = created;
    return 0;
}

static int tell_outcome(struct trial *trial, const struct decision *decision, enum side target,
                        struct merge_effects *effects, struct error *err)
{
    const char *id = id_of(trial->rules, target, trial->documents[target]);
    json_auto_t *readings = readings_of(trial, target, trial->documents[target], err);
    /* Borrowed members: merge_outcome() copies what it keeps. */
    const struct outcome outcome = {.decision_id = decision->id,
                                    .decision_number = decision->number,
                                    .deal_key = decision->deal_key,
                                    .result = OUTCOME_APPLIED,
                                    .target = decision->target,
                                    .system = decision->system,
                                    .record_type = decision->record_type,
                                    .record_id = text_copy(id),
                                    .is_certain = true,
                                    .is_created = decision->action == DECISION_CREATE,
                                    .documents = readings,
                                    .attempts = 1,
                                    .finished_at = decision->decided_at};
    int status = -1;

    if (readings != NULL && outcome.record_id != NULL)
        status = merge_outcome(&trial->deal, &trial->context, &outcome, effects, err);
    else if (readings != NULL)
        error_no_memory(err);
    free(outcome.record_id);
    return status;
}

/* Takes over `effects`; carries out what was decided until nothing is left to do. */
static int follow(struct trial *trial, struct merge_effects *effects, struct error *err)
{
    for (size_t step = 0; step < TRIAL_STEPS_MAX; step++) {
        struct merge_effects next = {0};
        enum side target = text_equal(effects->decision.target, side_name(SIDE_CRM)) ? SIDE_CRM : SIDE_PARTNER_CENTER;
        int status = add_effects(trial, effects, err);
        bool is_written = effects->has_decision && effects->decision.action != DECISION_NONE;

        if (status == 0 && is_written) {
            status = carry_out(trial, &effects->decision, target, err);
            if (status == 0)
                status = tell_outcome(trial, &effects->decision, target, &next, err);
        }
        merge_effects_done(effects);
        if (status < 0 || !is_written)
            return status;
        *effects = next;
    }
    merge_effects_done(effects);
    return 0;
}

/* --- The trial ---------------------------------------------------------------------------------------------------- */

static int set_base(struct trial *trial, const struct trial_input *input, struct error *err)
{
    trial->related = input->base_related;
    for (int side = 0; side < SIDE_COUNT; side++) {
        if (see(trial, (enum side)side, input->base[side], err) < 0)
            return -1;
        for (size_t k = 0; k < trial->rules->field_count; k++) {
            const struct rule_field *field = &trial->rules->fields[k];
            json_t *value = rule_field_value(field, (enum side)side, deal_values(&trial->deal, (enum side)side));

            if (value != NULL && json_object_set_new(trial->deal.base[side], field->name, value) < 0)
                return error_no_memory(err);
        }
        /* What comes now is newer, whatever its version says. */
        json_object_clear(json_object_get(trial->deal.seen[side], "documents"));
    }
    trial->related = input->related;
    return 0;
}

static int merge_side(struct trial *trial, enum side side, struct merge_effects *effects, struct error *err)
{
    json_auto_t *readings = readings_of(trial, side, trial->documents[side], err);
    char *side_text = text_copy(side_name(side));
    char *key = text_copy(trial->deal.key);
    char *read_at = text_copy(changed_at(side, trial->documents[side]));
    const struct record record = {.kind = RECORD_READING,
                                  .side = side_text,
                                  .deal_key = key,
                                  .record_id = key,
                                  .read_at = read_at,
                                  .documents = readings};
    int status = -1;

    if (readings == NULL || side_text == NULL || key == NULL || read_at == NULL)
        error_no_memory(err);
    else
        status = merge_record(&trial->deal, &trial->context, &record, effects, err);
    free(side_text);
    free(key);
    free(read_at);
    return status;
}

static int run(struct trial *trial, const struct trial_input *input, struct error *err)
{
    struct merge_effects effects = {0};
    /* The record that "arrives" last is the CRM's, so that both are known when the merge begins. */
    enum side last = trial->documents[SIDE_CRM] != NULL ? SIDE_CRM : SIDE_PARTNER_CENTER;

    if (input->base[SIDE_PARTNER_CENTER] != NULL && input->base[SIDE_CRM] != NULL && set_base(trial, input, err) < 0)
        return -1;
    if (last == SIDE_CRM && trial->documents[SIDE_PARTNER_CENTER] != NULL &&
        see(trial, SIDE_PARTNER_CENTER, trial->documents[SIDE_PARTNER_CENTER], err) < 0)
        return -1;
    if (merge_side(trial, last, &effects, err) < 0)
        return -1;
    return follow(trial, &effects, err);
}

/* The records are those of the deal, and all it has. */
static int check_deal(const struct rules *rules, const struct trial_input *input, struct error *err)
{
    for (int side = 0; side < SIDE_COUNT; side++) {
        const char *known = input->deal->id[side];
        const char *gone = input->deal->gone[side];

        if (known != NULL && gone == NULL && input->now[side] == NULL)
            return error_set(err, ERROR_CONFIG, "trial.incomplete", "the deal's %s is %s, and is missing here",
                             side == SIDE_CRM ? "CRM record" : "referral", known);
        if (known != NULL && input->now[side] != NULL &&
            !text_equal(known, id_of(rules, (enum side)side, input->now[side])))
            return error_set(err, ERROR_CONFIG, "trial.other_deal", "the deal's %s is %s, and here is another one",
                             side == SIDE_CRM ? "CRM record" : "referral", known);
    }
    return 0;
}

static int copy_deal(const struct deal *deal, struct deal *ret_copy, struct error *err)
{
    size_t length = 0;
    char *state = deal_write(deal, &length);
    int status = state != NULL ? deal_read(state, length, ret_copy, err) : error_no_memory(err);

    free(state);
    return status;
}

static int begin_deal(const struct rules *rules, const struct trial_input *input, struct deal *ret_deal,
                      struct error *err)
{
    char *key;
    int status;

    if (input->deal != NULL)
        return check_deal(rules, input, err) < 0 ? -1 : copy_deal(input->deal, ret_deal, err);
    key = input->now[SIDE_PARTNER_CENTER] != NULL
              ? text_copy(id_of(rules, SIDE_PARTNER_CENTER, input->now[SIDE_PARTNER_CENTER]))
              : text_format(DEAL_KEY_PREFIX_CRM "%s", crm_id(rules, input->now[SIDE_CRM]));
    status = key != NULL ? deal_init(ret_deal, key, err) : error_no_memory(err);
    free(key);
    return status;
}

int trial_run(const struct rules *rules, const struct trial_input *input, json_t **ret_steps, struct error *err)
{
    struct trial trial = {.rules = rules, .related = input->related, .context = {.rules = rules, .topic = "trial"}};
    int status = -1;

    if (input->now[SIDE_PARTNER_CENTER] == NULL && input->now[SIDE_CRM] == NULL)
        return error_set(err, ERROR_CONFIG, "trial.empty", "there is no record on either side");
    if (begin_deal(rules, input, &trial.deal, err) < 0)
        return -1;
    trial.steps = json_array();
    for (int side = 0; side < SIDE_COUNT; side++)
        trial.documents[side] = json_deep_copy(input->now[side]);
    if (trial.steps == NULL)
        error_no_memory(err);
    else
        status = run(&trial, input, err);
    if (status == 0)
        *ret_steps = json_incref(trial.steps);
    json_decref(trial.steps);
    json_decref(trial.documents[SIDE_PARTNER_CENTER]);
    json_decref(trial.documents[SIDE_CRM]);
    deal_done(&trial.deal);
    return status;
}
