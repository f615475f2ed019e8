#include "ingest/backfill_report.h"

static int append_counts(const struct pairing_counts *counts, size_t told, struct text *out)
{
    const struct {
        const char *name;
        size_t referrals, rows;
    } lines[] = {
        {"listed", counts->listed_referrals, counts->listed_rows},
        {"linked", counts->linked, counts->linked},
        {"on this side only", counts->only_referrals, counts->only_rows},
        {"ambiguous", counts->ambiguous_referrals, counts->ambiguous_rows},
        {"made meanwhile", counts->new_referrals, 0},
    };

    if (text_appendf(out, "%-20s %14s %14s\n", "", "Partner Center", "Dynamics 365") < 0)
        return -1;
    for (size_t i = 0; i < ARRAY_LENGTH(lines); i++) {
        if (text_appendf(out, "%-20s %14zu %14zu\n", lines[i].name, lines[i].referrals, lines[i].rows) < 0)
            return -1;
    }
    return text_appendf(out, "%-20s %14zu\n", "records told", told);
}

int backfill_report_table(const struct pairing *pairing, size_t told, size_t findings_max, struct text *out)
{
    const size_t shown = pairing->finding_count < findings_max ? pairing->finding_count : findings_max;

    if (append_counts(&pairing->counts, told, out) < 0)
        return -1;
    if (pairing->finding_count > 0 &&
        text_appendf(out, "\nAmbiguous, and left alone:\n%-20s  %-36s  %s\n", "reason", "referral", "opportunity") < 0)
        return -1;
    for (size_t i = 0; i < shown; i++) {
        const struct pairing_finding *finding = &pairing->findings[i];
        if (text_appendf(out, "%-20s  %-36s  %s\n", pairing_reason_word(finding->reason),
                         finding->referral_id == NULL ? "-" : finding->referral_id,
                         finding->row_id == NULL ? "-" : finding->row_id) < 0)
            return -1;
    }
    if (shown < pairing->finding_count)
        return text_appendf(out, "and %zu more; --report FILE writes all of them\n", pairing->finding_count - shown);
    return 0;
}

static int append_id(struct text *out, const char *name, const char *id)
{
    if (id == NULL)
        return text_appendf(out, ",\"%s\":null", name);
    return text_appendf(out, ",\"%s\":\"%s\"", name, id);
}

int backfill_report_line(const struct pairing_finding *finding, struct text *out)
{
    /* Words and UUIDs: nothing has to be escaped. */
    if (text_appendf(out, "{\"reason\":\"%s\"", pairing_reason_word(finding->reason)) < 0 ||
        append_id(out, "referral", finding->referral_id) < 0 || append_id(out, "opportunity", finding->row_id) < 0)
        return -1;
    return text_append(out, "}\n");
}
