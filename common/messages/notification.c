#include "common/messages/notification.h"

#include <stddef.h>
#include <string.h>

#include "common/base/text.h"

static const char *const origin_words[] = {"webhook", "poll", "backfill", "mapper", NULL};

#define MEMBER(name_, kind_, required_, words_)                                                                      \
    {                                                                                                                \
        .name = #name_, .kind = (kind_), .offset = offsetof(struct notification, name_), .is_required = (required_), \
        .words = (words_)                                                                                            \
    }

const struct member NOTIFICATION_MEMBERS[] = {
    MEMBER(source, MEMBER_TEXT, true, NULL),    MEMBER(origin, MEMBER_WORD, true, origin_words),
    MEMBER(event, MEMBER_TEXT, true, NULL),     MEMBER(record_type, MEMBER_TEXT, true, NULL),
    MEMBER(record_id, MEMBER_TEXT, true, NULL), MEMBER(occurred_at, MEMBER_TEXT, false, NULL),
    MEMBER(etag, MEMBER_TEXT, false, NULL),     MEMBER(received_at, MEMBER_TEXT, true, NULL),
    MEMBER(deal_key, MEMBER_TEXT, false, NULL), MEMBER(headers, MEMBER_OBJECT, false, NULL),
    MEMBER(body, MEMBER_TEXT, false, NULL),
};
const size_t NOTIFICATION_MEMBER_COUNT = ARRAY_LENGTH(NOTIFICATION_MEMBERS);

int notification_read(const char *bytes, size_t length, struct notification *ret_notification, struct error *err)
{
    return message_read(NOTIFICATION_MEMBERS, NOTIFICATION_MEMBER_COUNT, bytes, length, ret_notification, err);
}

char *notification_write(const struct notification *notification, size_t *ret_length)
{
    return message_write(NOTIFICATION_MEMBERS, NOTIFICATION_MEMBER_COUNT, notification, ret_length);
}

void notification_done(struct notification *notification)
{
    message_done(NOTIFICATION_MEMBERS, NOTIFICATION_MEMBER_COUNT, notification);
}

char *notification_key(const struct notification *notification)
{
    return text_format("%s/%s", notification->source, notification->record_id);
}

void notification_id(const struct notification *notification, char out[static SHA256_HEX_SIZE])
{
    const char *parts[] = {notification->source, notification->event, notification->record_type,
                           notification->record_id,
                           notification->occurred_at != NULL ? notification->occurred_at : notification->received_at};
    char digests[ARRAY_LENGTH(parts) * (SHA256_HEX_SIZE - 1) + 1];

    /* Digests of the parts: of one length each, so that no part can pass for the end of the one before it. */
    for (size_t i = 0; i < ARRAY_LENGTH(parts); i++) {
        if (sha256_hex(parts[i], strlen(parts[i]), digests + i * (SHA256_HEX_SIZE - 1)) == NULL) {
            out[0] = '\0';
            return;
        }
    }
    if (sha256_hex(digests, sizeof(digests) - 1, out) == NULL)
        out[0] = '\0';
}
