/* What the transforms' functions share, one of which stands in each row of TRANSFORM_TYPES.
 *
 * Internal to transform*.c. Each takes a value of the kinds its row accepts (or null), changes nothing it was given and
 * has transform_type.apply's contract. Pure. */
#ifndef TANDEM_MAPPER_TRANSFORM_APPLY_H
#define TANDEM_MAPPER_TRANSFORM_APPLY_H

#include "mapper/transform.h"

/* Steals `made`; NULL there: out of memory. */
enum transform_result transform_done(json_t *made, json_t **ret_value);
/* "<value> <sentence>"; of the value only what is not personal (value_show()). */
enum transform_result transform_refuse(char *reterr_message, const json_t *value, const json_t *rows,
                                       const char *format, ...) TANDEM_PRINTF(4, 5);
const char *transform_text_argument(const struct transform *transform, const char *name, const char *fallback);

#define TRANSFORM_FUNCTION(name)                                                                                 \
    enum transform_result transform_##name(const struct transform *transform, json_t *value, json_t **ret_value, \
                                           char *reterr_message)

/* transform_value.c */
TRANSFORM_FUNCTION(boolean);
TRANSFORM_FUNCTION(choice);
TRANSFORM_FUNCTION(constant);
TRANSFORM_FUNCTION(country);
TRANSFORM_FUNCTION(currency);
TRANSFORM_FUNCTION(date);
TRANSFORM_FUNCTION(decimal);
TRANSFORM_FUNCTION(default);
TRANSFORM_FUNCTION(integer);
TRANSFORM_FUNCTION(table);
/* transform_text.c */
TRANSFORM_FUNCTION(check_mark);
TRANSFORM_FUNCTION(template);
TRANSFORM_FUNCTION(text);
TRANSFORM_FUNCTION(truncate);
/* transform_list.c */
TRANSFORM_FUNCTION(concat);
TRANSFORM_FUNCTION(first);
TRANSFORM_FUNCTION(list);
TRANSFORM_FUNCTION(pick);
TRANSFORM_FUNCTION(present);
TRANSFORM_FUNCTION(tag);
TRANSFORM_FUNCTION(unique);
TRANSFORM_FUNCTION(wrap);

#endif
