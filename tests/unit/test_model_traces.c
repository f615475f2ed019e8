#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/base/timestamp.h"
#include "mapper/merge.h"

/* The merge against traces of an independent model of it; see tests/cases/model-traces/README.md. */

#define KEY    "11111111-1111-4111-8111-111111111111"
#define CRM_ID "22222222-2222-4222-8222-222222222222"

enum { LINE_BYTES_MAX = 512, MEMBERS_MAX = 12, DEALS = 1000, SOME_MESSAGES = 40000, NANOSECONDS = 1000000000 };

struct replay {
    struct rules *rules;
    struct deal deal;
    bool has_deal;
    char seed[16];
    int64_t offset;
    size_t deals, messages, decisions;
    char actual[LINE_BYTES_MAX]; /* the decision the last message led to, as a trace writes it; "" for none */
};

/* `transform` of the value on its way to the CRM. */
static struct rules *load_rules(const char *policy, const char *transform)
{
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    char text[1024];
    (void)snprintf(text, sizeof(text),
                   "version: 1\n"
                   "crm: dynamics-365\n"
                   "record: opportunity\n"
                   "identity: {identifier: identifier, sync: sync}\n"
                   "fields:\n"
                   "  - {name: name, partner_center: name, crm: name, conflict: %s}\n"
                   "  - {name: value, partner_center: value, crm: value, conflict: %s, transform: %s}\n"
                   "  - {name: notes, partner_center: notes, crm: notes, conflict: %s, transform: {truncate: 8}}\n",
                   policy, policy, transform, policy);
    struct rules *rules =
        rules_load(&diagnostics, diagnostics_add_source(&diagnostics, "rules.yaml", text, strlen(text)));
    if (rules == NULL)
        fail_msg("%s", diagnostics_message(&diagnostics, 0, NULL));
    diagnostics_done(&diagnostics);
    return rules;
}

static size_t split(char *line, char *members[static MEMBERS_MAX])
{
    size_t count = 0;
    for (char *end; count < MEMBERS_MAX; line = end + 1) {
        members[count++] = line;
        end = strchr(line, '\t');
        if (end == NULL)
            return count;
        *end = '\0';
    }
    fail_msg("a line with too many members");
    return 0;
}

static json_t *number(const char *text)
{
    struct decimal decimal;
    assert_true(decimal_parse(text, strlen(text), &decimal));
    return json_decimal_new(&decimal);
}

static char *time_text(const char *nanoseconds, char out[static TIMESTAMP_TEXT_SIZE])
{
    long long count;
    assert_true(text_parse_signed(nanoseconds, &count));
    const struct timestamp timestamp = {.seconds = count / NANOSECONDS, .nanoseconds = (int32_t)(count % NANOSECONDS)};
    return timestamp_format(timestamp, 9, out);
}

/* `members`: version, changed at, name, value, notes. */
static json_t *documents_of(enum side side, char *const members[static 5])
{
    char at[TIMESTAMP_TEXT_SIZE];
    json_t *body = json_pack("{s:s, s:s, s:o, s:s, s:s}", side == SIDE_CRM ? "identifier" : "externalReferenceId",
                             side == SIDE_CRM ? KEY : CRM_ID, "name", members[2], "value", number(members[3]), "notes",
                             members[4], "id", side == SIDE_CRM ? CRM_ID : KEY);
    json_t *document = record_document(side == SIDE_CRM ? "crm" : "own", side == SIDE_CRM ? CRM_ID : KEY, members[0],
                                       time_text(members[1], at), NULL, body);
    json_t *documents = json_pack("[o]", document);
    assert_non_null(documents);
    return documents;
}

/* Both sides read, linked and in agreement. */
static void begin_deal(struct replay *replay, const char *seed)
{
    static char version[] = "1", at[] = "0", name[] = "a0", value[] = "1", notes[] = "n0";
    char *const start[] = {version, at, name, value, notes};
    struct error err = ERROR_INIT;

    if (replay->has_deal)
        deal_done(&replay->deal);
    (void)snprintf(replay->seed, sizeof(replay->seed), "%s", seed);
    replay->has_deal = true;
    replay->deals++;
    assert_int_equal(deal_init(&replay->deal, KEY, &err), 0);
    replay->deal.id[SIDE_PARTNER_CENTER] = text_copy(KEY);
    replay->deal.id[SIDE_CRM] = text_copy(CRM_ID);
    replay->deal.is_told = true;
    for (int side = 0; side < SIDE_COUNT; side++) {
        struct deal_sight sight;
        json_t *documents = documents_of((enum side)side, start);
        json_t *base = replay->deal.base[side];
        assert_int_equal(deal_see(&replay->deal, replay->rules, (enum side)side, documents, &sight, &err), 0);
        json_decref(documents);
        assert_int_equal(json_object_set_new(base, "name", json_string(name)), 0);
        assert_int_equal(json_object_set_new(base, "value", number(value)), 0);
        assert_int_equal(json_object_set_new(base, "notes", json_string(notes)), 0);
    }
}

static struct merge_context context_of(struct replay *replay)
{
    return (struct merge_context){.rules = replay->rules, .topic = "records", .offset = replay->offset++};
}

static void show_change(const json_t *change, struct text *line)
{
    static const struct {
        const char *name;
        char letter;
    } letters[] = {{"name", 'n'}, {"value", 'v'}, {"notes", 'o'}};
    const json_t *value = json_object_get(change, "new");
    struct decimal decimal;
    char digits[DECIMAL_TEXT_SIZE];

    for (size_t i = 0; i < ARRAY_LENGTH(letters); i++) {
        if (strcmp(json_text_of(change, "name"), letters[i].name) == 0)
            assert_int_equal(text_appendf(line, "\t%c", letters[i].letter), 0);
    }
    assert_int_equal(text_append(line, json_get_decimal(value, &decimal) ? decimal_format(&decimal, -1, digits)
                                                                         : json_string_value(value)),
                     0);
}

static void keep_decision(struct replay *replay, const struct merge_effects *effects)
{
    const struct decision *decision = &effects->decision;
    struct text line;

    assert_false(effects->has_notification || effects->has_record || effects->has_problem);
    replay->actual[0] = '\0';
    if (!effects->has_decision || decision->action == DECISION_NONE)
        return;
    assert_int_equal(decision->action, DECISION_UPDATE);
    assert_int_equal(json_array_size(decision->fields), json_object_size(decision->write));
    text_init(&line, sizeof(replay->actual) - 1);
    assert_int_equal(text_appendf(&line, "D\t%lld\t%c\t%s", (long long)decision->number, decision->target[0],
                                  decision->expected_version),
                     0);
    for (size_t i = 0; i < json_array_size(decision->fields); i++)
        show_change(json_array_get(decision->fields, i), &line);
    (void)snprintf(replay->actual, sizeof(replay->actual), "%s", text_string(&line));
    text_done(&line);
    replay->decisions++;
}

static void replay_record(struct replay *replay, char *const members[static 7])
{
    const enum side side = members[1][0] == 'c' ? SIDE_CRM : SIDE_PARTNER_CENTER;
    char at[TIMESTAMP_TEXT_SIZE];
    const struct merge_context context = context_of(replay);
    struct record record = {.kind = RECORD_READING,
                            .side = text_copy(side_name(side)),
                            .deal_key = text_copy(KEY),
                            .record_id = text_copy(side == SIDE_CRM ? CRM_ID : KEY),
                            .read_at = text_copy(time_text(members[3], at)),
                            .documents = documents_of(side, &members[2]),
                            .causes = json_array()};
    struct merge_effects effects;
    struct error err = ERROR_INIT;

    assert_int_equal(merge_record(&replay->deal, &context, &record, &effects, &err), 0);
    keep_decision(replay, &effects);
    merge_effects_done(&effects);
    record_done(&record);
}

static void replay_outcome(struct replay *replay, char *const members[static 9])
{
    char at[TIMESTAMP_TEXT_SIZE];
    const struct merge_context context = context_of(replay);
    const char *target = json_text_of(replay->deal.pending, "target");
    assert_non_null(target);
    const enum side side = strcmp(target, "crm") == 0 ? SIDE_CRM : SIDE_PARTNER_CENTER;
    struct outcome outcome = {.decision_id = text_format("%s#%s", KEY, members[1]),
                              .deal_key = text_copy(KEY),
                              .result = members[2][0] == 'a' ? OUTCOME_APPLIED : OUTCOME_CONFLICT,
                              .target = text_copy(target),
                              .record_id = text_copy(side == SIDE_CRM ? CRM_ID : KEY),
                              .is_certain = members[3][0] == '1',
                              .documents = documents_of(side, &members[4]),
                              .finished_at = text_copy(time_text(members[5], at))};
    struct merge_effects effects;
    struct error err = ERROR_INIT;

    assert_int_equal(merge_outcome(&replay->deal, &context, &outcome, &effects, &err), 0);
    keep_decision(replay, &effects);
    merge_effects_done(&effects);
    outcome_done(&outcome);
}

/* A message; what it led to is compared with the next line. */
static void replay_message(struct replay *replay, char *line)
{
    char *members[MEMBERS_MAX];
    size_t count = split(line, members);

    switch (members[0][0]) {
    case 'S':
        assert_int_equal(count, 2);
        begin_deal(replay, members[1]);
        return;
    case 'R':
        assert_int_equal(count, 7);
        replay_record(replay, members);
        break;
    case 'O':
        assert_int_equal(count, 9);
        replay_outcome(replay, members);
        break;
    default:
        fail_msg("an unknown line");
    }
    replay->messages++;
}

static void replay_file(const char *name, const char *policy, const char *transform)
{
    struct replay replay = {.rules = load_rules(policy, transform)};
    char command[128], line[LINE_BYTES_MAX], message[LINE_BYTES_MAX] = "";
    size_t number_of_line = 0;

    (void)snprintf(command, sizeof(command), "xz -dc tests/cases/model-traces/%s.txt.xz", name);
    FILE *lines = popen(command, "r");
    assert_non_null(lines);
    while (fgets(line, sizeof(line), lines) != NULL) {
        number_of_line++;
        line[strcspn(line, "\n")] = '\0';
        const bool is_decision = line[0] == 'D';
        if (strcmp(replay.actual, is_decision ? line : "") != 0)
            fail_msg("%s: deal %s, line %zu: after '%s' the model has '%s', the merge '%s'", name, replay.seed,
                     number_of_line, message, is_decision ? line : "", replay.actual);
        replay.actual[0] = '\0';
        if (is_decision)
            continue;
        (void)snprintf(message, sizeof(message), "%s", line);
        replay_message(&replay, line);
    }
    assert_int_equal(pclose(lines), 0);
    assert_string_equal(replay.actual, "");
    assert_int_equal(replay.deals, DEALS);
    assert_true(replay.messages > SOME_MESSAGES && replay.decisions > DEALS);
    deal_done(&replay.deal);
    rules_free(replay.rules);
}

/* Partner Center wins: the same decisions as the model, message by message. */
static void test_decisions_of_policy_partner_center(void **state)
{
    (void)state;
    replay_file("partner-center", "partner-center", "{decimal: 1}");
}

/* The CRM wins. */
static void test_decisions_of_policy_crm(void **state)
{
    (void)state;
    replay_file("crm", "crm", "{decimal: 1}");
}

/* Whoever changed last wins. */
static void test_decisions_of_policy_latest(void **state)
{
    (void)state;
    replay_file("latest", "latest", "{decimal: 1}");
}

/* Nobody wins until one side takes its change back. */
static void test_decisions_of_policy_manual(void **state)
{
    (void)state;
    replay_file("manual", "manual", "{decimal: 1}");
}

/* The CRM rounds by itself, which nobody told the rules: what it made of a value never travels back. */
static void test_decisions_where_the_crm_rounds(void **state)
{
    (void)state;
    replay_file("rounded-by-crm", "latest", "[]");
}

int main(void)
{
    json_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decisions_of_policy_partner_center), cmocka_unit_test(test_decisions_of_policy_crm),
        cmocka_unit_test(test_decisions_of_policy_latest),         cmocka_unit_test(test_decisions_of_policy_manual),
        cmocka_unit_test(test_decisions_where_the_crm_rounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
