#!/usr/bin/env python3
"""Holds the includes of all C files to the project's layers. Prints each breach; exit status 1 if there is one.

- common/ has layers; a folder includes only from itself and from layers below it, and from no neighbour on its own level.
- ingest/, mapper/ and pusher/ stand on common/ and do not know each other.
- Nothing but tests/ includes from tests/.
- The pure layers, common/base and common/messages, include nothing that does I/O.
- Headers do not include each other in a circle.
- What is in quotes is a file of ours, named from the project's root.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

# Folder and its level: an include goes to the same folder or to a lower level.
LEVELS = {
    "common/base": 0,
    "common/runtime": 1,
    "common/messages": 1,
    "common/kafka": 2,
    "common/http": 2,
    "common/systems": 3,
    "ingest": 4,
    "mapper": 4,
    "pusher": 4,
    "tests": 5,
}
PURE = ("common/base", "common/messages")
IMPURE_HEADERS = re.compile(
    r"event2/|curl/|librdkafka/|libpq|lmdb\.h|openssl/ssl\.h|sys/socket\.h|sys/epoll\.h|netinet/|arpa/|netdb\.h|pthread\.h"
)
# Made in the build tree.
GENERATED = {"tandem_version.h"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def folder_of(path: str) -> str | None:
    """The folder of LEVELS a file belongs to."""
    return next((folder for folder in LEVELS if path.startswith(folder + "/")), None)


def includes(file: Path) -> list[tuple[int, str, str]]:
    """Line, delimiter and name of each include."""
    found = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            found.append((number, match[1], match[2]))
    return found


def breach(root: Path, source: str, delimiter: str, target: str) -> str | None:
    """Why this file may not have this include, or None."""
    own = folder_of(source)
    if delimiter == "<":
        if own in PURE and IMPURE_HEADERS.match(target):
            return f"{own} is pure, but <{target}> does I/O"
        return None
    if target in GENERATED:
        return None
    if not (root / target).is_file():
        return f'"{target}" is no file of the project, named from its root'
    other = folder_of(target)
    if other is None:
        return f'"{target}" is in a folder without a level'
    if own is None or other == own or LEVELS[other] < LEVELS[own]:
        return None
    return f"{own} may not include from {other}"


def circles(graph: dict[str, list[str]]) -> list[str]:
    """One line for each circle of headers."""
    found: list[str] = []
    finished: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            found.append("circle: " + " -> ".join([*path[path.index(name) :], name]))
        elif name not in finished:
            for target in graph.get(name, []):
                visit(target, [*path, name])
            finished.add(name)

    for name in sorted(graph):
        visit(name, [])
    return found


def breaches(root: Path) -> list[str]:
    found = []
    graph: dict[str, list[str]] = {}
    top_folders = sorted({folder.split("/")[0] for folder in LEVELS})
    files = [file for top in top_folders for file in sorted((root / top).rglob("*.[ch]"))]
    for file in files:
        source = file.relative_to(root).as_posix()
        if folder_of(source) is None:
            found.append(f"{source}: is in a folder without a level")
        for number, delimiter, target in includes(file):
            reason = breach(root, source, delimiter, target)
            if reason:
                found.append(f"{source}:{number}: {reason}")
            elif delimiter == '"' and source.endswith(".h"):
                graph.setdefault(source, []).append(target)
    return found + circles(graph)


def main() -> int:
    found = breaches(Path(__file__).resolve().parents[2])
    for each in found:
        print(each)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
