"""tandem-pusher with an audit database whose disk is full."""

from __future__ import annotations

import errno
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from support.ingest import readiness
from support.ports import free_port
from support.postgres import Cluster
from support.pusher import Pusher
from support.simulators import Dynamics365, PartnerCenter
from support.tls import Authority
from support.topics import Topics
from support.waiting import wait_until
from test_pusher import opportunity, patches, update

DISK = "160m"
DECISIONS = 120
# Random, so that it takes the room it has.
LONG_TEXT_BYTES = 1500


class Disk:
    """A small file system of its own that can be filled up and freed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=755", "tmpfs", folder], check=True)

    def fill(self) -> None:
        with self._filler.open("ab", buffering=0) as filler:
            for size in (1 << 20, 1 << 12):
                try:
                    while filler.write(b"\0" * size):
                        pass
                except OSError as error:
                    assert error.errno == errno.ENOSPC

    def free(self) -> None:
        self._filler.unlink()

    def unmount(self) -> None:
        subprocess.run(["umount", self.folder], check=True)
        self.folder.rmdir()


def may_mount() -> bool:
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture
def disk(run_folder: Path) -> Iterator[Disk]:
    if not may_mount():
        pytest.skip("a disk that is full takes a file system of its own, and this user may not mount one")
    disk = Disk(run_folder / f"disk-{secrets.token_hex(3)}")
    yield disk
    disk.unmount()


@pytest.fixture
def small_cluster(disk: Disk, authority: Authority) -> Iterator[Cluster]:
    cluster = Cluster(disk.folder / "postgres", authority)
    cluster.start()
    yield cluster
    if cluster.is_running():
        cluster.stop()


def test_full_disk_stops_writes_to_the_crm_until_there_is_room(
    tmp_path: Path,
    topics: Topics,
    authority: Authority,
    disk: Disk,
    small_cluster: Cluster,
    partner_center: PartnerCenter,
    dynamics_365: Dynamics365,
) -> None:
    database = small_cluster.create_database()
    pusher = Pusher(tmp_path, topics, authority, small_cluster, database, partner_center, dynamics_365).prepare()
    rows = [opportunity(pusher) for _ in range(DECISIONS)]
    made = [update(row, {"description": secrets.token_hex(LONG_TEXT_BYTES // 2)}) for row in rows]
    port = free_port()

    def intents() -> int | None:
        try:
            return pusher.audit("SELECT count(*) FROM audit WHERE phase = 'intent'")[0][0]
        except psycopg2.OperationalError:
            return None  # a server that cannot write its log restarts

    with pusher.program(admin_port=port) as program:
        pusher.decide(made[0])
        assert pusher.outcome_of(made[0])["result"] == "applied"
        disk.fill()
        pusher.decide(*made[1:])
        program.wait_for("postgres.down")
        wait_until(lambda: "postgres" in readiness(port)[1], 20, "readiness names the database")
        # A few rows find room in pages that are there already; nothing is written at the CRM without one.
        written = len(patches(pusher))
        assert written < DECISIONS
        assert wait_until(intents, 20, "the audit can be read") >= written
        disk.free()
        small_cluster.ensure_running()
        assert {each["result"] for each in pusher.outcomes(DECISIONS, deadline=60)} == {"applied"}
        pusher.is_settled()
        assert program.stop() == 0
    for each in made:
        assert [phase for phase, _attempt, _result in pusher.rows(each)].count("outcome") == 1
        assert len(patches(pusher, each)) == 1
    assert not pusher.dead_letters()
