#include <stdlib.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/systems/dynamics365.h"
#include "ingest/poll_source.h"

#define RECORD_TYPE "opportunity"

/* Change tracking: the cursor is where the next round asks on. Without one the table is gone through once, to have a link
 * to begin with; of what it shows only the last while is told, since the rest is for `backfill`. After a link has expired
 * nobody knows what was missed, and all of it is told. */
static int begin_changes(struct poll_source *source, const char *position, int64_t now_ms, struct error *err)
{
    const char *first = source->is_expired ? NULL : position;

    source->since = NULL;
    if (first == NULL && !source->is_expired) {
        timestamp_format(timestamp_from_ms(now_ms - source->settings->first_window_ms), 0, source->since_text);
        source->since = source->since_text;
    }
    source->is_expired = false;
    return text_assign(&source->next, first, err) < 0 || text_assign(&source->position, NULL, err) < 0 ? -1 : 0;
}

struct question {
    struct poll_source *source;
    system_page_callback on_page;
    void *arg;
};

static void on_changes(void *arg, const struct dynamics_365_changes *changes)
{
    const struct question question = *(struct question *)arg;
    struct poll_source *source = question.source;
    struct system_page page = changes->page;
    struct error err = ERROR_INIT;

    free(arg);
    json_decref(source->deleted);
    source->deleted = changes->deleted == NULL ? NULL : json_deep_copy(changes->deleted);
    source->is_expired = changes->is_expired;
    if (page.result == SYSTEM_DONE && page.next == NULL && text_assign(&source->position, changes->resume, &err) < 0) {
        page.result = SYSTEM_RETRY;
        page.error = err;
    }
    question.on_page(question.arg, &page);
}

static int ask_for_changes(struct poll_source *source, system_page_callback on_page, void *arg, struct error *err)
{
    const struct dynamics_365_listing listing = {.entity = RECORD_TYPE};
    struct question *question = calloc(1, sizeof(*question));

    if (question == NULL)
        return error_no_memory(err);
    *question = (struct question){.source = source, .on_page = on_page, .arg = arg};
    if (dynamics_365_delta(source->system, &listing, source->next, on_changes, question, err) < 0) {
        free(question);
        return -1;
    }
    return 0;
}

static bool is_recent(const struct poll_source *source, const json_t *document)
{
    const char *changed_at = json_text_of(document, "changed_at");
    struct timestamp since, changed;

    return source->since == NULL || changed_at == NULL || !timestamp_parse(source->since, true, &since) ||
           !timestamp_parse(changed_at, true, &changed) || timestamp_compare(changed, since) >= 0;
}

static int take_changes(struct poll_source *source, const struct system_page *page,
                        int (*tell)(void *arg, const struct poll_news *news, struct error *err), void *arg,
                        bool *ret_is_over, struct error *err)
{
    for (size_t i = 0; i < json_array_size(page->documents); i++) {
        const json_t *document = json_array_get(page->documents, i);
        const struct poll_news news = {.event = "changed",
                                       .record_type = RECORD_TYPE,
                                       .record_id = json_text_of(document, "id"),
                                       .occurred_at = json_text_of(document, "changed_at")};
        if (is_recent(source, document) && tell(arg, &news, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < json_array_size(source->deleted); i++) {
        const struct poll_news news = {.event = "deleted",
                                       .record_type = RECORD_TYPE,
                                       .record_id = json_string_value(json_array_get(source->deleted, i))};
        if (tell(arg, &news, err) < 0)
            return -1;
    }
    *ret_is_over = page->next == NULL;
    return 0;
}

static const char *end_changes(struct poll_source *source)
{
    return source->position;
}

/* Begun anew from the cursor; from the whole table when the cursor is the reason. */
static void abandon_changes(struct poll_source *source, const struct system_page *page)
{
    (void)page;
    json_decref(source->deleted);
    source->deleted = NULL;
}

const struct poll_source_type POLL_DYNAMICS_365_CHANGES = {.cursor = "poll/dynamics-365",
                                                           .system = "dynamics-365",
                                                           .has_cursor = true,
                                                           .begin = begin_changes,
                                                           .ask = ask_for_changes,
                                                           .take = take_changes,
                                                           .end = end_changes,
                                                           .abandon = abandon_changes};
