"""Patterns of paths with {000..123}, {a,b}, *, ? and [ in them.

A path that exists is that path, whatever letters are in it, and so is a folder
at a pattern's beginning: in "data/[v1]/*.tar", "[v1]" is the folder of that
name if there is one. Names are compared in both Unicode forms of accents (NFC,
NFD), since disks and programs store either.
"""

import glob
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import fsspec
import fsspec.utils
from absl import logging

from input_pipeline.storage import braces, web
from runtime.storage import remote

# A name with the slashes behind it.
_PART = re.compile(r"[^/]+/*|/+")
# Seconds within which a server must say whether a path exists.
_SECONDS = 120.0


class Pattern(NamedTuple):
  """Path whose beginning is taken as it is.

  Attributes:
    root: path of a file or folder that exists, or "".
    tail: rest, a glob whose braces are expanded; "" if `root` is all.
  """

  root: str
  tail: str

  @property
  def path(self) -> str:
    """Return the whole path."""
    return self.root + self.tail

  @property
  def is_glob(self) -> bool:
    """Return whether the pattern may match several files, or none."""
    return braces.is_glob(self.tail, remote.scheme(self.path))


def expand(path: str) -> list[Pattern]:
  """Return the patterns without braces of a path; ValueError from braces."""
  root, tail = _split(remote.local_path(path))
  patterns = []
  for rest in braces.expand(tail):
    pattern = Pattern(root, rest if root else remote.local_path(rest))
    # On disk, `local_paths` looks for such folders behind the braces too.
    if "[" in rest and remote.is_remote(pattern.path):
      pattern = _split(pattern.path, len(root))
    patterns.append(pattern)
  return patterns


def is_pattern(path: str) -> bool:
  """Return whether a path has such letters, and no file or folder has it."""
  return bool(_is_magic(path) and _split(remote.local_path(path)).tail)


def local_paths(pattern: Pattern) -> list[str]:
  """Return the paths on disk that a pattern matches, sorted."""
  if not pattern.is_glob and os.path.exists(pattern.path):
    return [pattern.path]
  return sorted(set(_matches(pattern.root, _PART.findall(pattern.tail))))


def remote_infos(
  pattern: Pattern, fs: fsspec.AbstractFileSystem, seconds: float
) -> Mapping[str, Any]:
  """Return facts by name of the files at a URL that a pattern matches."""
  if not _is_magic(pattern.root):
    name = fs._strip_protocol(pattern.path)
    return remote.call(fs, "glob", name, detail=True, seconds=seconds)
  # A glob of fsspec cannot have a folder that is taken as it is.
  root = str(fs._strip_protocol(pattern.root)).rstrip("/")
  depth = None if "**" in pattern.tail else pattern.tail.count("/") + 1
  infos = remote.call(
    fs, "find", root, maxdepth=depth, detail=True, seconds=seconds
  )
  is_match = re.compile(fsspec.utils.glob_translate(pattern.tail)).match
  return {
    name: info
    for name, info in infos.items()
    if is_match(name[len(root) :].lstrip("/"))
  }


def advice(path: str) -> str:
  """Return the end of a message about a path that matches no file."""
  if "[" not in path:
    return ""
  return '; a "[" begins a pattern: write [[] for one in a name'


def forms(name: str) -> tuple[str, ...]:
  """Return a name in the Unicode forms that a disk may have it in."""
  if name.isascii():
    return (name,)
  both = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
  return tuple(dict.fromkeys((name, *both)))


def _split(path: str, begin: int = 0) -> Pattern:
  """Return a path with the longest beginning that exists as its root.

  Args:
    path: path or URL.
    begin: length of a beginning that is known to exist.
  """
  if not _is_magic(path[begin:]):
    return Pattern(path[:begin], path[begin:])
  exists: Callable[[str], bool] = os.path.exists
  first = 0
  if remote.is_remote(path):
    exists, first = _remote_exists, path.index("://") + 3
  if exists(path):
    _warn_of_others(path)
    return Pattern(path, "")
  end = max(begin, first)
  for part in _PART.findall(path[end:]):
    end += len(part)
    # Only names with such letters are asked for: a request each.
    if _is_magic(part):
      if not (part.endswith("/") and exists(path[:end])):
        break
      _warn_of_others(path[:end].rstrip("/"))
      begin = end
  return Pattern(path[:begin], path[begin:])


def _remote_exists(path: str) -> bool:
  try:
    fs, name = remote.file_system(path)
    fs.invalidate_cache()
    remote.call(fs, "info", name, seconds=_SECONDS)
  except TimeoutError:
    raise
  except Exception as error:  # each fsspec package has its own
    cause = error.__cause__
    is_web = remote.scheme(path) in web.SCHEMES
    # Where a web server does not answer at all, the look-up says so at once.
    return is_web and cause is not None and not hasattr(cause, "status")
  return True


def _matches(root: str, parts: list[str]) -> Iterator[str]:
  """Yield the paths of names below `root`, a folder with its slash or ""."""
  if not parts:
    if os.path.exists(root):
      yield root
    return
  name = parts[0].rstrip("/")
  slashes = parts[0][len(name) :]
  for path in _named(root, name, is_last=len(parts) == 1):
    if path != root and slashes:
      if not os.path.isdir(path):
        continue
      path = path.rstrip("/") + slashes
    yield from _matches(path, parts[1:])


def _named(root: str, name: str, *, is_last: bool) -> list[str]:
  """Return the paths below a folder of this name, or that it matches."""
  if not name:
    return ["/"]  # the first part of an absolute path
  existing = [f"{root}{x}" for x in forms(name) if os.path.exists(f"{root}{x}")]
  if existing or not braces.is_glob(name, ""):
    found = existing[:1]
  elif name == "**":
    tail = "**" if is_last else "**/"
    # The current folder, "", is not among those that glob returns.
    found = [*glob.glob(glob.escape(root) + tail, recursive=True)]
    found += [] if root else [root]
  else:
    found = _globbed(root, name)
  if existing:
    _warn_of_others(existing[0])
  return found


def _warn_of_others(path: str) -> None:
  """Log that a path on disk is no pattern, if that would match others."""
  folder, slash, name = path.rpartition("/")
  if remote.is_remote(path) or not braces.is_glob(name, ""):
    return
  others = {*_globbed(folder + slash, name)} - {path}
  if others:
    logging.warning(
      "%s exists and is read as that name, not as a pattern, which matches %d"
      " others, such as %s; write [*], [?] or [[] for such a letter in a name",
      *(path, len(others), min(others)),
    )


def _globbed(root: str, name: str) -> list[str]:
  patterns = [glob.escape(root) + form for form in forms(name)]
  return [path for pattern in patterns for path in glob.glob(pattern)]


def _is_magic(path: str) -> bool:
  return any(letter in path for letter in "*?[]{}")
