/* The answer to a request as bytes: status line, few headers, a JSON body of a code and the request's id.
 *
 * Nothing of the request is repeated and nothing of the program is told. Writes into a buffer, sends nothing. */
#ifndef TANDEM_INGEST_ANSWER_H
#define TANDEM_INGEST_ANSWER_H

#include <event2/buffer.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/attributes.h"
#include "common/base/timestamp.h"

struct answer {
    int status;
    const char *code;      /* a literal: {"status":code} below 300, else {"error":{"code":code}} */
    int64_t retry_after_s; /* 0: no Retry-After */
};

/* -1 when out of memory; the buffer may then hold a part of the answer. */
int answer_write(struct evbuffer *out, const struct answer *answer, const char *request_id, struct timestamp now,
                 bool without_body, bool should_close) TANDEM_MUST_CHECK;

#endif
