#include "common/messages/decision.h"

#include <stddef.h>

static const char *const action_words[] = {"none", "create", "update", NULL};

#define MEMBER(name_, kind_, required_, words_)                                                                  \
    {                                                                                                            \
        .name = #name_, .kind = (kind_), .offset = offsetof(struct decision, name_), .is_required = (required_), \
        .words = (words_)                                                                                        \
    }

const struct member DECISION_MEMBERS[] = {
    MEMBER(id, MEMBER_TEXT, true, NULL),
    MEMBER(number, MEMBER_INTEGER, true, NULL),
    MEMBER(deal_key, MEMBER_TEXT, true, NULL),
    MEMBER(action, MEMBER_WORD, true, action_words),
    MEMBER(purpose, MEMBER_TEXT, false, NULL),
    MEMBER(reason, MEMBER_TEXT, true, NULL),
    MEMBER(detail, MEMBER_TEXT, false, NULL),
    MEMBER(target, MEMBER_TEXT, false, NULL),
    MEMBER(system, MEMBER_TEXT, false, NULL),
    MEMBER(record_type, MEMBER_TEXT, false, NULL),
    MEMBER(record_id, MEMBER_TEXT, false, NULL),
    MEMBER(referral_id, MEMBER_TEXT, false, NULL),
    MEMBER(crm_system, MEMBER_TEXT, false, NULL),
    MEMBER(crm_id, MEMBER_TEXT, false, NULL),
    MEMBER(expected_version, MEMBER_TEXT, false, NULL),
    MEMBER(expected_etag, MEMBER_TEXT, false, NULL),
    MEMBER(create_key, MEMBER_OBJECT, false, NULL),
    MEMBER(fields, MEMBER_ARRAY, false, NULL),
    MEMBER(write, MEMBER_OBJECT, false, NULL),
    MEMBER(lookups, MEMBER_OBJECT, false, NULL),
    MEMBER(rows, MEMBER_OBJECT, false, NULL),
    MEMBER(conflicts, MEMBER_ARRAY, false, NULL),
    MEMBER(near_misses, MEMBER_ARRAY, false, NULL),
    MEMBER(is_notable, MEMBER_BOOLEAN, false, NULL),
    MEMBER(audit_column, MEMBER_TEXT, false, NULL),
    MEMBER(audit_text, MEMBER_TEXT, false, NULL),
    MEMBER(audit_former, MEMBER_TEXT, false, NULL),
    MEMBER(rules_version, MEMBER_TEXT, false, NULL),
    MEMBER(decided_at, MEMBER_TEXT, true, NULL),
    MEMBER(received_at, MEMBER_TEXT, false, NULL),
    MEMBER(causes, MEMBER_ARRAY, false, NULL),
    MEMBER(cause_topic, MEMBER_TEXT, false, NULL),
    MEMBER(cause_partition, MEMBER_INTEGER, false, NULL),
    MEMBER(cause_offset, MEMBER_INTEGER, false, NULL),
};
const size_t DECISION_MEMBER_COUNT = ARRAY_LENGTH(DECISION_MEMBERS);

int decision_read(const char *bytes, size_t length, struct decision *ret_decision, struct error *err)
{
    return message_read(DECISION_MEMBERS, DECISION_MEMBER_COUNT, bytes, length, ret_decision, err);
}

char *decision_write(const struct decision *decision, size_t *ret_length)
{
    return message_write(DECISION_MEMBERS, DECISION_MEMBER_COUNT, decision, ret_length);
}

void decision_done(struct decision *decision)
{
    message_done(DECISION_MEMBERS, DECISION_MEMBER_COUNT, decision);
}
