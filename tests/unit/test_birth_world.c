/* Deals begun on either side in a small world of two systems, webhooks, topics and a pusher, with the real merge between
 * them: whatever is lost, doubled, late or repeated, every deal ends as one referral and one record that name each other,
 * Microsoft is invited once where a seller asks for its help, and an edit made meanwhile comes to the other side.
 *
 * The world keeps what the outside promises and no more. Partner Center creates whatever it is asked to, Microsoft's
 * referral too, and a search there may show what it was a while ago; the CRM creates by alternate key. A topic keeps the order of one key, and of
 * nothing else. An answer may be lost after the call was carried out; the pusher then repeats the decision. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "mapper/birth.h"
#include "mapper/merge.h"
#include "mapper/rules_path_read.h"
#include "tests/support/deals.h"

enum {
    WORLDS = 3000,
    WORLDS_WITHOUT = 120, /* enough to meet what a left out rule allows */
    DEALS = 2,
    EDITS = 2,
    ENTRIES_MAX = 32,
    EVENTS_MAX = 1024,
    STEPS_MAX = 4000,
    POLLS = 7,
    ID_SIZE = 37
};

static const double STALE_SECONDS = 3;  /* a search at Partner Center may be this old */
static const double SETTLE_SECONDS = 5; /* after an unknown answer to a creation there, before it is looked for */
static const double POLL_SECONDS = 15;

static const char RULES[] =
    "version: 1\n"
    "crm: dynamics-365\n"
    "record: opportunity\n"
    "identity: {identifier: referral_id, sync: sync, audit: audit}\n"
    "select: {partner_center: {type: [Independent]}, crm: {sync: true}}\n"
    "closed: {partner_center: {status: [Closed]}, crm: {state: [2]}}\n"
    "invitation: {crm: {help: [demo]}, write: {target: msft}}\n"
    "fields:\n"
    "  - {name: title, partner_center: name, crm: name}\n"
    "  - {name: sync, crm: sync, direction: to-crm, on: create, to_crm: [{constant: true}]}\n"
    "  - {name: identifier, partner_center: id, crm: referral_id, direction: to-crm, on: create}\n";

/* What may be left out, to see that the world finds it. */
enum omission {
    NOTHING,
    LOOKUP,            /* the pusher looks for a referral before it creates one */
    LOOKUP_INVITATION, /* and for Microsoft's before it invites */
    SETTLE,            /* and waits before it looks, when an answer was lost */
    UPSERT,            /* it creates by alternate key in the CRM */
    PARTNER,           /* a reading of a referral tells the CRM record it names */
    HANDOVER,          /* what the CRM record's key knows goes over to the referral's */
    ALIAS,             /* and that key remembers where the deal lives */
    OMISSION_COUNT
};

/* How a world ends. */
enum verdict {
    GOOD,
    TWICE,       /* a record, or an invitation, that is there more than once, or one too few */
    STRANGERS,   /* two records that do not name each other */
    LOST,        /* an edit of one side that is not on the other */
    UNEASY,      /* there is always something more to do */
    UNPROCESSED, /* the mapper has set a message aside */
    VERDICT_COUNT
};

struct entry {
    char id[ID_SIZE];
    json_t *body;
    int version;
    double born;
    int invitations; /* of Microsoft, to this referral's engagement */
    double invited;
    bool is_edited; /* by a seller */
    bool is_ours;   /* the last to change it were we */
    char *marker;   /* the last decision written, as the CRM's audit column shows it */
};

struct told {
    char *key;
    struct deal deal;
    double records_until; /* the latest arrival so far: a key's messages stay in order */
    double outcomes_until;
};

enum event_kind { EVENT_CREATES, EVENT_EDITS, EVENT_FETCH, EVENT_POLL, EVENT_RECORD, EVENT_OUTCOME, EVENT_PUSH };

struct event {
    double at;
    unsigned number;
    enum event_kind kind;
    enum side side;
    char id[ID_SIZE];
    struct record record;
    struct outcome outcome;
    struct decision decision;
    bool is_in_doubt; /* the decision was carried out before, and the answer lost */
};

struct world {
    struct rules *rules;
    enum omission without;
    bool has_poller;
    uint64_t chance;
    double now;
    unsigned numbers;
    unsigned ids;
    int64_t offset;
    bool has_problem; /* the mapper has set a message aside */
    struct entry entries[SIDE_COUNT][ENTRIES_MAX];
    size_t entry_count[SIDE_COUNT];
    struct told deals[ENTRIES_MAX];
    size_t deal_count;
    struct event *events[EVENTS_MAX];
    size_t event_count;
};

/* -- chance -------------------------------------------------------------------------------------------------------- */

/* xorshift64*: from 0 up to, not including, 1. */
static double chance(struct world *world)
{
    world->chance ^= world->chance >> 12;
    world->chance ^= world->chance << 25;
    world->chance ^= world->chance >> 27;
    return (double)((world->chance * 0x2545F4914F6CDD1DULL) >> 11) / 9007199254740992.0;
}

static double delay(struct world *world, double mean)
{
    return -mean * log(1 - chance(world));
}

/* -- events -------------------------------------------------------------------------------------------------------- */

static struct event *at(struct world *world, double when, enum event_kind kind)
{
    struct event *event = calloc(1, sizeof(*event));
    assert_non_null(event);
    assert_true(world->event_count < EVENTS_MAX);
    *event = (struct event){.at = when, .number = world->numbers++, .kind = kind};
    world->events[world->event_count++] = event;
    return event;
}

static void fetch_later(struct world *world, double mean, enum side side, const char *id)
{
    struct event *event = at(world, world->now + delay(world, mean), EVENT_FETCH);
    event->side = side;
    (void)snprintf(event->id, sizeof(event->id), "%s", id);
}

static void entry_done(struct entry *entry)
{
    json_decref(entry->body);
    free(entry->marker);
}

static struct event *take_next(struct world *world)
{
    size_t first = 0;
    for (size_t i = 1; i < world->event_count; i++) {
        const struct event *a = world->events[i], *b = world->events[first];
        if (a->at < b->at || (a->at <= b->at && a->number < b->number))
            first = i;
    }
    struct event *event = world->events[first];
    world->events[first] = world->events[--world->event_count];
    return event;
}

static void event_free(struct event *event)
{
    record_done(&event->record);
    outcome_done(&event->outcome);
    decision_done(&event->decision);
    free(event);
}

/* -- the outside --------------------------------------------------------------------------------------------------- */

static struct entry *find(struct world *world, enum side side, const char *id)
{
    for (size_t i = 0; id != NULL && i < world->entry_count[side]; i++)
        if (strcmp(world->entries[side][i].id, id) == 0)
            return &world->entries[side][i];
    return NULL;
}

/* Webhooks: doubled, late, and lost where the poller finds what they miss. */
static void tell(struct world *world, enum side side, const char *id)
{
    const double drawn = chance(world) * 6;
    for (int i = 0; i < (drawn < 1 ? !world->has_poller : drawn < 5 ? 1 : 2); i++)
        fetch_later(world, 1, side, id);
}

static struct entry *add_entry(struct world *world, enum side side, json_t *body)
{
    assert_true(world->entry_count[side] < ENTRIES_MAX);
    struct entry *entry = &world->entries[side][world->entry_count[side]++];
    *entry = (struct entry){.body = body, .version = 1, .born = world->now};
    (void)snprintf(entry->id, sizeof(entry->id), "%08x-0000-4000-8000-000000000000", ++world->ids);
    if (side == SIDE_PARTNER_CENTER) {
        assert_int_equal(json_object_set_new(body, "id", json_string(entry->id)), 0);
        assert_int_equal(json_object_set_new(body, "engagementId", json_string(entry->id)), 0);
        assert_int_equal(json_object_set_new(body, "type", json_string("Independent")), 0);
        assert_int_equal(json_object_set_new(body, "status", json_string("Active")), 0);
    }
    tell(world, side, entry->id);
    return entry;
}

static void seller_creates(struct world *world)
{
    if (chance(world) < 0.5)
        (void)add_entry(world, SIDE_PARTNER_CENTER, json_of("{'name': 'Deal', 'externalReferenceId': null}"));
    else
        (void)add_entry(world, SIDE_CRM,
                        chance(world) < 0.5
                            ? json_of("{'name': 'Deal', 'sync': true, 'state': 0, 'referral_id': null, 'help': 'demo'}")
                            : json_of("{'name': 'Deal', 'sync': true, 'state': 0, 'referral_id': null}"));
}

static void seller_edits(struct world *world)
{
    const enum side side = chance(world) < 0.5 ? SIDE_PARTNER_CENTER : SIDE_CRM;
    char name[ID_SIZE + 16];
    if (world->entry_count[side] == 0)
        return;
    struct entry *entry = &world->entries[side][(size_t)(chance(world) * (double)world->entry_count[side])];
    (void)snprintf(name, sizeof(name), "%s edited", entry->id);
    assert_int_equal(json_object_set_new(entry->body, "name", json_string(name)), 0);
    entry->version++;
    entry->is_edited = true;
    entry->is_ours = false;
    tell(world, side, entry->id);
}

static json_t *documents_now(const struct entry *entry, enum side side)
{
    json_t *body = json_deep_copy(entry->body);
    char version[32], number[16], etag[16];
    (void)snprintf(version, sizeof(version), "2026-01-01T00:00:00.%07dZ", entry->version);
    (void)snprintf(number, sizeof(number), "%d", entry->version);
    (void)snprintf(etag, sizeof(etag), "\"%d\"", entry->version);
    json_t *documents = json_pack("[o]", record_document(side == SIDE_CRM ? "crm" : "own", entry->id,
                                                         side == SIDE_CRM ? number : version, version, etag, body));
    assert_non_null(documents);
    if (entry->invitations > 0)
        add_microsofts(documents, entry->version, "{'status': 'New'}");
    return documents;
}

/* -- topics -------------------------------------------------------------------------------------------------------- */

static struct told *deal_of(struct world *world, const char *key)
{
    struct error err = ERROR_INIT;
    for (size_t i = 0; i < world->deal_count; i++)
        if (strcmp(world->deals[i].key, key) == 0)
            return &world->deals[i];
    assert_true(world->deal_count < ENTRIES_MAX);
    struct told *told = &world->deals[world->deal_count++];
    told->key = text_copy(key);
    assert_int_equal(deal_init(&told->deal, key, &err), 0);
    return told;
}

/* In order within a key of one topic, otherwise with any delay. */
static double arrival(struct world *world, double *until)
{
    const double when = world->now + delay(world, 0.5);
    *until = when > *until ? when : *until + 1e-6;
    return *until;
}

/* Takes `record` over. */
static void send_record(struct world *world, struct record *record)
{
    struct event *event = at(world, arrival(world, &deal_of(world, record->deal_key)->records_until), EVENT_RECORD);
    event->record = *record;
    *record = (struct record){0};
}

/* What a reading of a referral would tell of its partner, until that names it, too. */
static void hide_partner(struct world *world, const struct entry *referral, json_t *documents)
{
    const struct entry *row = find(world, SIDE_CRM, json_text_of(referral->body, RULES_PATH_EXTERNAL_REFERENCE));
    if (row != NULL && !text_equal(json_text_of(row->body, "referral_id"), referral->id))
        (void)json_object_del(json_object_get(json_array_get(documents, 0), "body"), RULES_PATH_EXTERNAL_REFERENCE);
}

/* The key comes from the record itself. */
static void fetch(struct world *world, enum side side, const char *id)
{
    const struct entry *entry = find(world, side, id);
    assert_non_null(entry);
    const char *identifier = json_text_of(entry->body, "referral_id");
    struct record record = {
        .kind = RECORD_READING,
        .side = text_copy(side_name(side)),
        .deal_key = side == SIDE_PARTNER_CENTER ? text_copy(id)
                    : identifier != NULL        ? text_copy(identifier)
                                                : text_format("crm:%s", id),
        .record_id = text_copy(id),
        .read_at = text_copy("2026-01-01T00:01:00Z"),
        .documents = documents_now(entry, side),
        .causes = json_pack("[{s:I, s:s}]", "notification", (json_int_t)world->numbers, "received_at",
                            "2026-01-01T00:00:59Z"),
    };
    if (world->without == PARTNER && side == SIDE_PARTNER_CENTER)
        hide_partner(world, entry, record.documents);
    send_record(world, &record);
}

static void poll(struct world *world)
{
    for (int side = 0; side < SIDE_COUNT; side++)
        for (size_t i = 0; i < world->entry_count[side]; i++)
            fetch(world, (enum side)side, world->entries[side][i].id);
}

/* -- mapper -------------------------------------------------------------------------------------------------------- */

static void forget_alias(struct told *told)
{
    struct error err = ERROR_INIT;
    deal_done(&told->deal);
    assert_int_equal(deal_init(&told->deal, told->key, &err), 0);
}

static void follow(struct world *world, struct merge_effects *effects)
{
    const bool is_handover = effects->has_record && effects->record.kind == RECORD_HANDOVER;
    if (is_handover && world->without == ALIAS)
        forget_alias(deal_of(world, effects->record.from_key));
    world->has_problem = world->has_problem || effects->has_problem;
    if (effects->has_decision && effects->decision.action != DECISION_NONE) {
        struct event *push = at(world, world->now + delay(world, 0.33), EVENT_PUSH);
        push->decision = effects->decision;
        effects->decision = (struct decision){0};
    }
    if (effects->has_notification)
        fetch_later(world, 0.5,
                    strcmp(effects->notification.source, "partner-center") == 0 ? SIDE_PARTNER_CENTER : SIDE_CRM,
                    effects->notification.record_id);
    if (effects->has_record && !(is_handover && world->without == HANDOVER))
        send_record(world, &effects->record);
    merge_effects_done(effects);
}

static struct merge_context next_context(struct world *world)
{
    return (struct merge_context){.rules = world->rules, .topic = "records", .offset = world->offset++};
}

static void take_record(struct world *world, const struct record *record)
{
    const struct merge_context context = next_context(world);
    struct merge_effects effects = {0};
    struct error err = ERROR_INIT;
    if (merge_record(&deal_of(world, record->deal_key)->deal, &context, record, &effects, &err) < 0)
        fail_msg("%s", err.message);
    follow(world, &effects);
}

static void take_outcome(struct world *world, const struct outcome *outcome)
{
    const struct merge_context context = next_context(world);
    struct merge_effects effects = {0};
    struct error err = ERROR_INIT;
    if (merge_outcome(&deal_of(world, outcome->deal_key)->deal, &context, outcome, &effects, &err) < 0)
        fail_msg("%s", err.message);
    follow(world, &effects);
}

/* -- pusher -------------------------------------------------------------------------------------------------------- */

static void apply(struct world *world, struct entry *entry, enum side side, const struct decision *decision)
{
    const char *path;
    json_t *value;
    json_object_foreach (decision->write, path, value)
        assert_int_equal(rules_path_put(path, entry->body, json_deep_copy(value)), 0);
    entry->version++;
    entry->is_ours = true;
    free(entry->marker);
    entry->marker = text_copy(decision->id);
    tell(world, side, entry->id);
}

/* A search at Partner Center shows what it was a while ago. */
static bool is_shown(struct world *world, double since)
{
    return world->now - since > chance(world) * STALE_SECONDS;
}

/* By its alternate key; at Partner Center as far as a search shows it. */
static struct entry *find_created(struct world *world, enum side side, const struct decision *decision)
{
    const char *member = json_object_iter_key(json_object_iter(decision->create_key));
    const char *wanted = json_text_of(decision->create_key, member);
    if (world->without == (side == SIDE_PARTNER_CENTER ? LOOKUP : UPSERT))
        return NULL;
    for (size_t i = 0; i < world->entry_count[side]; i++) {
        struct entry *entry = &world->entries[side][i];
        if ((side == SIDE_CRM || is_shown(world, entry->born)) && text_equal(json_text_of(entry->body, member), wanted))
            return entry;
    }
    return NULL;
}

/* Returns our referral, as the pusher does. */
static struct entry *invite(struct world *world, const struct decision *decision)
{
    struct entry *entry = find(world, SIDE_PARTNER_CENTER, json_text_of(decision->create_key, "engagementId"));
    assert_non_null(entry);
    if (entry->invitations > 0 && world->without != LOOKUP_INVITATION && is_shown(world, entry->invited))
        return entry;
    entry->invitations++;
    entry->invited = world->now;
    tell(world, SIDE_PARTNER_CENTER, entry->id);
    return entry;
}

/* Does the record show that the decision was carried out? In the CRM by its marker; at Partner Center a creation is known
 * by its key, a change by its values. */
static bool shows(const struct entry *entry, enum side side, const struct decision *decision)
{
    const char *path;
    json_t *value;
    if (side == SIDE_CRM)
        return text_equal(entry->marker, decision->id);
    if (decision->action == DECISION_CREATE)
        return true;
    json_object_foreach (decision->write, path, value)
        if (!json_equal(json_object_get(entry->body, path), value))
            return false;
    return true;
}

/* What is said of a record that is found instead of written. Only the CRM tells who changed it last. */
static void judge(const struct entry *entry, enum side side, const struct event *event, struct outcome *outcome)
{
    const bool is_applied = event->is_in_doubt && shows(entry, side, &event->decision);
    outcome->result = is_applied ? (int)OUTCOME_APPLIED : (int)OUTCOME_CONFLICT;
    outcome->is_certain = is_applied && side == SIDE_CRM && entry->is_ours;
    outcome->is_created = is_applied && event->decision.action == DECISION_CREATE;
}

static struct entry *create(struct world *world, enum side side, const struct event *event, struct outcome *outcome)
{
    const struct decision *decision = &event->decision;
    struct entry *entry = find_created(world, side, decision);
    const char *member;
    json_t *value;
    if (entry != NULL) {
        judge(entry, side, event, outcome);
        if (side == SIDE_PARTNER_CENTER) /* looks first, and takes what it finds */
            outcome->result = OUTCOME_APPLIED;
        return entry;
    }
    entry = add_entry(world, side, json_of("{'state': 0}"));
    json_object_foreach (decision->create_key, member, value)
        assert_int_equal(json_object_set(entry->body, member, value), 0);
    apply(world, entry, side, decision);
    outcome->is_created = true;
    return entry;
}

/* Fills in what came of it. */
static struct entry *carry_out(struct world *world, enum side side, const struct event *event, struct outcome *outcome)
{
    const struct decision *decision = &event->decision;
    struct entry *entry;
    char etag[16];
    outcome->result = OUTCOME_APPLIED;
    outcome->is_certain = true;
    if (text_equal(decision->record_type, BIRTH_INVITATION)) {
        outcome->is_certain = false;
        return invite(world, decision);
    }
    if (decision->action == DECISION_CREATE)
        return create(world, side, event, outcome);
    entry = find(world, side, decision->record_id);
    assert_non_null(entry);
    (void)snprintf(etag, sizeof(etag), "\"%d\"", entry->version);
    if (decision->expected_etag != NULL && strcmp(decision->expected_etag, etag) != 0)
        judge(entry, side, event, outcome);
    else
        apply(world, entry, side, decision);
    return entry;
}

static void push(struct world *world, struct event *event)
{
    struct decision *decision = &event->decision;
    const enum side side = strcmp(decision->target, "crm") == 0 ? SIDE_CRM : SIDE_PARTNER_CENTER;
    struct outcome outcome = {0};
    const struct entry *entry = carry_out(world, side, event, &outcome);

    if (chance(world) < 0.3) { /* the answer is lost, or the pusher died after the call: once more */
        const bool settles =
            decision->action == DECISION_CREATE && side == SIDE_PARTNER_CENTER && world->without != SETTLE;
        struct event *again = at(world, world->now + delay(world, 0.5) + (settles ? SETTLE_SECONDS : 0), EVENT_PUSH);
        again->decision = *decision;
        again->is_in_doubt = true;
        *decision = (struct decision){0};
        return;
    }
    outcome.decision_id = text_copy(decision->id);
    outcome.decision_number = decision->number;
    outcome.deal_key = text_copy(decision->deal_key);
    outcome.target = text_copy(decision->target);
    outcome.record_id = text_copy(entry->id);
    outcome.documents = documents_now(entry, side);
    outcome.finished_at = text_copy("2026-01-01T00:02:00Z");
    at(world, arrival(world, &deal_of(world, decision->deal_key)->outcomes_until), EVENT_OUTCOME)->outcome = outcome;
}

/* -- the world ----------------------------------------------------------------------------------------------------- */

static void handle(struct world *world, struct event *event)
{
    switch (event->kind) {
    case EVENT_CREATES:
        seller_creates(world);
        break;
    case EVENT_EDITS:
        seller_edits(world);
        break;
    case EVENT_FETCH:
        fetch(world, event->side, event->id);
        break;
    case EVENT_POLL:
        poll(world);
        break;
    case EVENT_RECORD:
        take_record(world, &event->record);
        break;
    case EVENT_OUTCOME:
        take_outcome(world, &event->outcome);
        break;
    case EVENT_PUSH:
        push(world, event);
        break;
    }
    event_free(event);
}

/* The names agree; what was edited on one side only has come to the other. */
static bool is_whole(const struct entry *referral, const struct entry *row)
{
    const char *name = json_text_of(referral->body, "name");
    if (!text_equal(name, json_text_of(row->body, "name")))
        return false;
    if (referral->is_edited && row->is_edited)
        return true;
    return text_equal(name, "Deal") != (referral->is_edited || row->is_edited);
}

/* Every deal is one referral and one record that name each other, with Microsoft where it is wanted, and nothing is left to
 * happen; or what is wrong, the worst first. */
static enum verdict judge_world(struct world *world)
{
    bool is_lost = false;
    for (int side = 0; side < SIDE_COUNT; side++)
        if (world->entry_count[side] != DEALS)
            return TWICE;
    for (size_t i = 0; i < DEALS; i++) {
        const struct entry *referral = &world->entries[SIDE_PARTNER_CENTER][i];
        const struct entry *row = find(world, SIDE_CRM, json_text_of(referral->body, RULES_PATH_EXTERNAL_REFERENCE));
        if (row == NULL || !text_equal(json_text_of(row->body, "referral_id"), referral->id))
            return STRANGERS;
        if (referral->invitations != (json_object_get(row->body, "help") != NULL))
            return TWICE;
        is_lost = is_lost || !is_whole(referral, row);
    }
    if (world->has_problem)
        return UNPROCESSED;
    if (world->event_count > 0)
        return UNEASY;
    return is_lost ? LOST : GOOD;
}

static enum verdict live(struct rules *rules, unsigned seed, enum omission without)
{
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    world->rules = rules;
    world->without = without;
    world->has_poller = seed % 2 == 0;
    world->chance = 0x9E3779B97F4A7C15ULL * (seed + 1);
    for (int i = 0; i < DEALS; i++)
        (void)at(world, chance(world) * 5, EVENT_CREATES);
    for (int i = 0; i < EDITS; i++)
        (void)at(world, chance(world) * 20, EVENT_EDITS);
    for (int i = 1; world->has_poller && i <= POLLS; i++)
        (void)at(world, i * POLL_SECONDS, EVENT_POLL);
    for (int step = 0; step < STEPS_MAX && world->event_count > 0; step++) {
        struct event *event = take_next(world);
        world->now = event->at;
        handle(world, event);
    }
    const enum verdict verdict = judge_world(world);
    while (world->event_count > 0)
        event_free(take_next(world));
    for (int side = 0; side < SIDE_COUNT; side++)
        for (size_t i = 0; i < world->entry_count[side]; i++)
            entry_done(&world->entries[side][i]);
    for (size_t i = 0; i < world->deal_count; i++) {
        deal_done(&world->deals[i].deal);
        free(world->deals[i].key);
    }
    free(world);
    return verdict;
}

/* How many worlds end how. */
static void live_all(unsigned worlds, enum omission without, unsigned ends[static VERDICT_COUNT])
{
    struct scene scene;
    memset(ends, 0, VERDICT_COUNT * sizeof(*ends));
    scene_begin(&scene, RULES, REFERRAL);
    for (unsigned seed = 0; seed < worlds; seed++) {
        const enum verdict verdict = live(scene.rules, seed, without);
        ends[verdict]++;
        if (verdict != GOOD && without == NOTHING)
            print_message("seed %u: verdict %d\n", seed, (int)verdict);
    }
    scene_end(&scene);
}

/* However messages go astray, two deals end as two pairs that name each other, Microsoft is invited once to those that ask
 * for it, and all comes to rest. */
static void test_every_deal_is_born_once(void **state)
{
    unsigned ends[VERDICT_COUNT];
    (void)state;
    live_all(WORLDS, NOTHING, ends);
    assert_int_equal(ends[GOOD], WORLDS);
}

/* Each rule that keeps deals whole is needed: left out, some world ends as the rule is there to prevent. */
static void test_world_finds_what_is_left_out(void **state)
{
    static const enum verdict prevented[OMISSION_COUNT] = {
        [LOOKUP] = TWICE,  [LOOKUP_INVITATION] = TWICE, [SETTLE] = TWICE, [UPSERT] = TWICE,
        [PARTNER] = TWICE, [HANDOVER] = LOST,           [ALIAS] = TWICE};
    unsigned ends[VERDICT_COUNT];
    (void)state;
    for (enum omission without = LOOKUP; without < OMISSION_COUNT; without++) {
        live_all(WORLDS_WITHOUT, without, ends);
        if (ends[prevented[without]] == 0)
            fail_msg("without rule %d no world ends with verdict %d", (int)without, (int)prevented[without]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_deal_is_born_once),
        cmocka_unit_test(test_world_finds_what_is_left_out),
    };
    return cmocka_run_group_tests_name("birth_world", tests, NULL, NULL);
}
