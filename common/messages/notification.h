/* Topic `notifications`: something happened to a record of an outside system; go and look.
 *
 * A hint, never data to act on: the record is read anew with our own token. Keyed by source + record id. */
#ifndef TANDEM_MESSAGES_NOTIFICATION_H
#define TANDEM_MESSAGES_NOTIFICATION_H

#include "common/base/uuid.h"
#include "common/messages/codec.h"

enum notification_origin {
    NOTIFICATION_WEBHOOK,
    NOTIFICATION_POLL,
    NOTIFICATION_BACKFILL,
    NOTIFICATION_MAPPER /* the mapper asks for a partner's record */
};

struct notification {
    char *source; /* "partner-center", "dynamics-365" */
    int origin;
    char *event;       /* the source's own word: "referral-updated", "Update"; "requested" for NOTIFICATION_MAPPER */
    char *record_type; /* "referral", "related-referral", "test", "opportunity" */
    char *record_id;   /* lower-case UUID */
    char *occurred_at; /* as the source says, RFC 3339; may be NULL */
    char *etag;        /* of the version that was seen (NOTIFICATION_POLL); NULL: none was, or it says not all */
    char *received_at; /* RFC 3339 */
    char *deal_key;    /* of the asking deal (NOTIFICATION_MAPPER): a record that is gone is told to it; else NULL */
    json_t *headers;   /* the relevant request headers as received; NULL without a webhook */
    char *body;        /* the raw body as received; NULL without a webhook */
};

extern const struct member NOTIFICATION_MEMBERS[];
extern const size_t NOTIFICATION_MEMBER_COUNT;

int notification_read(const char *bytes, size_t length, struct notification *ret_notification, struct error *err)
    TANDEM_MUST_CHECK;
char *notification_write(const struct notification *notification, size_t *ret_length);
void notification_done(struct notification *notification);
/* Message key: "partner-center/4d3c…"; free(). */
char *notification_key(const struct notification *notification);
/* ce_id: the same for the same event delivered again (source, event, record, time of change). "" when out of memory. */
void notification_id(const struct notification *notification, char out[static SHA256_HEX_SIZE]);

#endif
