#include "ingest/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/attributes.h"

enum { BODY_MAX_BYTES = 64 };

/* Feeds in pieces of `piece` bytes and takes every body; returns how many bytes were taken. */
static size_t feed(struct request *request, const char *bytes, size_t count, size_t piece)
{
    size_t used = 0;
    while (used < count && request->state != REQUEST_COMPLETE && request->state != REQUEST_REFUSED) {
        size_t length = count - used < piece ? count - used : piece;
        size_t taken = 0;
        while (taken < length && request->state != REQUEST_COMPLETE && request->state != REQUEST_REFUSED) {
            taken += request_feed(request, bytes + used + taken, length - taken);
            if (request->state == REQUEST_AT_BODY)
                request_take_body(request, BODY_MAX_BYTES);
        }
        used += taken;
    }
    return used;
}

struct refused_case {
    const char *name;
    const char *bytes;
    size_t length;
    int status;
    const char *code;
};

#define CASE(name_, bytes_, status_, code_)                                                                     \
    {                                                                                                           \
        .name = (name_), .bytes = (bytes_), .length = sizeof(bytes_) - 1, .status = (status_), .code = (code_), \
    }
#define POST "POST /w HTTP/1.1\r\nHost: h\r\n"

static const struct refused_case refused_cases[] = {
    CASE("B1 length and coding", POST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "bad_framing"),
    CASE("B2 two lengths", POST "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "bad_framing"),
    CASE("B2 the same length twice", POST "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", 400, "bad_framing"),
    CASE("B3 list", POST "Content-Length: 1, 1\r\n\r\n", 400, "bad_framing"),
    CASE("B3 plus", POST "Content-Length: +5\r\n\r\n", 400, "bad_framing"),
    CASE("B3 hexadecimal", POST "Content-Length: 0x5\r\n\r\n", 400, "bad_framing"),
    CASE("B3 blank after", POST "Content-Length: 5 \r\n\r\n", 400, "bad_framing"),
    CASE("B3 tabulator after", POST "Content-Length: 5\t\r\n\r\n", 400, "bad_framing"),
    CASE("B3 negative", POST "Content-Length: -5\r\n\r\n", 400, "bad_framing"),
    CASE("B3 20 digits", POST "Content-Length: 00000000000000000005\r\n\r\n", 400, "bad_framing"),
    CASE("B3 beyond 64 bits", POST "Content-Length: 99999999999999999999\r\n\r\n", 400, "bad_framing"),
    CASE("B3 empty", POST "Content-Length:\r\n\r\n", 400, "bad_framing"),
    CASE("B4 chunked", POST "Transfer-Encoding: chunked\r\n\r\n", 411, "length_required"),
    CASE("B4 Chunked", POST "transfer-encoding: Chunked\r\n\r\n", 411, "length_required"),
    CASE("B5 xchunked", POST "Transfer-Encoding: xchunked\r\n\r\n", 501, "transfer_coding"),
    CASE("B5 identity, chunked", POST "Transfer-Encoding: identity, chunked\r\n\r\n", 501, "transfer_coding"),
    CASE("B5 two fields", POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 501,
         "transfer_coding"),
    CASE("B6 no length", POST "\r\n", 411, "length_required"),
    CASE("B9 LF only", "POST /w HTTP/1.1\nHost: h\n\n", 400, "bad_header"),
    CASE("B9 LF only in a field", "POST /w HTTP/1.1\r\nHost: h\n\r\n", 400, "bad_header"),
    CASE("B9 bare CR", POST "X: a\rb\r\n\r\n", 400, "bad_header"),
    CASE("B9 bare CR at the end", POST "X: a\r\r\n\r\n", 400, "bad_header"),
    CASE("B9 folded", POST "X: a\r\n b\r\n\r\n", 400, "bad_header"),
    CASE("B9 folded by tabulator", POST "X: a\r\n\tb: c\r\n\r\n", 400, "bad_header"),
    CASE("B10 blank before colon", "POST /w HTTP/1.1\r\nHost : h\r\n\r\n", 400, "bad_header"),
    CASE("B10 empty name", POST ": x\r\n\r\n", 400, "bad_header"),
    CASE("B10 no colon", POST "x\r\n\r\n", 400, "bad_header"),
    CASE("B10 non-token name", POST "a(b: x\r\n\r\n", 400, "bad_header"),
    CASE("B10 NUL in name", POST "a\0b: x\r\n\r\n", 400, "bad_header"),
    CASE("B10 0x80 in name", POST "a\x80: x\r\n\r\n", 400, "bad_header"),
    CASE("B10 NUL in value", POST "a: x\0y\r\n\r\n", 400, "bad_header"),
    CASE("B10 DEL in value", POST "a: x\x7f\r\n\r\n", 400, "bad_header"),
    CASE("B11 no host", "POST /w HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 400, "bad_host"),
    CASE("B11 two hosts", POST "Host: h\r\nContent-Length: 0\r\n\r\n", 400, "bad_host"),
    CASE("B11 empty host", "POST /w HTTP/1.1\r\nHost:\r\nContent-Length: 0\r\n\r\n", 400, "bad_host"),
    CASE("B11 host with userinfo", "POST /w HTTP/1.1\r\nHost: a@h\r\nContent-Length: 0\r\n\r\n", 400, "bad_host"),
    CASE("B12 HTTP/0.9", "GET /w\r\n", 400, "bad_request_line"),
    CASE("B12 HTTP/1.0 with coding", "POST /w HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", 400,
         "bad_framing"),
    CASE("B12 HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "bad_request_line"),
    CASE("B12 HTTP/9.9", "POST /w HTTP/9.9\r\n", 505, "version"),
    CASE("B12 HTTP/1.2", "POST /w HTTP/1.2\r\n", 505, "version"),
    CASE("B12 HTTP/11", "POST /w HTTP/11\r\n", 400, "bad_request_line"),
    CASE("B12 lower case", "POST /w http/1.1\r\n", 400, "bad_request_line"),
    CASE("two blanks", "POST  /w HTTP/1.1\r\n", 400, "bad_request_line"),
    CASE("blank at the end", "POST /w HTTP/1.1 \r\n", 400, "bad_request_line"),
    CASE("method is no token", "PO/ST /w HTTP/1.1\r\n", 400, "bad_request_line"),
    CASE("only one empty line before a request", "\r\n\r\n", 400, "bad_request_line"),
    CASE("B13 absolute form", "POST http://h/w HTTP/1.1\r\n", 400, "bad_target"),
    CASE("B13 asterisk", "OPTIONS * HTTP/1.1\r\n", 405, "method"),
    CASE("B13 CONNECT", "CONNECT h:443 HTTP/1.1\r\n", 405, "method"),
    CASE("fragment", "POST /w#a HTTP/1.1\r\n", 400, "bad_target"),
    CASE("0x80 in target", "POST /w\x80 HTTP/1.1\r\n", 400, "bad_target"),
    CASE("NUL in target", "POST /w\0 HTTP/1.1\r\n", 400, "bad_target"),
    CASE("B23 cut escape", "POST /w%2 HTTP/1.1\r\n", 400, "bad_escape"),
    CASE("B23 bad escape", "POST /%zz HTTP/1.1\r\n", 400, "bad_escape"),
    CASE("B23 bad escape in the query", "POST /w?a=%g0 HTTP/1.1\r\n", 400, "bad_escape"),
    CASE("B17 1 TiB", POST "Content-Length: 1099511627776\r\n\r\n", 413, "too_large"),
    CASE("B16 limit + 1", POST "Content-Length: 65\r\n\r\n", 413, "too_large"),
    CASE("B28 other expectation", POST "Content-Length: 1\r\nExpect: 200-ok\r\n\r\n", 417, "expectation"),
    CASE("B28 two expectations", POST "Content-Length: 1\r\nExpect: 100-continue\r\nExpect: x\r\n\r\n", 417,
         "expectation"),
};

/* What is ambiguous or forbidden is refused with its own status, in whatever pieces it comes. */
static void test_wrong_requests_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(refused_cases); i++) {
        const struct refused_case *c = &refused_cases[i];
        const size_t pieces[] = {c->length, 1, 7};
        for (size_t k = 0; k < ARRAY_LENGTH(pieces); k++) {
            struct request request;
            request_init(&request, &REQUEST_LIMITS);
            (void)feed(&request, c->bytes, c->length, pieces[k]);
            if (request.state != REQUEST_REFUSED || request.refusal.status != c->status ||
                strcmp(request.refusal.code, c->code) != 0)
                fail_msg("%s: state %d, status %d, code %s", c->name, (int)request.state, request.refusal.status,
                         request.refusal.code == NULL ? "none" : request.refusal.code);
            request_done(&request);
        }
    }
}

/* A good request is read the same in any pieces, and bytes after its body are left to the next one. */
static void test_request_is_read_in_any_pieces(void **state)
{
    static const char bytes[] = "POST /a/b?x=1&code=a%2Bb+c HTTP/1.1\r\nHost: H.example:8443\r\nX-One: \t v w \t\r\n"
                                "Content-Length: 5\r\nX-Empty:\r\nconnection: a, Close\r\n\r\nhe\0loGET";
    (void)state;
    for (size_t piece = 1; piece < sizeof(bytes); piece++) {
        struct request request;
        char code[16];
        size_t count;
        request_init(&request, &REQUEST_LIMITS);
        assert_false(request_has_begun(&request));
        assert_int_equal(feed(&request, bytes, sizeof(bytes) - 1, piece), sizeof(bytes) - 4);
        assert_true(request_has_begun(&request));
        assert_int_equal(request.state, REQUEST_COMPLETE);
        assert_string_equal(request.method, "POST");
        assert_string_equal(request.path, "/a/b");
        assert_string_equal(request.query, "x=1&code=a%2Bb+c");
        assert_true(request_query_value(&request, "code", code, sizeof(code)));
        assert_string_equal(code, "a+b+c");
        assert_string_equal(request_field(&request, "x-one", &count), "v w");
        assert_int_equal(count, 1);
        assert_string_equal(request_field(&request, "x-empty", NULL), "");
        assert_null(request_field(&request, "x-two", &count));
        assert_int_equal(count, 0);
        assert_true(request.should_close);
        assert_true(request_host_is(&request, "h.EXAMPLE"));
        assert_false(request_host_is(&request, "h.example:8443"));
        assert_false(request_host_is(&request, "h.exampl"));
        assert_int_equal(request.body_length, 5);
        assert_memory_equal(request.body, "he\0lo", 6);
        request_done(&request);
    }
}

static void read_text(struct request *request, const char *text)
{
    request_init(request, &REQUEST_LIMITS);
    (void)feed(request, text, strlen(text), SIZE_MAX);
}

/* A request without a body is complete at once; one empty line before it does no harm. */
static void test_request_without_body_is_complete(void **state)
{
    struct request request;

    (void)state;
    read_text(&request, "\r\nGET /w HTTP/1.1\r\nHost: [::1]:80\r\n\r\n");
    assert_int_equal(request.state, REQUEST_COMPLETE);
    assert_null(request.query);
    assert_null(request.body);
    assert_false(request.should_close);
    assert_true(request_host_is(&request, "[::1]"));
    request_done(&request);
    read_text(&request, "GET /w HTTP/1.0\r\nHost: h\r\nExpect: x\r\n\r\n");
    assert_int_equal(request.state, REQUEST_COMPLETE);
    assert_true(request.should_close);
    request_done(&request);
}

/* The sender may ask before it sends the body. */
static void test_expectation_is_told(void **state)
{
    static const char bytes[] = POST "Content-Length: 5\r\nExpect: 100-Continue\r\n\r\n";
    struct request request;

    (void)state;
    request_init(&request, &REQUEST_LIMITS);
    assert_int_equal(request_feed(&request, bytes, sizeof(bytes) - 1), sizeof(bytes) - 1);
    assert_int_equal(request.state, REQUEST_AT_BODY);
    assert_true(request.expects_continue);
    request_take_body(&request, 5);
    assert_int_equal(request.state, REQUEST_BODY);
    request_done(&request);
}

static void fill(struct text *text, size_t count)
{
    text_init(text, 1024 * 1024);
    assert_int_equal(text_append(text, "POST /"), 0);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(text_append_char(text, 'a'), 0);
}

/* A request line may have 4,096 bytes and not one more (B14). */
static void test_request_line_is_bounded(void **state)
{
    const size_t fixed = strlen("POST / HTTP/1.1");
    struct request request;
    struct text text;

    (void)state;
    for (size_t excess = 0; excess < 2; excess++) {
        fill(&text, REQUEST_LIMITS.line_max_bytes - fixed + excess);
        assert_int_equal(text_append(&text, " HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"), 0);
        read_text(&request, text_string(&text));
        assert_int_equal(request.state, excess == 0 ? REQUEST_COMPLETE : REQUEST_REFUSED);
        if (excess > 0)
            assert_int_equal(request.refusal.status, 414);
        request_done(&request);
        text_done(&text);
    }
    /* Without a line end, too. */
    fill(&text, 64 * 1024);
    read_text(&request, text_string(&text));
    assert_int_equal(request.refusal.status, 414);
    request_done(&request);
    text_done(&text);
}

/* Fields are bounded in number, each in size, and all together (B15). */
static void test_fields_are_bounded(void **state)
{
    static const struct {
        size_t count;
        size_t size;
        int status;
    } cases[] = {{62, 10, 0},    {63, 10, 431},        {1000, 3, 431}, {1, 8192, 0},
                 {1, 8193, 431}, {1, 100 * 1024, 431}, {2, 8150, 0},   {2, 8180, 431}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct request request;
        struct text text;
        text_init(&text, 1024 * 1024);
        assert_int_equal(text_append(&text, POST "Content-Length: 0\r\n"), 0);
        for (size_t k = 0; k < cases[i].count; k++) {
            assert_int_equal(text_append(&text, "a:"), 0);
            for (size_t j = 2; j < cases[i].size; j++)
                assert_int_equal(text_append_char(&text, 'b'), 0);
            assert_int_equal(text_append(&text, "\r\n"), 0);
        }
        assert_int_equal(text_append(&text, "\r\n"), 0);
        read_text(&request, text_string(&text));
        if (request.refusal.status != cases[i].status)
            fail_msg("%zu fields of %zu bytes: %d", cases[i].count, cases[i].size, request.refusal.status);
        request_done(&request);
        text_done(&text);
    }
}

/* Only JSON in UTF-8 is JSON (B25, B26). */
static void test_content_type_is_judged(void **state)
{
    static const struct {
        const char *field;
        bool is_json;
    } cases[] = {
        {"Content-Type: application/json", true},
        {"Content-Type: Application/JSON;charset=UTF-8", true},
        {"Content-Type: application/json ; charset=\"utf-8\"", true},
        {"Content-Type: application/json; charset=utf-16", false},
        {"Content-Type: application/json; charset=utf-8; x=y", false},
        {"Content-Type: application/json;", false},
        {"Content-Type: application/jsonp", false},
        {"Content-Type: application/problem+json", false},
        {"Content-Type: text/plain", false},
        {"Content-Type: application/json\r\nContent-Type: application/json", false},
        {"X: y", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char *text = text_format(POST "Content-Length: 0\r\n%s\r\n\r\n", cases[i].field);
        struct request request;
        read_text(&request, text);
        assert_int_equal(request.state, REQUEST_COMPLETE);
        if (request_is_json(&request) != cases[i].is_json)
            fail_msg("%s", cases[i].field);
        request_done(&request);
        free(text);
    }
}

/* A parameter counts when it is there once, decodes to text and fits. */
static void test_query_value_is_unambiguous(void **state)
{
    static const struct {
        const char *query;
        const char *value;
    } cases[] = {
        {"?code=abc", "abc"}, {"?code=", ""},     {"?x&code=a&y=z", "a"},       {"?code=a&code=a", NULL},
        {"?code", NULL},      {"?xcode=a", NULL}, {"?code=a%00b", NULL},        {"?code=12345678", NULL},
        {"?", NULL},          {"?CODE=a", NULL},  {"?code=1234567", "1234567"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char *text = text_format("GET /w%s HTTP/1.1\r\nHost: h\r\n\r\n", cases[i].query);
        struct request request;
        char value[8] = "";
        read_text(&request, text);
        assert_int_equal(request.state, REQUEST_COMPLETE);
        bool has_value = request_query_value(&request, "code", value, sizeof(value));
        if (has_value != (cases[i].value != NULL) || (has_value && strcmp(value, cases[i].value) != 0))
            fail_msg("%s: %s", cases[i].query, value);
        request_done(&request);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_requests_are_refused),       cmocka_unit_test(test_request_is_read_in_any_pieces),
        cmocka_unit_test(test_request_without_body_is_complete), cmocka_unit_test(test_expectation_is_told),
        cmocka_unit_test(test_request_line_is_bounded),          cmocka_unit_test(test_fields_are_bounded),
        cmocka_unit_test(test_content_type_is_judged),           cmocka_unit_test(test_query_value_is_unambiguous),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
