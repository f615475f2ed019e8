"""Who makes a request, and what the request says about the logic it starts."""

from __future__ import annotations

from dataclasses import dataclass

BROWSER = "Mozilla/5.0 (Windows NT 10.0; Win64; x64)"


@dataclass(frozen=True)
class Caller:
    """user_id is on whose behalf it runs, initiating_user_id who called; they differ only under impersonation."""

    user_id: str
    initiating_user_id: str
    user_agent: str = ""
    interactive: bool = False  # a person in the user interface, who has every privilege here
    tag: str | None = None
    bypassed_steps: frozenset[str] = frozenset()
    bypass_asynchronous: bool = False
    suppress_duplicate_detection: bool = True
