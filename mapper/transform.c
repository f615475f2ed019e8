#include "mapper/transform.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/base/timestamp.h"
#include "mapper/value.h"

enum {
    TEXT_BYTES_MAX = 1024 * 1024, /* of a value made by a transform */
    SECONDS_OF_DAY = 86400,
    SECONDS_OF_MINUTE = 60,
    FIRST_DAY = -719162, /* 0001-01-01 */
    LAST_DAY = 2932896   /* 9999-12-31 */
};

static enum transform_result done(json_t *made, json_t **ret_value)
{
    if (made == NULL)
        return TRANSFORM_NO_MEMORY;
    *ret_value = made;
    return TRANSFORM_DONE;
}

static enum transform_result refuse(char *reterr_message, const json_t *value, const json_t *rows, const char *format,
                                    ...) TANDEM_PRINTF(4, 5);

/* "<value> <sentence>" */
static enum transform_result refuse(char *reterr_message, const json_t *value, const json_t *rows, const char *format,
                                    ...)
{
    char shown[VALUE_SHOWN_SIZE];
    int used = snprintf(reterr_message, TRANSFORM_MESSAGE_SIZE, "%s ", value_show(value, rows, shown));
    va_list arguments;

    if (used > 0 && used < TRANSFORM_MESSAGE_SIZE) {
        va_start(arguments, format);
        (void)vsnprintf(reterr_message + used, TRANSFORM_MESSAGE_SIZE - (size_t)used, format, arguments);
        va_end(arguments);
    }
    return TRANSFORM_REFUSED;
}

static const char *text_argument(const struct transform *transform, const char *name, const char *fallback)
{
    const char *text = json_text_of(transform->arguments, name);

    return text == NULL ? fallback : text;
}

/* -- value tables -------------------------------------------------------------------------------------------------- */

static enum transform_result apply_table(const struct transform *transform, json_t *value, json_t **ret_value,
                                         char *reterr_message)
{
    const json_t *row = table_find(transform->rows, value);

    if (row == NULL && json_is_null(value))
        return done(json_null(), ret_value);
    if (row == NULL)
        return refuse(reterr_message, value, transform->rows, "is not in the table '%s'",
                      text_argument(transform, "name", ""));
    if (json_object_get(row, "to") == NULL)
        return TRANSFORM_LEAVE;
    return done(json_deep_copy(json_object_get(row, "to")), ret_value);
}

static enum transform_result apply_choice(const struct transform *transform, json_t *value, json_t **ret_value,
                                          char *reterr_message)
{
    const json_t *row = table_find(transform->rows, value);

    if (row == NULL)
        return refuse(reterr_message, value, transform->rows,
                      transform->is_inverse ? "is no code of the choice" : "is no label of the choice");
    return done(json_deep_copy(json_object_get(row, "to")), ret_value);
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

static enum transform_result apply_decimal(const struct transform *transform, json_t *value, json_t **ret_value,
                                           char *reterr_message)
{
    static const struct {
        const char *name;
        enum decimal_rounding rounding;
    } roundings[] = {{"half-even", DECIMAL_HALF_EVEN}, {"half-up", DECIMAL_HALF_UP}, {"down", DECIMAL_DOWN}};
    const char *rounding = text_argument(transform, "rounding", "half-even");
    struct decimal decimal;

    if (!read_number(value, &decimal))
        return refuse(reterr_message, value, NULL, "is not a number");
    for (size_t i = 0; i < ARRAY_LENGTH(roundings) && !transform->is_inverse; i++) {
        if (strcmp(rounding, roundings[i].name) == 0)
            decimal_round(&decimal, (int)json_integer_of(transform->arguments, "scale", 0), roundings[i].rounding);
    }
    if (is_beyond(transform, "minimum", &decimal, -1))
        return refuse(reterr_message, value, NULL, "is less than the minimum");
    if (is_beyond(transform, "maximum", &decimal, 1))
        return refuse(reterr_message, value, NULL, "is more than the maximum");
    return done(json_decimal_new(&decimal), ret_value);
}

static enum transform_result apply_integer(const struct transform *transform, json_t *value, json_t **ret_value,
                                           char *reterr_message)
{
    char digits[DECIMAL_TEXT_SIZE];
    struct decimal decimal;
    long long integer;

    (void)transform;
    if (!read_number(value, &decimal))
        return refuse(reterr_message, value, NULL, "is not a number");
    if (!text_parse_signed(decimal_format(&decimal, -1, digits), &integer))
        return refuse(reterr_message, value, NULL, "is not a whole number of 64 bits");
    return done(json_integer(integer), ret_value);
}

static enum transform_result apply_boolean(const struct transform *transform, json_t *value, json_t **ret_value,
                                           char *reterr_message)
{
    const json_t *if_true = json_object_get(transform->arguments, "true");
    const json_t *if_false = json_object_get(transform->arguments, "false");

    if (!transform->is_inverse)
        return done(json_deep_copy(json_is_true(value) ? if_true : if_false), ret_value);
    if (!value_matches(value, if_true) && !value_matches(value, if_false))
        return refuse(reterr_message, value, NULL, "stands for neither true nor false");
    return done(json_boolean(value_matches(value, if_true)), ret_value);
}

/* -- texts --------------------------------------------------------------------------------------------------------- */

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static enum transform_result apply_text(const struct transform *transform, json_t *value, json_t **ret_value,
                                        char *reterr_message)
{
    const char *bytes = json_string_value(value);
    size_t count = json_string_length(value);
    const char *letters = text_argument(transform, "case", "");
    const char first = letters[0] == 'u' ? 'a' : 'A';
    char *copy;
    json_t *made;

    (void)reterr_message;
    if (json_flag_of(transform->arguments, "trim", true)) {
        for (; count > 0 && is_blank(bytes[0]); bytes++)
            count--;
        while (count > 0 && is_blank(bytes[count - 1]))
            count--;
    }
    copy = text_copy_n(bytes, count);
    if (copy == NULL)
        return TRANSFORM_NO_MEMORY;
    for (size_t i = 0; i < count && letters[0] != '\0'; i++) {
        if (copy[i] >= first && copy[i] <= first + 25)
            copy[i] = (char)(copy[i] ^ ('a' ^ 'A'));
    }
    made = value_text_new(copy, count);
    free(copy);
    return done(made, ret_value);
}

/* Dataverse and Salesforce count lengths in UTF-16 units. */
static enum transform_result apply_truncate(const struct transform *transform, json_t *value, json_t **ret_value,
                                            char *reterr_message)
{
    const char *bytes = json_string_value(value);
    const size_t count = json_string_length(value);
    const size_t limit = (size_t)json_integer_of(transform->arguments, "length", 0);
    const char *ellipsis = text_argument(transform, "ellipsis", "");
    const size_t units = utf8_length_utf16(ellipsis, strlen(ellipsis));
    struct text text;
    json_t *made = NULL;

    (void)reterr_message;
    if (utf8_length_utf16(bytes, count) <= limit)
        return done(json_deep_copy(value), ret_value);
    text_init(&text, TEXT_BYTES_MAX);
    if (text_append_n(&text, bytes, utf8_cut_utf16(bytes, count, limit - units)) == 0 &&
        text_append(&text, ellipsis) == 0)
        made = value_text_new(text_string(&text), text.length);
    text_done(&text);
    return done(made, ret_value);
}

static int append_value(struct text *out, const json_t *value)
{
    char digits[DECIMAL_TEXT_SIZE];
    struct decimal decimal;

    if (json_get_decimal(value, &decimal))
        return text_append(out, decimal_format(&decimal, -1, digits));
    if (json_is_boolean(value))
        return text_append(out, json_is_true(value) ? "true" : "false");
    return json_is_string(value) ? text_append_n(out, json_string_value(value), json_string_length(value)) : 0;
}

static const json_t *place_value(const json_t *value, const json_t *place)
{
    return json_is_array(value) ? json_array_get(value, (size_t)json_integer_value(place)) : value;
}

/* An optional part stands only where each of its values says something. */
static bool is_complete(const json_t *pieces, const json_t *value)
{
    for (size_t i = 0; i < json_array_size(pieces); i++) {
        const json_t *piece = json_array_get(pieces, i);
        const json_t *part = json_is_integer(piece) ? place_value(value, piece) : piece;
        if (part == NULL || json_is_null(part) ||
            (json_is_integer(piece) && json_string_length(part) == 0 && json_is_string(part)))
            return false;
    }
    return true;
}

/* Optional parts do not nest, so this goes no deeper than two. */
static int append_pieces(struct text *out, const json_t *pieces, const json_t *value)
{
    int status = 0;

    for (size_t i = 0; i < json_array_size(pieces) && status == 0; i++) {
        const json_t *piece = json_array_get(pieces, i);
        if (json_is_string(piece))
            status = text_append_n(out, json_string_value(piece), json_string_length(piece));
        else if (json_is_integer(piece))
            status = append_value(out, place_value(value, piece));
        else if (is_complete(piece, value))
            status = append_pieces(out, piece, value);
    }
    return status;
}

static enum transform_result apply_template(const struct transform *transform, json_t *value, json_t **ret_value,
                                            char *reterr_message)
{
    struct text text;
    json_t *made = NULL;
    int status;

    text_init(&text, TEXT_BYTES_MAX);
    status = append_pieces(&text, transform->pieces, value);
    if (status == 0)
        made = value_text_new(text_string(&text), text.length);
    text_done(&text);
    if (status < 0)
        return refuse(reterr_message, value, NULL, "makes a text that is too long");
    return done(made, ret_value);
}

/* Success and failure marks the connectors put before names (Partner Center co-sell connectors, check mark). */
static const char *const marks[] = {"\xE2\x9C\x94", "\xE2\x9C\x93", "\xE2\x9C\x96",
                                    "\xE2\x9C\x97", "\xE2\x9C\x98", "\xE2\x9D\x8C"};
static const char variation_selector[] = "\xEF\xB8\x8F"; /* U+FE0F */

static size_t mark_length(const char *text, const char *own)
{
    if (text_starts_with(text, own))
        return strlen(own);
    for (size_t i = 0; i < ARRAY_LENGTH(marks); i++) {
        if (text_starts_with(text, marks[i]))
            return strlen(marks[i]);
    }
    return 0;
}

static const char *skip_blanks_and_selectors(const char *text)
{
    for (;;) {
        if (is_blank(*text))
            text++;
        else if (text_starts_with(text, variation_selector))
            text += strlen(variation_selector);
        else
            return text;
    }
}

/* A text without marks before it stays exactly as it is, blanks included. */
static const char *skip_marks(const char *text, const char *own)
{
    for (;;) {
        const char *start = skip_blanks_and_selectors(text);
        size_t length = mark_length(start, own);
        if (length == 0)
            return text;
        text = skip_blanks_and_selectors(start + length);
    }
}

static enum transform_result apply_check_mark(const struct transform *transform, json_t *value, json_t **ret_value,
                                              char *reterr_message)
{
    const char *own = text_argument(transform, "on", marks[0]);
    const char *bare = skip_marks(json_string_value(value), own);
    struct text text;
    json_t *made = NULL;

    if (transform->is_inverse || bare[0] == '\0')
        return done(value_text_new(bare, strlen(bare)), ret_value);
    text_init(&text, TEXT_BYTES_MAX);
    if (text_appendf(&text, "%s ", own) == 0 && text_append(&text, bare) == 0)
        made = json_stringn(text_string(&text), text.length);
    text_done(&text);
    if (made == NULL && strlen(bare) > TEXT_BYTES_MAX / 2)
        return refuse(reterr_message, value, NULL, "is too long");
    return done(made, ret_value);
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

static enum transform_result apply_country(const struct transform *transform, json_t *value, json_t **ret_value,
                                           char *reterr_message)
{
    const json_t *row = table_find(transform->rows, value);
    char code[CODE_LETTERS_MAX + 1];

    if (row != NULL)
        return done(json_deep_copy(json_object_get(row, "to")), ret_value);
    if (!read_code(value, 2, code) || strstr(country_codes, code) == NULL)
        return refuse(reterr_message, value, transform->rows, "is no two-letter country code of ISO 3166");
    return done(json_string(code), ret_value);
}

/* XXX (no currency) and XTS (for tests) are codes, but nothing can be worth that much. */
static enum transform_result apply_currency(const struct transform *transform, json_t *value, json_t **ret_value,
                                            char *reterr_message)
{
    char code[CODE_LETTERS_MAX + 1];

    (void)transform;
    if (!read_code(value, 3, code) || strcmp(code, "XXX") == 0 || strcmp(code, "XTS") == 0)
        return refuse(reterr_message, value, NULL, "is no three-letter currency code of ISO 4217");
    return done(json_string(code), ret_value);
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
    return done(json_string(date_format((int32_t)day, out)), ret_value);
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
    return done(json_string(timestamp_format(timestamp, 0, out)), ret_value);
}

static enum transform_result apply_date(const struct transform *transform, json_t *value, json_t **ret_value,
                                        char *reterr_message)
{
    const bool is_from_date = strcmp(text_argument(transform, "from", "datetime"), "date") == 0;
    const int64_t offset_seconds = json_integer_of(transform->arguments, "zone", 0) * SECONDS_OF_MINUTE;
    const bool reads_date = is_from_date != transform->is_inverse;
    enum transform_result result = reads_date ? datetime_of_date(json_string_value(value), offset_seconds, ret_value)
                                              : date_of_datetime(json_string_value(value), offset_seconds, ret_value);

    if (result == TRANSFORM_REFUSED)
        return refuse(reterr_message, value, NULL, reads_date ? "is no date (YYYY-MM-DD)" : "is no time (RFC 3339)");
    return result;
}

/* -- choosing ------------------------------------------------------------------------------------------------------ */

static enum transform_result apply_default(const struct transform *transform, json_t *value, json_t **ret_value,
                                           char *reterr_message)
{
    const json_t *fallback = json_object_get(transform->arguments, "value");

    (void)reterr_message;
    if (!json_is_null(value))
        return done(json_deep_copy(value), ret_value);
    return fallback == NULL ? TRANSFORM_LEAVE : done(json_deep_copy(fallback), ret_value);
}

static enum transform_result apply_constant(const struct transform *transform, json_t *value, json_t **ret_value,
                                            char *reterr_message)
{
    (void)value;
    (void)reterr_message;
    return done(json_deep_copy(json_object_get(transform->arguments, "value")), ret_value);
}

static enum transform_result apply_first(const struct transform *transform, json_t *value, json_t **ret_value,
                                         char *reterr_message)
{
    (void)transform;
    (void)reterr_message;
    for (size_t i = 0; i < json_array_size(value); i++) {
        json_t *item = json_array_get(value, i);
        if (!json_is_null(item))
            return done(json_deep_copy(item), ret_value);
    }
    return done(json_null(), ret_value);
}

/* -- the list ------------------------------------------------------------------------------------------------------ */

static const char *const rounding_words[] = {"half-even", "half-up", "down", NULL};
static const char *const case_words[] = {"upper", "lower", NULL};
static const char *const date_words[] = {"datetime", "date", NULL};

const struct transform_type TRANSFORM_TYPES[] = {
    {.name = "boolean",
     .help = "Writes one value for true and another for false.",
     .arguments = {{.name = "true", .kind = ARGUMENT_VALUE, .is_required = true, .help = "what stands for true"},
                   {.name = "false", .kind = ARGUMENT_VALUE, .is_required = true, .help = "what stands for false"}},
     .accepts = VALUE_BOOLEAN,
     .gives = VALUE_SCALAR,
     .inverse_accepts = VALUE_SCALAR,
     .inverse_gives = VALUE_BOOLEAN,
     .inverse = INVERSE_OWN,
     .inverse_help = "Reads the two values as true and false; any other is an error.",
     .apply = apply_boolean},
    {.name = "check_mark",
     .help = "Puts a mark and a blank before a name, once; marks that stand there already are replaced.",
     .arguments = {{.name = "on", .kind = ARGUMENT_TEXT, .help = "the mark, \xE2\x9C\x94 unless said otherwise"}},
     .accepts = VALUE_TEXT,
     .gives = VALUE_TEXT,
     .inverse_accepts = VALUE_TEXT,
     .inverse_gives = VALUE_TEXT,
     .inverse = INVERSE_OWN,
     .is_by_side = true,
     .inverse_help = "Takes all marks of success and failure from the front of the name.",
     .apply = apply_check_mark},
    {.name = "choice",
     .help = "Finds the code of a choice by its label, without regard to case.",
     .arguments = {{.name = "labels", .kind = ARGUMENT_PAIRS, .is_required = true, .help = "{label: code}"}},
     .accepts = VALUE_SCALAR,
     .gives = VALUE_SCALAR,
     .inverse_accepts = VALUE_SCALAR,
     .inverse_gives = VALUE_TEXT,
     .inverse = INVERSE_OWN,
     .is_by_side = true,
     .inverse_help = "Finds the label of a code.",
     .apply = apply_choice},
    {.name = "constant",
     .help = "Writes always the same value.",
     .arguments = {{.name = "value", .kind = ARGUMENT_VALUE, .is_required = true, .help = "the value"}},
     .accepts = VALUE_SCALAR | VALUE_LIST | VALUE_OTHER,
     .gives = VALUE_SCALAR,
     .inverse = INVERSE_NONE,
     .takes_null = true,
     .apply = apply_constant},
    {.name = "country",
     .help = "Checks a two-letter country code and writes it in upper case, or the name it has in the CRM.",
     .arguments = {{.name = "names", .kind = ARGUMENT_PAIRS, .help = "{code: name in the CRM}"}},
     .accepts = VALUE_TEXT,
     .gives = VALUE_TEXT,
     .inverse_accepts = VALUE_TEXT,
     .inverse_gives = VALUE_TEXT,
     .inverse = INVERSE_OWN,
     .is_by_side = true,
     .inverse_help = "Finds the code of a name; a code is checked.",
     .apply = apply_country},
    {.name = "currency",
     .help = "Checks a three-letter currency code and writes it in upper case.",
     .accepts = VALUE_TEXT,
     .gives = VALUE_TEXT,
     .inverse_accepts = VALUE_TEXT,
     .inverse_gives = VALUE_TEXT,
     .inverse = INVERSE_SAME,
     .apply = apply_currency},
    {.name = "date",
     .help = "Makes a calendar date of a point in time, or the other way round.",
     .arguments =
         {{.name = "from", .kind = ARGUMENT_WORD, .words = date_words, .help = "datetime unless said otherwise"},
          {.name = "to", .kind = ARGUMENT_WORD, .words = date_words, .help = "date unless said otherwise"},
          {.name = "zone", .kind = ARGUMENT_ZONE, .help = "whose calendar: UTC, or an offset like \"+01:00\""}},
     .accepts = VALUE_TEXT,
     .gives = VALUE_TEXT,
     .inverse_accepts = VALUE_TEXT,
     .inverse_gives = VALUE_TEXT,
     .inverse = INVERSE_OWN,
     .inverse_help = "A date becomes midnight of the zone, told in UTC.",
     .apply = apply_date},
    {.name = "decimal",
     .help = "Reads a number, also from a text, and rounds it; exact, whatever its size.",
     .arguments = {{.name = "scale",
                    .kind = ARGUMENT_INTEGER,
                    .is_required = true,
                    .minimum = 0,
                    .maximum = 20,
                    .help = "decimal places"},
                   {.name = "rounding",
                    .kind = ARGUMENT_WORD,
                    .words = rounding_words,
                    .help = "half-even unless said otherwise; half-up is away from zero, down towards it"},
                   {.name = "minimum", .kind = ARGUMENT_NUMBER, .help = "less is an error"},
                   {.name = "maximum", .kind = ARGUMENT_NUMBER, .help = "more is an error"}},
     .accepts = VALUE_NUMBER | VALUE_TEXT,
     .gives = VALUE_NUMBER,
     .inverse_accepts = VALUE_NUMBER | VALUE_TEXT,
     .inverse_gives = VALUE_NUMBER,
     .inverse = INVERSE_OWN,
     .inverse_help = "Reads the number and leaves its places as they are.",
     .apply = apply_decimal},
    {.name = "default",
     .help = "Writes a value in place of null, or with the word leave: nothing.",
     .arguments = {{.name = "value", .kind = ARGUMENT_DEFAULT, .is_required = true, .help = "the value, or leave"}},
     .accepts = VALUE_SCALAR | VALUE_LIST | VALUE_OTHER,
     .inverse = INVERSE_PASSES,
     .takes_null = true,
     .apply = apply_default},
    {.name = "first",
     .help = "Takes the first value that is known of several paths.",
     .accepts = VALUE_LIST,
     .gives = VALUE_SCALAR,
     .inverse = INVERSE_NONE,
     .apply = apply_first},
    {.name = "integer",
     .help = "Reads a whole number, also from a text; one with a fraction is an error.",
     .accepts = VALUE_NUMBER | VALUE_TEXT,
     .gives = VALUE_NUMBER,
     .inverse_accepts = VALUE_NUMBER | VALUE_TEXT,
     .inverse_gives = VALUE_NUMBER,
     .inverse = INVERSE_SAME,
     .apply = apply_integer},
    {.name = "table",
     .help = "Finds the value in a table of the rules; one without a row is an error.",
     .arguments = {{.name = "name", .kind = ARGUMENT_TABLE, .is_required = true, .help = "name under tables"}},
     .accepts = VALUE_SCALAR | VALUE_LIST,
     .gives = VALUE_SCALAR | VALUE_LIST,
     .inverse_accepts = VALUE_SCALAR | VALUE_LIST,
     .inverse_gives = VALUE_SCALAR | VALUE_LIST,
     .inverse = INVERSE_OWN,
     .is_by_side = true,
     .takes_null = true,
     .inverse_help = "Looks in the rows that hold towards Partner Center.",
     .apply = apply_table},
    {.name = "template",
     .help =
         "Makes a text of values: {value}, {0} and {1} or {path} of several paths; a part in [brackets] is left out "
         "where a value in it is missing. Doubled, {{ }} [[ ]] stand for themselves.",
     .arguments = {{.name = "text", .kind = ARGUMENT_TEXT, .is_required = true, .help = "the text with its places"}},
     .accepts = VALUE_SCALAR | VALUE_LIST,
     .gives = VALUE_TEXT,
     .inverse = INVERSE_NONE,
     .apply = apply_template},
    {.name = "text",
     .help = "Takes blanks from both ends and turns ASCII letters to upper or lower case.",
     .arguments = {{.name = "case", .kind = ARGUMENT_WORD, .words = case_words, .help = "as it is unless said"},
                   {.name = "trim", .kind = ARGUMENT_BOOLEAN, .help = "true unless said otherwise"}},
     .accepts = VALUE_TEXT,
     .gives = VALUE_TEXT,
     .inverse = INVERSE_PASSES,
     .apply = apply_text},
    {.name = "truncate",
     .help = "Cuts a text that is too long, never inside a combined character.",
     .arguments = {{.name = "length",
                    .kind = ARGUMENT_INTEGER,
                    .is_required = true,
                    .minimum = 1,
                    .maximum = 1000000,
                    .help = "most UTF-16 units, as the CRMs count"},
                   {.name = "ellipsis", .kind = ARGUMENT_TEXT, .help = "what a cut text ends in; within the length"}},
     .accepts = VALUE_TEXT,
     .gives = VALUE_TEXT,
     .inverse = INVERSE_PASSES,
     .apply = apply_truncate},
};
const size_t TRANSFORM_TYPE_COUNT = ARRAY_LENGTH(TRANSFORM_TYPES);

/* -- chains -------------------------------------------------------------------------------------------------------- */

static enum transform_result apply_step(const struct transform *step, json_t *value, json_t **ret_value,
                                        char *reterr_message)
{
    const unsigned accepts =
        step->is_inverse && step->type->inverse == INVERSE_OWN ? step->type->inverse_accepts : step->type->accepts;
    const unsigned kind = value_kind_of(value);
    char names[VALUE_SHOWN_SIZE];

    if (kind == 0 && !step->type->takes_null)
        return done(json_null(), ret_value);
    if (kind != 0 && (accepts & kind) == 0)
        return refuse(reterr_message, value, NULL, "stands where '%s' takes %s", step->type->name,
                      value_kinds_name(accepts, names));
    return step->type->apply(step, value, ret_value, reterr_message);
}

enum transform_result transform_apply(const struct transform *chain, const json_t *value, json_t **ret_value,
                                      char reterr_message[static TRANSFORM_MESSAGE_SIZE])
{
    json_t *current = json_deep_copy(value);

    if (current == NULL)
        return TRANSFORM_NO_MEMORY;
    for (const struct transform *step = chain; step != NULL; step = step->next) {
        json_t *made = NULL;
        enum transform_result result = apply_step(step, current, &made, reterr_message);
        json_decref(current);
        if (result != TRANSFORM_DONE)
            return result;
        current = made;
    }
    *ret_value = current;
    return TRANSFORM_DONE;
}

void transform_free(struct transform *chain)
{
    while (chain != NULL) {
        struct transform *next = chain->next;
        json_decref(chain->arguments);
        json_decref(chain->rows);
        json_decref(chain->pieces);
        free(chain);
        chain = next;
    }
}
