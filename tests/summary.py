"""Prints the table that ends tests/run, from its list of runs: name, exit status, seconds, JUnit file.

What tests tell of themselves (record_property) stands below it, a line each. Exit status 0 if every run succeeded and at least one test was executed.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as xml
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Count:
    passed: int = 0
    failed: int = 0
    skipped: int = 0


def count_cases(report: Path) -> Count:
    """Cases of a JUnit file, as pytest (failure, error, skipped) and as ctest (status) write them."""
    count = Count()
    for case in xml.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"} or case.get("status") == "fail":
            count.failed += 1
        elif "skipped" in kinds or case.get("status") in ("notrun", "disabled"):
            count.skipped += 1
        else:
            count.passed += 1
    return count


def figures_of(report: Path) -> list[str]:
    """What tests have told with record_property."""
    return [f"{each.get('name')}: {each.get('value')}" for each in xml.parse(report).iterfind(".//testcase/properties/property")]


def main() -> int:
    total = Count()
    figures: list[str] = []
    went_well = True
    print(f"{'kind':<20}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}")
    for line in Path(sys.argv[1]).read_text().splitlines():
        name, status, seconds, report = line.split("\t")
        succeeded = status == "0"
        went_well = went_well and succeeded
        if not report:
            print(f"{name:<45}{seconds:>9}{'' if succeeded else '  FAILED'}")
            total.failed += not succeeded
            continue
        count = Count()
        if Path(report).exists():
            count = count_cases(Path(report))
            figures += [each for each in figures_of(Path(report)) if each not in figures]
        if not succeeded and count.failed == 0:
            # It ended before it could say which test is to blame.
            count.failed = 1
        mark = "" if succeeded else "  FAILED"
        print(f"{name:<20}{count.passed:>8}{count.failed:>8}{count.skipped:>9}{seconds:>9}{mark}")
        total.passed += count.passed
        total.failed += count.failed
        total.skipped += count.skipped
    for each in figures:
        print(each)
    print(f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped")
    return 0 if went_well and total.passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
