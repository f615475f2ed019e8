"""tandem-ingest backfill: existing deals of both systems, on a real broker and the simulators."""

from __future__ import annotations

import datetime
import json
import os
import pty
import re
import signal
import subprocess
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from support.ingest import Ingest, value_of
from support.kafka import Broker
from support.paths import PROGRAMS, ROOT
from support.schemas import check
from support.simulators import Dynamics365, PartnerCenter
from support.tls import Authority
from support.topics import Topics
from support.waiting import wait_until

pytestmark = pytest.mark.asan

IDENTIFIER = "msft_microsoftpartnercenterreferralidentifier"
SYNC = "msft_microsoftpartnercenterreferralsync"
LISTS = "/v1.0/engagements/referrals"
BAD_CONFIG = 78
DEADLINE = 30
COMMAND_SECONDS = 60
FAST = 1000


@pytest.fixture
def ingest(
    tmp_path: Path, topics: Topics, authority: Authority, partner_center: PartnerCenter, dynamics_365: Dynamics365
) -> Ingest:
    ingest = Ingest(tmp_path, topics, authority, partner_center, dynamics_365)
    ingest.backfill = {"per_second": FAST}
    return ingest


def referral(ingest: Ingest, reference: str | None = None, **more: Any) -> str:
    return str(ingest.partner_center.add_referral(kind="private", externalReferenceId=reference, **more)["id"])


def row(ingest: Ingest, identifier: str | None = None, sync: bool = True) -> str:
    made = ingest.dynamics_365.add_row("opportunities", name="Existing", **{IDENTIFIER: identifier, SYNC: sync})
    return str(made["opportunityid"])


def linked(ingest: Ingest) -> tuple[str, str]:
    """A deal whose records name each other."""
    opportunity = row(ingest)
    identifier = referral(ingest, opportunity)
    ingest.dynamics_365.edit_row("opportunities", opportunity, **{IDENTIFIER: identifier})
    return identifier, opportunity


def keys_of(referrals: list[str], rows: list[str]) -> Counter[str]:
    return Counter([f"partner-center/{each}" for each in referrals] + [f"dynamics-365/{each}" for each in rows])


def told(ingest: Ingest) -> Counter[str]:
    return Counter((record.key or b"").decode() for record in ingest.topics.read("notifications"))


def position(ingest: Ingest, key: str = "backfill/all") -> str | None:
    found = [record for record in ingest.topics.read("cursors") if record.key == key.encode()]
    return value_of(found[-1])["position"] if found else None


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def backfill(ingest: Ingest, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    result = ingest.run("backfill", *arguments)
    assert result.returncode == status and "Sanitizer" not in result.stderr, result.stdout + result.stderr
    return result


# --- What is told -----------------------------------------------------------------------------------------------------


def test_existing_deals_of_all_pages_are_told_once(ingest: Ingest) -> None:
    ingest.partner_center.settings(page_size=3)
    ingest.backfill["page_rows"] = 2
    pairs = [linked(ingest) for _ in range(4)]
    by_row, silent = row(ingest), referral(ingest)
    named = row(ingest, sync=False)
    ours = [referral(ingest) for _ in range(3)] + [referral(ingest, named), silent]
    theirs = [row(ingest), row(ingest, silent), by_row]
    row(ingest, sync=False)  # takes no part
    shared = ingest.partner_center.add_referral(kind="partner-cosell")["id"]  # Microsoft's side of it is not ours
    result = backfill(ingest)
    wanted = keys_of([each for each, _ in pairs] + ours + [shared], [each for _, each in pairs] + theirs + [named])
    assert told(ingest) == wanted
    for record in ingest.topics.read("notifications"):
        value = value_of(record)
        check("notification", value)
        assert (value["origin"], value["event"]) == ("backfill", "listed")
        assert value["record_type"] == ("referral" if value["source"] == "partner-center" else "opportunity")
        assert record.headers["ce_source"] == b"/tandem/ingest/backfill"
    cursor = value_of(ingest.topics.read("cursors")[-1])
    check("cursor", cursor)
    assert (cursor["source"], cursor["position"]) == ("backfill/all", "finished")
    table = {line[:20].strip(): line[20:].split() for line in result.stdout.splitlines()}
    assert table["listed"] == ["10", "9"]
    assert table["linked"] == ["6", "6"]
    assert table["on this side only"] == ["4", "2"]
    assert table["ambiguous"] == ["0", "0"]
    assert table["records told"] == [str(sum(wanted.values()))]
    assert "100 %" in result.stderr


def test_only_linked_deals_are_told_when_asked(ingest: Ingest) -> None:
    pair = linked(ingest)
    referral(ingest)
    row(ingest)
    backfill(ingest, "--linked-only")
    assert told(ingest) == keys_of([pair[0]], [pair[1]])
    assert position(ingest, "backfill/linked") == "finished" and position(ingest) is None
    backfill(ingest)
    assert sum(told(ingest).values()) == 2 + 4


def test_dry_run_lists_each_deal_and_tells_nothing(ingest: Ingest, tmp_path: Path) -> None:
    pair, ours, theirs = linked(ingest), referral(ingest), row(ingest)
    lost = row(ingest, str(uuid.uuid4()))
    report = tmp_path / "report.jsonl"
    result = backfill(ingest, "--dry-run", "--report", str(report))
    assert "referral_not_visible" in result.stdout and lost in result.stdout
    [*deals, finding] = lines_of(report)
    wanted = [("linked", *pair), ("referral_only", ours, None), ("opportunity_only", None, theirs)]
    assert sorted(map(str, wanted)) == sorted(str((each["deal"], each["referral"], each["opportunity"])) for each in deals)
    assert (finding["reason"], finding["opportunity"]) == ("referral_not_visible", lost)
    for word, *ids in wanted:
        assert re.search(rf"^{word} +{ids[0] or '-'} +{ids[1] or '-'}$", result.stdout, re.MULTILINE)
    assert not told(ingest) and position(ingest) is None
    assert all(each["method"] == "GET" for each in ingest.partner_center.journal(path=LISTS))
    assert all(each["method"] == "GET" for each in ingest.dynamics_365.journal(path="/api/data"))


def test_finished_backfill_says_so_until_it_is_begun_again(ingest: Ingest) -> None:
    linked(ingest)
    backfill(ingest)
    first = told(ingest)
    assert "Already finished at 20" in backfill(ingest).stdout
    assert told(ingest) == first
    backfill(ingest, "--again")
    assert told(ingest) == first + first
    assert position(ingest) == "finished"


def test_nothing_there_is_finished_at_once(ingest: Ingest) -> None:
    backfill(ingest)
    assert not told(ingest) and position(ingest) == "finished"


# --- What is ambiguous ------------------------------------------------------------------------------------------------


def identifier_twice(ingest: Ingest) -> set[tuple[str, str | None, str | None]]:
    one = referral(ingest)
    # Before the alternate key is made, nothing keeps two rows from carrying one identifier.
    ingest.dynamics_365.settings(alternate_key_status="Failed")
    return {("identifier_twice", one, row(ingest, each)) for each in (one, one.upper())}


def identifier_twice_of_nobody(ingest: Ingest) -> set[tuple[str, str | None, str | None]]:
    lost = str(uuid.uuid4())
    ingest.dynamics_365.settings(alternate_key_status="Failed")
    return {("identifier_twice", lost, row(ingest, lost)) for _ in range(2)}


def identifier_malformed(ingest: Ingest) -> set[tuple[str, str | None, str | None]]:
    return {("identifier_malformed", None, row(ingest, "7-ABCDEF"))}


def referral_not_visible(ingest: Ingest) -> set[tuple[str, str | None, str | None]]:
    hidden = referral(ingest, _sim={"visible": "403"})
    return {("referral_not_visible", hidden, row(ingest, hidden))}


def reference_twice(ingest: Ingest) -> set[tuple[str, str | None, str | None]]:
    one = row(ingest)
    return {("reference_twice", referral(ingest, one), one) for _ in range(2)}


def reference_foreign(ingest: Ingest) -> set[tuple[str, str | None, str | None]]:
    return {("reference_foreign", referral(ingest, "OPP-4711"), None)}


def row_not_visible(ingest: Ingest) -> set[tuple[str, str | None, str | None]]:
    gone = row(ingest)
    ingest.dynamics_365.delete_row("opportunities", gone)
    return {("row_not_visible", referral(ingest, gone), gone)}


def links_contradict(ingest: Ingest) -> set[tuple[str, str | None, str | None]]:
    other = row(ingest)
    one = referral(ingest, other)
    return {("links_contradict", one, row(ingest, one)), ("links_contradict", one, other)}


AMBIGUOUS = (
    identifier_twice,
    identifier_twice_of_nobody,
    identifier_malformed,
    referral_not_visible,
    reference_twice,
    reference_foreign,
    row_not_visible,
    links_contradict,
)


@pytest.mark.parametrize("make", AMBIGUOUS, ids=lambda make: make.__name__)
def test_ambiguous_records_are_reported_and_not_told(ingest: Ingest, tmp_path: Path, make: Any) -> None:
    pair = linked(ingest)
    findings = make(ingest)
    report = tmp_path / "report.jsonl"
    result = backfill(ingest, "--report", str(report))
    assert told(ingest) == keys_of([pair[0]], [pair[1]])
    lines = lines_of(report)
    assert {(each["reason"], each["referral"], each["opportunity"]) for each in lines} == findings
    assert len(lines) == len(findings) and all(set(each) == {"reason", "referral", "opportunity"} for each in lines)
    for reason, *ids in findings:
        assert any(line.split() == [reason, *(each or "-" for each in ids)] for line in result.stdout.splitlines())


# --- Interrupted ------------------------------------------------------------------------------------------------------


def many(ingest: Ingest, count: int) -> Counter[str]:
    pairs = [linked(ingest) for _ in range(count)]
    alone = [referral(ingest) for _ in range(count)]
    new = [row(ingest) for _ in range(count)]
    return keys_of([each for each, _ in pairs] + alone, [each for _, each in pairs] + new)


def has_told(ingest: Ingest, count: int) -> bool:
    return len(told(ingest)) >= count and position(ingest) not in (None, "begun", "finished")


def test_killed_backfill_goes_on_and_loses_none(ingest: Ingest) -> None:
    wanted = many(ingest, 6)
    ingest.backfill["per_second"] = 5
    with ingest.program("backfill", instance="command") as program:
        wait_until(lambda: has_told(ingest, 12), DEADLINE, "some of it is told")
        program.kill()
    before = told(ingest)
    assert 12 <= sum(before.values()) < sum(wanted.values())
    ingest.backfill["per_second"] = FAST
    result = backfill(ingest)
    assert "going on where an earlier run has stopped" in result.stderr
    after = told(ingest)
    assert set(after) == set(wanted)
    # What was told in the last second before the end comes again, no more.
    assert sum(after.values()) - sum(wanted.values()) <= 8
    assert position(ingest) == "finished"


def test_interrupted_backfill_keeps_its_place(ingest: Ingest) -> None:
    wanted = many(ingest, 6)
    ingest.backfill["per_second"] = 5
    with ingest.program("backfill", instance="command") as program:
        wait_until(lambda: len(told(ingest)) >= 5, DEADLINE, "some of it is told")
        program.signal(signal.SIGINT)
        assert program.wait() == 1
        assert any("run it again to go on" in line for line in program.other_lines), program.transcript()
    ingest.backfill["per_second"] = FAST
    backfill(ingest)
    assert told(ingest) == wanted


def test_broker_that_is_away_for_a_while_is_waited_for(ingest: Ingest, broker: Broker) -> None:
    wanted = many(ingest, 6)
    ingest.backfill["per_second"] = 5
    with ingest.program("backfill", instance="command") as program:
        wait_until(lambda: has_told(ingest, 6), DEADLINE, "some of it is told")
        broker.kill()
        broker.start()
        assert program.wait(COMMAND_SECONDS) == 0, program.transcript()
    assert set(told(ingest)) == set(wanted) and position(ingest) == "finished"


def test_interrupted_listing_tells_nothing(ingest: Ingest) -> None:
    many(ingest, 1)
    ingest.partner_center.fault("delay", "GET", LISTS, delay_ms=8000)
    with ingest.program("backfill", instance="command") as program:
        faults = lambda: ingest.partner_center.admin("GET", "/_sim/faults")["faults"]  # noqa: E731
        wait_until(lambda: not any(each.get("times") for each in faults()), DEADLINE, "the listing is under way")
        program.signal(signal.SIGINT)
        assert program.wait() == 1
        assert any("before anything was told" in line for line in program.other_lines), program.transcript()
    assert not told(ingest) and position(ingest) is None


# --- Pace and trouble -------------------------------------------------------------------------------------------------


def moments(entries: list[dict[str, Any]]) -> list[float]:
    return [datetime.datetime.fromisoformat(entry["time"][:26]).timestamp() for entry in entries]


@pytest.mark.parametrize("system", ["partner_center", "dynamics_365"])
def test_retry_after_is_kept(ingest: Ingest, system: str) -> None:
    wanted = many(ingest, 1)
    simulator = getattr(ingest, system)
    path = LISTS if system == "partner_center" else "/opportunities"
    simulator.fault("status", "GET", path, status=429, headers={"Retry-After": "2"})
    result = backfill(ingest)
    assert told(ingest) == wanted
    assert re.search(r"HTTP status 429, the service's code \w+(, about [\w.]+)?; again in 2 s", result.stderr)
    first, second = moments(simulator.journal(method="GET", path=path))[:2]
    assert second - first >= 2


def test_records_are_told_at_the_given_pace(ingest: Ingest) -> None:
    many(ingest, 2)
    ingest.backfill["per_second"] = 4
    backfill(ingest)
    times = sorted(record.timestamp_ms for record in ingest.topics.read("notifications"))
    assert len(times) == 8
    assert times[-1] - times[0] >= 1500


def test_too_many_records_are_refused_before_any_is_told(ingest: Ingest) -> None:
    many(ingest, 2)
    ingest.backfill["records_max"] = 7
    result = backfill(ingest, status=BAD_CONFIG)
    assert "more than 7 referrals and rows take part; raise ingest.backfill.records_max" in result.stderr
    assert not told(ingest) and position(ingest) is None


def test_rows_that_take_no_part_are_not_held(ingest: Ingest) -> None:
    wanted = many(ingest, 1)
    for _ in range(5):
        row(ingest, sync=False)
    ingest.backfill["records_max"] = 4
    backfill(ingest)
    assert told(ingest) == wanted


def test_missing_privilege_is_told_clearly(ingest: Ingest) -> None:
    many(ingest, 1)
    ingest.dynamics_365.settings(missing_privileges=["prvReadOpportunity"])
    result = backfill(ingest, status=1)
    wanted = "Dynamics 365: list rows: answered with HTTP status 403, the service's code 0x80040220 (dynamics_365.privilege)"
    assert f"tandem-ingest: {wanted}" in result.stderr.splitlines()
    assert not told(ingest)


@pytest.mark.parametrize("is_finished", [False, True])
def test_report_that_cannot_be_written_is_told_before_anything_is_done(
    ingest: Ingest, tmp_path: Path, is_finished: bool
) -> None:
    many(ingest, 1)
    if is_finished:
        backfill(ingest)
    before, asked = told(ingest), len(ingest.partner_center.journal())
    for path, why in {"absent/report.jsonl": "No such file or directory", ".": "Is a directory"}.items():
        result = backfill(ingest, "--report", str(tmp_path / path), status=BAD_CONFIG)
        assert f"cannot be written: {why} (backfill.report)" in result.stderr
    assert told(ingest) == before and len(ingest.partner_center.journal()) == asked


def test_finished_backfill_leaves_an_earlier_report_as_it_is(ingest: Ingest, tmp_path: Path) -> None:
    report = tmp_path / "report.jsonl"
    row(ingest, str(uuid.uuid4()))
    backfill(ingest, "--report", str(report))
    written = report.read_text()
    assert "Already finished" in backfill(ingest, "--report", str(report)).stdout
    assert written and report.read_text() == written and [each.name for each in tmp_path.glob("report*")] == ["report.jsonl"]


@pytest.mark.parametrize("command", [["backfill"], ["register", "show"], ["read", "--referral", str(uuid.uuid4())], ["topics"]])
def test_commands_without_kafka_end_with_one(ingest: Ingest, command: list[str]) -> None:
    """As the programs do: it passes by itself, unlike topics that are not as they must be."""
    ingest.topics.bootstrap, bootstrap = "127.0.0.1:1", ingest.topics.bootstrap
    try:
        result = ingest.run(*command)
    finally:
        ingest.topics.bootstrap = bootstrap
    assert result.returncode == 1
    assert "tandem-ingest: list of topics: Local: Broker transport failure" in result.stderr


def test_column_that_is_none_is_a_mistake_of_the_configuration(ingest: Ingest) -> None:
    ingest.backfill["sync_column"] = "sync eq true"
    result = backfill(ingest, status=BAD_CONFIG)
    assert "ingest.backfill.sync_column: 'sync eq true' is no column" in result.stderr


def test_terminal_gets_a_bar(ingest: Ingest) -> None:
    many(ingest, 2)
    ingest.backfill["per_second"] = 8
    ours, theirs = pty.openpty()
    seen = b""
    command = [str(PROGRAMS / "tandem-ingest"), "backfill", "--config", str(ingest.config("command"))]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs
    ) as process:
        os.close(theirs)
        while True:
            try:
                seen += os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
        os.close(ours)
        assert process.wait(COMMAND_SECONDS) == 0
    assert b"\r\x1b[K[####################] 100 %, 8 of 8 records told" in seen
    percents = [int(each) for each in re.findall(rb"] (\d+) %, \d of 8 records told", seen)]
    assert percents == sorted(percents) and len(set(percents)) >= 3, seen
