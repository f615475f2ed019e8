#include "common/http/syntax.h"

#include <curl/curl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"

static const char scheme_prefix[] = "https://";

static bool is_alphanumeric(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_unreserved(unsigned char c)
{
    return is_alphanumeric(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

static bool is_hex_digit(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* Unreserved, reserved and complete percent-encodings (RFC 3986 2). */
static bool has_url_characters_only(const char *url)
{
    for (const char *p = url; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;
        if (c == '%') {
            if (!is_hex_digit((unsigned char)p[1]) || !is_hex_digit((unsigned char)p[2]))
                return false;
        } else if (!is_unreserved(c) && strchr(":/?#[]@!$&'()*+,;=", c) == NULL) {
            return false;
        }
    }
    return true;
}

/* The authority begins behind the scheme; returns its length. */
static size_t authority_length(const char *authority)
{
    return strcspn(authority, "/?#");
}

/* libcurl's own parser has the last word, since it is the one that will read the URL. */
static bool is_accepted_by_curl(const char *url)
{
    CURLU *handle = curl_url();
    if (handle == NULL)
        return false;
    char *host = NULL;
    bool is_accepted = curl_url_set(handle, CURLUPART_URL, url, CURLU_DISALLOW_USER) == CURLUE_OK &&
                       curl_url_get(handle, CURLUPART_HOST, &host, 0) == CURLUE_OK && host[0] != '\0';
    curl_free(host);
    curl_url_cleanup(handle);
    return is_accepted;
}

int http_url_check(const char *url, struct error *err)
{
    static const char code[] = "http.bad_url";
    if (strnlen(url, HTTP_URL_MAX_BYTES + 1) > HTTP_URL_MAX_BYTES)
        return error_set(err, ERROR_POISON, code, "the URL is longer than %d bytes", HTTP_URL_MAX_BYTES);
    if (strncmp(url, scheme_prefix, sizeof(scheme_prefix) - 1) != 0)
        return error_set(err, ERROR_POISON, code, "the URL is not an absolute https URL");
    if (!has_url_characters_only(url))
        return error_set(err, ERROR_POISON, code, "the URL has a character that must be percent-encoded");
    if (strchr(url, '#') != NULL)
        return error_set(err, ERROR_POISON, code, "the URL has a fragment");

    const char *authority = url + sizeof(scheme_prefix) - 1;
    size_t length = authority_length(authority);
    if (memchr(authority, '@', length) != NULL)
        return error_set(err, ERROR_POISON, code, "the URL has user information");
    if (length == 0 || memchr(authority, '%', length) != NULL || !is_accepted_by_curl(url))
        return error_set(err, ERROR_POISON, code, "the URL has no valid host");
    return 0;
}

char *http_url_authority(const char *url)
{
    const char *authority = url + sizeof(scheme_prefix) - 1;
    return text_copy_n(authority, authority_length(authority));
}

bool http_header_name_is_valid(const char *name)
{
    if (name[0] == '\0')
        return false;
    for (const char *p = name; *p != '\0'; p++) {
        if (!is_alphanumeric((unsigned char)*p) && strchr("!#$%&'*+-.^_`|~", *p) == NULL)
            return false;
    }
    return true;
}

bool http_header_value_is_valid(const char *value)
{
    size_t length = strnlen(value, HTTP_HEADER_VALUE_MAX_BYTES + 1);
    if (length > HTTP_HEADER_VALUE_MAX_BYTES)
        return false;
    if (length > 0 && (value[0] == ' ' || value[length - 1] == ' '))
        return false;
    for (size_t i = 0; i < length; i++) {
        if (value[i] < 0x20 || value[i] > 0x7E)
            return false;
    }
    return true;
}

static size_t encoded_length(const char *text)
{
    size_t length = 0;
    for (const char *p = text; *p != '\0'; p++)
        length += is_unreserved((unsigned char)*p) ? 1 : 3;
    return length;
}

/* Returns the end of what was written; `out` holds encoded_length() bytes. */
static char *encode_into(char *out, const char *text)
{
    static const char digits[] = "0123456789ABCDEF";
    for (const char *p = text; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;
        if (is_unreserved(c)) {
            *out++ = *p;
        } else {
            *out++ = '%';
            *out++ = digits[c >> 4];
            *out++ = digits[c & 0x0F];
        }
    }
    return out;
}

char *http_encode(const char *text)
{
    char *encoded = malloc(encoded_length(text) + 1);
    if (encoded != NULL)
        *encode_into(encoded, text) = '\0';
    return encoded;
}

char *http_form_encode(const struct http_form_field *fields, size_t count)
{
    size_t size = 1;
    for (size_t i = 0; i < count; i++) {
        if (fields[i].value != NULL)
            size += encoded_length(fields[i].name) + encoded_length(fields[i].value) + 2;
    }
    char *form = malloc(size);
    if (form == NULL)
        return NULL;

    char *end = form;
    for (size_t i = 0; i < count; i++) {
        if (fields[i].value == NULL)
            continue;
        if (end != form)
            *end++ = '&';
        end = encode_into(end, fields[i].name);
        *end++ = '=';
        end = encode_into(end, fields[i].value);
    }
    *end = '\0';
    return form;
}
