"""Every consumer group tells how far it is behind."""

from __future__ import annotations

import re
import urllib.request

from support.deals import DEADLINE, Deals
from support.postgres import Cluster
from support.stack import Stack
from support.waiting import wait_until

SERIES = re.compile(r'^tandem_kafka_lag\{group="(\w+)",topic="([^"]+)",partition="(\d+)"\} (\d+)$', re.MULTILINE)
INPUTS = {"fetch": {"notifications"}, "poll": {"cursors"}, "mapper": {"records", "outcomes"}, "pusher": {"decisions", "dead-letters"}}


def lags(stack: Stack) -> dict[tuple[str, str], list[int]]:
    """Of all partitions, by group and topic."""
    found: dict[tuple[str, str], list[int]] = {}
    for program in stack.programs:
        with urllib.request.urlopen(f"{stack.admin_address(program)}/metrics", timeout=10) as answer:
            for group, topic, _partition, value in SERIES.findall(answer.read().decode()):
                found.setdefault((group, topic.removeprefix(stack.topics.prefix)), []).append(int(value))
    return found


def test_every_program_tells_its_lag_and_that_it_has_caught_up(deals: Deals, postgres: Cluster) -> None:
    stack = deals.stack
    referral = deals.new("private")

    def left() -> list[object]:
        """What is not told yet, and what is not 0."""
        now = lags(stack)
        wanted = {(group, topic) for group, topics in INPUTS.items() for topic in topics}
        return [*(wanted ^ set(now)), *((key, each) for key, each in now.items() if any(each))]

    def caught_up() -> bool:
        return not left()

    try:
        wait_until(caught_up, DEADLINE, "nothing is left to do")
    except AssertionError as error:
        raise AssertionError(f"{error}: {left()}") from None
    assert {topic: len(each) for (_group, topic), each in lags(stack).items()} == {
        topic: stack.topics.partitions(topic) for topics in INPUTS.values() for topic in topics
    }
    # Without its database the pusher writes nothing, and decisions wait.
    postgres.stop()
    deals.partner_center.edit_referral(referral, details={"dealValue": 77})
    wait_until(lambda: sum(lags(stack)[("pusher", "decisions")]) >= 1, DEADLINE, "the decision waits")
    postgres.start()
    wait_until(caught_up, DEADLINE, "nothing is left to do again")
    row = deals.opportunity(referral)
    assert row is not None and float(row["estimatedvalue"]) == 77
