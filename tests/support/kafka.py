"""A real Kafka broker, run by deploy/kafka/broker."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from support.paths import ROOT
from support.scripts import run_script

SCRIPT = ROOT / "deploy/kafka/broker"


class Broker:
    """One broker with its data below `folder`. It keeps its port and its topics through kill() and start()."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._paused = False

    @property
    def bootstrap(self) -> str:
        return (self.folder / "bootstrap").read_text().strip()

    @property
    def pid(self) -> int:
        return int((self.folder / "pid").read_text())

    def start(self, port: int | None = None) -> None:
        """On its former port, or on any free one at first, unless `port` says which."""
        self._run("start", "--keep-data", *([] if port is None else ["--port", str(port)]))

    def stop(self) -> None:
        self._run("stop")
        self._paused = False

    def restart(self) -> None:
        self.stop()
        self.start()

    def kill(self) -> None:
        """kill -9, as a machine that lost its power; start() brings it back."""
        pid = self.pid
        os.kill(pid, signal.SIGKILL)
        self._run("stop")
        self._paused = False

    def pause(self) -> None:
        """The broker stands still with its connections open, as a machine that hangs."""
        os.kill(self.pid, signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)
        self._paused = False

    def ensure_running(self) -> None:
        """Undoes what a test left behind, so that the next one meets a broker that answers."""
        if self._paused:
            self.resume()
        if subprocess.run([SCRIPT, "status", "--data", self.folder], capture_output=True).returncode != 0:
            self.start()

    def _run(self, command: str, *options: str) -> None:
        run_script(SCRIPT, command, "--data", self.folder, *options)
