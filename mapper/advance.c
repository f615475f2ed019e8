#include "mapper/advance.h"

#include <stddef.h>
#include <stdlib.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "mapper/birth.h"
#include "mapper/ledger.h"
#include "mapper/refused.h"
#include "mapper/settle.h"

static bool same_id(const char *a, const char *b)
{
    return a != NULL && b != NULL && text_equal_ignoring_case(a, b);
}

/* The deal rests. When that begins it belongs into the audit, whatever is recorded there otherwise. */
static int rest(struct deal *deal, const struct decide_cause *cause, const char *reason, const char *detail,
                struct merge_effects *effects, struct error *err)
{
    struct decide_cause loud = *cause;

    if (text_equal(deal->rests, reason))
        return decide_none(deal, cause, reason, detail, effects, err);
    loud.wants_reason = true;
    if (text_assign(&deal->rests, reason, err) < 0 || decide_none(deal, &loud, reason, detail, effects, err) < 0)
        return -1;
    effects->decision.is_notable = true;
    return 0;
}

/* What let the deal rest is over, and nothing has to be written. */
static int resume(struct deal *deal, const struct decide_cause *cause, struct merge_effects *effects, struct error *err)
{
    struct decide_cause loud = *cause;

    loud.wants_reason = true;
    if (decide_none(deal, &loud, "resumed", deal->rests, effects, err) < 0)
        return -1;
    effects->decision.is_notable = true;
    return text_assign(&deal->rests, NULL, err);
}

/* Those that a write to `target` settles, and those that wait for a person. New reference. */
static json_t *conflicts_of(const struct settlement *settlement, enum side target)
{
    json_t *conflicts = json_array();

    for (size_t i = 0; i < json_array_size(settlement->conflicts); i++) {
        json_t *conflict = json_array_get(settlement->conflicts, i);
        if (!text_equal(json_text_of(conflict, "winner"), side_name(target)) &&
            json_array_append(conflicts, conflict) < 0) {
            json_decref(conflicts);
            return NULL;
        }
    }
    return conflicts;
}

/* One column that names the partner, and with it what else `settlement` (may be NULL) writes there. *ret_is_done: a
 * decision was taken. */
static int link_side(struct deal *deal, const struct decide_cause *cause, enum side target,
                     const struct settlement *settlement, struct merge_effects *effects, bool *ret_is_done,
                     struct error *err)
{
    const struct rules *rules = cause->context->rules;
    const char *path = target == SIDE_CRM ? rules->identifier_column : RULES_PATH_EXTERNAL_REFERENCE;
    const char *partner_id = deal->id[side_other(target)];
    json_auto_t *fields = settlement == NULL ? json_array() : json_copy(settlement->fields[target]);
    json_auto_t *write = settlement == NULL ? json_object() : json_copy(settlement->write[target]);
    json_auto_t *conflicts = settlement == NULL ? json_array() : conflicts_of(settlement, target);
    const struct decide_plan plan = {.action = DECISION_UPDATE,
                                     .target = target,
                                     .purpose = "link",
                                     .reason = "link",
                                     .audit_text = "Linked with Partner Center",
                                     .fields = fields,
                                     .write = write,
                                     .conflicts = conflicts};

    if (conflicts == NULL || fields == NULL || write == NULL ||
        json_object_set_new(write, path, json_string(partner_id)) < 0 ||
        json_array_append_new(fields, json_pack("{s:s, s:s?, s:s, s:s}", "name", path, "old",
                                                deal_text(deal, target, path), "new", partner_id, "from", partner_id)) <
            0)
        return error_no_memory(err);
    if (refused_find(deal, rules, &plan) != NULL)
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

/* The CRM record first: what a seller waits for. With the other changes of the CRM in one write; where that is refused, by
 * itself. */
static int link_both(struct deal *deal, const struct decide_cause *cause, const struct settlement *settlement,
                     struct merge_effects *effects, bool *ret_is_done, struct error *err)
{
    const struct rules *rules = cause->context->rules;

    if (deal_text(deal, SIDE_CRM, rules->identifier_column) == NULL &&
        !rules_hold(rules->is_closed[SIDE_CRM], deal_values(deal, SIDE_CRM), false)) {
        if (link_side(deal, cause, SIDE_CRM, settlement, effects, ret_is_done, err) < 0)
            return -1;
        if (!*ret_is_done && json_object_size(settlement->write[SIDE_CRM]) > 0 &&
            link_side(deal, cause, SIDE_CRM, NULL, effects, ret_is_done, err) < 0)
            return -1;
        if (*ret_is_done)
            return 0;
    }
    if (!same_id(deal_text(deal, SIDE_PARTNER_CENTER, RULES_PATH_EXTERNAL_REFERENCE), deal->id[SIDE_CRM]) &&
        may_link_referral(deal, rules))
        return link_side(deal, cause, SIDE_PARTNER_CENTER, NULL, effects, ret_is_done, err);
    return 0;
}

/* What stands in the audit column holds no more. What is told of an invitation is not known to the rest. */
static bool is_outdated(const struct deal *deal, const struct rules *rules, const struct settlement *settlement)
{
    return deal->explained != NULL && !text_equal(deal->explained, deal->invitation_told) && !settlement->has_news &&
           !rules_hold(rules->is_closed[SIDE_CRM], deal_values(deal, SIDE_CRM), false);
}

/* Nothing is wrong but, perhaps, that Microsoft is not invited, which is told again. Tried once. That a rest is over belongs
 * into the audit, also where the words are refused. */
static int explain_what_holds(struct deal *deal, const struct decide_cause *cause, struct merge_effects *effects,
                              struct error *err)
{
    const bool has_rested = deal->rests != NULL;
    struct decide_cause loud = *cause;
    int status;

    loud.wants_reason = cause->wants_reason || has_rested;
    if (text_assign(&deal->rests, NULL, err) < 0)
        return -1;
    status = deal->invitation_told == NULL ? birth_explain_mended(deal, &loud, effects, err)
                                           : birth_explain(deal, &loud, deal->invitation_told, "mended", effects, err);
    if (status < 0 || deal->pending != NULL)
        return status;
    effects->decision.is_notable = effects->decision.is_notable || has_rested;
    return text_assign(&deal->explained, NULL, err);
}

static bool is_refused(const struct birth_troubles *troubles)
{
    for (int target = 0; target < SIDE_COUNT; target++) {
        if (troubles->refusals[target] != NULL || json_array_size(troubles->left_out[target]) > 0)
            return true;
    }
    return false;
}

static bool is_troubled(const struct birth_troubles *troubles)
{
    return is_refused(troubles) || json_array_size(troubles->explanations) > 0;
}

/* What let the deal rest is over. The words about it stand in the audit column: what is wrong with the deal comes over them;
 * where that was told before, or nothing is wrong, nothing is written. */
static int resume_with_troubles(struct deal *deal, const struct decide_cause *cause,
                                const struct birth_troubles *troubles, const char *reason,
                                struct merge_effects *effects, struct error *err)
{
    struct decide_cause quiet = *cause;

    quiet.wants_reason = false;
    if (is_troubled(troubles) && birth_explain_troubles(deal, &quiet, troubles, reason, effects, err) < 0)
        return -1;
    return effects->has_decision ? text_assign(&deal->rests, NULL, err) : resume(deal, cause, effects, err);
}

static int say_why_nothing(struct deal *deal, const struct decide_cause *cause, const struct settlement *settlement,
                           const struct birth_troubles *troubles, struct merge_effects *effects, struct error *err)
{
    const struct rules *rules = cause->context->rules;
    const char *reason = is_refused(troubles) ? "refused_before" : settlement->held_back;

    if (text_equal(settlement->held_back, "partner_center_closed"))
        return birth_explain(
            deal, cause,
            "The deal is closed in Partner Center, which is final. Changes of this record are not sent; "
            "make a new opportunity to go on.",
            settlement->held_back, effects, err);
    if (json_is_false(json_object_get(deal_values(deal, SIDE_CRM), rules->sync_column)))
        return rest(deal, cause, "sync_off", "the seller has switched synchronisation off", effects, err);
    if (!is_troubled(troubles) && is_outdated(deal, rules, settlement))
        return explain_what_holds(deal, cause, effects, err);
    if (deal->rests != NULL)
        return resume_with_troubles(deal, cause, troubles, reason, effects, err);
    if (is_troubled(troubles))
        return birth_explain_troubles(deal, cause, troubles, reason, effects, err);
    return decide_none(deal, cause, reason != NULL ? reason : cause->quiet_reason,
                       reason != NULL ? NULL : cause->quiet_detail, effects, err);
}

/* Nothing is to be written, and why. Conflicts that nobody has settled are told with both values; when they are new, whatever
 * the cause. */
static int write_nothing(struct deal *deal, const struct decide_cause *cause, const struct settlement *settlement,
                         const struct birth_troubles *troubles, struct merge_effects *effects, struct error *err)
{
    struct decide_cause told = *cause;

    told.wants_reason = cause->wants_reason || settlement->has_news;
    if (say_why_nothing(deal, &told, settlement, troubles, effects, err) < 0)
        return -1;
    if (!effects->has_decision || json_array_size(settlement->conflicts) == 0 ||
        effects->decision.action != DECISION_NONE)
        return 0;
    effects->decision.is_notable = effects->decision.is_notable || settlement->has_news;
    effects->decision.conflicts = json_deep_copy(settlement->conflicts);
    return effects->decision.conflicts == NULL ? error_no_memory(err) : 0;
}

enum { AUDIT_TEXT_BYTES_MAX = 600 };

/* "Closed in Partner Center: Lost (the customer chose another vendor)", without what is too long to stand there; free().
 * NULL: out of memory. */
static char *text_of_change(const struct deal *deal, const struct rules *rules, const json_t *write)
{
    const json_t *values = deal_values(deal, SIDE_PARTNER_CENTER);
    const char *substatus = json_text_of(values, "substatus"), *why = json_text_of(values, "statusReason");
    const bool is_closing = rules_hold(rules->is_closed[SIDE_PARTNER_CENTER], values, false) &&
                            rules_hold(rules->is_closed[SIDE_CRM], write, false);
    struct text text;

    text_init(&text, AUDIT_TEXT_BYTES_MAX);
    if (text_append(&text, is_closing ? "Closed in Partner Center" : "Updated from Partner Center") < 0)
        return NULL;
    if (is_closing && substatus != NULL && text_appendf(&text, ": %s", substatus) < 0)
        return text_take(&text);
    if (is_closing && why != NULL && why[0] != '\0' && text_appendf(&text, " (%s)", why) < 0)
        return text_take(&text);
    return text_take(&text);
}

static const char *reason_of_update(const struct decide_cause *cause, enum side target, const json_t *conflicts)
{
    if (cause->is_settled_by_person)
        return "settled_by_person";
    for (size_t i = 0; i < json_array_size(conflicts); i++) {
        if (!text_equal(json_text_of(json_array_get(conflicts, i), "winner"), "nobody"))
            return "conflict_settled";
    }
    return target == SIDE_CRM ? "partner_center_changed" : "crm_changed";
}

/* *ret_refusal: the target has refused the same before, and nothing was decided. */
static int write_one_side(struct deal *deal, const struct decide_cause *cause, const struct settlement *settlement,
                          enum side target, const json_t **ret_refusal, struct merge_effects *effects,
                          struct error *err)
{
    const struct rules *rules = cause->context->rules;
    const bool is_declining = settlement->declining != NULL && target == SIDE_PARTNER_CENTER;
    json_auto_t *conflicts = conflicts_of(settlement, target);
    char *audit_text = text_of_change(deal, rules, settlement->write[SIDE_CRM]);
    const struct decide_plan plan = {.action = DECISION_UPDATE,
                                     .target = target,
                                     .purpose = is_declining ? "decline" : "update",
                                     .reason = reason_of_update(cause, target, conflicts),
                                     .audit_text = audit_text,
                                     .fields = settlement->fields[target],
                                     .write = settlement->write[target],
                                     .conflicts = conflicts};
    int status = 0;

    if (conflicts == NULL || audit_text == NULL) {
        status = error_no_memory(err);
    } else {
        *ret_refusal = refused_find(deal, rules, &plan);
        if (*ret_refusal == NULL)
            status = decide_write(deal, cause, &plan, effects, err);
    }
    free(audit_text);
    return status;
}

/* One decision at a time: the CRM first; its outcome brings the merge back for the other side. What one side has refused
 * does not hold up the other. */
static int write_changes(struct deal *deal, const struct decide_cause *cause, const struct settlement *settlement,
                         struct merge_effects *effects, struct error *err)
{
    static const enum side order[SIDE_COUNT] = {SIDE_CRM, SIDE_PARTNER_CENTER};
    struct birth_troubles troubles = {
        .explanations = settlement->explanations,
        .left_out = {settlement->left_out[SIDE_PARTNER_CENTER], settlement->left_out[SIDE_CRM]},
    };

    for (size_t i = 0; i < SIDE_COUNT; i++) {
        if (json_object_size(settlement->write[order[i]]) == 0)
            continue;
        if (write_one_side(deal, cause, settlement, order[i], &troubles.refusals[order[i]], effects, err) < 0)
            return -1;
        if (effects->has_decision)
            return 0;
    }
    return write_nothing(deal, cause, settlement, &troubles, effects, err);
}

static int go_on(struct deal *deal, const struct decide_cause *cause, const struct settlement *settlement,
                 struct merge_effects *effects, struct error *err)
{
    bool is_done = false;

    if (birth_invitation(deal, cause, effects, &is_done, err) < 0)
        return -1;
    if (!is_done && link_both(deal, cause, settlement, effects, &is_done, err) < 0)
        return -1;
    return is_done ? 0 : write_changes(deal, cause, settlement, effects, err);
}

static int advance_both(struct deal *deal, const struct decide_cause *cause, struct merge_effects *effects,
                        struct error *err)
{
    struct settlement settlement;
    int status;

    if (settlement_init(&settlement, err) < 0)
        return -1;
    status = settle_updates(deal, cause->context->rules, &settlement, err);
    if (status == 0)
        status = refused_leave_out(deal, cause->context->rules, &settlement, err);
    if (status == 0) {
        effects->has_problem = settlement.has_problem;
        effects->problem = settlement.problem;
        status = go_on(deal, cause, &settlement, effects, err);
    }
    settlement_done(&settlement);
    return status;
}

/* The referral is not visible. A seller who works in the CRM record is told, then the deal rests. */
static int rest_unseen(struct deal *deal, const struct decide_cause *cause, struct merge_effects *effects,
                       struct error *err)
{
    static const char reason[] = "referral_gone";
    static const char text[] =
        "The deal is not visible in Partner Center any more; changes of this record are not sent. "
        "Ask your administrator whether it was removed there or is another account's now.";
    const struct rules *rules = cause->context->rules;
    const json_t *values = deal_values(deal, SIDE_CRM);

    if (text_equal(deal->rests, reason) || rules->audit_column == NULL || values == NULL ||
        deal->gone[SIDE_CRM] != NULL || text_equal(deal->explained, text) ||
        json_is_false(json_object_get(values, rules->sync_column)) ||
        rules_hold(rules->is_closed[SIDE_CRM], values, false))
        return rest(deal, cause, reason, deal->gone[SIDE_PARTNER_CENTER], effects, err);
    if (deal->conflict_rounds > MERGE_CONFLICT_ROUNDS_MAX) { /* the words find no place; to rest the deal needs none */
        deal->conflict_rounds = 0;
        return rest(deal, cause, reason, deal->gone[SIDE_PARTNER_CENTER], effects, err);
    }
    if (birth_explain(deal, cause, text, reason, effects, err) < 0)
        return -1;
    if (!effects->has_decision)
        return rest(deal, cause, reason, deal->gone[SIDE_PARTNER_CENTER], effects, err);
    if (effects->decision.action != DECISION_NONE)
        return 0; /* its outcome comes back here */
    effects->decision.is_notable = true;
    return text_assign(&deal->rests, reason, err);
}

/* Only one side is known. */
static int meet_partner(struct deal *deal, const struct decide_cause *cause, struct merge_effects *effects,
                        struct error *err)
{
    const struct rules *rules = cause->context->rules;
    const char *named;

    if (deal->seen[SIDE_PARTNER_CENTER] == NULL) {
        named = deal_text(deal, SIDE_CRM, rules->identifier_column);
        if (named == NULL)
            named = deal->id[SIDE_PARTNER_CENTER]; /* created, and not yet seen */
        if (named == NULL)
            return birth_at_partner_center(deal, cause, effects, err);
        if (decide_to_ask(rules, deal, SIDE_PARTNER_CENTER, named, cause, effects, err) < 0)
            return -1;
        return decide_none(deal, cause, "waiting_for_partner", "the referral was asked for", effects, err);
    }
    named = deal_text(deal, SIDE_PARTNER_CENTER, RULES_PATH_EXTERNAL_REFERENCE);
    if (same_id(named, deal->replaced_crm_id))
        named = NULL;
    if (named == NULL && deal->id[SIDE_CRM] == NULL)
        return birth_in_crm(deal, cause, effects, err);
    if (named == NULL)
        named = deal->id[SIDE_CRM];
    if (decide_to_ask(rules, deal, SIDE_CRM, named, cause, effects, err) < 0 ||
        decide_to_tell(deal, named, cause, effects, err) < 0)
        return -1;
    return decide_none(deal, cause, "waiting_for_partner",
                       effects->has_notification ? "the CRM record was asked for"
                                                 : "the referral's CRM id is not the id of a record of this CRM",
                       effects, err);
}

/* The deal is deleted in the CRM, and the rules want it there. */
static int forget_crm_record(struct deal *deal, struct error *err)
{
    if (text_assign(&deal->replaced_crm_id, deal->id[SIDE_CRM], err) < 0 ||
        text_assign(&deal->id[SIDE_CRM], NULL, err) < 0 || text_assign(&deal->gone[SIDE_CRM], NULL, err) < 0 ||
        text_assign(&deal->rests, NULL, err) < 0)
        return -1;
    ledger_forget(deal, SIDE_CRM);
    json_decref(deal->seen[SIDE_CRM]);
    deal->seen[SIDE_CRM] = NULL;
    deal->is_told = false;
    return json_object_clear(deal->base[SIDE_CRM]) < 0 || json_object_clear(deal->base[SIDE_PARTNER_CENTER]) < 0
               ? error_no_memory(err)
               : 0;
}

static bool is_to_be_recreated(const struct deal *deal, const struct rules *rules)
{
    return rules->crm_deleted == CRM_DELETED_RECREATE && deal->id[SIDE_CRM] != NULL &&
           deal->seen[SIDE_PARTNER_CENTER] != NULL && !text_equal(deal->gone[SIDE_CRM], "forbidden") &&
           !rules_hold(rules->is_closed[SIDE_PARTNER_CENTER], deal_values(deal, SIDE_PARTNER_CENTER), false);
}

/* A record that is deleted or moved carries no identifier any more; its own key has to know the deal. */
static int tell_crm_key(struct deal *deal, const struct decide_cause *cause, struct merge_effects *effects,
                        struct error *err)
{
    if (deal->is_told || effects->has_record || deal->id[SIDE_CRM] == NULL ||
        text_starts_with(deal->key, DEAL_KEY_PREFIX_CRM))
        return 0;
    deal->is_told = true;
    return decide_to_tell(deal, deal->id[SIDE_CRM], cause, effects, err);
}

/* Until a fresh record comes. Set aside once, so that somebody knows of the change that waits. */
static int give_up(struct deal *deal, const struct decide_cause *cause, struct merge_effects *effects,
                   struct error *err)
{
    static const char detail[] = "the target changes faster than it can be written";

    effects->has_problem = !cause->wants_reason; /* the outcome that brought it about, not what arrives meanwhile */
    if (effects->has_problem)
        (void)error_set(&effects->problem, ERROR_POISON, "merge.conflict_rounds",
                        "%s; the change waits for the next edit", detail);
    return decide_none(deal, cause, "conflict_rounds", detail, effects, err);
}

int advance_deal(struct deal *deal, const struct decide_cause *cause, struct merge_effects *effects, struct error *err)
{
    const struct rules *rules = cause->context->rules;

    if (text_assign(&deal->rules_version, rules->version, err) < 0)
        return -1;
    if (deal->pending != NULL)
        return decide_none(deal, cause, "waiting", json_text_of(deal->pending, "id"), effects, err);
    if (deal->gone[SIDE_PARTNER_CENTER] != NULL)
        return rest_unseen(deal, cause, effects, err);
    if (deal->gone[SIDE_CRM] != NULL && is_to_be_recreated(deal, rules) && forget_crm_record(deal, err) < 0)
        return -1;
    if (deal->gone[SIDE_CRM] != NULL)
        return rest(deal, cause, "crm_gone", deal->gone[SIDE_CRM], effects, err);
    if (deal->conflict_rounds > MERGE_CONFLICT_ROUNDS_MAX)
        return give_up(deal, cause, effects, err);
    if (deal->seen[SIDE_PARTNER_CENTER] == NULL || deal->seen[SIDE_CRM] == NULL)
        return meet_partner(deal, cause, effects, err);
    if (tell_crm_key(deal, cause, effects, err) < 0)
        return -1;
    return advance_both(deal, cause, effects, err);
}
