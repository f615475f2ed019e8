/* `tandem-pusher letters` and `tandem-pusher redrive`: looking at dead letters, and driving them again.
 *
 * Both read topic `dead-letters` from its beginning to its end as it is then, without a group, so that nobody else's
 * reading is disturbed. redrive sends the original message, byte for byte, to the topic it came from, where it is handled
 * in its deal's order like any other:
 *
 *     a notification   the record is read anew
 *     a record         a reading older than what is known is passed over
 *     an outcome       so is an outcome that nobody waits for
 *     a decision       is written with the version it expects: what was changed since is not overwritten
 *
 * so driving a letter twice does no harm. Once the broker has it the audit gets a row "redriven"; a letter that has one is
 * passed over. Runs a loop of its own; never beside a worker. */
#ifndef TANDEM_PUSHER_REDRIVE_H
#define TANDEM_PUSHER_REDRIVE_H

#include <stdbool.h>
#include <stdio.h>

#include "common/kafka/client.h"
#include "pusher/postgres.h"
#include "pusher/set_aside.h"

enum { REDRIVE_LIMIT_DEFAULT = 100, REDRIVE_LIMIT_MAX = 10000 };

struct redrive_request {
    bool drives; /* else they are only shown */
    bool is_dry_run;
    bool again;      /* also those that were driven before */
    bool with_value; /* shows the messages themselves: customers' data */
    size_t limit;    /* most letters that are shown (the newest) or driven (the oldest) */
    struct set_aside_selection selection;
    const char *instance; /* who drives, for the audit */
};

/* What happens is told on `out` letter by letter, problems of single letters as well; *ret_failures counts these. -1: it
 * could not be done at all, or had to stop; the letters told of until then are done. */
int redrive_run(const struct kafka_settings *kafka, const struct postgres_settings *postgres,
                const struct redrive_request *request, FILE *out, size_t *ret_failures, struct error *err)
    TANDEM_MUST_CHECK;

#endif
