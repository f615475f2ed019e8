"""Three of each program: the work spreads, and a killed one's goes on elsewhere."""

from __future__ import annotations

from support.deals import Deals
from support.waiting import wait_until

PROCESSES = {"ingest": 3, "mapper": 3, "pusher": 3}
TAKEN_OVER_SECONDS = 15
COLUMN = "msft_microsoftpartnercenterreferralidentifier"
DEALS = 60


def test_work_spreads_and_survives_the_death_of_one_of_each(deals: Deals) -> None:
    stack = deals.stack
    referrals = [deals.partner_center.add_referral(kind="private")["id"] for _ in range(DEALS)]

    def linked() -> int:
        rows = {row[COLUMN] for row in stack.opportunities() if row.get(COLUMN)}
        return len(rows & set(referrals))

    wait_until(lambda: linked() > DEALS // 3, 60, "a third of the deals has an opportunity")
    # Of ingest the second: the first one takes the webhooks.
    for name in ("ingest-2", "mapper-1", "pusher-1"):
        next(each for each in stack.programs if each.config.name.endswith(f"{name}.yaml")).kill()
    # Those that were the dead ones' begin to move again within the bound; then all of them are done.
    wait_until(lambda: linked() == DEALS, TAKEN_OVER_SECONDS + 30, "every deal has an opportunity")
    deals.wait_linked(referrals[-1])
    for referral in referrals:
        assert deals.referral(referral)["externalReferenceId"] == stack.opportunity_of(referral)["opportunityid"]
    identifiers = [row[COLUMN] for row in stack.opportunities() if row.get(COLUMN) in set(referrals)]
    assert len(identifiers) == len(set(identifiers)) == DEALS
    assert stack.audit("SELECT * FROM verify_audit()") == []
    assert stack.audit("SELECT count(*) FROM open_intents") == [(0,)]
    ends = stack.audit(
        "SELECT topic, topic_partition, topic_offset, count(*) FROM audit WHERE phase <> 'intent'"
        " GROUP BY 1, 2, 3 HAVING count(*) > 1"
    )
    assert ends == []
    workers = stack.audit("SELECT DISTINCT instance FROM audit WHERE phase = 'outcome'")
    assert len(workers) >= 2
