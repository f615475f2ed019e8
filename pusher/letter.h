/* Messages of `dead-letters` that other programs set aside, as rows of the audit.
 *
 * What ingest or the mapper could not process is told where operators look with SQL: who set it aside, why, and where it
 * came from. A validation event comes this way, too, and is a row "none". The message itself stays in its topic. What the pusher set aside has its row already and is passed over.
 * Reading the same letter again adds nothing.
 * Loop thread only. A letter that no row can hold is logged and finished, for it would be in the way for ever. */
#ifndef TANDEM_PUSHER_LETTER_H
#define TANDEM_PUSHER_LETTER_H

#include <jansson.h>

#include "common/kafka/message.h"
#include "pusher/audit.h"

struct letter_ports {
    struct audit *audit;
    const char *instance;
    /* The letter is in the audit, or has nothing to do there. */
    void (*on_over)(void *arg, const char *topic, int32_t partition, int64_t offset);
    void *arg; /* both outlive every letter, until the audit is freed */
};

/* `message` is borrowed for the call. -1: out of memory. */
int letter_take(const struct letter_ports *ports, const struct kafka_message *message, struct error *err)
    TANDEM_MUST_CHECK;

/* Pure: the row; NULL: out of memory. */
json_t *letter_row(const struct kafka_message *message, const char *instance);

#endif
