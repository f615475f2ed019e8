/* Exact decimal numbers, for money and everything else that must not pass through binary floating point.
 *
 * A plain value of at most 96 significant digits. Equality is numerical: 1.10 equals 1.1. Pure, no allocation. */
#ifndef TANDEM_BASE_DECIMAL_H
#define TANDEM_BASE_DECIMAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DECIMAL_DIGITS_MAX = 96, DECIMAL_EXPONENT_MIN = -400, DECIMAL_EXPONENT_MAX = 399, DECIMAL_TEXT_SIZE = 512 };

struct decimal {
    bool is_negative;
    int16_t exponent; /* value = digits * 10^exponent */
    uint8_t count;    /* digits in use; 0 means zero; no leading or trailing zero digit */
    uint8_t digits[DECIMAL_DIGITS_MAX];
};

enum decimal_rounding {
    DECIMAL_HALF_EVEN,
    DECIMAL_HALF_UP, /* half away from zero */
    DECIMAL_DOWN     /* towards zero */
};

/* JSON number syntax (RFC 8259 6), also with a leading '+' or zeros; false when malformed or out of range: more than 96
 * significant digits, a written exponent beyond +-400, a last digit below 10^-400, a first one above 10^400. */
bool decimal_parse(const char *string, size_t length, struct decimal *ret_decimal);
/* Plain notation without exponent, no superfluous zeros ("1.1", "0", "-20"); with scale >= 0 exactly that many places
 * (the value is then rounded half-even if it has more; padding ends where the buffer does). Returns `out`. */
char *decimal_format(const struct decimal *decimal, int scale, char out[static DECIMAL_TEXT_SIZE]);
int decimal_compare(const struct decimal *a, const struct decimal *b);
/* To `scale` places; negative: to tens, hundreds and so on, at most 10^96. */
void decimal_round(struct decimal *decimal, int scale, enum decimal_rounding rounding);

#endif
