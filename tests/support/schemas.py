"""Holds messages against the JSON Schemas of their topics (common/messages/schemas/), by a validator that is not ours."""

from __future__ import annotations

import functools
import json
from typing import Any

from jsonschema import Draft202012Validator, RefResolver

from support.paths import ROOT

FOLDER = ROOT / "common/messages/schemas"
KINDS = ("notification", "record", "decision", "outcome", "deal")

# The suffix of a topic's name, and what its messages are.
KIND_OF_TOPIC = {
    "notifications": "notification",
    "records": "record",
    "decisions": "decision",
    "outcomes": "outcome",
    "deals": "deal",
}


def load(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


@functools.cache
def validator(kind: str) -> Draft202012Validator:
    schema = load(kind)
    shapes = load("shapes")
    Draft202012Validator.check_schema(schema)
    Draft202012Validator.check_schema(shapes)
    return Draft202012Validator(schema, resolver=RefResolver.from_schema(schema, store={shapes["$id"]: shapes}))


def errors_of(kind: str, message: bytes | str | Any) -> list[str]:
    """What is wrong with a message, each with its place; empty: nothing. Bytes and text are read as JSON."""
    if isinstance(message, (bytes, str)):
        message = json.loads(message)
    found = sorted(validator(kind).iter_errors(message), key=lambda error: list(map(str, error.absolute_path)))
    return [f"{'/'.join(map(str, error.absolute_path)) or '(message)'}: {error.message}" for error in found]


def check(kind: str, message: bytes | str | Any) -> None:
    """Fails the test that hands over a message its topic's schema does not allow."""
    errors = errors_of(kind, message)
    assert not errors, f"no valid {kind}:\n" + "\n".join(errors)


def check_topic(topic: str, message: bytes | str | Any) -> None:
    """The same by the name of the topic, with any prefix before it."""
    check(KIND_OF_TOPIC[topic.rsplit(".", 1)[-1]], message)
