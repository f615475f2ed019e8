#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/json.h"
#include "common/systems/dynamics365_child.h"
#include "tests/support/parse.h"

#define PARENT_ID "0d3b8f60-7c41-4e0a-8a51-6c2f9f5e1b22"
#define OTHER_ID  "0d3b8f60-7c41-4e0a-8a51-6c2f9f5e1b23"

static json_t *how_of(void)
{
    return parse("{\"solutions\":{\"entity\":\"my_solution\",\"parent\":\"my_opportunityid\",\"lookups\":"
                 "{\"my_product\":{\"entity\":\"my_product\",\"match\":[\"my_number\"],\"create\":true}}}}");
}

static json_t *children_of(const char *rows_text)
{
    json_auto_t *how = how_of();
    json_auto_t *rows = parse(rows_text);
    const struct decision decision = {.action = DECISION_CREATE, .rows = how};
    json_t *children = json_array();
    struct error err = ERROR_INIT;

    if (dynamics_children_add(&decision, "solutions", rows, children, &err) < 0)
        fail_msg("%s", err.message);
    return children;
}

/* A row's own columns and what its lookups are found by part ways; the table is as the rules have it. */
static void test_parts_of_a_row(void **state)
{
    (void)state;
    json_auto_t *children =
        children_of("[{\"my_price\":1200.50,\"my_product.my_number\":\"A-1\",\"my_product.my_name\":\"Hub\"}]");
    const json_t *child = json_array_get(children, 0);
    json_auto_t *table = parse("{\"entity\":\"my_solution\"}");
    json_auto_t *columns = parse("{\"my_price\":1200.50}");
    json_auto_t *lookups = parse("{\"my_product\":{\"entity\":\"my_product\",\"match\":[\"my_number\"],\"create\":true,"
                                 "\"values\":{\"my_number\":\"A-1\",\"my_name\":\"Hub\"}}}");

    assert_int_equal(json_array_size(children), 1);
    assert_true(json_same(json_object_get(child, "table"), table));
    assert_true(json_same(json_object_get(child, "columns"), columns));
    assert_true(json_same(json_object_get(child, "lookups"), lookups));
    assert_string_equal(json_text_of(child, "parent"), "my_opportunityid");
}

static void id_of(const char *rows, size_t place, const char *parent_id, char out[static UUID_TEXT_SIZE])
{
    json_auto_t *children = children_of(rows);

    assert_int_equal(dynamics_child_id(json_array_get(children, place), parent_id, out), 0);
}

/* The same row of the same record always has the same id, whatever the order of its members; any other has another, also
 * one that says the same a second time. */
static void test_ids(void **state)
{
    (void)state;
    static const char ROWS[] = "[{\"my_price\":1,\"my_quantity\":2},{\"my_price\":3},{\"my_price\":3.0}]";
    static const char AGAIN[] = "[{\"my_quantity\":2,\"my_price\":1.0}]";
    char first[UUID_TEXT_SIZE], again[UUID_TEXT_SIZE], second[UUID_TEXT_SIZE], third[UUID_TEXT_SIZE],
        of_other[UUID_TEXT_SIZE];

    id_of(ROWS, 0, PARENT_ID, first);
    id_of(AGAIN, 0, PARENT_ID, again);
    id_of(ROWS, 1, PARENT_ID, second);
    id_of(ROWS, 2, PARENT_ID, third);
    id_of(ROWS, 0, OTHER_ID, of_other);
    assert_string_equal(first, again);
    assert_string_not_equal(first, second);
    assert_string_not_equal(second, third);
    assert_string_not_equal(first, of_other);
}

/* A row is sent with its columns, its record and what its lookups are bound to. */
static void test_body(void **state)
{
    (void)state;
    json_auto_t *children = children_of("[{\"my_price\":10.0,\"my_product.my_number\":\"A-1\"}]");
    json_auto_t *binds = parse("{\"my_product@odata.bind\":\"/my_products(" OTHER_ID ")\"}");
    json_auto_t *expected = parse("{\"my_price\":10,\"my_product@odata.bind\":\"/my_products(" OTHER_ID ")\","
                                  "\"my_opportunityid@odata.bind\":\"/opportunities(" PARENT_ID ")\"}");
    size_t length = 0;
    char *text = dynamics_child_body(json_array_get(children, 0), "opportunities", PARENT_ID, binds, &length);
    json_auto_t *body = parse(text);

    assert_int_equal(length, strlen(text));
    assert_true(json_same(body, expected));
    free(text);
}

/* Rows without a description, of a record that is there, or beyond the limit are refused before anything is sent. */
static void test_refused_rows(void **state)
{
    (void)state;
    static const struct {
        int action;
        const char *navigation, *rows, *message;
        size_t before;
    } cases[] = {
        {DECISION_UPDATE, "solutions", "[{}]", "the rows of 'solutions' are made with a new record only", 0},
        {DECISION_CREATE, "others", "[{}]", "the rows of 'others' belong to a table the rules do not tell", 0},
        {DECISION_CREATE, "solutions", "[1]", "the rows of 'solutions' are no objects", 0},
        {DECISION_CREATE, "solutions", "[{},{}]", "the rows of 'solutions' are more than can be made",
         DYNAMICS_CHILDREN_MAX - 1},
        {DECISION_CREATE, "solutions", "[{\"a.b\":1}]", "the rules say of no lookup 'a' what it points to", 0},
    };

    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_auto_t *how = how_of();
        json_auto_t *rows = parse(cases[i].rows);
        json_auto_t *children = json_array();
        const struct decision decision = {.action = cases[i].action, .rows = how};
        struct error err = ERROR_INIT;

        for (size_t k = 0; k < cases[i].before; k++)
            assert_int_equal(json_array_append_new(children, json_object()), 0);
        assert_int_equal(dynamics_children_add(&decision, cases[i].navigation, rows, children, &err), -1);
        assert_int_equal(err.class, ERROR_POISON);
        assert_string_equal(err.code, "dynamics_365.write");
        assert_string_equal(err.message, cases[i].message);
    }
}

/* No rows need no description. */
static void test_no_rows(void **state)
{
    (void)state;
    json_auto_t *rows = json_array();
    json_auto_t *children = json_array();
    const struct decision decision = {.action = DECISION_CREATE};
    struct error err = ERROR_INIT;

    assert_int_equal(dynamics_children_add(&decision, "solutions", rows, children, &err), 0);
    assert_int_equal(json_array_size(children), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts_of_a_row), cmocka_unit_test(test_ids),     cmocka_unit_test(test_body),
        cmocka_unit_test(test_refused_rows),   cmocka_unit_test(test_no_rows),
    };

    json_setup();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
