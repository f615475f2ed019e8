"""One running Tandem per test module; tests keep apart by working on deals of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.deals import Deals
from support.kafka import Broker
from support.postgres import Cluster
from support.simulators import Dynamics365, PartnerCenter
from support.stack import Stack
from support.tls import Authority
from support.topics import Topics

@pytest.fixture(scope="module")
def stack(
    session_broker: Broker,
    session_postgres: Cluster,
    run_folder: Path,
    authority: Authority,
    session_partner_center: PartnerCenter,
    session_dynamics_365: Dynamics365,
    request: pytest.FixtureRequest,
) -> Iterator[Stack]:
    session_broker.ensure_running()
    session_postgres.ensure_running()
    session_partner_center.reset()
    session_dynamics_365.reset()
    topics = Topics(session_broker.bootstrap)
    database = session_postgres.create_database()
    counts = getattr(request.module, "PROCESSES", {})
    settings = getattr(request.module, "SETTINGS", {})
    folder = run_folder / f"stack-{database.name}"
    with Stack(
        folder, topics, database.dsn, authority, session_partner_center, session_dynamics_365, settings
    ) as running:
        yield running.start(**counts)
    session_broker.ensure_running()
    session_postgres.ensure_running()
    topics.delete_all()
    session_postgres.drop_database(database)


@pytest.fixture
def deals(stack: Stack) -> Deals:
    stack.partner_center.clear_faults()
    stack.dynamics_365.clear_faults()
    return Deals(stack)
