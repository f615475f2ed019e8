/* What the parts of the transforms' loader share.
 *
 * Internal to transform_load.c, transform_argument.c, transform_member.c and transform_template.c. All functions return
 * -1 after an error was reported. Pure. */
#ifndef TANDEM_MAPPER_TRANSFORM_LOADING_H
#define TANDEM_MAPPER_TRANSFORM_LOADING_H

#include "mapper/transform.h"

/* What flows between two steps. */
struct flow {
    unsigned kinds;
    size_t count;    /* values, where a list is possible */
    bool is_source;  /* still as the field's paths gave it */
    bool is_unknown; /* after a step that is wrong: what follows is judged for itself */
};

/* All arguments of a step; `node` NULL: the transform was named without any. */
int transform_read_arguments(const struct transform_setup *setup, const struct yaml_node *node,
                             struct position position, struct transform *step) TANDEM_MUST_CHECK;

/* `list`, `unique`, `tag`, `pick`: the members they name are those of the field's paths, and the places and types fit
 * them. */
int transform_check_members(const struct transform_setup *setup, const struct yaml_node *arguments,
                            struct position position, const struct flow *flow, const struct transform *step)
    TANDEM_MUST_CHECK;

/* The text of `template` becomes step->pieces. */
int transform_compile_template(const struct transform_setup *setup, const struct yaml_node *node,
                               const struct flow *flow, struct transform *step) TANDEM_MUST_CHECK;

#endif
