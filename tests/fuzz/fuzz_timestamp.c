/* Every time that is understood is the same after writing and reading it again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "common/base/timestamp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_round_trip(struct timestamp timestamp)
{
    char text[TIMESTAMP_TEXT_SIZE];
    struct timestamp again;
    if (!timestamp_parse(timestamp_format(timestamp, 9, text), false, &again) ||
        timestamp_compare(timestamp, again) != 0)
        abort();
    struct timestamp in_ms = timestamp_from_ms(timestamp_to_ms(timestamp));
    if (timestamp_compare(in_ms, timestamp) > 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *string = text_copy_n((const char *)data, size);
    if (string == NULL)
        return 0;
    struct timestamp timestamp;
    int32_t days;
    char date[DATE_TEXT_SIZE];
    if (timestamp_parse(string, false, &timestamp) || timestamp_parse(string, true, &timestamp))
        check_round_trip(timestamp);
    if (timestamp_parse_ms_json(string, &timestamp))
        check_round_trip(timestamp);
    if (timestamp_parse_http(string, &timestamp))
        check_round_trip(timestamp);
    if (date_parse(string, &days) && strcmp(date_format(days, date), string) != 0)
        abort();
    free(string);
    return 0;
}
