"""WinOpportunity and LoseOpportunity: closing with an activity, as messages of their own (Dataverse reference, 8)."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from dataverse import errors
from dataverse.caller import Caller
from dataverse.organization import Organization
from dataverse.payload import PayloadReader
from dataverse.schema import OPPORTUNITY, OPPORTUNITY_CLOSE
from dataverse.store import Row

ACTIONS = {"WinOpportunity": ("Win", 1), "LoseOpportunity": ("Lose", 2)}
_OPEN, _COMPLETED = 0, 1


def close_by_action(organization: Organization, action: str, body: dict[str, Any], reader: PayloadReader) -> Row:
    """Performs the action of that name. The body names the opportunity inside its OpportunityClose."""
    message, _ = ACTIONS[action]
    for name in body:
        if name not in ("Status", "OpportunityClose"):
            raise errors.payload(action, f"The parameter '{name}' does not exist on the action '{action}'.")
    status, activity = body.get("Status"), body.get("OpportunityClose")
    if not isinstance(status, int) or isinstance(status, bool) or not isinstance(activity, dict):
        raise errors.payload(action, "The action needs the parameters Status and OpportunityClose.")
    with organization.transaction():
        values = reader.columns(OPPORTUNITY_CLOSE, activity, creating=True)
        if values.get("opportunityid") is None:
            raise errors.invalid_argument("The opportunityid of the close activity is missing.")
        opportunity = organization.row(OPPORTUNITY, values["opportunityid"].id)
        return close(organization, opportunity, message, status, values, reader.caller)


def close(
    organization: Organization, opportunity: Row, message: str, status: int, activity: dict[str, Any], caller: Caller
) -> Row:
    """Closes an open opportunity: activity row, state, actual value and date, and the message's own event."""
    organization.require(caller, "Write", OPPORTUNITY)
    state = next(state for name, state in ACTIONS.values() if name == message)
    if status not in [option.value for option in OPPORTUNITY.status_options(state)]:
        label = OPPORTUNITY.columns["statecode"].options[state].label
        raise errors.invalid_status(status, f"OpportunityState.{label}", "opportunity", opportunity.id)
    if opportunity.get("statecode") != _OPEN:
        raise errors.already_closed()
    with organization.transaction():
        currency = opportunity.get("transactioncurrencyid")
        values = {"transactioncurrencyid": currency, **activity} if currency else dict(activity)
        made = organization.create(OPPORTUNITY_CLOSE, values, caller)
        kept = {**made.values, "statecode": _COMPLETED, "statuscode": 2}
        kept.update(opportunitystatecode=state, opportunitystatuscode=status)
        made = organization.store.put(OPPORTUNITY_CLOSE, made.id, kept)
        changes = {"statecode": state, "statuscode": status, "actualclosedate": _close_date(organization, made)}
        if currency:
            changes["actualvalue"] = made.get("actualrevenue")
            if made.get("actualrevenue") is None:
                changes["actualvalue"] = opportunity.get("estimatedvalue") if state == 1 else Decimal("0.00")
        fires_update = organization.settings["update_step_fires_on_close"]
        after = organization.apply(opportunity, changes, caller, fires=fires_update)
        organization.emit(
            message,
            OPPORTUNITY,
            opportunity.id,
            (),
            opportunity,
            after,
            caller,
            close_activity=made,
            close_status=status,
        )
    return after


def _close_date(organization: Organization, activity: Row) -> date:
    end = activity.get("actualend")
    if end is None:
        return organization.now().date()
    return end.date() if isinstance(end, datetime) else end
