/* A request means the same in whatever pieces it arrives, and nothing beyond its limits is kept of it. The first byte is
 * the size of the pieces. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BODY_MAX_BYTES = 4096 };

static void require(bool holds)
{
    if (!holds)
        abort();
}

static size_t read_all(struct request *request, const char *bytes, size_t count, size_t piece)
{
    size_t used = 0;
    request_init(request, &REQUEST_LIMITS);
    while (used < count && request->state != REQUEST_COMPLETE && request->state != REQUEST_REFUSED) {
        used += request_feed(request, bytes + used, count - used < piece ? count - used : piece);
        if (request->state == REQUEST_AT_BODY)
            request_take_body(request, BODY_MAX_BYTES);
    }
    return used;
}

static void check_complete(const struct request *request, const struct request *other)
{
    char value[64];
    require(strcmp(request->method, other->method) == 0 && strcmp(request->path, other->path) == 0);
    require(request->path[0] == '/' && strchr(request->path, '?') == NULL);
    require(request->field_count == other->field_count && request->field_count <= REQUEST_LIMITS.field_count_max);
    for (size_t i = 0; i < request->field_count; i++) {
        require(strcmp(request->fields[i].name, other->fields[i].name) == 0);
        require(strcmp(request->fields[i].value, other->fields[i].value) == 0);
        require(strpbrk(request->fields[i].value, "\r\n") == NULL);
    }
    require(request->body_length == other->body_length && request->body_length == request->content_length);
    require(request->body_length == 0 || memcmp(request->body, other->body, request->body_length) == 0);
    require(request_field(request, "transfer-encoding", NULL) == NULL);
    (void)request_is_json(request);
    (void)request_host_is(request, "localhost");
    (void)request_query_value(request, "code", value, sizeof(value));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const char *bytes = (const char *)data + 1;
    struct request whole;
    struct request pieces;
    size_t used = read_all(&whole, bytes, size - 1, SIZE_MAX);
    size_t used_in_pieces = read_all(&pieces, bytes, size - 1, (size_t)data[0] + 1);

    /* Refused over-long lines are given up earlier when they come in pieces. */
    require(whole.state == pieces.state);
    if (whole.state == REQUEST_COMPLETE) {
        require(used == used_in_pieces);
        check_complete(&whole, &pieces);
    }
    if (whole.state == REQUEST_REFUSED)
        require(whole.refusal.status == pieces.refusal.status && strcmp(whole.refusal.code, pieces.refusal.code) == 0);
    request_done(&whole);
    request_done(&pieces);
    return 0;
}
