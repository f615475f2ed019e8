/* A message of `dead-letters`, whoever wrote it, becomes a row that PostgreSQL takes, lines that steer no terminal, and
 * the original again when it is driven again. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/messages/dead_letter.h"
#include "pusher/letter.h"
#include "pusher/set_aside.h"
#include "tests/support/message_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PRINT_MAX_BYTES = 1024 * 1024 };

static void require(bool holds)
{
    if (!holds)
        abort();
}

/* Its texts hold no NUL, which PostgreSQL's have no room for, and its numbers fit their columns. */
static void check_row(const struct kafka_message *message)
{
    json_t *row = letter_row(message, "one"), *value;
    const json_t *partition = json_object_get(row, "origin_partition"), *offset = json_object_get(row, "origin_offset");
    const char *phase = json_text_of(row, "phase"), *name;
    size_t length = 0;
    char *written = json_write(row, false, &length);

    require(row != NULL && written != NULL && utf8_is_valid(written, length, NULL));
    require(strcmp(phase, "dead-letter") == 0 ||
            (strcmp(phase, "none") == 0 && strcmp(json_text_of(row, "reason"), DEAD_LETTER_CODE_TEST) == 0));
    json_object_foreach (row, name, value)
        require(json_is_integer(value) ||
                (json_is_string(value) && strlen(json_string_value(value)) == json_string_length(value)));
    require(partition == NULL || (json_integer_value(partition) >= 0 && json_integer_value(partition) <= INT32_MAX));
    require(offset == NULL || json_integer_value(offset) >= 0);
    free(written);
    json_decref(row);
}

static void check_printed(const struct set_aside *letter)
{
    struct text text;
    const char *printed;
    size_t lines = 0;

    text_init(&text, PRINT_MAX_BYTES);
    require(set_aside_print(letter, true, &text) == 0);
    printed = text_string(&text);
    require(utf8_is_valid(printed, text.length, NULL));
    for (size_t at = 0; at < text.length;) {
        unsigned code_point = utf8_next(printed, text.length, &at);
        lines += code_point == '\n';
        require(code_point == '\n' || (code_point >= 0x20 && (code_point < 0x7F || code_point > 0x9F)));
    }
    require(lines == 5);
    text_done(&text);
}

static void check_redriven(const struct set_aside *letter)
{
    struct kafka_message again;
    char name[SET_ASIDE_NAME_SIZE];
    size_t length = 0, marks = 0;

    (void)set_aside_name(letter, name);
    set_aside_redrive(letter, name, "2026-11-21T04:00:00Z", &again);
    require(again.key_length == letter->message.key_length && again.value_length == letter->message.value_length);
    require(again.key == letter->message.key && again.value == letter->message.value);
    for (size_t i = 0; i < again.header_count; i++) {
        require(!text_starts_with(again.headers[i].name, DEAD_LETTER_PREFIX));
        marks += strcmp(again.headers[i].name, REDRIVE_LETTER) == 0;
    }
    /* By the mark the pusher knows that it must not write what was decided then. */
    require(marks == 1 && kafka_message_header(&again, REDRIVE_LETTER, &length) != NULL);
    require(set_aside_hindrance(letter, "tandem.") != NULL || strncmp(again.topic, "tandem.", 7) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct message_text text;
    struct set_aside *letter = NULL;
    struct set_aside_place place;
    struct error err = ERROR_INIT;

    message_text_read(data, size, &text);
    text.message.topic = "tandem.dead-letters";
    check_row(&text.message);
    require(set_aside_new(&text.message, true, &letter, &err) == 0);
    check_printed(letter);
    check_redriven(letter);
    if (set_aside_read_place(letter->key, &place))
        require(place.partition >= 0 && place.offset >= 0);
    set_aside_free(letter);
    message_text_done(&text);
    return 0;
}
