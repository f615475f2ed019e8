#include "common/systems/dynamics365_table.h"

#include "common/base/attributes.h"
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
