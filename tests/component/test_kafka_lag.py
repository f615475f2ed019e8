"""How far behind a program is: the gauge tandem_kafka_lag, against a real broker."""

from __future__ import annotations

import signal

import pytest
from confluent_kafka import Producer

from support.kafka_driver import Driver, committed, numbered
from support.topics import Topics
from support.waiting import wait_until

SOON = 15


def transactional(topics: Topics) -> Producer:
    producer = Producer({"bootstrap.servers": topics.bootstrap, "transactional.id": topics.name("writer")})
    producer.init_transactions(20)
    return producer


def test_lag_of_a_consumer_is_what_it_has_not_finished(topics: Topics) -> None:
    topics.create("records", partitions=3)
    name = topics.name("records")
    for partition, count in enumerate((7, 4, 0)):
        topics.produce_all("records", numbered(count), partition)
    topics.produce("records", "hold", partition=0)
    topics.produce_all("records", numbered(2), 0)
    with Driver("consumer", topics, word="hold", partitions=3) as driver:
        # Partition 0: the held message and the two finished ones behind it, which a successor would read again.
        wait_until(lambda: driver.lag(name) == {0: 3, 1: 0, 2: 0}, SOON, "the lag is told")
        topics.produce("records", "hold", partition=2)
        wait_until(lambda: driver.lag(name) == {0: 3, 1: 0, 2: 1}, SOON, "the lag follows")
        assert driver.metrics("tandem_kafka_lag")[0][0]["group"] == "fetch"
        wait_until(
            lambda: driver.metrics("tandem_kafka_oldest_unfinished_seconds")[0][1] >= 2,
            SOON,
            "the held message grows old",
        )


def test_paused_consumer_takes_nothing_keeps_its_place_and_tells_its_growing_lag(topics: Topics) -> None:
    topics.create("records")
    name = topics.name("records")
    topics.produce_all("records", numbered(100))
    with Driver("consumer", topics, session_ms=2000) as driver:
        driver.wait_for("driver.message", count=100)
        driver.signal(signal.SIGUSR2)
        driver.wait_for("driver.paused", paused=True)
        topics.produce_all("records", [("k", f"n{each}", None) for each in range(300)])
        wait_until(lambda: driver.lag(name) == {0: 300}, SOON, "what arrives meanwhile is lag")
        assert len(driver.values()) == 100
        assert committed(topics) == 100
        assert len(driver.events("driver.assigned")) == 1 and not driver.events("driver.revoked")
        driver.signal(signal.SIGUSR2)
        driver.wait_for("driver.message", count=400)
        wait_until(lambda: driver.lag(name) == {0: 0}, SOON, "it has caught up")
        assert driver.values() == [f"m{each}" for each in range(100)] + [f"n{each}" for each in range(300)]


@pytest.mark.asan
def test_idle_reader_of_a_transactional_topic_has_no_lag(topics: Topics) -> None:
    topics.create("records", "decisions")
    producer = transactional(topics)
    for outcome in (True, False):
        producer.begin_transaction()
        producer.produce(topics.name("records"), "one", "k", partition=0)
        # An abort beside the first registration of the partition can be fatal to the client.
        producer.flush(10)
        producer.commit_transaction() if outcome else producer.abort_transaction()
    # Four offsets: two messages and the markers that end their transactions, the last of which nobody ever gets.
    with Driver("consumer", topics) as consumer, Driver("transaction", topics) as worker:
        for driver in (consumer, worker):
            wait_until(lambda: driver.lag(topics.name("records")) == {0: 0}, SOON, "nothing is left to do")


@pytest.mark.asan
def test_lag_counts_what_an_open_transaction_has_written(topics: Topics) -> None:
    topics.create("records", "decisions")
    producer = transactional(topics)
    producer.begin_transaction()
    producer.produce(topics.name("records"), "one", "k", partition=0)
    producer.flush(10)
    with Driver("transaction", topics) as driver:
        wait_until(lambda: driver.lag(topics.name("records")) == {0: 1}, SOON, "the hanging transaction shows")
        producer.commit_transaction()
        wait_until(lambda: driver.lag(topics.name("records")) == {0: 0}, SOON, "it is read")


@pytest.mark.asan
def test_partition_that_was_given_away_counts_once(topics: Topics) -> None:
    topics.create("records", partitions=4)
    name = topics.name("records")
    for partition in range(4):
        topics.produce_all("records", [("k", f"hold{each}", None) for each in range(5)], partition)
    with Driver("consumer", topics, word="hold", partitions=4, instance="a") as first:
        wait_until(lambda: sum(first.lag(name).values()) == 20, SOON, "all of it is one's")
        with Driver("consumer", topics, word="hold", partitions=4, instance="b") as second:

            def shared() -> bool:
                lags = [first.lag(name), second.lag(name)]
                return sum(sum(each.values()) for each in lags) == 20 and all(sum(each.values()) == 10 for each in lags)

            wait_until(shared, SOON, "each tells its half")
