#include "common/messages/record.h"

#include <stddef.h>

#include "common/base/text.h"

static const char *const kind_words[] = {"reading", "gone", "handover", "found", "settle", NULL};

#define MEMBER(name_, kind_, required_, words_)                                                                \
    {                                                                                                          \
        .name = #name_, .kind = (kind_), .offset = offsetof(struct record, name_), .is_required = (required_), \
        .words = (words_)                                                                                      \
    }

const struct member RECORD_MEMBERS[] = {
    MEMBER(kind, MEMBER_WORD, true, kind_words),   MEMBER(side, MEMBER_TEXT, false, NULL),
    MEMBER(system, MEMBER_TEXT, false, NULL),      MEMBER(deal_key, MEMBER_TEXT, true, NULL),
    MEMBER(record_type, MEMBER_TEXT, false, NULL), MEMBER(record_id, MEMBER_TEXT, false, NULL),
    MEMBER(read_at, MEMBER_TEXT, true, NULL),      MEMBER(reason, MEMBER_TEXT, false, NULL),
    MEMBER(from_key, MEMBER_TEXT, false, NULL),    MEMBER(field, MEMBER_TEXT, false, NULL),
    MEMBER(take, MEMBER_TEXT, false, NULL),        MEMBER(documents, MEMBER_ARRAY, false, NULL),
    MEMBER(state, MEMBER_OBJECT, false, NULL),     MEMBER(causes, MEMBER_ARRAY, false, NULL),
};
const size_t RECORD_MEMBER_COUNT = ARRAY_LENGTH(RECORD_MEMBERS);

int record_read(const char *bytes, size_t length, struct record *ret_record, struct error *err)
{
    return message_read(RECORD_MEMBERS, RECORD_MEMBER_COUNT, bytes, length, ret_record, err);
}

char *record_write(const struct record *record, size_t *ret_length)
{
    return message_write(RECORD_MEMBERS, RECORD_MEMBER_COUNT, record, ret_length);
}

void record_done(struct record *record)
{
    message_done(RECORD_MEMBERS, RECORD_MEMBER_COUNT, record);
}

json_t *record_document(const char *role, const char *id, const char *version, const char *changed_at, const char *etag,
                        json_t *body)
{
    return json_pack("{s:s, s:s?, s:s?, s:s?, s:s?, s:o}", "role", role, "id", id, "version", version, "changed_at",
                     changed_at, "etag", etag, "body", body);
}

json_t *record_document_of(const json_t *documents, const char *role)
{
    for (size_t i = 0; i < json_array_size(documents); i++) {
        json_t *document = json_array_get(documents, i);
        if (text_equal(json_text_of(document, "role"), role))
            return document;
    }
    return NULL;
}
