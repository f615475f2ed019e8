/* An allowed URL begins with an allowed prefix, names no other place and holds nothing that a URL parser could read in
 * another way; a sound prefix allows a plain name below it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "ingest/certificate_url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const prefixes[] = {"https://certificates.example/cert/", "https://127.0.0.1:8443/"};
    char *text = text_copy_n((const char *)data, size);
    if (text == NULL)
        return 0;

    if (certificate_url_is_allowed(text, prefixes, 2)) {
        const char *prefix = text_starts_with(text, prefixes[0]) ? prefixes[0] : prefixes[1];
        require(text_starts_with(text, prefix));
        require(strpbrk(text + strlen(prefix), "%@?#\\: \t\r\n") == NULL);
        require(strstr(text, "/../") == NULL && strstr(text, "/./") == NULL && strstr(text + 8, "//") == NULL);
        require(!text_ends_with(text, "/") && !text_ends_with(text, "/.."));
    }
    if (certificate_url_prefix_is_sound(text)) {
        char *url = text_format("%sleaf.cer", text);
        const char *const prefix[] = {text};
        require(url != NULL);
        require(certificate_url_is_allowed(url, prefix, 1) == (strlen(url) <= CERTIFICATE_URL_MAX_BYTES));
        free(url);
    }
    free(text);
    return 0;
}
