#include "ingest/backfill_pairing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/base/timestamp.h"

#define POSITION_REFERRAL "partner-center/"
#define POSITION_ROW      "dynamics-365/"

enum { CAPACITY_FIRST = 64 };

void pairing_init(struct pairing *pairing, size_t records_max, const char *identifier_column, const char *sync_column)
{
    *pairing = (struct pairing){
        .records_max = records_max, .identifier_column = identifier_column, .sync_column = sync_column};
}

static void side_done(struct pairing_side *side)
{
    free(side->records);
    free(side->by_partner);
}

void pairing_done(struct pairing *pairing)
{
    side_done(&pairing->referrals);
    side_done(&pairing->newer_referrals);
    side_done(&pairing->rows);
    free(pairing->findings);
    free(pairing->deals);
    *pairing = (struct pairing){0};
}

/* --- Holding ------------------------------------------------------------------------------------------------------ */

static void *grow(void *entries, size_t *capacity, size_t entry_size)
{
    const size_t wanted = *capacity == 0 ? CAPACITY_FIRST : *capacity * 2;
    void *grown = reallocarray(entries, wanted, entry_size);

    if (grown != NULL)
        *capacity = wanted;
    return grown;
}

static int hold(struct pairing *pairing, struct pairing_side *side, const struct pairing_record *record,
                struct error *err)
{
    if (pairing->referrals.count + pairing->newer_referrals.count + pairing->rows.count >= pairing->records_max)
        return error_set(err, ERROR_CONFIG, "backfill.too_many",
                         "more than %zu referrals and rows take part; raise ingest.backfill.records_max",
                         pairing->records_max);
    if (side->count == side->capacity) {
        struct pairing_record *records = grow(side->records, &side->capacity, sizeof(*records));
        if (records == NULL)
            return error_no_memory(err);
        side->records = records;
    }
    side->records[side->count++] = *record;
    return 0;
}

/* By id; of the same record, the last change comes last. */
static int compare_records(const void *left, const void *right)
{
    const struct pairing_record *a = left, *b = right;
    const int order = strcmp(a->id, b->id);

    if (order != 0)
        return order;
    return (a->changed_ms > b->changed_ms) - (a->changed_ms < b->changed_ms);
}

static int compare_partners(const void *left, const void *right)
{
    const struct pairing_record *const *a = left, *const *b = right;
    const int order = strcmp((*a)->partner, (*b)->partner);

    return order != 0 ? order : strcmp((*a)->id, (*b)->id);
}

static int seal(struct pairing_side *side, struct error *err)
{
    size_t kept = 0;

    if (side->count == 0)
        return 0;
    qsort(side->records, side->count, sizeof(*side->records), compare_records);
    for (size_t i = 0; i < side->count; i++) {
        if (i + 1 == side->count || strcmp(side->records[i].id, side->records[i + 1].id) != 0)
            side->records[kept++] = side->records[i];
    }
    side->count = kept;
    free(side->by_partner);
    side->naming_count = 0;
    side->by_partner = calloc(side->count, sizeof(struct pairing_record *));
    if (side->by_partner == NULL)
        return error_no_memory(err);
    for (size_t i = 0; i < side->count; i++) {
        if (side->records[i].link == PAIRING_LINK_ID)
            side->by_partner[side->naming_count++] = &side->records[i];
    }
    qsort(side->by_partner, side->naming_count, sizeof(struct pairing_record *), compare_partners);
    return 0;
}

/* --- Looking up, in what is sealed -------------------------------------------------------------------------------- */

static int compare_id(const void *key, const void *record)
{
    return strcmp(key, ((const struct pairing_record *)record)->id);
}

static struct pairing_record *find(const struct pairing_side *side, const char *id)
{
    return side->count == 0 ? NULL : bsearch(id, side->records, side->count, sizeof(*side->records), compare_id);
}

/* Those that name this id; *ret_first is the first of them. */
static size_t naming(const struct pairing_side *side, const char *id, struct pairing_record *const **ret_first)
{
    size_t low = 0, high = side->naming_count, end;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (strcmp(side->by_partner[middle]->partner, id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (end = low; end < side->naming_count && strcmp(side->by_partner[end]->partner, id) == 0;)
        end++;
    *ret_first = side->by_partner + low;
    return end - low;
}

static size_t count_naming(const struct pairing_side *side, const char *id)
{
    struct pairing_record *const *first;

    return side->naming_count == 0 ? 0 : naming(side, id, &first);
}

static bool is_named(const struct pairing *pairing, const char *row_id)
{
    return count_naming(&pairing->referrals, row_id) > 0 || count_naming(&pairing->newer_referrals, row_id) > 0;
}

/* --- Reading ------------------------------------------------------------------------------------------------------ */

/* false: the document is of no record that could be told. */
static bool read_id(const json_t *document, struct pairing_record *record)
{
    const char *id = json_text_of(document, "id");

    if (id == NULL || !uuid_is_valid(id, strlen(id)))
        return false;
    (void)uuid_normalise(id, record->id);
    return true;
}

static int64_t read_time(const json_t *document, const char *member)
{
    const char *text = json_text_of(document, member);
    struct timestamp at;

    return text != NULL && timestamp_parse(text, true, &at) ? timestamp_to_ms(at) : -1;
}

static void read_link(const json_t *value, struct pairing_record *record)
{
    const char *text = json_string_value(value);

    if (json_is_null(value) || (text != NULL && *text == '\0') || value == NULL) {
        record->link = PAIRING_LINK_NONE;
    } else if (text != NULL && uuid_is_valid(text, strlen(text))) {
        record->link = PAIRING_LINK_ID;
        (void)uuid_normalise(text, record->partner);
    } else {
        record->link = PAIRING_LINK_TEXT;
    }
}

/* false: not one of ours. */
static bool read_referral(const json_t *document, struct pairing_record *ret_record)
{
    struct pairing_record record = {.changed_ms = read_time(document, "version")};

    if (!text_equal(json_text_of(document, "role"), "own") || !read_id(document, &record))
        return false;
    read_link(json_at(json_object_get(document, "body"), "externalReferenceId", true), &record);
    *ret_record = record;
    return true;
}

int pairing_add_referrals(struct pairing *pairing, const json_t *documents, struct error *err)
{
    for (size_t i = 0; i < json_array_size(documents); i++) {
        struct pairing_record record;
        if (read_referral(json_array_get(documents, i), &record) &&
            hold(pairing, &pairing->referrals, &record, err) < 0)
            return -1;
    }
    return 0;
}

int pairing_seal_referrals(struct pairing *pairing, struct error *err)
{
    if (seal(&pairing->referrals, err) < 0)
        return -1;
    pairing->counts.listed_referrals = pairing->referrals.count;
    return 0;
}

int pairing_add_rows(struct pairing *pairing, const json_t *documents, struct error *err)
{
    for (size_t i = 0; i < json_array_size(documents); i++) {
        const json_t *document = json_array_get(documents, i);
        const json_t *body = json_object_get(document, "body");
        struct pairing_record record = {.changed_ms = read_time(document, "changed_at")};
        if (!read_id(document, &record))
            continue;
        pairing->counts.listed_rows++;
        read_link(json_object_get(body, pairing->identifier_column), &record);
        record.is_wanted = json_flag_of(body, pairing->sync_column, false);
        if (record.link == PAIRING_LINK_NONE && !record.is_wanted && !is_named(pairing, record.id))
            continue;
        if (hold(pairing, &pairing->rows, &record, err) < 0)
            return -1;
    }
    return 0;
}

int pairing_seal_rows(struct pairing *pairing, struct error *err)
{
    return seal(&pairing->rows, err);
}

int pairing_add_newer_referrals(struct pairing *pairing, const json_t *documents, bool *ret_is_over, struct error *err)
{
    bool is_over = false;

    for (size_t i = 0; i < json_array_size(documents); i++) {
        struct pairing_record record;
        if (!read_referral(json_array_get(documents, i), &record))
            continue;
        if (find(&pairing->referrals, record.id) != NULL)
            is_over = true;
        else if (hold(pairing, &pairing->newer_referrals, &record, err) < 0)
            return -1;
    }
    *ret_is_over = is_over;
    return 0;
}

/* --- Deciding ----------------------------------------------------------------------------------------------------- */

/* Either record may be NULL, where only the other one's link tells of it. */
static int add_finding(struct pairing *pairing, enum pairing_reason reason, struct pairing_record *referral,
                       struct pairing_record *row, struct error *err)
{
    struct pairing_finding finding = {.reason = reason};

    if (pairing->finding_count == pairing->finding_capacity) {
        struct pairing_finding *findings = grow(pairing->findings, &pairing->finding_capacity, sizeof(*findings));
        if (findings == NULL)
            return error_no_memory(err);
        pairing->findings = findings;
    }
    if (referral != NULL)
        referral->is_ambiguous = true;
    if (row != NULL)
        row->is_ambiguous = true;
    if (referral != NULL)
        finding.referral_id = referral->id;
    else if (row != NULL && row->link == PAIRING_LINK_ID)
        finding.referral_id = row->partner;
    if (row != NULL)
        finding.row_id = row->id;
    else if (referral != NULL && referral->link == PAIRING_LINK_ID)
        finding.row_id = referral->partner;
    pairing->findings[pairing->finding_count++] = finding;
    return 0;
}

static void link_records(struct pairing *pairing, struct pairing_record *referral, struct pairing_record *row)
{
    referral->is_linked = row->is_linked = true;
    pairing->deals[pairing->deal_count++] = (struct pairing_deal){.referral = referral, .row = row};
    pairing->counts.linked++;
}

/* `row` alone carries the referral's identifier; `named`: the row that the referral names, NULL: none that is held. */
static int decide_carried(struct pairing *pairing, struct pairing_record *referral, struct pairing_record *row,
                          struct pairing_record *named, struct error *err)
{
    const bool is_mutual = named == row;

    /* A link in one direction only is believed while nobody else lays claim to the row. */
    if (is_mutual || (referral->link == PAIRING_LINK_NONE && !is_named(pairing, row->id))) {
        link_records(pairing, referral, row);
        return 0;
    }
    if (add_finding(pairing, PAIRING_LINKS_CONTRADICT, referral, row, err) < 0)
        return -1;
    return named == NULL ? 0 : add_finding(pairing, PAIRING_LINKS_CONTRADICT, referral, named, err);
}

/* No row carries its identifier. */
static int decide_uncarried(struct pairing *pairing, struct pairing_record *referral, struct pairing_record *named,
                            bool linked_only, struct error *err)
{
    if (referral->link == PAIRING_LINK_NONE) {
        pairing->counts.only_referrals++;
        if (!linked_only)
            pairing->deals[pairing->deal_count++] = (struct pairing_deal){.referral = referral};
        return 0;
    }
    if (referral->link == PAIRING_LINK_TEXT)
        return add_finding(pairing, PAIRING_REFERENCE_FOREIGN, referral, NULL, err);
    if (named == NULL)
        return add_finding(pairing, PAIRING_ROW_NOT_VISIBLE, referral, NULL, err);
    if (named->link != PAIRING_LINK_NONE)
        return add_finding(pairing, PAIRING_LINKS_CONTRADICT, referral, named, err);
    if (count_naming(&pairing->referrals, named->id) + count_naming(&pairing->newer_referrals, named->id) > 1)
        return add_finding(pairing, PAIRING_REFERENCE_TWICE, referral, named, err);
    link_records(pairing, referral, named);
    return 0;
}

static int decide_referral(struct pairing *pairing, struct pairing_record *referral, bool linked_only,
                           struct error *err)
{
    struct pairing_record *named = referral->link == PAIRING_LINK_ID ? find(&pairing->rows, referral->partner) : NULL;
    struct pairing_record *const *carriers = NULL;
    const size_t count = pairing->rows.naming_count == 0 ? 0 : naming(&pairing->rows, referral->id, &carriers);

    if (count == 0)
        return decide_uncarried(pairing, referral, named, linked_only, err);
    if (count == 1)
        return decide_carried(pairing, referral, carriers[0], named, err);
    for (size_t i = 0; i < count; i++) {
        if (add_finding(pairing, PAIRING_IDENTIFIER_TWICE, referral, carriers[i], err) < 0)
            return -1;
    }
    if (named != NULL && !text_equal(named->partner, referral->id))
        return add_finding(pairing, PAIRING_LINKS_CONTRADICT, referral, named, err);
    return 0;
}

/* What the referrals have not settled. A row that a referral names has been settled with it. */
static int decide_row(struct pairing *pairing, struct pairing_record *row, bool linked_only, struct error *err)
{
    if (row->link == PAIRING_LINK_TEXT)
        return add_finding(pairing, PAIRING_IDENTIFIER_MALFORMED, NULL, row, err);
    if (row->link == PAIRING_LINK_ID) {
        if (find(&pairing->referrals, row->partner) != NULL || find(&pairing->newer_referrals, row->partner) != NULL)
            return 0;
        return add_finding(pairing,
                           count_naming(&pairing->rows, row->partner) > 1 ? PAIRING_IDENTIFIER_TWICE
                                                                          : PAIRING_REFERRAL_NOT_VISIBLE,
                           NULL, row, err);
    }
    if (!row->is_wanted || is_named(pairing, row->id))
        return 0;
    pairing->counts.only_rows++;
    if (!linked_only)
        pairing->deals[pairing->deal_count++] = (struct pairing_deal){.row = row};
    return 0;
}

static size_t count_ambiguous(const struct pairing_side *side)
{
    size_t count = 0;

    for (size_t i = 0; i < side->count; i++)
        count += side->records[i].is_ambiguous && !side->records[i].is_linked;
    return count;
}

int pairing_decide(struct pairing *pairing, bool linked_only, struct error *err)
{
    const size_t most = pairing->referrals.count + pairing->rows.count;

    if (seal(&pairing->newer_referrals, err) < 0)
        return -1;
    pairing->deals = calloc(most == 0 ? 1 : most, sizeof(*pairing->deals));
    if (pairing->deals == NULL)
        return error_no_memory(err);
    for (size_t i = 0; i < pairing->referrals.count; i++) {
        if (decide_referral(pairing, &pairing->referrals.records[i], linked_only, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < pairing->rows.count; i++) {
        if (decide_row(pairing, &pairing->rows.records[i], linked_only, err) < 0)
            return -1;
    }
    pairing->counts.new_referrals = pairing->newer_referrals.count;
    pairing->counts.ambiguous_referrals = count_ambiguous(&pairing->referrals);
    pairing->counts.ambiguous_rows = count_ambiguous(&pairing->rows);
    return 0;
}

/* --- Asking what was decided -------------------------------------------------------------------------------------- */

const char *pairing_reason_word(enum pairing_reason reason)
{
    static const char *const words[] = {
        [PAIRING_IDENTIFIER_TWICE] = "identifier_twice",
        [PAIRING_IDENTIFIER_MALFORMED] = "identifier_malformed",
        [PAIRING_REFERRAL_NOT_VISIBLE] = "referral_not_visible",
        [PAIRING_REFERENCE_TWICE] = "reference_twice",
        [PAIRING_REFERENCE_FOREIGN] = "reference_foreign",
        [PAIRING_ROW_NOT_VISIBLE] = "row_not_visible",
        [PAIRING_LINKS_CONTRADICT] = "links_contradict",
    };

    return words[reason];
}

size_t pairing_records_between(const struct pairing *pairing, size_t begin, size_t end)
{
    size_t count = 0;

    for (size_t i = begin; i < end && i < pairing->deal_count; i++)
        count += (size_t)(pairing->deals[i].referral != NULL) + (size_t)(pairing->deals[i].row != NULL);
    return count;
}

void pairing_position(const struct pairing_deal *deal, char out[static PAIRING_POSITION_SIZE])
{
    (void)snprintf(out, PAIRING_POSITION_SIZE, "%s%s", deal->referral != NULL ? POSITION_REFERRAL : POSITION_ROW,
                   deal->referral != NULL ? deal->referral->id : deal->row->id);
}

size_t pairing_behind(const struct pairing *pairing, const char *position)
{
    const bool is_row = text_starts_with(position, POSITION_ROW);
    const char *id = strchr(position, '/');
    size_t i = 0;

    if (id == NULL || (!is_row && !text_starts_with(position, POSITION_REFERRAL)))
        return 0;
    for (; i < pairing->deal_count; i++) {
        const struct pairing_deal *deal = &pairing->deals[i];
        if (is_row ? deal->referral == NULL && strcmp(deal->row->id, id + 1) > 0
                   : deal->referral == NULL || strcmp(deal->referral->id, id + 1) > 0)
            break;
    }
    return i;
}
