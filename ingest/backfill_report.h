/* What a backfill tells people about what it has found: a table, and lines of JSON, one for each finding and, of a dry
 * run, one for each deal it would tell.
 *
 * Ids only, no personal data. Pure. */
#ifndef TANDEM_INGEST_BACKFILL_REPORT_H
#define TANDEM_INGEST_BACKFILL_REPORT_H

#include "common/base/text.h"
#include "ingest/backfill_pairing.h"

enum { BACKFILL_REPORT_LINE_MAX = 256 };

/* Counts, then at most `lines_max` deals if `with_deals`, then as many findings. `told`: records, this run's and those
 * before it. */
int backfill_report_table(const struct pairing *pairing, size_t told, bool with_deals, size_t lines_max,
                          struct text *out) TANDEM_MUST_CHECK;
/* What the deal is, as in a line of the report: "linked", "referral_only", "opportunity_only". */
const char *backfill_report_deal_word(const struct pairing_deal *deal);
/* {"reason":"identifier_twice","referral":"4d3c…","opportunity":"77a1…"} and the end of the line; null for what is not
 * known. */
int backfill_report_line(const struct pairing_finding *finding, struct text *out) TANDEM_MUST_CHECK;
/* {"deal":"linked","referral":"4d3c…","opportunity":"77a1…"}, in the same way. */
int backfill_report_deal_line(const struct pairing_deal *deal, struct text *out) TANDEM_MUST_CHECK;

#endif
