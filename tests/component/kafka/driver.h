/* What the small programs of this folder share: options, the loop, the signal that ends them, their output.
 *
 * tests/component/test_kafka.py runs them against a real broker and reads their log. */
#ifndef TANDEM_TESTS_KAFKA_DRIVER_H
#define TANDEM_TESTS_KAFKA_DRIVER_H

#include "common/kafka/client.h"
#include "common/kafka/message.h"
#include "common/runtime/log.h"
#include "common/runtime/loop.h"

struct driver {
    struct kafka_settings settings;
    char *property_keys[8];
    char *property_values[8];
    const char *instance;
    const char *topic;
    const char *word; /* meaning depends on the program */
    long long count;
    long long interval_ms;
    long long window;
    long long from;
    long long fail_at; /* -1: never */
    bool follow;
    struct loop *loop;
    struct event *on_term;
    struct event *on_metrics;
};

/* Options `--name value`; ends the program with status 64 when one is unknown. SIGTERM calls `on_term`; SIGUSR1 has the
 * metrics written to standard output. */
void driver_begin(struct driver *driver, int argc, char **argv, void (*on_term)(void *arg), void *arg);
void driver_run(struct driver *driver);
void driver_end(struct driver *driver);
/* The value as text, for the log; "(tombstone)" without one. Valid until the next call. */
const char *driver_value(const struct kafka_message *message);
/* Logs driver.<what> with the error and returns the exit status 1. */
int driver_failed(const char *what, const struct error *err);

#endif
