/* The mapper's state of one deal, as it stands in the compacted topic `deals`.
 *
 * A plain value with owned members; read and written by the table of its members. No decision is taken here (merge.h).
 * Pure.
 *
 * Each side keeps what was last seen of it:
 *   {"documents": {id: {"role", "version", "etag", "changed_at", "written_by", "is_created"}}, "values": {path: raw value}}
 * and its base: {field: value}, the value it had when both sides last agreed. */
#ifndef TANDEM_MAPPER_DEAL_H
#define TANDEM_MAPPER_DEAL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/messages/codec.h"
#include "mapper/rules.h"

/* The key of a CRM record whose referral is not known: this and the record's id. */
#define DEAL_KEY_PREFIX_CRM "crm:"

struct deal {
    char *key;
    char *alias;              /* the deal lives on under this key; nothing else is kept then */
    char *id[SIDE_COUNT];     /* of each side's record: our referral's, the CRM record's; NULL: not known */
    char *gone[SIDE_COUNT];   /* why it is not there ("deleted", "not_found", "forbidden"); NULL: it is */
    json_t *seen[SIDE_COUNT]; /* NULL: never */
    json_t *base[SIDE_COUNT]; /* never NULL after deal_init() and deal_read() */
    char *engagement_id;
    char *replaced_crm_id; /* of a deleted CRM record that is replaced by a new one */
    char *explained; /* what the seller was told last, as long as it stands uppermost in the CRM's audit column; NULL:
                              nothing is wrong, or it has to be told anew */
    char *invitation_told; /* what the seller was told of why Microsoft is not invited; NULL: nothing, or it is over */
    char *rests;         /* why the deal rests ("sync_off", "crm_gone", "referral_gone"), as told; NULL: it does not */
    bool is_invited;     /* Microsoft has been */
    bool is_told;        /* the CRM record's own key knows where the deal lives */
    char *rules_version; /* of the last merge */
    int64_t next_number; /* of the next decision, from 1 */
    int64_t conflict_rounds; /* conflicts, and writes that found no referral, in a row without a fresh record */
    json_t *pending;         /* the decision under way, as sent; NULL: none */
    json_t *parked;          /* policy manual: {field: {"partner_center", "crm"}} */
    json_t *problems;        /* {field: message}: values that cannot be mapped */
    json_t *refused; /* {"target/purpose": the last write refused: {"decision", "rules_version", "write", "code",
                         "message", "field", "status": the referral's when it was sent}}; NULL: none */
    json_t *ledger; /* {side: {field: {"value", "decision", "at"}}}: what we wrote and have not read back; NULL: none */
    json_t *causes; /* of records noted while a decision is under way */
};

extern const struct member DEAL_MEMBERS[];
extern const size_t DEAL_MEMBER_COUNT;

/* A deal nothing is known of yet. */
int deal_init(struct deal *deal, const char *key, struct error *err) TANDEM_MUST_CHECK;
int deal_read(const char *bytes, size_t length, struct deal *ret_deal, struct error *err) TANDEM_MUST_CHECK;
char *deal_write(const struct deal *deal, size_t *ret_length);
void deal_done(struct deal *deal);

/* Raw values by path of a side; borrowed, NULL: never seen. */
json_t *deal_values(const struct deal *deal, enum side side);
/* The main document of a side ("own" or "crm"); borrowed, NULL: never seen. */
json_t *deal_document(const struct deal *deal, enum side side);
/* The text under a path of a side; borrowed, NULL: none, or an empty one. `path` may be NULL. */
const char *deal_text(const struct deal *deal, enum side side, const char *path);
/* RFC 3339 or NULL; when the side's main document was last changed. */
const char *deal_changed_at(const struct deal *deal, enum side side);

/* Raw values by path as these documents have them (array as in messages/record.h), whatever is known of the deal. New
 * reference; NULL when out of memory. */
json_t *deal_values_of(const struct rules *rules, enum side side, const json_t *documents);

enum deal_news {
    DEAL_OLDER, /* nothing in the documents is newer than what is known */
    DEAL_SAME,  /* the same version again */
    DEAL_NEWER
};

/* What deal_see() found. */
struct deal_sight {
    enum deal_news news; /* the newest of all documents' */
    enum deal_news main; /* of the main document, the only one we write to; DEAL_OLDER as well: not among them */
    bool is_ordered;     /* `main` is what the versions say; otherwise the content was taken for newer without them */
};

/* Takes over what is newer in the documents (array as in messages/record.h), document by document (rule "order").
 * Versions: whole numbers compare as numbers, times as times; the same time with other content counts as newer. */
int deal_see(struct deal *deal, const struct rules *rules, enum side side, const json_t *documents,
             struct deal_sight *ret_sight, struct error *err) TANDEM_MUST_CHECK;

#endif
