"""tandem-mapper frozen, replaced, ended in the middle of its restore, and with topics that change under it.

None of it runs under AddressSanitizer, whose runtime has to come before every library that is preloaded.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import yaml
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions

from support.paths import BUILD
from support.topics import Topics
from support.waiting import wait_until
from test_mapper import (
    FENCED,
    KAFKA,
    PARTITIONS,
    Mapper,
    check_decisions,
    check_goes_on,
    decisions_of,
    mapper_topics,
    outcome,
    reading,
    referral,
    referral_id,
    row,
    send,
    states_of,
)

__all__ = ["mapper_topics"]

DEALS = 2500


class Halting(Mapper):
    """Stops itself in the middle of its next transaction once halt() was called."""

    def __init__(self, folder: Path, topics: Topics, patch: pytest.MonkeyPatch, instance: str, **kafka: str) -> None:
        self.order = folder / f"halt-{instance}"
        with patch.context() as environment:
            environment.setenv("TANDEM_TEST_HALT", str(self.order))
            super().__init__(folder, topics, instance, preload=str(BUILD / "tests/libhalt_in_transaction.so"))
        set_kafka(self, **kafka)

    def halt(self) -> None:
        self.order.touch()

    def wait_halted(self) -> None:
        wait_until(lambda: not self.order.exists() and self.state() == "T", 20, "it stands in a transaction")

    def state(self) -> str:
        """T: stopped by a signal (proc(5))."""
        return Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def set_kafka(mapper: Mapper, **changes: object) -> None:
    """Changes the section kafka of its configuration."""
    path = Path(mapper.command[mapper.command.index("--config") + 1])
    content = yaml.safe_load(path.read_text())
    content["kafka"].update(changes)
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def ends(topics: Topics, topic: str) -> int:
    """The sum of the ends of all partitions, what open transactions wrote and markers included."""
    consumer = Consumer(
        {
            "bootstrap.servers": topics.bootstrap,
            "group.id": topics.name("nobody"),
            "isolation.level": "read_uncommitted",
        }
    )
    try:
        places = [TopicPartition(topics.name(topic), each) for each in range(PARTITIONS)]
        return sum(consumer.get_watermark_offsets(each, timeout=10)[1] for each in places)
    finally:
        consumer.close()


def test_frozen_for_longer_than_its_transaction_it_is_fenced_and_its_successor_does_the_work(
    mapper_topics: Topics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = {"session_timeout": "30s", "transaction_timeout": "2s"}
    with Halting(tmp_path, mapper_topics, monkeypatch, "m1", **times) as frozen:
        frozen.wait_restored()
        send(mapper_topics, "records", *[reading("partner-center", each, referral(each)) for each in range(10)])
        decisions_of(mapper_topics, count=10)
        frozen.halt()
        send(mapper_topics, "records", reading("partner-center", 10, referral(10)))
        frozen.wait_halted()
        end = ends(mapper_topics, "deals")
        assert len(mapper_topics.read("decisions", committed=False, count=11)) == 11
        # The broker ends the transaction by a marker in each topic that it has written to.
        wait_until(lambda: ends(mapper_topics, "deals") == end + 1, 20, "the broker has given the transaction up")
        frozen.signal(signal.SIGCONT)
        assert frozen.wait() == FENCED
        assert len(decisions_of(mapper_topics)) == 10, "what the zombie wrote is not seen"
    with Mapper(tmp_path, mapper_topics) as successor:
        successor.wait_restored()
        decisions_of(mapper_topics, count=11)
        check_goes_on(mapper_topics, 11)
        assert successor.stop() == 0
    check_decisions(mapper_topics, 11)


def test_zombie_that_comes_back_after_a_rebalance_commits_nothing(
    mapper_topics: Topics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = {"session_timeout": "2s", "transaction_timeout": "60s"}
    with Halting(tmp_path, mapper_topics, monkeypatch, "m1", **times) as zombie:
        zombie.wait_restored()
        send(mapper_topics, "records", *[reading("partner-center", each, referral(each)) for each in range(10)])
        decisions_of(mapper_topics, count=10)
        zombie.halt()
        send(mapper_topics, "records", reading("partner-center", 10, referral(10)))
        zombie.wait_halted()
        with Mapper(tmp_path, mapper_topics, "m2") as owner:
            owner.wait_for("kafka.assigned", partitions=PARTITIONS)
            # What the zombie has written is undecided, so that the new owner's state could not be whole yet.
            assert not owner.events("mapper.restored")
            zombie.signal(signal.SIGCONT)
            assert zombie.wait_for("kafka.transaction_aborted")["error_code"] == "kafka.rebalanced"
            owner.wait_for("mapper.restored")
            decisions_of(mapper_topics, count=11)
            check_goes_on(mapper_topics, 11)
            assert zombie.stop() in (0, FENCED)
            assert owner.stop() == 0
    check_decisions(mapper_topics, 11)


# At 10, 50 and 90 % of the deals. Batches of 1,000 reach the store, so that the third start is to go on behind the
# first one; but a store in which two processes have died is not trusted and read again from the beginning.
@pytest.mark.parametrize(
    ("variable", "kills", "read_at_last"),
    [
        ("TANDEM_TEST_KILL_AT_READ", (250, 1250, 1250), DEALS - 2000),
        ("TANDEM_TEST_KILL_AT_WRITE", (250, 1250, 2250), DEALS),
    ],
    ids=["reading", "writing"],
)
def test_restore_that_is_ended_again_and_again_is_whole_before_anything_is_decided(
    mapper_topics: Topics,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    kills: tuple[int, ...],
    read_at_last: int,
) -> None:
    with Mapper(tmp_path, mapper_topics, "m1", store="first") as mapper:
        mapper.wait_restored()
        send(mapper_topics, "records", *[reading("partner-center", each, referral(each)) for each in range(DEALS)])
        created = decisions_of(mapper_topics, count=DEALS, deadline=40)
        assert mapper.stop() == 0
    # Work that waits, and needs the state of deals from everywhere in the topic.
    number_of = {referral_id(each): each for each in range(DEALS)}
    waiting = [each for each in created if number_of[each["deal_key"]] % 25 == 0]
    answers = [outcome(each, number_of[each["deal_key"]], row(number_of[each["deal_key"]])) for each in waiting]
    send(mapper_topics, "outcomes", *answers)
    preload = str(BUILD / "tests/libkill_in_restore.so")
    for count in kills:
        with monkeypatch.context() as environment:
            environment.setenv(variable, str(count))
            killed = Mapper(tmp_path, mapper_topics, "m1", store="second", preload=preload)
        with killed:
            assert killed.wait() == -signal.SIGKILL
            assert not killed.events("mapper.restored")
        assert len(decisions_of(mapper_topics)) == DEALS, "nothing is decided on before the state is whole"
    with Mapper(tmp_path, mapper_topics, "m1", store="second") as mapper:
        restored = mapper.wait_restored()
        assert (restored["deals_read"], restored["deals"]) == (read_at_last, DEALS)
        decisions = decisions_of(mapper_topics, count=DEALS + len(waiting))
        links = [each["number"] for each in decisions if each["purpose"] == "link"]
        assert links == [2] * len(waiting), "each went on from its deal's state"
        assert mapper.stop() == 0
    assert len(states_of(mapper_topics)) == DEALS
    check_decisions(mapper_topics, DEALS)


def test_topic_that_gets_more_partitions_ends_the_process(mapper_topics: Topics, tmp_path: Path) -> None:
    mapper = Mapper(tmp_path, mapper_topics)
    set_kafka(mapper, properties={"topic.metadata.refresh.interval.ms": "300"})
    with mapper:
        mapper.wait_restored()
        admin = AdminClient({"bootstrap.servers": mapper_topics.bootstrap})
        name = mapper_topics.name("records")
        for future in admin.create_partitions([NewPartitions(name, PARTITIONS + 1)]).values():
            future.result(20)
        assert mapper.wait() == KAFKA
        assert "kafka.partitions_changed" in mapper.transcript()
