#include <stdlib.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/runtime/log.h"
#include "common/systems/dynamics365.h"
#include "ingest/poll_source.h"

#define RECORD_TYPE "opportunity"

/* --- Opportunities ------------------------------------------------------------------------------------------------ */

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
    const struct dynamics_365_listing listing = {.entity = source->table == NULL ? RECORD_TYPE : source->table,
                                                 .parent = source->parent_column};
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
                                       .occurred_at = json_text_of(document, "changed_at"),
                                       .etag = json_text_of(document, "etag")};
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

/* --- Child rows --------------------------------------------------------------------------------------------------- */

/* Each table has a cursor of its own, and expires by itself. Its rows are news of the opportunities they belong to. */
static int begin_children(struct poll_source *source, const char *position, int64_t now_ms, struct error *err)
{
    if (begin_changes(source, position, now_ms, err) < 0)
        return -1;
    return poll_parents_begin(&source->parents, source->next == NULL, err);
}

static int take_children(struct poll_source *source, const struct system_page *page,
                         int (*tell)(void *arg, const struct poll_news *news, struct error *err), void *arg,
                         bool *ret_is_over, struct error *err)
{
    const struct poll_parents_page rows = {
        .rows = page->documents, .deleted = source->deleted, .is_last = page->next == NULL, .since = source->since};
    json_auto_t *found = NULL;
    const char *id;
    json_t *changed_at;

    if (poll_parents_take(&source->parents, &rows, &found, err) < 0)
        return -1;
    json_object_foreach (found, id, changed_at) {
        const struct poll_news news = {.event = "changed",
                                       .record_type = RECORD_TYPE,
                                       .record_id = id,
                                       .occurred_at = json_string_value(changed_at)};
        if (tell(arg, &news, err) < 0)
            return -1;
    }
    *ret_is_over = page->next == NULL;
    return 0;
}

static int keep_parents(struct poll_source *source,
                        int (*send)(void *arg, const char *name, const char *value, struct error *err), void *arg,
                        struct error *err)
{
    const char *row;
    json_t *parent;

    json_object_foreach (source->parents.changes, row, parent) {
        if (send(arg, row, json_string_value(parent), err) < 0)
            return -1;
    }
    return 0;
}

static int parents_are_kept(struct poll_source *source, struct error *err)
{
    return poll_parents_keep(&source->parents, err);
}

static int learn_parent(struct poll_source *source, const char *name, const char *value, struct error *err)
{
    return poll_parents_learn(&source->parents, name, value, err);
}

static const char *end_children(struct poll_source *source)
{
    const struct poll_parents *parents = &source->parents;

    if (parents->passed_over > 0)
        log_warning("poll.rows_passed_over", LOG_TEXT("source", source->cursor),
                    LOG_INTEGER("rows", parents->passed_over));
    if (parents->unknown > 0)
        log_info("poll.deletions_unknown", LOG_TEXT("source", source->cursor), LOG_INTEGER("rows", parents->unknown));
    return poll_parents_end(&source->parents) ? source->position : NULL;
}

static void abandon_children(struct poll_source *source, const struct system_page *page)
{
    abandon_changes(source, page);
    poll_parents_abandon(&source->parents);
}

const struct poll_source_type POLL_DYNAMICS_365_CHILDREN = {.cursor = "poll/dynamics-365/",
                                                            .system = "dynamics-365",
                                                            .has_cursor = true,
                                                            .begin = begin_children,
                                                            .ask = ask_for_changes,
                                                            .take = take_children,
                                                            .end = end_children,
                                                            .abandon = abandon_children,
                                                            .keep = keep_parents,
                                                            .kept = parents_are_kept,
                                                            .learn = learn_parent};
