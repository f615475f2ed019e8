#include <stdlib.h>

#include "common/base/text.h"
#include "common/systems/answer.h"
#include "common/systems/dynamics365_operation.h"
#include "common/systems/dynamics365_page.h"
#include "common/systems/dynamics365_table.h"

/* A page under way. Pages are asked for one at a time; nothing is kept between them. */
struct listing {
    struct dynamics_365 *dynamics;
    system_page_callback on_page;             /* of a listing */
    dynamics_365_changes_callback on_changes; /* of changes */
    void *arg;
    char *entity;
    char *parent; /* of a child table; NULL: its rows are records */
    char *cursor; /* NULL: the first page */
    unsigned page_rows;
    struct dynamics_table table;
    bool is_naming; /* the table's names are being asked for */
    int64_t started_us;
};

static void listing_free(struct listing *listing)
{
    if (listing == NULL)
        return;
    free(listing->entity);
    free(listing->parent);
    free(listing->cursor);
    free(listing);
}

static void answer(struct listing *listing, struct dynamics_365_changes *changes)
{
    changes->page.duration_us = clock_monotonic_us() - listing->started_us;
    if (listing->on_changes != NULL)
        listing->on_changes(listing->arg, changes);
    else
        listing->on_page(listing->arg, &changes->page);
    listing_free(listing);
}

static const char *name_of(const struct listing *listing)
{
    if (listing->is_naming)
        return "ask what a child table is called";
    return listing->on_changes != NULL ? "read what has changed" : "list rows";
}

/* A response that shows no page, or none at all (then `err` says why). */
static void fail(struct listing *listing, const struct http_response *response, const struct error *err)
{
    struct system_answer failed = {.retry_after_ms = -1};
    struct dynamics_365_changes changes = {0};

    if (response == NULL) {
        answer_no_token(&failed, err, name_of(listing));
    } else {
        json_auto_t *body = response->result == HTTP_ANSWERED ? answer_json(response) : NULL;
        struct dynamics_meaning meaning = {.result = SYSTEM_RETRY, .code = "dynamics_365.bad_response"};

        if (response->result != HTTP_ANSWERED)
            meaning.result = answer_of_transport(response->result, false);
        else if (!dynamics_is_success(response))
            meaning = dynamics_classify(response->status, body, false);
        /* A list has no version and no record of its own. */
        if (meaning.result == SYSTEM_GONE || meaning.result == SYSTEM_CONFLICT)
            meaning.result = SYSTEM_REFUSED;
        if (listing->on_changes != NULL && !listing->is_naming && response->result == HTTP_ANSWERED &&
            dynamics_page_is_expired(response->status, listing->cursor)) {
            meaning = (struct dynamics_meaning){.result = SYSTEM_REFUSED, .code = "dynamics_365.cursor_expired"};
            changes.is_expired = true;
        }
        answer_fail(&failed, response, meaning.result, meaning.code, name_of(listing), timestamp_to_ms(clock_now()));
    }
    changes.page = (struct system_page){.result = failed.result,
                                        .status = failed.status,
                                        .retry_after_ms = failed.retry_after_ms,
                                        .error = failed.error};
    answer(listing, &changes);
}

static void fail_locally(struct listing *listing, enum dynamics_page_problem problem)
{
    struct dynamics_365_changes changes = {
        .page = {.result = problem == DYNAMICS_PAGE_NO_MEMORY ? SYSTEM_RETRY : SYSTEM_REFUSED,
                 .status = 200,
                 .retry_after_ms = -1}};
    struct error *err = &changes.page.error;

    if (problem == DYNAMICS_PAGE_NO_MEMORY)
        (void)error_no_memory(err);
    else if (problem == DYNAMICS_PAGE_NOT_TRACKED)
        (void)error_set(err, ERROR_CONFIG, "dynamics_365.not_tracked",
                        "the table '%s' does not track changes; enable it in the table's properties", listing->entity);
    else
        (void)error_set(err, ERROR_POISON, "dynamics_365.bad_response", "a list goes on, but does not say where");
    answer(listing, &changes);
}

static void on_response(void *arg, const struct http_response *response, const struct error *err)
{
    struct listing *listing = arg;
    const struct dynamics_365_listing what = {.entity = listing->entity, .parent = listing->parent};
    const char *user_id = listing->dynamics->user_id[0] == '\0' ? NULL : listing->dynamics->user_id;
    json_auto_t *body = dynamics_is_success(response) ? answer_json(response) : NULL;
    struct dynamics_page page = {0};
    enum dynamics_page_problem problem = DYNAMICS_PAGE_NO_LIST;

    if (body != NULL)
        problem = dynamics_page_read(&what, &listing->table, body, listing->on_changes != NULL, user_id, &page);
    if (problem == DYNAMICS_PAGE_GOOD) {
        struct dynamics_365_changes changes = {.page = {.result = SYSTEM_DONE,
                                                        .documents = page.documents,
                                                        .skipped = page.skipped,
                                                        .next = page.next,
                                                        .status = response->status,
                                                        .retry_after_ms = -1},
                                               .deleted = page.deleted,
                                               .resume = page.next == NULL ? page.resume : NULL};
        answer(listing, &changes);
        dynamics_page_done(&page);
    } else if (problem == DYNAMICS_PAGE_NO_LIST) {
        fail(listing, response, err);
    } else {
        fail_locally(listing, problem);
    }
}

/* On failure nothing was sent, and the listing goes on living. */
static int ask_page(struct listing *listing, const struct dynamics_365_listing *what, struct error *err)
{
    const struct dynamics_365 *dynamics = listing->dynamics;
    const struct dynamics_365_listing wanted = {.entity = what->entity,
                                                .columns = what->columns,
                                                .filter = listing->on_changes != NULL ? NULL : what->filter,
                                                .page_rows = what->page_rows,
                                                .parent = listing->parent};
    char *path = dynamics_page_path(&wanted, &listing->table, dynamics->settings->identifier_column, listing->cursor);
    char *prefer = dynamics_page_preference(&wanted, listing->on_changes != NULL, listing->cursor);
    const struct dynamics_request request = {.method = HTTP_GET, .path = path, .prefer = prefer};
    int status = path == NULL || prefer == NULL ? error_no_memory(err)
                                                : dynamics_send(dynamics, &request, NULL, on_response, listing, err);

    free(path);
    free(prefer);
    return status;
}

/* -- what a child table is called ---------------------------------------------------------------------------------- */

static bool recall_table(const struct dynamics_365 *dynamics, const char *entity, struct dynamics_table *ret_table)
{
    return dynamics_table_read(json_object_get(dynamics->definitions, entity), ret_table);
}

static void on_definition(void *arg, const struct http_response *response, const struct error *err)
{
    struct listing *listing = arg;
    const struct dynamics_365_listing what = {.entity = listing->entity, .page_rows = listing->page_rows};
    json_auto_t *body = dynamics_is_success(response) ? answer_json(response) : NULL;
    struct dynamics_365_changes changes = {.page = {.result = SYSTEM_RETRY, .retry_after_ms = -1}};

    if (!dynamics_table_read(body, &listing->table)) {
        fail(listing, response, err);
        return;
    }
    (void)json_object_set(listing->dynamics->definitions, listing->entity, body); /* else it is asked again */
    listing->is_naming = false;
    if (ask_page(listing, &what, &changes.page.error) < 0)
        answer(listing, &changes);
}

static int ask_definition(struct listing *listing, struct error *err)
{
    char *path = dynamics_table_path(listing->entity);
    const struct dynamics_request request = {.method = HTTP_GET, .path = path};
    int status = path == NULL ? error_no_memory(err)
                              : dynamics_send(listing->dynamics, &request, NULL, on_definition, listing, err);

    free(path);
    return status;
}

/* -- asking -------------------------------------------------------------------------------------------------------- */

/* Takes the listing over. */
static int ask(struct listing *listing, const struct dynamics_365_listing *what, struct error *err)
{
    int status;

    listing->is_naming = listing->parent != NULL && !recall_table(listing->dynamics, listing->entity, &listing->table);
    status = listing->is_naming ? ask_definition(listing, err) : ask_page(listing, what, err);
    if (status < 0)
        listing_free(listing);
    return status;
}

static int begin(struct system *system, const struct dynamics_365_listing *what, const char *cursor,
                 struct listing **ret_listing, struct error *err)
{
    struct dynamics_table table = {.set = "", .key = ""};
    struct listing *listing;

    if (what->entity == NULL || (what->parent == NULL && !dynamics_table_known(what->entity, &table)))
        return error_set(err, ERROR_POISON, "dynamics_365.no_such_table", "a table that is not synchronised");
    if (cursor != NULL && !dynamics_page_is_cursor(cursor))
        return error_set(err, ERROR_POISON, "dynamics_365.bad_cursor", "what a page is asked for with is no query");
    listing = calloc(1, sizeof(*listing));
    if (listing == NULL)
        return error_no_memory(err);
    *listing = (struct listing){.dynamics = (struct dynamics_365 *)system,
                                .page_rows = what->page_rows,
                                .table = table,
                                .started_us = clock_monotonic_us()};
    if (text_assign(&listing->entity, what->entity, err) < 0 || text_assign(&listing->parent, what->parent, err) < 0 ||
        text_assign(&listing->cursor, cursor, err) < 0) {
        listing_free(listing);
        return -1;
    }
    *ret_listing = listing;
    return 0;
}

int dynamics_365_list(struct system *system, const struct dynamics_365_listing *what, const char *next,
                      system_page_callback on_page, void *arg, struct error *err)
{
    struct listing *listing;

    if (what->parent != NULL)
        return error_set(err, ERROR_POISON, "dynamics_365.no_such_table", "of child tables only changes are listed");
    if (begin(system, what, next, &listing, err) < 0)
        return -1;
    listing->on_page = on_page;
    listing->arg = arg;
    return ask(listing, what, err);
}

int dynamics_365_delta(struct system *system, const struct dynamics_365_listing *what, const char *cursor,
                       dynamics_365_changes_callback on_changes, void *arg, struct error *err)
{
    struct listing *listing;

    if (begin(system, what, cursor, &listing, err) < 0)
        return -1;
    listing->on_changes = on_changes;
    listing->arg = arg;
    return ask(listing, what, err);
}
