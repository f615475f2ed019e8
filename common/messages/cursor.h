/* Topic `cursors`: how far a source of the outside world has been read. Keyed by source; compacted.
 *
 * What a cursor says is the source's own: a time, or the link the next reading begins with. Below the cursor of a child
 * table, under "…/" and the id of each of its rows, stands the id of the opportunity it belongs to. */
#ifndef TANDEM_MESSAGES_CURSOR_H
#define TANDEM_MESSAGES_CURSOR_H

#include "common/messages/codec.h"

struct cursor {
    char *source;   /* the key: "poll/partner-center", "poll/dynamics-365", "backfill/…" */
    char *position; /* where to go on */
    char *at;       /* RFC 3339, when it was reached */
    char *instance; /* who reached it */
};

extern const struct member CURSOR_MEMBERS[];
extern const size_t CURSOR_MEMBER_COUNT;

int cursor_read(const char *bytes, size_t length, struct cursor *ret_cursor, struct error *err) TANDEM_MUST_CHECK;
char *cursor_write(const struct cursor *cursor, size_t *ret_length);
void cursor_done(struct cursor *cursor);

#endif
