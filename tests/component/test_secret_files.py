"""Files with secrets, as the programs find them at their start: what is refused, with which words, and what is taken."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from support.process import Program

BAD_CONFIG = 78
KEY = "0123456789abcdef" * 4

pytestmark = pytest.mark.asan


def loop(path: Path) -> None:
    other = path.with_suffix(".other")
    other.symlink_to(path)
    path.symlink_to(other)


def written(content: bytes, mode: int = 0o600) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.touch(mode=0o600)
        path.write_bytes(content)
        path.chmod(mode)

    return write


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "B72 readable by all": (written(KEY.encode(), 0o644), "run: chmod 600 '"),
    "B72 missing": (lambda _path: None, "No such file or directory"),
    "B72 empty": (written(b""), "is empty"),
    "B72 only a line end": (written(b"\n"), "is empty"),
    "B72 two lines": (written(KEY.encode() + b"\nsecond\n"), "holds more than one line"),
    "B72 directory": (lambda path: path.mkdir(mode=0o700), "is not a regular file"),
    "B72 pipe": (lambda path: os.mkfifo(path, 0o600), "is not a regular file"),
    "B72 loop of links": (loop, "Too many levels of symbolic links"),
}
TAKEN = {"B72 with a line end": written(KEY.encode() + b"\n"), "B72 without one": written(KEY.encode())}


def check(folder: Path, secret: Path) -> Program:
    """`tandem-ingest --check` with the key of the credentials in that file; it asks nobody."""
    client = folder / "client.secret"
    written(b"s3cret\n")(client)
    config = folder / "tandem.yaml"
    config.write_text(
        "program: {instance: one}\n"
        "kafka: {bootstrap_servers: '127.0.0.1:1'}\n"
        f"credentials: {{key: {{file: {secret}}}}}\n"
        "partner_center:\n"
        "  tenant: fabrikam.example\n"
        "  client_id: 11111111-1111-4111-8111-111111111111\n"
        f"  client_secret: {{file: {client}}}\n"
        f"  refresh_token: {{file: {client}}}\n"
    )
    return Program("ingest", "--role", "fetch", "--check", config=config)


@pytest.mark.parametrize("name", REFUSED)
def test_secret_that_is_not_private_or_none_refuses_the_start(tmp_path: Path, name: str) -> None:
    make, message = REFUSED[name]
    secret = tmp_path / "key.secret"
    make(secret)
    with check(tmp_path, secret) as program:
        assert program.wait() == BAD_CONFIG
    assert "tandem.yaml:3:" in program.transcript() and message in program.transcript()
    assert KEY not in program.transcript()


@pytest.mark.parametrize("name", TAKEN)
def test_private_secret_of_one_line_is_taken(tmp_path: Path, name: str) -> None:
    secret = tmp_path / "key.secret"
    TAKEN[name](secret)
    with check(tmp_path, secret) as program:
        assert program.wait() == 0, program.transcript()
