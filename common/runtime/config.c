#include "common/runtime/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/runtime/config_print.h"
#include "common/runtime/config_reader.h"

enum {
    PATH_SIZE = 256, /* of a section's full name */
    NAME_SIZE = 64,  /* of one name that is considered for a suggestion */
    WORDS_MAX = 128, /* such names */
    READ_CHUNK = 64 * 1024
};

struct config {
    struct config_section *sections; /* a copy; tables and targets are the caller's */
    bool *is_present;                /* parallel: false for an optional section that is not in the file */
    size_t section_count;
    char *directory; /* of the file, absolute */
};

/* What reading needs to know all along. */
struct loading {
    const struct config *config;
    struct config_reader reader;
    const char *const *foreign_sections;
    const struct yaml_node *root;
};

/* --- The file ----------------------------------------------------------------------------------------------------- */

static struct position no_place(void)
{
    return (struct position){0};
}

static int file_error(struct diagnostics *diagnostics, const char *path, const char *problem)
{
    return diagnostics_error(diagnostics, no_place(), "configuration file '%s': %s", path, problem);
}

static int read_open_file(struct diagnostics *diagnostics, const char *path, int fd, struct text *out)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return file_error(diagnostics, path, strerror(errno));
    if (!S_ISREG(status.st_mode))
        return file_error(diagnostics, path, "is not a regular file");
    char *chunk = malloc(READ_CHUNK);
    if (chunk == NULL)
        return file_error(diagnostics, path, "out of memory");
    int result = 0;
    while (result == 0) {
        ssize_t got = read(fd, chunk, READ_CHUNK);
        if (got == 0)
            break;
        if (got < 0 && errno != EINTR)
            result = file_error(diagnostics, path, strerror(errno));
        else if (got > 0 && text_append_n(out, chunk, (size_t)got) < 0)
            result = file_error(diagnostics, path, "is larger than 4 MiB");
    }
    free(chunk);
    return result;
}

static const struct source *read_source(struct diagnostics *diagnostics, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        file_error(diagnostics, path, strerror(errno));
        return NULL;
    }
    struct text content;
    text_init(&content, YAML_BYTES_MAX);
    const struct source *source = NULL;
    if (read_open_file(diagnostics, path, fd, &content) == 0) {
        source = diagnostics_add_source(diagnostics, path, text_string(&content), content.length);
        if (source == NULL)
            file_error(diagnostics, path, "out of memory");
    }
    text_done(&content);
    close(fd);
    return source;
}

/* Absolute, so that what --print-config writes can be loaded from anywhere. NULL when it cannot be told. */
static char *directory_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (path[0] == '/')
        return text_copy_n(path, slash == path ? 1 : (size_t)(slash - path));
    char *current = getcwd(NULL, 0);
    if (current == NULL)
        return NULL;
    char *directory = slash != NULL ? text_format("%s/%.*s", current, (int)(slash - path), path) : text_copy(current);
    free(current);
    return directory;
}

static void *field_of(const struct config_section *section, const struct config_key *key)
{
    return (char *)section->target + key->offset;
}

/* --- Sections ----------------------------------------------------------------------------------------------------- */

static bool is_listed(const char *const *names, const char *name)
{
    for (size_t i = 0; names != NULL && names[i] != NULL; i++) {
        if (strcmp(names[i], name) == 0)
            return true;
    }
    return false;
}

/* The name's part below `path`, NULL when it is not below it. The empty path stands above all. */
static const char *below(const char *name, const char *path)
{
    size_t length = strlen(path);
    if (length == 0)
        return name;
    return strncmp(name, path, length) == 0 && name[length] == '.' ? name + length + 1 : NULL;
}

static const struct config_section *find_section(const struct config *config, const char *path)
{
    for (size_t i = 0; i < config->section_count; i++) {
        if (strcmp(config->sections[i].name, path) == 0)
            return &config->sections[i];
    }
    return NULL;
}

static const struct config_key *find_key(const struct config_section *section, const char *name)
{
    for (size_t i = 0; section != NULL && i < section->key_count; i++) {
        if (strcmp(section->keys[i].name, name) == 0)
            return &section->keys[i];
    }
    return NULL;
}

/* A section, or what sections stand below. */
static bool is_branch(const struct config *config, const char *path)
{
    for (size_t i = 0; i < config->section_count; i++) {
        if (strcmp(config->sections[i].name, path) == 0 || below(config->sections[i].name, path) != NULL)
            return true;
    }
    return false;
}

struct word_list {
    const char *words[WORDS_MAX];
    char names[WORDS_MAX][NAME_SIZE];
    size_t count;
};

static void add_word(struct word_list *list, const char *name, size_t length)
{
    if (list->count >= WORDS_MAX || length >= sizeof(list->names[0]))
        return;
    (void)snprintf(list->names[list->count], sizeof(list->names[0]), "%.*s", (int)length, name);
    list->words[list->count] = list->names[list->count];
    list->count++;
}

/* What can stand in the mapping at `path`. */
static void collect_words(const struct loading *loading, const char *path, struct word_list *ret_list)
{
    ret_list->count = 0;
    const struct config *config = loading->config;
    for (size_t i = 0; i < config->section_count; i++) {
        const struct config_section *section = &config->sections[i];
        const char *rest = below(section->name, path);
        if (rest != NULL)
            add_word(ret_list, rest, strcspn(rest, "."));
        for (size_t k = 0; k < section->key_count && strcmp(section->name, path) == 0; k++)
            add_word(ret_list, section->keys[k].name, strlen(section->keys[k].name));
    }
    for (size_t i = 0; loading->foreign_sections != NULL && loading->foreign_sections[i] != NULL; i++) {
        const char *rest = below(loading->foreign_sections[i], path);
        if (rest != NULL)
            add_word(ret_list, rest, strcspn(rest, "."));
    }
}

static bool may_hold_secret(const struct config_section *section, const char *name, const char *nearest)
{
    static const char *const hints[] = {"secret", "password", "token", "key", "credential"};
    const struct config_key *meant = nearest != NULL ? find_key(section, nearest) : NULL;
    bool is_secret = meant != NULL && meant->type == CONFIG_SECRET;
    for (size_t i = 0; i < ARRAY_LENGTH(hints) && !is_secret; i++)
        is_secret = strstr(name, hints[i]) != NULL;
    return is_secret;
}

static void report_unknown(const struct loading *loading, const char *path, const struct yaml_node *key)
{
    struct word_list *list = malloc(sizeof(*list));
    const char *nearest = NULL;
    if (list != NULL) {
        collect_words(loading, path, list);
        nearest = diagnostic_suggest(key->text, list->words, list->count);
    }
    char suggestion[CONFIG_SUGGESTION_SIZE];
    config_suggestion_text(nearest, suggestion);
    if (path[0] == '\0')
        diagnostics_error(loading->reader.diagnostics, key->position, "unknown section '%s'%s", key->text, suggestion);
    else if (may_hold_secret(find_section(loading->config, path), key->text, nearest))
        config_report_hidden(&loading->reader, key, "unknown key '%s' in section '%s'%s", key->text, path, suggestion);
    else
        diagnostics_error(loading->reader.diagnostics, key->position, "unknown key '%s' in section '%s'%s", key->text,
                          path, suggestion);
    free(list);
}

/* Reports every name in the mapping, and below it, that no table knows. */
static void check_names(const struct loading *loading, const struct yaml_node *mapping, const char *path)
{
    const struct config_section *section = find_section(loading->config, path);
    bool is_shared = is_listed(loading->foreign_sections, path);
    for (size_t i = 0; i < mapping->count; i++) {
        const struct yaml_node *key = mapping->keys[i];
        const struct yaml_node *value = mapping->items[i];
        if (find_key(section, key->text) != NULL)
            continue;
        char below_path[PATH_SIZE];
        int length = snprintf(below_path, sizeof(below_path), "%s%s%s", path, path[0] != '\0' ? "." : "", key->text);
        bool is_name = length > 0 && (size_t)length < sizeof(below_path) && strchr(key->text, '.') == NULL;
        if (is_name && is_branch(loading->config, below_path)) {
            if (value->kind == YAML_MAPPING)
                check_names(loading, value, below_path);
            else if (!yaml_is_null(value))
                diagnostics_error(loading->reader.diagnostics, value->position,
                                  "section '%s' holds pairs of 'key: value'", below_path);
        } else if (!is_shared && !(is_name && is_listed(loading->foreign_sections, below_path))) {
            report_unknown(loading, path, key);
        }
    }
}

/* A section as it stands in the file. */
struct place {
    const struct yaml_node *key;  /* NULL: it is not there */
    const struct yaml_node *node; /* NULL: it is no mapping (empty ones may be left without value) */
};

static struct place locate(const struct yaml_node *root, const char *path)
{
    struct place place = {.node = root};
    for (const char *at = path; at != NULL;) {
        size_t length = strcspn(at, ".");
        const struct yaml_node *mapping = place.node;
        place = (struct place){0};
        for (size_t i = 0; mapping != NULL && mapping->kind == YAML_MAPPING && i < mapping->count; i++) {
            if (strlen(mapping->keys[i]->text) == length && strncmp(mapping->keys[i]->text, at, length) == 0) {
                place.key = mapping->keys[i];
                place.node = mapping->items[i];
            }
        }
        at = at[length] == '.' ? at + length + 1 : NULL;
    }
    return place;
}

static void report_missing_key(const struct loading *loading, const struct config_section *section,
                               const struct config_key *key, const struct place *place)
{
    if (place->key != NULL)
        diagnostics_error(loading->reader.diagnostics, place->key->position, "'%s' is missing in section '%s'",
                          key->name, section->name);
    else
        diagnostics_error(loading->reader.diagnostics, loading->root->position,
                          "section '%s' is missing; it must hold at least '%s'", section->name, key->name);
}

/* Reads what is there and the defaults of what is not. */
static int read_keys(struct loading *loading, const struct config_section *section, const struct place *place)
{
    int result = 0;
    bool is_missing_told = false;
    loading->reader.checks_files = !section->is_elsewhere;
    for (size_t i = 0; i < section->key_count; i++) {
        const struct config_key *key = &section->keys[i];
        const struct yaml_node *node = place->node != NULL ? yaml_get(place->node, key->name) : NULL;
        if (node != NULL) {
            if (config_read_value(&loading->reader, key, node, field_of(section, key)) < 0)
                result = -1;
        } else if (key->is_required) {
            /* A section that is missing altogether is told once. */
            if (place->key != NULL || !is_missing_told)
                report_missing_key(loading, section, key, place);
            is_missing_told = true;
            result = -1;
        } else if (key->default_text != NULL &&
                   config_read_default(&loading->reader, key, field_of(section, key)) < 0) {
            result = -1;
        } else if (key->type == CONFIG_DIRECTORY && key->default_text != NULL) {
            config_check_default_directory(&loading->reader, key,
                                           place->key != NULL ? place->key->position : loading->root->position,
                                           *(char *const *)field_of(section, key));
        }
    }
    return result;
}

/* False when it is absent and may be. */
static bool read_section(struct loading *loading, const struct config_section *section)
{
    struct place place = locate(loading->root, section->name);
    bool is_present = place.key != NULL;
    if (section->present_flag != NULL)
        *section->present_flag = is_present;
    if (!is_present && section->is_optional)
        return false;
    if (is_present && place.node->kind != YAML_MAPPING) {
        if (!yaml_is_null(place.node))
            return true; /* told by check_names() */
        place.node = NULL;
    }
    if (read_keys(loading, section, &place) < 0 || section->validate == NULL)
        return true;
    struct yaml_node empty = {.kind = YAML_MAPPING,
                              .position = is_present ? place.key->position : loading->root->position};
    section->validate(section, place.node != NULL ? place.node : &empty, loading->reader.diagnostics);
    return true;
}

static int read_all(struct config *config, const char *path, const char *const *foreign_sections,
                    struct diagnostics *diagnostics)
{
    size_t errors_before = diagnostics->error_count;
    const struct source *source = read_source(diagnostics, path);
    if (source == NULL)
        return -1;
    struct yaml_node *root = yaml_parse(diagnostics, source);
    if (root == NULL)
        return -1;
    if (root->kind == YAML_MAPPING) {
        struct loading loading = {.config = config,
                                  .reader = {.diagnostics = diagnostics, .directory = config->directory},
                                  .foreign_sections = foreign_sections,
                                  .root = root};
        check_names(&loading, root, "");
        for (size_t i = 0; i < config->section_count; i++)
            config->is_present[i] = read_section(&loading, &config->sections[i]);
    } else {
        diagnostics_error(diagnostics, root->position, "the file holds sections: 'name:' and below it its keys");
    }
    yaml_node_free(root);
    return diagnostics->error_count == errors_before ? 0 : -1;
}

int config_load(const char *path, const struct config_section *sections, size_t count,
                const char *const *foreign_sections, struct diagnostics *diagnostics, struct config **ret_config)
{
    struct config *config = calloc(1, sizeof(*config));
    if (config == NULL)
        return file_error(diagnostics, path, "out of memory");
    int result = 0;
    config->sections = calloc(count + 1, sizeof(*config->sections));
    config->directory = directory_of(path);
    config->is_present = calloc(count + 1, sizeof(*config->is_present));
    if (config->sections == NULL || config->is_present == NULL || config->directory == NULL) {
        result = file_error(diagnostics, path, "the directory of the file cannot be told");
    } else {
        memcpy(config->sections, sections, count * sizeof(*sections));
        config->section_count = count;
        result = read_all(config, path, foreign_sections, diagnostics);
    }
    if (result < 0)
        config_free(config);
    else
        *ret_config = config;
    return result;
}

void config_free(struct config *config)
{
    if (config == NULL)
        return;
    for (size_t i = 0; i < config->section_count; i++) {
        const struct config_section *section = &config->sections[i];
        for (size_t k = 0; k < section->key_count; k++)
            config_free_value(&section->keys[k], field_of(section, &section->keys[k]));
        if (section->present_flag != NULL)
            *section->present_flag = false;
    }
    free(config->sections);
    free(config->is_present);
    free(config->directory);
    free(config);
}

int config_print(const struct config *config, struct text *out)
{
    return config_print_sections(config->sections, config->is_present, config->section_count, out);
}
