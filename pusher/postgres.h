/* Settings of the PostgreSQL connection, how libpq is told them, and what its errors mean.
 *
 * Makes no connection that lasts (audit.h, migrate.h). libpq's messages are never passed on: their DETAIL shows rows, and
 * some show the connection string; what is kept is the SQLSTATE and the constraint's name. Any thread. */
#ifndef TANDEM_PUSHER_POSTGRES_H
#define TANDEM_PUSHER_POSTGRES_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "common/base/error.h"
#include "common/base/text.h"
#include "common/runtime/config.h"

/* The section `postgres`. */
struct postgres_settings {
    char *host; /* a name, an address, or the directory of a Unix socket */
    int64_t port;
    char *database;
    char *user;
    struct secret password; /* optional */
    int sslmode;            /* index into POSTGRES_SSLMODES */
    char *ca_file;
    char *schema;
    int64_t connect_timeout_ms;
    int64_t statement_timeout_ms;
};
extern const char *const POSTGRES_SSLMODES[];
extern const struct config_key POSTGRES_KEYS[];
extern const size_t POSTGRES_KEY_COUNT;
/* config_section.validate: the schema's name, and verification without an authority. */
void postgres_settings_validate(const struct config_section *section, const struct yaml_node *node,
                                struct diagnostics *diagnostics);

enum { POSTGRES_PARAMETERS_MAX = 20, POSTGRES_NUMBER_SIZE = 24 };

/* Parameters as PQconnectStartParams() and PQconnectdbParams() take them. Values are borrowed from the settings,
 * numbers are in `numbers`: not to be copied. */
struct postgres_parameters {
    const char *keywords[POSTGRES_PARAMETERS_MAX + 1];
    const char *values[POSTGRES_PARAMETERS_MAX + 1];
    char numbers[3][POSTGRES_NUMBER_SIZE];
    size_t count;
};
void postgres_parameters_init(struct postgres_parameters *parameters, const struct postgres_settings *settings);

/* "SET search_path = …; SET …": what holds for every session of ours. Fails at the server ("postgres.not_migrated") where
 * the schema is older than `schema_number`: it would take rows, and lose what it has no columns for. A newer one will do.
 * -1: out of memory. */
int postgres_session(const struct postgres_settings *settings, unsigned schema_number, struct text *out)
    TANDEM_MUST_CHECK;

/* No connection, or none any more: ERROR_TRANSIENT "postgres.unavailable". Returns -1. */
int postgres_connection_error(struct error *err, const char *what);
/* Before the connection is polled for the first time: the server's refusals come as their SQLSTATE alone, so that
 * postgres_connect_error() can read them in any language of the server. */
void postgres_connect_prepare(PGconn *connection);
/* Why `connection` could not be made; `connection` may be NULL. ERROR_CONFIG, for a person must act: "postgres.password",
 * "postgres.login", "postgres.no_database", "postgres.permission", "postgres.tls". Else as postgres_connection_error().
 * Names host, port, login and database as configured. Returns -1. */
int postgres_connect_error(struct error *err, const PGconn *connection, const struct postgres_settings *settings);
/* Connects and waits for it, at most settings->connect_timeout_ms. For commands: blocks. */
int postgres_connect(const struct postgres_settings *settings, PGconn **ret_connection, struct error *err)
    TANDEM_MUST_CHECK;
/* Pure, what it does with libpq's message, of a connection that was prepared. */
int postgres_judge_refusal(struct error *err, const char *message, bool needs_password,
                           const struct postgres_settings *settings);
/* An error result. ERROR_POISON "postgres.refused_row": this data cannot be stored (SQLSTATE classes 22 and 23).
 * ERROR_CONFIG "postgres.not_migrated" or "postgres.permission": a person must act. Else ERROR_TRANSIENT
 * "postgres.failed". Returns -1. */
int postgres_result_error(struct error *err, const PGresult *result, const char *what);
/* Drops what the server has to say beside results. For PQsetNoticeProcessor(). */
void postgres_ignore_notice(void *arg, const char *message);

#endif
