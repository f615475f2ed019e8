/* Tells every message it gets and finishes it `interval_ms` later, except those whose value begins with `word`. Tells
 * also when it owns partition 0 and when no more. SIGUSR2 pauses it and has it go on. SIGTERM ends it in order. */
#include "common/kafka/consumer.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/text.h"
#include "tests/component/kafka/driver.h"

enum { WATCH_MS = 10, TEXT_SIZE = 64, COMMIT_INTERVAL_MS = 50, CLOSE_MS = 3000 };

struct run {
    struct driver driver;
    struct consumer *consumer;
    struct loop_timer *watch;
    char topic[TEXT_SIZE];
    bool did_own;
    bool has_failed;
    bool is_paused;
};

struct work {
    struct run *run;
    struct loop_timer *timer;
    int32_t partition;
    int64_t offset;
};

static void on_term(void *arg)
{
    struct run *run = arg;

    consumer_stop(run->consumer);
    loop_stop(run->driver.loop);
}

static void on_pause_signal(evutil_socket_t number, short what, void *arg)
{
    struct run *run = arg;

    (void)number;
    (void)what;
    run->is_paused = !run->is_paused;
    if (run->is_paused)
        consumer_pause(run->consumer);
    else
        consumer_resume(run->consumer);
    log_info("driver.paused", LOG_BOOLEAN("paused", run->is_paused));
}

static void on_worked(void *arg)
{
    struct work *work = arg;

    consumer_finish(work->run->consumer, work->run->topic, work->partition, work->offset);
    loop_timer_free(work->timer);
    free(work);
}

static void on_message(void *arg, const struct kafka_message *message)
{
    struct run *run = arg;
    const char *value = driver_value(message);
    struct work *work;

    log_info("driver.message", LOG_INTEGER("partition", message->partition), LOG_INTEGER("offset", message->offset),
             LOG_TEXT("value", value), LOG_INTEGER("unfinished", consumer_unfinished(run->consumer)));
    if (run->driver.word != NULL && text_starts_with(value, run->driver.word))
        return;
    if (run->driver.interval_ms == 0) {
        consumer_finish(run->consumer, message->topic, message->partition, message->offset);
        return;
    }
    work = calloc(1, sizeof(*work));
    if (work == NULL)
        abort();
    *work = (struct work){.run = run, .partition = message->partition, .offset = message->offset};
    work->timer = loop_timer_new(run->driver.loop, on_worked, work);
    loop_timer_set(work->timer, run->driver.interval_ms);
}

static void on_assigned(void *arg, const char *topic, int32_t partition)
{
    (void)arg;
    log_info("driver.assigned", LOG_TEXT("topic", topic), LOG_INTEGER("partition", partition));
}

static void on_revoked(void *arg, const char *topic, int32_t partition)
{
    (void)arg;
    log_info("driver.revoked", LOG_TEXT("topic", topic), LOG_INTEGER("partition", partition));
}

static void on_fatal(void *arg, const struct error *err)
{
    struct run *run = arg;

    run->has_failed = true;
    (void)driver_failed("fatal", err);
    loop_stop(run->driver.loop);
}

static void on_watch(void *arg)
{
    struct run *run = arg;
    bool owns = consumer_owns(run->consumer, run->topic, 0);

    if (owns != run->did_own)
        log_info("driver.owns", LOG_BOOLEAN("owns", owns));
    run->did_own = owns;
    loop_timer_set(run->watch, WATCH_MS);
}

int main(int argc, char **argv)
{
    struct run run = {0};
    struct error err = ERROR_INIT;
    struct event *on_pause;
    const struct consumer_callbacks callbacks = {
        .on_message = on_message, .on_revoked = on_revoked, .on_assigned = on_assigned, .on_fatal = on_fatal};

    driver_begin(&run.driver, argc, argv, on_term, &run);
    (void)snprintf(run.topic, sizeof(run.topic), "%s%s", run.driver.settings.topic_prefix, run.driver.topic);
    const struct consumer_settings options = {.group = "fetch",
                                              .instance = run.driver.instance,
                                              .topics = (const char *const[]){run.driver.topic, NULL},
                                              .window = (size_t)run.driver.window,
                                              .commit_interval_ms = COMMIT_INTERVAL_MS};
    if (consumer_new(run.driver.loop, &run.driver.settings, &options, &callbacks, &run, &run.consumer, &err) < 0)
        return driver_failed("fatal", &err);
    on_pause = evsignal_new(loop_base(run.driver.loop), SIGUSR2, on_pause_signal, &run);
    if (on_pause == NULL || event_add(on_pause, NULL) < 0)
        return 1;
    run.watch = loop_timer_new(run.driver.loop, on_watch, &run);
    log_info("driver.running", LOG_TEXT("topic", run.topic));
    on_watch(&run);
    driver_run(&run.driver);
    loop_timer_free(run.watch);
    event_free(on_pause);
    consumer_free(run.consumer, CLOSE_MS);
    log_info("driver.done", LOG_BOOLEAN("failed", run.has_failed));
    driver_end(&run.driver);
    return run.has_failed ? 1 : 0;
}
