#include "mapper/transform.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/json.h"
#include "mapper/transform_apply.h"
#include "mapper/value.h"

/* -- for the functions --------------------------------------------------------------------------------------------- */

enum transform_result transform_done(json_t *made, json_t **ret_value)
{
    if (made == NULL)
        return TRANSFORM_NO_MEMORY;
    *ret_value = made;
    return TRANSFORM_DONE;
}

enum transform_result transform_refuse(char *reterr_message, const json_t *value, const json_t *rows,
                                       const char *format, ...)
{
    char shown[VALUE_SHOWN_SIZE];
    int used = snprintf(reterr_message, TRANSFORM_MESSAGE_SIZE, "%s ", value_show(value, rows, shown));
    va_list arguments;

    if (used > 0 && used < TRANSFORM_MESSAGE_SIZE) {
        va_start(arguments, format);
        (void)vsnprintf(reterr_message + used, TRANSFORM_MESSAGE_SIZE - (size_t)used, format, arguments);
        va_end(arguments);
    }
    return TRANSFORM_REFUSED;
}

const char *transform_text_argument(const struct transform *transform, const char *name, const char *fallback)
{
    const char *text = json_text_of(transform->arguments, name);

    return text == NULL ? fallback : text;
}

/* -- chains -------------------------------------------------------------------------------------------------------- */

static enum transform_result apply_step(const struct transform *step, json_t *value, json_t **ret_value,
                                        char *reterr_message)
{
    const unsigned accepts =
        step->is_inverse && step->type->inverse == INVERSE_OWN ? step->type->inverse_accepts : step->type->accepts;
    const unsigned kind = value_kind_of(value);
    char names[VALUE_SHOWN_SIZE];

    if (kind == 0 && !step->type->takes_null)
        return transform_done(json_null(), ret_value);
    if (kind != 0 && (accepts & kind) == 0)
        return transform_refuse(reterr_message, value, NULL, "stands where '%s' takes %s", step->type->name,
                                value_kinds_name(accepts, names));
    return step->type->apply(step, value, ret_value, reterr_message);
}

enum transform_result transform_apply(const struct transform *chain, const json_t *value, json_t **ret_value,
                                      char reterr_message[static TRANSFORM_MESSAGE_SIZE])
{
    json_t *current = json_deep_copy(value);

    if (current == NULL)
        return TRANSFORM_NO_MEMORY;
    for (const struct transform *step = chain; step != NULL; step = step->next) {
        json_t *made = NULL;
        enum transform_result result = apply_step(step, current, &made, reterr_message);
        json_decref(current);
        if (result != TRANSFORM_DONE)
            return result;
        current = made;
    }
    *ret_value = current;
    return TRANSFORM_DONE;
}

void transform_free(struct transform *chain)
{
    while (chain != NULL) {
        struct transform *next = chain->next;
        json_decref(chain->arguments);
        json_decref(chain->rows);
        json_decref(chain->pieces);
        free(chain);
        chain = next;
    }
}
