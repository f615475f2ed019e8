/* The commands that need no Kafka, and no configuration: check, test, preview (without --deal), reference.
 *
 * They run the code of the pipeline (merge.h) on files. They print for people, errors to standard error. */
#ifndef TANDEM_MAPPER_COMMANDS_H
#define TANDEM_MAPPER_COMMANDS_H

#include "common/runtime/command_line.h"
#include "mapper/deal.h"

/* Returns the exit status: EXIT_OK, EXIT_ERROR when tests fail, EXIT_BAD_CONFIG when a file is wrong, EXIT_USAGE. */
int command_run(const struct command_line *line);
/* The command preview. `rules_path` NULL: --rules is missing. `deal`: what Tandem knows of it; NULL: nothing. */
int command_preview(const struct command_line *line, const char *rules_path, const struct deal *deal);

#endif
