"""Sets of the field by name: a suite, or a list, below one folder."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence

from evaluators.sets import (
  clip_benchmark,
  disk,
  field_set,
  missing,
  text_files,
  wds,
)
from evaluators.sets.disk import class_folders, tfds
from runtime import checks
from runtime.storage import remote

_TFDS = "tfds:"


def resolve(
  suite: str, sets: Sequence[str], data_root: str, *, cache_dir: str
) -> dict[str, field_set.FieldSet]:
  """Return the sets of a suite and of a list, by key; no image is read.

  A set is a folder of clip_benchmark.folders(key) in the `wds_*` layout, or a
  standard form of its own (evaluators/sets/disk). A name with a slash that is
  no key is the path of a `wds_*` folder, and tfds:FOLDER@SPLIT that of a data
  set's version of TFDS.

  Args:
    suite: key of clip_benchmark.SUITES, or a text file with a name a line; "".
    sets: names of sets, as clip_benchmark.key_of takes them, or paths.
    data_root: folder of all sets, on disk or at a URL.
    cache_dir: folder for the tables that standard forms are read as.

  Raises:
    ValueError: everything that is wrong, a line each: unknown names, sets that
      are not there, files that cannot be used.
    OSError, ModuleNotFoundError: an address cannot be read at all; the message
      names flag and address.
  """
  opened: dict[str, field_set.FieldSet] = {}
  with checks.collected():
    names = [*_suite(suite), *sets]
    if not names:
      checks.refuse("--suite or --sets must name at least one set; got none")
    lost: list[str] = []
    for name in dict.fromkeys(names):
      if lost:  # what ends one of its sets ends them all
        break
      with checks.collected():
        one = _one(name, data_root, cache_dir, lost)
        if one is None:
          continue
        if opened.setdefault(one.name, one).source != one.source:
          checks.refuse(
            f"--sets must have sets of different names; {name} is a second "
            f"{one.name}, beside {opened[one.name].source['path']}"
          )
  return opened


def _suite(suite: str) -> Sequence[str]:
  """Return the names of a suite; a refused one has none."""
  if not suite:
    return ()
  if suite in clip_benchmark.SUITES:
    return clip_benchmark.SUITES[suite]
  text = None
  if _is_path(suite):
    with _address("--suite", suite, []):
      text = text_files.read(suite)
  if text is None:
    known = ", ".join(clip_benchmark.SUITES)
    checks.refuse(
      f"--suite must be one of {known}, or a text file with a name of a set a "
      f"line; got {suite!r}"
    )
    return ()
  lines = [line.partition("#")[0].strip() for line in text.splitlines()]
  names = [line for line in lines if line]
  for line, name in enumerate(lines, 1):
    if name and not _is_known(name):
      checks.refuse(f"{suite}, line {line}: {_unknown(name)}")
  return [name for name in names if _is_known(name)]


def _is_path(name: str) -> bool:
  return "/" in name or "." in name or remote.is_remote(name)


def _is_known(name: str) -> bool:
  return clip_benchmark.key_of(name) is not None or _is_path(name)


def _unknown(name: str) -> str:
  near = [key for key in clip_benchmark.known() if name.lower() in key.lower()]
  hint = f" (did you mean {', '.join(near[:5])}?)" if name and near else ""
  return (
    f"there is no set {name!r}{hint}; docs/evaluation.md lists the names, and "
    "the path of a folder has a slash in it"
  )


@contextlib.contextmanager
def _address(flag: str, path: str, lost: list[str]) -> Iterator[None]:
  """Raise errors at a URL with its flag; note the URL in `lost`."""
  try:
    yield
  except (OSError, ImportError) as error:
    if not remote.is_remote(path):
      raise
    lost.append(path)
    kind = OSError if isinstance(error, OSError) else ModuleNotFoundError
    raise kind(f"{flag}={path}: {error}") from error


def _one(
  name: str, data_root: str, cache_dir: str, lost: list[str]
) -> field_set.FieldSet | None:
  """Return a set; None for one that was refused.

  Args:
    name: name or path of the set.
    data_root: folder of all sets.
    cache_dir: folder for tables.
    lost: gets `data_root` where nothing below it can be read.
  """
  if name.startswith(_TFDS):
    folder, _, split = name.removeprefix(_TFDS).partition("@")
    with _address("--sets", folder, []):
      return tfds.open_set(folder, split=split)
  key = clip_benchmark.key_of(name)
  if key is None:
    if not _is_path(name):
      checks.refuse(f"--sets: {_unknown(name)}")
      return None
    with _address("--sets", name, []):
      return _at(name.rstrip("/"), cache_dir)
  if not data_root:
    checks.refuse(f"--data_root must be the folder of the sets, for {name}")
    return None
  with _address("--data_root", data_root, lost):
    return _below(key, data_root.rstrip("/"), cache_dir)


def _at(root: str, cache_dir: str) -> field_set.FieldSet:
  """Return the set of a folder of its own path."""
  if not wds.is_set(root):  # one's own folders by class, perhaps
    opened = class_folders.open_set("", root, cache_dir=cache_dir)
    if opened is not None:
      return dataclasses.replace(opened, name=root.rpartition("/")[2])
  return wds.open_set(root, "--sets")


def _below(key: str, root: str, cache_dir: str) -> field_set.FieldSet | None:
  """Return a set below a folder; None for one that was refused."""
  for folder in clip_benchmark.folders(key):
    if wds.is_set(f"{root}/{folder}"):
      return wds.open_set(f"{root}/{folder}", "--data_root", name=key)
  made = disk.open_set(key, root, cache_dir=cache_dir)
  if made is None:
    # A folder without nshards.txt is a set whose download was cut off.
    for folder in clip_benchmark.folders(key):
      if _has_text(f"{root}/{folder}"):
        return wds.open_set(f"{root}/{folder}", "--data_root", name=key)
    if remote.is_remote(root) and not remote.has_bucket(root):
      raise FileNotFoundError(f"there is no bucket {remote.bucket(root)}")
    checks.refuse(f"--data_root: {missing.message(key, root)}")
  return made


def _has_text(folder: str) -> bool:
  return any(
    text_files.read(f"{folder}/{file}") is not None
    for file in (wds.CLASSES, wds.TEMPLATES, wds.TYPE)
  )
