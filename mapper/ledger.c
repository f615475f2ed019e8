#include "mapper/ledger.h"

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/base/timestamp.h"

/* Nothing is kept for no entry. */
static void drop_when_empty(struct deal *deal, enum side side)
{
    if (json_object_size(json_object_get(deal->ledger, side_name(side))) == 0)
        ledger_forget(deal, side);
}

void ledger_forget(struct deal *deal, enum side side)
{
    (void)json_object_del(deal->ledger, side_name(side));
    if (json_object_size(deal->ledger) > 0)
        return;
    json_decref(deal->ledger);
    deal->ledger = NULL;
}

/* New or known; NULL when out of memory. */
static json_t *entries_of(struct deal *deal, enum side side)
{
    json_t *entries = json_object_get(deal->ledger, side_name(side));

    if (entries != NULL)
        return entries;
    if (deal->ledger == NULL)
        deal->ledger = json_object();
    entries = json_object();
    return json_object_set_new(deal->ledger, side_name(side), entries) < 0 ? NULL : entries;
}

/* So that there are never more entries than the rules have fields. */
static void drop_lost_fields(json_t *entries, const struct rules *rules)
{
    const char *name;
    json_t *entry;
    void *next;

    json_object_foreach_safe (entries, next, name, entry) {
        if (rules_field(rules, name) == NULL)
            (void)json_object_del(entries, name);
    }
}

int ledger_note(struct deal *deal, const struct rules *rules, enum side side, const json_t *fields,
                const char *decision_id, const char *at, struct error *err)
{
    json_t *entries = entries_of(deal, side);

    if (entries == NULL)
        return error_no_memory(err);
    drop_lost_fields(entries, rules);
    for (size_t i = 0; i < json_array_size(fields); i++) {
        const char *name = json_text_of(json_array_get(fields, i), "name");
        json_t *value = json_object_get(deal->base[side], name);
        if (value == NULL || rules_field(rules, name) == NULL)
            continue; /* a link: no field of the rules; or one they have lost meanwhile */
        if (json_object_set_new(entries, name,
                                json_pack("{s:O, s:s, s:s}", "value", value, "decision", decision_id, "at", at)) < 0)
            return error_no_memory(err);
    }
    drop_when_empty(deal, side);
    return 0;
}

static bool is_within_window(const char *written_at, const char *read_at)
{
    struct timestamp written, read;

    return written_at != NULL && timestamp_parse(written_at, true, &written) && timestamp_parse(read_at, true, &read) &&
           timestamp_compare(read, timestamp_add_ms(written, LEDGER_WINDOW_MS)) <= 0;
}

/* A time that cannot be read is not before another. */
static bool is_before(const char *read_at, const char *written_at)
{
    struct timestamp written, read;

    return written_at != NULL && timestamp_parse(written_at, true, &written) && timestamp_parse(read_at, true, &read) &&
           timestamp_compare(read, written) < 0;
}

static int note_near_miss(struct ledger_findings *findings, const char *name, const json_t *entry, json_t *found)
{
    if (findings->near_misses == NULL)
        findings->near_misses = json_array();
    return json_array_append_new(findings->near_misses, json_pack("{s:s, s:O, s:O, s:s}", "name", name, "written",
                                                                  json_object_get(entry, "value"), "found", found,
                                                                  "decision", json_text_of(entry, "decision")));
}

static int check_entry(const struct rules *rules, enum side side, const json_t *values, const char *name,
                       const json_t *entry, const char *at, struct ledger_findings *findings)
{
    const struct rule_field *field = rules_field(rules, name);
    json_auto_t *found = field == NULL ? NULL : rule_field_value(field, side, values);

    if (found == NULL)
        return 0; /* the rules have lost the field, or the side says nothing of it */
    if (json_same(found, json_object_get(entry, "value"))) {
        findings->echoes++;
        return 0;
    }
    return is_within_window(json_text_of(entry, "at"), at) ? note_near_miss(findings, name, entry, found) : 0;
}

int ledger_check(struct deal *deal, const struct rules *rules, enum side side, const json_t *values, const char *at,
                 bool is_ordered, struct ledger_findings *ret_findings, struct error *err)
{
    json_t *entries = json_object_get(deal->ledger, side_name(side));
    struct ledger_findings findings = {0};
    const char *name;
    json_t *entry;
    void *next;

    json_object_foreach_safe (entries, next, name, entry) {
        if (!is_ordered && is_before(at, json_text_of(entry, "at")))
            continue;
        if (check_entry(rules, side, values, name, entry, at, &findings) < 0) {
            json_decref(findings.near_misses);
            return error_no_memory(err);
        }
        (void)json_object_del(entries, name);
    }
    drop_when_empty(deal, side);
    *ret_findings = findings;
    return 0;
}
