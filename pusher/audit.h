/* The audit in PostgreSQL: rows are handed in, and told of once they are committed.
 *
 * One connection on the loop; rows that wait are sent together and committed in one transaction, in their order. When
 * the connection breaks, what was under way is sent again after a pause, which adds nothing twice (append_audit(),
 * deploy/postgres/003_append.sql). Waits for the database without end; the caller bounds what it hands in. A password
 * that the server refuses is read from its file again before the next try.
 * Loop thread only. The callback comes exactly once per row, never from inside audit_append(). Connecting blocks while
 * a host's name is resolved, which libpq does by itself; nothing else does. */
#ifndef TANDEM_PUSHER_AUDIT_H
#define TANDEM_PUSHER_AUDIT_H

#include <jansson.h>
#include <stdbool.h>

#include "common/base/error.h"
#include "common/runtime/loop.h"
#include "pusher/postgres.h"

struct audit;

enum audit_state {
    AUDIT_NEW,      /* the row was added, and nobody has taken up this message before */
    AUDIT_OPEN,     /* added; an earlier worker's intent was never closed: its writes may have been done */
    AUDIT_CLOSED,   /* the message has ended before; nothing was added */
    AUDIT_PUBLISHED /* the outcome was taken out of the outbox */
};

struct audit_receipt {
    enum audit_state state;
    unsigned attempt;
    const char *message; /* AUDIT_CLOSED: the outcome that is still to be published, or NULL. Borrowed for the call */
};

/* `receipt` is NULL when the row can never be stored (ERROR_POISON), or the audit was freed. */
typedef void (*audit_callback)(void *arg, const struct audit_receipt *receipt, const struct error *err);

struct audit_callbacks {
    /* Rows can be stored, or not for the time being. */
    void (*on_up)(void *arg, bool is_up);
};

int audit_new(struct loop *loop, const struct postgres_settings *settings, const struct audit_callbacks *callbacks,
              void *arg, struct audit **ret_audit, struct error *err) TANDEM_MUST_CHECK;
/* `row` as made by audit_row.h; steals it, also on failure, and NULL is out of memory. */
int audit_append(struct audit *audit, json_t *row, audit_callback on_committed, void *arg, struct error *err)
    TANDEM_MUST_CHECK;
bool audit_is_up(const struct audit *audit);
/* Why no rows can be stored just now; NULL when they can. Valid until the loop's next turn. */
const char *audit_trouble(const struct audit *audit);
/* Ends what waits with an error; callbacks come before it returns. Accepts NULL. */
void audit_free(struct audit *audit);

#endif
