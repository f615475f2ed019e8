#include "common/systems/answer.h"

#include <stddef.h>

#include "common/base/json.h"
#include "common/base/retry.h"

enum system_result answer_of_transport(enum http_result result, bool has_effect)
{
    switch (result) {
    case HTTP_UNKNOWN:
    case HTTP_CANCELLED: /* under way when the client was freed */
        return has_effect ? SYSTEM_UNKNOWN : SYSTEM_RETRY;
    case HTTP_NOT_SENT:
    case HTTP_ANSWERED:
        break;
    }
    return SYSTEM_RETRY;
}

enum system_result answer_of_status(long status, bool has_effect)
{
    if (status >= 200 && status < 300)
        return SYSTEM_DONE;
    switch (status) {
    case 401:
        return SYSTEM_BLOCKED; /* the token was renewed once already */
    case 404:
    case 410:
        return SYSTEM_GONE;
    case 409:
    case 412:
        return SYSTEM_CONFLICT;
    case 408:
    case 423:
    case 425:
    case 429:
    case 503:
    case 509:
        return SYSTEM_RETRY;
    case 501:
    case 505:
        return SYSTEM_REFUSED;
    default:
        break;
    }
    if (status >= 500)
        return has_effect ? SYSTEM_UNKNOWN : SYSTEM_RETRY;
    if (status >= 400)
        return SYSTEM_REFUSED;
    return SYSTEM_RETRY; /* a redirect is not followed; nothing was done */
}

enum error_class answer_error_class(enum system_result result)
{
    switch (result) {
    case SYSTEM_DONE:
        return ERROR_NONE;
    case SYSTEM_REFUSED:
    case SYSTEM_GONE:
        return ERROR_POISON;
    case SYSTEM_BLOCKED:
        return ERROR_CONFIG;
    case SYSTEM_CONFLICT:
    case SYSTEM_RETRY:
    case SYSTEM_UNKNOWN:
        break;
    }
    return ERROR_TRANSIENT;
}

json_t *answer_json(const struct http_response *response)
{
    json_t *json = NULL;
    struct json_fault fault;

    if (json_read(response->body, response->body_length, &JSON_LIMITS_OWN, &json, &fault) < 0)
        return NULL;
    if (!json_is_object(json)) {
        json_decref(json);
        return NULL;
    }
    return json;
}

void answer_fail(struct system_answer *answer, const struct http_response *response, enum system_result result,
                 const char *code, const char *what, int64_t now_epoch_ms)
{
    answer->result = result;
    answer->status = response->status;
    answer->retry_after_ms = -1;
    if (response->result != HTTP_ANSWERED) {
        answer->error = response->error;
        (void)error_wrap(&answer->error, "%s", what);
        answer->error.class = answer_error_class(result);
        return;
    }
    answer->retry_after_ms = retry_after_parse(http_response_header(response, "Retry-After"), now_epoch_ms);
    (void)error_set(&answer->error, answer_error_class(result), code != NULL ? code : "http.status",
                    "%s: answered with HTTP status %ld", what, response->status);
}

void answer_no_token(struct system_answer *answer, const struct error *err, const char *what)
{
    answer->result = err->class == ERROR_CONFIG   ? SYSTEM_BLOCKED
                     : err->class == ERROR_POISON ? SYSTEM_REFUSED
                                                  : SYSTEM_RETRY;
    answer->status = 0;
    answer->retry_after_ms = -1;
    answer->error = *err;
    (void)error_wrap(&answer->error, "%s", what);
}
