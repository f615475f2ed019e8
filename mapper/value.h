/* Single values as the rules see them: how a rule file writes them, when two are the same, how an error may name one.
 *
 * A value is a JSON scalar (numbers exact, common/base/json.h), an object of them, or a list of either. Null, the empty
 * text and "not there" are three different things. Knows no field and no transform. Pure. */
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
    VALUE_OBJECT = 16,
    VALUE_OBJECTS = 32, /* a list of objects */
    VALUE_MIXED = 64,   /* a list of some of all these: several paths, of which some lead to objects */
    VALUE_SCALAR = VALUE_TEXT | VALUE_NUMBER | VALUE_BOOLEAN,
    VALUE_ANY = VALUE_SCALAR | VALUE_LIST | VALUE_OBJECT | VALUE_OBJECTS | VALUE_MIXED
};

enum { VALUE_SHOWN_SIZE = 160 };

/* 0 for null; several for an empty list. */
unsigned value_kind_of(const json_t *value);
/* "text or number", for messages. */
const char *value_kinds_name(unsigned kinds, char out[static VALUE_SHOWN_SIZE]);

/* A scalar of a YAML file: plain null, true, false and numbers (no leading zeros) are those, all else is text. New
 * reference; NULL when out of memory. */
json_t *value_from_yaml(const struct yaml_node *scalar);

/* The same value, texts without regard to ASCII case; absent (NULL) is the same as null. */
bool value_matches(const json_t *a, const json_t *b);
bool value_is_among(const json_t *list, const json_t *value);
/* Says something: not absent, null or false, and no empty text, list or object. */
bool value_is_present(const json_t *value);
/* As a condition's list says: one of its values, or with value_present_new() among them any that is present. */
bool value_is_wanted(const json_t *wanted, const json_t *value);
/* What stands in a condition's list for the word `present`; new reference, NULL: out of memory. */
json_t *value_present_new(void);

/* The value for an error message: numbers, booleans, null, texts that `rows` (an array of {"from"}; may be NULL) holds, and
 * codes of up to three letters; other texts may be personal, so only their length is told. Returns `out`. */
const char *value_show(const json_t *value, const json_t *rows, char out[static VALUE_SHOWN_SIZE]);

#endif
