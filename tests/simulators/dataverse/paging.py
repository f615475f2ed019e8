"""Where a paged read goes on: the cookie in $skiptoken, and links to the next page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from dataverse import errors
from dataverse.resource_path import API_ROOT

_COOKIE = re.compile(
    r'<cookie pagenumber="(\d+)" last="([0-9a-f-]{36})" offset="(\d+)" since="(\d*)" start="([^"]*)" />'
)


@dataclass(frozen=True)
class Cookie:
    """The next page begins after the last row given, or at offset should that row be gone.

    since and start belong to change tracking: the version the read began after, and the delta token it will end with.
    """

    page: int
    last: str
    offset: int
    since: str = ""
    start: str = ""

    def __str__(self) -> str:
        return (
            f'<cookie pagenumber="{self.page}" last="{self.last}" offset="{self.offset}" since="{self.since}" '
            f'start="{self.start}" />'
        )


def read_cookie(options: Mapping[str, str]) -> Cookie | None:
    if "$skiptoken" not in options:
        return None
    match = _COOKIE.fullmatch(options["$skiptoken"])
    if not match:
        raise errors.query_syntax("Malformed XML in the paging cookie.")
    return Cookie(int(match.group(1)), match.group(2), int(match.group(3)), match.group(4), match.group(5))


def link(base_url: str, path: str, options: Mapping[str, str], name: str = "", value: str = "") -> str:
    """An absolute URL with the options of a request, its tokens replaced by the new one, if there is one."""
    kept = [
        f"{option}={quote(text, safe='$,()=/;')}"
        for option, text in options.items()
        if option not in ("$skiptoken", "$deltatoken")
    ]
    if name:
        kept.append(f"{name}={quote(value, safe='')}")
    return f"{base_url}{API_ROOT}{path.strip('/')}{'?' if kept else ''}{'&'.join(kept)}"
