/* Which opportunity each row of a child table belongs to, and so which opportunities a change of such rows is news of.
 *
 * Change tracking tells of a deleted row nothing but its id, and of one that was moved not where it was. So what each row
 * belonged to when it was last seen is kept: poll.c puts each change of it into Kafka once its news are there, and only
 * then does it count as known. What is known is bounded; of rows beyond that a deletion tells nothing, as of a row that was
 * made and deleted between two rounds. Pure; one per child table.
 *
 *     begin -> (take -> keep)* -> end        abandon: the round failed; of the page under way nothing counts as known
 */
#ifndef TANDEM_INGEST_POLL_PARENTS_H
#define TANDEM_INGEST_POLL_PARENTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/base/error.h"

/* Rows that a whole listing did not show any more, told in one round; what is left comes in the next one. */
enum { POLL_PARENTS_GONE_MAX = 5000 };

struct poll_parents {
    json_t *known;      /* {row: opportunity} */
    size_t known_max;   /* rows */
    json_t *changes;    /* {row: opportunity, null: forget it}, of the page under way: to be kept */
    json_t *seen;       /* {row: true} of those known, in a whole listing; NULL: the round asks for changes alone */
    size_t passed_over; /* rows of this round that were not remembered: there are too many */
    size_t unknown;     /* deletions of this round that told nothing */
    bool has_more;      /* the round has not told all that is gone */
};

struct poll_parents_page {
    const json_t *rows;    /* array of {"id", "changed_at"?, "parent"?} */
    const json_t *deleted; /* array of ids; may be NULL */
    bool is_last;          /* the listing ended with it */
    const char
        *since; /* RFC 3339: rows that belong where they belonged and changed before are no news; NULL: all are */
};

int poll_parents_init(struct poll_parents *parents, size_t known_max, struct error *err) TANDEM_MUST_CHECK;
void poll_parents_done(struct poll_parents *parents);

/* What Kafka says. `parent` NULL: nothing any more. */
int poll_parents_learn(struct poll_parents *parents, const char *row, const char *parent, struct error *err)
    TANDEM_MUST_CHECK;

/* `is_whole`: all rows will be shown, so that one that is not has been deleted. */
int poll_parents_begin(struct poll_parents *parents, bool is_whole, struct error *err) TANDEM_MUST_CHECK;
/* *ret_news: {opportunity: time of the change or null}, new. */
int poll_parents_take(struct poll_parents *parents, const struct poll_parents_page *page, json_t **ret_news,
                      struct error *err) TANDEM_MUST_CHECK;
/* The changes are in Kafka. */
int poll_parents_keep(struct poll_parents *parents, struct error *err) TANDEM_MUST_CHECK;
/* May the round's cursor be saved? false: what is gone has not all been told. */
bool poll_parents_end(struct poll_parents *parents);
void poll_parents_abandon(struct poll_parents *parents);

#endif
