#include "mapper/rule_tests.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/yaml.h"
#include "mapper/file_input.h"
#include "mapper/trial.h"

enum { PROBLEMS_MAX = 64 * 1024 };

static const char *const SIDE_KEYS[SIDE_COUNT] = {"partner_center", "crm"};
static const char *const FILE_KEYS[] = {"rules", "partner_center", "crm", "cases"};
static const char *const CASE_KEYS[] = {"name", "partner_center", "crm", "base", "expect"};
static const char *const EXPECT_KEYS[] = {"action", "target",    "purpose", "reason", "write",
                                          "only",   "not_write", "problem", "then"};

struct run {
    struct rules *rules;
    json_t *pair[SIDE_COUNT]; /* the records that cases are changes of */
    struct diagnostics *diagnostics;
    struct text *report;
    struct rule_tests_count *count;
};

/* --- YAML as JSON ------------------------------------------------------------------------------------------------- */

static json_t *scalar_to_json(const struct yaml_node *node)
{
    struct decimal decimal;
    long long integer;
    bool flag;

    if (yaml_is_null(node))
        return json_null();
    if (!node->is_quoted && yaml_get_integer(node, &integer))
        return json_integer(integer);
    if (!node->is_quoted && (strcmp(node->text, "true") == 0 || strcmp(node->text, "false") == 0) &&
        yaml_get_boolean(node, &flag))
        return json_boolean(flag);
    if (!node->is_quoted && strchr(node->text, '.') != NULL && decimal_parse(node->text, strlen(node->text), &decimal))
        return json_decimal_new(&decimal);
    return json_string(node->text);
}

/* New reference; NULL when out of memory. */
static json_t *yaml_to_json(const struct yaml_node *node)
{
    json_t *json;

    if (node->kind == YAML_SCALAR)
        return scalar_to_json(node);
    json = node->kind == YAML_SEQUENCE ? json_array() : json_object();
    for (size_t k = 0; json != NULL && k < node->count; k++) {
        json_t *value = yaml_to_json(node->items[k]);
        int status = node->kind == YAML_SEQUENCE ? json_array_append_new(json, value)
                                                 : json_object_set_new(json, node->keys[k]->text, value);

        if (status < 0) {
            json_decref(json);
            json = NULL;
        }
    }
    return json;
}

/* JSON merge patch (RFC 7396): null takes a member away, objects are merged, everything else replaces. */
static int merge_patch(json_t *document, json_t *patch)
{
    const char *key;
    json_t *value;

    json_object_foreach (patch, key, value) {
        if (json_is_null(value)) {
            (void)json_object_del(document, key);
        } else if (json_is_object(value)) {
            json_t *member = json_object_get(document, key);

            if (!json_is_object(member)) {
                member = json_object();
                if (json_object_set_new(document, key, member) < 0)
                    return -1;
            }
            if (merge_patch(member, value) < 0)
                return -1;
        } else if (json_object_set_new(document, key, json_deep_copy(value)) < 0) {
            return -1;
        }
    }
    return 0;
}

/* --- The file's shape --------------------------------------------------------------------------------------------- */

static int check_keys(const struct run *run, const struct yaml_node *node, const char *const *names, size_t count,
                      const char *what)
{
    int result = 0;

    if (node->kind != YAML_MAPPING)
        return diagnostics_error(run->diagnostics, node->position, "%s is a mapping of keys and values", what);
    for (size_t k = 0; k < node->count; k++) {
        const char *nearest;
        size_t j = 0;

        while (j < count && strcmp(names[j], node->keys[k]->text) != 0)
            j++;
        if (j < count)
            continue;
        nearest = diagnostic_suggest(node->keys[k]->text, names, count);
        result = diagnostics_error(run->diagnostics, node->keys[k]->position, "unknown key '%s' in %s%s%s%s",
                                   node->keys[k]->text, what, nearest != NULL ? " (did you mean '" : "",
                                   nearest != NULL ? nearest : "", nearest != NULL ? "'?)" : "");
    }
    return result;
}

static int no_memory(const struct run *run, const struct yaml_node *node)
{
    return diagnostics_error(run->diagnostics, node->position, "out of memory");
}

static const char *text_of(const struct yaml_node *mapping, const char *key)
{
    const struct yaml_node *node = mapping != NULL ? yaml_get(mapping, key) : NULL;

    return node != NULL && node->kind == YAML_SCALAR ? node->text : NULL;
}

/* A rule file's path is relative to the test file's directory. */
static char *path_beside(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');

    if (name[0] == '/' || slash == NULL)
        return text_copy(name);
    return text_format("%.*s/%s", (int)(slash - path), path, name);
}

/* --- One case ----------------------------------------------------------------------------------------------------- */

static bool is_word(const struct yaml_node *node, const char *word)
{
    return node != NULL && node->kind == YAML_SCALAR && strcmp(node->text, word) == 0;
}

static int make_records(const struct run *run, const struct yaml_node *test, struct trial_input *ret_input)
{
    const bool has_base = !is_word(yaml_get(test, "base"), "none");

    for (int side = 0; side < SIDE_COUNT; side++) {
        const struct yaml_node *node = yaml_get(test, SIDE_KEYS[side]);
        json_auto_t *patch = NULL;

        if (has_base)
            ret_input->base[side] = json_incref(run->pair[side]);
        if (is_word(node, "absent"))
            continue;
        ret_input->now[side] = json_deep_copy(run->pair[side]);
        if (ret_input->now[side] == NULL)
            return no_memory(run, test);
        if (node == NULL)
            continue;
        if (node->kind != YAML_MAPPING)
            return diagnostics_error(run->diagnostics, node->position,
                                     "'%s' is a mapping of what differs from the pair, or 'absent'", SIDE_KEYS[side]);
        patch = yaml_to_json(node);
        if (patch == NULL || merge_patch(ret_input->now[side], patch) < 0)
            return no_memory(run, node);
    }
    /* Records of which one is not there have never agreed. */
    for (int side = 0; side < SIDE_COUNT; side++) {
        if (ret_input->now[SIDE_PARTNER_CENTER] == NULL || ret_input->now[SIDE_CRM] == NULL) {
            json_decref(ret_input->base[side]);
            ret_input->base[side] = NULL;
        }
    }
    return 0;
}

static void input_done(struct trial_input *input)
{
    for (int side = 0; side < SIDE_COUNT; side++) {
        json_decref(input->now[side]);
        json_decref(input->base[side]);
    }
}

static int tell(struct text *problems, const char *what, const json_t *expected, const json_t *actual)
{
    char *wanted = expected != NULL ? json_write(expected, true, NULL) : text_copy("nothing");
    char *got = actual != NULL ? json_write(actual, true, NULL) : text_copy("nothing");
    int status = text_appendf(problems, "    %s: expected %s, got %s\n", what, wanted != NULL ? wanted : "?",
                              got != NULL ? got : "?");

    free(wanted);
    free(got);
    return status;
}

static int compare_write(const struct yaml_node *expect, json_t *write, struct text *problems)
{
    const struct yaml_node *members = yaml_get(expect, "write");
    const struct yaml_node *absent = yaml_get(expect, "not_write");
    const struct yaml_node *only = yaml_get(expect, "only");
    bool is_only = false;
    int status = 0;
    const char *path;
    json_t *value;

    for (size_t k = 0; members != NULL && k < members->count && status == 0; k++) {
        json_auto_t *expected = yaml_to_json(members->items[k]);
        const json_t *actual = json_object_get(write, members->keys[k]->text);

        if (!json_same(expected, actual))
            status = tell(problems, members->keys[k]->text, expected, actual);
    }
    for (size_t k = 0; absent != NULL && absent->kind == YAML_SEQUENCE && k < absent->count && status == 0; k++) {
        const json_t *actual = absent->items[k]->text != NULL ? json_object_get(write, absent->items[k]->text) : NULL;

        if (actual != NULL)
            status = tell(problems, absent->items[k]->text, NULL, actual);
    }
    if (only == NULL || !yaml_get_boolean(only, &is_only) || !is_only)
        return status;
    json_object_foreach (write, path, value) {
        if (status == 0 && (members == NULL || yaml_get(members, path) == NULL))
            status = tell(problems, path, NULL, value);
    }
    return status;
}

static int compare_words(const struct yaml_node *expect, const json_t *decision, struct text *problems)
{
    static const char *const words[] = {"action", "target", "purpose", "reason"};
    int status = 0;

    for (size_t k = 0; k < ARRAY_LENGTH(words) && status == 0; k++) {
        const char *wanted = text_of(expect, words[k]);
        const char *got = json_text_of(decision, words[k]);

        if (wanted != NULL && !text_equal(wanted, got))
            status = text_appendf(problems, "    %s: expected %s, got %s\n", words[k], wanted,
                                  got != NULL ? got : "nothing");
    }
    return status;
}

/* The k-th step of that kind. */
static const json_t *step_of(const json_t *steps, const char *kind, size_t k)
{
    for (size_t i = 0; i < json_array_size(steps); i++) {
        const json_t *content = json_object_get(json_array_get(steps, i), kind);

        if (content != NULL && k-- == 0)
            return content;
    }
    return NULL;
}

/* An expectation, and by `then` that of the decision after it. */
static int compare(const struct run *run, const struct yaml_node *expect, const json_t *steps, size_t number,
                   struct text *problems)
{
    const json_t *decision = step_of(steps, "decision", number);
    const char *problem = text_of(expect, "problem");
    const struct yaml_node *then = yaml_get(expect, "then");

    if (check_keys(run, expect, EXPECT_KEYS, ARRAY_LENGTH(EXPECT_KEYS), "'expect'") < 0)
        return -1;
    if (compare_words(expect, decision, problems) < 0 ||
        compare_write(expect, json_object_get(decision, "write"), problems) < 0)
        return diagnostics_error(run->diagnostics, expect->position, "too many differences");
    if (problem != NULL && !text_equal(problem, json_text_of(step_of(steps, "problem", 0), "code")) &&
        text_appendf(problems, "    problem: expected %s, which was not told\n", problem) < 0)
        return diagnostics_error(run->diagnostics, expect->position, "too many differences");
    return then != NULL ? compare(run, then, steps, number + 1, problems) : 0;
}

static int judge_case(struct run *run, const struct yaml_node *test, const struct yaml_node *expect,
                      const struct trial_input *input, struct text *problems)
{
    json_auto_t *steps = NULL;
    struct error err = ERROR_INIT;

    if (trial_run(run->rules, input, &steps, &err) < 0)
        return diagnostics_error(run->diagnostics, test->position, "%s", err.message);
    return compare(run, expect, steps, 0, problems);
}

static int run_case(struct run *run, const struct yaml_node *test)
{
    const char *name = text_of(test, "name");
    const struct yaml_node *expect = yaml_get(test, "expect");
    struct trial_input input = {0};
    struct text problems;
    int status;

    if (check_keys(run, test, CASE_KEYS, ARRAY_LENGTH(CASE_KEYS), "a case") < 0)
        return -1;
    if (name == NULL || expect == NULL)
        return diagnostics_error(run->diagnostics, test->position, "a case has a 'name' and an 'expect'");
    text_init(&problems, PROBLEMS_MAX);
    status = make_records(run, test, &input);
    if (status == 0)
        status = judge_case(run, test, expect, &input, &problems);
    if (status == 0) {
        const bool has_passed = problems.length == 0;

        if (text_appendf(run->report, "%s %s\n%s", has_passed ? "ok    " : "FAILED", name, text_string(&problems)) < 0)
            status = diagnostics_error(run->diagnostics, test->position, "the report is too long");
        else if (has_passed)
            run->count->passed++;
        else
            run->count->failed++;
    }
    input_done(&input);
    text_done(&problems);
    return status;
}

/* --- The file ----------------------------------------------------------------------------------------------------- */

static int read_pair(struct run *run, const struct yaml_node *root)
{
    for (int side = 0; side < SIDE_COUNT; side++) {
        const struct yaml_node *node = yaml_get(root, SIDE_KEYS[side]);

        if (node == NULL || node->kind != YAML_MAPPING)
            return diagnostics_error(run->diagnostics, node != NULL ? node->position : root->position,
                                     "'%s' is a record that agrees with the other side's", SIDE_KEYS[side]);
        run->pair[side] = yaml_to_json(node);
        if (run->pair[side] == NULL)
            return no_memory(run, node);
    }
    return 0;
}

static int run_file(struct run *run, const char *path, const struct yaml_node *root)
{
    const struct yaml_node *cases = yaml_get(root, "cases");
    const char *rules = text_of(root, "rules");
    char *rules_path;
    int result = 0;

    if (check_keys(run, root, FILE_KEYS, ARRAY_LENGTH(FILE_KEYS), "a test file") < 0)
        return -1;
    if (rules == NULL || cases == NULL || cases->kind != YAML_SEQUENCE || cases->count == 0)
        return diagnostics_error(run->diagnostics, root->position, "a test file has 'rules' and a list of 'cases'");
    rules_path = path_beside(path, rules);
    if (rules_path == NULL)
        return no_memory(run, root);
    run->rules = file_input_rules(run->diagnostics, rules_path);
    free(rules_path);
    if (run->rules == NULL || read_pair(run, root) < 0)
        return -1;
    for (size_t k = 0; k < cases->count; k++) {
        if (run_case(run, cases->items[k]) < 0) {
            run->count->unusable++;
            result = -1;
        }
    }
    return result;
}

int rule_tests_run(const char *path, struct text *report, struct rule_tests_count *count,
                   struct diagnostics *diagnostics)
{
    const struct source *source = file_input_source(diagnostics, path);
    struct yaml_node *root = source != NULL ? yaml_parse(diagnostics, source) : NULL;
    struct run run = {.diagnostics = diagnostics, .report = report, .count = count};
    int status = root != NULL ? run_file(&run, path, root) : -1;

    rules_free(run.rules);
    json_decref(run.pair[SIDE_PARTNER_CENTER]);
    json_decref(run.pair[SIDE_CRM]);
    yaml_node_free(root);
    return status;
}
