/* Copies records to decisions, exactly once. A record whose value is `word` fails the first time. SIGTERM drains. */
#include "common/kafka/transaction.h"

#include <stdio.h>
#include <string.h>

#include "tests/component/kafka/driver.h"

enum { TEXT_SIZE = 64, EXIT_STATUS_FENCED = 70 };

struct run {
    struct driver driver;
    struct transaction_worker *worker;
    char output[TEXT_SIZE];
    long long in_transaction;
    long long committed;
    bool has_failed_once;
    int status;
};

static void on_drained(void *arg)
{
    struct run *run = arg;

    loop_stop(run->driver.loop);
}

static void on_term(void *arg)
{
    struct run *run = arg;

    transaction_worker_drain(run->worker, on_drained, run);
}

static int on_message(void *arg, const struct kafka_message *message, struct error *err)
{
    struct run *run = arg;
    struct kafka_message copy = *message;

    copy.topic = run->output;
    if (transaction_send(run->worker, &copy, message->partition, err) < 0)
        return -1;
    run->in_transaction++;
    if (run->driver.word != NULL && !run->has_failed_once && strcmp(driver_value(message), run->driver.word) == 0) {
        run->has_failed_once = true;
        return error_set(err, ERROR_TRANSIENT, "driver.refused", "refused once");
    }
    return 0;
}

static void on_commit(void *arg)
{
    struct run *run = arg;

    run->committed += run->in_transaction;
    run->in_transaction = 0;
    log_info("driver.committed", LOG_INTEGER("records", run->committed),
             LOG_INTEGER("end", transaction_committed_end(run->worker, run->output, 0)));
}

static void on_abort(void *arg)
{
    struct run *run = arg;

    log_info("driver.aborted", LOG_INTEGER("records", run->in_transaction));
    run->in_transaction = 0;
}

static void on_assigned(void *arg, const int32_t *partitions, size_t count)
{
    struct run *run = arg;

    (void)partitions;
    log_info("driver.assigned", LOG_INTEGER("count", count));
    transaction_restored(run->worker);
}

static void on_revoked(void *arg, const int32_t *partitions, size_t count)
{
    (void)arg;
    (void)partitions;
    log_info("driver.revoked", LOG_INTEGER("count", count));
}

static void on_fatal(void *arg, const struct error *err)
{
    struct run *run = arg;

    (void)driver_failed("fatal", err);
    run->status = strcmp(err->code, "kafka.fenced") == 0 ? EXIT_STATUS_FENCED : 1;
    loop_stop(run->driver.loop);
}

int main(int argc, char **argv)
{
    struct run run = {0};
    struct error err = ERROR_INIT;
    const struct transaction_callbacks callbacks = {.on_message = on_message,
                                                    .on_commit = on_commit,
                                                    .on_abort = on_abort,
                                                    .on_assigned = on_assigned,
                                                    .on_revoked = on_revoked,
                                                    .on_fatal = on_fatal};

    driver_begin(&run.driver, argc, argv, on_term, &run);
    (void)snprintf(run.output, sizeof(run.output), "%sdecisions", run.driver.settings.topic_prefix);
    const struct transaction_settings options = {.group = "mapper",
                                                 .instance = run.driver.instance,
                                                 .input_topics = (const char *const[]){"records", NULL},
                                                 .output_topics = (const char *const[]){"decisions", NULL},
                                                 .records_max = 100,
                                                 .time_max_ms = 100};
    if (transaction_worker_new(run.driver.loop, &run.driver.settings, &options, &callbacks, &run, &run.worker, &err) <
        0)
        return driver_failed("fatal", &err);
    log_info("driver.running", LOG_TEXT("topic", run.output));
    driver_run(&run.driver);
    transaction_worker_free(run.worker);
    log_info("driver.done", LOG_INTEGER("records", run.committed));
    driver_end(&run.driver);
    return run.status;
}
