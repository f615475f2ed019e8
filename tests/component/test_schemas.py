"""The schemas of the topics say what the programs read and write."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from support import schemas
from support.paths import ROOT

SOURCES = {kind: ROOT / f"common/messages/{kind}.c" for kind in schemas.KINDS if kind != "deal"}
SOURCES["deal"] = ROOT / "mapper/deal.c"

# MEMBER(name, MEMBER_KIND, required[, words]) of the tables the codec works by; MEMBER_AT names the place as well.
MEMBER = re.compile(r"MEMBER(?:_AT)?\((\w+), (?:[\w[\]]+, )?MEMBER_(\w+), (true|false)(?:, (\w+))?\)")
WORDS = re.compile(r"(\w+_words)\[\] = \{(.*?), NULL\};", re.DOTALL)

TYPES = {"TEXT": "string", "INTEGER": "integer", "BOOLEAN": "boolean", "OBJECT": "object", "ARRAY": "array"}


def sample(kind: str) -> Any:
    return json.loads((ROOT / f"tests/cases/messages/{kind}.json").read_text())


def resolved(schema: dict[str, Any], of: dict[str, Any]) -> dict[str, Any]:
    """The schema a reference leads to."""
    if "$ref" not in schema:
        return schema
    file, _, pointer = schema["$ref"].partition("#/$defs/")
    document = schemas.load(file.removesuffix(".json")) if file else of
    return document["$defs"][pointer]


@pytest.mark.parametrize("kind", schemas.KINDS)
def test_schema_has_the_members_of_the_code(kind: str) -> None:
    text = SOURCES[kind].read_text()
    members = MEMBER.findall(text)
    words = {name: re.findall(r'"([^"]+)"', values) for name, values in WORDS.findall(text)}
    schema = schemas.load(kind)

    assert [name for name, *_ in members] == list(schema["properties"])
    assert [name for name, _, required, _ in members if required == "true"] == schema["required"]
    for name, member_kind, _, word_list in members:
        declared = resolved(schema["properties"][name], schema)
        if member_kind == "WORD":
            assert declared["enum"] == words[word_list], name
        elif "enum" in declared:
            assert {type(each) for each in declared["enum"]} == {str} and member_kind == "TEXT", name
        else:
            assert declared["type"] == TYPES[member_kind], name


@pytest.mark.parametrize("kind", schemas.KINDS)
def test_samples_are_valid_and_complete(kind: str) -> None:
    assert schemas.errors_of(kind, sample(kind)) == []
    assert set(sample(kind)) == set(schemas.load(kind)["properties"])


@pytest.mark.parametrize(
    ("kind", "changes", "place"),
    [
        ("notification", {"record_id": "6F1C9A52-0B7E-4F3E-9A34-2D1F5F0C7A11"}, "record_id"),
        ("notification", {"received_at": "2026-11-02 09:15:02"}, "received_at"),
        ("notification", {"body": None}, "body"),
        ("notification", {"headers": {"a": 1}}, "headers/a"),
        ("notification", {"source": "elsewhere"}, "source"),
        ("record", {"unheard_of": 1}, "(message)"),
        ("record", {"documents": []}, "documents"),
        ("record", {"documents": [{"role": "own"}]}, "documents/0"),
        ("record", {"causes": [{"origin": "webhook"}]}, "causes/0"),
        ("record", {"deal_key": "4711"}, "deal_key"),
        ("decision", {"id": "no-number"}, "id"),
        ("decision", {"number": -1}, "number"),
        ("decision", {"fields": [{"name": "value"}]}, "fields/0"),
        ("decision", {"create_key": {"a": "1", "b": "2"}}, "create_key"),
        ("decision", {"lookups": {"customerid_account": {"entity": "account"}}}, "lookups/customerid_account"),
        ("outcome", {"result": "perhaps"}, "result"),
        ("outcome", {"error_class": "none"}, "error_class"),
        ("deal", {"pending": {}}, "pending"),
        ("deal", {"seen_crm": {"documents": {"a": {}}, "values": {}}}, "seen_crm/documents/a"),
    ],
)
def test_what_is_wrong_is_found(kind: str, changes: dict[str, Any], place: str) -> None:
    errors = schemas.errors_of(kind, json.dumps(sample(kind) | changes))

    assert errors and all(error.startswith(f"{place}: ") for error in errors)


@pytest.mark.parametrize(
    ("kind", "changes", "absent"),
    [
        ("notification", {"origin": "webhook"}, "body"),
        ("notification", {"origin": "mapper"}, "deal_key"),
        ("record", {"kind": "reading"}, "documents"),
        ("record", {"kind": "gone"}, "reason"),
        ("record", {"kind": "handover"}, "state"),
        ("record", {"kind": "found"}, "record_id"),
        ("decision", {"action": "create"}, "create_key"),
        ("decision", {"action": "update"}, "record_id"),
        ("outcome", {"result": "refused"}, "error_code"),
    ],
)
def test_members_that_a_word_demands(kind: str, changes: dict[str, Any], absent: str) -> None:
    message = sample(kind) | changes
    assert schemas.errors_of(kind, message) == []
    del message[absent]

    assert schemas.errors_of(kind, message) == [f"(message): '{absent}' is a required property"]


def test_topics_are_known_with_any_prefix() -> None:
    schemas.check_topic("tandem.decisions", json.dumps(sample("decision")))
    schemas.check_topic("test.4.deals", sample("deal"))
    with pytest.raises(AssertionError, match="no valid outcome"):
        schemas.check_topic("outcomes", b"{}")
