#include "mapper/advance.h"

#include <stddef.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "mapper/settle.h"

static bool same_id(const char *a, const char *b)
{
    return a != NULL && b != NULL && text_equal_ignoring_case(a, b);
}

static int create_in_crm(struct deal *deal, const struct decide_cause *cause, struct merge_effects *effects,
                         struct error *err)
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
        const struct decide_plan plan = {.action = DECISION_CREATE,
                                         .target = SIDE_CRM,
                                         .purpose = "create",
                                         .reason = "new_referral",
                                         .audit_text = "Created from Partner Center",
                                         .fields = settlement.fields[SIDE_CRM],
                                         .write = settlement.write[SIDE_CRM]};
        if (json_object_set_new(plan.write, rules->identifier_column, json_string(deal->referral_id)) < 0)
            status = error_no_memory(err);
        else if (decide_find_refusal(deal, rules, &plan) != NULL)
            status = decide_none(deal, cause, "refused_before",
                                 json_text_of(decide_find_refusal(deal, rules, &plan), "code"), effects, err);
        else
            status = decide_write(deal, cause, &plan, effects, err);
    }
    settlement_done(&settlement);
    return status;
}

/* One column that names the partner. *ret_is_done: a decision was taken. */
static int link_side(struct deal *deal, const struct decide_cause *cause, enum side target, const char *path,
                     const char *partner_id, struct merge_effects *effects, bool *ret_is_done, struct error *err)
{
    const struct rules *rules = cause->context->rules;
    const char *present = deal_text(deal, target, path);
    json_auto_t *fields =
        json_pack("[{s:s, s:s?, s:s, s:s}]", "name", path, "old", present, "new", partner_id, "from", partner_id);
    json_auto_t *write = json_pack("{s:s}", path, partner_id);
    const struct decide_plan plan = {.action = DECISION_UPDATE,
                                     .target = target,
                                     .purpose = "link",
                                     .reason = "link",
                                     .audit_text = "Linked with Partner Center",
                                     .fields = fields,
                                     .write = write};

    if (fields == NULL || write == NULL)
        return error_no_memory(err);
    if (decide_find_refusal(deal, rules, &plan) != NULL)
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

static int link_both(struct deal *deal, const struct decide_cause *cause, struct merge_effects *effects,
                     bool *ret_is_done, struct error *err)
{
    const struct rules *rules = cause->context->rules;

    if (deal_text(deal, SIDE_CRM, rules->identifier_column) == NULL &&
        !rules_hold(rules->is_closed[SIDE_CRM], deal_values(deal, SIDE_CRM), false)) {
        if (link_side(deal, cause, SIDE_CRM, rules->identifier_column, deal->referral_id, effects, ret_is_done, err) <
            0)
            return -1;
        if (*ret_is_done)
            return 0;
    }
    if (!same_id(deal_text(deal, SIDE_PARTNER_CENTER, RULES_PATH_EXTERNAL_REFERENCE), deal->crm_id) &&
        may_link_referral(deal, rules))
        return link_side(deal, cause, SIDE_PARTNER_CENTER, RULES_PATH_EXTERNAL_REFERENCE, deal->crm_id, effects,
                         ret_is_done, err);
    return 0;
}

static int write_changes(struct deal *deal, const struct decide_cause *cause, struct settlement *settlement,
                         struct merge_effects *effects, struct error *err)
{
    const struct rules *rules = cause->context->rules;
    /* One decision at a time: the CRM first; its outcome brings the merge back for the other side. */
    const enum side target = json_object_size(settlement->write[SIDE_CRM]) > 0 ? SIDE_CRM : SIDE_PARTNER_CENTER;
    const struct decide_plan plan = {.action = DECISION_UPDATE,
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
    if (decide_find_refusal(deal, rules, &plan) != NULL)
        return decide_none(deal, cause, "refused_before", json_text_of(decide_find_refusal(deal, rules, &plan), "code"),
                           effects, err);
    return decide_write(deal, cause, &plan, effects, err);
}

static int update_sides(struct deal *deal, const struct decide_cause *cause, struct merge_effects *effects,
                        struct error *err)
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
static int meet_partner(struct deal *deal, const struct decide_cause *cause, struct merge_effects *effects,
                        struct error *err)
{
    const struct rules *rules = cause->context->rules;
    const char *named;

    if (deal->seen_partner_center == NULL) {
        named = deal_text(deal, SIDE_CRM, rules->identifier_column);
        if (named == NULL)
            return decide_none(deal, cause, "not_linked", "the CRM record names no referral", effects, err);
        if (decide_to_ask(rules, deal, SIDE_PARTNER_CENTER, named, cause, effects, err) < 0)
            return -1;
        return decide_none(deal, cause, "waiting_for_partner", "the referral was asked for", effects, err);
    }
    named = deal_text(deal, SIDE_PARTNER_CENTER, RULES_PATH_EXTERNAL_REFERENCE);
    if (named == NULL && deal->crm_id == NULL)
        return create_in_crm(deal, cause, effects, err);
    if (named == NULL)
        named = deal->crm_id;
    if (decide_to_ask(rules, deal, SIDE_CRM, named, cause, effects, err) < 0 ||
        decide_to_tell(deal, named, cause, effects, err) < 0)
        return -1;
    return decide_none(deal, cause, "waiting_for_partner",
                       effects->has_notification ? "the CRM record was asked for"
                                                 : "the referral's CRM id is not the id of a record of this CRM",
                       effects, err);
}

int advance_deal(struct deal *deal, const struct decide_cause *cause, struct merge_effects *effects, struct error *err)
{
    bool is_done = false;

    if (text_assign(&deal->rules_version, cause->context->rules->version, err) < 0)
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
