#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "common/base/json.h"
#include "common/messages/record.h"
#include "ingest/backfill_pairing.h"

#define IDENTIFIER "identifier"
#define SYNC       "sync"

enum { MANY = 1000 };

/* "r1" -> a UUID of its own; anything else stands as it is. */
static const char *spell(const char *word)
{
    static char ids[4][UUID_TEXT_SIZE];
    static size_t next;
    int number;

    if (word == NULL || (word[0] != 'r' && word[0] != 'c') || sscanf(word + 1, "%d", &number) != 1)
        return word;
    char *out = ids[next++ % 4];
    (void)snprintf(out, UUID_TEXT_SIZE, "%s-0000-4000-8000-%012d", word[0] == 'r' ? "aaaaaaaa" : "cccccccc", number);
    return out;
}

static json_t *referral_at(const char *id, const char *reference, const char *version)
{
    json_t *body = json_pack("{s:s*}", "externalReferenceId", spell(reference));
    json_t *page = json_array();

    assert_int_equal(json_array_append_new(page, record_document("own", spell(id), version, version, "\"1\"", body)),
                     0);
    return page;
}

static json_t *row_of(const char *id, const char *identifier, bool sync)
{
    json_t *body = json_pack("{s:s?, s:b}", IDENTIFIER, spell(identifier), SYNC, (int)sync);
    json_t *page = json_array();

    assert_int_equal(
        json_array_append_new(page, record_document("crm", spell(id), "7", "2026-11-01T12:00:00Z", "W/\"7\"", body)),
        0);
    return page;
}

static void add_referral(struct pairing *pairing, const char *id, const char *reference)
{
    struct error err = ERROR_INIT;
    json_t *page = referral_at(id, reference, "2026-11-01T12:00:00Z");

    assert_int_equal(pairing_add_referrals(pairing, page, &err), 0);
    json_decref(page);
}

static void add_row(struct pairing *pairing, const char *id, const char *identifier, bool sync)
{
    struct error err = ERROR_INIT;
    json_t *page = row_of(id, identifier, sync);

    assert_int_equal(pairing_add_rows(pairing, page, &err), 0);
    json_decref(page);
}

static bool add_newer(struct pairing *pairing, const char *id, const char *reference)
{
    struct error err = ERROR_INIT;
    json_t *page = referral_at(id, reference, "2026-11-01T12:00:00Z");
    bool is_over;

    assert_int_equal(pairing_add_newer_referrals(pairing, page, &is_over, &err), 0);
    json_decref(page);
    return is_over;
}

static void begin(struct pairing *pairing)
{
    pairing_init(pairing, MANY, IDENTIFIER, SYNC);
}

static void seal_referrals(struct pairing *pairing)
{
    struct error err = ERROR_INIT;

    assert_int_equal(pairing_seal_referrals(pairing, &err), 0);
}

static void seal_rows(struct pairing *pairing)
{
    struct error err = ERROR_INIT;

    assert_int_equal(pairing_seal_rows(pairing, &err), 0);
}

static void append(char *out, size_t size, const char *text)
{
    const size_t used = strlen(out);

    (void)snprintf(out + used, size - used, "%s", text);
}

/* "aaaaaaaa-0000-4000-8000-000000000001" -> "r1" */
static void append_word(char *out, size_t size, const char *id)
{
    const char word[] = {id == NULL ? '-' : id[0] == 'a' ? 'r' : 'c', id == NULL ? '\0' : id[strlen(id) - 1], '\0'};

    append(out, size, word);
}

/* What was decided as a text: deals as "r1=c1", "r2", "c3", then findings as "reason:r1,c1". Ends the pairing's life. */
static const char *decide(struct pairing *pairing, bool linked_only)
{
    static char out[1024];
    struct error err = ERROR_INIT;

    assert_int_equal(pairing_decide(pairing, linked_only, &err), 0);
    out[0] = '\0';
    for (size_t i = 0; i < pairing->deal_count; i++) {
        const struct pairing_deal *deal = &pairing->deals[i];
        if (deal->referral != NULL)
            append_word(out, sizeof(out), deal->referral->id);
        append(out, sizeof(out), deal->referral != NULL && deal->row != NULL ? "=" : "");
        if (deal->row != NULL)
            append_word(out, sizeof(out), deal->row->id);
        append(out, sizeof(out), " ");
    }
    for (size_t i = 0; i < pairing->finding_count; i++) {
        const struct pairing_finding *finding = &pairing->findings[i];
        append(out, sizeof(out), pairing_reason_word(finding->reason));
        append(out, sizeof(out), ":");
        append_word(out, sizeof(out), finding->referral_id);
        append(out, sizeof(out), ",");
        append_word(out, sizeof(out), finding->row_id);
        append(out, sizeof(out), " ");
    }
    return out;
}

struct link {
    const char *id, *partner; /* NULL id: no more */
    bool sync;
};

struct pairing_case {
    const char *name;
    struct link referrals[4], rows[4];
    const char *decided;
};

/* Each way two records can name each other, and each way they can contradict it. */
static void test_links_decide_what_is_told(void **state)
{
    static const struct pairing_case cases[] = {
        {"both name each other", {{"r1", "c1", 0}}, {{"c1", "r1", true}}, "r1=c1 "},
        {"only the row names", {{"r1", NULL, 0}}, {{"c1", "r1", true}}, "r1=c1 "},
        {"only the referral names", {{"r1", "c1", 0}}, {{"c1", NULL, false}}, "r1=c1 "},
        {"an empty text is no link", {{"r1", "", 0}}, {{"c1", "", true}}, "r1 c1 "},
        {"nobody names anybody", {{"r1", NULL, 0}}, {{"c1", NULL, true}}, "r1 c1 "},
        {"a row that does not take part", {{"r1", NULL, 0}}, {{"c1", NULL, false}}, "r1 "},
        {"two rows, one identifier",
         {{"r1", NULL, 0}},
         {{"c1", "r1", true}, {"c2", "r1", true}},
         "identifier_twice:r1,c1 identifier_twice:r1,c2 "},
        {"two rows, one identifier, the referral names one of them",
         {{"r1", "c2", 0}},
         {{"c1", "r1", true}, {"c2", "r1", true}},
         "identifier_twice:r1,c1 identifier_twice:r1,c2 "},
        {"two rows, one identifier, the referral names a third",
         {{"r1", "c3", 0}},
         {{"c1", "r1", true}, {"c2", "r1", true}, {"c3", NULL, true}},
         "identifier_twice:r1,c1 identifier_twice:r1,c2 links_contradict:r1,c3 "},
        {"two rows, one identifier, nobody sees its referral",
         {{NULL, NULL, 0}},
         {{"c1", "r9", true}, {"c2", "r9", true}},
         "identifier_twice:r9,c1 identifier_twice:r9,c2 "},
        {"nobody sees the identifier's referral",
         {{NULL, NULL, 0}},
         {{"c1", "r9", true}},
         "referral_not_visible:r9,c1 "},
        {"the identifier is no id", {{NULL, NULL, 0}}, {{"c1", "7-ABC", true}}, "identifier_malformed:-,c1 "},
        {"nobody sees the reference's row", {{"r1", "c9", 0}}, {{NULL, NULL, 0}}, "row_not_visible:r1,c9 "},
        {"the reference is no id", {{"r1", "OPP-4711", 0}}, {{NULL, NULL, 0}}, "reference_foreign:r1,- "},
        {"two referrals, one row without identifier",
         {{"r1", "c1", 0}, {"r2", "c1", 0}},
         {{"c1", NULL, true}},
         "reference_twice:r1,c1 reference_twice:r2,c1 "},
        {"two referrals, one row that says which",
         {{"r1", "c1", 0}, {"r2", "c1", 0}},
         {{"c1", "r2", true}},
         "r2=c1 links_contradict:r1,c1 "},
        {"the referral names another row",
         {{"r1", "c2", 0}},
         {{"c1", "r1", true}, {"c2", NULL, true}},
         "links_contradict:r1,c1 links_contradict:r1,c2 "},
        {"the referral's reference is no id, but a row names it",
         {{"r1", "OPP-4711", 0}},
         {{"c1", "r1", true}},
         "links_contradict:r1,c1 "},
        {"the row names a referral that is silent, another referral names the row",
         {{"r1", NULL, 0}, {"r2", "c1", 0}},
         {{"c1", "r1", true}},
         "links_contradict:r1,c1 links_contradict:r2,c1 "},
        {"a referral names a row whose referral nobody sees",
         {{"r1", "c1", 0}},
         {{"c1", "r9", true}},
         "links_contradict:r1,c1 referral_not_visible:r9,c1 "},
        {"crosswise",
         {{"r1", "c2", 0}, {"r2", "c1", 0}},
         {{"c1", "r1", true}, {"c2", "r2", true}},
         "links_contradict:r1,c1 links_contradict:r1,c2 links_contradict:r2,c2 links_contradict:r2,c1 "},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct pairing pairing;
        const char *decided;
        begin(&pairing);
        for (size_t k = 0; k < 4 && cases[i].referrals[k].id != NULL; k++)
            add_referral(&pairing, cases[i].referrals[k].id, cases[i].referrals[k].partner);
        seal_referrals(&pairing);
        for (size_t k = 0; k < 4 && cases[i].rows[k].id != NULL; k++)
            add_row(&pairing, cases[i].rows[k].id, cases[i].rows[k].partner, cases[i].rows[k].sync);
        seal_rows(&pairing);
        decided = decide(&pairing, false);
        if (strcmp(decided, cases[i].decided) != 0)
            fail_msg("%s: %s, not %s", cases[i].name, decided, cases[i].decided);
        pairing_done(&pairing);
    }
}

/* With linked_only what stands on one side only is counted and not told. */
static void test_linked_only_leaves_single_records(void **state)
{
    struct pairing pairing;

    (void)state;
    begin(&pairing);
    add_referral(&pairing, "r1", "c1");
    add_referral(&pairing, "r2", NULL);
    seal_referrals(&pairing);
    add_row(&pairing, "c1", "r1", true);
    add_row(&pairing, "c2", NULL, true);
    seal_rows(&pairing);
    assert_string_equal(decide(&pairing, true), "r1=c1 ");
    assert_int_equal(pairing.counts.only_referrals, 1);
    assert_int_equal(pairing.counts.only_rows, 1);
    pairing_done(&pairing);
}

/* A record that is in two pages is one record, with the links of its last change; case does not matter. */
static void test_repeated_record_counts_once(void **state)
{
    struct pairing pairing;
    struct error err = ERROR_INIT;
    json_t *later = referral_at("AAAAAAAA-0000-4000-8000-000000000001", "CCCCCCCC-0000-4000-8000-000000000001",
                                "2026-11-01T12:00:01Z");

    (void)state;
    begin(&pairing);
    assert_int_equal(pairing_add_referrals(&pairing, later, &err), 0);
    add_referral(&pairing, "r1", NULL);
    seal_referrals(&pairing);
    assert_int_equal(pairing.counts.listed_referrals, 1);
    add_row(&pairing, "c1", "r1", true);
    add_row(&pairing, "c1", "r1", true);
    seal_rows(&pairing);
    assert_string_equal(decide(&pairing, false), "r1=c1 ");
    json_decref(later);
    pairing_done(&pairing);
}

/* Microsoft's side of a deal and entries without a readable id are none of ours. */
static void test_related_referral_and_unreadable_ids_are_left_out(void **state)
{
    struct pairing pairing;
    struct error err = ERROR_INIT;
    json_t *page = json_array();

    (void)state;
    assert_int_equal(
        json_array_append_new(page, record_document("related", spell("r1"), NULL, NULL, NULL, json_object())), 0);
    assert_int_equal(json_array_append_new(page, record_document("own", "4711", NULL, NULL, NULL, json_object())), 0);
    begin(&pairing);
    assert_int_equal(pairing_add_referrals(&pairing, page, &err), 0);
    seal_referrals(&pairing);
    seal_rows(&pairing);
    assert_string_equal(decide(&pairing, false), "");
    json_decref(page);
    pairing_done(&pairing);
}

/* A referral made while the rows were listed is left to the webhooks, and so is the row that names it or is named by it. */
static void test_newer_referral_is_no_finding(void **state)
{
    struct pairing pairing;

    (void)state;
    begin(&pairing);
    add_referral(&pairing, "r1", NULL);
    seal_referrals(&pairing);
    add_row(&pairing, "c2", "r2", true);
    add_row(&pairing, "c3", NULL, true);
    seal_rows(&pairing);
    assert_false(add_newer(&pairing, "r3", "c3"));
    assert_false(add_newer(&pairing, "r2", NULL));
    assert_true(add_newer(&pairing, "r1", NULL));
    assert_string_equal(decide(&pairing, false), "r1 ");
    assert_int_equal(pairing.counts.new_referrals, 2);
    pairing_done(&pairing);
}

/* Memory is bounded: one record more than the limit is an error that names the setting. */
static void test_too_many_records_are_an_error(void **state)
{
    struct pairing pairing;
    struct error err = ERROR_INIT;
    json_t *page = row_of("c2", "r1", true);

    (void)state;
    pairing_init(&pairing, 2, IDENTIFIER, SYNC);
    add_referral(&pairing, "r1", NULL);
    seal_referrals(&pairing);
    add_row(&pairing, "c1", "r1", true);
    add_row(&pairing, "c9", NULL, false); /* takes no part, and no memory */
    assert_int_equal(pairing_add_rows(&pairing, page, &err), -1);
    assert_string_equal(err.code, "backfill.too_many");
    assert_int_equal(err.class, ERROR_CONFIG);
    assert_non_null(strstr(err.message, "ingest.backfill.records_max"));
    json_decref(page);
    pairing_done(&pairing);
}

/* A position leads to the deal behind it, also when its own deal is no longer there. */
static void test_position_leads_to_the_next_deal(void **state)
{
    struct pairing pairing;
    char position[PAIRING_POSITION_SIZE];

    (void)state;
    begin(&pairing);
    add_referral(&pairing, "r2", NULL);
    add_referral(&pairing, "r4", "c4");
    add_referral(&pairing, "r6", NULL);
    seal_referrals(&pairing);
    add_row(&pairing, "c4", "r4", true);
    add_row(&pairing, "c1", NULL, true);
    add_row(&pairing, "c3", NULL, true);
    seal_rows(&pairing);
    assert_string_equal(decide(&pairing, false), "r2 r4=c4 r6 c1 c3 ");
    for (size_t i = 0; i < pairing.deal_count; i++) {
        pairing_position(&pairing.deals[i], position);
        assert_int_equal(pairing_behind(&pairing, position), i + 1);
    }
    assert_int_equal(pairing_records_between(&pairing, 0, pairing.deal_count), 6);
    assert_int_equal(pairing_records_between(&pairing, 1, 2), 2);
    (void)snprintf(position, sizeof(position), "partner-center/%s", spell("r3"));
    assert_int_equal(pairing_behind(&pairing, position), 1);
    (void)snprintf(position, sizeof(position), "partner-center/%s", spell("r9"));
    assert_int_equal(pairing_behind(&pairing, position), 3);
    (void)snprintf(position, sizeof(position), "dynamics-365/%s", spell("c2"));
    assert_int_equal(pairing_behind(&pairing, position), 4);
    assert_int_equal(pairing_behind(&pairing, "begun"), 0);
    assert_int_equal(pairing_behind(&pairing, "elsewhere/1"), 0);
    pairing_done(&pairing);
}

/* What is linked is not counted as ambiguous, although another referral lays claim to the row. */
static void test_counts(void **state)
{
    struct pairing pairing;

    (void)state;
    begin(&pairing);
    add_referral(&pairing, "r1", "c1");
    add_referral(&pairing, "r2", "c1");
    seal_referrals(&pairing);
    add_row(&pairing, "c1", "r2", true);
    add_row(&pairing, "c2", "r9", true);
    add_row(&pairing, "c3", NULL, false);
    seal_rows(&pairing);
    (void)decide(&pairing, false);
    assert_int_equal(pairing.counts.listed_referrals, 2);
    assert_int_equal(pairing.counts.listed_rows, 3);
    assert_int_equal(pairing.counts.linked, 1);
    assert_int_equal(pairing.counts.ambiguous_referrals, 1);
    assert_int_equal(pairing.counts.ambiguous_rows, 1);
    pairing_done(&pairing);
}

/* Every record is told or reported or takes no part, whatever the links are; none is both told alone and reported. */
static void test_random_links_lose_no_record(void **state)
{
    enum { ROUNDS = 2000, RECORDS = 6 };
    uint32_t random = 20261121;

    (void)state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct pairing pairing;
        struct error err = ERROR_INIT;
        size_t told[2] = {0}, accounted;
        char word[16], partner[16];
        begin(&pairing);
        for (int side = 0; side < 2; side++) {
            for (int i = 0; i < RECORDS; i++) {
                random = random * 1664525u + 1013904223u;
                (void)snprintf(word, sizeof(word), "%c%d", side == 0 ? 'r' : 'c', i);
                (void)snprintf(partner, sizeof(partner), "%c%d", side == 0 ? 'c' : 'r', (int)(random >> 24) % 8);
                const char *named = (random >> 16) % 4 == 0 ? NULL : (random >> 16) % 16 == 1 ? "text" : partner;
                if (side == 0)
                    add_referral(&pairing, word, named);
                else
                    add_row(&pairing, word, named, true);
            }
            if (side == 0)
                seal_referrals(&pairing);
        }
        seal_rows(&pairing);
        assert_int_equal(pairing_decide(&pairing, false, &err), 0);
        for (size_t i = 0; i < pairing.deal_count; i++) {
            const struct pairing_deal *deal = &pairing.deals[i];
            told[0] += deal->referral != NULL;
            told[1] += deal->row != NULL;
            if (deal->referral == NULL || deal->row == NULL)
                assert_false((deal->referral != NULL ? deal->referral : deal->row)->is_ambiguous);
        }
        accounted = told[0] + told[1] + pairing.counts.ambiguous_referrals + pairing.counts.ambiguous_rows;
        assert_int_equal(accounted, 2 * RECORDS);
        pairing_done(&pairing);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_links_decide_what_is_told),
        cmocka_unit_test(test_linked_only_leaves_single_records),
        cmocka_unit_test(test_repeated_record_counts_once),
        cmocka_unit_test(test_related_referral_and_unreadable_ids_are_left_out),
        cmocka_unit_test(test_newer_referral_is_no_finding),
        cmocka_unit_test(test_too_many_records_are_an_error),
        cmocka_unit_test(test_position_leads_to_the_next_deal),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_random_links_lose_no_record),
    };

    json_setup();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
