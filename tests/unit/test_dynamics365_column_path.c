#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/systems/dynamics365_column_path.h"

/* Each spelling says what the column is about. */
static void test_spellings(void **state)
{
    static const struct {
        const char *column;
        struct dynamics_column_path path;
    } cases[] = {
        {"name", {.head_length = 4}},
        {"_customerid_value", {.head_length = 17}},
        {"help@label", {.head_length = 4, .is_label = true}},
        {"customerid_account.name", {.head_length = 18, .rest = "name"}},
        {"parentcontactid.parentcustomerid_account.name",
         {.head_length = 15, .is_nested = true, .rest = "parentcustomerid_account.name"}},
        {"products[].price", {.head_length = 8, .is_collection = true, .rest = "price"}},
        {"products[].productid.name",
         {.head_length = 8, .is_collection = true, .is_nested = true, .rest = "productid.name"}},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct dynamics_column_path path;
        const struct dynamics_column_path *wanted = &cases[i].path;
        if (!dynamics_column_path_read(cases[i].column, &path))
            fail_msg("%s: not read", cases[i].column);
        assert_int_equal(path.head_length, wanted->head_length);
        assert_int_equal(path.is_label, wanted->is_label);
        assert_int_equal(path.is_collection, wanted->is_collection);
        assert_int_equal(path.is_nested, wanted->is_nested);
        if (wanted->rest == NULL)
            assert_null(path.rest);
        else
            assert_string_equal(path.rest, wanted->rest);
    }
}

/* What cannot stand in a query is no column, so nothing else gets into an address. */
static void test_no_columns(void **state)
{
    static const char *const cases[] = {
        "",           "7up",       ".name",        "name.",     "a..b",          "a[]",     "a[].",
        "a[]b",       "a[].b[].c", "a.b[].c",      "a.b@label", "a[].b@label",   "a@Label", "a@label.b",
        "name,other", "na me",     "a($select=b)", "a&$top=1",  "a.b;$expand=c", "name\n",  "a/b",
    };
    struct dynamics_column_path path;

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        if (dynamics_column_path_read(cases[i], &path))
            fail_msg("'%s' was read", cases[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spellings),
        cmocka_unit_test(test_no_columns),
    };
    return cmocka_run_group_tests_name("dynamics365_column_path", tests, NULL, NULL);
}
