#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/json.h"
#include "common/systems/dynamics365_query.h"
#include "tests/support/parse.h"

static void assert_query(const char *const *columns, size_t count, bool expands, const char *expected)
{
    const struct config_list list = {.items = (char **)(uintptr_t)columns, .count = count};
    char *query = dynamics_query("opportunity", &list, expands);

    assert_non_null(query);
    assert_string_equal(query, expected);
    free(query);
}

#define ALWAYS "$select=opportunityid,versionnumber,modifiedon,_modifiedby_value,statecode,statuscode"

/* Version, modifier and state are always asked for; every column once. */
static void test_query_of_columns(void **state)
{
    (void)state;
    static const char *const columns[] = {"name", "statecode", "opportunityid", "estimatedvalue", "name"};

    assert_query(NULL, 0, true, ALWAYS);
    assert_query(columns, ARRAY_LENGTH(columns), true, ALWAYS ",name,estimatedvalue");
}

/* Attributes of one lookup are asked for together, and lookups that share a column share it. */
static void test_query_of_lookups(void **state)
{
    (void)state;
    static const char *const columns[] = {"customerid_account.name",          "transactioncurrencyid.isocurrencycode",
                                          "customerid_account.address1_city", "name",
                                          "customerid_contact.fullname",      "_customerid_value"};

    assert_query(columns, ARRAY_LENGTH(columns), true,
                 ALWAYS ",_customerid_value,_transactioncurrencyid_value,name"
                        "&$expand=customerid_account($select=name,address1_city),"
                        "transactioncurrencyid($select=isocurrencycode),customerid_contact($select=fullname)");
    assert_query(columns, ARRAY_LENGTH(columns), false, ALWAYS ",_customerid_value,_transactioncurrencyid_value,name");
}

/* Columns of child rows are asked for together, rows behind their lookups inside, labels with the column's number. */
static void test_query_of_child_rows_and_labels(void **state)
{
    (void)state;
    static const char *const columns[] = {"products[].price",
                                          "help@label",
                                          "products[].productid.name",
                                          "parentcontactid.lastname",
                                          "products[].productid.number",
                                          "parentcontactid.parentcustomerid_account.name"};
    static const char *const only_behind[] = {"products[].ProductId.name"};

    assert_query(columns, ARRAY_LENGTH(columns), true,
                 ALWAYS ",help,_parentcontactid_value"
                        "&$expand=products($select=price,_productid_value;$expand=productid($select=name,number)),"
                        "parentcontactid($select=lastname,_parentcustomerid_value;"
                        "$expand=parentcustomerid_account($select=name))");
    assert_query(only_behind, 1, true,
                 ALWAYS "&$expand=products($select=_productid_value;$expand=ProductId($select=name))");
    assert_query(only_behind, 1, false, ALWAYS);
}

/* Formatted values are asked for only where a label is read. */
static void test_labels_are_asked_for_when_read(void **state)
{
    (void)state;
    static const char *const without[] = {"name", "products[].price"};
    static const char *const with[] = {"name", "help@label"};
    const struct config_list plain = {.items = (char **)(uintptr_t)without, .count = 2};
    const struct config_list labels = {.items = (char **)(uintptr_t)with, .count = 2};

    assert_null(dynamics_label_preference(&plain));
    assert_string_equal(dynamics_label_preference(&labels),
                        "odata.include-annotations=\"OData.Community.Display.V1.FormattedValue\"");
}

/* The service formats every value; only the wanted labels stay, and other annotations are left alone. */
static void test_only_wanted_labels_stay(void **state)
{
    (void)state;
    static const char *const names[] = {"name", "help@label"};
    const struct config_list columns = {.items = (char **)(uintptr_t)names, .count = 2};
    json_auto_t *record =
        parse("{\"@odata.etag\":\"e\",\"help\":1,\"help" DYNAMICS_FORMATTED_VALUE
              "\":\"Yes\",\"helper\":1,\"helper" DYNAMICS_FORMATTED_VALUE "\":\"x\",\"value" DYNAMICS_FORMATTED_VALUE
              "\":\"1.00\",\"rows\":[{\"help" DYNAMICS_FORMATTED_VALUE "\":\"x\",\"a\":{\"b" DYNAMICS_FORMATTED_VALUE
              "\":\"x\"}}]}");
    json_auto_t *wanted = parse("{\"@odata.etag\":\"e\",\"help\":1,\"help" DYNAMICS_FORMATTED_VALUE
                                "\":\"Yes\",\"helper\":1,\"rows\":[{\"a\":{}}]}");

    dynamics_keep_labels(record, &columns);
    assert_true(json_same(record, wanted));
}

/* Child rows are whole when they show what their lookups point to; a link to more comes in any case. */
static void test_collections_of_a_record(void **state)
{
    (void)state;
    static const char *const names[] = {"name", "products[].price", "products[].ProductId.name"};
    const struct config_list columns = {.items = (char **)(uintptr_t)names, .count = 3};
    static const struct {
        const char *record;
        const char *done;
        enum dynamics_collections wanted;
    } cases[] = {
        {"{\"products\":[]}", NULL, DYNAMICS_COLLECTIONS_WHOLE},
        {"{}", NULL, DYNAMICS_COLLECTIONS_WHOLE},
        {"{\"products\":[],\"products@odata.nextLink\":\"https://x.example/?$skiptoken=7\"}", NULL,
         DYNAMICS_COLLECTIONS_WHOLE},
        {"{\"products\":[{\"_productid_value\":\"p\",\"ProductId\":{}}]}", NULL, DYNAMICS_COLLECTIONS_WHOLE},
        {"{\"products\":[{\"_productid_value\":null,\"ProductId\":null}]}", NULL, DYNAMICS_COLLECTIONS_WHOLE},
        {"{\"products\":[{\"_productid_value\":null},{\"_productid_value\":\"p\",\"ProductId\":null}]}", NULL,
         DYNAMICS_COLLECTIONS_OPEN},
        {"{\"products\":[{\"_productid_value\":\"p\"}]}", NULL, DYNAMICS_COLLECTIONS_OPEN},
        {"{\"products\":[{\"_productid_value\":\"p\"}]}", "{\"products\":true}", DYNAMICS_COLLECTIONS_WHOLE},
    };
    const char *column;

    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_auto_t *record = parse(cases[i].record);
        json_auto_t *done = cases[i].done == NULL ? NULL : parse(cases[i].done);
        if (dynamics_collections_of(record, &columns, done, &column) != cases[i].wanted)
            fail_msg("%s", cases[i].record);
    }
}

/* As many rows as one answer holds are not taken for all. */
static void test_collection_that_may_be_cut(void **state)
{
    (void)state;
    static const char *const names[] = {"products[].price"};
    const struct config_list columns = {.items = (char **)(uintptr_t)names, .count = 1};
    json_auto_t *rows = json_array();
    json_auto_t *record = json_pack("{s:O}", "products", rows);
    const char *column;

    for (size_t i = 0; i < 4999; i++)
        assert_int_equal(json_array_append_new(rows, json_object()), 0);
    assert_int_equal(dynamics_collections_of(record, &columns, NULL, &column), DYNAMICS_COLLECTIONS_WHOLE);
    assert_int_equal(json_array_append_new(rows, json_object()), 0);
    assert_int_equal(dynamics_collections_of(record, &columns, NULL, &column), DYNAMICS_COLLECTIONS_CUT);
    assert_string_equal(column, "products[].price");
}

/* Child rows by themselves are asked for with the same columns. */
static void test_query_of_child_rows_by_themselves(void **state)
{
    (void)state;
    static const char *const names[] = {"name", "products[].price", "products[].productid.name"};
    const struct config_list columns = {.items = (char **)(uintptr_t)names, .count = 3};
    char *query = dynamics_collection_query("opportunity", &columns, "products[].productid.name");

    assert_true(dynamics_reads_collections(&columns));
    assert_string_equal(query, "$select=price,_productid_value&$expand=productid($select=name)");
    free(query);
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
        cmocka_unit_test(test_query_of_columns),
        cmocka_unit_test(test_query_of_lookups),
        cmocka_unit_test(test_query_of_child_rows_and_labels),
        cmocka_unit_test(test_labels_are_asked_for_when_read),
        cmocka_unit_test(test_only_wanted_labels_stay),
        cmocka_unit_test(test_collections_of_a_record),
        cmocka_unit_test(test_collection_that_may_be_cut),
        cmocka_unit_test(test_query_of_child_rows_by_themselves),
    };
    return cmocka_run_group_tests_name("dynamics365_query", tests, set_up, NULL);
}
