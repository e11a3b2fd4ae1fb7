"""Provenance of results: versions of libraries (not imported), and code."""

import dataclasses
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
  # Decoders: other versions decode other pixels.
  "pillow",
  "simplejpeg",
)
_ROOT = pathlib.Path(__file__).parent.parent
# Seconds that git has, on a slow disk.
_GIT_SECONDS = 30.0
# Variable with the commit that --task=launch has uploaded.
COMMIT = "DIPTYCH_COMMIT"
# Most bytes of changes that are kept, and names of new files.
MOST_BYTES = 1_000_000
_MOST_NAMES = 100


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


@dataclasses.dataclass(frozen=True)
class Code:
  """Code of this project as it is now.

  Attributes:
    commit: "" where neither git nor --task=launch knows it.
    diff: changes to the commit, as `git diff`; empty without any, or where
      there are more than MOST_BYTES.
    num_bytes: size of all changes.
    untracked: names of files that git does not know; nothing of their content.
  """

  commit: str
  diff: bytes = b""
  num_bytes: int = 0
  untracked: tuple[str, ...] = ()


def code() -> Code:
  """Return commit and changes of this project."""
  try:
    head = _git("rev-parse", "HEAD").decode().strip()
    diff = _git("diff", "--no-color", "--no-ext-diff", "--no-textconv", "HEAD")
    names = _git("ls-files", "-z", "--others", "--exclude-standard").decode(
      errors="replace"
    )
  except (OSError, subprocess.SubprocessError):
    return Code(os.environ.get(COMMIT, ""))
  return Code(
    head,
    diff if len(diff) <= MOST_BYTES else b"",
    len(diff),
    tuple(name for name in names.split("\0") if name)[:_MOST_NAMES],
  )


def commit() -> str:
  """Return the repository's commit, "+changes" if edited, "" if unknown.

  Without a repository, that of --task=launch.
  """
  try:
    changed = _git("status", "--porcelain", "--untracked-files=no")
    head = _git("rev-parse", "HEAD").decode().strip()
  except (OSError, subprocess.SubprocessError):
    return os.environ.get(COMMIT, "")
  return head + ("+changes" if changed.strip() else "")


def _git(*args: str) -> bytes:
  return subprocess.run(
    ("git", *args),
    cwd=_ROOT,
    capture_output=True,
    check=True,
    timeout=_GIT_SECONDS,
  ).stdout
