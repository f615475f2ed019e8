"""The project's own scripts that start and stop servers, run to their end."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from support import interruption

# Longer than the scripts' own deadlines, so that their message is the one that is seen.
SCRIPT_SECONDS = 120
END_SECONDS = 30
ATTEMPTS = 5


def run_script(script: Path, *arguments: str | Path) -> None:
    """Fails with the script's output unless it ends with 0.

    In a session of its own: a Ctrl-C at the terminal goes to us. Whatever then comes up here, the script is told by
    SIGTERM and waited for, so that it leaves nothing half started. One that a Ctrl-C has caught before it had its
    session has not begun, and is begun again.
    """
    for _ in range(ATTEMPTS):
        status, output = _run(script, *arguments)
        if -status not in interruption.SIGNALS:
            break
    if status != 0:
        raise RuntimeError(f"{script.name} {arguments[0]} failed ({status}):\n{output}")


def _run(script: Path, *arguments: str | Path) -> tuple[int, str]:
    with interruption.deferred():
        process = subprocess.Popen(
            [script, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    try:
        output, _ = process.communicate(timeout=SCRIPT_SECONDS)
    except BaseException:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise
    return process.returncode, output


def changed_path(folder: Path, *missing: str, **programs: str) -> str:
    """A PATH without some of the machine's programs, and with others that are the scripts given."""
    folder.mkdir(exist_ok=True)
    for place in reversed(os.environ["PATH"].split(os.pathsep)):
        for program in Path(place).glob("*"):
            link = folder / program.name
            link.unlink(missing_ok=True)
            link.symlink_to(program)
    for name in missing:
        (folder / name).unlink(missing_ok=True)
    for name, text in programs.items():
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return str(folder)
