#include "common/kafka/offsets.h"

#include <stdlib.h>

enum { OFFSETS_FIRST_CAPACITY = 64 };

struct offset_entry {
    int64_t offset;
    int64_t written_ms;
    bool is_finished;
};

/* A ring of the delivered messages from the lowest unfinished one on, in the order of their offsets. */
struct offsets {
    struct offset_entry *entries;
    size_t capacity; /* a power of two, or 0 */
    size_t first;
    size_t count;
    size_t unfinished;
    int64_t passed;    /* last offset that left the ring, plus one; -1: none yet */
    int64_t committed; /* -1: none yet */
};

struct offsets *offsets_new(void)
{
    struct offsets *offsets = calloc(1, sizeof(*offsets));

    if (offsets != NULL) {
        offsets->passed = -1;
        offsets->committed = -1;
    }
    return offsets;
}

void offsets_free(struct offsets *offsets)
{
    if (offsets == NULL)
        return;
    free(offsets->entries);
    free(offsets);
}

static struct offset_entry *entry_at(const struct offsets *offsets, size_t k)
{
    return &offsets->entries[(offsets->first + k) & (offsets->capacity - 1)];
}

static int grow(struct offsets *offsets)
{
    size_t capacity = offsets->capacity ? offsets->capacity * 2 : OFFSETS_FIRST_CAPACITY;
    struct offset_entry *entries;

    if (capacity > SIZE_MAX / sizeof(*entries) / 2)
        return -1;
    entries = malloc(capacity * sizeof(*entries));
    if (entries == NULL)
        return -1;
    for (size_t k = 0; k < offsets->count; k++)
        entries[k] = *entry_at(offsets, k);
    free(offsets->entries);
    offsets->entries = entries;
    offsets->capacity = capacity;
    offsets->first = 0;
    return 0;
}

int offsets_begin(struct offsets *offsets, int64_t offset, int64_t written_ms)
{
    if (offsets->count == offsets->capacity && grow(offsets) < 0)
        return -1;
    *entry_at(offsets, offsets->count) = (struct offset_entry){.offset = offset, .written_ms = written_ms};
    offsets->count++;
    offsets->unfinished++;
    return 0;
}

/* The entry of `offset`, NULL when it is not in the ring. */
static struct offset_entry *find(const struct offsets *offsets, int64_t offset)
{
    size_t low = 0;
    size_t high = offsets->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (entry_at(offsets, middle)->offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == offsets->count || entry_at(offsets, low)->offset != offset)
        return NULL;
    return entry_at(offsets, low);
}

void offsets_finish(struct offsets *offsets, int64_t offset)
{
    struct offset_entry *entry = find(offsets, offset);

    if (entry == NULL || entry->is_finished)
        return;
    entry->is_finished = true;
    offsets->unfinished--;
    while (offsets->count > 0 && entry_at(offsets, 0)->is_finished) {
        offsets->passed = entry_at(offsets, 0)->offset + 1;
        offsets->first = (offsets->first + 1) & (offsets->capacity - 1);
        offsets->count--;
    }
}

int64_t offsets_to_commit(const struct offsets *offsets)
{
    return offsets->passed > offsets->committed ? offsets->passed : -1;
}

void offsets_committed(struct offsets *offsets, int64_t offset)
{
    if (offset > offsets->committed)
        offsets->committed = offset;
}

size_t offsets_unfinished(const struct offsets *offsets)
{
    return offsets->unfinished;
}

bool offsets_first_unfinished(const struct offsets *offsets, int64_t *ret_offset, int64_t *ret_written_ms)
{
    if (offsets->count == 0)
        return false;
    *ret_offset = entry_at(offsets, 0)->offset;
    *ret_written_ms = entry_at(offsets, 0)->written_ms;
    return true;
}
