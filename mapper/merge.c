#include "mapper/merge.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "mapper/advance.h"
#include "mapper/decide.h"
#include "mapper/ledger.h"
#include "mapper/refused.h"

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

/* What was sent with a creation whose answer we do not wait for is what both sides agreed on. */
static int take_sent(struct deal *deal, struct error *err)
{
    const json_t *fields = json_object_get(deal->pending, "fields");

    for (size_t i = 0; i < json_array_size(fields); i++) {
        const json_t *change = json_array_get(fields, i);
        const char *name = json_text_of(change, "name");
        if (json_object_set(deal->base[SIDE_PARTNER_CENTER], name, json_object_get(change, "new")) < 0 ||
            json_object_set(deal->base[SIDE_CRM], name, json_object_get(change, "from")) < 0)
            return error_no_memory(err);
    }
    json_decref(deal->pending);
    deal->pending = NULL;
    return 0;
}

static int hand_over(struct deal *deal, const struct decide_cause *cause, const char *referral_id,
                     struct merge_effects *effects, struct error *err)
{
    struct deal alias;
    struct record *record = &effects->record;

    if (deal->pending != NULL && take_sent(deal, err) < 0)
        return -1;
    record->kind = RECORD_HANDOVER;
    record->state = message_to_json(DEAL_MEMBERS, DEAL_MEMBER_COUNT, deal);
    effects->has_record = true;
    if (record->state == NULL)
        return error_no_memory(err);
    if (text_assign(&record->deal_key, referral_id, err) < 0 || text_assign(&record->from_key, deal->key, err) < 0 ||
        text_assign(&record->read_at, cause->at, err) < 0)
        return -1;
    if (deal_init(&alias, deal->key, err) < 0)
        return -1;
    deal_done(deal);
    *deal = alias;
    return text_assign(&deal->alias, referral_id, err);
}

static int merge_found(struct deal *deal, const struct decide_cause *cause, const struct record *record,
                       struct merge_effects *effects, struct error *err)
{
    if (!text_starts_with(deal->key, DEAL_KEY_PREFIX_CRM) || record->record_id == NULL)
        return 0;
    if (deal->id[SIDE_CRM] == NULL &&
        text_assign(&deal->id[SIDE_CRM], deal->key + strlen(DEAL_KEY_PREFIX_CRM), err) < 0)
        return -1;
    return hand_over(deal, cause, record->record_id, effects, err);
}

/* A referral's engagement, from what was read of it. */
static int learn_engagement(struct deal *deal, struct error *err)
{
    return text_assign(&deal->engagement_id, deal_text(deal, SIDE_PARTNER_CENTER, "engagementId"), err);
}

static int merge_handover(struct deal *deal, const struct decide_cause *cause, const struct record *record,
                          struct merge_effects *effects, struct error *err)
{
    struct deal old;

    if (message_from_json(DEAL_MEMBERS, DEAL_MEMBER_COUNT, record->state, &old, err) < 0)
        return -1;
    if (deal->id[SIDE_CRM] == NULL) {
        deal->id[SIDE_CRM] = old.id[SIDE_CRM];
        old.id[SIDE_CRM] = NULL;
    }
    if (deal->seen[SIDE_CRM] == NULL) {
        deal->seen[SIDE_CRM] = old.seen[SIDE_CRM];
        old.seen[SIDE_CRM] = NULL;
    }
    /* What this key has read of the referral itself is not older than the answer to its creation. */
    if (deal->seen[SIDE_PARTNER_CENTER] == NULL && old.seen[SIDE_PARTNER_CENTER] != NULL) {
        deal->seen[SIDE_PARTNER_CENTER] = old.seen[SIDE_PARTNER_CENTER];
        old.seen[SIDE_PARTNER_CENTER] = NULL;
        if (text_assign(&deal->id[SIDE_PARTNER_CENTER], deal->key, err) < 0 || learn_engagement(deal, err) < 0) {
            deal_done(&old);
            return -1;
        }
    }
    deal->is_told = true; /* the old key forwards */
    if (json_object_size(deal->base[SIDE_CRM]) == 0 && json_object_size(deal->base[SIDE_PARTNER_CENTER]) == 0) {
        for (int side = 0; side < SIDE_COUNT; side++) {
            json_t *empty = deal->base[side];
            deal->base[side] = old.base[side];
            old.base[side] = empty;
        }
    }
    deal_done(&old);
    return advance_deal(deal, cause, effects, err);
}

/* A person has settled what policy manual had left open: the taken side counts as moved, the other as it stands. */
static int merge_settlement(struct deal *deal, const struct decide_cause *cause, const struct record *record,
                            struct merge_effects *effects, struct error *err)
{
    const enum side taken = text_equal(record->take, side_name(SIDE_CRM)) ? SIDE_CRM : SIDE_PARTNER_CENTER;
    const struct rule_field *field = rules_field(cause->context->rules, record->field);
    json_t *now;

    if (field == NULL || json_object_get(deal->parked, record->field) == NULL)
        return decide_none(deal, cause, "not_parked", "no conflict of this field waits to be settled", effects, err);
    now = rule_field_value(field, side_other(taken), deal_values(deal, side_other(taken)));
    if (now == NULL)
        now = json_null();
    /* No value of a field is this object. */
    if (json_object_set_new(deal->base[side_other(taken)], field->name, now) < 0 ||
        json_object_set_new(deal->base[taken], field->name, json_pack("{s:b}", "unsettled", 1)) < 0)
        return error_no_memory(err);
    (void)json_object_del(deal->parked, field->name);
    return advance_deal(deal, cause, effects, err);
}

/* Not one the deal has left behind: a deletion is told by a webhook and by the poll, also after the record was replaced. */
static bool is_of_deal(const struct deal *deal, const struct record *record, enum side side)
{
    const char *known = deal->id[side];

    if (record->record_id == NULL)
        return true;
    if (known != NULL)
        return text_equal_ignoring_case(record->record_id, known);
    return side != SIDE_CRM || deal->replaced_crm_id == NULL ||
           !text_equal_ignoring_case(record->record_id, deal->replaced_crm_id);
}

static int merge_gone(struct deal *deal, const struct decide_cause *cause, const struct record *record, enum side side,
                      struct merge_effects *effects, struct error *err)
{
    if (is_of_deal(deal, record, side) &&
        text_assign(&deal->gone[side], record->reason != NULL ? record->reason : "not_found", err) < 0)
        return -1;
    return advance_deal(deal, cause, effects, err);
}

/* A second record that claims to be this deal's: told, and not looked at, since nobody but a person can say which. */
static int refuse_stranger(struct deal *deal, const struct decide_cause *cause, const struct record *record,
                           struct merge_effects *effects, struct error *err)
{
    effects->has_problem = true;
    error_set(&effects->problem, ERROR_POISON, "identity.two_records",
              "record %s names this deal, which is paired with record %s already", record->record_id,
              deal->id[SIDE_CRM]);
    return decide_none(deal, cause, "ambiguous", "two CRM records carry the same Referral Identifier", effects, err);
}

static int learn_ids(struct deal *deal, const struct record *record, enum side side, struct error *err)
{
    const json_t *own = record_document_of(record->documents, side == SIDE_CRM ? "crm" : "own");
    const char *id = json_text_of(own, "id");

    if (own == NULL)
        return 0; /* only another party's referral could be read */
    if (side == SIDE_CRM)
        return text_assign(&deal->id[SIDE_CRM], id, err);
    if (text_assign(&deal->id[SIDE_PARTNER_CENTER], id, err) < 0)
        return -1;
    return text_assign(&deal->engagement_id, json_text_of(json_at(own, "body", false), "engagementId"), err);
}

static bool was_written_by_us(const struct deal *deal, enum side side)
{
    return json_text_of(deal_document(deal, side), "written_by") != NULL;
}

/* A record we have just created holds nothing that anybody chose but what we wrote: the rest is its base as it stands. What
 * only Partner Center knows (a referral's id, link and programme) still has to reach the CRM. */
static int fill_base(struct deal *deal, const struct rules *rules, enum side side, const json_t *values,
                     struct error *err)
{
    for (size_t i = 0; i < rules->field_count; i++) {
        const struct rule_field *field = &rules->fields[i];
        json_t *image;

        if (json_object_get(deal->base[side], field->name) != NULL ||
            (side == SIDE_PARTNER_CENTER && !field->is_written_on_update[side]))
            continue;
        image = rule_field_value(field, side, values);
        if (image != NULL && json_object_set_new(deal->base[side], field->name, image) < 0)
            return error_no_memory(err);
    }
    return 0;
}

/* The answer to a creation shows less than a reading of the same version: what it did not show is base, too. */
static int take_base_of_newborn(struct deal *deal, const struct rules *rules, enum side side, struct error *err)
{
    json_t *document = deal_document(deal, side);

    if (!json_is_true(json_object_get(document, "is_created")))
        return 0;
    (void)json_object_del(document, "is_created");
    return fill_base(deal, rules, side, deal_values(deal, side), err);
}

/* The reading's own values only: what it does not tell is no answer to our write. */
static int check_ledger_by_reading(struct deal *deal, struct decide_cause *cause, const struct record *record,
                                   enum side side, const struct deal_sight *sight, struct merge_effects *effects,
                                   struct error *err)
{
    const struct rules *rules = cause->context->rules;
    json_auto_t *values = deal_values_of(rules, side, record->documents);
    struct ledger_findings findings;

    if (values == NULL)
        return error_no_memory(err);
    if (ledger_check(deal, rules, side, values, cause->at, sight->is_ordered, &findings, err) < 0)
        return -1;
    effects->echoes = findings.echoes;
    cause->near_misses = findings.near_misses;
    return 0;
}

static void forget_near_misses(struct decide_cause *cause)
{
    json_decref(cause->near_misses);
    cause->near_misses = NULL;
}

static int merge_reading(struct deal *deal, struct decide_cause *cause, const struct record *record, enum side side,
                         struct merge_effects *effects, struct error *err)
{
    const char *id = json_text_of(record_document_of(record->documents, side == SIDE_CRM ? "crm" : "own"), "id");
    struct deal_sight sight;
    int status;

    if (side == SIDE_CRM && deal->id[SIDE_CRM] != NULL && id != NULL &&
        !text_equal_ignoring_case(id, deal->id[SIDE_CRM]) && deal->seen[SIDE_CRM] != NULL)
        return refuse_stranger(deal, cause, record, effects, err);
    if (learn_ids(deal, record, side, err) < 0 ||
        deal_see(deal, cause->context->rules, side, record->documents, &sight, err) < 0)
        return -1;
    /* An old reading, late or driven again, does not bring back what is gone since. */
    if (sight.news != DEAL_OLDER && text_assign(&deal->gone[side], NULL, err) < 0)
        return -1;
    if (sight.news == DEAL_SAME && take_base_of_newborn(deal, cause->context->rules, side, err) < 0)
        return -1;
    if (sight.news == DEAL_NEWER) {
        deal->conflict_rounds = 0;
        cause->quiet_reason = "unchanged";
        cause->quiet_detail = "no field of the rules has changed";
    } else if (sight.news == DEAL_SAME) {
        cause->quiet_reason = was_written_by_us(deal, side) ? "echo" : "unchanged";
        cause->quiet_detail = was_written_by_us(deal, side) ? json_text_of(deal_document(deal, side), "written_by")
                                                            : "this version is known";
    } else {
        cause->quiet_reason = "older";
        cause->quiet_detail = "a newer version is known";
    }
    if (sight.main != DEAL_OLDER && check_ledger_by_reading(deal, cause, record, side, &sight, effects, err) < 0)
        return -1;
    status = advance_deal(deal, cause, effects, err);
    forget_near_misses(cause);
    return status;
}

int merge_record(struct deal *deal, const struct merge_context *context, const struct record *record,
                 struct merge_effects *ret_effects, struct error *err)
{
    struct decide_cause cause = {.context = context,
                                 .at = record->read_at,
                                 .wants_reason = record->kind == RECORD_READING || record->kind == RECORD_GONE ||
                                                 record->kind == RECORD_SETTLE,
                                 .is_settled_by_person = record->kind == RECORD_SETTLE,
                                 .quiet_reason = "unchanged"};
    enum side side = text_equal(record->side, "crm") ? SIDE_CRM : SIDE_PARTNER_CENTER;
    int status = 0;

    *ret_effects = (struct merge_effects){0};
    if (deal->alias != NULL) {
        if (record->kind != RECORD_FOUND && record->kind != RECORD_HANDOVER)
            status = forward(deal, record, ret_effects, err);
    } else if (decide_note_causes(deal, record->causes, err) < 0) {
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
        case RECORD_SETTLE:
            status = merge_settlement(deal, &cause, record, ret_effects, err);
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
        const struct rule_field *field = rules_field(rules, name);
        json_t *image = NULL;

        if (field == NULL)
            continue; /* a link, or a field the rules have lost meanwhile */
        if (outcome->is_certain)
            image = rule_field_value(field, target, values);
        if (image == NULL)
            image = json_incref(json_object_get(change, "new"));
        if (json_object_set_new(deal->base[target], name, image) < 0 ||
            json_object_set(deal->base[side_other(target)], name, json_object_get(change, "from")) < 0)
            return error_no_memory(err);
    }
    return 0;
}

static int take_base_of_created(struct deal *deal, const struct rules *rules, enum side target,
                                const struct outcome *outcome, struct error *err)
{
    json_auto_t *values = deal_values_of(rules, target, outcome->documents);

    return values == NULL ? error_no_memory(err) : fill_base(deal, rules, target, values, err);
}

/* Marks the version we wrote as ours, unless a later one is known already. */
static int note_writer(struct deal *deal, enum side target, const struct outcome *outcome, struct error *err)
{
    json_t *document = deal_document(deal, target);
    const json_t *written = record_document_of(outcome->documents, target == SIDE_CRM ? "crm" : "own");

    if (document == NULL || !text_equal(json_text_of(document, "version"), json_text_of(written, "version")))
        return 0;
    if (json_object_set_new(document, "written_by", json_string(outcome->decision_id)) < 0 ||
        (outcome->is_created && json_object_set_new(document, "is_created", json_true()) < 0))
        return error_no_memory(err);
    return 0;
}

static bool is_explanation(const json_t *pending)
{
    return text_equal(json_text_of(pending, "purpose"), "explain");
}

/* What was to be told stands nowhere: the audit column still says what it said. Where somebody wrote meanwhile, or the record
 * comes back, it is told again; not to a closed record, which may take nothing at all. */
static int take_back_explanation(struct deal *deal, const struct rules *rules, const struct outcome *outcome,
                                 const json_t *pending, struct error *err)
{
    const json_t *told = json_array_get(json_object_get(pending, "fields"), 0);

    if (outcome->result == OUTCOME_CONFLICT &&
        rules_hold(rules->is_closed[SIDE_CRM], deal_values(deal, SIDE_CRM), false))
        return 0;
    if (outcome->result != OUTCOME_REFUSED && text_equal(deal->invitation_told, json_text_of(told, "new")) &&
        text_assign(&deal->invitation_told, NULL, err) < 0)
        return -1;
    return text_assign(&deal->explained, json_text_of(told, "old"), err);
}

/* What the write met was its own beginning: the audit column shows it, and the closing that was to follow was held up. To go
 * on from there is no contest with anybody. */
static bool is_half_done(const struct deal *deal, const struct rules *rules, const struct outcome *outcome,
                         enum side target)
{
    const char *told = target == SIDE_CRM ? deal_text(deal, SIDE_CRM, rules->audit_column) : NULL;
    char *marker = told == NULL ? NULL : text_format("[%s]", outcome->decision_id);
    const bool is_shown = marker != NULL && strstr(told, marker) != NULL;

    free(marker);
    return is_shown;
}

/* Notes what was written, to be read back. Where a reading as new has come before the outcome, that is the one. */
static int note_in_ledger(struct deal *deal, struct decide_cause *cause, const struct outcome *outcome,
                          const json_t *pending, enum side target, enum deal_news news, struct merge_effects *effects,
                          struct error *err)
{
    const struct rules *rules = cause->context->rules;
    const char *changed_at = deal_changed_at(deal, target);
    struct ledger_findings findings;

    if (ledger_note(deal, rules, target, json_object_get(pending, "fields"), outcome->decision_id, outcome->finished_at,
                    err) < 0)
        return -1;
    if (news == DEAL_NEWER)
        return 0;
    if (ledger_check(deal, rules, target, deal_values(deal, target),
                     changed_at != NULL ? changed_at : outcome->finished_at, true, &findings, err) < 0)
        return -1;
    effects->echoes += findings.echoes;
    cause->near_misses = findings.near_misses;
    cause->wants_reason = findings.near_misses != NULL; /* they are told, whatever else is decided */
    return 0;
}

static int take_result(struct deal *deal, struct decide_cause *cause, const struct outcome *outcome,
                       const json_t *pending, enum side target, enum deal_news news, struct merge_effects *effects,
                       struct error *err)
{
    const struct rules *rules = cause->context->rules;
    bool is_invitation;

    switch ((enum outcome_result)outcome->result) {
    case OUTCOME_APPLIED:
        if (!is_explanation(pending)) {
            deal->conflict_rounds = 0;
            refused_forget_writes(deal, target);
            /* Its own line has come over what the seller was told. */
            if (target == SIDE_CRM && text_assign(&deal->explained, NULL, err) < 0)
                return -1;
        }
        is_invitation = text_equal(json_text_of(pending, "purpose"), "invite");
        deal->is_invited = deal->is_invited || is_invitation;
        if (outcome->documents == NULL) /* applied, but not seen: the record has to be read before its base is known */
            return decide_to_ask(rules, deal, target, deal->id[target], cause, effects, err);
        if (take_base(deal, rules, pending, target, outcome, err) < 0)
            return -1;
        /* An invitation is written to Microsoft's referral, not to the one that is read. */
        if (!is_invitation && note_in_ledger(deal, cause, outcome, pending, target, news, effects, err) < 0)
            return -1;
        if (!outcome->is_certain)
            return 0;
        if (outcome->is_created && take_base_of_created(deal, rules, target, outcome, err) < 0)
            return -1;
        return note_writer(deal, target, outcome, err);
    case OUTCOME_CONFLICT:
        if (!is_half_done(deal, rules, outcome, target))
            deal->conflict_rounds++;
        return is_explanation(pending) ? take_back_explanation(deal, rules, outcome, pending, err) : 0;
    case OUTCOME_REFUSED:
        /* Told anew, also where an attempt before was told in the same words. */
        if ((is_explanation(pending) ? take_back_explanation(deal, rules, outcome, pending, err)
                                     : text_assign(&deal->explained, NULL, err)) < 0)
            return -1;
        return refused_note(deal, rules, outcome, pending, err);
    case OUTCOME_GONE:
        if (is_explanation(pending) && take_back_explanation(deal, rules, outcome, pending, err) < 0)
            return -1;
        if (text_assign(&deal->gone[target], outcome->error_code != NULL ? outcome->error_code : "not_found", err) < 0)
            return -1;
        /* Partner Center may show late what it has. */
        if (target != SIDE_PARTNER_CENTER || ++deal->conflict_rounds > MERGE_CONFLICT_ROUNDS_MAX)
            return 0;
        return decide_to_ask(rules, deal, target, deal->id[target], cause, effects, err);
    case OUTCOME_SUPERSEDED:
        return 0;
    }
    return 0;
}

/* An outcome is also a reading of the target, whoever's it was; but not while the deal has no record there. The news is
 * that of the target's main document: newer, unless that very version or a later one was known before. */
static int see_outcome(struct deal *deal, const struct rules *rules, const struct outcome *outcome, enum side target,
                       enum deal_news *ret_news, struct error *err)
{
    char **id = &deal->id[target];
    struct deal_sight sight;

    *ret_news = DEAL_NEWER;
    if (outcome->record_id != NULL && *id == NULL && outcome->result != OUTCOME_REFUSED &&
        text_assign(id, outcome->record_id, err) < 0)
        return -1;
    if (outcome->documents == NULL || *id == NULL)
        return 0;
    if (deal_see(deal, rules, target, outcome->documents, &sight, err) < 0)
        return -1;
    *ret_news = sight.main;
    return 0;
}

/* The deal has got its referral: it goes on under the referral's key. */
static bool is_birth_of_referral(const struct deal *deal, const struct outcome *outcome, enum side target)
{
    return target == SIDE_PARTNER_CENTER && outcome->result == OUTCOME_APPLIED && outcome->record_id != NULL &&
           text_starts_with(deal->key, DEAL_KEY_PREFIX_CRM);
}

int merge_outcome(struct deal *deal, const struct merge_context *context, const struct outcome *outcome,
                  struct merge_effects *ret_effects, struct error *err)
{
    /* Only told where something else is: that values no longer wait for a person. */
    struct decide_cause cause = {.context = context, .at = outcome->finished_at, .quiet_reason = "unchanged"};
    enum side target = text_equal(outcome->target, "crm") ? SIDE_CRM : SIDE_PARTNER_CENTER;
    json_t *pending = deal->pending;
    enum deal_news news;
    int status;

    *ret_effects = (struct merge_effects){0};
    if (deal->alias != NULL)
        return 0; /* late outcomes of the old key end here */
    status = see_outcome(deal, context->rules, outcome, target, &news, err);
    if (status == 0 && text_equal(json_text_of(pending, "id"), outcome->decision_id)) {
        deal->pending = NULL;
        status = take_result(deal, &cause, outcome, pending, target, news, ret_effects, err);
        json_decref(pending);
        if (status == 0 && is_birth_of_referral(deal, outcome, target)) {
            merge_effects_done(ret_effects);
            status = hand_over(deal, &cause, outcome->record_id, ret_effects, err);
        } else if (status == 0 && (outcome->result != OUTCOME_APPLIED || outcome->documents != NULL)) {
            /* Applied, but not seen: to go on then would be to write the same once more. */
            status = advance_deal(deal, &cause, ret_effects, err);
        }
        forget_near_misses(&cause);
    } else if (status == 0 && outcome->result == OUTCOME_SUPERSEDED &&
               refused_forget_decision(deal, outcome->decision_id)) {
        /* Driven again by a person, who has mended the cause: the pusher does not carry out what was refused but hands it
         * back, and what is to be written is decided anew. */
        status = advance_deal(deal, &cause, ret_effects, err);
    }
    if (status < 0)
        merge_effects_done(ret_effects);
    return status;
}
