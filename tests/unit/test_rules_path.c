#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "mapper/rules_path.h"
#include "mapper/rules_path_read.h"
#include "tests/support/parse.h"

/* `wanted` NULL: the document does not tell. */
static void assert_reads(const char *path, enum side side, const char *document, const char *wanted)
{
    json_t *body = parse(document), *value = NULL;
    assert_int_equal(rules_path_read(path, side, body, &value), 0);
    if (wanted == NULL) {
        assert_null(value);
    } else {
        char *shown = json_write(value, true, NULL);
        assert_string_equal(shown, wanted);
        free(shown);
    }
    json_decref(value);
    json_decref(body);
}

/* A label is the formatted value; of a column without a value it is null, of one that came without labels unknown. */
static void test_label_of_a_choice(void **state)
{
    (void)state;
    static const char path[] = "msft_help@label";
    assert_reads(path, SIDE_CRM,
                 "{\"msft_help\": 4, \"msft_help@OData.Community.Display.V1.FormattedValue\": \"Quotes or Licensing\"}",
                 "\"Quotes or Licensing\"");
    assert_reads(path, SIDE_CRM, "{\"msft_help\": null}", "null");
    assert_reads(path, SIDE_CRM, "{\"msft_help\": 4}", NULL);
    assert_reads(path, SIDE_CRM, "{}", NULL);
}

/* Just the members that are named and say something; what was not read is unknown in the CRM. */
static void test_members_of_an_object(void **state)
{
    (void)state;
    static const char path[] = "contact{firstname,email}";
    assert_reads(path, SIDE_CRM, "{\"contact\": {\"firstname\": \"Ann\", \"email\": null, \"id\": 1}}",
                 "{\"firstname\":\"Ann\"}");
    assert_reads(path, SIDE_CRM, "{\"contact\": {}}", "{}");
    assert_reads(path, SIDE_CRM, "{\"contact\": null}", "null");
    assert_reads(path, SIDE_CRM, "{}", NULL);
    assert_reads("a.b{Id}", SIDE_PARTNER_CENTER, "{\"A\": {\"b\": {\"id\": 1}}}", "{\"Id\":1}");
    assert_reads("a.b{id}", SIDE_PARTNER_CENTER, "{\"a\": {}}", "null");
}

/* The order in which the system tells the rows does not matter, nor how it writes a number. */
static void test_lists_have_one_order(void **state)
{
    (void)state;
    static const char path[] = "rows[]{price,product.name}";
    static const char wanted[] = "[{\"price\":1,\"product.name\":\"b\"},{\"price\":2,\"product.name\":\"a\"}]";
    assert_reads(path, SIDE_CRM,
                 "{\"rows\": [{\"price\": 2, \"product\": {\"name\": \"a\"}, \"id\": 1},"
                 " {\"price\": 1, \"product\": {\"name\": \"b\"}, \"id\": 2}]}",
                 wanted);
    assert_reads(path, SIDE_CRM,
                 "{\"rows\": [{\"price\": 1.00, \"product\": {\"name\": \"b\"}},"
                 " {\"price\": 2.0, \"product\": {\"name\": \"a\"}}]}",
                 wanted);
    assert_reads(path, SIDE_CRM, "{\"rows\": [{\"price\": 1, \"product\": null}]}", "[{\"price\":1}]");
}

/* No rows are an empty list in the CRM when they were read; at Partner Center a list that is not there is unknown. */
static void test_lists_that_are_not_there(void **state)
{
    (void)state;
    assert_reads("rows[]{id}", SIDE_CRM, "{\"rows\": []}", "[]");
    assert_reads("rows[]{id}", SIDE_CRM, "{\"rows\": null}", "[]");
    assert_reads("rows[]{id}", SIDE_CRM, "{}", NULL);
    assert_reads("a.rows[]{id}", SIDE_PARTNER_CENTER, "{\"a\": {\"rows\": []}}", "[]");
    assert_reads("a.rows[]{id}", SIDE_PARTNER_CENTER, "{\"a\": {\"rows\": null}}", "null");
    assert_reads("a.rows[]{id}", SIDE_PARTNER_CENTER, "{\"a\": {\"rows\": \"none\"}}", "null");
    assert_reads("a.rows[]{id}", SIDE_PARTNER_CENTER, "{}", "null");
    assert_reads("a.rows[]{id}", SIDE_PARTNER_CENTER, "{\"A\": {\"Rows\": [{\"Id\": 2}, 7, {\"id\": 1}]}}",
                 "[{\"id\":1},{\"id\":2}]");
}

/* Plain paths are as they were. */
static void test_plain_paths(void **state)
{
    (void)state;
    assert_reads("a.b", SIDE_PARTNER_CENTER, "{\"A\": {\"B\": 1.5}}", "1.5");
    assert_reads("a.0.b", SIDE_PARTNER_CENTER, "{\"a\": [{\"b\": \"x\"}]}", "\"x\"");
    assert_reads("a.b", SIDE_CRM, "{\"a\": {\"b\": 1}}", "1");
    assert_reads("a", SIDE_CRM, "{\"A\": 1}", "null");
}

/* Blanks between members say nothing; anywhere else they stay and make the path wrong. */
static void test_blanks(void **state)
{
    (void)state;
    static const struct {
        const char *written, *path;
    } cases[] = {
        {"rows[]{ a , b.c }", "rows[]{a,b.c}"},
        {"rows[]{a,  b}", "rows[]{a,b}"},
        {"rows []{a b}", "rows []{a b}"},
        {"a b", "a b"},
        {"a", "a"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *path = rules_path_new(cases[i].written);
        assert_string_equal(path, cases[i].path);
        free(path);
    }
}

/* Two paths overlap when one writes what the other does. */
static void test_overlaps(void **state)
{
    (void)state;
    assert_true(rules_paths_overlap("team[]{email}", "team"));
    assert_true(rules_paths_overlap("help", "help@label"));
    assert_true(rules_paths_overlap("details", "details.solutions[]{id}"));
    assert_true(rules_paths_overlap("a.b{c}", "a.b.c"));
    assert_false(rules_paths_overlap("team[]{email}", "teams"));
    assert_false(rules_paths_overlap("a.bc", "a.b{c}"));
    assert_true(rules_path_has_index("a.0.b"));
    assert_false(rules_path_has_index("a0.b[]{c}"));
}

/* In a trial a written label is read again as it was written. */
static void test_what_is_put_is_read(void **state)
{
    (void)state;
    json_t *body = parse("{\"help\": null, \"a\": {\"b\": 1}}"), *value;
    assert_int_equal(rules_path_put("help@label", body, json_string("Quotes")), 0);
    assert_int_equal(rules_path_put("a.b", body, json_integer(2)), 0);
    assert_int_equal(rules_path_read("help@label", SIDE_CRM, body, &value), 0);
    assert_string_equal(json_string_value(value), "Quotes");
    json_decref(value);
    assert_int_equal(rules_path_read("a.b", SIDE_CRM, body, &value), 0);
    assert_int_equal(json_integer_value(value), 2);
    json_decref(value);
    json_decref(body);
}

int main(void)
{
    json_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_label_of_a_choice),
        cmocka_unit_test(test_members_of_an_object),
        cmocka_unit_test(test_lists_have_one_order),
        cmocka_unit_test(test_lists_that_are_not_there),
        cmocka_unit_test(test_plain_paths),
        cmocka_unit_test(test_blanks),
        cmocka_unit_test(test_overlaps),
        cmocka_unit_test(test_what_is_put_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
