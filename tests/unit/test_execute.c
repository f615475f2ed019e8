#include "pusher/execute.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/attributes.h"
#include "common/base/json.h"

enum { UNEXPLAINED_MAX = 3 };

/* What a call is answered with, in a story of one decision. */
struct line {
    enum system_result result;
    bool is_unexplained;
    bool is_unfinished;
    bool shows;               /* the documents that are read show the decision */
    enum execute_call before; /* the call that is being answered */
};

struct story {
    const char *name;
    int action;
    bool is_in_doubt;
    struct line lines[8];
    size_t count;
    int result; /* -1: it goes on with `call` */
    enum execute_call call;
    bool was_in_doubt;
    unsigned attempts;
};

#define WRITES(result_)                              \
    {                                                \
        .result = (result_), .before = EXECUTE_WRITE \
    }
#define WRITES_UNEXPLAINED(result_)                                          \
    {                                                                        \
        .result = (result_), .is_unexplained = true, .before = EXECUTE_WRITE \
    }
#define READS_UNEXPLAINED(result_)                                          \
    {                                                                       \
        .result = (result_), .is_unexplained = true, .before = EXECUTE_READ \
    }
#define READS(result_, shows_)                                         \
    {                                                                  \
        .result = (result_), .shows = (shows_), .before = EXECUTE_READ \
    }
#define FINDS(result_, shows_)                                         \
    {                                                                  \
        .result = (result_), .shows = (shows_), .before = EXECUTE_FIND \
    }

#define FINDS_UNFINISHED()                                                   \
    {                                                                        \
        .result = SYSTEM_DONE, .is_unfinished = true, .before = EXECUTE_FIND \
    }

static const struct story STORIES[] = {
    {"a write that is taken is applied",
     DECISION_UPDATE,
     false,
     {WRITES(SYSTEM_DONE)},
     1,
     OUTCOME_APPLIED,
     0,
     false,
     1},
    {"another version without a doubt is a conflict, whatever the record shows",
     DECISION_UPDATE,
     false,
     {WRITES(SYSTEM_CONFLICT), READS(SYSTEM_DONE, true)},
     2,
     OUTCOME_CONFLICT,
     0,
     false,
     1},
    {"after a lost answer the write is repeated, and applied when it is taken",
     DECISION_UPDATE,
     false,
     {WRITES(SYSTEM_UNKNOWN), WRITES(SYSTEM_DONE)},
     2,
     OUTCOME_APPLIED,
     0,
     false,
     2},
    {"after a lost answer another version that shows the decision is ours",
     DECISION_UPDATE,
     false,
     {WRITES(SYSTEM_UNKNOWN), WRITES(SYSTEM_CONFLICT), READS(SYSTEM_DONE, true)},
     3,
     OUTCOME_APPLIED,
     0,
     true,
     2},
    {"after a lost answer another version that does not show it is a conflict",
     DECISION_UPDATE,
     false,
     {WRITES(SYSTEM_UNKNOWN), WRITES(SYSTEM_CONFLICT), READS(SYSTEM_DONE, false)},
     3,
     OUTCOME_CONFLICT,
     0,
     false,
     2},
    {"a worker that takes over repeats, and judges",
     DECISION_UPDATE,
     true,
     {WRITES(SYSTEM_CONFLICT), READS(SYSTEM_DONE, true)},
     2,
     OUTCOME_APPLIED,
     0,
     true,
     1},
    {"a repeat that is refused may come from our own success",
     DECISION_UPDATE,
     false,
     {WRITES(SYSTEM_UNKNOWN), WRITES(SYSTEM_REFUSED), READS(SYSTEM_DONE, true)},
     3,
     OUTCOME_APPLIED,
     0,
     true,
     2},
    {"a refusal is told with the record beside it",
     DECISION_UPDATE,
     false,
     {WRITES(SYSTEM_REFUSED), READS(SYSTEM_DONE, true)},
     2,
     OUTCOME_REFUSED,
     0,
     false,
     1},
    {"a refusal is that of a record that is not visible any more",
     DECISION_UPDATE,
     false,
     {WRITES(SYSTEM_REFUSED), READS(SYSTEM_GONE, false)},
     2,
     OUTCOME_GONE,
     0,
     false,
     1},
    {"a target that is away is waited for",
     DECISION_UPDATE,
     false,
     {WRITES(SYSTEM_RETRY), WRITES(SYSTEM_BLOCKED), WRITES(SYSTEM_RETRY)},
     3,
     -1,
     EXECUTE_WRITE,
     false,
     4},
    {"the reading is repeated when it fails, and nothing is written",
     DECISION_UPDATE,
     false,
     {WRITES(SYSTEM_CONFLICT), READS(SYSTEM_RETRY, false), READS(SYSTEM_UNKNOWN, false), READS(SYSTEM_BLOCKED, false)},
     4,
     -1,
     EXECUTE_READ,
     false,
     1},
    {"a record that is not there is gone", DECISION_UPDATE, false, {WRITES(SYSTEM_GONE)}, 1, OUTCOME_GONE, 0, false, 1},
    {"a record deleted after the conflict is gone",
     DECISION_UPDATE,
     false,
     {WRITES(SYSTEM_CONFLICT), READS(SYSTEM_GONE, false)},
     2,
     OUTCOME_GONE,
     0,
     false,
     1},
    {"a create that is taken is applied",
     DECISION_CREATE,
     false,
     {WRITES(SYSTEM_DONE)},
     1,
     OUTCOME_APPLIED,
     0,
     false,
     1},
    {"a create whose answer was lost looks before it writes again",
     DECISION_CREATE,
     false,
     {WRITES(SYSTEM_UNKNOWN), FINDS(SYSTEM_DONE, true)},
     2,
     OUTCOME_APPLIED,
     0,
     true,
     1},
    {"and writes when there is nothing",
     DECISION_CREATE,
     false,
     {WRITES(SYSTEM_UNKNOWN), FINDS(SYSTEM_GONE, false), WRITES(SYSTEM_DONE)},
     3,
     OUTCOME_APPLIED,
     0,
     false,
     2},
    {"lost answers without end do not end it",
     DECISION_CREATE,
     false,
     {WRITES(SYSTEM_UNKNOWN), FINDS(SYSTEM_GONE, false), WRITES(SYSTEM_UNKNOWN), FINDS(SYSTEM_GONE, false),
      WRITES(SYSTEM_UNKNOWN), FINDS(SYSTEM_GONE, false), WRITES(SYSTEM_UNKNOWN), FINDS(SYSTEM_GONE, false)},
     8,
     -1,
     EXECUTE_WRITE,
     false,
     5},
    {"a worker that takes over a create looks first",
     DECISION_CREATE,
     true,
     {FINDS(SYSTEM_DONE, false)},
     1,
     OUTCOME_CONFLICT,
     0,
     false,
     0},
    {"a create of what exists is a conflict with the record that is there",
     DECISION_CREATE,
     false,
     {WRITES(SYSTEM_CONFLICT), FINDS(SYSTEM_DONE, true)},
     2,
     OUTCOME_CONFLICT,
     0,
     false,
     1},
    {"a create that was begun is written again until it is finished, however often its answer is lost",
     DECISION_CREATE,
     false,
     {WRITES(SYSTEM_UNKNOWN), FINDS_UNFINISHED(), WRITES(SYSTEM_UNKNOWN), FINDS_UNFINISHED(), WRITES(SYSTEM_UNKNOWN),
      FINDS_UNFINISHED(), WRITES(SYSTEM_DONE)},
     7,
     OUTCOME_APPLIED,
     0,
     false,
     4},
    {"a worker that takes over a create that was begun finishes it",
     DECISION_CREATE,
     true,
     {FINDS_UNFINISHED(), WRITES(SYSTEM_DONE)},
     2,
     OUTCOME_APPLIED,
     0,
     false,
     1},
    {"without a doubt what is there is another's, whatever it looks like",
     DECISION_CREATE,
     false,
     {WRITES(SYSTEM_CONFLICT), FINDS_UNFINISHED()},
     2,
     OUTCOME_CONFLICT,
     0,
     false,
     1},
    {"a refused create ends at once",
     DECISION_CREATE,
     false,
     {WRITES(SYSTEM_REFUSED)},
     1,
     OUTCOME_REFUSED,
     0,
     false,
     1},
    {"failures without a reason are borne while they are few",
     DECISION_UPDATE,
     false,
     {WRITES_UNEXPLAINED(SYSTEM_RETRY), WRITES_UNEXPLAINED(SYSTEM_RETRY), WRITES(SYSTEM_DONE)},
     3,
     OUTCOME_APPLIED,
     0,
     false,
     3},
    {"and end as a refusal with the record beside it, whatever comes between them",
     DECISION_UPDATE,
     false,
     {WRITES_UNEXPLAINED(SYSTEM_RETRY), WRITES_UNEXPLAINED(SYSTEM_RETRY), WRITES(SYSTEM_RETRY),
      WRITES_UNEXPLAINED(SYSTEM_RETRY), READS(SYSTEM_DONE, true)},
     5,
     OUTCOME_REFUSED,
     0,
     false,
     4},
    {"where the last of them may have changed the record, the reading tells",
     DECISION_UPDATE,
     false,
     {WRITES_UNEXPLAINED(SYSTEM_RETRY), WRITES_UNEXPLAINED(SYSTEM_RETRY), WRITES_UNEXPLAINED(SYSTEM_UNKNOWN),
      READS(SYSTEM_DONE, true)},
     4,
     OUTCOME_APPLIED,
     0,
     true,
     3},
    {"a create that fails so looks before it is refused, for it may have been made",
     DECISION_CREATE,
     false,
     {WRITES_UNEXPLAINED(SYSTEM_RETRY), WRITES_UNEXPLAINED(SYSTEM_RETRY), WRITES_UNEXPLAINED(SYSTEM_UNKNOWN),
      FINDS(SYSTEM_GONE, false)},
     4,
     OUTCOME_REFUSED,
     0,
     false,
     3},
    {"a create that was not made is refused without looking",
     DECISION_CREATE,
     false,
     {WRITES_UNEXPLAINED(SYSTEM_RETRY), WRITES_UNEXPLAINED(SYSTEM_RETRY), WRITES_UNEXPLAINED(SYSTEM_RETRY)},
     3,
     OUTCOME_REFUSED,
     0,
     false,
     3},
    {"a reading that fails so ends, too",
     DECISION_UPDATE,
     false,
     {WRITES(SYSTEM_CONFLICT), READS_UNEXPLAINED(SYSTEM_RETRY), READS_UNEXPLAINED(SYSTEM_RETRY),
      READS_UNEXPLAINED(SYSTEM_RETRY)},
     4,
     OUTCOME_REFUSED,
     0,
     false,
     1},
};

static void tell(const struct story *story)
{
    const struct decision decision = {.action = story->action};
    struct execution execution;
    enum execute_next next;

    next = execution_init(&execution, &decision, story->is_in_doubt, 0, UNEXPLAINED_MAX);
    for (size_t i = 0; i < story->count; i++) {
        const struct line *line = &story->lines[i];
        const struct system_answer answer = {
            .result = line->result,
            .retry_after_ms = -1,
            .calls = 1,
            .is_certain = true,
            .is_unexplained = line->is_unexplained,
            .is_unfinished = line->is_unfinished,
            .error = {.class = line->result == SYSTEM_DONE ? ERROR_NONE : ERROR_TRANSIENT, .code = "test"}};

        assert_int_not_equal(next, EXECUTE_FINISHED);
        assert_int_equal(execution.call, line->before);
        next = execution_take(&execution, &answer, line->result, line->shows, line->shows);
    }
    if (story->result < 0) {
        assert_int_not_equal(next, EXECUTE_FINISHED);
        assert_int_equal(execution.call, story->call);
    } else {
        assert_int_equal(next, EXECUTE_FINISHED);
        assert_string_equal(execute_result_name(execution.result), execute_result_name(story->result));
        assert_int_equal(execution.is_certain, story->result == OUTCOME_APPLIED);
        assert_int_equal(execution.error.class == ERROR_NONE, story->result == OUTCOME_APPLIED);
    }
    assert_int_equal(execution.was_in_doubt, story->was_in_doubt);
    assert_int_equal(execution.attempts, story->attempts);
    assert_int_equal(execution.calls, story->count);
    execution_done(&execution);
}

/* Every story goes the way it says. */
static void test_execution_follows_the_stories(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(STORIES); i++) {
        print_message("  %s\n", STORIES[i].name);
        tell(&STORIES[i]);
    }
}

/* A create that is told "exists" of a record nobody finds ends after a bounded number of rounds, as a conflict. */
static void test_execution_gives_up_on_a_record_that_exists_and_is_not_found(void **state)
{
    const struct decision decision = {.action = DECISION_CREATE};
    const struct system_answer conflict = {.result = SYSTEM_CONFLICT, .retry_after_ms = -1};
    const struct system_answer gone = {.result = SYSTEM_GONE, .retry_after_ms = -1};
    struct execution execution;
    unsigned rounds = 0;

    (void)state;
    assert_int_equal(execution_init(&execution, &decision, false, 0, UNEXPLAINED_MAX), EXECUTE_CALL);
    do {
        assert_int_equal(execution_take(&execution, &conflict, SYSTEM_CONFLICT, false, false), EXECUTE_CALL);
        rounds++;
    } while (execution_take(&execution, &gone, SYSTEM_GONE, false, false) != EXECUTE_FINISHED);
    assert_int_equal(rounds, EXECUTE_ROUNDS_MAX);
    assert_int_equal(execution.result, OUTCOME_CONFLICT);
    execution_done(&execution);
}

/* A create that is told "exists" of a record it has begun, and cannot finish, ends as a conflict, too. */
static void test_execution_gives_up_on_a_record_that_cannot_be_finished(void **state)
{
    const struct decision decision = {.action = DECISION_CREATE};
    const struct system_answer conflict = {.result = SYSTEM_CONFLICT, .retry_after_ms = -1};
    const struct system_answer begun = {.result = SYSTEM_DONE, .is_unfinished = true, .retry_after_ms = -1};
    struct execution execution;
    unsigned writes = 0;

    (void)state;
    assert_int_equal(execution_init(&execution, &decision, true, 0, UNEXPLAINED_MAX), EXECUTE_CALL);
    while (execution_take(&execution, &begun, SYSTEM_DONE, false, false) != EXECUTE_FINISHED) {
        assert_int_equal(execution.call, EXECUTE_WRITE);
        assert_int_equal(execution_take(&execution, &conflict, SYSTEM_CONFLICT, false, false), EXECUTE_CALL);
        writes++;
    }
    assert_int_equal(writes, EXECUTE_ROUNDS_MAX);
    assert_int_equal(execution.result, OUTCOME_CONFLICT);
    execution_done(&execution);
}

/* What was left out of an applied decision is told with it. */
static void test_execution_tells_what_was_left_out(void **state)
{
    const struct decision decision = {.action = DECISION_CREATE};
    const struct system_answer done = {
        .result = SYSTEM_DONE, .retry_after_ms = -1, .error = {.class = ERROR_POISON, .code = "left_out"}};
    struct execution execution;

    (void)state;
    assert_int_equal(execution_init(&execution, &decision, false, 0, UNEXPLAINED_MAX), EXECUTE_CALL);
    assert_int_equal(execution_take(&execution, &done, SYSTEM_DONE, false, false), EXECUTE_FINISHED);
    assert_int_equal(execution.result, OUTCOME_APPLIED);
    assert_string_equal(execution.error.code, "left_out");
    execution_done(&execution);
}

/* The documents of the last answer that had any go into the outcome; the refusal keeps its own reason. */
static void test_execution_keeps_the_record_and_the_first_reason(void **state)
{
    const struct decision decision = {.action = DECISION_UPDATE};
    json_auto_t *documents = json_pack("[{s:s}]", "id", "r");
    const struct system_answer refused = {.result = SYSTEM_REFUSED,
                                          .retry_after_ms = -1,
                                          .status = 400,
                                          .error = {.class = ERROR_POISON, .code = "first"},
                                          .field = "details.dealValue"};
    const struct system_answer read = {
        .result = SYSTEM_DONE, .retry_after_ms = -1, .status = 200, .documents = documents, .record_id = "r"};
    struct execution execution;

    (void)state;
    assert_int_equal(execution_init(&execution, &decision, false, 0, UNEXPLAINED_MAX), EXECUTE_CALL);
    execution_take(&execution, &refused, SYSTEM_REFUSED, false, false);
    assert_int_equal(execution_take(&execution, &read, SYSTEM_DONE, false, false), EXECUTE_FINISHED);
    assert_string_equal(execution.error.code, "first");
    assert_string_equal(execution.field, "details.dealValue");
    assert_int_equal(execution.status, 400);
    assert_true(json_same(execution.documents, documents));
    assert_string_equal(execution.record_id, "r");
    execution_done(&execution);
}

/* The status is that of the answer the result rests on: a conflict's is the write's, a settled doubt's the reading's. */
static void test_execution_tells_the_status_its_result_rests_on(void **state)
{
    const struct decision decision = {.action = DECISION_UPDATE};
    const struct system_answer conflict = {.result = SYSTEM_CONFLICT, .retry_after_ms = -1, .status = 412};
    const struct system_answer read = {.result = SYSTEM_DONE, .retry_after_ms = -1, .status = 200};
    const struct system_answer forbidden = {.result = SYSTEM_REFUSED, .retry_after_ms = -1, .status = 403};
    static const struct {
        bool is_in_doubt;
        enum system_result read_as;
        long status;
    } cases[] = {{false, SYSTEM_DONE, 412}, {true, SYSTEM_DONE, 200}, {false, SYSTEM_REFUSED, 403}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        const struct system_answer *reading = cases[i].read_as == SYSTEM_DONE ? &read : &forbidden;
        struct execution execution;

        assert_int_equal(execution_init(&execution, &decision, cases[i].is_in_doubt, 0, UNEXPLAINED_MAX), EXECUTE_CALL);
        assert_int_equal(execution_take(&execution, &conflict, SYSTEM_CONFLICT, false, false), EXECUTE_CALL);
        assert_int_equal(execution_take(&execution, reading, reading->result, true, true), EXECUTE_FINISHED);
        assert_int_equal(execution.status, cases[i].status);
        execution_done(&execution);
    }
}

/* What the breaker counts as blocked is not the end of the decision, although the target refused it. */
static void test_execution_waits_when_a_refusal_counts_as_blocked(void **state)
{
    const struct decision decision = {.action = DECISION_UPDATE};
    const struct system_answer refused = {.result = SYSTEM_REFUSED, .retry_after_ms = -1};
    struct execution execution;

    (void)state;
    assert_int_equal(execution_init(&execution, &decision, false, 0, UNEXPLAINED_MAX), EXECUTE_CALL);
    assert_int_equal(execution_take(&execution, &refused, SYSTEM_BLOCKED, false, false), EXECUTE_PAUSE_TARGET);
    assert_int_equal(execution.call, EXECUTE_WRITE);
    execution_done(&execution);
}

/* Where lists lag, a create in doubt settles before every look, and is repeated only after several found nothing. */
static void test_execution_settles_before_it_believes_that_nothing_was_created(void **state)
{
    const struct decision decision = {.action = DECISION_CREATE};
    const struct system_answer unknown = {.result = SYSTEM_UNKNOWN, .retry_after_ms = -1};
    const struct system_answer gone = {.result = SYSTEM_GONE, .retry_after_ms = -1};
    const struct system_answer retry = {.result = SYSTEM_RETRY, .retry_after_ms = -1};
    struct execution execution;

    (void)state;
    assert_int_equal(execution_init(&execution, &decision, false, 30000, UNEXPLAINED_MAX), EXECUTE_CALL);
    assert_int_equal(execution.settling_left_ms, 0);
    /* A second doubt is settled like the first. */
    for (int doubt = 0; doubt < 2; doubt++) {
        assert_int_equal(execution.call, EXECUTE_WRITE);
        assert_int_equal(execution_take(&execution, &unknown, SYSTEM_UNKNOWN, false, false), EXECUTE_PAUSE);
        for (unsigned look = 1; look < EXECUTE_LOOKS; look++) {
            assert_int_equal(execution.call, EXECUTE_FIND);
            assert_int_equal(execution.settling_left_ms, 30000);
            assert_int_equal(execution_take(&execution, &gone, SYSTEM_GONE, false, false), EXECUTE_PAUSE);
        }
        /* A look that fails is no look, and what has settled stays so. */
        assert_int_equal(execution_take(&execution, &retry, SYSTEM_RETRY, false, false), EXECUTE_PAUSE);
        assert_int_equal(execution.call, EXECUTE_FIND);
        assert_int_equal(execution.settling_left_ms, 0);
        assert_int_equal(execution_take(&execution, &gone, SYSTEM_GONE, false, false), EXECUTE_CALL);
        assert_int_equal(execution.settling_left_ms, 0);
    }
    assert_int_equal(execution.call, EXECUTE_WRITE);
    assert_int_equal(execution.attempts, 3);
    execution_done(&execution);
}

/* A worker that takes over a create settles before its first look: nobody knows when the other one wrote. */
static void test_execution_that_takes_over_a_create_settles_first(void **state)
{
    const struct decision create = {.action = DECISION_CREATE};
    const struct decision update = {.action = DECISION_UPDATE};
    const struct system_answer done = {.result = SYSTEM_DONE, .retry_after_ms = -1};
    struct execution execution;

    (void)state;
    assert_int_equal(execution_init(&execution, &create, true, 30000, UNEXPLAINED_MAX), EXECUTE_PAUSE);
    assert_int_equal(execution.call, EXECUTE_FIND);
    assert_int_equal(execution.settling_left_ms, 30000);
    assert_int_equal(execution_take(&execution, &done, SYSTEM_DONE, true, false), EXECUTE_FINISHED);
    assert_int_equal(execution.result, OUTCOME_APPLIED);
    assert_true(execution.was_in_doubt);
    execution_done(&execution);
    assert_int_equal(execution_init(&execution, &update, true, 30000, UNEXPLAINED_MAX), EXECUTE_CALL);
    assert_int_equal(execution.call, EXECUTE_WRITE);
    execution_done(&execution);
}

/* What is said to exist and is not found may not be listed yet. */
static void test_execution_settles_when_what_exists_is_not_found(void **state)
{
    const struct decision decision = {.action = DECISION_CREATE};
    const struct system_answer conflict = {.result = SYSTEM_CONFLICT, .retry_after_ms = -1};
    const struct system_answer gone = {.result = SYSTEM_GONE, .retry_after_ms = -1};
    struct execution execution;

    (void)state;
    assert_int_equal(execution_init(&execution, &decision, false, 30000, UNEXPLAINED_MAX), EXECUTE_CALL);
    assert_int_equal(execution_take(&execution, &conflict, SYSTEM_CONFLICT, false, false), EXECUTE_CALL);
    assert_int_equal(execution_take(&execution, &gone, SYSTEM_GONE, false, false), EXECUTE_PAUSE);
    assert_int_equal(execution.call, EXECUTE_WRITE);
    assert_int_equal(execution.settling_left_ms, 30000);
    execution_done(&execution);
}

/* What is given up says so, keeps the system's word for it, and is set aside; without a bound nothing is given up. */
static void test_execution_given_up_tells_why(void **state)
{
    const struct decision decision = {.action = DECISION_CREATE};
    const struct system_answer failed = {
        .result = SYSTEM_RETRY,
        .retry_after_ms = -1,
        .is_unexplained = true,
        .error = {.class = ERROR_TRANSIENT, .code = "word", .message = "write the record"}};
    struct execution execution;

    (void)state;
    assert_int_equal(execution_init(&execution, &decision, false, 0, 1), EXECUTE_CALL);
    assert_int_equal(execution_take(&execution, &failed, SYSTEM_RETRY, false, false), EXECUTE_FINISHED);
    assert_int_equal(execution.result, OUTCOME_REFUSED);
    assert_int_equal(execution.error.class, ERROR_POISON);
    assert_string_equal(execution.error.code, "word");
    assert_string_equal(execution.error.message, "given up after 1 failures without a reason: write the record");
    execution_done(&execution);
    assert_int_equal(execution_init(&execution, &decision, false, 0, 0), EXECUTE_CALL);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(execution_take(&execution, &failed, SYSTEM_RETRY, false, false), EXECUTE_PAUSE);
    execution_done(&execution);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_execution_follows_the_stories),
        cmocka_unit_test(test_execution_gives_up_on_a_record_that_exists_and_is_not_found),
        cmocka_unit_test(test_execution_gives_up_on_a_record_that_cannot_be_finished),
        cmocka_unit_test(test_execution_tells_what_was_left_out),
        cmocka_unit_test(test_execution_keeps_the_record_and_the_first_reason),
        cmocka_unit_test(test_execution_tells_the_status_its_result_rests_on),
        cmocka_unit_test(test_execution_waits_when_a_refusal_counts_as_blocked),
        cmocka_unit_test(test_execution_settles_before_it_believes_that_nothing_was_created),
        cmocka_unit_test(test_execution_that_takes_over_a_create_settles_first),
        cmocka_unit_test(test_execution_settles_when_what_exists_is_not_found),
        cmocka_unit_test(test_execution_given_up_tells_why),
    };

    json_setup();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
