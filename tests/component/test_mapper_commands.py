"""The commands of tandem-mapper that need neither broker nor configuration.

Each folder of tests/cases/preview holds up to three documents (partner_center.json, crm.json, base.json) and what
`preview` prints for them (expected.txt).
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from support.default_rules import RULES as DEFAULT_RULES
from support.default_rules import commented, switched_on
from support.paths import PROGRAMS, ROOT

CASES = ROOT / "tests/cases/preview"
COMMENTED = ROOT / "tests/cases/commented-fields"
FIRST_TESTS = ROOT / "tests/cases/first-rules/example.test.yaml"
RULES = ROOT / "tests/component/mapper/rules.yaml"
DEFAULT_TESTS = sorted(path.relative_to(ROOT) for path in ROOT.glob("deploy/rules/*.test.yaml"))
USAGE = 64
BAD_CONFIG = 78

pytestmark = pytest.mark.asan


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(PROGRAMS / "tandem-mapper"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=ROOT)


def preview(case: Path, *options: str) -> subprocess.CompletedProcess[str]:
    sides = [case / f"{side}.json" for side in ("partner_center", "crm")]
    base = ["--base", case / "base.json"] if (case / "base.json").exists() else []
    return run("preview", "--rules", RULES, *options, *base, *[side if side.exists() else "-" for side in sides])


@pytest.mark.parametrize("case", sorted(CASES.iterdir()), ids=lambda case: case.name)
def test_preview_tells_what_would_be_written_and_why(case: Path) -> None:
    result = preview(case)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == (case / "expected.txt").read_text()


def test_preview_gives_the_decisions_as_json() -> None:
    steps = json.loads(preview(CASES / "conflict", "--json").stdout)
    decision = steps[0]["decision"]
    assert (decision["action"], decision["target"], decision["write"]) == (
        "update",
        "partner-center",
        {"details.dealValue": 75000},
    )
    assert decision["conflicts"][0]["winner"] == "crm"


def test_preview_shows_the_rows_of_a_new_record(tmp_path: Path) -> None:
    rules = yaml.safe_load(RULES.read_text())
    rules["fields"].append(
        {
            "name": "parts",
            "partner_center": "parts[]{id,price}",
            "crm": "my_parts[]{my_price,my_part.my_number}",
            "direction": "to-crm",
            "on": ["create"],
            "to_crm": [{"list": {"members": {"id": "my_part.my_number", "price": "my_price"}}}],
        }
    )
    lookup = {"my_part": {"entity": "my_part", "match": ["my_number"], "create": True}}
    rules["rows"] = {"my_parts": {"entity": "my_opportunitypart", "parent": "my_opportunityid", "lookups": lookup}}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    referral = json.loads((CASES / "new-referral/partner_center.json").read_text())
    referral["parts"] = [{"id": "A-1", "price": 12.5}]
    (tmp_path / "referral.json").write_text(json.dumps(referral))

    result = run("preview", "--rules", tmp_path / "rules.yaml", tmp_path / "referral.json", "-")

    assert (result.returncode, result.stderr) == (0, "")
    assert 'write my_parts = [{"my_part.my_number":"A-1","my_price":12.5}]' in result.stdout
    assert result.stdout.count("update at partner-center") == 1


def test_preview_takes_a_reading_with_microsofts_side_of_the_deal(tmp_path: Path) -> None:
    """As it stands in the topic `records`, and as `tandem-ingest read` prints it."""
    rules = ROOT / "deploy/rules/dynamics-365.yaml"
    ours = json.loads((CASES / "conflict/partner_center.json").read_text())
    theirs = {"organizationId": "msft", "status": "Active", "trackingInfo": {"microsoftMsxId": "7-MSX"}}
    documents = [
        {"role": role, "id": body.get("id", "1"), "version": "1", "changed_at": None, "etag": None, "body": body}
        for role, body in {"own": ours, "related": theirs}.items()
    ]
    (tmp_path / "reading.json").write_text(json.dumps({"kind": "reading", "documents": documents}))
    (tmp_path / "alone.json").write_text(json.dumps({"kind": "reading", "documents": documents[:1]}))
    options = ("preview", "--rules", rules, "--base", CASES / "conflict/base.json")
    with_it, without, plain = (
        run(*options, referral, CASES / "conflict/crm.json")
        for referral in (tmp_path / "reading.json", tmp_path / "alone.json", CASES / "conflict/partner_center.json")
    )
    assert [each.returncode for each in (with_it, without, plain)] == [0, 0, 0], with_it.stderr
    assert '"7-MSX"' in with_it.stdout and "7-MSX" not in without.stdout
    assert without.stdout == plain.stdout
    # What stood there when both last agreed is no news.
    base = json.loads((CASES / "conflict/base.json").read_text())
    agreed = [{**documents[0], "body": base["partner_center"]}, documents[1]]
    (tmp_path / "base.json").write_text(json.dumps({**base, "partner_center": {"documents": agreed}}))
    known = run(*options[:4], tmp_path / "base.json", tmp_path / "reading.json", CASES / "conflict/crm.json")
    assert known.returncode == 0 and "7-MSX" not in known.stdout


@pytest.mark.parametrize(("side", "role"), [("partner_center", "crm"), ("partner_center", "related"), ("crm", "own")])
def test_preview_refuses_a_reading_without_the_record_of_its_side(tmp_path: Path, side: str, role: str) -> None:
    reading = tmp_path / "reading.json"
    reading.write_text(json.dumps({"kind": "reading", "documents": [{"role": role, "id": "1", "body": {"id": "1"}}]}))
    result = run("preview", "--rules", RULES, *([reading, "-"] if side == "partner_center" else ["-", reading]))
    assert (result.returncode, result.stdout) == (BAD_CONFIG, "")
    assert f"{reading}: holds no {'referral' if side == 'partner_center' else 'CRM record'}" in result.stderr


@pytest.mark.parametrize("records", [["partner_center.json", "-"], ["-", "crm.json"]])
def test_preview_knows_that_records_which_agreed_exist(records: list[str]) -> None:
    folder = CASES / "conflict"
    paths = [each if each == "-" else folder / each for each in records]
    result = run("preview", "--rules", RULES, "--base", folder / "base.json", *paths)
    assert (result.returncode, result.stdout) == (BAD_CONFIG, "")
    assert "base.json: records that have agreed both exist" in result.stderr


def test_preview_names_the_place_of_a_broken_document(tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text('{\n  "id": oops}\n')
    result = run("preview", "--rules", RULES, broken, "-")
    assert result.returncode == BAD_CONFIG
    assert f"{broken}:2:" in result.stderr and "oops" not in result.stderr


def test_preview_without_rules_is_bad_usage() -> None:
    assert run("preview", "-", "-").returncode == USAGE


def test_check_shows_every_field_of_good_rules() -> None:
    result = run("check", RULES)
    assert (result.returncode, result.stderr) == (0, "")
    assert "details.dealValue" in result.stdout and "estimatedvalue" in result.stdout and "<->" in result.stdout


def test_check_shows_a_policy_only_where_both_sides_can_be_changed() -> None:
    result = run("check", ROOT / "deploy/rules/dynamics-365.yaml")
    lines = [line for line in result.stdout.splitlines() if re.search(r" (<->|-->|<--) ", line)]
    assert len(lines) > 30 and not [line for line in lines if line != line.rstrip() or " , " in line]
    for line in lines:
        assert (" conflict: " in line) == (" <-> " in line and "create only" not in line), line
    [stage] = [line for line in lines if line.split()[0] == "stage"]
    assert stage.endswith(" conflict: partner-center, partner-center: update only")
    assert [line for line in lines if line.split()[0] == "kind"][0].endswith("@label        partner-center: create only")


def test_check_points_at_every_error(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        RULES.read_text().replace("conflict: latest", "conflict: latets").replace("crm: name", "cmr: name")
    )
    result = run("check", rules)
    assert result.returncode == BAD_CONFIG and result.stdout == ""
    assert result.stderr.count(": error: ") >= 2 and "^~~~" in result.stderr
    assert "did you mean 'latest'?" in result.stderr and f"{rules}:" in result.stderr


LISTED = "[estimatedvalue, msft_microsoftpartnercenterreferralsync, msft_microsoftpartnercenterreferralidentifier]"


def configuration(folder: Path, rules: Path, section: str) -> Path:
    path = folder / "tandem.yaml"
    path.write_text(
        "program: {instance: one}\nkafka: {bootstrap_servers: 127.0.0.1:1}\n"
        f"mapper: {{rules: {rules}, store_directory: {folder / 'store'}}}\n{section}"
    )
    return path


def place_of(rules: Path, text: str, occurrence: int = 0) -> str:
    """line:column of a text in a file."""
    before = text.join(rules.read_text().split(text)[: occurrence + 1])
    return f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


def check_both_ways(rules: Path, config: Path) -> list[subprocess.CompletedProcess[str]]:
    return [run("check", "--config", config, rules), run("--config", config, "--check")]


@pytest.mark.parametrize("section", ["", "dynamics_365:\n", "dynamics_365: {url: https://crm.example.com}\n"])
def test_default_rules_suit_the_columns_read_by_default(tmp_path: Path, section: str) -> None:
    for result in check_both_ways(DEFAULT_RULES, configuration(tmp_path, DEFAULT_RULES, section)):
        assert (result.returncode, result.stderr) == (0, "")


def test_column_beyond_those_read_by_default_is_an_error_at_its_place(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES.read_text().replace("crm: estimatedvalue", "crm: budgetamount"))
    assert run("check", rules).returncode == 0
    config = configuration(tmp_path, rules, "dynamics_365: {url: https://crm.example.com}\n")
    for result in check_both_ways(rules, config):
        assert (result.returncode, result.stdout) == (BAD_CONFIG, "")
        assert (
            f"{rules}:{place_of(rules, 'budgetamount')}: error: the column 'budgetamount' is not read" in result.stderr
        )
        assert "^~~~" in result.stderr and result.stderr.count(": error: ") == 1
    config = configuration(tmp_path, rules, "dynamics_365: {columns: [budgetamount, name]}\n")
    assert "budgetamount" not in run("check", "--config", config, rules).stderr


def test_columns_left_out_of_the_list_are_named_each(tmp_path: Path) -> None:
    config = configuration(tmp_path, RULES, f"dynamics_365: {{columns: {LISTED}}}\n")
    for result in check_both_ways(RULES, config):
        assert result.returncode == BAD_CONFIG and result.stderr.count(": error: ") == 2
        assert f"{RULES}:{place_of(RULES, 'crm: name')[:-1]}" in result.stderr
        for column in ("name", "msft_microsoftpartnercenterreferralsyncaudit"):
            assert f": error: the column '{column}' is not read" in result.stderr


def test_check_with_a_broken_configuration_names_its_place(tmp_path: Path) -> None:
    config = configuration(tmp_path, RULES, "dynamics_365: {columns: name}\n")
    result = run("check", "--config", config, RULES)
    assert result.returncode == BAD_CONFIG and f"{config}:4:25: error: 'columns' is a list" in result.stderr


def test_default_rules_pass_their_tests() -> None:
    result = run("test", *DEFAULT_TESTS)
    assert result.returncode == 0, result.stdout
    assert " 0 failed" in result.stdout


def test_first_rules_pass_their_tests() -> None:
    """Both directions, a conflict and a stage, by the smallest rules that are of use."""
    checked = run("check", FIRST_TESTS.with_name("example.yaml"))
    assert (checked.returncode, checked.stderr) == (0, "")
    result = run("test", FIRST_TESTS)
    assert result.returncode == 0, result.stdout
    assert "\n7 passed, 0 failed\n" in result.stdout


def test_example_of_the_documentation_runs_as_it_says(tmp_path: Path) -> None:
    document = (ROOT / "docs/rules-tests.md").read_text()
    example = re.search(r"```yaml\n(rules: .*?)```", document, re.DOTALL)
    shown = re.search(r"^    \$ tandem-mapper test \S+/example\.test\.yaml\n((?:    .*\n)+)", document, re.MULTILINE)
    assert example and shown
    shutil.copy(DEFAULT_RULES, tmp_path)
    (tmp_path / "example.test.yaml").write_text(example[1])
    result = run("test", tmp_path / "example.test.yaml")
    assert result.returncode == 0, result.stdout
    assert result.stdout.splitlines()[1:] == [line.strip() for line in shown[1].splitlines()][1:]


def test_first_rules_of_the_documentation_are_good(tmp_path: Path) -> None:
    example = re.search(r"```yaml\n(version: 1\n.*?)```", (ROOT / "docs/rules.md").read_text(), re.DOTALL)
    assert example
    (tmp_path / "rules.yaml").write_text(example[1])
    checked = run("check", tmp_path / "rules.yaml")
    assert (checked.returncode, checked.stderr) == (0, "")


def with_commented(folder: Path, fields: list[str]) -> Path:
    """The default rules with fields taken out of their comments, and their tests beside them, in `folder`."""
    (folder / DEFAULT_RULES.name).write_text(switched_on(DEFAULT_RULES.read_text(), *fields))
    for path in DEFAULT_TESTS:
        # What the CRM then shows as well.
        shown = "\ncrm:\n  opportunity_connections1: []\n"
        (folder / path.name).write_text((ROOT / path).read_text().replace("\ncrm:\n", shown))
    whole = yaml.safe_load((folder / "dynamics-365.test.yaml").read_text())
    for field in fields:
        cases = yaml.safe_load((COMMENTED / f"{field}.yaml").read_text())
        (folder / f"{field}.test.yaml").write_text(yaml.safe_dump({**whole, "cases": cases}, sort_keys=False))
    return folder / DEFAULT_RULES.name


# Each by itself, and all of them.
SELECTIONS = [[field] for field in commented(DEFAULT_RULES.read_text())] + [commented(DEFAULT_RULES.read_text())]


@pytest.mark.parametrize("fields", SELECTIONS, ids="+".join)
def test_fields_in_comments_hold_and_pass_their_tests(tmp_path: Path, fields: list[str]) -> None:
    rules = with_commented(tmp_path, fields)
    checked = run("check", rules)
    assert (checked.returncode, checked.stderr) == (0, "")
    tests = sorted(tmp_path.glob("*.test.yaml"))
    assert len(tests) == len(DEFAULT_TESTS) + len(fields)
    result = run("test", *tests)
    assert result.returncode == 0, result.stdout
    assert " 0 failed" in result.stdout and all(f"{path}\n" in result.stdout for path in tests)


@pytest.mark.parametrize("field", commented(DEFAULT_RULES.read_text()))
def test_fields_in_comments_are_off(tmp_path: Path, field: str) -> None:
    """By default what they would write is not written: the first of their tests, which writes it, fails."""
    with_commented(tmp_path, [field])
    shutil.copy(DEFAULT_RULES, tmp_path)
    result = run("test", tmp_path / f"{field}.test.yaml")
    first = yaml.safe_load((COMMENTED / f"{field}.yaml").read_text())[0]["name"]
    assert result.returncode == 1 and f"FAILED {first}\n" in result.stdout


def test_every_row_that_is_unconfirmed_has_its_field_in_comments() -> None:
    """What Microsoft is told with the invitation; the sales team; partner role, solution area and solution play."""
    assert set(commented(DEFAULT_RULES.read_text())) == {"help_notes", "own_team", "purchase_intent"}


def test_reference_is_the_one_of_the_documentation() -> None:
    result = run("reference")
    assert (result.returncode, result.stderr) == (0, "")
    assert f"begin -->\n{result.stdout}<!-- " in (ROOT / "docs/rules.md").read_text()


def names_in(cell: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", cell))


def test_table_of_the_documentation_names_every_field_of_the_default_rules() -> None:
    rules = DEFAULT_RULES.read_text()
    section = (ROOT / "docs/rules.md").read_text().split("\n## Which field of a deal goes where\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][1:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[0] for row in rows if row[0] != "-"] == [str(number) for number in range(1, 29)]
    assert set().union(*(names_in(row[2]) for row in rows)) == {each["name"] for each in yaml.safe_load(rules)["fields"]}
    assert set().union(*(names_in(row[3]) for row in rows)) == set(commented(rules))
    for number, _, live, off, state in rows:
        # What has no field at all is told by the text; what has one is on by it, and off where it stands in a comment.
        if live:
            assert state.startswith("on"), number
        if off:
            assert re.search(r"\boff\b", state), number


def test_failed_rule_test_tells_expected_and_actual(tmp_path: Path) -> None:
    tests = tmp_path / "tests.yaml"
    tests.write_text(
        f"rules: {RULES}\n"
        "partner_center: {id: 6f1c9a52-0b7e-4f3e-9a34-2d1f5f0c7a11, type: Shared, status: Active,\n"
        "  externalReferenceId: 0d3b8f60-7c41-4e0a-8a51-6c2f9f5e1b22, details: {dealValue: 10}}\n"
        "crm: {opportunityid: 0d3b8f60-7c41-4e0a-8a51-6c2f9f5e1b22, estimatedvalue: 10,\n"
        "  msft_microsoftpartnercenterreferralidentifier: 6f1c9a52-0b7e-4f3e-9a34-2d1f5f0c7a11}\n"
        "cases:\n"
        "  - {name: right, partner_center: {details: {dealValue: 20}}, expect: {write: {estimatedvalue: 20}}}\n"
        "  - {name: wrong, partner_center: {details: {dealValue: 20}}, expect: {write: {estimatedvalue: 21}}}\n"
        "  - {name: more, partner_center: {details: {dealValue: 20}}, expect: {only: true, target: crm}}\n"
    )
    result = run("test", tests)
    assert result.returncode == 1
    assert "ok     right" in result.stdout
    assert "FAILED wrong\n    estimatedvalue: expected 21, got 20\n" in result.stdout
    assert "FAILED more\n    estimatedvalue: expected nothing, got 20\n" in result.stdout
    assert "1 passed, 2 failed" in result.stdout


def test_unknown_key_in_a_rule_test_is_an_error(tmp_path: Path) -> None:
    tests = tmp_path / "tests.yaml"
    tests.write_text(
        f"rules: {RULES}\npartner_center: {{id: x}}\ncrm: {{opportunityid: y}}\n"
        "cases:\n  - {name: typing error, expect: {actoin: none}}\n  - {name: right, expect: {action: update}}\n"
    )
    result = run("test", tests)
    assert result.returncode == BAD_CONFIG
    assert "\n1 passed, 0 failed, 1 cannot be used\n" in result.stdout
    assert "tests.yaml:5:" in result.stderr and "did you mean 'action'?" in result.stderr
