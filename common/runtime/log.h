/* JSON-lines log on standard error: one object per line with `ts`, `level`, `program`, `event` and typed fields.
 *
 * Programs and I/O shells log; the pure core never does. `event` is a fixed name ("push.applied"); values go into
 * fields, never into the name. Strings are escaped (control characters, bidirectional marks, line separators) and cut
 * at 512 bytes. Never a payload, a secret, a token, an e-mail address or a name of a person. Any thread. */
#ifndef TANDEM_RUNTIME_LOG_H
#define TANDEM_RUNTIME_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attributes.h"
#include "common/base/error.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR };

enum log_field_kind { LOG_FIELD_TEXT, LOG_FIELD_INTEGER, LOG_FIELD_BOOLEAN };

struct log_field {
    const char *name;
    enum log_field_kind kind;
    const char *text; /* NULL is written as null */
    int64_t integer;
};

#define LOG_TEXT(name_, text_) ((struct log_field){.name = (name_), .kind = LOG_FIELD_TEXT, .text = (text_)})
#define LOG_INTEGER(name_, value_) \
    ((struct log_field){.name = (name_), .kind = LOG_FIELD_INTEGER, .integer = (int64_t)(value_)})
#define LOG_BOOLEAN(name_, value_) \
    ((struct log_field){.name = (name_), .kind = LOG_FIELD_BOOLEAN, .integer = (value_) ? 1 : 0})
/* Class, code and message of an error, as three fields. */
#define LOG_ERROR(error_)                                                                               \
    LOG_TEXT("error_class", error_class_name((error_)->class)), LOG_TEXT("error_code", (error_)->code), \
        LOG_TEXT("error", (error_)->message)

void log_setup(const char *program, enum log_level threshold);
void log_set_level(enum log_level threshold);
void log_write(enum log_level level, const char *event, const struct log_field *fields, size_t count);

#define LOG_FIELDS_(level_, event_, ...)                                              \
    do {                                                                              \
        const struct log_field fields_[] = {__VA_ARGS__};                             \
        log_write((level_), (event_), fields_, sizeof(fields_) / sizeof(fields_[0])); \
    } while (0)
/* At least one field each: log_info("program.ready", LOG_INTEGER("partitions", n)); */
#define log_debug(event_, ...)   LOG_FIELDS_(LOG_LEVEL_DEBUG, event_, __VA_ARGS__)
#define log_info(event_, ...)    LOG_FIELDS_(LOG_LEVEL_INFO, event_, __VA_ARGS__)
#define log_warning(event_, ...) LOG_FIELDS_(LOG_LEVEL_WARNING, event_, __VA_ARGS__)
#define log_error(event_, ...)   LOG_FIELDS_(LOG_LEVEL_ERROR, event_, __VA_ARGS__)

#endif
