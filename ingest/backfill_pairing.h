/* Which existing records of both systems belong together, which are to be told, and which nobody can be sure about.
 *
 * Two records belong together when one names the other (a row the referral in its identifier column, a referral the row in
 * its externalReferenceId) and nothing speaks against it. What contradicts itself is a finding, and is told to nobody, so
 * that nothing wrong is written:
 *
 *     identifier_twice      several rows carry the same identifier
 *     identifier_malformed  the row's identifier is no referral's id
 *     referral_not_visible  the row's identifier names a referral that is not listed
 *     reference_twice       several referrals name the same row, which names none
 *     reference_foreign     the referral's externalReferenceId is no row's id
 *     row_not_visible       the referral names a row that is not listed
 *     links_contradict      one names the other, which names somebody else
 *
 * Filled in this order: all referrals, pairing_seal_referrals(), all rows, pairing_seal_rows(), the referrals that have been
 * made meanwhile, pairing_decide(). Of rows, only those that take part are held: with an identifier, with Sync = Yes, or
 * named by a referral. The number of records held is limited. Records may come several times; their last change counts.
 * Pure; owns all it shows. */
#ifndef TANDEM_INGEST_BACKFILL_PAIRING_H
#define TANDEM_INGEST_BACKFILL_PAIRING_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/uuid.h"

enum pairing_link { PAIRING_LINK_NONE, PAIRING_LINK_ID, PAIRING_LINK_TEXT /* something that is no id */ };

struct pairing_record {
    char id[UUID_TEXT_SIZE];
    char partner[UUID_TEXT_SIZE]; /* whom it names; PAIRING_LINK_ID */
    enum pairing_link link;
    int64_t changed_ms; /* since the epoch; -1: unknown */
    bool is_wanted;     /* a row with Sync = Yes */
    bool is_linked, is_ambiguous;
};

/* One system's records, ordered by id once they are sealed. */
struct pairing_side {
    struct pairing_record *records;
    size_t count, capacity;
    struct pairing_record **by_partner; /* those that name somebody, ordered by whom */
    size_t naming_count;
};

enum pairing_reason {
    PAIRING_IDENTIFIER_TWICE,
    PAIRING_IDENTIFIER_MALFORMED,
    PAIRING_REFERRAL_NOT_VISIBLE,
    PAIRING_REFERENCE_TWICE,
    PAIRING_REFERENCE_FOREIGN,
    PAIRING_ROW_NOT_VISIBLE,
    PAIRING_LINKS_CONTRADICT
};

struct pairing_finding {
    enum pairing_reason reason;
    const char *referral_id, *row_id; /* one of them may be NULL */
};

/* A deal to be told: one of both sides, or both. */
struct pairing_deal {
    const struct pairing_record *referral, *row;
};

struct pairing_counts {
    size_t listed_referrals, listed_rows; /* Microsoft's own referrals are not counted */
    size_t linked, only_referrals, only_rows;
    size_t ambiguous_referrals, ambiguous_rows;
    size_t new_referrals; /* made since the listing began: told by whoever tells changes */
};

struct pairing {
    size_t records_max;
    const char *identifier_column, *sync_column; /* borrowed */
    struct pairing_side referrals, newer_referrals, rows;
    struct pairing_finding *findings;
    size_t finding_count, finding_capacity;
    struct pairing_deal *deals; /* by referral id; then those without one, by row id */
    size_t deal_count;
    struct pairing_counts counts;
};

void pairing_init(struct pairing *pairing, size_t records_max, const char *identifier_column, const char *sync_column);
void pairing_done(struct pairing *pairing);

/* `documents`: as of a listing (messages/record.h). -1: out of memory, or ERROR_CONFIG "backfill.too_many". */
int pairing_add_referrals(struct pairing *pairing, const json_t *documents, struct error *err) TANDEM_MUST_CHECK;
int pairing_seal_referrals(struct pairing *pairing, struct error *err) TANDEM_MUST_CHECK;
int pairing_add_rows(struct pairing *pairing, const json_t *documents, struct error *err) TANDEM_MUST_CHECK;
int pairing_seal_rows(struct pairing *pairing, struct error *err) TANDEM_MUST_CHECK;
/* The newest first. *ret_is_over: one was known, so that all further ones are. */
int pairing_add_newer_referrals(struct pairing *pairing, const json_t *documents, bool *ret_is_over, struct error *err)
    TANDEM_MUST_CHECK;
/* `linked_only`: what exists on one side only is counted, and is no deal to be told. */
int pairing_decide(struct pairing *pairing, bool linked_only, struct error *err) TANDEM_MUST_CHECK;

const char *pairing_reason_word(enum pairing_reason reason);
/* Records of the deals from `begin` up to `end`, which is not counted: a deal of both sides has two. */
size_t pairing_records_between(const struct pairing *pairing, size_t begin, size_t end);

/* Where a deal stands in the order of telling: "partner-center/ID" or "dynamics-365/ID". */
enum { PAIRING_POSITION_SIZE = 64 };
void pairing_position(const struct pairing_deal *deal, char out[static PAIRING_POSITION_SIZE]);
/* Index of the first deal behind the position, whether its own deal is still there or not. */
size_t pairing_behind(const struct pairing *pairing, const char *position);

#endif
