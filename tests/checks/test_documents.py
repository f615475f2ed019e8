"""What the documentation names is there: files, headings, functions, tests, metrics, exit statuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SOURCES = [file for folder in ("common", "ingest", "mapper", "pusher") for file in sorted((ROOT / folder).rglob("*.c"))]

# A path from the project's root; what is made by the build or by its user is not there.
PATH = re.compile(r"(?<![\w./-])((?:common|ingest|mapper|pusher|tests|docs|deploy|cmake|\.ci)/[\w./*-]*)")
MADE = {"deploy/rules/example.test.yaml"}
LINK = re.compile(r"\]\(([^)#:]*)#([^)]+)\)")
# `tests/unit/test_lane.c::test_lane_keeps_order`
TEST = re.compile(r"`(tests/[\w/.-]+\.(?:py|c))::(test_\w+)`")
# `pusher/lane.c` (`lane_take`, `lane_end`)
FUNCTIONS = re.compile(r"`((?:common|ingest|mapper|pusher)/[\w/.-]+\.[ch])` \(((?:`\w+`(?:, )?)+)\)")

METRIC = re.compile(
    r"\b\w+\(\s*METRIC_(COUNTER|GAUGE|HISTOGRAM),\s*\"(tandem_\w+)\",\s*"
    r"(?:\"([a-z,]*)\",\s*(?=\"))?(?:\"(?:[^\"\\]|\\.)*\"\s*)+\)"
)
METRIC_ROW = re.compile(r"^\| `(tandem_\w+)` \| (\w+) \| ((?:`\w+`(?:, )?)*)", re.MULTILINE)


def name_of(document: Path) -> str:
    return document.name


def paths(text: str) -> set[str]:
    return {match.rstrip(".") for match in PATH.findall(text)} - MADE


def exists(path: str) -> bool:
    return any(ROOT.glob(path)) if "*" in path else (ROOT / path).exists()


def anchors(document: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_paths_are_there(document: Path) -> None:
    assert [path for path in sorted(paths(document.read_text())) if not exists(path)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_lead_to_headings(document: Path) -> None:
    for file, anchor in LINK.findall(document.read_text()):
        target = document.parent / file if file else document
        assert target.exists() and anchor in anchors(target), f"{file}#{anchor}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_tests_that_are_named_are_there(document: Path) -> None:
    for file, test in TEST.findall(document.read_text()):
        definition = rf"^(?:static void|def) {test}\("
        assert (ROOT / file).exists() and re.search(definition, (ROOT / file).read_text(), re.MULTILINE), test


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_functions_that_are_named_are_where_they_are_said_to_be(document: Path) -> None:
    for file, names in FUNCTIONS.findall(document.read_text()):
        code = (ROOT / file).read_text()
        for name in re.findall(r"`(\w+)`", names):
            assert re.search(rf"\b{name}\(", code), f"{file}: {name}"


def test_every_promise_names_code_and_tests() -> None:
    section = (ROOT / "docs/architecture.md").read_text().split("## Promises")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    promises = [row for row in rows if "where it is kept" not in row[1]]
    assert len(promises) >= 15
    for promise, kept, shown in promises:
        assert PATH.search(kept), promise
        assert TEST.search(shown), promise


def test_metrics_are_those_of_the_code() -> None:
    declared = {}
    for file in SOURCES:
        code = file.read_text()
        found = METRIC.findall(code)
        # One that is declared in another form would not be held by this test.
        assert len(found) == len(re.findall(r"\bMETRIC_\w+,\s*\"tandem_", code)), file
        declared |= {name: (kind.lower(), labels) for kind, name, labels in found}
    assert len(declared) > 50
    rows = METRIC_ROW.findall((ROOT / "docs/operations.md").read_text())
    described = {name: (kind, ",".join(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    assert described == declared


def test_metrics_named_elsewhere_are_those_of_the_table() -> None:
    known = {name for name, _kind, _labels in METRIC_ROW.findall((ROOT / "docs/operations.md").read_text())}
    for document in DOCUMENTS:
        named = set(re.findall(r"\b(tandem_[a-z_]+_(?:total|seconds|lag|up|lanes|breaker|paused))\b", document.read_text()))
        assert named <= known, document


def test_exit_statuses_are_those_of_the_code() -> None:
    header = (ROOT / "common/runtime/program.h").read_text()
    table = (ROOT / "docs/operations.md").read_text().split("## Exit statuses")[1].split("\n## ")[0]
    assert re.findall(r"^\| (\d+) \|", table, re.MULTILINE) == re.findall(r"^    EXIT_\w+ = (\d+)", header, re.MULTILINE)


def test_events_of_the_log_are_those_of_the_code() -> None:
    code = "".join(file.read_text() for file in SOURCES)
    table = (ROOT / "docs/operations.md").read_text().split("## Log")[1].split("\n## ")[0]
    for event in re.findall(r"`([a-z]+\.[a-z_]+)`", table):
        assert f'"{event}"' in code, event


def test_topics_are_those_of_the_code() -> None:
    header = (ROOT / "common/kafka/topics.h").read_text()
    topics = set(re.findall(r'#define TOPIC_\w+ +"([\w-]+)"', header))
    table = (ROOT / "docs/operations.md").read_text().split("## Kafka\n")[1].split("\n### ")[0]
    assert set(re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE)) == topics
