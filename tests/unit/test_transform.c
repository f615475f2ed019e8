#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "mapper/transform.h"
#include "mapper/value.h"

/* The cases: tests/cases/transforms/<transform>.yaml, a list of chains, each with its paths, tables and cases. */
#define CASES "tests/cases/transforms/"

enum { FILE_BYTES_MAX = 64 * 1024, PATHS_MAX = 8, TABLES_MAX = 4 };

static const struct source *read_source(struct diagnostics *diagnostics, const char *path)
{
    static char bytes[FILE_BYTES_MAX];
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        fail_msg("%s: cannot be opened", path);
    size_t count = fread(bytes, 1, sizeof(bytes), file);
    assert_true(count < sizeof(bytes));
    (void)fclose(file);
    return diagnostics_add_source(diagnostics, path, bytes, count);
}

static json_t *read_value(const struct yaml_node *node)
{
    if (node->kind == YAML_SCALAR)
        return value_from_yaml(node);
    json_t *made = node->kind == YAML_SEQUENCE ? json_array() : json_object();
    for (size_t i = 0; i < node->count; i++) {
        json_t *item = read_value(node->items[i]);
        assert_int_equal(node->kind == YAML_SEQUENCE ? json_array_append_new(made, item)
                                                     : json_object_set_new(made, node->keys[i]->text, item),
                         0);
    }
    return made;
}

struct group {
    struct diagnostics *diagnostics;
    struct table tables[TABLES_MAX];
    size_t table_count;
    char *paths[SIDE_COUNT][PATHS_MAX];
    size_t path_count[SIDE_COUNT];
    bool has_paths[SIDE_COUNT];
    struct transform *chains[SIDE_COUNT];
};

static void read_paths(const struct yaml_node *node, struct group *group, enum side side)
{
    static char single[] = "path";
    group->paths[side][0] = single;
    group->path_count[side] = 1;
    if (node == NULL)
        return;
    group->path_count[side] = node->count;
    group->has_paths[side] = true;
    for (size_t i = 0; i < node->count; i++)
        group->paths[side][i] = node->items[i]->text;
}

static void read_chain(const struct yaml_node *node, const char *key, struct group *group, enum side target,
                       bool is_inverse)
{
    const enum side source = side_other(target);
    const struct transform_setup setup = {.diagnostics = group->diagnostics,
                                          .tables = group->tables,
                                          .table_count = group->table_count,
                                          .target = target,
                                          .is_inverse = is_inverse,
                                          .source_paths = group->paths[source],
                                          .source_count = group->path_count[source],
                                          .target_paths = group->has_paths[target] ? group->paths[target] : NULL,
                                          .target_count = group->path_count[target]};
    const struct yaml_node *chain = yaml_get(node, key);
    if (chain != NULL && transform_load(&setup, chain, &group->chains[target]) < 0)
        fail_msg("%s", diagnostics_message(group->diagnostics, 0, NULL));
}

static void read_group(const struct yaml_node *node, struct diagnostics *diagnostics, struct group *group)
{
    const struct yaml_node *tables = yaml_get(node, "tables");
    *group = (struct group){.diagnostics = diagnostics};
    for (size_t i = 0; tables != NULL && i < tables->count; i++) {
        if (table_load(diagnostics, tables->keys[i], tables->items[i], &group->tables[group->table_count++]) < 0)
            fail_msg("%s", diagnostics_message(diagnostics, 0, NULL));
    }
    read_paths(yaml_get(node, "partner_center"), group, SIDE_PARTNER_CENTER);
    read_paths(yaml_get(node, "crm"), group, SIDE_CRM);
    read_chain(node, "transform", group, SIDE_CRM, false);
    read_chain(node, "transform", group, SIDE_PARTNER_CENTER, true);
    read_chain(node, "to_crm", group, SIDE_CRM, false);
    read_chain(node, "to_partner_center", group, SIDE_PARTNER_CENTER, false);
}

static void group_done(struct group *group)
{
    for (size_t i = 0; i < group->table_count; i++)
        table_done(&group->tables[i]);
    transform_free(group->chains[SIDE_CRM]);
    transform_free(group->chains[SIDE_PARTNER_CENTER]);
}

static void check_case(const struct yaml_node *node, const struct group *group)
{
    const enum side target = strcmp(yaml_get(node, "to")->text, "crm") == 0 ? SIDE_CRM : SIDE_PARTNER_CENTER;
    const char *name = node->position.source->name;
    const size_t line = node->position.line;
    char message[TRANSFORM_MESSAGE_SIZE] = "";
    json_t *value = read_value(yaml_get(node, "value"));
    json_t *made = NULL;
    enum transform_result result = transform_apply(group->chains[target], value, &made, message);

    if (yaml_get(node, "gives") != NULL) {
        json_t *wanted = read_value(yaml_get(node, "gives"));
        if (result != TRANSFORM_DONE)
            fail_msg("%s:%zu: result %d %s", name, line, (int)result, message);
        if (!json_same(made, wanted)) {
            char *shown = json_write(made, true, NULL);
            fail_msg("%s:%zu: gives %s", name, line, shown);
        }
        json_decref(wanted);
    } else if (yaml_get(node, "refused") != NULL) {
        if (result != TRANSFORM_REFUSED || strcmp(message, yaml_get(node, "refused")->text) != 0)
            fail_msg("%s:%zu: result %d: %s", name, line, (int)result, message);
    } else if (result != TRANSFORM_LEAVE) {
        fail_msg("%s:%zu: result %d %s", name, line, (int)result, message);
    }
    json_decref(made);
    json_decref(value);
}

static size_t check_file(const char *path)
{
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    struct yaml_node *root = yaml_parse(&diagnostics, read_source(&diagnostics, path));
    size_t count = 0;
    if (root == NULL)
        fail_msg("%s", diagnostics_message(&diagnostics, 0, NULL));
    for (size_t i = 0; i < root->count; i++) {
        const struct yaml_node *cases = yaml_get(root->items[i], "cases");
        struct group group;
        read_group(root->items[i], &diagnostics, &group);
        for (size_t k = 0; k < cases->count; k++)
            check_case(cases->items[k], &group);
        count += cases->count;
        group_done(&group);
    }
    yaml_node_free(root);
    diagnostics_done(&diagnostics);
    return count;
}

/* Every transform of the list does what its cases say, in both directions. */
static void test_every_transform_by_its_cases(void **state)
{
    (void)state;
    for (size_t i = 0; i < TRANSFORM_TYPE_COUNT; i++) {
        char path[128];
        (void)snprintf(path, sizeof(path), CASES "%s.yaml", TRANSFORM_TYPES[i].name);
        assert_true(check_file(path) >= 3);
    }
}

/* A chain goes forwards in order and backwards in reverse. */
static void test_chains(void **state)
{
    (void)state;
    assert_true(check_file(CASES "chain.yaml") > 0);
}

/* The list is sorted by name, and every row says what the documentation needs. */
static void test_list_is_complete(void **state)
{
    (void)state;
    for (size_t i = 0; i < TRANSFORM_TYPE_COUNT; i++) {
        const struct transform_type *type = &TRANSFORM_TYPES[i];
        if (i > 0)
            assert_true(strcmp(TRANSFORM_TYPES[i - 1].name, type->name) < 0);
        assert_non_null(type->help);
        assert_non_null(type->example);
        assert_true(type->accepts != 0);
        assert_int_equal(type->inverse == INVERSE_OWN, type->inverse_help != NULL);
        for (const struct argument *argument = type->arguments; argument->name != NULL; argument++)
            assert_non_null(argument->help);
    }
}

/* Every example of the documentation is one that loads, in a field it suits. */
static void test_examples_load(void **state)
{
    (void)state;
    static char several[][8] = {"a", "b"}, rows[] = "rows[]{msft_solutionid.msft_solutionidentifier,msft_price}",
                people[] = "people[]{internalemailaddress}", single[] = "a";
    char *const two_paths[] = {several[0], several[1]}, *const row_paths[] = {rows}, *const people_paths[] = {people},
                *const one_path[] = {single};
    static const char tables[] = "deal_stages: {rows: [{partner_center: New, crm: 1}]}";

    for (size_t i = 0; i < TRANSFORM_TYPE_COUNT; i++) {
        const struct transform_type *type = &TRANSFORM_TYPES[i];
        struct diagnostics diagnostics = DIAGNOSTICS_INIT;
        struct yaml_node *table_node =
            yaml_parse(&diagnostics, diagnostics_add_source(&diagnostics, "tables", tables, strlen(tables)));
        assert_non_null(type->example);
        struct yaml_node *node = yaml_parse(
            &diagnostics, diagnostics_add_source(&diagnostics, type->name, type->example, strlen(type->example)));
        assert_non_null(node);
        assert_non_null(strstr(type->example, type->name));
        struct table table;
        assert_int_equal(table_load(&diagnostics, table_node->keys[0], table_node->items[0], &table), 0);
        const bool takes_several = strcmp(type->name, "template") == 0 || strcmp(type->name, "first") == 0 ||
                                   strcmp(type->name, "concat") == 0 || strcmp(type->name, "pick") == 0 ||
                                   strcmp(type->name, "tag") == 0;
        struct transform_setup setup = {.diagnostics = &diagnostics,
                                        .tables = &table,
                                        .table_count = 1,
                                        .target = SIDE_PARTNER_CENTER,
                                        .source_paths = takes_several                       ? two_paths
                                                        : strcmp(type->name, "list") == 0   ? row_paths
                                                        : strcmp(type->name, "unique") == 0 ? people_paths
                                                                                            : one_path,
                                        .source_count = takes_several ? 2 : 1,
                                        .target_count = 1};
        struct transform *chain = NULL;
        if (transform_load(&setup, node, &chain) < 0)
            fail_msg("%s", diagnostics_message(&diagnostics, 0, NULL));
        transform_free(chain);
        table_done(&table);
        yaml_node_free(node);
        yaml_node_free(table_node);
        diagnostics_done(&diagnostics);
    }
}

/* A transform keeps its hands off the value it was given. */
static void test_value_given_is_not_changed(void **state)
{
    (void)state;
    json_t *value = json_pack("[s, {s:i}]", "x", "y", 1);
    json_t *before = json_deep_copy(value);
    char message[TRANSFORM_MESSAGE_SIZE];
    json_t *made = NULL;
    assert_int_equal(transform_apply(NULL, value, &made, message), TRANSFORM_DONE);
    assert_int_equal(json_array_append_new(made, json_null()), 0);
    assert_true(json_same(value, before));
    json_decref(made);
    json_decref(before);
    json_decref(value);
}

int main(void)
{
    json_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_transform_by_its_cases),
        cmocka_unit_test(test_chains),
        cmocka_unit_test(test_list_is_complete),
        cmocka_unit_test(test_examples_load),
        cmocka_unit_test(test_value_given_is_not_changed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
