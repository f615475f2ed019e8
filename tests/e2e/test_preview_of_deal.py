"""`tandem-ingest read` and `tandem-mapper preview --deal`, as a person uses them: both records of a deal as they are, and what
the pipeline is then going to do with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.deals import Deals

pytestmark = pytest.mark.asan

SETTINGS = {"partner_center": {"settling_time": "500ms"}}
# Times and its place in the topics are the pipeline's own.
SAID = ("action", "purpose", "reason", "target", "system", "record_type", "record_id", "fields", "write", "conflicts")


class Deal:
    """A linked deal at rest."""

    def __init__(self, deals: Deals, folder: Path) -> None:
        self.deals = deals
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.referral = deals.new("private", details={"dealValue": 5000, "notes": "The first words"})
        row = deals.opportunity(self.referral)
        assert row is not None
        self.opportunity = str(row["opportunityid"])
        self.decided = len(deals.decisions(self.referral))

    def read(self) -> list[str]:
        """Both records, in files."""
        paths = []
        for side, identifier in {"referral": self.referral, "opportunity": self.opportunity}.items():
            path = self.folder / f"{side}.json"
            path.write_text(self.deals.stack.command("ingest", "read", f"--{side}", identifier))
            paths.append(str(path))
        return paths

    def preview(self, key: str, *arguments: str) -> str:
        return self.deals.stack.command("mapper", "preview", "--deal", key, *arguments)


@pytest.mark.parametrize("side", ["partner-center", "crm"])
def test_an_edit_is_decided_as_previewed_by_the_deals_key(deals: Deals, tmp_path: Path, side: str) -> None:
    deal = Deal(deals, tmp_path)
    simulators = (deals.partner_center, deals.dynamics_365)
    for simulator in simulators:
        simulator.delivery_policy(paused=True)
    try:
        if side == "crm":
            deals.dynamics_365.edit_row("opportunities", deal.opportunity, estimatedvalue=7000.5)
        else:
            deals.partner_center.edit_referral(deal.referral, details={"dealValue": 6000, "notes": "Other words"})
        shown = json.loads(deal.preview(deal.referral, "--json", *deal.read()))
        for_people = deal.preview(deal.referral, *deal.read())
    finally:
        for simulator in simulators:
            simulator.delivery_policy(paused=False)
    first = next(step["decision"] for step in shown if "decision" in step)
    deals.wait_quiet(deal.referral)
    done = deals.decisions(deal.referral)[deal.decided]
    assert {name: done.get(name) for name in SAID} == {name: first.get(name) for name in SAID}
    assert first["target"] != side and for_people.startswith(f"1. update at {first['target']} (update)")


def test_deal_that_agrees_has_nothing_to_be_written(deals: Deals, tmp_path: Path) -> None:
    deal = Deal(deals, tmp_path)
    shown = deal.preview(f"crm:{deal.opportunity}", *deal.read())
    assert shown.startswith("1. nothing to write: unchanged") and "2." not in shown


def test_records_of_another_deal_are_refused(deals: Deals, tmp_path: Path) -> None:
    deal, other = Deal(deals, tmp_path), Deal(deals, tmp_path / "other")
    for arguments, told in [
        ((deal.referral, *other.read()), deal.referral),
        ((deal.referral, deal.read()[0], "-"), deal.opportunity),
        (("not-there", *deal.read()), "there is no deal 'not-there'"),
    ]:
        with pytest.raises(AssertionError, match=told):
            deal.preview(*arguments)
