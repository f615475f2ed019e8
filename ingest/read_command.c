#include "ingest/read_command.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "common/base/timestamp.h"
#include "common/messages/record.h"
#include "common/runtime/clock.h"

#define RECORD_REFERRAL    "referral"
#define RECORD_OPPORTUNITY "opportunity"

enum { TIME_DIGITS = 3 };

const struct option_spec READ_OPTIONS[] = {
    {"referral", "ID", "A referral of Partner Center, with Microsoft's side of it where there is one."},
    {"opportunity", "ID", "An opportunity of Dynamics 365, with the columns of dynamics_365.columns."},
};
const size_t READ_OPTION_COUNT = ARRAY_LENGTH(READ_OPTIONS);

const char READ_DETAILS[] =
    "Prints one line of JSON: the reading as it would stand in the topic records, personal data included. 'tandem-mapper\n"
    "preview' takes it. Nothing is written anywhere but a refresh token that Partner Center has renewed, which goes to\n"
    "Kafka; reading an opportunity needs no Kafka.\n"
    "\n"
    "Exit status: 0 when it is printed; 1 when it is not there, not visible to our account, or could not be read, also\n"
    "because Kafka or the system is away; 64 for the command line; 71 when Kafka's topics are not as they must be; 78 for the configuration.\n";

int read_request_read(const struct command_line *line, struct read_request *ret_request, struct error *err)
{
    const char *referral = command_line_option(line, "referral");
    const char *opportunity = command_line_option(line, "opportunity");
    const char *id = referral != NULL ? referral : opportunity;
    struct read_request request = {.is_opportunity = referral == NULL};

    if ((referral == NULL) == (opportunity == NULL))
        return error_set(err, ERROR_CONFIG, "read.usage", "read wants --referral ID or --opportunity ID");
    if (!uuid_is_valid(id, strlen(id)))
        return error_set(err, ERROR_CONFIG, "read.usage", "read: an id is like 6f1c9a52-0b7e-4f3e-9a34-2d1f5f0c7a11");
    (void)uuid_normalise(id, request.id);
    *ret_request = request;
    return 0;
}

struct read_command {
    struct system *system;
    struct read_request request;
    FILE *out;
    void (*on_done)(void *arg, const struct error *err);
    void *arg;
};

/* The record borrows all its texts: it lives for one call. */
static int print(const struct read_command *command, const struct system_answer *answer, struct error *err)
{
    const struct read_request *request = &command->request;
    char read_at[TIMESTAMP_TEXT_SIZE];
    json_auto_t *causes = json_array();
    const struct record record = {
        .kind = RECORD_READING,
        .side = (char *)(uintptr_t)(request->is_opportunity ? "crm" : "partner-center"),
        .system = (char *)(uintptr_t)command->system->operations->name,
        .deal_key = (char *)(uintptr_t)answer->deal_key,
        .record_type = (char *)(uintptr_t)(request->is_opportunity ? RECORD_OPPORTUNITY : RECORD_REFERRAL),
        .record_id = (char *)(uintptr_t)answer->record_id,
        .read_at = timestamp_format(clock_now(), TIME_DIGITS, read_at),
        .documents = (json_t *)(uintptr_t)answer->documents,
        .causes = causes,
    };
    char *value = causes == NULL ? NULL : record_write(&record, NULL);
    int status = 0;

    if (value == NULL)
        return error_no_memory(err);
    if (fprintf(command->out, "%s\n", value) < 0 || fflush(command->out) != 0)
        status = error_set(err, ERROR_FATAL, "read.output", "the record cannot be written: %s", strerror(errno));
    free(value);
    return status;
}

static void on_answer(void *arg, const struct system_answer *answer)
{
    struct read_command *command = arg;
    const struct read_request *request = &command->request;
    struct error err = ERROR_INIT;

    if (answer->result == SYSTEM_DONE && answer->documents != NULL) {
        command->on_done(command->arg, print(command, answer, &err) < 0 ? &err : NULL);
        return;
    }
    err = answer->error;
    (void)error_wrap(&err, "%s %s%s", request->is_opportunity ? RECORD_OPPORTUNITY : RECORD_REFERRAL, request->id,
                     answer->result == SYSTEM_GONE ? " is not there, or not visible to our account" : "");
    command->on_done(command->arg, &err);
}

int read_command_start(struct system *system, const struct read_request *request, FILE *out,
                       void (*on_done)(void *arg, const struct error *err), void *arg,
                       struct read_command **ret_command, struct error *err)
{
    struct read_command *command = calloc(1, sizeof(*command));

    if (command == NULL)
        return error_no_memory(err);
    *command = (struct read_command){.system = system, .request = *request, .out = out, .on_done = on_done, .arg = arg};
    if (system->operations->read(system, request->is_opportunity ? RECORD_OPPORTUNITY : RECORD_REFERRAL,
                                 command->request.id, on_answer, command, err) < 0) {
        free(command);
        return -1;
    }
    *ret_command = command;
    return 0;
}

void read_command_free(struct read_command *command)
{
    free(command);
}
