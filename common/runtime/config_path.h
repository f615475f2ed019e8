/* Whether what a path of the configuration names is there and can be used by this process.
 *
 * Asks the file system and changes nothing; what is good now may be gone when it is used, so whoever uses it checks
 * again. Blocking; start-up and SIGHUP only. */
#ifndef TANDEM_RUNTIME_CONFIG_PATH_H
#define TANDEM_RUNTIME_CONFIG_PATH_H

#include <stddef.h>

#include "common/base/attributes.h"

enum { CONFIG_PATH_FAULT_SIZE = 128 };

/* A file that can be read, or something like one (a pipe), but no directory. What is wrong goes to `reterr_fault`, as
 * words that follow the path: "is a directory". */
int config_path_check_file(const char *path, char reterr_fault[static CONFIG_PATH_FAULT_SIZE]) TANDEM_MUST_CHECK;
/* The same, or a directory that can be read. */
int config_path_check_readable(const char *path, char reterr_fault[static CONFIG_PATH_FAULT_SIZE]) TANDEM_MUST_CHECK;
/* A directory that can be written to, or is not there yet and can be made: then the one above it must be there. */
int config_path_check_made(const char *path, char reterr_fault[static CONFIG_PATH_FAULT_SIZE]) TANDEM_MUST_CHECK;

#endif
