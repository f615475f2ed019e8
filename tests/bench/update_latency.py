"""What one update costs beside the least it could cost.

Turn by turn, on one unloaded machine: an update of a deal at Partner Center, from its webhook until the CRM has taken
it, through the three programs; and a bare exactly-once hop through the same broker, which is the one part of that way
that nothing can spare: a message is read, answered in a transaction with its offset, and seen by a reader of committed
messages. Times on a shared machine move by the hour; what is to be kept is their ratio, from one run.

    cmake --preset release && cmake --build --preset release
    TANDEM_BUILD=build/release /usr/bin/python3 tests/bench/update_latency.py [UPDATES]
"""

from __future__ import annotations

import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "deploy")]

from confluent_kafka import Consumer, Producer, TopicPartition  # noqa: E402

from demonstration.latency import line, measure, show  # noqa: E402
from demonstration.running import Running  # noqa: E402
from support.topics import Topics  # noqa: E402

DEADLINE = 30
WARMING = 20  # turns that are not counted: the broker compiles what it runs often


class Hop:
    """Input topic to output topic in one transaction, with the client settings that made it quickest."""

    def __init__(self, bootstrap: str) -> None:
        topics = Topics(bootstrap)
        topics.create("in", "out")
        self._names = topics.name("in"), topics.name("out")
        common = {"bootstrap.servers": bootstrap, "log_level": 2}
        # Without a callback for delivery reports the client looks for them every 10 ms only.
        reported: Callable[..., None] = lambda *_report: None  # noqa: E731
        self._source = Producer({**common, "enable.idempotence": True, "linger.ms": 0, "on_delivery": reported})
        self._producer = Producer(
            {
                **common,
                "transactional.id": f"hop-{secrets.token_hex(4)}",
                "linger.ms": 0,
                "retry.backoff.ms": 1,
                "on_delivery": reported,
            }
        )
        self._producer.init_transactions(DEADLINE)
        self._reader, self._seen = (
            Consumer({**common, "group.id": f"{self._names[0]}.hop", "isolation.level": "read_committed"})
            for _side in range(2)
        )
        for consumer, name in zip((self._reader, self._seen), self._names, strict=True):
            consumer.assign([TopicPartition(name, 0, 0)])

    @staticmethod
    def _next(consumer: Consumer) -> TopicPartition:
        message = consumer.poll(DEADLINE)
        assert message is not None and message.error() is None, "the hop's message did not come"
        return TopicPartition(message.topic(), message.partition(), message.offset() + 1)

    def take(self, value: bytes) -> float:
        """Milliseconds from handing the message to the client until the answer is read."""
        begin = time.monotonic()
        self._source.produce(self._names[0], value)
        self._source.flush(DEADLINE)
        done = self._next(self._reader)
        self._producer.begin_transaction()
        self._producer.produce(self._names[1], value)
        self._producer.flush(DEADLINE)
        self._producer.send_offsets_to_transaction([done], self._reader.consumer_group_metadata(), DEADLINE)
        self._producer.commit_transaction(DEADLINE)
        self._next(self._seen)
        return (time.monotonic() - begin) * 1000

    def close(self) -> None:
        self._reader.close()
        self._seen.close()


def main() -> None:
    updates = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    warming = min(WARMING, updates)
    with tempfile.TemporaryDirectory(prefix="tandem-bench-") as folder:
        Path(folder).chmod(0o755)
        running = Running(Path(folder))
        try:
            running.start()
            hop = Hop(running.broker.bootstrap)
            center, crm = running.partner_center, running.dynamics_365
            referral = center.add_referral(kind="microsoft-cosell")["id"]
            running.wait_linked_row(referral)
            running.wait_quiet()
            times, hops = [], []
            for turn in range(warming + updates):
                times += measure(
                    running,
                    1,
                    center,
                    "/referrals",
                    crm,
                    lambda _number, value=70000 + turn: center.edit_referral(referral, details={"dealValue": value}),
                )
                hops.append(hop.take(secrets.token_bytes(2500)))
            hop.close()
        finally:
            running.close()
    print(f"\n{updates} turns after {warming} that are not counted")
    show("Partner Center to CRM", times[warming:])
    line("bare exactly-once hop", hops[warming:])
    ratio = statistics.median(each.ours for each in times[warming:]) / statistics.median(hops[warming:])
    print(f"   an update takes {ratio:.1f} times as long as the hop (p50, without the simulators' own time)")


if __name__ == "__main__":
    main()
