/* Compiling the text of a template. */
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "mapper/rules_yaml.h"
#include "mapper/transform_loading.h"
#include "mapper/value.h"

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
    if (json_array_append_new(pieces, json_text_new(text_string(&template->literal), template->literal.length)) < 0) {
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

int transform_compile_template(const struct transform_setup *setup, const struct yaml_node *node,
                               const struct flow *flow, struct transform *step)
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
