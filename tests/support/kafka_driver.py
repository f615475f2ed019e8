"""The small programs of tests/component/kafka/, which show what common/kafka does at a real broker."""

from __future__ import annotations

import re
import signal

from confluent_kafka import Consumer, TopicPartition

from support.paths import BUILD
from support.process import Program
from support.topics import Topics
from support.waiting import wait_until

METRICS_END = "# end"
SERIES = re.compile(r"^(\w+)(?:\{(.*)\})? (-?\d+)$")
LABEL = re.compile(r'(\w+)="([^"]*)"')


class Driver(Program):
    """One of the programs, on the topics of the test; options as keyword arguments, `session_ms=2000`."""

    def __init__(self, name: str, topics: Topics, *properties: str, **options: object) -> None:
        super().__init__(name)
        self.command = [str(BUILD / f"tests/kafka_{name}_driver")]
        self.command += ["--bootstrap", topics.bootstrap, "--prefix", topics.prefix]
        for key, value in options.items():
            self.command += [f"--{key.replace('_', '-')}", str(value)]
        for each in properties:
            self.command += ["--property", each]

    def __enter__(self) -> Driver:
        super().__enter__()
        return self

    def values(self) -> list[str]:
        return [entry["value"] for entry in self.events("driver.message")]

    def metrics(self, name: str) -> list[tuple[dict[str, str], int]]:
        """Labels and value of each series of this metric, as they are now."""
        self.wait_for("driver.running")
        seen = self.other_lines.count(METRICS_END)
        self.signal(signal.SIGUSR1)
        wait_until(lambda: self.other_lines.count(METRICS_END) > seen, 10, "the program has written its metrics")
        ends = [place for place, line in enumerate(self.other_lines) if line == METRICS_END]
        page = self.other_lines[ends[-2] + 1 if len(ends) > 1 else 0 : ends[-1]]
        found = [match for match in map(SERIES.match, page) if match and match[1] == name]
        return [(dict(LABEL.findall(match[2] or "")), int(match[3])) for match in found]

    def lag(self, topic: str) -> dict[int, int]:
        """tandem_kafka_lag by partition; `topic` is the full name."""
        series = self.metrics("tandem_kafka_lag")
        return {int(labels["partition"]): value for labels, value in series if labels["topic"] == topic}


def numbered(count: int, keys: int = 50) -> list[tuple[str, str, None]]:
    return [(f"k{each % keys}", f"m{each}", None) for each in range(count)]


def values_of(topics: Topics, topic: str) -> list[str]:
    return [(record.value or b"").decode() for record in topics.read(topic)]


def committed(topics: Topics, group: str = "fetch", topic: str = "records", partition: int = 0) -> int:
    """The offset the group has committed; negative: none."""
    consumer = Consumer({"bootstrap.servers": topics.bootstrap, "group.id": topics.name(group)})
    try:
        return consumer.committed([TopicPartition(topics.name(topic), partition)], timeout=10)[0].offset
    finally:
        consumer.close()
