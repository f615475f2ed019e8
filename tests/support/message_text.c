#include "tests/support/message_text.h"

#include <stdlib.h>
#include <string.h>

/* The line at *at without its end, which *at is moved behind. NULL: there is none. */
static const char *next_line(const char *bytes, size_t size, size_t *at, size_t *ret_length)
{
    const char *line = bytes + *at, *end;

    if (*at >= size)
        return NULL;
    end = memchr(line, '\n', size - *at);
    *ret_length = end == NULL ? size - *at : (size_t)(end - line);
    *at += *ret_length + (end == NULL ? 0 : 1);
    return line;
}

static void add_header(struct message_text *text, char *name, const char *line, size_t length)
{
    const char *colon = memchr(line, ':', length);
    size_t name_length = colon == NULL ? length : (size_t)(colon - line);
    struct kafka_header header = {.name = name};

    memcpy(name, line, name_length);
    name[name_length] = '\0';
    if (colon != NULL) {
        size_t start = name_length + 1;
        start += start < length && line[start] == ' ';
        header.value = line + start;
        header.length = length - start;
    }
    text->message.headers[text->message.header_count++] = header;
}

void message_text_read(const uint8_t *data, size_t size, struct message_text *ret_text)
{
    struct message_text text = {
        .message = {.topic = "tandem.decisions", .partition = 3, .offset = 17, .timestamp_ms = 1795219200123}};
    size_t at = 0, name_at = 0, length = 0;
    const char *line;

    /* Each name is shorter than its line and ends with a NUL; what is read is as long as the input to the byte. */
    text.names = malloc(size + KAFKA_HEADERS_MAX + 1);
    text.bytes = malloc(size > 0 ? size : 1);
    if (text.names == NULL || text.bytes == NULL)
        abort();
    if (size > 0)
        memcpy(text.bytes, data, size);
    while ((line = next_line(text.bytes, size, &at, &length)) != NULL && length > 0) {
        if (text.message.header_count == KAFKA_HEADERS_MAX)
            continue;
        add_header(&text, text.names + name_at, line, length);
        name_at += strlen(text.names + name_at) + 1;
    }
    text.message.key = next_line(text.bytes, size, &at, &text.message.key_length);
    if (text.message.key != NULL && at > 0 && text.bytes[at - 1] == '\n') {
        text.message.value = text.bytes + at;
        text.message.value_length = size - at;
    }
    *ret_text = text;
}

void message_text_done(struct message_text *text)
{
    free(text->names);
    free(text->bytes);
}
