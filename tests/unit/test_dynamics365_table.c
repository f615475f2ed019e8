#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/systems/dynamics365_table.h"

/* Of the service's own tables only those that take part have names. */
static void test_tables(void **state)
{
    (void)state;
    assert_string_equal(dynamics_entity_set("opportunity"), "opportunities");
    assert_string_equal(dynamics_primary_key("opportunity"), "opportunityid");
    assert_string_equal(dynamics_entity_set("transactioncurrency"), "transactioncurrencies");
    assert_null(dynamics_entity_set("systemuser"));
    assert_null(dynamics_primary_key("systemuser"));
    assert_null(dynamics_entity_set(NULL));
}

/* A table with a publisher's prefix has a key by its name; in addresses it is called as the rules say. */
static void test_tables_of_lookups(void **state)
{
    (void)state;
    static const struct {
        const char *entity, *entity_set;
        const char *set, *key; /* NULL: there is no such table */
    } cases[] = {
        {"account", NULL, "accounts", "accountid"},
        {"msft_microsoftsolution", NULL, "msft_microsoftsolutions", "msft_microsoftsolutionid"},
        {"my_category", "my_categories", "my_categories", "my_categoryid"},
        {"account", "accountset", "accountset", "accountid"},
        {"systemuser", NULL, NULL, NULL},
        {"systemuser", "systemusers", NULL, NULL},
        {NULL, "accounts", NULL, NULL},
    };

    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_auto_t *how = json_pack("{s:s*, s:s*}", "entity", cases[i].entity, "entity_set", cases[i].entity_set);
        struct dynamics_table table = {.set = "", .key = ""};
        assert_int_equal(dynamics_table_of(how, &table), cases[i].set != NULL);
        if (cases[i].set != NULL) {
            assert_string_equal(table.set, cases[i].set);
            assert_string_equal(table.key, cases[i].key);
        }
    }
}

/* What a table's definition says is taken if it can stand in an address. */
static void test_definitions(void **state)
{
    (void)state;
    static const struct {
        const char *set, *key;
        bool is_told;
    } cases[] = {
        {"my_categories", "my_categoryid", true},
        {"Set2", "k", true},
        {NULL, "my_categoryid", false},
        {"my_categories", NULL, false},
        {"", "key", false},
        {"set", "", false},
        {"a/b", "key", false},
        {"set?x=", "key", false},
        {"set", "k y", false},
    };
    char *path = dynamics_table_path("my_category");

    assert_string_equal(path, "EntityDefinitions(LogicalName='my_category')?$select=EntitySetName,PrimaryIdAttribute");
    free(path);
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_auto_t *definition =
            json_pack("{s:s*, s:s*}", "EntitySetName", cases[i].set, "PrimaryIdAttribute", cases[i].key);
        struct dynamics_table table = {.set = "before", .key = "before"};
        assert_int_equal(dynamics_table_read(definition, &table), cases[i].is_told);
        assert_string_equal(table.set, cases[i].is_told ? cases[i].set : "before");
        assert_string_equal(table.key, cases[i].is_told ? cases[i].key : "before");
    }
    assert_false(dynamics_table_read(NULL, &(struct dynamics_table){.set = ""}));
}

/* The service's own have their names from us. */
static void test_known_tables(void **state)
{
    struct dynamics_table table;

    (void)state;
    assert_true(dynamics_table_known("opportunity", &table));
    assert_string_equal(table.set, "opportunities");
    assert_string_equal(table.key, "opportunityid");
    assert_false(dynamics_table_known("msft_microsoftsolution", &table));
    assert_false(dynamics_table_known(NULL, &table));
}

/* What is longer than a name can be is none. */
static void test_overlong_table(void **state)
{
    (void)state;
    char *entity = text_format("msft_%0127d", 0);
    json_auto_t *how = json_pack("{s:s}", "entity", entity);
    struct dynamics_table table;

    assert_false(dynamics_table_of(how, &table));
    free(entity);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),         cmocka_unit_test(test_tables_of_lookups),
        cmocka_unit_test(test_definitions),    cmocka_unit_test(test_known_tables),
        cmocka_unit_test(test_overlong_table),
    };

    json_setup();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
