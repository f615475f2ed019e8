/* What the person sees who runs a backfill: a bar that moves on a terminal, else a line every few seconds; the table at the
 * end; the file with the findings.
 *
 * Borrows its streams. Blocks as long as writing to them does. Loop thread only. */
#ifndef TANDEM_INGEST_BACKFILL_DISPLAY_H
#define TANDEM_INGEST_BACKFILL_DISPLAY_H

#include <stdbool.h>
#include <stdio.h>

#include "common/base/error.h"
#include "ingest/backfill_pairing.h"
#include "ingest/backfill_progress.h"

struct backfill_display {
    FILE *out;      /* the table */
    FILE *progress; /* everything else */
    bool is_terminal;
};

struct backfill_display backfill_display_of(FILE *out, FILE *progress);
/* How often the progress is to be shown. */
int64_t backfill_display_interval_ms(const struct backfill_display *display);
void backfill_display_show(const struct backfill_display *display, const struct backfill_progress *progress);
/* The same, and the line stays where the next one would take its place. */
void backfill_display_keep(const struct backfill_display *display, const struct backfill_progress *progress);
/* A line of its own above the progress. */
void backfill_display_say(const struct backfill_display *display, const char *text);
/* Takes the bar away. */
void backfill_display_clear(const struct backfill_display *display);
/* `with_deals`: also those that would be told. ERROR_FATAL "backfill.output" when it cannot be written. */
int backfill_display_table(const struct backfill_display *display, const struct pairing *pairing, size_t told,
                           bool with_deals, struct error *err) TANDEM_MUST_CHECK;

/* Whether a report could be written there, before anything is listed; leaves nothing behind. `path` NULL: none is wanted.
 * ERROR_CONFIG "backfill.report" when not. */
int backfill_report_check(const char *path, struct error *err) TANDEM_MUST_CHECK;
/* The findings, and `with_deals` those deals that would be told. Whole or not at all: the file of an earlier run stays
 * until the new one is written. `path` NULL: none. ERROR_CONFIG "backfill.report" when it cannot be written. */
int backfill_report_write(const struct pairing *pairing, const char *path, bool with_deals, struct error *err)
    TANDEM_MUST_CHECK;

#endif
