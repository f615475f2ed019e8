/* What a command says: its result on standard output, messages about files on standard error.
 *
 * No log (log.h), and nothing for a running program: it blocks. Main thread. What cannot be written is lost, since there is
 * nobody else to tell. */
#ifndef TANDEM_RUNTIME_OUTPUT_H
#define TANDEM_RUNTIME_OUTPUT_H

#include <stdio.h>

#include "common/base/diagnostic.h"
#include "common/base/text.h"
#include "common/runtime/config.h"

enum { OUTPUT_MAX = 8 * 1024 * 1024 }; /* bytes of one text */

void output_text(FILE *stream, const struct text *text);
/* On standard error. */
void output_diagnostics(const struct diagnostics *diagnostics);
/* --print-config and --describe-config; return the exit status. */
int output_config(const struct config *config);
int output_config_keys(const struct config_section *sections, size_t count);

#endif
