/* Reading the arguments of a transform. */
#include <stdio.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "mapper/rules_path.h"
#include "mapper/rules_yaml.h"
#include "mapper/transform_loading.h"
#include "mapper/value.h"

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
            return json_text_new(node->text, strlen(node->text));
        wrong_argument(setup, node, argument, "a text that is not empty");
        return NULL;
    case ARGUMENT_VALUE:
    case ARGUMENT_DEFAULT:
        return value_from_yaml(node);
    case ARGUMENT_PAIRS:
    case ARGUMENT_MEMBERS:
    case ARGUMENT_CONSTANTS:
    case ARGUMENT_NAMES:
        break;
    }
    return NULL;
}

/* -- mappings and lists -------------------------------------------------------------------------------------------- */

/* A name or a list of names. A new reference, or NULL after an error was reported. */
static json_t *read_names(const struct transform_setup *setup, const struct yaml_node *node,
                          const struct argument *argument)
{
    const size_t count = node->kind == YAML_SEQUENCE ? node->count : 1;
    json_t *made = json_array();

    for (size_t i = 0; i < count; i++) {
        const struct yaml_node *item = node->kind == YAML_SEQUENCE ? node->items[i] : node;
        if (item->kind != YAML_SCALAR || item->text[0] == '\0') {
            wrong_argument(setup, item, argument, "a name or a list of names");
            json_decref(made);
            return NULL;
        }
        if (json_array_append_new(made, json_text_new(item->text, strlen(item->text))) < 0) {
            rules_yaml_no_memory(setup->diagnostics);
            json_decref(made);
            return NULL;
        }
    }
    if (count > 0 && count <= RULES_PATH_MEMBERS_MAX)
        return made;
    wrong_argument(setup, node, argument, "a list of 1 to 20 names");
    json_decref(made);
    return NULL;
}

/* A name, or several of which the first that says something is taken. Whether an error was reported. */
static bool check_names(const struct transform_setup *setup, const struct yaml_node *node,
                        const struct argument *argument)
{
    const size_t count = node->kind == YAML_SEQUENCE ? node->count : 1;
    bool is_good = count > 0 && count <= RULE_PATHS_MAX;

    for (size_t i = 0; i < count && is_good; i++) {
        const struct yaml_node *name = node->kind == YAML_SEQUENCE ? node->items[i] : node;
        is_good = name->kind == YAML_SCALAR && rules_path_is_valid(name->text, false);
    }
    if (!is_good)
        wrong_argument(setup, node, argument, "a mapping of names to names, or to lists of up to 8 of them");
    return is_good;
}

/* {name: name} or {name: value}, by the kind of argument. A new reference, or NULL after an error was reported. */
static json_t *read_members(const struct transform_setup *setup, const struct yaml_node *node,
                            const struct argument *argument)
{
    const bool names_both = argument->kind == ARGUMENT_MEMBERS;
    json_t *made;

    if (node->kind != YAML_MAPPING || node->count == 0 || node->count > RULES_PATH_MEMBERS_MAX) {
        wrong_argument(setup, node, argument, "a mapping of up to 20 members");
        return NULL;
    }
    made = json_object();
    for (size_t i = 0; i < node->count; i++) {
        const struct yaml_node *item = node->items[i];
        const bool is_list = names_both && item->kind == YAML_SEQUENCE;
        json_t *value = item->kind == YAML_SCALAR ? value_from_yaml(item) : NULL;
        int status = -1;
        if (!rules_path_is_valid(node->keys[i]->text, false) || strchr(node->keys[i]->text, '.') != NULL)
            wrong_argument(setup, node->keys[i], argument, "a mapping of names without dots");
        else if (!names_both && item->kind != YAML_SCALAR)
            wrong_argument(setup, item, argument, "a mapping of names to single values");
        else if ((!names_both || check_names(setup, item, argument)) &&
                 (!is_list || (value = read_names(setup, item, argument)) != NULL) &&
                 (status = json_object_set(made, node->keys[i]->text, value)) < 0)
            rules_yaml_no_memory(setup->diagnostics);
        json_decref(value);
        if (status < 0) {
            json_decref(made);
            return NULL;
        }
    }
    return made;
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
        json_auto_t *key = json_text_new(node->keys[i]->text, strlen(node->keys[i]->text));
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
    value = argument->kind == ARGUMENT_MEMBERS || argument->kind == ARGUMENT_CONSTANTS
                ? read_members(setup, node, argument)
            : argument->kind == ARGUMENT_NAMES ? read_names(setup, node, argument)
                                               : read_scalar(setup, node, argument);
    if (value == NULL)
        return -1;
    if (json_object_set_new(step->arguments, argument->name, value) < 0) {
        rules_yaml_no_memory(setup->diagnostics);
        return -1;
    }
    return argument->kind == ARGUMENT_TABLE ? read_table(setup, node, step) : 0;
}

int transform_read_arguments(const struct transform_setup *setup, const struct yaml_node *node,
                             struct position position, struct transform *step)
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
    if (node != NULL &&
        (node->kind == YAML_SCALAR || (node->kind == YAML_SEQUENCE && type->arguments[0].kind == ARGUMENT_NAMES)))
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
