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

const char *backfill_report_deal_word(const struct pairing_deal *deal)
{
    return deal->row == NULL ? "referral_only" : deal->referral == NULL ? "opportunity_only" : "linked";
}

static const char *id_of(const struct pairing_record *record)
{
    return record == NULL ? NULL : record->id;
}

static int append_row(struct text *out, const char *word, const char *referral, const char *row)
{
    return text_appendf(out, "%-20s  %-36s  %s\n", word, referral == NULL ? "-" : referral, row == NULL ? "-" : row);
}

static int append_rest(struct text *out, size_t count, size_t shown)
{
    if (shown == count)
        return 0;
    return text_appendf(out, "and %zu more; --report FILE writes all of them\n", count - shown);
}

static int append_deals(const struct pairing *pairing, size_t shown, struct text *out)
{
    if (pairing->deal_count == 0)
        return text_append(out, "\nNothing would be told.\n");
    if (text_append(out, "\nWould be told, for the rules to decide:\n") < 0 ||
        append_row(out, "deal", "referral", "opportunity") < 0)
        return -1;
    for (size_t i = 0; i < shown; i++) {
        const struct pairing_deal *deal = &pairing->deals[i];
        if (append_row(out, backfill_report_deal_word(deal), id_of(deal->referral), id_of(deal->row)) < 0)
            return -1;
    }
    return append_rest(out, pairing->deal_count, shown);
}

static int append_findings(const struct pairing *pairing, size_t shown, struct text *out)
{
    if (pairing->finding_count == 0)
        return 0;
    if (text_append(out, "\nAmbiguous, and left alone:\n") < 0 ||
        append_row(out, "reason", "referral", "opportunity") < 0)
        return -1;
    for (size_t i = 0; i < shown; i++) {
        const struct pairing_finding *finding = &pairing->findings[i];
        if (append_row(out, pairing_reason_word(finding->reason), finding->referral_id, finding->row_id) < 0)
            return -1;
    }
    return append_rest(out, pairing->finding_count, shown);
}

static size_t at_most(size_t count, size_t most)
{
    return count < most ? count : most;
}

int backfill_report_table(const struct pairing *pairing, size_t told, bool with_deals, size_t lines_max,
                          struct text *out)
{
    if (append_counts(&pairing->counts, told, out) < 0)
        return -1;
    if (with_deals && append_deals(pairing, at_most(pairing->deal_count, lines_max), out) < 0)
        return -1;
    return append_findings(pairing, at_most(pairing->finding_count, lines_max), out);
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

int backfill_report_deal_line(const struct pairing_deal *deal, struct text *out)
{
    if (text_appendf(out, "{\"deal\":\"%s\"", backfill_report_deal_word(deal)) < 0 ||
        append_id(out, "referral", id_of(deal->referral)) < 0 || append_id(out, "opportunity", id_of(deal->row)) < 0)
        return -1;
    return text_append(out, "}\n");
}
