#!/usr/bin/env python3
"""Holds the modules of each folder to an order. Prints each circle; exit status 1 if there is one.

- A module is a file's name without its ending: name.h and name.c together depend on what either of them includes.
- A private part belongs to its owner: its header says "Internal to" or "Part of" in its first comment, it is named after
  the owner (owner_part.h beside owner.h), and only the owner and files named after it include it. Owner and parts may
  include each other; together they are one module.
- Within a folder modules do not include each other in a circle. (Between folders: include_layers.py.)
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from pathlib import Path

from include_layers import LEVELS, folder_of, includes

PRIVATE = re.compile(r"\b(Internal\s+to|Part\s+of)\b")

Graph = dict[str, set[str]]


def first_comment(header: Path) -> str:
    text = header.read_text(encoding="utf-8")
    # Its lines begin with " * ", also in the middle of a sentence.
    return re.sub(r"\n \*", "", text[: text.find("*/")])


def module_of(path: str) -> str:
    return path.rsplit(".", 1)[0]


def dependencies(root: Path) -> Graph:
    """By module of the three programs and common/: the modules of the same folder that it includes."""
    graph: Graph = defaultdict(set)
    for folder in LEVELS:
        if folder == "tests":
            continue
        for file in sorted((root / folder).glob("*.[ch]")):
            module = module_of(file.relative_to(root).as_posix())
            targets = {module_of(target) for _, delimiter, target in includes(file) if delimiter == '"'}
            graph[module] |= {each for each in targets if folder_of(each + ".h") == folder and each != module}
    return graph


def owner_of(root: Path, module: str, graph: Graph) -> str:
    """The module it is a private part of, or itself."""
    header = root / f"{module}.h"
    if not header.is_file() or not PRIVATE.search(first_comment(header)):
        return module
    name = module
    while "_" in name.rsplit("/", 1)[1]:
        name = name.rsplit("_", 1)[0]
        if not (root / f"{name}.h").is_file():
            continue
        users = {each for each, targets in graph.items() if module in targets}
        return name if all(each == name or each.startswith(name + "_") for each in users) else module
    return module


def circles(root: Path) -> list[str]:
    """One line for each circle of modules."""
    parts = dependencies(root)
    owners = {module: owner_of(root, module, parts) for module in parts}
    graph: Graph = defaultdict(set)
    for module, targets in parts.items():
        graph[owners[module]] |= {owners.get(each, each) for each in targets} - {owners[module]}

    found: list[str] = []
    finished: set[str] = set()

    def visit(module: str, path: list[str]) -> None:
        if module in path:
            found.append("circle: " + " -> ".join([*path[path.index(module) :], module]))
        elif module not in finished:
            for target in sorted(graph.get(module, ())):
                visit(target, [*path, module])
            finished.add(module)

    for module in sorted(graph):
        visit(module, [])
    return found


def main() -> int:
    found = circles(Path(__file__).resolve().parents[2])
    for each in found:
        print(each)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
