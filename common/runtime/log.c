#include "common/runtime/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/text.h"
#include "common/base/timestamp.h"
#include "common/runtime/clock.h"

enum {
    PROGRAM_NAME_SIZE = 64,
    TEXT_BYTES_MAX = 512,
    LINE_BYTES_MAX = 16 * 1024,
    LINE_TAIL_SIZE = 64, /* room for `omitted`, the brace and the line feed behind a full line */
    ESCAPE_SIZE = 8
};

static const char ELLIPSIS[] = "\xE2\x80\xA6";
static const char REPLACEMENT[] = "\xEF\xBF\xBD";

static const char *const LEVEL_NAMES[] = {
    [LOG_LEVEL_DEBUG] = "debug",
    [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_WARNING] = "warning",
    [LOG_LEVEL_ERROR] = "error",
};

static struct {
    char program[PROGRAM_NAME_SIZE]; /* written by log_setup() only, before other threads */
    _Atomic int threshold;
    pthread_mutex_t mutex; /* one line at a time; guards what follows */
    int64_t lost_count;    /* lines that could not be written whole, told with the next that can */
    bool is_line_open;     /* the last write ended inside a line */
} state = {.program = "tandem", .threshold = LOG_LEVEL_INFO, .mutex = PTHREAD_MUTEX_INITIALIZER};

void log_setup(const char *program, enum log_level threshold)
{
    (void)snprintf(state.program, sizeof(state.program), "%s", program);
    log_set_level(threshold);
}

void log_set_level(enum log_level threshold)
{
    atomic_store_explicit(&state.threshold, (int)threshold, memory_order_relaxed);
}

/* A line under construction. Bytes are added whole or not at all. */
struct line {
    size_t length;
    size_t limit;
    char bytes[LINE_BYTES_MAX];
};

static bool add_bytes(struct line *line, const char *bytes, size_t count)
{
    if (count > line->limit - line->length)
        return false;
    memcpy(line->bytes + line->length, bytes, count);
    line->length += count;
    return true;
}

static bool add(struct line *line, const char *string)
{
    return add_bytes(line, string, strlen(string));
}

/* What a terminal, a viewer or a line-wise reader would act on: controls, line separators, marks of direction
 * (Unicode 15, 23.2 and Bidi_Control). */
static bool must_be_escaped(unsigned c)
{
    return c < 0x20 || c == '"' || c == '\\' || (c >= 0x7F && c < 0xA0) || c == 0x061C || c == 0x200E || c == 0x200F ||
           (c >= 0x2028 && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
}

/* Bytes of the valid character at `bytes`, 0 when there is none. */
static size_t character_size(const char *bytes, size_t count)
{
    unsigned char lead = (unsigned char)bytes[0];
    size_t size = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    return size <= count && utf8_is_valid(bytes, size, NULL) ? size : 0;
}

static bool add_character(struct line *line, const char *bytes, size_t size)
{
    size_t position = 0;
    unsigned c = utf8_next(bytes, size, &position);
    if (!must_be_escaped(c))
        return add_bytes(line, bytes, size);
    char escape[ESCAPE_SIZE];
    if (c == '"' || c == '\\')
        (void)snprintf(escape, sizeof(escape), "\\%c", (int)c);
    else
        (void)snprintf(escape, sizeof(escape), "\\u%04x", c & 0xFFFFu);
    return add(line, escape);
}

/* As a JSON string, cut at TEXT_BYTES_MAX bytes with an ellipsis within them. */
static bool add_text(struct line *line, const char *text)
{
    if (text == NULL)
        return add(line, "null");
    size_t count = strnlen(text, TEXT_BYTES_MAX + 1);
    bool is_cut = count > TEXT_BYTES_MAX;
    size_t limit = is_cut ? TEXT_BYTES_MAX - (sizeof(ELLIPSIS) - 1) : count;

    bool fits = add(line, "\"");
    size_t at = 0;
    while (fits && at < limit) {
        size_t size = character_size(text + at, count - at);
        if (at + size > limit)
            break;
        fits = size > 0 ? add_character(line, text + at, size) : add(line, REPLACEMENT);
        at += size > 0 ? size : 1;
    }
    return fits && (!is_cut || add(line, ELLIPSIS)) && add(line, "\"");
}

static bool add_integer(struct line *line, int64_t integer)
{
    char digits[24];
    (void)snprintf(digits, sizeof(digits), "%lld", (long long)integer);
    return add(line, digits);
}

/* `,"name":value`; leaves the line as it was when that does not fit. */
static bool add_field(struct line *line, const struct log_field *field)
{
    size_t before = line->length;
    bool fits = add(line, ",") && add_text(line, field->name) && add(line, ":");
    switch (field->kind) {
    case LOG_FIELD_TEXT:
        fits = fits && add_text(line, field->text);
        break;
    case LOG_FIELD_INTEGER:
        fits = fits && add_integer(line, field->integer);
        break;
    case LOG_FIELD_BOOLEAN:
        fits = fits && add(line, field->integer != 0 ? "true" : "false");
        break;
    }
    if (!fits)
        line->length = before;
    return fits;
}

/* True when all of it was written. A full pipe that does not block ends in a lost line, never in a waiting loop. */
static bool write_all(const char *bytes, size_t count)
{
    while (count > 0) {
        ssize_t written = write(STDERR_FILENO, bytes, count);
        if (written < 0) {
            if (errno == EINTR)
                continue;
            return false;
        }
        bytes += written;
        count -= (size_t)written;
        state.is_line_open = count > 0;
    }
    return true;
}

void log_write(enum log_level level, const char *event, const struct log_field *fields, size_t count)
{
    if ((int)level < atomic_load_explicit(&state.threshold, memory_order_relaxed))
        return;
    int saved_errno = errno;
    char time[TIMESTAMP_TEXT_SIZE];
    timestamp_format(clock_now(), 3, time);

    struct line line;
    line.length = 0;
    line.limit = sizeof(line.bytes) - LINE_TAIL_SIZE;
    /* These are short: the first line feed, if any, is skipped when the line before was whole. */
    (void)(add(&line, "\n{\"ts\":\"") && add(&line, time) && add(&line, "\",\"level\":\"") &&
           add(&line, LEVEL_NAMES[level]) && add(&line, "\",\"program\":") && add_text(&line, state.program) &&
           add(&line, ",\"event\":") && add_text(&line, event));
    int64_t omitted = 0;
    for (size_t i = 0; i < count; i++)
        omitted += add_field(&line, &fields[i]) ? 0 : 1;

    pthread_mutex_lock(&state.mutex);
    line.limit = sizeof(line.bytes);
    if (omitted > 0)
        (void)add_field(&line, &LOG_INTEGER("omitted", omitted));
    if (state.lost_count > 0)
        (void)add_field(&line, &LOG_INTEGER("lost", state.lost_count));
    (void)add(&line, "}\n");
    size_t skip = state.is_line_open ? 0 : 1;
    if (write_all(line.bytes + skip, line.length - skip))
        state.lost_count = 0;
    else
        state.lost_count++;
    pthread_mutex_unlock(&state.mutex);
    errno = saved_errno;
}
