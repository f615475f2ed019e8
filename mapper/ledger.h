/* What we wrote last to each field of each side and have not read back: tells the echo of our own write from a near miss.
 *
 * An echo is recognised by its value, never by who is said to have written. Another value in the same field soon after
 * our write is a near miss: a seller who was overwritten and typed again, or another integration that writes as well;
 * somebody should look. An entry per field of the rules at most, with the decision and the time of that field's last write;
 * it is dropped once its side has been read after that write, echo or not.
 *
 * What comes after a write is told by the versions of the side's main document, the only one we write to: an outcome that
 * is noted has made the version we wrote the known one (deal_see()), so that whatever is not older than the known one
 * holds our write. Only where versions have no order (the same time with other content; none at all) do the clocks
 * decide: a reading made before the write says nothing about it. Readings are dated by the machine that reads and writes by
 * the one that writes; between versions in order it therefore does not matter whose clock is ahead. How soon is "soon" is
 * a matter of the clocks in any case. Pure. */
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

/* A write to `side` was applied: `fields` as in the decision `decision_id`, the base holds what the side shows since. Takes
 * the place of what was noted of the same fields. */
int ledger_note(struct deal *deal, const struct rules *rules, enum side side, const json_t *fields,
                const char *decision_id, const char *at, struct error *err) TANDEM_MUST_CHECK;
/* The side's main document shows `values` (by path, as from deal_values_of()) and is not older than what was known of it.
 * `at`: when it was read, RFC 3339. `is_ordered` as in struct deal_sight. */
int ledger_check(struct deal *deal, const struct rules *rules, enum side side, const json_t *values, const char *at,
                 bool is_ordered, struct ledger_findings *ret_findings, struct error *err) TANDEM_MUST_CHECK;
/* The record that was written to is another's now, or nobody's. */
void ledger_forget(struct deal *deal, enum side side);

#endif
