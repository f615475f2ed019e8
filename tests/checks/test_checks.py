"""The checks of the source tree: that it passes them, and that each notices what it is there for."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import banned_functions  # noqa: E402
import include_layers  # noqa: E402
import include_modules  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


def write(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_includes_keep_to_the_layers() -> None:
    assert include_layers.breaches(ROOT) == []


def test_modules_of_a_folder_have_an_order() -> None:
    assert include_modules.circles(ROOT) == []


def test_no_banned_function_is_called() -> None:
    assert banned_functions.findings(ROOT) == []


def clang_format_version() -> int | None:
    if shutil.which("clang-format") is None:
        return None
    text = subprocess.run(["clang-format", "--version"], capture_output=True, text=True, check=True).stdout
    return int(text.split("version ")[1].split(".")[0])


# Other versions lay some things out differently; one has to decide.
@pytest.mark.skipif(clang_format_version() != 14, reason="clang-format 14 decides, and is not the one installed")
def test_files_are_formatted() -> None:
    """Files that git knows, as they are in the work tree."""
    listed = subprocess.run(["git", "ls-files", "*.c", "*.h"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [name for name in listed.stdout.split() if (ROOT / name).exists()]
    result = subprocess.run(["clang-format", "--dry-run", "-Werror", *files], cwd=ROOT, capture_output=True, text=True)
    unformatted = sorted({line.split(":")[0] for line in result.stderr.splitlines() if ": error: " in line})
    assert result.returncode == 0, "run clang-format -i on: " + " ".join(unformatted)


def test_python_has_no_unused_or_undefined_names() -> None:
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [name for name in listed.stdout.split() if (ROOT / name).exists()]
    result = subprocess.run([sys.executable, "-m", "pyflakes", *files], cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("source", "include", "reason"),
    [
        ("common/base/a.c", '"common/kafka/b.h"', "common/base may not include from common/kafka"),
        ("common/runtime/a.c", '"common/messages/b.h"', "common/runtime may not include from common/messages"),
        ("common/kafka/a.c", '"common/http/b.h"', "common/kafka may not include from common/http"),
        ("common/systems/a.h", '"mapper/b.h"', "common/systems may not include from mapper"),
        ("mapper/a.c", '"pusher/b.h"', "mapper may not include from pusher"),
        ("ingest/deep/a.c", '"mapper/b.h"', "ingest may not include from mapper"),
        ("pusher/a.c", '"tests/unit/b.h"', "pusher may not include from tests"),
        ("common/base/a.c", '"b.h"', "is no file of the project"),
        ("common/base/a.c", "<event2/event.h>", "is pure"),
        ("common/messages/a.c", "<curl/curl.h>", "is pure"),
    ],
)
def test_include_against_the_layers_is_found(tmp_path: Path, source: str, include: str, reason: str) -> None:
    if include.startswith('"') and "/" in include:
        write(tmp_path, include.strip('"'), "")
    write(tmp_path, source, f"/* A file. */\n#include {include}\n")

    (found,) = include_layers.breaches(tmp_path)

    assert found.startswith(f"{source}:2: ") and reason in found


# Header, what it says of itself, who includes it beside its owner; and whether that is a circle.
@pytest.mark.parametrize(
    ("comment", "user", "is_circle"),
    [
        ("The tables of a store.", None, True),
        ("The tables of a store. Internal to store.c.", None, False),
        ("The tables of a store. Internal\n * to store.c.", "mapper/store_keys.c", False),
        ("The tables of a store. Internal to store.c.", "mapper/worker.c", True),
    ],
)
def test_circle_of_modules_is_found_but_for_private_parts(
    tmp_path: Path, comment: str, user: str | None, is_circle: bool
) -> None:
    write(tmp_path, "mapper/store.h", "/* A store. */\n")
    write(tmp_path, "mapper/store.c", '#include "mapper/store.h"\n#include "mapper/store_tables.h"\n')
    write(tmp_path, "mapper/store_tables.h", f'/* {comment} */\n#include "mapper/store.h"\n')
    if user is not None:
        write(tmp_path, user, '#include "mapper/store_tables.h"\n')

    circle = "circle: mapper/store -> mapper/store_tables -> mapper/store"
    assert include_modules.circles(tmp_path) == ([circle] if is_circle else [])


def test_include_downward_and_within_a_folder_is_allowed(tmp_path: Path) -> None:
    for target in ("common/base/b.h", "common/kafka/b.h", "mapper/b.h"):
        write(tmp_path, target, "")
    text = '#include <event2/event.h>\n#include "common/base/b.h"\n#include "common/kafka/b.h"\n#include "mapper/b.h"\n'
    write(tmp_path, "mapper/a.c", text)

    assert include_layers.breaches(tmp_path) == []


def test_headers_in_a_circle_are_found(tmp_path: Path) -> None:
    write(tmp_path, "mapper/a.h", '#include "mapper/b.h"\n')
    write(tmp_path, "mapper/b.h", '#include "mapper/a.h"\n')

    assert include_layers.breaches(tmp_path) == ["circle: mapper/a.h -> mapper/b.h -> mapper/a.h"]


def test_banned_call_is_found_but_not_its_name_in_text() -> None:
    text = '/* strcpy(a, b) */\nint f(void)\n{\n    puts("strcpy(a)"); // atoi(x)\n    on_exit(1);\n    return atoi (x);\n}\n'

    assert banned_functions.calls(text) == [(6, "atoi")]
