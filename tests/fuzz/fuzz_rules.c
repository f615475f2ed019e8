/* A text is rules or has at least one error; rules that load can map anything without falling over. */
#include <stdint.h>
#include <stdlib.h>

#include "common/base/json.h"
#include "mapper/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Of each kind one, as every path of a side. */
static void map_everything(const struct rules *rules)
{
    json_t *samples[] = {json_null(),
                         json_true(),
                         json_integer(-7),
                         json_string(""),
                         json_string("2026-09-30T00:00:00Z"),
                         json_string("DE \xF0\x9F\x98\x80 1.5"),
                         json_array(),
                         json_object(),
                         json_pack("[{s:s, s:i}, {s:n}, {}]", "id", "x", "price", 1, "id"),
                         json_pack("[[{s:s}], n, s, {}]", "id", "x", "y")};

    for (size_t i = 0; i < ARRAY_LENGTH(samples); i++) {
        json_t *values[SIDE_COUNT] = {json_object(), json_object()};
        for (size_t k = 0; k < rules->field_count * SIDE_COUNT; k++) {
            const struct rule_field *field = &rules->fields[k / SIDE_COUNT];
            const enum side target = (enum side)(k % SIDE_COUNT), source = side_other(target);
            struct error err = ERROR_INIT;
            json_t *value, *mapped = NULL;
            for (size_t path = 0; path < field->path_count[source]; path++) {
                if (json_object_set(values[source], field->paths[source][path], samples[i]) < 0)
                    abort();
            }
            value = rule_field_value(field, source, values[source]);
            if (value != NULL && rule_field_map(rules, field, target, value, &mapped, &err) < 0 &&
                (mapped != NULL || err.class != ERROR_POISON))
                abort();
            if (mapped != NULL && rule_field_spread(field, target, mapped, values[target]) < 0)
                abort();
            json_decref(mapped);
            json_decref(value);
        }
        json_decref(values[SIDE_PARTNER_CENTER]);
        json_decref(values[SIDE_CRM]);
        json_decref(samples[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    struct text printed;
    text_init(&printed, 1024 * 1024);
    const struct source *source = diagnostics_add_source(&diagnostics, "fuzz.yaml", (const char *)data, size);
    if (source == NULL)
        abort();
    struct rules *rules = rules_load(&diagnostics, source);
    if ((rules == NULL) != (diagnostics.error_count > 0) || diagnostics_print(&diagnostics, &printed) < 0)
        abort();
    if (rules != NULL)
        map_everything(rules);
    rules_free(rules);
    text_done(&printed);
    diagnostics_done(&diagnostics);
    return 0;
}
