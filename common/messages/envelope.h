/* The envelope of every message: CloudEvents attributes and the W3C trace, carried as Kafka headers (binary mode).
 *
 * Plain value, no allocation, pure. Ids are deterministic where the content is, so that a re-send is recognisable. */
#ifndef TANDEM_MESSAGES_ENVELOPE_H
#define TANDEM_MESSAGES_ENVELOPE_H

#include <stdint.h>

#include "common/base/timestamp.h"

#define MESSAGE_NOTIFICATION "tandem.notification.v1"
#define MESSAGE_RECORD       "tandem.record.v1"
#define MESSAGE_DECISION     "tandem.decision.v1"
#define MESSAGE_OUTCOME      "tandem.outcome.v1"
#define MESSAGE_DEAL         "tandem.deal.v1"

enum { ENVELOPE_ID_SIZE = 72, ENVELOPE_WORD_SIZE = 128, TRACEPARENT_SIZE = 56 };

struct envelope {
    char id[ENVELOPE_ID_SIZE];          /* ce_id */
    char source[ENVELOPE_WORD_SIZE];    /* ce_source: "/tandem/ingest" … */
    char type[ENVELOPE_WORD_SIZE];      /* ce_type: MESSAGE_… */
    char time[TIMESTAMP_TEXT_SIZE];     /* ce_time */
    char subject[ENVELOPE_WORD_SIZE];   /* ce_subject: the deal key or record id */
    char traceparent[TRACEPARENT_SIZE]; /* "" when there is none */
};

/* A trace of its own from 24 random bytes; and the next span of a trace (8 random bytes), keeping the trace id. A
 * malformed `parent` starts a trace derived from `random` repeated. */
void traceparent_new(const uint8_t random[static 24], char out[static TRACEPARENT_SIZE]);
void traceparent_continue(const char *parent, const uint8_t random[static 8], char out[static TRACEPARENT_SIZE]);
/* The same from text instead of random numbers: deterministic spans of the mapper, which has no randomness. "" when out
 * of memory. */
void traceparent_derive(const char *parent, const char *seed, char out[static TRACEPARENT_SIZE]);
/* 32 hexadecimal digits, or "" */
void traceparent_trace_id(const char *traceparent, char out[static 33]);

#endif
