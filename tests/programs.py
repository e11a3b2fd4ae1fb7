"""System programs that some tests need, and that a user's machine may lack."""

import os
from collections.abc import Sequence

import pytest

# Variable that .ci/run sets, as it installs all of them.
REQUIRED = "TESTS_NEED_PROGRAMS"


def need(missing: Sequence[str], package: str) -> None:
  """Skip the test where programs are missing; fail it where they must be there.

  Args:
    missing: programs that this machine lacks.
    package: Debian's package of them.
  """
  if not missing:
    return
  reason = f"no {', '.join(missing)} here: install {package}"
  if os.environ.get(REQUIRED):
    pytest.fail(reason)
  pytest.skip(reason)
