#include "common/runtime/metrics.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    CHAINS = 64, /* a power of two */
    LABEL_VALUE_BYTES_MAX = 128,
    BUCKETS = 15, /* without +Inf */
    US_PER_MS = 1000,
    US_PER_SECOND = 1000000
};

struct bucket {
    int64_t bound_us; /* inclusive */
    const char *text; /* seconds */
};

static const struct bucket BUCKET_BOUNDS[BUCKETS] = {
    {1000, "0.001"},  {2000, "0.002"}, {5000, "0.005"},  {10000, "0.01"},  {25000, "0.025"},
    {50000, "0.05"},  {100000, "0.1"}, {250000, "0.25"}, {500000, "0.5"},  {1000000, "1"},
    {2500000, "2.5"}, {5000000, "5"},  {10000000, "10"}, {30000000, "30"}, {60000000, "60"},
};

struct series {
    const struct metric *metric;
    char *labels[METRICS_LABELS_MAX];     /* the values; NULL beyond the metric's label_count */
    _Atomic int64_t value;                /* counter, gauge; histogram: sum in microseconds */
    _Atomic int64_t buckets[BUCKETS + 1]; /* histogram: observations in each bucket alone; the last one is +Inf */
    struct series *next_in_chain;
    struct series *next; /* in the order of creation */
};

struct metric {
    enum metric_kind kind;
    char *name;
    char *help;
    char *label_names[METRICS_LABELS_MAX];
    size_t label_count;
    struct series *chains[CHAINS]; /* by hash of the label values */
    struct series *first, *last;
    size_t series_count;
    struct series other;
    bool is_other_used;
    struct metric *next;
};

/* The mutex guards the lists, not the values. */
static struct {
    pthread_mutex_t mutex;
    struct metric *first, *last;
} registry = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* --- Declaration -------------------------------------------------------------------------------------------------- */

static void free_metric(struct metric *metric)
{
    for (size_t i = 0; i < metric->label_count; i++) {
        free(metric->label_names[i]);
        free(metric->other.labels[i]);
    }
    free(metric->name);
    free(metric->help);
    free(metric);
}

static struct metric *new_metric(enum metric_kind kind, const char *name, const char *labels, const char *help)
{
    struct metric *metric = calloc(1, sizeof(*metric));
    if (metric == NULL)
        return NULL;
    metric->kind = kind;
    metric->name = text_copy(name);
    metric->help = text_copy(help);
    metric->other.metric = metric;
    bool is_complete = metric->name != NULL && metric->help != NULL;
    for (const char *at = labels; is_complete && *at != '\0' && metric->label_count < METRICS_LABELS_MAX;) {
        size_t length = strcspn(at, ",");
        size_t index = metric->label_count++;
        metric->label_names[index] = text_copy_n(at, length);
        metric->other.labels[index] = text_copy("other");
        is_complete = metric->label_names[index] != NULL && metric->other.labels[index] != NULL;
        at += at[length] == ',' ? length + 1 : length;
    }
    if (is_complete)
        return metric;
    free_metric(metric);
    return NULL;
}

struct metric *metrics_declare(enum metric_kind kind, const char *name, const char *labels, const char *help)
{
    assert(text_starts_with(name, "tandem_") && labels != NULL);
    pthread_mutex_lock(&registry.mutex);
    struct metric *metric = registry.first;
    while (metric != NULL && strcmp(metric->name, name) != 0)
        metric = metric->next;
    if (metric == NULL && (metric = new_metric(kind, name, labels, help)) != NULL) {
        if (registry.last != NULL)
            registry.last->next = metric;
        else
            registry.first = metric;
        registry.last = metric;
    }
    pthread_mutex_unlock(&registry.mutex);
    return metric;
}

/* --- Series ------------------------------------------------------------------------------------------------------- */

/* Label values as they are kept: cut, and valid UTF-8, since one bad byte makes a scraper refuse the whole page. */
struct label_values {
    char texts[METRICS_LABELS_MAX][LABEL_VALUE_BYTES_MAX + 1];
};

static void clean_value(const char *value, char out[static LABEL_VALUE_BYTES_MAX + 1])
{
    size_t length = strnlen(value, LABEL_VALUE_BYTES_MAX);
    bool is_cut = value[length] != '\0';
    memcpy(out, value, length);
    out[length] = '\0';
    size_t bad = 0;
    for (size_t from = 0; !utf8_is_valid(out + from, length - from, &bad); from += bad + 1) {
        /* What is bad near the end of a cut text is the half of a character. */
        if (is_cut && length - from - bad < 4) {
            out[from + bad] = '\0';
            return;
        }
        out[from + bad] = '?';
    }
}

/* FNV-1a over the values and their ends. */
static size_t chain_of(const struct label_values *values, size_t count)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < count; i++) {
        const char *c = values->texts[i];
        do
            hash = (hash ^ (unsigned char)*c) * 16777619u;
        while (*c++ != '\0');
    }
    return hash & (CHAINS - 1);
}

static bool has_values(const struct series *series, const struct label_values *values)
{
    for (size_t i = 0; i < series->metric->label_count; i++) {
        if (strcmp(series->labels[i], values->texts[i]) != 0)
            return false;
    }
    return true;
}

static struct series *new_series(struct metric *metric, const struct label_values *values)
{
    struct series *series = calloc(1, sizeof(*series));
    if (series == NULL)
        return NULL;
    series->metric = metric;
    bool is_complete = true;
    for (size_t i = 0; i < metric->label_count; i++) {
        series->labels[i] = text_copy(values->texts[i]);
        is_complete = is_complete && series->labels[i] != NULL;
    }
    if (is_complete)
        return series;
    for (size_t i = 0; i < metric->label_count; i++)
        free(series->labels[i]);
    free(series);
    return NULL;
}

/* With the registry locked. */
static struct series *find_or_add(struct metric *metric, const struct label_values *values)
{
    size_t chain = chain_of(values, metric->label_count);
    for (struct series *series = metric->chains[chain]; series != NULL; series = series->next_in_chain) {
        if (has_values(series, values))
            return series;
    }
    struct series *series = metric->series_count < METRICS_SERIES_MAX ? new_series(metric, values) : NULL;
    if (series == NULL) {
        metric->is_other_used = true;
        return &metric->other;
    }
    metric->series_count++;
    series->next_in_chain = metric->chains[chain];
    metric->chains[chain] = series;
    if (metric->last != NULL)
        metric->last->next = series;
    else
        metric->first = series;
    metric->last = series;
    return series;
}

struct series *metrics_series(struct metric *metric, const char *const *values)
{
    if (metric == NULL)
        return NULL;
    struct label_values clean = {0};
    for (size_t i = 0; i < metric->label_count && values != NULL && values[i] != NULL; i++)
        clean_value(values[i], clean.texts[i]);
    pthread_mutex_lock(&registry.mutex);
    struct series *series = find_or_add(metric, &clean);
    pthread_mutex_unlock(&registry.mutex);
    return series;
}

/* --- Updates ------------------------------------------------------------------------------------------------------ */

void metric_add(struct series *series, int64_t amount)
{
    if (series == NULL)
        return;
    assert(series->metric->kind == METRIC_GAUGE || (series->metric->kind == METRIC_COUNTER && amount >= 0));
    atomic_fetch_add_explicit(&series->value, amount, memory_order_relaxed);
}

void metric_set(struct series *series, int64_t value)
{
    if (series == NULL)
        return;
    assert(series->metric->kind == METRIC_GAUGE);
    atomic_store_explicit(&series->value, value, memory_order_relaxed);
}

void metric_observe_us(struct series *series, int64_t duration_us)
{
    if (series == NULL)
        return;
    assert(series->metric->kind == METRIC_HISTOGRAM);
    if (duration_us < 0)
        duration_us = 0;
    size_t bucket = 0;
    while (bucket < BUCKETS && duration_us > BUCKET_BOUNDS[bucket].bound_us)
        bucket++;
    atomic_fetch_add_explicit(&series->buckets[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&series->value, duration_us, memory_order_relaxed);
}

void metric_observe_ms(struct series *series, int64_t duration_ms)
{
    metric_observe_us(series, duration_ms > INT64_MAX / US_PER_MS ? INT64_MAX : duration_ms * US_PER_MS);
}

void metric_count(struct metric *metric, const char *a, const char *b, const char *c, const char *d)
{
    const char *const values[METRICS_LABELS_MAX + 1] = {a, b, c, d, NULL};
    metric_add(metrics_series(metric, values), 1);
}

/* --- The text format (Prometheus exposition format 0.0.4) --------------------------------------------------------- */

/* Label values escape '\', '"' and the line feed; help texts the first and the last. */
static int append_escaped(struct text *out, const char *string, bool with_quotes)
{
    for (const char *c = string; *c != '\0'; c++) {
        int result;
        if (*c == '\n')
            result = text_append(out, "\\n");
        else if (*c == '\\' || (with_quotes && *c == '"'))
            result = text_appendf(out, "\\%c", *c);
        else
            result = text_append_char(out, *c);
        if (result < 0)
            return -1;
    }
    return 0;
}

/* `{a="x",le="0.5"}`, or nothing when there are no labels; `bound` may be NULL. */
static int append_labels(struct text *out, const struct series *series, const char *bound)
{
    const struct metric *metric = series->metric;
    const char *separator = "{";
    for (size_t i = 0; i < metric->label_count; i++) {
        if (text_appendf(out, "%s%s=\"", separator, metric->label_names[i]) < 0 ||
            append_escaped(out, series->labels[i], true) < 0 || text_append_char(out, '"') < 0)
            return -1;
        separator = ",";
    }
    if (bound != NULL && text_appendf(out, "%sle=\"%s\"", separator, bound) < 0)
        return -1;
    return metric->label_count > 0 || bound != NULL ? text_append_char(out, '}') : 0;
}

static int append_sample(struct text *out, const struct series *series, const char *suffix, const char *bound,
                         int64_t value)
{
    if (text_appendf(out, "%s%s", series->metric->name, suffix) < 0 || append_labels(out, series, bound) < 0)
        return -1;
    return text_appendf(out, " %lld\n", (long long)value);
}

static int render_histogram(struct text *out, struct series *series)
{
    /* The count is made of the buckets, so that both agree while other threads go on counting. */
    int64_t count = 0;
    for (size_t i = 0; i <= BUCKETS; i++) {
        count += atomic_load_explicit(&series->buckets[i], memory_order_relaxed);
        if (append_sample(out, series, "_bucket", i < BUCKETS ? BUCKET_BOUNDS[i].text : "+Inf", count) < 0)
            return -1;
    }
    int64_t sum_us = atomic_load_explicit(&series->value, memory_order_relaxed);
    if (text_appendf(out, "%s_sum", series->metric->name) < 0 || append_labels(out, series, NULL) < 0 ||
        text_appendf(out, " %lld.%06lld\n", (long long)(sum_us / US_PER_SECOND), (long long)(sum_us % US_PER_SECOND)) <
            0)
        return -1;
    return append_sample(out, series, "_count", NULL, count);
}

static int render_series(struct text *out, struct series *series)
{
    if (series->metric->kind == METRIC_HISTOGRAM)
        return render_histogram(out, series);
    return append_sample(out, series, "", NULL, atomic_load_explicit(&series->value, memory_order_relaxed));
}

static int render_metric(struct text *out, struct metric *metric)
{
    static const char *const types[] = {
        [METRIC_COUNTER] = "counter", [METRIC_GAUGE] = "gauge", [METRIC_HISTOGRAM] = "histogram"};
    if (metric->first == NULL && !metric->is_other_used)
        return 0;
    if (text_appendf(out, "# HELP %s ", metric->name) < 0 || append_escaped(out, metric->help, false) < 0 ||
        text_appendf(out, "\n# TYPE %s %s\n", metric->name, types[metric->kind]) < 0)
        return -1;
    for (struct series *series = metric->first; series != NULL; series = series->next) {
        if (render_series(out, series) < 0)
            return -1;
    }
    return metric->is_other_used ? render_series(out, &metric->other) : 0;
}

int metrics_render(struct text *out)
{
    int result = 0;
    pthread_mutex_lock(&registry.mutex);
    for (struct metric *metric = registry.first; result == 0 && metric != NULL; metric = metric->next)
        result = render_metric(out, metric);
    pthread_mutex_unlock(&registry.mutex);
    return result;
}
