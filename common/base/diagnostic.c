#include "common/base/diagnostic.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MESSAGE_BYTES_MAX = 4096,
    LINE_CHARACTERS_MAX = 160, /* of a source line shown; longer ones are cut around the caret */
    LINE_LEAD = 60,            /* characters kept before the caret when cutting */
    SUGGESTION_LENGTH_MAX = 64,
    SUGGESTION_DISTANCE_MAX = 2
};

static const char ellipsis[] = "...";

struct diagnostic {
    enum diagnostic_level level;
    struct position position;
    struct position sorted_at; /* its own place; of a note, the place of the message it belongs to */
    char *text;                /* "name:line:col: error: ..." */
    struct diagnostic *next;
};

void diagnostics_done(struct diagnostics *diagnostics)
{
    if (diagnostics == NULL)
        return;
    for (struct diagnostic *entry = diagnostics->first, *next; entry != NULL; entry = next) {
        next = entry->next;
        free(entry->text);
        free(entry);
    }
    for (struct source *source = diagnostics->sources, *next; source != NULL; source = next) {
        next = source->next;
        free(source->name);
        free(source->bytes);
        free(source);
    }
    *diagnostics = (struct diagnostics)DIAGNOSTICS_INIT;
}

const struct source *diagnostics_add_source(struct diagnostics *diagnostics, const char *name, const char *bytes,
                                            size_t length)
{
    struct source *source = calloc(1, sizeof(*source));
    if (source == NULL)
        return NULL;
    source->name = text_copy(name);
    source->bytes = text_copy_n(bytes, length);
    source->length = length;
    if (source->name == NULL || source->bytes == NULL) {
        free(source->name);
        free(source->bytes);
        free(source);
        return NULL;
    }
    /* Appended: messages are sorted in the order in which files were read. */
    struct source **end = &diagnostics->sources;
    while (*end != NULL)
        end = &(*end)->next;
    *end = source;
    return source;
}

static const char *level_name(enum diagnostic_level level)
{
    return level == DIAGNOSTIC_ERROR ? "error" : level == DIAGNOSTIC_WARNING ? "warning" : "note";
}

/* 0 for no source, so that messages without a place come first. */
static size_t source_rank(const struct diagnostics *diagnostics, const struct source *wanted)
{
    size_t rank = 0;
    if (wanted == NULL)
        return rank;
    for (const struct source *source = diagnostics->sources; source != NULL; source = source->next) {
        rank++;
        if (source == wanted)
            return rank;
    }
    return SIZE_MAX;
}

static bool is_before(const struct diagnostics *diagnostics, const struct position *a, const struct position *b)
{
    size_t rank_a = source_rank(diagnostics, a->source);
    size_t rank_b = source_rank(diagnostics, b->source);
    if (rank_a != rank_b)
        return rank_a < rank_b;
    if (a->line != b->line)
        return a->line < b->line;
    return a->column < b->column;
}

/* Names and values from the file may hold escapes for a terminal, or break the line. */
static void blank_controls(char *string)
{
    for (; *string != '\0'; string++) {
        if ((unsigned char)*string < 0x20 || *string == 0x7F)
            *string = ' ';
    }
}

static char *format_entry(enum diagnostic_level level, const struct position *position, const char *format,
                          va_list arguments) TANDEM_PRINTF(3, 0);

static char *format_entry(enum diagnostic_level level, const struct position *position, const char *format,
                          va_list arguments)
{
    char message[MESSAGE_BYTES_MAX];
    int wanted = vsnprintf(message, sizeof(message), format, arguments);
    if (wanted < 0)
        message[0] = '\0';
    size_t bad;
    if (wanted >= MESSAGE_BYTES_MAX && !utf8_is_valid(message, sizeof(message) - 1, &bad))
        message[bad] = '\0';
    blank_controls(message);

    if (position->source == NULL)
        return text_format("%s: %s", level_name(level), message);
    if (position->line == 0)
        return text_format("%s: %s: %s", position->source->name, level_name(level), message);
    return text_format("%s:%zu:%zu: %s: %s", position->source->name, position->line, position->column,
                       level_name(level), message);
}

static size_t entry_count(const struct diagnostics *diagnostics)
{
    size_t count = 0;
    for (const struct diagnostic *entry = diagnostics->first; entry != NULL; entry = entry->next)
        count++;
    return count;
}

static void report(struct diagnostics *diagnostics, enum diagnostic_level level, const struct position *position,
                   const char *format, va_list arguments) TANDEM_PRINTF(4, 0);

static void report(struct diagnostics *diagnostics, enum diagnostic_level level, const struct position *position,
                   const char *format, va_list arguments)
{
    /* Counted even when it cannot be kept: an error must not become a success for want of memory. */
    diagnostics->error_count += level == DIAGNOSTIC_ERROR;
    diagnostics->warning_count += level == DIAGNOSTIC_WARNING;
    if (entry_count(diagnostics) >= DIAGNOSTICS_MAX)
        return;
    struct diagnostic *entry = calloc(1, sizeof(*entry));
    if (entry == NULL)
        return;
    entry->text = format_entry(level, position, format, arguments);
    if (entry->text == NULL) {
        free(entry);
        return;
    }
    entry->level = level;
    entry->position = *position;
    bool is_attached = level == DIAGNOSTIC_NOTE && diagnostics->last != NULL;
    entry->sorted_at = is_attached ? diagnostics->last->sorted_at : *position;

    struct diagnostic **place = &diagnostics->first;
    if (is_attached)
        place = &diagnostics->last->next;
    else
        while (*place != NULL && !is_before(diagnostics, &entry->sorted_at, &(*place)->sorted_at))
            place = &(*place)->next;
    entry->next = *place;
    *place = entry;
    diagnostics->last = entry;
}

void diagnostics_report(struct diagnostics *diagnostics, enum diagnostic_level level, struct position position,
                        const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    report(diagnostics, level, &position, format, arguments);
    va_end(arguments);
}

int diagnostics_error(struct diagnostics *diagnostics, struct position position, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    report(diagnostics, DIAGNOSTIC_ERROR, &position, format, arguments);
    va_end(arguments);
    return -1;
}

const char *diagnostics_message(const struct diagnostics *diagnostics, size_t k, struct position *ret_position)
{
    const struct diagnostic *entry = diagnostics->first;
    for (; entry != NULL && k > 0; k--)
        entry = entry->next;
    if (entry == NULL)
        return NULL;
    if (ret_position != NULL)
        *ret_position = entry->position;
    return entry->text;
}

/* One line of a source. */
struct line {
    const char *bytes;
    size_t length;
};

static bool find_line(const struct source *source, size_t number, struct line *ret_line)
{
    const char *at = source->bytes;
    const char *end = source->bytes + source->length;
    /* A byte order mark is no character of the first line. */
    if (source->length >= 3 && memcmp(at, "\xEF\xBB\xBF", 3) == 0)
        at += 3;
    for (size_t line = 1; line < number; line++) {
        const char *feed = memchr(at, '\n', (size_t)(end - at));
        if (feed == NULL)
            return false;
        at = feed + 1;
    }
    const char *feed = memchr(at, '\n', (size_t)(end - at));
    size_t length = (size_t)((feed != NULL ? feed : end) - at);
    if (length > 0 && at[length - 1] == '\r')
        length--;
    *ret_line = (struct line){.bytes = at, .length = length};
    return number > 0;
}

/* Bytes of the character at an offset; a byte that is no valid UTF-8 counts as one. */
static size_t character_size(const struct line *line, size_t offset)
{
    unsigned char lead = (unsigned char)line->bytes[offset];
    size_t size = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (size > line->length - offset || !utf8_is_valid(line->bytes + offset, size, NULL))
        return 1;
    return size;
}

/* Appends a character, or '?' for what a terminal would act on or could not show (C0, C1, broken bytes). */
static int append_character(struct text *out, const char *bytes, size_t size)
{
    unsigned char lead = (unsigned char)bytes[0];
    bool is_control = (lead < 0x20 && lead != '\t') || lead == 0x7F || (lead >= 0x80 && size == 1) ||
                      (lead == 0xC2 && (unsigned char)bytes[1] < 0xA0);
    return is_control ? text_append_char(out, '?') : text_append_n(out, bytes, size);
}

static int append_padding(struct text *out, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (text_append_char(out, ' ') < 0)
            return -1;
    }
    return 0;
}

/* The line and below it the caret. Tabs before the caret stay tabs, so that it stands where the terminal puts it. */
static int print_excerpt(struct text *out, const struct position *position)
{
    struct line line;
    if (!find_line(position->source, position->line, &line))
        return 0;

    size_t characters = 0;
    for (size_t at = 0; at < line.length; at += character_size(&line, at))
        characters++;
    size_t caret = position->column > 0 ? position->column - 1 : 0;
    if (caret > characters)
        caret = characters;

    /* The shown part is [first, last). */
    size_t first = 0;
    size_t last = characters;
    if (characters > LINE_CHARACTERS_MAX) {
        first = caret > LINE_LEAD ? caret - LINE_LEAD : 0;
        if (characters - first < LINE_CHARACTERS_MAX)
            first = characters - LINE_CHARACTERS_MAX;
        last = first + LINE_CHARACTERS_MAX;
    }

    struct text padding;
    text_init(&padding, LINE_CHARACTERS_MAX + sizeof(ellipsis));
    int result = first > 0 ? text_append(out, ellipsis) : 0;
    if (result == 0 && first > 0)
        result = append_padding(&padding, sizeof(ellipsis) - 1);
    size_t index = 0;
    for (size_t at = 0; at < line.length && result == 0; index++) {
        size_t size = character_size(&line, at);
        if (index >= first && index < last)
            result = append_character(out, line.bytes + at, size);
        if (index >= first && index < caret && result == 0)
            result = text_append_char(&padding, line.bytes[at] == '\t' ? '\t' : ' ');
        at += size;
    }
    if (result == 0 && last < characters)
        result = text_append(out, ellipsis);

    size_t marked = position->length > 0 ? position->length : 1;
    if (marked > last - caret)
        marked = last > caret ? last - caret : 1;
    if (result == 0)
        result = text_appendf(out, "\n%s^", text_string(&padding));
    for (size_t i = 1; i < marked && result == 0; i++)
        result = text_append_char(out, '~');
    text_done(&padding);
    return result == 0 ? text_append_char(out, '\n') : -1;
}

int diagnostics_print(const struct diagnostics *diagnostics, struct text *out)
{
    size_t shown = 0;
    for (const struct diagnostic *entry = diagnostics->first; entry != NULL; entry = entry->next) {
        shown += entry->level != DIAGNOSTIC_NOTE;
        if (text_append(out, entry->text) < 0 || text_append_char(out, '\n') < 0)
            return -1;
        if (entry->position.source != NULL && print_excerpt(out, &entry->position) < 0)
            return -1;
    }
    size_t total = diagnostics->error_count + diagnostics->warning_count;
    if (total > shown)
        return text_appendf(out, "%zu more not shown\n", total - shown);
    return 0;
}

/* Edit distance in which swapping two neighbours is one step (optimal string alignment). */
static size_t edit_distance(const char *a, size_t length_a, const char *b, size_t length_b)
{
    size_t rows[3][SUGGESTION_LENGTH_MAX + 1];
    size_t *before = rows[0], *above = rows[1], *current = rows[2];
    for (size_t j = 0; j <= length_b; j++)
        above[j] = j;
    for (size_t i = 1; i <= length_a; i++) {
        current[0] = i;
        for (size_t j = 1; j <= length_b; j++) {
            size_t best = above[j - 1] + (a[i - 1] != b[j - 1]);
            if (above[j] + 1 < best)
                best = above[j] + 1;
            if (current[j - 1] + 1 < best)
                best = current[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            current[j] = best;
        }
        size_t *freed = before;
        before = above;
        above = current;
        current = freed;
    }
    return above[length_b];
}

const char *diagnostic_suggest(const char *word, const char *const *words, size_t count)
{
    size_t length = strlen(word);
    if (length > SUGGESTION_LENGTH_MAX)
        return NULL;
    const char *nearest = NULL;
    size_t nearest_distance = SUGGESTION_DISTANCE_MAX + 1;
    for (size_t i = 0; i < count; i++) {
        size_t other = strlen(words[i]);
        if (other > SUGGESTION_LENGTH_MAX)
            continue;
        size_t distance = edit_distance(word, length, words[i], other);
        if (distance < nearest_distance && 2 * distance < length) {
            nearest = words[i];
            nearest_distance = distance;
        }
    }
    return nearest;
}
