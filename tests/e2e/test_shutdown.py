"""SIGTERM in the middle of work ends every program in time, and nothing is lost."""

from __future__ import annotations

import signal

import pytest
from support.deals import DEADLINE, Deals
from support.waiting import wait_until

pytestmark = pytest.mark.asan

STOP_SECONDS = 15


@pytest.mark.parametrize("name", ["ingest", "mapper", "pusher"])
def test_program_ended_in_the_middle_of_work_loses_nothing(deals: Deals, name: str) -> None:
    stack = deals.stack
    referrals = [deals.new("private") for _ in range(3)]
    deals.dynamics_365.fault("delay", method="PATCH", path=".*", times=3, delay_ms=700)
    for referral in referrals:
        deals.partner_center.edit_referral(referral, details={"dealValue": 12})
    program = next(each for each in stack.programs if each.config.name == f"{name}-{name}-1.yaml" and each.returncode is None)
    program.signal(signal.SIGTERM)
    assert program.wait(STOP_SECONDS) == 0
    again = type(program)(name, config=program.config).start()
    again.config = program.config
    stack.programs.append(again)
    again.wait_for("program.ready")
    for referral in referrals:
        wait_until(
            lambda: float((deals.opportunity(referral) or {})["estimatedvalue"]) == 12, DEADLINE, "the change has arrived"
        )
    assert stack.audit("SELECT * FROM verify_audit()") == []


@pytest.mark.parametrize("name", ["ingest", "mapper", "pusher"])
def test_program_ended_right_after_its_start_ends_in_order(deals: Deals, name: str) -> None:
    program = deals.stack.start_program(name, f"short-{name}")
    program.wait_for("program.state")
    program.signal(signal.SIGTERM)
    assert program.wait(STOP_SECONDS) == 0
