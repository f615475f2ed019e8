/* What the audit knows of dead letters that a person has driven again, and where one more is noted.
 *
 * A connection of its own, blocking; for commands, never beside a loop that serves. Only one at a time holds it for
 * driving, over all machines, so that two people do not drive the same letters. */
#ifndef TANDEM_PUSHER_REDRIVE_AUDIT_H
#define TANDEM_PUSHER_REDRIVE_AUDIT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "pusher/postgres.h"
#include "pusher/set_aside.h"

struct redrive_audit;

/* `for_driving`: ERROR_TRANSIENT "redrive.busy" while somebody else is driving. Other errors as in postgres.h. */
int redrive_audit_open(const struct postgres_settings *settings, bool for_driving, struct redrive_audit **ret_audit,
                       struct error *err) TANDEM_MUST_CHECK;
void redrive_audit_close(struct redrive_audit *audit); /* accepts NULL */

/* All names under which the audit knows a deal of which one is given: a key of it, or the id of one of its records. *ret_names:
 * keys and ids, at most REDRIVE_NAMES_MAX; free() each. */
enum { REDRIVE_NAMES_MAX = 16 };
int redrive_audit_names(struct redrive_audit *audit, const char *name, char *ret_names[static REDRIVE_NAMES_MAX],
                        size_t *ret_count, struct error *err) TANDEM_MUST_CHECK;
/* Sets letter->redriven_ms. */
int redrive_audit_look_up(struct redrive_audit *audit, struct set_aside *letter, struct error *err) TANDEM_MUST_CHECK;
/* A row "redriven", committed when this returns. */
int redrive_audit_note(struct redrive_audit *audit, const struct set_aside *letter, const char *instance,
                       struct error *err) TANDEM_MUST_CHECK;

#endif
