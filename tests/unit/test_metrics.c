#include "common/runtime/metrics.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

enum { PAGE_MAX = 4 * 1024 * 1024, WRITERS = 4, ADDS_EACH = 20000 };

static struct text page;

/* The whole page, valid until the next call. */
static const char *render(void)
{
    text_done(&page);
    text_init(&page, PAGE_MAX);
    assert_int_equal(metrics_render(&page), 0);
    return text_string(&page);
}

static void expect_line(const char *line)
{
    const char *rendered = render();
    const char *hit = strstr(rendered, line);
    if (hit == NULL || (hit != rendered && hit[-1] != '\n') || hit[strlen(line)] != '\n')
        fail_msg("no line '%s' in\n%s", line, rendered);
}

static size_t count_of(const char *needle)
{
    size_t count = 0;
    for (const char *at = render(); (at = strstr(at, needle)) != NULL; at++)
        count++;
    return count;
}

static int tear_down(void **state)
{
    (void)state;
    text_done(&page);
    return 0;
}

/* Counters and gauges appear with help, type and labels. */
static void test_counter_and_gauge_are_rendered(void **state)
{
    (void)state;
    struct metric *counter =
        metrics_declare(METRIC_COUNTER, "tandem_test_events_total", "topic,result", "Events\nread.");
    metric_count(counter, "records", "ok", NULL, NULL);
    metric_count(counter, "records", "ok", NULL, NULL);
    metric_count(counter, "records", "bad", NULL, NULL);
    struct series *gauge = metrics_series(metrics_declare(METRIC_GAUGE, "tandem_test_lag", "", "Lag."), NULL);
    metric_set(gauge, 7);
    metric_add(gauge, -9);
    assert_non_null(strstr(render(), "# HELP tandem_test_events_total Events\\nread.\n"
                                     "# TYPE tandem_test_events_total counter\n"
                                     "tandem_test_events_total{topic=\"records\",result=\"ok\"} 2\n"
                                     "tandem_test_events_total{topic=\"records\",result=\"bad\"} 1\n"
                                     "# HELP tandem_test_lag Lag.\n"
                                     "# TYPE tandem_test_lag gauge\n"
                                     "tandem_test_lag -2\n"));
}

/* A histogram counts into cumulative buckets with inclusive bounds, and exports seconds. */
static void test_histogram_buckets_are_cumulative_and_in_seconds(void **state)
{
    (void)state;
    struct metric *metric = metrics_declare(METRIC_HISTOGRAM, "tandem_test_seconds", "target", "Time.");
    struct series *series = metrics_series(metric, (const char *const[]){"crm", NULL});
    metric_observe_ms(series, 1);
    metric_observe_us(series, 1001);
    metric_observe_ms(series, 60000);
    metric_observe_ms(series, 60001);
    metric_observe_us(series, -5);
    expect_line("tandem_test_seconds_bucket{target=\"crm\",le=\"0.001\"} 2");
    expect_line("tandem_test_seconds_bucket{target=\"crm\",le=\"0.002\"} 3");
    expect_line("tandem_test_seconds_bucket{target=\"crm\",le=\"30\"} 3");
    expect_line("tandem_test_seconds_bucket{target=\"crm\",le=\"60\"} 4");
    expect_line("tandem_test_seconds_bucket{target=\"crm\",le=\"+Inf\"} 5");
    expect_line("tandem_test_seconds_sum{target=\"crm\"} 120.003001");
    expect_line("tandem_test_seconds_count{target=\"crm\"} 5");
}

/* Label values that come from outside cannot break the page: they are escaped, made valid and cut at a character. */
static void test_label_values_cannot_break_the_page(void **state)
{
    (void)state;
    struct metric *metric = metrics_declare(METRIC_COUNTER, "tandem_test_labels_total", "value", "Labels.");
    metric_count(metric, "a\"b\\c\nd", NULL, NULL, NULL);
    metric_count(metric, "x\xFFy\xC3", NULL, NULL, NULL);
    expect_line("tandem_test_labels_total{value=\"a\\\"b\\\\c\\nd\"} 1");
    expect_line("tandem_test_labels_total{value=\"x?y?\"} 1");

    char value[200];
    memset(value, 'z', sizeof(value));
    memcpy(value + 126, "\xE2\x82\xAC", 3);
    value[199] = '\0';
    metric_count(metric, value, NULL, NULL, NULL);
    char line[256];
    (void)snprintf(line, sizeof(line), "tandem_test_labels_total{value=\"%.126s\"} 1", value);
    expect_line(line);
}

/* Labels that are not given are empty, and the same values always find the same series. */
static void test_series_are_found_again_by_their_values(void **state)
{
    (void)state;
    struct metric *metric = metrics_declare(METRIC_GAUGE, "tandem_test_pairs", "a,b", "Pairs.");
    struct series *first = metrics_series(metric, (const char *const[]){"x", "yz", NULL});
    assert_ptr_equal(first, metrics_series(metric, (const char *const[]){"x", "yz", NULL}));
    assert_ptr_not_equal(first, metrics_series(metric, (const char *const[]){"xy", "z", NULL}));
    assert_ptr_equal(metrics_series(metric, (const char *const[]){"x", NULL}),
                     metrics_series(metric, (const char *const[]){"x", "", NULL}));
    assert_ptr_equal(metric, metrics_declare(METRIC_GAUGE, "tandem_test_pairs", "a,b", "Pairs."));
}

/* Beyond the bound of series a metric counts into one whose labels are "other", so that nobody can fill the memory. */
static void test_series_beyond_the_bound_are_other(void **state)
{
    (void)state;
    struct metric *metric = metrics_declare(METRIC_COUNTER, "tandem_test_many_total", "id", "Many.");
    for (int i = 0; i < METRICS_SERIES_MAX + 10; i++) {
        char id[16];
        (void)snprintf(id, sizeof(id), "n%d", i);
        metric_count(metric, id, NULL, NULL, NULL);
    }
    expect_line("tandem_test_many_total{id=\"n511\"} 1");
    expect_line("tandem_test_many_total{id=\"other\"} 10");
    assert_int_equal(count_of("tandem_test_many_total{"), METRICS_SERIES_MAX + 1);
    metric_count(metric, "n3", NULL, NULL, NULL);
    expect_line("tandem_test_many_total{id=\"n3\"} 2");
}

static void *add_many(void *arg)
{
    struct metric *metric = arg;
    for (int i = 0; i < ADDS_EACH; i++)
        metric_count(metric, i % 2 == 0 ? "even" : "odd", NULL, NULL, NULL);
    return NULL;
}

/* Updates of several threads all count, while the page is rendered. */
static void test_updates_of_threads_all_count(void **state)
{
    (void)state;
    struct metric *metric = metrics_declare(METRIC_COUNTER, "tandem_test_threads_total", "kind", "Threads.");
    pthread_t threads[WRITERS];
    for (size_t i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_many, metric), 0);
    (void)render();
    for (size_t i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    expect_line("tandem_test_threads_total{kind=\"even\"} 40000");
    expect_line("tandem_test_threads_total{kind=\"odd\"} 40000");
}

/* A metric that could not be declared costs nothing but itself. */
static void test_missing_metric_is_ignored(void **state)
{
    (void)state;
    assert_null(metrics_series(NULL, NULL));
    metric_count(NULL, "a", NULL, NULL, NULL);
    metric_add(NULL, 1);
    metric_set(NULL, 1);
    metric_observe_ms(NULL, 1);
}

/* A page that does not fit is an error, not half a page. */
static void test_page_that_does_not_fit_is_an_error(void **state)
{
    (void)state;
    metric_set(metrics_series(metrics_declare(METRIC_GAUGE, "tandem_test_fit", "", "Fit."), NULL), 1);
    struct text small;
    text_init(&small, 20);
    assert_int_equal(metrics_render(&small), -1);
    text_done(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counter_and_gauge_are_rendered),
        cmocka_unit_test(test_histogram_buckets_are_cumulative_and_in_seconds),
        cmocka_unit_test(test_label_values_cannot_break_the_page),
        cmocka_unit_test(test_series_are_found_again_by_their_values),
        cmocka_unit_test(test_series_beyond_the_bound_are_other),
        cmocka_unit_test(test_updates_of_threads_all_count),
        cmocka_unit_test(test_missing_metric_is_ignored),
        cmocka_unit_test(test_page_that_does_not_fit_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, tear_down);
}
