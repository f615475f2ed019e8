/* A message of `decisions` can be carried out or tells why not; what can be carried out fits into the rows of the audit. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "pusher/audit_row.h"
#include "pusher/received.h"
#include "tests/support/message_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

/* A row as it goes to the database: JSON that is read, and written as the same. */
static void check_row(json_t *row, const char *phase)
{
    json_t *again = NULL;
    struct json_fault fault;
    size_t length = 0, length_again = 0;
    char *written, *written_again;

    require(row != NULL && text_equal(json_text_of(row, "phase"), phase));
    written = json_write(row, false, &length);
    require(written != NULL && json_read(written, length, &JSON_LIMITS_OWN, &again, &fault) == 0);
    written_again = json_write(again, false, &length_again);
    require(written_again != NULL && length == length_again && memcmp(written, written_again, length) == 0);
    free(written_again);
    free(written);
    json_decref(again);
    json_decref(row);
}

static void check_readable(const struct received *received)
{
    const struct decision *decision = &received->decision;
    const struct audit_origin origin = {.topic = received->message.topic,
                                        .partition = received->message.partition,
                                        .offset = received->message.offset,
                                        .timestamp_ms = received->message.timestamp_ms,
                                        .delivery = "7b0f4a36-5d5e-4f0c-9a53-0b3f7a4f21c9",
                                        .instance = "one",
                                        .trace_id = received->trace_id};

    require(text_equal(received->message.key, decision->deal_key));
    require(decision->action == DECISION_NONE ||
            (decision->target != NULL && decision->system != NULL && decision->write != NULL));
    require(decision->action != DECISION_UPDATE || decision->record_id != NULL);
    require(decision->action != DECISION_CREATE || json_object_size(decision->create_key) == 1);
    check_row(audit_row_intent(&origin, decision, "2026-11-21T04:00:01Z"), "intent");
    check_row(audit_row_none(&origin, decision), "none");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct message_text text;
    struct received received;
    struct error err = ERROR_INIT;

    message_text_read(data, size, &text);
    require(received_take(&received, &text.message, &err) == 0);
    require(received.trace_id[0] == '\0' || strlen(received.trace_id) == TRACE_ID_SIZE - 1);
    if (received.is_readable)
        check_readable(&received);
    else
        require(received.unreadable.class == ERROR_POISON && received.unreadable.code[0] != '\0');
    received_done(&received);
    message_text_done(&text);
    return 0;
}
