/* Field by field: which side moved, who wins, what has to be written where.
 *
 * The rules "moved", "agree", the policies and "metadata" of the merge; fields on which both sides agree get their new
 * base here. Does not know decisions under way, creation or linking (merge.h). Pure. */
#ifndef TANDEM_MAPPER_SETTLE_H
#define TANDEM_MAPPER_SETTLE_H

#include <jansson.h>
#include <stdbool.h>

#include "common/base/error.h"
#include "mapper/deal.h"
#include "mapper/rules.h"

struct settlement {
    json_t *fields[SIDE_COUNT]; /* by target: [{"name", "old", "new", "from"}] */
    json_t *write[SIDE_COUNT];  /* by target: {path: value} */
    json_t *conflicts;          /* [{"name", "partner_center", "crm", "policy", "winner"}]; winner "nobody": parked
                                   since now; "both": parked before, and the sides agree now */
    bool has_news;              /* one of those began or ended to wait for a person, without a write */
    const struct rule_field *declining; /* closes what nobody has answered, and is written alone; NULL: none does */
    json_t *explanations;               /* [text]: what a seller has to do before the record can be created */
    json_t *left_out[SIDE_COUNT]; /* by target: the refusals, as in struct deal, of fields the write goes without */
    const char *held_back; /* why a moved field was not written: "partner_center_closed", "crm_closed", "sync_off",
                                   "manual", "unmappable"; NULL: none was */
    bool has_problem;      /* a value that cannot be mapped, not told before */
    struct error problem;
};

enum settle_situation { SETTLE_CREATE, SETTLE_INVITE };

int settlement_init(struct settlement *settlement, struct error *err) TANDEM_MUST_CHECK;
void settlement_done(struct settlement *settlement);

/* For a deal with both sides seen. */
int settle_updates(struct deal *deal, const struct rules *rules, struct settlement *settlement, struct error *err)
    TANDEM_MUST_CHECK;
/* For a record to be created on `target` from what is known of the other side. A required field without a value, or one
 * that cannot be mapped, is a problem and nothing must be created. SETTLE_INVITE: only what belongs on the invitation of
 * Microsoft, towards Partner Center. May be called for both, one after the other, with one settlement. */
int settle_creation(struct deal *deal, const struct rules *rules, enum side target, enum settle_situation situation,
                    struct settlement *settlement, struct error *err) TANDEM_MUST_CHECK;

#endif
