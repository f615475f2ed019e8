#include "ingest/fold.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"

enum { BUCKETS_FIRST = 256 };

struct list {
    struct fold_record *first, *last;
    size_t count;
};

struct fold {
    void (*free_item)(struct fold_item *item);
    size_t group_count;
    struct list queues[FOLD_GROUPS_MAX];
    struct list delayed;          /* unordered */
    struct list resting;          /* by time */
    struct fold_record **buckets; /* by key; a power of two */
    size_t bucket_count;
    size_t record_count;
};

/* --- Records by key ----------------------------------------------------------------------------------------------- */

/* FNV-1a, 64 bits. */
static size_t bucket_of(const struct fold *fold, const char *key)
{
    uint64_t hash = 14695981039346656037U;

    for (const char *at = key; *at != '\0'; at++)
        hash = (hash ^ (unsigned char)*at) * 1099511628211U;
    return (size_t)(hash ^ hash >> 32) & (fold->bucket_count - 1);
}

static struct fold_record *find(const struct fold *fold, const char *key)
{
    struct fold_record *record = fold->buckets[bucket_of(fold, key)];

    while (record != NULL && strcmp(record->key, key) != 0)
        record = record->next_in_bucket;
    return record;
}

/* Longer chains are the only harm when there is no memory for this. */
static void widen(struct fold *fold)
{
    struct fold_record **old = fold->buckets;
    size_t old_count = fold->bucket_count;
    struct fold_record **wider = calloc(old_count * 2, sizeof(struct fold_record *));

    if (wider == NULL)
        return;
    fold->buckets = wider;
    fold->bucket_count = old_count * 2;
    for (size_t i = 0; i < old_count; i++) {
        struct fold_record *record = old[i];
        while (record != NULL) {
            struct fold_record *next = record->next_in_bucket;
            size_t bucket = bucket_of(fold, record->key);
            record->next_in_bucket = wider[bucket];
            wider[bucket] = record;
            record = next;
        }
    }
    free(old);
}

static struct fold_record *insert(struct fold *fold, size_t group, const char *key)
{
    struct fold_record *record = calloc(1, sizeof(*record));
    size_t bucket;

    if (record == NULL)
        return NULL;
    record->group = group;
    record->key = text_copy(key);
    if (record->key == NULL) {
        free(record);
        return NULL;
    }
    if (fold->record_count >= fold->bucket_count)
        widen(fold);
    bucket = bucket_of(fold, key);
    record->next_in_bucket = fold->buckets[bucket];
    fold->buckets[bucket] = record;
    fold->record_count++;
    return record;
}

static void free_items(const struct fold *fold, struct fold_item *item)
{
    while (item != NULL) {
        struct fold_item *next = item->next;
        fold->free_item(item);
        item = next;
    }
}

/* It stands in no list. */
static void erase(struct fold *fold, struct fold_record *record)
{
    struct fold_record **link = &fold->buckets[bucket_of(fold, record->key)];

    while (*link != record)
        link = &(*link)->next_in_bucket;
    *link = record->next_in_bucket;
    fold->record_count--;
    free_items(fold, record->batch);
    free_items(fold, record->waiting);
    free(record->key);
    free(record);
}

/* --- States ------------------------------------------------------------------------------------------------------- */

static void append(struct list *list, struct fold_record *record)
{
    record->previous = list->last;
    record->next = NULL;
    if (list->last != NULL)
        list->last->next = record;
    else
        list->first = record;
    list->last = record;
    list->count++;
}

static void unlink_from(struct list *list, struct fold_record *record)
{
    if (record->previous != NULL)
        record->previous->next = record->next;
    else
        list->first = record->next;
    if (record->next != NULL)
        record->next->previous = record->previous;
    else
        list->last = record->previous;
    record->previous = record->next = NULL;
    list->count--;
}

static void leave(struct fold *fold, struct fold_record *record)
{
    if (record->state == FOLD_QUEUED)
        unlink_from(&fold->queues[record->group], record);
    else if (record->state == FOLD_DELAYED)
        unlink_from(&fold->delayed, record);
    else if (record->state == FOLD_RESTING)
        unlink_from(&fold->resting, record);
}

static void enter_queue(struct fold *fold, struct fold_record *record)
{
    record->state = FOLD_QUEUED;
    append(&fold->queues[record->group], record);
}

/* The end of `batch` is looked for: batches are short, and this happens once per read. */
static void join_waiting(struct fold_record *record)
{
    struct fold_item **end = &record->batch;

    while (*end != NULL)
        end = &(*end)->next;
    *end = record->waiting;
    record->waiting = record->last_waiting = NULL;
}

/* --- The interface ------------------------------------------------------------------------------------------------ */

struct fold *fold_new(size_t group_count, void (*free_item)(struct fold_item *item))
{
    struct fold *fold = group_count > FOLD_GROUPS_MAX ? NULL : calloc(1, sizeof(*fold));

    if (fold == NULL)
        return NULL;
    fold->free_item = free_item;
    fold->group_count = group_count;
    fold->bucket_count = BUCKETS_FIRST;
    fold->buckets = calloc(BUCKETS_FIRST, sizeof(struct fold_record *));
    if (fold->buckets == NULL) {
        free(fold);
        return NULL;
    }
    return fold;
}

void fold_free(struct fold *fold)
{
    if (fold == NULL)
        return;
    for (size_t i = 0; i < fold->bucket_count; i++) {
        while (fold->buckets[i] != NULL)
            erase(fold, fold->buckets[i]);
    }
    free(fold->buckets);
    free(fold);
}

int fold_add(struct fold *fold, size_t group, const char *key, struct fold_item *item)
{
    struct fold_record *record = find(fold, key);

    if (record == NULL) {
        record = insert(fold, group, key);
        if (record == NULL)
            return -1;
        enter_queue(fold, record);
    }
    item->next = NULL;
    if (record->last_waiting != NULL)
        record->last_waiting->next = item;
    else
        record->waiting = item;
    record->last_waiting = item;
    return 0;
}

struct fold_record *fold_take(struct fold *fold, size_t group)
{
    struct fold_record *record = fold->queues[group].first;

    if (record == NULL)
        return NULL;
    leave(fold, record);
    record->state = FOLD_READING;
    join_waiting(record);
    return record;
}

static void queue_or_erase(struct fold *fold, struct fold_record *record)
{
    if (record->waiting != NULL)
        enter_queue(fold, record);
    else
        erase(fold, record);
}

static void forget_failures(struct fold_record *record)
{
    record->retry = (struct retry_state){0};
    record->unexplained = 0;
}

void fold_end(struct fold *fold, struct fold_record *record, int64_t rest_until_ms)
{
    free_items(fold, record->batch);
    record->batch = NULL;
    forget_failures(record);
    record->state = FOLD_RESTING;
    record->due_ms = rest_until_ms;
    append(&fold->resting, record);
}

void fold_retry(struct fold *fold, struct fold_record *record, int64_t due_ms)
{
    if (record->batch == NULL) {
        forget_failures(record);
        queue_or_erase(fold, record);
        return;
    }
    record->state = FOLD_DELAYED;
    record->due_ms = due_ms;
    append(&fold->delayed, record);
}

int64_t fold_wake(struct fold *fold, int64_t now_ms)
{
    struct fold_record *record = fold->delayed.first;
    int64_t next_ms = -1;

    while (record != NULL) {
        struct fold_record *next = record->next;
        if (record->due_ms <= now_ms) {
            leave(fold, record);
            enter_queue(fold, record);
        } else if (next_ms < 0 || record->due_ms < next_ms) {
            next_ms = record->due_ms;
        }
        record = next;
    }
    while ((record = fold->resting.first) != NULL && record->due_ms <= now_ms) {
        leave(fold, record);
        queue_or_erase(fold, record);
    }
    if (record != NULL && (next_ms < 0 || record->due_ms < next_ms))
        next_ms = record->due_ms;
    return next_ms;
}

void fold_hurry(struct fold *fold, size_t group)
{
    struct fold_record *record = fold->delayed.first;

    while (record != NULL) {
        struct fold_record *next = record->next;
        if (record->group == group) {
            leave(fold, record);
            enter_queue(fold, record);
        }
        record = next;
    }
}

/* Returns the last item that stays. */
static struct fold_item *remove_items(const struct fold *fold, struct fold_item **link, int32_t partition)
{
    struct fold_item *last = NULL;

    while (*link != NULL) {
        struct fold_item *item = *link;
        if (item->partition == partition) {
            *link = item->next;
            fold->free_item(item);
        } else {
            last = item;
            link = &item->next;
        }
    }
    return last;
}

void fold_forget(struct fold *fold, int32_t partition)
{
    for (size_t i = 0; i < fold->bucket_count; i++) {
        struct fold_record *record = fold->buckets[i];
        while (record != NULL) {
            struct fold_record *next = record->next_in_bucket;
            (void)remove_items(fold, &record->batch, partition);
            record->last_waiting = remove_items(fold, &record->waiting, partition);
            if (record->state != FOLD_READING && record->batch == NULL && record->waiting == NULL) {
                leave(fold, record);
                erase(fold, record);
            }
            record = next;
        }
    }
}

size_t fold_records(const struct fold *fold)
{
    return fold->record_count - fold->resting.count;
}

size_t fold_queued(const struct fold *fold, size_t group)
{
    return fold->queues[group].count;
}
