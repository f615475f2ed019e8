"""A record that cannot be written: letter, mending, driven again, written once; and the audit tells the story."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.deals import DEADLINE, Deals
from support.paths import PROGRAMS, ROOT
from support.waiting import wait_until

pytestmark = pytest.mark.asan

REFUSED = {"error": {"code": "0x80044331", "message": "too long"}}


def value_of(deals: Deals, referral: str) -> float:
    row = deals.opportunity(referral)
    assert row is not None
    return float(row["estimatedvalue"])


def refused(deals: Deals, referral: str) -> list[dict[str, Any]]:
    return [each for each in deals.stack.timeline(referral) if each["result"] == "refused"]


def superseded(deals: Deals, referral: str) -> list[dict[str, Any]]:
    return [each for each in deals.stack.timeline(referral) if each["result"] == "superseded"]


def redrive(deals: Deals, referral: str) -> str:
    return deals.stack.command("pusher", "redrive", "--deal", referral)


def test_driven_again_after_an_edit_nothing_is_overwritten_and_the_rest_is_written(deals: Deals) -> None:
    referral = deals.new("private")
    row = deals.opportunity(referral)
    assert row is not None
    deals.dynamics_365.fault("status", "PATCH", row["opportunityid"], 1, status=400, body=REFUSED)
    deals.partner_center.edit_referral(referral, details={"dealValue": 5})
    wait_until(lambda: refused(deals, referral), DEADLINE, "the write is refused")
    deals.wait_quiet(referral)
    # The other side refuses nothing: a later decision of the deal is carried out meanwhile.
    deals.dynamics_365.edit_row("opportunities", row["opportunityid"], description="The seller's words")
    shown = deals.stack.command("pusher", "letters", "--deal", referral)
    assert "dynamics_365.too_long" in shown and "0x80044331" in shown and referral in shown

    deals.dynamics_365.clear_faults()
    deals.wait_quiet(referral)
    position = deals.position()
    assert redrive(deals, referral).endswith("1 letter driven again\n")
    # The mapper decides anew at once, from both records as they are.
    wait_until(lambda: value_of(deals, referral) == 5, DEADLINE, "the value has arrived")
    deals.wait_quiet(referral)
    row = deals.opportunity(referral)
    assert row is not None and row["description"] == "The seller's words"
    taken = [each["status"] for each in deals.dynamics_365.journal(position, "PATCH", row["opportunityid"])]
    assert taken == [200]
    assert deals.stack.audit("SELECT * FROM verify_audit()") == []


def test_mended_and_driven_again_the_write_is_done_exactly_once(deals: Deals) -> None:
    referral = deals.new("private")
    row = deals.opportunity(referral)
    assert row is not None
    deals.dynamics_365.fault("status", "PATCH", row["opportunityid"], 1, status=400, body=REFUSED)
    deals.partner_center.edit_referral(referral, details={"dealValue": 7})
    wait_until(lambda: refused(deals, referral), DEADLINE, "the write is refused")
    deals.wait_quiet(referral)
    deals.dynamics_365.clear_faults()
    position = deals.position()
    assert redrive(deals, referral).endswith("1 letter driven again\n")
    wait_until(lambda: value_of(deals, referral) == 7, DEADLINE, "the value has arrived")
    deals.wait_quiet(referral)
    assert redrive(deals, referral).startswith("0 letters driven again\n1 passed over")
    assert len(deals.patches_since(position, referral)) == 1
    story = [(each["phase"], each["result"]) for each in deals.stack.timeline(referral)]
    begin = story.index(("outcome", "refused")) - 1
    told = [each for each in story[begin:] if each[0] != "none"]
    # The row is written once the broker has the message: the pusher may have begun by then.
    assert told.count(("redriven", None)) == 1 and told.index(("redriven", None)) >= 2
    told.remove(("redriven", None))
    assert told == [
        ("intent", None),
        ("outcome", "refused"),
        ("intent", None),  # the seller is told
        ("outcome", "applied"),
        ("outcome", "superseded"),
        ("intent", None),
        ("outcome", "applied"),
    ]
    ((status, message),) = deals.stack.audit(
        "SELECT status, error_message FROM dead_letters WHERE deal_key = %s AND redriven_times = 1", referral
    )
    assert status == 400 and "0x80044331" in message
    # The deal goes on as if nothing had been: one edit, one write, and nothing travels back.
    position = deals.position()
    deals.partner_center.edit_referral(referral, details={"dealValue": 8})
    wait_until(lambda: value_of(deals, referral) == 8, DEADLINE, "the next value has arrived")
    deals.wait_quiet(referral)
    assert len(deals.patches_since(position, referral)) == 1
    assert float(deals.referral(referral)["details"]["dealValue"]) == 8


def test_what_is_no_longer_wanted_is_not_written(deals: Deals) -> None:
    referral = deals.new("private", details={"dealValue": 48000})
    row = deals.opportunity(referral)
    assert row is not None
    deals.dynamics_365.fault("status", "PATCH", row["opportunityid"], 1, status=400, body=REFUSED)
    deals.partner_center.edit_referral(referral, details={"dealValue": 11111})
    wait_until(lambda: refused(deals, referral), DEADLINE, "the write is refused")
    deals.wait_quiet(referral)
    deals.partner_center.edit_referral(referral, details={"dealValue": 48000})
    deals.wait_quiet(referral)
    deals.dynamics_365.clear_faults()
    position = deals.position()
    assert redrive(deals, referral).endswith("1 letter driven again\n")
    wait_until(lambda: superseded(deals, referral), DEADLINE, "the letter has come back to the mapper")
    deals.wait_quiet(referral)
    assert deals.patches_since(position, referral) == []
    assert value_of(deals, referral) == 48000 and float(deals.referral(referral)["details"]["dealValue"]) == 48000


def test_of_several_letters_of_a_field_the_newest_value_is_written(deals: Deals) -> None:
    referral = deals.new("private")
    row = deals.opportunity(referral)
    assert row is not None
    for count, value in enumerate((11111, 22222), 1):
        deals.dynamics_365.fault("status", "PATCH", row["opportunityid"], 1, status=400, body=REFUSED)
        deals.partner_center.edit_referral(referral, details={"dealValue": value})
        wait_until(lambda count=count: len(refused(deals, referral)) == count, DEADLINE, "the write is refused")
        deals.wait_quiet(referral)  # the seller is told
    deals.wait_quiet(referral)
    deals.dynamics_365.clear_faults()
    position = deals.position()
    assert redrive(deals, referral).endswith("2 letters driven again\n")
    wait_until(lambda: value_of(deals, referral) == 22222, DEADLINE, "the newest value has arrived")
    deals.wait_quiet(referral)
    assert len(deals.patches_since(position, referral)) == 1
    assert float(deals.referral(referral)["details"]["dealValue"]) == 22222
    assert deals.stack.audit("SELECT * FROM conflicts WHERE deal_key = %s", referral) == []


def test_a_write_partner_center_refused_is_written_although_the_seller_was_told_since(deals: Deals) -> None:
    referral = deals.new("private")
    row = deals.opportunity(referral)
    assert row is not None
    deals.partner_center.fault(
        "status", "PATCH", referral, None, status=400, body={"error": {"code": "invalidRequest", "message": "no"}}
    )
    deals.dynamics_365.edit_row("opportunities", row["opportunityid"], description="Words for Partner Center")
    wait_until(lambda: refused(deals, referral), DEADLINE, "the write is refused")
    wait_until(
        lambda: any(each["purpose"] == "explain" and each["result"] == "applied" for each in deals.stack.timeline(referral)),
        DEADLINE,
        "the seller is told",
    )
    deals.wait_quiet(referral)
    deals.partner_center.clear_faults()
    assert redrive(deals, referral).endswith("1 letter driven again\n")
    wait_until(
        lambda: deals.referral(referral)["details"]["notes"] == "Words for Partner Center", DEADLINE, "it is written"
    )
    deals.wait_quiet(referral)
    assert deals.stack.timeline(referral)[-1]["result"] in ("applied", None)


def test_a_validation_event_reaches_the_audit_and_is_no_failure(deals: Deals) -> None:
    ingest = deals.stack.programs[0]
    told = deals.stack.command("ingest", "register", "test", config=ingest.config)
    assert told
    query = "SELECT count(*) FROM audit WHERE phase = 'none' AND reason = 'test_event'"
    wait_until(lambda: deals.stack.audit(query) == [(1,)], DEADLINE, "the validation event is in the audit")
    assert deals.stack.audit("SELECT * FROM recent_failures WHERE error_code = 'test_event'") == []


def recipes(file: str, begin: str) -> tuple[list[str], list[str]]:
    """The SQL and the commands of a document, from the line `begin` on: what stands indented by four."""
    text = (ROOT / file).read_text()
    indented = re.findall(r"(?:^    .*\n)+", text[text.index(begin) :], re.MULTILINE)
    blocks = ["\n".join(line.strip() for line in block.splitlines()) for block in indented]
    queries = [each for block in blocks if "SELECT" in block for each in block.split(";") if "SELECT" in each]
    commands = [line for block in blocks for line in block.splitlines() if line.startswith("tandem-")]
    return queries, commands


@pytest.mark.parametrize(("file", "begin"), [("docs/night.md", "# At night"), ("README.md", "## At night")])
def test_every_recipe_of_the_documents_runs(deals: Deals, tmp_path: Path, file: str, begin: str) -> None:
    """As a person would: in a shell, one after the other, in a directory of one's own."""
    referral = deals.new("private")
    row = deals.opportunity(referral)
    assert row is not None
    queries, commands = recipes(file, begin)
    assert queries and commands
    for query in queries:
        deals.stack.audit(query.replace("…", referral))
    for command in commands:
        assert "--config tandem.yaml" in command
        # The registration's test asks as the receiver that is registered.
        other = shlex.split(command)[0].removeprefix("tandem-")
        config = deals.stack.programs[0].config if other == "ingest" else deals.stack.configuration(other, "recipe")
        line = command.replace("--config tandem.yaml", f"--config {shlex.quote(str(config))}").replace("KEY", referral)
        line = line.replace("--referral ID", f"--referral {referral}")
        line = line.replace("--opportunity ID", f"--opportunity {row['opportunityid']}")
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=tmp_path,
            env={**os.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        # The letters that are named here are examples.
        is_example = " 0/17" in command and "there is no such letter" in done.stdout
        assert done.returncode == 0 or is_example, f"{command}\n{done.stdout}{done.stderr}"


def test_letters_of_ingest_and_mapper_reach_the_audit_and_come_back(deals: Deals) -> None:
    """Last here: what it leaves in the topics is nothing that other tests could read."""
    topics = deals.stack.topics
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers: dict[str, str | bytes] = {"ce_id": "x", "ce_type": "x", "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    topics.produce("notifications", "no notification", "partner-center/4d3c", headers)
    topics.produce("records", "no record", "4d3c", headers)
    query = "SELECT set_aside_by, error_code, origin_topic, redriven_times FROM dead_letters WHERE trace_id = %s ORDER BY 1, 4"

    def told() -> list[tuple[Any, ...]]:
        return deals.stack.audit(query, trace)

    expected = [
        ("fetch", "message.malformed", topics.name("notifications"), 0),
        ("mapper", "message.unexpected_type", topics.name("records"), 0),
    ]
    wait_until(lambda: len(told()) == 2, DEADLINE, "both letters are in the audit")
    assert told() == expected
    shown = deals.stack.command("pusher", "letters", "--deal", "4d3c")
    assert shown.count(trace) == 2 and shown.endswith("\n2 letters\n")
    assert deals.stack.command("pusher", "redrive", "--deal", "4d3c").endswith("2 letters driven again\n")
    # Nothing was mended, so each is set aside once more, with its reason of this time.
    wait_until(lambda: [each[3] for each in told()] == [0, 1, 0, 1], DEADLINE, "both have come back as letters")
    assert deals.stack.audit("SELECT * FROM verify_audit()") == []
