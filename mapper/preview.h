/* Two records in, what would be written and why out, as text for people or as JSON.
 *
 * Blocking file reads; for the command line only. */
#ifndef TANDEM_MAPPER_PREVIEW_H
#define TANDEM_MAPPER_PREVIEW_H

#include <stdbool.h>

#include "common/base/error.h"
#include "common/base/text.h"
#include "mapper/deal.h"
#include "mapper/rules.h"

/* A record's file holds what the system's API answers, or a reading as it stands in the topic `records`, from which
 * Microsoft's side of a shared deal is taken as well; "-": there is no such record. */
struct preview_request {
    const char *partner_center, *crm; /* paths */
    const char *base;                 /* path: both records as they were when they last agreed; NULL: they never have */
    const struct deal *deal;          /* what Tandem knows of the deal, in place of `base`; NULL: nothing */
    bool as_json;
};

/* ERROR_CONFIG tells what is wrong. */
int preview_run(const struct rules *rules, const struct preview_request *request, struct text *out, struct error *err)
    TANDEM_MUST_CHECK;

#endif
