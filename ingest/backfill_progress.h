/* Pace and progress of a backfill as arithmetic and text.
 *
 * Pure: times are arguments. */
#ifndef TANDEM_INGEST_BACKFILL_PROGRESS_H
#define TANDEM_INGEST_BACKFILL_PROGRESS_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/text.h"

enum backfill_phase { BACKFILL_LISTING_REFERRALS, BACKFILL_LISTING_ROWS, BACKFILL_TELLING };

struct backfill_progress {
    enum backfill_phase phase;
    size_t done;        /* records, of earlier runs too */
    size_t done_before; /* by earlier runs */
    size_t total;       /* telling only */
    int64_t elapsed_ms; /* of this run's telling */
};

/* 0 to 100; 100 only when all is done. */
unsigned backfill_percent(const struct backfill_progress *progress);
/* What is left at the speed of this run; -1 while there is none. */
int64_t backfill_left_ms(const struct backfill_progress *progress);
/* One line without its end, with a bar if `width` (columns) has room for one; 0: without. */
int backfill_progress_text(const struct backfill_progress *progress, unsigned width, struct text *out)
    TANDEM_MUST_CHECK;

/* Records that are told at once, several times a second, at least 1; and how long after `records` the next are due. */
size_t backfill_batch(int64_t per_second);
int64_t backfill_pause_ms(int64_t per_second, size_t records);

#endif
