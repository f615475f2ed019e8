#include "mapper/column_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/json.h"

#define HEAD                                                           \
    "version: 1\n"                                                     \
    "record: opportunity\n"                                            \
    "identity: {identifier: msft_id, sync: msft_sync, audit: audit}\n" \
    "lookups: {currency: {entity: transactioncurrency, match: [code]}}\n"
#define LOOKUP "  - {name: currency, partner_center: c, crm: currency.code}\n"

static const char *const READ[] = {"msft_id", "msft_sync", "audit", "name", "currency.code"};

/* The k-th message, from 0, is asked of what remains in `diagnostics`. */
static int check(const char *text, bool has_section, size_t column_count, struct diagnostics *diagnostics)
{
    const struct column_check columns = {.columns = {.items = (char **)(uintptr_t)READ, .count = column_count},
                                         .has_section = has_section};
    const struct source *source = diagnostics_add_source(diagnostics, "rules.yaml", text, strlen(text));
    struct rules *rules = rules_load(diagnostics, source);
    int status;

    if (rules == NULL)
        fail_msg("%s", diagnostics_message(diagnostics, 0, NULL));
    status = column_check(&columns, rules, diagnostics);
    rules_free(rules);
    return status;
}

/* Columns of the list, what is always read, and the primary key pass; so does what is only written. */
static void test_columns_that_are_read_pass(void **state)
{
    (void)state;
    static const char text[] =
        HEAD "crm: dynamics-365\n"
             "fields:\n" LOOKUP "  - {name: name, partner_center: n, crm: name}\n"
             "  - {name: stage, partner_center: [s, t], crm: [statecode, statuscode], "
             "direction: to-crm}\n"
             "  - {name: id, partner_center: i, crm: opportunityid, direction: to-partner-center}\n"
             "  - {name: made, partner_center: m, crm: made, direction: to-crm, on: create}\n";
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;

    assert_int_equal(check(text, true, ARRAY_LENGTH(READ), &diagnostics), 0);
    assert_int_equal(diagnostics.error_count, 0);
    diagnostics_done(&diagnostics);
}

/* Each column that is not read is an error at its place, once. */
static void test_column_that_is_not_read_is_an_error_at_its_place(void **state)
{
    (void)state;
    static const char text[] =
        HEAD "crm: dynamics-365\n"
             "fields:\n" LOOKUP "  - {name: b, partner_center: n, crm: budget}\n"
             "  - {name: d, partner_center: [d, e], crm: [budget, nam], direction: to-partner-center}\n";
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;

    assert_int_equal(check(text, true, ARRAY_LENGTH(READ), &diagnostics), -1);
    assert_int_equal(diagnostics.error_count, 2);
    assert_string_equal(diagnostics_message(&diagnostics, 0, NULL),
                        "rules.yaml:8:39: error: the column 'budget' is not read: it is not in dynamics_365.columns of "
                        "the configuration");
    assert_non_null(strstr(diagnostics_message(&diagnostics, 1, NULL), "rules.yaml:9:53: error: the column 'nam'"));
    diagnostics_done(&diagnostics);
}

/* The identity has to be read, too: an empty list leaves all of it out. */
static void test_identity_has_to_be_read(void **state)
{
    (void)state;
    static const char text[] = HEAD "crm: dynamics-365\nfields:\n" LOOKUP;
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;

    assert_int_equal(check(text, true, 0, &diagnostics), -1);
    assert_int_equal(diagnostics.error_count, 4);
    diagnostics_done(&diagnostics);
}

/* Of another CRM, or without the section, nothing is known. */
static void test_nothing_is_checked_where_nothing_is_known(void **state)
{
    (void)state;
    static const char other[] = HEAD "crm: salesforce\nfields:\n" LOOKUP;
    static const char same[] = HEAD "crm: dynamics-365\nfields:\n" LOOKUP;
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;

    assert_int_equal(check(other, true, 0, &diagnostics), 0);
    assert_int_equal(check(same, false, 0, &diagnostics), 0);
    assert_int_equal(diagnostics.error_count, 0);
    diagnostics_done(&diagnostics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns_that_are_read_pass),
        cmocka_unit_test(test_column_that_is_not_read_is_an_error_at_its_place),
        cmocka_unit_test(test_identity_has_to_be_read),
        cmocka_unit_test(test_nothing_is_checked_where_nothing_is_known),
    };

    json_setup();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
