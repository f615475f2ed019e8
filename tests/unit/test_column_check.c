#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/base/yaml.h"
#include "common/systems/dynamics365.h"
#include "mapper/column_check.h"

#define DEFAULT_RULES "deploy/rules/dynamics-365.yaml"

enum { FILE_BYTES_MAX = 256 * 1024, COLUMNS_MAX = 100 };

static struct rules *load_default(struct diagnostics *diagnostics)
{
    static char bytes[FILE_BYTES_MAX];
    FILE *file = fopen(DEFAULT_RULES, "rb");
    assert_non_null(file);
    size_t count = fread(bytes, 1, sizeof(bytes), file);
    (void)fclose(file);
    struct rules *rules = rules_load(diagnostics, diagnostics_add_source(diagnostics, "rules.yaml", bytes, count));
    assert_non_null(rules);
    return rules;
}

/* The list in brackets that stands for the key. */
static struct yaml_node *read_default_columns(struct diagnostics *diagnostics, char **items, size_t *ret_count)
{
    const char *text = NULL;
    for (size_t i = 0; i < DYNAMICS_365_KEY_COUNT; i++) {
        if (strcmp(DYNAMICS_365_KEYS[i].name, "columns") == 0)
            text = DYNAMICS_365_KEYS[i].default_text;
    }
    assert_non_null(text);
    struct yaml_node *list =
        yaml_parse(diagnostics, diagnostics_add_source(diagnostics, "columns", text, strlen(text)));
    assert_non_null(list);
    assert_true(list->count <= COLUMNS_MAX);
    for (size_t i = 0; i < list->count; i++)
        items[i] = list->items[i]->text;
    *ret_count = list->count;
    return list;
}

/* Whoever configures neither rules nor columns of his own has them in agreement, and reads nothing in vain. */
static void test_default_columns_are_those_of_the_default_rules(void **state)
{
    (void)state;
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    struct rules *rules = load_default(&diagnostics);
    char *items[COLUMNS_MAX];
    struct column_check check = {.has_section = true, .columns = {.items = items}};
    struct yaml_node *list = read_default_columns(&diagnostics, items, &check.columns.count);

    if (column_check(&check, rules, &diagnostics) < 0)
        fail_msg("%s", diagnostics_message(&diagnostics, diagnostics.error_count - 1, NULL));
    size_t count;
    char *const *columns = rules_columns(rules, &count);
    for (size_t i = 0; i < check.columns.count; i++) {
        bool is_used = strcmp(items[i], rules->audit_column) == 0;
        for (size_t k = 0; k < count && !is_used; k++)
            is_used = strcmp(items[i], columns[k]) == 0;
        if (!is_used)
            fail_msg("no rule reads %s", items[i]);
    }
    yaml_node_free(list);
    rules_free(rules);
    diagnostics_done(&diagnostics);
}

/* A column nobody reads is told with the one that was probably meant. */
static void test_unread_columns_are_told(void **state)
{
    (void)state;
    static const char text[] = "version: 1\n"
                               "crm: dynamics-365\n"
                               "record: opportunity\n"
                               "identity: {identifier: msft_id, sync: msft_sync}\n"
                               "fields: [{name: a, partner_center: a, crm: help@label},\n"
                               "  {name: b, partner_center: b, crm: \"rows[]{price}\", direction: to-partner-center,\n"
                               "   to_partner_center: {present: {yes: 1, no: 0}}}]\n";
    char *items[] = {(char[]){"msft_id"}, (char[]){"msft_sync"}, (char[]){"help@lable"}, (char[]){"rows.price"}};
    const struct column_check check = {.has_section = true, .columns = {.items = items, .count = 4}};
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    struct rules *rules = rules_load(&diagnostics, diagnostics_add_source(&diagnostics, "r", text, strlen(text)));
    if (rules == NULL)
        fail_msg("%s", diagnostics_message(&diagnostics, 0, NULL));

    assert_int_equal(column_check(&check, rules, &diagnostics), -1);
    assert_int_equal(diagnostics.error_count, 2);
    assert_non_null(strstr(diagnostics_message(&diagnostics, 0, NULL), "'help@label', which is not in"));
    assert_non_null(strstr(diagnostics_message(&diagnostics, 0, NULL), "(the nearest is 'help@lable')"));
    assert_non_null(strstr(diagnostics_message(&diagnostics, 1, NULL), "'rows[].price'"));
    rules_free(rules);
    diagnostics_done(&diagnostics);
}

int main(void)
{
    json_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default_columns_are_those_of_the_default_rules),
        cmocka_unit_test(test_unread_columns_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
