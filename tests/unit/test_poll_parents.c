#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "ingest/poll_parents.h"

#define OLD "2026-10-01T12:00:00Z"
#define NEW "2026-11-01T12:00:00Z"

static struct poll_parents parents;

static void begin(bool is_whole)
{
    struct error err = ERROR_INIT;

    assert_int_equal(poll_parents_begin(&parents, is_whole, &err), 0);
}

static void keep(void)
{
    struct error err = ERROR_INIT;

    assert_int_equal(poll_parents_keep(&parents, &err), 0);
}

/* As JSON, the members in alphabetical order. */
static const char *members(json_t *object)
{
    static char text[512];
    char *dumped = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);

    (void)snprintf(text, sizeof(text), "%s", dumped);
    free(dumped);
    return text;
}

/* Rows as "id", "parent" or "", "changed at", up to NULL. What is news of it, as JSON. */
static const char *take(const char *const (*rows)[3], const char *deleted, bool is_last, const char *since)
{
    static char text[512];
    json_auto_t *documents = json_array(), *ids = json_array();
    struct poll_parents_page page = {.rows = documents, .deleted = ids, .is_last = is_last, .since = since};
    struct error err = ERROR_INIT;
    json_t *news;

    for (; rows != NULL && (*rows)[0] != NULL; rows++) {
        const char *parent = (*rows)[1];
        assert_int_equal(
            json_array_append_new(documents, json_pack("{s:s, s:s*, s:s*}", "id", (*rows)[0], "parent",
                                                       *parent == '\0' ? NULL : parent, "changed_at", (*rows)[2])),
            0);
    }
    for (; *deleted != '\0'; deleted++)
        assert_int_equal(json_array_append_new(ids, json_stringn(deleted, 1)), 0);
    assert_int_equal(poll_parents_take(&parents, &page, &news, &err), 0);
    (void)snprintf(text, sizeof(text), "%s", members(news));
    json_decref(news);
    return text;
}

static void learn(const char *row, const char *parent)
{
    struct error err = ERROR_INIT;

    assert_int_equal(poll_parents_learn(&parents, row, parent, &err), 0);
}

static int set_up(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    return poll_parents_init(&parents, 4, &err);
}

static int tear_down(void **state)
{
    (void)state;
    poll_parents_done(&parents);
    return 0;
}

/* A changed row is news of its opportunity, once for all rows of it, and is remembered once that is in Kafka. */
static void test_rows_are_news_of_their_opportunity(void **state)
{
    static const char *const rows[][3] = {{"a", "X", OLD}, {"b", "X", NEW}, {"c", "Y", NULL}, {"d", "", NEW}, {NULL}};

    (void)state;
    begin(false);
    assert_string_equal(take(rows, "", true, NULL), "{\"X\":\"" NEW "\",\"Y\":null}");
    assert_string_equal(members(parents.changes), "{\"a\":\"X\",\"b\":\"X\",\"c\":\"Y\"}");
    assert_int_equal(json_object_size(parents.known), 0);
    keep();
    assert_string_equal(members(parents.known), "{\"a\":\"X\",\"b\":\"X\",\"c\":\"Y\"}");
    assert_true(poll_parents_end(&parents));

    begin(false);
    assert_string_equal(take(rows, "", true, NULL), "{\"X\":\"" NEW "\",\"Y\":null}");
    assert_int_equal(json_object_size(parents.changes), 0); /* as they are known */
}

/* A deleted row is news of the opportunity it belonged to, and is forgotten; of one never seen nothing is known. */
static void test_deleted_row_is_news_of_where_it_was(void **state)
{
    (void)state;
    learn("a", "X");
    learn("b", "Y");
    begin(false);
    assert_string_equal(take(NULL, "az", true, NULL), "{\"X\":null}");
    assert_string_equal(members(parents.changes), "{\"a\":null}");
    assert_int_equal(parents.unknown, 1);
    keep();
    assert_string_equal(members(parents.known), "{\"b\":\"Y\"}");
}

/* A row that moves is news of both opportunities, one that is taken away of the one it had. */
static void test_moved_row_is_news_of_both(void **state)
{
    static const char *const rows[][3] = {{"a", "Y", OLD}, {"b", "", OLD}, {NULL}};

    (void)state;
    learn("a", "X");
    learn("b", "Z");
    begin(false);
    assert_string_equal(take(rows, "", true, NEW), "{\"X\":null,\"Y\":\"" OLD "\",\"Z\":null}");
    assert_string_equal(members(parents.changes), "{\"a\":\"Y\",\"b\":null}");
    keep();
    assert_string_equal(members(parents.known), "{\"a\":\"Y\"}");
}

/* The first listing tells the last while, but remembers every row. */
static void test_old_rows_are_remembered_and_no_news(void **state)
{
    static const char *const rows[][3] = {{"a", "X", OLD}, {"b", "Y", NEW}, {NULL}};

    (void)state;
    begin(true);
    assert_string_equal(take(rows, "", true, "2026-10-15T00:00:00Z"), "{\"Y\":\"" NEW "\"}");
    assert_string_equal(members(parents.changes), "{\"a\":\"X\",\"b\":\"Y\"}");
}

/* A whole listing shows what is gone by not showing it, over all its pages and only at its end. */
static void test_row_that_a_whole_listing_lacks_is_gone(void **state)
{
    static const char *const first[][3] = {{"a", "X", OLD}, {"d", "W", OLD}, {NULL}};
    static const char *const last[][3] = {{"b", "Y", OLD}, {NULL}};

    (void)state;
    learn("a", "X");
    learn("b", "Y");
    learn("c", "Z");
    begin(true);
    assert_string_equal(take(first, "", false, NEW), "{}");
    keep();
    assert_string_equal(take(last, "", true, NEW), "{\"Z\":null}");
    assert_string_equal(members(parents.changes), "{\"c\":null}");
    keep();
    assert_true(poll_parents_end(&parents));
    assert_string_equal(members(parents.known), "{\"a\":\"X\",\"b\":\"Y\",\"d\":\"W\"}");

    begin(false); /* changes alone show nothing of the others */
    assert_string_equal(take(last, "", true, NEW), "{}");
}

/* What was told before the round failed is told again: of its page nothing counts as known. */
static void test_failed_round_knows_nothing(void **state)
{
    (void)state;
    learn("a", "X");
    begin(false);
    assert_string_equal(take(NULL, "a", true, NULL), "{\"X\":null}");
    poll_parents_abandon(&parents);
    keep();
    begin(false);
    assert_string_equal(take(NULL, "a", true, NULL), "{\"X\":null}");
}

/* Beyond the bound nothing is remembered, and it is counted; what has its place keeps it. */
static void test_rows_beyond_the_bound_are_passed_over(void **state)
{
    static const char *const rows[][3] = {{"a", "Y", NEW}, {"d", "X", NEW}, {"e", "X", NEW}, {"f", "X", NEW}, {NULL}};

    (void)state;
    learn("a", "X");
    learn("b", "X");
    learn("c", "X");
    begin(false);
    (void)take(rows, "", true, NULL);
    keep();
    assert_int_equal(json_object_size(parents.known), 4);
    assert_string_equal(json_text_of(parents.known, "a"), "Y");
    assert_int_equal(parents.passed_over, 2);
    learn("g", "X");
    assert_int_equal(json_object_size(parents.known), 4);
    learn("a", NULL);
    learn("g", "X");
    assert_string_equal(json_text_of(parents.known, "g"), "X");
}

/* More gone rows than one round tells are left for the next, whose listing is a whole one again. */
static void test_many_gone_rows_take_several_rounds(void **state)
{
    enum { ROWS = POLL_PARENTS_GONE_MAX + 1 };
    char row[16];
    struct error err = ERROR_INIT;

    (void)state;
    poll_parents_done(&parents);
    assert_int_equal(poll_parents_init(&parents, ROWS, &err), 0);
    for (int i = 0; i < ROWS; i++) {
        (void)snprintf(row, sizeof(row), "%d", i);
        learn(row, "X");
    }
    begin(true);
    assert_string_equal(take(NULL, "", true, NULL), "{\"X\":null}");
    assert_int_equal(json_object_size(parents.changes), POLL_PARENTS_GONE_MAX);
    keep();
    assert_false(poll_parents_end(&parents));
    begin(true);
    assert_string_equal(take(NULL, "", true, NULL), "{\"X\":null}");
    keep();
    assert_true(poll_parents_end(&parents));
    assert_int_equal(json_object_size(parents.known), 0);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_rows_are_news_of_their_opportunity),
        CASE(test_deleted_row_is_news_of_where_it_was),
        CASE(test_moved_row_is_news_of_both),
        CASE(test_old_rows_are_remembered_and_no_news),
        CASE(test_row_that_a_whole_listing_lacks_is_gone),
        CASE(test_failed_round_knows_nothing),
        CASE(test_rows_beyond_the_bound_are_passed_over),
        CASE(test_many_gone_rows_take_several_rounds),
    };

    json_setup();
    return cmocka_run_group_tests_name("poll_parents", tests, NULL, NULL);
}
