/* What a seller is told when a system has refused a write: what happened, and what can be done about it.
 *
 * One table, from the code of the refusal and the field it is about to the words. In the words stands nothing but what is
 * written here, our own codes, names of fields as our rules have them, and the deal's key: no value, and no message of the
 * service. Pure. */
#ifndef TANDEM_MAPPER_REFUSAL_H
#define TANDEM_MAPPER_REFUSAL_H

#include <jansson.h>
#include <stddef.h>

struct refusal_row {
    const char *code;  /* error_code of the outcome; NULL: any other */
    const char *field; /* dotted path, and what lies below it; "*": any that is known; NULL: whatever it is */
    const char *text;  /* {field}, {code} and {deal} stand for themselves */
};

/* In the order they are asked: the first that fits says it. The last fits always. */
extern const struct refusal_row REFUSAL_ROWS[];
extern const size_t REFUSAL_ROW_COUNT;

/* The path of `write` ({path: value}) that a service means by `named`, which is that path or one below it, dotted or slashed;
 * as the write spells it, borrowed. NULL: none of them, also for a `named` that is NULL. */
const char *refusal_path(const char *named, const json_t *write);

/* `named`: what the service says the refusal is about, as a dotted or slashed path; may be NULL. It counts only where the
 * table or the write knows it. Where it says nothing and the write holds one field only, it is that one. `write`: {path:
 * value}, what was refused; NULL: unknown. `code` may be NULL. free(); NULL when out of memory. */
char *refusal_text(const char *deal_key, const char *code, const char *named, const json_t *write);

#endif
