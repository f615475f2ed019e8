#include "mapper/ledger.h"

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/base/timestamp.h"

int ledger_note(struct deal *deal, enum side side, const json_t *fields, const char *decision_id, const char *at,
                struct error *err)
{
    json_t *entries = json_object();

    for (size_t i = 0; i < json_array_size(fields); i++) {
        const char *name = json_text_of(json_array_get(fields, i), "name");
        json_t *value = json_object_get(deal->base[side], name);
        if (value == NULL)
            continue; /* a link: no field of the rules */
        if (json_object_set_new(entries, name,
                                json_pack("{s:O, s:s, s:s}", "value", value, "decision", decision_id, "at", at)) < 0) {
            json_decref(entries);
            return error_no_memory(err);
        }
    }
    if (json_object_size(entries) == 0) {
        json_decref(entries);
        return 0;
    }
    if (deal->ledger == NULL)
        deal->ledger = json_object();
    return json_object_set_new(deal->ledger, side_name(side), entries) < 0 ? error_no_memory(err) : 0;
}

size_t ledger_count(const struct rules *rules, const json_t *fields)
{
    size_t count = 0;

    for (size_t i = 0; i < json_array_size(fields); i++)
        count += rules_field(rules, json_text_of(json_array_get(fields, i), "name")) != NULL;
    return count;
}

static bool is_within_window(const char *written_at, const char *read_at)
{
    struct timestamp written, read;

    return written_at != NULL && timestamp_parse(written_at, true, &written) && timestamp_parse(read_at, true, &read) &&
           timestamp_compare(read, timestamp_add_ms(written, LEDGER_WINDOW_MS)) <= 0;
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

int ledger_check(struct deal *deal, const struct rules *rules, enum side side, const json_t *documents, const char *at,
                 struct ledger_findings *ret_findings, struct error *err)
{
    json_t *entries = json_object_get(deal->ledger, side_name(side));
    json_auto_t *values = entries == NULL ? NULL : deal_values_of(rules, side, documents);
    struct ledger_findings findings = {0};
    const char *name;
    json_t *entry;

    if (entries == NULL) {
        *ret_findings = findings;
        return 0;
    }
    if (values == NULL)
        return error_no_memory(err);
    json_object_foreach (entries, name, entry) {
        if (check_entry(rules, side, values, name, entry, at, &findings) < 0) {
            json_decref(findings.near_misses);
            return error_no_memory(err);
        }
    }
    (void)json_object_del(deal->ledger, side_name(side));
    if (json_object_size(deal->ledger) == 0) {
        json_decref(deal->ledger);
        deal->ledger = NULL;
    }
    *ret_findings = findings;
    return 0;
}
