/* What an HTTP answer of an outside system means, before its own error codes are asked: by status alone.
 *
 * Pure. The systems refine it with their code tables (partner_center_referral.h, dynamics365_record.h). */
#ifndef TANDEM_SYSTEMS_ANSWER_H
#define TANDEM_SYSTEMS_ANSWER_H

#include <jansson.h>
#include <stdbool.h>

#include "common/base/error.h"
#include "common/http/client.h"
#include "common/systems/system.h"

/* A transport result that has no status. `has_effect`: the request changes something when it arrives. */
enum system_result answer_of_transport(enum http_result result, bool has_effect);
/* By status: RFC 9110 and the status tables both systems share. */
enum system_result answer_of_status(long status, bool has_effect);
/* ERROR class that goes with a result. */
enum error_class answer_error_class(enum system_result result);

/* Reads a JSON object of a body; NULL (and no more said) for anything else: login pages, empty or cut bodies. */
json_t *answer_json(const struct http_response *response);

/* Fills result, status, error, field and retry_after_ms of an answer from a response that is not a success. `code` may be
 * NULL; `what` names the step ("read referral"). Of the body only the service's own codes go into the error, and the target
 * it names into the field, and only where they look like codes and paths. `now_epoch_ms` for Retry-After dates. */
void answer_fail(struct system_answer *answer, const struct http_response *response, enum system_result result,
                 const char *code, const char *what, int64_t now_epoch_ms);
/* The same when there is no response at all: no token, or a request that cannot be sent as it is (ERROR_POISON). */
void answer_no_token(struct system_answer *answer, const struct error *err, const char *what);

#endif
