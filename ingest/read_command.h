/* The command "read": one record as Tandem reads it, printed as the message of topic `records` that a reading of it is
 * (messages/record.h), in one line. It is what `tandem-mapper preview` takes.
 *
 *     read --referral ID | --opportunity ID
 *
 * The same read as that of fetch.h, with the same columns; nothing is sent to a topic and nothing is repeated. What is
 * printed is customers' data. The system is borrowed; it has to be freed before read_command_free(). Loop thread only. */
#ifndef TANDEM_INGEST_READ_COMMAND_H
#define TANDEM_INGEST_READ_COMMAND_H

#include <stdbool.h>
#include <stdio.h>

#include "common/base/error.h"
#include "common/base/uuid.h"
#include "common/runtime/command_line.h"
#include "common/systems/system.h"

struct read_request {
    bool is_opportunity; /* else a referral */
    char id[UUID_TEXT_SIZE];
};
extern const struct option_spec READ_OPTIONS[];
extern const size_t READ_OPTION_COUNT;
extern const char READ_DETAILS[];

/* From the command line; -1 with ERROR_CONFIG "read.usage". Pure. */
int read_request_read(const struct command_line *line, struct read_request *ret_request, struct error *err)
    TANDEM_MUST_CHECK;

struct read_command;

/* `on_done` comes once, never from inside; `err` is NULL when the record was printed. */
int read_command_start(struct system *system, const struct read_request *request, FILE *out,
                       void (*on_done)(void *arg, const struct error *err), void *arg,
                       struct read_command **ret_command, struct error *err) TANDEM_MUST_CHECK;
void read_command_free(struct read_command *command); /* accepts NULL */

#endif
