/* What an authentic webhook body comes to, whoever sent it: a notification, or a reason why there is none.
 *
 * Parts that the senders' modules share (webhook_partner_center.h, webhook_dynamics.h). Nothing that is authentic is
 * dropped without a trace: what is no notification becomes a dead letter, but for events that are known not to concern
 * us. Pure: the time of arrival is an argument. */
#ifndef TANDEM_INGEST_WEBHOOK_H
#define TANDEM_INGEST_WEBHOOK_H

#include <stddef.h>

#include "common/base/json.h"
#include "common/messages/notification.h"
#include "ingest/request.h"

enum webhook_outcome {
    WEBHOOK_NOTIFICATION, /* produce it, then 202 */
    WEBHOOK_IGNORED,      /* 202, nothing to produce */
    WEBHOOK_SET_ASIDE,    /* dead letter, then 202: sending it again would not help */
    WEBHOOK_REFUSED,      /* dead letter, then `status` */
    WEBHOOK_OVERLOADED    /* out of memory: 503 */
};

struct webhook_result {
    enum webhook_outcome outcome;
    int status;                       /* of the answer */
    const char *code;                 /* a literal; "accepted" and "ignored" where there is nothing wrong */
    struct notification notification; /* WEBHOOK_NOTIFICATION; webhook_result_done() releases it */
};

void webhook_result_done(struct webhook_result *result);

struct webhook_result webhook_set_aside(const char *code);
struct webhook_result webhook_refused(int status, const char *code);
struct webhook_result webhook_overloaded(void);

/* NULL with *reterr_result when the body is no JSON object within the limits: 400 with the fault's code, 413 when it is
 * too large, 422 "schema" when it is something else than an object. */
json_t *webhook_read_object(const char *body, size_t length, const struct json_limits *limits,
                            struct webhook_result *reterr_result);

/* The request headers worth keeping, by a fixed list: none of them holds a secret or a signature. NULL when out of
 * memory. */
json_t *webhook_headers(const struct request *request);

#endif
