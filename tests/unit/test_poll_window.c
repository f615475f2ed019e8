#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "common/base/json.h"
#include "common/messages/record.h"
#include "ingest/poll_window.h"

enum { OVERLAP_MS = 10 * 60 * 1000 };

static void add(json_t *page, const char *id, const char *version, const char *etag)
{
    assert_int_equal(json_array_append_new(page, record_document("own", id, version, version, etag, json_object())), 0);
}

/* The ids that are news, one letter each; `page` is released. */
static const char *take(struct poll_window *window, json_t *page, bool *ret_is_over)
{
    static char ids[64];
    struct error err = ERROR_INIT;
    json_t *news;

    ids[0] = '\0';
    assert_int_equal(poll_window_take(window, OVERLAP_MS, page, &news, ret_is_over, &err), 0);
    for (size_t i = 0; i < json_array_size(news); i++)
        (void)strncat(ids, json_text_of(json_array_get(news, i), "id"), 1);
    json_decref(news);
    json_decref(page);
    return ids;
}

/* Newest first: what is older than the watermark less the overlap ends the round, and is not told. */
static void test_listing_ends_at_the_window(void **state)
{
    struct poll_window window;
    struct error err = ERROR_INIT;
    json_t *page = json_array();
    bool is_over;

    (void)state;
    assert_int_equal(poll_window_init(&window, "2026-11-01T12:00:00Z", &err), 0);
    assert_int_equal(poll_window_begin(&window, &err), 0);
    add(page, "a", "2026-11-01T12:05:00Z", "1");
    add(page, "b", "2026-11-01T11:50:00.5Z", "1");
    add(page, "c", "2026-11-01T11:49:59Z", "1");
    add(page, "d", "2026-11-01T12:01:00Z", "1");
    assert_string_equal(take(&window, page, &is_over), "ab");
    assert_true(is_over);
    assert_string_equal(window.watermark, "2026-11-01T12:00:00Z"); /* until all of it is told */
    assert_int_equal(poll_window_end(&window, &err), 0);
    assert_string_equal(window.watermark, "2026-11-01T12:05:00Z");
    poll_window_done(&window);
}

/* What the overlap shows again is told only when its eTag is another one. */
static void test_known_versions_are_not_told_again(void **state)
{
    struct poll_window window;
    struct error err = ERROR_INIT;
    json_t *first = json_array(), *second = json_array();
    bool is_over;

    (void)state;
    assert_int_equal(poll_window_init(&window, "2026-11-01T12:00:00Z", &err), 0);
    assert_int_equal(poll_window_begin(&window, &err), 0);
    add(first, "a", "2026-11-01T12:05:00Z", "1");
    add(first, "b", "2026-11-01T12:04:00Z", "1");
    assert_string_equal(take(&window, first, &is_over), "ab");
    assert_false(is_over);
    assert_int_equal(poll_window_end(&window, &err), 0);
    assert_int_equal(poll_window_begin(&window, &err), 0);
    add(second, "b", "2026-11-01T12:06:00Z", "2");
    add(second, "a", "2026-11-01T12:05:00Z", "1");
    add(second, "c", "2026-11-01T12:00:00Z", NULL);
    assert_string_equal(take(&window, second, &is_over), "bc");
    poll_window_done(&window);
}

/* After a round that failed everything in the window is news again. */
static void test_abandoned_round_is_told_again(void **state)
{
    struct poll_window window;
    struct error err = ERROR_INIT;
    json_t *first = json_array(), *second = json_array();
    bool is_over;

    (void)state;
    assert_int_equal(poll_window_init(&window, NULL, &err), 0);
    add(first, "a", "2026-11-01T12:05:00Z", "1");
    assert_string_equal(take(&window, first, &is_over), "a");
    poll_window_abandon(&window);
    assert_int_equal(poll_window_begin(&window, &err), 0);
    add(second, "a", "2026-11-01T12:05:00Z", "1");
    assert_string_equal(take(&window, second, &is_over), "a");
    poll_window_done(&window);
}

/* The watermark never goes back, whatever a round shows. */
static void test_watermark_never_goes_back(void **state)
{
    struct poll_window window;
    struct error err = ERROR_INIT;
    json_t *page = json_array();
    bool is_over;

    (void)state;
    assert_int_equal(poll_window_init(&window, "2026-11-01T12:00:00Z", &err), 0);
    assert_int_equal(poll_window_begin(&window, &err), 0);
    assert_int_equal(poll_window_end(&window, &err), 0); /* nothing there */
    assert_string_equal(window.watermark, "2026-11-01T12:00:00Z");
    add(page, "a", "2026-11-01T11:55:00Z", "1");
    assert_string_equal(take(&window, page, &is_over), "a");
    assert_int_equal(poll_window_end(&window, &err), 0);
    assert_string_equal(window.watermark, "2026-11-01T12:00:00Z");
    poll_window_done(&window);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_listing_ends_at_the_window),
        cmocka_unit_test(test_known_versions_are_not_told_again),
        cmocka_unit_test(test_abandoned_round_is_told_again),
        cmocka_unit_test(test_watermark_never_goes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
