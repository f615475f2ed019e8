#include "mapper/merge.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/base/uuid.h"
#include "mapper/settle.h"

#define PATH_EXTERNAL_REFERENCE "externalReferenceId"
#define KEY_PREFIX_CRM          "crm:"

/* The message being merged, as far as decisions need it. */
struct cause {
    const struct merge_context *context;
    const char *at;           /* RFC 3339, the message's own time */
    bool wants_reason;        /* a record that leads to nothing is answered with a decision none */
    const char *quiet_reason; /* what to say then, unless something better is known */
    const char *quiet_detail;
};

static int copy_text(char **ret_copy, const char *text, struct error *err)
{
    if (text == NULL)
        return 0;
    *ret_copy = text_copy(text);
    return *ret_copy == NULL ? error_no_memory(err) : 0;
}

static int replace_text(char **text, const char *by, struct error *err)
{
    char *copy = NULL;

    if (by != NULL && (copy = text_copy(by)) == NULL)
        return error_no_memory(err);
    free(*text);
    *text = copy;
    return 0;
}

static const char *value_text(const struct deal *deal, enum side side, const char *path)
{
    const json_t *values = deal_values(deal, side);
    const char *text = path == NULL ? NULL : json_text_of(values, path);

    return text != NULL && text[0] != '\0' ? text : NULL;
}

static bool same_id(const char *a, const char *b)
{
    return a != NULL && b != NULL && text_equal_ignoring_case(a, b);
}

/* -- decisions ----------------------------------------------------------------------------------------------------- */

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

static int note_causes(struct deal *deal, const json_t *causes, struct error *err)
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
static int fill_decision(const struct deal *deal, const struct cause *cause, struct decision *decision,
                         struct error *err)
{
    const struct merge_context *context = cause->context;

    decision->cause_partition = context->partition;
    decision->cause_offset = context->offset;
    decision->causes = json_deep_copy(deal->causes);
    if (decision->causes == NULL)
        return error_no_memory(err);
    if (copy_text(&decision->deal_key, deal->key, err) < 0 ||
        copy_text(&decision->referral_id, deal->referral_id, err) < 0 ||
        copy_text(&decision->crm_id, deal->crm_id, err) < 0 ||
        copy_text(&decision->rules_version, context->rules->version, err) < 0 ||
        copy_text(&decision->decided_at, cause->at, err) < 0 ||
        copy_text(&decision->received_at, earliest_received(deal->causes), err) < 0 ||
        copy_text(&decision->cause_topic, context->topic, err) < 0)
        return -1;
    return 0;
}

static int decide_none(struct deal *deal, const struct cause *cause, const char *reason, const char *detail,
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
    if (copy_text(&decision->reason, reason, err) < 0 || copy_text(&decision->detail, detail, err) < 0)
        return -1;
    /* While a decision is under way its successor answers for these causes too. */
    if (deal->pending != NULL)
        return fill_decision(deal, cause, decision, err);
    if (fill_decision(deal, cause, decision, err) < 0)
        return -1;
    return json_array_clear(deal->causes) < 0 ? error_no_memory(err) : 0;
}

struct plan {
    enum decision_action action;
    enum side target;
    const char *purpose;
    const char *reason;
    const char *audit_text;
    json_t *fields;    /* borrowed */
    json_t *write;     /* borrowed */
    json_t *conflicts; /* borrowed, may be NULL */
};

static int fill_target(const struct deal *deal, const struct rules *rules, const struct plan *plan,
                       struct decision *decision, struct error *err)
{
    const bool is_crm = plan->target == SIDE_CRM;
    const json_t *document = deal_document(deal, plan->target);

    if (copy_text(&decision->target, side_name(plan->target), err) < 0 ||
        copy_text(&decision->system, is_crm ? rules->crm : "partner-center", err) < 0 ||
        copy_text(&decision->record_type, is_crm ? rules->record_type : "referral", err) < 0)
        return -1;
    if (plan->action == DECISION_CREATE) {
        decision->create_key = json_pack("{s:s}", is_crm ? rules->identifier_column : PATH_EXTERNAL_REFERENCE,
                                         is_crm ? deal->referral_id : deal->crm_id);
        if (decision->create_key == NULL)
            return error_no_memory(err);
    } else if (copy_text(&decision->record_id, is_crm ? deal->crm_id : deal->referral_id, err) < 0 ||
               copy_text(&decision->expected_version, json_text_of(document, "version"), err) < 0 ||
               copy_text(&decision->expected_etag, json_text_of(document, "etag"), err) < 0) {
        return -1;
    }
    if (is_crm && (copy_text(&decision->audit_column, rules->audit_column, err) < 0 ||
                   copy_text(&decision->audit_text, plan->audit_text, err) < 0))
        return -1;
    if (is_crm && rules->lookups != NULL) {
        decision->lookups = json_deep_copy(rules->lookups);
        if (decision->lookups == NULL)
            return error_no_memory(err);
    }
    return 0;
}

enum { REFUSAL_KEY_SIZE = 64 };

/* Of each kind of write its last refusal is kept: were it one for all, two refused writes would take turns for ever. */
static const char *refusal_key(const char *target, const char *purpose, char out[static REFUSAL_KEY_SIZE])
{
    (void)snprintf(out, REFUSAL_KEY_SIZE, "%s/%s", target, purpose);
    return out;
}

/* The refusal of this very write under these very rules; borrowed, NULL: there was none. */
static const json_t *find_refusal(const struct deal *deal, const struct rules *rules, const struct plan *plan)
{
    char key[REFUSAL_KEY_SIZE];
    const json_t *refusal = json_object_get(deal->refused, refusal_key(side_name(plan->target), plan->purpose, key));

    return refusal != NULL && text_equal(json_text_of(refusal, "rules_version"), rules->version) &&
                   json_same(json_object_get(refusal, "write"), plan->write)
               ? refusal
               : NULL;
}

/* Puts the decision under way. */
static int decide_write(struct deal *deal, const struct cause *cause, const struct plan *plan,
                        struct merge_effects *effects, struct error *err)
{
    struct decision *decision = &effects->decision;

    effects->has_decision = true;
    decision->action = (int)plan->action;
    decision->number = deal->next_number++;
    decision->id = text_format("%s#%" PRId64, deal->key, decision->number);
    decision->fields = json_deep_copy(plan->fields);
    decision->write = json_deep_copy(plan->write);
    decision->conflicts = plan->conflicts == NULL ? json_array() : json_deep_copy(plan->conflicts);
    if (decision->id == NULL || decision->fields == NULL || decision->write == NULL || decision->conflicts == NULL)
        return error_no_memory(err);
    if (copy_text(&decision->purpose, plan->purpose, err) < 0 || copy_text(&decision->reason, plan->reason, err) < 0 ||
        fill_decision(deal, cause, decision, err) < 0 ||
        fill_target(deal, cause->context->rules, plan, decision, err) < 0)
        return -1;
    deal->pending = json_pack("{s:s, s:I, s:s, s:s, s:i, s:O, s:O}", "id", decision->id, "number",
                              (json_int_t)decision->number, "target", side_name(plan->target), "purpose", plan->purpose,
                              "action", (int)plan->action, "fields", decision->fields, "write", decision->write);
    if (deal->pending == NULL || json_array_clear(deal->causes) < 0)
        return error_no_memory(err);
    return 0;
}

/* -- the next step of a deal --------------------------------------------------------------------------------------- */

static int ask_for(const struct rules *rules, const struct deal *deal, enum side side, const char *id,
                   const struct cause *cause, struct merge_effects *effects, struct error *err)
{
    struct notification *notification = &effects->notification;
    char normalised[UUID_TEXT_SIZE];

    if (id == NULL || !uuid_is_valid(id, strlen(id)))
        return 0; /* names no record of ours; the none decision says so */
    effects->has_notification = true;
    notification->origin = NOTIFICATION_MAPPER;
    if (copy_text(&notification->source, side == SIDE_CRM ? rules->crm : "partner-center", err) < 0 ||
        copy_text(&notification->event, "requested", err) < 0 ||
        copy_text(&notification->record_type, side == SIDE_CRM ? rules->record_type : "referral", err) < 0 ||
        copy_text(&notification->record_id, uuid_normalise(id, normalised), err) < 0 ||
        copy_text(&notification->received_at, cause->at, err) < 0 ||
        copy_text(&notification->deal_key, deal->key, err) < 0)
        return -1;
    return 0;
}

/* A referral names a CRM record we have not seen: the key that record may still have is told that the referral exists. */
static int tell_found(const struct deal *deal, const char *crm_id, const struct cause *cause,
                      struct merge_effects *effects, struct error *err)
{
    struct record *record = &effects->record;
    char normalised[UUID_TEXT_SIZE];

    if (!uuid_is_valid(crm_id, strlen(crm_id)))
        return 0;
    effects->has_record = true;
    record->kind = RECORD_FOUND;
    record->deal_key = text_format("%s%s", KEY_PREFIX_CRM, uuid_normalise(crm_id, normalised));
    if (record->deal_key == NULL)
        return error_no_memory(err);
    if (copy_text(&record->record_id, deal->referral_id, err) < 0 || copy_text(&record->read_at, cause->at, err) < 0)
        return -1;
    return 0;
}

static int create_in_crm(struct deal *deal, const struct cause *cause, struct merge_effects *effects, struct error *err)
{
    const struct rules *rules = cause->context->rules;
    struct settlement settlement;
    int status;

    if (!rules_hold(rules->select[SIDE_PARTNER_CENTER], deal_values(deal, SIDE_PARTNER_CENTER), true))
        return decide_none(deal, cause, "not_selected", "the rules' select does not take this referral", effects, err);
    if (settlement_init(&settlement, err) < 0)
        return -1;
    status = settle_creation(deal, rules, SIDE_CRM, &settlement, err);
    if (status == 0 && settlement.held_back != NULL) {
        effects->has_problem = settlement.has_problem;
        effects->problem = settlement.problem;
        status = decide_none(deal, cause, "invalid", "a value the CRM record needs is missing or cannot be mapped",
                             effects, err);
    } else if (status == 0) {
        const struct plan plan = {.action = DECISION_CREATE,
                                  .target = SIDE_CRM,
                                  .purpose = "create",
                                  .reason = "new_referral",
                                  .audit_text = "Created from Partner Center",
                                  .fields = settlement.fields[SIDE_CRM],
                                  .write = settlement.write[SIDE_CRM]};
        if (json_object_set_new(plan.write, rules->identifier_column, json_string(deal->referral_id)) < 0)
            status = error_no_memory(err);
        else if (find_refusal(deal, rules, &plan) != NULL)
            status = decide_none(deal, cause, "refused_before", json_text_of(find_refusal(deal, rules, &plan), "code"),
                                 effects, err);
        else
            status = decide_write(deal, cause, &plan, effects, err);
    }
    settlement_done(&settlement);
    return status;
}

/* One column that names the partner. *ret_is_done: a decision was taken. */
static int link_side(struct deal *deal, const struct cause *cause, enum side target, const char *path,
                     const char *partner_id, struct merge_effects *effects, bool *ret_is_done, struct error *err)
{
    const struct rules *rules = cause->context->rules;
    const char *present = value_text(deal, target, path);
    json_auto_t *fields =
        json_pack("[{s:s, s:s?, s:s, s:s}]", "name", path, "old", present, "new", partner_id, "from", partner_id);
    json_auto_t *write = json_pack("{s:s}", path, partner_id);
    const struct plan plan = {.action = DECISION_UPDATE,
                              .target = target,
                              .purpose = "link",
                              .reason = "link",
                              .audit_text = "Linked with Partner Center",
                              .fields = fields,
                              .write = write};

    if (fields == NULL || write == NULL)
        return error_no_memory(err);
    if (find_refusal(deal, rules, &plan) != NULL)
        return 0;
    *ret_is_done = true;
    return decide_write(deal, cause, &plan, effects, err);
}

static bool may_link_referral(const struct deal *deal, const struct rules *rules)
{
    const json_t *values = deal_values(deal, SIDE_PARTNER_CENTER);
    const char *status = json_text_of(values, "status");

    if (rules_hold(rules->is_closed[SIDE_PARTNER_CENTER], values, false))
        return false;
    return !rules->link_waits_for_acceptance || (status != NULL && text_equal_ignoring_case(status, "Active"));
}

static int link_both(struct deal *deal, const struct cause *cause, struct merge_effects *effects, bool *ret_is_done,
                     struct error *err)
{
    const struct rules *rules = cause->context->rules;

    if (value_text(deal, SIDE_CRM, rules->identifier_column) == NULL &&
        !rules_hold(rules->is_closed[SIDE_CRM], deal_values(deal, SIDE_CRM), false)) {
        if (link_side(deal, cause, SIDE_CRM, rules->identifier_column, deal->referral_id, effects, ret_is_done, err) <
            0)
            return -1;
        if (*ret_is_done)
            return 0;
    }
    if (!same_id(value_text(deal, SIDE_PARTNER_CENTER, PATH_EXTERNAL_REFERENCE), deal->crm_id) &&
        may_link_referral(deal, rules))
        return link_side(deal, cause, SIDE_PARTNER_CENTER, PATH_EXTERNAL_REFERENCE, deal->crm_id, effects, ret_is_done,
                         err);
    return 0;
}

static int write_changes(struct deal *deal, const struct cause *cause, struct settlement *settlement,
                         struct merge_effects *effects, struct error *err)
{
    const struct rules *rules = cause->context->rules;
    /* One decision at a time: the CRM first; its outcome brings the merge back for the other side. */
    const enum side target = json_object_size(settlement->write[SIDE_CRM]) > 0 ? SIDE_CRM : SIDE_PARTNER_CENTER;
    const struct plan plan = {.action = DECISION_UPDATE,
                              .target = target,
                              .purpose = "update",
                              .reason = json_array_size(settlement->conflicts) > 0 ? "conflict_settled"
                                        : target == SIDE_CRM                       ? "partner_center_changed"
                                                                                   : "crm_changed",
                              .audit_text = "Updated from Partner Center",
                              .fields = settlement->fields[target],
                              .write = settlement->write[target],
                              .conflicts = settlement->conflicts};

    if (json_object_size(plan.write) == 0)
        return decide_none(deal, cause, settlement->held_back != NULL ? settlement->held_back : cause->quiet_reason,
                           settlement->held_back != NULL ? NULL : cause->quiet_detail, effects, err);
    if (find_refusal(deal, rules, &plan) != NULL)
        return decide_none(deal, cause, "refused_before", json_text_of(find_refusal(deal, rules, &plan), "code"),
                           effects, err);
    return decide_write(deal, cause, &plan, effects, err);
}

static int update_sides(struct deal *deal, const struct cause *cause, struct merge_effects *effects, struct error *err)
{
    struct settlement settlement;
    int status;

    if (settlement_init(&settlement, err) < 0)
        return -1;
    status = settle_updates(deal, cause->context->rules, &settlement, err);
    if (status == 0) {
        effects->has_problem = settlement.has_problem;
        effects->problem = settlement.problem;
        status = write_changes(deal, cause, &settlement, effects, err);
    }
    settlement_done(&settlement);
    return status;
}

/* Only one side is known. */
static int meet_partner(struct deal *deal, const struct cause *cause, struct merge_effects *effects, struct error *err)
{
    const struct rules *rules = cause->context->rules;
    const char *named;

    if (deal->seen_partner_center == NULL) {
        named = value_text(deal, SIDE_CRM, rules->identifier_column);
        if (named == NULL)
            return decide_none(deal, cause, "not_linked", "the CRM record names no referral", effects, err);
        if (ask_for(rules, deal, SIDE_PARTNER_CENTER, named, cause, effects, err) < 0)
            return -1;
        return decide_none(deal, cause, "waiting_for_partner", "the referral was asked for", effects, err);
    }
    named = value_text(deal, SIDE_PARTNER_CENTER, PATH_EXTERNAL_REFERENCE);
    if (named == NULL && deal->crm_id == NULL)
        return create_in_crm(deal, cause, effects, err);
    if (named == NULL)
        named = deal->crm_id;
    if (ask_for(rules, deal, SIDE_CRM, named, cause, effects, err) < 0 ||
        tell_found(deal, named, cause, effects, err) < 0)
        return -1;
    return decide_none(deal, cause, "waiting_for_partner",
                       effects->has_notification ? "the CRM record was asked for"
                                                 : "the referral's CRM id is not the id of a record of this CRM",
                       effects, err);
}

static int next_step(struct deal *deal, const struct cause *cause, struct merge_effects *effects, struct error *err)
{
    bool is_done = false;

    if (replace_text(&deal->rules_version, cause->context->rules->version, err) < 0)
        return -1;
    if (deal->pending != NULL)
        return decide_none(deal, cause, "waiting", json_text_of(deal->pending, "id"), effects, err);
    if (deal->gone_partner_center != NULL)
        return decide_none(deal, cause, "referral_gone", deal->gone_partner_center, effects, err);
    if (deal->gone_crm != NULL)
        return decide_none(deal, cause, "crm_gone", deal->gone_crm, effects, err);
    if (deal->conflict_rounds > MERGE_CONFLICT_ROUNDS_MAX)
        return decide_none(deal, cause, "conflict_rounds", "the target changes faster than it can be written", effects,
                           err);
    if (deal->seen_partner_center == NULL || deal->seen_crm == NULL)
        return meet_partner(deal, cause, effects, err);
    if (link_both(deal, cause, effects, &is_done, err) < 0)
        return -1;
    return is_done ? 0 : update_sides(deal, cause, effects, err);
}

/* -- records ------------------------------------------------------------------------------------------------------- */

static int forward(const struct deal *deal, const struct record *record, struct merge_effects *effects,
                   struct error *err)
{
    json_auto_t *json = message_to_json(RECORD_MEMBERS, RECORD_MEMBER_COUNT, record);

    if (json == NULL || json_object_set_new(json, "deal_key", json_string(deal->alias)) < 0)
        return error_no_memory(err);
    if (message_from_json(RECORD_MEMBERS, RECORD_MEMBER_COUNT, json, &effects->record, err) < 0)
        return -1;
    effects->has_record = true;
    return 0;
}

static int hand_over(struct deal *deal, const struct cause *cause, const char *referral_id,
                     struct merge_effects *effects, struct error *err)
{
    struct deal alias;
    struct record *record = &effects->record;

    record->kind = RECORD_HANDOVER;
    record->state = message_to_json(DEAL_MEMBERS, DEAL_MEMBER_COUNT, deal);
    effects->has_record = true;
    if (record->state == NULL)
        return error_no_memory(err);
    if (copy_text(&record->deal_key, referral_id, err) < 0 || copy_text(&record->from_key, deal->key, err) < 0 ||
        copy_text(&record->read_at, cause->at, err) < 0)
        return -1;
    if (deal_init(&alias, deal->key, err) < 0)
        return -1;
    deal_done(deal);
    *deal = alias;
    return copy_text(&deal->alias, referral_id, err);
}

static int merge_found(struct deal *deal, const struct cause *cause, const struct record *record,
                       struct merge_effects *effects, struct error *err)
{
    if (!text_starts_with(deal->key, KEY_PREFIX_CRM) || record->record_id == NULL)
        return 0;
    if (deal->crm_id == NULL && replace_text(&deal->crm_id, deal->key + strlen(KEY_PREFIX_CRM), err) < 0)
        return -1;
    return hand_over(deal, cause, record->record_id, effects, err);
}

static int merge_handover(struct deal *deal, const struct cause *cause, const struct record *record,
                          struct merge_effects *effects, struct error *err)
{
    struct deal old;

    if (message_from_json(DEAL_MEMBERS, DEAL_MEMBER_COUNT, record->state, &old, err) < 0)
        return -1;
    if (deal->crm_id == NULL) {
        deal->crm_id = old.crm_id;
        old.crm_id = NULL;
    }
    if (deal->seen_crm == NULL) {
        deal->seen_crm = old.seen_crm;
        old.seen_crm = NULL;
    }
    if (json_object_size(deal->base_crm) == 0 && json_object_size(deal->base_partner_center) == 0) {
        json_t *base_crm = deal->base_crm, *base_partner_center = deal->base_partner_center;
        deal->base_crm = old.base_crm;
        deal->base_partner_center = old.base_partner_center;
        old.base_crm = base_crm;
        old.base_partner_center = base_partner_center;
    }
    deal_done(&old);
    return next_step(deal, cause, effects, err);
}

static int merge_gone(struct deal *deal, const struct cause *cause, const struct record *record, enum side side,
                      struct merge_effects *effects, struct error *err)
{
    char **gone = side == SIDE_CRM ? &deal->gone_crm : &deal->gone_partner_center;

    if (replace_text(gone, record->reason != NULL ? record->reason : "not_found", err) < 0)
        return -1;
    return next_step(deal, cause, effects, err);
}

/* A second record that claims to be this deal's: told, and not looked at, since nobody but a person can say which. */
static int refuse_stranger(struct deal *deal, const struct cause *cause, const struct record *record,
                           struct merge_effects *effects, struct error *err)
{
    effects->has_problem = true;
    error_set(&effects->problem, ERROR_POISON, "identity.two_records",
              "record %s names this deal, which is paired with record %s already", record->record_id, deal->crm_id);
    return decide_none(deal, cause, "ambiguous", "two CRM records carry the same Referral Identifier", effects, err);
}

static int learn_ids(struct deal *deal, const struct record *record, enum side side, struct error *err)
{
    const json_t *own = record_document_of(record->documents, side == SIDE_CRM ? "crm" : "own");
    const char *id = json_text_of(own, "id");

    if (own == NULL)
        return 0; /* only another party's referral could be read */
    if (side == SIDE_CRM)
        return replace_text(&deal->crm_id, id, err);
    if (replace_text(&deal->referral_id, id, err) < 0)
        return -1;
    return replace_text(&deal->engagement_id, json_text_of(json_at(own, "body", false), "engagementId"), err);
}

static bool was_written_by_us(const struct deal *deal, enum side side)
{
    return json_text_of(deal_document(deal, side), "written_by") != NULL;
}

static int merge_reading(struct deal *deal, struct cause *cause, const struct record *record, enum side side,
                         struct merge_effects *effects, struct error *err)
{
    const char *id = json_text_of(record_document_of(record->documents, side == SIDE_CRM ? "crm" : "own"), "id");
    enum deal_news news;

    if (side == SIDE_CRM && deal->crm_id != NULL && id != NULL && !same_id(id, deal->crm_id) && deal->seen_crm != NULL)
        return refuse_stranger(deal, cause, record, effects, err);
    if (learn_ids(deal, record, side, err) < 0 ||
        replace_text(side == SIDE_CRM ? &deal->gone_crm : &deal->gone_partner_center, NULL, err) < 0 ||
        deal_see(deal, cause->context->rules, side, record->documents, &news, err) < 0)
        return -1;
    if (news == DEAL_NEWER) {
        deal->conflict_rounds = 0;
        cause->quiet_reason = "unchanged";
        cause->quiet_detail = "no field of the rules has changed";
    } else if (news == DEAL_SAME) {
        cause->quiet_reason = was_written_by_us(deal, side) ? "echo" : "unchanged";
        cause->quiet_detail = was_written_by_us(deal, side) ? json_text_of(deal_document(deal, side), "written_by")
                                                            : "this version is known";
    } else {
        cause->quiet_reason = "older";
        cause->quiet_detail = "a newer version is known";
    }
    return next_step(deal, cause, effects, err);
}

int merge_record(struct deal *deal, const struct merge_context *context, const struct record *record,
                 struct merge_effects *ret_effects, struct error *err)
{
    struct cause cause = {.context = context,
                          .at = record->read_at,
                          .wants_reason = record->kind == RECORD_READING || record->kind == RECORD_GONE,
                          .quiet_reason = "unchanged"};
    enum side side = text_equal(record->side, "crm") ? SIDE_CRM : SIDE_PARTNER_CENTER;
    int status = 0;

    *ret_effects = (struct merge_effects){0};
    if (deal->alias != NULL) {
        if (record->kind != RECORD_FOUND && record->kind != RECORD_HANDOVER)
            status = forward(deal, record, ret_effects, err);
    } else if (note_causes(deal, record->causes, err) < 0) {
        status = -1;
    } else {
        switch ((enum record_kind)record->kind) {
        case RECORD_READING:
            status = merge_reading(deal, &cause, record, side, ret_effects, err);
            break;
        case RECORD_GONE:
            status = merge_gone(deal, &cause, record, side, ret_effects, err);
            break;
        case RECORD_HANDOVER:
            status = merge_handover(deal, &cause, record, ret_effects, err);
            break;
        case RECORD_FOUND:
            status = merge_found(deal, &cause, record, ret_effects, err);
            break;
        }
    }
    if (status < 0)
        merge_effects_done(ret_effects);
    return status;
}

/* -- outcomes ------------------------------------------------------------------------------------------------------ */

/* The rule "image": what the target shows after our write is the image of our value and becomes its base; unless
 * somebody may have written since, then the value as it was sent. The image is that of the outcome itself: a later record,
 * which may already be known, can hold an edit made since. */
static int take_base(struct deal *deal, const struct rules *rules, const json_t *pending, enum side target,
                     const struct outcome *outcome, struct error *err)
{
    const json_t *fields = json_object_get(pending, "fields");
    json_auto_t *values = deal_values_of(rules, target, outcome->documents);

    if (values == NULL)
        return error_no_memory(err);

    for (size_t i = 0; i < json_array_size(fields); i++) {
        const json_t *change = json_array_get(fields, i);
        const char *name = json_text_of(change, "name");
        const struct rule_field *field = NULL;
        json_t *image = NULL;

        for (size_t k = 0; k < rules->field_count && field == NULL; k++) {
            if (text_equal(rules->fields[k].name, name))
                field = &rules->fields[k];
        }
        if (field == NULL)
            continue; /* a link, or a field the rules have lost meanwhile */
        if (outcome->is_certain)
            image = rule_field_value(field, target, values);
        if (image == NULL)
            image = json_incref(json_object_get(change, "new"));
        if (json_object_set_new(deal_base(deal, target), name, image) < 0 ||
            json_object_set(deal_base(deal, side_other(target)), name, json_object_get(change, "from")) < 0)
            return error_no_memory(err);
    }
    return 0;
}

/* A record we have just created holds nothing that anybody chose but what we wrote: the rest is its base as it stands. */
static int take_base_of_created(struct deal *deal, const struct rules *rules, enum side target,
                                const struct outcome *outcome, struct error *err)
{
    json_auto_t *values = deal_values_of(rules, target, outcome->documents);

    if (values == NULL)
        return error_no_memory(err);
    for (size_t i = 0; i < rules->field_count; i++) {
        const struct rule_field *field = &rules->fields[i];
        json_t *image;

        if (json_object_get(deal_base(deal, target), field->name) != NULL)
            continue;
        image = rule_field_value(field, target, values);
        if (image != NULL && json_object_set_new(deal_base(deal, target), field->name, image) < 0)
            return error_no_memory(err);
    }
    return 0;
}

/* Marks the version we wrote as ours, unless a later one is known already. */
static int note_writer(struct deal *deal, enum side target, const struct outcome *outcome, struct error *err)
{
    json_t *document = deal_document(deal, target);
    const json_t *written = record_document_of(outcome->documents, target == SIDE_CRM ? "crm" : "own");

    if (document == NULL || !text_equal(json_text_of(document, "version"), json_text_of(written, "version")))
        return 0;
    if (json_object_set_new(document, "written_by", json_string(outcome->decision_id)) < 0)
        return error_no_memory(err);
    return 0;
}

static int note_refusal(struct deal *deal, const struct rules *rules, const struct outcome *outcome,
                        const json_t *pending, struct error *err)
{
    const char *target = json_text_of(pending, "target"), *purpose = json_text_of(pending, "purpose");
    char key[REFUSAL_KEY_SIZE];
    json_t *refusal = json_pack("{s:s, s:s, s:O, s:s?, s:s?}", "decision", outcome->decision_id, "rules_version",
                                rules->version, "write", json_object_get(pending, "write"), "code", outcome->error_code,
                                "message", outcome->error_message);

    if (deal->refused == NULL)
        deal->refused = json_object();
    if (json_object_set_new(deal->refused, refusal_key(target, purpose == NULL ? "" : purpose, key), refusal) < 0)
        return error_no_memory(err);
    return 0;
}

static int take_result(struct deal *deal, const struct cause *cause, const struct outcome *outcome,
                       const json_t *pending, enum side target, struct merge_effects *effects, struct error *err)
{
    const struct rules *rules = cause->context->rules;
    char **gone = target == SIDE_CRM ? &deal->gone_crm : &deal->gone_partner_center;

    switch ((enum outcome_result)outcome->result) {
    case OUTCOME_APPLIED:
        json_decref(deal->refused);
        deal->refused = NULL;
        deal->conflict_rounds = 0;
        if (outcome->documents == NULL) /* applied, but not seen: the record has to be read before its base is known */
            return ask_for(rules, deal, target, target == SIDE_CRM ? deal->crm_id : deal->referral_id, cause, effects,
                           err);
        if (take_base(deal, rules, pending, target, outcome, err) < 0)
            return -1;
        if (!outcome->is_certain)
            return 0;
        if (outcome->is_created && take_base_of_created(deal, rules, target, outcome, err) < 0)
            return -1;
        return note_writer(deal, target, outcome, err);
    case OUTCOME_CONFLICT:
        deal->conflict_rounds++;
        return 0;
    case OUTCOME_REFUSED:
        return note_refusal(deal, rules, outcome, pending, err);
    case OUTCOME_GONE:
        return replace_text(gone, outcome->error_code != NULL ? outcome->error_code : "not_found", err);
    case OUTCOME_SUPERSEDED:
        return 0;
    }
    return 0;
}

/* An outcome is also a reading of the target, whoever's it was. */
static int see_outcome(struct deal *deal, const struct rules *rules, const struct outcome *outcome, enum side target,
                       struct error *err)
{
    char **id = target == SIDE_CRM ? &deal->crm_id : &deal->referral_id;
    enum deal_news news;

    if (outcome->record_id != NULL && *id == NULL && replace_text(id, outcome->record_id, err) < 0)
        return -1;
    if (outcome->documents == NULL)
        return 0;
    return deal_see(deal, rules, target, outcome->documents, &news, err);
}

int merge_outcome(struct deal *deal, const struct merge_context *context, const struct outcome *outcome,
                  struct merge_effects *ret_effects, struct error *err)
{
    const struct cause cause = {.context = context, .at = outcome->finished_at};
    enum side target = text_equal(outcome->target, "crm") ? SIDE_CRM : SIDE_PARTNER_CENTER;
    json_t *pending = deal->pending;
    int status;

    *ret_effects = (struct merge_effects){0};
    if (deal->alias != NULL)
        return 0; /* late outcomes of the old key end here */
    status = see_outcome(deal, context->rules, outcome, target, err);
    if (status == 0 && text_equal(json_text_of(pending, "id"), outcome->decision_id)) {
        deal->pending = NULL;
        status = take_result(deal, &cause, outcome, pending, target, ret_effects, err);
        json_decref(pending);
        /* Applied, but not seen: to go on now would be to write the same once more. */
        if (status == 0 && (outcome->result != OUTCOME_APPLIED || outcome->documents != NULL))
            status = next_step(deal, &cause, ret_effects, err);
    }
    if (status < 0)
        merge_effects_done(ret_effects);
    return status;
}

void merge_effects_done(struct merge_effects *effects)
{
    decision_done(&effects->decision);
    notification_done(&effects->notification);
    record_done(&effects->record);
    *effects = (struct merge_effects){0};
}
