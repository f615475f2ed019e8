"""What the pipeline tells webhook steps: one message about one row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dataverse.caller import Caller
from dataverse.store import Row
from dataverse.table import Table


@dataclass(frozen=True)
class Event:
    """sent holds the columns present in the request, in its order. Win and Lose carry their activity and status."""

    message: str
    table: Table
    row_id: str
    sent: tuple[str, ...]
    before: Row | None
    after: Row | None
    caller: Caller
    time: datetime
    correlation_id: str
    request_id: str
    close_activity: Row | None = None
    close_status: int | None = None

    def sent_value(self, column: str) -> Any:
        return self.after.get(column) if self.after else None
