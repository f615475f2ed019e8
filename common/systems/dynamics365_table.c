#include "common/systems/dynamics365_table.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"

static const struct {
    const char *entity, *set, *key;
} ENTITIES[] = {
    {"opportunity", "opportunities", "opportunityid"},
    {"lead", "leads", "leadid"},
    {"account", "accounts", "accountid"},
    {"contact", "contacts", "contactid"},
    {"transactioncurrency", "transactioncurrencies", "transactioncurrencyid"},
};

const char *dynamics_entity_set(const char *entity)
{
    for (size_t i = 0; i < ARRAY_LENGTH(ENTITIES); i++) {
        if (text_equal(ENTITIES[i].entity, entity))
            return ENTITIES[i].set;
    }
    return NULL;
}

const char *dynamics_primary_key(const char *entity)
{
    for (size_t i = 0; i < ARRAY_LENGTH(ENTITIES); i++) {
        if (text_equal(ENTITIES[i].entity, entity))
            return ENTITIES[i].key;
    }
    return NULL;
}

static bool put(char out[static DYNAMICS_NAME_SIZE], const char *name, const char *ending)
{
    return (size_t)snprintf(out, DYNAMICS_NAME_SIZE, "%s%s", name, ending) < DYNAMICS_NAME_SIZE;
}

bool dynamics_table_of(const json_t *how, struct dynamics_table *ret_table)
{
    const char *entity = json_text_of(how, "entity");
    const char *set = json_text_of(how, "entity_set");
    const char *known_key = dynamics_primary_key(entity);

    if (entity == NULL || (known_key == NULL && strchr(entity, '_') == NULL))
        return false;
    if (set == NULL)
        set = dynamics_entity_set(entity);
    return put(ret_table->set, set != NULL ? set : entity, set != NULL ? "" : "s") &&
           put(ret_table->key, known_key != NULL ? known_key : entity, known_key != NULL ? "" : "id");
}

bool dynamics_table_known(const char *entity, struct dynamics_table *ret_table)
{
    const char *set = dynamics_entity_set(entity);

    return set != NULL && put(ret_table->set, set, "") && put(ret_table->key, dynamics_primary_key(entity), "");
}

/* Names become part of addresses. */
static bool is_name(const char *name)
{
    return name != NULL && *name != '\0' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == strlen(name);
}

char *dynamics_table_path(const char *entity)
{
    return text_format("EntityDefinitions(LogicalName='%s')?$select=EntitySetName,PrimaryIdAttribute", entity);
}

bool dynamics_table_read(const json_t *definition, struct dynamics_table *ret_table)
{
    const char *set = json_text_of(definition, "EntitySetName");
    const char *key = json_text_of(definition, "PrimaryIdAttribute");
    struct dynamics_table table;

    if (!is_name(set) || !is_name(key) || !put(table.set, set, "") || !put(table.key, key, ""))
        return false;
    *ret_table = table;
    return true;
}
