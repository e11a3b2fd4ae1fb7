"""Chromium of this machine for tests, driven by playwright."""

import contextlib
import shutil
from collections.abc import Iterator

from playwright import sync_api

PROGRAM = "chromium"
# Milliseconds that the page may take: other tests run on the same processors.
_PATIENCE_MS = 120_000


def missing() -> list[str]:
  """Return the programs that this machine lacks."""
  return [] if shutil.which(PROGRAM) else [PROGRAM]


@contextlib.contextmanager
def opened(**options: object) -> Iterator[sync_api.Page]:
  """Yield an empty page of a browser without a window.

  Args:
    options: of playwright's Browser.new_page, such as viewport.
  """
  with sync_api.sync_playwright() as playwright:
    browser = playwright.chromium.launch(
      executable_path=shutil.which(PROGRAM),
      # Without a sandbox, which a container has no rights for.
      args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
    )
    page = browser.new_page(**options)
    page.set_default_timeout(_PATIENCE_MS)
    yield page
    browser.close()
