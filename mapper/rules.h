/* The rules of one deployment: who takes part, how records pair, which fields are kept the same and how.
 *
 * Read from YAML and checked completely at load; afterwards immutable and usable from any thread. Knows the shapes of the
 * rule language and nothing of deals (deal.h), of merging (merge.h) or of any system's requests. Pure.
 *
 * A field has a value on each side: with one path what stands there; with several paths an array of their values. At
 * Partner Center an absent or null value is unknown (NULL), not empty: nulls there never mean "delete". In the CRM null
 * is a value (a cleared column); only a column that was not read is unknown. A side without a path has the value null:
 * what goes to the other side is then a constant of the transform. */
#ifndef TANDEM_MAPPER_RULES_H
#define TANDEM_MAPPER_RULES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/base/diagnostic.h"
#include "common/base/error.h"
#include "mapper/rules_path.h"
#include "mapper/side.h"

enum rule_policy {
    POLICY_PARTNER_CENTER,
    POLICY_CRM,
    POLICY_LATEST, /* the side that was changed last; Partner Center if at the same time */
    POLICY_MANUAL  /* nothing is written, both values are kept until somebody settles it */
};

/* The referral's path that names its partner in the CRM. */
#define RULES_PATH_EXTERNAL_REFERENCE "externalReferenceId"
/* Known only where Microsoft is a party of the deal. */
#define RULES_PATH_MICROSOFT_STATUS "microsoft.status"

enum { RULE_FIELDS_MAX = 200 };

struct transform;

struct rule_field {
    char *name;
    char *paths[SIDE_COUNT][RULE_PATHS_MAX];
    size_t path_count[SIDE_COUNT];
    /* By the side that is written: */
    bool is_written_on_create[SIDE_COUNT];
    bool is_written_on_update[SIDE_COUNT];
    bool is_written_on_invite;               /* of the invitation of Microsoft (struct rules_invitation) */
    bool is_required_on_create[SIDE_COUNT];  /* without a value the record is not created */
    char *explanation;                       /* what a seller has to do when a required value is missing; may be NULL */
    json_t *when[SIDE_COUNT];                /* by the side that is read: {path of the field: [values]}; NULL: always */
    struct transform *transform[SIDE_COUNT]; /* towards that side; NULL: as it is */
    enum rule_policy policy;
    struct position position; /* in the rule file */
};

/* The second creation at Partner Center, which makes Microsoft a party of a deal of ours; also the upgrade to co-sell. */
struct rules_invitation {
    json_t *when;  /* {column: [values]}: all must hold; NULL: Microsoft is never invited */
    json_t *write; /* {path: value}: over what the fields say */
};

/* A referral that nobody has answered is closed by declining it. */
struct rules_unanswered {
    json_t *when; /* {path: [values]} of Partner Center: all hold for one that waits for our answer; NULL: none does */
    json_t *substitute; /* {path: {value: value}} in what closes it */
    json_t *write;      /* {path: value}: beside it */
};

enum rules_sync_off {
    SYNC_OFF_PAUSE, /* neither side is written */
    SYNC_OFF_HOLD   /* nothing leaves the CRM; Partner Center's changes still arrive */
};

enum rules_crm_deleted {
    CRM_DELETED_KEEP,    /* the deal rests */
    CRM_DELETED_RECREATE /* a new record is made from the referral */
};

/* A column of the CRM record, or "lookup.attribute" of a looked-up one, that has to be read. */
struct rule_column {
    char *name;
    struct position position; /* first in the rule file */
};

struct rules {
    char *version;                  /* SHA-256 of the file, first 16 digits: stamped on every decision */
    char *crm;                      /* "dynamics-365", "salesforce" */
    char *record_type;              /* "opportunity" */
    char *identifier_column;        /* in the CRM, holds the referral's id; its alternate key */
    char *sync_column;              /* in the CRM, the seller's switch */
    char *audit_column;             /* in the CRM, text and marker of our last write; NULL: none */
    size_t audit_length;            /* of that column, in UTF-16 units */
    bool link_waits_for_acceptance; /* the CRM record's id goes to the referral only once it is Active */
    json_t *select[SIDE_COUNT];     /* {path: [values]}: all must hold for a new deal to take part */
    json_t *leave_out; /* [{path: [values]}] of Partner Center: no deal where all of one hold; NULL: nothing */
    json_t *is_closed[SIDE_COUNT]; /* {path: [values]}: the record is closed when one holds */
    struct rules_invitation invitation;
    struct rules_unanswered unanswered;
    enum rules_sync_off sync_off;
    enum rules_crm_deleted crm_deleted;
    json_t *lookups; /* as in messages/decision.h */
    json_t *rows;    /* the same */
    struct rule_field *fields;
    size_t field_count;
    /* Every path anything above reads, once each, sorted; of Partner Center's side also what identity and birth need ("id",
     * "engagementId", "externalReferenceId", "direction", "status", "statusReason", "substatus",
     * "microsoft.status"). */
    char **paths[SIDE_COUNT];
    size_t path_count[SIDE_COUNT];
    /* Of the CRM's paths those whose values count, as whoever reads them has to know them: "column", "lookup.attribute",
     * "column@label", of rows "rows[].column" and "rows[].lookup.attribute"; once each. They are the identity with the
     * audit column, by which a write is recognised, the conditions, and the fields but for those that are only written to
     * the CRM, when it is created. */
    struct rule_column *columns;
    size_t column_count;
};

/* NULL on failure, with all errors in `diagnostics`. `source` from diagnostics_add_source(). */
struct rules *rules_load(struct diagnostics *diagnostics, const struct source *source);
void rules_free(struct rules *rules); /* accepts NULL */

/* NULL: there is no such field. */
const struct rule_field *rules_field(const struct rules *rules, const char *name);

/* Does a path of Partner Center's side belong to Microsoft's referral of the engagement ("microsoft.status")? */
bool rule_path_is_of_microsoft(const char *path);

/* The field's value from raw values by path ({path: value}, absent = not read); new reference, NULL: unknown. */
json_t *rule_field_value(const struct rule_field *field, enum side side, const json_t *values);
/* The value as it would stand on `target`, from the other side's `value`. 0 with a new reference, or with NULL when
 * there is nothing to write (a condition does not hold, a lookup table says leave it); -1 ERROR_POISON
 * "rules.unmappable" when the value cannot be mapped: the message names field and path, and of the value only what is
 * not personal (words of value tables, numbers). */
int rule_field_map(const struct rules *rules, const struct rule_field *field, enum side target, const json_t *value,
                   json_t **ret_value, struct error *err) TANDEM_MUST_CHECK;
/* Do the field's transforms or its table say of the other side's value that `target` is left alone? */
bool rule_field_leaves(const struct rule_field *field, enum side target, const json_t *value);
/* Puts a value of `side` under what its path(s) write into a write object: {path: value}, a list's path without its
 * members. */
int rule_field_spread(const struct rule_field *field, enum side side, const json_t *value, json_t *write)
    TANDEM_MUST_CHECK;

/* Does the rules' leave_out name this referral (raw values by path)? */
bool rules_leave_out(const struct rules *rules, const json_t *values);

/* Do the conditions ({path: [values]}, as value_is_wanted() takes them) hold for raw values by path? `all`: every one,
 * else at least one. A missing `conditions` holds for `all` and does not for one. */
bool rules_hold(const json_t *conditions, const json_t *values, bool all);

#endif
