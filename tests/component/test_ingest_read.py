"""tandem-ingest read: a record as it stands in the topic `records`, for a person and for `tandem-mapper preview`."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from support.ingest import Ingest, notification, value_of
from support.schemas import check
from support.simulators import Dynamics365, PartnerCenter
from support.tls import Authority
from support.topics import Topics

pytestmark = pytest.mark.asan

USAGE = 64
FAILED = 1
NOWHERE = "127.0.0.1:1"


@pytest.fixture
def ingest(
    tmp_path: Path, topics: Topics, authority: Authority, partner_center: PartnerCenter, dynamics_365: Dynamics365
) -> Ingest:
    return Ingest(tmp_path, topics, authority, partner_center, dynamics_365)


def read(ingest: Ingest, *arguments: str) -> dict[str, Any]:
    result = ingest.run("read", *arguments)
    assert result.returncode == 0, result.stderr
    [line] = result.stdout.splitlines()
    record = json.loads(line)
    check("record", record)
    return record


def fetched(ingest: Ingest, *arguments: str) -> dict[str, Any]:
    """What the service makes of the same record."""
    ingest.notify(notification(*arguments))
    fetcher = ingest.fetcher()
    fetcher.start()
    try:
        return value_of(ingest.records(1)[0])
    finally:
        fetcher.stop()


def same(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in ("read_at", "causes")}


def test_shared_referral_is_read_as_the_service_reads_it(ingest: Ingest) -> None:
    referral = str(ingest.partner_center.add_referral(kind="partner-cosell", details={"dealValue": 60000.5})["id"])
    record = read(ingest, "--referral", referral.upper())
    assert [each["role"] for each in record["documents"]] == ["own", "related"]
    assert record["documents"][0]["body"]["details"]["dealValue"] == 60000.5
    assert same(record) == same(fetched(ingest, referral))
    assert not ingest.topics.read("notifications")[1:]


def test_opportunity_is_read_as_the_service_reads_it(ingest: Ingest) -> None:
    opportunity = str(ingest.dynamics_365.add_row("opportunities", name="Trams", description="Six of them")["opportunityid"])
    record = read(ingest, "--opportunity", opportunity)
    assert same(record) == same(fetched(ingest, opportunity, "opportunity", "dynamics-365", "Update"))
    assert record["documents"][0]["body"]["description"] == "Six of them"


def test_opportunity_is_read_without_kafka(ingest: Ingest) -> None:
    opportunity = str(ingest.dynamics_365.add_row("opportunities", name="Trams")["opportunityid"])
    ingest.topics.bootstrap, bootstrap = NOWHERE, ingest.topics.bootstrap
    try:
        record = read(ingest, "--opportunity", opportunity)
    finally:
        ingest.topics.bootstrap = bootstrap
    assert record["record_id"] == opportunity and not ingest.dynamics_365.journal(method="PATCH")


@pytest.mark.parametrize("side", ["--referral", "--opportunity"])
def test_record_that_is_not_there_is_told(ingest: Ingest, side: str) -> None:
    nobody = str(uuid.uuid4())
    result = ingest.run("read", side, nobody)
    assert (result.returncode, result.stdout) == (FAILED, "")
    assert f"{nobody} is not there, or not visible" in result.stderr


@pytest.mark.parametrize("arguments", [(), ("--referral", "17"), ("--referral", str(uuid.uuid4()), "--opportunity", "x")])
def test_command_line_that_names_no_record_is_refused(ingest: Ingest, arguments: tuple[str, ...]) -> None:
    result = ingest.run("read", *arguments)
    assert (result.returncode, result.stdout) == (USAGE, "") and "read" in result.stderr
