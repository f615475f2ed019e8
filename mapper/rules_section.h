/* The sections of a rule file that say what happens at the edges of a deal's life: what is no deal at all, inviting
 * Microsoft, closing what nobody has answered, and records that leave.
 *
 * Internal to the rules' loader. Pure. All return -1 after an error was reported; a section that is absent leaves its
 * defaults. */
#ifndef TANDEM_MAPPER_RULES_SECTION_H
#define TANDEM_MAPPER_RULES_SECTION_H

#include "mapper/rules_loading.h"

int rules_leave_out_load(const struct rules_loading *loading) TANDEM_MUST_CHECK;
int rules_invitation_load(const struct rules_loading *loading) TANDEM_MUST_CHECK;
int rules_unanswered_load(const struct rules_loading *loading) TANDEM_MUST_CHECK;
int rules_removal_load(const struct rules_loading *loading) TANDEM_MUST_CHECK;

#endif
