#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/json.h"
#include "common/systems/dynamics365_lookup.h"
#include "tests/support/parse.h"

static const char *const names[] = {"name", "customerid_account.name", "customerid_account.address1_city",
                                    "transactioncurrencyid.isocurrencycode"};
static const struct config_list columns = {.items = (char **)(uintptr_t)names, .count = ARRAY_LENGTH(names)};

/* The column of a lookup is its navigation property without the table, in lower case. */
static void test_columns_of_lookups(void **state)
{
    (void)state;
    static const struct {
        const char *navigation, *column;
    } cases[] = {
        {"transactioncurrencyid", "_transactioncurrencyid_value"},
        {"customerid_account", "_customerid_value"},
        {"customerid_contact", "_customerid_value"},
        {"parentcustomerid_account", "_parentcustomerid_value"},
        {"cosl_Partner", "_cosl_partner_value"},
        {"cosl_paid_order", "_cosl_paid_order_value"},
        {"main_account", "_main_account_value"},
        {"id_account", "_id_account_value"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char *column = dynamics_lookup_column(cases[i].navigation, strlen(cases[i].navigation));
        assert_string_equal(column, cases[i].column);
        free(column);
    }
}

/* A quote in a text does not end the literal. */
static void test_literal(void **state)
{
    (void)state;
    char *literal = dynamics_literal("O'Neill' or 1 eq 1");

    assert_string_equal(literal, "O''Neill'' or 1 eq 1");
    free(literal);
}

/* A search asks for the matching values by their type, and for the attributes the columns name. */
static void test_search(void **state)
{
    (void)state;
    static const struct {
        const char *lookup, *path;
    } cases[] = {
        {"{\"entity\":\"account\",\"match\":[\"name\"],\"values\":{\"name\":\"O'Neill & Sons\",\"x\":1}}",
         "accounts?$select=accountid,name,address1_city&$filter=name%20eq%20%27O%27%27Neill%20%26%20Sons%27&$top=2"},
        {"{\"entity\":\"account\",\"match\":[\"name\",\"zip\"],\"values\":{\"name\":\"A\",\"zip\":null}}",
         "accounts?$select=accountid,name,address1_city&$filter=name%20eq%20%27A%27%20and%20zip%20eq%20null&$top=2"},
        {"{\"entity\":\"account\",\"match\":[\"a\",\"b\",\"c\",\"d\"],\"values\":{\"a\":1.50,\"b\":7,\"c\":true}}",
         "accounts?$select=accountid,name,address1_city&$filter=a%20eq%201.5%20and%20b%20eq%207%20and%20c%20eq%20true"
         "%20and%20d%20eq%20null&$top=2"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_auto_t *lookup = parse(cases[i].lookup);
        struct error err = ERROR_INIT;
        char *path = NULL;
        assert_int_equal(dynamics_lookup_search(lookup, "customerid_account", &columns, &path, &err), 0);
        assert_string_equal(path, cases[i].path);
        free(path);
    }
}

/* A value nothing can be found by is the data's fault, not a shortage. */
static void test_search_that_cannot_be(void **state)
{
    (void)state;
    char long_name[1002];
    memset(long_name, 'x', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    json_auto_t *too_long =
        json_pack("{s:s, s:[s], s:{s:s}}", "entity", "account", "match", "name", "values", "name", long_name);
    json_auto_t *object = parse("{\"entity\":\"account\",\"match\":[\"name\"],\"values\":{\"name\":{}}}");
    const json_t *const lookups[] = {too_long, object};

    for (size_t i = 0; i < ARRAY_LENGTH(lookups); i++) {
        struct error err = ERROR_INIT;
        char *path = NULL;
        assert_int_equal(dynamics_lookup_search(lookups[i], "customerid_account", &columns, &path, &err), -1);
        assert_int_equal(err.class, ERROR_POISON);
        assert_string_equal(err.code, "lookup.value");
    }
}

/* The id of a record to make depends on what identifies it and on nothing else. */
static void test_id(void **state)
{
    (void)state;
    json_auto_t *first =
        parse("{\"match\":[\"name\",\"zip\"],\"values\":{\"name\":\"A\",\"zip\":\"1\",\"city\":\"x\"}}");
    json_auto_t *same =
        parse("{\"match\":[\"zip\",\"name\"],\"values\":{\"name\":\"A\",\"zip\":\"1\",\"city\":\"y\"}}");
    json_auto_t *other = parse("{\"match\":[\"name\",\"zip\"],\"values\":{\"name\":\"A\",\"city\":\"x\"}}");
    char first_id[UUID_TEXT_SIZE], same_id[UUID_TEXT_SIZE], other_id[UUID_TEXT_SIZE];

    assert_int_equal(dynamics_lookup_id(first, first_id), 0);
    assert_int_equal(dynamics_lookup_id(same, same_id), 0);
    assert_int_equal(dynamics_lookup_id(other, other_id), 0);
    assert_true(uuid_is_valid(first_id, strlen(first_id)));
    assert_string_equal(first_id, same_id);
    assert_string_not_equal(first_id, other_id);
}

/* What a reading showed completes a later record that has only the ids, until it is too old. */
static void test_memory_completes_a_record(void **state)
{
    (void)state;
    static const char expanded[] = "{\"_customerid_value\":\"a1\",\"customerid_account\":{\"name\":\"A\"},"
                                   "\"_transactioncurrencyid_value\":\"c1\","
                                   "\"transactioncurrencyid\":{\"isocurrencycode\":\"EUR\"}}";
    static const char bare[] = "{\"_customerid_value\":\"a1\",\"_transactioncurrencyid_value\":\"c1\"}";
    json_auto_t *read = parse(expanded);
    json_auto_t *written = parse(bare);
    json_auto_t *late = parse(bare);
    json_auto_t *expected = parse(expanded);
    struct dynamics_memory memory;
    bool is_complete = false;

    json_object_set_new(json_object_get(expected, "customerid_account"), "address1_city", json_null());
    assert_int_equal(dynamics_memory_init(&memory), 0);
    dynamics_memory_keep_expanded(&memory, &columns, read, 1000);
    assert_int_equal(dynamics_memory_expand(&memory, &columns, written, 300999, &is_complete), 0);
    assert_true(is_complete);
    assert_true(json_same(written, expected));
    assert_int_equal(dynamics_memory_expand(&memory, &columns, late, 301000, &is_complete), 0);
    assert_false(is_complete);
    dynamics_memory_done(&memory);
}

/* A lookup that points to nothing is complete; one to a record never seen is not; what is shown is left as it is. */
static void test_memory_of_other_lookups(void **state)
{
    (void)state;
    static const struct {
        const char *record;
        bool is_complete;
    } cases[] = {
        {"{\"_customerid_value\":null}", true},
        {"{}", true},
        {"{\"_customerid_value\":\"a2\"}", false},
        {"{\"_customerid_value\":\"a2\",\"customerid_account\":{\"name\":\"B\"}}", true},
    };
    struct dynamics_memory memory;

    assert_int_equal(dynamics_memory_init(&memory), 0);
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_auto_t *record = parse(cases[i].record);
        bool is_complete = !cases[i].is_complete;
        assert_int_equal(dynamics_memory_expand(&memory, &columns, record, 0, &is_complete), 0);
        if (is_complete != cases[i].is_complete)
            fail_msg("%s", cases[i].record);
        if (i < 2)
            assert_true(json_is_null(json_object_get(record, "customerid_account")));
    }
    dynamics_memory_done(&memory);
}

/* Currencies are remembered by their code, other records are not currencies, and all can be forgotten. */
static void test_memory_of_currencies(void **state)
{
    (void)state;
    json_auto_t *euro = parse("{\"entity\":\"transactioncurrency\",\"values\":{\"isocurrencycode\":\"EUR\"}}");
    json_auto_t *dollar = parse("{\"entity\":\"transactioncurrency\",\"values\":{\"isocurrencycode\":\"USD\"}}");
    json_auto_t *account = parse("{\"entity\":\"account\",\"values\":{\"isocurrencycode\":\"EUR\"}}");
    struct dynamics_memory memory;

    assert_int_equal(dynamics_memory_init(&memory), 0);
    dynamics_memory_keep_currency(&memory, account, "a1");
    assert_null(dynamics_memory_currency(&memory, euro));
    dynamics_memory_keep_currency(&memory, euro, "c1");
    assert_string_equal(dynamics_memory_currency(&memory, euro), "c1");
    assert_null(dynamics_memory_currency(&memory, dollar));
    assert_null(dynamics_memory_currency(&memory, account));
    dynamics_memory_forget(&memory);
    assert_null(dynamics_memory_currency(&memory, euro));
    dynamics_memory_done(&memory);
}

/* What was found is remembered by what was looked for, for five minutes, and forgotten with the rest. */
static void test_memory_of_what_was_found(void **state)
{
    (void)state;
    json_auto_t *one = parse("{\"entity\":\"my_item\",\"match\":[\"id\"],\"values\":{\"id\":\"a\",\"name\":\"A\"}}");
    json_auto_t *same = parse("{\"entity\":\"my_item\",\"match\":[\"id\"],\"values\":{\"id\":\"a\",\"name\":\"B\"}}");
    json_auto_t *other = parse("{\"entity\":\"my_item\",\"match\":[\"id\"],\"values\":{\"id\":\"b\"}}");
    json_auto_t *elsewhere = parse("{\"entity\":\"my_other\",\"match\":[\"id\"],\"values\":{\"id\":\"a\"}}");
    struct dynamics_memory memory;

    assert_int_equal(dynamics_memory_init(&memory), 0);
    assert_null(dynamics_memory_found(&memory, one, 0));
    dynamics_memory_keep_found(&memory, one, "i1", 1000);
    assert_string_equal(dynamics_memory_found(&memory, same, 300999), "i1");
    assert_null(dynamics_memory_found(&memory, same, 301000));
    assert_null(dynamics_memory_found(&memory, other, 1000));
    assert_null(dynamics_memory_found(&memory, elsewhere, 1000));
    dynamics_memory_forget(&memory);
    assert_null(dynamics_memory_found(&memory, one, 1000));
    dynamics_memory_done(&memory);
}

/* Child rows and what lies behind lookups of lookups are never remembered; a lookup that points to nothing is known. */
static void test_what_is_not_remembered(void **state)
{
    static const struct {
        const char *column;
        const char *record;
        bool is_complete;
    } cases[] = {
        {"help@label", "{}", true},
        {"products[].price", "{}", false},
        {"contactid.accountid.name", "{\"_contactid_value\":\"c1\"}", false},
        {"contactid.accountid.name", "{\"_contactid_value\":null}", true},
        {"contactid.name", "{\"_contactid_value\":\"c1\"}", false},
    };
    struct dynamics_memory memory;

    (void)state;
    assert_int_equal(dynamics_memory_init(&memory), 0);
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        const struct config_list one = {.items = (char **)(uintptr_t)&cases[i].column, .count = 1};
        json_auto_t *record = parse(cases[i].record);
        bool is_complete;
        assert_int_equal(dynamics_memory_expand(&memory, &one, record, 0, &is_complete), 0);
        if (is_complete != cases[i].is_complete)
            fail_msg("%s of %s", cases[i].column, cases[i].record);
    }
    dynamics_memory_done(&memory);
}

static int set_up(void **state)
{
    (void)state;
    json_setup();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns_of_lookups),
        cmocka_unit_test(test_literal),
        cmocka_unit_test(test_search),
        cmocka_unit_test(test_search_that_cannot_be),
        cmocka_unit_test(test_id),
        cmocka_unit_test(test_memory_completes_a_record),
        cmocka_unit_test(test_memory_of_other_lookups),
        cmocka_unit_test(test_memory_of_what_was_found),
        cmocka_unit_test(test_memory_of_currencies),
        cmocka_unit_test(test_what_is_not_remembered),
    };
    return cmocka_run_group_tests_name("dynamics365_lookup", tests, set_up, NULL);
}
