"""The driver that uses the HTTP client and the tokens as a test tells it (tests/component/http/http_driver.c)."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support.paths import BUILD
from support.process import SANITIZER_EXIT_STATUS

ANSWER_SECONDS = 30
STOP_SECONDS = 30


class HttpDriver:
    """The driver as a process; a context manager. Leaving it frees everything and checks how the process ended."""

    def __init__(self, folder: Path, environment: dict[str, str] | None = None, **set_up: Any) -> None:
        self._log = folder / "http_driver.log"
        self._environment = {
            **os.environ,
            "ASAN_OPTIONS": f"exitcode={SANITIZER_EXIT_STATUS}:detect_stack_use_after_return=1",
            "UBSAN_OPTIONS": f"exitcode={SANITIZER_EXIT_STATUS}:print_stacktrace=1",
            **(environment or {}),
        }
        self._set_up = set_up
        self._answers: dict[int, dict[str, Any]] = {}
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._saves: queue.Queue[str] = queue.Queue()
        self._asked = 0
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> HttpDriver:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(BUILD / "tests/http_driver")],
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()
        self._write(self._set_up)
        return self

    def __exit__(self, exception_type: type[BaseException] | None, *_exception: object) -> None:
        status = self.end()
        if exception_type is None:
            assert status == 0, f"ended with {status}:\n{self.log}"

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            answer = json.loads(line)
            if answer["number"] == 0:
                self._saves.put(answer["save"])
            else:
                self._lines.put(answer)
        self._lines.put(None)

    def _write(self, line: dict[str, Any]) -> None:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()

    def end(self) -> int:
        """Frees everything, whatever is under way, and returns the exit status."""
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def tell(self, do: str, **question: Any) -> int:
        """Asks without waiting; returns the number to wait for."""
        self._write({"do": do, **question})
        self._asked += 1
        return self._asked

    def answer(self, number: int) -> dict[str, Any]:
        while number not in self._answers:
            line = self._lines.get(timeout=ANSWER_SECONDS)
            assert line is not None, f"the driver has ended:\n{self.log}"
            assert line["number"] not in self._answers, "a question was answered twice"
            self._answers[line["number"]] = line
        return self._answers[number]

    def unanswered(self, numbers: Sequence[int]) -> list[int]:
        """Those of the questions that have no answer yet. Later questions that were answered prove that it is due."""
        while not self._lines.empty():
            line = self._lines.get()
            assert line is not None, f"the driver has ended:\n{self.log}"
            self._answers[line["number"]] = line
        return [number for number in numbers if number not in self._answers]

    def send(self, method: str, url: str, **more: Any) -> dict[str, Any]:
        return self.answer(self.tell("send", method=method, url=url, **more))

    def tell_many(self, do: str, questions: Sequence[dict[str, Any]]) -> list[int]:
        return [self.tell(do, **question) for question in questions]

    def token(self, source: int = 0) -> dict[str, Any]:
        return self.answer(self.tell("get", source=source))

    def is_blocked(self, source: int = 0) -> bool:
        return bool(self.answer(self.tell("blocked", source=source))["blocked"])

    def next_save(self) -> str:
        """The refresh token that the account wants to be saved next; settle it with `tell("saved", is_saved=…)`."""
        return self._saves.get(timeout=ANSWER_SECONDS)

    def has_saves(self) -> bool:
        return not self._saves.empty()
