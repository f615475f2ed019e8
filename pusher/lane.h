/* One lane per deal: decisions of a deal are carried out one after the other, in the order they came.
 *
 * The first of a lane is under way, also while it waits to be repeated; those behind it wait, other lanes go on. The
 * number of the newest decision carried out is kept with the lane, and for a bounded number of lanes after they ran
 * empty, so that an older one that comes late is recognised; that of the newest one taken up as well, so that it shows
 * when decisions are missing. Pure: no I/O, no clock. Items belong to the caller. */
#ifndef TANDEM_PUSHER_LANE_H
#define TANDEM_PUSHER_LANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"

struct lane;
struct lanes;

/* Embedded in what waits in a lane. */
struct lane_item {
    struct lane *lane; /* NULL: in none */
    struct lane_item *next;
    bool is_parked; /* waits to be repeated, with what stands behind it */
};

/* `idle_max`: lanes remembered after they ran empty. */
int lanes_new(size_t idle_max, struct lanes **ret_lanes, struct error *err) TANDEM_MUST_CHECK;
void lanes_free(struct lanes *lanes); /* accepts NULL; items are not touched */

/* Puts the item at the end of its lane. *ret_is_first: nothing is before it, it may begin. -1: out of memory. */
int lanes_add(struct lanes *lanes, const char *key, struct lane_item *item, bool *ret_is_first, struct error *err)
    TANDEM_MUST_CHECK;
/* Takes the item out, first or not. Returns the item that may begin now, NULL when there is none. */
struct lane_item *lanes_remove(struct lanes *lanes, struct lane_item *item);
/* The lane's first item waits, or goes on. */
void lanes_park(struct lanes *lanes, struct lane_item *item, bool is_parked);

/* The decision with this number is taken up. Returns how many of the deal are missing between it and the newest one taken
 * up before; 0 where none was, as far as is remembered. The mapper numbers the decisions of a deal without a gap. */
int64_t lane_note_taken(struct lane_item *item, int64_t number);
/* The decision with this number was carried out. */
void lane_note_executed(struct lane_item *item, int64_t number);
/* A newer one of the deal has been carried out. */
bool lane_is_superseded(const struct lane_item *item, int64_t number);
/* What was taken up and carried out is forgotten, since the lane's partition goes to another worker and may come back
 * changed. */
void lane_forget_numbers(struct lane_item *item);
/* The same for every lane that is empty. */
void lanes_forget_idle(struct lanes *lanes);

size_t lanes_active(const struct lanes *lanes); /* with at least one item */
size_t lanes_parked(const struct lanes *lanes);
size_t lanes_queued(const struct lanes *lanes); /* items that are not first */

#endif
