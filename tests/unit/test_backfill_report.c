#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "common/base/json.h"
#include "ingest/backfill_report.h"

#define REFERRAL "aaaaaaaa-0000-4000-8000-000000000001"
#define ROW      "cccccccc-0000-4000-8000-000000000001"

static struct pairing_finding FINDINGS[] = {
    {PAIRING_IDENTIFIER_TWICE, REFERRAL, ROW},
    {PAIRING_REFERENCE_FOREIGN, REFERRAL, NULL},
    {PAIRING_IDENTIFIER_MALFORMED, NULL, ROW},
};

static struct pairing found(void)
{
    return (struct pairing){
        .findings = FINDINGS,
        .finding_count = ARRAY_LENGTH(FINDINGS),
        .counts = {.listed_referrals = 12,
                   .listed_rows = 11,
                   .linked = 4,
                   .only_referrals = 5,
                   .only_rows = 2,
                   .ambiguous_referrals = 3,
                   .ambiguous_rows = 1,
                   .new_referrals = 6},
    };
}

/* Every line is a JSON object by itself, with null for what is not known. */
static void test_line_is_json(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(FINDINGS); i++) {
        struct text line;
        struct json_fault fault;
        json_t *json;
        text_init(&line, BACKFILL_REPORT_LINE_MAX);
        assert_int_equal(backfill_report_line(&FINDINGS[i], &line), 0);
        assert_int_equal(text_string(&line)[line.length - 1], '\n');
        assert_int_equal(json_read(text_string(&line), line.length, &JSON_LIMITS_OWN, &json, &fault), 0);
        assert_string_equal(json_text_of(json, "reason"), pairing_reason_word(FINDINGS[i].reason));
        assert_true(text_equal(json_text_of(json, "referral"), FINDINGS[i].referral_id));
        assert_true(text_equal(json_text_of(json, "opportunity"), FINDINGS[i].row_id));
        assert_int_equal(json_object_size(json), 3);
        json_decref(json);
        text_done(&line);
    }
}

static struct pairing_record referral = {.id = REFERRAL}, row = {.id = ROW};
static struct pairing_deal DEALS[] = {{&referral, &row}, {&referral, NULL}, {NULL, &row}};

/* A deal that would be told has a line of its own kind. */
static void test_deal_line_tells_what_the_deal_is(void **state)
{
    static const char *const lines[] = {
        "{\"deal\":\"linked\",\"referral\":\"" REFERRAL "\",\"opportunity\":\"" ROW "\"}\n",
        "{\"deal\":\"referral_only\",\"referral\":\"" REFERRAL "\",\"opportunity\":null}\n",
        "{\"deal\":\"opportunity_only\",\"referral\":null,\"opportunity\":\"" ROW "\"}\n",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(DEALS); i++) {
        struct text line;
        text_init(&line, BACKFILL_REPORT_LINE_MAX);
        assert_int_equal(backfill_report_deal_line(&DEALS[i], &line), 0);
        assert_string_equal(text_string(&line), lines[i]);
        text_done(&line);
    }
}

/* Of a dry run the table lists the deals as well, as many as it may. */
static void test_dry_run_lists_deals(void **state)
{
    struct pairing pairing = found();
    struct text table;

    (void)state;
    pairing.deals = DEALS;
    pairing.deal_count = ARRAY_LENGTH(DEALS);
    text_init(&table, 4096);
    assert_int_equal(backfill_report_table(&pairing, 0, true, 2, &table), 0);
    assert_non_null(strstr(text_string(&table), "linked                " REFERRAL "  " ROW "\n"
                                                "referral_only         " REFERRAL "  -\n"
                                                "and 1 more; --report FILE writes all of them\n"));
    text_clear(&table);
    assert_int_equal(backfill_report_table(&pairing, 0, false, 2, &table), 0);
    assert_null(strstr(text_string(&table), "referral_only"));
    text_done(&table);
}

/* Both sides' counts stand side by side. */
static void test_table_counts_both_sides(void **state)
{
    const struct pairing pairing = found();
    struct text table;

    (void)state;
    text_init(&table, 4096);
    assert_int_equal(backfill_report_table(&pairing, 15, false, 10, &table), 0);
    assert_non_null(strstr(text_string(&table), "listed                           12             11\n"));
    assert_non_null(strstr(text_string(&table), "on this side only                 5              2\n"));
    assert_non_null(strstr(text_string(&table), "ambiguous                         3              1\n"));
    assert_non_null(strstr(text_string(&table), "records told                     15\n"));
    assert_non_null(strstr(text_string(&table), "identifier_twice      " REFERRAL "  " ROW "\n"));
    assert_null(strstr(text_string(&table), "more"));
    text_done(&table);
}

/* What is not shown is counted. */
static void test_long_table_is_cut_and_says_so(void **state)
{
    const struct pairing pairing = found();
    struct text table;

    (void)state;
    text_init(&table, 4096);
    assert_int_equal(backfill_report_table(&pairing, 0, false, 1, &table), 0);
    assert_non_null(strstr(text_string(&table), "identifier_twice"));
    assert_null(strstr(text_string(&table), "reference_foreign"));
    assert_non_null(strstr(text_string(&table), "and 2 more; --report FILE writes all of them\n"));
    text_done(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_line_is_json),
        cmocka_unit_test(test_deal_line_tells_what_the_deal_is),
        cmocka_unit_test(test_dry_run_lists_deals),
        cmocka_unit_test(test_table_counts_both_sides),
        cmocka_unit_test(test_long_table_is_cut_and_says_so),
    };

    json_setup();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
