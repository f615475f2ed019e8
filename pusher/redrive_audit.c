#include "pusher/redrive_audit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/base/uuid.h"
#include "common/runtime/loop.h"
#include "pusher/letter.h"
#include "pusher/migrate.h"

enum { SQL_BYTES_MAX = 4096, NUMBER_SIZE = 24, TIME_DIGITS = 3 };

struct redrive_audit {
    PGconn *connection;
};

static bool is_success(const PGresult *result)
{
    return PQresultStatus(result) == PGRES_TUPLES_OK || PQresultStatus(result) == PGRES_COMMAND_OK;
}

static int execute(struct redrive_audit *audit, const char *sql, int count, const char *const *values, const char *what,
                   PGresult **ret_result, struct error *err)
{
    PGresult *result = count == 0 ? PQexec(audit->connection, sql)
                                  : PQexecParams(audit->connection, sql, count, NULL, values, NULL, NULL, 0);

    if (!is_success(result)) {
        const int status = postgres_result_error(err, result, what);
        PQclear(result);
        return status;
    }
    *ret_result = result;
    return 0;
}

/* --- Opening ------------------------------------------------------------------------------------------------------ */

static int set_up(struct redrive_audit *audit, const struct postgres_settings *settings, struct error *err)
{
    PGresult *result = NULL;
    struct text sql;
    int status;

    text_init(&sql, SQL_BYTES_MAX);
    status = postgres_session(settings, migrate_newest(), &sql) < 0
                 ? error_no_memory(err)
                 : execute(audit, text_string(&sql), 0, NULL, "set up the session", &result, err);
    PQclear(result);
    text_done(&sql);
    return status;
}

/* The lock is the session's, and ends with it. */
static int lock(struct redrive_audit *audit, const struct postgres_settings *settings, struct error *err)
{
    const char *const values[] = {settings->schema};
    PGresult *result = NULL;
    bool is_ours;

    if (execute(audit, "SELECT pg_try_advisory_lock(hashtext('tandem-pusher redrive ' || $1))", 1, values, "lock",
                &result, err) < 0)
        return -1;
    is_ours = PQgetvalue(result, 0, 0)[0] == 't';
    PQclear(result);
    return is_ours ? 0 : error_set(err, ERROR_TRANSIENT, "redrive.busy", "somebody else is driving letters just now");
}

int redrive_audit_open(const struct postgres_settings *settings, bool for_driving, struct redrive_audit **ret_audit,
                       struct error *err)
{
    struct redrive_audit *audit = calloc(1, sizeof(*audit));

    if (audit == NULL)
        return error_no_memory(err);
    if (postgres_connect(settings, &audit->connection, err) < 0 || set_up(audit, settings, err) < 0 ||
        (for_driving && lock(audit, settings, err) < 0)) {
        redrive_audit_close(audit);
        return -1;
    }
    *ret_audit = audit;
    return 0;
}

void redrive_audit_close(struct redrive_audit *audit)
{
    if (audit == NULL)
        return;
    PQfinish(audit->connection);
    free(audit);
}

/* --- Asking and noting -------------------------------------------------------------------------------------------- */

/* A deal with a referral stands under the referral's id; before it had one, under "crm:" and its CRM record's. */
int redrive_audit_names(struct redrive_audit *audit, const char *name, char *ret_names[static REDRIVE_NAMES_MAX],
                        size_t *ret_count, struct error *err)
{
    static const char sql[] =
        "SELECT DISTINCT name FROM audit, unnest(ARRAY[deal_key, referral_id, crm_id, 'crm:' || crm_id]) AS name "
        "WHERE name IS NOT NULL AND (deal_key IN ($1, lower($1)) OR crm_id = regexp_replace(lower($1), '^crm:', '')) "
        "LIMIT $2::integer";
    char most[NUMBER_SIZE];
    const char *const values[] = {name, most};
    PGresult *result = NULL;
    size_t count = 0;
    int status = 0;

    (void)snprintf(most, sizeof(most), "%d", (int)REDRIVE_NAMES_MAX);
    if (execute(audit, sql, (int)ARRAY_LENGTH(values), values, "look for the deal in the audit", &result, err) < 0)
        return -1;
    for (int row = 0; row < PQntuples(result) && count < REDRIVE_NAMES_MAX && status == 0; row++) {
        ret_names[count] = text_copy(PQgetvalue(result, row, 0));
        if (ret_names[count] == NULL)
            status = error_no_memory(err);
        else
            count++;
    }
    PQclear(result);
    while (status < 0 && count > 0)
        free(ret_names[--count]);
    *ret_count = count;
    return status;
}

int redrive_audit_look_up(struct redrive_audit *audit, struct set_aside *letter, struct error *err)
{
    static const char sql[] = "SELECT floor(extract(epoch FROM max(created_at)) * 1000)::bigint FROM audit "
                              "WHERE phase = 'redriven' AND message_time = $1::timestamptz AND topic = $2 "
                              "AND topic_partition = $3::integer AND topic_offset = $4::bigint";
    char time[TIMESTAMP_TEXT_SIZE], partition[NUMBER_SIZE], offset[NUMBER_SIZE];
    const char *const values[] = {timestamp_format(timestamp_from_ms(letter->message.timestamp_ms), TIME_DIGITS, time),
                                  letter->message.topic, partition, offset};
    PGresult *result = NULL;
    long long ms = 0;

    (void)snprintf(partition, sizeof(partition), "%" PRId32, letter->message.partition);
    (void)snprintf(offset, sizeof(offset), "%" PRId64, letter->message.offset);
    if (execute(audit, sql, (int)ARRAY_LENGTH(values), values, "look for the letter in the audit", &result, err) < 0)
        return -1;
    if (PQgetisnull(result, 0, 0) == 0)
        (void)text_parse_signed(PQgetvalue(result, 0, 0), &ms);
    PQclear(result);
    letter->redriven_ms = (int64_t)ms;
    return 0;
}

/* As an array of one entry, which is how append_audit() takes rows. */
static char *write_row(const struct set_aside *letter, const char *instance)
{
    json_auto_t *rows = json_array();
    json_t *row = letter_row(&letter->message, instance);
    char delivery[UUID_TEXT_SIZE];
    uint8_t random[16];

    random_fill(random, sizeof(random));
    if (row == NULL || json_object_set_new(row, "phase", json_string("redriven")) < 0 ||
        json_object_set_new(row, "delivery", json_string(uuid_from_random(random, delivery))) < 0 ||
        json_array_append(rows, row) < 0) {
        json_decref(row);
        return NULL;
    }
    json_decref(row);
    return json_write(rows, false, NULL);
}

int redrive_audit_note(struct redrive_audit *audit, const struct set_aside *letter, const char *instance,
                       struct error *err)
{
    char *row = write_row(letter, instance);
    const char *const values[] = {row};
    PGresult *result = NULL;
    int status;

    if (row == NULL)
        return error_no_memory(err);
    status = execute(audit, "SELECT * FROM append_audit($1::jsonb)", 1, values, "append to the audit", &result, err);
    PQclear(result);
    free(row);
    return status;
}
