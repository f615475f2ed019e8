"""deploy/setup changes nothing where nothing is missing, and never apt's sources; it says what it would need."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from pathlib import Path

import pytest
from support.paths import ROOT
from support.scripts import changed_path

SETUP = ROOT / "deploy/setup"
CACHE = Path(os.environ.get("TANDEM_CACHE") or Path.home() / ".cache/tandem")
# What a run that finds nothing missing may take; it needs less than two.
QUICK_SECONDS = 20
DEBIAN_12 = 'VERSION_ID="12"' in Path("/etc/os-release").read_text()

# In place of what changes a machine: notes how it was called, and ends with the status it is told.
RECORDER = """#!/bin/sh
echo "$(basename "$0") $*" >>"{calls}"
echo "{text}" >&2
exit {status}
"""
# Knows nothing of one package.
FORGETFUL = """#!/bin/sh
/usr/bin/dpkg-query "$@" | grep -v "^{package} "
"""


def fingerprint(path: Path) -> dict[str, tuple[int, str]]:
    """Time and content of each file below a path."""
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    return {
        str(each): (each.lstat().st_mtime_ns, hashlib.sha256(each.read_bytes()).hexdigest())
        for each in files
        if os.access(each, os.R_OK)
    }


def machine() -> dict[str, tuple[int, str]]:
    """What of the machine is not ours to change, and our own prefix."""
    system = ("/etc/apt", "/etc/postgresql-common", "/var/lib/dpkg/status", "/var/lib/apt/lists")
    places = [each for each in (*map(Path, system), CACHE / "librdkafka") if each.exists()]
    return {name: what for place in places for name, what in fingerprint(place).items()}


class Machine:
    """A machine on which apt-get, sudo and dpkg-buildpackage only note that they were called."""

    def __init__(self, folder: Path, status: int = 0) -> None:
        self.cache = folder / "cache"
        self._calls = folder / "calls"
        self._shims: dict[str, str] = {}
        self._folder = folder
        for name in ("apt-get", "sudo", "dpkg-buildpackage", "add-apt-repository", "apt-key"):
            self.replace(name, RECORDER.format(calls=self._calls, text="E: no such package", status=status))

    def replace(self, name: str, text: str) -> None:
        self._shims[name] = text

    def has_librdkafka(self) -> None:
        self.cache.mkdir()
        (self.cache / "librdkafka").symlink_to(CACHE / "librdkafka")

    def run(self, *arguments: str, cache: Path | None = None) -> subprocess.CompletedProcess[str]:
        path = changed_path(self._folder / "bin", **self._shims)
        environment = {**os.environ, "PATH": path, "TANDEM_CACHE": str(cache or self.cache)}
        return subprocess.run(
            [SETUP, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def calls(self) -> list[str]:
        return self._calls.read_text().splitlines() if self._calls.exists() else []


def test_second_run_does_nothing_and_says_what_is_there(tmp_path: Path) -> None:
    this = Machine(tmp_path, status=1)
    before = machine()
    began = time.monotonic()

    done = this.run(cache=CACHE)

    assert time.monotonic() - began < QUICK_SECONDS
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("deploy/setup: everything is there: ")
    assert " packages, librdkafka 2." in done.stdout and done.stdout.count("\n") == 1
    assert this.calls() == []
    assert machine() == before
    assert any("librdkafka" in name for name in before) == DEBIAN_12


def test_what_is_missing_is_only_said_when_asked_for(tmp_path: Path) -> None:
    this = Machine(tmp_path, status=1)
    this.replace("dpkg-query", FORGETFUL.format(package="ninja-build"))
    before = machine()

    done = this.run("--check", cache=tmp_path / "nothing")

    expected = ["missing package: ninja-build"]
    if DEBIAN_12:
        assert f"missing: librdkafka 2.8 or newer, to be built into {tmp_path}/nothing/librdkafka" in done.stdout
    assert done.returncode == 1 and expected[0] in done.stdout
    assert not (tmp_path / "nothing").exists()
    assert this.calls() == [] and machine() == before


@pytest.mark.skipif(os.getuid() != 0, reason="as another user, apt-get is called through sudo")
def test_missing_packages_come_from_the_machines_own_sources(tmp_path: Path) -> None:
    this = Machine(tmp_path)
    this.has_librdkafka()
    this.replace("dpkg-query", FORGETFUL.format(package="ninja-build"))
    before = machine()

    done = this.run()

    assert done.returncode == 0, done.stdout + done.stderr
    assert this.calls() == ["apt-get update", "apt-get install -y --no-install-recommends ninja-build"]
    assert machine() == before


@pytest.mark.skipif(os.getuid() != 0, reason="as another user, apt-get is called through sudo")
def test_failing_step_ends_it_and_shows_why(tmp_path: Path) -> None:
    this = Machine(tmp_path, status=100)
    this.has_librdkafka()
    this.replace("dpkg-query", FORGETFUL.format(package="ninja-build"))

    done = this.run()

    assert done.returncode == 1
    assert "refreshing the package lists ... failed" in done.stdout
    assert "E: no such package" in done.stderr and f"the whole output is in {this.cache}/setup.log" in done.stderr
    assert this.calls() == ["apt-get update"]


def test_without_root_and_sudo_it_says_what_is_missing(tmp_path: Path) -> None:
    this = Machine(tmp_path, status=1)
    this.has_librdkafka()
    this.replace("dpkg-query", FORGETFUL.format(package="ninja-build"))
    this.replace("id", '#!/bin/sh\n[ "$*" = -u ] && echo 1000\n')

    done = this.run()

    assert done.returncode == 1
    assert "needs root or sudo without a password; missing: ninja-build" in done.stderr
    assert this.calls() == ["sudo -n true"]


def test_unknown_option_and_unusable_cache_are_told(tmp_path: Path) -> None:
    this = Machine(tmp_path, status=1)
    (tmp_path / "file").write_text("")

    done = this.run("--hurry")
    assert done.returncode == 1 and "unknown option '--hurry', see --help" in done.stderr
    done = this.run(cache=tmp_path / "file/cache")
    assert done.returncode == 1 and f"the cache {tmp_path}/file/cache cannot be made" in done.stderr
    assert this.calls() == []


def test_help_is_for_people() -> None:
    done = subprocess.run([SETUP, "--help"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and "deploy/setup --check" in done.stdout and "set -euo" not in done.stdout
