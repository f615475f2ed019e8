#include "common/messages/codec.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"

static void *place(void *message, const struct member *member)
{
    return (char *)message + member->offset;
}

static const void *place_const(const void *message, const struct member *member)
{
    return (const char *)message + member->offset;
}

static int malformed(struct error *err, const struct member *member, const char *what)
{
    return error_set(err, ERROR_POISON, "message.malformed", "member '%s' %s", member->name, what);
}

static int read_word(const struct member *member, const json_t *value, int *ret_word, struct error *err)
{
    if (!json_is_string(value))
        return malformed(err, member, "is not a text");
    for (int i = 0; member->words[i] != NULL; i++) {
        if (strcmp(member->words[i], json_string_value(value)) == 0) {
            *ret_word = i;
            return 0;
        }
    }
    return malformed(err, member, "has a word that is not known");
}

static int read_member(const struct member *member, json_t *value, void *message, struct error *err)
{
    switch (member->kind) {
    case MEMBER_TEXT: {
        char **text = place(message, member);
        if (!json_is_string(value) || json_is_decimal(value))
            return malformed(err, member, "is not a text");
        if (member->is_required && json_string_length(value) == 0)
            return malformed(err, member, "is empty");
        *text = text_copy(json_string_value(value));
        return *text == NULL ? error_no_memory(err) : 0;
    }
    case MEMBER_INTEGER: {
        int64_t *integer = place(message, member);
        if (!json_is_integer(value))
            return malformed(err, member, "is not an integer");
        *integer = json_integer_value(value);
        return 0;
    }
    case MEMBER_BOOLEAN: {
        bool *flag = place(message, member);
        if (!json_is_boolean(value))
            return malformed(err, member, "is not true or false");
        *flag = json_is_true(value);
        return 0;
    }
    case MEMBER_WORD:
        return read_word(member, value, place(message, member), err);
    case MEMBER_OBJECT:
    case MEMBER_ARRAY: {
        json_t **json = place(message, member);
        if (member->kind == MEMBER_OBJECT ? !json_is_object(value) : !json_is_array(value))
            return malformed(err, member, member->kind == MEMBER_OBJECT ? "is not an object" : "is not an array");
        *json = json_incref(value);
        return 0;
    }
    }
    return malformed(err, member, "is of no known kind");
}

static size_t size_of_kind(enum member_kind kind)
{
    switch (kind) {
    case MEMBER_TEXT:
        return sizeof(char *);
    case MEMBER_INTEGER:
        return sizeof(int64_t);
    case MEMBER_BOOLEAN:
        return sizeof(bool);
    case MEMBER_WORD:
        return sizeof(int);
    case MEMBER_OBJECT:
    case MEMBER_ARRAY:
        return sizeof(json_t *);
    }
    return 0;
}

static void zero(const struct member *members, size_t count, void *message)
{
    for (size_t i = 0; i < count; i++)
        memset(place(message, &members[i]), 0, size_of_kind(members[i].kind));
}

int message_from_json(const struct member *members, size_t count, const json_t *json, void *ret_message,
                      struct error *err)
{
    zero(members, count, ret_message);
    if (!json_is_object(json))
        return error_set(err, ERROR_POISON, "message.malformed", "the message is not a JSON object");
    for (size_t i = 0; i < count; i++) {
        json_t *value = json_object_get(json, members[i].name);
        int status = 0;
        if (value == NULL || json_is_null(value)) {
            if (members[i].is_required)
                status = malformed(err, &members[i], "is missing");
        } else {
            status = read_member(&members[i], value, ret_message, err);
        }
        if (status < 0) {
            message_done(members, count, ret_message);
            return -1;
        }
    }
    return 0;
}

int message_read(const struct member *members, size_t count, const char *bytes, size_t length, void *ret_message,
                 struct error *err)
{
    json_auto_t *json = NULL;
    struct json_fault fault;

    zero(members, count, ret_message);
    if (bytes == NULL)
        return error_set(err, ERROR_POISON, "message.malformed", "the message has no value");
    if (json_read(bytes, length, &JSON_LIMITS_OWN, &json, &fault) < 0)
        return error_set(err, fault.problem == JSON_NO_MEMORY ? ERROR_TRANSIENT : ERROR_POISON, "message.malformed",
                         "not readable as JSON: %s at line %zu, column %zu", json_problem_code(fault.problem),
                         fault.line, fault.column);
    return message_from_json(members, count, json, ret_message, err);
}

static json_t *write_member(const struct member *member, const void *message)
{
    const void *at = place_const(message, member);

    switch (member->kind) {
    case MEMBER_TEXT: {
        char *const *text = at;
        return *text == NULL ? NULL : json_text_new(*text, strlen(*text));
    }
    case MEMBER_INTEGER:
        return json_integer(*(const int64_t *)at);
    case MEMBER_BOOLEAN:
        return json_boolean(*(const bool *)at);
    case MEMBER_WORD:
        return json_string(member->words[*(const int *)at]);
    case MEMBER_OBJECT:
    case MEMBER_ARRAY: {
        json_t *const *json = at;
        return json_incref(*json);
    }
    }
    return NULL;
}

static bool is_absent(const struct member *member, const void *message)
{
    const void *at = place_const(message, member);

    if (member->kind == MEMBER_TEXT)
        return *(char *const *)at == NULL;
    if (member->kind == MEMBER_OBJECT || member->kind == MEMBER_ARRAY)
        return *(json_t *const *)at == NULL;
    return false;
}

json_t *message_to_json(const struct member *members, size_t count, const void *message)
{
    json_t *object = json_object();

    for (size_t i = 0; object != NULL && i < count; i++) {
        if (is_absent(&members[i], message))
            continue;
        if (json_object_set_new(object, members[i].name, write_member(&members[i], message)) < 0) {
            json_decref(object);
            object = NULL;
        }
    }
    return object;
}

char *message_write(const struct member *members, size_t count, const void *message, size_t *ret_length)
{
    json_auto_t *json = message_to_json(members, count, message);

    return json == NULL ? NULL : json_write(json, false, ret_length);
}

void message_done(const struct member *members, size_t count, void *message)
{
    for (size_t i = 0; i < count; i++) {
        void *at = place(message, &members[i]);
        if (members[i].kind == MEMBER_TEXT)
            free(*(char **)at);
        else if (members[i].kind == MEMBER_OBJECT || members[i].kind == MEMBER_ARRAY)
            json_decref(*(json_t **)at);
    }
    zero(members, count, message);
}
