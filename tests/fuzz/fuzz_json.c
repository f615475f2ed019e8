/* Whatever json_read() accepts can be written, read again as the same value, and written again as the same text. What it
 * refuses, it refuses at a place inside the text. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void check_fault(const struct json_fault *fault, const char *bytes, size_t size)
{
    size_t lines = 1;
    for (size_t i = 0; i < size; i++)
        lines += bytes[i] == '\n';
    require(fault->problem != JSON_OK && fault->problem != JSON_NO_MEMORY);
    require(fault->line >= 1 && fault->line <= lines && fault->column >= 1 && fault->column <= size + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *bytes = (const char *)data;
    struct json_fault fault = {0};
    json_auto_t *json = NULL;
    if (json_read(bytes, size, &JSON_LIMITS_FOREIGN, &json, &fault) < 0) {
        check_fault(&fault, bytes, size);
        return 0;
    }

    size_t length;
    size_t length_again;
    char *written = json_write(json, true, &length);
    require(written != NULL && strlen(written) == length);
    json_auto_t *again = NULL;
    require(json_read(written, length, &JSON_LIMITS_OWN, &again, &fault) == 0);
    require(json_same(json, again));
    char *written_again = json_write(again, true, &length_again);
    require(written_again != NULL && length == length_again && memcmp(written, written_again, length) == 0);
    free(written);
    free(written_again);
    return 0;
}
