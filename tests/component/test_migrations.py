"""tandem-pusher migrate from every earlier schema, with rows of every kind in it; and what differing versions say."""

from __future__ import annotations

import hashlib
import json
import subprocess
import uuid
from typing import Any

import pytest

from support.ingest import readiness
from support.paths import PROGRAMS, ROOT
from support.ports import free_port
from support.postgres import Database
from support.pusher import SCHEMA, Pusher, decision
from support.waiting import wait_until
from test_pusher import opportunity, row_of, update

FILES = sorted((ROOT / "deploy/postgres").glob("[0-9][0-9][0-9]_*.sql"))
NEWEST = len(FILES)
# Rows can be appended from this one on, and what rows may hold since which.
APPENDS_SINCE, NEAR_MISSES_SINCE, REDRIVEN_SINCE = 3, 6, 7
DEAL = "6f1c9a52-0b7e-4f3e-9a34-2d1f5f0c7a11"
CRM_ID = "22222222-2222-4222-8222-222222222222"
VIEWS_SINCE_4 = ["deal_status", "deal_timeline", "conflicts", "open_intents", "failures_today"]

pytestmark = pytest.mark.asan


def execute(database: Database, *statements: str, **parameters: Any) -> list[tuple]:
    """In one transaction, with the session that migrate has."""
    connection = database.connect()
    connection.autocommit = False
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(f"SET search_path = {SCHEMA}, pg_temp; SET timezone = 'UTC'")
            for statement in statements:
                # Without parameters a % stands for itself.
                cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def make_schema(database: Database, number: int) -> None:
    """As the program of that time has left it."""
    database.rows(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
    database.rows(f"CREATE SCHEMA {SCHEMA}")
    execute(
        database,
        "CREATE TABLE migrations (number integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, "
        "applied_at timestamptz NOT NULL DEFAULT now())",
    )
    for file in FILES[:number]:
        execute(database, file.read_text(), "RESET ROLE")
        execute(
            database,
            "INSERT INTO migrations (number, name, checksum) VALUES (%(number)s, %(name)s, %(checksum)s)",
            number=int(file.name[:3]),
            name=file.name,
            checksum=hashlib.sha256(file.read_bytes()).hexdigest(),
        )


def entry(offset: int, phase: str, partition: int = 0, **more: Any) -> dict[str, Any]:
    """A row as the pusher appends it."""
    return {
        "phase": phase,
        "topic": "tandem.decisions",
        "topic_partition": partition,
        "topic_offset": offset,
        "message_time": f"2026-11-{21 if offset < 50 else 1}T04:00:{offset % 60:02d}.123Z",
        "delivery": str(uuid.UUID(int=offset)),
        "instance": "one",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        **more,
    }


def decided(number: int, **more: Any) -> dict[str, Any]:
    return {
        "deal_key": DEAL,
        "referral_id": DEAL,
        "crm_system": "dynamics-365",
        "crm_id": CRM_ID,
        "decision_id": f"{DEAL}#{number}",
        "decision_number": number,
        "direction": "to-crm",
        "target": "crm",
        "system": "dynamics-365",
        "record_type": "opportunity",
        "record_id": CRM_ID,
        "action": "update",
        "purpose": "update",
        "reason": "partner_center_changed",
        "fields": [{"name": "value", "old": 10.5, "new": 12, "from": "12.00"}],
        "causes": [{"occurred_at": "2026-11-21T03:59:59Z", "system": "partner-center"}],
        "rules_version": "1a2b",
        "received_at": "2026-11-21T04:00:00Z",
        "occurred_at": "2026-11-21T03:59:59Z",
        "decided_at": "2026-11-21T04:00:01Z",
        **more,
    }


def rows_of_every_kind(number: int) -> list[dict[str, Any]]:
    """What a schema at this number can have in it: every phase, every result, two chains, characters of every kind."""
    rows = []
    for offset, result in enumerate(("applied", "conflict", "refused", "gone", "superseded")):
        told = decided(offset + 1, detail="Größe, 価格, \U0001f600, 'quotes' and \"more\"")
        rows.append(entry(offset, "intent", started_at="2026-11-21T04:00:02Z", **told))
        ended = {
            "result": result,
            "status": 200,
            "calls": 2,
            "is_certain": True,
            "was_in_doubt": offset == 1,
            "started_at": "2026-11-21T04:00:02Z",
            "finished_at": "2026-11-21T04:00:03Z",
            "duration_ms": 1000,
            "conflicts": [{"name": "value", "partner_center": 12, "crm": 11.25, "policy": "latest", "winner": "crm"}],
            "outbox": json.dumps({"decision_id": f"{DEAL}#{offset + 1}"}),
        }
        if result in ("refused", "gone"):
            ended |= {"error_class": "poison", "error_code": "dynamics_365.refused", "error_message": "not so"}
        rows.append(entry(offset, "outcome", **told, **ended))
        if result != "conflict":
            rows.append(entry(offset, "published"))
    rows.append(entry(10, "intent", started_at="2026-11-21T04:00:09Z", **decided(6)))  # nobody has ended it
    rows.append(entry(11, "none", **{**decided(7), "action": "none", "reason": "unchanged", "fields": None}))
    rows.append(entry(12, "none", **{**decided(8, deal_key=f"crm:{CRM_ID}"), "action": "none", "reason": "sync_off"}))
    rows.append(entry(60, "dead-letter", partition=1, error_class="poison", error_code="message.malformed"))
    told = {"error_code": "rules.unmappable", "reason": "mapper", "deal_key": DEAL}
    rows.append(entry(61, "dead-letter", partition=1, **{**told, "topic": "tandem.dead-letters"}))
    if number >= NEAR_MISSES_SINCE:
        missed = [{"name": "value", "written": 12, "found": 11.25, "decision": f"{DEAL}#1"}]
        rows.append(entry(13, "none", **{**decided(9), "action": "none", "near_misses": missed}))
    if number >= REDRIVEN_SINCE:
        origin = {"origin_topic": "tandem.records", "origin_partition": 3, "origin_offset": 141}
        rows.append(entry(62, "dead-letter", partition=1, **{**told, "topic": "tandem.dead-letters"}, **origin))
        for delivery in (1, 2):
            again = {**told, "topic": "tandem.dead-letters", "delivery": str(uuid.UUID(int=9000 + delivery))}
            rows.append(entry(62, "redriven", partition=1, **{**again, **origin}))
    return rows


def append(database: Database, *rows: dict[str, Any]) -> list[tuple]:
    """As a pusher does."""
    for row in rows:
        states = execute(
            database,
            f"SET ROLE {SCHEMA}_pusher",
            "SELECT entry_state FROM append_audit(%(rows)s::jsonb)",
            rows=json.dumps([row]),
        )
    return states


def content(database: Database) -> list[dict[str, Any]]:
    """Every row, hashes included; columns that hold nothing are left out, so that further ones make no difference."""
    rows = execute(
        database,
        "SELECT jsonb_strip_nulls(to_jsonb(a)) FROM audit AS a ORDER BY topic, topic_partition, chain_number",
    )
    return [row for (row,) in rows]


def problems(database: Database) -> list[tuple]:
    return execute(database, "SELECT * FROM verify_audit()")


def applied(database: Database) -> list[tuple]:
    return execute(database, "SELECT number, name, checksum, applied_at FROM migrations ORDER BY number")


@pytest.mark.parametrize("number", range(1, NEWEST + 1))
def test_schema_with_rows_is_brought_to_the_next_and_to_the_newest(pusher: Pusher, number: int) -> None:
    """From number - 1, by the one file and then by the program; what was there stays there, byte for byte."""
    database = pusher.database
    make_schema(database, number - 1)
    if number - 1 >= APPENDS_SINCE:
        append(database, *rows_of_every_kind(number - 1))
    before = content(database) if number - 1 >= 2 else []
    outbox = execute(database, "SELECT * FROM outbox ORDER BY topic_offset") if number - 1 >= 2 else []
    former = applied(database)
    assert (len(before) >= 15) == (number - 1 >= APPENDS_SINCE)

    done = pusher.migrate()

    assert done.returncode == 0, done.stderr
    said = dict(line.split(": ") for line in done.stdout.splitlines())
    assert said == {
        file.name: "applied already" if int(file.name[:3]) < number else "applied" for file in FILES
    }
    assert applied(database)[: number - 1] == former and len(applied(database)) == NEWEST
    assert content(database) == before
    assert execute(database, "SELECT * FROM outbox ORDER BY topic_offset") == outbox
    assert problems(database) == []
    for view in views(database):
        execute(database, f"SET ROLE {SCHEMA}_reader", f"SELECT * FROM {view}")
    assert execute(database, f"SET ROLE {SCHEMA}_reader", f"SELECT * FROM deal_story('{DEAL}')") or not before
    if before:
        status = execute(database, "SELECT status FROM deal_status WHERE deal_key = %(deal)s", deal=DEAL)
        assert status == [("in progress",)]

    # It goes on: the same rows again find what is there, new ones of every kind are chained to the old.
    everything = rows_of_every_kind(NEWEST)
    append(database, *everything)
    kept = [row for row in content(database) if row in before]
    assert len(kept) == len(before)
    assert len(content(database)) == len([row for row in everything if row["phase"] != "published"])
    assert problems(database) == []


def views(database: Database) -> list[str]:
    found = database.rows("SELECT table_name FROM information_schema.views WHERE table_schema = %s", SCHEMA)
    names = [name for (name,) in found]
    assert set(VIEWS_SINCE_4) <= set(names)
    return names


@pytest.mark.parametrize("number", range(APPENDS_SINCE, NEWEST))
def test_tampering_before_the_migration_still_shows_after_it(pusher: Pusher, number: int) -> None:
    database = pusher.database
    make_schema(database, number)
    append(database, *rows_of_every_kind(number))
    execute(
        database,
        "ALTER TABLE audit DISABLE TRIGGER audit_no_change",
        "UPDATE audit SET detail = 'another' WHERE topic_offset = 2 AND phase = 'outcome'",
        "ALTER TABLE audit ENABLE ALWAYS TRIGGER audit_no_change",
    )
    assert pusher.migrate().returncode == 0
    ((_, _, _, problem),) = problems(database)
    assert problem == "the row was changed"


def test_rows_of_the_real_pusher_are_taken_along(pusher: Pusher) -> None:
    """What it writes, given to each earlier schema as it gave it to this one."""
    database = pusher.database
    made = [update(opportunity(pusher)) for _ in range(3)]
    with pusher.program():
        pusher.decide(*made, decision(is_notable=True))
        pusher.topics.produce("decisions", b"no decision", key="x")
        pusher.outcomes(3)
        pusher.dead_letters(1)
        pusher.is_settled()
    written = content(database)
    assert {row["phase"] for row in written} == {"intent", "outcome", "none", "dead-letter"}
    for number in range(APPENDS_SINCE, NEWEST):
        make_schema(database, number)
        append(database, *written)
        before = content(database)
        assert len(before) == len(written)
        assert pusher.migrate().returncode == 0
        assert content(database) == before and problems(database) == []
        assert execute(database, "SELECT count(*) FROM deal_status WHERE status = 'applied'") == [(3,)]


def test_second_time_changes_nothing(pusher: Pusher) -> None:
    append(pusher.database, *rows_of_every_kind(NEWEST))
    before = content(pusher.database), applied(pusher.database), catalogue(pusher.database)

    done = pusher.migrate()

    assert done.returncode == 0
    assert done.stdout.splitlines() == [f"{file.name}: applied already" for file in FILES]
    assert (content(pusher.database), applied(pusher.database), catalogue(pusher.database)) == before


def catalogue(database: Database) -> list[tuple]:
    """Every relation and function with the transaction that made or changed it last."""
    return database.rows(
        "SELECT c.oid, c.relname, c.xmin::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace "
        "WHERE nspname = %s UNION ALL SELECT p.oid, proname, p.xmin::text FROM pg_proc AS p "
        "JOIN pg_namespace AS n ON n.oid = pronamespace WHERE nspname = %s ORDER BY 1",
        SCHEMA,
        SCHEMA,
    )


@pytest.mark.parametrize("number", [None, 0, 5])
def test_two_at_once_both_end_well_and_each_file_is_applied_once(pusher: Pusher, number: int | None) -> None:
    """From nothing, from an empty schema, and from one in use."""
    if number is None:
        pusher.database.rows(f"DROP SCHEMA {SCHEMA} CASCADE")
    else:
        make_schema(pusher.database, number)
    command = [PROGRAMS / "tandem-pusher", "migrate", "--conninfo-file", pusher.conninfo]
    both = [
        subprocess.Popen(
            [*command, "--config", pusher.config(f"migrate-{each}")],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for each in range(2)
    ]
    said = [process.communicate(timeout=60) for process in both]

    assert [process.returncode for process in both] == [0, 0], said
    lines = [dict(line.split(": ") for line in output.splitlines()) for output, _ in said]
    for file in FILES[number or 0 :]:
        assert sorted(each[file.name] for each in lines) == ["applied", "applied already"], file.name
    assert [row[0] for row in applied(pusher.database)] == list(range(1, NEWEST + 1))


@pytest.mark.parametrize("number", [APPENDS_SINCE, NEWEST - 1])
def test_program_newer_than_the_schema_writes_nothing_and_says_what_to_do(pusher: Pusher, number: int) -> None:
    """An older schema would take its rows, and lose what it has no columns for."""
    make_schema(pusher.database, number)
    port = free_port()
    made = update(opportunity(pusher))
    with pusher.program(admin_port=port) as program:
        pusher.decide(made)
        told = program.wait_for("postgres.down", error_code="postgres.not_migrated")
        assert "run 'tandem-pusher migrate'" in told["error"]
        wait_until(lambda: "tandem-pusher migrate" in readiness(port)[1], 20, "readiness tells it")
        assert content(pusher.database) == []

        assert pusher.migrate().returncode == 0
        assert pusher.outcome_of(made)["result"] == "applied"
    assert row_of(pusher, made)["name"] == made["write"]["name"]
    letters = subprocess.run(
        [PROGRAMS / "tandem-pusher", "letters", "--config", pusher.config("letters")], capture_output=True, timeout=60
    )
    assert letters.returncode == 0


def test_program_older_than_the_schema_goes_on_and_only_its_migrate_says_no(pusher: Pusher) -> None:
    pusher.audit(
        "INSERT INTO migrations (number, name, checksum) VALUES (%s, 'of_tomorrow.sql', 'x')", NEWEST + 1
    )
    before = catalogue(pusher.database)
    for arguments in ((), ("--dry-run",)):
        refused = pusher.migrate(*arguments)
        assert refused.returncode == 72 and refused.stdout == ""
        assert f"the schema is at number {NEWEST + 1}, newer than this program, which knows {NEWEST}" in refused.stderr
        assert "use the program of that version; nothing was changed" in refused.stderr
    assert catalogue(pusher.database) == before
    made = update(opportunity(pusher))
    with pusher.program():
        pusher.decide(made)
        assert pusher.outcome_of(made)["result"] == "applied"
        pusher.is_settled()
