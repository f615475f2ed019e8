/* Two records in, what would be written and why out, as text for people or as JSON.
 *
 * Blocking file reads; for the command line only. */
#ifndef TANDEM_MAPPER_PREVIEW_H
#define TANDEM_MAPPER_PREVIEW_H

#include <stdbool.h>

#include "common/base/error.h"
#include "common/base/text.h"
#include "mapper/rules.h"

/* Paths of JSON files; "-" for a record that is not there; `base` may be NULL. ERROR_CONFIG tells what is wrong. */
int preview_run(const struct rules *rules, const char *base, const char *partner_center, const char *crm, bool as_json,
                struct text *out, struct error *err) TANDEM_MUST_CHECK;

#endif
