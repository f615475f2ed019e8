#include "pusher/audit.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/retry.h"
#include "common/base/text.h"
#include "common/runtime/log.h"
#include "common/runtime/metrics.h"
#include "pusher/migrate.h"

enum {
    BATCH_ROWS_MAX = 100,
    BATCH_BYTES_MAX = 4 << 20, /* one row may be larger, and then goes alone */
    PAUSE_FIRST_MS = 100,
    PAUSE_MAX_MS = 5000,
    GRACE_MS = 5000, /* beyond the server's own statement timeout */
    SETUP_BYTES_MAX = 4096,
    UPKEEP_MS = 6 * 3600 * 1000
};

#define APPEND_STATEMENT "append"

static const char UPKEEP_SQL[] = "SELECT ensure_partitions(3)"; /* months ahead */
static const char APPEND_SQL[] = "SELECT entry_state, entry_attempt, entry_message FROM append_audit($1::jsonb) "
                                 "ORDER BY entry_number";

/* AWAY --pause over--> CONNECTING --> SETTING_UP --> PREPARING --> IDLE <--> APPENDING | UPKEEP
 *   ^----------------------- anything fails ------------------------------------/ */
enum connection_state { AWAY, CONNECTING, SETTING_UP, PREPARING, IDLE, APPENDING, UPKEEP };

struct entry {
    struct entry *next;
    char *row; /* JSON text */
    size_t length;
    int64_t queued_us;
    audit_callback on_committed;
    void *arg;
};

struct audit {
    struct loop *loop;
    const struct postgres_settings *settings;
    struct audit_callbacks callbacks;
    void *arg;
    enum connection_state state;
    PGconn *connection;
    struct event *event;
    struct loop_timer *timer;  /* pause while AWAY, else the time limit of what is under way */
    struct loop_timer *upkeep; /* partitions of the months to come */
    bool is_upkeep_due;
    struct retry_state failures;
    struct entry *first; /* those under way are the first `batch_count` */
    struct entry *last;
    size_t count;
    size_t batch_count;
    size_t single_left; /* rows to be sent alone, since one among them cannot be stored */
    PGresult *result;   /* of the statement under way */
    bool is_up;
    struct error reported;  /* the last failure logged */
    struct secret password; /* read again after the server has refused the first one; else empty */
    struct series *queued_series;
    struct series *up_series;
    struct series *commit_series;
    struct series *rows_series;
};

static void on_event(evutil_socket_t fd, short events, void *arg);
static void lose(struct audit *audit, const struct error *err);
static void go_on(struct audit *audit);

/* --- The connection ----------------------------------------------------------------------------------------------- */

static void unwatch(struct audit *audit)
{
    if (audit->event != NULL)
        event_free(audit->event);
    audit->event = NULL;
}

/* libpq may change its socket while it connects, so the event is made anew each time. */
static int watch(struct audit *audit, short events)
{
    unwatch(audit);
    audit->event = event_new(loop_base(audit->loop), PQsocket(audit->connection), events | EV_PERSIST, on_event, audit);
    return audit->event == NULL || event_add(audit->event, NULL) < 0 ? -1 : 0;
}

static void disconnect(struct audit *audit)
{
    unwatch(audit);
    PQclear(audit->result);
    audit->result = NULL;
    PQfinish(audit->connection);
    audit->connection = NULL;
    audit->batch_count = 0;
}

static void set_up(struct audit *audit, bool is_up)
{
    if (audit->is_up == is_up)
        return;
    audit->is_up = is_up;
    metric_set(audit->up_series, is_up ? 1 : 0);
    if (is_up) {
        audit->reported = (struct error)ERROR_INIT;
        log_info("postgres.up", LOG_TEXT("schema", audit->settings->schema));
    }
    audit->callbacks.on_up(audit->arg, is_up);
}

static void lose(struct audit *audit, const struct error *err)
{
    static const struct retry_policy policy = {.first_delay_ms = PAUSE_FIRST_MS, .delay_max_ms = PAUSE_MAX_MS};
    int64_t now_ms = clock_monotonic_ms();

    /* Once per kind of failure, not once per attempt. */
    if (strcmp(audit->reported.code, err->code) != 0)
        log_error("postgres.down", LOG_ERROR(err));
    audit->reported = *err;
    disconnect(audit);
    audit->state = AWAY;
    audit->failures.attempts++;
    loop_timer_set(audit->timer, retry_decide(&policy, &audit->failures, now_ms, -1, random_u32()).at_ms - now_ms);
    set_up(audit, false);
}

static void lose_connection(struct audit *audit, const char *what)
{
    struct error err = ERROR_INIT;

    (void)postgres_connection_error(&err, what);
    lose(audit, &err);
}

static void lose_connecting(struct audit *audit)
{
    struct error err = ERROR_INIT;

    (void)postgres_connect_error(&err, audit->connection, audit->settings);
    lose(audit, &err);
}

/* A password that was refused may have been put right in its file since. */
static void read_password_again(struct audit *audit)
{
    static const char scheme[] = "file:";
    const char *reference = audit->settings->password.reference;
    struct secret fresh = {0};
    struct error err = ERROR_INIT;

    if (strcmp(audit->reported.code, "postgres.password") != 0 || reference == NULL ||
        !text_starts_with(reference, scheme) || secret_from_file(reference + strlen(scheme), &fresh, &err) < 0)
        return;
    secret_done(&audit->password);
    audit->password = fresh;
}

static void connect_now(struct audit *audit)
{
    struct postgres_settings settings = *audit->settings;
    struct postgres_parameters parameters;

    read_password_again(audit);
    if (audit->password.bytes != NULL)
        settings.password = audit->password;
    postgres_parameters_init(&parameters, &settings);
    audit->connection = PQconnectStartParams(parameters.keywords, parameters.values, 0);
    audit->state = CONNECTING;
    loop_timer_set(audit->timer, audit->settings->connect_timeout_ms);
    if (audit->connection == NULL || PQstatus(audit->connection) == CONNECTION_BAD || watch(audit, EV_WRITE) < 0) {
        lose_connecting(audit);
        return;
    }
    postgres_connect_prepare(audit->connection);
    (void)PQsetNoticeProcessor(audit->connection, postgres_ignore_notice, NULL);
}

/* A statement has been handed to libpq. */
static void sent(struct audit *audit, int is_sent, enum connection_state state)
{
    int left = is_sent == 1 ? PQflush(audit->connection) : -1;

    audit->state = state;
    loop_timer_set(audit->timer, audit->settings->statement_timeout_ms + GRACE_MS);
    if (left < 0 || watch(audit, (short)(left > 0 ? EV_READ | EV_WRITE : EV_READ)) < 0)
        lose_connection(audit, "send");
}

static void begin_session(struct audit *audit)
{
    struct text sql;

    text_init(&sql, SETUP_BYTES_MAX);
    if (PQsetnonblocking(audit->connection, 1) < 0 || postgres_session(audit->settings, migrate_newest(), &sql) < 0 ||
        text_appendf(&sql, "; %s", UPKEEP_SQL) < 0)
        lose_connection(audit, "set up the session");
    else
        sent(audit, PQsendQuery(audit->connection, text_string(&sql)), SETTING_UP);
    text_done(&sql);
}

static void go_on_connecting(struct audit *audit)
{
    int status = 0;

    switch (PQconnectPoll(audit->connection)) {
    case PGRES_POLLING_READING:
        status = watch(audit, EV_READ);
        break;
    case PGRES_POLLING_WRITING:
        status = watch(audit, EV_WRITE);
        break;
    case PGRES_POLLING_OK:
        begin_session(audit);
        return;
    default:
        status = -1;
        break;
    }
    if (status < 0)
        lose_connecting(audit);
}

static void on_timer(void *arg)
{
    struct audit *audit = arg;

    if (audit->state == AWAY)
        connect_now(audit);
    else
        lose_connection(audit, audit->state == CONNECTING ? "connect: no answer in time" : "no answer in time");
}

static void on_upkeep(void *arg)
{
    struct audit *audit = arg;

    loop_timer_set(audit->upkeep, UPKEEP_MS);
    audit->is_upkeep_due = true;
    if (audit->state == IDLE)
        go_on(audit);
}

/* --- Appending ---------------------------------------------------------------------------------------------------- */

static size_t choose_batch(const struct audit *audit, size_t *ret_bytes)
{
    size_t most = audit->single_left > 0 ? 1 : BATCH_ROWS_MAX;
    size_t count = 0;
    size_t bytes = 2;

    for (const struct entry *entry = audit->first; entry != NULL && count < most; entry = entry->next) {
        if (count > 0 && bytes + entry->length + 1 > BATCH_BYTES_MAX)
            break;
        bytes += entry->length + 1;
        count++;
    }
    *ret_bytes = bytes;
    return count;
}

static int write_batch(const struct audit *audit, size_t count, struct text *out)
{
    const struct entry *entry = audit->first;

    for (size_t i = 0; i < count; i++, entry = entry->next)
        if (text_append_char(out, i == 0 ? '[' : ',') < 0 || text_append_n(out, entry->row, entry->length) < 0)
            return -1;
    return text_append_char(out, ']');
}

static void send_batch(struct audit *audit)
{
    size_t bytes;
    size_t count = choose_batch(audit, &bytes);
    struct text batch;

    text_init(&batch, bytes);
    if (write_batch(audit, count, &batch) < 0) {
        struct error err = ERROR_INIT;
        (void)error_no_memory(&err);
        lose(audit, &err);
    } else {
        const char *value = text_string(&batch);
        audit->batch_count = count;
        sent(audit, PQsendQueryPrepared(audit->connection, APPEND_STATEMENT, 1, &value, NULL, NULL, 0), APPENDING);
    }
    text_done(&batch);
}

static void go_on(struct audit *audit)
{
    audit->state = IDLE;
    loop_timer_stop(audit->timer);
    if (audit->first != NULL) {
        send_batch(audit);
    } else if (audit->is_upkeep_due) {
        audit->is_upkeep_due = false;
        sent(audit, PQsendQuery(audit->connection, UPKEEP_SQL), UPKEEP);
    }
}

static struct entry *take_first(struct audit *audit)
{
    struct entry *entry = audit->first;

    audit->first = entry->next;
    if (audit->first == NULL)
        audit->last = NULL;
    audit->count--;
    metric_set(audit->queued_series, (int64_t)audit->count);
    return entry;
}

static void end_first(struct audit *audit, const struct audit_receipt *receipt, const struct error *err)
{
    struct entry *entry = take_first(audit);

    entry->on_committed(entry->arg, receipt, err);
    free(entry->row);
    free(entry);
}

static enum audit_state state_of(const char *word)
{
    switch (word[0]) {
    case 'n':
        return AUDIT_NEW;
    case 'o':
        return AUDIT_OPEN;
    case 'p':
        return AUDIT_PUBLISHED;
    default:
        return AUDIT_CLOSED;
    }
}

static void tell_batch(struct audit *audit, const PGresult *result)
{
    size_t count = audit->batch_count;

    audit->batch_count = 0;
    audit->failures = (struct retry_state){0};
    if (audit->single_left > 0)
        audit->single_left--;
    metric_add(audit->rows_series, (int64_t)count);
    set_up(audit, true);
    for (size_t i = 0; i < count; i++) {
        unsigned long long attempt = 0;
        const struct audit_receipt receipt = {
            .state = state_of(PQgetvalue(result, (int)i, 0)),
            .attempt = text_parse_unsigned(PQgetvalue(result, (int)i, 1), 1000000, &attempt) ? (unsigned)attempt : 0,
            .message = PQgetisnull(result, (int)i, 2) ? NULL : PQgetvalue(result, (int)i, 2)};
        metric_observe_us(audit->commit_series, clock_monotonic_us() - audit->first->queued_us);
        end_first(audit, &receipt, NULL);
    }
}

/* One row of the batch cannot be stored. To find it, each goes alone; the others must not wait for it for ever. */
static void refuse_batch(struct audit *audit, const struct error *err)
{
    size_t count = audit->batch_count;

    audit->batch_count = 0;
    if (count > 1) {
        audit->single_left = count;
        return;
    }
    if (audit->single_left > 0)
        audit->single_left--;
    log_error("postgres.row_refused", LOG_ERROR(err));
    end_first(audit, NULL, err);
}

/* --- Answers ------------------------------------------------------------------------------------------------------ */

static void take_appended(struct audit *audit, const PGresult *result)
{
    struct error err = ERROR_INIT;

    if (PQresultStatus(result) == PGRES_TUPLES_OK && (size_t)PQntuples(result) == audit->batch_count) {
        tell_batch(audit, result);
        return;
    }
    (void)postgres_result_error(&err, result, "append to the audit");
    if (err.class == ERROR_POISON)
        refuse_batch(audit, &err);
    else
        lose(audit, &err);
}

static bool is_success(const PGresult *result)
{
    return PQresultStatus(result) == PGRES_TUPLES_OK || PQresultStatus(result) == PGRES_COMMAND_OK;
}

/* The statement under way has ended, its transaction too. */
static void take_result(struct audit *audit)
{
    PGresult *result = audit->result;
    struct error err = ERROR_INIT;

    audit->result = NULL;
    if (audit->state == APPENDING) {
        take_appended(audit, result);
    } else if (!is_success(result)) {
        (void)postgres_result_error(&err, result, "set up the session");
        lose(audit, &err);
    } else if (audit->state == SETTING_UP) {
        sent(audit, PQsendPrepare(audit->connection, APPEND_STATEMENT, APPEND_SQL, 1, NULL), PREPARING);
    } else if (audit->state == PREPARING) {
        /* With rows waiting it counts as up when they are stored: connecting works also with a full disk. */
        if (audit->first == NULL)
            set_up(audit, true);
        audit->state = IDLE;
    }
    PQclear(result);
    if (audit->state == APPENDING || audit->state == IDLE || audit->state == UPKEEP)
        go_on(audit);
}

static void read_results(struct audit *audit)
{
    while (audit->connection != NULL && audit->state > CONNECTING && audit->state != IDLE &&
           PQisBusy(audit->connection) == 0) {
        PGresult *result = PQgetResult(audit->connection);

        if (result == NULL) {
            take_result(audit);
            continue;
        }
        /* Several statements in one query give several results; the first failure counts. */
        if (audit->result == NULL || is_success(audit->result)) {
            PQclear(audit->result);
            audit->result = result;
        } else {
            PQclear(result);
        }
    }
}

static void on_event(evutil_socket_t fd, short events, void *arg)
{
    struct audit *audit = arg;
    int left;

    (void)fd;
    if (audit->state == CONNECTING) {
        go_on_connecting(audit);
        return;
    }
    if ((events & EV_READ) != 0 && PQconsumeInput(audit->connection) == 0) {
        lose_connection(audit, "read");
        return;
    }
    left = PQflush(audit->connection);
    if (left < 0 || ((events & EV_WRITE) != 0 && left == 0 && watch(audit, EV_READ) < 0)) {
        lose_connection(audit, "send");
        return;
    }
    read_results(audit);
}

/* --- The interface ------------------------------------------------------------------------------------------------ */

int audit_new(struct loop *loop, const struct postgres_settings *settings, const struct audit_callbacks *callbacks,
              void *arg, struct audit **ret_audit, struct error *err)
{
    static const char *const none[] = {NULL};
    struct audit *audit = calloc(1, sizeof(*audit));

    if (audit == NULL)
        return error_no_memory(err);
    audit->loop = loop;
    audit->settings = settings;
    audit->callbacks = *callbacks;
    audit->arg = arg;
    audit->timer = loop_timer_new(loop, on_timer, audit);
    audit->upkeep = loop_timer_new(loop, on_upkeep, audit);
    audit->queued_series =
        metrics_series(metrics_declare(METRIC_GAUGE, "tandem_audit_queued", "", "Audit rows not yet committed."), none);
    audit->up_series = metrics_series(
        metrics_declare(METRIC_GAUGE, "tandem_audit_up", "", "Whether PostgreSQL takes audit rows."), none);
    audit->commit_series = metrics_series(
        metrics_declare(METRIC_HISTOGRAM, "tandem_audit_commit_seconds", "", "From a row's making to its commit."),
        none);
    audit->rows_series =
        metrics_series(metrics_declare(METRIC_COUNTER, "tandem_audit_rows_total", "", "Audit rows committed."), none);
    if (audit->timer == NULL || audit->upkeep == NULL) {
        audit_free(audit);
        return error_no_memory(err);
    }
    loop_timer_set(audit->timer, 0);
    loop_timer_set(audit->upkeep, UPKEEP_MS);
    *ret_audit = audit;
    return 0;
}

int audit_append(struct audit *audit, json_t *row, audit_callback on_committed, void *arg, struct error *err)
{
    struct entry *entry = calloc(1, sizeof(*entry));

    if (entry != NULL && row != NULL)
        entry->row = json_write(row, false, &entry->length);
    json_decref(row);
    if (entry == NULL || entry->row == NULL) {
        free(entry);
        return error_no_memory(err);
    }
    entry->on_committed = on_committed;
    entry->arg = arg;
    entry->queued_us = clock_monotonic_us();
    if (audit->last != NULL)
        audit->last->next = entry;
    else
        audit->first = entry;
    audit->last = entry;
    audit->count++;
    metric_set(audit->queued_series, (int64_t)audit->count);
    if (audit->state == IDLE)
        go_on(audit);
    return 0;
}

bool audit_is_up(const struct audit *audit)
{
    return audit->is_up;
}

const char *audit_trouble(const struct audit *audit)
{
    if (audit->is_up)
        return NULL;
    return audit->reported.class == ERROR_NONE ? "not connected yet" : audit->reported.message;
}

void audit_free(struct audit *audit)
{
    struct error err = ERROR_INIT;

    if (audit == NULL)
        return;
    (void)error_set(&err, ERROR_TRANSIENT, "postgres.closed", "the program ends");
    /* From here on nothing is sent. */
    disconnect(audit);
    audit->state = AWAY;
    while (audit->first != NULL)
        end_first(audit, NULL, &err);
    loop_timer_free(audit->timer);
    loop_timer_free(audit->upkeep);
    secret_done(&audit->password);
    free(audit);
}
