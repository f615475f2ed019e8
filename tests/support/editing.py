"""What a random editor does to many deals: who makes them, who edits what where, who answers and who closes, in one order.

A schedule is a function of its seed alone, so that one that fails can be played again. It knows the life of a deal, not
when something of it has happened: who plays it waits where a step needs a record that is not there yet.
"""

from __future__ import annotations

import datetime
import random
import string
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

CENTER, CRM = "partner-center", "crm"
KINDS = {
    CENTER: ("microsoft-cosell", "partner-cosell", "partner-led", "private"),
    CRM: ("co-sell", "partner-led", "private"),
}
# Fields by their names in the default rules; "hold" is the seller's part of the stage that says nothing to Microsoft.
BOTH_WAYS = ("deal_value", "currency", "closing_date", "notes")
FROM_CENTER = ("name", "referral_program", "visibility")
FROM_CRM = ("solutions", "customer_contact", "own_team", "consent", "help", "hold")
HELP = (
    "Workload Specific Value Proposition",
    "Customer Technical Architecture",
    "Proof Of Concept or Demo",
    "Quotes or Licensing",
    "Post Sales Customer Success",
    "General or Other",
)
SOLUTIONS = (
    ("SOL-10001-AAA", "Fabrikam Supply Hub"),
    ("SOL-20002-BBB", "Fabrikam Ticket Desk"),
    ("SOL-30003-CCC", "Fabrikam Depot Planner"),
    ("SOL-40004-DDD", "Fabrikam Orchard Log"),
)
FIRST_DAY = datetime.date(2031, 1, 1)
DAYS = 10_000
OWNERS = 5
# How much of the schedule deals are born in, and from when on they may close.
BORN_WITHIN, CLOSED_FROM = 0.6, 0.6
LETTERS = string.ascii_uppercase
# Every so many edits one is made alone; in turn of these.
EDITS_PER_ALONE = 12
ALONE = (
    *((side, name) for name in ("notes", "deal_value", "currency", "closing_date") for side in (CRM, CENTER)),
    (CENTER, "name"),
    (CRM, "solutions"),
    (CENTER, "referral_program"),
    (CRM, "customer_contact"),
    (CRM, "own_team"),
)
KILLS_LEAST, STEPS_PER_KILL = 4, 250
VICTIMS = ("mapper-1", "mapper-2", "pusher-1", "pusher-2")


@dataclass(frozen=True)
class Step:
    """`what`: birth, edit, accept, microsoft, close, late; alone, an edit while nothing else of the deal is under way, and its
    arrival, before which nothing follows; or kill, of a program and no deal's."""

    what: str
    deal: int = -1
    side: str = ""
    field: str = ""
    value: Any = None


@dataclass
class Life:
    """What is to become of one deal."""

    number: int
    side: str
    kind: str
    birth: int  # positions in the schedule
    end: int | None  # None: it stays open
    is_complete: bool = True  # one that is not is made without a value, and completed later
    is_accepted: bool = True
    has_microsoft: bool = False
    has_help: bool = False
    edits: int = 0
    owed: list[str] = field(default_factory=list)  # steps of its life that are still to come

    @property
    def is_waiting(self) -> bool:
        """Sent by Microsoft, and not answered yet."""
        return self.kind == "microsoft-cosell" and not self.is_accepted


def money(number: float, chance: random.Random) -> float:
    """Never twice the same."""
    return round(1000 + number + chance.randint(0, 99) / 100, 2)


def person(number: int) -> dict[str, str]:
    return {
        "firstname": "Kari",
        "lastname": f"Nord {number}",
        "emailaddress1": f"kari.nord{number}@example.com",
        "telephone1": f"+47 22 {number:06d}",
    }


def owner(chance: random.Random) -> dict[str, str]:
    number = chance.randrange(OWNERS)
    return {
        "firstname": "Mira",
        "lastname": f"Steg {number}",
        "internalemailaddress": f"mira.steg{number}@fabrikam.example",
        "address1_telephone1": f"+47 23 00 00 0{number}",
    }


def solutions(number: int, chance: random.Random) -> list[dict[str, Any]]:
    chosen = chance.sample(SOLUTIONS, chance.randint(1, 3))
    return [
        {"id": identifier, "name": name, "price": 10 + number + place, "quantity": chance.randint(1, 50)}
        for place, (identifier, name) in enumerate(chosen)
    ]


VALUES: dict[str, Callable[[int, random.Random], Any]] = {
    "deal_value": money,
    # None of them is XTS or XXX, which are no money.
    "currency": lambda number, chance: f"Z{LETTERS[number // 26 % 26]}{LETTERS[number % 26]}",
    "closing_date": lambda number, chance: (FIRST_DAY + datetime.timedelta(number % DAYS)).isoformat(),
    "notes": lambda number, chance: f"edit {number}: {chance.choice(('déjà vu', 'plain', 'Größe', 'emoji 🚋'))}",
    "name": lambda number, chance: f"Deal renamed {number}",
    "referral_program": lambda number, chance: f"Programme {number}",
    "visibility": lambda number, chance: True,
    "consent": lambda number, chance: True,
    "solutions": solutions,
    "customer_contact": lambda number, chance: person(number),
    "own_team": lambda number, chance: owner(chance),
    "help": lambda number, chance: chance.choice(HELP),
    "hold": lambda number, chance: chance.choice((1, 2)),
}


class Scheduler:
    """Makes one schedule; used once."""

    def __init__(self, seed: int, deals: int, edits: int) -> None:
        self.chance = random.Random(seed)
        self.edits = edits
        self.lives = [self._life(number) for number in range(deals)]
        self.steps: list[Step] = []

    def _life(self, number: int) -> Life:
        chance = self.chance
        side = (CENTER, CRM)[number % 2]
        kind = chance.choice(KINDS[side])
        birth = 0 if number < 2 else chance.randrange(int(self.edits * BORN_WITHIN))
        end = chance.randrange(max(birth, int(self.edits * CLOSED_FROM)), self.edits) if chance.random() < 0.4 else None
        life = Life(number, side, kind, birth, end)
        life.has_microsoft = kind in ("partner-cosell", "co-sell")
        life.has_help = kind == "co-sell"
        if side == CRM and chance.random() < 0.2:
            life.is_complete = False
            life.owed = ["complete"]
        if kind == "microsoft-cosell":
            life.is_accepted = False
            if end is None or chance.random() < 0.5:
                life.owed = ["accept"]
        elif life.has_microsoft and chance.random() < 0.7:
            life.owed.append("microsoft")
        return life

    def schedule(self) -> list[Step]:
        births = {}
        for life in self.lives:
            births.setdefault(life.birth, []).append(life)
        ends = {}
        for life in self.lives:
            if life.end is not None:
                ends.setdefault(life.end, []).append(life)
        living: list[Life] = []
        alone: list[tuple[str, str]] = []
        for number in range(self.edits):
            for life in births.get(number, ()):
                self._bear(life)
                living.append(life)
            if number % EDITS_PER_ALONE == EDITS_PER_ALONE - 1:
                alone.append(ALONE[number // EDITS_PER_ALONE % len(ALONE)])
            if alone and self._edit_alone(living, *alone[0], number):
                alone.pop(0)
            else:
                self._edit(self.chance.choice(living), number)
            for life in ends.get(number, ()):
                self._close(life)
                living.remove(life)
        for life in living:
            for owed in list(life.owed):
                self._pay(life, owed, self.edits)
        self._kill()
        return self.steps

    def _add(self, life: Life, what: str, side: str = "", name: str = "", value: Any = None) -> None:
        self.steps.append(Step(what, life.number, side, name, value))

    def _bear(self, life: Life) -> None:
        if life.side == CENTER:
            self._add(life, "birth", CENTER, value={"kind": life.kind})
            return
        words: dict[str, Any] = {
            "name": f"Deal {life.number}",
            "sync": True,
            "visible": life.kind == "partner-led",
            "contact": person(100_000 + life.number),
            "estimatedvalue": 48_000 if life.is_complete else None,
        }
        if life.has_help:
            words["help"] = self.chance.choice(HELP)
        self._add(life, "birth", CRM, value=words)

    def _edit(self, life: Life, number: int) -> None:
        """One edit; the first few of a deal come from where it was born, while the other record is being made."""
        life.edits += 1
        if life.owed and life.edits > 3 and self.chance.random() < 0.3:
            self._pay(life, life.owed[0], number)
        side = life.side if life.edits <= 2 or not life.is_complete else self.chance.choice((CENTER, CRM))
        if life.is_waiting and "accept" not in life.owed:
            side = CENTER  # what a seller edits Partner Center takes only of a deal that was accepted
        name = self.chance.choice(self._editable(life, side))
        if name == "help":
            life.has_help = life.has_microsoft = True
            if life.side == CENTER:  # nobody's yet, and Microsoft wants to know whose it is
                self._add(life, "edit", CRM, "own_team", owner(self.chance))
            if self.chance.random() < 0.5:
                life.owed.append("microsoft")
        self._add(life, "edit", side, name, VALUES[name](number, self.chance))

    def _edit_alone(self, living: list[Life], side: str, name: str, number: int) -> bool:
        """False: none of the deals takes one."""
        able = [each for each in living if each.is_complete and not each.is_waiting and name in self._editable(each, side)]
        if not able:
            return False
        life = self.chance.choice(able)
        life.edits += 1
        value = VALUES[name](number, self.chance)
        self._add(life, "alone", side, name, value)
        self._add(life, "arrival", side, name, value)
        return True

    def _editable(self, life: Life, side: str) -> list[str]:
        names = [*BOTH_WAYS, *BOTH_WAYS] if side == CENTER else [*BOTH_WAYS]
        names += FROM_CENTER if side == CENTER else FROM_CRM
        left_out = set()
        if life.has_help or life.has_microsoft or life.kind == "microsoft-cosell":
            left_out |= {"help"}
        if life.kind == "microsoft-cosell":
            left_out |= {"hold"}  # before we have heard of it, it takes the acceptance back
        if not life.is_complete:
            left_out |= {"deal_value", "hold"}
        return [name for name in names if name not in left_out]

    def _pay(self, life: Life, owed: str, number: int) -> None:
        life.owed.remove(owed)
        if owed == "complete":
            life.is_complete = True
            self._add(life, "edit", CRM, "deal_value", money(number + 0.5, self.chance))
        elif owed == "accept":
            life.is_accepted = True
            self._add(life, "accept", self.chance.choice((CENTER, CRM)))
        else:
            answer = self.chance.choice(("accept", "accept", "decline", "expire"))
            self._add(life, "microsoft", CENTER, value=answer)

    def _close(self, life: Life) -> None:
        chance = self.chance
        for owed in list(life.owed):
            self._pay(life, owed, self.edits + life.number)
        side = chance.choice((CENTER, CRM))
        if life.is_waiting:
            outcome = "Declined" if side == CRM else chance.choice(("Declined", "Expired"))
        else:
            outcome = chance.choice(("Won", "Lost"))
        # Who closes a deal may edit it in the same breath; who declines it says nothing else to Microsoft.
        most = 0 if life.is_waiting and side == CRM else 2
        last = [(name, VALUES[name](self.edits + life.number, chance)) for name in ("notes", "deal_value")]
        self._add(life, "close", side, outcome, dict(chance.sample(last, chance.randint(0, most))))
        if chance.random() < 0.7:
            self._add(life, "late", *chance.choice(((CENTER, "notes"), (CRM, "notes"), (CRM, "reopen"))))

    def _kill(self) -> None:
        """Some at any time, some right after a birth."""
        count = max(KILLS_LEAST, self.edits // STEPS_PER_KILL)
        births = [place for place, step in enumerate(self.steps) if step.what == "birth"]
        places = [self.chance.randrange(len(self.steps)) for _ in range(count - count // 2)]
        places += [self.chance.choice(births) + self.chance.randint(1, 3) for _ in range(count // 2)]
        for place in sorted(places, reverse=True):
            self.steps.insert(place, Step("kill", value=self.chance.choice(VICTIMS)))


def schedule_of(seed: int, deals: int, edits: int) -> list[Step]:
    return Scheduler(seed, deals, edits).schedule()
