/* The reference of the rule language as Markdown, from the tables the loader works with (rules_language.h, transform.h),
 * and with it what sellers are told of refusals (refusal.h).
 *
 * It stands in docs/rules.md between two marker lines; a test holds the two together. Pure. */
#ifndef TANDEM_MAPPER_REFERENCE_H
#define TANDEM_MAPPER_REFERENCE_H

#include "common/base/text.h"

/* -1 when `out` is full or out of memory. */
int reference_append(struct text *out) TANDEM_MUST_CHECK;

#endif
