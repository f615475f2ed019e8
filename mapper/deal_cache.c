#include "mapper/deal_cache.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"

enum { BUCKETS_MIN = 64 };

struct deal_cache {
    struct deal_entry **buckets;
    size_t bucket_count; /* a power of two */
    size_t limit;
    size_t count;
    size_t changed;
    struct deal_entry *newest;
    struct deal_entry *oldest;
};

int deal_cache_new(size_t limit, struct deal_cache **ret_cache, struct error *err)
{
    struct deal_cache *cache = calloc(1, sizeof(*cache));

    if (cache == NULL)
        return error_no_memory(err);
    cache->limit = limit;
    cache->bucket_count = BUCKETS_MIN;
    while (cache->bucket_count < limit)
        cache->bucket_count *= 2;
    cache->buckets = calloc(cache->bucket_count, sizeof(struct deal_entry *));
    if (cache->buckets == NULL) {
        free(cache);
        return error_no_memory(err);
    }
    *ret_cache = cache;
    return 0;
}

static void free_entry(struct deal_entry *entry)
{
    deal_done(&entry->deal);
    free(entry->key);
    free(entry->bytes);
    free(entry);
}

void deal_cache_clear(struct deal_cache *cache)
{
    struct deal_entry *entry = cache->newest;

    while (entry != NULL) {
        struct deal_entry *older = entry->older;

        free_entry(entry);
        entry = older;
    }
    memset(cache->buckets, 0, cache->bucket_count * sizeof(struct deal_entry *));
    cache->newest = NULL;
    cache->oldest = NULL;
    cache->count = 0;
    cache->changed = 0;
}

void deal_cache_free(struct deal_cache *cache)
{
    if (cache == NULL)
        return;
    deal_cache_clear(cache);
    free(cache->buckets);
    free(cache);
}

/* --- Order of use ------------------------------------------------------------------------------------------------- */

static void unlink_entry(struct deal_cache *cache, struct deal_entry *entry)
{
    if (entry->newer != NULL)
        entry->newer->older = entry->older;
    else
        cache->newest = entry->older;
    if (entry->older != NULL)
        entry->older->newer = entry->newer;
    else
        cache->oldest = entry->newer;
}

static void link_newest(struct deal_cache *cache, struct deal_entry *entry)
{
    entry->newer = NULL;
    entry->older = cache->newest;
    if (cache->newest != NULL)
        cache->newest->newer = entry;
    else
        cache->oldest = entry;
    cache->newest = entry;
}

/* --- Finding ------------------------------------------------------------------------------------------------------ */

/* FNV-1a. Keys are ids that other systems make up, not texts anybody could choose to collide. */
static struct deal_entry **bucket_of(const struct deal_cache *cache, const char *key)
{
    uint64_t hash = 0xcbf29ce484222325U;

    for (; *key != '\0'; key++)
        hash = (hash ^ (unsigned char)*key) * 0x100000001b3U;
    return &cache->buckets[(hash ^ hash >> 32) & (cache->bucket_count - 1)];
}

struct deal_entry *deal_cache_find(struct deal_cache *cache, const char *key)
{
    struct deal_entry *entry = *bucket_of(cache, key);

    while (entry != NULL && strcmp(entry->key, key) != 0)
        entry = entry->chain;
    if (entry != NULL) {
        unlink_entry(cache, entry);
        link_newest(cache, entry);
    }
    return entry;
}

static void remove_entry(struct deal_cache *cache, struct deal_entry *entry)
{
    struct deal_entry **place = bucket_of(cache, entry->key);

    while (*place != entry)
        place = &(*place)->chain;
    *place = entry->chain;
    unlink_entry(cache, entry);
    cache->count--;
    free_entry(entry);
}

/* Keeps what is changed, however much that is: the transaction bounds it. */
static void make_room(struct deal_cache *cache)
{
    struct deal_entry *entry = cache->oldest;

    while (entry != NULL && cache->count > 0 && cache->count >= cache->limit) {
        struct deal_entry *newer = entry->newer;

        if (!entry->is_changed)
            remove_entry(cache, entry);
        entry = newer;
    }
}

/* --- Changing ----------------------------------------------------------------------------------------------------- */

static int read_deal(const char *key, const char *bytes, size_t length, struct deal *ret_deal, struct error *err)
{
    if (bytes == NULL)
        return deal_init(ret_deal, key, err);
    if (deal_read(bytes, length, ret_deal, err) == 0)
        return 0;
    /* Not the message's fault: our own state cannot be read, and no message of the deal may go on without it. */
    if (err != NULL && err->class == ERROR_POISON)
        err->class = ERROR_FATAL;
    return error_wrap(err, "state of deal %s", key);
}

int deal_cache_add(struct deal_cache *cache, int32_t partition, const char *key, char *bytes, size_t length,
                   struct deal_entry **ret_entry, struct error *err)
{
    struct deal_entry *entry = calloc(1, sizeof(*entry));
    struct deal_entry **bucket;

    if (entry == NULL || (entry->key = text_copy(key)) == NULL) {
        free(entry);
        free(bytes);
        return error_no_memory(err);
    }
    entry->partition = partition;
    entry->bytes = bytes;
    entry->length = length;
    if (read_deal(key, bytes, length, &entry->deal, err) < 0) {
        free_entry(entry);
        return -1;
    }
    make_room(cache);
    bucket = bucket_of(cache, key);
    entry->chain = *bucket;
    *bucket = entry;
    link_newest(cache, entry);
    cache->count++;
    *ret_entry = entry;
    return 0;
}

void deal_cache_change(struct deal_cache *cache, struct deal_entry *entry, char *bytes, size_t length)
{
    free(entry->bytes);
    entry->bytes = bytes;
    entry->length = length;
    if (!entry->is_changed)
        cache->changed++;
    entry->is_changed = true;
}

int deal_entry_revert(struct deal_entry *entry, struct error *err)
{
    struct deal before;

    if (read_deal(entry->key, entry->bytes, entry->length, &before, err) < 0)
        return -1;
    deal_done(&entry->deal);
    entry->deal = before;
    return 0;
}

int deal_cache_for_changed(struct deal_cache *cache, int (*visit)(void *arg, const struct deal_entry *entry), void *arg)
{
    size_t left = cache->changed;

    /* Changed entries were used in this transaction, so they stand near the newest end. */
    for (const struct deal_entry *entry = cache->newest; entry != NULL && left > 0; entry = entry->older) {
        if (!entry->is_changed)
            continue;
        left--;
        if (visit(arg, entry) < 0)
            return -1;
    }
    return 0;
}

size_t deal_cache_changed_count(const struct deal_cache *cache)
{
    return cache->changed;
}

void deal_cache_settle(struct deal_cache *cache)
{
    for (struct deal_entry *entry = cache->newest; entry != NULL && cache->changed > 0; entry = entry->older) {
        if (entry->is_changed)
            cache->changed--;
        entry->is_changed = false;
    }
    make_room(cache);
}
