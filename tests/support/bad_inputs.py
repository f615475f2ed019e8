"""Names the bad inputs of tests/cases/bad-inputs.json that a test is about, in the test's own name.

`pytest tests/component tests/e2e --collect-only -q` then shows which test is about which, and
tests/checks/test_bad_inputs.py holds the list to it.
"""

from __future__ import annotations

import pytest


def bad_input(*numbers: str) -> pytest.MarkDecorator:
    """The decorated test is called test_name[B18], or test_name[B65-B66]; also beside other parameters."""
    return pytest.mark.parametrize((), [pytest.param(id="-".join(numbers))])
