#include "ingest/poll_window.h"

#include <stdlib.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/base/timestamp.h"

int poll_window_init(struct poll_window *window, const char *watermark, struct error *err)
{
    *window = (struct poll_window){0};
    if (versions_init(&window->known, err) < 0 || text_assign(&window->watermark, watermark, err) < 0) {
        poll_window_done(window);
        return -1;
    }
    return 0;
}

void poll_window_done(struct poll_window *window)
{
    free(window->watermark);
    free(window->newest);
    versions_done(&window->known);
    *window = (struct poll_window){0};
}

int poll_window_begin(struct poll_window *window, struct error *err)
{
    return text_assign(&window->newest, NULL, err);
}

static bool is_later(const char *time, const char *than)
{
    struct timestamp a, b;

    return timestamp_parse(time, true, &a) && (!timestamp_parse(than, true, &b) || timestamp_compare(a, b) > 0);
}

/* A version that is no time may always be news. */
static bool is_before_window(const struct poll_window *window, int64_t overlap_ms, const char *version)
{
    struct timestamp changed, watermark;

    return window->watermark != NULL && timestamp_parse(window->watermark, true, &watermark) &&
           timestamp_parse(version, true, &changed) &&
           timestamp_compare(changed, timestamp_add_ms(watermark, -overlap_ms)) < 0;
}

int poll_window_take(struct poll_window *window, int64_t overlap_ms, const json_t *documents, json_t **ret_news,
                     bool *ret_is_over, struct error *err)
{
    json_t *news = json_array();
    bool is_over = false;

    for (size_t i = 0; i < json_array_size(documents); i++) {
        json_t *document = json_array_get(documents, i);
        const char *id = json_text_of(document, "id"), *version = json_text_of(document, "version");
        const char *etag = json_text_of(document, "etag");

        if (version != NULL && is_before_window(window, overlap_ms, version)) {
            is_over = true;
            break;
        }
        if (version != NULL && (window->newest == NULL || is_later(version, window->newest)) &&
            text_assign(&window->newest, version, err) < 0)
            goto failed;
        if (versions_is_told(&window->known, id, etag))
            continue;
        if (json_array_append(news, document) < 0)
            goto failed;
        versions_note(&window->known, id, etag);
    }
    if (news == NULL)
        goto failed;
    *ret_news = news;
    *ret_is_over = is_over;
    return 0;
failed:
    json_decref(news);
    return error_no_memory(err);
}

void poll_window_abandon(struct poll_window *window)
{
    versions_clear(&window->known);
}

int poll_window_end(struct poll_window *window, struct error *err)
{
    if (window->newest == NULL || (window->watermark != NULL && !is_later(window->newest, window->watermark)))
        return 0;
    return text_assign(&window->watermark, window->newest, err);
}
