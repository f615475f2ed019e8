/* Which referrals of a newest-first listing are news: those changed since the watermark less an overlap, and not known in
 * that version already.
 *
 * Rows move between pages while referrals change, and clocks differ: the overlap covers both, and what it repeats is told
 * apart by the eTag. One round goes from poll_window_begin() to poll_window_end(). Pure. */
#ifndef TANDEM_INGEST_POLL_WINDOW_H
#define TANDEM_INGEST_POLL_WINDOW_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "ingest/versions.h"

struct poll_window {
    char *watermark;       /* up to here everything has been told; NULL: nothing has */
    char *newest;          /* of this round */
    struct versions known; /* told, by id */
};

/* `watermark`: RFC 3339, copied. */
int poll_window_init(struct poll_window *window, const char *watermark, struct error *err) TANDEM_MUST_CHECK;
void poll_window_done(struct poll_window *window);

int poll_window_begin(struct poll_window *window, struct error *err) TANDEM_MUST_CHECK;
/* One page, in its order. *ret_news: those to be told, borrowed from `documents` (as in messages/record.h), new array.
 * *ret_is_over: what follows is older than the window. */
int poll_window_take(struct poll_window *window, int64_t overlap_ms, const json_t *documents, json_t **ret_news,
                     bool *ret_is_over, struct error *err) TANDEM_MUST_CHECK;
/* All of the round has been told: the watermark moves on. */
int poll_window_end(struct poll_window *window, struct error *err) TANDEM_MUST_CHECK;

/* The round has failed: nobody knows which of its news were told, so none counts as known. */
void poll_window_abandon(struct poll_window *window);

#endif
