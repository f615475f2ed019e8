#include <stdlib.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/base/timestamp.h"
#include "common/systems/partner_center.h"
#include "ingest/poll_source.h"

enum { TIME_DIGITS = 3 };

static int tell_document(const json_t *document, const char *event, const char *etag,
                         int (*tell)(void *arg, const struct poll_news *news, struct error *err), void *arg,
                         struct error *err)
{
    const struct poll_news news = {
        .event = event,
        .record_type = text_equal(json_text_of(document, "role"), "related") ? "related-referral" : "referral",
        .record_id = json_text_of(document, "id"),
        .occurred_at = json_text_of(document, "version"),
        .etag = etag};

    return tell(arg, &news, err);
}

/* --- What has changed --------------------------------------------------------------------------------------------- */

/* Without a cursor only the last while is looked at: what is older is for `backfill`. */
static int begin_changes(struct poll_source *source, const char *position, int64_t now_ms, struct error *err)
{
    char first[TIMESTAMP_TEXT_SIZE];

    if (!source->has_window) {
        timestamp_format(timestamp_from_ms(now_ms - source->settings->first_window_ms), TIME_DIGITS, first);
        if (poll_window_init(&source->window, position != NULL ? position : first, err) < 0)
            return -1;
        source->has_window = true;
    }
    return poll_window_begin(&source->window, err);
}

static int ask_for_changes(struct poll_source *source, system_page_callback on_page, void *arg, struct error *err)
{
    return partner_center_list(source->system, PARTNER_CENTER_UPDATED, source->next, on_page, arg, err);
}

static int take_changes(struct poll_source *source, const struct system_page *page,
                        int (*tell)(void *arg, const struct poll_news *news, struct error *err), void *arg,
                        bool *ret_is_over, struct error *err)
{
    json_auto_t *news = NULL;

    if (poll_window_take(&source->window, source->settings->overlap_ms, page->documents, &news, ret_is_over, err) < 0)
        return -1;
    *ret_is_over = *ret_is_over || page->next == NULL;
    for (size_t i = 0; i < json_array_size(news); i++) {
        const json_t *document = json_array_get(news, i);
        /* A reading is known by our referral's version; Microsoft's is a part of it. */
        const char *etag = text_equal(json_text_of(document, "role"), "own") ? json_text_of(document, "etag") : NULL;
        if (tell_document(document, "changed", etag, tell, arg, err) < 0)
            return -1;
    }
    return 0;
}

static const char *end_changes(struct poll_source *source)
{
    struct error err = ERROR_INIT;

    if (poll_window_end(&source->window, &err) < 0)
        return NULL; /* the next round tells it */
    return source->window.watermark;
}

static void abandon_changes(struct poll_source *source, const struct system_page *page)
{
    (void)page;
    if (source->has_window)
        poll_window_abandon(&source->window);
}

const struct poll_source_type POLL_PARTNER_CENTER_CHANGES = {.cursor = "poll/partner-center",
                                                             .system = "partner-center",
                                                             .has_cursor = true,
                                                             .begin = begin_changes,
                                                             .ask = ask_for_changes,
                                                             .take = take_changes,
                                                             .end = end_changes,
                                                             .abandon = abandon_changes};

/* --- Open shared deals -------------------------------------------------------------------------------------------- */

/* Whether a change of Microsoft's referral moves the time of ours is unconfirmed, so each open shared deal is read. */
static const enum partner_center_listing SHARED_LISTINGS[] = {PARTNER_CENTER_SHARED_NEW, PARTNER_CENTER_SHARED_ACTIVE};

static int begin_shared(struct poll_source *source, const char *position, int64_t now_ms, struct error *err)
{
    (void)position;
    (void)now_ms;
    (void)err;
    source->listing = 0;
    return 0;
}

static int ask_for_shared(struct poll_source *source, system_page_callback on_page, void *arg, struct error *err)
{
    return partner_center_list(source->system, SHARED_LISTINGS[source->listing], source->next, on_page, arg, err);
}

static int take_shared(struct poll_source *source, const struct system_page *page,
                       int (*tell)(void *arg, const struct poll_news *news, struct error *err), void *arg,
                       bool *ret_is_over, struct error *err)
{
    for (size_t i = 0; i < json_array_size(page->documents); i++) {
        const json_t *document = json_array_get(page->documents, i);
        if (text_equal(json_text_of(document, "role"), "own") &&
            tell_document(document, "shared", NULL, tell, arg, err) < 0)
            return -1;
    }
    /* The first page of the next listing is asked for without a continuation. */
    *ret_is_over = page->next == NULL && ++source->listing == ARRAY_LENGTH(SHARED_LISTINGS);
    return 0;
}

static const char *end_shared(struct poll_source *source)
{
    (void)source;
    return NULL;
}

static void abandon_shared(struct poll_source *source, const struct system_page *page)
{
    (void)source;
    (void)page;
}

const struct poll_source_type POLL_PARTNER_CENTER_SHARED = {.cursor = "poll/partner-center/shared",
                                                            .system = "partner-center",
                                                            .is_slow = true,
                                                            .begin = begin_shared,
                                                            .ask = ask_for_shared,
                                                            .take = take_shared,
                                                            .end = end_shared,
                                                            .abandon = abandon_shared};
