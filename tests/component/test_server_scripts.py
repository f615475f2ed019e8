"""deploy/kafka/broker and deploy/postgres/cluster say clearly why they cannot start, and leave nothing running."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.kafka import SCRIPT as BROKER
from support.postgres import SCRIPT as CLUSTER
from support.scripts import changed_path

JARS = next((Path(os.environ.get("TANDEM_CACHE") or Path.home() / ".cache/tandem")).glob("kafka-????????????"), None)
OLD_JAVA = '#!/bin/sh\necho \'openjdk version "11.0.22" 2024-01-16\' >&2\n'
FAILING = "#!/bin/sh\necho 'no route to the repository' >&2\nexit 1\n"
# Of the user "postgres" there is no trace.
NO_SUCH_USER = '#!/bin/sh\n[ "$*" = -u ] && exec echo 0\n[ "$*" = -un ] && exec echo root\nexit 1\n'

as_root = pytest.mark.skipif(os.getuid() != 0, reason="another user's server runs as that user")


def run(script: Path, *arguments: str | Path, user: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    prefix = ["setpriv", f"--reuid={user}", "--clear-groups"] if user else []
    return subprocess.run(
        [*prefix, script, *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def assert_refused(done: subprocess.CompletedProcess[str], script: Path, *texts: str) -> None:
    """Its last line is the script's own, and says this; a person sees no error of a shell or an interpreter."""
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1, done.stdout + done.stderr
    assert last.startswith(f"deploy/{script.parent.name}/{script.name}: "), done.stderr
    for text in texts:
        assert text in last, done.stderr
    assert "Traceback" not in done.stderr and f"{script.name}: line " not in done.stderr


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def folder(run_folder: Path, tmp_path: Path) -> Iterator[Path]:
    """One that other users may enter, with a short path, as a socket's has to be."""
    folder = run_folder / f"s{abs(hash(tmp_path)) % 10**8}"
    folder.mkdir()
    yield folder
    for script in (BROKER, CLUSTER):
        run(script, "stop", "--data", folder / "data")
    shutil.rmtree(folder)


# --- Both -------------------------------------------------------------------------------------------------------------

both = pytest.mark.parametrize("script", [BROKER, CLUSTER], ids=["broker", "cluster"])


@both
def test_port_in_use_is_named(script: Path, folder: Path, taken_port: int) -> None:
    done = run(script, "start", "--data", folder / "data", "--port", str(taken_port))
    assert_refused(done, script, f"port {taken_port} is in use by another program")
    assert run(script, "status", "--data", folder / "data").returncode == 3


@both
@pytest.mark.parametrize("port", ["http", "-1", "65536", "80 "])
def test_port_that_is_none_is_told(script: Path, folder: Path, port: str) -> None:
    done = run(script, "start", "--data", folder / "data", "--port", port)
    assert_refused(done, script, f"--port takes a number from 0 to 65535, not '{port}'")
    assert not (folder / "data").exists()


@both
def test_directory_that_cannot_be_made_is_named(script: Path, folder: Path) -> None:
    (folder / "file").write_text("")
    done = run(script, "start", "--data", folder / "file/data")
    assert_refused(done, script, f"the directory {folder}/file/data cannot be made: Not a directory")


@both
def test_directory_that_cannot_be_written_to_is_named(script: Path, folder: Path) -> None:
    # As a user who can read the script, wherever the source tree is.
    copy = folder / script.parent.name / script.name
    shutil.copytree(script.parent, copy.parent)
    (folder / "data").mkdir(mode=0o555)
    user = "nobody" if os.getuid() == 0 else ""
    done = run(copy, "start", "--data", folder / "data", user=user, HOME=str(folder))
    assert_refused(done, script, f"the directory {folder}/data cannot be written to by user '")


@both
def test_second_start_and_missing_arguments_are_told(script: Path, folder: Path) -> None:
    assert_refused(run(script, "start"), script, "start needs --data DIR")
    assert_refused(run(script, "start", "--dta", folder), script, "unknown option '--dta'")
    assert run(script, "begin", "--data", folder).returncode == 2
    assert run(script, "start", "--data", folder / "data").returncode == 0
    assert_refused(run(script, "start", "--data", folder / "data"), script, "runs already in")


# --- Kafka ------------------------------------------------------------------------------------------------------------


def test_broker_names_java_that_is_missing_or_too_old(folder: Path) -> None:
    without = changed_path(folder / "without", "java")
    done = run(BROKER, "start", "--data", folder / "data", PATH=without)
    assert_refused(done, BROKER, "Java is missing; run deploy/setup")
    old = changed_path(folder / "old", java=OLD_JAVA)
    done = run(BROKER, "start", "--data", folder / "data", PATH=old)
    assert_refused(done, BROKER, "Kafka needs Java 17 or newer, this is 11")


def test_broker_says_how_its_jars_would_come(folder: Path) -> None:
    without = changed_path(folder / "without", "mvn")
    done = run(BROKER, "start", "--data", folder / "data", PATH=without, TANDEM_CACHE=str(folder / "cache"))
    assert_refused(done, BROKER, "Maven (mvn) is missing; run deploy/setup")

    failing = changed_path(folder / "failing", mvn=FAILING)
    done = run(BROKER, "start", "--data", folder / "data", PATH=failing, TANDEM_CACHE=str(folder / "cache"))
    log = folder / "cache/kafka-maven.log"
    assert_refused(done, BROKER, f"Maven could not fetch the jars; the whole output is in {log}")
    assert "no route to the repository" in done.stderr


def test_jars_that_are_lost_are_fetched_again(folder: Path) -> None:
    assert JARS is not None
    cached = folder / "cache" / JARS.name
    cached.mkdir(parents=True)
    for jar in JARS.glob("*.jar"):
        (cached / jar.name).symlink_to(jar)
    names = sorted(each.name for each in cached.iterdir())
    (cached / "complete").write_text("\n".join(names) + "\n")
    failing = changed_path(folder / "failing", mvn=FAILING)
    environment = {"PATH": failing, "TANDEM_CACHE": str(folder / "cache")}
    assert run(BROKER, "resolve", **environment).returncode == 0

    (cached / names[0]).unlink()

    done = run(BROKER, "resolve", **environment)
    assert_refused(done, BROKER, "Maven could not fetch the jars")
    assert not cached.exists()


def test_broker_with_damaged_data_says_what_to_do(folder: Path) -> None:
    data = folder / "data"
    assert run(BROKER, "start", "--data", data).returncode == 0
    assert run(BROKER, "stop", "--data", data).returncode == 0
    (data / "log/meta.properties").write_text("version=one\n")

    done = run(BROKER, "start", "--data", data, "--keep-data")

    assert_refused(done, BROKER, f"if its data in {data}/log is damaged, start without --keep-data deletes it")
    assert "meta.properties" in done.stderr or "version" in done.stderr
    assert run(BROKER, "status", "--data", data).returncode == 3
    assert run(BROKER, "start", "--data", data).returncode == 0


def test_broker_whose_settings_were_lost_takes_any_port(folder: Path) -> None:
    data = folder / "data"
    data.mkdir()
    (data / "server.properties").write_text("")
    assert run(BROKER, "start", "--data", data, "--keep-data").returncode == 0


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


def test_cluster_names_programs_that_are_missing(folder: Path) -> None:
    done = run(CLUSTER, "start", "--data", folder / "data", TANDEM_POSTGRESQL=str(folder / "none"))
    assert_refused(done, CLUSTER, f"PostgreSQL's server is missing: no {folder}/none/*/bin/initdb; run deploy/setup")
    without = changed_path(folder / "without", "psql")
    done = run(CLUSTER, "start", "--data", folder / "data", PATH=without)
    assert_refused(done, CLUSTER, "psql is missing; run deploy/setup")


@as_root
def test_cluster_does_not_run_as_root_and_names_the_user_it_needs(folder: Path) -> None:
    path = changed_path(folder / "bin", id=NO_SUCH_USER)
    done = run(CLUSTER, "start", "--data", folder / "data", PATH=path)
    assert_refused(done, CLUSTER, "its user 'postgres' is missing; run deploy/setup")
    assert not (folder / "data").exists()

    (folder / "closed").mkdir(mode=0o700)
    done = run(CLUSTER, "start", "--data", folder / "closed/data")
    assert_refused(done, CLUSTER, f"the user 'postgres' cannot enter {folder}/closed/data or a directory above it")


def test_cluster_with_damaged_data_shows_the_servers_words(folder: Path) -> None:
    data = folder / "data"
    assert run(CLUSTER, "start", "--data", data).returncode == 0
    assert run(CLUSTER, "stop", "--data", data).returncode == 0
    (data / "cluster/PG_VERSION").write_text("9.6\n")

    done = run(CLUSTER, "start", "--data", data)

    assert_refused(done, CLUSTER, "the cluster did not start on port ")
    assert "9.6" in done.stderr
    assert run(CLUSTER, "status", "--data", data).returncode == 3


def test_cluster_whose_path_is_too_long_says_so(folder: Path) -> None:
    done = run(CLUSTER, "start", "--data", folder / ("long" * 25))
    assert_refused(done, CLUSTER, "the path of --data is too long for a Unix socket")
