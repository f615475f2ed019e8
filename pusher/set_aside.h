/* A letter of topic `dead-letters` as a person looks at it: who set what aside and why, where it came from, whether it can
 * be driven again, and as what message.
 *
 * Everything that is shown is printable: what a peer has put into a header or a value cannot steer a terminal. Pure: no
 * I/O, no clock. A letter owns copies of everything; single thread. */
#ifndef TANDEM_PUSHER_SET_ASIDE_H
#define TANDEM_PUSHER_SET_ASIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/text.h"
#include "common/base/timestamp.h"
#include "common/kafka/message.h"

enum { SET_ASIDE_WORD_SIZE = 128, SET_ASIDE_TOPIC_SIZE = 256, SET_ASIDE_PLACES_MAX = 100, SET_ASIDE_NAME_SIZE = 320 };

struct set_aside {
    struct set_aside *next;       /* the caller's */
    struct kafka_message message; /* the letter; without its value when that was not wanted */
    char *bytes;                  /* what it points into */
    size_t size;                  /* of them */
    size_t value_length;          /* also when the value was not kept */
    bool has_value;               /* the original has one: it is no tombstone */
    char stage[SET_ASIDE_WORD_SIZE];
    char code[ERROR_CODE_SIZE];
    char reason[ERROR_MESSAGE_SIZE];
    char attempts[SET_ASIDE_WORD_SIZE];
    char key[SET_ASIDE_TOPIC_SIZE]; /* the deal's, or "partner-center/…" of a notification; "" for none */
    char trace_id[33];
    bool has_origin; /* it was a message of a topic */
    char origin_topic[SET_ASIDE_TOPIC_SIZE];
    int32_t origin_partition;
    int64_t origin_offset;
    int64_t redriven_ms; /* when a person has last driven it again, by the audit; 0: never, as far as is known */
};

struct set_aside_place {
    int32_t partition;
    int64_t offset;
};

/* What holds for a letter that is meant; absent (NULL, 0) parts hold for every letter. */
struct set_aside_selection {
    int64_t since_ms; /* since 1970 */
    const char *deal; /* key of a deal, or id of a record */
    /* Further names of that deal: its keys and its records' ids. */
    char *const *deal_names;
    size_t deal_name_count;
    const char *code;
    const char *stage;
    struct set_aside_place places[SET_ASIDE_PLACES_MAX]; /* one of these */
    size_t place_count;
};

int set_aside_new(const struct kafka_message *letter, bool keeps_value, struct set_aside **ret_letter,
                  struct error *err) TANDEM_MUST_CHECK;
void set_aside_free(struct set_aside *letter); /* accepts NULL */

bool set_aside_is_meant(const struct set_aside *letter, const struct set_aside_selection *selection);
/* "0/17": partition and offset. */
bool set_aside_read_place(const char *text, struct set_aside_place *ret_place);

/* Why it cannot be driven again; NULL: it can. `prefix` of this deployment's topics: nothing is sent elsewhere. */
const char *set_aside_hindrance(const struct set_aside *letter, const char *prefix);
/* The original as it was, for the topic it came from, marked as driven again (messages/dead_letter.h). `name` and `time`
 * (RFC 3339) and the letter outlive the message. */
void set_aside_redrive(const struct set_aside *letter, const char *name, const char *time,
                       struct kafka_message *ret_message);
/* "tandem.dead-letters/0/17". Returns `out`. */
char *set_aside_name(const struct set_aside *letter, char out[static SET_ASIDE_NAME_SIZE]);

/* A few lines for people; -1: out of memory, or `out` is full. */
int set_aside_print(const struct set_aside *letter, bool with_value, struct text *out) TANDEM_MUST_CHECK;

#endif
