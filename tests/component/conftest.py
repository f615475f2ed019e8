"""Fixtures that several component tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.postgres import Cluster, Database
from support.pusher import Pusher
from support.simulators import Dynamics365, PartnerCenter
from support.tls import Authority
from support.topics import Topics


@pytest.fixture
def pusher(
    tmp_path: Path,
    topics: Topics,
    authority: Authority,
    postgres: Cluster,
    database: Database,
    partner_center: PartnerCenter,
    dynamics_365: Dynamics365,
) -> Pusher:
    return Pusher(tmp_path, topics, authority, postgres, database, partner_center, dynamics_365).prepare()
