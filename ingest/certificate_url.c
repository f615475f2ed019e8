#include "ingest/certificate_url.h"

#include <string.h>

static const char scheme[] = "https://";
enum { SCHEME_LENGTH = sizeof(scheme) - 1 };

static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("-._~", c) != NULL);
}

/* One or more segments of plain characters between single slashes, none of them only dots. */
static bool is_plain_path(const char *path, bool may_end_in_slash)
{
    for (;;) {
        size_t length = 0;
        while (is_plain(path[length]))
            length++;
        if (length == 0 || strspn(path, ".") >= length)
            return false;
        path += length;
        if (*path == '\0')
            return true;
        if (*path != '/')
            return false;
        path++;
        if (*path == '\0')
            return may_end_in_slash;
    }
}

bool certificate_url_prefix_is_sound(const char *prefix)
{
    if (strlen(prefix) > CERTIFICATE_URL_MAX_BYTES || strncmp(prefix, scheme, SCHEME_LENGTH) != 0)
        return false;
    const char *host = prefix + SCHEME_LENGTH;
    size_t length = strcspn(host, "/");
    if (length == 0 || host[length] == '\0' || prefix[strlen(prefix) - 1] != '/')
        return false;
    for (size_t i = 0; i < length; i++)
        if (!is_plain(host[i]) && strchr(":[]", host[i]) == NULL)
            return false;
    return host[length + 1] == '\0' || is_plain_path(host + length + 1, true);
}

bool certificate_url_is_allowed(const char *url, const char *const *prefixes, size_t count)
{
    if (strlen(url) > CERTIFICATE_URL_MAX_BYTES)
        return false;
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(prefixes[i]);
        if (strncmp(url, prefixes[i], length) == 0 && is_plain_path(url + length, false))
            return true;
    }
    return false;
}
