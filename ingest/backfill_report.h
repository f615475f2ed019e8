/* What a backfill tells people about what it has found: a table, and a file with a line of JSON for each finding.
 *
 * Ids only, no personal data. Pure. */
#ifndef TANDEM_INGEST_BACKFILL_REPORT_H
#define TANDEM_INGEST_BACKFILL_REPORT_H

#include "common/base/text.h"
#include "ingest/backfill_pairing.h"

enum { BACKFILL_REPORT_LINE_MAX = 256 };

/* Counts, then at most `findings_max` findings. `told`: records, this run's and those before it. */
int backfill_report_table(const struct pairing *pairing, size_t told, size_t findings_max, struct text *out)
    TANDEM_MUST_CHECK;
/* {"reason":"identifier_twice","referral":"4d3c…","opportunity":"77a1…"} and the end of the line; null for what is not
 * known. */
int backfill_report_line(const struct pairing_finding *finding, struct text *out) TANDEM_MUST_CHECK;

#endif
