/* Whatever JSON Dataverse answers, as a record, a page, an option set or an error, each reader of it finds its way: a
 * document names a GUID, a link is only a query, and a record written by its own readers is still JSON. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/uuid.h"
#include "common/systems/dynamics365_choices.h"
#include "common/systems/dynamics365_lookup.h"
#include "common/systems/dynamics365_page.h"
#include "common/systems/dynamics365_query.h"
#include "common/systems/dynamics365_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define USER "0f6f2a33-9d41-4be8-a7c6-3e5b90d1f7a4"

static char name[] = "name", money[] = "estimatedvalue", label[] = "msft_microsoftpartnercenterhelp@label",
            currency[] = "transactioncurrencyid.isocurrencycode", account[] = "customerid_account.name",
            solutions[] = "msft_opportunity_msft_microsoftsolution[]{msft_price,msft_solutionid.msft_name}";
static char *items[] = {name, money, label, currency, account, solutions};
static const struct config_list columns = {.items = items, .count = ARRAY_LENGTH(items)};

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void check_failure(const json_t *json)
{
    static const long statuses[] = {200, 400, 401, 403, 404, 409, 412, 429, 500, 503};

    for (size_t i = 0; i < ARRAY_LENGTH(statuses); i++) {
        struct dynamics_meaning read = dynamics_classify(statuses[i], json, false);
        struct dynamics_meaning written = dynamics_classify(statuses[i], json, true);
        require(read.code != NULL && written.code != NULL);
        require(read.result != SYSTEM_UNKNOWN); /* what changes nothing has no unknown effect */
    }
}

static void check_document(json_t *document)
{
    char id[UUID_TEXT_SIZE];
    const char *text = json_text_of(document, "id");

    require(json_is_object(document) && json_is_object(json_object_get(document, "body")));
    require(text == NULL || uuid_normalise(text, id) != NULL);
}

static void check_child(const json_t *document)
{
    const char *id = json_text_of(document, "id"), *parent = json_text_of(document, "parent");

    require(id != NULL && uuid_is_valid(id, strlen(id)));
    require(parent == NULL || uuid_is_valid(parent, strlen(parent)));
}

static void check_children(const json_t *json)
{
    static const struct dynamics_365_listing listing = {.entity = "msft_microsoftsolution",
                                                        .parent = "msft_opportunityid"};
    struct dynamics_table table = {.set = "msft_microsoftsolutions", .key = "msft_microsoftsolutionid"};
    struct dynamics_page page;

    if (dynamics_table_read(json, &table))
        require(table.set[0] != '\0' && strpbrk(table.set, "/?#'") == NULL && table.key[0] != '\0');
    if (dynamics_page_read(&listing, &table, json, true, USER, &page) != DYNAMICS_PAGE_GOOD)
        return;
    for (size_t i = 0; i < json_array_size(page.documents); i++)
        check_child(json_array_get(page.documents, i));
    dynamics_page_done(&page);
}

static void check_page(const json_t *json)
{
    static const struct dynamics_365_listing listing = {.entity = "opportunity"};
    static const struct dynamics_table table = {.set = "opportunities", .key = "opportunityid"};

    check_children(json);
    for (int tracks = 0; tracks < 2; tracks++) {
        struct dynamics_page page;
        if (dynamics_page_read(&listing, &table, json, tracks == 1, USER, &page) != DYNAMICS_PAGE_GOOD)
            continue;
        size_t index;
        json_t *document;
        json_array_foreach (page.documents, index, document)
            check_document(document);
        require(page.next == NULL || dynamics_page_is_cursor(page.next));
        require(page.resume == NULL || dynamics_page_is_cursor(page.resume));
        dynamics_page_done(&page);
    }
}

static void check_record(json_t *json)
{
    struct dynamics_memory memory;
    const char *open_column;
    bool is_complete;
    json_t *copy = json_deep_copy(json);
    json_t *document = dynamics_document("opportunity", json, USER);

    require(copy != NULL && dynamics_memory_init(&memory) == 0);
    if (document != NULL)
        check_document(document);
    (void)dynamics_collections_of(json, &columns, NULL, &open_column);
    dynamics_memory_keep_expanded(&memory, &columns, json, 1000);
    dynamics_memory_keep(&memory, &columns, "transactioncurrencyid", USER, json, 1000);
    require(dynamics_memory_expand(&memory, &columns, copy, 2000, &is_complete) == 0);
    dynamics_keep_labels(copy, &columns);
    char *written = json_write(copy, true, NULL);
    require(written != NULL);
    free(written);
    dynamics_memory_done(&memory);
    json_decref(document);
    json_decref(copy);
}

static void check_choices(const json_t *json)
{
    struct dynamics_choices choices;
    json_int_t value = 0;

    require(dynamics_choices_init(&choices) == 0);
    if (dynamics_choices_keep(&choices, "opportunity", "help", json, 1000) == 0)
        (void)dynamics_choices_find(&choices, "opportunity", "help", "Quotes or Licensing", 2000, &value);
    dynamics_choices_done(&choices);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_fault fault;
    json_auto_t *json = NULL;
    if (json_read((const char *)data, size, &JSON_LIMITS_OWN, &json, &fault) < 0)
        return 0;
    check_failure(json);
    check_page(json);
    check_choices(json);
    if (json_is_object(json))
        check_record(json);
    return 0;
}
