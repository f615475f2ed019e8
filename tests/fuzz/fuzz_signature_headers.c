/* Header values make at most so many candidates of at most so many bytes, and a verdict in every case. Lines of the input
 * are the values of the headers in turn. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/signature.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LINES_MAX = 5 };

static void require(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[LINES_MAX] = {"Authorization", "x-ms-signature", "X-MS-Signature-Algorithm",
                                                 "X-MS-Certificate-Url", "AUTHORIZATION"};
    struct request_field fields[LINES_MAX];
    size_t count = 0;
    char *text = malloc(size + 1);
    if (text == NULL)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    for (char *line = text; count < LINES_MAX && line != NULL; count++) {
        char *end = strchr(line, '\n');
        if (end != NULL)
            *end++ = '\0';
        fields[count] = (struct request_field){names[count], line};
        line = end;
    }

    struct signature signature = {.count = SIZE_MAX};
    enum signature_verdict verdict = signature_read(fields, count, &signature);
    require(strcmp(signature_verdict_name(verdict), "unknown") != 0);
    if (verdict == SIGNATURE_VALID) {
        require(signature.count >= 1 && signature.count <= SIGNATURES_TRIED_MAX);
        for (size_t i = 0; i < signature.count; i++)
            require(signature.candidates[i].length >= 1 && signature.candidates[i].length <= SIGNATURE_MAX_BYTES);
    } else {
        require(signature.count == SIZE_MAX);
    }
    free(text);
    return 0;
}
