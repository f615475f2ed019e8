"""What `cmake --install` puts below a prefix works from there."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.paths import BUILD, ROOT
from support.postgres import Database

PROGRAMS = ("tandem-ingest", "tandem-mapper", "tandem-pusher")
SQL = sorted(path.name for path in (ROOT / "deploy/postgres").glob("[0-9]*.sql"))
BAD_CONFIG = 78


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    prefix = tmp_path_factory.mktemp("prefix")
    subprocess.run(["cmake", "--install", BUILD, "--prefix", prefix], check=True, capture_output=True, timeout=60)
    yield prefix


def run(prefix: Path, program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """From a directory that has nothing of ours, with an empty environment."""
    command = [prefix / "bin" / program, *arguments]
    return subprocess.run(command, cwd="/", env={}, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_tell_what_they_are(prefix: Path, program: str) -> None:
    version = run(prefix, program, "--version")
    assert (version.returncode, version.stderr) == (0, "")
    assert re.match(rf"{program} \d+\.\d+\.\d+", version.stdout)
    help_text = run(prefix, program, "--help")
    assert (help_text.returncode, help_text.stderr) == (0, "")
    assert "--config" in help_text.stdout


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_need_no_library_of_the_builders_home(prefix: Path, program: str) -> None:
    libraries = subprocess.run(["ldd", prefix / "bin" / program], check=True, capture_output=True, text=True).stdout
    assert "librdkafka.so.1 => /" in libraries
    assert str(Path.home()) not in libraries and str(ROOT) not in libraries and "not found" not in libraries


def test_only_what_runs_and_what_is_read_is_installed(prefix: Path) -> None:
    data = prefix / "share/tandem"
    assert sorted(path.name for path in (prefix / "bin").iterdir()) == list(PROGRAMS)
    assert sorted(path.name for path in (data / "rules").iterdir()) == sorted(
        path.name for path in (ROOT / "deploy/rules").iterdir()
    )
    assert sorted(path.name for path in (data / "postgres").iterdir()) == SQL
    assert sorted(path.name for path in data.iterdir()) == ["postgres", "rules", "tandem.example.yaml"]
    assert (prefix / "share/doc/tandem/README.md").exists() and (prefix / "share/doc/tandem/docs/rules.md").exists()


def test_rules_check_and_pass_their_own_tests(prefix: Path) -> None:
    rules = prefix / "share/tandem/rules"
    checked = run(prefix, "tandem-mapper", "check", rules / "dynamics-365.yaml")
    assert (checked.returncode, checked.stderr) == (0, "")
    tested = run(prefix, "tandem-mapper", "test", *sorted(rules.glob("*.test.yaml")))
    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.fixture
def configuration(prefix: Path) -> Iterator[Path]:
    """The installed example, filled in beside the installed rules; secrets are in the environment's place: files."""
    data = prefix / "share/tandem"
    text = (data / "tandem.example.yaml").read_text()
    for placeholder, value in {
        "<name of this process>": "one",
        "<broker 1>:9092,<broker 2>:9092,<broker 3>:9092": "127.0.0.1:1",
        "<tenant id of the partner account>": "9b1f7c52-3d0e-4a86-8c57-e2d4f60a1b39",
        "<tenant id of the organisation>": "9b1f7c52-3d0e-4a86-8c57-e2d4f60a1b39",
        "<client id of the application>": "11111111-1111-4111-8111-111111111111",
        "<client id of the application user>": "11111111-1111-4111-8111-111111111111",
        "<organisation>": "organisation",
        "<database host>": "127.0.0.1",
        "/var/lib/tandem/mapper": str(data / "store"),
    }.items():
        assert placeholder in text
        text = text.replace(placeholder, value)
    (data / "tandem.yaml").write_text(text)
    made = [data / "tandem.yaml"]
    for name in re.findall(r"\{file: (\S+)\}|: (tls/\S+)", text):
        path = data / "".join(name)
        path.parent.mkdir(exist_ok=True)
        path.touch(mode=0o600)
        path.write_text("00" * 32 + "\n")
        made.append(path)
    yield data / "tandem.yaml"
    for path in made:
        path.unlink()


def test_example_configuration_names_the_installed_rules(prefix: Path, configuration: Path) -> None:
    checked = run(prefix, "tandem-mapper", "--config", configuration, "--check")
    assert checked.returncode == 0, checked.stderr
    assert str(prefix / "share/tandem/rules/dynamics-365.yaml") in checked.stdout


def test_migrate_needs_no_file_beside_the_program(prefix: Path, configuration: Path, database: Database) -> None:
    conninfo = configuration.with_name("conninfo")
    conninfo.touch(mode=0o600)
    conninfo.write_text(database.dsn + "\n")
    try:
        for _ in range(2):
            migrated = run(
                prefix, "tandem-pusher", "migrate", "--conninfo-file", conninfo, "--config", configuration
            )
            assert migrated.returncode == 0, migrated.stdout + migrated.stderr
        done = database.rows("SELECT count(*) FROM tandem.migrations")
    finally:
        conninfo.unlink()
    assert done == [(len(SQL),)]
    assert database.rows("SELECT count(*) FROM tandem.verify_audit()") == [(0,)]
