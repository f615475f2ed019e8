#include "mapper/worker_metrics.h"

#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/runtime/metrics.h"

static const char *const NO_LABELS[] = {NULL};

static struct series *declare_single(enum metric_kind kind, const char *name, const char *help)
{
    return metrics_series(metrics_declare(kind, name, "", help), NO_LABELS);
}

void worker_metrics_declare(struct worker_metrics *metrics)
{
    metrics->messages = metrics_declare(METRIC_COUNTER, "tandem_mapper_messages_total", "kind,result",
                                        "Messages worked on, those of aborted transactions included.");
    metrics->decisions = metrics_declare(METRIC_COUNTER, "tandem_mapper_decisions_total", "action,reason",
                                         "Decisions by action and reason.");
    metrics->conflicts = metrics_declare(METRIC_COUNTER, "tandem_mapper_conflicts_total", "field,policy",
                                         "Fields that both sides had changed, by how they were settled.");
    metrics->dead_letters = metrics_declare(METRIC_COUNTER, "tandem_mapper_dead_letters_total", "code",
                                            "Messages set aside, by the reason's code.");
    metrics->rules =
        metrics_declare(METRIC_GAUGE, "tandem_mapper_rules", "version", "1 for the version of the rules in force.");
    metrics->echoes = declare_single(METRIC_COUNTER, "tandem_mapper_echoes_total",
                                     "Readings that showed nothing but our own last write.");
    metrics->echoed_fields = declare_single(METRIC_COUNTER, "tandem_mapper_echoed_fields_total",
                                            "Fields we wrote that were read back as written.");
    metrics->near_misses = metrics_declare(
        METRIC_COUNTER, "tandem_mapper_near_misses_total", "field",
        "Fields that soon after our write showed another value; the audit's view near_misses tells them.");
    metrics->requests = declare_single(METRIC_COUNTER, "tandem_mapper_partner_requests_total",
                                       "Readings of a deal's other side that were asked for.");
    metrics->deals = declare_single(METRIC_GAUGE, "tandem_mapper_deals", "Deals in the local store.");
    metrics->store_bytes = declare_single(METRIC_GAUGE, "tandem_mapper_store_bytes", "Size of the local store.");
    metrics->store_write = declare_single(METRIC_HISTOGRAM, "tandem_mapper_store_write_seconds",
                                          "Time to take a committed transaction into the local store.");
    metrics->restore = declare_single(METRIC_HISTOGRAM, "tandem_mapper_restore_seconds",
                                      "Time from an assignment to the state being there.");
    metrics->partitions = declare_single(METRIC_GAUGE, "tandem_mapper_partitions", "Partitions worked on.");
}

void worker_metrics_message(const struct worker_metrics *metrics, const char *kind, const char *result)
{
    metric_count(metrics->messages, kind, result, NULL, NULL);
}

static const char *action_name(int action)
{
    static const char *const names[] = {"none", "create", "update"};

    return names[action];
}

void worker_metrics_effects(const struct worker_metrics *metrics, const struct merge_effects *effects)
{
    const struct decision *decision = &effects->decision;

    if (effects->has_notification)
        metric_add(metrics->requests, 1);
    metric_add(metrics->echoed_fields, (int64_t)effects->echoes);
    if (!effects->has_decision)
        return;
    for (size_t k = 0; k < json_array_size(decision->near_misses); k++) {
        const char *name = json_text_of(json_array_get(decision->near_misses, k), "name");
        if (name != NULL)
            metric_count(metrics->near_misses, name, NULL, NULL, NULL);
    }
    metric_count(metrics->decisions, action_name(decision->action), decision->reason, NULL, NULL);
    if (decision->action == DECISION_NONE && text_equal(decision->reason, "echo"))
        metric_add(metrics->echoes, 1);
    for (size_t k = 0; k < json_array_size(decision->conflicts); k++) {
        const json_t *conflict = json_array_get(decision->conflicts, k);
        const char *name = json_text_of(conflict, "name");
        const char *policy = json_text_of(conflict, "policy");

        if (name != NULL && policy != NULL)
            metric_count(metrics->conflicts, name, policy, NULL, NULL);
    }
}

void worker_metrics_rules(const struct worker_metrics *metrics, const char *before, const char *version)
{
    if (before != NULL)
        metric_set(metrics_series(metrics->rules, (const char *const[]){before, NULL}), 0);
    metric_set(metrics_series(metrics->rules, (const char *const[]){version, NULL}), 1);
}
