#include "mapper/crash_mark.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE_VERSION = 1 };

enum stage {
    STAGE_IDLE,
    STAGE_MESSAGE,
    STAGE_STORE,            /* between messages */
    STAGE_STORE_IN_MESSAGE, /* what the bits of both say */
};

struct place {
    char topic[CRASH_MARK_TOPIC_SIZE];
    int32_t partition;
    int64_t offset;
};

/* The file. */
struct page {
    char magic[8];
    uint32_t version;
    atomic_uint stage; /* written last, so that what it speaks of is there */
    struct place current;
    struct place suspect;
    uint32_t suspect_deaths;
    uint32_t store_deaths;
};

static const char MAGIC[8] = "TANDEMCM";

struct crash_mark {
    struct page *page;
    bool was_left;
};

static bool same_place(const struct place *place, const char *topic, int32_t partition, int64_t offset)
{
    return place->partition == partition && place->offset == offset &&
           strncmp(place->topic, topic, sizeof(place->topic) - 1) == 0;
}

static void set_place(struct place *place, const char *topic, int32_t partition, int64_t offset)
{
    size_t length = strnlen(topic, sizeof(place->topic) - 1);

    memcpy(place->topic, topic, length);
    place->topic[length] = '\0';
    place->partition = partition;
    place->offset = offset;
}

static void begin_anew(struct page *page)
{
    memset(page, 0, sizeof(*page));
    memcpy(page->magic, MAGIC, sizeof(page->magic));
    page->version = PAGE_VERSION;
}

/* Draws the conclusion from what the last process left. */
static void judge(struct crash_mark *mark)
{
    struct page *page = mark->page;
    unsigned stage = atomic_load(&page->stage);

    mark->was_left = stage != STAGE_IDLE;
    if (stage & STAGE_STORE) {
        page->store_deaths++;
    } else if (stage == STAGE_MESSAGE) {
        const struct place *current = &page->current;

        page->store_deaths = 0;
        if (same_place(&page->suspect, current->topic, current->partition, current->offset)) {
            page->suspect_deaths++;
        } else {
            page->suspect = *current;
            page->suspect_deaths = 1;
        }
    } else {
        page->store_deaths = 0;
    }
    atomic_store(&page->stage, STAGE_IDLE);
}

int crash_mark_open(const char *path, struct crash_mark **ret_mark, struct error *err)
{
    struct crash_mark *mark = NULL;
    struct stat status;
    int result = -1;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0 || fstat(fd, &status) < 0) {
        error_set(err, ERROR_FATAL, "store.unusable", "%s: %s", path, strerror(errno));
        goto out;
    }
    /* Room on the disk now: a page that cannot be written later would be a signal. */
    errno = posix_fallocate(fd, 0, sizeof(struct page));
    if (errno != 0) {
        error_set(err, ERROR_FATAL, errno == ENOSPC ? "store.disk_full" : "store.unusable", "%s: %s", path,
                  strerror(errno));
        goto out;
    }
    mark = calloc(1, sizeof(*mark));
    if (mark == NULL) {
        error_no_memory(err);
        goto out;
    }
    mark->page = mmap(NULL, sizeof(struct page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mark->page == MAP_FAILED) {
        error_set(err, ERROR_FATAL, "store.unusable", "%s: %s", path, strerror(errno));
        free(mark);
        goto out;
    }
    if (status.st_size != (off_t)sizeof(struct page) ||
        memcmp(mark->page->magic, MAGIC, sizeof(mark->page->magic)) != 0 || mark->page->version != PAGE_VERSION)
        begin_anew(mark->page);
    judge(mark);
    *ret_mark = mark;
    result = 0;
out:
    if (fd >= 0)
        close(fd);
    return result;
}

void crash_mark_close(struct crash_mark *mark)
{
    if (mark == NULL)
        return;
    mark->page->store_deaths = 0;
    atomic_store(&mark->page->stage, STAGE_IDLE);
    munmap(mark->page, sizeof(*mark->page));
    free(mark);
}

void crash_mark_begin(struct crash_mark *mark, const char *topic, int32_t partition, int64_t offset)
{
    set_place(&mark->page->current, topic, partition, offset);
    atomic_store(&mark->page->stage, STAGE_MESSAGE);
}

void crash_mark_end(struct crash_mark *mark)
{
    atomic_store(&mark->page->stage, STAGE_IDLE);
}

void crash_mark_enter_store(struct crash_mark *mark)
{
    atomic_fetch_or(&mark->page->stage, STAGE_STORE);
}

void crash_mark_leave_store(struct crash_mark *mark)
{
    atomic_fetch_and(&mark->page->stage, ~(unsigned)STAGE_STORE);
}

bool crash_mark_is_deadly(const struct crash_mark *mark, const char *topic, int32_t partition, int64_t offset)
{
    const struct page *page = mark->page;

    return page->suspect_deaths >= CRASH_MARK_DEATHS_MAX && same_place(&page->suspect, topic, partition, offset);
}

bool crash_mark_distrusts_store(const struct crash_mark *mark)
{
    return mark->page->store_deaths >= CRASH_MARK_DEATHS_MAX;
}

bool crash_mark_was_left(const struct crash_mark *mark)
{
    return mark->was_left;
}
