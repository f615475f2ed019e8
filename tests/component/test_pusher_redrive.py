"""tandem-pusher letters and redrive: dead letters of every program are seen with their reason, and driven again."""

from __future__ import annotations

import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

from support.ingest import metrics, value_of
from support.paths import PROGRAMS, ROOT
from support.ports import free_port
from support.postgres import Cluster
from support.pusher import Pusher, message_of
from support.waiting import wait_until

from test_pusher import opportunity, patches, row_of, update

COMMAND_SECONDS = 60
TOO_LONG = {"error": {"code": "0x80044331", "message": "'Jane Doe' is longer than 100"}}
TRACE = "0af7651916cd43dd8448eb211c80319c"

pytestmark = pytest.mark.asan


def run(pusher: Pusher, *arguments: str, config: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAMS / "tandem-pusher", *arguments, "--config", config or pusher.config("at-night")],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
    )


def told(pusher: Pusher, *arguments: str) -> str:
    done = run(pusher, *arguments)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


def letter(stage: str, code: str, origin: str | None, key: str | None, value: str | None, **more: str) -> tuple:
    """A message as the program of that stage sets it aside."""
    headers = {
        "ce_id": str(uuid.uuid4()),
        "ce_type": "tandem.test.v1",
        "traceparent": f"00-{TRACE}-b7ad6b7169203331-01",
        "err.stage": stage,
        "err.class": "poison",
        "err.code": code,
        "err.message": f"what {stage} says",
        "err.attempts": "1",
        **({} if origin is None else {"err.topic": origin, "err.partition": "3", "err.offset": "141"}),
        **more,
    }
    return key, value, headers


def set_aside_one_of_each(pusher: Pusher) -> str:
    """Letters 0/0 to 0/3 of serve, fetch, mapper and mapper; returns the deal's key."""
    deal = str(uuid.uuid4())
    name = pusher.topics.name
    pusher.topics.produce_all(
        "dead-letters",
        [
            letter("serve", "bad_resource", None, None, '{"EventName": "referral-created", "who": "Jane Doe"}'),
            letter("fetch", "not_visible", name("notifications"), f"partner-center/{deal}", '{"who": "Jane Doe"}'),
            letter("mapper", "message.malformed", name("records"), deal, "no JSON of Jane Doe"),
            letter("mapper", "message.malformed", name("outcomes"), deal, None),
        ],
    )
    return deal


def refuse(pusher: Pusher) -> dict[str, Any]:
    """A decision that the CRM has refused; its letter is 0/0 in an empty topic. The CRM takes it from now on."""
    made = update(opportunity(pusher))
    pusher.dynamics_365.fault("status", "PATCH", made["record_id"], None, status=400, body=TOO_LONG)
    pusher.decide(made)
    assert pusher.outcome_of(made)["result"] == "refused"
    pusher.dead_letters(1)
    pusher.dynamics_365.clear_faults()
    return made


def outcomes_of(pusher: Pusher, made: dict[str, Any], count: int) -> list[str]:
    def all_there(records: list) -> bool:
        return sum(value_of(each)["decision_id"] == made["id"] for each in records) >= count

    return [each["result"] for each in pusher.outcomes(until=all_there) if each["decision_id"] == made["id"]]


# --- Looking ----------------------------------------------------------------------------------------------------------


def test_letters_of_every_program_are_shown_with_reason_and_origin(pusher: Pusher) -> None:
    assert told(pusher, "letters") == "0 letters\n"
    deal = set_aside_one_of_each(pusher)
    shown = told(pusher, "letters")
    for stage, code in (("serve", "bad_resource"), ("fetch", "not_visible"), ("mapper", "message.malformed")):
        assert f"  {stage}  {code}\n  what {stage} says\n" in shown
    assert f"  key {deal}  trace {TRACE}  " in shown and f"  key partner-center/{deal}  " in shown
    assert f"  from {pusher.topics.name('records')}, partition 3, offset 141; attempts 1\n" in shown
    assert "from no topic: a request" in shown
    assert shown.endswith("\n4 letters\n")
    assert "Jane Doe" not in shown
    assert told(pusher, "letters", "--with-value").count("Jane Doe") == 3


def test_letters_are_chosen_by_deal_code_stage_time_and_name(pusher: Pusher) -> None:
    deal = set_aside_one_of_each(pusher)
    for options, count in (
        (["--deal", deal], 3),
        (["--deal", str(uuid.uuid4())], 0),
        (["--code", "not_visible"], 1),
        (["--stage", "mapper"], 2),
        (["--stage", "mapper", "--deal", deal, "0/3"], 1),
        (["0/0", "0/2"], 2),
        (["--since", "1h"], 4),
        (["--since", "2099-01-01T00:00:00Z"], 0),
    ):
        assert told(pusher, "letters", *options).endswith(f"{count} letter{'' if count == 1 else 's'}\n"), options
    newest = told(pusher, "letters", "--limit", "1")
    assert newest.startswith("0/3  ") and newest.endswith("1 letter\n3 older ones not shown: see --limit, --since\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["letters", "--since", "yesterday"], "--since wants a time like 24h"),
        (["letters", "--stage", "fecth"], "--stage wants serve, fetch, mapper or pusher"),
        (["letters", "--limit", "0"], "--limit wants a number from 1 to 10000"),
        (["letters", "--limit", "10001"], "--limit wants a number"),
        (["letters", "17"], "named by partition and offset"),
        (["redrive"], "say which letters"),
        (["redrive", "--dry-run"], "say which letters"),
        (["redrive", "--deel", "x"], "--deal"),
    ],
)
def test_wrong_use_is_said_in_a_line(pusher: Pusher, arguments: list[str], says: str) -> None:
    done = run(pusher, *arguments)
    assert (done.returncode, done.stdout) == (64, "")
    assert says in done.stderr and len(done.stderr.splitlines()) <= 3


def test_brokers_that_are_away_are_said_in_a_line(pusher: Pusher) -> None:
    config = pusher.config("away")
    config.write_text(config.read_text().replace(pusher.topics.bootstrap, f"127.0.0.1:{free_port()}"))
    done = run(pusher, "letters", config=config)
    assert done.returncode == 1
    assert done.stderr == "tandem-pusher: the brokers do not answer\n"


def test_without_the_database_letters_are_shown_and_none_is_driven(pusher: Pusher, postgres: Cluster) -> None:
    set_aside_one_of_each(pusher)
    config = pusher.config("at-night")
    postgres.stop()
    shown = run(pusher, "letters", config=config)
    driven = run(pusher, "redrive", "--all", config=config)
    postgres.start()
    assert shown.returncode == 0 and "driven again is not known" in shown.stdout and "4 letters" in shown.stdout
    assert driven.returncode != 0 and "PostgreSQL" in driven.stderr
    assert pusher.topics.read("records") == []


def test_letters_of_a_deal_are_shown_where_its_other_names_cannot_be_looked_up(pusher: Pusher) -> None:
    deal = set_aside_one_of_each(pusher)
    config = pusher.config("at-night")
    with pusher.program():
        wait_until(lambda: len(pusher.audit("SELECT * FROM recent_failures")) == 4, 20, "the letters are in the audit")
    pusher.audit("ALTER TABLE audit RENAME TO audit_elsewhere")
    shown = run(pusher, "letters", "--deal", deal, config=config)
    driven = run(pusher, "redrive", "--deal", deal, config=config)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "driven again is not known, nor other names of the deal: " in shown.stdout
    assert shown.stdout.endswith("\n3 letters\n")
    assert driven.returncode != 0 and pusher.topics.read("records") == []


def test_recent_failures_are_those_of_24_hours_across_midnight(pusher: Pusher) -> None:
    deal = set_aside_one_of_each(pusher)
    with pusher.program():
        wait_until(lambda: len(pusher.audit("SELECT * FROM recent_failures")) == 4, 20, "the letters are in the audit")
    pusher.audit(
        "ALTER TABLE audit DISABLE TRIGGER audit_no_change; "
        "UPDATE audit SET created_at = now() - CASE topic_offset WHEN 2 THEN interval '23:59' ELSE interval '24:01' END "
        "WHERE topic_offset IN (2, 3)"
    )
    columns = "SELECT topic_offset FROM recent_failures WHERE deal_key = %s"
    assert pusher.audit(columns, deal) == [(2,)]
    assert pusher.audit(columns.replace("recent_failures", "failures_today"), deal) == [(2,)]
    assert len(pusher.audit("SELECT * FROM dead_letters")) == 4


@pytest.mark.parametrize("name", ["deal_key", "crm_id", "crm:"])
def test_letters_of_a_deal_are_found_by_each_of_its_names(pusher: Pusher, name: str) -> None:
    """The audit knows that they belong together: key and both records' ids."""
    with pusher.program():
        made = refuse(pusher)
        pusher.is_settled()
    asked = f"crm:{made['crm_id']}" if name == "crm:" else made[name]
    others = [
        letter("mapper", "message.malformed", pusher.topics.name("records"), f"crm:{made['crm_id']}", "{}"),
        letter("fetch", "not_visible", pusher.topics.name("notifications"), f"dynamics-365/{made['crm_id']}", "{}"),
        letter("fetch", "not_visible", pusher.topics.name("notifications"), f"dynamics-365/{uuid.uuid4()}", "{}"),
    ]
    pusher.topics.produce_all("dead-letters", others)
    assert told(pusher, "letters", "--deal", asked).endswith("\n3 letters\n")
    assert told(pusher, "redrive", "--deal", asked.upper(), "--dry-run").endswith("\n3 letters would be driven again\n")


# --- Driving again ----------------------------------------------------------------------------------------------------


def test_a_refused_write_is_driven_again_once_and_the_audit_tells_it(pusher: Pusher) -> None:
    """It is handed back to the mapper, which decides anew; what was decided then is never written late."""
    with pusher.program():
        made = refuse(pusher)
        assert "0x80044331" in told(pusher, "letters", "--deal", made["deal_key"])
        planned = told(pusher, "redrive", "--deal", made["deal_key"], "--dry-run")
        assert "would be sent to" in planned and planned.endswith("1 letter would be driven again\n")
        assert len(pusher.topics.read("decisions")) == 1
        done = told(pusher, "redrive", "--deal", made["deal_key"])
        assert done == f"0/0: sent to {pusher.topics.name('decisions')}\n1 letter driven again\n"
        assert outcomes_of(pusher, made, 2) == ["refused", "superseded"]
        again = told(pusher, "redrive", "--deal", made["deal_key"])
        assert again.startswith("0 letters driven again\n1 passed over: driven again before")
        pusher.is_settled()
    assert row_of(pusher, made)["name"] == "Archive"
    assert [each["status"] for each in patches(pusher, made)] == [400]
    first, second = sorted(pusher.topics.read("decisions"), key=lambda each: "redrive.letter" in each.headers)
    assert (first.key, first.value) == (second.key, second.value)
    assert second.headers["redrive.letter"].decode() == pusher.topics.name("dead-letters") + "/0/0"
    assert second.headers["traceparent"] == first.headers["traceparent"]
    assert not [name for name in second.headers if name.startswith("err.")]
    story = pusher.audit("SELECT phase, result FROM deal_timeline WHERE deal_key = %s", made["deal_key"])
    # The row is written once the broker has the message: the pusher may have begun by then.
    assert story.count(("redriven", None)) == 1 and story.index(("redriven", None)) >= 2
    story.remove(("redriven", None))
    assert story == [("intent", None), ("outcome", "refused"), ("outcome", "superseded")]
    ((by, code, status, redriven, times),) = pusher.audit(
        "SELECT set_aside_by, error_code, status, redriven_at IS NOT NULL, redriven_times FROM dead_letters"
    )
    assert (by, code, status, redriven, times) == ("pusher", "dynamics_365.too_long", 400, True, 1)
    assert pusher.audit("SELECT redriven_at IS NOT NULL FROM recent_failures") == [(True,)]
    assert "driven again 20" in told(pusher, "letters", "--deal", made["deal_key"])


def test_driven_twice_nothing_is_written_twice_and_an_edit_since_is_kept(pusher: Pusher) -> None:
    with pusher.program():
        made = refuse(pusher)
        pusher.dynamics_365.edit_row("opportunities", made["record_id"], name="The seller's")
        told(pusher, "redrive", "0/0")
        told(pusher, "redrive", "0/0", "--again")
        assert outcomes_of(pusher, made, 3) == ["refused", "superseded", "superseded"]
        pusher.is_settled()
    assert row_of(pusher, made)["name"] == "The seller's"
    assert pusher.audit("SELECT attempt FROM audit WHERE phase = 'redriven' ORDER BY 1") == [(1,), (2,)]


def test_an_old_decision_driven_again_is_no_gap(pusher: Pusher) -> None:
    """The process begins with it: its number must not be taken for the deal's last one."""
    port = free_port()
    row = opportunity(pusher)
    old = update(row, deal_key=str(uuid.uuid4()), number=2)
    key, value, headers = message_of(old)
    with pusher.program(admin_port=port) as program:
        program.wait_for("program.ready")
        marked = {**headers, "redrive.letter": "tandem.dead-letters/0/17"}
        pusher.topics.produce_all("decisions", [(key, value, marked)])
        assert pusher.outcome_of(old)["result"] == "superseded"
        ninth = update(row, deal_key=key, number=9)
        pusher.decide(ninth)
        assert pusher.outcome_of(ninth)["result"] == "applied"
        assert metrics(port)["tandem_pusher_missing_decisions_total"] == 0
        assert program.events("push.gap") == []
        pusher.is_settled()
    assert row_of(pusher, ninth)["name"] == ninth["write"]["name"]


def test_letters_of_ingest_and_mapper_go_back_to_their_topics_and_the_rest_is_named(pusher: Pusher) -> None:
    deal = set_aside_one_of_each(pusher)
    pusher.topics.produce_all("dead-letters", [letter("mapper", "x", "elsewhere.records", deal, "{}")])
    with pusher.program():
        query = "SELECT count(*) FROM dead_letters WHERE set_aside_by IN ('serve', 'fetch', 'mapper')"
        wait_until(lambda: pusher.audit(query) == [(5,)], 20, "all letters are in the audit")
        done = run(pusher, "redrive", "--all")
    assert done.returncode == 1, done.stderr
    assert "0/0: cannot be driven again: a request that never was a message" in done.stdout
    assert "0/4: cannot be driven again: it came from no topic of this deployment" in done.stdout
    assert done.stdout.endswith("3 letters driven again\n")
    letters = pusher.dead_letters()
    for number, topic in ((1, "notifications"), (2, "records"), (3, "outcomes")):
        (again,) = pusher.topics.read(topic)
        assert (again.key, again.value) == (letters[number].key, letters[number].value)
    rows = pusher.audit("SELECT set_aside_by, origin_topic, redriven_times FROM dead_letters ORDER BY topic_offset")
    name = pusher.topics.name
    assert rows[1:4] == [("fetch", name("notifications"), 1), ("mapper", name("records"), 1), ("mapper", name("outcomes"), 1)]
    assert [times for _, _, times in rows] == [0, 1, 1, 1, 0]
    assert pusher.audit("SELECT * FROM verify_audit()") == []


def test_letters_that_are_not_there_are_named(pusher: Pusher) -> None:
    set_aside_one_of_each(pusher)
    for command in ("letters", "redrive"):
        done = run(pusher, command, "0/99", "0/2")
        assert done.returncode == 1 and "0/99: there is no such letter\n" in done.stdout
        assert "1 letter" in done.stdout


def test_the_oldest_are_driven_first_and_the_next_call_goes_on(pusher: Pusher) -> None:
    deal = str(uuid.uuid4())
    records = pusher.topics.name("records")
    pusher.topics.produce_all("dead-letters", [letter("mapper", "x", records, deal, str(n)) for n in range(5)])
    assert told(pusher, "redrive", "--all", "--limit", "2").endswith(
        "2 letters driven again\n3 more are meant: run the command again for them\n"
    )
    rest = told(pusher, "redrive", "--all", "--limit", "3")
    assert rest.endswith("3 letters driven again\n2 passed over: driven again before (--again drives them once more)\n")
    assert [each.value for each in pusher.topics.read("records")] == [b"0", b"1", b"2", b"3", b"4"]


def test_two_people_do_not_drive_at_once(pusher: Pusher) -> None:
    set_aside_one_of_each(pusher)
    connection = pusher.database.connect()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtext('tandem-pusher redrive tandem'))")
    done = run(pusher, "redrive", "--stage", "mapper")
    connection.close()
    assert done.returncode == 1 and "somebody else is driving letters just now" in done.stderr
    assert told(pusher, "redrive", "--stage", "mapper").endswith("2 letters driven again\n")


def test_a_validation_event_is_told_to_the_audit_and_is_no_failure(pusher: Pusher) -> None:
    correlation = str(uuid.uuid4())
    made = letter("fetch", "test_event", pusher.topics.name("notifications"), f"partner-center/{correlation}", "{}")
    pusher.topics.produce_all("dead-letters", [made])
    with pusher.program():
        query = "SELECT phase, reason, system, record_id, trace_id FROM audit"
        expected = [("none", "test_event", "partner-center", correlation, TRACE)]
        wait_until(lambda: pusher.audit(query) == expected, 20, "it is in the audit")
    assert pusher.audit("SELECT * FROM recent_failures") == [] == pusher.audit("SELECT * FROM dead_letters")
    assert told(pusher, "redrive", "--all") == "0 letters driven again\n"
    assert "nothing to do" in run(pusher, "redrive", "0/0").stdout
