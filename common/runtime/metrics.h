/* Prometheus metrics: counters, gauges and histograms, written in the text format 0.0.4.
 *
 * A metric is declared once with its label names; a series is looked up by label values and may be kept. Names begin
 * with "tandem_". The number of series per metric is bounded (METRICS_SERIES_MAX); beyond it values go to one series
 * whose labels are "other". Updates are atomic and may come from any thread; declaration and rendering on the loop's.
 * A registry is process-wide state, which is what a process's metrics are; the pure core does not touch it. */
#ifndef TANDEM_RUNTIME_METRICS_H
#define TANDEM_RUNTIME_METRICS_H

#include <stdint.h>

#include "common/base/text.h"

enum { METRICS_SERIES_MAX = 512, METRICS_LABELS_MAX = 4 };

enum metric_kind {
    METRIC_COUNTER,
    METRIC_GAUGE,
    METRIC_HISTOGRAM /* of milliseconds, fixed buckets 1 ms to 60 s; exported in seconds */
};

struct metric; /* lives as long as the process */
struct series; /* likewise */

/* The same name again returns the same metric. `labels`: comma-separated names, "" for none. NULL when out of memory. */
struct metric *metrics_declare(enum metric_kind kind, const char *name, const char *labels, const char *help);
/* Label values in the order of the names; NULL-terminated. Never NULL for a non-NULL metric. */
struct series *metrics_series(struct metric *metric, const char *const *values);

/* NULL series are ignored, so that a failed declaration costs a metric and nothing else. */
void metric_add(struct series *series, int64_t amount);
void metric_set(struct series *series, int64_t value);
void metric_observe_ms(struct series *series, int64_t duration_ms);
void metric_observe_us(struct series *series, int64_t duration_us);

/* Shorthand: adds 1 to the series of up to four label values (NULL ends them). */
void metric_count(struct metric *metric, const char *a, const char *b, const char *c, const char *d);

int metrics_render(struct text *out);

#endif
