#include "pusher/postgres.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "common/runtime/loop.h"

enum { IDLE_IN_TRANSACTION_MS = 60000, SCHEMA_LENGTH_MAX = 40 };

const char *const POSTGRES_SSLMODES[] = {"disable", "prefer", "require", "verify-ca", "verify-full", NULL};

enum { SSLMODE_VERIFY_CA = 3 };

#define KEY(name_, type_, member_) \
    .name = (name_), .type = (type_), .offset = offsetof(struct postgres_settings, member_)
const struct config_key POSTGRES_KEYS[] = {
    {KEY("host", CONFIG_TEXT, host), .is_required = true,
     .help = "Name or address of the server, or the directory of its Unix socket; names are resolved while the program "
             "waits."},
    {KEY("port", CONFIG_INTEGER, port), .default_text = "5432", .min = 1, .max = 65535, .help = "Port of the server."},
    {KEY("database", CONFIG_TEXT, database), .default_text = "tandem", .help = "Database that holds the audit."},
    {KEY("user", CONFIG_TEXT, user), .is_required = true, .help = "A login that has the role <schema>_pusher."},
    {KEY("password", CONFIG_SECRET, password), .help = "Password of the login, if it needs one."},
    {KEY("sslmode", CONFIG_WORD, sslmode), .default_text = "verify-full", .words = POSTGRES_SSLMODES,
     .help = "How the connection is protected, in libpq's words; does not matter on a Unix socket."},
    {KEY("ca_file", CONFIG_PATH, ca_file), .help = "Certificates to trust; needed by verify-ca and verify-full."},
    {KEY("schema", CONFIG_TEXT, schema), .default_text = "tandem",
     .help = "Schema of this deployment, made by 'tandem-pusher migrate'; one per deployment."},
    {KEY("connect_timeout", CONFIG_DURATION, connect_timeout_ms), .default_text = "10s", .min = 100, .max = 300000,
     .help = "Longest time of connecting."},
    {KEY("statement_timeout", CONFIG_DURATION, statement_timeout_ms), .default_text = "15s", .min = 100, .max = 600000,
     .help = "Longest time of adding rows; then the connection is made anew."},
};
const size_t POSTGRES_KEY_COUNT = ARRAY_LENGTH(POSTGRES_KEYS);
#undef KEY

/* It becomes part of role names, and must mean the same quoted and unquoted. */
static bool is_schema_name(const char *name)
{
    size_t length = strlen(name);

    return length > 0 && length <= SCHEMA_LENGTH_MAX &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz_0123456789") == length && strchr("0123456789", name[0]) == NULL &&
           strncmp(name, "pg_", 3) != 0;
}

void postgres_settings_validate(const struct config_section *section, const struct yaml_node *node,
                                struct diagnostics *diagnostics)
{
    const struct postgres_settings *settings = section->target;
    const struct yaml_node *schema = yaml_get(node, "schema");

    if (!is_schema_name(settings->schema))
        (void)diagnostics_error(diagnostics, (schema == NULL ? node : schema)->position,
                                "a schema's name has 1 to %d small letters, digits and underscores, and begins with no "
                                "digit and not with 'pg_'",
                                SCHEMA_LENGTH_MAX);
    if (settings->sslmode >= SSLMODE_VERIFY_CA && settings->ca_file == NULL && settings->host[0] != '/')
        (void)diagnostics_error(diagnostics, node->position, "sslmode %s needs a ca_file",
                                POSTGRES_SSLMODES[settings->sslmode]);
}

/* --- Connecting --------------------------------------------------------------------------------------------------- */

static void add(struct postgres_parameters *parameters, const char *keyword, const char *value)
{
    if (value == NULL || parameters->count == POSTGRES_PARAMETERS_MAX)
        return;
    parameters->keywords[parameters->count] = keyword;
    parameters->values[parameters->count] = value;
    parameters->count++;
}

static const char *number(struct postgres_parameters *parameters, size_t slot, int64_t value)
{
    (void)snprintf(parameters->numbers[slot], POSTGRES_NUMBER_SIZE, "%" PRId64, value);
    return parameters->numbers[slot];
}

void postgres_parameters_init(struct postgres_parameters *parameters, const struct postgres_settings *settings)
{
    memset(parameters, 0, sizeof(*parameters));
    add(parameters, "host", settings->host);
    add(parameters, "port", number(parameters, 0, settings->port));
    add(parameters, "dbname", settings->database);
    add(parameters, "user", settings->user);
    add(parameters, "password", settings->password.bytes);
    add(parameters, "sslmode", POSTGRES_SSLMODES[settings->sslmode]);
    add(parameters, "sslrootcert", settings->ca_file);
    add(parameters, "connect_timeout", number(parameters, 1, (settings->connect_timeout_ms + 999) / 1000));
    /* After a failover only the new primary will do. */
    add(parameters, "target_session_attrs", "read-write");
    add(parameters, "gssencmode", "disable");
    add(parameters, "tcp_user_timeout", number(parameters, 2, settings->statement_timeout_ms));
    add(parameters, "keepalives_idle", "15");
    add(parameters, "keepalives_interval", "5");
    add(parameters, "keepalives_count", "3");
    add(parameters, "client_encoding", "UTF8");
    add(parameters, "application_name", "tandem-pusher");
}

int postgres_session(const struct postgres_settings *settings, unsigned schema_number, struct text *out)
{
    /* synchronous_commit: a row counts as written only when it survives the server's crash. */
    return text_appendf(out,
                        "SET search_path = \"%s\", pg_temp; SET timezone = 'UTC'; SET synchronous_commit = on; "
                        "SET statement_timeout = %" PRId64 "; SET idle_in_transaction_session_timeout = %d; "
                        "DO $$ BEGIN IF NOT EXISTS (SELECT FROM migrations WHERE number >= %u) THEN "
                        "RAISE 'the schema is too old' USING ERRCODE = 'invalid_schema_name'; END IF; END $$",
                        settings->schema, settings->statement_timeout_ms, IDLE_IN_TRANSACTION_MS, schema_number);
}

/* --- Errors ------------------------------------------------------------------------------------------------------- */

int postgres_connection_error(struct error *err, const char *what)
{
    return error_set(err, ERROR_TRANSIENT, "postgres.unavailable", "%s: no connection to PostgreSQL", what);
}

void postgres_connect_prepare(PGconn *connection)
{
    (void)PQsetErrorVerbosity(connection, PQERRORS_SQLSTATE);
}

enum { SQLSTATE_LENGTH = 5 };

/* The server's refusal ends with its SQLSTATE ("FATAL:  28P01"); what libpq found by itself has none. */
static bool read_state(const char *message, char out[static SQLSTATE_LENGTH + 1])
{
    size_t length = strlen(message);

    while (length > 0 && message[length - 1] == '\n')
        length--;
    if (length < SQLSTATE_LENGTH + 2 || memcmp(&message[length - SQLSTATE_LENGTH - 2], "  ", 2) != 0)
        return false;
    memcpy(out, &message[length - SQLSTATE_LENGTH], SQLSTATE_LENGTH);
    out[SQLSTATE_LENGTH] = '\0';
    return strspn(out, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == SQLSTATE_LENGTH;
}

/* SQLSTATEs of a refused connection (PostgreSQL, appendix A) that a person has to do something about. */
static int judge_state(struct error *err, const char *state, const struct postgres_settings *settings)
{
    if (strcmp(state, "28P01") == 0)
        return error_set(err, ERROR_CONFIG, "postgres.password",
                         "connect: PostgreSQL does not accept the password of login '%s' (SQLSTATE %s): compare "
                         "postgres.password with the login's",
                         settings->user, state);
    if (strncmp(state, "28", 2) == 0)
        return error_set(err, ERROR_CONFIG, "postgres.login",
                         "connect: PostgreSQL does not let login '%s' in (SQLSTATE %s): there is no such login, it may "
                         "not log in, or pg_hba.conf has no line for it",
                         settings->user, state);
    if (strcmp(state, "3D000") == 0)
        return error_set(err, ERROR_CONFIG, "postgres.no_database",
                         "connect: PostgreSQL has no database '%s' (SQLSTATE %s)", settings->database, state);
    if (strcmp(state, "42501") == 0)
        return error_set(err, ERROR_CONFIG, "postgres.permission",
                         "connect: login '%s' may not connect to database '%s' (SQLSTATE %s)", settings->user,
                         settings->database, state);
    return error_set(err, ERROR_TRANSIENT, "postgres.unavailable",
                     "connect: PostgreSQL takes no connection: SQLSTATE %s", state);
}

int postgres_judge_refusal(struct error *err, const char *message, bool needs_password,
                           const struct postgres_settings *settings)
{
    char state[SQLSTATE_LENGTH + 1];

    if (read_state(message, state))
        return judge_state(err, state, settings);
    if (needs_password)
        return error_set(err, ERROR_CONFIG, "postgres.password",
                         "connect: PostgreSQL wants a password of login '%s', and postgres.password is not set",
                         settings->user);
    if (strstr(message, "SSL") != NULL || strstr(message, "certificate") != NULL)
        return error_set(err, ERROR_CONFIG, "postgres.tls",
                         "connect: no TLS with PostgreSQL at %s, port %" PRId64
                         ": compare postgres.sslmode, ca_file and host with the server's certificate",
                         settings->host, settings->port);
    return error_set(err, ERROR_TRANSIENT, "postgres.unavailable",
                     "connect: no answer from PostgreSQL at %s, port %" PRId64, settings->host, settings->port);
}

int postgres_connect_error(struct error *err, const PGconn *connection, const struct postgres_settings *settings)
{
    return postgres_judge_refusal(err, connection == NULL ? "" : PQerrorMessage(connection),
                                  connection != NULL && PQconnectionNeedsPassword(connection) == 1, settings);
}

/* Whether the connection is made before `end_ms` (monotonic). */
static bool wait_for_connection(PGconn *connection, int64_t end_ms)
{
    PostgresPollingStatusType next = PGRES_POLLING_WRITING;

    while (next == PGRES_POLLING_READING || next == PGRES_POLLING_WRITING) {
        struct pollfd watched = {.fd = PQsocket(connection),
                                 .events = (short)(next == PGRES_POLLING_READING ? POLLIN : POLLOUT)};
        const int64_t left_ms = end_ms - clock_monotonic_ms();

        if (left_ms <= 0 || (poll(&watched, 1, (int)left_ms) < 0 && errno != EINTR))
            return false;
        if (watched.revents != 0)
            next = PQconnectPoll(connection);
    }
    return next == PGRES_POLLING_OK;
}

int postgres_connect(const struct postgres_settings *settings, PGconn **ret_connection, struct error *err)
{
    struct postgres_parameters parameters;
    PGconn *connection;

    postgres_parameters_init(&parameters, settings);
    connection = PQconnectStartParams(parameters.keywords, parameters.values, 0);
    if (connection == NULL)
        return error_no_memory(err);
    postgres_connect_prepare(connection);
    if (PQstatus(connection) == CONNECTION_BAD ||
        !wait_for_connection(connection, clock_monotonic_ms() + settings->connect_timeout_ms)) {
        (void)postgres_connect_error(err, connection, settings);
        PQfinish(connection);
        return -1;
    }
    (void)PQsetNoticeProcessor(connection, postgres_ignore_notice, NULL);
    *ret_connection = connection;
    return 0;
}

/* SQLSTATEs (PostgreSQL, appendix A): undefined schema, table, function, column or role. */
static bool is_undefined(const char *state)
{
    static const char *const STATES[] = {"3F000", "42P01", "42883", "42703", "42704"};

    for (size_t i = 0; i < ARRAY_LENGTH(STATES); i++)
        if (strcmp(state, STATES[i]) == 0)
            return true;
    return false;
}

int postgres_result_error(struct error *err, const PGresult *result, const char *what)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *constraint = PQresultErrorField(result, PG_DIAG_CONSTRAINT_NAME);

    /* libpq's own errors have no SQLSTATE: the connection broke. */
    if (state == NULL)
        return postgres_connection_error(err, what);
    if (strncmp(state, "22", 2) == 0 || strncmp(state, "23", 2) == 0)
        return error_set(err, ERROR_POISON, "postgres.refused_row", "%s: SQLSTATE %s%s%s", what, state,
                         constraint == NULL ? "" : ", constraint ", constraint == NULL ? "" : constraint);
    if (is_undefined(state))
        return error_set(err, ERROR_CONFIG, "postgres.not_migrated",
                         "%s: SQLSTATE %s: the schema is not there or too old; run 'tandem-pusher migrate'", what,
                         state);
    if (strcmp(state, "42501") == 0)
        return error_set(err, ERROR_CONFIG, "postgres.permission",
                         "%s: SQLSTATE %s: the login lacks the role <schema>_pusher", what, state);
    return error_set(err, ERROR_TRANSIENT, "postgres.failed", "%s: SQLSTATE %s", what, state);
}

void postgres_ignore_notice(void *arg, const char *message)
{
    (void)arg;
    (void)message;
}
