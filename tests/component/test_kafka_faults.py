"""common/kafka when the client library fails for good, when a topic changes under it, and when its owner is slow."""

from __future__ import annotations

import signal

import pytest
from confluent_kafka.admin import AdminClient, NewPartitions

from support.kafka_driver import Driver, committed, numbered, values_of
from support.topics import Topics
from support.waiting import wait_until

# So that a client learns of new partitions soon; by default it asks every five minutes.
QUICK_METADATA = "topic.metadata.refresh.interval.ms=300"

pytestmark = pytest.mark.asan


def add_partitions(topics: Topics, topic: str, total: int) -> None:
    admin = AdminClient({"bootstrap.servers": topics.bootstrap})
    for future in admin.create_partitions([NewPartitions(topics.name(topic), total)]).values():
        future.result(20)


# --- A producer that failed for good ----------------------------------------------------------------------------------


def test_failed_producer_is_replaced_and_the_fate_of_every_message_is_told(topics: Topics) -> None:
    topics.create("records")
    # The broker's coordinator of producers is loaded, so that messages are on their way at once.
    topics.produce("records", "before")
    with Driver("producer", topics, count=1_000_000, interval_ms=1, fail_at=300) as driver:
        failure = driver.wait_for("kafka.producer_failed")
        assert failure["cause"] == "OUT_OF_ORDER_SEQUENCE_NUMBER"
        driver.wait_for("kafka.producer_ready", count=2)
        told = len(driver.events("driver.told", durable=True))
        driver.wait_for("driver.told", durable=True, count=told + 300)
        assert driver.metrics("tandem_kafka_producer_recreated_total") == [({}, 1)]
        driver.signal(signal.SIGTERM)
        assert driver.wait() == 0
        done = driver.wait_for("driver.done")
        assert done["sent"] == done["told"], "the fate of every message is told"
        durable = len(driver.events("driver.told", durable=True))
        failed = driver.events("driver.told", durable=False)
        assert {each["code"] for each in failed} <= {"kafka.given_up", "kafka.client_replaced"}
        assert len(driver.events("kafka.producer_failed")) == 1
    values = values_of(topics, "records")[1:]
    assert len(values) == len(set(values)) >= durable, "what was told to be durable is there, once"
    assert values == sorted(values, key=lambda value: int(value[1:]))
    assert len(values) <= done["sent"]


# --- A topic that gets more partitions --------------------------------------------------------------------------------


def test_consumer_stops_when_its_topic_gets_more_partitions(topics: Topics) -> None:
    topics.create("records", partitions=2)
    with Driver("consumer", topics, QUICK_METADATA, partitions=2) as driver:
        driver.wait_for("driver.assigned", count=2)
        topics.produce_all("records", [("k", "before", None)])
        driver.wait_for("driver.message")
        add_partitions(topics, "records", 3)
        failure = driver.wait_for("driver.fatal")
        assert (failure["error_code"], failure["error_class"]) == ("kafka.partitions_changed", "fatal")
        assert "partition 2" in failure["error"]
        assert driver.wait() == 1
    # Nothing of it was read, and what was finished before is committed.
    assert driver.values() == ["before"]
    assert sum(max(committed(topics, partition=each), 0) for each in range(3)) == 1


def test_exactly_once_worker_stops_when_an_input_gets_more_partitions(topics: Topics) -> None:
    topics.create("records", "decisions", partitions=2)
    topics.produce_all("records", numbered(100))
    with Driver("transaction", topics, QUICK_METADATA, partitions=2) as driver:
        wait_until(lambda: len(topics.read("decisions")) == 100, 20, "all records are copied")
        add_partitions(topics, "records", 3)
        topics.produce("records", "lost?", partition=2)
        assert driver.wait_for("driver.fatal")["error_code"] == "kafka.partitions_changed"
        assert driver.wait() == 1
    assert sorted(values_of(topics, "decisions")) == sorted(f"m{each}" for each in range(100))


# --- A slow owner -----------------------------------------------------------------------------------------------------


def test_full_window_of_one_partition_does_not_stop_another(topics: Topics) -> None:
    topics.create("records", partitions=2)
    topics.produce_all("records", [("k", f"hold{each}", None) for each in range(50)], 0)
    topics.produce_all("records", [("k", f"m{each}", None) for each in range(500)], 1)
    with Driver("consumer", topics, word="hold", window=10, partitions=2) as driver:
        driver.wait_for("driver.message", count=500, partition=1)
        driver.wait_for("driver.message", count=10, partition=0)
        topics.produce("records", "last", partition=1)
        driver.wait_for("driver.message", value="last")
        held = [each["value"] for each in driver.events("driver.message", partition=0)]
        assert held == [f"hold{each}" for each in range(10)]
        assert committed(topics, partition=0) < 0


def test_resuming_leaves_a_partition_with_a_full_window_paused(topics: Topics) -> None:
    topics.create("records", partitions=2)
    topics.produce_all("records", [("k", f"hold{each}", None) for each in range(50)], 0)
    with Driver("consumer", topics, word="hold", window=10, partitions=2) as driver:
        driver.wait_for("driver.message", count=10, partition=0)
        for paused in (True, False):
            driver.signal(signal.SIGUSR2)
            driver.wait_for("driver.paused", paused=paused)
        topics.produce("records", "last", partition=1)
        driver.wait_for("driver.message", value="last")
        assert len(driver.events("driver.message", partition=0)) == 10


def test_paused_consumer_takes_part_in_a_rebalance_and_keeps_its_partition(topics: Topics) -> None:
    topics.create("records")
    topics.produce_all("records", numbered(50))
    with Driver("consumer", topics) as driver:
        driver.wait_for("driver.message", count=50)
        driver.signal(signal.SIGUSR2)
        driver.wait_for("driver.paused", paused=True)
        with Driver("consumer", topics, instance="other") as other:
            other.wait_for("kafka.assigned", partitions=0)
            # Assigned anew, the partition is still paused.
            driver.wait_for("driver.assigned", count=2)
            topics.produce("records", "last")
            wait_until(lambda: driver.lag(topics.name("records")) == {0: 1}, 15, "the message waits")
            assert len(driver.values()) == 50
            driver.signal(signal.SIGUSR2)
            driver.wait_for("driver.message", value="last")
            assert not other.values()
        assert driver.values() == [f"m{each}" for each in range(50)] + ["last"]
