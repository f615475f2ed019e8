"""What the programs tell at /metrics is what docs/operations.md says they tell."""

from __future__ import annotations

import re
import urllib.request

from support.deals import Deals
from support.paths import ROOT

ROW = re.compile(r"^\| `(tandem_\w+)` \| (\w+) \| ((?:`\w+`(?:, )?)*)", re.MULTILINE)
TYPE = re.compile(r"^# TYPE (\w+) (\w+)$", re.MULTILINE)
SERIES = re.compile(r"^(\w+?)(?:_bucket|_sum|_count)?(?:\{(.*)\})? \S+$", re.MULTILINE)


def test_every_metric_is_described_with_its_labels(deals: Deals) -> None:
    rows = ROW.findall((ROOT / "docs/operations.md").read_text())
    described = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    deals.new("private")
    told: set[str] = set()
    for program in deals.stack.programs:
        with urllib.request.urlopen(f"{deals.stack.admin_address(program)}/metrics", timeout=10) as answer:
            page = answer.read().decode()
        for name, kind in TYPE.findall(page):
            assert described[name][0] == kind, name
            told.add(name)
        for name, labels in SERIES.findall(page):
            if name in described:
                assert set(re.findall(r'(\w+)="', labels)) - {"le"} == described[name][1], name
    assert len(told) > 45
