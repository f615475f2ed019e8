"""No bad input of tests/cases/bad-inputs.json is without a test that names it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIST = json.loads((ROOT / "tests/cases/bad-inputs.json").read_text())


def named_in_pytest() -> dict[str, set[str]]:
    """The collected tests of each number: it stands in the brackets of a test's name."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    result = subprocess.run(
        [*command, "tests/component", "tests/e2e"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    found: dict[str, set[str]] = defaultdict(set)
    for line in result.stdout.splitlines():
        path, bracket, parameters = line.partition("[")
        for number in re.findall(r"\bB\d+\b", parameters) if bracket else []:
            found[number].add(path)
    return found


def test_every_bad_input_has_a_test_or_a_reason() -> None:
    inputs, left_out = set(LIST["inputs"]), set(LIST["not built"])
    assert inputs == {f"B{number}" for number in range(1, 78)}
    named = named_in_pytest()
    assert set(named) <= inputs, "tests name what is not in the list"
    assert not left_out & set(named), "there is a test for what is said not to be built"
    assert inputs - set(named) == left_out, "no test names these"
