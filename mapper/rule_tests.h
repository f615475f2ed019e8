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
    size_t unusable; /* written wrongly, so that nothing was tried */
};

/* Runs the file's cases; a line or more per case goes to `report`, and each is counted in `count`, on top of what stands
 * there. -1 when the file, one of its cases, its rules or the report cannot be used, with the errors in `diagnostics`;
 * failed cases are no such error. */
int rule_tests_run(const char *path, struct text *report, struct rule_tests_count *count,
                   struct diagnostics *diagnostics) TANDEM_MUST_CHECK;

#endif
