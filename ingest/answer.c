#include "ingest/answer.h"

#include <stdio.h>
#include <time.h>

enum { DATE_SIZE = 64, BODY_SIZE = 256 };

static const char *reason_of(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        {200, "OK"},
        {202, "Accepted"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {411, "Length Required"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(reasons); i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Unknown";
}

/* Codes and ids are ours and need no escaping. */
static int format_body(const struct answer *answer, const char *request_id, char out[static BODY_SIZE])
{
    if (answer->status < 300)
        return snprintf(out, BODY_SIZE, "{\"status\":\"%s\",\"request_id\":\"%s\"}", answer->code, request_id);
    return snprintf(out, BODY_SIZE, "{\"error\":{\"code\":\"%s\",\"request_id\":\"%s\"}}", answer->code, request_id);
}

int answer_write(struct evbuffer *out, const struct answer *answer, const char *request_id, struct timestamp now,
                 bool without_body, bool should_close)
{
    char date[DATE_SIZE];
    char body[BODY_SIZE];
    time_t seconds = (time_t)now.seconds;
    struct tm parts;

    if (gmtime_r(&seconds, &parts) == NULL || strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &parts) == 0)
        return -1;
    int length = format_body(answer, request_id, body);
    if (evbuffer_add_printf(out,
                            "HTTP/1.1 %d %s\r\nDate: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
                            "Cache-Control: no-store\r\n",
                            answer->status, reason_of(answer->status), date, length) < 0)
        return -1;
    if (answer->status == 405 && evbuffer_add_printf(out, "Allow: POST\r\n") < 0)
        return -1;
    if (answer->retry_after_s > 0 &&
        evbuffer_add_printf(out, "Retry-After: %lld\r\n", (long long)answer->retry_after_s) < 0)
        return -1;
    if (should_close && evbuffer_add_printf(out, "Connection: close\r\n") < 0)
        return -1;
    return evbuffer_add_printf(out, "\r\n%s", without_body ? "" : body) < 0 ? -1 : 0;
}
