/* Bounded growable text, and the questions asked of UTF-8 text.
 *
 * A buffer is made with the most bytes it may ever hold; an append beyond that fails and leaves it unchanged, so a peer
 * cannot make it grow without end. Always NUL-terminated once something was appended. Not thread-safe; no I/O. */
#ifndef TANDEM_BASE_TEXT_H
#define TANDEM_BASE_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/base/attributes.h"

struct error;

struct text {
    char *data;    /* NULL until the first append */
    size_t length; /* bytes without the NUL */
    size_t capacity;
    size_t limit; /* most bytes without the NUL */
};

void text_init(struct text *text, size_t limit_bytes);
void text_done(struct text *text);  /* releases the content; init again before reuse */
void text_clear(struct text *text); /* empties it, keeps the memory */

/* All appends: 0, or -1 when the limit or the memory ends; the content is then as before. */
int text_append(struct text *text, const char *string) TANDEM_MUST_CHECK;
int text_append_n(struct text *text, const char *bytes, size_t count) TANDEM_MUST_CHECK;
int text_append_char(struct text *text, char c) TANDEM_MUST_CHECK;
int text_appendf(struct text *text, const char *format, ...) TANDEM_MUST_CHECK TANDEM_PRINTF(2, 3);
int text_vappendf(struct text *text, const char *format, va_list arguments) TANDEM_MUST_CHECK TANDEM_PRINTF(2, 0);

/* The content, never NULL ("" when empty). Valid until the next change. */
const char *text_string(const struct text *text);
/* Hands the content to the caller (free()) and leaves the buffer empty; NULL when out of memory. */
char *text_take(struct text *text);

/* Copies; NULL when out of memory. */
char *text_copy(const char *string);
char *text_copy_n(const char *bytes, size_t count);
char *text_format(const char *format, ...) TANDEM_PRINTF(1, 2); /* at most 1 MiB */

/* Frees *text and puts a copy in its place, or NULL for NULL. -1 when out of memory; *text is then as before. */
int text_assign(char **text, const char *string, struct error *err) TANDEM_MUST_CHECK;

bool text_equal(const char *a, const char *b);               /* NULL equals only NULL */
bool text_equal_ignoring_case(const char *a, const char *b); /* ASCII letters only */
bool text_starts_with(const char *string, const char *prefix);
bool text_ends_with(const char *string, const char *suffix);

/* Well-formed UTF-8 by RFC 3629 (no surrogates, no overlong forms, at most U+10FFFF); *ret_bad_offset may be NULL. */
bool utf8_is_valid(const char *bytes, size_t count, size_t *ret_bad_offset);
/* Next code point of valid UTF-8 at *position < count; advances *position. */
unsigned utf8_next(const char *bytes, size_t count, size_t *position);
/* Code points; UTF-16 code units (the unit Dataverse and Salesforce count lengths in). */
size_t utf8_length(const char *bytes, size_t count);
size_t utf8_length_utf16(const char *bytes, size_t count);
/* Bytes of the longest prefix with at most `units` UTF-16 units that ends at a character boundary. Combining marks,
 * variation selectors and joined sequences (U+200D) are not separated from the character they follow. */
size_t utf8_cut_utf16(const char *bytes, size_t count, size_t units);

/* Decimal digits only, no sign, no blanks; false when empty, malformed or over `limit`. */
bool text_parse_unsigned(const char *string, unsigned long long limit, unsigned long long *ret_number);
/* Optional '-', digits; the whole string; false on overflow. */
bool text_parse_signed(const char *string, long long *ret_number);

#endif
