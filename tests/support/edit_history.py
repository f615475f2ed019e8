"""The edits of one field of one deal in the order they were made, and what each of them could know of the others.

It is told by whoever edits what both sides show right before each edit. From that alone, and nothing Tandem says, follows
which edits may lose to which: one that was made where the other was visible already was no conflict.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class Edit:
    """`unseen`: edits of the other side that were not visible on this one when it was made."""

    side: str
    value: Any
    number: int  # within the field; -1: the creation
    unseen: list[Edit] = field(default_factory=list)
    is_over: bool = False  # visible on the other side, or written over on its own by an edit of the other one

    def may_lose_to(self, winner: Edit) -> bool:
        return winner.side != self.side and (winner in self.unseen or winner.number > self.number)

    def __repr__(self) -> str:
        blind = f" without knowing of {[each.value for each in self.unseen]}" if self.unseen else ""
        return f"edit {self.number} of {self.side} to {self.value!r}{blind}"


class EditHistory:
    def __init__(self) -> None:
        self.edits: list[Edit] = []
        self.creation: Edit | None = None

    @property
    def last(self) -> Edit:
        return self.edits[-1]

    @property
    def everything(self) -> list[Edit]:
        """With the creation, which comes first."""
        return ([self.creation] if self.creation else []) + self.edits

    def of_side(self, side: str) -> list[Edit]:
        return [each for each in self.everything if each.side == side]

    def look(self, shown: dict[str, Any], born: str) -> None:
        """What both sides show. The first look is before the first edit: what stands where the deal was born is its own."""
        if self.creation is None:
            self.creation = Edit(born, shown[born], -1)
        for side, value in shown.items():
            [other] = shown.keys() - {side}
            visible = [each for each in self.of_side(other) if each.value == value]
            if not visible or any(each.value == value for each in self.of_side(side)):
                continue
            for each in self.of_side(other):
                each.is_over = each.is_over or each.number <= visible[-1].number
            for each in self.of_side(side):
                each.is_over = True

    def add(self, side: str, value: Any) -> None:
        unseen = [each for each in self.everything if each.side != side and not each.is_over]
        self.edits.append(Edit(side, value, len(self.edits), unseen))

    def is_unique(self, value: Any) -> bool:
        """Whether it never stood there but once. Going back to what the other side shows, or showed, is no change of its own."""
        return sum(each.value == value for each in self.everything) == 1
