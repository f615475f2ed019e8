#include "ingest/webhook.h"

#include <string.h>

#include "common/base/text.h"

static const char *const kept_headers[] = {
    "content-type",
    "user-agent",
    "x-request-id",
    "ms-correlationid",
    "ms-requestid",
    "x-ms-certificate-url",
    "x-ms-signature-algorithm",
    "x-ms-correlation-request-id",
    "x-ms-dynamics-organization",
    "x-ms-dynamics-entity-name",
    "x-ms-dynamics-request-name",
    "x-ms-dynamics-msg-size-exceeded",
};

void webhook_result_done(struct webhook_result *result)
{
    notification_done(&result->notification);
}

struct webhook_result webhook_set_aside(const char *code)
{
    return (struct webhook_result){.outcome = WEBHOOK_SET_ASIDE, .status = 202, .code = code};
}

struct webhook_result webhook_refused(int status, const char *code)
{
    return (struct webhook_result){.outcome = WEBHOOK_REFUSED, .status = status, .code = code};
}

struct webhook_result webhook_overloaded(void)
{
    return (struct webhook_result){.outcome = WEBHOOK_OVERLOADED, .status = 503, .code = "overloaded"};
}

/* What is well-formed and only asks too much is no bad request. */
static int status_of(enum json_problem problem)
{
    return problem == JSON_TOO_LARGE ? 413 : problem == JSON_TOO_COMPLEX ? 422 : 400;
}

json_t *webhook_read_object(const char *body, size_t length, const struct json_limits *limits,
                            struct webhook_result *reterr_result)
{
    struct json_fault fault = {0};
    json_t *json = NULL;

    if (json_read(body, length, limits, &json, &fault) < 0) {
        if (fault.problem == JSON_NO_MEMORY)
            *reterr_result = webhook_overloaded();
        else
            *reterr_result = webhook_refused(status_of(fault.problem), json_problem_code(fault.problem));
        return NULL;
    }
    if (!json_is_object(json)) {
        json_decref(json);
        *reterr_result = webhook_refused(422, "schema");
        return NULL;
    }
    return json;
}

json_t *webhook_headers(const struct request *request)
{
    json_t *headers = json_object();
    for (size_t i = 0; headers != NULL && i < ARRAY_LENGTH(kept_headers); i++) {
        const char *value = request_field(request, kept_headers[i], NULL);
        /* Bytes that are no UTF-8 cannot stand in a message; they belong to no header that we know. */
        if (value == NULL || !utf8_is_valid(value, strlen(value), NULL))
            continue;
        if (json_object_set_new(headers, kept_headers[i], json_text_new(value, strlen(value))) < 0) {
            json_decref(headers);
            headers = NULL;
        }
    }
    return headers;
}
