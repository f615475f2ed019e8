"""The ground the other tests stand on: broker, database cluster, topics, certificates, child processes."""

from __future__ import annotations

import os
import signal
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path

import psycopg2
import pytest
from confluent_kafka import Producer

from support import process
from support.kafka import Broker
from support.ports import free_ports
from support.postgres import Cluster, Database
from support.process import Program
from support.simulators import AdminError, Simulator
from support.tls import Authority
from support.topics import Topics
from support.waiting import wait_until


def test_broker_gives_back_what_was_produced(topics: Topics) -> None:
    topics.create("records", partitions=3)
    topics.produce("records", b'{"n":1}', key="deal-1", headers={"ce_id": "a"})
    topics.produce_all("records", [("deal-1", f'{{"n":{n}}}', None) for n in range(2, 50)])

    records = topics.read("records", count=49)

    assert [each.value for each in records] == [b'{"n":%d}' % n for n in range(1, 50)]
    assert {each.key for each in records} == {b"deal-1"}
    assert len({each.partition for each in records}) == 1
    assert records[0].headers == {"ce_id": b"a"}


def test_topic_that_nobody_created_is_an_error(topics: Topics) -> None:
    with pytest.raises(AssertionError, match="UNKNOWN_TOPIC"):
        topics.produce("misspelt", b"x")


def test_reader_sees_committed_transactions_only(topics: Topics) -> None:
    topics.create("records")
    producer = Producer({"bootstrap.servers": topics.bootstrap, "transactional.id": topics.prefix + "writer"})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(topics.name("records"), b"aborted")
    producer.flush(20)
    producer.abort_transaction(20)
    producer.begin_transaction()
    producer.produce(topics.name("records"), b"committed")
    producer.commit_transaction(20)

    assert [each.value for each in topics.read("records")] == [b"committed"]
    assert [each.value for each in topics.read("records", committed=False)] == [b"aborted", b"committed"]


def test_broker_comes_back_after_kill_with_its_port_and_messages(broker: Broker, topics: Topics) -> None:
    topics.create("records")
    topics.produce("records", b"before")
    bootstrap, pid = broker.bootstrap, broker.pid

    broker.kill()
    broker.start()

    assert broker.bootstrap == bootstrap and broker.pid != pid
    topics.produce("records", b"after")
    assert [each.value for each in topics.read("records", count=2)] == [b"before", b"after"]


def test_paused_broker_goes_on_where_it_stood(broker: Broker, topics: Topics) -> None:
    topics.create("records")
    topics.produce("records", b"before")

    broker.pause()
    state = Path(f"/proc/{broker.pid}/stat")
    wait_until(lambda: state.read_text().rsplit(")", 1)[1].split()[0] == "T", 10, "the broker is stopped")
    broker.resume()

    topics.produce("records", b"after")
    assert [each.value for each in topics.read("records", count=2)] == [b"before", b"after"]


def test_second_broker_on_the_same_port_says_so(broker: Broker, tmp_path: Path) -> None:
    other = Broker(tmp_path / "other")
    port = int(broker.bootstrap.rsplit(":", 1)[1])

    with pytest.raises(RuntimeError, match=f"port {port} is in use"):
        other.start(port)


def test_cluster_does_not_run_as_root(postgres: Cluster) -> None:
    pid = int((postgres.folder / "cluster/postmaster.pid").read_text().splitlines()[0])

    assert Path(f"/proc/{pid}").stat().st_uid != 0


def test_database_is_reached_over_tls_with_its_password(database: Database, postgres: Cluster) -> None:
    assert database.rows("SELECT current_database(), ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == [
        (database.name, True)
    ]
    password = (postgres.folder / "password").read_text()
    assert password not in database.dsn

    wrong = psycopg2.extensions.make_dsn(database.dsn, password="wrong", passfile="/dev/null")
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(wrong)
    with pytest.raises(psycopg2.OperationalError, match="no encryption"):
        psycopg2.connect(psycopg2.extensions.make_dsn(database.dsn, sslmode="disable"))


def test_cluster_keeps_its_data_through_a_restart(database: Database, postgres: Cluster) -> None:
    database.rows("CREATE TABLE kept AS SELECT 7 AS n")
    postgres.stop()
    postgres.start()

    assert database.rows("SELECT n FROM kept") == [(7,)]


def test_certificate_is_good_for_its_hosts_and_authority_only(authority: Authority, tmp_path: Path) -> None:
    certificate = authority.issue("server", hosts=("localhost",))
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(certificate.cert, certificate.key)

    def handshake(trusted: Path, host: str) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = ssl.create_default_context(cafile=str(trusted)).wrap_bio(incoming, outgoing, server_hostname=host)
        server_in, server_out = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = server_context.wrap_bio(server_in, server_out, server_side=True)
        for side in (client, server, client):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
            server_in.write(outgoing.read())
            incoming.write(server_out.read())

    handshake(authority.cert, "localhost")
    with pytest.raises(ssl.SSLCertVerificationError, match="[Hh]ostname mismatch"):
        handshake(authority.cert, "elsewhere.example")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(Authority(tmp_path, "Another CA").cert, "localhost")


FAKE_PROGRAM = """#!{python}
import json, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
print("plain line", flush=True)
print(json.dumps({{"event": "program.ready", "port": 7, "args": sys.argv[1:]}}), flush=True)
time.sleep(60)
"""


@pytest.fixture
def fake_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    path = tmp_path / "tandem-fake"
    path.write_text(FAKE_PROGRAM.format(python=sys.executable))
    path.chmod(0o755)
    monkeypatch.setattr(process, "PROGRAMS", tmp_path)
    return Program("fake", config=tmp_path / "c.yaml")


def test_program_is_waited_for_signalled_and_reaped(fake_program: Program, tmp_path: Path) -> None:
    with fake_program as program:
        ready = program.wait_for("program.ready", port=7)
        assert ready["args"] == ["--config", str(tmp_path / "c.yaml")]
        assert program.other_lines == ["plain line"]
        program.signal(signal.SIGTERM)
        assert program.wait() == 3
    with pytest.raises(ProcessLookupError):
        os.kill(program.pid, 0)


def test_program_that_ends_too_early_fails_the_wait_at_once(fake_program: Program) -> None:
    with fake_program as program:
        program.wait_for("program.ready")
        program.kill()
        with pytest.raises(AssertionError, match=r"ended \(-9\) before 'never'"):
            program.wait_for("never", deadline=30)


@pytest.mark.parametrize("name", ["partner_center", "dynamics_365"])
def test_simulator_tells_what_it_was_asked_and_fails_on_demand(name: str, request: pytest.FixtureRequest) -> None:
    simulator: Simulator = request.getfixturevalue(name)
    context = ssl.create_default_context(cafile=str(request.getfixturevalue("authority").cert))
    simulator.fault("status", method="GET", path="/nowhere", status=503)
    statuses = []

    for _ in range(2):
        try:
            urllib.request.urlopen(f"{simulator.url}/nowhere", timeout=10, context=context).close()
        except urllib.error.HTTPError as error:
            error.close()
            statuses.append(error.code)

    assert statuses[0] == 503 and len(statuses) == 2 and statuses[1] != 503
    assert [entry["status"] for entry in simulator.journal(method="GET", path="/nowhere")] == statuses
    simulator.clear_journal()
    assert simulator.journal() == []
    with pytest.raises(AdminError, match="404"):
        simulator.admin("GET", "/_sim/misspelt")


def test_free_ports_are_different() -> None:
    assert len(set(free_ports(50))) == 50
