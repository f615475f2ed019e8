/* Transforms of single values: tables, numbers, codes, dates and defaults. */
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/base/timestamp.h"
#include "mapper/transform_apply.h"
#include "mapper/value.h"

enum {
    SECONDS_OF_DAY = 86400,
    SECONDS_OF_MINUTE = 60,
    FIRST_DAY = -719162, /* 0001-01-01 */
    LAST_DAY = 2932896   /* 9999-12-31 */
};

/* -- value tables -------------------------------------------------------------------------------------------------- */

TRANSFORM_FUNCTION(table)
{
    const json_t *row = table_find(transform->rows, value);

    if (row == NULL && json_is_null(value))
        return transform_done(json_null(), ret_value);
    if (row == NULL)
        return transform_refuse(reterr_message, value, transform->rows, "is not in the table '%s'",
                                transform_text_argument(transform, "name", ""));
    if (json_object_get(row, "to") == NULL)
        return TRANSFORM_LEAVE;
    return transform_done(json_deep_copy(json_object_get(row, "to")), ret_value);
}

TRANSFORM_FUNCTION(choice)
{
    const json_t *row = table_find(transform->rows, value);

    if (row == NULL)
        return transform_refuse(reterr_message, value, transform->rows,
                                transform->is_inverse ? "is no code of the choice" : "is no label of the choice");
    return transform_done(json_deep_copy(json_object_get(row, "to")), ret_value);
}

/* -- numbers ------------------------------------------------------------------------------------------------------- */

/* Partner Center writes deal values as numbers or as texts (referral resources, details.dealValue). */
static bool read_number(const json_t *value, struct decimal *ret_decimal)
{
    if (value_kind_of(value) == VALUE_NUMBER)
        return json_get_decimal(value, ret_decimal);
    return json_is_string(value) && decimal_parse(json_string_value(value), json_string_length(value), ret_decimal);
}

static bool is_beyond(const struct transform *transform, const char *name, const struct decimal *decimal, int sign)
{
    struct decimal bound;
    const json_t *argument = json_object_get(transform->arguments, name);

    return argument != NULL && json_get_decimal(argument, &bound) && decimal_compare(decimal, &bound) * sign > 0;
}

TRANSFORM_FUNCTION(decimal)
{
    static const struct {
        const char *name;
        enum decimal_rounding rounding;
    } roundings[] = {{"half-even", DECIMAL_HALF_EVEN}, {"half-up", DECIMAL_HALF_UP}, {"down", DECIMAL_DOWN}};
    const char *rounding = transform_text_argument(transform, "rounding", "half-even");
    struct decimal decimal;

    if (!read_number(value, &decimal))
        return transform_refuse(reterr_message, value, NULL, "is not a number");
    for (size_t i = 0; i < ARRAY_LENGTH(roundings) && !transform->is_inverse; i++) {
        if (strcmp(rounding, roundings[i].name) == 0)
            decimal_round(&decimal, (int)json_integer_of(transform->arguments, "scale", 0), roundings[i].rounding);
    }
    if (is_beyond(transform, "minimum", &decimal, -1))
        return transform_refuse(reterr_message, value, NULL, "is less than the minimum");
    if (is_beyond(transform, "maximum", &decimal, 1))
        return transform_refuse(reterr_message, value, NULL, "is more than the maximum");
    return transform_done(json_decimal_new(&decimal), ret_value);
}

TRANSFORM_FUNCTION(integer)
{
    char digits[DECIMAL_TEXT_SIZE];
    struct decimal decimal;
    long long integer;

    (void)transform;
    if (!read_number(value, &decimal))
        return transform_refuse(reterr_message, value, NULL, "is not a number");
    if (!text_parse_signed(decimal_format(&decimal, -1, digits), &integer))
        return transform_refuse(reterr_message, value, NULL, "is not a whole number of 64 bits");
    return transform_done(json_integer(integer), ret_value);
}

TRANSFORM_FUNCTION(boolean)
{
    const json_t *if_true = json_object_get(transform->arguments, "true");
    const json_t *if_false = json_object_get(transform->arguments, "false");

    if (!transform->is_inverse)
        return transform_done(json_deep_copy(json_is_true(value) ? if_true : if_false), ret_value);
    if (!value_matches(value, if_true) && !value_matches(value, if_false))
        return transform_refuse(reterr_message, value, NULL, "stands for neither true nor false");
    return transform_done(json_boolean(value_matches(value, if_true)), ret_value);
}

/* -- codes --------------------------------------------------------------------------------------------------------- */

/* ISO 3166-1 alpha-2, and XK, which Microsoft uses for Kosovo. */
static const char country_codes[] =
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC "
    "CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD "
    "GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH "
    "KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW "
    "MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC "
    "SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY "
    "UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW";

enum { CODE_LETTERS_MAX = 3 };

/* Exactly `length` ASCII letters, in upper case. */
static bool read_code(const json_t *value, size_t length, char out[static CODE_LETTERS_MAX + 1])
{
    const char *text = json_string_value(value);

    if (json_string_length(value) != length)
        return false;
    for (size_t i = 0; i < length; i++) {
        char letter = text[i] >= 'a' && text[i] <= 'z' ? (char)(text[i] - 'a' + 'A') : text[i];
        if (letter < 'A' || letter > 'Z')
            return false;
        out[i] = letter;
    }
    out[length] = '\0';
    return true;
}

TRANSFORM_FUNCTION(country)
{
    const json_t *row = table_find(transform->rows, value);
    char code[CODE_LETTERS_MAX + 1];

    if (row != NULL)
        return transform_done(json_deep_copy(json_object_get(row, "to")), ret_value);
    if (!read_code(value, 2, code) || strstr(country_codes, code) == NULL)
        return transform_refuse(reterr_message, value, transform->rows, "is no two-letter country code of ISO 3166");
    return transform_done(json_string(code), ret_value);
}

/* XXX (no currency) and XTS (for tests) are codes, but nothing can be worth that much. */
TRANSFORM_FUNCTION(currency)
{
    char code[CODE_LETTERS_MAX + 1];

    (void)transform;
    if (!read_code(value, 3, code) || strcmp(code, "XXX") == 0 || strcmp(code, "XTS") == 0)
        return transform_refuse(reterr_message, value, NULL, "is no three-letter currency code of ISO 4217");
    return transform_done(json_string(code), ret_value);
}

/* -- dates --------------------------------------------------------------------------------------------------------- */

static enum transform_result date_of_datetime(const char *text, int64_t offset_seconds, json_t **ret_value)
{
    struct timestamp timestamp;
    char out[DATE_TEXT_SIZE];
    int64_t local, day;

    if (!timestamp_parse(text, true, &timestamp))
        return TRANSFORM_REFUSED;
    local = timestamp.seconds + offset_seconds;
    day = local / SECONDS_OF_DAY - (local % SECONDS_OF_DAY < 0);
    if (day < FIRST_DAY || day > LAST_DAY)
        return TRANSFORM_REFUSED;
    return transform_done(json_string(date_format((int32_t)day, out)), ret_value);
}

/* Midnight of the zone, told in UTC. */
static enum transform_result datetime_of_date(const char *text, int64_t offset_seconds, json_t **ret_value)
{
    struct timestamp timestamp = {0};
    char out[TIMESTAMP_TEXT_SIZE];
    int32_t day;

    if (!date_parse(text, &day))
        return TRANSFORM_REFUSED;
    timestamp.seconds = (int64_t)day * SECONDS_OF_DAY - offset_seconds;
    if (timestamp.seconds < (int64_t)FIRST_DAY * SECONDS_OF_DAY ||
        timestamp.seconds >= ((int64_t)LAST_DAY + 1) * SECONDS_OF_DAY)
        return TRANSFORM_REFUSED;
    return transform_done(json_string(timestamp_format(timestamp, 0, out)), ret_value);
}

TRANSFORM_FUNCTION(date)
{
    const bool is_from_date = strcmp(transform_text_argument(transform, "from", "datetime"), "date") == 0;
    const int64_t offset_seconds = json_integer_of(transform->arguments, "zone", 0) * SECONDS_OF_MINUTE;
    const bool reads_date = is_from_date != transform->is_inverse;
    enum transform_result result = reads_date ? datetime_of_date(json_string_value(value), offset_seconds, ret_value)
                                              : date_of_datetime(json_string_value(value), offset_seconds, ret_value);

    if (result == TRANSFORM_REFUSED)
        return transform_refuse(reterr_message, value, NULL,
                                reads_date ? "is no date (YYYY-MM-DD)" : "is no time (RFC 3339)");
    return result;
}

/* -- choosing ------------------------------------------------------------------------------------------------------ */

TRANSFORM_FUNCTION(default)
{
    const json_t *fallback = json_object_get(transform->arguments, "value");

    (void)reterr_message;
    if (!json_is_null(value))
        return transform_done(json_deep_copy(value), ret_value);
    return fallback == NULL ? TRANSFORM_LEAVE : transform_done(json_deep_copy(fallback), ret_value);
}

TRANSFORM_FUNCTION(constant)
{
    (void)value;
    (void)reterr_message;
    return transform_done(json_deep_copy(json_object_get(transform->arguments, "value")), ret_value);
}
