#include "common/systems/dynamics365_page.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/base/uuid.h"
#include "common/http/client.h"
#include "common/systems/dynamics365_columns.h"
#include "common/systems/dynamics365_record.h"

enum { ROWS_DEFAULT = 500, PATH_BYTES_MAX = 32 * 1024 };

/* Which table a lookup points to; some point to several. */
#define LOOKUP_TABLE "Microsoft.Dynamics.CRM.lookuplogicalname"
#define PARENT_TABLE "opportunity"

/* -- asking -------------------------------------------------------------------------------------------------------- */

static int append_column(struct text *path, const char *column)
{
    return column == NULL ? 0 : text_appendf(path, ",%s", column);
}

static int append_query(struct text *path, const struct dynamics_365_listing *listing,
                        const struct dynamics_table *table, const char *identifier_column)
{
    if (listing->parent != NULL)
        return text_appendf(path, "$select=%s,modifiedon,_%s_value", table->key, listing->parent);

    char *filter = listing->filter == NULL ? NULL : http_encode(listing->filter);
    int status = text_appendf(path, "$select=%s", table->key);

    for (size_t i = 0; i < ARRAY_LENGTH(DYNAMICS_365_COLUMNS_ALWAYS) && status == 0; i++)
        status = append_column(path, DYNAMICS_365_COLUMNS_ALWAYS[i]);
    if (status == 0)
        status = append_column(path, identifier_column);
    for (size_t i = 0; listing->columns != NULL && listing->columns[i] != NULL && status == 0; i++)
        status = append_column(path, listing->columns[i]);
    if (status == 0 && listing->filter != NULL)
        status = filter == NULL ? -1 : text_appendf(path, "&$filter=%s", filter);
    free(filter);
    return status;
}

char *dynamics_page_path(const struct dynamics_365_listing *listing, const struct dynamics_table *table,
                         const char *identifier_column, const char *cursor)
{
    struct text path;
    char *taken = NULL;

    text_init(&path, PATH_BYTES_MAX);
    if (text_appendf(&path, "%s?", table->set) == 0 &&
        (cursor != NULL ? text_append(&path, cursor) : append_query(&path, listing, table, identifier_column)) == 0)
        taken = text_take(&path);
    text_done(&path);
    return taken;
}

bool dynamics_page_is_cursor(const char *cursor)
{
    const size_t length = strlen(cursor);

    if (length == 0 || length > PATH_BYTES_MAX / 2)
        return false;
    for (size_t i = 0; i < length; i++) {
        if (cursor[i] <= ' ' || cursor[i] > '~' || strchr("#?\"<>\\^`{|}", cursor[i]) != NULL)
            return false;
    }
    return true;
}

char *dynamics_page_preference(const struct dynamics_365_listing *listing, bool tracks, const char *cursor)
{
    const unsigned rows = listing->page_rows == 0 ? ROWS_DEFAULT : listing->page_rows;
    const bool is_delta = cursor != NULL && strstr(cursor, "$deltatoken=") != NULL;

    return text_format("%sodata.maxpagesize=%u%s", tracks && !is_delta ? "odata.track-changes," : "", rows,
                       listing->parent == NULL ? "" : ",odata.include-annotations=\"" LOOKUP_TABLE "\"");
}

/* -- reading ------------------------------------------------------------------------------------------------------- */

void dynamics_page_done(struct dynamics_page *page)
{
    json_decref(page->documents);
    json_decref(page->deleted);
    *page = (struct dynamics_page){0};
}

/* {"@odata.context": ".../$metadata#opportunities/$deletedEntity", "id": "…", "reason": "deleted"} */
static const char *deleted_id(const json_t *row)
{
    const char *context = json_text_of(row, "@odata.context");
    const char *id = json_text_of(row, "id");

    if (id == NULL || !uuid_is_valid(id, strlen(id)))
        return NULL;
    return text_equal(json_text_of(row, "reason"), "deleted") ||
                   (context != NULL && text_ends_with(context, "/$deletedEntity"))
               ? id
               : NULL;
}

/* {"id", "changed_at"?, "parent"?}. A lookup that may point to several tables points to none of our concern if it points
 * to another one. NULL: out of memory. */
static json_t *child_document(const char *parent, const char *id, const json_t *row)
{
    char *column = text_format("_%s_value", parent);
    char *annotation = text_format("_%s_value@%s", parent, LOOKUP_TABLE);
    const char *parent_id = column == NULL ? NULL : json_text_of(row, column);
    const char *table = annotation == NULL ? NULL : json_text_of(row, annotation);
    char own[UUID_TEXT_SIZE], of_parent[UUID_TEXT_SIZE];
    json_t *document = NULL;

    if (column != NULL && annotation != NULL) {
        if (parent_id != NULL &&
            (!uuid_is_valid(parent_id, strlen(parent_id)) || (table != NULL && !text_equal(table, PARENT_TABLE))))
            parent_id = NULL;
        document =
            json_pack("{s:s, s:s*, s:s*}", "id", uuid_normalise(id, own), "changed_at", json_text_of(row, "modifiedon"),
                      "parent", parent_id == NULL ? NULL : uuid_normalise(parent_id, of_parent));
    }
    free(column);
    free(annotation);
    return document;
}

/* A row that cannot be told from others does not hold up those after it. */
static int add_row(struct dynamics_page *page, const struct dynamics_365_listing *listing,
                   const struct dynamics_table *table, json_t *row, const char *our_user_id)
{
    const char *deleted = deleted_id(row);
    const char *id = json_text_of(row, table->key);
    char normalised[UUID_TEXT_SIZE];

    if (deleted != NULL)
        return json_array_append_new(page->deleted, json_string(uuid_normalise(deleted, normalised)));
    if (id == NULL || !uuid_is_valid(id, strlen(id))) {
        page->skipped++;
        return 0;
    }
    return json_array_append_new(page->documents, listing->parent != NULL
                                                      ? child_document(listing->parent, id, row)
                                                      : dynamics_document(listing->entity, row, our_user_id));
}

/* The query of a link. false: it has none that could be asked. */
static bool read_link(const json_t *answer, const char *name, const char **ret_query)
{
    const json_t *member = json_object_get(answer, name);
    const char *question = json_is_string(member) ? strchr(json_string_value(member), '?') : NULL;

    *ret_query = NULL;
    if (member == NULL || json_is_null(member))
        return true;
    if (question == NULL || !dynamics_page_is_cursor(question + 1))
        return false;
    *ret_query = question + 1;
    return true;
}

enum dynamics_page_problem dynamics_page_read(const struct dynamics_365_listing *listing,
                                              const struct dynamics_table *table, const json_t *answer, bool tracks,
                                              const char *our_user_id, struct dynamics_page *ret_page)
{
    const json_t *rows = json_object_get(answer, "value");
    struct dynamics_page page = {.documents = json_array(), .deleted = json_array()};
    enum dynamics_page_problem problem = DYNAMICS_PAGE_GOOD;

    if (!json_is_array(rows))
        problem = DYNAMICS_PAGE_NO_LIST;
    else if (!read_link(answer, "@odata.nextLink", &page.next) || !read_link(answer, "@odata.deltaLink", &page.resume))
        problem = DYNAMICS_PAGE_BAD_LINK;
    else if (tracks && page.next == NULL && page.resume == NULL)
        problem = DYNAMICS_PAGE_NOT_TRACKED;
    for (size_t i = 0; i < json_array_size(rows) && problem == DYNAMICS_PAGE_GOOD; i++) {
        if (add_row(&page, listing, table, json_array_get(rows, i), our_user_id) < 0)
            problem = DYNAMICS_PAGE_NO_MEMORY;
    }
    if (problem == DYNAMICS_PAGE_GOOD)
        *ret_page = page;
    else
        dynamics_page_done(&page);
    return problem;
}

bool dynamics_page_is_expired(long status, const char *cursor)
{
    return cursor != NULL && status >= 400 && status < 500 && status != 401 && status != 403 && status != 429;
}
