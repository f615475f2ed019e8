/* A message as it goes into or comes out of a topic, independent of any handle.
 *
 * Borrowed views: whoever hands one over keeps the bytes alive for the call. No I/O. */
#ifndef TANDEM_KAFKA_MESSAGE_H
#define TANDEM_KAFKA_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

struct kafka_header {
    const char *name;
    const char *value; /* text; NULL: the header is present without a value */
    size_t length;
};

enum {
    KAFKA_HEADERS_MAX = 32,
};

struct kafka_message {
    const char *topic; /* full name, prefix included */
    int32_t partition; /* when read; ignored when written (the key decides) */
    int64_t offset;
    int64_t timestamp_ms;
    const char *key; /* may be NULL when read */
    size_t key_length;
    const char *value; /* NULL: tombstone */
    size_t value_length;
    struct kafka_header headers[KAFKA_HEADERS_MAX];
    size_t header_count;
};

/* A copy that lasts: free() what is returned, into which all of *ret_message points, once it is no longer used. Its
 * strings end with a NUL each. `ret_size` (bytes) may be NULL. NULL: out of memory. */
char *kafka_message_copy(const struct kafka_message *message, struct kafka_message *ret_message, size_t *ret_size);
/* Value of the first header of that name; NULL when absent. Not necessarily NUL-terminated: *ret_length bytes. */
const char *kafka_message_header(const struct kafka_message *message, const char *name, size_t *ret_length);
/* Adds a header whose strings outlive the message; ignored beyond KAFKA_HEADERS_MAX and for a NULL value. */
void kafka_message_add_header(struct kafka_message *message, const char *name, const char *value);

#endif
