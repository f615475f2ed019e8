/* JSON of a unit test's own. Include it after cmocka. */
#ifndef TANDEM_TESTS_SUPPORT_PARSE_H
#define TANDEM_TESTS_SUPPORT_PARSE_H

#include <jansson.h>
#include <string.h>

#include "common/base/json.h"

/* New reference; NULL for NULL. What is no JSON fails the test. */
static inline json_t *parse(const char *text)
{
    struct json_fault fault;
    json_t *json = NULL;

    if (text != NULL && json_read(text, strlen(text), &JSON_LIMITS_OWN, &json, &fault) < 0)
        fail_msg("%s: %s", text, json_problem_code(fault.problem));
    return json;
}

#endif
