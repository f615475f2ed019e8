"""What `tandem-mapper preview` shows for a pair of records is what the pipeline then does."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.deals import DEADLINE, Deals
from support.paths import PROGRAMS, ROOT
from support.stack import RULES
from support.waiting import wait_until

pytestmark = pytest.mark.asan

COMMAND_SECONDS = 30
IDENTIFIER = "msft_microsoftpartnercenterreferralidentifier"
SETTINGS = {"partner_center": {"settling_time": "500ms"}}
# What a decision does and why. Versions, times and its place in the topics are the pipeline's own.
SAID = ("action", "purpose", "reason", "target", "system", "record_type", "record_id", "fields", "write", "conflicts")
ROLES = {"partner-center": "own", "crm": "crm"}

Document = dict[str, Any]


def documents(deals: Deals, identifier: str) -> list[Document]:
    """Every state of a record that the mapper has been told; the topics keep the order of each deal's key only."""
    found = deals.stack.topics.read_each("records", "outcomes")
    told = [json.loads(each.value) for topic in ("records", "outcomes") for each in found[topic] if each.value]
    return [
        each["body"]
        for message in told
        for each in message.get("documents") or []
        if each["id"] == identifier and each["role"] in ROLES.values()
    ]


class Pair:
    """A deal's two records as they stand, and what preview makes of them."""

    def __init__(self, deals: Deals, folder: Path, referral: str) -> None:
        self.deals = deals
        self.folder = folder
        self.referral = referral
        row = deals.opportunity(referral)
        assert row is not None
        self.opportunity = str(row["opportunityid"])
        self.base = self.now()
        self.decided = len(deals.decisions(referral))

    def now(self) -> dict[str, Document]:
        """Both records as Tandem reads them: of what it has read, what fits the systems' present versions."""
        version = self.deals.dynamics_365.row("opportunities", self.opportunity)["@odata.etag"]
        etag = self.deals.referral(self.referral)["eTag"]

        def read() -> dict[str, Document] | None:
            ours = [each for each in documents(self.deals, self.referral) if each.get("eTag") == etag]
            theirs = [each for each in documents(self.deals, self.opportunity) if each.get("@odata.etag") == version]
            return {"partner_center": ours[-1], "crm": theirs[-1]} if ours and theirs else None

        return wait_until(read, DEADLINE, "the present versions of both records were read")

    @contextmanager
    def pusher_held(self) -> Iterator[None]:
        [pusher] = [each for each in self.deals.stack.programs if each.command[0].endswith("tandem-pusher")]
        pusher.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            pusher.signal(signal.SIGCONT)

    def decisions(self) -> list[dict[str, Any]]:
        return self.deals.decisions(self.referral)[self.decided :]


def preview(folder: Path, partner_center: Document | None, crm: Document | None, base: Any = None) -> list[dict[str, Any]]:
    """The decisions preview shows."""
    arguments = []
    for name, document in {"partner_center": partner_center, "crm": crm, "base": base}.items():
        (folder / f"{name}.json").write_text(json.dumps(document))
    if base is not None:
        arguments += ["--base", str(folder / "base.json")]
    for name, document in {"partner_center": partner_center, "crm": crm}.items():
        arguments.append("-" if document is None else str(folder / f"{name}.json"))
    command = [str(PROGRAMS / "tandem-mapper"), "preview", "--json", "--rules", str(RULES), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=True)
    return [step["decision"] for step in json.loads(done.stdout) if "decision" in step]


def read(pair: Pair) -> list[str]:
    """Both records as `tandem-ingest read` prints them, in files."""
    paths = []
    for side, identifier in {"referral": pair.referral, "opportunity": pair.opportunity}.items():
        path = pair.folder / f"{side}.json"
        path.write_text(pair.deals.stack.command("ingest", "read", f"--{side}", identifier))
        paths.append(str(path))
    return paths


def said(decision: dict[str, Any]) -> dict[str, Any]:
    return {name: decision[name] for name in SAID if name in decision}


@pytest.fixture
def pair(deals: Deals, tmp_path: Path) -> Pair:
    return Pair(deals, tmp_path, deals.new("private", details={"dealValue": 5000, "notes": "The first words"}))


def in_partner_center(pair: Pair) -> None:
    pair.deals.partner_center.edit_referral(pair.referral, details={"dealValue": 6000, "notes": "Other words"})


def in_the_crm(pair: Pair) -> None:
    pair.deals.dynamics_365.edit_row("opportunities", pair.opportunity, estimatedvalue=7000.5, description="A seller's")


def nothing_the_rules_name(pair: Pair) -> None:
    pair.deals.dynamics_365.edit_row("opportunities", pair.opportunity, stepname="3-Propose")


@pytest.mark.parametrize("edit", [in_partner_center, in_the_crm, nothing_the_rules_name])
def test_an_edit_is_decided_as_previewed(pair: Pair, edit: Callable[[Pair], None]) -> None:
    # The pusher is held, so that the records as edited are still there to be shown.
    with pair.pusher_held():
        edit(pair)
        now = pair.now()
        wait_until(pair.decisions, DEADLINE, "the edit is decided on")
        shown = preview(pair.folder, now["partner_center"], now["crm"], pair.base)
    pair.deals.wait_quiet(pair.referral)
    assert said(pair.decisions()[0]) == said(shown[0])
    # And that was all there was to do.
    assert {each["action"] for each in pair.decisions()[1:] + shown[1:]} <= {"none"}


@pytest.mark.parametrize("edit", [in_partner_center, in_the_crm])
def test_an_edit_is_decided_as_previewed_with_what_is_known_of_the_deal(
    pair: Pair, edit: Callable[[Pair], None]
) -> None:
    """As a person does it: both records by `read`, the rest by the deal's key."""
    simulators = (pair.deals.partner_center, pair.deals.dynamics_365)
    for simulator in simulators:
        simulator.delivery_policy(paused=True)
    try:
        edit(pair)
        shown = pair.deals.stack.command("mapper", "preview", "--json", "--deal", pair.referral, *read(pair))
        for_people = pair.deals.stack.command("mapper", "preview", "--deal", pair.referral, *read(pair))
    finally:
        for simulator in simulators:
            simulator.delivery_policy(paused=False)
    [first, *more] = [step["decision"] for step in json.loads(shown) if "decision" in step]
    pair.deals.wait_quiet(pair.referral)
    assert said(pair.decisions()[0]) == said(first)
    assert {each["action"] for each in pair.decisions()[1:] + more} <= {"none"}
    assert for_people.startswith(f"1. update at {first['target']} (update)")


def test_deal_that_agrees_has_nothing_to_be_written(pair: Pair) -> None:
    shown = pair.deals.stack.command("mapper", "preview", "--deal", f"crm:{pair.opportunity}", *read(pair))
    assert shown.startswith("1. nothing to write: unchanged") and "2." not in shown


def test_records_of_another_deal_are_refused(pair: Pair) -> None:
    elsewhere = pair.folder / "other"
    elsewhere.mkdir()
    other = Pair(pair.deals, elsewhere, pair.deals.new("private"))
    for arguments, told in [
        ((pair.referral, *read(other)), pair.referral),
        ((pair.referral, read(pair)[0], "-"), pair.opportunity),
        (("not-there", *read(pair)), "there is no deal 'not-there'"),
    ]:
        with pytest.raises(AssertionError, match=told):
            pair.deals.stack.command("mapper", "preview", "--deal", *arguments)


@pytest.mark.parametrize("later", ["partner-center", "crm"])
def test_a_conflict_is_settled_as_previewed(pair: Pair, later: str) -> None:
    simulators = (pair.deals.partner_center, pair.deals.dynamics_365)
    edits = [
        lambda: pair.deals.partner_center.edit_referral(pair.referral, details={"notes": "The portal's"}),
        lambda: pair.deals.dynamics_365.edit_row("opportunities", pair.opportunity, description="The CRM's"),
    ]
    for simulator in simulators:
        simulator.delivery_policy(paused=True)
    try:
        for edit in edits if later == "crm" else reversed(edits):
            edit()
    finally:
        for simulator in simulators:
            simulator.delivery_policy(paused=False)
    pair.deals.wait_quiet(pair.referral)
    [settled] = [each for each in pair.decisions() if each.get("conflicts")]
    [conflict] = settled["conflicts"]
    # As both were when the conflict was seen.
    ours = [each for each in documents(pair.deals, pair.referral) if each["details"]["notes"] == "The portal's"]
    theirs = [each for each in documents(pair.deals, pair.opportunity) if each["description"] == "The CRM's"]
    [shown] = [each for each in preview(pair.folder, ours[0], theirs[0], pair.base) if each.get("conflicts")]
    assert said(settled) == said(shown)
    assert conflict["partner_center"] == "The portal's" and conflict["crm"] == "The CRM's"


def test_a_new_referral_is_created_as_previewed(deals: Deals, tmp_path: Path) -> None:
    referral = deals.new("partner-led", details={"dealValue": 9000.75})
    shown = preview(tmp_path, documents(deals, referral)[0], None)
    done = deals.decisions(referral)
    assert said(done[0]) == said(shown[0])
    # The row's id is the CRM's to give.
    [link], [shown_link] = ([each for each in some if each.get("purpose") == "link"] for some in (done, shown))
    assert list(link["write"]) == list(shown_link["write"]) == ["externalReferenceId"]


def test_a_new_opportunity_is_created_as_previewed(deals: Deals, tmp_path: Path) -> None:
    opportunity = str(deals.dynamics_365.admin("POST", "/_sim/opportunities", {"sync": True, "name": "Trams"})["id"])
    referral = wait_until(
        lambda: deals.dynamics_365.row("opportunities", opportunity)[IDENTIFIER], DEADLINE, "it has its identifier"
    )
    deals.wait_quiet(referral)
    new = next(each for each in documents(deals, opportunity) if each[IDENTIFIER] is None)
    shown = preview(tmp_path, None, new)
    done = deals.decisions(f"crm:{opportunity}")
    assert said(done[0]) == said(shown[0]) and done[0]["purpose"] == "create"


def test_an_opportunity_that_lacks_something_is_told_as_previewed(deals: Deals, tmp_path: Path) -> None:
    opportunity = str(
        deals.dynamics_365.admin("POST", "/_sim/opportunities", {"sync": True, "name": "Trams", "estimatedvalue": 0})["id"]
    )
    key = f"crm:{opportunity}"
    wait_until(lambda: deals.decisions(key), DEADLINE, "it is decided on")
    deals.wait_quiet(key)
    shown = preview(tmp_path, None, documents(deals, opportunity)[0])
    done = deals.decisions(key)
    assert said(done[0]) == said(shown[0]) and done[0]["target"] == "crm"
