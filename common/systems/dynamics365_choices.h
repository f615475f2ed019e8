/* Labels of choices: which number stands for a text, by the column's option set.
 *
 * Pure: no requests; the clock is an argument. Remembers the option sets it is given. A label counts in each of the
 * organisation's languages, ASCII letters without regard to case, blanks around it ignored. Facts: Dataverse Web API,
 * "Query table definitions", PicklistAttributeMetadata. */
#ifndef TANDEM_SYSTEMS_DYNAMICS365_CHOICES_H
#define TANDEM_SYSTEMS_DYNAMICS365_CHOICES_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"

struct dynamics_choices {
    json_t *known; /* {"entity/column": {"choices": [{"value", "labels"}], "at"}} */
};

enum dynamics_choice {
    DYNAMICS_CHOICE_FOUND,
    DYNAMICS_CHOICE_ASK, /* the option set is not known, or may have got new choices since */
    DYNAMICS_CHOICE_NONE /* no choice has the label, or several have */
};

int dynamics_choices_init(struct dynamics_choices *choices) TANDEM_MUST_CHECK;
void dynamics_choices_done(struct dynamics_choices *choices);

/* Path and query of the column's option set. free(); NULL when out of memory. */
char *dynamics_choices_path(const char *entity, const char *column);
/* Remembers the answer to it. -1: out of memory, or the answer shows no choices. */
int dynamics_choices_keep(struct dynamics_choices *choices, const char *entity, const char *column,
                          const json_t *metadata, int64_t now_ms) TANDEM_MUST_CHECK;
/* *ret_value: set when found. A label that is not known is asked for again, but once in a minute at most. */
enum dynamics_choice dynamics_choices_find(const struct dynamics_choices *choices, const char *entity,
                                           const char *column, const char *label, int64_t now_ms,
                                           json_int_t *ret_value);

bool dynamics_label_is_same(const char *a, const char *b);

#endif
