#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/json.h"
#include "common/systems/dynamics365_page.h"
#include "tests/support/parse.h"

#define ROW \
    "{\"@odata.etag\":\"W/\\\"7\\\"\",\"opportunityid\":\"B7C1F0A4-3D52-4F0E-8A61-2F9E0D7C5E11\",\"versionnumber\":7}"
#define GONE \
    "{\"@odata.context\":\"https://x.example/$metadata#opportunities/$deletedEntity\",\"id\":\"E2A80C53-7b14-4d9f-96c2-5d1b7f04a833\"}"
#define LINK  "https://other.example:7/somewhere?$select=name&$deltatoken=7%2105%2f04"
#define QUERY "$select=name&$deltatoken=7%2105%2f04"

static const struct dynamics_365_listing listing = {.entity = "opportunity"};
static const struct dynamics_table table = {.set = "opportunities", .key = "opportunityid"};
static const struct dynamics_365_listing children = {.entity = "msft_microsoftsolution",
                                                     .parent = "msft_opportunityid"};
static const struct dynamics_table child_table = {.set = "msft_microsoftsolutions", .key = "msft_microsoftsolutionid"};

/* The first page asks for key columns, wanted columns and the filter; further pages by the link's query alone. */
static void test_paths(void **state)
{
    static const char *const columns[] = {"name", NULL};
    const struct dynamics_365_listing filtered = {.entity = "opportunity", .columns = columns, .filter = "a eq 'b'"};
    char *first = dynamics_page_path(&filtered, &table, "key", NULL);
    char *plain = dynamics_page_path(&listing, &table, NULL, NULL);
    char *next = dynamics_page_path(&filtered, &table, "key", QUERY);

    (void)state;
    assert_string_equal(first,
                        "opportunities?$select=opportunityid,versionnumber,modifiedon,_modifiedby_value,statecode,"
                        "statuscode,key,name&$filter=a%20eq%20%27b%27");
    assert_string_equal(plain,
                        "opportunities?$select=opportunityid,versionnumber,modifiedon,_modifiedby_value,statecode,"
                        "statuscode");
    assert_string_equal(next, "opportunities?" QUERY);
    free(first);
    free(plain);
    free(next);
}

/* Tracking is asked for with all pages but those of a delta link. */
static void test_preferences(void **state)
{
    const struct dynamics_365_listing small = {.entity = "opportunity", .page_rows = 2};
    static const struct {
        bool tracks;
        const char *cursor;
        const char *wanted;
    } cases[] = {
        {false, NULL, "odata.maxpagesize=2"},
        {false, "$skiptoken=7", "odata.maxpagesize=2"},
        {true, NULL, "odata.track-changes,odata.maxpagesize=2"},
        {true, "$skiptoken=7", "odata.track-changes,odata.maxpagesize=2"},
        {true, QUERY, "odata.maxpagesize=2"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char *made = dynamics_page_preference(&small, cases[i].tracks, cases[i].cursor);
        assert_string_equal(made, cases[i].wanted);
        free(made);
    }
}

/* What is no query cannot lead anywhere else. */
static void test_cursors(void **state)
{
    static const char *const bad[] = {"", "a b", "a#b", "a\r\nX: y", "?a", "\xC3\xA4", "a\\b", "\"", "<cookie>"};

    (void)state;
    assert_true(dynamics_page_is_cursor(QUERY));
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        if (dynamics_page_is_cursor(bad[i]))
            fail_msg("'%s' was taken", bad[i]);
    }
}

/* Rows become documents, deletions ids; a row without an id is counted and does not hold up the others. */
static void test_page_is_read(void **state)
{
    json_auto_t *answer = parse("{\"value\":[" ROW ",{\"name\":\"x\"}," GONE "],\"@odata.deltaLink\":\"" LINK "\"}");
    struct dynamics_page page;

    (void)state;
    assert_int_equal(dynamics_page_read(&listing, &table, answer, true, NULL, &page), DYNAMICS_PAGE_GOOD);
    assert_int_equal(json_array_size(page.documents), 1);
    assert_string_equal(json_text_of(json_array_get(page.documents, 0), "id"), "b7c1f0a4-3d52-4f0e-8a61-2f9e0d7c5e11");
    assert_string_equal(json_text_of(json_array_get(page.documents, 0), "version"), "7");
    assert_int_equal(json_array_size(page.deleted), 1);
    assert_string_equal(json_string_value(json_array_get(page.deleted, 0)), "e2a80c53-7b14-4d9f-96c2-5d1b7f04a833");
    assert_int_equal(page.skipped, 1);
    assert_null(page.next);
    assert_string_equal(page.resume, QUERY);
    dynamics_page_done(&page);
}

/* A page that cannot be gone on from is not taken for the last one. */
static void test_pages_that_are_none(void **state)
{
    static const struct {
        const char *answer;
        bool tracks;
        enum dynamics_page_problem problem;
    } cases[] = {
        {"{\"value\":[]}", false, DYNAMICS_PAGE_GOOD},
        {"{\"value\":[]}", true, DYNAMICS_PAGE_NOT_TRACKED},
        {"{\"value\":[],\"@odata.nextLink\":\"" LINK "\"}", true, DYNAMICS_PAGE_GOOD},
        {"{\"value\":[],\"@odata.nextLink\":null}", false, DYNAMICS_PAGE_GOOD},
        {"{\"value\":[],\"@odata.nextLink\":7}", false, DYNAMICS_PAGE_BAD_LINK},
        {"{\"value\":[],\"@odata.nextLink\":\"https://x.example/\"}", false, DYNAMICS_PAGE_BAD_LINK},
        {"{\"value\":[],\"@odata.nextLink\":\"https://x.example/?a#b\"}", false, DYNAMICS_PAGE_BAD_LINK},
        {"{\"value\":[],\"@odata.deltaLink\":\"https://x.example/?\"}", true, DYNAMICS_PAGE_BAD_LINK},
        {"{\"value\":{}}", false, DYNAMICS_PAGE_NO_LIST},
        {"{}", true, DYNAMICS_PAGE_NO_LIST},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_auto_t *answer = parse(cases[i].answer);
        struct dynamics_page page = {0};
        enum dynamics_page_problem problem = dynamics_page_read(&listing, &table, answer, cases[i].tracks, NULL, &page);
        if (problem != cases[i].problem)
            fail_msg("%s: %d", cases[i].answer, (int)problem);
        dynamics_page_done(&page);
    }
}

/* Only a cursor expires, and neither sign-in nor load is its fault. */
static void test_expiry(void **state)
{
    static const struct {
        long status;
        bool is_expired;
    } cases[] = {{400, true},  {404, true},  {410, true},  {401, false}, {403, false},
                 {429, false}, {500, false}, {503, false}, {200, false}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        assert_int_equal(dynamics_page_is_expired(cases[i].status, QUERY), cases[i].is_expired);
        assert_false(dynamics_page_is_expired(cases[i].status, NULL));
    }
}

#define CHILD(id, more) "{\"msft_microsoftsolutionid\":\"" id "\"," more "\"modifiedon\":\"2026-11-01T12:00:00Z\"}"
#define PARENT          "\"_msft_opportunityid_value\":\"B7C1F0A4-3D52-4F0E-8A61-2F9E0D7C5E11\","
#define POINTS_TO(name) "\"_msft_opportunityid_value@Microsoft.Dynamics.CRM.lookuplogicalname\":\"" name "\","
#define ROW_ID(digit)   "0000000" digit "-7b14-4d9f-96c2-5d1b7f04a833"

/* Of a child table the key, the time and the lookup are asked for, and which table the lookup points to. */
static void test_child_table_is_asked_for(void **state)
{
    char *first = dynamics_page_path(&children, &child_table, "key", NULL);
    char *next = dynamics_page_path(&children, &child_table, "key", QUERY);
    char *prefer = dynamics_page_preference(&children, true, NULL);

    (void)state;
    assert_string_equal(
        first, "msft_microsoftsolutions?$select=msft_microsoftsolutionid,modifiedon,_msft_opportunityid_value");
    assert_string_equal(next, "msft_microsoftsolutions?" QUERY);
    assert_string_equal(prefer, "odata.track-changes,odata.maxpagesize=500,"
                                "odata.include-annotations=\"Microsoft.Dynamics.CRM.lookuplogicalname\"");
    free(first);
    free(next);
    free(prefer);
}

/* A child row tells its opportunity, unless it has none or its lookup points to another table. */
static void test_child_rows_are_read(void **state)
{
    json_auto_t *answer = parse(
        "{\"value\":[" CHILD(ROW_ID("1"), PARENT) "," CHILD(ROW_ID("2"), PARENT POINTS_TO("opportunity")) "," CHILD(
            ROW_ID("3"),
            PARENT POINTS_TO(
                "lead")) "," CHILD(ROW_ID("4"),
                                   "\"_msft_opportunityid_value\":null,") "," CHILD(ROW_ID("5"),
                                                                                    "\"_msft_opportunityid_value\":\"x\",") "," GONE
                                                                                                                            "],\"@odata.deltaLink\":\"" LINK
                                                                                                                            "\"}");
    static const bool has_parent[] = {true, true, false, false, false};
    struct dynamics_page page;

    (void)state;
    assert_int_equal(dynamics_page_read(&children, &child_table, answer, true, NULL, &page), DYNAMICS_PAGE_GOOD);
    assert_int_equal(json_array_size(page.documents), ARRAY_LENGTH(has_parent));
    for (size_t i = 0; i < ARRAY_LENGTH(has_parent); i++) {
        const json_t *document = json_array_get(page.documents, i);
        const char *parent = json_text_of(document, "parent");
        assert_int_equal(json_text_of(document, "id")[7], '1' + (int)i);
        assert_string_equal(json_text_of(document, "changed_at"), "2026-11-01T12:00:00Z");
        if (has_parent[i])
            assert_string_equal(parent, "b7c1f0a4-3d52-4f0e-8a61-2f9e0d7c5e11");
        else
            assert_null(parent);
    }
    assert_int_equal(json_array_size(page.deleted), 1);
    dynamics_page_done(&page);
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
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_preferences),
        cmocka_unit_test(test_cursors),
        cmocka_unit_test(test_page_is_read),
        cmocka_unit_test(test_pages_that_are_none),
        cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_child_table_is_asked_for),
        cmocka_unit_test(test_child_rows_are_read),
    };
    return cmocka_run_group_tests_name("dynamics365_page", tests, set_up, NULL);
}
