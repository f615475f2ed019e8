/* The configuration: one YAML file for all three programs, read into plain structs by tables.
 *
 * A module owns its settings struct and a const table of keys for it; a program lists the sections it reads. From the
 * tables come parsing, defaults, --print-config (secrets redacted), --describe-config and suggestions for unknown keys.
 * All errors are collected with their place: also files that are not there, and placeholders ("<tenant>") that nobody
 * has filled in. Sections of the other programs are accepted unread.
 * Values are copied into the structs and owned by the struct config that loaded them. Start-up and SIGHUP only; main
 * thread. Secrets come by reference only: `{file: PATH}` or `{env: NAME}`; a file that others can read is refused. */
#ifndef TANDEM_RUNTIME_CONFIG_H
#define TANDEM_RUNTIME_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/diagnostic.h"
#include "common/base/text.h"
#include "common/base/yaml.h"
#include "common/runtime/secret.h"

enum config_type {
    CONFIG_TEXT,      /* char * */
    CONFIG_PATH,      /* char *; of a file to read; a relative path is relative to the configuration file */
    CONFIG_URL,       /* char *; https, no userinfo, query or fragment; no slash at the end */
    CONFIG_SECRET,    /* struct secret */
    CONFIG_INTEGER,   /* int64_t within min..max */
    CONFIG_DURATION,  /* int64_t milliseconds within min..max: "250ms", "5s", "10m", "24h", "30d" */
    CONFIG_SIZE,      /* int64_t bytes within min..max: "64KiB", "2MiB", plain bytes */
    CONFIG_BOOLEAN,   /* bool */
    CONFIG_WORD,      /* int, index into words */
    CONFIG_LIST,      /* struct config_list of texts */
    CONFIG_DIRECTORY, /* char *; as CONFIG_PATH, of a directory that the program makes and writes to */
    CONFIG_PATH_LIST, /* struct config_list; each as CONFIG_PATH */
    CONFIG_MAP,       /* struct config_map of texts: any librdkafka property */
    CONFIG_ADDRESS    /* char *; "host:port", "[::1]:port", port 0 to 65535 */
};

struct config_list {
    char **items;
    size_t count;
};

struct config_map {
    char **keys;
    char **values;
    size_t count;
};

struct config_key {
    const char *name;
    enum config_type type;
    size_t offset;            /* into the section's struct */
    const char *default_text; /* YAML, as a person would write it; NULL: no default */
    bool is_required;
    int64_t min, max;         /* numbers, durations, sizes; both 0: any */
    const char *const *words; /* CONFIG_WORD: NULL-terminated */
    const char *help;         /* one sentence: what it does, unit, why the default */
};

struct config_section {
    const char *name; /* "partner_center"; a dot nests: "ingest.serve" */
    const struct config_key *keys;
    size_t key_count;
    void *target;
    bool is_optional;   /* absent: the target stays zero except *present_flag */
    bool is_elsewhere;  /* its files are for another run, maybe on another machine: they need not be here */
    bool *present_flag; /* may be NULL */
    /* Rules across keys, after all keys were read without error; reports into diagnostics. `node` is a mapping, empty
     * when the section is not in the file. May be NULL. */
    void (*validate)(const struct config_section *section, const struct yaml_node *node,
                     struct diagnostics *diagnostics);
};

struct config;

/* Reads the file and fills every section's target. On failure -1 with all errors in `diagnostics`.
 * `foreign_sections`: NULL-terminated names that belong to other programs. */
int config_load(const char *path, const struct config_section *sections, size_t count,
                const char *const *foreign_sections, struct diagnostics *diagnostics, struct config **ret_config)
    TANDEM_MUST_CHECK;
/* Frees every value in the targets (secrets are cleansed) and zeroes the targets. Accepts NULL. */
void config_free(struct config *config);
/* The whole effective configuration as YAML, defaults included, secrets as their references. */
int config_print(const struct config *config, struct text *out);
/* The tables for people, a paragraph for each key: its full name, what it takes, its limits and default, its help. */
int config_describe(const struct config_section *sections, size_t count, struct text *out);

#endif
