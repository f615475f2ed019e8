"""Where things are: the source tree and the build under test."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = (ROOT / os.environ.get("TANDEM_BUILD", "build/dev")).resolve()
PROGRAMS = BUILD / "bin"
