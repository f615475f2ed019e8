/* What the parts of a delivery share: its state, and how it moves, waits and ends.
 *
 * Internal to delivery.c, which makes deliveries and takes them up, delivery_calls.c, which makes the calls, and
 * delivery_report.c, which brings home what came of them. Which step follows which is theirs; what is allowed is here.
 * Loop thread only. */
#ifndef TANDEM_PUSHER_DELIVERY_STATE_H
#define TANDEM_PUSHER_DELIVERY_STATE_H

#include <stdbool.h>

#include "common/base/error.h"
#include "common/base/timestamp.h"
#include "common/base/uuid.h"
#include "pusher/audit_row.h"
#include "pusher/delivery.h"
#include "pusher/execute.h"
#include "pusher/received.h"

/* As in the picture of delivery.h. */
enum delivery_state {
    DELIVERY_QUEUED,
    DELIVERY_INTENT,
    DELIVERY_TURN,
    DELIVERY_CALLING,
    DELIVERY_PAUSED,
    DELIVERY_RECORDING,
    DELIVERY_PUBLISHING,
    DELIVERY_LETTER,
    DELIVERY_CLOSING,
    DELIVERY_OVER
};

struct delivery {
    const struct delivery_ports *ports;
    enum delivery_state state;
    struct delivery *previous; /* of the worker's list */
    struct delivery *next;
    struct lane_item item;
    struct turn turn;
    struct target *target;
    struct loop_timer *timer;
    struct received received;
    char id[UUID_TEXT_SIZE];
    bool is_executing; /* `execution` is initialised */
    struct execution execution;
    char started_at[TIMESTAMP_TEXT_SIZE];
    char finished_at[TIMESTAMP_TEXT_SIZE];
    char *outcome;   /* as it is published */
    bool is_refused; /* in whole or in part: a person has to know */
    struct error refusal;
    unsigned attempts;
    bool is_unrecorded; /* the audit cannot hold it */
    bool is_awaited;    /* a callback of somebody else will come */
    bool is_abandoned;
    bool is_draining;
};

void delivery_move(struct delivery *delivery, enum delivery_state state);
/* The last thing done with it; on_over comes from inside. `is_finished` as there. */
void delivery_end(struct delivery *delivery, bool is_finished);
/* Without a word to anybody. */
void delivery_free(struct delivery *delivery);
/* To be asked first when a callback has come. True: the delivery was abandoned meanwhile, and is gone. */
bool delivery_is_gone(struct delivery *delivery);
/* Our own stores (topic, database, memory) refuse for the moment: the same step again, a little later. */
void delivery_repeat_later(struct delivery *delivery, const struct error *err);

struct audit_origin delivery_origin(const struct delivery *delivery); /* borrows from the delivery */
void delivery_set_now(char out[static TIMESTAMP_TEXT_SIZE]);

#endif
