#include "mapper/settle.h"

#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/base/timestamp.h"

int settlement_init(struct settlement *settlement, struct error *err)
{
    bool is_complete = true;

    *settlement = (struct settlement){.conflicts = json_array(), .explanations = json_array()};
    for (int side = 0; side < SIDE_COUNT; side++) {
        settlement->fields[side] = json_array();
        settlement->write[side] = json_object();
        settlement->left_out[side] = json_array();
        is_complete = is_complete && settlement->fields[side] != NULL && settlement->write[side] != NULL &&
                      settlement->left_out[side] != NULL;
    }
    if (!is_complete || settlement->conflicts == NULL || settlement->explanations == NULL) {
        settlement_done(settlement);
        return error_no_memory(err);
    }
    return 0;
}

void settlement_done(struct settlement *settlement)
{
    for (int side = 0; side < SIDE_COUNT; side++) {
        json_decref(settlement->fields[side]);
        json_decref(settlement->write[side]);
        json_decref(settlement->left_out[side]);
    }
    json_decref(settlement->conflicts);
    json_decref(settlement->explanations);
    *settlement = (struct settlement){0};
}

/* One field while it is being settled: what stands on each side now (NULL: unknown). Owns both values. */
struct standing {
    const struct rule_field *field;
    json_t *now[SIDE_COUNT];
    bool has_moved[SIDE_COUNT];
};

static void standing_done(struct standing *standing)
{
    json_decref(standing->now[SIDE_PARTNER_CENTER]);
    json_decref(standing->now[SIDE_CRM]);
}

/* The rule "moved": a side has changed a field if its value differs from its own base. Without a base (the records met
 * only now) every value that says something counts as changed. A side's change counts only where the field is written to
 * the other side. */
static bool has_moved(const struct deal *deal, const struct rule_field *field, enum side side, const json_t *now)
{
    const json_t *base = json_object_get(deal->base[side], field->name);

    if (now == NULL || !field->is_written_on_update[side_other(side)])
        return false;
    return base == NULL ? !json_is_null(now) : !json_same(now, base);
}

static void stand(const struct deal *deal, const struct rule_field *field, struct standing *ret_standing)
{
    ret_standing->field = field;
    for (int side = 0; side < SIDE_COUNT; side++) {
        ret_standing->now[side] = rule_field_value(field, (enum side)side, deal_values(deal, (enum side)side));
        ret_standing->has_moved[side] = has_moved(deal, field, (enum side)side, ret_standing->now[side]);
    }
}

static int set_base(struct deal *deal, const struct standing *standing, struct error *err)
{
    for (int side = 0; side < SIDE_COUNT; side++) {
        json_t *base = deal->base[side];
        if (standing->now[side] != NULL && json_object_set(base, standing->field->name, standing->now[side]) < 0)
            return error_no_memory(err);
    }
    (void)json_object_del(deal->problems, standing->field->name);
    return 0;
}

/* Remembers that the field cannot be mapped, and reports it the first time. What stops at Partner Center is for the seller
 * to put right. */
static int note_problem(struct deal *deal, const struct rule_field *field, enum side target, const struct error *why,
                        struct settlement *settlement, struct error *err)
{
    settlement->held_back = "unmappable";
    if (target == SIDE_PARTNER_CENTER &&
        json_array_append_new(settlement->explanations,
                              json_string(field->explanation != NULL ? field->explanation : why->message)) < 0)
        return error_no_memory(err);
    if (text_equal(json_text_of(deal->problems, field->name), why->message))
        return 0;
    if (json_object_set_new(deal->problems, field->name, json_string(why->message)) < 0)
        return error_no_memory(err);
    settlement->has_problem = true;
    settlement->problem = *why;
    return 0;
}

enum mapping {
    MAPPING_FAILED = -1, /* out of memory */
    MAPPING_DONE,
    MAPPING_PROBLEM
};

static enum mapping map_field(const struct rules *rules, const struct rule_field *field, enum side target,
                              const json_t *value, json_t **ret_mapped, struct error *why)
{
    *ret_mapped = NULL;
    if (rule_field_map(rules, field, target, value, ret_mapped, why) == 0)
        return MAPPING_DONE;
    return why->class == ERROR_POISON ? MAPPING_PROBLEM : MAPPING_FAILED;
}

/* The records met only now, and what stands in the CRM is none of Partner Center's business ("on hold"): it goes with
 * whatever an open referral says, as it would had it been chosen a moment later. */
static bool is_left_alone(const struct deal *deal, const struct rules *rules, const struct standing *standing)
{
    const char *name = standing->field->name;

    return standing->has_moved[SIDE_CRM] && standing->now[SIDE_PARTNER_CENTER] != NULL &&
           json_object_get(deal->base[SIDE_CRM], name) == NULL &&
           json_object_get(deal->base[SIDE_PARTNER_CENTER], name) == NULL &&
           !rules_hold(rules->is_closed[SIDE_PARTNER_CENTER], deal_values(deal, SIDE_PARTNER_CENTER), false) &&
           rule_field_leaves(standing->field, SIDE_PARTNER_CENTER, standing->now[SIDE_CRM]);
}

/* The rule "agree": what stands at one side is already the image of the other side's value. A mapping that fails cannot
 * agree; if the value has to be written, the failure is reported then. */
static int sides_agree(const struct deal *deal, const struct rules *rules, const struct standing *standing,
                       bool *ret_agree, struct error *err)
{
    if (is_left_alone(deal, rules, standing)) {
        *ret_agree = true;
        return 0;
    }
    *ret_agree = false;
    for (int target = 0; target < SIDE_COUNT && !*ret_agree; target++) {
        const json_t *source = standing->now[side_other((enum side)target)];
        json_t *image;
        struct error why = ERROR_INIT;
        enum mapping mapping;

        if (source == NULL || standing->now[target] == NULL || !standing->field->is_written_on_update[target])
            continue;
        mapping = map_field(rules, standing->field, (enum side)target, source, &image, &why);
        if (mapping == MAPPING_FAILED) {
            *err = why;
            return -1;
        }
        *ret_agree = mapping == MAPPING_DONE && image != NULL && json_same(image, standing->now[target]);
        json_decref(image);
    }
    return 0;
}

static int later_side(const struct deal *deal)
{
    struct timestamp changed[SIDE_COUNT];

    for (int side = 0; side < SIDE_COUNT; side++) {
        const char *at = deal_changed_at(deal, (enum side)side);
        if (at == NULL || !timestamp_parse(at, true, &changed[side]))
            changed[side] = (struct timestamp){.seconds = INT64_MIN};
    }
    return timestamp_compare(changed[SIDE_CRM], changed[SIDE_PARTNER_CENTER]) > 0 ? SIDE_CRM : SIDE_PARTNER_CENTER;
}

static const char *policy_name(enum rule_policy policy)
{
    static const char *const names[] = {"partner-center", "crm", "latest", "manual"};

    return names[policy];
}

static json_t *known_or_null(json_t *value)
{
    return value == NULL ? json_null() : json_incref(value);
}

static int note_conflict(const struct standing *standing, const char *policy, const char *winner,
                         struct settlement *settlement, struct error *err)
{
    json_t *conflict = json_pack("{s:s, s:o, s:o, s:s, s:s}", "name", standing->field->name, "partner_center",
                                 known_or_null(standing->now[SIDE_PARTNER_CENTER]), "crm",
                                 known_or_null(standing->now[SIDE_CRM]), "policy", policy, "winner", winner);

    return json_array_append_new(settlement->conflicts, conflict) < 0 ? error_no_memory(err) : 0;
}

/* Both values wait for a person; told whenever one of them is another than before. */
static int park(struct deal *deal, const struct standing *standing, struct settlement *settlement, struct error *err)
{
    json_t *both = json_pack("{s:o, s:o}", "partner_center", known_or_null(standing->now[SIDE_PARTNER_CENTER]), "crm",
                             known_or_null(standing->now[SIDE_CRM]));
    const bool is_known = both != NULL && json_same(json_object_get(deal->parked, standing->field->name), both);

    settlement->held_back = "manual";
    if (json_object_set_new(deal->parked, standing->field->name, both) < 0)
        return error_no_memory(err);
    settlement->has_news = settlement->has_news || !is_known;
    return is_known ? 0 : note_conflict(standing, "manual", "nobody", settlement, err);
}

/* The sides agree, so nothing waits for a person any more. */
static int unpark(struct deal *deal, const struct standing *standing, struct settlement *settlement, struct error *err)
{
    if (json_object_get(deal->parked, standing->field->name) == NULL)
        return 0;
    (void)json_object_del(deal->parked, standing->field->name);
    settlement->has_news = true;
    return note_conflict(standing, "manual", "both", settlement, err);
}

/* Whose value holds. Nothing is written to a closed record, so it wins whatever the policy; the referral, should both be
 * closed. *ret_is_parked: nobody's. */
static int choose_winner(struct deal *deal, const struct standing *standing, const bool is_closed[static SIDE_COUNT],
                         struct settlement *settlement, enum side *ret_winner, bool *ret_is_parked, struct error *err)
{
    const char *policy = policy_name(standing->field->policy);

    *ret_is_parked = false;
    if (!standing->has_moved[SIDE_PARTNER_CENTER] || !standing->has_moved[SIDE_CRM]) {
        *ret_winner = standing->has_moved[SIDE_PARTNER_CENTER] ? SIDE_PARTNER_CENTER : SIDE_CRM;
        return 0;
    }
    if (is_closed[SIDE_PARTNER_CENTER] || is_closed[SIDE_CRM]) {
        *ret_winner = is_closed[SIDE_PARTNER_CENTER] ? SIDE_PARTNER_CENTER : SIDE_CRM;
        policy = "closed";
    } else if (standing->field->policy == POLICY_MANUAL) {
        *ret_is_parked = true;
        return park(deal, standing, settlement, err);
    } else if (standing->field->policy == POLICY_LATEST) {
        *ret_winner = (enum side)later_side(deal);
    } else {
        *ret_winner = standing->field->policy == POLICY_CRM ? SIDE_CRM : SIDE_PARTNER_CENTER;
    }
    return note_conflict(standing, policy, side_name(*ret_winner), settlement, err);
}

static int add_change(const struct standing *standing, enum side target, json_t *value, struct settlement *settlement,
                      struct error *err)
{
    json_t *change =
        json_pack("{s:s, s:o, s:O, s:o}", "name", standing->field->name, "old", known_or_null(standing->now[target]),
                  "new", value, "from", known_or_null(standing->now[side_other(target)]));

    if (json_array_append_new(settlement->fields[target], change) < 0 ||
        rule_field_spread(standing->field, target, value, settlement->write[target]) < 0)
        return error_no_memory(err);
    return 0;
}

/* Closing a referral that nobody has answered declines it: other words stand in the value then. */
static int decline_unanswered(const struct deal *deal, const struct rules *rules, const struct rule_field *field,
                              json_t **value, struct settlement *settlement, struct error *err)
{
    const json_t *substitute = rules->unanswered.substitute;
    const size_t count = field->path_count[SIDE_PARTNER_CENTER];
    json_t *replaced;

    if (rules->unanswered.when == NULL ||
        !rules_hold(rules->unanswered.when, deal_values(deal, SIDE_PARTNER_CENTER), true))
        return 0;
    for (size_t i = 0; i < count; i++) {
        const json_t *words = json_object_get(substitute, field->paths[SIDE_PARTNER_CENTER][i]);
        const char *word = json_string_value(count == 1 ? *value : json_array_get(*value, i));
        json_t *instead = word == NULL ? NULL : json_object_get(words, word);
        if (instead == NULL)
            continue;
        settlement->declining = field;
        replaced = count == 1 ? json_incref(instead) : json_copy(*value);
        if (replaced == NULL || (count > 1 && json_array_set(replaced, i, instead) < 0)) {
            json_decref(replaced);
            return error_no_memory(err);
        }
        json_decref(*value);
        *value = replaced;
    }
    return 0;
}

static int write_winner(struct deal *deal, const struct rules *rules, const struct standing *standing, enum side winner,
                        struct settlement *settlement, struct error *err)
{
    enum side target = side_other(winner);
    struct error why = ERROR_INIT;
    json_auto_t *value = NULL;

    (void)json_object_del(deal->parked, standing->field->name);
    switch (map_field(rules, standing->field, target, standing->now[winner], &value, &why)) {
    case MAPPING_FAILED:
        *err = why;
        return -1;
    case MAPPING_PROBLEM:
        return note_problem(deal, standing->field, target, &why, settlement, err);
    case MAPPING_DONE:
        break;
    }
    if (value == NULL || (standing->now[target] != NULL && json_same(value, standing->now[target])))
        return set_base(deal, standing, err);
    (void)json_object_del(deal->problems, standing->field->name);
    if (target == SIDE_PARTNER_CENTER && decline_unanswered(deal, rules, standing->field, &value, settlement, err) < 0)
        return -1;
    return add_change(standing, target, value, settlement, err);
}

/* Why nothing may be written to a side; NULL: it may. */
static const char *hindrance(const struct deal *deal, const struct rules *rules, enum side target)
{
    if (rules_hold(rules->is_closed[target], deal_values(deal, target), false))
        return target == SIDE_CRM ? "crm_closed" : "partner_center_closed";
    /* Nothing leaves the CRM while the seller's switch is off (co-sell connectors, "Sync with Partner Center"). */
    if ((target == SIDE_PARTNER_CENTER || rules->sync_off == SYNC_OFF_PAUSE) &&
        json_is_false(json_object_get(deal_values(deal, SIDE_CRM), rules->sync_column)))
        return "sync_off";
    return NULL;
}

static int settle_field(struct deal *deal, const struct rules *rules, const struct standing *standing,
                        const char *const hindrances[static SIDE_COUNT], struct settlement *settlement,
                        struct error *err)
{
    const bool is_closed[SIDE_COUNT] = {
        [SIDE_PARTNER_CENTER] = text_equal(hindrances[SIDE_PARTNER_CENTER], "partner_center_closed"),
        [SIDE_CRM] = text_equal(hindrances[SIDE_CRM], "crm_closed"),
    };
    bool do_agree, is_parked;
    enum side winner;

    if (!standing->has_moved[SIDE_PARTNER_CENTER] && !standing->has_moved[SIDE_CRM])
        return unpark(deal, standing, settlement, err);
    if (sides_agree(deal, rules, standing, &do_agree, err) < 0)
        return -1;
    if (do_agree)
        return unpark(deal, standing, settlement, err) < 0 ? -1 : set_base(deal, standing, err);
    if (choose_winner(deal, standing, is_closed, settlement, &winner, &is_parked, err) < 0)
        return -1;
    if (is_parked)
        return 0;
    if (hindrances[side_other(winner)] != NULL) {
        settlement->held_back = hindrances[side_other(winner)];
        return 0;
    }
    return write_winner(deal, rules, standing, winner, settlement, err);
}

/* A referral that nobody has answered takes a decline and nothing beside it: what else the seller has changed would have the
 * whole refused, and says nothing to anybody any more. */
static int decline_only(const struct rules *rules, struct settlement *settlement, struct error *err)
{
    json_t *write = settlement->write[SIDE_PARTNER_CENTER];
    json_auto_t *all = settlement->fields[SIDE_PARTNER_CENTER];

    settlement->fields[SIDE_PARTNER_CENTER] = json_array();
    if (settlement->fields[SIDE_PARTNER_CENTER] == NULL || json_object_clear(write) < 0)
        return error_no_memory(err);
    for (size_t i = 0; i < json_array_size(all); i++) {
        json_t *change = json_array_get(all, i);
        const struct rule_field *field = rules_field(rules, json_text_of(change, "name"));
        if (field != settlement->declining)
            continue;
        if (json_array_append(settlement->fields[SIDE_PARTNER_CENTER], change) < 0 ||
            rule_field_spread(field, SIDE_PARTNER_CENTER, json_object_get(change, "new"), write) < 0)
            return error_no_memory(err);
    }
    if (rules->unanswered.write != NULL && json_object_update_missing(write, rules->unanswered.write) < 0)
        return error_no_memory(err);
    return 0;
}

int settle_updates(struct deal *deal, const struct rules *rules, struct settlement *settlement, struct error *err)
{
    const char *const hindrances[SIDE_COUNT] = {
        [SIDE_PARTNER_CENTER] = hindrance(deal, rules, SIDE_PARTNER_CENTER),
        [SIDE_CRM] = hindrance(deal, rules, SIDE_CRM),
    };

    for (size_t i = 0; i < rules->field_count; i++) {
        struct standing standing;
        int status;

        stand(deal, &rules->fields[i], &standing);
        status = settle_field(deal, rules, &standing, hindrances, settlement, err);
        standing_done(&standing);
        if (status < 0)
            return -1;
    }
    return settlement->declining == NULL ? 0 : decline_only(rules, settlement, err);
}

static int create_field(struct deal *deal, const struct rules *rules, const struct standing *standing, enum side target,
                        struct settlement *settlement, struct error *err)
{
    const struct rule_field *field = standing->field;
    json_t *source = standing->now[side_other(target)];
    json_auto_t *value = NULL;
    struct error why = ERROR_INIT;

    /* What is not known goes as null, for which the rules may have a default. */
    switch (map_field(rules, field, target, source, &value, &why)) {
    case MAPPING_FAILED:
        *err = why;
        return -1;
    case MAPPING_PROBLEM:
        return note_problem(deal, field, target, &why, settlement, err);
    case MAPPING_DONE:
        break;
    }
    if (value != NULL && !json_is_null(value)) {
        (void)json_object_del(deal->problems, field->name);
        return add_change(standing, target, value, settlement, err);
    }
    if (!field->is_required_on_create[target])
        return 0;
    error_set(&why, ERROR_POISON, "rules.required", "field '%s' is needed to create the record and has no value",
              field->name);
    return note_problem(deal, field, target, &why, settlement, err);
}

int settle_creation(struct deal *deal, const struct rules *rules, enum side target, enum settle_situation situation,
                    struct settlement *settlement, struct error *err)
{
    for (size_t i = 0; i < rules->field_count; i++) {
        const struct rule_field *field = &rules->fields[i];
        struct standing standing;
        int status;

        if (situation == SETTLE_INVITE ? !field->is_written_on_invite : !field->is_written_on_create[target])
            continue;
        stand(deal, field, &standing);
        json_decref(standing.now[target]);
        standing.now[target] = NULL; /* there is nothing on the target yet */
        status = create_field(deal, rules, &standing, target, settlement, err);
        standing_done(&standing);
        if (status < 0)
            return -1;
    }
    return 0;
}
