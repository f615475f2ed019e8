/* A configuration loads or has at least one error, each at its place; one that loads is printed as one that loads and is
 * printed the same, with no secret in it. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/runtime/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PRINT_MAX_BYTES = 64 * 1024 * 1024 };

#define SECRET_NAME  "TANDEM_FUZZ_SECRET"
#define SECRET_VALUE "7h3-v4lu3-0f-7h3-s3cr37"

/* Every type of key, with and without bounds, defaults and need. */
struct sample {
    char *name, *path, *folder, *url, *address;
    struct secret password;
    int64_t count, interval_ms, limit;
    bool is_enabled;
    int level;
    struct config_list tags, files;
    struct config_map labels;
};

struct nested {
    char *name;
    int64_t pause_ms;
};

struct settings {
    struct sample sample;
    struct nested nested;
    bool has_nested;
};

static const char *const LEVELS[] = {"debug", "info", "warning", NULL};

#define FIELD(type_, member_) .type = (type_), .offset = offsetof(struct sample, member_)
static const struct config_key SAMPLE_KEYS[] = {
    {.name = "name", FIELD(CONFIG_TEXT, name), .is_required = true},
    {.name = "path", FIELD(CONFIG_PATH, path)},
    {.name = "folder", FIELD(CONFIG_DIRECTORY, folder)},
    {.name = "url", FIELD(CONFIG_URL, url)},
    {.name = "address", FIELD(CONFIG_ADDRESS, address), .default_text = "127.0.0.1:0"},
    {.name = "password", FIELD(CONFIG_SECRET, password)},
    {.name = "count", FIELD(CONFIG_INTEGER, count), .default_text = "-3"},
    {.name = "interval", FIELD(CONFIG_DURATION, interval_ms), .default_text = "90s", .min = 1, .max = 86400000},
    {.name = "limit", FIELD(CONFIG_SIZE, limit), .default_text = "256KiB"},
    {.name = "enabled", FIELD(CONFIG_BOOLEAN, is_enabled), .default_text = "true"},
    {.name = "level", FIELD(CONFIG_WORD, level), .default_text = "info", .words = LEVELS},
    {.name = "tags", FIELD(CONFIG_LIST, tags), .default_text = "[one, two]"},
    {.name = "files", FIELD(CONFIG_PATH_LIST, files)},
    {.name = "labels", FIELD(CONFIG_MAP, labels)},
};
static const struct config_key NESTED_KEYS[] = {
    {.name = "name", .type = CONFIG_TEXT, .offset = offsetof(struct nested, name), .is_required = true},
    {.name = "pause",
     .type = CONFIG_DURATION,
     .offset = offsetof(struct nested, pause_ms),
     .default_text = "1s",
     .max = 60000},
};
static const char *const FOREIGN[] = {"mapper", "pusher", NULL};

static void require(bool holds)
{
    if (!holds)
        abort();
}

static int load(const char *bytes, size_t size, struct settings *settings, struct diagnostics *diagnostics,
                struct config **ret_config)
{
    const struct config_section sections[] = {
        {.name = "sample", .keys = SAMPLE_KEYS, .key_count = ARRAY_LENGTH(SAMPLE_KEYS), .target = &settings->sample},
        {.name = "sample.nested",
         .keys = NESTED_KEYS,
         .key_count = ARRAY_LENGTH(NESTED_KEYS),
         .target = &settings->nested,
         .is_optional = true,
         .present_flag = &settings->has_nested},
    };
    char path[64];
    int file = memfd_create("fuzz.yaml", MFD_CLOEXEC), status;

    require(file >= 0 && (size == 0 || write(file, bytes, size) == (ssize_t)size));
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
    status = config_load(path, sections, ARRAY_LENGTH(sections), FOREIGN, diagnostics, ret_config);
    (void)close(file);
    return status;
}

/* A message about what may be a secret names its line in words, and has no place whose line would be shown. */
static void check_places(const struct diagnostics *diagnostics)
{
    struct position position;

    for (size_t k = 0; diagnostics_message(diagnostics, k, &position) != NULL; k++)
        require(position.source == NULL || position.line == 0 || (position.column >= 1 && position.length >= 1));
}

/* Everything is freed and printed; returns what is printed of a configuration that loads, NULL for another. */
static char *printed(const char *bytes, size_t size)
{
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    static const struct settings no_settings;
    struct settings settings;
    struct config *config = NULL;
    struct text told, out;
    char *result = NULL;

    memset(&settings, 0, sizeof(settings));
    text_init(&told, PRINT_MAX_BYTES);
    text_init(&out, PRINT_MAX_BYTES);
    if (load(bytes, size, &settings, &diagnostics, &config) < 0) {
        require(diagnostics.error_count > 0 && config == NULL);
        require(memcmp(&settings, &no_settings, sizeof(settings)) == 0);
    } else {
        require(diagnostics.error_count == 0 && settings.sample.name != NULL && settings.sample.interval_ms >= 1);
        require(config_print(config, &out) == 0);
        result = text_take(&out);
        require(result != NULL);
    }
    check_places(&diagnostics);
    require(diagnostics_print(&diagnostics, &told) == 0);
    config_free(config);
    diagnostics_done(&diagnostics);
    text_done(&told);
    text_done(&out);
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *first, *second;

    require(setenv(SECRET_NAME, SECRET_VALUE, 1) == 0);
    first = printed((const char *)data, size);
    if (first == NULL)
        return 0;
    require(memmem(data, size, SECRET_VALUE, strlen(SECRET_VALUE)) != NULL || strstr(first, SECRET_VALUE) == NULL);
    second = printed(first, strlen(first));
    require(second != NULL && strcmp(first, second) == 0);
    free(first);
    free(second);
    return 0;
}
