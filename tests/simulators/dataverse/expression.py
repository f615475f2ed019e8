"""The $filter and $orderby language as far as clients of the sandbox use it: a parser, and evaluation with SQL's nulls.

Supported: eq ne gt ge lt le, and or not, parentheses, contains startswith endswith; null, true, false, numbers,
texts, GUIDs, dates and instants; paths over single-valued navigation properties (`sdkmessageid/name`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from dataverse import errors
from dataverse.columns import parse_date, parse_instant

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<text>'(?:[^']|'')*')
    | (?P<guid>[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})
    | (?P<instant>\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:\d\d))
    | (?P<date>\d{4}-\d\d-\d\d)
    | (?P<number>-?\d+(?:\.\d+)?)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*(?:/[A-Za-z_][A-Za-z0-9_]*)*)
    | (?P<mark>[(),])
    )""",
    re.VERBOSE,
)
COMPARISONS = ("eq", "ne", "gt", "ge", "lt", "le")
NESTING_MAX = 50
FUNCTIONS = ("contains", "startswith", "endswith")

Reader = Callable[[str], Any]  # gives the value at a property path; raises ServiceError for an unknown one


@dataclass(frozen=True)
class Literal:
    value: Any


@dataclass(frozen=True)
class Path:
    name: str


@dataclass(frozen=True)
class Call:
    """An operator or function with its arguments."""

    name: str
    arguments: tuple["Node", ...]


Node = Literal | Path | Call


def parse(text: str) -> Node:
    """Parses a $filter. Raises ServiceError naming the position of the first fault."""
    parser = _Parser(text)
    node = parser.disjunction()
    parser.expect_end()
    return node


def paths(node: Node) -> list[str]:
    """All property paths an expression names, for checking them before any row is read."""
    if isinstance(node, Path):
        return [node.name]
    return [name for argument in node.arguments for name in paths(argument)] if isinstance(node, Call) else []


def holds(node: Node, read: Reader) -> bool:
    """Whether the filter is true for the row behind read. Unknown (null) counts as not true."""
    return _evaluate(node, read) is True


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str]] = []
        position = 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if not match or match.lastgroup is None:
                raise errors.query_syntax(f"Syntax error at position {position} in '{text}'.")
            self._tokens.append((match.lastgroup, match.group(match.lastgroup)))
            position = match.end()
        self._next = 0
        self._depth = 0

    def disjunction(self) -> Node:
        self._depth += 1
        if self._depth > NESTING_MAX:
            raise errors.query_syntax(f"The filter is nested deeper than {NESTING_MAX} levels.")
        nodes = [self._conjunction()]
        while self._take("name", "or"):
            nodes.append(self._conjunction())
        self._depth -= 1
        return nodes[0] if len(nodes) == 1 else Call("or", tuple(nodes))

    def expect_end(self) -> None:
        if self._next != len(self._tokens):
            raise self._fault()

    def _conjunction(self) -> Node:
        nodes = [self._negation()]
        while self._take("name", "and"):
            nodes.append(self._negation())
        return nodes[0] if len(nodes) == 1 else Call("and", tuple(nodes))

    def _negation(self) -> Node:
        if self._take("name", "not"):
            return Call("not", (self._comparison(),))
        return self._comparison()

    def _comparison(self) -> Node:
        left = self._operand()
        kind, text = self._peek()
        if kind == "name" and text in COMPARISONS:
            self._next += 1
            return Call(text, (left, self._operand()))
        if isinstance(left, Call) or isinstance(left, Path):
            return left
        raise self._fault()

    def _operand(self) -> Node:
        kind, text = self._peek()
        self._next += 1
        if (kind, text) == ("mark", "("):
            node = self.disjunction()
            self._require(")")
            return node
        if kind == "name":
            return self._named(text)
        if kind == "text":
            return Literal(text[1:-1].replace("''", "'"))
        if kind == "guid":
            return Literal(text.lower())
        if kind == "number":
            return Literal(Decimal(text))
        try:
            if kind == "instant":
                return Literal(parse_instant(text))
            if kind == "date":
                return Literal(parse_date(text))
        except ValueError:
            pass
        self._next -= 1
        raise self._fault()

    def _named(self, text: str) -> Node:
        constants = {"null": None, "true": True, "false": False}
        if text in constants:
            return Literal(constants[text])
        if text in FUNCTIONS:
            self._require("(")
            first = self._operand()
            self._require(",")
            second = self._operand()
            self._require(")")
            return Call(text, (first, second))
        if text in (*COMPARISONS, "and", "or"):
            self._next -= 1
            raise self._fault()
        return Path(text)

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._next] if self._next < len(self._tokens) else ("end", "")

    def _take(self, kind: str, text: str) -> bool:
        if self._peek() != (kind, text):
            return False
        self._next += 1
        return True

    def _require(self, mark: str) -> None:
        if not self._take("mark", mark):
            raise self._fault()

    def _fault(self) -> errors.ServiceError:
        return errors.query_syntax(f"Syntax error at token {self._next + 1} in '{self._text}'.")


def _evaluate(node: Node, read: Reader) -> Any:
    if isinstance(node, Literal):
        return node.value
    if isinstance(node, Path):
        return read(node.name)
    values = [_evaluate(argument, read) for argument in node.arguments]
    if node.name == "and":
        return _junction(values, decisive=False)
    if node.name == "or":
        return _junction(values, decisive=True)
    if node.name == "not":
        return None if values[0] is None else values[0] is False
    if node.name in FUNCTIONS:
        return _text_function(node.name, values[0], values[1])
    return _compare(node.name, values[0], values[1])


def _junction(values: list[Any], decisive: bool) -> bool | None:
    """One decisive value settles an and (false) or an or (true); else an unknown one leaves it unknown."""
    if any(value is decisive for value in values):
        return decisive
    return None if any(value is None for value in values) else not decisive


def _text_function(name: str, value: Any, part: Any) -> bool | None:
    if value is None or part is None:
        return None
    if not isinstance(value, str) or not isinstance(part, str):
        raise errors.query_syntax(f"No function signature for the function '{name}' matches the arguments.")
    value, part = value.casefold(), part.casefold()
    return {"contains": part in value, "startswith": value.startswith(part), "endswith": value.endswith(part)}[name]


def _compare(operator: str, left: Any, right: Any) -> bool | None:
    if left is None or right is None:
        if operator == "eq":
            return left is None and right is None
        if operator == "ne":
            return (left is None) != (right is None)
        return None
    left, right = _aligned(left, right)
    return {
        "eq": lambda: left == right,
        "ne": lambda: left != right,
        "gt": lambda: left > right,
        "ge": lambda: left >= right,
        "lt": lambda: left < right,
        "le": lambda: left <= right,
    }[operator]()


def _aligned(left: Any, right: Any) -> tuple[Any, Any]:
    """Both sides in one comparable type; a mismatch is refused as the service refuses it."""
    if isinstance(left, str) and isinstance(right, str):
        return left.casefold(), right.casefold()
    numbers = (int, Decimal)
    if isinstance(left, bool) == isinstance(right, bool) and isinstance(left, numbers) and isinstance(right, numbers):
        return left, right
    if isinstance(left, datetime) and isinstance(right, date) and not isinstance(right, datetime):
        return left.date(), right
    if type(left) is type(right):
        return left, right
    raise errors.query_syntax("A binary operator with incompatible types was detected.")
