#include "common/base/text.h"

#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"

enum { FIRST_CAPACITY = 64, FORMAT_BYTES_MAX = 1024 * 1024 };

void text_init(struct text *text, size_t limit_bytes)
{
    *text = (struct text){.limit = limit_bytes};
}

void text_done(struct text *text)
{
    if (text == NULL)
        return;
    free(text->data);
    *text = (struct text){0};
}

void text_clear(struct text *text)
{
    text->length = 0;
    if (text->data != NULL)
        text->data[0] = '\0';
}

/* Room for `count` further bytes and the NUL. */
static int reserve(struct text *text, size_t count)
{
    if (count > text->limit || text->length > text->limit - count)
        return -1;
    size_t needed = text->length + count;
    if (needed == SIZE_MAX)
        return -1;
    needed++;
    if (needed <= text->capacity)
        return 0;

    size_t capacity = text->capacity < FIRST_CAPACITY ? FIRST_CAPACITY : text->capacity;
    while (capacity < needed)
        capacity = capacity > SIZE_MAX / 2 ? needed : capacity * 2;
    if (text->limit < SIZE_MAX && capacity > text->limit + 1)
        capacity = text->limit + 1;
    char *data = realloc(text->data, capacity);
    if (data == NULL)
        return -1;
    text->data = data;
    text->capacity = capacity;
    return 0;
}

int text_append(struct text *text, const char *string)
{
    return text_append_n(text, string, strlen(string));
}

int text_append_n(struct text *text, const char *bytes, size_t count)
{
    if (reserve(text, count) < 0)
        return -1;
    if (count > 0)
        memcpy(text->data + text->length, bytes, count);
    text->length += count;
    text->data[text->length] = '\0';
    return 0;
}

int text_append_char(struct text *text, char c)
{
    return text_append_n(text, &c, 1);
}

int text_appendf(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int result = text_vappendf(text, format, arguments);
    va_end(arguments);
    return result;
}

int text_vappendf(struct text *text, const char *format, va_list arguments)
{
    va_list again;
    va_copy(again, arguments);
    int wanted = vsnprintf(NULL, 0, format, arguments);
    int result = -1;
    if (wanted >= 0 && reserve(text, (size_t)wanted) == 0) {
        size_t written = (size_t)vsnprintf(text->data + text->length, (size_t)wanted + 1, format, again);
        text->length += written;
        result = 0;
    }
    va_end(again);
    return result;
}

const char *text_string(const struct text *text)
{
    return text->data != NULL ? text->data : "";
}

char *text_take(struct text *text)
{
    char *data = text->data != NULL ? text->data : text_copy("");
    if (data != NULL)
        text_init(text, text->limit);
    return data;
}

char *text_copy(const char *string)
{
    return text_copy_n(string, strlen(string));
}

char *text_copy_n(const char *bytes, size_t count)
{
    if (count == SIZE_MAX)
        return NULL;
    char *copy = malloc(count + 1);
    if (copy == NULL)
        return NULL;
    if (count > 0)
        memcpy(copy, bytes, count);
    copy[count] = '\0';
    return copy;
}

char *text_format(const char *format, ...)
{
    struct text text;
    text_init(&text, FORMAT_BYTES_MAX);
    va_list arguments;
    va_start(arguments, format);
    int result = text_vappendf(&text, format, arguments);
    va_end(arguments);
    if (result < 0) {
        text_done(&text);
        return NULL;
    }
    return text_take(&text);
}

int text_assign(char **text, const char *string, struct error *err)
{
    char *copy = NULL;

    if (string != NULL && (copy = text_copy(string)) == NULL)
        return error_no_memory(err);
    free(*text);
    *text = copy;
    return 0;
}

bool text_equal(const char *a, const char *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    return strcmp(a, b) == 0;
}

/* tolower() follows the locale; names of fields and headers do not. */
static unsigned char ascii_lower(char c)
{
    unsigned char byte = (unsigned char)c;
    return byte >= 'A' && byte <= 'Z' ? (unsigned char)(byte + ('a' - 'A')) : byte;
}

bool text_equal_ignoring_case(const char *a, const char *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    while (*a != '\0' && ascii_lower(*a) == ascii_lower(*b)) {
        a++;
        b++;
    }
    return ascii_lower(*a) == ascii_lower(*b);
}

bool text_starts_with(const char *string, const char *prefix)
{
    return strncmp(string, prefix, strlen(prefix)) == 0;
}

bool text_ends_with(const char *string, const char *suffix)
{
    size_t length = strlen(string);
    size_t suffix_length = strlen(suffix);
    return suffix_length <= length && memcmp(string + length - suffix_length, suffix, suffix_length) == 0;
}

/* Length of the well-formed sequence at `bytes`, 0 when there is none (RFC 3629 4, Unicode table 3-7). */
static size_t sequence_length(const unsigned char *bytes, size_t count)
{
    unsigned char lead = bytes[0];
    if (lead < 0x80)
        return 1;
    size_t length = lead >= 0xC2 && lead <= 0xDF   ? 2
                    : lead >= 0xE0 && lead <= 0xEF ? 3
                    : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                   : 0;
    if (length == 0 || count < length)
        return 0;
    /* The second byte's range excludes overlong forms, surrogates and what lies beyond U+10FFFF. */
    unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (bytes[1] < low || bytes[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++) {
        if ((bytes[i] & 0xC0) != 0x80)
            return 0;
    }
    return length;
}

bool utf8_is_valid(const char *bytes, size_t count, size_t *ret_bad_offset)
{
    size_t offset = 0;
    while (offset < count) {
        size_t length = sequence_length((const unsigned char *)bytes + offset, count - offset);
        if (length == 0) {
            if (ret_bad_offset != NULL)
                *ret_bad_offset = offset;
            return false;
        }
        offset += length;
    }
    return true;
}

unsigned utf8_next(const char *bytes, size_t count, size_t *position)
{
    const unsigned char *at = (const unsigned char *)bytes + *position;
    size_t left = count - *position;
    unsigned char lead = at[0];
    size_t length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    /* Never past the end, even when the caller's text is not what it promised. */
    if (length > left)
        length = left;
    unsigned code_point = length == 1 ? lead : length == 2 ? lead & 0x1FU : length == 3 ? lead & 0x0FU : lead & 0x07U;
    for (size_t i = 1; i < length; i++)
        code_point = code_point << 6 | (at[i] & 0x3FU);
    *position += length;
    return code_point;
}

size_t utf8_length(const char *bytes, size_t count)
{
    size_t characters = 0;
    for (size_t i = 0; i < count; i++)
        characters += ((unsigned char)bytes[i] & 0xC0) != 0x80;
    return characters;
}

size_t utf8_length_utf16(const char *bytes, size_t count)
{
    size_t units = 0;
    size_t position = 0;
    while (position < count)
        units += utf8_next(bytes, count, &position) > 0xFFFF ? 2 : 1;
    return units;
}

/* General category Mark (Mn, Mc, Me) of Unicode 14, unassigned code points between two marks included. */
static const struct {
    unsigned first, last;
} mark_ranges[] = {{0x300, 0x36F},     {0x483, 0x489},     {0x591, 0x5BD},     {0x5BF, 0x5BF},     {0x5C1, 0x5C2},
                   {0x5C4, 0x5C5},     {0x5C7, 0x5C7},     {0x610, 0x61A},     {0x64B, 0x65F},     {0x670, 0x670},
                   {0x6D6, 0x6DC},     {0x6DF, 0x6E4},     {0x6E7, 0x6E8},     {0x6EA, 0x6ED},     {0x711, 0x711},
                   {0x730, 0x74A},     {0x7A6, 0x7B0},     {0x7EB, 0x7F3},     {0x7FD, 0x7FD},     {0x816, 0x819},
                   {0x81B, 0x823},     {0x825, 0x827},     {0x829, 0x82D},     {0x859, 0x85B},     {0x898, 0x89F},
                   {0x8CA, 0x8E1},     {0x8E3, 0x903},     {0x93A, 0x93C},     {0x93E, 0x94F},     {0x951, 0x957},
                   {0x962, 0x963},     {0x981, 0x983},     {0x9BC, 0x9BC},     {0x9BE, 0x9CD},     {0x9D7, 0x9D7},
                   {0x9E2, 0x9E3},     {0x9FE, 0xA03},     {0xA3C, 0xA51},     {0xA70, 0xA71},     {0xA75, 0xA75},
                   {0xA81, 0xA83},     {0xABC, 0xABC},     {0xABE, 0xACD},     {0xAE2, 0xAE3},     {0xAFA, 0xB03},
                   {0xB3C, 0xB3C},     {0xB3E, 0xB57},     {0xB62, 0xB63},     {0xB82, 0xB82},     {0xBBE, 0xBCD},
                   {0xBD7, 0xBD7},     {0xC00, 0xC04},     {0xC3C, 0xC3C},     {0xC3E, 0xC56},     {0xC62, 0xC63},
                   {0xC81, 0xC83},     {0xCBC, 0xCBC},     {0xCBE, 0xCD6},     {0xCE2, 0xCE3},     {0xD00, 0xD03},
                   {0xD3B, 0xD3C},     {0xD3E, 0xD4D},     {0xD57, 0xD57},     {0xD62, 0xD63},     {0xD81, 0xD83},
                   {0xDCA, 0xDDF},     {0xDF2, 0xDF3},     {0xE31, 0xE31},     {0xE34, 0xE3A},     {0xE47, 0xE4E},
                   {0xEB1, 0xEB1},     {0xEB4, 0xEBC},     {0xEC8, 0xECD},     {0xF18, 0xF19},     {0xF35, 0xF35},
                   {0xF37, 0xF37},     {0xF39, 0xF39},     {0xF3E, 0xF3F},     {0xF71, 0xF84},     {0xF86, 0xF87},
                   {0xF8D, 0xFBC},     {0xFC6, 0xFC6},     {0x102B, 0x103E},   {0x1056, 0x1059},   {0x105E, 0x1060},
                   {0x1062, 0x1064},   {0x1067, 0x106D},   {0x1071, 0x1074},   {0x1082, 0x108D},   {0x108F, 0x108F},
                   {0x109A, 0x109D},   {0x135D, 0x135F},   {0x1712, 0x1715},   {0x1732, 0x1734},   {0x1752, 0x1753},
                   {0x1772, 0x1773},   {0x17B4, 0x17D3},   {0x17DD, 0x17DD},   {0x180B, 0x180D},   {0x180F, 0x180F},
                   {0x1885, 0x1886},   {0x18A9, 0x18A9},   {0x1920, 0x193B},   {0x1A17, 0x1A1B},   {0x1A55, 0x1A7F},
                   {0x1AB0, 0x1B04},   {0x1B34, 0x1B44},   {0x1B6B, 0x1B73},   {0x1B80, 0x1B82},   {0x1BA1, 0x1BAD},
                   {0x1BE6, 0x1BF3},   {0x1C24, 0x1C37},   {0x1CD0, 0x1CD2},   {0x1CD4, 0x1CE8},   {0x1CED, 0x1CED},
                   {0x1CF4, 0x1CF4},   {0x1CF7, 0x1CF9},   {0x1DC0, 0x1DFF},   {0x20D0, 0x20F0},   {0x2CEF, 0x2CF1},
                   {0x2D7F, 0x2D7F},   {0x2DE0, 0x2DFF},   {0x302A, 0x302F},   {0x3099, 0x309A},   {0xA66F, 0xA672},
                   {0xA674, 0xA67D},   {0xA69E, 0xA69F},   {0xA6F0, 0xA6F1},   {0xA802, 0xA802},   {0xA806, 0xA806},
                   {0xA80B, 0xA80B},   {0xA823, 0xA827},   {0xA82C, 0xA82C},   {0xA880, 0xA881},   {0xA8B4, 0xA8C5},
                   {0xA8E0, 0xA8F1},   {0xA8FF, 0xA8FF},   {0xA926, 0xA92D},   {0xA947, 0xA953},   {0xA980, 0xA983},
                   {0xA9B3, 0xA9C0},   {0xA9E5, 0xA9E5},   {0xAA29, 0xAA36},   {0xAA43, 0xAA43},   {0xAA4C, 0xAA4D},
                   {0xAA7B, 0xAA7D},   {0xAAB0, 0xAAB0},   {0xAAB2, 0xAAB4},   {0xAAB7, 0xAAB8},   {0xAABE, 0xAABF},
                   {0xAAC1, 0xAAC1},   {0xAAEB, 0xAAEF},   {0xAAF5, 0xAAF6},   {0xABE3, 0xABEA},   {0xABEC, 0xABED},
                   {0xFB1E, 0xFB1E},   {0xFE00, 0xFE0F},   {0xFE20, 0xFE2F},   {0x101FD, 0x101FD}, {0x102E0, 0x102E0},
                   {0x10376, 0x1037A}, {0x10A01, 0x10A0F}, {0x10A38, 0x10A3F}, {0x10AE5, 0x10AE6}, {0x10D24, 0x10D27},
                   {0x10EAB, 0x10EAC}, {0x10F46, 0x10F50}, {0x10F82, 0x10F85}, {0x11000, 0x11002}, {0x11038, 0x11046},
                   {0x11070, 0x11070}, {0x11073, 0x11074}, {0x1107F, 0x11082}, {0x110B0, 0x110BA}, {0x110C2, 0x110C2},
                   {0x11100, 0x11102}, {0x11127, 0x11134}, {0x11145, 0x11146}, {0x11173, 0x11173}, {0x11180, 0x11182},
                   {0x111B3, 0x111C0}, {0x111C9, 0x111CC}, {0x111CE, 0x111CF}, {0x1122C, 0x11237}, {0x1123E, 0x1123E},
                   {0x112DF, 0x112EA}, {0x11300, 0x11303}, {0x1133B, 0x1133C}, {0x1133E, 0x1134D}, {0x11357, 0x11357},
                   {0x11362, 0x11374}, {0x11435, 0x11446}, {0x1145E, 0x1145E}, {0x114B0, 0x114C3}, {0x115AF, 0x115C0},
                   {0x115DC, 0x115DD}, {0x11630, 0x11640}, {0x116AB, 0x116B7}, {0x1171D, 0x1172B}, {0x1182C, 0x1183A},
                   {0x11930, 0x1193E}, {0x11940, 0x11940}, {0x11942, 0x11943}, {0x119D1, 0x119E0}, {0x119E4, 0x119E4},
                   {0x11A01, 0x11A0A}, {0x11A33, 0x11A39}, {0x11A3B, 0x11A3E}, {0x11A47, 0x11A47}, {0x11A51, 0x11A5B},
                   {0x11A8A, 0x11A99}, {0x11C2F, 0x11C3F}, {0x11C92, 0x11CB6}, {0x11D31, 0x11D45}, {0x11D47, 0x11D47},
                   {0x11D8A, 0x11D97}, {0x11EF3, 0x11EF6}, {0x16AF0, 0x16AF4}, {0x16B30, 0x16B36}, {0x16F4F, 0x16F4F},
                   {0x16F51, 0x16F92}, {0x16FE4, 0x16FF1}, {0x1BC9D, 0x1BC9E}, {0x1CF00, 0x1CF46}, {0x1D165, 0x1D169},
                   {0x1D16D, 0x1D172}, {0x1D17B, 0x1D182}, {0x1D185, 0x1D18B}, {0x1D1AA, 0x1D1AD}, {0x1D242, 0x1D244},
                   {0x1DA00, 0x1DA36}, {0x1DA3B, 0x1DA6C}, {0x1DA75, 0x1DA75}, {0x1DA84, 0x1DA84}, {0x1DA9B, 0x1DAAF},
                   {0x1E000, 0x1E02A}, {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF}, {0x1E8D0, 0x1E8D6},
                   {0x1E944, 0x1E94A}, {0xE0100, 0xE01EF}};

static bool is_mark(unsigned code_point)
{
    size_t low = 0;
    size_t high = ARRAY_LENGTH(mark_ranges);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (code_point > mark_ranges[middle].last)
            low = middle + 1;
        else if (code_point < mark_ranges[middle].first)
            high = middle;
        else
            return true;
    }
    return false;
}

enum { ZERO_WIDTH_JOINER = 0x200D };

/* Whether the character belongs to the one before it. Variation selectors are marks; skin tones and the letters of
 * subdivision flags are not, but make no sense alone. */
static bool extends_previous(unsigned code_point)
{
    return code_point == ZERO_WIDTH_JOINER || (code_point >= 0x1F3FB && code_point <= 0x1F3FF) ||
           (code_point >= 0xE0020 && code_point <= 0xE007F) || is_mark(code_point);
}

static bool is_regional_indicator(unsigned code_point)
{
    return code_point >= 0x1F1E6 && code_point <= 0x1F1FF;
}

size_t utf8_cut_utf16(const char *bytes, size_t count, size_t units)
{
    size_t cut = 0;
    size_t used = 0;
    size_t position = 0;
    size_t indicators = 0; /* regional indicators in a row before this place: two of them are one flag */
    unsigned previous = 0;
    while (position < count) {
        size_t start = position;
        unsigned code_point = utf8_next(bytes, count, &position);
        bool is_second_half = is_regional_indicator(code_point) && indicators % 2 == 1;
        if (!extends_previous(code_point) && previous != ZERO_WIDTH_JOINER && !is_second_half)
            cut = start;
        used += code_point > 0xFFFF ? 2 : 1;
        if (used > units)
            return cut;
        indicators = is_regional_indicator(code_point) ? indicators + 1 : 0;
        previous = code_point;
    }
    return count;
}

bool text_parse_unsigned(const char *string, unsigned long long limit, unsigned long long *ret_number)
{
    if (string == NULL || *string == '\0')
        return false;
    unsigned long long number = 0;
    for (; *string != '\0'; string++) {
        if (*string < '0' || *string > '9')
            return false;
        unsigned digit = (unsigned)(*string - '0');
        if (digit > limit || number > (limit - digit) / 10)
            return false;
        number = number * 10 + digit;
    }
    *ret_number = number;
    return true;
}

bool text_parse_signed(const char *string, long long *ret_number)
{
    if (string == NULL)
        return false;
    bool is_negative = *string == '-';
    unsigned long long magnitude;
    unsigned long long limit = (unsigned long long)LLONG_MAX + (is_negative ? 1 : 0);
    if (!text_parse_unsigned(string + (is_negative ? 1 : 0), limit, &magnitude))
        return false;
    if (!is_negative)
        *ret_number = (long long)magnitude;
    else if (magnitude == limit)
        *ret_number = LLONG_MIN;
    else
        *ret_number = -(long long)magnitude;
    return true;
}
