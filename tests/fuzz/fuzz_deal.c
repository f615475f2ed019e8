/* A deal as its topic holds it and a message about it, whatever they hold: the merge ends with a deal and with messages
 * that can be written and read again. The input is a deal, a line with nothing but "--", and a record or an outcome. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "mapper/merge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char rules_text[] =
    "version: 1\n"
    "crm: dynamics-365\n"
    "record: opportunity\n"
    "identity: {identifier: referral_id, sync: sync, audit: audit}\n"
    "select: {partner_center: {type: [Shared], status: [New, Active]}}\n"
    "closed: {partner_center: {status: [Closed]}, crm: {state: [2]}}\n"
    "fields:\n"
    "  - {name: name, partner_center: name, crm: name, required: [to-crm], explain: Enter a name.}\n"
    "  - {name: value, partner_center: details.dealValue, crm: value, conflict: latest, transform: {decimal: 2}}\n"
    "  - {name: memo, partner_center: memo, crm: memo, conflict: manual}\n"
    "  - {name: stage, partner_center: status, crm: state, on: update, table: stages}\n"
    "tables:\n"
    "  stages:\n"
    "    rows:\n"
    "      - {partner_center: Active, crm: 1}\n"
    "      - {partner_center: Closed, crm: 2}\n";

static void require(bool holds)
{
    if (!holds)
        abort();
}

static struct rules *load_rules(void)
{
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    struct rules *rules = rules_load(
        &diagnostics, diagnostics_add_source(&diagnostics, "rules.yaml", rules_text, sizeof(rules_text) - 1));
    require(rules != NULL);
    diagnostics_done(&diagnostics);
    return rules;
}

static void check_message(const struct member *members, size_t count, const void *message)
{
    union {
        struct decision decision;
        struct record record;
        struct notification notification;
    } again;
    struct error err = ERROR_INIT;
    size_t length;
    char *written = message_write(members, count, message, &length);

    require(written != NULL && message_read(members, count, written, length, &again, &err) == 0);
    message_done(members, count, &again);
    free(written);
}

static void check_end(const struct deal *deal, const struct merge_effects *effects)
{
    struct error err = ERROR_INIT;
    struct deal again;
    size_t length;
    char *written = deal_write(deal, &length);

    require(written != NULL && deal_read(written, length, &again, &err) == 0);
    deal_done(&again);
    free(written);
    if (effects->has_decision)
        check_message(DECISION_MEMBERS, DECISION_MEMBER_COUNT, &effects->decision);
    if (effects->has_record)
        check_message(RECORD_MEMBERS, RECORD_MEMBER_COUNT, &effects->record);
    if (effects->has_notification)
        check_message(NOTIFICATION_MEMBERS, NOTIFICATION_MEMBER_COUNT, &effects->notification);
    if (effects->has_decision && effects->decision.action != DECISION_NONE)
        require(deal->pending != NULL);
}

static void merge_message(const struct rules *rules, struct deal *deal, const char *bytes, size_t size)
{
    const struct merge_context context = {.rules = rules, .topic = "records", .offset = 1};
    struct merge_effects effects = {0};
    struct error err = ERROR_INIT;
    struct record record;
    struct outcome outcome;

    if (record_read(bytes, size, &record, &err) == 0) {
        if (merge_record(deal, &context, &record, &effects, &err) == 0)
            check_end(deal, &effects);
        record_done(&record);
    } else if (outcome_read(bytes, size, &outcome, &err) == 0) {
        if (merge_outcome(deal, &context, &outcome, &effects, &err) == 0)
            check_end(deal, &effects);
        outcome_done(&outcome);
    }
    merge_effects_done(&effects);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct rules *rules;
    static const char separator[] = "\n--\n";
    const char *bytes = (const char *)data, *middle = NULL;
    struct deal deal;
    struct error err = ERROR_INIT;

    if (rules == NULL)
        rules = load_rules();
    for (size_t i = 0; middle == NULL && i + sizeof(separator) - 1 <= size; i++) {
        if (memcmp(bytes + i, separator, sizeof(separator) - 1) == 0)
            middle = bytes + i;
    }
    if (middle == NULL || deal_read(bytes, (size_t)(middle - bytes), &deal, &err) < 0)
        return 0;
    middle += sizeof(separator) - 1;
    merge_message(rules, &deal, middle, size - (size_t)(middle - bytes));
    deal_done(&deal);
    return 0;
}
