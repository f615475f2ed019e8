/* One message of the mapper: read, merged, and what has to be sent for it, as bytes.
 *
 * Between the merge (merge.h), which knows no topics, and the transaction (worker.h), which knows no deals. Pure: ids and
 * trace spans are derived from the message, times are its own; the same message and state give the same bytes. */
#ifndef TANDEM_MAPPER_STEP_H
#define TANDEM_MAPPER_STEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/kafka/message.h"
#include "common/messages/envelope.h"
#include "mapper/merge.h"

enum {
    STEP_VALUE_MAX = 4 * 1024 * 1024 - 64 * 1024, /* of a message sent: the topics' limit less headers */
    STEP_MESSAGES_MAX = 4
};

enum step_kind { STEP_RECORD, STEP_OUTCOME };

/* What a message says, once read. */
struct step_input {
    enum step_kind kind;
    struct record record;   /* STEP_RECORD */
    struct outcome outcome; /* STEP_OUTCOME */
    const char *deal_key;   /* of either */
    const char *time;       /* of either, RFC 3339 */
    char traceparent[TRACEPARENT_SIZE];
};

/* -1 ERROR_POISON when it is no such message or not of its key; ERROR_TRANSIENT when out of memory. */
int step_read(const struct kafka_message *message, enum step_kind kind, struct step_input *ret_input, struct error *err)
    TANDEM_MUST_CHECK;
void step_input_done(struct step_input *input);

struct step_message {
    const char *topic; /* short name */
    bool is_of_deal;   /* goes to the partition the deal's input came from; else its key decides */
    struct envelope envelope;
    char *key;
    char *value;
    size_t length;
};

struct step_result {
    struct merge_effects effects;
    struct step_message messages[STEP_MESSAGES_MAX]; /* in the order they have to be sent */
    size_t message_count;
    char *state; /* the deal as it is now; NULL: it has not changed */
    size_t state_length;
};

/* `known`: the state's bytes before (NULL: none). On failure the deal must be thrown away; ERROR_POISON: the message is to
 * be set aside. */
int step_merge(struct deal *deal, const char *known, size_t known_length, const struct rules *rules,
               const struct kafka_message *message, const struct step_input *input, struct step_result *ret_result,
               struct error *err) TANDEM_MUST_CHECK;
void step_result_done(struct step_result *result);

#endif
