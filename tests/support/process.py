"""One of our programs as a child process whose log can be waited for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

from support import interruption
from support.paths import PROGRAMS, ROOT
from support.waiting import wait_until

READY_SECONDS = 30
STOP_SECONDS = 30

# A finding of a sanitizer must not look like an ordinary failure.
SANITIZER_EXIT_STATUS = 99


class Program:
    """Starts `tandem-<name> --config FILE ...`; use it as a context manager, and the process is always reaped.

    Log lines are read by a thread while the process runs: `log` holds those that are JSON, in order, and `other_lines`
    everything else (messages before logging starts, findings of a sanitizer). With `log_file`, set before start(), all of
    them are written there as well.
    """

    def __init__(
        self, name: str, *arguments: str | Path, config: Path | None = None, environment: dict[str, str] | None = None
    ) -> None:
        options = [] if config is None else ["--config", str(config)]
        self.command = [str(PROGRAMS / f"tandem-{name}"), *map(str, arguments), *options]
        self.log: list[dict[str, Any]] = []
        self.other_lines: list[str] = []
        self.log_file: Path | None = None
        sanitizers = {
            "ASAN_OPTIONS": f"exitcode={SANITIZER_EXIT_STATUS}:detect_stack_use_after_return=1",
            "UBSAN_OPTIONS": f"exitcode={SANITIZER_EXIT_STATUS}:print_stacktrace=1",
            "TSAN_OPTIONS": f"exitcode={SANITIZER_EXIT_STATUS}",
        }
        self._environment = {**os.environ, **sanitizers, **(environment or {})}
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Program:
        return self.start()

    def __exit__(self, exception_type: type[BaseException] | None, *_exception: object) -> None:
        status = self.stop()
        # A second failure would hide the first; but a test that went well must not hide a sanitizer's finding.
        if exception_type is None:
            assert status != SANITIZER_EXIT_STATUS, "a sanitizer has found something:\n" + "\n".join(self.other_lines)

    def start(self) -> Program:
        with interruption.deferred():
            self._process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                # A Ctrl-C at the terminal goes to pytest, which stops its programs in order.
                start_new_session=True,
            )
            self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
            self._reader.start()
        return self

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with open(self.log_file or os.devnull, "a", buffering=1) as copy:
            for line in process.stdout:
                copy.write(line)
                self._take(line)

    def _take(self, line: str) -> None:
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if isinstance(entry, dict):
            self.log.append(entry)
        else:
            self.other_lines.append(line.rstrip("\n"))

    @property
    def pid(self) -> int:
        assert self._process is not None, "the program was not started"
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status (negative: the signal), or None while it runs."""
        assert self._process is not None, "the program was not started"
        return self._process.poll()

    def events(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """The log entries so far of this event name ("event") with at least these fields."""
        return [
            entry
            for entry in list(self.log)
            if entry.get("event") == event and all(entry.get(key) == value for key, value in fields.items())
        ]

    def wait_for(self, event: str, deadline: float = READY_SECONDS, count: int = 1, **fields: object) -> dict[str, Any]:
        """The `count`-th log entry of this event; fails at once when the program has ended without it."""

        def seen() -> dict[str, Any] | None:
            ended = self.returncode is not None
            if ended and self._reader is not None:
                self._reader.join(STOP_SECONDS)
            found = self.events(event, **fields)
            if len(found) >= count:
                return found[count - 1]
            assert not ended, f"{self.command[0]} ended ({self.returncode}) before '{event}':\n{self.transcript()}"
            return None

        try:
            return wait_until(seen, deadline, f"'{event}' {fields or ''} in the log of {self.command[0]}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.transcript()}") from None

    def signal(self, number: signal.Signals) -> None:
        """Also SIGSTOP and SIGCONT. A program that has ended takes none, and that is an error of the test."""
        assert self.returncode is None, f"{self.command[0]} has ended ({self.returncode})"
        os.kill(self.pid, number)

    def wait(self, deadline: float = STOP_SECONDS) -> int:
        """Waits for the end; returns the exit status."""
        assert self._process is not None and self._reader is not None, "the program was not started"
        try:
            status = self._process.wait(deadline)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.command[0]} has not ended within {deadline:g} s\n{self.transcript()}") from None
        self._reader.join(STOP_SECONDS)
        return status

    def kill(self) -> None:
        """kill -9, and reaped."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> int | None:
        """SIGTERM, and SIGKILL after a while; returns the exit status. Does nothing if it has ended or never began."""
        if self._process is None:
            return None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
        try:
            return self.wait()
        except AssertionError:
            self._process.kill()
            return self.wait()

    def transcript(self, lines: int = 40) -> str:
        """The last log lines, for a failure's message."""
        return "\n".join([json.dumps(entry) for entry in self.log[-lines:]] + self.other_lines[-lines:])
