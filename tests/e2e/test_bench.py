"""tests/bench run to their end and print their ratio; what it is worth on this machine is not judged."""

from __future__ import annotations

import re
import subprocess
import sys

from support.paths import ROOT

BENCH_SECONDS = 240


def test_an_update_is_measured_beside_a_bare_hop() -> None:
    done = subprocess.run(
        [sys.executable, "tests/bench/update_latency.py", "2"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BENCH_SECONDS,
    )
    assert done.returncode == 0, done.stdout
    assert "2 turns after 2 that are not counted" in done.stdout
    assert re.search(r"an update takes \d+\.\d times as long as the hop", done.stdout), done.stdout
