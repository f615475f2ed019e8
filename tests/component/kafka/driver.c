#include "tests/component/kafka/driver.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "common/runtime/metrics.h"

enum { VALUE_SIZE = 128, EXIT_BAD_OPTION = 64, METRICS_BYTES_MAX = 1024 * 1024 };

struct term_handler {
    void (*on_term)(void *arg);
    void *arg;
};

static void on_signal(evutil_socket_t number, short what, void *arg)
{
    const struct term_handler *handler = arg;

    (void)number;
    (void)what;
    handler->on_term(handler->arg);
}

static void on_metrics(evutil_socket_t number, short what, void *arg)
{
    struct text metrics;

    (void)number;
    (void)what;
    (void)arg;
    text_init(&metrics, METRICS_BYTES_MAX);
    if (metrics_render(&metrics) == 0)
        (void)printf("%s# end\n", text_string(&metrics));
    (void)fflush(stdout);
    text_done(&metrics);
}

static void bad_option(const char *name)
{
    (void)fprintf(stderr, "bad option %s\n", name);
    _Exit(EXIT_BAD_OPTION);
}

static long long number(const char *name, const char *value)
{
    long long parsed = 0;

    if (!text_parse_signed(value, &parsed))
        bad_option(name);
    return parsed;
}

static void add_property(struct driver *driver, char *pair)
{
    char *equals = strchr(pair, '=');
    size_t k = driver->settings.properties.count;

    if (equals == NULL || k == ARRAY_LENGTH(driver->property_keys))
        bad_option(pair);
    *equals = '\0';
    driver->property_keys[k] = pair;
    driver->property_values[k] = equals + 1;
    driver->settings.properties.keys = driver->property_keys;
    driver->settings.properties.values = driver->property_values;
    driver->settings.properties.count++;
}

static void set_option(struct driver *driver, const char *name, char *value)
{
    if (strcmp(name, "--bootstrap") == 0)
        driver->settings.bootstrap_servers = value;
    else if (strcmp(name, "--prefix") == 0)
        driver->settings.topic_prefix = value;
    else if (strcmp(name, "--partitions") == 0)
        driver->settings.partitions = number(name, value);
    else if (strcmp(name, "--session-ms") == 0)
        driver->settings.session_timeout_ms = number(name, value);
    else if (strcmp(name, "--transaction-ms") == 0)
        driver->settings.transaction_timeout_ms = number(name, value);
    else if (strcmp(name, "--property") == 0)
        add_property(driver, value);
    else if (strcmp(name, "--instance") == 0)
        driver->instance = value;
    else if (strcmp(name, "--topic") == 0)
        driver->topic = value;
    else if (strcmp(name, "--word") == 0)
        driver->word = value;
    else if (strcmp(name, "--count") == 0)
        driver->count = number(name, value);
    else if (strcmp(name, "--interval-ms") == 0)
        driver->interval_ms = number(name, value);
    else if (strcmp(name, "--window") == 0)
        driver->window = number(name, value);
    else if (strcmp(name, "--from") == 0)
        driver->from = number(name, value);
    else if (strcmp(name, "--fail-at") == 0)
        driver->fail_at = number(name, value);
    else if (strcmp(name, "--follow") == 0)
        driver->follow = number(name, value) != 0;
    else
        bad_option(name);
}

void driver_begin(struct driver *driver, int argc, char **argv, void (*on_term)(void *arg), void *arg)
{
    static struct term_handler handler;
    struct error err = ERROR_INIT;

    *driver = (struct driver){
        .settings = {.partitions = 1,
                     .replication_factor = 1,
                     .session_timeout_ms = 6000,
                     .transaction_timeout_ms = 10000},
        .instance = "one",
        .topic = "records",
        .count = 1,
        .window = 1000,
        .from = -1,
        .fail_at = -1,
    };
    for (int k = 1; k + 1 < argc; k += 2)
        set_option(driver, argv[k], argv[k + 1]);
    log_setup("driver", LOG_LEVEL_DEBUG);
    handler = (struct term_handler){.on_term = on_term, .arg = arg};
    if (loop_new(&driver->loop, &err) < 0) {
        (void)driver_failed("loop", &err);
        _Exit(1);
    }
    driver->on_term = evsignal_new(loop_base(driver->loop), SIGTERM, on_signal, &handler);
    driver->on_metrics = evsignal_new(loop_base(driver->loop), SIGUSR1, on_metrics, NULL);
    if (driver->on_term == NULL || driver->on_metrics == NULL || event_add(driver->on_term, NULL) < 0 ||
        event_add(driver->on_metrics, NULL) < 0)
        _Exit(1);
}

void driver_run(struct driver *driver)
{
    struct error err = ERROR_INIT;

    if (loop_run(driver->loop, &err) < 0)
        (void)driver_failed("loop", &err);
}

void driver_end(struct driver *driver)
{
    event_free(driver->on_term);
    event_free(driver->on_metrics);
    loop_free(driver->loop);
}

const char *driver_value(const struct kafka_message *message)
{
    static char value[VALUE_SIZE];

    if (message->value == NULL)
        return "(tombstone)";
    (void)snprintf(value, sizeof(value), "%.*s", (int)message->value_length, message->value);
    return value;
}

int driver_failed(const char *what, const struct error *err)
{
    char event[VALUE_SIZE];

    (void)snprintf(event, sizeof(event), "driver.%s", what);
    log_error(event, LOG_ERROR(err));
    return 1;
}
