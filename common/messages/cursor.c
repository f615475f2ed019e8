#include "common/messages/cursor.h"

#include <stddef.h>

#define MEMBER(name_, required_)                                                                                  \
    {                                                                                                             \
        .name = #name_, .kind = MEMBER_TEXT, .offset = offsetof(struct cursor, name_), .is_required = (required_) \
    }

const struct member CURSOR_MEMBERS[] = {
    MEMBER(source, true),
    MEMBER(position, true),
    MEMBER(at, true),
    MEMBER(instance, false),
};
const size_t CURSOR_MEMBER_COUNT = ARRAY_LENGTH(CURSOR_MEMBERS);

int cursor_read(const char *bytes, size_t length, struct cursor *ret_cursor, struct error *err)
{
    return message_read(CURSOR_MEMBERS, CURSOR_MEMBER_COUNT, bytes, length, ret_cursor, err);
}

char *cursor_write(const struct cursor *cursor, size_t *ret_length)
{
    return message_write(CURSOR_MEMBERS, CURSOR_MEMBER_COUNT, cursor, ret_length);
}

void cursor_done(struct cursor *cursor)
{
    message_done(CURSOR_MEMBERS, CURSOR_MEMBER_COUNT, cursor);
}
