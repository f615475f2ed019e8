"""What `tandem-mapper preview` shows for a pair of records is what the pipeline then does, for every kind of decision."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.deals import DEADLINE, Deals, wait_for_the_next_second
from support.default_rules import RULES, with_policies
from support.paths import PROGRAMS, ROOT
from support.stack import Stack
from support.waiting import wait_until

pytestmark = pytest.mark.asan

COMMAND_SECONDS = 30
IDENTIFIER = "msft_microsoftpartnercenterreferralidentifier"
SYNC = "msft_microsoftpartnercenterreferralsync"
SETTINGS = {"partner_center": {"settling_time": "500ms"}}
# The mapper is started below: one field is left to a person.
PROCESSES = {"mapper": 0}
POLICIES = {"closing_date": "manual"}
# What a decision does and why. Versions, times and its place in the topics are the pipeline's own.
SAID = ("action", "purpose", "reason", "target", "system", "record_type", "record_id", "create_key") + (
    "fields",
    "write",
    "lookups",
    "rows",
    "conflicts",
    "audit_text",
)
ROLES = {"partner-center": "own", "crm": "crm"}

Document = dict[str, Any]
# Purpose (of a none: its reason) and target.
Kind = tuple[str, str | None]


@pytest.fixture(scope="module", autouse=True)
def mapper(stack: Stack) -> Path:
    """With the rules of this file, which are returned."""
    program = stack.start_mapper(with_policies(RULES.read_text(), POLICIES))
    return Path(re.findall(r"rules: (.*)", program.config.read_text())[0])


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


class Preview:
    """The command, with the rules the mapper has."""

    def __init__(self, folder: Path, rules: Path) -> None:
        self.folder = folder
        self.rules = rules

    def __call__(self, partner_center: Document | None, crm: Document | None, base: Any = None) -> list[dict[str, Any]]:
        """The decisions it shows."""
        arguments = []
        for name, document in {"partner_center": partner_center, "crm": crm, "base": base}.items():
            (self.folder / f"{name}.json").write_text(json.dumps(document))
        if base is not None:
            arguments += ["--base", str(self.folder / "base.json")]
        for name, document in {"partner_center": partner_center, "crm": crm}.items():
            arguments.append("-" if document is None else str(self.folder / f"{name}.json"))
        command = [str(PROGRAMS / "tandem-mapper"), "preview", "--json", "--rules", str(self.rules), *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=True)
        return [step["decision"] for step in json.loads(done.stdout) if "decision" in step]


@pytest.fixture
def preview(tmp_path: Path, mapper: Path) -> Preview:
    return Preview(tmp_path, mapper)


class Pair:
    """A deal's two records as they stand, which preview is given."""

    def __init__(self, deals: Deals, referral: str) -> None:
        self.deals = deals
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
        pusher = self.deals.stack.running("pusher-1")
        pusher.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            pusher.signal(signal.SIGCONT)

    def decisions(self) -> list[dict[str, Any]]:
        return self.deals.decisions(self.referral)[self.decided :]

    def in_the_crm(self, **columns: Any) -> None:
        self.deals.dynamics_365.edit_row("opportunities", self.opportunity, **columns)

    def in_partner_center(self, **members: Any) -> None:
        self.deals.partner_center.edit_referral(self.referral, **members)


def said(decision: dict[str, Any]) -> dict[str, Any]:
    return {name: decision[name] for name in SAID if name in decision}


def writes(decisions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [said(each) for each in decisions if each["action"] != "none"]


def kind_of(decision: dict[str, Any]) -> Kind:
    return decision.get("purpose") or decision["reason"], decision.get("target")


# -- pairs that are edited ---------------------------------------------------------------------------------------------


def private(deals: Deals) -> str:
    return deals.new("private", details={"dealValue": 5000, "notes": "The first words"})


def microsofts(deals: Deals) -> str:
    return deals.new("microsoft-cosell")


def of_the_crm(deals: Deals) -> str:
    referral = deals.wait_identifier(deals.dynamics_365.add_deal(sync=True, name="Trams")["id"])
    deals.wait_quiet(referral)
    return referral


def closed(deals: Deals) -> str:
    referral = private(deals)
    deals.partner_center.edit_referral(referral, status="Closed", substatus="Won")
    wait_until(lambda: (deals.opportunity(referral) or {})["statecode"] == 1, DEADLINE, "the opportunity is won")
    deals.wait_quiet(referral)
    return referral


@dataclass(frozen=True)
class Edit:
    """Of a pair, and the kind of decision it leads to."""

    kind: Kind
    edit: Callable[[Pair], None]
    make: Callable[[Deals], str] = private
    # What follows is the same as well; after an invitation it rests on Microsoft's side, which preview cannot show.
    is_all: bool = True


EDITS = {
    "in Partner Center": Edit(
        ("update", "crm"), lambda pair: pair.in_partner_center(details={"dealValue": 6000, "notes": "Other words"})
    ),
    "in the CRM": Edit(
        ("update", "partner-center"), lambda pair: pair.in_the_crm(estimatedvalue=7000.5, description="A seller's")
    ),
    "of nothing the rules name": Edit(("unchanged", None), lambda pair: pair.in_the_crm(stepname="3-Propose")),
    "that closes in Partner Center": Edit(
        ("update", "crm"), lambda pair: pair.in_partner_center(status="Closed", substatus="Lost")
    ),
    "that closes in the CRM": Edit(
        ("update", "partner-center"), lambda pair: pair.deals.dynamics_365.close_deal(pair.opportunity, "won")
    ),
    "that declines": Edit(
        ("decline", "partner-center"),
        lambda pair: pair.deals.dynamics_365.close_deal(pair.opportunity, "lost"),
        make=microsofts,
    ),
    "that asks for help": Edit(
        ("invite", "partner-center"),
        lambda pair: pair.deals.dynamics_365.edit_deal(pair.opportunity, help="Quotes or Licensing"),
        make=of_the_crm,
        is_all=False,
    ),
    "that asks for help and lacks something": Edit(
        ("explain", "crm"),
        lambda pair: pair.deals.dynamics_365.edit_deal(
            pair.opportunity, help="Quotes or Licensing", contact={"telephone1": None}
        ),
        make=of_the_crm,
    ),
    "that reopens a closed deal": Edit(
        ("explain", "crm"), lambda pair: pair.deals.dynamics_365.reopen_deal(pair.opportunity), make=closed
    ),
    "of a closed deal": Edit(
        ("crm_closed", None),
        lambda pair: pair.in_partner_center(details={"notes": "Written after the end"}),
        make=closed,
    ),
    "that switches off": Edit(("sync_off", None), lambda pair: pair.in_the_crm(**{SYNC: False}, estimatedvalue=7000)),
    "with the value left out": Edit(
        ("explain", "crm"), lambda pair: pair.in_the_crm(estimatedvalue=0), make=of_the_crm
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_decided_as_previewed(deals: Deals, preview: Preview, name: str) -> None:
    edit = EDITS[name]
    pair = Pair(deals, edit.make(deals))
    # The pusher is held, so that the records as edited are still there to be shown.
    with pair.pusher_held():
        edit.edit(pair)
        now = pair.now()
        wait_until(pair.decisions, DEADLINE, "the edit is decided on")
        shown = preview(now["partner_center"], now["crm"], pair.base)
    pair.deals.wait_quiet(pair.referral)
    assert said(pair.decisions()[0]) == said(shown[0])
    assert kind_of(shown[0]) == edit.kind
    if edit.is_all:
        assert writes(pair.decisions()[1:]) == writes(shown[1:])


# -- conflicts ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Conflict:
    """An edit of each side, unheard of until both are made, in this order."""

    kind: Kind
    order: tuple[str, str]
    in_partner_center: dict[str, str] = field(default_factory=lambda: {"notes": "The portal's"})
    in_the_crm: dict[str, str] = field(default_factory=lambda: {"description": "The CRM's"})


DAYS = {"in_partner_center": {"closingDateTime": "2033-03-03T00:00:00Z"}, "in_the_crm": {"estimatedclosedate": "2032-02-02"}}
CONFLICTS = {
    "the CRM is later": Conflict(("update", "partner-center"), ("partner-center", "crm")),
    "Partner Center is later": Conflict(("update", "crm"), ("crm", "partner-center")),
    "left to a person": Conflict(("manual", None), ("crm", "partner-center"), **DAYS),
}


@pytest.mark.parametrize("name", CONFLICTS)
def test_a_conflict_is_settled_as_previewed(deals: Deals, preview: Preview, name: str) -> None:
    conflict = CONFLICTS[name]
    pair = Pair(deals, private(deals))
    edits = {
        "partner-center": lambda: pair.in_partner_center(details=conflict.in_partner_center),
        "crm": lambda: pair.in_the_crm(**conflict.in_the_crm),
    }
    with pair.deals.unheard():
        for side in conflict.order:
            edits[side]()
            wait_for_the_next_second()
    pair.deals.wait_quiet(pair.referral)
    settled = [each for each in pair.decisions() if each.get("conflicts")][0]
    # As both were when the conflict was seen.
    [(member, theirs)], [(column, ours)] = conflict.in_partner_center.items(), conflict.in_the_crm.items()
    referrals = [each for each in documents(deals, pair.referral) if (each["details"][member] or "")[:10] == theirs[:10]]
    rows = [each for each in documents(deals, pair.opportunity) if each[column] == ours]
    [shown] = [each for each in preview(referrals[0], rows[0], pair.base) if each.get("conflicts")]
    assert said(settled) == said(shown)
    assert kind_of(shown) == conflict.kind
    [told] = shown["conflicts"]
    assert told["partner_center"] == theirs and told["crm"] == ours


# -- births ------------------------------------------------------------------------------------------------------------

BIRTHS: dict[str, set[Kind]] = {
    "of an opportunity": {("create", "crm"), ("link", "partner-center")},
    "of a referral": {("create", "partner-center"), ("link", "crm")},
    "of neither": {("explain", "crm")},
}


def purpose(decisions: list[dict[str, Any]], name: str) -> dict[str, Any]:
    [found] = [each for each in decisions if each.get("purpose") == name]
    return found


def test_a_new_referral_is_created_and_linked_as_previewed(deals: Deals, preview: Preview) -> None:
    referral = deals.new("partner-led", details={"dealValue": 9000.75})
    row = deals.opportunity(referral)
    assert row is not None
    found, made = documents(deals, referral)[0], documents(deals, row["opportunityid"])[0]
    done = deals.decisions(referral)
    create, link = preview(found, None)[0], preview(found, made, {"partner_center": found, "crm": made})[0]
    assert said(done[0]) == said(create)
    assert said(purpose(done, "link")) == said(link)
    assert {kind_of(create), kind_of(link)} == BIRTHS["of an opportunity"]


def test_a_new_opportunity_is_created_and_linked_as_previewed(deals: Deals, preview: Preview) -> None:
    opportunity = deals.dynamics_365.add_deal(sync=True, name="Trams")["id"]
    referral = deals.wait_identifier(opportunity)
    deals.wait_quiet(referral)
    found = next(each for each in documents(deals, opportunity) if each[IDENTIFIER] is None)
    made = documents(deals, referral)[0]
    create, link = preview(None, found)[0], preview(made, found)[0]
    assert said(deals.decisions(f"crm:{opportunity}")[0]) == said(create)
    assert said(purpose(deals.decisions(referral), "link")) == said(link)
    assert {kind_of(create), kind_of(link)} == BIRTHS["of a referral"]


def test_an_opportunity_that_lacks_something_is_told_as_previewed(deals: Deals, preview: Preview) -> None:
    opportunity = deals.dynamics_365.add_deal(sync=True, name="Trams", estimatedvalue=0)["id"]
    key = f"crm:{opportunity}"
    wait_until(lambda: deals.decisions(key), DEADLINE, "it is decided on")
    deals.wait_quiet(key)
    shown = preview(None, documents(deals, opportunity)[0])[0]
    assert said(deals.decisions(key)[0]) == said(shown)
    assert {kind_of(shown)} == BIRTHS["of neither"]


def test_every_purpose_of_the_mapper_is_compared() -> None:
    """Each with every target the code has for it; the tests above hold that they compare what they say."""
    held = {each.kind for each in (*EDITS.values(), *CONFLICTS.values())} | set().union(*BIRTHS.values())
    code = "".join(file.read_text() for file in (ROOT / "mapper").glob("*.c"))
    purposes = {name for plan in re.findall(r"\.purpose = ([^,]*),", code) for name in re.findall(r'"(\w+)"', plan)}
    assert len(purposes) >= 6
    assert {name for name, target in held if target} == purposes
    sides = {"create": 2, "update": 2, "link": 2}
    assert {name: len({each for each in held if each[0] == name}) for name in purposes} == {
        name: sides.get(name, 1) for name in purposes
    }
