#include "common/runtime/config_reader.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/runtime/config_path.h"
#include "common/runtime/config_value.h"

enum { MESSAGE_SIZE = 512, WORDS_BYTES_MAX = 1024 };

static const struct position NOWHERE = {0};

/* The place of `length` bytes at `offset` of a scalar's text. Where the file writes the text in another way (escapes,
 * several lines), the place of the whole. */
static struct position place_in(const struct yaml_node *node, size_t offset, size_t length)
{
    struct position position = node->position;
    size_t quotes = node->is_quoted ? 2 : 0;
    size_t characters = utf8_length(node->text, strlen(node->text));
    if (position.length != characters + quotes)
        return position;
    position.column += quotes / 2 + utf8_length(node->text, offset);
    position.length = length > 0 ? utf8_length(node->text + offset, length) : 1;
    return position;
}

static int report_fault(const struct config_reader *reader, const struct yaml_node *node,
                        const struct value_fault *fault)
{
    if (fault->shows_secret)
        return config_report_hidden(reader, node, "%s", fault->message);
    return diagnostics_error(reader->diagnostics, place_in(node, fault->offset, fault->length), "%s", fault->message);
}

int config_report_hidden(const struct config_reader *reader, const struct yaml_node *node, const char *format, ...)
{
    char message[MESSAGE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    struct position position = {.source = node->position.source};
    return diagnostics_error(reader->diagnostics, position, "line %zu: %s", node->position.line, message);
}

static int no_memory(const struct config_reader *reader)
{
    return diagnostics_error(reader->diagnostics, NOWHERE, "out of memory");
}

static char *join_path(const char *directory, const char *path)
{
    if (path[0] == '/')
        return text_copy(path);
    return text_format(strcmp(directory, "/") == 0 ? "%s%s" : "%s/%s", directory, path);
}

/* --- What is told and read all the same, so that everything is told at once --------------------------------------- */

/* "<tenant>": what somebody was to put something else in for. */
static void check_placeholder(const struct config_reader *reader, const struct yaml_node *node)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for (const char *open = strchr(node->text, '<'); open != NULL; open = strchr(open + 1, '<')) {
        size_t length = strcspn(open + 1, "<>") + 2;
        if (open[1] == '\0' || strchr(letters, open[1]) == NULL || open[length - 1] != '>')
            continue;
        diagnostics_error(reader->diagnostics, place_in(node, (size_t)(open - node->text), length),
                          "this is a placeholder: put in what it stands for");
        return;
    }
}

static int check_path(enum config_type type, const char *path, char *reterr_fault)
{
    return type == CONFIG_DIRECTORY ? config_path_check_made(path, reterr_fault)
                                    : config_path_check_file(path, reterr_fault);
}

static void check_named_path(const struct config_reader *reader, const struct config_key *key,
                             const struct yaml_node *node, const char *path)
{
    char fault[CONFIG_PATH_FAULT_SIZE];
    if (reader->checks_files && check_path(key->type, path, fault) < 0)
        diagnostics_error(reader->diagnostics, node->position, "'%s': %s %s", key->name, path, fault);
}

void config_check_default_directory(const struct config_reader *reader, const struct config_key *key,
                                    struct position section, const char *path)
{
    char fault[CONFIG_PATH_FAULT_SIZE];
    if (reader->checks_files && check_path(key->type, path, fault) < 0)
        diagnostics_error(reader->diagnostics, section, "'%s' is not given, and its default %s %s", key->name, path,
                          fault);
}

/* --- Texts -------------------------------------------------------------------------------------------------------- */

static int require_scalar(const struct config_reader *reader, const struct config_key *key,
                          const struct yaml_node *node)
{
    if (node->kind != YAML_SCALAR)
        return diagnostics_error(reader->diagnostics, node->position, "'%s' takes a single value", key->name);
    if (yaml_is_null(node))
        return diagnostics_error(reader->diagnostics, node->position,
                                 "'%s' has no value; leave the key out to get its default", key->name);
    return 0;
}

/* A text of one line, which may be empty only where it is not required. */
static int read_text(const struct config_reader *reader, const struct config_key *key, const struct yaml_node *node,
                     char **ret_text)
{
    if (require_scalar(reader, key, node) < 0)
        return -1;
    for (const char *c = node->text; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7F)
            return diagnostics_error(reader->diagnostics, node->position,
                                     "'%s' must be one line without control characters", key->name);
    }
    if (node->text[0] == '\0' && (key->is_required || key->type != CONFIG_TEXT))
        return diagnostics_error(reader->diagnostics, node->position, "'%s' must not be empty", key->name);

    size_t errors_before = reader->diagnostics->error_count;
    check_placeholder(reader, node);
    bool is_filled_in = reader->diagnostics->error_count == errors_before;
    struct value_fault fault;
    if (!is_filled_in && key->type != CONFIG_TEXT)
        return -1;
    if (key->type == CONFIG_URL && value_check_url(node->text, &fault) < 0)
        return report_fault(reader, node, &fault);
    if (key->type == CONFIG_ADDRESS && value_check_address(node->text, &fault) < 0)
        return report_fault(reader, node, &fault);

    bool is_path = key->type == CONFIG_PATH || key->type == CONFIG_DIRECTORY;
    char *text = is_path ? join_path(reader->directory, node->text) : text_copy(node->text);
    if (text == NULL)
        return no_memory(reader);
    if (is_path)
        check_named_path(reader, key, node, text);
    for (size_t length = strlen(text); key->type == CONFIG_URL && text[length - 1] == '/'; length--)
        text[length - 1] = '\0';
    *ret_text = text;
    return 0;
}

bool config_has_bounds(const struct config_key *key)
{
    return key->min != 0 || key->max != 0;
}

const char *config_format_number(const struct config_key *key, int64_t number, char out[static VALUE_TEXT_SIZE])
{
    if (key->type == CONFIG_DURATION)
        return value_format_duration(number, out);
    if (key->type == CONFIG_SIZE)
        return value_format_size(number, out);
    (void)snprintf(out, VALUE_TEXT_SIZE, "%lld", (long long)number);
    return out;
}

static int read_number(const struct config_reader *reader, const struct config_key *key, const struct yaml_node *node,
                       int64_t *ret_number)
{
    if (require_scalar(reader, key, node) < 0)
        return -1;
    if (node->is_quoted)
        return diagnostics_error(reader->diagnostics, node->position, "'%s' is written without quotes", key->name);
    struct value_fault fault;
    int64_t number;
    int result = key->type == CONFIG_DURATION ? value_parse_duration(node->text, &number, &fault)
                 : key->type == CONFIG_SIZE   ? value_parse_size(node->text, &number, &fault)
                                              : value_parse_integer(node->text, &number, &fault);
    if (result < 0)
        return report_fault(reader, node, &fault);
    if (config_has_bounds(key) && (number < key->min || number > key->max)) {
        char least[VALUE_TEXT_SIZE], most[VALUE_TEXT_SIZE];
        return diagnostics_error(reader->diagnostics, node->position, "'%s' must be between %s and %s", key->name,
                                 config_format_number(key, key->min, least), config_format_number(key, key->max, most));
    }
    *ret_number = number;
    return 0;
}

static int read_boolean(const struct config_reader *reader, const struct config_key *key, const struct yaml_node *node,
                        bool *ret_flag)
{
    if (require_scalar(reader, key, node) < 0)
        return -1;
    if (!yaml_get_boolean(node, ret_flag))
        return diagnostics_error(reader->diagnostics, node->position, "'%s' is true or false", key->name);
    return 0;
}

static size_t count_words(const char *const *words)
{
    size_t count = 0;
    while (words[count] != NULL)
        count++;
    return count;
}

char *config_suggestion_text(const char *nearest, char out[static CONFIG_SUGGESTION_SIZE])
{
    out[0] = '\0';
    if (nearest != NULL)
        (void)snprintf(out, CONFIG_SUGGESTION_SIZE, " (did you mean '%s'?)", nearest);
    return out;
}

int config_append_words(struct text *out, const char *const *words, const char *quote)
{
    for (size_t i = 0; words[i] != NULL; i++) {
        const char *separator = i == 0 ? "" : words[i + 1] == NULL ? " or " : ", ";
        if (text_appendf(out, "%s%s%s%s", separator, quote, words[i], quote) < 0)
            return -1;
    }
    return 0;
}

static int read_word(const struct config_reader *reader, const struct config_key *key, const struct yaml_node *node,
                     int *ret_index)
{
    if (require_scalar(reader, key, node) < 0)
        return -1;
    size_t count = count_words(key->words);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(key->words[i], node->text) == 0) {
            *ret_index = (int)i;
            return 0;
        }
    }
    char suggestion[CONFIG_SUGGESTION_SIZE];
    config_suggestion_text(diagnostic_suggest(node->text, key->words, count), suggestion);
    struct text words;
    text_init(&words, WORDS_BYTES_MAX);
    int result = config_append_words(&words, key->words, "");
    diagnostics_error(reader->diagnostics, node->position, "'%s' cannot be '%s'%s; it is %s", key->name, node->text,
                      suggestion, result == 0 ? text_string(&words) : "a fixed word");
    text_done(&words);
    return -1;
}

static void list_done(struct config_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct config_list){0};
}

static void map_done(struct config_map *map)
{
    for (size_t i = 0; i < map->count; i++) {
        free(map->keys[i]);
        free(map->values[i]);
    }
    free(map->keys);
    free(map->values);
    *map = (struct config_map){0};
}

static int read_list(const struct config_reader *reader, const struct config_key *key, const struct yaml_node *node,
                     struct config_list *ret_list)
{
    if (node->kind != YAML_SEQUENCE)
        return diagnostics_error(reader->diagnostics, node->position, "'%s' is a list: [one, two]", key->name);
    if (node->count == 0 && key->is_required)
        return diagnostics_error(reader->diagnostics, node->position, "'%s' must not be empty", key->name);
    struct config_list list = {.items = calloc(node->count + 1, sizeof(char *))};
    int result = list.items != NULL ? 0 : no_memory(reader);
    for (size_t i = 0; result == 0 && i < node->count; i++) {
        const struct yaml_node *item = node->items[i];
        if (item->kind != YAML_SCALAR || item->text[0] == '\0' || yaml_is_null(item))
            result = diagnostics_error(reader->diagnostics, item->position, "an item of '%s' is a text", key->name);
        else if ((list.items[i] = key->type == CONFIG_PATH_LIST ? join_path(reader->directory, item->text)
                                                                : text_copy(item->text)) == NULL)
            result = no_memory(reader);
        if (result < 0)
            continue;
        check_placeholder(reader, item);
        if (key->type == CONFIG_PATH_LIST)
            check_named_path(reader, key, item, list.items[i]);
        list.count++;
    }
    if (result == 0)
        *ret_list = list;
    else
        list_done(&list);
    return result;
}

static int read_map(const struct config_reader *reader, const struct config_key *key, const struct yaml_node *node,
                    struct config_map *ret_map)
{
    if (node->kind != YAML_MAPPING)
        return diagnostics_error(reader->diagnostics, node->position, "'%s' holds pairs of 'name: value'", key->name);
    struct config_map map = {.keys = calloc(node->count + 1, sizeof(char *)),
                             .values = calloc(node->count + 1, sizeof(char *))};
    int result = map.keys != NULL && map.values != NULL ? 0 : no_memory(reader);
    for (size_t i = 0; result == 0 && i < node->count; i++) {
        const struct yaml_node *value = node->items[i];
        if (value->kind != YAML_SCALAR || yaml_is_null(value)) {
            result = diagnostics_error(reader->diagnostics, value->position, "'%s' in '%s' takes a single value",
                                       node->keys[i]->text, key->name);
            continue;
        }
        check_placeholder(reader, value);
        map.keys[i] = text_copy(node->keys[i]->text);
        map.values[i] = text_copy(value->text);
        map.count++;
        if (map.keys[i] == NULL || map.values[i] == NULL)
            result = no_memory(reader);
    }
    if (result == 0)
        *ret_map = map;
    else
        map_done(&map);
    return result;
}

static bool is_variable_name(const char *name)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
    return name[0] != '\0' && (name[0] < '0' || name[0] > '9') && name[strspn(name, letters)] == '\0';
}

/* Whatever is wrong with the shape may mean that the secret itself stands there, so its line is not shown. */
static int read_secret(const struct config_reader *reader, const struct config_key *key, const struct yaml_node *node,
                       struct secret *ret_secret)
{
    bool is_reference = node->kind == YAML_MAPPING && node->count == 1 && node->items[0]->kind == YAML_SCALAR &&
                        node->items[0]->text[0] != '\0';
    bool is_file = is_reference && strcmp(node->keys[0]->text, "file") == 0;
    bool is_variable = is_reference && strcmp(node->keys[0]->text, "env") == 0;
    if (!is_file && !is_variable)
        return config_report_hidden(reader, node, "'%s' is given by reference only: {file: PATH} or {env: NAME}",
                                    key->name);

    const struct yaml_node *value = node->items[0];
    if (is_variable && !is_variable_name(value->text))
        return config_report_hidden(reader, node, "'%s': env takes the name of an environment variable", key->name);
    size_t errors_before = reader->diagnostics->error_count;
    check_placeholder(reader, value);
    if (reader->diagnostics->error_count != errors_before)
        return -1;
    struct error err = ERROR_INIT;
    int result;
    if (is_variable) {
        result = secret_from_environment(value->text, ret_secret, &err);
    } else {
        char *path = join_path(reader->directory, value->text);
        if (path == NULL)
            return no_memory(reader);
        result = secret_from_file(path, ret_secret, &err);
        free(path);
    }
    if (result < 0)
        return diagnostics_error(reader->diagnostics, value->position, "%s", err.message);
    return 0;
}

int config_read_value(const struct config_reader *reader, const struct config_key *key, const struct yaml_node *node,
                      void *field)
{
    switch (key->type) {
    case CONFIG_TEXT:
    case CONFIG_PATH:
    case CONFIG_DIRECTORY:
    case CONFIG_URL:
    case CONFIG_ADDRESS:
        return read_text(reader, key, node, field);
    case CONFIG_SECRET:
        return read_secret(reader, key, node, field);
    case CONFIG_INTEGER:
    case CONFIG_DURATION:
    case CONFIG_SIZE:
        return read_number(reader, key, node, field);
    case CONFIG_BOOLEAN:
        return read_boolean(reader, key, node, field);
    case CONFIG_WORD:
        return read_word(reader, key, node, field);
    case CONFIG_LIST:
    case CONFIG_PATH_LIST:
        return read_list(reader, key, node, field);
    case CONFIG_MAP:
        return read_map(reader, key, node, field);
    }
    return -1;
}

int config_read_default(const struct config_reader *reader, const struct config_key *key, void *field)
{
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    const struct config_reader of_default = {.diagnostics = &diagnostics, .directory = reader->directory};
    struct yaml_node *node = NULL;
    const struct source *source =
        diagnostics_add_source(&diagnostics, key->name, key->default_text, strlen(key->default_text));
    if (source != NULL)
        node = yaml_parse(&diagnostics, source);
    int result = node != NULL ? config_read_value(&of_default, key, node, field) : -1;
    if (result < 0) {
        const char *message = diagnostics_message(&diagnostics, 0, NULL);
        diagnostics_error(reader->diagnostics, NOWHERE, "the default of '%s' cannot be read: %s", key->name,
                          message != NULL ? message : "out of memory");
    }
    yaml_node_free(node);
    diagnostics_done(&diagnostics);
    return result;
}

void config_free_value(const struct config_key *key, void *field)
{
    switch (key->type) {
    case CONFIG_TEXT:
    case CONFIG_PATH:
    case CONFIG_DIRECTORY:
    case CONFIG_URL:
    case CONFIG_ADDRESS:
        free(*(char **)field);
        *(char **)field = NULL;
        break;
    case CONFIG_SECRET:
        secret_done(field);
        break;
    case CONFIG_INTEGER:
    case CONFIG_DURATION:
    case CONFIG_SIZE:
        *(int64_t *)field = 0;
        break;
    case CONFIG_BOOLEAN:
        *(bool *)field = false;
        break;
    case CONFIG_WORD:
        *(int *)field = 0;
        break;
    case CONFIG_LIST:
    case CONFIG_PATH_LIST:
        list_done(field);
        break;
    case CONFIG_MAP:
        map_done(field);
        break;
    }
}
