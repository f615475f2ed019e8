#include "common/base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const class_names[] = {
    [ERROR_NONE] = "none",   [ERROR_TRANSIENT] = "transient", [ERROR_POISON] = "poison",
    [ERROR_ABORT] = "abort", [ERROR_FATAL] = "fatal",         [ERROR_CONFIG] = "config",
};

/* A full buffer may end inside a multi-byte character; half of one must not reach a log or PostgreSQL. */
static void drop_partial_character(char *string)
{
    size_t length = strlen(string);
    size_t start = length;
    while (start > 0 && ((unsigned char)string[start - 1] & 0xC0) == 0x80)
        start--;
    if (start == 0)
        return;
    unsigned char lead = (unsigned char)string[start - 1];
    size_t need = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
    if (length - (start - 1) < need)
        string[start - 1] = '\0';
}

static void format_message(char out[static ERROR_MESSAGE_SIZE], const char *format, va_list arguments)
    TANDEM_PRINTF(2, 0);

static void format_message(char out[static ERROR_MESSAGE_SIZE], const char *format, va_list arguments)
{
    int wanted = vsnprintf(out, ERROR_MESSAGE_SIZE, format, arguments);
    if (wanted < 0)
        out[0] = '\0';
    else if (wanted >= ERROR_MESSAGE_SIZE)
        drop_partial_character(out);
}

int error_set(struct error *err, enum error_class class, const char *code, const char *format, ...)
{
    if (err == NULL)
        return -1;

    /* Formatted aside first: an argument may be the old message. */
    char message[ERROR_MESSAGE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    format_message(message, format, arguments);
    va_end(arguments);

    err->class = class;
    size_t code_length = strnlen(code, ERROR_CODE_SIZE - 1);
    memmove(err->code, code, code_length);
    err->code[code_length] = '\0';
    memcpy(err->message, message, sizeof(message));
    return -1;
}

int error_wrap(struct error *err, const char *format, ...)
{
    if (err == NULL)
        return -1;

    char message[ERROR_MESSAGE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    format_message(message, format, arguments);
    va_end(arguments);

    size_t length = strlen(message);
    int wanted = snprintf(message + length, sizeof(message) - length, ": %s", err->message);
    if (wanted >= 0 && (size_t)wanted >= sizeof(message) - length)
        drop_partial_character(message);
    memcpy(err->message, message, sizeof(message));
    return -1;
}

int error_no_memory(struct error *err)
{
    return error_set(err, ERROR_TRANSIENT, "out_of_memory", "out of memory");
}

void error_clear(struct error *err)
{
    if (err != NULL)
        *err = (struct error)ERROR_INIT;
}

const char *error_class_name(enum error_class class)
{
    size_t index = (size_t) class;
    return index < ARRAY_LENGTH(class_names) ? class_names[index] : "unknown";
}
