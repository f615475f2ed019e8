#include "common/base/timestamp.h"

#include <stdio.h>
#include <string.h>

#include "common/base/attributes.h"

enum {
    DAY_SECONDS = 86400,
    NANOSECONDS_PER_MS = 1000000,
    YEAR_MAX = 9999,
    OFFSET_MINUTES_MAX = 14 * 60,
    DIGITS_MAX = 9
};

struct civil {
    int64_t year;
    int month; /* 1 to 12 */
    int day;   /* 1 to 31 */
};

static bool is_leap_year(int64_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int days_in_month(int64_t year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return month == 2 && is_leap_year(year) ? 29 : days[month - 1];
}

static int64_t floor_divide(int64_t a, int64_t b)
{
    return a / b - (a % b < 0 ? 1 : 0);
}

/* What floor_divide() leaves: never negative. (Multiplying back could overflow.) */
static int floor_rest(int64_t a, int b)
{
    int64_t rest = a % b;
    return (int)(rest < 0 ? rest + b : rest);
}

/* Days before 1 January of a year, counted from 1 January of year 1. */
static int64_t days_before_year(int64_t year)
{
    int64_t past = year - 1;
    return past * 365 + floor_divide(past, 4) - floor_divide(past, 100) + floor_divide(past, 400);
}

enum {
    DAYS_TO_EPOCH = 719162 /* from 0001-01-01 to 1970-01-01 */
};

static int64_t days_from_civil(struct civil civil)
{
    int64_t days = days_before_year(civil.year) - DAYS_TO_EPOCH;
    for (int month = 1; month < civil.month; month++)
        days += days_in_month(civil.year, month);
    return days + civil.day - 1;
}

static struct civil civil_from_days(int64_t days)
{
    /* 400 years are 146,097 days; the estimate is at most one year too late. */
    int64_t since_year_1 = days + DAYS_TO_EPOCH;
    int64_t cycles = floor_divide(since_year_1, 146097);
    int64_t rest = since_year_1 - cycles * 146097;
    int64_t year = rest / 365;
    if (days_before_year(year + 1) > rest)
        year--;
    rest -= days_before_year(year + 1);
    struct civil civil = {.year = cycles * 400 + year + 1, .month = 1};
    while (rest >= days_in_month(civil.year, civil.month)) {
        rest -= days_in_month(civil.year, civil.month);
        civil.month++;
    }
    civil.day = (int)rest + 1;
    return civil;
}

/* Exactly `digits` digits; moves the cursor behind them. */
static bool read_digits(const char **cursor, int digits, int *ret_number)
{
    int number = 0;
    for (int i = 0; i < digits; i++) {
        char c = (*cursor)[i];
        if (c < '0' || c > '9')
            return false;
        number = number * 10 + (c - '0');
    }
    *cursor += digits;
    *ret_number = number;
    return true;
}

static bool read_char(const char **cursor, char expected)
{
    if (**cursor != expected)
        return false;
    (*cursor)++;
    return true;
}

static bool is_civil(struct civil civil)
{
    return civil.year >= 1 && civil.year <= YEAR_MAX && civil.month >= 1 && civil.month <= 12 && civil.day >= 1 &&
           civil.day <= days_in_month(civil.year, civil.month);
}

static bool read_date(const char **cursor, struct civil *ret_civil)
{
    struct civil civil;
    int year;
    if (!read_digits(cursor, 4, &year) || !read_char(cursor, '-') || !read_digits(cursor, 2, &civil.month) ||
        !read_char(cursor, '-') || !read_digits(cursor, 2, &civil.day))
        return false;
    civil.year = year;
    if (!is_civil(civil))
        return false;
    *ret_civil = civil;
    return true;
}

static bool read_time(const char **cursor, int *ret_seconds)
{
    int hour, minute, second;
    if (!read_digits(cursor, 2, &hour) || !read_char(cursor, ':') || !read_digits(cursor, 2, &minute) ||
        !read_char(cursor, ':') || !read_digits(cursor, 2, &second) || hour > 23 || minute > 59 || second > 59)
        return false;
    *ret_seconds = (hour * 60 + minute) * 60 + second;
    return true;
}

static bool read_fraction(const char **cursor, int32_t *ret_nanoseconds)
{
    *ret_nanoseconds = 0;
    if (!read_char(cursor, '.'))
        return true;
    int32_t nanoseconds = 0;
    int digits = 0;
    for (; **cursor >= '0' && **cursor <= '9'; (*cursor)++) {
        if (++digits > DIGITS_MAX)
            return false;
        nanoseconds = nanoseconds * 10 + (**cursor - '0');
    }
    if (digits == 0)
        return false;
    for (; digits < DIGITS_MAX; digits++)
        nanoseconds *= 10;
    *ret_nanoseconds = nanoseconds;
    return true;
}

static bool read_zone(const char **cursor, bool zone_optional, int *ret_offset_minutes)
{
    *ret_offset_minutes = 0;
    if (read_char(cursor, 'Z'))
        return true;
    char sign = **cursor;
    if (sign != '+' && sign != '-')
        return zone_optional && sign == '\0';
    (*cursor)++;
    int hours, minutes;
    if (!read_digits(cursor, 2, &hours) || !read_char(cursor, ':') || !read_digits(cursor, 2, &minutes) ||
        minutes > 59 || hours * 60 + minutes > OFFSET_MINUTES_MAX)
        return false;
    *ret_offset_minutes = (sign == '-' ? -1 : 1) * (hours * 60 + minutes);
    return true;
}

static bool is_in_range(int64_t seconds)
{
    struct civil first = {.year = 1, .month = 1, .day = 1};
    struct civil past_last = {.year = YEAR_MAX + 1, .month = 1, .day = 1};
    return seconds >= days_from_civil(first) * DAY_SECONDS && seconds < days_from_civil(past_last) * DAY_SECONDS;
}

bool timestamp_parse(const char *string, bool zone_optional, struct timestamp *ret_timestamp)
{
    if (string == NULL)
        return false;
    struct civil civil;
    int second_of_day;
    int offset_minutes;
    int32_t nanoseconds;
    if (!read_date(&string, &civil) || !read_char(&string, 'T') || !read_time(&string, &second_of_day) ||
        !read_fraction(&string, &nanoseconds) || !read_zone(&string, zone_optional, &offset_minutes) || *string != '\0')
        return false;
    int64_t seconds = days_from_civil(civil) * DAY_SECONDS + second_of_day - offset_minutes * 60;
    if (!is_in_range(seconds))
        return false;
    *ret_timestamp = (struct timestamp){.seconds = seconds, .nanoseconds = nanoseconds};
    return true;
}

bool timestamp_parse_ms_json(const char *string, struct timestamp *ret_timestamp)
{
    static const char prefix[] = "/Date(";
    if (string == NULL || strncmp(string, prefix, sizeof(prefix) - 1) != 0)
        return false;
    string += sizeof(prefix) - 1;

    bool is_negative = read_char(&string, '-');
    int64_t ms = 0;
    int digits = 0;
    for (; *string >= '0' && *string <= '9'; string++) {
        if (++digits > 15)
            return false;
        ms = ms * 10 + (*string - '0');
    }
    if (digits == 0)
        return false;

    int hours, minutes;
    if ((*string == '+' || *string == '-') &&
        (string++, !read_digits(&string, 2, &hours) || !read_digits(&string, 2, &minutes) || minutes > 59 ||
                       hours * 60 + minutes > OFFSET_MINUTES_MAX))
        return false;
    if (strcmp(string, ")/") != 0)
        return false;

    struct timestamp timestamp = timestamp_from_ms(is_negative ? -ms : ms);
    if (!is_in_range(timestamp.seconds))
        return false;
    *ret_timestamp = timestamp;
    return true;
}

char *timestamp_format(struct timestamp timestamp, int digits, char out[static TIMESTAMP_TEXT_SIZE])
{
    int64_t days = floor_divide(timestamp.seconds, DAY_SECONDS);
    int second_of_day = floor_rest(timestamp.seconds, DAY_SECONDS);
    struct civil civil = civil_from_days(days);
    int used = snprintf(out, TIMESTAMP_TEXT_SIZE, "%04lld-%02d-%02dT%02d:%02d:%02d", (long long)civil.year, civil.month,
                        civil.day, second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
    size_t at = used < 0 ? 0 : (size_t)used;

    if (digits > DIGITS_MAX)
        digits = DIGITS_MAX;
    int32_t rest = timestamp.nanoseconds;
    int32_t unit = 100000000;
    if (digits > 0)
        out[at++] = '.';
    for (int i = 0; i < digits; i++) {
        out[at++] = (char)('0' + rest / unit % 10);
        unit = unit > 1 ? unit / 10 : 1;
    }
    out[at++] = 'Z';
    out[at] = '\0';
    return out;
}

int timestamp_compare(struct timestamp a, struct timestamp b)
{
    if (a.seconds != b.seconds)
        return a.seconds < b.seconds ? -1 : 1;
    return (a.nanoseconds > b.nanoseconds) - (a.nanoseconds < b.nanoseconds);
}

struct timestamp timestamp_from_ms(int64_t ms)
{
    return (struct timestamp){
        .seconds = floor_divide(ms, 1000),
        .nanoseconds = floor_rest(ms, 1000) * NANOSECONDS_PER_MS,
    };
}

int64_t timestamp_to_ms(struct timestamp timestamp)
{
    int64_t limit = INT64_MAX / 1000 - 1;
    if (timestamp.seconds > limit)
        return INT64_MAX;
    if (timestamp.seconds < -limit)
        return INT64_MIN;
    return timestamp.seconds * 1000 + timestamp.nanoseconds / NANOSECONDS_PER_MS;
}

struct timestamp timestamp_add_ms(struct timestamp timestamp, int64_t ms)
{
    struct timestamp span = timestamp_from_ms(ms);
    int32_t nanoseconds = timestamp.nanoseconds + span.nanoseconds;
    if (nanoseconds >= 1000 * NANOSECONDS_PER_MS) {
        nanoseconds -= 1000 * NANOSECONDS_PER_MS;
        span.seconds++;
    }
    int64_t seconds;
    if (span.seconds > 0 && timestamp.seconds > INT64_MAX - span.seconds)
        seconds = INT64_MAX;
    else if (span.seconds < 0 && timestamp.seconds < INT64_MIN - span.seconds)
        seconds = INT64_MIN;
    else
        seconds = timestamp.seconds + span.seconds;
    return (struct timestamp){.seconds = seconds, .nanoseconds = nanoseconds};
}

bool date_parse(const char *string, int32_t *ret_days)
{
    struct civil civil;
    if (string == NULL || !read_date(&string, &civil) || *string != '\0')
        return false;
    *ret_days = (int32_t)days_from_civil(civil);
    return true;
}

char *date_format(int32_t days, char out[static DATE_TEXT_SIZE])
{
    struct civil civil = civil_from_days(days);
    if (snprintf(out, DATE_TEXT_SIZE, "%04lld-%02d-%02d", (long long)civil.year, civil.month, civil.day) < 0)
        out[0] = '\0';
    return out;
}

/* One of `count` words of three letters; -1 when it is none. */
static int read_word(const char **cursor, const char *words, int count)
{
    for (int i = 0; i < count; i++) {
        if (strncmp(*cursor, words + 3 * i, 3) == 0) {
            *cursor += 3;
            return i;
        }
    }
    return -1;
}

bool timestamp_parse_http(const char *string, struct timestamp *ret_timestamp)
{
    if (string == NULL || read_word(&string, "MonTueWedThuFriSatSun", 7) < 0 || !read_char(&string, ',') ||
        !read_char(&string, ' '))
        return false;
    struct civil civil;
    int year;
    int second_of_day;
    if (!read_digits(&string, 2, &civil.day) || !read_char(&string, ' '))
        return false;
    civil.month = read_word(&string, "JanFebMarAprMayJunJulAugSepOctNovDec", 12) + 1;
    if (!read_char(&string, ' ') || !read_digits(&string, 4, &year) || !read_char(&string, ' ') ||
        !read_time(&string, &second_of_day) || strcmp(string, " GMT") != 0)
        return false;
    civil.year = year;
    if (!is_civil(civil))
        return false;
    *ret_timestamp = (struct timestamp){.seconds = days_from_civil(civil) * DAY_SECONDS + second_of_day};
    return true;
}
