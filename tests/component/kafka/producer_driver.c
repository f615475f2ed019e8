/* Sends `count` messages, one every `interval_ms`, and tells what became of each. Right behind message `fail_at` the
 * client library's handle is made to fail for good. SIGTERM ends it in order. */
#include "common/kafka/producer.h"

#include <stdio.h>

#include "tests/component/kafka/driver.h"

enum { WATCH_MS = 10, TEXT_SIZE = 64, FLUSH_MS = 3000 };

struct run {
    struct driver driver;
    struct producer *producer;
    struct loop_timer *watch;
    struct loop_timer *next;
    char topic[TEXT_SIZE];
    long long sent;
    long long told;
    bool was_ready;
};

/* The handle that was made last; the linker sends calls of rd_kafka_new() here. */
static rd_kafka_t *newest;

rd_kafka_t *__real_rd_kafka_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *reason, size_t size);
rd_kafka_t *__wrap_rd_kafka_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *reason, size_t size);

rd_kafka_t *__wrap_rd_kafka_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *reason, size_t size)
{
    newest = __real_rd_kafka_new(type, conf, reason, size);
    return newest;
}

static void on_term(void *arg)
{
    struct run *run = arg;

    loop_stop(run->driver.loop);
}

static void on_delivered(void *arg, const struct error *err)
{
    struct run *run = arg;

    run->told++;
    log_info("driver.told", LOG_BOOLEAN("durable", err == NULL), LOG_TEXT("code", err != NULL ? err->code : ""),
             LOG_INTEGER("told", run->told));
    if (run->told == run->driver.count)
        loop_stop(run->driver.loop);
}

static void send_one(void *arg)
{
    struct run *run = arg;
    struct error err = ERROR_INIT;
    char key[TEXT_SIZE];
    char value[TEXT_SIZE];
    struct kafka_message message = {.topic = run->topic, .key = key, .value = value};

    message.key_length = (size_t)snprintf(key, sizeof(key), "k%lld", run->sent % 10);
    message.value_length = (size_t)snprintf(value, sizeof(value), "m%lld", run->sent);
    kafka_message_add_header(&message, "ce_type", "test");
    if (producer_send(run->producer, &message, on_delivered, run, &err) == 0)
        run->sent++;
    else
        (void)driver_failed("refused", &err);
    if (run->sent == run->driver.fail_at) {
        run->driver.fail_at = -1;
        /* As after a lost connection with several requests under way, which cannot be had at will. */
        (void)rd_kafka_test_fatal_error(newest, RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, "made to fail");
    }
    if (run->sent < run->driver.count)
        loop_timer_set(run->next, run->driver.interval_ms);
}

static void on_watch(void *arg)
{
    struct run *run = arg;
    bool is_ready = producer_is_ready(run->producer);

    if (is_ready != run->was_ready)
        log_info("driver.ready", LOG_BOOLEAN("ready", is_ready));
    if (is_ready && !run->was_ready && run->sent == 0)
        send_one(run);
    run->was_ready = is_ready;
    loop_timer_set(run->watch, WATCH_MS);
}

int main(int argc, char **argv)
{
    struct run run = {0};
    struct error err = ERROR_INIT;

    driver_begin(&run.driver, argc, argv, on_term, &run);
    (void)snprintf(run.topic, sizeof(run.topic), "%s%s", run.driver.settings.topic_prefix, run.driver.topic);
    if (producer_new(run.driver.loop, &run.driver.settings, run.driver.instance,
                     (const char *const[]){run.driver.topic, NULL}, &run.producer, &err) < 0)
        return driver_failed("fatal", &err);
    run.watch = loop_timer_new(run.driver.loop, on_watch, &run);
    run.next = loop_timer_new(run.driver.loop, send_one, &run);
    log_info("driver.running", LOG_TEXT("topic", run.topic));
    on_watch(&run);
    driver_run(&run.driver);
    loop_timer_free(run.watch);
    loop_timer_free(run.next);
    producer_free(run.producer, FLUSH_MS);
    log_info("driver.done", LOG_INTEGER("sent", run.sent), LOG_INTEGER("told", run.told));
    driver_end(&run.driver);
    return 0;
}
