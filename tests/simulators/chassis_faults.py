"""Faults on demand: which request is hit, and how."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from aiohttp import web

from chassis_values import AdminError

FAULT_ACTIONS = (
    "status",
    "drop",
    "apply-then-drop",
    "delay",
    "slow-body",
    "garbage",
    "html",
    "truncate",
    "redirect",
    "oversize",
)
FAULT_MEMBERS = {"match", "action", "status", "headers", "body", "times", "skip", "delay_ms", "size"}
MATCH_MEMBERS = {"method", "path", "query", "body"}
OVERSIZE_DEFAULT = 16 * 1024 * 1024
HTML_PAGE = "<!DOCTYPE html>\n<html><head><title>Service gateway</title></head><body><h1>Gateway</h1></body></html>\n"


@dataclasses.dataclass
class Fault:
    """One fault on demand.

    `status`, `drop`, `html` and `redirect` keep the request from the service. All others let the service do it:
    `apply-then-drop` then closes the connection without an answer, `delay` answers later, `slow-body` sends the body
    in small pieces over `delay_ms`, `garbage` answers bytes that are no JSON, `truncate` announces the full length
    and closes in the middle, `oversize` pads the answer with blanks to `size` bytes. `delay_ms` of any other action
    passes before it. `skip` matching requests go through first; then `times` requests are hit (null: all).
    """

    id: int
    method: str | None
    path: re.Pattern[str]
    query: re.Pattern[str] | None
    body_match: re.Pattern[str] | None
    action: str
    status: int | None
    headers: dict[str, str]
    body: Any
    has_body: bool
    times: int | None
    skip: int
    delay_ms: int
    size: int
    source: dict[str, Any]
    hits: int = 0

    @staticmethod
    def parse(number: int, source: dict[str, Any]) -> Fault:
        unknown = set(source) - FAULT_MEMBERS
        match = source.get("match", {})
        if unknown or not isinstance(match, dict) or set(match) - MATCH_MEMBERS:
            raise AdminError(f"a fault has the members {sorted(FAULT_MEMBERS)}, its match {sorted(MATCH_MEMBERS)}")
        if source.get("action") not in FAULT_ACTIONS:
            raise AdminError(f"action must be one of {list(FAULT_ACTIONS)}")
        for name in ("status", "times", "skip", "delay_ms", "size"):
            value = source.get(name)
            if value is not None and (type(value) is not int or value < 0):
                raise AdminError(f"{name} must be a whole number")
        if source["action"] == "status" and source.get("status") is None:
            raise AdminError("action status needs a status")
        try:
            patterns = {name: re.compile(match[name]) for name in ("path", "query", "body") if name in match}
        except (re.error, TypeError) as problem:
            raise AdminError(f"wrong regular expression: {problem}") from None
        return Fault(
            id=number,
            method=match["method"].upper() if match.get("method") else None,
            path=patterns.get("path", re.compile("")),
            query=patterns.get("query"),
            body_match=patterns.get("body"),
            action=source["action"],
            status=source.get("status"),
            headers={str(name): str(value) for name, value in source.get("headers", {}).items()},
            body=source.get("body"),
            has_body="body" in source,
            times=source.get("times"),
            skip=source.get("skip") or 0,
            delay_ms=source.get("delay_ms") or 0,
            size=source.get("size") or OVERSIZE_DEFAULT,
            source=source,
        )

    def takes(self, request: web.Request, body: bytes) -> bool:
        """Whether this fault hits the request; counts it."""
        if self.times == 0 or (self.method and self.method != request.method):
            return False
        if not self.path.search(request.path) or (self.query and not self.query.search(request.query_string)):
            return False
        if self.body_match and not self.body_match.search(body.decode("utf-8", "replace")):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        self.hits += 1
        return True

    def shown(self) -> dict[str, Any]:
        return {"id": self.id, **self.source, "times": self.times, "skip": self.skip, "hits": self.hits}
