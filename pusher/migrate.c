#include "pusher/migrate.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/uuid.h"

enum { SQL_BYTES_MAX = 4096 };

struct migrator {
    const struct postgres_settings *settings;
    PGconn *connection;
    bool is_dry_run;
    struct text *report;
};

/* --- Statements --------------------------------------------------------------------------------------------------- */

/* What the server says of SQL that is ours shows no data. */
static int failed(const PGresult *result, const char *what, struct error *err)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

    if (state == NULL)
        return postgres_connection_error(err, what);
    return error_set(err, ERROR_CONFIG, "postgres.migrate", "%s: SQLSTATE %s: %s", what, state,
                     message == NULL ? "" : message);
}

static int run(struct migrator *migrator, const char *sql, const char *what, struct error *err)
{
    PGresult *result = PQexec(migrator->connection, sql);
    ExecStatusType status = PQresultStatus(result);
    int outcome = 0;

    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        outcome = failed(result, what, err);
    PQclear(result);
    return outcome;
}

static int query(struct migrator *migrator, const char *sql, int count, const char *const *values, const char *what,
                 PGresult **ret_result, struct error *err)
{
    PGresult *result = PQexecParams(migrator->connection, sql, count, NULL, values, NULL, NULL, 0);
    ExecStatusType status = PQresultStatus(result);

    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
        int outcome = failed(result, what, err);
        PQclear(result);
        return outcome;
    }
    *ret_result = result;
    return 0;
}

/* --- Connecting --------------------------------------------------------------------------------------------------- */

/* libpq repeats what it could not read of a connection string, which may be the password. */
static int check_conninfo(const char *conninfo, struct error *err)
{
    char *message = NULL;
    PQconninfoOption *options = PQconninfoParse(conninfo, &message);
    bool is_readable = options != NULL;

    PQconninfoFree(options);
    PQfreemem(message);
    return is_readable ? 0 : error_set(err, ERROR_CONFIG, "postgres.conninfo", "no readable connection string");
}

static int connect_to(struct migrator *migrator, const char *conninfo, struct error *err)
{
    struct postgres_parameters parameters;

    if (conninfo != NULL) {
        if (check_conninfo(conninfo, err) < 0)
            return -1;
        migrator->connection = PQconnectdb(conninfo);
    } else {
        postgres_parameters_init(&parameters, migrator->settings);
        migrator->connection = PQconnectdbParams(parameters.keywords, parameters.values, 0);
    }
    if (migrator->connection == NULL)
        return error_no_memory(err);
    if (PQstatus(migrator->connection) != CONNECTION_OK)
        return error_set(err, ERROR_TRANSIENT, "postgres.unavailable", "%s", PQerrorMessage(migrator->connection));
    (void)PQsetNoticeProcessor(migrator->connection, postgres_ignore_notice, NULL);
    return 0;
}

/* --- What is there ------------------------------------------------------------------------------------------------ */

static int prepare_schema(struct migrator *migrator, struct error *err)
{
    const char *schema = migrator->settings->schema;
    struct text sql;
    int outcome = -1;

    text_init(&sql, SQL_BYTES_MAX);
    /* The lock is the session's, and ends with it. */
    if (text_appendf(&sql,
                     "SELECT pg_advisory_lock(hashtext('tandem-pusher migrate %s')); "
                     "SET search_path = \"%s\", pg_temp; SET timezone = 'UTC'; SET client_min_messages = warning",
                     schema, schema) < 0) {
        (void)error_no_memory(err);
        goto out;
    }
    outcome = run(migrator, text_string(&sql), "set up the session", err);
    if (outcome < 0 || migrator->is_dry_run)
        goto out;
    text_clear(&sql);
    if (text_appendf(&sql,
                     "CREATE SCHEMA IF NOT EXISTS \"%s\"; CREATE TABLE IF NOT EXISTS migrations ("
                     "number integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, "
                     "applied_at timestamptz NOT NULL DEFAULT now())",
                     schema) < 0)
        outcome = error_no_memory(err);
    else
        outcome = run(migrator, text_string(&sql), "make the schema", err);
out:
    text_done(&sql);
    return outcome;
}

/* Rows (number, checksum) of what was applied; none when there is no such table yet. */
static int read_applied(struct migrator *migrator, PGresult **ret_applied, struct error *err)
{
    PGresult *table = NULL;
    bool is_there;

    if (query(migrator, "SELECT 1 WHERE to_regclass('migrations') IS NULL", 0, NULL, "look for the schema", &table,
              err) < 0)
        return -1;
    is_there = PQntuples(table) == 0;
    PQclear(table);
    return query(migrator,
                 is_there ? "SELECT number::text, checksum FROM migrations ORDER BY migrations.number"
                          : "SELECT ''::text WHERE false",
                 0, NULL, "read what was applied", ret_applied, err);
}

static const char *checksum_of(const PGresult *applied, unsigned number)
{
    for (int i = 0; i < PQntuples(applied); i++) {
        unsigned long long applied_number;
        if (text_parse_unsigned(PQgetvalue(applied, i, 0), 1000000, &applied_number) && applied_number == number)
            return PQgetvalue(applied, i, 1);
    }
    return NULL;
}

static int check_newest(const PGresult *applied, struct error *err)
{
    int count = PQntuples(applied);
    unsigned long long newest = 0;

    if (count > 0 && text_parse_unsigned(PQgetvalue(applied, count - 1, 0), 1000000, &newest) &&
        newest > migrate_newest())
        return error_set(
            err, ERROR_CONFIG, "postgres.newer",
            "the schema is at number %llu, newer than this program, which knows %u; use the program of that "
            "version; nothing was changed",
            newest, migrate_newest());
    return 0;
}

/* --- Applying ----------------------------------------------------------------------------------------------------- */

static int record(struct migrator *migrator, const struct migration *migration, const char *checksum, struct error *err)
{
    PGresult *result = NULL;
    char *number = text_format("%u", migration->number);
    const char *values[] = {number, migration->name, checksum};
    int outcome;

    if (number == NULL)
        return error_no_memory(err);
    outcome = query(migrator, "INSERT INTO migrations (number, name, checksum) VALUES ($1, $2, $3)", 3, values,
                    migration->name, &result, err);
    free(number);
    if (outcome == 0)
        PQclear(result);
    return outcome;
}

static int apply(struct migrator *migrator, const struct migration *migration, const char *checksum, struct error *err)
{
    /* A file may have taken the owner's role for its transaction; the record is ours again. */
    if (run(migrator, "BEGIN", migration->name, err) < 0 || run(migrator, migration->sql, migration->name, err) < 0 ||
        run(migrator, "SET LOCAL ROLE NONE", migration->name, err) < 0 ||
        record(migrator, migration, checksum, err) < 0)
        return -1; /* the connection is closed next, which undoes it */
    return run(migrator, "COMMIT", migration->name, err);
}

static int take(struct migrator *migrator, const struct migration *migration, const PGresult *applied,
                struct error *err)
{
    const char *recorded = checksum_of(applied, migration->number);
    const char *said = "applied already";
    char checksum[SHA256_HEX_SIZE];

    if (sha256_hex(migration->sql, strlen(migration->sql), checksum) == NULL)
        return error_no_memory(err);
    if (recorded != NULL && strcmp(recorded, checksum) != 0)
        return error_set(err, ERROR_CONFIG, "postgres.changed",
                         "%s was changed since it was applied; changes go into a new file", migration->name);
    if (recorded == NULL) {
        if (!migrator->is_dry_run && apply(migrator, migration, checksum, err) < 0)
            return -1;
        said = migrator->is_dry_run ? "would be applied" : "applied";
    }
    return text_appendf(migrator->report, "%s: %s\n", migration->name, said) < 0 ? error_no_memory(err) : 0;
}

unsigned migrate_newest(void)
{
    return MIGRATIONS[MIGRATION_COUNT - 1].number;
}

int migrate(const struct postgres_settings *settings, const char *conninfo, bool is_dry_run, struct text *report,
            struct error *err)
{
    struct migrator migrator = {.settings = settings, .is_dry_run = is_dry_run, .report = report};
    PGresult *applied = NULL;
    int outcome = -1;

    if (connect_to(&migrator, conninfo, err) < 0 || prepare_schema(&migrator, err) < 0 ||
        read_applied(&migrator, &applied, err) < 0 || check_newest(applied, err) < 0)
        goto out;
    for (size_t i = 0; i < MIGRATION_COUNT; i++)
        if (take(&migrator, &MIGRATIONS[i], applied, err) < 0)
            goto out;
    outcome = 0;
out:
    PQclear(applied);
    PQfinish(migrator.connection);
    return outcome;
}
