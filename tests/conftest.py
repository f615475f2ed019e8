"""Fixtures for the component and end-to-end tests.

Brokers, clusters and simulators are started once per run, when the first test asks for them, and stopped at its end,
also after Ctrl-C. What a test writes is its own: topics below a prefix, a database, a directory.
"""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from support.kafka import Broker  # noqa: E402
from support.postgres import Cluster, Database  # noqa: E402
from support.simulators import DOCUMENTED_CERTIFICATE_HOST, Dynamics365, PartnerCenter  # noqa: E402
from support.tls import Authority  # noqa: E402
from support.topics import Topics  # noqa: E402


def pytest_configure(config: pytest.Config) -> None:
    # Ended by a deadline, a run stops what it started as it does on Ctrl-C; and what a shell has begun in the background,
    # with Ctrl-C ignored, must not hand that on to programs that are to be stopped by it.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.default_int_handler)
    config.addinivalue_line("markers", "asan: runs our programs, and is run with those that AddressSanitizer watches")


@pytest.fixture(scope="session")
def run_folder() -> Iterator[Path]:
    """A directory for the whole run. Not pytest's own, which the user that PostgreSQL runs as may not enter."""
    folder = Path(tempfile.mkdtemp(prefix="tandem-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def authority(run_folder: Path) -> Authority:
    return Authority(run_folder / "tls")


@pytest.fixture(scope="session")
def session_broker(run_folder: Path) -> Iterator[Broker]:
    broker = Broker(run_folder / "kafka")
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()


@pytest.fixture
def broker(session_broker: Broker) -> Iterator[Broker]:
    """The run's broker, which answers when the test begins, whatever an earlier one did to it."""
    session_broker.ensure_running()
    yield session_broker
    session_broker.ensure_running()


@pytest.fixture
def topics(broker: Broker) -> Iterator[Topics]:
    """Topics below a prefix of the test's own, deleted at its end."""
    topics = Topics(broker.bootstrap)
    yield topics
    broker.ensure_running()
    topics.delete_all()


@pytest.fixture(scope="session")
def session_postgres(run_folder: Path, authority: Authority) -> Iterator[Cluster]:
    cluster = Cluster(run_folder / "postgres", authority)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def postgres(session_postgres: Cluster) -> Iterator[Cluster]:
    session_postgres.ensure_running()
    yield session_postgres
    session_postgres.ensure_running()


@pytest.fixture
def database(postgres: Cluster) -> Iterator[Database]:
    """A fresh database, dropped at the test's end."""
    database = postgres.create_database()
    yield database
    postgres.ensure_running()
    postgres.drop_database(database)


@pytest.fixture(scope="session")
def session_partner_center(run_folder: Path, authority: Authority) -> Iterator[PartnerCenter]:
    with PartnerCenter(run_folder / "partner_center", authority, *DOCUMENTED_CERTIFICATE_HOST) as simulator:
        yield simulator


@pytest.fixture
def partner_center(session_partner_center: PartnerCenter) -> PartnerCenter:
    session_partner_center.reset()
    return session_partner_center


@pytest.fixture(scope="session")
def session_dynamics_365(run_folder: Path, authority: Authority) -> Iterator[Dynamics365]:
    with Dynamics365(run_folder / "dynamics_365", authority) as simulator:
        yield simulator


@pytest.fixture
def dynamics_365(session_dynamics_365: Dynamics365) -> Dynamics365:
    session_dynamics_365.reset()
    return session_dynamics_365
