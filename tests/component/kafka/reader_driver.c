/* Reads partition 0 of `topic` from `from` to its end, and on if it is to follow. SIGTERM ends it in order. */
#include "common/kafka/reader.h"

#include "tests/component/kafka/driver.h"

struct run {
    struct driver driver;
    struct reader *reader;
    int status;
};

static void on_term(void *arg)
{
    struct run *run = arg;

    loop_stop(run->driver.loop);
}

static void on_message(void *arg, const struct kafka_message *message)
{
    (void)arg;
    log_info("driver.message", LOG_INTEGER("offset", message->offset), LOG_TEXT("value", driver_value(message)));
}

static void on_end(void *arg, int32_t partition, int64_t next_offset)
{
    struct run *run = arg;

    log_info("driver.end", LOG_INTEGER("partition", partition), LOG_INTEGER("next_offset", next_offset));
    if (!run->driver.follow)
        loop_stop(run->driver.loop);
}

static void on_failed(void *arg, const struct error *err)
{
    struct run *run = arg;

    run->status = driver_failed("failed", err);
    reader_free(run->reader);
    run->reader = NULL;
    loop_stop(run->driver.loop);
}

int main(int argc, char **argv)
{
    struct run run = {0};
    struct error err = ERROR_INIT;
    const struct reader_callbacks callbacks = {.on_message = on_message, .on_end = on_end, .on_failed = on_failed};

    driver_begin(&run.driver, argc, argv, on_term, &run);
    if (reader_new(run.driver.loop, &run.driver.settings, run.driver.topic, run.driver.instance, &callbacks, &run,
                   &run.reader, &err) < 0 ||
        reader_add(run.reader, 0, run.driver.from, run.driver.follow, &err) < 0)
        return driver_failed("fatal", &err);
    log_info("driver.running", LOG_TEXT("topic", run.driver.topic));
    driver_run(&run.driver);
    reader_free(run.reader);
    log_info("driver.done", LOG_INTEGER("status", run.status));
    driver_end(&run.driver);
    return run.status;
}
