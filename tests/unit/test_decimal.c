#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "common/base/attributes.h"
#include "common/base/decimal.h"

static struct decimal parsed(const char *text)
{
    struct decimal decimal;
    if (!decimal_parse(text, strlen(text), &decimal))
        fail_msg("refused: %s", text);
    return decimal;
}

static const char ninety_six_nines[] =
    "999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999";

/* Each number has one plain form, whatever it was written like. */
static void test_parse_and_format(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *expected; /* NULL: refused */
    } cases[] = {
        {"0", "0"},
        {"-0", "0"},
        {"0.000", "0"},
        {"-0.0e5", "0"},
        {"1.10", "1.1"},
        {"+1.5", "1.5"},
        {"-20", "-20"},
        {"007.50", "7.5"},
        {"1e3", "1000"},
        {"1.5E+2", "150"},
        {"1.5e-3", "0.0015"},
        {"123e-2", "1.23"},
        {"100e-2", "1"},
        {"50000.0", "50000"},
        {"9007199254740993.0", "9007199254740993"},
        {"0.1000000000000000055", "0.1000000000000000055"},
        {"", NULL},
        {"-", NULL},
        {"+-1", NULL},
        {".5", NULL},
        {"5.", NULL},
        {"1e", NULL},
        {"1e+", NULL},
        {"1.5.5", NULL},
        {"1,5", NULL},
        {" 1", NULL},
        {"1 ", NULL},
        {"0x1", NULL},
        {"NaN", NULL},
        {"1e5.0", NULL},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct decimal decimal;
        char text[DECIMAL_TEXT_SIZE];
        bool is_valid = decimal_parse(cases[i].text, strlen(cases[i].text), &decimal);
        if (is_valid != (cases[i].expected != NULL))
            fail_msg("%s: %d", cases[i].text, is_valid);
        if (is_valid)
            assert_string_equal(decimal_format(&decimal, -1, text), cases[i].expected);
    }
}

/* The parser reads as many bytes as it is told, and no further. */
static void test_parse_takes_a_length(void **state)
{
    (void)state;
    struct decimal decimal;
    char text[DECIMAL_TEXT_SIZE];
    assert_true(decimal_parse("12345", 2, &decimal));
    assert_string_equal(decimal_format(&decimal, -1, text), "12");
    assert_false(decimal_parse("1e5", 2, &decimal));
    assert_false(decimal_parse("1\0002", 3, &decimal));
}

/* The range ends at 96 significant digits, 10^400 and 10^-400. */
static void test_range(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_valid;
    } cases[] = {
        {"1e399", true},
        {"9.9e399", true},
        {"1e400", false},
        {"10e399", false},
        {"1e-400", true},
        {"1.5e-400", false},
        {"1e-401", false},
        {"1.5e-399", true},
        {"0e400", true},
        {"0e401", false},
        {"0e-401", false},
        {"0.1e-399", true},
        {"0.1e-400", false},
        {"1e9999999999999999999999", false},
        {"1e-9999999999999999999999", false},
    };
    struct decimal decimal;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        if (decimal_parse(cases[i].text, strlen(cases[i].text), &decimal) != cases[i].is_valid)
            fail_msg("%s", cases[i].text);
    }
    char long_text[200];
    memcpy(long_text, ninety_six_nines, 96);
    assert_true(decimal_parse(long_text, 96, &decimal));
    long_text[96] = '1';
    assert_false(decimal_parse(long_text, 97, &decimal));
    /* Zeros at the end are no significant digits. */
    long_text[96] = '0';
    assert_true(decimal_parse(long_text, 97, &decimal));
    assert_int_equal(decimal.count, 96);
    assert_int_equal(decimal.exponent, 1);
}

/* The longest numbers fit the buffer, with any number of places. */
static void test_longest_texts_fit(void **state)
{
    (void)state;
    static const char *const exponents[] = {"e304", "e-400", "e-95", ""};
    static const int scales[] = {-1, 0, 2, 400, 512, 100000};
    for (size_t i = 0; i < ARRAY_LENGTH(exponents); i++) {
        char text[128] = "-";
        strncat(text, ninety_six_nines, sizeof(text) - 2);
        strncat(text, exponents[i], sizeof(text) - 98);
        struct decimal decimal = parsed(text);
        for (size_t k = 0; k < ARRAY_LENGTH(scales); k++) {
            char out[DECIMAL_TEXT_SIZE];
            decimal_format(&decimal, scales[k], out);
            assert_true(strlen(out) < DECIMAL_TEXT_SIZE);
            struct decimal again = parsed(out);
            if (scales[k] == -1 || scales[k] >= 400)
                assert_int_equal(decimal_compare(&again, &decimal), 0);
        }
    }
}

/* With a scale there are exactly so many places, and minus zero is zero. */
static void test_format_with_scale(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int scale;
        const char *expected;
    } cases[] = {
        {"0", 2, "0.00"},     {"1.5", 2, "1.50"},        {"1", 0, "1"},
        {"2.345", 2, "2.34"}, {"2.355", 2, "2.36"},      {"-0.001", 2, "0.00"},
        {"1e3", 1, "1000.0"}, {"999.995", 2, "1000.00"}, {"0.0000012", 7, "0.0000012"},
        {"0.5", 0, "0"},      {"1.5", 0, "2"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct decimal decimal = parsed(cases[i].text);
        char out[DECIMAL_TEXT_SIZE];
        assert_string_equal(decimal_format(&decimal, cases[i].scale, out), cases[i].expected);
    }
}

/* The three ways of rounding differ only at the half. */
static void test_rounding(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int scale;
        const char *half_even, *half_up, *down;
    } cases[] = {
        {"2.5", 0, "2", "3", "2"},
        {"3.5", 0, "4", "4", "3"},
        {"-2.5", 0, "-2", "-3", "-2"},
        {"2.51", 0, "3", "3", "2"},
        {"2.49", 0, "2", "2", "2"},
        {"0.5", 0, "0", "1", "0"},
        {"0.05", 0, "0", "0", "0"},
        {"0.51", 0, "1", "1", "0"},
        {"0.95", 1, "1", "1", "0.9"},
        {"0.85", 1, "0.8", "0.9", "0.8"},
        {"9.99", 1, "10", "10", "9.9"},
        {"-9.96", 1, "-10", "-10", "-9.9"},
        {"1.005", 2, "1", "1.01", "1"},
        {"1.015", 2, "1.02", "1.02", "1.01"},
        {"10.05", 1, "10", "10.1", "10"},
        {"0.0009", 2, "0", "0", "0"},
        {"1250", -2, "1200", "1300", "1200"},
        {"1350", -2, "1400", "1400", "1300"},
        {"50", -2, "0", "100", "0"},
        {"49", -2, "0", "0", "0"},
        {"5", -2, "0", "0", "0"},
        {"1.5", 9, "1.5", "1.5", "1.5"},
        {"1e-400", 399, "0", "0", "0"},
        {"1.1e1", 2147483647, "11", "11", "11"},
        {"11", -2147483647, "0", "0", "0"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        const char *expected[] = {cases[i].half_even, cases[i].half_up, cases[i].down};
        for (size_t k = 0; k < ARRAY_LENGTH(expected); k++) {
            struct decimal decimal = parsed(cases[i].text);
            decimal_round(&decimal, cases[i].scale, (enum decimal_rounding)k);
            char out[DECIMAL_TEXT_SIZE];
            if (strcmp(decimal_format(&decimal, -1, out), expected[k]) != 0)
                fail_msg("%s at %d, mode %zu: %s instead of %s", cases[i].text, cases[i].scale, k, out, expected[k]);
        }
    }
}

/* A carry runs through all 96 digits. */
static void test_carry_through_all_digits(void **state)
{
    (void)state;
    char text[128] = "";
    strncat(text, ninety_six_nines, sizeof(text) - 2);
    strncat(text, "e-1", 4);
    struct decimal decimal = parsed(text);
    decimal_round(&decimal, 0, DECIMAL_HALF_EVEN);
    assert_int_equal(decimal.count, 1);
    assert_int_equal(decimal.digits[0], 1);
    assert_int_equal(decimal.exponent, 95);
    decimal = parsed(ninety_six_nines);
    decimal_round(&decimal, -96, DECIMAL_HALF_UP);
    assert_int_equal(decimal.exponent, 96);
}

/* Order is numerical: sign, then size, then digits. */
static void test_compare(void **state)
{
    (void)state;
    static const char *const ascending[] = {"-1e399", "-10", "-9.9", "-1e-400", "0", "1e-400", "0.9",
                                            "0.91",   "1",   "1.1",  "1.11",    "9", "10",     "1e399"};
    for (size_t i = 0; i < ARRAY_LENGTH(ascending); i++) {
        for (size_t k = 0; k < ARRAY_LENGTH(ascending); k++) {
            struct decimal a = parsed(ascending[i]);
            struct decimal b = parsed(ascending[k]);
            int order = decimal_compare(&a, &b);
            if ((i < k) != (order < 0) || (i > k) != (order > 0))
                fail_msg("%s and %s: %d", ascending[i], ascending[k], order);
        }
    }
    struct decimal a = parsed("1.10");
    struct decimal b = parsed("110e-2");
    assert_int_equal(decimal_compare(&a, &b), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_and_format),
        cmocka_unit_test(test_parse_takes_a_length),
        cmocka_unit_test(test_range),
        cmocka_unit_test(test_longest_texts_fit),
        cmocka_unit_test(test_format_with_scale),
        cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_carry_through_all_digits),
        cmocka_unit_test(test_compare),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
