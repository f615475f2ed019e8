/* Topic `decisions`: what shall happen to a deal and why. Keyed by deal key; at most one under way per deal.
 *
 * A decision is one idempotent remote write with the version it expects, or none with its reason.
 * `fields`    [{"name", "old", "new", "from"}]: what changes, in the words of the rules; `from` is the source's value
 * `write`     {"estimatedvalue": 10.5, "transactioncurrencyid.isocurrencycode": "EUR", …}: members of the target. For a
 *             CRM a dot means an attribute of the record a lookup points to (see `lookups`); for Partner Center the path
 *             into the referral ("details.dealValue"). A list under a CRM's name: child rows made with a new record, each
 *             {"msft_price": 10, "msft_solutionid.msft_solutionidentifier": "…"} (see `rows`).
 * `lookups`   {"customerid_account": {"entity": "account", "match": ["name", "address1_postalcode"], "create": true}}
 * `rows`      {"msft_opportunity_msft_microsoftsolution": {"entity": "msft_microsoftsolution", "parent":
 *             "msft_opportunityid", "lookups": {"msft_solutionid": as above}}}: how child rows of the write are made
 * `conflicts` [{"name", "partner_center", "crm", "policy", "winner"}]: how both-sided changes were settled
 * `near_misses` [{"name", "written", "found", "decision"}]: values found soon after our own write of another one
 * `causes`    as in record.h, of every record folded into this decision */
#ifndef TANDEM_MESSAGES_DECISION_H
#define TANDEM_MESSAGES_DECISION_H

#include "common/messages/codec.h"

enum decision_action {
    DECISION_NONE,
    DECISION_CREATE, /* idempotent by `create_key` */
    DECISION_UPDATE  /* also closing and linking: the columns say so */
};

struct decision {
    char *id; /* deal key + "#" + number; the marker in the CRM's audit column */
    int64_t number;
    char *deal_key;
    int action;
    char *purpose;     /* "create", "update", "close", "link", "accept" …: for people; NULL for none */
    char *reason;      /* stable word: "partner_center_changed", "echo", "unchanged", "older", "not_selected" … */
    char *detail;      /* a sentence for people; may be NULL */
    char *target;      /* "partner-center" or "crm"; NULL for none */
    char *system;      /* "partner-center", "dynamics-365"; NULL for none */
    char *record_type; /* "opportunity", "referral", "invitation" (of Microsoft to our referral); NULL for none */
    char *record_id;   /* of the target; NULL for create */
    char *referral_id; /* of the deal, where known */
    char *crm_system;  /* of the deal, whatever the target: "dynamics-365" */
    char *crm_id;      /* of the deal, where known */
    char *expected_version;
    char *expected_etag;
    json_t *create_key; /* {"msft_microsoftpartnercenterreferralidentifier": "…"}: the alternate key of the target */
    json_t *fields;
    json_t *write;
    json_t *lookups;
    json_t *rows; /* NULL: none */
    json_t *conflicts;
    json_t *near_misses; /* NULL: none */
    bool is_notable;     /* none: belongs into the audit whatever its settings say */
    char *audit_column;  /* where the target keeps the audit text and marker; NULL: it has no such field */
    char *audit_text;    /* one line for the seller, without the marker */
    char *audit_former;  /* what stood there before, cut, to be kept below the new line; NULL: nothing */
    char *rules_version;
    char *decided_at;  /* time of the message that led to it (the mapper has no clock) */
    char *received_at; /* when the earliest cause reached us; NULL if unknown */
    json_t *causes;
    char *cause_topic; /* coordinates of the message that led to it: gaps and repeats are seen by them */
    int64_t cause_partition;
    int64_t cause_offset;
};

extern const struct member DECISION_MEMBERS[];
extern const size_t DECISION_MEMBER_COUNT;

int decision_read(const char *bytes, size_t length, struct decision *ret_decision, struct error *err) TANDEM_MUST_CHECK;
char *decision_write(const struct decision *decision, size_t *ret_length);
void decision_done(struct decision *decision);

#endif
