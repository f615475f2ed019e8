/* The way home of a delivery: what it came to is recorded, published, and cleared away.
 *
 *   RECORDING --> PUBLISHING (--> LETTER) --> CLOSING --> finished
 *
 * Internal to a delivery (delivery_state.h); makes no call to the target. Where a store of ours refuses for the moment,
 * the step is repeated from the delivery's timer. Loop thread only. */
#ifndef TANDEM_PUSHER_DELIVERY_REPORT_H
#define TANDEM_PUSHER_DELIVERY_REPORT_H

#include "common/base/error.h"

struct delivery;

/* What it came to is known; now it is to be kept. The delivery may be gone afterwards, as with the functions below. */
void delivery_report_begin(struct delivery *delivery);
/* It ended before, but its outcome is not known to be published: takes the outcome as it was recorded. */
int delivery_report_recall(struct delivery *delivery, const char *message, struct error *err) TANDEM_MUST_CHECK;
/* From a recalled outcome on. */
void delivery_report_publish(struct delivery *delivery);
/* The step of the state it is in once more. */
void delivery_report_repeat(struct delivery *delivery);

#endif
