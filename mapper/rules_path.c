#include "mapper/rules_path.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "mapper/rules_yaml.h"

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool rules_path_is_valid(const char *path, bool may_index)
{
    size_t names = 0;

    for (;;) {
        const bool is_index = is_digit(path[0]);
        if (is_index ? !may_index || names == 0 : !is_letter(path[0]))
            return false;
        while (is_digit(path[0]) || (!is_index && is_letter(path[0])))
            path++;
        names++;
        if (path[0] == '\0')
            return true;
        if (path[0] != '.')
            return false;
        path++;
    }
}

static size_t count_of(const char *text, char c)
{
    size_t count = 0;

    for (; *text != '\0'; text++)
        count += *text == c;
    return count;
}

/* -- shapes -------------------------------------------------------------------------------------------------------- */

char *rules_path_new(const char *text)
{
    const size_t length = strlen(text);
    char *copy = malloc(length + 1);
    size_t used = 0;
    bool is_inside = false;

    for (size_t i = 0; i < length && copy != NULL; i++) {
        is_inside = is_inside || text[i] == '{';
        /* A blank within a name would not be one between members. */
        if (is_inside && text[i] == ' ' && (strchr("{, ", text[i - 1]) != NULL || strchr(",} ", text[i + 1]) != NULL))
            continue;
        copy[used++] = text[i];
    }
    if (copy != NULL)
        copy[used] = '\0';
    return copy;
}

size_t rules_path_base_length(const char *path)
{
    return strcspn(path, "@[{");
}

enum rules_path_shape rules_path_shape(const char *path)
{
    switch (path[rules_path_base_length(path)]) {
    case '@':
        return RULES_PATH_CHOICE_LABEL;
    case '[':
        return RULES_PATH_LIST;
    case '{':
        return RULES_PATH_OBJECT;
    default:
        return RULES_PATH_PLAIN;
    }
}

const char *rules_path_members(const char *path, size_t *ret_length)
{
    const char *brace = strchr(path, '{');

    *ret_length = brace == NULL ? 0 : strcspn(brace + 1, ",}");
    return brace == NULL ? NULL : brace + 1;
}

const char *rules_path_next_member(const char *member, size_t *length)
{
    const char *end = member + *length;

    if (*end != ',')
        return NULL;
    *length = strcspn(end + 1, ",}");
    return end + 1;
}

bool rules_paths_overlap(const char *a, const char *b)
{
    const size_t length_a = rules_path_base_length(a), length_b = rules_path_base_length(b);
    const size_t shorter = length_a < length_b ? length_a : length_b;

    if (strncmp(a, b, shorter) != 0)
        return false;
    return length_a == length_b || (length_a > length_b ? a : b)[shorter] == '.';
}

bool rules_path_has_index(const char *path)
{
    const size_t length = rules_path_base_length(path);

    for (size_t i = 0; i < length; i++) {
        if ((i == 0 || path[i - 1] == '.') && is_digit(path[i]))
            return true;
    }
    return false;
}

/* -- checks -------------------------------------------------------------------------------------------------------- */

static int check_scalar(struct diagnostics *diagnostics, const struct yaml_node *node)
{
    if (node->kind != YAML_SCALAR)
        return diagnostics_error(diagnostics, node->position, "a path is expected, not a %s",
                                 rules_yaml_kind_name(node->kind));
    if (strlen(node->text) > RULES_PATH_BYTES_MAX)
        return diagnostics_error(diagnostics, node->position, "a path of more than %d characters",
                                 (int)RULES_PATH_BYTES_MAX);
    return 0;
}

/* `text`: the path, or what stands before its members. */
static int check_names(struct diagnostics *diagnostics, struct position position, const char *text, enum side side)
{
    if (side == SIDE_CRM && (!rules_path_is_valid(text, false) || count_of(text, '.') > 1))
        return diagnostics_error(diagnostics, position, "'%s' is no column: a name, or lookup.attribute", text);
    if (side == SIDE_PARTNER_CENTER && (!rules_path_is_valid(text, true) || strcmp(text, "microsoft") == 0))
        return diagnostics_error(diagnostics, position,
                                 "'%s' is no path: names with single dots between them, like details.dealValue", text);
    return 0;
}

int rules_path_check_plain(struct diagnostics *diagnostics, const struct yaml_node *node, enum side side)
{
    return check_scalar(diagnostics, node) < 0 ? -1 : check_names(diagnostics, node->position, node->text, side);
}

int rules_path_check_name(struct diagnostics *diagnostics, const struct yaml_node *node, const char *what)
{
    if (check_scalar(diagnostics, node) < 0)
        return -1;
    if (!rules_path_is_valid(node->text, false) || strchr(node->text, '.') != NULL)
        return diagnostics_error(diagnostics, node->position, "%s is a name of letters, digits and '_', without dots",
                                 what);
    return 0;
}

static int check_label(struct diagnostics *diagnostics, struct position position, const char *path, const char *base,
                       enum side side)
{
    static const char *const labels[] = {RULES_PATH_LABEL};
    const char *suffix = path + strlen(base);
    const char *suggestion;

    if (strcmp(suffix, RULES_PATH_LABEL) != 0) {
        suggestion = diagnostic_suggest(suffix, labels, ARRAY_LENGTH(labels));
        if (suggestion != NULL)
            return diagnostics_error(diagnostics, position, "unknown ending '%s' of a column (did you mean '%s'?)",
                                     suffix, suggestion);
        return diagnostics_error(diagnostics, position, "unknown ending '%s' of a column: there is only '%s'", suffix,
                                 labels[0]);
    }
    if (side == SIDE_PARTNER_CENTER)
        return diagnostics_error(diagnostics, position, "only columns of the CRM have labels");
    if (strchr(base, '.') != NULL)
        return diagnostics_error(diagnostics, position, "only a column of the record itself has a label");
    return 0;
}

static bool member_is_valid(const char *member, size_t length, bool may_nest)
{
    char name[RULES_PATH_BYTES_MAX + 1];

    (void)snprintf(name, sizeof(name), "%.*s", (int)length, member);
    return rules_path_is_valid(name, false) && count_of(name, '.') <= (may_nest ? 1U : 0U);
}

static bool stands_before(const char *first, const char *member, size_t length)
{
    size_t other_length = strcspn(first, ",}");

    for (const char *other = first; other != NULL && other < member;
         other = rules_path_next_member(other, &other_length)) {
        if (other_length == length && strncmp(other, member, length) == 0)
            return true;
    }
    return false;
}

static int check_members(struct diagnostics *diagnostics, struct position position, const char *path, bool may_nest)
{
    size_t length, count = 0;
    const char *first = rules_path_members(path, &length);

    for (const char *member = first; member != NULL; member = rules_path_next_member(member, &length)) {
        if (!member_is_valid(member, length, may_nest))
            return diagnostics_error(diagnostics, position, "'%.*s' is no member: a name%s", (int)length, member,
                                     may_nest ? ", or lookup.attribute" : "");
        if (stands_before(first, member, length))
            return diagnostics_error(diagnostics, position, "the member '%.*s' stands here twice", (int)length, member);
        if (++count > RULES_PATH_MEMBERS_MAX)
            return diagnostics_error(diagnostics, position, "more than %d members", (int)RULES_PATH_MEMBERS_MAX);
    }
    return 0;
}

static int check_structure(struct diagnostics *diagnostics, struct position position, const char *path,
                           const char *base, enum side side)
{
    const char *braces = path + strlen(base);
    const bool is_list = braces[0] == '[';

    if (is_list && (braces[1] != ']' || braces[2] != '{'))
        return diagnostics_error(diagnostics, position, "a list names the members of its items, like %s[]{id,name}",
                                 base);
    if (braces[strcspn(braces, "}")] == '\0' || braces[strcspn(braces, "}") + 1] != '\0')
        return diagnostics_error(diagnostics, position, "the members end in a '}', which is the last character");
    if (side == SIDE_CRM && strchr(base, '.') != NULL)
        return diagnostics_error(diagnostics, position, "'%s' is no navigation property of the record itself", base);
    return check_members(diagnostics, position, path, is_list && side == SIDE_CRM);
}

static int check_path(struct diagnostics *diagnostics, struct position position, const char *path, enum side side)
{
    char base[RULES_PATH_BYTES_MAX + 1];

    (void)snprintf(base, sizeof(base), "%.*s", (int)rules_path_base_length(path), path);
    if (check_names(diagnostics, position, base, side) < 0)
        return -1;
    switch (rules_path_shape(path)) {
    case RULES_PATH_PLAIN:
        return 0;
    case RULES_PATH_CHOICE_LABEL:
        return check_label(diagnostics, position, path, base, side);
    case RULES_PATH_OBJECT:
    case RULES_PATH_LIST:
        break;
    }
    return check_structure(diagnostics, position, path, base, side);
}

int rules_path_check(struct diagnostics *diagnostics, const struct yaml_node *node, enum side side)
{
    char *path;
    int status;

    if (check_scalar(diagnostics, node) < 0)
        return -1;
    path = rules_path_new(node->text);
    if (path == NULL) {
        rules_yaml_no_memory(diagnostics);
        return -1;
    }
    status = check_path(diagnostics, node->position, path, side);
    free(path);
    return status;
}
