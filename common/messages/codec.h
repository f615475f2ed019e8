/* Reads and writes our messages by tables: one row per member, the same for both ways.
 *
 * Reading is strict about what we rely on (types, required members, words) and tolerant of unknown members, so that a
 * newer writer does not stop an older reader. Pure. Errors are ERROR_POISON "message.malformed" and name the member. */
#ifndef TANDEM_MESSAGES_CODEC_H
#define TANDEM_MESSAGES_CODEC_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/error.h"
#include "common/base/json.h"

enum member_kind {
    MEMBER_TEXT,    /* char *, owned; NULL when absent or null */
    MEMBER_INTEGER, /* int64_t */
    MEMBER_BOOLEAN, /* bool */
    MEMBER_WORD,    /* int, index into words */
    MEMBER_OBJECT,  /* json_t *, an object, owned; NULL when absent or null */
    MEMBER_ARRAY    /* json_t *, an array, owned */
};

struct member {
    const char *name;
    enum member_kind kind;
    size_t offset;
    bool is_required;         /* texts must not be empty either */
    const char *const *words; /* MEMBER_WORD: NULL-terminated */
};

/* Reads bytes into *ret_message (zeroed before); on failure it is left released. Limits: JSON_LIMITS_OWN. */
int message_read(const struct member *members, size_t count, const char *bytes, size_t length, void *ret_message,
                 struct error *err) TANDEM_MUST_CHECK;
int message_from_json(const struct member *members, size_t count, const json_t *json, void *ret_message,
                      struct error *err) TANDEM_MUST_CHECK;
/* New reference / free(); NULL when out of memory. Absent members are left out. */
json_t *message_to_json(const struct member *members, size_t count, const void *message);
char *message_write(const struct member *members, size_t count, const void *message, size_t *ret_length);
/* Releases owned members and zeroes them. */
void message_done(const struct member *members, size_t count, void *message);

#endif
