/* Which record is read next, and which notifications that read answers.
 *
 * Notifications of one record are folded: those that wait are answered by one read; those that arrive while a read is
 * under way wait for the next one, since the running read may have seen the record before their change. So at most one
 * read of a record is under way, and any burst costs at most two.
 *
 *     (absent) --add--> QUEUED --take--> READING --end--> RESTING --at its time--> (absent), or QUEUED if more waits
 *                         ^                 |
 *                         +---- DELAYED <--retry            DELAYED becomes QUEUED at its time
 *
 * A record rests after a read, so that a burst that is spread over a moment costs two reads, too.
 *
 * Records belong to groups (one per system), each with a queue of its own, so that a group that stands still does not
 * hold up the others. Pure: no I/O, no clock; times are arguments. Single thread. Does not know what a notification is:
 * items are the caller's structs, which begin with a struct fold_item and are released by the function given to
 * fold_new(). */
#ifndef TANDEM_INGEST_FOLD_H
#define TANDEM_INGEST_FOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attributes.h"
#include "common/base/retry.h"

enum { FOLD_GROUPS_MAX = 8 };

struct fold_item {
    struct fold_item *next;
    int32_t partition; /* where it was read from */
    int64_t offset;
};

enum fold_state { FOLD_QUEUED, FOLD_READING, FOLD_DELAYED, FOLD_RESTING };

struct fold_record {
    char *key;
    size_t group;
    enum fold_state state;
    struct fold_item *batch; /* answered by the read under way, oldest first; all taken away: NULL */
    struct fold_item *waiting, *last_waiting;
    struct retry_state retry; /* of the batch; the caller's to keep */
    unsigned unexplained;     /* failures without a reason, of the batch; the caller's to keep */
    int64_t due_ms;           /* FOLD_DELAYED, FOLD_RESTING */
    struct fold_record *next_in_bucket;
    struct fold_record *previous, *next; /* QUEUED: in the group's queue; DELAYED, RESTING: in the list of those */
};

struct fold;

/* NULL when out of memory. `group_count` at most FOLD_GROUPS_MAX. */
struct fold *fold_new(size_t group_count, void (*free_item)(struct fold_item *item));
void fold_free(struct fold *fold); /* releases all items; accepts NULL */

/* Takes the item over. -1: out of memory, it is still the caller's. The same key always comes with the same group. */
int fold_add(struct fold *fold, size_t group, const char *key, struct fold_item *item) TANDEM_MUST_CHECK;
/* The longest queued record of the group, now READING with everything that waited; NULL when there is none. */
struct fold_record *fold_take(struct fold *fold, size_t group);
/* The batch was answered: its items are released. Until `rest_until_ms` the record is not read again; then it is queued
 * if more waits, else gone. Callers give times that never decrease. */
void fold_end(struct fold *fold, struct fold_record *record, int64_t rest_until_ms);
/* The read is to be repeated from `due_ms` on; what waits until then joins the batch. Without a batch it is queued at
 * once if more waits, else gone. */
void fold_retry(struct fold *fold, struct fold_record *record, int64_t due_ms);
/* Queues the delayed and the rested records that are due; returns when the next one is, or -1. */
int64_t fold_wake(struct fold *fold, int64_t now_ms);
/* Queues all delayed records of the group, whatever their time. */
void fold_hurry(struct fold *fold, size_t group);
/* A partition was taken away: releases its items. Records under way stay, maybe without a batch; others without items
 * vanish. */
void fold_forget(struct fold *fold, int32_t partition);

size_t fold_records(const struct fold *fold); /* all states but RESTING */
size_t fold_queued(const struct fold *fold, size_t group);

#endif
