"""tandem-mapper against a real broker: what goes in at one side, what has to come out at the other."""

from __future__ import annotations

import json
import shutil
import signal
import threading
import uuid
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer

from support.bad_inputs import bad_input
from support.paths import BUILD, ROOT
from support.process import Program
from support.topics import MESSAGE_BYTES_MAX, Record, Topics
from support.waiting import wait_until

PARTITIONS = 4
RULES = ROOT / "tests/component/mapper/rules.yaml"
IDENTIFIER = "msft_microsoftpartnercenterreferralidentifier"
FENCED = 70
KAFKA = 71
BAD_CONFIG = 78
TAKE_OVER_SECONDS = 15

KEYED = ("notifications", "records", "decisions", "outcomes", "deals")
SINGLE = ("cursors", "credentials", "dead-letters")

Json = dict[str, Any]


@pytest.fixture
def mapper_topics(topics: Topics) -> Topics:
    for name in (*KEYED, *SINGLE):
        policy = "compact" if name in ("deals", "cursors", "credentials") else "delete"
        topics.create(
            name,
            partitions=PARTITIONS if name in KEYED else 1,
            config={"cleanup.policy": policy, "max.message.bytes": str(MESSAGE_BYTES_MAX)},
        )
    wait_until(lambda: set(topics.existing()) >= {*KEYED, *SINGLE}, 10, "the broker knows the topics")
    return topics


class Mapper(Program):
    """One instance with its configuration, store and rules below `folder`."""

    def __init__(
        self, folder: Path, topics: Topics, instance: str = "m1", store: str | None = None, preload: str | None = None
    ) -> None:
        self.store = folder / (store or f"store-{instance}")
        self.rules = folder / "rules.yaml"
        if not self.rules.exists():
            shutil.copy(RULES, self.rules)
        config = folder / f"{instance}-{self.store.name}.yaml"
        config.write_text(
            f"program: {{instance: {instance}, drain_deadline: 20s}}\n"
            f"kafka:\n  bootstrap_servers: {topics.bootstrap}\n  topic_prefix: {topics.prefix}\n"
            f"  partitions: {PARTITIONS}\n  replication_factor: 1\n  session_timeout: 6s\n"
            f"mapper:\n  rules: {self.rules}\n  store_directory: {self.store}\n  store_size: 16MiB\n"
            "  cache_deals: 50\n"
        )
        super().__init__("mapper", config=config, environment={"LD_PRELOAD": preload} if preload else None)

    def start(self) -> Mapper:
        super().start()
        return self

    def __enter__(self) -> Mapper:
        return self.start()

    def wait_restored(self, count: int = 1, deadline: float = 30) -> Json:
        return self.wait_for("mapper.restored", count=count, deadline=deadline)


def referral_id(number: int) -> str:
    return str(uuid.UUID(int=0xA000 << 112 | 4 << 76 | 8 << 60 | number))


def crm_id(number: int) -> str:
    return str(uuid.UUID(int=0xC000 << 112 | 4 << 76 | 8 << 60 | number))


def moment(second: int) -> str:
    return f"2026-03-01T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.5Z"


def referral(number: int, version: int = 1, value: int = 10, **changes: object) -> Json:
    shown = {
        "id": referral_id(number),
        "engagementId": str(uuid.UUID(int=number)),
        "name": f"Deal {number}",
        "type": "Shared",
        "status": "Active",
        "substatus": "Accepted",
        "externalReferenceId": None,
        "updatedDateTime": moment(version),
        "details": {"dealValue": value},
    }
    return {**shown, **changes}


def row(number: int, version: int = 1, value: int | None = 10, **changes: object) -> Json:
    shown = {
        "opportunityid": crm_id(number),
        "name": f"Deal {number}",
        "estimatedvalue": value,
        "statecode": 0,
        "statuscode": 1,
        IDENTIFIER: referral_id(number),
        "versionnumber": version,
        "modifiedon": moment(version),
    }
    return {**shown, **changes}


def document(side: str, body: Json) -> Json:
    if side == "crm":
        return {
            "role": "crm",
            "id": body["opportunityid"],
            "version": str(body["versionnumber"]),
            "changed_at": body["modifiedon"],
            "etag": f'W/"{body["versionnumber"]}"',
            "body": body,
        }
    return {
        "role": "own",
        "id": body["id"],
        "version": body["updatedDateTime"],
        "changed_at": body["updatedDateTime"],
        "etag": f'"{body["updatedDateTime"]}"',
        "body": body,
    }


Message = tuple[str, str, dict[str, str | bytes]]

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def reading(side: str, number: int, body: Json, second: int = 1) -> Message:
    entry = document(side, body)
    value = {
        "kind": "reading",
        "side": side,
        "system": "dynamics-365" if side == "crm" else "partner-center",
        "deal_key": referral_id(number),
        "record_type": "opportunity" if side == "crm" else "referral",
        "record_id": entry["id"],
        "read_at": moment(second),
        "documents": [entry],
        "causes": [],
    }
    headers: dict[str, str | bytes] = {"ce_id": "x", "ce_type": "tandem.record.v1", "traceparent": TRACE}
    return referral_id(number), json.dumps(value), headers


def outcome(decision: Json, number: int, body: Json, second: int = 100, **changes: object) -> Message:
    value = {
        "decision_id": decision["id"],
        "decision_number": decision["number"],
        "deal_key": decision["deal_key"],
        "result": "applied",
        "target": decision["target"],
        "system": decision["system"],
        "record_type": decision["record_type"],
        "record_id": crm_id(number) if decision["target"] == "crm" else referral_id(number),
        "is_certain": True,
        "is_created": decision["action"] == "create",
        "documents": [document(decision["target"], body)],
        "attempts": 1,
        "duration_ms": 5,
        "status": 200,
        "started_at": moment(second),
        "finished_at": moment(second),
        **changes,
    }
    return decision["deal_key"], json.dumps(value), {"ce_id": "x", "ce_type": "tandem.outcome.v1"}


def values(records: list[Record]) -> list[Json]:
    return [json.loads(record.value or b"null") for record in records]


def decisions_of(topics: Topics, count: int = 0, deadline: float = 20) -> list[Json]:
    return values(topics.read("decisions", count=count, deadline=deadline))


def states_of(topics: Topics) -> dict[str, Json]:
    """The last state of each deal; what only says under which key a deal lives is left out."""
    states = {(record.key or b"").decode(): json.loads(record.value or b"null") for record in topics.read("deals")}
    return {key: state for key, state in states.items() if "alias" not in state}


def send(topics: Topics, topic: str, *messages: Message) -> None:
    topics.produce_all(topic, messages)


# --- What comes out ---------------------------------------------------------------------------------------------------


@pytest.mark.asan
def test_new_referral_is_created_in_the_crm_and_linked(mapper_topics: Topics, tmp_path: Path) -> None:
    with Mapper(tmp_path, mapper_topics) as mapper:
        mapper.wait_restored()
        send(mapper_topics, "records", reading("partner-center", 1, referral(1)))
        record = mapper_topics.read("decisions", count=1)[0]
        create = values([record])[0]
        assert (create["action"], create["target"], create["number"]) == ("create", "crm", 1)
        assert create["write"] == {"name": "Deal 1", "estimatedvalue": 10, IDENTIFIER: referral_id(1)}
        assert create["create_key"] == {IDENTIFIER: referral_id(1)}
        assert create["cause_topic"] == mapper_topics.name("records")

        assert record.key == referral_id(1).encode()
        assert record.headers["ce_id"] == create["id"].encode()
        assert record.headers["ce_type"] == b"tandem.decision.v1"
        assert record.headers["ce_time"] == moment(1).encode()
        trace = record.headers["traceparent"].decode().split("-")
        assert trace[1] == TRACE.split("-")[1] and trace[2] != TRACE.split("-")[2]

        state = states_of(mapper_topics)[referral_id(1)]
        assert state["pending"]["id"] == create["id"]

        send(mapper_topics, "outcomes", outcome(create, 1, row(1)))
        link = decisions_of(mapper_topics, count=2)[1]
        assert (link["action"], link["purpose"], link["target"], link["number"]) == ("update", "link", "partner-center", 2)
        assert link["write"] == {"externalReferenceId": crm_id(1)}
        assert mapper.stop() == 0
    everything = mapper_topics.read("decisions") + mapper_topics.read("deals")
    assert len({record.partition for record in everything if record.key == referral_id(1).encode()}) == 1


@pytest.mark.asan
def test_echo_of_our_own_write_ends_here(mapper_topics: Topics, tmp_path: Path) -> None:
    with Mapper(tmp_path, mapper_topics) as mapper:
        mapper.wait_restored()
        send(mapper_topics, "records", reading("partner-center", 1, referral(1, externalReferenceId=crm_id(1))))
        decisions_of(mapper_topics, count=1)
        send(mapper_topics, "records", reading("crm", 1, row(1)))
        decisions_of(mapper_topics, count=2)
        send(mapper_topics, "records", reading("crm", 1, row(1, version=2, value=25), 2))
        write = decisions_of(mapper_topics, count=3)[2]
        assert (write["target"], write["write"]) == ("partner-center", {"details.dealValue": 25})
        written = referral(1, version=3, value=25, externalReferenceId=crm_id(1))
        send(mapper_topics, "outcomes", outcome(write, 1, written))
        wait_until(lambda: not states_of(mapper_topics)[referral_id(1)].get("pending"), 10, "the write is settled")
        send(mapper_topics, "records", reading("partner-center", 1, written, 4))
        echo = decisions_of(mapper_topics, count=4)[3]
        assert (echo["action"], echo["reason"], echo["detail"]) == ("none", "echo", write["id"])
        assert mapper.stop() == 0


def test_partner_that_is_named_but_unknown_is_asked_for(mapper_topics: Topics, tmp_path: Path) -> None:
    with Mapper(tmp_path, mapper_topics) as mapper:
        mapper.wait_restored()
        send(mapper_topics, "records", reading("crm", 7, row(7)))
        request = mapper_topics.read("notifications", count=1)[0]
        assert request.key == f"partner-center/{referral_id(7)}".encode()
        assert json.loads(request.value or b"")["origin"] == "mapper"
        assert request.headers["ce_type"] == b"tandem.notification.v1"
        assert mapper.stop() == 0


@pytest.mark.asan
@bad_input("B73")
def test_messages_that_cannot_be_processed_are_set_aside_and_the_others_go_on(
    mapper_topics: Topics, tmp_path: Path
) -> None:
    good = reading("partner-center", 1, referral(1))
    headers: dict[str, str | bytes] = {"ce_type": "tandem.record.v1", "x-own": "kept"}
    bad: list[tuple[str | None, str | bytes | None, dict[str, str | bytes], str]] = [
        ("k", "{not json", headers, "message.malformed"),
        ("k", b"\xff\xfe\x00garbage", headers, "message.malformed"),
        ("k", json.dumps({"kind": "reading"}), headers, "message.malformed"),
        (None, good[1], headers, "message.no_key"),
        (referral_id(2), good[1], headers, "message.foreign_key"),
        (referral_id(1), None, headers, "message.no_value"),
        (referral_id(1), good[1], {"ce_type": "tandem.record.v2"}, "message.unexpected_type"),
        ("k" * 300, json.dumps({**json.loads(good[1]), "deal_key": "k" * 300}), headers, "message.malformed"),
        ("k", "[" + "0," * 1_000_000 + "0]", headers, "message.malformed"),
        ("k", "{", {**headers, **{f"x-{number}": "y" for number in range(200)}}, "message.malformed"),
    ]
    with Mapper(tmp_path, mapper_topics) as mapper:
        mapper.wait_restored()
        for key, value, bad_headers, _code in bad:
            mapper_topics.produce("records", value, key, bad_headers)
        send(mapper_topics, "records", good)
        assert decisions_of(mapper_topics, count=1)[0]["action"] == "create"
        letters = mapper_topics.read("dead-letters", count=len(bad))
        assert mapper.stop() == 0
    assert Counter(letter.headers["err.code"].decode() for letter in letters) == Counter(code for *_rest, code in bad)
    for letter in letters:
        assert letter.headers["err.topic"].decode() == mapper_topics.name("records")
        assert letter.headers["err.stage"] == b"mapper" and letter.headers["err.class"] == b"poison"
    origin = {(int(each.headers["err.partition"]), int(each.headers["err.offset"])): each for each in letters}
    records = {(each.partition, each.offset): each for each in mapper_topics.read("records")}
    assert len(origin) == len(bad)
    for place, letter in origin.items():
        assert (letter.key, letter.value) == (records[place].key, records[place].value), "byte for byte"
    kept = [letter for letter in letters if letter.headers.get("x-own") == b"kept"]
    assert len(kept) == len(bad) - 1


# --- Exactly once -----------------------------------------------------------------------------------------------------


class Pusher:
    """Answers every decision that writes something, as the real one does after the write."""

    def __init__(self, topics: Topics, deals: int) -> None:
        self._topics = topics
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.rows = {number: row(number, value=None) for number in range(deals)}
        self.referrals: dict[int, Json] = {}
        self.numbers = {referral_id(number): number for number in range(deals)}

    def __enter__(self) -> Pusher:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        self._thread.join(20)

    def _run(self) -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": self._topics.bootstrap,
                "group.id": self._topics.name("pusher"),
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 20,
            }
        )
        producer = Producer(
            {
                "bootstrap.servers": self._topics.bootstrap,
                "enable.idempotence": True,
                "linger.ms": 1,
                "partitioner": "murmur2_random",
            }
        )
        consumer.subscribe([self._topics.name("decisions")])
        while not self._stop.is_set():
            for message in consumer.consume(num_messages=200, timeout=0.05):
                if message.error() is None:
                    self._answer(producer, json.loads(message.value()))
            producer.poll(0)
        producer.flush(10)
        consumer.close()

    def _answer(self, producer: Producer, decision: Json) -> None:
        if decision["action"] == "none":
            return
        number = self.numbers[decision["deal_key"]]
        if decision["target"] == "crm":
            body = self.rows[number]
            body.update(decision["write"])
            body["versionnumber"] += 1
            body["modifiedon"] = moment(body["versionnumber"])
        else:
            # The link: it bears the version of no reading of the test.
            body = referral(number, version=0, externalReferenceId=crm_id(number))
        key, value, headers = outcome(decision, number, body)
        changes = {} if decision["target"] == "crm" else {"is_certain": False}
        value = json.dumps({**json.loads(value), **changes})
        producer.produce(self._topics.name("outcomes"), value, key, headers=dict(headers))


def check_decisions(topics: Topics, records: int) -> list[Json]:
    """Exactly one decision for each record, and each deal's numbered without a gap, in order."""
    decisions = decisions_of(topics)
    causes = Counter((each["cause_topic"], each["cause_partition"], each["cause_offset"]) for each in decisions)
    assert not [cause for cause, count in causes.items() if count > 1]
    assert sum(topic == topics.name("records") for topic, _partition, _offset in causes) == records
    numbers: dict[str, list[int]] = defaultdict(list)
    for each in decisions:
        if each["action"] != "none":
            numbers[each["deal_key"]].append(each["number"])
    for key, seen in numbers.items():
        assert seen == list(range(1, len(seen) + 1)), key
    return decisions


def test_every_record_counts_exactly_once_through_kills(mapper_topics: Topics, tmp_path: Path) -> None:
    deals, versions = 250, 40
    messages = [
        reading(
            "partner-center",
            number,
            referral(number, version=version, value=10 * version, externalReferenceId=crm_id(number)),
            version,
        )
        for version in range(1, versions + 1)
        for number in range(deals)
    ]
    crm = [reading("crm", number, row(number, value=None)) for number in range(deals)]
    total = len(messages) + len(crm)
    mapper = Mapper(tmp_path, mapper_topics)

    def value_at_the_crm(state: dict[str, Any]) -> Any:
        return state["seen_crm"]["values"]["estimatedvalue"] if "seen_crm" in state else None

    def settled() -> bool:
        states = states_of(mapper_topics)
        return len(states) == deals and all(
            not state.get("pending") and value_at_the_crm(state) == 10 * versions for state in states.values()
        )

    with Pusher(mapper_topics, deals):
        mapper.start()
        try:
            mapper.wait_restored()
            send(mapper_topics, "records", *crm, *messages[: len(messages) // 4])
            for part in range(1, 4):
                mapper_topics.read("decisions", count=part * total // 5, deadline=40)
                mapper.kill()
                mapper.start()
                send(
                    mapper_topics,
                    "records",
                    *messages[part * len(messages) // 4 : (part + 1) * len(messages) // 4],
                )
            mapper.wait_restored(count=4, deadline=40)
            wait_until(settled, 60, "every deal has its last value at the CRM")
        finally:
            status = mapper.stop()
    assert status == 0
    check_decisions(mapper_topics, total)
    assert not mapper_topics.read("dead-letters")
    for state in states_of(mapper_topics).values():
        assert state["base_partner_center"]["deal_value"] == state["base_crm"]["deal_value"] == 10 * versions
        assert not state["causes"]


# --- The store --------------------------------------------------------------------------------------------------------


def prepare_deals(topics: Topics, folder: Path, count: int = 20) -> None:
    """Deals whose creation is under way."""
    with Mapper(folder, topics) as mapper:
        mapper.wait_restored()
        send(topics, "records", *[reading("partner-center", each, referral(each)) for each in range(count)])
        decisions_of(topics, count=count)
        assert mapper.stop() == 0


def check_goes_on(topics: Topics, count: int = 20) -> None:
    """The outcome of each creation leads to the next numbered decision, which only the state can tell."""
    created = decisions_of(topics)
    send(topics, "outcomes", *[outcome(each, index_of(each), row(index_of(each))) for each in created])
    links = [each for each in decisions_of(topics, count=2 * count) if each["purpose"] == "link"]
    assert [each["number"] for each in links] == [2] * count


def index_of(decision: Json) -> int:
    return next(each for each in range(100) if referral_id(each) == decision["deal_key"])


def test_store_that_is_lost_is_read_again(mapper_topics: Topics, tmp_path: Path) -> None:
    prepare_deals(mapper_topics, tmp_path)
    shutil.rmtree(tmp_path / "store-m1")
    with Mapper(tmp_path, mapper_topics) as mapper:
        assert mapper.wait_restored()["deals_read"] == 20
        check_goes_on(mapper_topics)
        assert mapper.stop() == 0


@pytest.mark.asan
def test_store_that_is_there_is_not_read_again(mapper_topics: Topics, tmp_path: Path) -> None:
    prepare_deals(mapper_topics, tmp_path)
    with Mapper(tmp_path, mapper_topics) as mapper:
        restored = mapper.wait_restored()
        assert (restored["deals_read"], restored["deals"]) == (0, 20)
        check_goes_on(mapper_topics)
        assert mapper.stop() == 0


@pytest.mark.asan
@pytest.mark.parametrize("damage", ["cut", "overwritten", "no state"])
def test_store_that_is_damaged_is_dropped_and_read_again(mapper_topics: Topics, tmp_path: Path, damage: str) -> None:
    prepare_deals(mapper_topics, tmp_path)
    data = tmp_path / "store-m1/data.mdb"
    if damage == "cut":
        data.write_bytes(data.read_bytes()[: 3 * 4096])
    elif damage == "overwritten":
        data.write_bytes(b"\xa5" * data.stat().st_size)
    else:
        (tmp_path / "store-m1/state").unlink()
    with Mapper(tmp_path, mapper_topics) as mapper:
        assert mapper.wait_restored()["deals_read"] == 20
        check_goes_on(mapper_topics)
        assert mapper.stop() == 0


def test_store_with_a_changed_value_ends_the_process_and_is_read_again(mapper_topics: Topics, tmp_path: Path) -> None:
    prepare_deals(mapper_topics, tmp_path)
    data = tmp_path / "store-m1/data.mdb"
    data.write_bytes(data.read_bytes().replace(b'"dealValue"', b'"dealXalue"').replace(b"Deal ", b"Daal "))
    with Mapper(tmp_path, mapper_topics) as mapper:
        mapper.wait_restored()
        created = decisions_of(mapper_topics)
        send(mapper_topics, "outcomes", outcome(created[0], index_of(created[0]), row(index_of(created[0]))))
        assert mapper.wait() == 1
        assert "store.damaged" in mapper.transcript()
    with Mapper(tmp_path, mapper_topics) as mapper:
        assert mapper.wait_restored()["deals_read"] == 20
        assert max(each["number"] for each in decisions_of(mapper_topics, count=21)) == 2
        assert mapper.stop() == 0


def test_store_of_other_topics_is_dropped(mapper_topics: Topics, tmp_path: Path) -> None:
    prepare_deals(mapper_topics, tmp_path)
    mapper_topics.delete_all()
    wait_until(lambda: not mapper_topics.existing(), 20, "the topics are gone")
    for name in (*KEYED, *SINGLE):
        wait_until(lambda name=name: create_again(mapper_topics, name), 20, f"{name} is there again")
    wait_until(lambda: set(mapper_topics.existing()) == {*KEYED, *SINGLE}, 20, "the broker tells all of them")
    with Mapper(tmp_path, mapper_topics) as mapper:
        restored = mapper.wait_restored()
        assert mapper.events("mapper.store_dropped", reason="identity")
        assert restored["deals"] == 0
        assert mapper.stop() == 0


def create_again(topics: Topics, name: str) -> bool:
    try:
        policy = "compact" if name in ("deals", "cursors", "credentials") else "delete"
        topics.create(
            name,
            partitions=PARTITIONS if name in KEYED else 1,
            config={"cleanup.policy": policy, "max.message.bytes": str(MESSAGE_BYTES_MAX)},
        )
    except Exception:  # noqa: BLE001  (a name that is being deleted is refused for a moment)
        return False
    return True


# --- More than one ----------------------------------------------------------------------------------------------------


def test_two_instances_share_the_partitions_and_one_takes_over(mapper_topics: Topics, tmp_path: Path) -> None:
    with Mapper(tmp_path, mapper_topics, "m1") as first, Mapper(tmp_path, mapper_topics, "m2") as second:

        def shared() -> bool:
            last = [each.events("mapper.restored")[-1:] for each in (first, second)]
            return all(last) and {each[0]["partitions"] for each in last} == {PARTITIONS // 2}

        wait_until(shared, 30, "each instance has half of the partitions")
        send(mapper_topics, "records", *[reading("partner-center", each, referral(each)) for each in range(40)])
        created = decisions_of(mapper_topics, count=40)
        first.kill()
        send(mapper_topics, "outcomes", *[outcome(each, index_of(each), row(index_of(each))) for each in created])
        decisions = decisions_of(mapper_topics, count=80, deadline=TAKE_OVER_SECONDS)
        assert [each["number"] for each in decisions if each["purpose"] == "link"] == [2] * 40
        assert second.events("mapper.restored")[-1]["partitions"] == PARTITIONS
        assert second.stop() == 0


@pytest.mark.asan
def test_second_process_of_a_name_fences_the_first(mapper_topics: Topics, tmp_path: Path) -> None:
    with Mapper(tmp_path, mapper_topics, "m1") as first:
        first.wait_restored()
        with Mapper(tmp_path, mapper_topics, "m1", store="other") as second:
            send(mapper_topics, "records", reading("partner-center", 1, referral(1)))
            assert first.wait() == FENCED
            second.wait_restored()
            send(mapper_topics, "records", reading("partner-center", 2, referral(2)))
            wait_until(lambda: len(states_of(mapper_topics)) == 2, 20, "the second goes on")
            assert second.stop() == 0
    check_decisions(mapper_topics, 2)


@pytest.mark.parametrize("instance", ["m1", "m2"])
def test_second_process_of_a_directory_ends_and_does_not_touch_the_first(
    mapper_topics: Topics, tmp_path: Path, instance: str
) -> None:
    with Mapper(tmp_path, mapper_topics, "m1", store="store") as first:
        first.wait_restored()
        with Mapper(tmp_path, mapper_topics, instance, store="store") as second:
            assert second.wait_for("mapper.waiting_for_store")["directory"] == str(first.store)
            assert second.wait() == BAD_CONFIG
            (told,) = second.events("program.failed")
            assert told["error_code"] == "store.locked"
            assert told["error"].startswith(f"mapper.store_directory: {first.store} is in use by another process")
            assert not second.events("kafka.assigned")
        send(mapper_topics, "records", reading("partner-center", 1, referral(1)))
        wait_until(lambda: len(states_of(mapper_topics)) == 1, 20, "the first goes on")
        assert len(first.events("kafka.assigned")) == 1, "nobody has taken its partitions"
        assert first.stop() == 0
    check_decisions(mapper_topics, 1)


def test_successor_waits_until_its_predecessor_has_left_the_directory(mapper_topics: Topics, tmp_path: Path) -> None:
    with Mapper(tmp_path, mapper_topics) as first:
        first.wait_restored()
        send(mapper_topics, "records", reading("partner-center", 1, referral(1)))
        wait_until(lambda: len(states_of(mapper_topics)) == 1, 20, "the first works")
        with Mapper(tmp_path, mapper_topics) as second:
            second.wait_for("mapper.waiting_for_store")
            assert first.stop() == 0
            assert second.wait_restored()["deals_read"] == 0, "what the first has left is whole"
            assert second.stop() == 0


# --- Poison -----------------------------------------------------------------------------------------------------------


def test_message_that_kills_the_process_is_set_aside_at_the_third_start(mapper_topics: Topics, tmp_path: Path) -> None:
    deadly = reading("partner-center", 1, referral(1, name="a-message-that-kills"))
    mapper = Mapper(tmp_path, mapper_topics, preload=str(BUILD / "tests/libdeadly_json.so"))
    send(mapper_topics, "records", deadly, reading("partner-center", 2, referral(2)))
    try:
        for _start in range(2):
            mapper.start()
            assert mapper.wait() == -signal.SIGABRT
        mapper.start()
        letter = mapper_topics.read("dead-letters", count=1)[0]
        assert letter.headers["err.code"] == b"mapper.crashed" and letter.headers["err.attempts"] == b"3"
        assert (letter.key, letter.value) == (deadly[0].encode(), deadly[1].encode())
        assert decisions_of(mapper_topics, count=1)[0]["deal_key"] == referral_id(2)
    finally:
        assert mapper.stop() == 0


# --- Rules and signals ------------------------------------------------------------------------------------------------


@pytest.mark.asan
@bad_input("B71")
def test_rules_are_loaded_anew_and_kept_when_they_are_wrong(mapper_topics: Topics, tmp_path: Path) -> None:
    with Mapper(tmp_path, mapper_topics) as mapper:
        mapper.wait_restored()
        version = mapper.wait_for("mapper.rules_loaded")["version"]
        mapper.rules.write_text(RULES.read_text().replace("conflict: latest", "conflict: latets"))
        mapper.signal(signal.SIGHUP)
        mapper.wait_for("mapper.rules_kept")
        assert "latets" in mapper.wait_for("mapper.rules_message")["message"]
        send(mapper_topics, "records", reading("partner-center", 1, referral(1)))
        assert decisions_of(mapper_topics, count=1)[0]["rules_version"] == version

        mapper.rules.write_text(RULES.read_text().replace("crm: estimatedvalue", "crm: budgetamount"))
        mapper.signal(signal.SIGHUP)
        newer = mapper.wait_for("mapper.rules_loaded", count=2)["version"]
        assert newer != version
        send(mapper_topics, "records", reading("partner-center", 2, referral(2)))
        decision = next(each for each in decisions_of(mapper_topics, count=2) if each["deal_key"] == referral_id(2))
        assert decision["rules_version"] == newer and decision["write"]["budgetamount"] == 10
        assert mapper.stop() == 0


# What is wrong with the rules, and the place and words that say so.
WRONG_RULES = {
    "B71 syntax error": (lambda text: text + "  - {name: [\n", "rules.yaml:32:1: error:"),
    "B71 two fields write the same": (
        lambda text: text.replace("crm: estimatedvalue", "crm: name"),
        "rules.yaml:29:10: error:",
    ),
    "B71 unknown word": (
        lambda text: text.replace("conflict: latest", "conflict: latets"),
        "rules.yaml:30:15: error: unknown conflict policy 'latets'",
    ),
    "B71 node that contains itself": (
        lambda text: text + "tables: &all {all: *all}\n",
        "rules.yaml:31:20: error: aliases ('*name') are not supported",
    ),
    "B71 deep nesting": (
        lambda text: text + "tables: " + "[" * 5000 + "]" * 5000 + "\n",
        "rules.yaml:31:40: error: nested more than 32 deep",
    ),
    "B71 10 MB": (lambda text: text + "# " + "x" * 10_000_000 + "\n", "rules.yaml: is larger than 4 MiB"),
}


@pytest.mark.asan
@pytest.mark.parametrize("name", WRONG_RULES)
def test_wrong_rules_refuse_the_start(mapper_topics: Topics, tmp_path: Path, name: str) -> None:
    change, message = WRONG_RULES[name]
    mapper = Mapper(tmp_path, mapper_topics)
    mapper.rules.write_text(change(RULES.read_text()))
    with mapper:
        assert mapper.wait() == BAD_CONFIG
    assert any(message in line for line in mapper.other_lines), mapper.transcript()[:2000]


def test_missing_topics_refuse_the_start(topics: Topics, tmp_path: Path) -> None:
    with Mapper(tmp_path, topics) as mapper:
        assert mapper.wait() == KAFKA
        assert mapper.events("program.failed", error_code="kafka.topics_missing")


@pytest.mark.parametrize("event", ["mapper.rules_loaded", "mapper.store_opened", "mapper.restored"])
def test_term_at_any_stage_of_the_start_ends_in_order(mapper_topics: Topics, tmp_path: Path, event: str) -> None:
    with Mapper(tmp_path, mapper_topics) as mapper:
        mapper.wait_for(event)
        mapper.signal(signal.SIGTERM)
        assert mapper.wait() == 0, mapper.transcript()


def test_term_without_a_broker_ends_in_order(tmp_path: Path, mapper_topics: Topics, broker: Any) -> None:
    broker.kill()
    with Mapper(tmp_path, mapper_topics) as mapper:
        mapper.wait_for("mapper.waiting_for_brokers")
        mapper.signal(signal.SIGTERM)
        assert mapper.wait(20) == 0
    broker.start()


@pytest.mark.asan
def test_term_under_load_loses_and_repeats_nothing(mapper_topics: Topics, tmp_path: Path) -> None:
    messages = [
        reading("partner-center", number, referral(number, version=version), version)
        for version in range(1, 21)
        for number in range(100)
    ]
    mapper = Mapper(tmp_path, mapper_topics).start()
    try:
        mapper.wait_restored()
        send(mapper_topics, "records", *messages)
        mapper_topics.read("decisions", count=200)
        mapper.signal(signal.SIGTERM)
        assert mapper.wait(20) == 0, mapper.transcript()
        mapper.start()
        mapper_topics.read("decisions", count=len(messages), deadline=40)
    finally:
        assert mapper.stop() == 0
    check_decisions(mapper_topics, len(messages))
