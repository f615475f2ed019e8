/* Files that a person names: rules, rule tests, documents. Read whole, bounded, before anything else happens.
 *
 * Blocking; start, SIGHUP and commands only. */
#ifndef TANDEM_MAPPER_FILE_INPUT_H
#define TANDEM_MAPPER_FILE_INPUT_H

#include <jansson.h>
#include <stddef.h>

#include "common/base/diagnostic.h"
#include "common/base/error.h"
#include "mapper/rules.h"

enum { FILE_INPUT_MAX = 4 * 1024 * 1024 };

/* ERROR_CONFIG "file.unreadable" names the file. free(). */
int file_input_read(const char *path, char **ret_bytes, size_t *ret_length, struct error *err) TANDEM_MUST_CHECK;
/* The file as a source of diagnostics; NULL with an error reported there. */
const struct source *file_input_source(struct diagnostics *diagnostics, const char *path);
/* NULL on failure, with all errors in `diagnostics`. */
struct rules *file_input_rules(struct diagnostics *diagnostics, const char *path);
/* An object. ERROR_CONFIG names file, line and column. New reference. */
int file_input_json(const char *path, json_t **ret_json, struct error *err) TANDEM_MUST_CHECK;

#endif
