#include "mapper/decide.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/base/uuid.h"

static const char *earliest_received(const json_t *causes)
{
    const char *earliest = NULL;

    for (size_t i = 0; i < json_array_size(causes); i++) {
        const char *at = json_text_of(json_array_get(causes, i), "received_at");
        if (at != NULL && (earliest == NULL || strcmp(at, earliest) < 0))
            earliest = at;
    }
    return earliest;
}

int decide_note_causes(struct deal *deal, const json_t *causes, struct error *err)
{
    for (size_t i = 0; i < json_array_size(causes); i++) {
        if (json_array_size(deal->causes) >= MERGE_CAUSES_MAX)
            break;
        if (json_array_append(deal->causes, json_array_get(causes, i)) < 0)
            return error_no_memory(err);
    }
    return 0;
}

/* What every decision carries. The causes are those noted since the last decision. */
static int fill_decision(const struct deal *deal, const struct decide_cause *cause, struct decision *decision,
                         struct error *err)
{
    const struct merge_context *context = cause->context;

    decision->cause_partition = context->partition;
    decision->cause_offset = context->offset;
    decision->causes = json_deep_copy(deal->causes);
    if (decision->causes == NULL)
        return error_no_memory(err);
    if (cause->near_misses != NULL) {
        decision->near_misses = json_incref(cause->near_misses);
        decision->is_notable = decision->action == DECISION_NONE;
    }
    if (text_assign(&decision->deal_key, deal->key, err) < 0 ||
        text_assign(&decision->referral_id, deal->id[SIDE_PARTNER_CENTER], err) < 0 ||
        text_assign(&decision->crm_system, context->rules->crm, err) < 0 ||
        text_assign(&decision->crm_id, deal->id[SIDE_CRM], err) < 0 ||
        text_assign(&decision->rules_version, context->rules->version, err) < 0 ||
        text_assign(&decision->decided_at, cause->at, err) < 0 ||
        text_assign(&decision->received_at, earliest_received(deal->causes), err) < 0 ||
        text_assign(&decision->cause_topic, context->topic, err) < 0)
        return -1;
    return 0;
}

int decide_none(struct deal *deal, const struct decide_cause *cause, const char *reason, const char *detail,
                struct merge_effects *effects, struct error *err)
{
    struct decision *decision = &effects->decision;

    if (!cause->wants_reason)
        return 0;
    effects->has_decision = true;
    decision->action = DECISION_NONE;
    decision->id = text_format("%s#none:%s/%" PRId32 "/%" PRId64, deal->key, cause->context->topic,
                               cause->context->partition, cause->context->offset);
    if (decision->id == NULL)
        return error_no_memory(err);
    if (text_assign(&decision->reason, reason, err) < 0 || text_assign(&decision->detail, detail, err) < 0)
        return -1;
    /* While a decision is under way its successor answers for these causes too. */
    if (deal->pending != NULL)
        return fill_decision(deal, cause, decision, err);
    if (fill_decision(deal, cause, decision, err) < 0)
        return -1;
    return json_array_clear(deal->causes) < 0 ? error_no_memory(err) : 0;
}

enum { AUDIT_FRAME_UNITS = 40 }; /* time, blanks and brackets around the text and the marker */

/* What stood in the audit column, as far as the column has room for it beside the new line. */
static int fill_former(const struct deal *deal, const struct rules *rules, const struct decide_plan *plan,
                       struct decision *decision, struct error *err)
{
    const char *former = deal_text(deal, SIDE_CRM, rules->audit_column);
    const char *own = json_text_of(plan->write, rules->audit_column == NULL ? "" : rules->audit_column);
    const char *text = own != NULL ? own : plan->audit_text;
    size_t used, kept;

    if (former == NULL || text == NULL || plan->action == DECISION_CREATE)
        return 0;
    used = utf8_length_utf16(text, strlen(text)) + utf8_length_utf16(decision->id, strlen(decision->id)) +
           AUDIT_FRAME_UNITS;
    if (used >= rules->audit_length)
        return 0;
    kept = utf8_cut_utf16(former, strlen(former), rules->audit_length - used);
    decision->audit_former = kept == 0 ? NULL : text_copy_n(former, kept);
    return kept > 0 && decision->audit_former == NULL ? error_no_memory(err) : 0;
}

/* How the child rows of a new record are made; nothing where it has none. */
static int fill_rows(const struct rules *rules, const json_t *write, struct decision *decision, struct error *err)
{
    const char *navigation;
    json_t *how;

    json_object_foreach (rules->rows, navigation, how) {
        if (json_array_size(json_object_get(write, navigation)) == 0)
            continue;
        if (decision->rows == NULL)
            decision->rows = json_object();
        if (json_object_set_new(decision->rows, navigation, json_deep_copy(how)) < 0)
            return error_no_memory(err);
    }
    return 0;
}

static int fill_target(const struct deal *deal, const struct rules *rules, const struct decide_plan *plan,
                       struct decision *decision, struct error *err)
{
    const bool is_crm = plan->target == SIDE_CRM;
    const json_t *document = deal_document(deal, plan->target);

    if (text_assign(&decision->target, side_name(plan->target), err) < 0 ||
        text_assign(&decision->system, is_crm ? rules->crm : "partner-center", err) < 0 ||
        text_assign(&decision->record_type,
                    plan->record_type != NULL ? plan->record_type
                    : is_crm                  ? rules->record_type
                                              : "referral",
                    err) < 0)
        return -1;
    if (plan->action == DECISION_CREATE) {
        decision->create_key = json_deep_copy(plan->create_key);
        if (decision->create_key == NULL)
            return error_no_memory(err);
    } else if (text_assign(&decision->record_id, deal->id[plan->target], err) < 0 ||
               text_assign(&decision->expected_version, json_text_of(document, "version"), err) < 0 ||
               text_assign(&decision->expected_etag, json_text_of(document, "etag"), err) < 0) {
        return -1;
    }
    if (is_crm && (text_assign(&decision->audit_column, rules->audit_column, err) < 0 ||
                   text_assign(&decision->audit_text, plan->audit_text, err) < 0))
        return -1;
    if (is_crm && fill_former(deal, rules, plan, decision, err) < 0)
        return -1;
    if (is_crm && rules->lookups != NULL) {
        decision->lookups = json_deep_copy(rules->lookups);
        if (decision->lookups == NULL)
            return error_no_memory(err);
    }
    return is_crm && plan->action == DECISION_CREATE ? fill_rows(rules, plan->write, decision, err) : 0;
}

int decide_write(struct deal *deal, const struct decide_cause *cause, const struct decide_plan *plan,
                 struct merge_effects *effects, struct error *err)
{
    struct decision *decision = &effects->decision;

    if (!text_equal(plan->purpose, "explain") && text_assign(&deal->rests, NULL, err) < 0)
        return -1;
    effects->has_decision = true;
    decision->action = (int)plan->action;
    decision->number = deal->next_number++;
    decision->id = text_format("%s#%" PRId64, deal->key, decision->number);
    decision->fields = json_deep_copy(plan->fields);
    decision->write = json_deep_copy(plan->write);
    decision->conflicts = plan->conflicts == NULL ? json_array() : json_deep_copy(plan->conflicts);
    if (decision->id == NULL || decision->fields == NULL || decision->write == NULL || decision->conflicts == NULL)
        return error_no_memory(err);
    if (text_assign(&decision->purpose, plan->purpose, err) < 0 ||
        text_assign(&decision->reason, plan->reason, err) < 0 || fill_decision(deal, cause, decision, err) < 0 ||
        fill_target(deal, cause->context->rules, plan, decision, err) < 0)
        return -1;
    deal->pending = json_pack("{s:s, s:I, s:s, s:s, s:i, s:O, s:O, s:s*}", "id", decision->id, "number",
                              (json_int_t)decision->number, "target", side_name(plan->target), "purpose", plan->purpose,
                              "action", (int)plan->action, "fields", decision->fields, "write", decision->write,
                              "status", deal_text(deal, SIDE_PARTNER_CENTER, "status"));
    if (deal->pending == NULL || json_array_clear(deal->causes) < 0)
        return error_no_memory(err);
    return 0;
}

int decide_to_ask(const struct rules *rules, const struct deal *deal, enum side side, const char *id,
                  const struct decide_cause *cause, struct merge_effects *effects, struct error *err)
{
    struct notification *notification = &effects->notification;
    char normalised[UUID_TEXT_SIZE];

    if (id == NULL || !uuid_is_valid(id, strlen(id)))
        return 0; /* names no record of ours; the none decision says so */
    effects->has_notification = true;
    notification->origin = NOTIFICATION_MAPPER;
    if (text_assign(&notification->source, side == SIDE_CRM ? rules->crm : "partner-center", err) < 0 ||
        text_assign(&notification->event, "requested", err) < 0 ||
        text_assign(&notification->record_type, side == SIDE_CRM ? rules->record_type : "referral", err) < 0 ||
        text_assign(&notification->record_id, uuid_normalise(id, normalised), err) < 0 ||
        text_assign(&notification->received_at, cause->at, err) < 0 ||
        text_assign(&notification->deal_key, deal->key, err) < 0)
        return -1;
    return 0;
}

int decide_to_tell(const struct deal *deal, const char *crm_id, const struct decide_cause *cause,
                   struct merge_effects *effects, struct error *err)
{
    struct record *record = &effects->record;
    char normalised[UUID_TEXT_SIZE];

    if (!uuid_is_valid(crm_id, strlen(crm_id)))
        return 0;
    effects->has_record = true;
    record->kind = RECORD_FOUND;
    record->deal_key = text_format("%s%s", DEAL_KEY_PREFIX_CRM, uuid_normalise(crm_id, normalised));
    if (record->deal_key == NULL)
        return error_no_memory(err);
    if (text_assign(&record->record_id, deal->id[SIDE_PARTNER_CENTER], err) < 0 ||
        text_assign(&record->read_at, cause->at, err) < 0)
        return -1;
    return 0;
}
