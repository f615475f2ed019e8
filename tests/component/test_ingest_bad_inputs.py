"""Every row of tests/cases/bad-inputs/ against the real program: its answer, whether the connection stays open, and
where the input lands.

A row starts from a good, signed request about a referral of its own, {id}, and changes something in it:

    head        all lines of the head in place of the usual ones; {path} and {length} are filled in
    method, path, version               of the request line
    set, add    headers by name (null leaves one out); further header lines as they stand
    event       members of the event; `remove`: members that are left out
    event texts of the form "@1.10"     numbers, written like that
    body, body_hex                      the body in place of an event
    signature   one of SIGNATURES, by its name there

Where a text is expected, {"repeat": [text, count, before, after]} makes a long one, and {"keys": count} an object. The
expectation is `status`, `code`, `close`, and where the body `lands`: "notifications", "dead-letters" (with `reason` as
err.code) or, without it, nowhere.
"""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ingest_receiver import Receiver
from support.kafka import Broker
from support.paths import ROOT
from support.tls import Authority
from support.topics import Topics
from webhook_sender import PARTNER_CENTER_PATH, SigningAuthority, compact, event, signed_headers

CASES = ROOT / "tests/cases/bad-inputs"
LIMITS = {"connections_per_address_max": 64}

pytestmark = pytest.mark.asan


class World:
    """The receiver, and those who sign."""

    def __init__(self, folder: Path, authority: Authority, topics: Topics) -> None:
        signing = SigningAuthority()
        self.signer = signing.issue()
        self.other = signing.issue("other.example")
        self.topics = topics
        (folder / "leaf.der").write_bytes(self.signer.der)
        pinned = {
            "trusted_roots": str(signing.write(folder / "roots.pem")),
            "pinned_certificates": [str(folder / "leaf.der")],
        }
        self.receiver = Receiver(folder, authority, topics, LIMITS, pinned)


@pytest.fixture(scope="module")
def world(session_broker: Broker, authority: Authority, run_folder: Path) -> Iterator[World]:
    session_broker.ensure_running()
    topics = Topics(session_broker.bootstrap)
    folder = run_folder / f"bad-inputs-{uuid.uuid4()}"
    folder.mkdir()
    world = World(folder, authority, topics)
    with world.receiver:
        world.receiver.ready()
        yield world
    topics.delete_all()


Headers = dict[str, Any]


def _with(value: Callable[[World, bytes], str]) -> Callable[[World, bytes, Headers], None]:
    def change(world: World, body: bytes, headers: Headers) -> None:
        headers["Authorization"] = value(world, body)

    return change


def _alternate(world: World, body: bytes, headers: Headers) -> None:
    headers["x-ms-signature"] = headers["Authorization"]
    headers["Authorization"] = "Bearer gateway"


def _twice(_world: World, _body: bytes, headers: Headers) -> None:
    headers["authorization"] = headers["Authorization"]


def _none(_world: World, _body: bytes, headers: Headers) -> None:
    headers["Authorization"] = None


SIGNATURES: dict[str, Callable[[World, bytes, Headers], None]] = {
    "none": _none,
    "bearer": _with(lambda world, body: "Bearer " + world.signer.sign(body)),
    "odd case": _with(lambda world, body: "sIgNaTuRe " + world.signer.sign(body)),
    "no base64": _with(lambda _world, _body: "Signature ***"),
    "short": _with(lambda _world, _body: "Signature " + base64.b64encode(b"short").decode()),
    "empty": _with(lambda _world, _body: "Signature "),
    "other body": _with(lambda world, body: "Signature " + world.signer.sign(bytes([body[0] ^ 1]) + body[1:])),
    "other key": _with(lambda world, body: "Signature " + world.other.sign(body)),
    "other certificate": _with(lambda world, body: "Signature " + world.other.sign(body)),
    "second right": _with(
        lambda world, body: f"Signature {world.other.sign(body)}, Signature {world.signer.sign(body)}"
    ),
    "many": _with(lambda world, body: "Signature " + ",".join(["QUJD"] * 1000) + "," + world.signer.sign(body)),
    "fifth right": _with(lambda world, body: "Signature " + ",".join(["QUJD"] * 4) + "," + world.signer.sign(body)),
    "sixth right": _with(lambda world, body: "Signature " + ",".join(["QUJD"] * 5) + "," + world.signer.sign(body)),
    "alternate": _alternate,
    "twice": _twice,
}


def text_of(value: Any, identifier: str) -> str:
    if isinstance(value, str):
        return value.replace("{id}", identifier)
    if "keys" in value:
        return json.dumps({f"key{number}": 0 for number in range(value["keys"])})
    part, count, before, after = value["repeat"]
    return (before + part * count + after).replace("{id}", identifier)


def body_of(row: dict[str, Any], identifier: str) -> bytes:
    if "body_hex" in row:
        return bytes.fromhex(row["body_hex"])
    if "body" in row:
        return text_of(row["body"], identifier).encode()
    members = event(identifier)
    for name, value in row.get("event", {}).items():
        is_text = isinstance(value, str) or isinstance(value, dict) and "repeat" in value
        members[name] = text_of(value, identifier) if is_text else value
    body = compact({name: value for name, value in members.items() if name not in row.get("remove", [])})
    # A number as it is to be written: Python would write another.
    return re.sub(rb'"@([0-9.e+-]+)"', rb"\1", body)


def request_of(row: dict[str, Any], world: World, body: bytes, identifier: str) -> bytes:
    path = text_of(row.get("path", PARTNER_CENTER_PATH), identifier)
    if "head" in row:
        lines = [line.replace("{path}", path).replace("{length}", str(len(body))) for line in row["head"]]
        is_get = lines[0].split(" ")[0] != "POST"
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + (b"" if is_get else body)
    headers: Headers = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": str(len(body))}
    headers |= signed_headers(world.signer, body)
    if "signature" in row:
        SIGNATURES[row["signature"]](world, body, headers)
    headers |= row.get("set", {})
    lines = [f"{row.get('method', 'POST')} {path} {row.get('version', 'HTTP/1.1')}"]
    lines += [f"{name}: {value}" for name, value in headers.items() if value is not None]
    lines += [text_of(line, identifier) for line in row.get("add", [])]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def run_row(row: dict[str, Any], world: World, body: bytes, identifier: str) -> str | None:
    """What is wrong with the answer."""
    with world.receiver.connect() as connection:
        connection.send(request_of(row, world, body, identifier))
        answer = connection.answer()
        if (answer.status, answer.code) != (row["status"], row["code"]):
            return f"{answer.status} {answer.code}"
        if (answer.headers.get("allow") == "POST") != (answer.status == 405):
            return "Allow belongs to 405"
        if not (connection.is_closed() if row["close"] else connection.is_open()):
            return "left open" if row["close"] else "closed"
        uuid.UUID(answer.request_id)
    return None


def landed_wrong(row: dict[str, Any], body: bytes, bodies: list[str], letters: list[tuple[str, bytes]]) -> str | None:
    """What is wrong with where the body is found."""
    wanted = row.get("lands")
    in_notifications = bodies.count(body.decode("utf-8", "replace")) if body else 0
    reasons = [reason for reason, value in letters if value == body]
    if wanted == "notifications":
        return None if in_notifications == 1 and not reasons else f"{in_notifications} notifications, letters {reasons}"
    if wanted == "dead-letters":
        is_good = in_notifications == 0 and row["reason"] in reasons
        return None if is_good else f"{in_notifications} notifications, letters {reasons}"
    return None if in_notifications == 0 and not reasons else f"{in_notifications} notifications, letters {reasons}"


def all_rows() -> list[dict[str, Any]]:
    return [row for path in sorted(CASES.glob("*.json")) for row in json.loads(path.read_text())["rows"]]


def name_of(row: dict[str, Any]) -> str:
    return f"{row['id']} {row['what']}"


@pytest.fixture(scope="module")
def problems(world: World) -> dict[str, str]:
    """What is wrong, by the name of its row. All rows are sent before the topics are read, once for all of them."""
    found = {}
    sent = []
    for row in all_rows():
        identifier = str(uuid.uuid4())
        body = body_of(row, identifier)
        sent.append((row, body))
        problem = run_row(row, world, body, identifier)
        if problem is not None:
            found[name_of(row)] = problem

    notifications = [json.loads(record.value or b"{}") for record in world.topics.read("notifications")]
    letters = [
        (record.headers["err.code"].decode(), record.value or b"") for record in world.topics.read("dead-letters")
    ]
    for row, body in sent:
        problem = landed_wrong(row, body, [each["body"] for each in notifications], letters)
        wanted = row.get("occurred_at")
        if problem is None and wanted is not None:
            times = [each["occurred_at"] for each in notifications if each["body"] == body.decode()]
            problem = None if len(times) == 1 and times[0].startswith(wanted) else str(times)
        if problem is not None:
            found.setdefault(name_of(row), problem)
    return found


@pytest.mark.parametrize("name", [name_of(row) for row in all_rows()])
def test_bad_input_is_answered_and_kept_as_the_table_says(name: str, problems: dict[str, str]) -> None:
    assert problems.get(name) is None
