#include "common/http/syntax.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/attributes.h"

/* https URLs with OData queries, ports and IPv6 hosts are accepted. */
static void test_https_urls_are_accepted(void **state)
{
    (void)state;
    static const char *const urls[] = {
        "https://api.example.test",
        "https://api.example.test:8443/v1.0/engagements/referrals?$filter=status%20eq%20'New'&$top=50",
        "https://org.example.test/api/data/v9.2/opportunities(0f4e8e1c-0000-0000-0000-000000000001)?$select=name,_a_value",
        "https://127.0.0.1:9/",
        "https://[::1]:9/x@y",
        "https://api.example.test?x=1",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(urls); i++) {
        struct error err = ERROR_INIT;
        if (http_url_check(urls[i], &err) < 0)
            fail_msg("%s: %s", urls[i], err.message);
    }
}

/* Everything else is refused, and the message does not repeat it. */
static void test_other_urls_are_refused_without_being_quoted(void **state)
{
    (void)state;
    static const char *const urls[] = {
        "",
        "http://SECRET.example.test/",
        "HTTPS:/SECRET",
        "ftp://SECRET.example.test/",
        "file:///SECRET",
        "//SECRET.example.test/",
        "/SECRET",
        "https://",
        "https:///SECRET",
        "https://?SECRET",
        "https://user:SECRET@example.test/",
        "https://SECRET@example.test",
        "https://@example.test/SECRET",
        "https://example.test:99999/SECRET",
        "https://example.test:port/SECRET",
        "https://ex%61mple.test/SECRET",
        "https://[::1/SECRET",
        "https://example.test/SECRET#fragment",
        "https://example.test/SECRET x",
        "https://example.test/SECRET\r\nHost: evil.example",
        "https://example.test/SECRET\\x",
        "https://example.test\\@evil.example/SECRET",
        "https://example.test/SECRET%",
        "https://example.test/SECRET%4",
        "https://example.test/SECRET%zz",
        "https://example.test/SECRET\"<>",
        "https://example.test/SECRET\xC3\xA4",
        "https://ex\xC3\xA4mple.test/SECRET",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(urls); i++) {
        struct error err = ERROR_INIT;
        if (http_url_check(urls[i], &err) == 0)
            fail_msg("%s is accepted", urls[i]);
        assert_string_equal(err.code, "http.bad_url");
        assert_int_equal(err.class, ERROR_POISON);
        assert_null(strstr(err.message, "SECRET"));
    }
}

/* The longest URL is accepted, one byte more is not. */
static void test_url_length_is_bounded(void **state)
{
    (void)state;
    char *url = malloc(HTTP_URL_MAX_BYTES + 2);
    assert_non_null(url);
    memset(url, 'a', HTTP_URL_MAX_BYTES + 1);
    memcpy(url, "https://h/", 10);
    url[HTTP_URL_MAX_BYTES] = '\0';
    struct error err = ERROR_INIT;
    assert_int_equal(http_url_check(url, &err), 0);
    url[HTTP_URL_MAX_BYTES] = 'a';
    url[HTTP_URL_MAX_BYTES + 1] = '\0';
    assert_int_equal(http_url_check(url, &err), -1);
    free(url);
}

/* The authority for messages ends before path and query. */
static void test_authority_has_neither_path_nor_query(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"https://a.example.test:8/p?q", "a.example.test:8"},
        {"https://a.example.test?q", "a.example.test"},
        {"https://[::1]:8", "[::1]:8"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char *authority = http_url_authority(cases[i][0]);
        assert_string_equal(authority, cases[i][1]);
        free(authority);
    }
}

/* Header names are tokens. */
static void test_header_names_are_tokens(void **state)
{
    (void)state;
    assert_true(http_header_name_is_valid("If-Match"));
    assert_true(http_header_name_is_valid("x_y.z~1"));
    static const char *const wrong[] = {"", "A B", "A:", "A\r\nB", "A\tB", "\xC3\xA4", "A(B)", "A\"B"};
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        if (http_header_name_is_valid(wrong[i]))
            fail_msg("'%s' is accepted", wrong[i]);
    }
}

/* A header value cannot end its line, nor hold control characters or bytes beyond ASCII. */
static void test_header_values_hold_no_control_characters(void **state)
{
    (void)state;
    static const char *const right[] = {"", "W/\"123\"", "return=representation, odata.include-annotations=\"*\"", "~"};
    for (size_t i = 0; i < ARRAY_LENGTH(right); i++) {
        if (!http_header_value_is_valid(right[i]))
            fail_msg("'%s' is refused", right[i]);
    }
    static const char *const wrong[] = {"a\r\nX: y", "a\nX: y", "a\rb", "a\tb",    "\x01",
                                        "a\x7F",     " a",      "a ",   "\xC3\xA4"};
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        if (http_header_value_is_valid(wrong[i]))
            fail_msg("case %zu is accepted", i);
    }
}

/* The longest header value is accepted, one byte more is not. */
static void test_header_value_length_is_bounded(void **state)
{
    (void)state;
    char *value = malloc(HTTP_HEADER_VALUE_MAX_BYTES + 2);
    assert_non_null(value);
    memset(value, 'a', HTTP_HEADER_VALUE_MAX_BYTES + 1);
    value[HTTP_HEADER_VALUE_MAX_BYTES] = '\0';
    assert_true(http_header_value_is_valid(value));
    value[HTTP_HEADER_VALUE_MAX_BYTES] = 'a';
    value[HTTP_HEADER_VALUE_MAX_BYTES + 1] = '\0';
    assert_false(http_header_value_is_valid(value));
    free(value);
}

/* Every byte but the unreserved ones is percent-encoded with upper-case digits. */
static void test_encode_keeps_only_unreserved_characters(void **state)
{
    (void)state;
    char *encoded = http_encode("aZ09-._~ +&=%/?#'\xC3\xA4\n");
    assert_string_equal(encoded, "aZ09-._~%20%2B%26%3D%25%2F%3F%23%27%C3%A4%0A");
    free(encoded);
    encoded = http_encode("");
    assert_string_equal(encoded, "");
    free(encoded);
}

/* A value cannot add a field to a form, and absent fields are left out. */
static void test_form_values_stay_values(void **state)
{
    (void)state;
    const struct http_form_field fields[] = {
        {"grant_type", "refresh_token"}, {"absent", NULL}, {"client_secret", "a~.+/&scope=b"}, {"empty", ""}};
    char *form = http_form_encode(fields, ARRAY_LENGTH(fields));
    assert_string_equal(form, "grant_type=refresh_token&client_secret=a~.%2B%2F%26scope%3Db&empty=");
    free(form);
    form = http_form_encode(fields + 1, 1);
    assert_string_equal(form, "");
    free(form);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_https_urls_are_accepted),
        cmocka_unit_test(test_other_urls_are_refused_without_being_quoted),
        cmocka_unit_test(test_url_length_is_bounded),
        cmocka_unit_test(test_authority_has_neither_path_nor_query),
        cmocka_unit_test(test_header_names_are_tokens),
        cmocka_unit_test(test_header_values_hold_no_control_characters),
        cmocka_unit_test(test_header_value_length_is_bounded),
        cmocka_unit_test(test_encode_keeps_only_unreserved_characters),
        cmocka_unit_test(test_form_values_stay_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
