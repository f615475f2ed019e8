/* What we wrote last to each side and have not read back: tells the echo of our own write from a near miss.
 *
 * An echo is recognised by its value, never by who is said to have written. Another value in the same field soon after
 * our write is a near miss: a seller who was overwritten and typed again, or another integration that writes as well;
 * somebody should look. Entries are dropped once their side has been read again. Pure. */
#ifndef TANDEM_MAPPER_LEDGER_H
#define TANDEM_MAPPER_LEDGER_H

#include <jansson.h>
#include <stddef.h>

#include "mapper/deal.h"

enum { LEDGER_WINDOW_MS = 60 * 1000 }; /* by the messages' own times */

/* What a reading of a side found of our writes. */
struct ledger_findings {
    size_t echoes;       /* fields that show what we wrote */
    json_t *near_misses; /* as in messages/decision.h; owned, NULL: none */
};

/* A write to `side` was applied: `fields` as in the decision `decision_id`, the base holds what the side shows since. */
int ledger_note(struct deal *deal, enum side side, const json_t *fields, const char *decision_id, const char *at,
                struct error *err) TANDEM_MUST_CHECK;
/* A side was read, at `at`, after what the ledger holds. */
int ledger_check(struct deal *deal, const struct rules *rules, enum side side, const json_t *documents, const char *at,
                 struct ledger_findings *ret_findings, struct error *err) TANDEM_MUST_CHECK;
/* The echo came before the outcome. */
size_t ledger_count(const struct rules *rules, const json_t *fields);

#endif
