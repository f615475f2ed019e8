/* Topic `outcomes`: what came of a decision, with the target's record as it stands afterwards. Keyed by deal key.
 *
 * An outcome is also a reading of the target: `documents` as in record.h (absent when the record is gone or could not be
 * read). */
#ifndef TANDEM_MESSAGES_OUTCOME_H
#define TANDEM_MESSAGES_OUTCOME_H

#include "common/messages/codec.h"

enum outcome_result {
    OUTCOME_APPLIED,
    OUTCOME_CONFLICT,  /* the expected version no longer stood; the record was read again */
    OUTCOME_REFUSED,   /* the target will not take it: dead letter */
    OUTCOME_GONE,      /* the record is not there */
    OUTCOME_SUPERSEDED /* not executed: a later decision of the deal made it void */
};

struct outcome {
    char *decision_id;
    int64_t decision_number;
    char *deal_key;
    int result;
    char *target;
    char *system;
    char *record_type;
    char *record_id; /* also of a record just created; NULL if unknown */
    bool is_certain; /* nobody else wrote the target between our write and this reading */
    bool is_created;
    json_t *documents;
    int64_t attempts;
    int64_t duration_ms; /* of the remote calls */
    int64_t
        status; /* of the answer the result rests on (a refused write's, not that of the reading after it); 0: none */
    char *error_class; /* NULL when applied */
    char *error_code;
    char *error_message;
    char *error_field; /* what of the record the target says the error is about; NULL: it does not */
    char *started_at;
    char *finished_at;
};

extern const struct member OUTCOME_MEMBERS[];
extern const size_t OUTCOME_MEMBER_COUNT;

int outcome_read(const char *bytes, size_t length, struct outcome *ret_outcome, struct error *err) TANDEM_MUST_CHECK;
char *outcome_write(const struct outcome *outcome, size_t *ret_length);
void outcome_done(struct outcome *outcome);

#endif
