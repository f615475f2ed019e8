"""The one demo that may be left running: who holds it, how to look at it, how to end it.

    keeping.py may-keep    exit status 0 if none is kept, else 1 and what to do
    keeping.py show        how to look around in the kept one
    keeping.py stop        ends it, or what is left of one whose holder was killed

The holder locks a file for as long as it lives and writes into it what it holds. The kernel takes the lock away with
the process, however that ends; a file that nobody has locked tells only what may have been left behind. Standard
library only: this runs before anything is set up.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

STOP_SECONDS = 90
WRITE_SECONDS = 5
LEFT_SECONDS = 15
PAUSE_SECONDS = 0.1
FOLDER_PREFIX = "tandem-demo-"


def state_file() -> Path:
    state = os.environ.get("XDG_STATE_HOME")
    return Path(state or Path.home() / ".local/state") / "tandem-demo" / "kept.json"


def say(text: str) -> None:
    print(text, flush=True)


class Kept:
    """Ours from take() to the end of the process, or to release(). The lock follows a fork."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or state_file()
        self._file: int | None = None

    def take(self) -> bool:
        """False if another process holds it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        self._file = file
        return True

    def write(self, **content: Any) -> None:
        assert self._file is not None, "the lock is not held"
        text = json.dumps(content).encode()
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, text, 0)

    def release(self) -> None:
        """At an orderly end: nothing is left behind."""
        if self._file is not None:
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = None

    def forget(self) -> None:
        """In the process that has forked: the lock is the child's."""
        assert self._file is not None
        os.close(self._file)
        self._file = None

    def read(self) -> dict[str, Any]:
        """What the last holder wrote; empty if it ended in order."""
        try:
            found = json.loads(self._path.read_text() or "{}")
        except (FileNotFoundError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def processes_of(folder: str) -> list[int]:
    """Those of a demo's parts that run: all of them name a file of its folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            arguments = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        program = os.path.basename(arguments[0])
        is_part = program in ("java", "postgres") or program.startswith(("python3", "tandem-"))
        if is_part and any(folder + "/" in each for each in arguments[1:]):
            found.append(int(entry.name))
    return found


def end_left(folder: str) -> bool:
    """Ends what runs without its holder, and deletes the folder; false if there was nothing."""
    if not os.path.basename(folder).startswith(FOLDER_PREFIX):
        return False
    had_any = bool(processes_of(folder)) or os.path.isdir(folder)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in processes_of(folder):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
        end = time.monotonic() + LEFT_SECONDS
        while processes_of(folder) and time.monotonic() < end:
            time.sleep(PAUSE_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)
    return had_any


def is_held(kept: Kept) -> bool:
    if kept.take():
        kept.forget()
        return False
    return True


def refuse(kept: Kept) -> None:
    content = kept.read()
    say(f"deploy/demo: one is kept already, by process {content.get('pid', '?')} since {content.get('since', '?')}")
    say("   deploy/demo --show   how to look around in it")
    say("   deploy/demo --stop   ends it")
    say("   deploy/demo          plays another beside it, and stops that one")


def may_keep() -> int:
    kept = Kept()
    if is_held(kept):
        refuse(kept)
        return 1
    return 0


def show() -> int:
    kept = Kept()
    if not is_held(kept):
        say("nothing is kept; deploy/demo --keep plays and leaves everything running")
        return 1
    say(kept.read().get("lines", "it is still playing; see its own terminal"))
    return 0


def stop() -> int:
    kept = Kept()
    if kept.take():
        folder = str(kept.read().get("folder", ""))
        is_ended = end_left(folder)
        kept.release()
        say("its process was gone; what it had left was ended" if is_ended else "nothing is kept")
        return 0
    end = time.monotonic() + WRITE_SECONDS
    while not isinstance(pid := kept.read().get("pid"), int):
        if time.monotonic() > end:
            say(f"deploy/demo: {state_file()} is locked and does not say by whom")
            return 1
        time.sleep(PAUSE_SECONDS)
    # It holds the lock, so the number is that of a living process and was not given to another.
    os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + STOP_SECONDS
    while is_held(kept):
        if time.monotonic() > end:
            say(f"deploy/demo: process {pid} has not ended within {STOP_SECONDS} s")
            return 1
        time.sleep(PAUSE_SECONDS)
    say("stopped")
    return 0


def main() -> int:
    # Nothing is begun here that would have to be ended.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return {"may-keep": may_keep, "show": show, "stop": stop}[sys.argv[1]]()


if __name__ == "__main__":
    sys.exit(main())
