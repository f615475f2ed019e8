/* One deal under test: its rules, its state, the messages it is given and what comes of them.
 *
 * For unit tests of mapper/: fails the running cmocka test where something is not as asserted. JSON is written with single
 * quotes. The sides' versions count from 1; the records changed at second `version` of 1 January 2026, unless told. */
#ifndef TANDEM_TESTS_DEALS_H
#define TANDEM_TESTS_DEALS_H

#include <stdbool.h>

#include "mapper/merge.h"
#include "mapper/settle.h"

#define REFERRAL   "11111111-1111-4111-8111-111111111111"
#define CRM_RECORD "22222222-2222-4222-8222-222222222222"
#define ENGAGEMENT "33333333-3333-4333-8333-333333333333"
#define STRANGER   "44444444-4444-4444-8444-444444444444"

/* name   (nothing)          to the CRM always, to Partner Center never
 * value  decimal of 2       latest wins
 * notes  cut at 8           Partner Center wins
 * city   as it is           CRM wins
 * memo   as it is           manual
 * stage  table              Active 1, Closed 2, Odd nothing
 * tag    on creation only, required
 * answer Microsoft's status, to the CRM on update */
extern const char DEAL_RULES[];

struct scene {
    struct rules *rules;
    struct deal deal;
    struct merge_effects effects; /* of the last message */
    int64_t offset;
    const char *finished_at; /* of outcomes; NULL: 2026-01-01T00:02:00Z */
};

void scene_begin(struct scene *scene, const char *rules_text, const char *key);
void scene_end(struct scene *scene);

json_t *json_of(const char *text); /* with ' for " */
/* Releases `json`. */
void assert_json_is(json_t *json, const char *wanted);

/* An array of one document. `body` gets the ids it needs. */
json_t *documents_of(enum side side, int version, const char *body);
json_t *of_record(json_t *documents, const char *id); /* of another one */
/* Appends Microsoft's referral. */
void add_microsofts(json_t *documents, int version, const char *body);

/* Messages; the effects of the one before are released. `documents` is released. */
void record_arrives(struct scene *scene, enum side side, json_t *documents);
void reading_arrives(struct scene *scene, enum side side, int version, const char *body);
void gone_arrives(struct scene *scene, enum side side, const char *reason);
void found_arrives(struct scene *scene, const char *referral_id);
void settle_arrives(struct scene *scene, const char *field, const char *take);
/* As it is, but for the key; it is released. */
void message_arrives(struct scene *scene, struct record *record);
void outcome_arrives(struct scene *scene, enum outcome_result result, bool is_certain, json_t *documents);
/* Refused; `field` may be NULL. */
void refusal_arrives(struct scene *scene, const char *code, const char *field, json_t *documents);

/* Both sides read in version 1, linked, and both bases as they stand. */
void scene_agrees(struct scene *scene, const char *partner_center_body, const char *crm_body);

/* What the last message led to: a write, or none with its reason. */
void assert_writes(const struct scene *scene, const char *target, const char *write);
void assert_none(const struct scene *scene, const char *reason);
/* An outcome that led to nothing says nothing either. */
void assert_silent(const struct scene *scene);

#endif
