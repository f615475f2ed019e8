#include "ingest/poll_parents.h"

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/base/timestamp.h"

int poll_parents_init(struct poll_parents *parents, size_t known_max, struct error *err)
{
    *parents = (struct poll_parents){.known = json_object(), .changes = json_object(), .known_max = known_max};
    if (parents->known != NULL && parents->changes != NULL)
        return 0;
    poll_parents_done(parents);
    return error_no_memory(err);
}

void poll_parents_done(struct poll_parents *parents)
{
    json_decref(parents->known);
    json_decref(parents->changes);
    json_decref(parents->seen);
    *parents = (struct poll_parents){0};
}

int poll_parents_learn(struct poll_parents *parents, const char *row, const char *parent, struct error *err)
{
    if (parent == NULL) {
        (void)json_object_del(parents->known, row);
        return 0;
    }
    if (json_object_get(parents->known, row) == NULL && json_object_size(parents->known) >= parents->known_max)
        return 0;
    return json_object_set_new(parents->known, row, json_string(parent)) < 0 ? error_no_memory(err) : 0;
}

int poll_parents_begin(struct poll_parents *parents, bool is_whole, struct error *err)
{
    poll_parents_abandon(parents);
    parents->passed_over = parents->unknown = 0;
    parents->has_more = false;
    if (!is_whole)
        return 0;
    parents->seen = json_object();
    return parents->seen == NULL ? error_no_memory(err) : 0;
}

/* --- One page ----------------------------------------------------------------------------------------------------- */

struct reading {
    struct poll_parents *parents;
    const struct poll_parents_page *page;
    json_t *news;
    size_t added; /* rows of the page that were not known */
};

static int add_news(struct reading *reading, const char *parent, const char *changed_at)
{
    return json_object_set_new(reading->news, parent, changed_at == NULL ? json_null() : json_string(changed_at));
}

static int forget(struct reading *reading, const char *row, const char *parent)
{
    if (json_object_set_new(reading->parents->changes, row, json_null()) < 0)
        return -1;
    return add_news(reading, parent, NULL);
}

static int remember(struct reading *reading, const char *row, const char *parent)
{
    struct poll_parents *parents = reading->parents;
    const bool has_place =
        json_object_get(parents->known, row) != NULL || json_object_get(parents->changes, row) != NULL;

    if (!has_place && json_object_size(parents->known) + reading->added >= parents->known_max) {
        parents->passed_over++;
        return 0;
    }
    reading->added += has_place ? 0 : 1;
    return json_object_set_new(parents->changes, row, json_string(parent));
}

static bool is_recent(const struct poll_parents_page *page, const char *changed_at)
{
    struct timestamp since, changed;

    return page->since == NULL || changed_at == NULL || !timestamp_parse(page->since, true, &since) ||
           !timestamp_parse(changed_at, true, &changed) || timestamp_compare(changed, since) >= 0;
}

/* A row that was moved is news of where it was, too. */
static int take_row(struct reading *reading, const json_t *document)
{
    const char *row = json_text_of(document, "id");
    const char *parent = json_text_of(document, "parent");
    const char *changed_at = json_text_of(document, "changed_at");
    const char *before;

    if (row == NULL)
        return 0;
    before = json_text_of(reading->parents->known, row);
    if (before != NULL && reading->parents->seen != NULL &&
        json_object_set_new(reading->parents->seen, row, json_true()) < 0)
        return -1;
    if (before != NULL && !text_equal(before, parent) && forget(reading, row, before) < 0)
        return -1;
    if (parent == NULL)
        return 0;
    if (!text_equal(before, parent) && remember(reading, row, parent) < 0)
        return -1;
    if (text_equal(before, parent) || before == NULL)
        return is_recent(reading->page, changed_at) ? add_news(reading, parent, changed_at) : 0;
    return add_news(reading, parent, changed_at);
}

static int take_deleted(struct reading *reading, const char *row)
{
    const char *parent = json_text_of(reading->parents->known, row);

    if (parent == NULL) {
        reading->parents->unknown++;
        return 0;
    }
    return forget(reading, row, parent);
}

/* A whole listing is over: what it did not show is gone. */
static int take_unseen(struct reading *reading)
{
    struct poll_parents *parents = reading->parents;
    const char *row;
    json_t *parent;
    size_t gone = 0;

    json_object_foreach (parents->known, row, parent) {
        if (json_object_get(parents->seen, row) != NULL)
            continue;
        if (++gone > POLL_PARENTS_GONE_MAX) {
            parents->has_more = true;
            return 0;
        }
        if (forget(reading, row, json_string_value(parent)) < 0)
            return -1;
    }
    return 0;
}

static int take_page(struct reading *reading)
{
    const struct poll_parents_page *page = reading->page;

    for (size_t i = 0; i < json_array_size(page->rows); i++) {
        if (take_row(reading, json_array_get(page->rows, i)) < 0)
            return -1;
    }
    for (size_t i = 0; i < json_array_size(page->deleted); i++) {
        if (take_deleted(reading, json_string_value(json_array_get(page->deleted, i))) < 0)
            return -1;
    }
    return page->is_last && reading->parents->seen != NULL ? take_unseen(reading) : 0;
}

int poll_parents_take(struct poll_parents *parents, const struct poll_parents_page *page, json_t **ret_news,
                      struct error *err)
{
    struct reading reading = {.parents = parents, .page = page, .news = json_object()};

    if (reading.news == NULL || json_object_clear(parents->changes) < 0 || take_page(&reading) < 0) {
        json_decref(reading.news);
        return error_no_memory(err);
    }
    *ret_news = reading.news;
    return 0;
}

int poll_parents_keep(struct poll_parents *parents, struct error *err)
{
    const char *row;
    json_t *parent;

    json_object_foreach (parents->changes, row, parent) {
        if (poll_parents_learn(parents, row, json_string_value(parent), err) < 0)
            return -1;
        /* A row that became known on an earlier page of this listing has been seen. */
        if (json_is_string(parent) && parents->seen != NULL && json_object_set_new(parents->seen, row, json_true()) < 0)
            return error_no_memory(err);
    }
    (void)json_object_clear(parents->changes);
    return 0;
}

bool poll_parents_end(struct poll_parents *parents)
{
    json_decref(parents->seen);
    parents->seen = NULL;
    return !parents->has_more;
}

void poll_parents_abandon(struct poll_parents *parents)
{
    (void)json_object_clear(parents->changes);
    json_decref(parents->seen);
    parents->seen = NULL;
}
