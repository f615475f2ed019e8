"""Kafka topics as the tests read and write them.

The client is Debian's python3-confluent-kafka: it stands on the distribution's own librdkafka, so on Debian 12 it is
another version of that library than our programs use. Consumers read committed messages only, unless told otherwise.

For people: `/usr/bin/python3 tests/support/topics.py BOOTSTRAP TOPIC` prints what a topic holds, each
message with its headers below it.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

REQUEST_SECONDS = 20
MESSAGE_BYTES_MAX = 4 * 1024 * 1024  # as in the topics that `tandem-ingest topics --create` makes


@dataclass(frozen=True)
class Record:
    """One message; a header that occurs twice keeps its last value."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]
    timestamp_ms: int

    @staticmethod
    def of(message: Message) -> Record:
        return Record(
            topic=message.topic(),
            partition=message.partition(),
            offset=message.offset(),
            key=message.key(),
            value=message.value(),
            headers=dict(message.headers() or []),
            timestamp_ms=message.timestamp()[1],
        )


class Topics:
    """The topics of one test, all below one prefix that nobody else uses; `name("records")` is the full name."""

    def __init__(self, bootstrap: str, prefix: str | None = None) -> None:
        self.bootstrap = bootstrap
        self.prefix = f"t{secrets.token_hex(5)}." if prefix is None else prefix
        # Brokers come and go in tests; what a client thinks of that belongs into no test's output.
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})

    def name(self, topic: str) -> str:
        return self.prefix + topic

    def create(self, *topics: str, partitions: int = 1, config: dict[str, str] | None = None) -> None:
        wanted = [NewTopic(self.name(each), partitions, 1, config=config or {}) for each in topics]
        for future in self._admin.create_topics(wanted, request_timeout=REQUEST_SECONDS).values():
            future.result()

    def existing(self) -> list[str]:
        """Short names of the topics below the prefix."""
        names = self._admin.list_topics(timeout=REQUEST_SECONDS).topics
        return sorted(name[len(self.prefix) :] for name in names if name.startswith(self.prefix))

    def delete_all(self) -> None:
        names = [self.name(each) for each in self.existing()]
        if names:
            for future in self._admin.delete_topics(names, request_timeout=REQUEST_SECONDS).values():
                future.result()

    def partitions(self, topic: str) -> int:
        name = self.name(topic)
        return len(self._admin.list_topics(name, timeout=REQUEST_SECONDS).topics[name].partitions)

    def held(self, group: str) -> dict[str, set[tuple[str, int]]]:
        """Topic (short name) and partition of everything the group's members hold now, by their client.id."""
        found = self._admin.list_groups(self.name(group), timeout=REQUEST_SECONDS)
        held: dict[str, set[tuple[str, int]]] = {}
        for member in found[0].members if found else []:
            parts = assignment_of(member.assignment)
            held[member.client_id] = {(name[len(self.prefix) :], number) for name, number in parts}
        return held

    def produce(
        self,
        topic: str,
        value: bytes | str | None,
        key: bytes | str | None = None,
        headers: dict[str, str | bytes] | None = None,
        partition: int | None = None,
    ) -> None:
        """One message, on the broker when this returns. For many, use produce_all()."""
        self.produce_all(topic, [(key, value, headers)], partition)

    def produce_all(
        self,
        topic: str,
        messages: Iterable[tuple[bytes | str | None, bytes | str | None, dict[str, str | bytes] | None]],
        partition: int | None = None,
    ) -> None:
        """Key, value, headers of each message, in order; on the broker when this returns."""
        failures: list[KafkaError] = []
        producer = Producer(
            {
                "bootstrap.servers": self.bootstrap,
                "enable.idempotence": True,
                "linger.ms": 0,
                # As our programs: what they send about a deal must meet what a test has sent about it.
                "partitioner": "murmur2_random",
                "message.max.bytes": MESSAGE_BYTES_MAX,
                # How long a topic may stay unknown after its creation before a message to it fails.
                "topic.metadata.propagation.max.ms": 2000,
            }
        )

        def on_delivery(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                failures.append(error)

        where = {} if partition is None else {"partition": partition}
        for key, value, headers in messages:
            producer.produce(
                self.name(topic), value, key, headers=dict(headers or {}), on_delivery=on_delivery, **where
            )
            producer.poll(0)
        left = producer.flush(REQUEST_SECONDS)
        assert not failures and left == 0, f"{topic}: {left} messages not sent, failures: {failures}"

    def read(
        self,
        topic: str,
        count: int = 0,
        until: Callable[[list[Record]], object] | None = None,
        deadline: float = 20,
        committed: bool = True,
    ) -> list[Record]:
        """Everything in the topic from its beginning, up to its end as it is now.

        With `count` or `until` it goes on reading new messages until there are so many, or until `until(records)` is
        true, and fails after `deadline` seconds with what it has seen.
        """
        with Reader(self, topic, committed) as reader:
            if not count and until is None:
                return reader.read_to_end(deadline)
            return reader.read_until(until or (lambda records: len(records) >= count), deadline)

    def read_each(self, *topics: str, deadline: float = 20) -> dict[str, list[Record]]:
        """What several topics hold now, read by one client: by short name."""
        found: dict[str, list[Record]] = {topic: [] for topic in topics}
        with Reader(self, topics) as reader:
            for record in reader.read_to_end(deadline):
                found[record.topic[len(self.prefix) :]].append(record)
        return found



class Reader:
    """Reads topics from their beginning, message by message, without a group; a context manager."""

    def __init__(self, topics: Topics, topic: str | Iterable[str], committed: bool = True) -> None:
        names = [topics.name(each) for each in ([topic] if isinstance(topic, str) else topic)]
        self._name = " ".join(names)
        self._consumer = Consumer(
            {
                "bootstrap.servers": topics.bootstrap,
                "group.id": f"reader-{secrets.token_hex(6)}",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed" if committed else "read_uncommitted",
                "fetch.wait.max.ms": 50,
            }
        )
        cluster = self._consumer.list_topics(timeout=REQUEST_SECONDS).topics
        self._partitions = [(name, each) for name in names for each in cluster[name].partitions]
        self._at_end: set[tuple[str, int]] = set()
        self._consumer.assign([TopicPartition(name, each, OFFSET_BEGINNING) for name, each in self._partitions])

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._consumer.close()

    def read_to_end(self, deadline: float = 20) -> list[Record]:
        """What is there now: up to the point where every partition has said that nothing more is to be read."""
        self._at_end.clear()
        records: list[Record] = []
        end = time.monotonic() + deadline
        while len(self._at_end) < len(self._partitions):
            assert time.monotonic() < end, f"{self._name}: its end was not reached within {deadline:g} s"
            records += self._poll()
        return records

    def read_until(self, condition: Callable[[list[Record]], object], deadline: float = 20) -> list[Record]:
        records: list[Record] = []
        end = time.monotonic() + deadline
        while not condition(records):
            assert time.monotonic() < end, f"{self._name}: not within {deadline:g} s; {len(records)} read: {records[-5:]}"
            records += self._poll()
        return records

    def _poll(self) -> list[Record]:
        records = []
        for message in self._consumer.consume(num_messages=500, timeout=0.05):
            error = message.error()
            if error is None:
                self._at_end.discard((message.topic(), message.partition()))
                records.append(Record.of(message))
            elif error.code() == KafkaError._PARTITION_EOF:
                self._at_end.add((message.topic(), message.partition()))
            elif error.fatal() or not error.retriable() and error.code() >= 0:
                raise RuntimeError(f"{self._name}: {error}")
        return records


def assignment_of(content: bytes) -> list[tuple[str, int]]:
    """Topic and partition of each entry of a member's assignment (Kafka protocol, ConsumerProtocolAssignment)."""
    if not content:
        return []
    place = 0

    def number(width: int) -> int:
        nonlocal place
        place += width
        return int.from_bytes(content[place - width : place], "big", signed=True)

    def text() -> str:
        nonlocal place
        length = number(2)
        place += length
        return content[place - length : place].decode()

    number(2)  # the version: later ones only add to the end
    found = []
    for _topic in range(number(4)):
        name = text()
        found += [(name, number(4)) for _partition in range(number(4))]
    return found


def printable(content: bytes | None) -> str:
    """On one line, and nothing in it that could steer a terminal."""
    text = "-" if content is None else content.decode(errors="replace")
    return "".join(each if each.isprintable() else "?" for each in text)


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} BOOTSTRAP TOPIC")
    bootstrap, topic = sys.argv[1:]
    topics = Topics(bootstrap, "")
    try:
        if topic not in topics.existing():
            sys.exit(f"{bootstrap} has no topic '{topic}'; it has: {', '.join(topics.existing()) or 'none'}")
        for record in topics.read(topic):
            print(f"{record.partition}/{record.offset}", printable(record.key), printable(record.value))
            for name, value in record.headers.items():
                print(f"    {printable(name.encode())}: {printable(value)}")
    except KafkaException as error:
        sys.exit(f"{bootstrap}: {error.args[0].str()}")
    except (RuntimeError, AssertionError) as error:
        sys.exit(f"{bootstrap}: {error}")
    except (BrokenPipeError, KeyboardInterrupt):
        sys.stdout = None


if __name__ == "__main__":
    main()
