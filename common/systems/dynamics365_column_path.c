#include "common/systems/dynamics365_column_path.h"

#include <string.h>

static size_t name_length(const char *text)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_";
    static const char also_within[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";

    return strspn(text, letters) == 0 ? 0 : strspn(text, also_within);
}

/* "price", "productid.name" */
static bool are_names(const char *text)
{
    for (;;) {
        const size_t length = name_length(text);
        if (length == 0 || (text[length] != '\0' && text[length] != '.'))
            return false;
        if (text[length] == '\0')
            return true;
        text += length + 1;
    }
}

bool dynamics_column_path_read(const char *column, struct dynamics_column_path *ret_path)
{
    struct dynamics_column_path path = {.head_length = name_length(column)};
    const char *after = column + path.head_length;

    if (path.head_length == 0)
        return false;
    path.is_label = strcmp(after, DYNAMICS_LABEL) == 0;
    if (*after != '\0' && !path.is_label) {
        path.is_collection = strncmp(after, "[]", 2) == 0;
        if (path.is_collection)
            after += 2;
        if (*after != '.' || !are_names(after + 1))
            return false;
        path.rest = after + 1;
        path.is_nested = strchr(path.rest, '.') != NULL;
    }
    *ret_path = path;
    return true;
}
