#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/json.h"
#include "common/systems/dynamics365_record.h"
#include "common/systems/dynamics365_table.h"
#include "tests/support/parse.h"

#define RECORD_ID "0d3b8f60-7c41-4e0a-8a51-6c2f9f5e1b22"
#define USER_ID   "c1a2b3c4-0000-4000-8000-00000000aaaa"

/* The service's codes say more than the status; unknown ones leave it to the status. */
static void test_error_table(void **state)
{
    (void)state;
    static const struct {
        long status;
        const char *code;
        bool has_effect;
        enum system_result result;
        const char *word;
    } cases[] = {
        {412, "0x80060882", true, SYSTEM_CONFLICT, "dynamics_365.version"},
        {412, "", true, SYSTEM_CONFLICT, "dynamics_365.conflict"},
        {412, "0x80060892", true, SYSTEM_CONFLICT, "dynamics_365.duplicate_key"},
        {412, "0x80040237", true, SYSTEM_CONFLICT, "dynamics_365.duplicate_key"},
        {500, "0x80073002", true, SYSTEM_CONFLICT, "dynamics_365.duplicate_key"},
        {412, "0x80040333", true, SYSTEM_REFUSED, "dynamics_365.duplicate_record"},
        {500, "0x80040333", true, SYSTEM_REFUSED, "dynamics_365.duplicate_record"},
        {412, "0x80060883", true, SYSTEM_REFUSED, "dynamics_365.no_versions"},
        {412, "0x8006088D", true, SYSTEM_REFUSED, "dynamics_365.no_versions"},
        {404, "0x80040217", false, SYSTEM_GONE, "dynamics_365.not_found"},
        {404, "0x80060891", false, SYSTEM_GONE, "dynamics_365.not_found"},
        {404, "0x8006088a", false, SYSTEM_REFUSED, "dynamics_365.no_such_table"},
        {400, "0x80060890", false, SYSTEM_REFUSED, "dynamics_365.no_such_key"},
        {404, "", false, SYSTEM_GONE, "dynamics_365.not_found"},
        {403, "0x80040220", true, SYSTEM_REFUSED, "dynamics_365.privilege"},
        {403, "0x80048306", true, SYSTEM_REFUSED, "dynamics_365.privilege"},
        {403, "0x80040225", true, SYSTEM_BLOCKED, "dynamics_365.user_disabled"},
        {403, "0x8004d24b", true, SYSTEM_BLOCKED, "dynamics_365.user_disabled"},
        {403, "0x80072560", true, SYSTEM_BLOCKED, "dynamics_365.not_a_member"},
        {403, "0x8004A104", true, SYSTEM_BLOCKED, "dynamics_365.organization_disabled"},
        {401, "0x8005F101", true, SYSTEM_BLOCKED, "dynamics_365.sign_in"},
        {400, "0x80044331", true, SYSTEM_REFUSED, "dynamics_365.too_long"},
        {400, "0x80061005", true, SYSTEM_REFUSED, "dynamics_365.no_such_choice"},
        {400, "0x80048cfb", true, SYSTEM_REFUSED, "dynamics_365.currency"},
        {400, "0x80048408", true, SYSTEM_REFUSED, "dynamics_365.state"},
        {400, "0x80040515", true, SYSTEM_CONFLICT, "dynamics_365.already_closed"},
        {400, "0x80040516", true, SYSTEM_CONFLICT, "dynamics_365.cannot_close"},
        {400, "0x8004051A", true, SYSTEM_CONFLICT, "dynamics_365.already_open"},
        {400, "0x80040517", true, SYSTEM_CONFLICT, "dynamics_365.customer_inactive"},
        {400, "0x80040265", true, SYSTEM_REFUSED, "dynamics_365.plugin_refused"},
        {400, "0x80048d19", true, SYSTEM_REFUSED, "dynamics_365.refused"},
        {400, "0x0", true, SYSTEM_REFUSED, "dynamics_365.refused"},
        {400, "", true, SYSTEM_REFUSED, "dynamics_365.refused"},
        {400, NULL, true, SYSTEM_REFUSED, "dynamics_365.refused"},
        {400, NULL, false, SYSTEM_REFUSED, "dynamics_365.refused"},
        {429, "0x80072322", true, SYSTEM_RETRY, "dynamics_365.throttled_requests"},
        {429, "0x80072321", true, SYSTEM_RETRY, "dynamics_365.throttled_time"},
        {429, "0x80072326", true, SYSTEM_RETRY, "dynamics_365.throttled_concurrency"},
        {429, NULL, true, SYSTEM_RETRY, "dynamics_365.unavailable"},
        {503, "0x8004A001", true, SYSTEM_RETRY, "dynamics_365.busy"},
        {400, "0x80071154", true, SYSTEM_RETRY, "dynamics_365.concurrent"},
        {500, "0x80044150", false, SYSTEM_RETRY, "dynamics_365.sql"},
        {500, "0x80044151", true, SYSTEM_UNKNOWN, "dynamics_365.sql_timeout"},
        {500, "0x80040216", true, SYSTEM_UNKNOWN, "dynamics_365.unexpected"},
        {400, "0x80040216", true, SYSTEM_RETRY, "dynamics_365.unexpected"},
        {500, NULL, true, SYSTEM_UNKNOWN, "dynamics_365.unknown_outcome"},
        {500, NULL, false, SYSTEM_RETRY, "dynamics_365.unavailable"},
        {501, "0x80040219", true, SYSTEM_REFUSED, "dynamics_365.refused"},
        {413, NULL, true, SYSTEM_REFUSED, "dynamics_365.refused"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_auto_t *body = cases[i].code == NULL ? NULL : json_pack("{s:{s:s}}", "error", "code", cases[i].code);
        const struct dynamics_meaning meaning = dynamics_classify(cases[i].status, body, cases[i].has_effect);
        const bool is_unexplained = strcmp(cases[i].word, "dynamics_365.unexpected") == 0;
        if (meaning.result != cases[i].result || strcmp(meaning.code, cases[i].word) != 0 ||
            meaning.is_unexplained != is_unexplained)
            fail_msg("%ld %s: %d %s", cases[i].status, cases[i].code == NULL ? "-" : cases[i].code, (int)meaning.result,
                     meaning.code);
    }
}

/* A document carries the system's version as text and tells whether we were the last to write. */
static void test_document(void **state)
{
    (void)state;
    static const struct {
        const char *record, *version;
        int by_us; /* -1: unknown */
    } cases[] = {
        {"{\"opportunityid\":\"" RECORD_ID "\",\"versionnumber\":4711,\"_modifiedby_value\":\"" USER_ID "\"}", "4711",
         1},
        {"{\"opportunityid\":\"" RECORD_ID "\",\"versionnumber\":\"4711\",\"_modifiedby_value\":\"x\"}", "4711", 0},
        {"{\"opportunityid\":\"" RECORD_ID "\",\"versionnumber\":4711.0}", "4711", -1},
        {"{\"opportunityid\":\"0D3B8F60-7C41-4E0A-8A51-6C2F9F5E1B22\"}", NULL, -1},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_auto_t *record = parse(cases[i].record);
        json_auto_t *document = dynamics_document("opportunity", record, USER_ID);
        const json_t *by_us = json_object_get(document, "modified_by_us");

        assert_string_equal(json_text_of(document, "id"), RECORD_ID);
        assert_string_equal(json_text_of(document, "role"), "crm");
        if (cases[i].version == NULL)
            assert_null(json_text_of(document, "version"));
        else
            assert_string_equal(json_text_of(document, "version"), cases[i].version);
        if (cases[i].by_us < 0)
            assert_null(by_us);
        else
            assert_int_equal(json_is_true(by_us), cases[i].by_us);
    }
    json_auto_t *whole = parse("{\"opportunityid\":\"" RECORD_ID "\",\"modifiedon\":\"2026-05-04T09:15:02Z\","
                               "\"@odata.etag\":\"W/\\\"4711\\\"\"}");
    json_auto_t *document = dynamics_document("opportunity", whole, USER_ID);
    assert_string_equal(json_text_of(document, "changed_at"), "2026-05-04T09:15:02Z");
    assert_string_equal(json_text_of(document, "etag"), "W/\"4711\"");
    assert_ptr_equal(json_object_get(document, "body"), whole);
}

/* What has no id of its own is no record. */
static void test_document_of_no_record(void **state)
{
    (void)state;
    static const char *const texts[] = {"{}", "{\"opportunityid\":\"x\"}", "{\"opportunityid\":5}",
                                        "{\"accountid\":\"" RECORD_ID "\"}"};

    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        json_auto_t *record = parse(texts[i]);
        assert_null(dynamics_document("opportunity", record, USER_ID));
    }
}

/* An address of a record holds its id; one by alternate key does not. */
static void test_id_of_an_address(void **state)
{
    (void)state;
    char id[UUID_TEXT_SIZE];

    assert_true(
        dynamics_id_of("https://a.example/api/data/v9.2/opportunities(0D3B8F60-7C41-4E0A-8A51-6C2F9F5E1B22)", id));
    assert_string_equal(id, RECORD_ID);
    assert_false(dynamics_id_of(NULL, id));
    assert_false(dynamics_id_of("", id));
    assert_false(dynamics_id_of("opportunities(", id));
    assert_false(dynamics_id_of("opportunities(key='" RECORD_ID "')", id));
}

static struct decision a_decision(int action, json_t *write, json_t *lookups)
{
    static char id[] = "deal#3", type[] = "opportunity", record_id[] = RECORD_ID, audit_column[] = "audit",
                audit_text[] = "Updated from Partner Center", decided_at[] = "2026-11-21T04:00:59.9Z";
    return (struct decision){.id = id,
                             .action = action,
                             .record_type = type,
                             .record_id = record_id,
                             .write = write,
                             .lookups = lookups,
                             .audit_column = audit_column,
                             .audit_text = audit_text,
                             .decided_at = decided_at};
}

/* Plain columns, lookups with their attributes, and the state part ways. */
static void test_parts(void **state)
{
    (void)state;
    json_auto_t *write = parse("{\"name\":\"n\",\"estimatedvalue\":10.50,\"customerid_account.name\":\"A\","
                               "\"customerid_account.city\":null,\"statecode\":1,\"statuscode\":3}");
    json_auto_t *lookups =
        parse("{\"customerid_account\":{\"entity\":\"account\",\"match\":[\"name\"],\"create\":true}}");
    json_auto_t *columns = parse("{\"name\":\"n\",\"estimatedvalue\":10.5}");
    json_auto_t *expected =
        parse("{\"customerid_account\":{\"entity\":\"account\",\"match\":[\"name\"],\"create\":true,"
              "\"values\":{\"name\":\"A\",\"city\":null}}}");
    struct decision decision = a_decision(DECISION_UPDATE, write, lookups);
    struct dynamics_parts parts;
    struct error err = ERROR_INIT;

    assert_int_equal(dynamics_parts_of(&decision, &parts, &err), 0);
    assert_true(json_same(parts.columns, columns));
    assert_true(json_same(parts.lookups, expected));
    assert_true(parts.has_state && parts.is_closing);
    assert_int_equal(parts.state, 1);
    assert_int_equal(parts.status, 3);
    dynamics_parts_done(&parts);
    assert_null(json_object_get(json_object_get(lookups, "customerid_account"), "values"));
}

/* Only opportunities are closed and reopened by requests of their own; a new one is open. */
static void test_parts_of_a_state(void **state)
{
    (void)state;
    static const struct {
        const char *type, *write;
        int action;
        bool is_closing, is_reopening;
    } cases[] = {
        {"opportunity", "{\"statecode\":0,\"statuscode\":1}", DECISION_UPDATE, false, true},
        {"opportunity", "{\"statecode\":0,\"statuscode\":1}", DECISION_CREATE, false, false},
        {"opportunity", "{\"statecode\":2,\"statuscode\":4}", DECISION_UPDATE, true, false},
        {"opportunity", "{\"statecode\":2,\"statuscode\":4}", DECISION_CREATE, true, false},
        {"lead", "{\"statecode\":2,\"statuscode\":4}", DECISION_UPDATE, false, false},
        {"lead", "{\"statecode\":0,\"statuscode\":1}", DECISION_UPDATE, false, false},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_auto_t *write = parse(cases[i].write);
        struct decision decision = a_decision(cases[i].action, write, NULL);
        struct dynamics_parts parts;
        struct error err = ERROR_INIT;
        size_t length;
        decision.record_type = (char *)(uintptr_t)cases[i].type;
        assert_int_equal(dynamics_parts_of(&decision, &parts, &err), 0);
        assert_true(parts.has_state);
        assert_int_equal(parts.is_closing, cases[i].is_closing);
        assert_int_equal(parts.is_reopening, cases[i].is_reopening);
        char *body = dynamics_reopen_body(&parts, &length);
        assert_string_equal(body, cases[i].write);
        free(body);
        dynamics_parts_done(&parts);
    }
}

/* A dotted column needs a lookup that says what it points to and how it is found; a state needs both numbers. */
static void test_parts_that_cannot_be(void **state)
{
    (void)state;
    static const struct {
        const char *write, *lookups;
    } cases[] = {
        {"{\"customerid_account.name\":\"A\"}", "{}"},
        {"{\"customerid_account.name\":\"A\"}", "{\"customerid_account\":{\"match\":[\"name\"]}}"},
        {"{\"customerid_account.name\":\"A\"}", "{\"customerid_account\":{\"entity\":\"user\",\"match\":[\"name\"]}}"},
        {"{\"customerid_account.name\":\"A\"}", "{\"customerid_account\":{\"entity\":\"account\",\"match\":[]}}"},
        {"{\"statecode\":1}", "{}"},
        {"{\"statuscode\":1}", "{}"},
        {"{\"statecode\":\"1\",\"statuscode\":3}", "{}"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_auto_t *write = parse(cases[i].write);
        json_auto_t *lookups = parse(cases[i].lookups);
        struct decision decision = a_decision(DECISION_UPDATE, write, lookups);
        struct dynamics_parts parts;
        struct error err = ERROR_INIT;
        assert_int_equal(dynamics_parts_of(&decision, &parts, &err), -1);
        assert_int_equal(err.class, ERROR_POISON);
        assert_string_equal(err.code, "dynamics_365.write");
    }
}

/* The audit text tells the minute and names its decision. */
static void test_audit_text(void **state)
{
    (void)state;
    struct decision decision = a_decision(DECISION_UPDATE, NULL, NULL);
    char no_time[] = "some day";
    char *text = dynamics_audit_text(&decision, false);

    assert_string_equal(text, "2026-11-21 04:00 - Updated from Partner Center [deal#3]");
    free(text);
    decision.decided_at = no_time;
    text = dynamics_audit_text(&decision, false);
    assert_string_equal(text, "Updated from Partner Center [deal#3]");
    free(text);
}

/* The marker of decision 3 is not that of 30 or 13. */
static void test_marker(void **state)
{
    (void)state;
    static const struct {
        const char *record;
        bool is_there;
    } cases[] = {
        {"{\"audit\":\"2026-11-21 04:00 - Updated [deal#3]\"}", true},
        {"{\"audit\":\"Updated [deal#30]\"}", false},
        {"{\"audit\":\"Updated [a-deal#3]\"}", false},
        {"{\"audit\":\"deal#3\"}", false},
        {"{\"audit\":null}", false},
        {"{\"other\":\"[deal#3]\"}", false},
    };
    struct decision decision = a_decision(DECISION_UPDATE, NULL, NULL);

    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_auto_t *record = parse(cases[i].record);
        if (dynamics_has_marker(record, &decision) != cases[i].is_there)
            fail_msg("%s", cases[i].record);
    }
    json_auto_t *record = parse(cases[0].record);
    decision.audit_column = NULL;
    assert_false(dynamics_has_marker(record, &decision));
}

/* A record whose child rows are still to be made has a marker of its own, and is no record that shows the decision. */
static void test_record_that_was_begun(void **state)
{
    (void)state;
    static const char ROWS[] = "{\"name\":\"n\",\"statecode\":1,\"statuscode\":3,\"rows\":[{\"price\":1}]}";
    static const struct {
        int action;
        const char *write, *record;
        bool has_audit, was_begun, shows;
    } cases[] = {
        {DECISION_CREATE, ROWS, "{\"statecode\":1,\"audit\":\"Created [deal#3 begun]\"}", true, true, false},
        {DECISION_CREATE, ROWS, "{\"statecode\":1,\"audit\":\"Created [deal#3]\"}", true, false, true},
        {DECISION_CREATE, ROWS, "{\"statecode\":1,\"audit\":\"Created [deal#4 begun]\"}", true, false, false},
        {DECISION_CREATE, ROWS, "{\"statecode\":1,\"audit\":null}", true, false, false},
        {DECISION_CREATE, ROWS, "{\"statecode\":0,\"statuscode\":1,\"name\":\"n\"}", false, true, false},
        {DECISION_CREATE, ROWS, "{\"statecode\":1,\"statuscode\":3,\"name\":\"n\"}", false, true, true},
        {DECISION_CREATE, ROWS, "{\"statecode\":1,\"statuscode\":3,\"name\":\"m\"}", false, false, false},
        {DECISION_CREATE, "{\"name\":\"n\",\"rows\":[]}", "{\"audit\":\"[deal#3 begun]\"}", true, false, false},
        {DECISION_UPDATE, ROWS, "{\"statecode\":1,\"audit\":\"[deal#3 begun]\"}", true, false, false},
    };

    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_auto_t *write = parse(cases[i].write);
        json_auto_t *record = parse(cases[i].record);
        struct decision decision = a_decision(cases[i].action, write, NULL);
        if (!cases[i].has_audit)
            decision.audit_column = NULL;
        if (dynamics_was_begun(record, &decision) != cases[i].was_begun ||
            dynamics_shows(record, &decision) != cases[i].shows)
            fail_msg("case %zu: %s", i, cases[i].record);
    }
}

/* The final audit text has the marker, and a remark where there is one to make; what the rules write there stays. */
static void test_mark_body(void **state)
{
    (void)state;
    json_auto_t *write = parse("{\"audit\":\"of the rules\"}");
    json_auto_t *nothing = parse("{}");
    struct decision decision = a_decision(DECISION_CREATE, nothing, NULL);
    size_t length = 0;
    char *body = dynamics_mark_body(&decision, "", &length);

    assert_string_equal(body, "{\"audit\":\"2026-11-21 04:00 - Updated from Partner Center [deal#3]\"}");
    assert_int_equal(length, strlen(body));
    free(body);
    decision.write = write;
    body = dynamics_mark_body(&decision, ", but for one", &length);
    assert_string_equal(body, "{\"audit\":\"2026-11-21 04:00 - of the rules, but for one [deal#3]\"}");
    free(body);
}

/* The rows of a new record are parts of their own, and mark its body as begun; a change has none. */
static void test_parts_with_rows(void **state)
{
    (void)state;
    json_auto_t *write = parse("{\"name\":\"n\",\"rows\":[{\"price\":1}]}");
    json_auto_t *how = parse("{\"rows\":{\"entity\":\"my_row\",\"parent\":\"my_parent\"}}");
    json_auto_t *columns = parse("{\"name\":\"n\"}");
    json_auto_t *key = parse("{\"id\":\"k\"}");
    json_auto_t *binds = json_object();
    struct decision decision = a_decision(DECISION_CREATE, write, NULL);
    struct dynamics_parts parts;
    struct error err = ERROR_INIT;
    size_t length = 0;
    char *body;

    decision.rows = how;
    decision.create_key = key;
    assert_int_equal(dynamics_parts_of(&decision, &parts, &err), 0);
    assert_true(json_same(parts.columns, columns));
    assert_int_equal(json_array_size(parts.children), 1);
    body = dynamics_body(&decision, &parts, binds, &length);
    assert_non_null(body);
    assert_non_null(strstr(body, "[deal#3 begun]"));
    assert_null(strstr(body, "rows"));
    free(body);
    dynamics_parts_done(&parts);
    decision.action = DECISION_UPDATE;
    assert_int_equal(dynamics_parts_of(&decision, &parts, &err), -1);
    assert_string_equal(err.code, "dynamics_365.write");
}

/* Closing a deal names the status to reach and the record, and dates it with or without the time. */
static void test_close_body(void **state)
{
    (void)state;
    static const struct dynamics_parts parts = {.status = 4};
    struct decision decision = a_decision(DECISION_UPDATE, NULL, NULL);
    size_t length;
    char *body = dynamics_close_body(&decision, &parts, false, &length);

    assert_string_equal(body, "{\"Status\":4,\"OpportunityClose\":{\"subject\":\"Closed in Partner Center\","
                              "\"opportunityid@odata.bind\":\"/opportunities(" RECORD_ID ")\","
                              "\"actualend\":\"2026-11-21\"}}");
    assert_int_equal(length, strlen(body));
    free(body);
    body = dynamics_close_body(&decision, &parts, true, &length);
    assert_non_null(strstr(body, "\"actualend\":\"2026-11-21T04:00:59Z\""));
    free(body);
}

/* A record is addressed by its id, else by its alternate key, whose value is quoted and encoded. */
static void test_path(void **state)
{
    (void)state;
    json_auto_t *key = parse("{\"identifier\":\"a'b /c\"}");
    char *path = dynamics_path("opportunity", RECORD_ID, key);

    assert_string_equal(path, "opportunities(" RECORD_ID ")");
    free(path);
    path = dynamics_path("lead", NULL, key);
    assert_string_equal(path, "leads(identifier='a%27%27b%20%2Fc')");
    free(path);
}

static void assert_body(int action, const char *write_text, const char *expected_text)
{
    json_auto_t *write = parse(write_text);
    json_auto_t *binds = parse("{\"customerid_account@odata.bind\":\"/accounts(1)\"}");
    json_auto_t *expected = parse(expected_text);
    json_auto_t *key = parse("{\"identifier\":\"x\"}");
    struct decision decision = a_decision(action, write, NULL);
    struct dynamics_parts parts;
    struct error err = ERROR_INIT;
    struct json_fault fault;
    json_t *body = NULL;
    size_t length;

    decision.create_key = key;
    assert_int_equal(dynamics_parts_of(&decision, &parts, &err), 0);
    char *text = dynamics_body(&decision, &parts, binds, &length);
    assert_non_null(text);
    assert_int_equal(json_read(text, length, &JSON_LIMITS_OWN, &body, &fault), 0);
    if (!json_same(body, expected))
        fail_msg("%s", text);
    json_decref(body);
    free(text);
    dynamics_parts_done(&parts);
}

#define AUDIT "\"audit\":\"2026-11-21 04:00 - Updated from Partner Center [deal#3]\""
#define BIND  "\"customerid_account@odata.bind\":\"/accounts(1)\""

/* A change holds its columns, lookups and audit text; the state only where no action sets it, the key never. */
static void test_body(void **state)
{
    (void)state;
    assert_body(DECISION_UPDATE, "{\"name\":\"n\"}", "{\"name\":\"n\"," BIND "," AUDIT "}");
    assert_body(DECISION_UPDATE, "{\"statecode\":0,\"statuscode\":1}", "{" BIND "," AUDIT "}");
    assert_body(DECISION_UPDATE, "{\"statecode\":1,\"statuscode\":3}", "{" BIND "," AUDIT "}");
    assert_body(DECISION_UPDATE, "{\"identifier\":\"x\"}", "{\"identifier\":\"x\"," BIND "," AUDIT "}");
    assert_body(DECISION_CREATE, "{\"identifier\":\"x\",\"statecode\":0,\"statuscode\":2}",
                "{\"statuscode\":2," BIND "," AUDIT "}");
    assert_body(DECISION_UPDATE, "{\"audit\":\"of the rules\"}",
                "{\"audit\":\"2026-11-21 04:00 - of the rules [deal#3]\"," BIND "}");
}

/* The marker tells that a decision was carried out, whoever wrote since; a closing must also have closed. */
static void test_shows_by_marker(void **state)
{
    (void)state;
    static const struct {
        const char *write, *record;
        bool shows;
    } cases[] = {
        {"{\"name\":\"n\"}", "{\"audit\":\"[deal#3]\",\"name\":\"other\"}", true},
        {"{\"name\":\"n\"}", "{\"audit\":\"[deal#2]\",\"name\":\"n\"}", false},
        {"{\"statecode\":1,\"statuscode\":3}", "{\"audit\":\"[deal#3]\",\"statecode\":0}", false},
        {"{\"statecode\":1,\"statuscode\":3}", "{\"audit\":\"[deal#3]\",\"statecode\":1}", true},
        {"{\"statecode\":0,\"statuscode\":1}", "{\"audit\":\"[deal#3]\",\"statecode\":1}", true},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_auto_t *write = parse(cases[i].write);
        json_auto_t *record = parse(cases[i].record);
        struct decision decision = a_decision(DECISION_UPDATE, write, NULL);
        if (dynamics_shows(record, &decision) != cases[i].shows)
            fail_msg("%s %s", cases[i].write, cases[i].record);
    }
}

/* Without an audit column every value must stand; money may come back with more digits. */
static void test_shows_by_values(void **state)
{
    (void)state;
    static const struct {
        const char *write, *record;
        bool shows;
    } cases[] = {
        {"{\"estimatedvalue\":4990}", "{\"estimatedvalue\":4990.0000000000}", true},
        {"{\"estimatedvalue\":4990}", "{\"estimatedvalue\":4990.01}", false},
        {"{\"transactioncurrencyid.isocurrencycode\":\"EUR\"}",
         "{\"transactioncurrencyid\":{\"isocurrencycode\":\"EUR\"}}", true},
        {"{\"transactioncurrencyid.isocurrencycode\":\"EUR\"}", "{\"transactioncurrencyid\":null}", false},
        {"{\"description\":null}", "{}", true},
        {"{\"description\":null}", "{\"description\":\"x\"}", false},
        {"{\"name\":\"n\"}", "{}", false},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_auto_t *write = parse(cases[i].write);
        json_auto_t *record = parse(cases[i].record);
        struct decision decision = a_decision(DECISION_UPDATE, write, NULL);
        decision.audit_column = NULL;
        if (dynamics_shows(record, &decision) != cases[i].shows)
            fail_msg("%s %s", cases[i].write, cases[i].record);
    }
    json_auto_t *write = parse("{\"name\":\"n\"}");
    json_auto_t *record = parse("{\"name\":\"n\",\"audit\":null}");
    struct decision decision = a_decision(DECISION_UPDATE, write, NULL);
    decision.audit_text = NULL; /* then no marker was written either */
    assert_true(dynamics_shows(record, &decision));
}

/* A label waits until its number is known; no label is no value, and what is no text is refused. */
static void test_parts_with_labels(void **state)
{
    (void)state;
    json_auto_t *write = parse("{\"help@label\":\"Yes\",\"intent@label\":null,\"name\":\"Archive\"}");
    json_auto_t *number = parse("{\"help@label\":7}");
    json_auto_t *columns = parse("{\"intent\":null,\"name\":\"Archive\"}");
    json_auto_t *labels = parse("{\"help\":\"Yes\"}");
    const struct decision good = {
        .action = DECISION_UPDATE, .record_type = (char *)(uintptr_t) "opportunity", .write = write};
    const struct decision bad = {
        .action = DECISION_UPDATE, .record_type = (char *)(uintptr_t) "opportunity", .write = number};
    struct dynamics_parts parts;
    struct error err = ERROR_INIT;

    assert_int_equal(dynamics_parts_of(&good, &parts, &err), 0);
    assert_true(json_same(parts.columns, columns));
    assert_true(json_same(parts.labels, labels));
    dynamics_parts_done(&parts);
    assert_int_equal(dynamics_parts_of(&bad, &parts, &err), -1);
    assert_int_equal(err.class, ERROR_POISON);
}

/* A label stands when the service shows it beside the number. */
static void test_shows_by_label(void **state)
{
    (void)state;
    json_auto_t *record =
        parse("{\"help\":1,\"help@OData.Community.Display.V1.FormattedValue\":\"yes \",\"intent\":null}");
    static const struct {
        const char *write;
        bool shows;
    } cases[] = {
        {"{\"help@label\":\"Yes\"}", true}, {"{\"help@label\":\"No\"}", false},    {"{\"help@label\":null}", false},
        {"{\"intent@label\":null}", true},  {"{\"intent@label\":\"Yes\"}", false},
    };

    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_auto_t *write = parse(cases[i].write);
        const struct decision decision = {.action = DECISION_UPDATE, .write = write};
        if (dynamics_shows(record, &decision) != cases[i].shows)
            fail_msg("%s", cases[i].write);
    }
}

static int set_up(void **state)
{
    (void)state;
    json_setup();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error_table),
        cmocka_unit_test(test_document),
        cmocka_unit_test(test_document_of_no_record),
        cmocka_unit_test(test_id_of_an_address),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_parts_of_a_state),
        cmocka_unit_test(test_parts_that_cannot_be),
        cmocka_unit_test(test_audit_text),
        cmocka_unit_test(test_marker),
        cmocka_unit_test(test_record_that_was_begun),
        cmocka_unit_test(test_mark_body),
        cmocka_unit_test(test_parts_with_rows),
        cmocka_unit_test(test_close_body),
        cmocka_unit_test(test_path),
        cmocka_unit_test(test_body),
        cmocka_unit_test(test_shows_by_marker),
        cmocka_unit_test(test_shows_by_values),
        cmocka_unit_test(test_parts_with_labels),
        cmocka_unit_test(test_shows_by_label),
    };
    return cmocka_run_group_tests_name("dynamics365_record", tests, set_up, NULL);
}
