#include "mapper/rules_yaml.h"

#include <string.h>

void rules_yaml_no_memory(struct diagnostics *diagnostics)
{
    diagnostics_error(diagnostics, (struct position){0}, "out of memory");
}

const char *rules_yaml_kind_name(enum yaml_kind kind)
{
    return kind == YAML_MAPPING ? "mapping" : kind == YAML_SEQUENCE ? "list" : "single value";
}

/* `in`: " in " or "", before `where`. */
static int report_unknown(struct diagnostics *diagnostics, const struct yaml_node *node, const char *what,
                          const char *in, const char *where, const char *const *words, size_t count)
{
    const char *suggestion = diagnostic_suggest(node->text, words, count);

    if (suggestion != NULL)
        return diagnostics_error(diagnostics, node->position, "unknown %s '%s'%s%s (did you mean '%s'?)", what,
                                 node->text, in, where, suggestion);
    return diagnostics_error(diagnostics, node->position, "unknown %s '%s'%s%s", what, node->text, in, where);
}

int rules_yaml_check_keys(struct diagnostics *diagnostics, const struct yaml_node *node, const char *what,
                          const char *const *keys, size_t count)
{
    int status = 0;

    if (node->kind != YAML_MAPPING)
        return diagnostics_error(diagnostics, node->position, "%s: a mapping is expected, not a %s", what,
                                 rules_yaml_kind_name(node->kind));
    for (size_t i = 0; i < node->count; i++) {
        bool is_known = false;
        for (size_t k = 0; k < count && !is_known; k++)
            is_known = strcmp(node->keys[i]->text, keys[k]) == 0;
        if (!is_known)
            status = report_unknown(diagnostics, node->keys[i], "key", " in ", what, keys, count);
    }
    return status;
}

int rules_yaml_word(struct diagnostics *diagnostics, const struct yaml_node *node, const char *what,
                    const char *const *words, size_t count)
{
    if (node->kind != YAML_SCALAR)
        return diagnostics_error(diagnostics, node->position, "the %s is a word, not a %s", what,
                                 rules_yaml_kind_name(node->kind));
    for (size_t i = 0; i < count; i++) {
        if (strcmp(node->text, words[i]) == 0)
            return (int)i;
    }
    return report_unknown(diagnostics, node, what, "", "", words, count);
}

bool rules_yaml_is_leave(const struct yaml_node *node)
{
    return node->kind == YAML_SCALAR && !node->is_quoted && strcmp(node->text, "leave") == 0;
}

const char *rules_yaml_text(struct diagnostics *diagnostics, const struct yaml_node *node, const char *what)
{
    if (node->kind != YAML_SCALAR || node->text[0] == '\0') {
        diagnostics_error(diagnostics, node->position, "the %s is a text that is not empty", what);
        return NULL;
    }
    return node->text;
}

int rules_yaml_direction(struct diagnostics *diagnostics, const struct yaml_node *node,
                         bool ret_towards[static SIDE_COUNT])
{
    static const char *const words[] = {"both", "to-crm", "to-partner-center"};
    int word;

    if (node == NULL)
        return 0;
    word = rules_yaml_word(diagnostics, node, "direction", words, ARRAY_LENGTH(words));
    if (word < 0)
        return -1;
    ret_towards[SIDE_CRM] = word != 2;
    ret_towards[SIDE_PARTNER_CENTER] = word != 1;
    return 0;
}
