/* Points in time and calendar dates as the outside systems write them.
 *
 * Exact to the nanosecond, years 1 to 9999, proleptic Gregorian, UTC. Pure: nothing here reads a clock. */
#ifndef TANDEM_BASE_TIMESTAMP_H
#define TANDEM_BASE_TIMESTAMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct timestamp {
    int64_t seconds;     /* since 1970-01-01T00:00:00Z */
    int32_t nanoseconds; /* 0 to 999,999,999 */
};

enum { TIMESTAMP_TEXT_SIZE = 40, DATE_TEXT_SIZE = 16 };

/* RFC 3339 date-time: `T`, seconds, 0 to 9 fractional digits, and `Z` or an offset up to +-14:00. Leap second 60 and
 * impossible dates are refused. `zone_optional`: a text without zone counts as UTC (Partner Center validation
 * results). */
bool timestamp_parse(const char *string, bool zone_optional, struct timestamp *ret_timestamp);
/* Microsoft's JSON date, "/Date(1793404800000)/" with an optional "+hhmm" that does not shift the instant. */
bool timestamp_parse_ms_json(const char *string, struct timestamp *ret_timestamp);
/* "2026-11-21T04:00:00.123Z"; digits 0 to 9, cut, not rounded. Returns `out`. */
char *timestamp_format(struct timestamp timestamp, int digits, char out[static TIMESTAMP_TEXT_SIZE]);

int timestamp_compare(struct timestamp a, struct timestamp b); /* <0, 0, >0 */
struct timestamp timestamp_from_ms(int64_t ms);
int64_t timestamp_to_ms(struct timestamp timestamp); /* rounds down */
struct timestamp timestamp_add_ms(struct timestamp timestamp, int64_t ms);

/* Calendar dates: "2026-09-30", days since 1970-01-01. */
bool date_parse(const char *string, int32_t *ret_days);
char *date_format(int32_t days, char out[static DATE_TEXT_SIZE]);

/* HTTP dates (RFC 9110 5.6.7, IMF-fixdate only), for Retry-After. */
bool timestamp_parse_http(const char *string, struct timestamp *ret_timestamp);

#endif
