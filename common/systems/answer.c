#include "common/systems/answer.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/retry.h"
#include "common/base/text.h"

enum { SERVICE_CODE_MAX = 48, SERVICE_CODES_MAX = 4, SERVICE_CODES_SIZE = SERVICE_CODES_MAX * (SERVICE_CODE_MAX + 1) };

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

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define DIGITS  "0123456789"

/* A word as services use for codes, and nothing in which a customer's data could be. */
static bool is_code(const char *word)
{
    size_t length = word == NULL ? 0 : strlen(word);

    return length > 0 && length <= SERVICE_CODE_MAX && strspn(word, LETTERS DIGITS "._-") == length;
}

/* A path as services name members by: letters at its beginning, and nothing a value would need. */
static bool is_path(const char *word)
{
    const char *name = word == NULL ? "" : word + (word[0] == '/');
    const size_t length = strlen(name);

    return length + 1 < SYSTEM_FIELD_SIZE && strspn(name, LETTERS) > 0 &&
           strspn(name, LETTERS DIGITS "._/[]") == length;
}

/* The service's own codes, outermost first, and the innermost target: {"error": {"code", "target", "innerError": {"code",
 * ...}}} (Microsoft REST API guidelines, 7.10.2; OData JSON 4.0, 19). Its messages repeat what was sent, so they are not
 * taken. */
static int read_service_codes(const struct http_response *response, struct text *out,
                              char field[static SYSTEM_FIELD_SIZE])
{
    json_auto_t *body = answer_json(response);
    const json_t *error = json_object_get(body, "error");

    for (size_t i = 0; i < SERVICE_CODES_MAX && json_is_object(error); i++) {
        const char *code = json_text_of(error, "code");
        const char *target = json_text_of(error, "target");
        const json_t *inner = json_object_get(error, "innerError");

        if (is_path(target))
            (void)snprintf(field, SYSTEM_FIELD_SIZE, "%s", target);
        if (is_code(code) && text_appendf(out, "%s%s", out->length == 0 ? "" : "/", code) < 0)
            return -1;
        error = inner == NULL ? json_object_get(error, "innererror") : inner;
    }
    return 0;
}

void answer_fail(struct system_answer *answer, const struct http_response *response, enum system_result result,
                 const char *code, const char *what, int64_t now_epoch_ms)
{
    struct text codes;

    answer->result = result;
    answer->status = response->status;
    answer->retry_after_ms = -1;
    answer->field[0] = '\0';
    if (response->result != HTTP_ANSWERED) {
        answer->error = response->error;
        (void)error_wrap(&answer->error, "%s", what);
        answer->error.class = answer_error_class(result);
        return;
    }
    answer->retry_after_ms = retry_after_parse(http_response_header(response, "Retry-After"), now_epoch_ms);
    text_init(&codes, SERVICE_CODES_SIZE);
    if (read_service_codes(response, &codes, answer->field) < 0)
        text_clear(&codes);
    (void)error_set(&answer->error, answer_error_class(result), code != NULL ? code : "http.status",
                    "%s: answered with HTTP status %ld%s%s%s%s", what, response->status,
                    codes.length == 0 ? "" : ", the service's code ", text_string(&codes),
                    answer->field[0] == '\0' ? "" : ", about ", answer->field);
    text_done(&codes);
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
