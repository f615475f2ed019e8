"""deploy/demo ends in order whenever it is interrupted, and keeps one demo at a time."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.demo import Demo
from support.paths import ROOT
from support.scripts import run_script
from support.waiting import wait_until

USAGE = 64
DEADLINE = 30


@pytest.fixture
def demo(run_folder: Path) -> Iterator[Demo]:
    yield Demo(Path(tempfile.mkdtemp(prefix="d", dir=run_folder)))


MOMENTS = ["", "Kafka, one node", "PostgreSQL, a", "Dynamics 365 ...", "tandem-pusher ...", "1: new"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c_stops_everything_and_shows_no_traceback(demo: Demo, moment: str) -> None:
    with demo.playing():
        demo.wait_for(moment)
        demo.press_ctrl_c()
        assert demo.wait() == 128 + signal.SIGINT
    assert "Traceback" not in demo.output and "Error" not in demo.output
    assert demo.left() == []


def test_second_ctrl_c_does_not_disturb_the_stopping(demo: Demo) -> None:
    with demo.playing():
        demo.wait_for("Dynamics 365 ...")
        demo.press_ctrl_c()
        demo.wait_for("interrupted")
        demo.press_ctrl_c()
        demo.signal(signal.SIGTERM)
        assert demo.wait() == 128 + signal.SIGINT
    assert "Traceback" not in demo.output and demo.left() == []


def test_script_that_ctrl_c_has_caught_before_its_session_is_begun_again(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\nmkdir {tmp_path}/first 2>/dev/null && kill -INT $$\ntouch {tmp_path}/done\n")
    script.chmod(0o755)
    run_script(script, "stop")
    assert (tmp_path / "done").exists()


def test_ctrl_c_while_one_is_to_be_kept_keeps_none(demo: Demo) -> None:
    with demo.playing("--keep"):
        demo.wait_for("PostgreSQL, a")
        demo.press_ctrl_c()
        assert demo.wait() == 128 + signal.SIGINT
    assert "Traceback" not in demo.output and demo.left() == []
    assert demo.keeping("may-keep").returncode == 0


def test_number_in_the_file_of_an_ended_demo_may_be_anybodys_by_now(demo: Demo) -> None:
    with subprocess.Popen(["sleep", "600"]) as stranger:
        try:
            assert demo.kept.take()
            demo.kept.write(pid=stranger.pid, folder=str(demo.files / "tandem-demo-gone"))
            demo.kept.forget()
            assert demo.keeping("may-keep").returncode == 0
            assert demo.keeping("show").returncode == 1
            stopped = demo.keeping("stop")
            assert (stopped.returncode, stopped.stdout) == (0, "nothing is kept\n")
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_only_a_demos_own_folder_is_ever_deleted(demo: Demo) -> None:
    other = demo.folder / "other"
    other.mkdir()
    assert demo.kept.take()
    demo.kept.write(pid=1, folder=str(other))
    demo.kept.forget()
    assert demo.keeping("stop").returncode == 0
    assert other.is_dir()


def test_second_demo_is_not_kept_beside_the_first(demo: Demo) -> None:
    with demo.playing("--keep"):
        demo.wait_for("== starting")
        second = Demo(demo.folder / "second")
        second.environment["XDG_STATE_HOME"] = demo.environment["XDG_STATE_HOME"]
        with second.playing("--keep"):
            assert second.wait() == 1
            assert "deploy/demo --show" in second.output and "deploy/demo --stop" in second.output
            assert second.left() == []
        # Leaving the block has stopped the first.
        demo.wait()
    wait_until(lambda: demo.left() == [], DEADLINE, "nothing is left")


def test_what_a_killed_holder_has_left_is_stopped(demo: Demo) -> None:
    with demo.playing("--keep"):
        demo.wait_for("Dynamics 365 ...")
        assert demo.keeping("may-keep").returncode == 1
        os.kill(int(demo.kept.read()["pid"]), signal.SIGKILL)
        assert demo.wait() != 0
        assert demo.left() != []
        stopped = demo.keeping("stop")
        assert stopped.returncode == 0 and "was ended" in stopped.stdout
        wait_until(lambda: demo.left() == [], DEADLINE, "nothing is left")
        assert demo.keeping("may-keep").returncode == 0


@pytest.mark.parametrize("options", [["--keep", "--stop"], ["--stop", "--show"], ["--kept"], ["keep"], ["--keep", "x"]])
def test_options_that_mean_nothing_are_refused(options: list[str]) -> None:
    result = subprocess.run([ROOT / "deploy/demo", *options], capture_output=True, text=True, timeout=DEADLINE)
    assert (result.returncode, result.stdout) == (USAGE, "")
    assert re.search("^usage: deploy/demo", result.stderr, re.MULTILINE)
