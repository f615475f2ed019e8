#include "common/messages/outcome.h"

#include <stddef.h>

static const char *const result_words[] = {"applied", "conflict", "refused", "gone", "superseded", NULL};

#define MEMBER(name_, kind_, required_, words_)                                                                 \
    {                                                                                                           \
        .name = #name_, .kind = (kind_), .offset = offsetof(struct outcome, name_), .is_required = (required_), \
        .words = (words_)                                                                                       \
    }

const struct member OUTCOME_MEMBERS[] = {
    MEMBER(decision_id, MEMBER_TEXT, true, NULL),     MEMBER(decision_number, MEMBER_INTEGER, true, NULL),
    MEMBER(deal_key, MEMBER_TEXT, true, NULL),        MEMBER(result, MEMBER_WORD, true, result_words),
    MEMBER(target, MEMBER_TEXT, true, NULL),          MEMBER(system, MEMBER_TEXT, true, NULL),
    MEMBER(record_type, MEMBER_TEXT, false, NULL),    MEMBER(record_id, MEMBER_TEXT, false, NULL),
    MEMBER(is_certain, MEMBER_BOOLEAN, false, NULL),  MEMBER(is_created, MEMBER_BOOLEAN, false, NULL),
    MEMBER(documents, MEMBER_ARRAY, false, NULL),     MEMBER(attempts, MEMBER_INTEGER, false, NULL),
    MEMBER(duration_ms, MEMBER_INTEGER, false, NULL), MEMBER(status, MEMBER_INTEGER, false, NULL),
    MEMBER(error_class, MEMBER_TEXT, false, NULL),    MEMBER(error_code, MEMBER_TEXT, false, NULL),
    MEMBER(error_message, MEMBER_TEXT, false, NULL),  MEMBER(error_field, MEMBER_TEXT, false, NULL),
    MEMBER(started_at, MEMBER_TEXT, false, NULL),     MEMBER(finished_at, MEMBER_TEXT, true, NULL),
};
const size_t OUTCOME_MEMBER_COUNT = ARRAY_LENGTH(OUTCOME_MEMBERS);

int outcome_read(const char *bytes, size_t length, struct outcome *ret_outcome, struct error *err)
{
    return message_read(OUTCOME_MEMBERS, OUTCOME_MEMBER_COUNT, bytes, length, ret_outcome, err);
}

char *outcome_write(const struct outcome *outcome, size_t *ret_length)
{
    return message_write(OUTCOME_MEMBERS, OUTCOME_MEMBER_COUNT, outcome, ret_length);
}

void outcome_done(struct outcome *outcome)
{
    message_done(OUTCOME_MEMBERS, OUTCOME_MEMBER_COUNT, outcome);
}
