#include "ingest/request.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const struct request_limits REQUEST_LIMITS = {
    .line_max_bytes = 4 * 1024,
    .fields_max_bytes = 16 * 1024,
    .field_max_bytes = 8 * 1024,
    .field_count_max = 64,
};

enum { LINE_END_LENGTH = 2, LENGTH_DIGITS_MAX = 19, BODY_FIRST_BYTES = 4096 };

static void refuse(struct request *request, int status, const char *code)
{
    request->state = REQUEST_REFUSED;
    request->refusal = (struct refusal){.status = status, .code = code};
}

void request_init(struct request *request, const struct request_limits *limits)
{
    assert(limits->field_count_max <= REQUEST_FIELDS_MAX);
    *request = (struct request){.state = REQUEST_LINE, .limits = *limits};
    text_init(&request->head, limits->line_max_bytes + limits->fields_max_bytes + 3 * LINE_END_LENGTH);
}

void request_done(struct request *request)
{
    text_done(&request->head);
    free(request->body);
    request->body = NULL;
    request->body_length = 0;
}

bool request_has_begun(const struct request *request)
{
    return request->head.length > 0 || request->state != REQUEST_LINE;
}

/* --- Characters (RFC 9110 5.6.2, RFC 3986 2) --- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static int hex_value(char c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static bool is_token_char(char c)
{
    return is_digit(c) || is_alpha(c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool is_token(const char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!is_token_char(bytes[i]))
            return false;
    return count > 0;
}

static bool is_visible(const char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if ((unsigned char)bytes[i] <= 0x20 || (unsigned char)bytes[i] >= 0x7f)
            return false;
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Every '%' begins an escape. */
static bool has_sound_escapes(const char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] != '%')
            continue;
        if (count - i < 3 || hex_value(bytes[i + 1]) < 0 || hex_value(bytes[i + 2]) < 0)
            return false;
        i += 2;
    }
    return true;
}

/* --- Request line --- */

static void read_version(struct request *request, const char *version, size_t length, bool is_preface)
{
    bool has_form = length == 8 && memcmp(version, "HTTP/", 5) == 0 && is_digit(version[5]) && version[6] == '.' &&
                    is_digit(version[7]);
    if (!has_form || is_preface)
        refuse(request, 400, "bad_request_line");
    else if (version[5] != '1' || version[7] > '1')
        refuse(request, 505, "version");
    else
        request->is_http_1_0 = version[7] == '0';
}

static void read_target(struct request *request, const char *target, size_t length)
{
    char *line = request->head.data;
    size_t target_at = (size_t)(target - line);

    if (length == 1 && *target == '*') {
        refuse(request, 405, "method");
        return;
    }
    if (length == 0 || *target != '/' || !is_visible(target, length) || memchr(target, '#', length) != NULL) {
        refuse(request, 400, "bad_target");
        return;
    }
    if (!has_sound_escapes(target, length)) {
        refuse(request, 400, "bad_escape");
        return;
    }
    request->path_at = target_at;
    const char *mark = memchr(target, '?', length);
    if (mark != NULL) {
        size_t mark_at = (size_t)(mark - line);
        line[mark_at] = '\0';
        request->has_query = true;
        request->query_at = mark_at + 1;
    }
}

/* `line` stands in the head and ends with a NUL. */
static void read_line(struct request *request, char *line, size_t length)
{
    char *first = memchr(line, ' ', length);
    char *last = memrchr(line, ' ', length);
    /* HTTP/0.9 has one blank; a target with a blank would have three. */
    if (first == NULL || first == last || !is_token(line, (size_t)(first - line)) ||
        memchr(first + 1, ' ', (size_t)(last - first - 1)) != NULL) {
        refuse(request, 400, "bad_request_line");
        return;
    }
    *first = '\0';
    *last = '\0';
    read_version(request, last + 1, (size_t)(line + length - last - 1), strcmp(line, "PRI") == 0);
    if (request->state == REQUEST_REFUSED)
        return;
    if (strcmp(line, "CONNECT") == 0) {
        refuse(request, 405, "method");
        return;
    }
    read_target(request, first + 1, (size_t)(last - first - 1));
}

/* --- Fields --- */

/* No control character but the tabulator; bytes from 0x80 on are opaque (RFC 9110 5.5). */
static bool is_field_value(const char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

static void read_field(struct request *request, char *line, size_t length)
{
    char *colon = memchr(line, ':', length);
    if (colon == NULL || !is_token(line, (size_t)(colon - line)) ||
        !is_field_value(colon + 1, (size_t)(line + length - colon - 1))) {
        refuse(request, 400, "bad_header");
        return;
    }
    if (request->field_count == request->limits.field_count_max) {
        refuse(request, 431, "headers_too_large");
        return;
    }
    *colon = '\0';
    char *value = colon + 1;
    char *end = line + length;
    while (value < end && is_blank(*value))
        value++;
    while (end > value && is_blank(end[-1]))
        end--;
    /* A padded length is valid HTTP, but readers have been known to disagree about it. */
    if (end < line + length && text_equal_ignoring_case(line, "content-length"))
        request->is_length_padded = true;
    *end = '\0';
    request->name_at[request->field_count] = (size_t)(line - request->head.data);
    request->value_at[request->field_count] = (size_t)(value - request->head.data);
    request->field_count++;
}

/* --- End of the head --- */

/* Whether a comma-separated list names this token, ASCII case ignored. */
static bool list_has(const char *list, const char *token)
{
    size_t length = strlen(token);
    while (*list != '\0') {
        size_t item = strcspn(list, ",");
        const char *from = list;
        const char *to = list + item;
        while (from < to && is_blank(*from))
            from++;
        while (to > from && is_blank(to[-1]))
            to--;
        if ((size_t)(to - from) == length && strncasecmp(from, token, length) == 0)
            return true;
        list += item + (list[item] == ',' ? 1 : 0);
    }
    return false;
}

static bool is_host(const char *value)
{
    for (const char *c = value; *c != '\0'; c++)
        if (!is_alpha(*c) && !is_digit(*c) && strchr(".-_:[]", *c) == NULL)
            return false;
    return *value != '\0';
}

/* Exactly one length, digits only; no transfer coding at all (RFC 9112 6). */
static void read_framing(struct request *request)
{
    size_t lengths;
    size_t codings;
    const char *length = request_field(request, "content-length", &lengths);
    const char *coding = request_field(request, "transfer-encoding", &codings);

    if (codings > 0) {
        if (lengths > 0 || request->is_http_1_0)
            refuse(request, 400, "bad_framing");
        else if (codings == 1 && text_equal_ignoring_case(coding, "chunked"))
            refuse(request, 411, "length_required");
        else
            refuse(request, 501, "transfer_coding");
        return;
    }
    if (lengths == 0) {
        if (strcmp(request->method, "POST") == 0)
            refuse(request, 411, "length_required");
        return;
    }
    unsigned long long number = 0;
    if (lengths > 1 || request->is_length_padded || strlen(length) > LENGTH_DIGITS_MAX ||
        !text_parse_unsigned(length, UINT64_MAX, &number))
        refuse(request, 400, "bad_framing");
    request->content_length = number;
}

static void finish_head(struct request *request)
{
    const char *head = request->head.data;
    request->method = head;
    request->path = head + request->path_at;
    request->query = request->has_query ? head + request->query_at : NULL;
    for (size_t i = 0; i < request->field_count; i++)
        request->fields[i] = (struct request_field){head + request->name_at[i], head + request->value_at[i]};

    request->state = REQUEST_AT_BODY;
    read_framing(request);
    if (request->state == REQUEST_REFUSED)
        return;

    size_t hosts;
    const char *host = request_field(request, "host", &hosts);
    if (hosts != 1 || !is_host(host)) {
        refuse(request, 400, "bad_host");
        return;
    }
    request->should_close = request->is_http_1_0;
    for (size_t i = 0; i < request->field_count; i++)
        if (text_equal_ignoring_case(request->fields[i].name, "connection") &&
            list_has(request->fields[i].value, "close"))
            request->should_close = true;

    size_t expectations;
    const char *expectation = request_field(request, "expect", &expectations);
    if (expectations > 0 && !request->is_http_1_0) {
        if (expectations > 1 || !text_equal_ignoring_case(expectation, "100-continue"))
            refuse(request, 417, "expectation");
        else
            request->expects_continue = true;
    }
}

/* --- Feeding --- */

static void finish_line(struct request *request)
{
    char *line = request->head.data + request->line_at;
    size_t length = request->head.length - request->line_at - LINE_END_LENGTH;

    line[length] = '\0';
    if (memchr(line, '\r', length) != NULL) {
        refuse(request, 400, "bad_header");
    } else if (request->state == REQUEST_FIELDS && length == 0) {
        finish_head(request);
    } else if (request->state == REQUEST_FIELDS) {
        read_field(request, line, length);
    } else if (length == 0 && !request->skipped_line) {
        /* One empty line before a request is not counted (RFC 9112 2.2). */
        request->skipped_line = true;
        text_clear(&request->head);
    } else {
        read_line(request, line, length);
        request->fields_at = request->head.length;
        if (request->state != REQUEST_REFUSED)
            request->state = REQUEST_FIELDS;
    }
    request->line_at = request->head.length;
}

static bool is_over_limit(const struct request *request, size_t count)
{
    size_t line = request->head.length - request->line_at + count;
    if (request->state == REQUEST_LINE)
        return line > request->limits.line_max_bytes + LINE_END_LENGTH;
    return line > request->limits.field_max_bytes + LINE_END_LENGTH ||
           request->head.length - request->fields_at + count > request->limits.fields_max_bytes + LINE_END_LENGTH;
}

static void refuse_over_limit(struct request *request)
{
    if (request->state == REQUEST_LINE)
        refuse(request, 414, "uri_too_long");
    else
        refuse(request, 431, "headers_too_large");
}

/* Up to and with the end of one line. */
static size_t feed_head(struct request *request, const char *bytes, size_t count)
{
    const char *line_feed = memchr(bytes, '\n', count);
    size_t taken = line_feed == NULL ? count : (size_t)(line_feed - bytes) + 1;

    if (is_over_limit(request, taken)) {
        refuse_over_limit(request);
    } else if (text_append_n(&request->head, bytes, taken) < 0) {
        refuse(request, 503, "overloaded");
    } else if (line_feed != NULL) {
        size_t length = request->head.length - request->line_at;
        if (length < LINE_END_LENGTH || request->head.data[request->head.length - LINE_END_LENGTH] != '\r')
            refuse(request, 400, "bad_header");
        else
            finish_line(request);
    }
    return taken;
}

static size_t feed_body(struct request *request, const char *bytes, size_t count)
{
    size_t missing = (size_t)request->content_length - request->body_length;
    size_t taken = count < missing ? count : missing;
    size_t wanted = request->body_length + taken;

    if (wanted > request->body_capacity) {
        size_t capacity = request->body_capacity == 0 ? BODY_FIRST_BYTES : request->body_capacity * 2;
        if (capacity < wanted)
            capacity = wanted;
        if (capacity > request->content_length)
            capacity = (size_t)request->content_length;
        char *body = realloc(request->body, capacity + 1);
        if (body == NULL) {
            refuse(request, 503, "overloaded");
            return taken;
        }
        request->body = body;
        request->body_capacity = capacity;
    }
    memcpy(request->body + request->body_length, bytes, taken);
    request->body_length = wanted;
    request->body[wanted] = '\0';
    if (wanted == request->content_length)
        request->state = REQUEST_COMPLETE;
    return taken;
}

size_t request_feed(struct request *request, const char *bytes, size_t count)
{
    size_t used = 0;
    while (used < count) {
        if (request->state == REQUEST_LINE || request->state == REQUEST_FIELDS)
            used += feed_head(request, bytes + used, count - used);
        else if (request->state == REQUEST_BODY)
            used += feed_body(request, bytes + used, count - used);
        else
            break;
    }
    return used;
}

void request_take_body(struct request *request, size_t body_max_bytes)
{
    assert(request->state == REQUEST_AT_BODY);
    if (request->content_length > body_max_bytes)
        refuse(request, 413, "too_large");
    else
        request->state = request->content_length == 0 ? REQUEST_COMPLETE : REQUEST_BODY;
}

/* --- Questions --- */

const char *request_field(const struct request *request, const char *name, size_t *ret_count)
{
    const char *value = NULL;
    size_t count = 0;
    for (size_t i = 0; i < request->field_count; i++) {
        if (!text_equal_ignoring_case(request->fields[i].name, name))
            continue;
        if (count++ == 0)
            value = request->fields[i].value;
    }
    if (ret_count != NULL)
        *ret_count = count;
    return value;
}

static bool decode(const char *bytes, size_t count, char *out, size_t size)
{
    size_t length = 0;
    for (size_t i = 0; i < count; i++) {
        char c = bytes[i];
        if (c == '%') {
            c = (char)(hex_value(bytes[i + 1]) * 16 + hex_value(bytes[i + 2]));
            i += 2;
        }
        if (c == '\0' || length + 1 >= size)
            return false;
        out[length++] = c;
    }
    out[length] = '\0';
    return true;
}

bool request_query_value(const struct request *request, const char *name, char *out, size_t size)
{
    size_t name_length = strlen(name);
    const char *found = NULL;
    size_t found_length = 0;

    for (const char *part = request->query; part != NULL && *part != '\0';) {
        size_t length = strcspn(part, "&");
        if (length > name_length && part[name_length] == '=' && memcmp(part, name, name_length) == 0) {
            if (found != NULL)
                return false;
            found = part + name_length + 1;
            found_length = length - name_length - 1;
        }
        part += length + (part[length] == '&' ? 1 : 0);
    }
    return found != NULL && decode(found, found_length, out, size);
}

static const char *skip_blanks(const char *text)
{
    while (is_blank(*text))
        text++;
    return text;
}

bool request_is_json(const struct request *request)
{
    static const char type[] = "application/json";
    static const char parameter[] = "charset=";
    size_t count;
    const char *value = request_field(request, "content-type", &count);

    if (count != 1 || strncasecmp(value, type, sizeof(type) - 1) != 0)
        return false;
    value = skip_blanks(value + sizeof(type) - 1);
    if (*value == '\0')
        return true;
    if (*value != ';')
        return false;
    value = skip_blanks(value + 1);
    if (strncasecmp(value, parameter, sizeof(parameter) - 1) != 0)
        return false;
    value += sizeof(parameter) - 1;
    return text_equal_ignoring_case(value, "utf-8") || text_equal_ignoring_case(value, "\"utf-8\"");
}

bool request_host_is(const struct request *request, const char *name)
{
    const char *host = request_field(request, "host", NULL);
    if (host == NULL)
        return false;
    /* The last colon begins the port, unless it stands within the brackets of an IPv6 address. */
    const char *bracket = strrchr(host, ']');
    const char *colon = strrchr(bracket == NULL ? host : bracket, ':');
    size_t length = colon == NULL ? strlen(host) : (size_t)(colon - host);
    return strlen(name) == length && strncasecmp(host, name, length) == 0;
}
