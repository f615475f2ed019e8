/* Reading and checking chains of transforms. */
#include "mapper/transform.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "mapper/rules_yaml.h"
#include "mapper/value.h"

enum { ANY_KIND = VALUE_SCALAR | VALUE_LIST | VALUE_OTHER };

/* What flows between two steps. */
struct flow {
    unsigned kinds;
    size_t count;    /* values, where a list is possible */
    bool is_source;  /* still as the field's paths gave it */
    bool is_unknown; /* after a step that is wrong: what follows is judged for itself */
};

/* -- arguments ----------------------------------------------------------------------------------------------------- */

static int wrong_argument(const struct transform_setup *setup, const struct yaml_node *node,
                          const struct argument *argument, const char *wanted)
{
    return diagnostics_error(setup->diagnostics, node->position, "'%s' must be %s", argument->name, wanted);
}

static json_t *read_integer(const struct transform_setup *setup, const struct yaml_node *node,
                            const struct argument *argument)
{
    char wanted[80];
    long long integer;

    if (yaml_get_integer(node, &integer) && integer >= argument->minimum && integer <= argument->maximum)
        return json_integer(integer);
    (void)snprintf(wanted, sizeof(wanted), "a whole number from %lld to %lld", argument->minimum, argument->maximum);
    wrong_argument(setup, node, argument, wanted);
    return NULL;
}

/* "UTC" or "+hh:mm"; minutes east. */
static json_t *read_zone(const struct transform_setup *setup, const struct yaml_node *node,
                         const struct argument *argument)
{
    const char *text = node->text;
    int minutes;

    if (strcmp(text, "UTC") == 0)
        return json_integer(0);
    if (strlen(text) == 6 && (text[0] == '+' || text[0] == '-') && text[3] == ':' &&
        strspn(text + 1, "0123456789") == 2 && strspn(text + 4, "0123456789") == 2) {
        minutes = ((text[1] - '0') * 10 + text[2] - '0') * 60 + (text[4] - '0') * 10 + text[5] - '0';
        if (text[4] < '6' && minutes <= 14 * 60)
            return json_integer(text[0] == '-' ? -minutes : minutes);
    }
    wrong_argument(setup, node, argument, "UTC or an offset from it like \"+01:00\", up to 14 hours");
    return NULL;
}

static json_t *read_word(const struct transform_setup *setup, const struct yaml_node *node,
                         const struct argument *argument)
{
    size_t count = 0;
    int word;

    while (argument->words[count] != NULL)
        count++;
    word = rules_yaml_word(setup->diagnostics, node, argument->name, argument->words, count);
    return word < 0 ? NULL : json_string(argument->words[word]);
}

/* A new reference, or NULL after an error was reported. */
static json_t *read_scalar(const struct transform_setup *setup, const struct yaml_node *node,
                           const struct argument *argument)
{
    json_t *value = NULL;
    bool flag;

    if (node->kind != YAML_SCALAR) {
        wrong_argument(setup, node, argument, "a single value");
        return NULL;
    }
    switch (argument->kind) {
    case ARGUMENT_INTEGER:
        return read_integer(setup, node, argument);
    case ARGUMENT_ZONE:
        return read_zone(setup, node, argument);
    case ARGUMENT_WORD:
        return read_word(setup, node, argument);
    case ARGUMENT_BOOLEAN:
        if (yaml_get_boolean(node, &flag))
            return json_boolean(flag);
        wrong_argument(setup, node, argument, "true or false");
        return NULL;
    case ARGUMENT_NUMBER:
        value = value_from_yaml(node);
        if (value_kind_of(value) == VALUE_NUMBER)
            return value;
        json_decref(value);
        wrong_argument(setup, node, argument, "a number");
        return NULL;
    case ARGUMENT_TABLE:
    case ARGUMENT_TEXT:
        if (node->text[0] != '\0')
            return value_text_new(node->text, strlen(node->text));
        wrong_argument(setup, node, argument, "a text that is not empty");
        return NULL;
    case ARGUMENT_VALUE:
    case ARGUMENT_DEFAULT:
        return value_from_yaml(node);
    case ARGUMENT_PAIRS:
        break;
    }
    return NULL;
}

static int read_table(const struct transform_setup *setup, const struct yaml_node *node, struct transform *step)
{
    const char *names[64];
    size_t count = 0;
    const char *suggestion;

    for (size_t i = 0; i < setup->table_count; i++) {
        struct table *table = &setup->tables[i];
        if (table->name == NULL)
            continue; /* out of memory, which was reported */
        if (strcmp(table->name, node->text) == 0) {
            table->is_used = true;
            step->rows = json_incref(table->rows[step->target]);
            return 0;
        }
        if (count < ARRAY_LENGTH(names))
            names[count++] = table->name;
    }
    suggestion = diagnostic_suggest(node->text, names, count);
    if (suggestion != NULL)
        return diagnostics_error(setup->diagnostics, node->position, "there is no table '%s' (did you mean '%s'?)",
                                 node->text, suggestion);
    return diagnostics_error(setup->diagnostics, node->position, "there is no table '%s'", node->text);
}

/* {from: to} on the way to the CRM. */
static int read_pairs(const struct transform_setup *setup, const struct yaml_node *node,
                      const struct argument *argument, struct transform *step)
{
    int status = 0;

    if (node->kind != YAML_MAPPING || node->count == 0 || node->count > TABLE_ROWS_MAX)
        return wrong_argument(setup, node, argument, "a mapping of texts to values");
    step->rows = json_array();
    for (size_t i = 0; i < node->count && step->rows != NULL; i++) {
        json_auto_t *key = value_text_new(node->keys[i]->text, strlen(node->keys[i]->text));
        json_auto_t *value = NULL;
        int added;
        if (node->items[i]->kind != YAML_SCALAR) {
            status = wrong_argument(setup, node->items[i], argument, "a mapping of texts to single values");
            continue;
        }
        value = value_from_yaml(node->items[i]);
        added = key == NULL || value == NULL
                    ? -1
                    : table_add(step->rows, step->is_inverse ? value : key, step->is_inverse ? key : value);
        if (added < 0) {
            rules_yaml_no_memory(setup->diagnostics);
            return -1;
        }
        if (added > 0)
            status = diagnostics_error(
                setup->diagnostics, step->is_inverse ? node->items[i]->position : node->keys[i]->position,
                "ambiguous: '%s' stands here twice", step->is_inverse ? node->items[i]->text : node->keys[i]->text);
    }
    if (step->rows == NULL) {
        rules_yaml_no_memory(setup->diagnostics);
        return -1;
    }
    return status;
}

static int read_argument(const struct transform_setup *setup, const struct yaml_node *node,
                         const struct argument *argument, struct transform *step)
{
    json_t *value;

    if (argument->kind == ARGUMENT_PAIRS)
        return read_pairs(setup, node, argument, step);
    if (argument->kind == ARGUMENT_DEFAULT && rules_yaml_is_leave(node))
        return 0;
    value = read_scalar(setup, node, argument);
    if (value == NULL)
        return -1;
    if (json_object_set_new(step->arguments, argument->name, value) < 0) {
        rules_yaml_no_memory(setup->diagnostics);
        return -1;
    }
    return argument->kind == ARGUMENT_TABLE ? read_table(setup, node, step) : 0;
}

/* `node` NULL: the transform was named without any. */
static int read_arguments(const struct transform_setup *setup, const struct yaml_node *node, struct position position,
                          struct transform *step)
{
    const struct transform_type *type = step->type;
    const char *names[TRANSFORM_ARGUMENTS_MAX];
    size_t count = 0;
    int status = 0;

    while (type->arguments[count].name != NULL) {
        names[count] = type->arguments[count].name;
        count++;
    }
    if (node != NULL && count == 0)
        return diagnostics_error(setup->diagnostics, node->position, "'%s' takes no arguments", type->name);
    if (node != NULL && node->kind == YAML_SCALAR)
        return read_argument(setup, node, &type->arguments[0], step);
    if (node != NULL) {
        char what[64];
        (void)snprintf(what, sizeof(what), "'%s'", type->name);
        status = rules_yaml_check_keys(setup->diagnostics, node, what, names, count);
        if (node->kind != YAML_MAPPING)
            return -1;
    }
    for (size_t i = 0; i < count; i++) {
        const struct yaml_node *given = node == NULL ? NULL : yaml_get(node, names[i]);
        if (given != NULL && read_argument(setup, given, &type->arguments[i], step) < 0)
            status = -1;
        if (given == NULL && type->arguments[i].is_required)
            status = diagnostics_error(setup->diagnostics, position, "'%s' needs '%s'", type->name, names[i]);
    }
    return status;
}

/* -- templates ----------------------------------------------------------------------------------------------------- */

struct template
{
    const struct transform_setup *setup;
    const struct yaml_node *node; /* for messages */
    const struct flow *flow;
    const char *rest;
    struct text literal;
};

static int template_error(const struct template *template, const char *message)
{
    return diagnostics_error(template->setup->diagnostics, template->node->position, "%s", message);
}

static int end_literal(struct template *template, json_t *pieces)
{
    if (template->literal.length == 0)
        return 0;
    if (json_array_append_new(pieces, json_stringn(text_string(&template->literal), template->literal.length)) < 0) {
        rules_yaml_no_memory(template->setup->diagnostics);
        return -1;
    }
    text_clear(&template->literal);
    return 0;
}

/* The place a name stands for among the values, or -1. */
static int find_place(const struct template *template, const char *name, size_t length)
{
    const struct transform_setup *setup = template->setup;
    const bool is_list = (template->flow->kinds & VALUE_LIST) != 0;

    if (!is_list && length == 5 && strncmp(name, "value", length) == 0)
        return 0;
    if (length == 1 && name[0] >= '0' && name[0] <= '9' &&
        (size_t)(name[0] - '0') < (is_list ? template->flow->count : 1))
        return name[0] - '0';
    for (size_t i = 0; i < setup->source_count && template->flow->is_source; i++) {
        if (strlen(setup->source_paths[i]) == length && strncmp(setup->source_paths[i], name, length) == 0)
            return (int)i;
    }
    return -1;
}

static int read_place(struct template *template, json_t *pieces)
{
    const size_t length = strcspn(template->rest, "}");
    const char *name = template->rest;
    int place;

    if (name[length] == '\0')
        return template_error(template, "a '{' is not closed");
    place = find_place(template, name, length);
    if (place < 0)
        return diagnostics_error(template->setup->diagnostics, template->node->position,
                                 "'{%.*s}' names no value here%s", (int)(length > 100 ? 100 : length), name,
                                 (template->flow->kinds & VALUE_LIST) != 0 ? "; several paths are {0}, {1} or {path}"
                                                                           : "");
    template->rest += length + 1;
    if (end_literal(template, pieces) < 0)
        return -1;
    if (json_array_append_new(pieces, json_integer(place)) < 0) {
        rules_yaml_no_memory(template->setup->diagnostics);
        return -1;
    }
    return 0;
}

/* Up to the end, or to the ']' of an optional part. */
static int read_pieces(struct template *template, json_t *pieces, bool is_optional)
{
    for (;;) {
        const char c = *template->rest;
        if (c == '\0')
            return is_optional ? template_error(template, "a '[' is not closed") : end_literal(template, pieces);
        template->rest++;
        if (strchr("{}[]", c) == NULL || *template->rest == c) {
            if (strchr("{}[]", c) != NULL)
                template->rest++;
            if (text_append_char(&template->literal, c) < 0) {
                rules_yaml_no_memory(template->setup->diagnostics);
                return -1;
            }
        } else if (c == '{') {
            if (read_place(template, pieces) < 0)
                return -1;
        } else if (c == '[' && !is_optional) {
            json_t *part = json_array();
            if (end_literal(template, pieces) < 0 || json_array_append(pieces, part) < 0) {
                json_decref(part);
                return -1;
            }
            json_decref(part); /* the list holds it */
            if (read_pieces(template, part, true) < 0)
                return -1;
        } else if (c == ']' && is_optional) {
            return end_literal(template, pieces);
        } else {
            return template_error(template,
                                  c == '[' ? "an optional part cannot hold another one"
                                           : "a closing bracket has no opening one (doubled, it stands for itself)");
        }
    }
}

static int compile_template(const struct transform_setup *setup, const struct yaml_node *node, const struct flow *flow,
                            struct transform *step)
{
    struct template template = {
        .setup = setup, .node = node, .flow = flow, .rest = json_text_of(step->arguments, "text")};
    int status;

    text_init(&template.literal, strlen(template.rest) + 1);
    step->pieces = json_array();
    if (step->pieces == NULL) {
        rules_yaml_no_memory(setup->diagnostics);
        status = -1;
    } else {
        status = read_pieces(&template, step->pieces, false);
    }
    text_done(&template.literal);
    return status;
}

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
        return compile_template(setup, arguments->kind == YAML_SCALAR ? arguments : yaml_get(arguments, "text"), flow,
                                step);
    if (strcmp(name, "date") == 0)
        return check_date(setup, node->position, step);
    if (strcmp(name, "truncate") == 0)
        return check_truncate(setup, node->position, step);
    if (strcmp(name, "boolean") == 0)
        return check_boolean(setup, node->position, step);
    return 0;
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
        flow->kinds = gives;
        flow->count = 1;
    }
    flow->is_source = false;
    return 0;
}

/* Can what comes out stand on the other side? */
static int check_end(const struct transform_setup *setup, struct position position, const struct flow *flow)
{
    const size_t count = (flow->kinds & VALUE_LIST) != 0 && flow->count > 1 ? flow->count : 1;

    if (count == setup->target_count || setup->target_count == 0)
        return 0;
    return diagnostics_error(
        setup->diagnostics, position, "%zu value%s for %zu path%s of %s (a table maps several values)", count,
        count == 1 ? "" : "s", setup->target_count, setup->target_count == 1 ? "" : "s", side_name(setup->target));
}

static struct flow flow_begin(const struct transform_setup *setup)
{
    return (struct flow){.kinds = setup->source_count > 1 ? VALUE_LIST : ANY_KIND & ~(unsigned)VALUE_LIST,
                         .count = setup->source_count,
                         .is_source = true};
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
    if (read_arguments(setup, arguments, name->position, step) < 0 ||
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
            flow = (struct flow){.kinds = ANY_KIND, .is_unknown = true};
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
