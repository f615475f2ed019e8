/* One key of the configuration: from its YAML node, or its default, into the field of a settings struct.
 *
 * Part of config.c; programs use config.h. Reports what is wrong at its place and goes on. Fields are written on success
 * only, and their content is released with config_free_value(). Main thread. */
#ifndef TANDEM_RUNTIME_CONFIG_READER_H
#define TANDEM_RUNTIME_CONFIG_READER_H

#include "common/runtime/config.h"
#include "common/runtime/config_value.h"

enum { CONFIG_SUGGESTION_SIZE = 96 };

struct config_reader {
    struct diagnostics *diagnostics;
    const char *directory; /* what relative paths are relative to; absolute itself */
    bool checks_files;     /* what a path names must be there */
};

int config_read_value(const struct config_reader *reader, const struct config_key *key, const struct yaml_node *node,
                      void *field) TANDEM_MUST_CHECK;
/* A default is YAML, too, and goes the same way. One that does not read is a mistake in the table. */
int config_read_default(const struct config_reader *reader, const struct config_key *key, void *field)
    TANDEM_MUST_CHECK;
/* A directory that nobody has named is told at the section that could name it. */
void config_check_default_directory(const struct config_reader *reader, const struct config_key *key,
                                    struct position section, const char *path);
/* Releases (secrets: cleanses) and zeroes. */
void config_free_value(const struct config_key *key, void *field);

/* An error without the source line below it, which may show a secret that somebody wrote into the file. Returns -1. */
int config_report_hidden(const struct config_reader *reader, const struct yaml_node *node, const char *format, ...)
    TANDEM_PRINTF(3, 4);
/* " (did you mean 'x'?)", or nothing for NULL. Returns `out`. */
char *config_suggestion_text(const char *nearest, char out[static CONFIG_SUGGESTION_SIZE]);
/* "a, b or c", each between two `quote`s. */
int config_append_words(struct text *out, const char *const *words, const char *quote) TANDEM_MUST_CHECK;
bool config_has_bounds(const struct config_key *key);
/* A number, duration or size as a person writes it. Returns `out`. */
const char *config_format_number(const struct config_key *key, int64_t number, char out[static VALUE_TEXT_SIZE]);

#endif
