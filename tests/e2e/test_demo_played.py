"""deploy/demo plays both directions to its end, and every line it gives to a person works when it is pasted."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.demo import Demo
from support.paths import ROOT

PLAY_SECONDS = 240
LINE_SECONDS = 30
TOLD = [
    "webhook       Partner Center: referral-created",
    "write         create at Dynamics 365: applied",
    "0 writes; decision none: unchanged",
    "scenario 3",
    "scenario 4",
    "write         create at Partner Center: applied, HTTP 201",
    "Not sent to Partner Center: Enter an estimated revenue of more than zero. Enter an estimated close date.",
    "POST: Microsoft is invited",
    "replace /details/dealValue 91250.5",
    "both stand on both sides",
    "| latest | crm",
    "referral Closed, Won",
    "Partner Center to CRM, ",
    "CRM to Partner Center, ",
    "hash chains verified: 0 faults",
]


@pytest.fixture(scope="module")
def demo(run_folder: Path) -> Iterator[Demo]:
    demo = Demo(Path(tempfile.mkdtemp(prefix="d", dir=run_folder)))
    with demo.playing("--keep"):
        demo.wait_for("ends it all", PLAY_SECONDS)
        assert demo.wait() == 0
        yield demo
    assert demo.left() == []


def test_both_directions_are_played(demo: Demo) -> None:
    places = [demo.output.find(text) for text in TOLD]
    assert -1 not in places, f"not told: {TOLD[places.index(-1)]}"
    assert places == sorted(places)
    assert "Traceback" not in demo.output


def test_kept_demo_shows_its_lines_again(demo: Demo) -> None:
    shown = demo.keeping("show")
    assert shown.returncode == 0 and shown.stdout.rstrip() in demo.output
    assert demo.keeping("may-keep").returncode == 1


def test_every_line_works_when_pasted(demo: Demo) -> None:
    lines = [line.strip() for line in demo.keeping("show").stdout.splitlines() if line.startswith("   ")]
    commands = [line for line in lines if not line.startswith(str(ROOT / "deploy/demo"))]
    assert len(commands) > 20
    for word in ("letters", "redrive", "backfill", "settle", "preview", "read"):
        assert any(f" {word} " in command for command in commands), word
    for command in commands:
        result = subprocess.run(
            ["bash", "-c", command],
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LINE_SECONDS,
        )
        told = f"{command}\n{result.stdout}{result.stderr}"
        tells_progress = " backfill " in command
        assert result.returncode == 0 and result.stdout and (tells_progress or not result.stderr), told
        if "/_sim/" in command:
            assert "error" not in json.loads(result.stdout), told
        if command.endswith("/readyz"):
            assert result.stdout == "ready\n"


def test_connection_string_is_as_secret_as_the_programs_want_it(demo: Demo) -> None:
    [file] = demo.files.glob("tandem-demo-*/database")
    assert file.stat().st_mode & 0o077 == 0


def test_logs_are_json_files(demo: Demo) -> None:
    logs = sorted(demo.files.glob("tandem-demo-*/tandem/*.log"))
    assert len(logs) == 3
    for log in logs:
        events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
        assert "program.ready" in events
