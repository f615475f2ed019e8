#include "pusher/set_aside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/kafka/dead_letter.h"

#define DEAL     "6f1c9a52-0b7e-4f3e-9a34-2d1f5f0c7a11"
#define TRACE_ID "0af7651916cd43dd8448eb211c80319c"

enum { TEXT_MAX = 65536 };

static struct error why;
static struct dead_letter room;

/* A letter as another program made it; `topic` NULL: it never was a message. */
static struct kafka_message letter_of(const char *topic, const char *stage, const char *key, const char *value)
{
    static char name[] = "tandem.dead-letters";
    struct kafka_message original = {.topic = topic, .partition = 3, .offset = 141};
    struct kafka_message message;

    original.key = key;
    original.key_length = key == NULL ? 0 : strlen(key);
    original.value = value;
    original.value_length = value == NULL ? 0 : strlen(value);
    kafka_message_add_header(&original, "ce_id", "1");
    kafka_message_add_header(&original, "ce_type", "tandem.decision.v1");
    kafka_message_add_header(&original, "traceparent", "00-" TRACE_ID "-b7ad6b7169203331-01");
    kafka_message_add_header(&original, REDRIVE_LETTER, "tandem.dead-letters/0/2");
    (void)error_set(&why, ERROR_POISON, "dynamics_365.too_long", "write the CRM record: answered with HTTP status 400");
    dead_letter_message(&room, &original, stage, &why, 2, "2026-11-21T04:00:00Z", &message);
    message.topic = name;
    message.partition = 0;
    message.offset = 17;
    message.timestamp_ms = 1795219200123;
    return message;
}

static struct set_aside *read_letter(const struct kafka_message *message, bool keeps_value)
{
    struct set_aside *letter = NULL;
    struct error err = ERROR_INIT;

    assert_int_equal(set_aside_new(message, keeps_value, &letter, &err), 0);
    return letter;
}

static char *print(const struct set_aside *letter, bool with_value)
{
    struct text text;
    char *printed;

    text_init(&text, TEXT_MAX);
    assert_int_equal(set_aside_print(letter, with_value, &text), 0);
    printed = text_take(&text);
    assert_non_null(printed);
    text_done(&text);
    return printed;
}

/* A letter tells who, why, of which deal, in which trace and from where, and not the message itself. */
static void test_letter_tells_everything_but_the_value(void **state)
{
    static const char expected[] = "0/17  2026-11-21T00:00:00.123Z  pusher  dynamics_365.too_long\n"
                                   "  write the CRM record: answered with HTTP status 400\n"
                                   "  key " DEAL "  trace " TRACE_ID "  8 bytes\n"
                                   "  from tandem.decisions, partition 3, offset 141; attempts 2\n";
    const struct kafka_message message = letter_of("tandem.decisions", "pusher", DEAL, "{\"a\": 1}");
    struct set_aside *letter = read_letter(&message, false);
    char *printed = print(letter, false);

    (void)state;
    assert_string_equal(printed, expected);
    free(printed);
    letter->redriven_ms = 1795222800000;
    printed = print(letter, false);
    assert_non_null(strstr(printed, "dynamics_365.too_long  driven again 2026-11-21T01:00:00Z\n"));
    free(printed);
    set_aside_free(letter);
}

/* The value is shown when asked for, and can steer no terminal, wherever the bytes came from. */
static void test_letter_shows_nothing_that_steers_a_terminal(void **state)
{
    const struct kafka_message message =
        letter_of("tandem.records", "mapper", "k\x1b[31m", "\x1b]0;title\x07 caf\xc3\xa9 \xc2\x9b\x7f");
    const struct kafka_message no_text = letter_of("tandem.records", "mapper", "k", "a\xff\xc3\xa9z\n");
    struct set_aside *letter = read_letter(&message, true);
    char *printed = print(letter, true);

    (void)state;
    assert_non_null(strstr(printed, "  key k?[31m  "));
    assert_non_null(strstr(printed, "  value: ?]0;title? caf\xc3\xa9 ??\n"));
    free(printed);
    set_aside_free(letter);
    letter = read_letter(&no_text, true);
    printed = print(letter, true);
    assert_non_null(strstr(printed, "  value: a???z?\n"));
    free(printed);
    set_aside_free(letter);
}

/* What is driven again is the original: key, value and headers, for its topic, with a mark and without the reason. */
static void test_redriven_message_is_the_original_with_a_mark(void **state)
{
    const struct kafka_message message = letter_of("tandem.decisions", "pusher", DEAL, "{\"a\": 1}");
    struct set_aside *letter = read_letter(&message, true);
    struct kafka_message again;
    char name[SET_ASIDE_NAME_SIZE];
    size_t length = 0;

    (void)state;
    assert_null(set_aside_hindrance(letter, "tandem."));
    set_aside_redrive(letter, set_aside_name(letter, name), "2026-11-21T05:00:00Z", &again);
    assert_string_equal(again.topic, "tandem.decisions");
    assert_memory_equal(again.key, DEAL, again.key_length);
    assert_memory_equal(again.value, "{\"a\": 1}", again.value_length);
    assert_int_equal(again.header_count, 5);
    assert_string_equal(kafka_message_header(&again, "ce_id", &length), "1");
    assert_string_equal(kafka_message_header(&again, REDRIVE_LETTER, &length), "tandem.dead-letters/0/17");
    assert_string_equal(kafka_message_header(&again, REDRIVE_TIME, &length), "2026-11-21T05:00:00Z");
    for (size_t i = 0; i < again.header_count; i++)
        assert_false(text_starts_with(again.headers[i].name, DEAD_LETTER_PREFIX));
    set_aside_free(letter);
}

/* The mark is there however many headers a letter has: without it an old decision would be carried out. */
static void test_mark_has_room_in_a_letter_full_of_headers(void **state)
{
    struct kafka_message message = letter_of("tandem.decisions", "pusher", DEAL, "{}"), again;
    struct set_aside *letter;
    char name[SET_ASIDE_NAME_SIZE];
    size_t length = 0;

    (void)state;
    message.header_count = 0;
    for (size_t i = 0; i < KAFKA_HEADERS_MAX; i++)
        kafka_message_add_header(&message, "other", "1");
    letter = read_letter(&message, true);
    set_aside_redrive(letter, set_aside_name(letter, name), "2026-11-21T05:00:00Z", &again);
    assert_int_equal(again.header_count, KAFKA_HEADERS_MAX);
    assert_non_null(kafka_message_header(&again, REDRIVE_LETTER, &length));
    assert_non_null(kafka_message_header(&again, REDRIVE_TIME, &length));
    set_aside_free(letter);
}

/* Nothing is sent but to the four topics of work of this deployment. */
static void test_only_messages_of_our_topics_are_driven_again(void **state)
{
    static const struct {
        const char *topic;
        bool can;
    } cases[] = {{"tandem.notifications", true},
                 {"tandem.records", true},
                 {"tandem.decisions", true},
                 {"tandem.outcomes", true},
                 {"tandem.deals", false},
                 {"tandem.credentials", false},
                 {"tandem.dead-letters", false},
                 {"tandex.decisions", false},
                 {"decisions", false},
                 {"tandem.decisions.x", false},
                 {"tandem.tandem.decisions", false},
                 {NULL, false}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        const struct kafka_message message = letter_of(cases[i].topic, "mapper", "k", "{}");
        struct set_aside *letter = read_letter(&message, false);

        if ((set_aside_hindrance(letter, "tandem.") == NULL) != cases[i].can)
            fail_msg("%s", cases[i].topic == NULL ? "no topic" : cases[i].topic);
        set_aside_free(letter);
    }
}

/* Which letters are meant: each part of a selection by itself, and all together. */
static void test_selection_table(void **state)
{
    static char other[] = "crm:" DEAL, third[] = DEAL;
    static char *const names[] = {other, third};
    static const struct {
        const char *key;
        struct set_aside_selection selection;
        bool is_meant;
    } cases[] = {
        {"crm:" DEAL, {.deal = "x", .deal_names = names, .deal_name_count = 1}, true},
        {DEAL, {.deal = "x", .deal_names = names, .deal_name_count = 1}, false},
        {DEAL, {.deal = "x", .deal_names = names, .deal_name_count = 2}, true},
        {DEAL, {0}, true},
        {DEAL, {.since_ms = 1795219200123}, true},
        {DEAL, {.since_ms = 1795219200124}, false},
        {DEAL, {.deal = DEAL}, true},
        {"partner-center/" DEAL, {.deal = DEAL}, true},
        {"dynamics-365/" DEAL, {.deal = "crm:" DEAL}, true},
        {"crm:" DEAL, {.deal = "crm:" DEAL}, true},
        {NULL, {.deal = DEAL}, false},
        {"x" DEAL, {.deal = DEAL}, false},
        {DEAL, {.code = "dynamics_365.too_long"}, true},
        {DEAL, {.code = "dynamics_365"}, false},
        {DEAL, {.stage = "pusher"}, true},
        {DEAL, {.stage = "mapper"}, false},
        {DEAL, {.places = {{0, 3}, {0, 17}}, .place_count = 2}, true},
        {DEAL, {.places = {{1, 17}}, .place_count = 1}, false},
        {DEAL, {.deal = DEAL, .stage = "mapper"}, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        const struct kafka_message message = letter_of("tandem.decisions", "pusher", cases[i].key, "{}");
        struct set_aside *letter = read_letter(&message, false);

        if (set_aside_is_meant(letter, &cases[i].selection) != cases[i].is_meant)
            fail_msg("case %zu", i);
        set_aside_free(letter);
    }
}

/* A letter is named by partition and offset, exactly. */
static void test_places_are_read_strictly(void **state)
{
    static const char *const bad[] = {"",      "17",   "/17",  "0/",           "0/-1", "-0/1",
                                      "0/1/2", " 0/1", "0/1 ", "2147483648/0", "a/b"};
    struct set_aside_place place;

    (void)state;
    assert_true(set_aside_read_place("2147483647/9223372036854775807", &place));
    assert_int_equal(place.partition, INT32_MAX);
    assert_true(place.offset == INT64_MAX);
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++)
        if (set_aside_read_place(bad[i], &place))
            fail_msg("'%s' was taken", bad[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_letter_tells_everything_but_the_value),
        cmocka_unit_test(test_letter_shows_nothing_that_steers_a_terminal),
        cmocka_unit_test(test_redriven_message_is_the_original_with_a_mark),
        cmocka_unit_test(test_mark_has_room_in_a_letter_full_of_headers),
        cmocka_unit_test(test_only_messages_of_our_topics_are_driven_again),
        cmocka_unit_test(test_selection_table),
        cmocka_unit_test(test_places_are_read_strictly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
