#!/usr/bin/env python3
"""Looks for calls that the project does not allow itself. Prints each; exit status 1 if there is one.

A checked wrapper may use what it wraps: then the pair of file and function stands in ALLOWED, with the reason.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

BANNED = {
    "strcpy": "a buffer of common/base/text",
    "strcat": "a buffer of common/base/text",
    "sprintf": "snprintf, its result checked",
    "vsprintf": "vsnprintf, its result checked",
    "gets": "fgets",
    "strtok": "a parser without hidden state",
    "atoi": "the checked parsers of common/base",
    "atol": "the checked parsers of common/base",
    "atoll": "the checked parsers of common/base",
    "atof": "the checked parsers of common/base",
    "strtol": "the checked parsers of common/base",
    "strtoll": "the checked parsers of common/base",
    "strtoul": "the checked parsers of common/base",
    "strtoull": "the checked parsers of common/base",
    "strtod": "the checked parsers of common/base",
    "exit": "a status returned up to main()",
    "alloca": "an array of fixed size, or the heap",
}
# (file, function): the wrapper itself.
ALLOWED: set[tuple[str, str]] = set()

CALL = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")
# Comments, strings and characters; they are blanked out, line breaks stay.
NOT_CODE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.DOTALL)
FOLDERS = ("common", "ingest", "mapper", "pusher", "tests")


def calls(text: str) -> list[tuple[int, str]]:
    """Line and name of each banned call."""
    code = NOT_CODE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    return [(code.count("\n", 0, match.start()) + 1, match[1]) for match in CALL.finditer(code)]


def findings(root: Path) -> list[str]:
    found = []
    for file in sorted(each for folder in FOLDERS for each in (root / folder).rglob("*.[ch]")):
        name = file.relative_to(root).as_posix()
        for line, function in calls(file.read_text(encoding="utf-8")):
            if (name, function) not in ALLOWED:
                found.append(f"{name}:{line}: {function}() is banned, use {BANNED[function]}")
    return found


def main() -> int:
    found = findings(Path(__file__).resolve().parents[2])
    for each in found:
        print(each)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
