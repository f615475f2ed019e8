/* Single values as the rules see them: how a rule file writes them, when two are the same, how an error may name one.
 *
 * A value is a JSON scalar (numbers exact, common/base/json.h) or a list of them. Null, the empty text and "not there"
 * are three different things. Knows no field and no transform. Pure. */
#ifndef TANDEM_MAPPER_VALUE_H
#define TANDEM_MAPPER_VALUE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/base/yaml.h"

/* What a value may be; bits, so that several can be allowed. Null is allowed everywhere and has none. */
enum value_kind {
    VALUE_TEXT = 1,
    VALUE_NUMBER = 2,
    VALUE_BOOLEAN = 4,
    VALUE_LIST = 8,
    VALUE_OTHER = 16, /* objects and lists of objects, which only pass through as they are */
    VALUE_SCALAR = VALUE_TEXT | VALUE_NUMBER | VALUE_BOOLEAN
};

enum { VALUE_SHOWN_SIZE = 160 };

/* 0 for null. */
unsigned value_kind_of(const json_t *value);
/* "text or number", for messages. */
const char *value_kinds_name(unsigned kinds, char out[static VALUE_SHOWN_SIZE]);

/* A scalar of a YAML file: plain null, true, false and numbers (no leading zeros) are those, all else is text. New
 * reference; NULL when out of memory. */
json_t *value_from_yaml(const struct yaml_node *scalar);
/* A text; what would look like an exact number inside this process loses its mark. New reference; NULL: no memory. */
json_t *value_text_new(const char *bytes, size_t count);

/* The same value, texts without regard to ASCII case; absent (NULL) is the same as null. */
bool value_matches(const json_t *a, const json_t *b);
bool value_is_among(const json_t *list, const json_t *value);

/* The value for an error message: numbers, booleans, null, texts that `rows` (an array of {"from"}; may be NULL) holds, and
 * codes of up to three letters; other texts may be personal, so only their length is told. Returns `out`. */
const char *value_show(const json_t *value, const json_t *rows, char out[static VALUE_SHOWN_SIZE]);

#endif
