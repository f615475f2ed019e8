/* Rows of the audit as append_audit() takes them: JSON objects whose members are columns.
 *
 * See deploy/postgres/003_append.sql. Pure. Every function that makes a row returns a new reference, NULL when out of
 * memory. Values that PostgreSQL could not read as what its column holds are found before, by audit_row_check(). */
#ifndef TANDEM_PUSHER_AUDIT_ROW_H
#define TANDEM_PUSHER_AUDIT_ROW_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/messages/decision.h"
#include "common/messages/outcome.h"

/* Which message a row is about, and who has taken it up. All borrowed. */
struct audit_origin {
    const char *topic;
    int32_t partition;
    int64_t offset;
    int64_t timestamp_ms; /* of the message */
    const char *delivery; /* UUID */
    const char *instance;
    const char *trace_id; /* "" when there is none */
};

/* ERROR_POISON "message.malformed": a time that is none, which no row could hold. */
int audit_row_check(const struct decision *decision, struct error *err) TANDEM_MUST_CHECK;

json_t *audit_row_intent(const struct audit_origin *origin, const struct decision *decision, const char *started_at);
/* `message`: the outcome as it is to be published. `calls`: requests sent; `was_in_doubt`: judged by reading. */
json_t *audit_row_outcome(const struct audit_origin *origin, const struct decision *decision,
                          const struct outcome *outcome, const char *message, int64_t calls, bool was_in_doubt);
json_t *audit_row_none(const struct audit_origin *origin, const struct decision *decision);
/* A message that is no decision. */
json_t *audit_row_dead_letter(const struct audit_origin *origin, const struct error *err);
/* The outcome has reached its topic. */
json_t *audit_row_published(const struct audit_origin *origin);

#endif
