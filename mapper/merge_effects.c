#include "mapper/merge_effects.h"

void merge_effects_done(struct merge_effects *effects)
{
    decision_done(&effects->decision);
    notification_done(&effects->notification);
    record_done(&effects->record);
    *effects = (struct merge_effects){0};
}
