"""The systemd units that `cmake --install` brings: systemd takes them, and they fit what the programs and the documents say."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.paths import BUILD, PROGRAMS, ROOT

NAMES = ("ingest", "mapper", "pusher")
OPERATIONS = (ROOT / "docs/operations.md").read_text()
EXPOSURE_MAX = 20  # tenths, as `systemd-analyze security` counts them
UNIT_SECONDS = {"": 1, "s": 1, "min": 60}
CONFIG_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    prefix = tmp_path_factory.mktemp("units")
    subprocess.run(["cmake", "--install", BUILD, "--prefix", prefix], check=True, capture_output=True, timeout=60)
    yield prefix


def unit(prefix: Path, name: str) -> Path:
    return prefix / f"lib/systemd/system/tandem-{name}@.service"


def settings(prefix: Path, name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in unit(prefix, name).read_text().splitlines():
        assert re.fullmatch(r"|#.*|\[(Unit|Service|Install)\]|[A-Z]\w+=.*", line), line
        if "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            found.setdefault(key, []).append(value)
    return found


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("name", NAMES)
def test_systemd_takes_the_unit(prefix: Path, name: str) -> None:
    verified = analyze("verify", unit(prefix, name))
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")


@pytest.mark.parametrize("name", NAMES)
def test_unit_is_closed_off(prefix: Path, name: str) -> None:
    rated = analyze("security", "--offline=true", f"--threshold={EXPOSURE_MAX}", unit(prefix, name))
    assert rated.returncode == 0, rated.stdout


@pytest.mark.parametrize("name", NAMES)
def test_unit_starts_the_installed_program_with_the_instance_s_configuration(prefix: Path, name: str) -> None:
    found = settings(prefix, name)
    assert found["ExecStart"] == [f"{prefix}/bin/tandem-{name} --config /etc/tandem/{name}-%i.yaml"]
    assert found["EnvironmentFile"] == [f"-/etc/tandem/{name}-%i.env"]
    assert (found["Type"], found["User"]) == (["notify"], ["tandem"])
    assert Path(found["ExecStart"][0].split()[0]).exists()
    assert Path(found["Documentation"][0].removeprefix("file:")).exists()
    assert f"tandem-{name}@" in OPERATIONS


@pytest.mark.parametrize("name", NAMES)
def test_unit_restarts_what_the_document_says(prefix: Path, name: str) -> None:
    table = OPERATIONS.split("## Exit statuses")[1].split("\n## ")[0]
    never = re.findall(r"^\| (\d+) \|.*\| no\b.*\|$", table, re.MULTILINE)
    found = settings(prefix, name)
    assert never and found["RestartPreventExitStatus"] == [" ".join(never)]
    assert found["Restart"] == ["on-failure"]


@pytest.mark.parametrize("name", NAMES)
def test_unit_waits_for_the_program_to_end_by_itself(prefix: Path, name: str) -> None:
    described = subprocess.run(
        [PROGRAMS / f"tandem-{name}", "--describe-config"], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    number, measure = re.search(r"^program.drain_deadline\n.*default: (\d+)(\w+)", described, re.MULTILINE).groups()
    stop, unit_of_stop = re.fullmatch(r"(\d+)(\w*)", settings(prefix, name)["TimeoutStopSec"][0]).groups()
    assert int(stop) * UNIT_SECONDS[unit_of_stop] > 2 * int(number) * CONFIG_SECONDS[measure]


def test_users_are_made_by_systemd(prefix: Path) -> None:
    made = subprocess.run(
        ["systemd-sysusers", "--dry-run", "--root=/", prefix / "lib/sysusers.d/tandem.conf"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert made.returncode == 0 and "tandem" in made.stdout + made.stderr, made.stderr
