"""One request to the Web API and its answer, without the connection they came over: a batch holds many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import json_text
from dataverse.caller import Caller
from dataverse.store import Row

JSON_TYPE = "application/json; odata.metadata=minimal"


@dataclass
class Exchange:
    """path and query are as sent, path below the API root; header names are lower case.

    content_ids names the rows earlier parts of the same change set made. key_seen_missing marks an upsert whose key was
    looked up, and not found, before another request could insert it.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    base_url: str
    caller: Caller
    content_ids: dict[str, Row] = field(default_factory=dict)
    key_seen_missing: bool = False

    def header(self, name: str) -> str | None:
        return self.headers.get(name)


@dataclass
class Answer:
    """row is what a write made or changed, for references inside a change set."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    row: Row | None = None


def json_answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    return Answer(status, {"Content-Type": JSON_TYPE, **(headers or {})}, json_text.dumps(value).encode())
