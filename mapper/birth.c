#include "mapper/birth.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "mapper/refusal.h"
#include "mapper/refused.h"
#include "mapper/settle.h"

/* -- explanations -------------------------------------------------------------------------------------------------- */

/* The audit column alone. *ret_is_refused: the CRM has refused the same before, and nothing was decided. */
static int write_explanation(struct deal *deal, const struct decide_cause *cause, const char *text, const char *reason,
                             struct merge_effects *effects, bool *ret_is_refused, struct error *err)
{
    const struct rules *rules = cause->context->rules;
    json_auto_t *fields =
        json_pack("[{s:s, s:s?, s:s, s:n}]", "name", "explanation", "old", deal->explained, "new", text, "from");
    json_auto_t *write = json_pack("{s:s}", rules->audit_column, text);
    const struct decide_plan plan = {.action = DECISION_UPDATE,
                                     .target = SIDE_CRM,
                                     .purpose = "explain",
                                     .reason = reason,
                                     .audit_text = text,
                                     .fields = fields,
                                     .write = write};

    if (fields == NULL || write == NULL)
        return error_no_memory(err);
    *ret_is_refused = refused_find(deal, rules, &plan) != NULL;
    return *ret_is_refused ? 0 : decide_write(deal, cause, &plan, effects, err);
}

int birth_explain(struct deal *deal, const struct decide_cause *cause, const char *text, const char *reason,
                  struct merge_effects *effects, struct error *err)
{
    bool is_refused;

    if (cause->context->rules->audit_column == NULL || deal->seen[SIDE_CRM] == NULL ||
        text_equal(deal->explained, text))
        return decide_none(deal, cause, reason, text, effects, err);
    if (write_explanation(deal, cause, text, reason, effects, &is_refused, err) < 0)
        return -1;
    return is_refused ? decide_none(deal, cause, reason, text, effects, err) : text_assign(&deal->explained, text, err);
}

int birth_explain_mended(struct deal *deal, const struct decide_cause *cause, struct merge_effects *effects,
                         struct error *err)
{
    static const char text[] = "In order again: nothing of this record is missing or refused.";
    bool is_refused = false;

    if (cause->context->rules->audit_column != NULL &&
        write_explanation(deal, cause, text, "mended", effects, &is_refused, err) < 0)
        return -1;
    if (!effects->has_decision && decide_none(deal, cause, "mended", text, effects, err) < 0)
        return -1;
    return text_assign(&deal->explained, NULL, err);
}

/* Nothing where it is NULL. Several fields can have the same words; they are said once. */
static int append_refusal(struct text *text, size_t from, const struct deal *deal, const json_t *refusal)
{
    char *told;
    int status;

    if (refusal == NULL)
        return 0;
    told = refusal_text(deal->key, json_text_of(refusal, "code"), json_text_of(refusal, "field"),
                        json_object_get(refusal, "write"));
    status = told == NULL ? -1 : strstr(text_string(text) + from, told) != NULL ? 0 : text_appendf(text, " %s", told);
    free(told);
    return status;
}

/* Of one target. */
static int append_refusals(struct text *text, const struct deal *deal, const struct birth_troubles *troubles,
                           enum side target)
{
    const size_t from = text->length;

    for (size_t i = 0; i < json_array_size(troubles->left_out[target]); i++) {
        if (append_refusal(text, from, deal, json_array_get(troubles->left_out[target], i)) < 0)
            return -1;
    }
    return append_refusal(text, from, deal, troubles->refusals[target]);
}

static bool has_refusal(const struct birth_troubles *troubles, enum side target)
{
    return troubles->refusals[target] != NULL || json_array_size(troubles->left_out[target]) > 0;
}

/* As far as there is room: the first ones tell enough. */
static int append_troubles(struct text *text, const struct deal *deal, const struct birth_troubles *troubles)
{
    if ((has_refusal(troubles, SIDE_PARTNER_CENTER) || json_array_size(troubles->explanations) > 0) &&
        text_append(text, "Not sent to Partner Center:") < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(troubles->explanations); i++) {
        if (text_appendf(text, " %s", json_string_value(json_array_get(troubles->explanations, i))) < 0)
            return -1;
    }
    if (append_refusals(text, deal, troubles, SIDE_PARTNER_CENTER) < 0)
        return -1;
    if (!has_refusal(troubles, SIDE_CRM))
        return 0;
    if (text_appendf(text, "%sNot written to this record:", text->length == 0 ? "" : " ") < 0)
        return -1;
    return append_refusals(text, deal, troubles, SIDE_CRM);
}

/* "Not sent to Partner Center: first. second." free(); NULL when out of memory. */
static char *text_of_troubles(const struct deal *deal, const struct birth_troubles *troubles)
{
    struct text text;
    char *taken;

    text_init(&text, BIRTH_EXPLANATION_BYTES_MAX);
    (void)append_troubles(&text, deal, troubles);
    taken = text.length == 0 ? NULL : text_take(&text);
    text_done(&text);
    return taken;
}

int birth_explain_troubles(struct deal *deal, const struct decide_cause *cause, const struct birth_troubles *troubles,
                           const char *reason, struct merge_effects *effects, struct error *err)
{
    const char *code = json_text_of(troubles->refusals[SIDE_CRM], "code");
    char *text = text_of_troubles(deal, troubles);
    int status;

    if (text == NULL)
        status = error_no_memory(err);
    else if (text_equal(code, "dynamics_365.privilege")) /* it would not take the words either */
        status = decide_none(deal, cause, reason, text, effects, err);
    else
        status = birth_explain(deal, cause, text, reason, effects, err);
    free(text);
    return status;
}

static int explain_refusal(struct deal *deal, const struct decide_cause *cause, enum side target, const json_t *refusal,
                           struct merge_effects *effects, struct error *err)
{
    struct birth_troubles troubles = {.explanations = NULL};

    troubles.refusals[target] = refusal;
    return birth_explain_troubles(deal, cause, &troubles, "refused_before", effects, err);
}

/* -- creation ------------------------------------------------------------------------------------------------------ */

static int create_in_crm(struct deal *deal, const struct decide_cause *cause, const struct settlement *settlement,
                         struct merge_effects *effects, struct error *err)
{
    const struct rules *rules = cause->context->rules;
    json_auto_t *key = json_pack("{s:s}", rules->identifier_column, deal->id[SIDE_PARTNER_CENTER]);
    const struct decide_plan plan = {.action = DECISION_CREATE,
                                     .target = SIDE_CRM,
                                     .purpose = "create",
                                     .reason = "new_referral",
                                     .audit_text = "Created from Partner Center",
                                     .create_key = key,
                                     .fields = settlement->fields[SIDE_CRM],
                                     .write = settlement->write[SIDE_CRM]};
    const json_t *refusal;

    if (key == NULL ||
        json_object_set_new(plan.write, rules->identifier_column, json_string(deal->id[SIDE_PARTNER_CENTER])) < 0)
        return error_no_memory(err);
    refusal = refused_find(deal, rules, &plan);
    if (refusal != NULL)
        return explain_refusal(deal, cause, SIDE_CRM, refusal, effects, err);
    return decide_write(deal, cause, &plan, effects, err);
}

/* Neither taken nor left out. Where the rules say what to leave out, they are meant to know every kind: the rest is set
 * aside once, with what it is, instead of guessing. */
static int refuse_unknown_kind(struct deal *deal, const struct decide_cause *cause, struct merge_effects *effects,
                               struct error *err)
{
    static const char problem[] = "select";
    json_auto_t *kind = json_object();
    char *text;
    json_t *among;
    const char *path;

    if (cause->context->rules->leave_out != NULL && json_object_get(deal->problems, problem) == NULL) {
        json_object_foreach (cause->context->rules->select[SIDE_PARTNER_CENTER], path, among)
            (void)json_object_set(kind, path, json_object_get(deal_values(deal, SIDE_PARTNER_CENTER), path));
        text = json_write(kind, true, NULL);
        if (text == NULL || json_object_set_new(deal->problems, problem, json_string("unclassified")) < 0) {
            free(text);
            return error_no_memory(err);
        }
        effects->has_problem = true;
        (void)error_set(&effects->problem, ERROR_POISON, "rules.unclassified",
                        "the rules neither take nor leave out a referral of this kind: %s", text);
        free(text);
    }
    return decide_none(deal, cause, "not_selected", "the rules' select does not take this referral", effects, err);
}

int birth_in_crm(struct deal *deal, const struct decide_cause *cause, struct merge_effects *effects, struct error *err)
{
    const struct rules *rules = cause->context->rules;
    struct settlement settlement;
    int status;

    if (rules_leave_out(rules, deal_values(deal, SIDE_PARTNER_CENTER)))
        return decide_none(deal, cause, "left_out", "the rules' leave_out names this referral", effects, err);
    if (!rules_hold(rules->select[SIDE_PARTNER_CENTER], deal_values(deal, SIDE_PARTNER_CENTER), true))
        return refuse_unknown_kind(deal, cause, effects, err);
    if (settlement_init(&settlement, err) < 0)
        return -1;
    status = settle_creation(deal, rules, SIDE_CRM, SETTLE_CREATE, &settlement, err);
    if (status == 0 && settlement.held_back != NULL) {
        effects->has_problem = settlement.has_problem;
        effects->problem = settlement.problem;
        status = decide_none(deal, cause, "invalid", "a value the CRM record needs is missing or cannot be mapped",
                             effects, err);
    } else if (status == 0) {
        status = create_in_crm(deal, cause, &settlement, effects, err);
    }
    settlement_done(&settlement);
    return status;
}

static int create_at_partner_center(struct deal *deal, const struct decide_cause *cause,
                                    const struct settlement *settlement, struct merge_effects *effects,
                                    struct error *err)
{
    const struct rules *rules = cause->context->rules;
    json_auto_t *key = json_pack("{s:s}", RULES_PATH_EXTERNAL_REFERENCE, deal->id[SIDE_CRM]);
    const struct decide_plan plan = {.action = DECISION_CREATE,
                                     .target = SIDE_PARTNER_CENTER,
                                     .purpose = "create",
                                     .reason = "new_crm_record",
                                     .create_key = key,
                                     .fields = settlement->fields[SIDE_PARTNER_CENTER],
                                     .write = settlement->write[SIDE_PARTNER_CENTER]};
    const json_t *refusal;

    if (key == NULL ||
        json_object_set_new(plan.write, RULES_PATH_EXTERNAL_REFERENCE, json_string(deal->id[SIDE_CRM])) < 0)
        return error_no_memory(err);
    refusal = refused_find(deal, rules, &plan);
    if (refusal != NULL)
        return explain_refusal(deal, cause, SIDE_PARTNER_CENTER, refusal, effects, err);
    return decide_write(deal, cause, &plan, effects, err);
}

static int explain_problems(struct deal *deal, const struct decide_cause *cause, const json_t *explanations,
                            struct merge_effects *effects, struct error *err)
{
    const struct birth_troubles troubles = {.explanations = explanations};

    return birth_explain_troubles(deal, cause, &troubles, "invalid", effects, err);
}

static bool wants_microsoft(const struct deal *deal, const struct rules *rules)
{
    return rules->invitation.when != NULL && rules_hold(rules->invitation.when, deal_values(deal, SIDE_CRM), true);
}

/* What the invitation will need is checked before the first call, or half a deal would be left behind. */
static int check_invitation(struct deal *deal, const struct rules *rules, struct settlement *settlement,
                            struct error *err)
{
    struct settlement invitation;
    int status;

    if (!wants_microsoft(deal, rules))
        return 0;
    if (settlement_init(&invitation, err) < 0)
        return -1;
    status = settle_creation(deal, rules, SIDE_PARTNER_CENTER, SETTLE_INVITE, &invitation, err);
    if (status == 0 && invitation.held_back != NULL) {
        settlement->held_back = invitation.held_back;
        status = json_array_extend(settlement->explanations, invitation.explanations) < 0 ? error_no_memory(err) : 0;
    }
    settlement_done(&invitation);
    return status;
}

int birth_at_partner_center(struct deal *deal, const struct decide_cause *cause, struct merge_effects *effects,
                            struct error *err)
{
    const struct rules *rules = cause->context->rules;
    const json_t *values = deal_values(deal, SIDE_CRM);
    struct settlement settlement;
    int status;

    if (json_is_false(json_object_get(values, rules->sync_column)))
        return decide_none(deal, cause, "sync_off", "the seller has not switched synchronisation on", effects, err);
    if (rules->select[SIDE_CRM] == NULL || !rules_hold(rules->select[SIDE_CRM], values, true))
        return decide_none(deal, cause, "not_selected", "the rules' select does not take this CRM record", effects,
                           err);
    if (rules_hold(rules->is_closed[SIDE_CRM], values, false))
        return decide_none(deal, cause, "crm_closed", "a closed record is not sent", effects, err);
    if (settlement_init(&settlement, err) < 0)
        return -1;
    status = settle_creation(deal, rules, SIDE_PARTNER_CENTER, SETTLE_CREATE, &settlement, err);
    if (status == 0)
        status = check_invitation(deal, rules, &settlement, err);
    if (status == 0)
        status = settlement.held_back != NULL ? explain_problems(deal, cause, settlement.explanations, effects, err)
                                              : create_at_partner_center(deal, cause, &settlement, effects, err);
    settlement_done(&settlement);
    return status;
}

/* -- the invitation ------------------------------------------------------------------------------------------------ */

static bool is_invitation_due(const struct deal *deal, const struct rules *rules)
{
    const json_t *values = deal_values(deal, SIDE_PARTNER_CENTER);
    const char *direction = json_text_of(values, "direction");

    /* A deal sent to us is somebody else's to share; one Microsoft is a party of needs no invitation. */
    return !deal->is_invited && deal->engagement_id != NULL && wants_microsoft(deal, rules) &&
           json_object_get(values, RULES_PATH_MICROSOFT_STATUS) == NULL &&
           (direction == NULL || !text_equal_ignoring_case(direction, "Incoming")) &&
           !json_is_false(json_object_get(deal_values(deal, SIDE_CRM), rules->sync_column)) &&
           !rules_hold(rules->is_closed[SIDE_PARTNER_CENTER], values, false);
}

/* Once for each reason, whatever else the seller is told meanwhile; the rest of the deal goes on. */
static int tell_of_invitation(struct deal *deal, const struct decide_cause *cause,
                              const struct birth_troubles *troubles, const char *reason, struct merge_effects *effects,
                              bool *ret_is_done, struct error *err)
{
    char *text = text_of_troubles(deal, troubles);
    int status = 0;

    if (text == NULL)
        return error_no_memory(err);
    if (!text_equal(deal->invitation_told, text)) {
        status = text_assign(&deal->invitation_told, text, err);
        if (status == 0)
            status = birth_explain(deal, cause, text, reason, effects, err);
        *ret_is_done = effects->has_decision;
    }
    free(text);
    return status;
}

/* The invitation repeats the deal, with what is only for Microsoft over it. */
static int invite(struct deal *deal, const struct decide_cause *cause, const struct settlement *whole,
                  const struct settlement *own, struct merge_effects *effects, bool *ret_is_done, struct error *err)
{
    const struct rules *rules = cause->context->rules;
    json_t *write = whole->write[SIDE_PARTNER_CENTER];
    json_auto_t *key = json_pack("{s:s}", "engagementId", deal->engagement_id);
    const struct decide_plan plan = {.action = DECISION_CREATE,
                                     .target = SIDE_PARTNER_CENTER,
                                     .purpose = "invite",
                                     .reason = "microsoft_wanted",
                                     .record_type = BIRTH_INVITATION,
                                     .create_key = key,
                                     .fields = own->fields[SIDE_PARTNER_CENTER],
                                     .write = write};
    const json_t *refusal;

    if (key == NULL || json_object_update(write, own->write[SIDE_PARTNER_CENTER]) < 0 ||
        (rules->invitation.write != NULL && json_object_update(write, rules->invitation.write) < 0) ||
        json_object_set_new(write, RULES_PATH_EXTERNAL_REFERENCE, json_string(deal->id[SIDE_CRM])) < 0 ||
        json_object_set_new(write, "engagementId", json_string(deal->engagement_id)) < 0)
        return error_no_memory(err);
    refusal = refused_find(deal, rules, &plan);
    if (refusal != NULL)
        return tell_of_invitation(deal, cause, &(struct birth_troubles){.refusals[SIDE_PARTNER_CENTER] = refusal},
                                  "refused_before", effects, ret_is_done, err);
    *ret_is_done = true;
    return text_assign(&deal->invitation_told, NULL, err) < 0 ? -1 : decide_write(deal, cause, &plan, effects, err);
}

int birth_invitation(struct deal *deal, const struct decide_cause *cause, struct merge_effects *effects,
                     bool *ret_is_done, struct error *err)
{
    const struct rules *rules = cause->context->rules;
    struct settlement whole, own;
    int status;

    if (!is_invitation_due(deal, rules))
        return text_assign(&deal->invitation_told, NULL, err); /* wanted again, its reasons are told anew */
    if (settlement_init(&whole, err) < 0)
        return -1;
    if (settlement_init(&own, err) < 0) {
        settlement_done(&whole);
        return -1;
    }
    status = settle_creation(deal, rules, SIDE_PARTNER_CENTER, SETTLE_CREATE, &whole, err);
    if (status == 0)
        status = settle_creation(deal, rules, SIDE_PARTNER_CENTER, SETTLE_INVITE, &own, err);
    if (status == 0 && whole.held_back == NULL && own.held_back == NULL) {
        status = invite(deal, cause, &whole, &own, effects, ret_is_done, err);
    } else if (status == 0 && json_array_extend(whole.explanations, own.explanations) < 0) {
        status = error_no_memory(err);
    } else if (status == 0) {
        status = tell_of_invitation(deal, cause, &(struct birth_troubles){.explanations = whole.explanations},
                                    "invalid", effects, ret_is_done, err);
    }
    settlement_done(&own);
    settlement_done(&whole);
    return status;
}
