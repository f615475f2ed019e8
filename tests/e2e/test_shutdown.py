"""SIGTERM in the middle of work ends every program in time, and nothing is lost."""

from __future__ import annotations

import signal

import pytest
from support.deals import DEADLINE, Deals
from support.kafka import Broker
from support.waiting import wait_until

pytestmark = pytest.mark.asan

STOP_SECONDS = 15
DRAIN_SECONDS = 40
CAUGHT_UP_SECONDS = 90


@pytest.mark.parametrize("name", ["ingest", "mapper", "pusher"])
def test_program_ended_in_the_middle_of_work_loses_nothing(deals: Deals, name: str) -> None:
    referrals = [deals.new("private") for _ in range(3)]
    deals.dynamics_365.fault("delay", method="PATCH", path=".*", times=3, delay_ms=700)
    decided = {referral: len(deals.decisions(referral)) for referral in referrals}
    for referral in referrals:
        deals.partner_center.edit_referral(referral, details={"dealValue": 12})
    # At least one write is under way: decided on, and held by the CRM.
    wait_until(lambda: any(len(deals.decisions(each)) > decided[each] for each in referrals), DEADLINE, "one is decided")
    end_and_start_again(deals, name)
    check_arrived(deals, referrals, 12)


@pytest.mark.parametrize("name", ["ingest", "mapper", "pusher"])
def test_program_ended_while_its_writes_wait_for_the_crm_loses_nothing(deals: Deals, name: str) -> None:
    """The CRM answers 503: the target is paused, lanes are parked."""
    stack = deals.stack
    referrals = [deals.new("private") for _ in range(2)]
    deals.dynamics_365.fault("status", method="PATCH", path=".*", times=None, status=503)
    position = deals.position()
    for referral in referrals:
        deals.partner_center.edit_referral(referral, details={"dealValue": 34})
    wait_until(lambda: deals.dynamics_365.journal(position, "PATCH"), DEADLINE, "a write was refused for the moment")
    end_and_start_again(deals, name)
    deals.dynamics_365.clear_faults()
    check_arrived(deals, referrals, 34)
    assert stack.topics.read("dead-letters") == []


@pytest.mark.parametrize("name", ["ingest", "mapper", "pusher"])
def test_program_ended_without_its_broker_ends_in_time(deals: Deals, broker: Broker, name: str) -> None:
    referral = deals.new("private")
    program = deals.stack.running(f"{name}-1")
    broker.kill()
    try:
        # Also with a webhook that waits for the broker.
        deals.partner_center.edit_referral(referral, details={"dealValue": 56})
        program.signal(signal.SIGTERM)
        # 90: it has waited for the broker as long as it may, and says so.
        assert program.wait(DRAIN_SECONDS) in (0, 90)
    finally:
        broker.start()
    deals.stack.start_again(program).wait_for("program.ready", deadline=60)
    # The sender may have given up on the first one; whatever it sends next brings the whole record.
    deals.partner_center.edit_referral(referral, details={"dealValue": 57})
    check_arrived(deals, [referral], 57)


def end_and_start_again(deals: Deals, name: str) -> None:
    program = deals.stack.running(f"{name}-1")
    program.signal(signal.SIGTERM)
    assert program.wait(STOP_SECONDS) == 0
    deals.stack.start_again(program).wait_for("program.ready")


def check_arrived(deals: Deals, referrals: list[str], value: float) -> None:
    for referral in referrals:
        wait_until(
            lambda referral=referral: float((deals.opportunity(referral) or {})["estimatedvalue"]) == value,
            CAUGHT_UP_SECONDS,
            "the change has arrived",
        )
    assert deals.stack.audit("SELECT * FROM verify_audit()") == []


@pytest.mark.parametrize("name", ["ingest", "mapper", "pusher"])
def test_program_ended_right_after_its_start_ends_in_order(deals: Deals, name: str) -> None:
    program = deals.stack.start_program(name, f"short-{name}")
    program.wait_for("program.state")
    program.signal(signal.SIGTERM)
    assert program.wait(STOP_SECONDS) == 0
