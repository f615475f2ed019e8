/* Topic `records`: a full reading of one side of a deal; and what deals tell each other. Keyed by deal key.
 *
 * `documents` is an array of what was read, each {"role", "id", "version", "changed_at", "etag", "body"}:
 *   role        "own" (our referral), "related" (another party's referral of the engagement), "crm"
 *   version     the system's own order: a number as text (Dataverse versionnumber) or a time (Partner Center)
 *   changed_at  RFC 3339, when the record was last changed there; null if unknown
 *   etag        what a conditional write has to send, as the system gave it; null if unknown
 *   modified_by_us  whether the last modifier is our own account; null if unknown
 *   body        the system's document with exact numbers */
#ifndef TANDEM_MESSAGES_RECORD_H
#define TANDEM_MESSAGES_RECORD_H

#include "common/messages/codec.h"

enum record_kind {
    RECORD_READING,
    RECORD_GONE,     /* not there, or not visible: see reason */
    RECORD_HANDOVER, /* the state of the old key `from_key`, in `state` */
    RECORD_FOUND,    /* a referral that names this CRM record exists: `record_id` */
    RECORD_SETTLE    /* a person has settled a conflict of policy manual: `field` takes the value of `take` */
};

struct record {
    int kind;
    char *side;   /* "partner-center" or "crm"; NULL for handover, found and settle */
    char *system; /* "partner-center", "dynamics-365" */
    char *deal_key;
    char *record_type; /* "referral", "opportunity" */
    char *record_id;
    char *read_at;     /* RFC 3339 */
    char *reason;      /* RECORD_GONE: "deleted", "not_found", "forbidden" */
    char *from_key;    /* RECORD_HANDOVER */
    char *field;       /* RECORD_SETTLE: name in the rules */
    char *take;        /* RECORD_SETTLE: "partner-center" or "crm" */
    json_t *documents; /* RECORD_READING */
    json_t *state;     /* RECORD_HANDOVER */
    json_t *causes;    /* [{"notification": ce_id, "origin", "event", "received_at", "occurred_at"}], oldest first */
};

extern const struct member RECORD_MEMBERS[];
extern const size_t RECORD_MEMBER_COUNT;

int record_read(const char *bytes, size_t length, struct record *ret_record, struct error *err) TANDEM_MUST_CHECK;
char *record_write(const struct record *record, size_t *ret_length);
void record_done(struct record *record);

/* One entry of `documents`; steals `body`. NULL when out of memory. Texts may be NULL (written as null). */
json_t *record_document(const char *role, const char *id, const char *version, const char *changed_at, const char *etag,
                        json_t *body);
/* The first document of that role; borrowed, NULL when there is none. */
json_t *record_document_of(const json_t *documents, const char *role);

#endif
