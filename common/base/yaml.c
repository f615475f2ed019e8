#include "common/base/yaml.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "common/base/text.h"

struct builder {
    struct diagnostics *diagnostics;
    const struct source *source;
    yaml_parser_t parser;
    size_t nodes;
    size_t first_byte; /* 3 behind a byte order mark */

    /* How far the source has been counted: libyaml's marks count characters, and lines by its own idea of a break. */
    size_t offset; /* bytes */
    size_t index;  /* characters */
    size_t line;
    size_t column;
};

static void rewind_cursor(struct builder *builder)
{
    builder->offset = builder->first_byte;
    builder->index = 0;
    builder->line = 1;
    builder->column = 1;
}

/* The place of a mark, with lines that end in a line feed only, as editors and diagnostics count them. */
static struct position place_of(struct builder *builder, size_t index)
{
    const char *bytes = builder->source->bytes;
    if (index < builder->index)
        rewind_cursor(builder);
    while (builder->index < index && builder->offset < builder->source->length) {
        if (bytes[builder->offset] == '\n') {
            builder->line++;
            builder->column = 1;
        } else {
            builder->column++;
        }
        (void)utf8_next(bytes, builder->source->length, &builder->offset);
        builder->index++;
    }
    return (struct position){.source = builder->source, .line = builder->line, .column = builder->column, .length = 1};
}

/* From start to end; a token of several lines is marked on its first one, which printing sees to. */
static struct position span_of(struct builder *builder, const yaml_event_t *event)
{
    struct position position = place_of(builder, event->start_mark.index);
    if (event->end_mark.index > event->start_mark.index)
        position.length = event->end_mark.index - event->start_mark.index;
    return position;
}

static int no_memory(struct builder *builder)
{
    struct position nowhere = {.source = builder->source};
    return diagnostics_error(builder->diagnostics, nowhere, "out of memory");
}

/* Libyaml's words, and what a person can do about it. */
static const struct {
    const char *problem;
    const char *advice;
} advices[] = {
    {"mapping values are not allowed in this context",
     "a ':' is not expected here; put the text into quotes, or check the indentation"},
    {"did not find expected key", "a key is expected here; check the indentation"},
    {"did not find expected '-' indicator", "an item that begins with '-' is expected here; check the indentation"},
    {"could not find expected ':'", "a ':' is missing after the key"},
    {"found unexpected end of stream", "the quoted text is not closed"},
    {"did not find expected ',' or ']'", "a ',' or the closing ']' is missing"},
    {"did not find expected ',' or '}'", "a ',' or the closing '}' is missing"},
    {"found a tab character that violates indentation", "tabs cannot indent; use spaces"},
    {"found a tab character where an indentation space is expected", "tabs cannot indent; use spaces"},
    {"block sequence entries are not allowed in this context", "a '-' is not expected here; check the indentation"},
    {"control characters are not allowed", "control characters are not allowed"},
};

static const char *advice_for(const char *problem)
{
    for (size_t i = 0; i < ARRAY_LENGTH(advices); i++) {
        if (strcmp(problem, advices[i].problem) == 0)
            return advices[i].advice;
    }
    return problem;
}

/* Characters before a byte offset. */
static size_t index_of_byte(const struct builder *builder, size_t offset)
{
    if (offset > builder->source->length)
        offset = builder->source->length;
    if (offset < builder->first_byte)
        return 0;
    return utf8_length(builder->source->bytes + builder->first_byte, offset - builder->first_byte);
}

static int report_parser_error(struct builder *builder)
{
    const yaml_parser_t *parser = &builder->parser;
    if (parser->error == YAML_MEMORY_ERROR || parser->problem == NULL)
        return no_memory(builder);
    if (parser->error == YAML_READER_ERROR) {
        struct position position =
            place_of(builder, index_of_byte(builder, builder->first_byte + parser->problem_offset));
        return diagnostics_error(builder->diagnostics, position, "%s", advice_for(parser->problem));
    }

    struct position position = place_of(builder, parser->problem_mark.index);
    if (strcmp(parser->problem, "found character that cannot start any token") == 0) {
        char c = builder->offset < builder->source->length ? builder->source->bytes[builder->offset] : '\0';
        if (c == '\t')
            return diagnostics_error(builder->diagnostics, position, "tabs cannot indent; use spaces");
        return diagnostics_error(builder->diagnostics, position, "a value cannot begin with '%c'; put it into quotes",
                                 c);
    }
    /* The end of the file says nothing; the quote that was left open does. */
    bool is_unclosed = strcmp(parser->problem, "found unexpected end of stream") == 0;
    if (is_unclosed)
        position = place_of(builder, parser->context_mark.index);
    diagnostics_error(builder->diagnostics, position, "%s", advice_for(parser->problem));
    if (!is_unclosed && parser->context != NULL && parser->context_mark.index != parser->problem_mark.index) {
        diagnostics_report(builder->diagnostics, DIAGNOSTIC_NOTE, place_of(builder, parser->context_mark.index), "%s",
                           parser->context);
    }
    return -1;
}

static int next_event(struct builder *builder, yaml_event_t *ret_event)
{
    if (yaml_parser_parse(&builder->parser, ret_event) == 0)
        return report_parser_error(builder);
    return 0;
}

static struct yaml_node *new_node(struct builder *builder, enum yaml_kind kind, struct position position)
{
    if (builder->nodes >= YAML_NODES_MAX) {
        diagnostics_error(builder->diagnostics, position, "more than %d values in one file", (int)YAML_NODES_MAX);
        return NULL;
    }
    struct yaml_node *node = calloc(1, sizeof(*node));
    if (node == NULL) {
        no_memory(builder);
        return NULL;
    }
    builder->nodes++;
    node->kind = kind;
    node->position = position;
    return node;
}

void yaml_node_free(struct yaml_node *node)
{
    if (node == NULL)
        return;
    for (size_t i = 0; i < node->count; i++) {
        if (node->keys != NULL)
            yaml_node_free(node->keys[i]);
        yaml_node_free(node->items[i]);
    }
    free(node->keys);
    free(node->items);
    free(node->text);
    free(node);
}

/* Takes over both nodes, also on failure. Arrays double whenever the count reaches a power of two. */
static int add_child(struct builder *builder, struct yaml_node *parent, struct yaml_node *key, struct yaml_node *item)
{
    if ((parent->count & (parent->count - 1)) == 0) {
        size_t capacity = parent->count == 0 ? 1 : parent->count * 2;
        struct yaml_node **items = realloc(parent->items, capacity * sizeof(struct yaml_node *));
        if (items != NULL)
            parent->items = items;
        struct yaml_node **keys = NULL;
        if (items != NULL && parent->kind == YAML_MAPPING) {
            keys = realloc(parent->keys, capacity * sizeof(struct yaml_node *));
            if (keys != NULL)
                parent->keys = keys;
        }
        if (items == NULL || (parent->kind == YAML_MAPPING && keys == NULL)) {
            yaml_node_free(key);
            yaml_node_free(item);
            return no_memory(builder);
        }
    }
    if (parent->kind == YAML_MAPPING)
        parent->keys[parent->count] = key;
    parent->items[parent->count] = item;
    parent->count++;
    return 0;
}

static int compare_key_nodes(const void *a, const void *b)
{
    const struct yaml_node *key_a = *(struct yaml_node *const *)a;
    const struct yaml_node *key_b = *(struct yaml_node *const *)b;
    int order = strcmp(key_a->text, key_b->text);
    if (order != 0)
        return order;
    if (key_a->position.line != key_b->position.line)
        return key_a->position.line < key_b->position.line ? -1 : 1;
    return (key_a->position.column > key_b->position.column) - (key_a->position.column < key_b->position.column);
}

/* Sorted, so that a mapping with very many keys takes no quadratic time. */
static int check_duplicates(struct builder *builder, const struct yaml_node *mapping)
{
    if (mapping->count < 2)
        return 0;
    struct yaml_node **sorted = malloc(mapping->count * sizeof(struct yaml_node *));
    if (sorted == NULL)
        return no_memory(builder);
    memcpy(sorted, mapping->keys, mapping->count * sizeof(struct yaml_node *));
    qsort(sorted, mapping->count, sizeof(struct yaml_node *), compare_key_nodes);
    for (size_t i = 1; i < mapping->count; i++) {
        if (strcmp(sorted[i - 1]->text, sorted[i]->text) != 0)
            continue;
        diagnostics_error(builder->diagnostics, sorted[i]->position, "duplicate key '%s'", sorted[i]->text);
        diagnostics_report(builder->diagnostics, DIAGNOSTIC_NOTE, sorted[i - 1]->position, "it stands here already");
    }
    free(sorted);
    return 0;
}

static void refuse_anchor_and_tag(struct builder *builder, const yaml_event_t *event, const yaml_char_t *anchor,
                                  const yaml_char_t *tag)
{
    struct position position = place_of(builder, event->start_mark.index);
    if (anchor != NULL)
        diagnostics_error(builder->diagnostics, position, "anchors ('&name') are not supported");
    if (tag != NULL)
        diagnostics_error(builder->diagnostics, position, "tags ('!name') are not supported");
}

static struct yaml_node *build_scalar(struct builder *builder, const yaml_event_t *event)
{
    const char *value = (const char *)event->data.scalar.value;
    size_t length = event->data.scalar.length;
    struct position position = span_of(builder, event);
    refuse_anchor_and_tag(builder, event, event->data.scalar.anchor, event->data.scalar.tag);
    if (memchr(value, '\0', length) != NULL)
        diagnostics_error(builder->diagnostics, position, "text must not hold the NUL character");

    struct yaml_node *node = new_node(builder, YAML_SCALAR, position);
    if (node == NULL)
        return NULL;
    node->is_quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    node->text = text_copy_n(value, length);
    if (node->text == NULL) {
        no_memory(builder);
        yaml_node_free(node);
        return NULL;
    }
    return node;
}

static struct yaml_node *build_node(struct builder *builder, yaml_event_t *event, unsigned depth);

/* Reads the next event and what begins with it; *ret_is_end when it closes the collection instead. */
static struct yaml_node *build_next(struct builder *builder, unsigned depth, bool *ret_is_end)
{
    yaml_event_t event;
    *ret_is_end = false;
    if (next_event(builder, &event) < 0)
        return NULL;
    struct yaml_node *node = NULL;
    if (event.type == YAML_SEQUENCE_END_EVENT || event.type == YAML_MAPPING_END_EVENT)
        *ret_is_end = true;
    else
        node = build_node(builder, &event, depth);
    yaml_event_delete(&event);
    return node;
}

static int build_pair(struct builder *builder, struct yaml_node *mapping, struct yaml_node *key, unsigned depth)
{
    bool is_end;
    struct yaml_node *value = build_next(builder, depth, &is_end);
    if (value == NULL) {
        yaml_node_free(key);
        return -1;
    }
    if (key->kind != YAML_SCALAR) {
        diagnostics_error(builder->diagnostics, key->position, "a key must be a single word or text");
        yaml_node_free(key);
        yaml_node_free(value);
        return 0;
    }
    return add_child(builder, mapping, key, value);
}

static struct yaml_node *build_collection(struct builder *builder, enum yaml_kind kind, const yaml_event_t *event,
                                          unsigned depth)
{
    struct position position = place_of(builder, event->start_mark.index);
    if (depth >= YAML_DEPTH_MAX) {
        diagnostics_error(builder->diagnostics, position, "nested more than %d deep", (int)YAML_DEPTH_MAX);
        return NULL;
    }
    struct yaml_node *collection = new_node(builder, kind, position);
    int result = collection != NULL ? 0 : -1;
    while (result == 0) {
        bool is_end;
        struct yaml_node *child = build_next(builder, depth + 1, &is_end);
        if (is_end)
            break;
        if (child == NULL)
            result = -1;
        else if (kind == YAML_MAPPING)
            result = build_pair(builder, collection, child, depth + 1);
        else
            result = add_child(builder, collection, NULL, child);
    }
    if (result == 0 && kind == YAML_MAPPING)
        result = check_duplicates(builder, collection);
    if (result == 0)
        return collection;
    yaml_node_free(collection);
    return NULL;
}

static struct yaml_node *build_node(struct builder *builder, yaml_event_t *event, unsigned depth)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return build_scalar(builder, event);
    case YAML_SEQUENCE_START_EVENT:
        refuse_anchor_and_tag(builder, event, event->data.sequence_start.anchor, event->data.sequence_start.tag);
        return build_collection(builder, YAML_SEQUENCE, event, depth);
    case YAML_MAPPING_START_EVENT:
        refuse_anchor_and_tag(builder, event, event->data.mapping_start.anchor, event->data.mapping_start.tag);
        return build_collection(builder, YAML_MAPPING, event, depth);
    default: {
        /* An alias: the only event left that can stand for a node. An empty text goes on in its place, so that
         * further errors are found. */
        struct position position = span_of(builder, event);
        diagnostics_error(builder->diagnostics, position, "aliases ('*name') are not supported");
        struct yaml_node *node = new_node(builder, YAML_SCALAR, position);
        if (node != NULL && (node->text = text_copy("")) == NULL) {
            no_memory(builder);
            yaml_node_free(node);
            node = NULL;
        }
        return node;
    }
    }
}

/* All events of the stream. NULL when the text ends in an error, or in no document (*ret_is_empty). */
static struct yaml_node *build_document(struct builder *builder, bool *ret_is_empty)
{
    struct yaml_node *root = NULL;
    bool is_done = false;
    int result = 0;
    *ret_is_empty = false;
    while (!is_done && result == 0) {
        yaml_event_t event;
        result = next_event(builder, &event);
        if (result < 0)
            break;
        switch (event.type) {
        case YAML_STREAM_END_EVENT:
            is_done = true;
            break;
        case YAML_STREAM_START_EVENT:
        case YAML_DOCUMENT_END_EVENT:
            break;
        case YAML_DOCUMENT_START_EVENT:
            if (root != NULL) {
                result = diagnostics_error(builder->diagnostics, place_of(builder, event.start_mark.index),
                                           "a second document begins here; only one is allowed");
            }
            break;
        default:
            root = build_node(builder, &event, 0);
            result = root != NULL ? 0 : -1;
            break;
        }
        yaml_event_delete(&event);
    }
    if (result < 0) {
        yaml_node_free(root);
        return NULL;
    }
    *ret_is_empty = root == NULL || (root->kind == YAML_SCALAR && !root->is_quoted && root->text[0] == '\0');
    if (*ret_is_empty) {
        yaml_node_free(root);
        root = NULL;
    }
    return root;
}

struct yaml_node *yaml_parse(struct diagnostics *diagnostics, const struct source *source)
{
    struct builder builder = {.diagnostics = diagnostics, .source = source};
    struct position whole = {.source = source};
    size_t errors_before = diagnostics->error_count;
    if (source->length > YAML_BYTES_MAX) {
        diagnostics_error(diagnostics, whole, "the file is larger than %d bytes", (int)YAML_BYTES_MAX);
        return NULL;
    }
    if (source->length >= 3 && memcmp(source->bytes, "\xEF\xBB\xBF", 3) == 0)
        builder.first_byte = 3;
    rewind_cursor(&builder);
    size_t bad;
    if (!utf8_is_valid(source->bytes, source->length, &bad)) {
        diagnostics_error(diagnostics, place_of(&builder, index_of_byte(&builder, bad)), "not valid UTF-8");
        return NULL;
    }
    if (yaml_parser_initialize(&builder.parser) == 0) {
        no_memory(&builder);
        return NULL;
    }
    yaml_parser_set_encoding(&builder.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&builder.parser, (const unsigned char *)source->bytes + builder.first_byte,
                                 source->length - builder.first_byte);

    bool is_empty;
    struct yaml_node *root = build_document(&builder, &is_empty);
    yaml_parser_delete(&builder.parser);
    if (is_empty)
        root = new_node(&builder, YAML_MAPPING, (struct position){source, 1, 1, 1});
    /* What was refused on the way leaves a tree that must not be used. */
    if (diagnostics->error_count > errors_before) {
        yaml_node_free(root);
        return NULL;
    }
    return root;
}

const struct yaml_node *yaml_get(const struct yaml_node *mapping, const char *key)
{
    if (mapping == NULL || mapping->kind != YAML_MAPPING)
        return NULL;
    for (size_t i = 0; i < mapping->count; i++) {
        if (strcmp(mapping->keys[i]->text, key) == 0)
            return mapping->items[i];
    }
    return NULL;
}

static bool is_plain(const struct yaml_node *node)
{
    return node != NULL && node->kind == YAML_SCALAR && !node->is_quoted;
}

bool yaml_is_null(const struct yaml_node *node)
{
    return is_plain(node) && (node->text[0] == '\0' || strcmp(node->text, "~") == 0 || strcmp(node->text, "null") == 0);
}

bool yaml_get_boolean(const struct yaml_node *node, bool *ret_value)
{
    if (!is_plain(node))
        return false;
    bool is_true = strcmp(node->text, "true") == 0 || strcmp(node->text, "yes") == 0;
    if (!is_true && strcmp(node->text, "false") != 0 && strcmp(node->text, "no") != 0)
        return false;
    *ret_value = is_true;
    return true;
}

bool yaml_get_integer(const struct yaml_node *node, long long *ret_value)
{
    return is_plain(node) && text_parse_signed(node->text, ret_value);
}
