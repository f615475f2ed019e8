"""common/kafka against a real broker, through the small programs of tests/component/kafka/."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from support.kafka import Broker
from support.kafka_driver import Driver, committed, numbered, values_of
from support.topics import Topics
from support.waiting import wait_until

FENCED = 70

pytestmark = pytest.mark.asan


# --- Producer ---------------------------------------------------------------------------------------------------------


def test_producer_tells_durable_messages_and_keeps_the_order_of_a_key(topics: Topics) -> None:
    topics.create("records", partitions=3)
    with Driver("producer", topics, count=500) as driver:
        assert driver.wait() == 0
        assert len(driver.events("driver.told", durable=True)) == 500
    records = topics.read("records")
    assert len(records) == 500
    assert {record.headers["ce_type"] for record in records} == {b"test"}
    for partition in range(3):
        for key in {record.key for record in records if record.partition == partition}:
            numbers = [int((r.value or b"")[1:]) for r in records if r.partition == partition and r.key == key]
            assert numbers == sorted(numbers)
            assert not [r for r in records if r.partition != partition and r.key == key]


def test_producer_tells_failure_in_time_and_works_again_when_the_broker_is_back(topics: Topics, broker: Broker) -> None:
    topics.create("records")
    with Driver("producer", topics, "message.timeout.ms=2000", count=1_000_000, interval_ms=20) as driver:
        driver.wait_for("driver.told", count=10, durable=True)
        broker.kill()
        driver.wait_for("driver.told", deadline=10, durable=False, code="kafka.timeout")
        driver.wait_for("driver.ready", deadline=10, ready=False)
        told = len(driver.events("driver.told", durable=True))
        broker.start()
        driver.wait_for("driver.told", deadline=20, durable=True, count=told + 10)
        driver.wait_for("driver.ready", deadline=10, ready=True, count=2)
        driver.signal(signal.SIGTERM)
        assert driver.wait() == 0
        done = driver.wait_for("driver.done")
        assert done["sent"] == done["told"], "the fate of every message is told"
        durable = len(driver.events("driver.told", durable=True))
    assert len(topics.read("records")) >= durable


def test_producer_tells_every_message_when_it_ends_without_a_broker(topics: Topics, broker: Broker) -> None:
    topics.create("records")
    with Driver("producer", topics, count=1_000_000, interval_ms=5) as driver:
        driver.wait_for("driver.told", count=10)
        broker.kill()
        sent = len(driver.events("driver.told"))
        driver.wait_for("driver.ready", deadline=10, ready=False)
        driver.signal(signal.SIGTERM)
        assert driver.wait(15) == 0
        done = driver.wait_for("driver.done")
        assert done["sent"] == done["told"] > sent
        assert driver.events("driver.told", durable=False, code="kafka.given_up")


def test_producer_refuses_to_be_ready_without_its_topic(topics: Topics) -> None:
    with Driver("producer", topics, count=1) as driver:
        driver.wait_for("driver.running")
        topics.create("other")
        assert not driver.events("driver.ready")
        topics.create("records")
        driver.wait_for("driver.ready", ready=True)
        assert driver.wait() == 0


# --- Consumer ---------------------------------------------------------------------------------------------------------


def test_consumer_commits_finished_work_only(topics: Topics) -> None:
    topics.create("records")
    topics.produce_all("records", [("a", "m0", None), ("b", "hold1", None), ("c", "m2", None), ("d", "m3", None)])
    with Driver("consumer", topics, word="hold") as driver:
        driver.wait_for("driver.message", count=4)
        topics.produce("records", "m4")
        driver.wait_for("driver.message", count=5)
        driver.signal(signal.SIGTERM)
        assert driver.wait() == 0
    # m0 is committed; m2, m3 and m4 are finished, too, but stand behind one that is not.
    with Driver("consumer", topics) as driver:
        driver.wait_for("driver.message", count=4)
        assert driver.values() == ["hold1", "m2", "m3", "m4"]


def test_consumer_gets_unfinished_work_again_after_kill(topics: Topics) -> None:
    topics.create("records")
    topics.produce_all("records", numbered(20))
    with Driver("consumer", topics, word="m19", session_ms=2000) as driver:
        driver.wait_for("driver.message", count=20)
        wait_until(lambda: committed(topics) == 19, 10, "the finished messages are committed")
        driver.kill()
    with Driver("consumer", topics, session_ms=2000) as driver:
        driver.wait_for("driver.message")
        wait_until(lambda: committed(topics) == 20, 10, "the last one is committed")
        assert driver.values() == ["m19"]


def test_consumer_pauses_at_a_full_window_and_gets_every_message_once(topics: Topics) -> None:
    topics.create("records")
    topics.produce_all("records", numbered(1000))
    with Driver("consumer", topics, window=20, interval_ms=1) as driver:
        driver.wait_for("driver.message", count=1000, deadline=60)
        assert driver.values() == [f"m{each}" for each in range(1000)]
        assert max(entry["unfinished"] for entry in driver.events("driver.message")) <= 20


def test_consumer_stops_when_its_offset_is_outside_the_log(topics: Topics) -> None:
    topics.create("records")
    topics.produce_all("records", numbered(10))
    consumer = Consumer({"bootstrap.servers": topics.bootstrap, "group.id": topics.name("fetch")})
    consumer.commit(offsets=[TopicPartition(topics.name("records"), 0, 1000)], asynchronous=False)
    consumer.close()
    with Driver("consumer", topics) as driver:
        assert driver.wait_for("driver.fatal")["error_code"] == "kafka.offset_out_of_range"
        assert driver.wait() == 1
        assert not driver.values()


def test_second_consumer_of_the_same_name_ends_the_first(topics: Topics) -> None:
    topics.create("records")
    with Driver("consumer", topics) as first:
        first.wait_for("driver.assigned")
        with Driver("consumer", topics) as second:
            assert first.wait_for("driver.fatal")["error_code"] == "kafka.fenced"
            second.wait_for("driver.assigned")


def test_consumer_that_slept_too_long_owns_nothing_until_it_is_a_member_again(topics: Topics) -> None:
    topics.create("records")
    topics.produce_all("records", numbered(3))
    with Driver("consumer", topics, session_ms=2000, instance="sleeper", word="m") as sleeper:
        sleeper.wait_for("driver.owns", owns=True)
        sleeper.wait_for("driver.message", count=3)
        sleeper.signal(signal.SIGSTOP)
        with Driver("consumer", topics, session_ms=2000, instance="successor", word="m") as successor:
            successor.wait_for("driver.owns", owns=True, deadline=20)
            sleeper.signal(signal.SIGCONT)
            sleeper.wait_for("driver.owns", owns=False)
            sleeper.wait_for("driver.revoked", deadline=20)


def test_consumer_ends_in_order_in_its_first_moments(topics: Topics) -> None:
    topics.create("records")
    topics.produce_all("records", numbered(100))
    for _ in range(8):
        with Driver("consumer", topics) as driver:
            driver.wait_for("driver.running")
            driver.signal(signal.SIGTERM)
            assert driver.wait(10) == 0, driver.transcript()


# --- Transactions -----------------------------------------------------------------------------------------------------


@pytest.fixture
def copying(topics: Topics) -> Iterator[Topics]:
    topics.create("records", "decisions")
    yield topics


def test_every_record_is_copied_exactly_once_through_three_kills(copying: Topics) -> None:
    total = 20_000
    copying.produce_all("records", numbered(total))
    for kill in range(3):
        with Driver("transaction", copying, transaction_ms=5000) as driver:
            driver.wait_for("driver.committed", count=10 * (kill + 1))
            driver.kill()
    with Driver("transaction", copying, transaction_ms=5000) as driver:
        wait_until(lambda: committed(copying, "mapper") == total, 60, "all records are committed")
        driver.signal(signal.SIGTERM)
        assert driver.wait() == 0
    assert values_of(copying, "decisions") == [f"m{each}" for each in range(total)]


def test_refused_record_aborts_and_everything_is_read_again(copying: Topics) -> None:
    copying.produce_all("records", numbered(250))
    with Driver("transaction", copying, word="m150") as driver:
        wait_until(lambda: committed(copying, "mapper") == 250, 30, "all records are committed")
        assert len(driver.events("driver.aborted")) == 1
        end = driver.events("driver.committed")[-1]["end"]
    records = copying.read("decisions")
    assert [(record.value or b"").decode() for record in records] == [f"m{each}" for each in range(250)]
    assert end == records[-1].offset + 1


def test_many_aborts_lose_nothing(copying: Topics) -> None:
    copying.produce_all("records", numbered(100))
    # The very first record fails: the abort meets a transaction whose first partition is just being registered.
    for start in range(5):
        copying.produce("records", f"first{start}")
        with Driver("transaction", copying, word=f"first{start}"):
            wait_until(lambda: committed(copying, "mapper") == 101 + start, 30, "all records are committed")
    firsts = [f"first{each}" for each in range(5)]
    assert values_of(copying, "decisions") == [f"m{each}" for each in range(100)] + firsts


def test_second_worker_of_the_same_name_fences_the_first(copying: Topics) -> None:
    copying.produce_all("records", numbered(10))
    with Driver("transaction", copying) as first:
        first.wait_for("driver.committed")
        with Driver("transaction", copying) as second:
            second.wait_for("driver.assigned")
            copying.produce_all("records", numbered(10))
            assert first.wait_for("driver.fatal", deadline=30)["error_code"] == "kafka.fenced"
            assert first.wait() == FENCED
            wait_until(lambda: committed(copying, "mapper") == 20, 30, "the second has done the rest")
    assert len(values_of(copying, "decisions")) == 20


def test_worker_goes_on_after_the_broker_was_killed(copying: Topics, broker: Broker) -> None:
    copying.produce_all("records", numbered(2000))
    with Driver("transaction", copying) as driver:
        driver.wait_for("driver.committed", count=2)
        broker.kill()
        broker.start()
        copying.produce("records", "last")
        wait_until(lambda: driver.returncode or committed(copying, "mapper") == 2001, 60, "all records are committed")
    if committed(copying, "mapper") != 2001:
        # An unknown outcome ends the process; the next one finds out.
        with Driver("transaction", copying) as driver:
            wait_until(lambda: committed(copying, "mapper") == 2001, 60, "all records are committed")
    assert values_of(copying, "decisions") == [f"m{each}" for each in range(2000)] + ["last"]


def test_partitions_move_between_two_workers_without_loss(topics: Topics) -> None:
    topics.create("records", "decisions", partitions=4)
    topics.produce_all("records", numbered(2000))
    with Driver("transaction", topics, instance="a", partitions=4) as first:
        first.wait_for("driver.committed")
        with Driver("transaction", topics, instance="b", partitions=4) as second:
            second.wait_for("driver.assigned", count=1, deadline=20)
            topics.produce_all("records", numbered(2000))
            wait_until(lambda: len(topics.read("decisions")) >= 4000, 30, "all records are copied")
            second.signal(signal.SIGTERM)
            assert second.wait() == 0
        first.signal(signal.SIGTERM)
        assert first.wait() == 0
    assert sorted(values_of(topics, "decisions")) == sorted([f"m{each}" for each in range(2000)] * 2)


def test_worker_drains_in_its_first_moments(copying: Topics) -> None:
    copying.produce_all("records", numbered(500))
    for _ in range(6):
        with Driver("transaction", copying) as driver:
            driver.wait_for("driver.running")
            driver.signal(signal.SIGTERM)
            assert driver.wait(15) == 0, driver.transcript()


# --- Reader -----------------------------------------------------------------------------------------------------------


def transactional(topics: Topics, name: str) -> Producer:
    producer = Producer(
        {"bootstrap.servers": topics.bootstrap, "transactional.id": topics.name(name), "transaction.timeout.ms": 60000}
    )
    producer.init_transactions(20)
    return producer


def test_reader_reads_up_to_the_end_and_leaves_out_what_was_aborted(topics: Topics) -> None:
    topics.create("deals")
    producer = transactional(topics, "writer")
    for number, outcome in enumerate([True, False, True, False, False]):
        producer.begin_transaction()
        producer.produce(topics.name("deals"), f"t{number}", "k")
        # An abort beside the first registration of the partition can be fatal to the client.
        producer.flush(10)
        producer.commit_transaction() if outcome else producer.abort_transaction()
    with Driver("reader", topics, topic="deals") as driver:
        end = driver.wait_for("driver.end")
        assert driver.wait() == 0
        assert driver.values() == ["t0", "t2"]
        assert end["next_offset"] >= 4


def test_reader_waits_for_an_open_transaction(topics: Topics) -> None:
    topics.create("deals")
    topics.produce("deals", "before", "k")
    producer = transactional(topics, "writer")
    producer.begin_transaction()
    producer.produce(topics.name("deals"), "inside", "k")
    producer.flush(10)
    with Driver("reader", topics, topic="deals") as driver:
        driver.wait_for("driver.message")
        assert not driver.events("driver.end"), "what is undecided may still belong to the state"
        producer.commit_transaction()
        driver.wait_for("driver.end")
        assert driver.values() == ["before", "inside"]


def test_reader_follows_after_the_end(topics: Topics) -> None:
    topics.create("deals")
    with Driver("reader", topics, topic="deals", follow=1) as driver:
        assert driver.wait_for("driver.end")["next_offset"] == 0
        topics.produce("deals", "one", "k")
        topics.produce("deals", None, "k")
        driver.wait_for("driver.message", count=2)
        assert driver.values() == ["one", "(tombstone)"]
        assert len(driver.events("driver.end")) == 1


def test_reader_refuses_an_offset_outside_the_log(topics: Topics) -> None:
    topics.create("deals")
    topics.produce_all("deals", numbered(3))
    with Driver("reader", topics, topic="deals", **{"from": 1}) as driver:
        driver.wait_for("driver.end")
        assert driver.values() == ["m1", "m2"]
    with Driver("reader", topics, topic="deals", **{"from": 10}) as driver:
        assert driver.wait_for("driver.failed")["error_code"] == "kafka.offset_out_of_range"
        assert driver.wait() == 1


# --- Topics -----------------------------------------------------------------------------------------------------------


def test_topics_are_created_once_and_verified(topics: Topics) -> None:
    with Driver("topics", topics, word="verify", partitions=3) as driver:
        assert driver.wait() == 1
        assert driver.wait_for("driver.failed")["error_code"] == "kafka.topics_missing"
    for expected in ("created", "ok"):
        with Driver("topics", topics, word="create", partitions=3) as driver:
            assert driver.wait() == 0
            assert len([line for line in driver.other_lines if line.endswith(f": {expected}")]) == 8, driver.other_lines
    with Driver("topics", topics, word="verify", partitions=3) as driver:
        assert driver.wait() == 0
    assert topics.partitions("deals") == topics.partitions("records") == 3
    assert topics.partitions("cursors") == 1


def test_topics_that_would_lose_data_are_refused(topics: Topics) -> None:
    topics.create("deals", partitions=3, config={"cleanup.policy": "compact,delete"})
    topics.create("records", partitions=5)
    topics.create("outcomes", partitions=3, config={"retention.ms": "1000"})
    with Driver("topics", topics, word="create", partitions=3) as driver:
        assert driver.wait() == 1
        assert driver.wait_for("driver.failed")["error_code"] == "kafka.topics_differ"
        report = "\n".join(driver.other_lines)
    assert f"{topics.name('deals')}: error: cleanup.policy is compact,delete, expected compact" in report
    assert f"{topics.name('records')}: error: partitions is 5, expected 3" in report
    assert f"{topics.name('outcomes')}: warning: retention.ms is 1000, expected 2592000000" in report
