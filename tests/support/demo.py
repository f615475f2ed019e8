"""deploy/demo as a child process, without set-up and build, with directories of its own for everything it writes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.paths import BUILD, ROOT
from support.waiting import wait_until

sys.path.insert(0, str(ROOT / "deploy"))

from demonstration import keeping  # noqa: E402

END_SECONDS = 120
# As deploy/demo starts it.
BLOCKED = ["--block-signal=INT", "--block-signal=TERM", "--block-signal=HUP"]
PLAY = ["env", *BLOCKED, sys.executable, str(ROOT / "deploy/demo.py")]


class Demo:
    """One demo at a time below `folder`, which PostgreSQL's user has to be able to enter."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = folder / "tmp"
        self.kept = keeping.Kept(folder / "state/tandem-demo/kept.json")
        self.files.mkdir(parents=True)
        for each in (folder, self.files):
            each.chmod(0o755)
        self.output = ""
        self.environment = {
            **os.environ,
            "TMPDIR": str(self.files),
            "XDG_STATE_HOME": str(folder / "state"),
            "TANDEM_BUILD": str(BUILD),
        }
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def keeping(self, command: str) -> subprocess.CompletedProcess[str]:
        """may-keep, show or stop."""
        script = [sys.executable, str(ROOT / "deploy/demonstration/keeping.py"), command]
        return subprocess.run(script, env=self.environment, capture_output=True, text=True, timeout=END_SECONDS)

    @contextmanager
    def playing(self, *options: str) -> Iterator[Demo]:
        """In a process group of its own, as a shell starts it; ended with SIGTERM if the block leaves it running."""
        self._process = subprocess.Popen(
            [*PLAY, *options],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        try:
            yield self
        finally:
            if self._process.poll() is None:
                self._process.terminate()
            self.wait()
            self.keeping("stop")

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        while text := process.stdout.read(1):
            self.output += text

    def wait_for(self, text: str, deadline: float = END_SECONDS) -> None:
        def is_told() -> bool:
            assert self._process is not None
            told = text in self.output
            assert told or self._process.poll() is None, f"it ended before {text!r}:\n{self.output}"
            return told

        wait_until(is_told, deadline, f"the demo tells {text!r}")

    def press_ctrl_c(self) -> None:
        """What a terminal does: the signal goes to the whole foreground process group."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGINT)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self) -> int:
        """The exit status as a shell shows it."""
        assert self._process is not None and self._reader is not None
        status = self._process.wait(END_SECONDS)
        self._reader.join(END_SECONDS)
        return status if status >= 0 else 128 - status

    def left(self) -> list[str]:
        """Directories and processes of any demo below our folder."""
        processes = keeping.processes_of(str(self.files))
        return [each.name for each in self.files.iterdir()] + [str(pid) for pid in processes]
