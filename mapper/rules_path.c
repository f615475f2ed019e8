#include "mapper/rules_path.h"

#include <string.h>

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

int rules_path_check(struct diagnostics *diagnostics, const struct yaml_node *node, enum side side)
{
    if (node->kind != YAML_SCALAR)
        return diagnostics_error(diagnostics, node->position, "a path is expected, not a %s",
                                 rules_yaml_kind_name(node->kind));
    if (strlen(node->text) > RULES_PATH_BYTES_MAX)
        return diagnostics_error(diagnostics, node->position, "a path of more than %d characters",
                                 (int)RULES_PATH_BYTES_MAX);
    if (side == SIDE_CRM && (!rules_path_is_valid(node->text, false) || count_of(node->text, '.') > 1))
        return diagnostics_error(diagnostics, node->position, "'%s' is no column: a name, or lookup.attribute",
                                 node->text);
    if (side == SIDE_PARTNER_CENTER && (!rules_path_is_valid(node->text, true) || strcmp(node->text, "microsoft") == 0))
        return diagnostics_error(diagnostics, node->position,
                                 "'%s' is no path: names with single dots between them, like details.dealValue",
                                 node->text);
    return 0;
}

bool rules_paths_overlap(const char *a, const char *b)
{
    const size_t length_a = strlen(a), length_b = strlen(b);
    const size_t shorter = length_a < length_b ? length_a : length_b;

    if (strncmp(a, b, shorter) != 0)
        return false;
    return length_a == length_b || (length_a > length_b ? a : b)[shorter] == '.';
}

bool rules_path_has_index(const char *path)
{
    for (; path != NULL; path = strchr(path, '.') == NULL ? NULL : strchr(path, '.') + 1) {
        if (is_digit(path[0]))
            return true;
    }
    return false;
}
