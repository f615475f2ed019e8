#include "ingest/poll_source.h"

#include <stdlib.h>

#include "common/base/text.h"

int poll_source_init(struct poll_source *source, const struct poll_source_type *type,
                     const struct poll_settings *settings, struct system *system, const char *table,
                     const char *parent_column, struct error *err)
{
    *source = (struct poll_source){
        .type = type, .settings = settings, .system = system, .table = table, .parent_column = parent_column};
    /* The cursor of another column is another one: a delta link shows the columns it was begun with. */
    source->cursor =
        table == NULL ? text_copy(type->cursor) : text_format("%s%s/%s", type->cursor, table, parent_column);
    if (source->cursor == NULL)
        return error_no_memory(err);
    if (table == NULL)
        return 0;
    if (poll_parents_init(&source->parents, (size_t)settings->child_rows_max, err) < 0) {
        poll_source_done(source);
        return -1;
    }
    return 0;
}

void poll_source_done(struct poll_source *source)
{
    free(source->cursor);
    free(source->next);
    free(source->position);
    json_decref(source->deleted);
    if (source->has_window)
        poll_window_done(&source->window);
    poll_parents_done(&source->parents);
    *source = (struct poll_source){0};
}
