/* The exactly-once worker from inside: its state, and what its four files ask of each other.
 *
 * transaction.c is the life of a transaction on the loop's thread, transaction_inputs.c what is read and its offsets,
 * transaction_outputs.c the producer's reports, transaction_jobs.c the calls of librdkafka that block. Internal to
 * them. */
#ifndef TANDEM_KAFKA_TRANSACTION_WORKER_H
#define TANDEM_KAFKA_TRANSACTION_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/kafka/blocking.h"
#include "common/kafka/committed.h"
#include "common/kafka/lag.h"
#include "common/kafka/native.h"
#include "common/kafka/queue.h"
#include "common/kafka/transaction.h"
#include "common/runtime/metrics.h"

enum { TRANSACTION_POLL_STEP_MS = 10 };

/*
 *   STARTING -> IDLE -> OPEN -> COMMITTING -> IDLE
 *                        |          |
 *                        +----------+--> ABORTING -> IDLE
 *
 *   COMMITTING, ABORTING -> STARTING   a new producer is needed
 *   any -> ENDED                       fenced, or drained
 *
 * STARTING, COMMITTING and ABORTING last as long as a job on the blocking thread; the producer and what the reports
 * fill belong to that thread then. */
enum state { STARTING, IDLE, OPEN, COMMITTING, ABORTING, ENDED, STATE_COUNT };

struct input {
    char *topic;
    int32_t number;
    int64_t committed; /* where the next transaction begins; may be RD_KAFKA_OFFSET_BEGINNING */
    int64_t next;      /* behind the last message of the open transaction, -1: none */
};

/* Ends of one output topic, by partition; -1: nothing sent there. */
struct output {
    char *topic;
    int64_t *sent;      /* in the open transaction */
    int64_t *committed; /* by all transactions of this process */
    size_t count;
};

struct transaction_worker {
    struct loop *loop;
    const struct kafka_settings *settings;
    struct transaction_callbacks callbacks;
    void *arg;
    size_t records_max;
    int64_t time_max_ms;
    char *group_id;
    char *transactional_id;
    char *instance;
    enum state state;
    struct blocking *blocking;
    atomic_bool is_giving_up; /* tells a job not to repeat any more */

    rd_kafka_t *consumer;
    rd_kafka_queue_t *consumer_queue;
    struct queue_watch *consumer_watch;
    struct input *inputs;
    size_t input_count;
    size_t input_topic_count;
    struct committed_lookup *lookup;
    struct lag *lag;
    bool is_restored;   /* the owner has loaded the state of all inputs */
    bool has_to_revoke; /* once the transaction is over */
    bool is_lost;       /* and its offsets could not be committed any more */

    rd_kafka_t *producer;
    rd_kafka_queue_t *producer_queue;
    struct queue_watch *producer_watch;
    struct output *outputs;
    size_t output_count;
    size_t sent;    /* messages of the open transaction */
    size_t reports; /* of those, how many are told */
    unsigned connection_errors;
    size_t records;
    int64_t opened_us;
    struct loop_timer *time_limit;
    struct loop_timer *pause; /* after an abort; while it is set nothing is handed out */
    struct loop_timer *tick;
    unsigned aborts_in_row;

    rd_kafka_topic_partition_list_t *job_offsets; /* what the job commits or seeks to */
    struct error job_error;                       /* class NONE: the job succeeded */
    bool job_is_doubtful;                         /* a time-out or a reconnect happened on the way */
    struct error step_error;                      /* why the transaction is being aborted */

    bool is_closing;
    void (*on_drained)(void *arg);
    void *drain_arg;
    struct metric *transactions_metric;
    struct series *commit_series;
    struct series *records_series;
};

/* -- inputs: on the loop's thread --------------------------------------------------------------------------------- */

/* Takes over the partitions the group gave us and where to begin with each, and checks that they belong together. */
int transaction_inputs_make(struct transaction_worker *worker, const rd_kafka_topic_partition_list_t *starts,
                            struct error *err) TANDEM_MUST_CHECK;
void transaction_inputs_free(struct transaction_worker *worker);
/* NULL: not ours. */
struct input *transaction_input_find(const struct transaction_worker *worker, const char *topic, int32_t number);
/* Where the next transaction begins, for every input; what the open one has read. New lists. */
rd_kafka_topic_partition_list_t *transaction_inputs_committed(const struct transaction_worker *worker);
rd_kafka_topic_partition_list_t *transaction_inputs_read(const struct transaction_worker *worker);
/* The transaction is over: what it has read counts, or does not. */
void transaction_inputs_settle(struct transaction_worker *worker, bool is_committed);
/* The different partition numbers, in `numbers` of room for all inputs; returns how many. */
size_t transaction_inputs_numbers(const struct transaction_worker *worker, int32_t *numbers);
void transaction_inputs_pause(struct transaction_worker *worker, bool is_paused);

/* -- outputs: on the thread that polls the producer, the loop's or, during a job, the blocking one ------------------- */

int transaction_outputs_make(struct transaction_worker *worker, const char *const *topics, struct error *err)
    TANDEM_MUST_CHECK;
void transaction_outputs_free(struct transaction_worker *worker);
struct output *transaction_output_find(const struct transaction_worker *worker, const char *topic);
/* The transaction is over: what it sent counts, or does not. */
void transaction_outputs_settle(struct transaction_worker *worker, bool is_committed);
/* Sets the producer's callbacks; `arg` is the worker. */
void transaction_outputs_prepare(rd_kafka_conf_t *conf, void *arg);

/* -- jobs: on the blocking thread; `arg` is the worker, job_error the result ------------------------------------------ */

void transaction_job_start(void *arg);  /* a new producer that may begin */
void transaction_job_commit(void *arg); /* with job_offsets */
void transaction_job_abort(void *arg);  /* and back to job_offsets */
void transaction_job_close(void *arg);  /* leaves the group */

#endif
