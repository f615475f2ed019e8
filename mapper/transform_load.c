/* Reading and checking chains of transforms. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "mapper/rules_path.h"
#include "mapper/rules_yaml.h"
#include "mapper/transform_loading.h"
#include "mapper/value.h"

/* -- checks -------------------------------------------------------------------------------------------------------- */

static int check_date(const struct transform_setup *setup, struct position position, struct transform *step)
{
    const char *from = json_text_of(step->arguments, "from");
    const char *to = json_text_of(step->arguments, "to");
    json_t *other;

    if (from == NULL)
        from = to != NULL && strcmp(to, "datetime") == 0 ? "date" : "datetime";
    if (to == NULL)
        to = strcmp(from, "date") == 0 ? "datetime" : "date";
    if (strcmp(from, to) == 0)
        return diagnostics_error(setup->diagnostics, position, "'from' and 'to' are both '%s'", from);
    other = json_string(from);
    if (json_object_set_new(step->arguments, "from", other) < 0) {
        rules_yaml_no_memory(setup->diagnostics);
        return -1;
    }
    return 0;
}

static int check_truncate(const struct transform_setup *setup, struct position position, const struct transform *step)
{
    const char *ellipsis = json_text_of(step->arguments, "ellipsis");

    if (ellipsis != NULL &&
        utf8_length_utf16(ellipsis, strlen(ellipsis)) >= (size_t)json_integer_of(step->arguments, "length", 0))
        return diagnostics_error(setup->diagnostics, position, "the ellipsis leaves no room for the text");
    return 0;
}

static int check_boolean(const struct transform_setup *setup, struct position position, const struct transform *step)
{
    if (value_matches(json_object_get(step->arguments, "true"), json_object_get(step->arguments, "false")))
        return diagnostics_error(setup->diagnostics, position, "'true' and 'false' are written as the same value");
    return 0;
}

/* What one step needs beyond its arguments. */
static int check_step(const struct transform_setup *setup, const struct yaml_node *node,
                      const struct yaml_node *arguments, const struct flow *flow, struct transform *step)
{
    const char *name = step->type->name;

    if (strcmp(name, "template") == 0)
        return transform_compile_template(
            setup, arguments->kind == YAML_SCALAR ? arguments : yaml_get(arguments, "text"), flow, step);
    if (strcmp(name, "date") == 0)
        return check_date(setup, node->position, step);
    if (strcmp(name, "truncate") == 0)
        return check_truncate(setup, node->position, step);
    if (strcmp(name, "boolean") == 0)
        return check_boolean(setup, node->position, step);
    return transform_check_members(setup, arguments, node->position, flow, step);
}

static const struct table *table_of(const struct transform_setup *setup, const struct transform *step)
{
    const char *name = json_text_of(step->arguments, "name");

    for (size_t i = 0; i < setup->table_count; i++) {
        if (text_equal(setup->tables[i].name, name))
            return &setup->tables[i];
    }
    return NULL;
}

/* Tables take and give as many values as their rows have. */
static int flow_through_table(const struct transform_setup *setup, struct position position,
                              const struct transform *step, struct flow *flow)
{
    const struct table *table = table_of(setup, step);
    const size_t given = (flow->kinds & VALUE_LIST) != 0 ? flow->count : 1;
    const size_t taken = table->arity[side_other(step->target)];

    if (given != taken)
        return diagnostics_error(setup->diagnostics, position, "the table '%s' takes %zu value%s from %s, here %s %zu",
                                 table->name, taken, taken == 1 ? "" : "s", side_name(side_other(step->target)),
                                 given == 1 ? "is" : "are", given);
    flow->count = table->arity[step->target];
    flow->kinds = flow->count > 1 ? VALUE_LIST : VALUE_SCALAR;
    return 0;
}

static int flow_through(const struct transform_setup *setup, struct position position, const struct transform *step,
                        struct flow *flow)
{
    const struct transform_type *type = step->type;
    const bool is_own = step->is_inverse && type->inverse == INVERSE_OWN;
    const unsigned accepts = is_own ? type->inverse_accepts : type->accepts;
    const unsigned gives = is_own ? type->inverse_gives : type->gives;
    char taken[VALUE_SHOWN_SIZE], given[VALUE_SHOWN_SIZE];

    if (flow->is_unknown)
        return 0;
    if ((flow->kinds & accepts) == 0)
        return diagnostics_error(setup->diagnostics, position, "'%s' takes %s and is given %s here", type->name,
                                 value_kinds_name(accepts, taken), value_kinds_name(flow->kinds, given));
    if (step->rows != NULL && type->arguments[0].kind == ARGUMENT_TABLE) {
        if (flow_through_table(setup, position, step, flow) < 0)
            return -1;
    } else if (gives != 0) {
        /* Ids by their types: one for each path of the CRM. */
        const size_t ids = json_array_size(json_object_get(step->arguments, "types"));
        flow->count = step->target == SIDE_CRM && ids > 1 ? ids : 1;
        flow->kinds = ids == 1 && step->target == SIDE_CRM ? VALUE_SCALAR : gives;
    }
    flow->is_source = false;
    return 0;
}

/* What may stand under a path. */
static unsigned kinds_of(const char *path, enum side side)
{
    switch (rules_path_shape(path)) {
    case RULES_PATH_CHOICE_LABEL:
        return VALUE_TEXT;
    case RULES_PATH_OBJECT:
        return VALUE_OBJECT;
    case RULES_PATH_LIST:
        return VALUE_OBJECTS;
    case RULES_PATH_PLAIN:
        break;
    }
    return side == SIDE_CRM ? VALUE_SCALAR : VALUE_SCALAR | VALUE_OBJECT;
}

static int check_shape(const struct transform_setup *setup, struct position position, const struct flow *flow)
{
    const char *path = setup->target_paths == NULL ? NULL : setup->target_paths[0];
    char wanted[VALUE_SHOWN_SIZE], given[VALUE_SHOWN_SIZE];

    if (path == NULL || (kinds_of(path, setup->target) & flow->kinds) != 0)
        return 0;
    return diagnostics_error(setup->diagnostics, position, "'%s' takes %s and would be given %s", path,
                             value_kinds_name(kinds_of(path, setup->target), wanted),
                             value_kinds_name(flow->kinds, given));
}

/* Can what comes out stand on the other side? */
static int check_end(const struct transform_setup *setup, struct position position, const struct flow *flow)
{
    const size_t count = (flow->kinds & VALUE_LIST) != 0 && flow->count > 1 ? flow->count : 1;

    if (flow->is_unknown || setup->target_count == 0)
        return 0;
    if (count == 1 && setup->target_count == 1)
        return check_shape(setup, position, flow);
    if (count == setup->target_count)
        return 0;
    return diagnostics_error(
        setup->diagnostics, position, "%zu value%s for %zu path%s of %s (a table maps several values)", count,
        count == 1 ? "" : "s", setup->target_count, setup->target_count == 1 ? "" : "s", side_name(setup->target));
}

static struct flow flow_begin(const struct transform_setup *setup)
{
    struct flow flow = {
        .kinds = VALUE_ANY & ~(unsigned)(VALUE_LIST | VALUE_MIXED), .count = setup->source_count, .is_source = true};
    bool has_members = false;
    size_t length;

    for (size_t i = 0; i < setup->source_count; i++)
        has_members = has_members || rules_path_members(setup->source_paths[i], &length) != NULL;
    /* A list stands for several paths, until a transform says otherwise. */
    if (setup->source_count > 1)
        flow.kinds = has_members ? VALUE_LIST | VALUE_OBJECTS | VALUE_MIXED : VALUE_LIST;
    else if (setup->source_count == 1)
        flow.kinds &= kinds_of(setup->source_paths[0], side_other(setup->target));
    return flow;
}

/* -- chains -------------------------------------------------------------------------------------------------------- */

static const struct transform_type *find_type(const struct transform_setup *setup, const struct yaml_node *node)
{
    const char *names[32];
    const char *suggestion;
    size_t count = 0;

    for (size_t i = 0; i < TRANSFORM_TYPE_COUNT; i++) {
        if (strcmp(TRANSFORM_TYPES[i].name, node->text) == 0)
            return &TRANSFORM_TYPES[i];
        if (count < ARRAY_LENGTH(names))
            names[count++] = TRANSFORM_TYPES[i].name;
    }
    suggestion = diagnostic_suggest(node->text, names, count);
    if (suggestion != NULL)
        diagnostics_error(setup->diagnostics, node->position, "unknown transform '%s' (did you mean '%s'?)", node->text,
                          suggestion);
    else
        diagnostics_error(setup->diagnostics, node->position, "unknown transform '%s'", node->text);
    return NULL;
}

/* `name` is for messages; `arguments` NULL: there are none. *ret_step is NULL where there is nothing to do on the way
 * back. */
static int make_step(const struct transform_setup *setup, const struct transform_type *type,
                     const struct yaml_node *name, const struct yaml_node *arguments, struct flow *flow,
                     struct transform **ret_step)
{
    struct transform *step;
    bool is_passed;

    if (setup->is_inverse && type->inverse == INVERSE_NONE)
        return diagnostics_error(setup->diagnostics, name->position,
                                 "'%s' cannot be undone on the way to %s (write 'to_crm' and 'to_partner_center')",
                                 type->name, side_name(setup->target));
    step = calloc(1, sizeof(*step));
    if (step == NULL || (step->arguments = json_object()) == NULL) {
        free(step);
        rules_yaml_no_memory(setup->diagnostics);
        return -1;
    }
    step->type = type;
    step->target = setup->target;
    step->is_inverse = type->is_by_side ? setup->target == SIDE_PARTNER_CENTER : setup->is_inverse;
    is_passed = setup->is_inverse && type->inverse == INVERSE_PASSES;
    if (transform_read_arguments(setup, arguments, name->position, step) < 0 ||
        check_step(setup, name, arguments, flow, step) < 0 ||
        (!is_passed && flow_through(setup, name->position, step, flow) < 0)) {
        transform_free(step);
        return -1;
    }
    if (is_passed)
        transform_free(step);
    else
        *ret_step = step;
    return 0;
}

/* `name`, or {name: arguments}. */
static int read_step(const struct transform_setup *setup, const struct yaml_node *node, struct flow *flow,
                     struct transform **ret_step)
{
    const struct yaml_node *name = node->kind == YAML_MAPPING && node->count == 1 ? node->keys[0] : node;
    const struct yaml_node *arguments = name == node || yaml_is_null(node->items[0]) ? NULL : node->items[0];
    const struct transform_type *type;

    if (name->kind != YAML_SCALAR)
        return diagnostics_error(setup->diagnostics, node->position,
                                 "a transform is its name, or one pair of name and arguments");
    type = find_type(setup, name);
    return type == NULL ? -1 : make_step(setup, type, name, arguments, flow, ret_step);
}

int transform_load_table(const struct transform_setup *setup, const struct yaml_node *name,
                         struct transform **ret_chain)
{
    struct flow flow = flow_begin(setup);
    struct transform *step = NULL;

    for (size_t i = 0; i < TRANSFORM_TYPE_COUNT; i++) {
        if (strcmp(TRANSFORM_TYPES[i].name, "table") == 0 &&
            make_step(setup, &TRANSFORM_TYPES[i], name, name, &flow, &step) < 0)
            return -1;
    }
    if (check_end(setup, name->position, &flow) < 0) {
        transform_free(step);
        return -1;
    }
    *ret_chain = step;
    return 0;
}

int transform_load(const struct transform_setup *setup, const struct yaml_node *node, struct transform **ret_chain)
{
    const size_t count = node->kind == YAML_SEQUENCE ? node->count : 1;
    struct flow flow = flow_begin(setup);
    struct transform *chain = NULL;
    struct transform **end = &chain;
    int status = 0;

    if (count > TRANSFORM_STEPS_MAX)
        return diagnostics_error(setup->diagnostics, node->position, "more than %d transforms",
                                 (int)TRANSFORM_STEPS_MAX);
    for (size_t i = 0; i < count; i++) {
        const struct yaml_node *item = node->kind != YAML_SEQUENCE ? node
                                       : setup->is_inverse         ? node->items[count - 1 - i]
                                                                   : node->items[i];
        if (read_step(setup, item, &flow, end) < 0) {
            status = -1;
            flow = (struct flow){.kinds = VALUE_ANY, .is_unknown = true};
        }
        if (*end != NULL)
            end = &(*end)->next;
    }
    if (status == 0)
        status = check_end(setup, node->position, &flow);
    if (status < 0) {
        transform_free(chain);
        return -1;
    }
    *ret_chain = chain;
    return 0;
}

int transform_check_plain(const struct transform_setup *setup, struct position position)
{
    const struct flow flow = flow_begin(setup);

    return check_end(setup, position, &flow);
}
