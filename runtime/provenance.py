"""Provenance of results: versions of libraries (not imported), and commit."""

import functools
import importlib.metadata
import os
import pathlib
import subprocess

_LIBRARIES = (
  "jax",
  "jaxlib",
  "flax",
  "optax",
  "orbax-checkpoint",
  "grain",
  "numpy",
  "ml_collections",
)


def versions(*others: str) -> dict[str, str]:
  """Return the versions of the libraries that a result depends on.

  Args:
    others: further libraries, left out if not installed.
  """
  versions_by_name = {name: _version(name) for name in _LIBRARIES}
  for name in others:
    try:
      versions_by_name[name] = _version(name)
    except importlib.metadata.PackageNotFoundError:
      continue
  return versions_by_name


@functools.cache
def _version(name: str) -> str:
  return importlib.metadata.version(name)


def commit() -> str:
  """Return the repository's commit, "+changes" if edited, "" if unknown.

  Where there is no repository, that of --task=launch (DIPTYCH_COMMIT).
  """
  root = pathlib.Path(__file__).parent.parent

  def git(*args: str) -> str:
    return subprocess.run(
      ("git", *args), cwd=root, capture_output=True, text=True, check=True
    ).stdout.strip()

  try:
    changed = git("status", "--porcelain", "--untracked-files=no")
    return git("rev-parse", "HEAD") + ("+changes" if changed else "")
  except (OSError, subprocess.CalledProcessError):
    return os.environ.get("DIPTYCH_COMMIT", "")
