#include "common/runtime/config_print.h"

#include <string.h>

#include "common/runtime/config_reader.h"

enum { INDENT = 2, DESCRIPTION_INDENT = 4, DESCRIPTION_WIDTH = 100, SHAPE_BYTES_MAX = 8 * 1024 };

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
    case CONFIG_DIRECTORY:
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
    case CONFIG_DIRECTORY:
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

/* --- What can be configured --------------------------------------------------------------------------------------- */

static int append_type(struct text *out, const struct config_key *key)
{
    static const char *const names[] = {
        [CONFIG_TEXT] = "text",
        [CONFIG_PATH] = "file; relative to the configuration file",
        [CONFIG_DIRECTORY] = "directory; relative to the configuration file",
        [CONFIG_URL] = "https URL",
        [CONFIG_SECRET] = "secret: {file: PATH} or {env: NAME}",
        [CONFIG_INTEGER] = "number",
        [CONFIG_DURATION] = "duration, such as 250ms, 5s, 10m, 24h, 30d",
        [CONFIG_SIZE] = "size, such as 64KiB, 2MiB",
        [CONFIG_BOOLEAN] = "true or false",
        [CONFIG_WORD] = "",
        [CONFIG_LIST] = "list of texts",
        [CONFIG_PATH_LIST] = "list of files; relative to the configuration file",
        [CONFIG_MAP] = "pairs of name and value",
        [CONFIG_ADDRESS] = "host:port",
    };
    if (key->type == CONFIG_WORD)
        return config_append_words(out, key->words, "");
    bool is_number = key->type == CONFIG_INTEGER || key->type == CONFIG_DURATION || key->type == CONFIG_SIZE;
    if (!is_number || !config_has_bounds(key))
        return text_append(out, names[key->type]);
    char least[VALUE_TEXT_SIZE], most[VALUE_TEXT_SIZE];
    const char *name = names[key->type];
    return text_appendf(out, "%.*s, %s to %s", (int)strcspn(name, ","), name,
                        config_format_number(key, key->min, least), config_format_number(key, key->max, most));
}

/* Lines of at most DESCRIPTION_WIDTH bytes, broken at blanks. */
static int append_wrapped(struct text *out, const char *string)
{
    size_t column = 0;
    for (const char *at = string; *at != '\0'; at += strspn(at, " \n")) {
        size_t length = strcspn(at, " \n");
        bool is_first = column == 0;
        if (is_first || column + 1 + length > DESCRIPTION_WIDTH) {
            if (text_appendf(out, "%s%*s", is_first ? "" : "\n", DESCRIPTION_INDENT, "") < 0)
                return -1;
            column = DESCRIPTION_INDENT;
        } else if (text_append_char(out, ' ') < 0) {
            return -1;
        } else {
            column++;
        }
        if (text_append_n(out, at, length) < 0)
            return -1;
        column += length;
        at += length;
    }
    return text_append_char(out, '\n');
}

static int append_shape(struct text *out, const struct config_key *key)
{
    struct text shape;
    text_init(&shape, SHAPE_BYTES_MAX);
    int result = append_type(&shape, key);
    if (result == 0)
        result = key->is_required            ? text_append(&shape, "; required")
                 : key->default_text == NULL ? text_append(&shape, "; no default")
                                             : text_appendf(&shape, "; default: %s", key->default_text);
    if (result == 0)
        result = append_wrapped(out, text_string(&shape));
    text_done(&shape);
    return result;
}

int config_describe(const struct config_section *sections, size_t count, struct text *out)
{
    for (size_t i = 0; i < count; i++) {
        const struct config_section *section = &sections[i];
        for (size_t k = 0; k < section->key_count; k++) {
            const struct config_key *key = &section->keys[k];
            if (text_appendf(out, "%s%s.%s%s\n", i + k > 0 ? "\n" : "", section->name, key->name,
                             section->is_optional ? " (the section may be left out)" : "") < 0 ||
                append_shape(out, key) < 0 || (key->help != NULL && append_wrapped(out, key->help) < 0))
                return -1;
        }
    }
    return 0;
}
