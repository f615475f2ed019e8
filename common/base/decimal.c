#include "common/base/decimal.h"

#include <string.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Power of ten of the first digit; zero has none. */
static int leading_power(const struct decimal *decimal)
{
    return decimal->exponent + decimal->count - 1;
}

/* Takes up digits one by one. Zeros are only counted until a digit follows, so that the ends stay free of them. */
struct collector {
    struct decimal decimal;
    long pending_zeros;
};

static bool collect(struct collector *collector, uint8_t digit)
{
    struct decimal *decimal = &collector->decimal;
    if (digit == 0) {
        if (decimal->count > 0)
            collector->pending_zeros++;
        return true;
    }
    if (decimal->count + collector->pending_zeros >= DECIMAL_DIGITS_MAX)
        return false;
    for (; collector->pending_zeros > 0; collector->pending_zeros--)
        decimal->digits[decimal->count++] = 0;
    decimal->digits[decimal->count++] = digit;
    return true;
}

bool decimal_parse(const char *string, size_t length, struct decimal *ret_decimal)
{
    struct collector collector = {0};
    const char *end = string + length;
    bool is_negative = false;
    if (string < end && (*string == '-' || *string == '+'))
        is_negative = *string++ == '-';

    if (string == end || !is_digit(*string))
        return false;
    for (; string < end && is_digit(*string); string++) {
        if (!collect(&collector, (uint8_t)(*string - '0')))
            return false;
    }

    long places = 0;
    if (string < end && *string == '.') {
        string++;
        if (string == end || !is_digit(*string))
            return false;
        for (; string < end && is_digit(*string); string++, places++) {
            if (!collect(&collector, (uint8_t)(*string - '0')))
                return false;
        }
    }

    long written = 0;
    if (string < end && (*string == 'e' || *string == 'E')) {
        string++;
        bool is_small = false;
        if (string < end && (*string == '-' || *string == '+'))
            is_small = *string++ == '-';
        if (string == end)
            return false;
        for (; string < end && is_digit(*string); string++) {
            written = written * 10 + (*string - '0');
            if (written > -DECIMAL_EXPONENT_MIN)
                return false;
        }
        if (!is_digit(string[-1]))
            return false;
        if (is_small)
            written = -written;
    }
    if (string != end)
        return false;

    struct decimal *decimal = &collector.decimal;
    if (decimal->count > 0) {
        long exponent = written - places + collector.pending_zeros;
        if (exponent < DECIMAL_EXPONENT_MIN || exponent + decimal->count - 1 > DECIMAL_EXPONENT_MAX)
            return false;
        decimal->exponent = (int16_t)exponent;
        decimal->is_negative = is_negative;
    }
    *ret_decimal = *decimal;
    return true;
}

/* The digit that stands for 10^power; 0 outside of the digits in use. */
static uint8_t digit_at(const struct decimal *decimal, int power)
{
    int index = leading_power(decimal) - power;
    return index >= 0 && index < decimal->count ? decimal->digits[index] : 0;
}

char *decimal_format(const struct decimal *decimal, int scale, char out[static DECIMAL_TEXT_SIZE])
{
    struct decimal value = *decimal;
    if (scale >= 0)
        decimal_round(&value, scale, DECIMAL_HALF_EVEN);

    int first = value.count > 0 && leading_power(&value) > 0 ? leading_power(&value) : 0;
    int places = value.count > 0 && value.exponent < 0 ? -value.exponent : 0;
    if (scale > places) {
        /* Padding alone could overrun the buffer: sign, integer part, point and NUL need room. */
        int room = DECIMAL_TEXT_SIZE - (first + 1) - 3;
        places = scale < room ? scale : room;
    }

    size_t at = 0;
    if (value.is_negative)
        out[at++] = '-';
    for (int power = first; power >= -places; power--) {
        if (power == -1)
            out[at++] = '.';
        out[at++] = (char)('0' + digit_at(&value, power));
    }
    out[at] = '\0';
    return out;
}

int decimal_compare(const struct decimal *a, const struct decimal *b)
{
    if (a->count == 0 && b->count == 0)
        return 0;
    int sign_a = a->count == 0 ? 0 : a->is_negative ? -1 : 1;
    int sign_b = b->count == 0 ? 0 : b->is_negative ? -1 : 1;
    if (sign_a != sign_b)
        return sign_a < sign_b ? -1 : 1;

    if (leading_power(a) != leading_power(b))
        return leading_power(a) < leading_power(b) ? -sign_a : sign_a;
    int count = a->count > b->count ? a->count : b->count;
    for (int i = 0; i < count; i++) {
        int digit_a = i < a->count ? a->digits[i] : 0;
        int digit_b = i < b->count ? b->digits[i] : 0;
        if (digit_a != digit_b)
            return digit_a < digit_b ? -sign_a : sign_a;
    }
    return 0;
}

/* Whether the magnitude goes up when the digits below 10^-scale are dropped. */
static bool rounds_up(const struct decimal *decimal, int kept, enum decimal_rounding rounding)
{
    if (rounding == DECIMAL_DOWN || kept < 0)
        return false;
    uint8_t next = decimal->digits[kept];
    if (next != 5)
        return next > 5;
    /* The last digit in use is never zero, so anything after the 5 is more than half. */
    if (rounding == DECIMAL_HALF_UP || kept + 1 < decimal->count)
        return true;
    return kept > 0 && decimal->digits[kept - 1] % 2 == 1;
}

void decimal_round(struct decimal *decimal, int scale, enum decimal_rounding rounding)
{
    if (scale < -DECIMAL_DIGITS_MAX)
        scale = -DECIMAL_DIGITS_MAX;
    if (decimal->count == 0 || decimal->exponent >= -scale)
        return;

    /* Negative: even the first digit lies more than one place below what is kept. */
    int kept = leading_power(decimal) + scale + 1;
    bool is_up = rounds_up(decimal, kept, rounding);
    if (kept < 0)
        kept = 0;
    decimal->exponent = (int16_t)-scale;
    decimal->count = (uint8_t)kept;
    while (is_up && decimal->count > 0 && decimal->digits[decimal->count - 1] == 9) {
        decimal->count--;
        decimal->exponent++;
    }
    if (is_up && decimal->count > 0) {
        decimal->digits[decimal->count - 1]++;
    } else if (is_up) {
        decimal->digits[0] = 1;
        decimal->count = 1;
    }
    while (decimal->count > 0 && decimal->digits[decimal->count - 1] == 0) {
        decimal->count--;
        decimal->exponent++;
    }
    if (decimal->count == 0)
        *decimal = (struct decimal){0};
    else
        memset(decimal->digits + decimal->count, 0, sizeof(decimal->digits) - decimal->count);
}
