#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "mapper/rules.h"
#include "tests/support/allocation.h"
#include "tests/support/parse.h"

#define ERROR_CASES   "tests/cases/rules-errors/"
#define DEFAULT_RULES "deploy/rules/dynamics-365.yaml"
#define HEAD                \
    "version: 1\n"          \
    "crm: dynamics-365\n"   \
    "record: opportunity\n" \
    "identity: {identifier: msft_id, sync: msft_sync}\n"

enum { FILE_BYTES_MAX = 256 * 1024 };

static char *read_file(const char *path, size_t *ret_length)
{
    char *bytes = malloc(FILE_BYTES_MAX);
    FILE *file = fopen(path, "rb");
    assert_non_null(bytes);
    if (file == NULL)
        fail_msg("%s: cannot be opened", path);
    *ret_length = fread(bytes, 1, FILE_BYTES_MAX - 1, file);
    bytes[*ret_length] = '\0';
    (void)fclose(file);
    return bytes;
}

static struct rules *load(struct diagnostics *diagnostics, const char *text)
{
    const struct source *source = diagnostics_add_source(diagnostics, "rules.yaml", text, strlen(text));
    assert_non_null(source);
    return rules_load(diagnostics, source);
}

/* Without diagnostics; fields keep no use for them. */
static struct rules *load_good(const char *text)
{
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    struct rules *rules = load(&diagnostics, text);
    if (rules == NULL || diagnostics.error_count + diagnostics.warning_count > 0)
        fail_msg("%s", diagnostics_message(&diagnostics, 0, NULL));
    diagnostics_done(&diagnostics);
    return rules;
}

/* Steals `json`. */
static void assert_json(json_t *json, const char *wanted_text)
{
    json_t *wanted = parse(wanted_text);
    if (!json_same(json, wanted)) {
        char *shown = json == NULL ? NULL : json_write(json, true, NULL);
        fail_msg("%s instead of %s", shown == NULL ? "nothing" : shown, wanted_text);
    }
    json_decref(json);
    json_decref(wanted);
}

static const struct rule_field *field_of(const struct rules *rules, const char *name)
{
    for (size_t i = 0; i < rules->field_count; i++) {
        if (strcmp(rules->fields[i].name, name) == 0)
            return &rules->fields[i];
    }
    fail_msg("no field %s", name);
    return NULL;
}

/* -- loading ------------------------------------------------------------------------------------------------------- */

static void check_error_case(const char *name, size_t length)
{
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    char path[512];
    size_t count, expected_count;
    struct text printed;

    (void)snprintf(path, sizeof(path), ERROR_CASES "%.*s.yaml", (int)length, name);
    char *bytes = read_file(path, &count);
    (void)snprintf(path, sizeof(path), ERROR_CASES "%.*s.expected", (int)length, name);
    char *expected = read_file(path, &expected_count);
    (void)snprintf(path, sizeof(path), "%.*s.yaml", (int)length, name);

    assert_null(rules_load(&diagnostics, diagnostics_add_source(&diagnostics, path, bytes, count)));
    assert_true(diagnostics.error_count > 0);
    text_init(&printed, FILE_BYTES_MAX);
    assert_int_equal(diagnostics_print(&diagnostics, &printed), 0);
    assert_string_equal(text_string(&printed), expected);
    text_done(&printed);
    diagnostics_done(&diagnostics);
    free(expected);
    free(bytes);
}

/* Everything that is wrong in a rule file is said at once, each at its place. */
static void test_wrong_files_are_told_exactly(void **state)
{
    (void)state;
    DIR *folder = opendir(ERROR_CASES);
    size_t count = 0;
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        const char *end = strstr(entry->d_name, ".yaml");
        if (end == NULL)
            continue;
        check_error_case(entry->d_name, (size_t)(end - entry->d_name));
        count++;
    }
    (void)closedir(folder);
    assert_true(count >= 15);
}

/* What is unwise but not wrong is said without refusing the file. */
static void test_warnings_do_not_refuse(void **state)
{
    (void)state;
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    struct rules *rules =
        load(&diagnostics, HEAD "fields:\n"
                                "  - {name: a, partner_center: a, crm: a, direction: to-crm, conflict: crm}\n"
                                "tables:\n"
                                "  spare: {rows: [{partner_center: red, crm: 1}]}\n");
    assert_non_null(rules);
    assert_int_equal(diagnostics.warning_count, 2);
    assert_string_equal(diagnostics_message(&diagnostics, 0, NULL),
                        "rules.yaml:6:71: warning: a field written in one direction only has no conflicts");
    assert_string_equal(diagnostics_message(&diagnostics, 1, NULL),
                        "rules.yaml:8:3: warning: no field uses the table 'spare'");
    rules_free(rules);
    diagnostics_done(&diagnostics);
}

/* A file beyond the bounds of YAML is refused with its place, not read. */
static void test_depth_is_bounded(void **state)
{
    (void)state;
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    char text[512];
    (void)snprintf(text, sizeof(text), HEAD "fields: %.*s", 100,
                   "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["
                   "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[");
    assert_null(load(&diagnostics, text));
    assert_string_equal(diagnostics_message(&diagnostics, 0, NULL), "rules.yaml:5:40: error: nested more than 32 deep");
    diagnostics_done(&diagnostics);
}

/* What a field says, and what holds where it says nothing. */
static void test_fields_are_read(void **state)
{
    (void)state;
    struct rules *rules = load_good(
        HEAD "fields:\n"
             "  - {name: plain, partner_center: a, crm: a}\n"
             "  - name: full\n"
             "    partner_center: [b, c.d]\n"
             "    crm: [b, c]\n"
             "    on: {to-crm: [create], to-partner-center: [update]}\n"
             "    required: to-crm\n"
             "    conflict: manual\n"
             "    table: t\n"
             "  - {name: only_read, partner_center: microsoft.status, crm: d, direction: to-crm, on: create}\n"
             "  - {name: fixed, crm: e, to_crm: {constant: 1}}\n"
             "tables:\n"
             "  t: {rows: [{partner_center: [x, y], crm: [1, 2]}]}\n");
    const struct rule_field *plain = field_of(rules, "plain");
    const struct rule_field *full = field_of(rules, "full");
    const struct rule_field *only_read = field_of(rules, "only_read");
    const struct rule_field *fixed = field_of(rules, "fixed");

    assert_string_equal(rules->crm, "dynamics-365");
    assert_string_equal(rules->record_type, "opportunity");
    assert_string_equal(rules->identifier_column, "msft_id");
    assert_string_equal(rules->sync_column, "msft_sync");
    assert_null(rules->audit_column);
    assert_false(rules->link_waits_for_acceptance);
    for (int side = 0; side < SIDE_COUNT; side++) {
        assert_true(plain->is_written_on_create[side] && plain->is_written_on_update[side]);
        assert_false(plain->is_required_on_create[side]);
        assert_null(plain->transform[side]);
        assert_int_equal(full->path_count[side], 2);
        assert_non_null(full->transform[side]);
    }
    assert_int_equal(plain->policy, POLICY_PARTNER_CENTER);
    assert_int_equal(full->policy, POLICY_MANUAL);
    assert_true(full->is_written_on_create[SIDE_CRM] && full->is_required_on_create[SIDE_CRM]);
    assert_false(full->is_written_on_update[SIDE_CRM] || full->is_written_on_create[SIDE_PARTNER_CENTER]);
    assert_true(full->is_written_on_update[SIDE_PARTNER_CENTER]);
    assert_false(full->is_required_on_create[SIDE_PARTNER_CENTER]);
    assert_true(only_read->is_written_on_create[SIDE_CRM]);
    assert_false(only_read->is_written_on_update[SIDE_CRM] || only_read->is_written_on_create[SIDE_PARTNER_CENTER] ||
                 only_read->is_written_on_update[SIDE_PARTNER_CENTER]);
    assert_int_equal(fixed->path_count[SIDE_PARTNER_CENTER], 0);
    assert_false(fixed->is_written_on_update[SIDE_PARTNER_CENTER]);
    assert_int_equal(full->position.line, 7);
    rules_free(rules);
}

/* The version is the file's digest: any other byte is another version. */
static void test_version_follows_the_bytes(void **state)
{
    (void)state;
    static const char text[] = HEAD "fields: [{name: a, partner_center: a, crm: a}]\n";
    static const char other_text[] = HEAD "fields: [{name: a, partner_center: a, crm: a}] #\n";
    struct rules *rules = load_good(text), *again = load_good(text), *other = load_good(other_text);
    assert_int_equal(strlen(rules->version), 16);
    assert_int_equal(strspn(rules->version, "0123456789abcdef"), 16);
    assert_string_equal(rules->version, again->version);
    assert_string_not_equal(rules->version, other->version);
    rules_free(rules);
    rules_free(again);
    rules_free(other);
}

/* All paths that are read, once each, sorted, with those the merge itself reads. */
static void test_paths_of_a_side(void **state)
{
    (void)state;
    static const char *const partner_center[] = {
        "details.dealValue", "direction", "engagementId", "externalReferenceId", "id",
        "microsoft.status",  "status",    "statusReason", "substatus",           "type"};
    static const char *const crm[] = {"accountid.name", "msft_id", "msft_sync", "state", "value"};
    struct rules *rules =
        load_good(HEAD "select: {partner_center: {type: Shared, status: New}, crm: {msft_sync: true}}\n"
                       "closed: {crm: {state: [1, 2]}}\n"
                       "fields:\n"
                       "  - {name: a, partner_center: details.dealValue, crm: value}\n"
                       "  - {name: b, partner_center: microsoft.status, crm: accountid.name, direction: to-crm}\n"
                       "lookups: {accountid: {entity: account, match: [name]}}\n");

    assert_int_equal(rules->path_count[SIDE_PARTNER_CENTER], ARRAY_LENGTH(partner_center));
    for (size_t i = 0; i < ARRAY_LENGTH(partner_center); i++)
        assert_string_equal(rules->paths[SIDE_PARTNER_CENTER][i], partner_center[i]);
    assert_int_equal(rules->path_count[SIDE_CRM], ARRAY_LENGTH(crm));
    for (size_t i = 0; i < ARRAY_LENGTH(crm); i++)
        assert_string_equal(rules->paths[SIDE_CRM][i], crm[i]);
    assert_json(json_incref(rules->lookups),
                "{\"accountid\": {\"entity\": \"account\", \"match\": [\"name\"], \"create\": false}}");
    assert_json(json_incref(rules->select[SIDE_PARTNER_CENTER]), "{\"type\": [\"Shared\"], \"status\": [\"New\"]}");
    assert_json(json_incref(rules->select[SIDE_CRM]), "{\"msft_sync\": [true]}");
    assert_json(json_incref(rules->is_closed[SIDE_CRM]), "{\"state\": [1, 2]}");
    assert_null(rules->is_closed[SIDE_PARTNER_CENTER]);
    rules_free(rules);
}

/* Columns whose values count, each with its first place in the file; those only written to a new record are not among
 * them. */
static void test_columns_that_have_to_be_read(void **state)
{
    (void)state;
    static const char text[] = "version: 1\n"
                               "crm: dynamics-365\n"
                               "record: opportunity\n"
                               "identity: {identifier: msft_id, sync: msft_sync, audit: msft_audit}\n"
                               "select: {partner_center: {type: Shared}, crm: {msft_sync: true, owner: 1}}\n"
                               "closed: {crm: {state: [1, 2]}}\n"
                               "fields:\n"
                               "  - {name: a, partner_center: [p, q], crm: [state, reason], direction: to-crm}\n"
                               "  - {name: b, partner_center: r, crm: made, direction: to-crm, on: [create]}\n"
                               "  - {name: c, partner_center: s, crm: sent, direction: to-partner-center, on: create}\n"
                               "  - {name: d, partner_center: t, crm: both, on: {to-crm: create}}\n";
    static const struct {
        const char *name;
        size_t line, column;
    } wanted[] = {{"msft_id", 4, 24}, {"msft_sync", 4, 39}, {"msft_audit", 4, 57}, {"owner", 5, 65},
                  {"state", 6, 16},   {"reason", 8, 52},    {"sent", 10, 39},      {"both", 11, 39}};
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    struct rules *rules = load(&diagnostics, text);

    assert_non_null(rules);
    assert_int_equal(rules->column_count, ARRAY_LENGTH(wanted));
    for (size_t i = 0; i < ARRAY_LENGTH(wanted); i++) {
        assert_string_equal(rules->columns[i].name, wanted[i].name);
        assert_int_equal(rules->columns[i].position.line, wanted[i].line);
        assert_int_equal(rules->columns[i].position.column, wanted[i].column);
    }
    rules_free(rules);
    diagnostics_done(&diagnostics);
}

/* Whichever allocation fails, loading fails with an error, and nothing leaks. */
static void test_every_failed_allocation_is_survived(void **state)
{
    (void)state;
    static const char text[] = HEAD
        "select: {partner_center: {type: [Shared]}}\n"
        "fields:\n"
        "  - {name: a, partner_center: [a, b], crm: [c, d], table: t, when: {a: [1.5, x]}}\n"
        "  - {name: b, partner_center: [e, f], crm: g.h, direction: to-crm, transform: {template: \"{0} [{f}]\"}}\n"
        "  - {name: c, partner_center: i, crm: i, transform: {choice: {labels: {One: 1, Two: 2}}}}\n"
        "  - {name: d, partner_center: j, crm: j, transform: [{date: {zone: UTC}}]}\n"
        "  - {name: e, partner_center: \"k[]{id,type}\", crm: \"rows[]{n, p.q}\", direction: to-partner-center,\n"
        "     when: {\"rows[]\": present},\n"
        "     transform: [{unique: n}, {list: {members: {id: p.q}, with: {type: X}, needs: [id]}}]}\n"
        "  - {name: f, partner_center: \"l[]{id,type}\", crm: [m@label, \"n\"], transform: {tag: [A, B]}}\n"
        "lookups: {g: {entity: account, match: [h]}}\n"
        "tables: {t: {rows: [{partner_center: [x, y], crm: [1, 2]}, {partner_center: leave, crm: [1, 3]}]}}\n";
    bool has_failed = true;
    for (unsigned n = 1; has_failed; n++) {
        struct diagnostics diagnostics = DIAGNOSTICS_INIT;
        const struct source *source = diagnostics_add_source(&diagnostics, "rules.yaml", text, strlen(text));
        allocation_fail_at(n);
        struct rules *rules = rules_load(&diagnostics, source);
        has_failed = allocation_has_failed();
        allocation_fail_at(0);
        if ((rules == NULL) != has_failed || (diagnostics.error_count > 0) != has_failed)
            fail_msg("allocation %u: %s", n, diagnostics_message(&diagnostics, 0, NULL));
        rules_free(rules);
        diagnostics_done(&diagnostics);
    }
}

/* -- values -------------------------------------------------------------------------------------------------------- */

static const char two_sides[] = HEAD "fields:\n"
                                     "  - {name: one, partner_center: a, crm: a}\n"
                                     "  - {name: two, partner_center: [b, c], crm: [b, c], table: t}\n"
                                     "  - {name: none, crm: d, to_crm: {constant: 7}}\n"
                                     "tables: {t: {rows: [{partner_center: [x, y], crm: [1, 2]}, {partner_center: [z, "
                                     "null], crm: leave}]}}\n";

static void assert_value(const struct rules *rules, const char *name, enum side side, const char *values_text,
                         const char *wanted)
{
    json_t *values = parse(values_text);
    json_t *value = rule_field_value(field_of(rules, name), side, values);
    if (wanted == NULL)
        assert_null(value);
    else
        assert_json(value, wanted);
    json_decref(values);
}

/* At Partner Center null and absent are unknown; in the CRM null is a value and only absent is unknown; the empty text is
 * a value on both. */
static void test_empty_null_and_absent_are_three_things(void **state)
{
    (void)state;
    struct rules *rules = load_good(two_sides);
    assert_value(rules, "one", SIDE_PARTNER_CENTER, "{\"a\": \"x\"}", "\"x\"");
    assert_value(rules, "one", SIDE_PARTNER_CENTER, "{\"a\": \"\"}", "\"\"");
    assert_value(rules, "one", SIDE_PARTNER_CENTER, "{\"a\": null}", NULL);
    assert_value(rules, "one", SIDE_PARTNER_CENTER, "{}", NULL);
    assert_value(rules, "one", SIDE_CRM, "{\"a\": \"\"}", "\"\"");
    assert_value(rules, "one", SIDE_CRM, "{\"a\": null}", "null");
    assert_value(rules, "one", SIDE_CRM, "{}", NULL);
    assert_value(rules, "two", SIDE_PARTNER_CENTER, "{\"b\": \"x\"}", "[\"x\", null]");
    assert_value(rules, "two", SIDE_PARTNER_CENTER, "{\"b\": null, \"c\": null}", NULL);
    assert_value(rules, "two", SIDE_CRM, "{\"b\": null, \"c\": null}", "[null, null]");
    assert_value(rules, "two", SIDE_CRM, "{\"b\": 1}", NULL);
    assert_value(rules, "none", SIDE_PARTNER_CENTER, "{}", "null");
    rules_free(rules);
}

static void assert_maps(const struct rules *rules, const char *name, enum side target, const char *value_text,
                        const char *wanted)
{
    struct error err = ERROR_INIT;
    json_t *value = parse(value_text);
    json_t *mapped = NULL;
    if (rule_field_map(rules, field_of(rules, name), target, value, &mapped, &err) < 0)
        fail_msg("%s", err.message);
    if (wanted == NULL)
        assert_null(mapped);
    else
        assert_json(mapped, wanted);
    json_decref(value);
}

static void assert_does_not_map(const struct rules *rules, const char *name, enum side target, const char *value_text,
                                const char *message)
{
    struct error err = ERROR_INIT;
    json_t *value = parse(value_text);
    json_t *mapped = NULL;
    assert_int_equal(rule_field_map(rules, field_of(rules, name), target, value, &mapped, &err), -1);
    assert_int_equal(err.class, ERROR_POISON);
    assert_string_equal(err.code, "rules.unmappable");
    assert_string_equal(err.message, message);
    assert_null(mapped);
    json_decref(value);
}

/* A value goes through the field's chain; a row may say that nothing is written. */
static void test_values_are_mapped(void **state)
{
    (void)state;
    struct rules *rules = load_good(two_sides);
    assert_maps(rules, "one", SIDE_CRM, "12.50", "12.5");
    assert_maps(rules, "two", SIDE_CRM, "[\"X\", \"y\"]", "[1, 2]");
    assert_maps(rules, "two", SIDE_PARTNER_CENTER, "[1, 2]", "[\"x\", \"y\"]");
    assert_maps(rules, "two", SIDE_CRM, "[\"z\", null]", NULL);
    assert_maps(rules, "two", SIDE_PARTNER_CENTER, "[null, null]", "null");
    assert_maps(rules, "none", SIDE_CRM, "null", "7");
    rules_free(rules);
}

/* An error names field and paths, and of the value only what is not personal. */
static void test_unmappable_values_are_told_without_personal_data(void **state)
{
    (void)state;
    struct rules *rules = load_good(two_sides);
    assert_does_not_map(rules, "two", SIDE_CRM, "[\"x\", \"jane@example.com\"]",
                        "field 'two' (b, c): ['x', a text of 16 characters] is not in the table 't'");
    assert_does_not_map(rules, "two", SIDE_PARTNER_CENTER, "[1, 3]",
                        "field 'two' (b, c): [1, 3] is not in the table 't'");
    rules_free(rules);
}

/* A condition looks at the side that is read, and only there. */
static void test_conditions_of_a_field(void **state)
{
    (void)state;
    struct rules *rules = load_good(HEAD "fields:\n"
                                         "  - {name: shared, partner_center: a, crm: b, when: {b: [true]}}\n"
                                         "  - {name: many, partner_center: [c, d], crm: e, direction: to-crm,\n"
                                         "     when: {c: [Active, Closed], d: [null]}, transform: first}\n");
    assert_maps(rules, "shared", SIDE_PARTNER_CENTER, "true", "true");
    assert_maps(rules, "shared", SIDE_PARTNER_CENTER, "false", NULL);
    assert_maps(rules, "shared", SIDE_PARTNER_CENTER, "null", NULL);
    assert_maps(rules, "shared", SIDE_CRM, "false", "false");
    assert_maps(rules, "many", SIDE_CRM, "[\"active\", null]", "\"active\"");
    assert_maps(rules, "many", SIDE_CRM, "[\"Active\", 1]", NULL);
    assert_maps(rules, "many", SIDE_CRM, "[\"New\", null]", NULL);
    rules_free(rules);
}

/* A value goes under the path it came for, several under theirs, null under all. */
static void test_values_are_spread(void **state)
{
    (void)state;
    struct rules *rules = load_good(two_sides);
    json_t *write = json_object();
    json_t *pair = parse("[1, 2]");
    json_t *nothing = json_null();
    assert_int_equal(rule_field_spread(field_of(rules, "two"), SIDE_CRM, pair, write), 0);
    assert_int_equal(rule_field_spread(field_of(rules, "one"), SIDE_CRM, pair, write), 0);
    assert_json(json_incref(write), "{\"b\": 1, \"c\": 2, \"a\": [1, 2]}");
    assert_int_equal(rule_field_spread(field_of(rules, "two"), SIDE_CRM, nothing, write), 0);
    assert_json(write, "{\"b\": null, \"c\": null, \"a\": [1, 2]}");
    json_decref(pair);
    rules_free(rules);
}

static bool hold(const char *conditions_text, const char *values_text, bool all)
{
    json_t *conditions = conditions_text == NULL ? NULL : parse(conditions_text);
    json_t *values = parse(values_text);
    bool is_held = rules_hold(conditions, values, all);
    json_decref(conditions);
    json_decref(values);
    return is_held;
}

/* All or one of the conditions; any value of a list; texts without regard to case, types as they are. */
static void test_conditions_hold(void **state)
{
    (void)state;
    static const char both[] = "{\"type\": [\"Independent\", \"Shared\"], \"state\": [0, 1]}";
    assert_true(hold(both, "{\"type\": \"shared\", \"state\": 1.0}", true));
    assert_false(hold(both, "{\"type\": \"shared\", \"state\": 2}", true));
    assert_true(hold(both, "{\"type\": \"shared\", \"state\": 2}", false));
    assert_false(hold(both, "{\"type\": \"other\"}", false));
    assert_false(hold(both, "{\"type\": \"shared\", \"state\": \"1\"}", true));
    assert_true(hold("{\"a\": [null]}", "{}", true));
    assert_true(hold("{\"a\": [null]}", "{\"a\": null}", true));
    assert_false(hold("{\"a\": [null]}", "{\"a\": \"\"}", true));
    assert_true(hold("{\"a\": [true]}", "{\"a\": true}", true));
    assert_true(hold(NULL, "{}", true));
    assert_false(hold(NULL, "{}", false));
}

/* The word `present` stands for any value that says something; in quotes it is a text. */
static void test_conditions_of_presence(void **state)
{
    (void)state;
    struct rules *rules = load_good(
        HEAD "select: {crm: {help@label: present, \"rows[]{id, price}\": [present, null], word: \"present\"}}\n"
             "fields:\n"
             "  - {name: a, partner_center: a, crm: b, when: {b: present, a: [present, null]}}\n");
    json_t *select = rules->select[SIDE_CRM];
    json_t *values = parse("{\"help@label\": \"Quotes\", \"rows[]{id,price}\": [{\"id\": 1}], \"word\": \"Present\"}");
    assert_true(rules_hold(select, values, true));
    assert_int_equal(json_object_set_new(values, "rows[]{id,price}", json_array()), 0);
    assert_false(rules_hold(select, values, true));
    assert_int_equal(json_object_set_new(values, "rows[]{id,price}", json_null()), 0);
    assert_true(rules_hold(select, values, true));
    assert_int_equal(json_object_set_new(values, "help@label", json_string("")), 0);
    assert_false(rules_hold(select, values, true));
    assert_int_equal(json_object_set_new(values, "help@label", json_false()), 0);
    assert_false(rules_hold(select, values, true));
    json_decref(values);
    assert_maps(rules, "a", SIDE_PARTNER_CENTER, "0", "0");
    assert_maps(rules, "a", SIDE_PARTNER_CENTER, "\"\"", NULL);
    assert_maps(rules, "a", SIDE_PARTNER_CENTER, "false", NULL);
    assert_maps(rules, "a", SIDE_CRM, "\"x\"", "\"x\"");
    rules_free(rules);
}

/* What is written names the path without its members, in the order in which it would be read. */
static void test_lists_are_mapped_and_spread(void **state)
{
    (void)state;
    struct rules *rules =
        load_good(HEAD "fields:\n"
                       "  - name: solutions\n"
                       "    partner_center: details.solutions[]{id, price, type}\n"
                       "    crm: rows[]{price, product.number}\n"
                       "    direction: to-partner-center\n"
                       "    transform: {list: {members: {id: product.number, price: price}, with: {type: Name}}}\n"
                       "  - {name: help, partner_center: help, crm: help@label}\n");
    const struct rule_field *solutions = field_of(rules, "solutions");
    json_t *write = json_object();
    json_t *label = json_string("Quotes"), *list = parse("[{\"id\": \"b\"}, {\"id\": \"a\", \"price\": 2}]");
    assert_string_equal(solutions->paths[SIDE_CRM][0], "rows[]{price,product.number}");
    assert_maps(rules, "solutions", SIDE_PARTNER_CENTER,
                "[{\"product.number\": \"b\", \"price\": 1}, {\"product.number\": \"a\"}]",
                "[{\"id\": \"a\", \"type\": \"Name\"}, {\"id\": \"b\", \"price\": 1, \"type\": \"Name\"}]");
    assert_int_equal(rule_field_spread(solutions, SIDE_PARTNER_CENTER, list, write), 0);
    assert_int_equal(rule_field_spread(field_of(rules, "help"), SIDE_CRM, label, write), 0);
    assert_json(write, "{\"details.solutions\": [{\"id\": \"b\"}, {\"id\": \"a\", \"price\": 2}],"
                       " \"help@label\": \"Quotes\"}");
    json_decref(list);
    json_decref(label);
    rules_free(rules);
}

#define ROWS                      \
    "rows:\n"                     \
    "  rows:\n"                   \
    "    entity: my_row\n"        \
    "    parent: opportunityid\n" \
    "    lookups: {product: {entity: my_product, entity_set: my_productset, match: [number], create: true}}\n"

/* Rows made with a new record are a list under their name; how they are made is told beside it. What lacks what is needed,
 * or is about something else, becomes no row. */
static void test_rows_of_a_new_record(void **state)
{
    (void)state;
    struct rules *rules = load_good(
        HEAD
        "fields:\n"
        "  - name: rows\n"
        "    partner_center: \"details.solutions[]{id, price, type}\"\n"
        "    crm: \"rows[]{price, product.number}\"\n"
        "    direction: to-crm\n"
        "    on: [create]\n"
        "    to_crm: {list: {members: {id: product.number, price: price}, with: {type: Name}, needs: [id]}}\n" ROWS);
    json_t *write = json_object(), *list = parse("[{\"product.number\": \"a\"}]");
    assert_json(json_incref(rules->rows),
                "{\"rows\": {\"entity\": \"my_row\", \"parent\": \"opportunityid\", \"lookups\":"
                " {\"product\": {\"entity\": \"my_product\", \"entity_set\": \"my_productset\","
                " \"match\": [\"number\"], \"create\": true}}}}");
    assert_maps(rules, "rows", SIDE_CRM,
                "[{\"id\": \"b\", \"price\": 1, \"type\": \"Name\"}, {\"price\": 2, \"type\": \"Name\"},"
                " {\"id\": \"c\", \"type\": \"Category\"}, {\"id\": \"a\", \"type\": \"Name\"}]",
                "[{\"price\": 1, \"product.number\": \"b\"}, {\"product.number\": \"a\"}]");
    assert_int_equal(rule_field_spread(field_of(rules, "rows"), SIDE_CRM, list, write), 0);
    assert_json(write, "{\"rows\": [{\"product.number\": \"a\"}]}");
    json_decref(list);
    rules_free(rules);
}

/* Rows that no field writes, where the field was taken away, are told and harmless. */
static void test_rows_without_a_field(void **state)
{
    (void)state;
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    struct rules *rules = load(&diagnostics, HEAD "fields: [{name: a, partner_center: a, crm: a}]\n" ROWS);
    assert_non_null(rules);
    assert_string_equal(diagnostics_message(&diagnostics, 0, NULL),
                        "rules.yaml:7:3: warning: no field writes the rows of 'rows'");
    rules_free(rules);
    diagnostics_done(&diagnostics);
}

/* Whoever reads the CRM is told flat columns, each once. */
static void test_columns_are_flat(void **state)
{
    (void)state;
    static const char *const wanted[] = {
        "contact.email", "contact.name",        "help@label",   "msft_id",
        "msft_sync",     "rows[].product.name", "rows[].price", "rows[].product.number"};
    struct rules *rules =
        load_good(HEAD "fields:\n"
                       "  - {name: a, partner_center: a, crm: help@label}\n"
                       "  - {name: b, partner_center: \"b[]{id}\", crm: \"rows[]{price,product.number}\",\n"
                       "     direction: to-partner-center, transform: {list: {members: {id: price}}}}\n"
                       "  - {name: c, partner_center: \"c[]{id}\", crm: \"rows[]{price,product.name}\",\n"
                       "     direction: to-partner-center, transform: {list: {members: {id: price}}}}\n"
                       "  - {name: d, partner_center: d, crm: \"contact{name,email}\", direction: to-partner-center}\n"
                       "  - {name: e, partner_center: e, crm: contact.email, direction: to-partner-center}\n");
    assert_int_equal(rules->column_count, ARRAY_LENGTH(wanted));
    for (size_t i = 0; i < rules->column_count; i++) {
        size_t found = 0;
        for (size_t k = 0; k < ARRAY_LENGTH(wanted); k++)
            found += strcmp(wanted[k], rules->columns[i].name) == 0;
        if (found != 1)
            fail_msg("%s", rules->columns[i].name);
    }
    rules_free(rules);
}

/* Microsoft's own referral is read under a name of its own. */
static void test_paths_of_microsoft(void **state)
{
    (void)state;
    assert_true(rule_path_is_of_microsoft("microsoft.status"));
    assert_false(rule_path_is_of_microsoft("microsoftMsxId"));
    assert_string_equal(side_name(SIDE_CRM), "crm");
    assert_string_equal(side_name(SIDE_PARTNER_CENTER), "partner-center");
}

/* -- the default rules --------------------------------------------------------------------------------------------- */

static json_t *map_all(const struct rules *rules, enum side target, bool is_creation, const char *values_text)
{
    const enum side source = side_other(target);
    struct error err = ERROR_INIT;
    json_t *values = parse(values_text);
    json_t *write = json_object();

    for (size_t i = 0; i < rules->field_count; i++) {
        const struct rule_field *field = &rules->fields[i];
        json_t *value, *mapped;
        if (!(is_creation ? field->is_written_on_create : field->is_written_on_update)[target])
            continue;
        value = rule_field_value(field, source, values);
        if (value == NULL)
            continue;
        if (rule_field_map(rules, field, target, value, &mapped, &err) < 0)
            fail_msg("%s", err.message);
        if (mapped != NULL)
            assert_int_equal(rule_field_spread(field, target, mapped, write), 0);
        json_decref(mapped);
        json_decref(value);
    }
    json_decref(values);
    return write;
}

static struct rules *load_default(void)
{
    size_t length;
    char *bytes = read_file(DEFAULT_RULES, &length);
    struct rules *rules = load_good(bytes);
    free(bytes);
    return rules;
}

static const char referral[] =
    "{\"id\": \"5a1f\", \"name\": \"Fabrikam rollout\", \"status\": \"Active\", \"substatus\": \"Accepted\","
    " \"details.dealValue\": \"50000.005\", \"details.currency\": \"eur\","
    " \"details.closingDateTime\": \"2026-09-30T00:00:00.0000000Z\", \"details.notes\": \"Hello\","
    " \"consent.consentToShareReferralWithMicrosoftSellers\": true, \"referralProgram\": null,"
    " \"microsoft.trackingInfo.microsoftMsxId\": \"7-ABC\", \"microsoft.status\": \"Closed\","
    " \"microsoft.substatus\": \"Declined\", \"microsoft.statusReason\": null,"
    " \"customerProfile.name\": \" Fabrikam \", \"customerProfile.address.postalCode\": \"01234\","
    " \"customerProfile.address.country\": \"de\"}";

/* A new referral becomes an opportunity with its account, its links and the seller's switch. */
static void test_default_rules_create_an_opportunity(void **state)
{
    (void)state;
    struct rules *rules = load_default();
    assert_json(
        map_all(rules, SIDE_CRM, true, referral),
        "{\"name\": \"\xE2\x9C\x94 Fabrikam rollout\", \"estimatedvalue\": 50000,"
        " \"transactioncurrencyid.isocurrencycode\": \"EUR\", \"estimatedclosedate\": \"2026-09-30\","
        " \"description\": \"Hello\", \"statecode\": 0, \"statuscode\": 1, \"msft_microsoftpartnercenterreferralvisible\": true,"
        " \"msft_microsoftpartnercenterreferralidentifier\": \"5a1f\","
        " \"msft_microsoftpartnercenterreferrallink\":"
        " \"https://partner.microsoft.com/referrals/v2/inbox?id=5a1f\","
        " \"msft_microsoftcrmidentifier\": \"7-ABC\", \"msft_microsoftpartnercenterreferralsync\": true,"
        " \"isrevenuesystemcalculated\": false, \"customerid_account.name\": \"Fabrikam\","
        " \"customerid_account.address1_postalcode\": \"01234\", \"customerid_account.address1_country\": \"DE\"}");
    rules_free(rules);
}

/* Later on, what may change is kept the same; the account and the switch are left alone. */
static void test_default_rules_update_the_opportunity(void **state)
{
    (void)state;
    struct rules *rules = load_default();
    assert_json(map_all(rules, SIDE_CRM, false, referral),
                "{\"name\": \"\xE2\x9C\x94 Fabrikam rollout\", \"estimatedvalue\": 50000,"
                " \"transactioncurrencyid.isocurrencycode\": \"EUR\", \"estimatedclosedate\": \"2026-09-30\","
                " \"description\": \"Hello\", \"statecode\": 0, \"statuscode\": 1,"
                " \"msft_microsoftpartnercenterreferralvisible\": true,"
                " \"msft_microsoftpartnercenterreferrallink\":"
                " \"https://partner.microsoft.com/referrals/v2/inbox?id=5a1f\","
                " \"msft_microsoftcrmidentifier\": \"7-ABC\","
                " \"msft_microsoftpartnercenterreferralsyncaudit\": \"Microsoft: Closed / Declined\"}");
    rules_free(rules);
}

/* The seller's edits go back: no name, no mark, nothing that was emptied, a yes but no no. */
static void test_default_rules_update_the_referral(void **state)
{
    (void)state;
    struct rules *rules = load_default();
    assert_json(map_all(rules, SIDE_PARTNER_CENTER, false,
                        "{\"name\": \"\xE2\x9C\x94 Fabrikam\", \"estimatedvalue\": 12500.50,"
                        " \"transactioncurrencyid.isocurrencycode\": \"USD\", \"estimatedclosedate\": \"2026-12-31\","
                        " \"description\": \"Two\", \"statecode\": 2, \"statuscode\": 4,"
                        " \"msft_microsoftpartnercenterhelp@label\": null,"
                        " \"msft_microsoftpartnercenterreferralvisible\": true}"),
                "{\"details.dealValue\": 12500.5, \"details.currency\": \"USD\","
                " \"details.closingDateTime\": \"2026-12-31T00:00:00Z\", \"details.notes\": \"Two\","
                " \"status\": \"Closed\", \"substatus\": \"Lost\","
                " \"consent.consentToShareReferralWithMicrosoftSellers\": true}");
    assert_json(map_all(rules, SIDE_PARTNER_CENTER, false,
                        "{\"name\": null, \"estimatedvalue\": null, \"transactioncurrencyid.isocurrencycode\": null,"
                        " \"estimatedclosedate\": null, \"description\": null, \"statecode\": 0, \"statuscode\": 2,"
                        " \"msft_microsoftpartnercenterhelp@label\": null, \"parentcontactid{firstname,lastname,"
                        "emailaddress1,telephone1}\": null,"
                        " \"msft_microsoftpartnercenterreferralvisible\": false}"),
                "{}");
    assert_json(map_all(rules, SIDE_PARTNER_CENTER, true, "{\"name\": \"\xE2\x9C\x94 Fabrikam\"}"),
                "{\"name\": \"Fabrikam\", \"qualification\": \"SalesQualified\", \"consent.consentToContact\": true,"
                " \"consent.consentToToShareInfoWithOthers\": true}");
    rules_free(rules);
}

/* Every state the reference names has its place in the CRM; one nobody knows is told, never guessed. */
static void test_default_rules_know_every_stage(void **state)
{
    (void)state;
    static const struct {
        const char *stage, *codes;
    } rows[] = {
        {"[\"New\", \"Pending\"]", "[0, 2]"},     {"[\"New\", \"Received\"]", "[0, 2]"},
        {"[\"Active\", \"Accepted\"]", "[0, 1]"}, {"[\"Closed\", \"Won\"]", "[1, 3]"},
        {"[\"Closed\", \"Lost\"]", "[2, 5]"},     {"[\"Closed\", \"Declined\"]", "[2, 4]"},
        {"[\"Closed\", \"Expired\"]", "[2, 4]"},  {"[\"Closed\", \"Error\"]", "[2, 4]"},
        {"[\"None\", \"None\"]", NULL},
    };
    struct rules *rules = load_default();
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++)
        assert_maps(rules, "stage", SIDE_CRM, rows[i].stage, rows[i].codes);
    assert_maps(rules, "stage", SIDE_PARTNER_CENTER, "[0, 1]", "[\"Active\", \"Accepted\"]");
    assert_does_not_map(rules, "stage", SIDE_CRM, "[\"Active\", \"Engaged\"]",
                        "field 'stage' (status, substatus): ['Active', a text of 7 characters] is not in the table "
                        "'deal_stages'");
    rules_free(rules);
}

/* Partner role, solution area and solution play go into the list of the purchase intent, as the rules' comment says. */
static void test_comments_of_the_default_rules_hold(void **state)
{
    (void)state;
    static const char begin[] = "  # - name: purchase_intent\n", end[] = "\n\n";
    size_t length;
    char *bytes = read_file(DEFAULT_RULES, &length);
    const char *comment = strstr(bytes, begin);
    struct text text;

    assert_non_null(comment);
    text_init(&text, FILE_BYTES_MAX);
    assert_int_equal(text_append(&text, HEAD "fields:\n"), 0);
    for (const char *line = comment; strncmp(line, end + 1, 1) != 0; line = strchr(line, '\n') + 1) {
        assert_true(text_starts_with(line, "  # "));
        assert_int_equal(text_appendf(&text, "  %.*s\n", (int)strcspn(line + 4, "\n"), line + 4), 0);
    }
    struct rules *rules = load_good(text_string(&text));
    assert_maps(rules, "purchase_intent", SIDE_PARTNER_CENTER, "[\"Yes\", \"Transaction\", null, \"Migration\"]",
                "[{\"id\": \"Migration\", \"type\": \"SolutionPlay\"}, {\"id\": \"Transaction\", \"type\": "
                "\"PartnerRole\"}, {\"id\": \"Yes\", \"type\": \"CustomerMarketplaceIntent\"}]");
    rules_free(rules);
    text_done(&text);
    free(bytes);
}

/* The first rules anybody sees, in the project's own words. */
static void test_first_example_loads(void **state)
{
    (void)state;
    struct rules *rules =
        load_good(HEAD "select:\n"
                       "  partner_center: {type: [Independent, Shared]}\n"
                       "  crm: {msft_microsoftpartnercenterreferralsync: true}\n"
                       "fields:\n"
                       "  - name: deal_value\n"
                       "    partner_center: details.dealValue\n"
                       "    crm: estimatedvalue\n"
                       "    direction: both             # to-crm | to-partner-center | both\n"
                       "    on: [create, update]\n"
                       "    conflict: latest\n"
                       "    transform: [{decimal: {scale: 2}}]\n"
                       "  - name: stage\n"
                       "    partner_center: [status, substatus]\n"
                       "    crm: [statecode, statuscode]\n"
                       "    table: deal_stages          # value table, checked for ambiguity at load\n"
                       "tables:\n"
                       "  deal_stages: {rows: [{partner_center: [Active, Accepted], crm: [0, 1]}]}\n");
    assert_int_equal(rules->field_count, 2);
    assert_maps(rules, "deal_value", SIDE_CRM, "50000.005", "50000");
    rules_free(rules);
}

int main(void)
{
    json_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_files_are_told_exactly),
        cmocka_unit_test(test_warnings_do_not_refuse),
        cmocka_unit_test(test_depth_is_bounded),
        cmocka_unit_test(test_fields_are_read),
        cmocka_unit_test(test_version_follows_the_bytes),
        cmocka_unit_test(test_paths_of_a_side),
        cmocka_unit_test(test_columns_that_have_to_be_read),
        cmocka_unit_test(test_every_failed_allocation_is_survived),
        cmocka_unit_test(test_empty_null_and_absent_are_three_things),
        cmocka_unit_test(test_values_are_mapped),
        cmocka_unit_test(test_unmappable_values_are_told_without_personal_data),
        cmocka_unit_test(test_conditions_of_a_field),
        cmocka_unit_test(test_values_are_spread),
        cmocka_unit_test(test_conditions_hold),
        cmocka_unit_test(test_conditions_of_presence),
        cmocka_unit_test(test_lists_are_mapped_and_spread),
        cmocka_unit_test(test_rows_of_a_new_record),
        cmocka_unit_test(test_rows_without_a_field),
        cmocka_unit_test(test_columns_are_flat),
        cmocka_unit_test(test_paths_of_microsoft),
        cmocka_unit_test(test_default_rules_create_an_opportunity),
        cmocka_unit_test(test_default_rules_update_the_opportunity),
        cmocka_unit_test(test_default_rules_update_the_referral),
        cmocka_unit_test(test_default_rules_know_every_stage),
        cmocka_unit_test(test_comments_of_the_default_rules_hold),
        cmocka_unit_test(test_first_example_loads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
