/* Messages about files people write, with the place they are about:
 *
 *     rules/contact.yaml:14:20: error: unknown transform 'e146' (did you mean 'e164'?)
 *             transform: e146
 *                        ^~~~
 *
 * Collects all of them; printing is the caller's. Sources are copied and kept until diagnostics_done(). No I/O. */
#ifndef TANDEM_BASE_DIAGNOSTIC_H
#define TANDEM_BASE_DIAGNOSTIC_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/attributes.h"
#include "common/base/text.h"

struct source {
    char *name; /* as the person named the file */
    char *bytes;
    size_t length;
    struct source *next;
};

struct position {
    const struct source *source; /* NULL: the message has no place */
    size_t line;                 /* from 1 */
    size_t column;               /* from 1, characters */
    size_t length;               /* characters marked, at least 1 */
};

enum diagnostic_level { DIAGNOSTIC_ERROR, DIAGNOSTIC_WARNING, DIAGNOSTIC_NOTE };

enum {
    DIAGNOSTICS_MAX = 100 /* further ones are only counted */
};

struct diagnostic;

struct diagnostics {
    struct diagnostic *first; /* in the order of places */
    struct diagnostic *last;  /* the one reported last, which a note belongs to */
    struct source *sources;
    size_t error_count;
    size_t warning_count;
};

#define DIAGNOSTICS_INIT \
    {                    \
        0                \
    }

void diagnostics_done(struct diagnostics *diagnostics);
/* Copies; NULL when out of memory. */
const struct source *diagnostics_add_source(struct diagnostics *diagnostics, const char *name, const char *bytes,
                                            size_t length);
void diagnostics_report(struct diagnostics *diagnostics, enum diagnostic_level level, struct position position,
                        const char *format, ...) TANDEM_PRINTF(4, 5);
/* Shorthand for an error. Returns -1. */
int diagnostics_error(struct diagnostics *diagnostics, struct position position, const char *format, ...)
    TANDEM_PRINTF(3, 4);
/* All messages in the order of their places (files as they were added; a note stays with its message), each with source
 * line and caret. -1 when `out` is full. */
int diagnostics_print(const struct diagnostics *diagnostics, struct text *out);
/* The k-th message (from 0) as "name:line:col: error: …" without the source lines, for tests; NULL past the
 * end. `ret_position` may be NULL. */
const char *diagnostics_message(const struct diagnostics *diagnostics, size_t k, struct position *ret_position);

/* The nearest of `words` by edit distance (at most 2, and less than half the length), or NULL. */
const char *diagnostic_suggest(const char *word, const char *const *words, size_t count);

#endif
