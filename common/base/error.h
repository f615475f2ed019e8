/* One error: what happened, a stable code, and the class that decides what is done about it.
 *
 * Filled where the fault is seen, wrapped with context on the way up, logged once at the top. Not an exception and not
 * a log: functions return -1 and the caller decides. Plain value, owned by the caller, no allocation, any thread.
 * Messages never hold secrets or personal data: they end in logs, audit rows and dead letters. */
#ifndef TANDEM_BASE_ERROR_H
#define TANDEM_BASE_ERROR_H

#include "common/base/attributes.h"

enum { ERROR_CODE_SIZE = 48, ERROR_MESSAGE_SIZE = 640 };

enum error_class {
    ERROR_NONE,
    ERROR_TRANSIENT, /* the same attempt may succeed later: back off and repeat */
    ERROR_POISON,    /* this message can never succeed: set it aside with the reason */
    ERROR_ABORT,     /* the transaction must be aborted and its input read again */
    ERROR_FATAL,     /* the process cannot go on: orderly exit, restart by the supervisor */
    ERROR_CONFIG     /* wrong configuration or rules: a person must change something */
};

struct error {
    enum error_class class;
    char code[ERROR_CODE_SIZE];       /* stable word, e.g. "kafka.timeout"; for metrics, logs and dead letters */
    char message[ERROR_MESSAGE_SIZE]; /* for people; cut at a character boundary when too long */
};

#define ERROR_INIT          \
    {                       \
        .class = ERROR_NONE \
    }

/* Sets the error; `code` is a literal. Returns -1, so that callers can write `return error_set(...)`. err may be
 * NULL. */
int error_set(struct error *err, enum error_class class, const char *code, const char *format, ...) TANDEM_PRINTF(4, 5);

/* Puts "prefix: " before the message, keeping code and class. Returns -1. err may be NULL. */
int error_wrap(struct error *err, const char *format, ...) TANDEM_PRINTF(2, 3);

/* Out of memory, always ERROR_TRANSIENT with code "out_of_memory". Returns -1. */
int error_no_memory(struct error *err);

void error_clear(struct error *err);

const char *error_class_name(enum error_class class);

#endif
