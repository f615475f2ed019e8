#include "pusher/lane.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"

enum { BUCKET_COUNT = 4096 }; /* a power of two; lanes are as many as decisions under way and idle ones */

struct lane {
    char *key;
    struct lane *chain; /* of the bucket */
    struct lane_item *first;
    struct lane_item *last;
    struct lane *newer; /* of the idle ones, by the time they ran empty */
    struct lane *older;
    int64_t taken;    /* number of the newest decision taken up, 0: none */
    int64_t executed; /* of the newest one carried out, 0: none */
};

struct lanes {
    struct lane *buckets[BUCKET_COUNT];
    struct lane *newest_idle;
    struct lane *oldest_idle;
    size_t idle_max;
    size_t idle_count;
    size_t active_count;
    size_t parked_count;
    size_t queued_count;
};

int lanes_new(size_t idle_max, struct lanes **ret_lanes, struct error *err)
{
    struct lanes *lanes = calloc(1, sizeof(*lanes));

    if (lanes == NULL)
        return error_no_memory(err);
    lanes->idle_max = idle_max;
    *ret_lanes = lanes;
    return 0;
}

static void lane_free(struct lane *lane)
{
    free(lane->key);
    free(lane);
}

void lanes_free(struct lanes *lanes)
{
    if (lanes == NULL)
        return;
    for (size_t i = 0; i < BUCKET_COUNT; i++) {
        while (lanes->buckets[i] != NULL) {
            struct lane *lane = lanes->buckets[i];
            lanes->buckets[i] = lane->chain;
            lane_free(lane);
        }
    }
    free(lanes);
}

/* --- Finding ------------------------------------------------------------------------------------------------------ */

/* FNV-1a. Keys are ids that the outside systems make up, not texts anybody could choose to collide. */
static struct lane **bucket_of(struct lanes *lanes, const char *key)
{
    uint64_t hash = 0xcbf29ce484222325U;

    for (; *key != '\0'; key++)
        hash = (hash ^ (unsigned char)*key) * 0x100000001b3U;
    return &lanes->buckets[(hash ^ hash >> 32) & (BUCKET_COUNT - 1)];
}

static struct lane *find(struct lanes *lanes, const char *key)
{
    struct lane *lane = *bucket_of(lanes, key);

    while (lane != NULL && strcmp(lane->key, key) != 0)
        lane = lane->chain;
    return lane;
}

static struct lane *add_lane(struct lanes *lanes, const char *key)
{
    struct lane **bucket = bucket_of(lanes, key);
    struct lane *lane = calloc(1, sizeof(*lane));

    if (lane == NULL)
        return NULL;
    lane->key = text_copy(key);
    if (lane->key == NULL) {
        free(lane);
        return NULL;
    }
    lane->chain = *bucket;
    *bucket = lane;
    return lane;
}

static void drop_lane(struct lanes *lanes, struct lane *lane)
{
    struct lane **link = bucket_of(lanes, lane->key);

    while (*link != lane)
        link = &(*link)->chain;
    *link = lane->chain;
    lane_free(lane);
}

/* --- Lanes that ran empty ----------------------------------------------------------------------------------------- */

static void leave_idle(struct lanes *lanes, struct lane *lane)
{
    if (lane->newer != NULL)
        lane->newer->older = lane->older;
    else
        lanes->newest_idle = lane->older;
    if (lane->older != NULL)
        lane->older->newer = lane->newer;
    else
        lanes->oldest_idle = lane->newer;
    lane->newer = NULL;
    lane->older = NULL;
    lanes->idle_count--;
}

static void drop_oldest_idle(struct lanes *lanes)
{
    struct lane *lane = lanes->oldest_idle;

    leave_idle(lanes, lane);
    drop_lane(lanes, lane);
}

static void become_idle(struct lanes *lanes, struct lane *lane)
{
    lane->older = lanes->newest_idle;
    lane->newer = NULL;
    if (lanes->newest_idle != NULL)
        lanes->newest_idle->newer = lane;
    else
        lanes->oldest_idle = lane;
    lanes->newest_idle = lane;
    lanes->idle_count++;
    while (lanes->idle_count > lanes->idle_max)
        drop_oldest_idle(lanes);
}

/* --- Items -------------------------------------------------------------------------------------------------------- */

int lanes_add(struct lanes *lanes, const char *key, struct lane_item *item, bool *ret_is_first, struct error *err)
{
    struct lane *lane = find(lanes, key);

    if (lane == NULL) {
        lane = add_lane(lanes, key);
        if (lane == NULL)
            return error_no_memory(err);
    } else if (lane->first == NULL) {
        leave_idle(lanes, lane);
    }
    item->lane = lane;
    item->next = NULL;
    item->is_parked = false;
    *ret_is_first = lane->first == NULL;
    if (lane->first == NULL) {
        lane->first = item;
        lanes->active_count++;
    } else {
        lane->last->next = item;
        lanes->queued_count++;
    }
    lane->last = item;
    return 0;
}

struct lane_item *lanes_remove(struct lanes *lanes, struct lane_item *item)
{
    struct lane *lane = item->lane;
    struct lane_item *before = NULL;

    if (lane == NULL)
        return NULL;
    lanes_park(lanes, item, false);
    for (struct lane_item *each = lane->first; each != item; each = each->next)
        before = each;
    if (before != NULL)
        before->next = item->next;
    else
        lane->first = item->next;
    if (lane->last == item)
        lane->last = before;
    item->lane = NULL;
    item->next = NULL;
    if (before != NULL || lane->first != NULL)
        lanes->queued_count--;
    if (before != NULL)
        return NULL;
    if (lane->first == NULL) {
        lanes->active_count--;
        become_idle(lanes, lane);
        return NULL;
    }
    return lane->first;
}

void lanes_park(struct lanes *lanes, struct lane_item *item, bool is_parked)
{
    assert(item->lane != NULL);
    if (item->is_parked == is_parked)
        return;
    item->is_parked = is_parked;
    if (is_parked)
        lanes->parked_count++;
    else
        lanes->parked_count--;
}

int64_t lane_note_taken(struct lane_item *item, int64_t number)
{
    int64_t missing = 0;

    if (item->lane == NULL || number <= item->lane->taken)
        return 0;
    if (item->lane->taken > 0)
        missing = number - item->lane->taken - 1;
    item->lane->taken = number;
    return missing;
}

void lane_note_executed(struct lane_item *item, int64_t number)
{
    if (item->lane != NULL && number > item->lane->executed)
        item->lane->executed = number;
}

bool lane_is_superseded(const struct lane_item *item, int64_t number)
{
    return item->lane != NULL && number < item->lane->executed;
}

void lane_forget_numbers(struct lane_item *item)
{
    if (item->lane == NULL)
        return;
    item->lane->taken = 0;
    item->lane->executed = 0;
}

void lanes_forget_idle(struct lanes *lanes)
{
    while (lanes->oldest_idle != NULL)
        drop_oldest_idle(lanes);
}

size_t lanes_active(const struct lanes *lanes)
{
    return lanes->active_count;
}

size_t lanes_parked(const struct lanes *lanes)
{
    return lanes->parked_count;
}

size_t lanes_queued(const struct lanes *lanes)
{
    return lanes->queued_count;
}
