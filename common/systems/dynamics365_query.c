#include "common/systems/dynamics365_query.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/systems/dynamics365_column_path.h"
#include "common/systems/dynamics365_columns.h"
#include "common/systems/dynamics365_lookup.h"
#include "common/systems/dynamics365_table.h"

enum {
    QUERY_BYTES_MAX = 32 * 1024, /* the service's limit of an address */
    PAGE_ROWS_MAX = 5000         /* the most rows of one list */
};

/* -- the wanted columns as a tree ---------------------------------------------------------------------------------- */
/* Each row that is read: {"select": {column: true}, "expand": {navigation: the same}}, in the order of the columns. */

static json_t *node_new(void)
{
    return json_pack("{s:{}, s:{}}", "select", "expand");
}

static int node_select(json_t *node, const char *column)
{
    return json_object_set_new(json_object_get(node, "select"), column, json_true());
}

/* The rows behind a navigation property (`length` bytes); borrowed, NULL when out of memory. */
static json_t *node_expand(json_t *node, const char *navigation, size_t length)
{
    json_t *expand = json_object_get(node, "expand");
    char *name = text_copy_n(navigation, length);
    json_t *child = name == NULL ? NULL : json_object_get(expand, name);

    if (name != NULL && child == NULL && json_object_set_new(expand, name, node_new()) == 0)
        child = json_object_get(expand, name);
    free(name);
    return child;
}

/* "price" or "productid.name" of the rows that `node` stands for. */
static int node_add(json_t *node, const char *names)
{
    for (const char *dot = strchr(names, '.'); dot != NULL; dot = strchr(names, '.')) {
        char *column = dynamics_lookup_column(names, (size_t)(dot - names));
        int status = column == NULL ? -1 : node_select(node, column);

        free(column);
        node = status < 0 ? NULL : node_expand(node, names, (size_t)(dot - names));
        if (node == NULL)
            return -1;
        names = dot + 1;
    }
    return node_select(node, names);
}

static int node_add_flat(json_t *node, const char *flat)
{
    struct dynamics_column_path path;
    char *column;
    int status;

    if (!dynamics_column_path_read(flat, &path))
        return 0;
    if (path.is_collection) {
        json_t *rows = node_expand(node, flat, path.head_length);
        return rows == NULL ? -1 : node_add(rows, path.rest);
    }
    if (!path.is_label)
        return node_add(node, flat);
    column = text_copy_n(flat, path.head_length);
    status = column == NULL ? -1 : node_select(node, column);
    free(column);
    return status;
}

static json_t *tree_of(const char *entity, const struct config_list *columns)
{
    json_t *node = node_new();
    int status = node == NULL ? -1 : node_select(node, dynamics_primary_key(entity));

    for (size_t i = 0; i < ARRAY_LENGTH(DYNAMICS_365_COLUMNS_ALWAYS) && status == 0; i++)
        status = node_select(node, DYNAMICS_365_COLUMNS_ALWAYS[i]);
    for (size_t i = 0; i < columns->count && status == 0; i++)
        status = node_add_flat(node, columns->items[i]);
    if (status == 0)
        return node;
    json_decref(node);
    return NULL;
}

/* -- the tree as a query ------------------------------------------------------------------------------------------- */

static int append_select(struct text *query, const json_t *node)
{
    const char *column;
    json_t *unused;
    const char *before = "$select=";

    json_object_foreach (json_object_get(node, "select"), column, unused) {
        if (text_appendf(query, "%s%s", before, column) < 0)
            return -1;
        before = ",";
    }
    return 0;
}

/* `separator`: between $select and $expand, ";" inside an expansion. No $select is empty: rows that only lead on to others
 * have the column of that lookup. */
static int append_expand(struct text *query, const json_t *node, const char *separator)
{
    const char *navigation;
    json_t *child;
    bool is_first = true;

    json_object_foreach (json_object_get(node, "expand"), navigation, child) {
        if (text_appendf(query, "%s%s%s(", is_first ? separator : "", is_first ? "$expand=" : ",", navigation) < 0 ||
            append_select(query, child) < 0 || append_expand(query, child, ";") < 0 || text_append(query, ")") < 0)
            return -1;
        is_first = false;
    }
    return 0;
}

char *dynamics_query(const char *entity, const struct config_list *columns, bool expands)
{
    json_auto_t *tree = tree_of(entity, columns);
    struct text query;
    char *taken = NULL;

    text_init(&query, QUERY_BYTES_MAX);
    if (tree != NULL && append_select(&query, tree) == 0 && (!expands || append_expand(&query, tree, "&") == 0))
        taken = text_take(&query);
    text_done(&query);
    return taken;
}

/* -- labels and collections ---------------------------------------------------------------------------------------- */

const char *dynamics_label_preference(const struct config_list *columns)
{
    for (size_t i = 0; i < columns->count; i++) {
        if (text_ends_with(columns->items[i], DYNAMICS_LABEL))
            return "odata.include-annotations=\"OData.Community.Display.V1.FormattedValue\"";
    }
    return NULL;
}

static bool is_wanted_label(const struct config_list *columns, const char *column, size_t length)
{
    for (size_t i = 0; columns != NULL && i < columns->count; i++) {
        if (strncmp(columns->items[i], column, length) == 0 && strcmp(columns->items[i] + length, DYNAMICS_LABEL) == 0)
            return true;
    }
    return false;
}

void dynamics_keep_labels(json_t *record, const struct config_list *columns)
{
    const char *name;
    json_t *value;
    void *next;

    json_object_foreach_safe (record, next, name, value) {
        const char *annotation = strchr(name, '@');
        if (annotation != NULL && strcmp(annotation, DYNAMICS_FORMATTED_VALUE) == 0) {
            if (!is_wanted_label(columns, name, (size_t)(annotation - name)))
                (void)json_object_del(record, name);
            continue;
        }
        /* Rows behind navigation properties have no labels that could be asked for. */
        dynamics_keep_labels(value, NULL);
        for (size_t i = 0; i < json_array_size(value); i++)
            dynamics_keep_labels(json_array_get(value, i), NULL);
    }
}

bool dynamics_reads_collections(const struct config_list *columns)
{
    for (size_t i = 0; i < columns->count; i++) {
        struct dynamics_column_path path;
        if (dynamics_column_path_read(columns->items[i], &path) && path.is_collection)
            return true;
    }
    return false;
}

/* "productid.name": does the row name a product and not show it? The service is said to leave out what is expanded below
 * the collections of a single row; unconfirmed for today's version. */
static bool lacks_lookup(const json_t *row, const char *names)
{
    const size_t length = strcspn(names, ".");
    char *column = dynamics_lookup_column(names, length);
    char *navigation = text_copy_n(names, length);
    bool lacks = true;

    if (column != NULL && navigation != NULL)
        lacks = json_text_of(row, column) != NULL && !json_is_object(json_object_get(row, navigation));
    free(column);
    free(navigation);
    return lacks;
}

enum dynamics_collections dynamics_collections_of(const json_t *record, const struct config_list *columns,
                                                  const json_t *done, const char **ret_column)
{
    for (size_t i = 0; i < columns->count; i++) {
        struct dynamics_column_path path;
        char *navigation;
        const json_t *rows;
        bool is_done;

        if (!dynamics_column_path_read(columns->items[i], &path) || !path.is_collection)
            continue;
        navigation = text_copy_n(columns->items[i], path.head_length);
        rows = navigation == NULL ? NULL : json_object_get(record, navigation);
        is_done = navigation != NULL && json_object_get(done, navigation) != NULL;
        free(navigation);
        *ret_column = columns->items[i];
        if (json_array_size(rows) >= PAGE_ROWS_MAX)
            return DYNAMICS_COLLECTIONS_CUT;
        for (size_t k = 0; path.is_nested && !is_done && k < json_array_size(rows); k++) {
            if (lacks_lookup(json_array_get(rows, k), path.rest))
                return DYNAMICS_COLLECTIONS_OPEN;
        }
    }
    return DYNAMICS_COLLECTIONS_WHOLE;
}

char *dynamics_collection_query(const char *entity, const struct config_list *columns, const char *column)
{
    json_auto_t *tree = tree_of(entity, columns);
    const json_t *node = tree == NULL ? NULL : node_expand(tree, column, strcspn(column, "["));
    struct text query;
    char *taken = NULL;

    text_init(&query, QUERY_BYTES_MAX);
    if (node != NULL && append_select(&query, node) == 0 && append_expand(&query, node, "&") == 0)
        taken = text_take(&query);
    text_done(&query);
    return taken;
}
