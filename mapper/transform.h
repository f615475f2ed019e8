/* Transforms: what can be done to a value on its way to the other side. A closed, typed list.
 *
 * One table row per transform holds its name, arguments, kinds, help and an example, from which loading, checking and the
 * documentation are made. A chain is checked completely when it is loaded: arguments, and that each step can take what the
 * one before gives. Afterwards it is immutable and usable from any thread. Does not know fields or records (rules.h). Pure.
 *
 * A chain written once for both directions is used towards Partner Center in reverse order, each step inverted. Null
 * passes every step but those that say something about it (`takes_null`). */
#ifndef TANDEM_MAPPER_TRANSFORM_H
#define TANDEM_MAPPER_TRANSFORM_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/base/diagnostic.h"
#include "common/base/yaml.h"
#include "mapper/side.h"
#include "mapper/table.h"

enum { TRANSFORM_STEPS_MAX = 16, TRANSFORM_MESSAGE_SIZE = 320 };

enum argument_kind {
    ARGUMENT_TABLE,     /* the name of a value table of the rules */
    ARGUMENT_PAIRS,     /* a mapping of texts to values */
    ARGUMENT_TEXT,      /* a text that is not empty */
    ARGUMENT_VALUE,     /* any single value */
    ARGUMENT_DEFAULT,   /* any single value, or the word leave: nothing is written */
    ARGUMENT_NUMBER,    /* any number */
    ARGUMENT_INTEGER,   /* minimum to maximum */
    ARGUMENT_BOOLEAN,   /* true or false */
    ARGUMENT_WORD,      /* one of words */
    ARGUMENT_MEMBERS,   /* a mapping of members at Partner Center to members in the CRM */
    ARGUMENT_CONSTANTS, /* a mapping of members to single values */
    ARGUMENT_NAMES,     /* a name or a list of names */
    ARGUMENT_ZONE       /* UTC or an offset from it: "+01:00" */
};

struct argument {
    const char *name;
    enum argument_kind kind;
    bool is_required;
    long long minimum, maximum;
    const char *const *words; /* NULL-terminated */
    const char *help;
};

enum { TRANSFORM_ARGUMENTS_MAX = 4 };

enum inverse {
    INVERSE_NONE,   /* only towards one side */
    INVERSE_PASSES, /* on the way back the value stays as it is */
    INVERSE_SAME,   /* does the same on the way back */
    INVERSE_OWN     /* is undone on the way back */
};

enum transform_result {
    TRANSFORM_DONE,
    TRANSFORM_LEAVE,   /* nothing is to be written */
    TRANSFORM_REFUSED, /* the value cannot be mapped */
    TRANSFORM_NO_MEMORY
};

struct transform;

struct transform_type {
    const char *name;
    const char *help;
    const char *example; /* as it stands in a chain */
    /* The first one is also taken from a plain value: {truncate: 2000}. */
    struct argument arguments[TRANSFORM_ARGUMENTS_MAX + 1]; /* ended by a NULL name */
    unsigned accepts, gives; /* kinds of values, bits of value.h; gives 0: those it was given */
    unsigned inverse_accepts, inverse_gives;
    enum inverse inverse;
    bool is_by_side; /* what it does depends on the side that is written, in whatever chain it stands */
    bool takes_null;
    const char *inverse_help; /* INVERSE_OWN: what it does towards Partner Center */
    /* Only with values of the accepted kinds, or null when takes_null. *reterr_message has TRANSFORM_MESSAGE_SIZE bytes. */
    enum transform_result (*apply)(const struct transform *transform, json_t *value, json_t **ret_value,
                                   char *reterr_message);
};

extern const struct transform_type TRANSFORM_TYPES[];
extern const size_t TRANSFORM_TYPE_COUNT;

/* One step of a chain. */
struct transform {
    const struct transform_type *type;
    enum side target;
    bool is_inverse;
    json_t *arguments; /* {name: value}, only those given */
    json_t *rows;      /* ARGUMENT_TABLE, ARGUMENT_PAIRS: for this direction, as in table.h; else NULL */
    json_t *pieces;    /* template: texts, places of values (integers) and optional parts (lists of pieces) */
    struct transform *next;
};

/* What a chain is checked against. */
struct transform_setup {
    struct diagnostics *diagnostics;
    struct table *tables;
    size_t table_count;
    enum side target;
    bool is_inverse;           /* the chain is written towards the other side */
    char *const *source_paths; /* of the field */
    size_t source_count;
    char *const *target_paths;
    size_t target_count; /* values the target takes */
};

/* A chain from a list of transforms or a single one: `check_mark`, `{truncate: 2000}`, `[{decimal: {scale: 2}}]`. An
 * empty list gives NULL. -1 with errors in setup->diagnostics. */
int transform_load(const struct transform_setup *setup, const struct yaml_node *node, struct transform **ret_chain)
    TANDEM_MUST_CHECK;
/* A chain of one step, the transform `table`, from its argument. */
int transform_load_table(const struct transform_setup *setup, const struct yaml_node *name,
                         struct transform **ret_chain) TANDEM_MUST_CHECK;
/* A field without transforms: can its value stand on the other side as it is? Says so at `position`. */
int transform_check_plain(const struct transform_setup *setup, struct position position) TANDEM_MUST_CHECK;
void transform_free(struct transform *chain); /* accepts NULL */

/* Through the whole chain (NULL: as it is). *ret_value is a new reference when TRANSFORM_DONE; otherwise
 * reterr_message says of TRANSFORM_REFUSED why, without personal data. */
enum transform_result transform_apply(const struct transform *chain, const json_t *value, json_t **ret_value,
                                      char reterr_message[static TRANSFORM_MESSAGE_SIZE]);

#endif
