"""$batch: multipart/mixed in and out, change sets as one transaction each (Dataverse reference, 9 and 19)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from dataverse import errors
from dataverse.exchange import Answer, Exchange
from dataverse.query import parse_preferences
from dataverse.resource_path import relative
from dataverse.store import Row
from dataverse.web_api import WebApi, error_answer, part_of

REQUESTS_MAX = 1000
_INHERITED = ("user-agent", "odata-version", "odata-maxversion", "mscrmcallerid", "callerobjectid")


@dataclass(frozen=True)
class Part:
    """One MIME part: its headers (names in lower case) and its content."""

    headers: dict[str, str]
    content: bytes


@dataclass(frozen=True)
class Result:
    answer: Answer
    content_id: str | None = None


def perform(api: WebApi, exchange: Exchange, new_id: Callable[[], str]) -> tuple[Answer, int]:
    """The answer to a whole batch, and the number of requests in it. Without continue-on-error the first failure
    ends it and makes the answer 400."""
    settings = api.organization.settings
    try:
        if exchange.method != "POST":
            raise errors.method_not_allowed(exchange.method)
        boundary = _boundary(exchange.header("content-type") or "")
        if settings["batch_requires_crlf"] and re.search(rb"(?<!\r)\n", exchange.body):
            raise _unreadable("stream was not readable")
        parts = parse_parts(exchange.body, boundary)
        if sum(_requests_in(part) for part in parts) > REQUESTS_MAX:
            raise errors.invalid_argument(f"A batch holds at most {REQUESTS_MAX} requests.")
        go_on = parse_preferences(exchange.header("prefer") or "").continue_on_error
    except errors.ServiceError as refusal:
        return error_answer(refusal, exchange), 1
    results: list[list[Result] | Result] = []
    failed = False
    for part in parts:
        result = _perform_part(api, exchange, part)
        results.append(result)
        if isinstance(result, Result) and result.answer.status >= 400:
            failed = True
            if not go_on:
                break
    name = f"batchresponse_{new_id()}"
    body = _multipart(name, [_rendered(result, new_id) for result in results])
    headers = {"Content-Type": f"multipart/mixed; boundary={name}"}
    status = 400 if failed and not go_on else 200
    return Answer(status, headers, body), sum(len(result) if isinstance(result, list) else 1 for result in results)


def parse_parts(body: bytes, boundary: str) -> list[Part]:
    """The parts between the delimiters; CRLF and LF, and lines before the first delimiter, are accepted."""
    delimiter = re.compile(rb"(?:\A|\r?\n)--" + re.escape(boundary.encode()) + rb"(--)?[ \t]*(?=\r?\n|\Z)")
    marks = list(delimiter.finditer(body))
    if len(marks) < 2 or not marks[-1].group(1) or any(mark.group(1) for mark in marks[:-1]):
        raise _unreadable("the delimiters of the multipart body are not complete")
    return [_part(body[first.end() : second.start()]) for first, second in zip(marks, marks[1:])]


def _part(text: bytes) -> Part:
    text = re.sub(rb"\A\r?\n", b"", text, count=1)
    headers, content = _headers_and_rest(text)
    return Part(headers, content)


def _headers_and_rest(text: bytes) -> tuple[dict[str, str], bytes]:
    """Header lines up to the blank line, which may be missing at the end of a part without content."""
    headers: dict[str, str] = {}
    position = 0
    while position < len(text):
        end = text.find(b"\n", position)
        end = len(text) if end < 0 else end
        line = text[position:end].rstrip(b"\r")
        position = end + 1
        if not line:
            break
        name, colon, value = line.decode("utf-8", "replace").partition(":")
        if not colon or not re.fullmatch(r"[A-Za-z0-9\-_.]+", name):
            raise _unreadable("a header line of a part is malformed")
        headers[name.lower()] = value.strip()
    return headers, text[position:]


def _perform_part(api: WebApi, exchange: Exchange, part: Part) -> list[Result] | Result:
    kind = part.headers.get("content-type", "")
    try:
        if kind.lower().startswith("multipart/mixed"):
            return _perform_change_set(api, exchange, parse_parts(part.content, _boundary(kind)))
        inner = _inner(exchange, part, {})
    except _ChangeSetFailure as failure:
        return Result(failure.answer, failure.content_id)
    except errors.ServiceError as refusal:
        return Result(error_answer(refusal, exchange))
    return Result(api.handle(inner), part.headers.get("content-id"))


class _ChangeSetFailure(Exception):
    """The failure of one part, which undoes its change set and stands in its place in the answer."""

    def __init__(self, answer: Answer, content_id: str | None) -> None:
        super().__init__()
        self.answer = answer
        self.content_id = content_id


def _perform_change_set(api: WebApi, exchange: Exchange, parts: list[Part]) -> list[Result]:
    rows: dict[str, Row] = {}
    results: list[Result] = []
    with api.organization.transaction():
        for part in parts:
            content_id = part.headers.get("content-id")
            inner = exchange
            try:
                if content_id is None and api.organization.settings["batch_requires_content_id"]:
                    raise _unreadable("a part of a change set lacks its Content-ID")
                if content_id is not None and content_id in rows:
                    raise _unreadable("a Content-ID occurs twice")
                inner = _inner(exchange, part, rows)
                if inner.method == "GET":
                    raise _unreadable("GET is not allowed inside a change set")
                answer = api.perform(inner)
            except errors.ServiceError as refusal:
                raise _ChangeSetFailure(error_answer(refusal, inner), content_id) from None
            if content_id is not None and answer.row is not None:
                rows[content_id] = answer.row
            results.append(Result(answer, content_id))
    return results


def _inner(exchange: Exchange, part: Part, rows: dict[str, Row]) -> Exchange:
    """The request inside an application/http part."""
    if not part.headers.get("content-type", "").lower().startswith("application/http"):
        raise _unreadable("a part is neither application/http nor a change set")
    line, _, rest = part.content.lstrip(b"\r\n").partition(b"\n")
    match = re.fullmatch(r"([A-Z]+) (\S.*\S|\S) HTTP/1\.1", line.decode("utf-8", "replace").strip())
    if not match:
        raise _unreadable("the request line of a part is malformed")
    headers, body = _headers_and_rest(rest)
    inherited = {name: exchange.headers[name] for name in _INHERITED if name in exchange.headers}
    path, _, query = relative(match.group(2), exchange.base_url).partition("?")
    if path.strip("/") == "$batch":
        raise _unreadable("a batch cannot hold a batch")
    if not body.strip():
        body = b""
    merged = {**inherited, **headers}
    return part_of(exchange, method=match.group(1), path=path, query=query, headers=merged, body=body, content_ids=rows)


def _requests_in(part: Part) -> int:
    kind = part.headers.get("content-type", "")
    return len(parse_parts(part.content, _boundary(kind))) if kind.lower().startswith("multipart/mixed") else 1


def _boundary(content_type: str) -> str:
    match = re.match(r"multipart/mixed\s*;\s*boundary=(?:\"([^\"]+)\"|([^\s;]+))\s*$", content_type, re.IGNORECASE)
    if not match:
        raise _unreadable("the content type has to be multipart/mixed with a boundary")
    return match.group(1) or match.group(2)


def _unreadable(reason: str) -> errors.ServiceError:
    return errors.ServiceError(400, "0x80048d19", f"The batch could not be read: {reason}.")


def _rendered(result: list[Result] | Result, new_id: Callable[[], str]) -> bytes:
    if isinstance(result, Result):
        return _http_part(result)
    name = f"changesetresponse_{new_id()}"
    inner = _multipart(name, [_http_part(one) for one in result])
    return f"Content-Type: multipart/mixed; boundary={name}\r\n\r\n".encode() + inner


def _http_part(result: Result) -> bytes:
    lines = ["Content-Type: application/http", "Content-Transfer-Encoding: binary"]
    if result.content_id is not None:
        lines.append(f"Content-ID: {result.content_id}")
    answer = result.answer
    lines += ["", f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}", "OData-Version: 4.0"]
    for name, value in answer.headers.items():
        lines.append(f"{name}: {value}")
        if name == "OData-EntityId":
            lines.append(f"Location: {value}")
    return "\r\n".join([*lines, "", ""]).encode() + answer.body


def _multipart(boundary: str, parts: list[bytes]) -> bytes:
    text = b"".join(f"--{boundary}\r\n".encode() + part + b"\r\n" for part in parts)
    return text + f"--{boundary}--\r\n".encode()
