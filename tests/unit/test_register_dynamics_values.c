#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/json.h"
#include "ingest/register_dynamics_values.h"

/* A lookup listens to itself, owners to the owner; child rows, and what changes with every write, to nothing. */
static void test_attributes_of_columns(void **state)
{
    static const char *const names[] = {"name",
                                        "help@label",
                                        "customerid_account.name",
                                        "customerid_account.address1_city",
                                        "customerid_contact.fullname",
                                        "owninguser.lastname",
                                        "products[].price",
                                        "_parentcontactid_value",
                                        "versionnumber",
                                        "modifiedon",
                                        "_modifiedby_value",
                                        "opportunityid",
                                        "statecode",
                                        "not a column"};
    const struct config_list columns = {.items = (char **)(uintptr_t)names, .count = ARRAY_LENGTH(names)};
    const struct config_list none = {0};
    char *attributes = register_dynamics_attributes(&columns);
    char *least = register_dynamics_attributes(&none);

    (void)state;
    assert_string_equal(attributes, "customerid,help,name,ownerid,parentcontactid,statecode,statuscode");
    assert_string_equal(least, "statecode,statuscode");
    free(attributes);
    free(least);
}

/* The order of attributes means nothing. */
static void test_same_attributes(void **state)
{
    (void)state;
    assert_true(register_dynamics_same_attributes("a,b", "b, a"));
    assert_true(register_dynamics_same_attributes("a,a", "a"));
    assert_true(register_dynamics_same_attributes(NULL, ""));
    assert_false(register_dynamics_same_attributes("a,b", "a"));
    assert_false(register_dynamics_same_attributes("a", "a,b"));
    assert_false(register_dynamics_same_attributes("ab", "a,b"));
    assert_false(register_dynamics_same_attributes(NULL, "a"));
}

/* A secret cannot end the setting it stands in. */
static void test_auth_value(void **state)
{
    char *header = register_dynamics_auth_value(false, "x-key", "a&b<c>\"d\"");
    char *key = register_dynamics_auth_value(true, "x-key", "a&b");

    (void)state;
    assert_string_equal(header,
                        "<settings><setting name=\"x-key\" value=\"a&amp;b&lt;c&gt;&quot;d&quot;\" /></settings>");
    assert_string_equal(key, "a&b");
    free(header);
    free(key);
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
        cmocka_unit_test(test_attributes_of_columns),
        cmocka_unit_test(test_same_attributes),
        cmocka_unit_test(test_auth_value),
    };
    return cmocka_run_group_tests_name("register_dynamics_values", tests, set_up, NULL);
}
