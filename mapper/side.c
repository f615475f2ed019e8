#include "mapper/side.h"

const char *side_name(enum side side)
{
    return side == SIDE_CRM ? "crm" : "partner-center";
}

enum side side_other(enum side side)
{
    return side == SIDE_CRM ? SIDE_PARTNER_CENTER : SIDE_CRM;
}
