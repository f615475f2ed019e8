/* The two sides of a deal: Partner Center and the CRM. Pure. */
#ifndef TANDEM_MAPPER_SIDE_H
#define TANDEM_MAPPER_SIDE_H

enum side { SIDE_PARTNER_CENTER, SIDE_CRM, SIDE_COUNT };

const char *side_name(enum side side); /* "partner-center", "crm" */
enum side side_other(enum side side);

#endif
