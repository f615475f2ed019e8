#include "common/runtime/config_print.h"

#include <string.h>

#include "common/runtime/config_reader.h"

enum { INDENT = 2, SECTION_PATH_SIZE = 256 };

/* --- The configuration in effect ---------------------------------------------------------------------------------- */

struct printing {
    const struct config_section *sections;
    const bool *is_present;
    size_t count;
    struct text *out;
};

/* In double quotes, where every text can be written (YAML 1.1, 5.7 has these escapes). */
static int append_quoted(struct text *out, const char *string)
{
    if (text_append_char(out, '"') < 0)
        return -1;
    for (const char *c = string; *c != '\0'; c++) {
        int result;
        if (*c == '"' || *c == '\\')
            result = text_appendf(out, "\\%c", *c);
        else if ((unsigned char)*c < 0x20 || *c == 0x7F)
            result = text_appendf(out, "\\x%02x", (unsigned)(unsigned char)*c);
        else
            result = text_append_char(out, *c);
        if (result < 0)
            return -1;
    }
    return text_append_char(out, '"');
}

static int append_list(struct text *out, const struct config_list *list)
{
    int result = text_append_char(out, '[');
    for (size_t i = 0; result == 0 && i < list->count; i++) {
        result = text_append(out, i > 0 ? ", " : "");
        if (result == 0)
            result = append_quoted(out, list->items[i]);
    }
    return result == 0 ? text_append_char(out, ']') : -1;
}

static int append_map(struct text *out, const struct config_map *map)
{
    int result = text_append_char(out, '{');
    for (size_t i = 0; result == 0 && i < map->count; i++) {
        result = text_append(out, i > 0 ? ", " : "");
        if (result == 0)
            result = append_quoted(out, map->keys[i]);
        if (result == 0)
            result = text_append(out, ": ");
        if (result == 0)
            result = append_quoted(out, map->values[i]);
    }
    return result == 0 ? text_append_char(out, '}') : -1;
}

static int append_reference(struct text *out, const char *reference)
{
    size_t scheme = strcspn(reference, ":");
    if (text_appendf(out, "{%.*s: ", (int)scheme, reference) < 0 || append_quoted(out, reference + scheme + 1) < 0)
        return -1;
    return text_append_char(out, '}');
}

/* False for a text or secret that has no value, which YAML has no word for here. */
static bool has_value(const struct config_key *key, const void *field)
{
    switch (key->type) {
    case CONFIG_TEXT:
    case CONFIG_PATH:
    case CONFIG_URL:
    case CONFIG_ADDRESS:
        return *(char *const *)field != NULL;
    case CONFIG_SECRET:
        return ((const struct secret *)field)->reference != NULL;
    default:
        return true;
    }
}

static int append_value(struct text *out, const struct config_key *key, const void *field)
{
    char number[VALUE_TEXT_SIZE];
    switch (key->type) {
    case CONFIG_TEXT:
    case CONFIG_PATH:
    case CONFIG_URL:
    case CONFIG_ADDRESS:
        return append_quoted(out, *(char *const *)field);
    case CONFIG_SECRET:
        return append_reference(out, ((const struct secret *)field)->reference);
    case CONFIG_INTEGER:
    case CONFIG_DURATION:
    case CONFIG_SIZE:
        return text_append(out, config_format_number(key, *(const int64_t *)field, number));
    case CONFIG_BOOLEAN:
        return text_append(out, *(const bool *)field ? "true" : "false");
    case CONFIG_WORD:
        return append_quoted(out, key->words[*(const int *)field]);
    case CONFIG_LIST:
    case CONFIG_PATH_LIST:
        return append_list(out, field);
    case CONFIG_MAP:
        return append_map(out, field);
    }
    return -1;
}

static int print_keys(const struct printing *printing, const struct config_section *section, int indent)
{
    for (size_t i = 0; i < section->key_count; i++) {
        const struct config_key *key = &section->keys[i];
        const void *field = (const char *)section->target + key->offset;
        if (!has_value(key, field))
            continue;
        if (text_appendf(printing->out, "%*s%s: ", indent, "", key->name) < 0 ||
            append_value(printing->out, key, field) < 0 || text_append_char(printing->out, '\n') < 0)
            return -1;
    }
    return 0;
}

/* Whether the section is `path`, or stands below it. */
static bool is_within(const struct config_section *section, const char *path, size_t length)
{
    return strncmp(section->name, path, length) == 0 && (section->name[length] == '\0' || section->name[length] == '.');
}

static bool is_first_within(const struct printing *printing, size_t index, const char *path, size_t length)
{
    for (size_t i = 0; i < index; i++) {
        if (printing->is_present[i] && is_within(&printing->sections[i], path, length))
            return false;
    }
    return true;
}

/* Prints the sections that stand below `parent`, of which the first bytes count; all of them when there are none. */
static int print_below(const struct printing *printing, const char *parent, size_t parent_length, int indent)
{
    size_t start = parent_length > 0 ? parent_length + 1 : 0;
    for (size_t i = 0; i < printing->count; i++) {
        const char *name = printing->sections[i].name;
        bool is_below = parent_length == 0 ||
                        (is_within(&printing->sections[i], parent, parent_length) && name[parent_length] == '.');
        if (!printing->is_present[i] || !is_below)
            continue;
        size_t length = start + strcspn(name + start, ".");
        if (!is_first_within(printing, i, name, length))
            continue;
        if (text_appendf(printing->out, "%*s%.*s:\n", indent, "", (int)(length - start), name + start) < 0)
            return -1;
        for (size_t k = i; k < printing->count; k++) {
            const struct config_section *section = &printing->sections[k];
            bool is_itself = is_within(section, name, length) && section->name[length] == '\0';
            if (is_itself && printing->is_present[k] && print_keys(printing, section, indent + INDENT) < 0)
                return -1;
        }
        if (print_below(printing, name, length, indent + INDENT) < 0)
            return -1;
    }
    return 0;
}

int config_print_sections(const struct config_section *sections, const bool *is_present, size_t count, struct text *out)
{
    const struct printing printing = {.sections = sections, .is_present = is_present, .count = count, .out = out};
    return print_below(&printing, "", 0, 0);
}

/* --- The reference page ------------------------------------------------------------------------------------------- */

/* A cell of a Markdown table: one line, and '|' does not end it. */
static int append_cell(struct text *out, const char *string)
{
    for (const char *c = string; *c != '\0'; c++) {
        if (text_append(out, *c == '|' ? "\\|" : "") < 0)
            return -1;
        if (*c != '|' && text_append_char(out, *c == '\n' ? ' ' : *c) < 0)
            return -1;
    }
    return 0;
}

static int append_type(struct text *out, const struct config_key *key)
{
    static const char *const names[] = {
        [CONFIG_TEXT] = "text",
        [CONFIG_PATH] = "path",
        [CONFIG_URL] = "https URL",
        [CONFIG_SECRET] = "secret, by `{file: PATH}` or `{env: NAME}`",
        [CONFIG_INTEGER] = "number",
        [CONFIG_DURATION] = "duration",
        [CONFIG_SIZE] = "size",
        [CONFIG_BOOLEAN] = "`true` or `false`",
        [CONFIG_WORD] = "",
        [CONFIG_LIST] = "list of texts",
        [CONFIG_PATH_LIST] = "list of paths",
        [CONFIG_MAP] = "names with values",
        [CONFIG_ADDRESS] = "host:port",
    };
    if (key->type == CONFIG_WORD)
        return config_append_words(out, key->words, "`");
    if (text_append(out, names[key->type]) < 0)
        return -1;
    bool is_number = key->type == CONFIG_INTEGER || key->type == CONFIG_DURATION || key->type == CONFIG_SIZE;
    if (!is_number || !config_has_bounds(key))
        return 0;
    char least[VALUE_TEXT_SIZE], most[VALUE_TEXT_SIZE];
    return text_appendf(out, ", %s to %s", config_format_number(key, key->min, least),
                        config_format_number(key, key->max, most));
}

static int append_default(struct text *out, const struct config_key *key)
{
    if (key->is_required)
        return text_append(out, "required");
    if (key->default_text == NULL)
        return text_append(out, "none");
    if (text_append_char(out, '`') < 0 || append_cell(out, key->default_text) < 0)
        return -1;
    return text_append_char(out, '`');
}

static int describe_key(struct text *out, const struct config_key *key)
{
    if (text_appendf(out, "| `%s` | ", key->name) < 0 || append_type(out, key) < 0 || text_append(out, " | ") < 0 ||
        append_default(out, key) < 0 || text_appendf(out, " | %s | ", key->is_reloadable ? "yes" : "no") < 0 ||
        append_cell(out, key->help != NULL ? key->help : "") < 0)
        return -1;
    return text_append(out, " |\n");
}

int config_describe(const struct config_section *sections, size_t count, struct text *out)
{
    for (size_t i = 0; i < count; i++) {
        if (text_appendf(out, "%s### `%s`\n\n", i > 0 ? "\n" : "", sections[i].name) < 0)
            return -1;
        if (sections[i].is_optional &&
            text_append(out, "Optional: without the section, what it is for is off.\n\n") < 0)
            return -1;
        if (text_append(out, "| Key | Value | Default | On SIGHUP | Meaning |\n|---|---|---|---|---|\n") < 0)
            return -1;
        for (size_t k = 0; k < sections[i].key_count; k++) {
            if (describe_key(out, &sections[i].keys[k]) < 0)
                return -1;
        }
    }
    return 0;
}
