#include "mapper/refused.h"

#include <stdio.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "mapper/refusal.h"

static void free_if_empty(json_t **object)
{
    if (json_object_size(*object) > 0)
        return;
    json_decref(*object);
    *object = NULL;
}

/* -- whole writes -------------------------------------------------------------------------------------------------- */

enum { KEY_SIZE = 64 };

/* Of each kind of write its last refusal is kept: were it one for all, two refused writes would take turns for ever. */
static const char *key_of(const char *target, const char *purpose, char out[static KEY_SIZE])
{
    (void)snprintf(out, KEY_SIZE, "%s/%s", target, purpose);
    return out;
}

/* What is refused of a referral that nobody has answered may be taken once it is accepted (the life cycle of referrals says
 * what a change may hold when), so a refusal holds as long as the referral is in the state it was sent in. */
static bool is_of_this_state(const struct deal *deal, const json_t *refusal)
{
    const char *status = json_text_of(refusal, "status");

    return status == NULL || text_equal(status, deal_text(deal, SIDE_PARTNER_CENTER, "status"));
}

static bool is_refused(const struct deal *deal, const struct rules *rules, const json_t *refusal, const json_t *write)
{
    return refusal != NULL && text_equal(json_text_of(refusal, "rules_version"), rules->version) &&
           is_of_this_state(deal, refusal) && json_same(json_object_get(refusal, "write"), write);
}

const json_t *refused_find(const struct deal *deal, const struct rules *rules, const struct decide_plan *plan)
{
    char key[KEY_SIZE];
    const json_t *refusal = json_object_get(deal->refused, key_of(side_name(plan->target), plan->purpose, key));

    return is_refused(deal, rules, refusal, plan->write) ? refusal : NULL;
}

/* -- fields -------------------------------------------------------------------------------------------------------- */

/* What a change of `fields` puts into a write. New reference; NULL when out of memory. */
static json_t *own_write(const struct rule_field *field, enum side target, const json_t *change)
{
    json_t *own = json_object();

    if (own == NULL || rule_field_spread(field, target, json_object_get(change, "new"), own) == 0)
        return own;
    json_decref(own);
    return NULL;
}

/* The field of the update under way that the service named, where others stand beside it: *ret_name, borrowed, and what it
 * writes, a new reference; both NULL: none. */
static int find_named(const struct rules *rules, const char *named, enum side target, const json_t *pending,
                      const char **ret_name, json_t **ret_own, struct error *err)
{
    const json_t *write = json_object_get(pending, "write"), *fields = json_object_get(pending, "fields");
    const char *purpose = json_text_of(pending, "purpose"), *path = refusal_path(named, write);

    *ret_name = NULL;
    *ret_own = NULL;
    if (path == NULL || json_integer_of(pending, "action", DECISION_NONE) != DECISION_UPDATE ||
        text_equal(purpose, "decline"))
        return 0;
    for (size_t i = 0; i < json_array_size(fields); i++) {
        const json_t *change = json_array_get(fields, i);
        const char *name = json_text_of(change, "name");
        const struct rule_field *field = name == NULL ? NULL : rules_field(rules, name);
        json_t *own;

        if (field == NULL)
            continue; /* a link, or a field the rules have lost meanwhile */
        own = own_write(field, target, change);
        if (own == NULL)
            return error_no_memory(err);
        if (json_object_get(own, path) != NULL && json_object_size(own) < json_object_size(write)) {
            *ret_name = name;
            *ret_own = own;
            return 0;
        }
        json_decref(own);
    }
    return 0;
}

static json_t *refusal_of(const struct rules *rules, const struct outcome *outcome, const json_t *pending,
                          json_t *write)
{
    return json_pack("{s:s, s:s, s:O, s:s?, s:s?, s:s?, s:s*}", "decision", outcome->decision_id, "rules_version",
                     rules->version, "write", write, "code", outcome->error_code, "message", outcome->error_message,
                     "field", outcome->error_field, "status", json_text_of(pending, "status"));
}

/* The refused fields of a side, made where there are none; NULL when out of memory. */
static json_t *fields_of(struct deal *deal, const char *target)
{
    json_t *fields = json_object_get(deal->refused_fields, target);

    if (fields != NULL)
        return fields;
    if (deal->refused_fields == NULL)
        deal->refused_fields = json_object();
    fields = json_object();
    return json_object_set_new(deal->refused_fields, target, fields) < 0 ? NULL : fields;
}

int refused_note(struct deal *deal, const struct rules *rules, const struct outcome *outcome, const json_t *pending,
                 struct error *err)
{
    const char *target = json_text_of(pending, "target"), *purpose = json_text_of(pending, "purpose"), *name;
    const enum side side = text_equal(target, side_name(SIDE_CRM)) ? SIDE_CRM : SIDE_PARTNER_CENTER;
    char key[KEY_SIZE];
    json_t *own;
    int status;

    if (find_named(rules, outcome->error_field, side, pending, &name, &own, err) < 0)
        return -1;
    if (own != NULL) {
        status = json_object_set_new(fields_of(deal, side_name(side)), name, refusal_of(rules, outcome, pending, own));
        json_decref(own);
        return status < 0 ? error_no_memory(err) : 0;
    }
    if (deal->refused == NULL)
        deal->refused = json_object();
    if (json_object_set_new(deal->refused, key_of(target, purpose == NULL ? "" : purpose, key),
                            refusal_of(rules, outcome, pending, json_object_get(pending, "write"))) < 0)
        return error_no_memory(err);
    return 0;
}

/* Neither settled nor told by a write that goes without the field. */
static void drop_conflict(json_t *conflicts, const char *name)
{
    for (size_t i = json_array_size(conflicts); i > 0; i--) {
        if (text_equal(json_text_of(json_array_get(conflicts, i - 1), "name"), name))
            (void)json_array_remove(conflicts, i - 1);
    }
}

/* Whether the change at `index` is refused as it is; it is taken out then. -1: out of memory. */
static int leave_out_change(struct deal *deal, const struct rules *rules, struct settlement *settlement,
                            enum side target, size_t index, json_t *left_out, struct error *err)
{
    json_t *change = json_array_get(settlement->fields[target], index);
    const char *name = json_text_of(change, "name"), *path;
    json_t *refusal = json_object_get(json_object_get(deal->refused_fields, side_name(target)), name);
    const struct rule_field *field = rules_field(rules, name);
    json_auto_t *own = NULL;
    json_t *value;

    if (refusal == NULL || field == NULL)
        return 0;
    own = own_write(field, target, change);
    if (own == NULL)
        return error_no_memory(err);
    if (!is_refused(deal, rules, refusal, own))
        return 0;
    if (json_array_append(settlement->left_out[target], refusal) < 0 || json_object_set(left_out, name, refusal) < 0)
        return error_no_memory(err);
    json_object_foreach (own, path, value)
        (void)json_object_del(settlement->write[target], path);
    drop_conflict(settlement->conflicts, name);
    (void)json_array_remove(settlement->fields[target], index);
    return 1;
}

int refused_leave_out(struct deal *deal, const struct rules *rules, struct settlement *settlement, struct error *err)
{
    for (int target = 0; target < SIDE_COUNT; target++) {
        const char *side = side_name((enum side)target);
        json_auto_t *left_out = NULL;
        int status;

        if (json_object_get(deal->refused_fields, side) == NULL ||
            (target == SIDE_PARTNER_CENTER && settlement->declining != NULL))
            continue;
        left_out = json_object();
        if (left_out == NULL)
            return error_no_memory(err);
        for (size_t i = 0; i < json_array_size(settlement->fields[target]); i += status == 0) {
            status = leave_out_change(deal, rules, settlement, (enum side)target, i, left_out, err);
            if (status < 0)
                return -1;
        }
        if (json_object_size(left_out) == 0)
            (void)json_object_del(deal->refused_fields, side);
        else if (json_object_set(deal->refused_fields, side, left_out) < 0)
            return error_no_memory(err);
    }
    free_if_empty(&deal->refused_fields);
    return 0;
}

/* -- forgetting ---------------------------------------------------------------------------------------------------- */

void refused_forget_writes(struct deal *deal, enum side target)
{
    char prefix[KEY_SIZE];
    const char *key;
    json_t *refusal;
    void *next;

    (void)key_of(side_name(target), "", prefix);
    json_object_foreach_safe (deal->refused, next, key, refusal) {
        if (text_starts_with(key, prefix))
            (void)json_object_del(deal->refused, key);
    }
    free_if_empty(&deal->refused);
}

static bool forget_decision_in(json_t *refused, const char *decision_id)
{
    const char *key;
    json_t *refusal;

    json_object_foreach (refused, key, refusal) {
        if (!text_equal(json_text_of(refusal, "decision"), decision_id))
            continue;
        (void)json_object_del(refused, key);
        return true;
    }
    return false;
}

bool refused_forget_decision(struct deal *deal, const char *decision_id)
{
    const char *side;
    json_t *fields;

    if (forget_decision_in(deal->refused, decision_id))
        return true;
    json_object_foreach (deal->refused_fields, side, fields) {
        if (forget_decision_in(fields, decision_id))
            return true;
    }
    return false;
}
