/* Example-based tests of rules: given records in, decisions compared (docs/rules-tests.md describes the file).
 *
 * Blocking file reads; for the command line only. */
#ifndef TANDEM_MAPPER_RULE_TESTS_H
#define TANDEM_MAPPER_RULE_TESTS_H

#include <stddef.h>

#include "common/base/diagnostic.h"
#include "common/base/text.h"

struct rule_tests_count {
    size_t passed;
    size_t failed;
};

/* Runs the file's cases; a line or more per case goes to `report`. -1 when the file, its rules or the report cannot be
 * used, with the errors in `diagnostics`; failed cases are no such error. */
int rule_tests_run(const char *path, struct text *report, struct rule_tests_count *ret_count,
                   struct diagnostics *diagnostics) TANDEM_MUST_CHECK;

#endif
