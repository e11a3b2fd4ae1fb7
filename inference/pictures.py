"""Pictures named by a flag, with or without captions; imports no JAX.

A pattern such as "photos/**/*.jpg", "shards/{000..123}.tar" or
"s3://bucket/*.parquet" names files of one kind, told by their suffixes:

  images            one picture each; see storage/folders.py for the suffixes.
                    Its caption is in the .txt file of its name
  .tar              members, as sources/webdataset.py reads them
  .parquet          rows with an image, as sources/arrow/parquet.py reads them
  .csv .tsv .jsonl  rows that name images, as sources/tables/table.py reads them

A folder stands for the files in it: the images, or else its tars, or else its
Parquet files. Captions are optional, unlike in sources of pairs.
"""

import bisect
import collections
import dataclasses
import glob
import itertools
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Protocol

from input_pipeline import faults
from input_pipeline import sources as sources_lib
from input_pipeline.sources import record, source_config
from input_pipeline.sources.tables import table
from input_pipeline.storage import files, folders, patterns
from runtime.storage import remote

IMAGES, TAR, PARQUET, TABLE = "images", "tars", "Parquet files", "tables"
_SUFFIXES = {
  **dict.fromkeys(folders.IMAGES, IMAGES),
  ".tar": TAR,
  ".parquet": PARQUET,
  **dict.fromkeys((".csv", ".tsv", ".jsonl"), TABLE),
}
_FORMATS = {TAR: "webdataset", PARQUET: "parquet", TABLE: "table"}
# Kinds that a folder stands for; a table in it may be about its images.
_IN_FOLDER = (IMAGES, TAR, PARQUET)
# Files that a line names.
_NUM_NAMED = 5


@dataclasses.dataclass(frozen=True)
class Picture:
  """One picture.

  Attributes:
    name: path or address of the file; for one in a tar or in Parquet, that of
      the tar or the Parquet file, "#", and the key.
    data: encoded image.
    captions: captions; empty where there is none.
  """

  name: str
  data: bytes
  captions: tuple[str, ...] = ()


class Pictures(Protocol):
  """Pictures in an order that does not change; threads may read several."""

  def __len__(self) -> int: ...

  def __getitem__(self, index: int) -> Picture:
    """Return a picture; raise faults.ExampleError where it cannot be read."""
    ...

  def name(self, index: int) -> str:
    """Return the name of a picture that cannot be read."""
    ...

  def fingerprint(self) -> str:
    """Return hex digits that identify the files, without reading them."""
    ...


def find(
  pattern: str,
  *,
  recursive: bool = False,
  captions: Sequence[str] | None = None,
  cache_dir: str | os.PathLike[str] = "cache",
  flag: str = "images",
) -> Pictures:
  """Return the pictures of a pattern, or of a folder.

  Args:
    pattern: see the top of the file; "~" is one's home.
    recursive: whether folders below a folder count too.
    captions: columns, or members of tars ("txt", "json.caption"), of captions;
      () for the usual ones, None for no captions.
    cache_dir: folder of the tars' and tables' indices; made when needed.
    flag: name of the flag, for messages.

  Raises:
    ValueError, OSError: the pattern names no file that can be read, or files
      of several kinds; the message names the flag.
    ModuleNotFoundError: a package for the files' place is not installed.
  """
  if not pattern:
    raise ValueError(f"--{flag} is missing: --{flag}=FOLDER or a pattern")
  found, pattern = _listed(pattern, recursive, flag)
  kind = _kind(found, pattern, flag)
  if kind == IMAGES:
    return Files(tuple(found), has_captions=captions is not None)
  # A table is opened by itself, since its images are beside it.
  paths = [file.path for file in found] if kind == TABLE else [pattern]
  opened = [
    _opened(kind, path, captions or (), pathlib.Path(cache_dir), flag)
    for path in paths
  ]
  return opened[0] if len(opened) == 1 else Joined(tuple(opened))


def unread(pattern: str, recursive: bool = False) -> list[str]:
  """Return lines about what is in a folder and `find` does not read."""
  path = os.path.expanduser(pattern)
  if remote.is_remote(path) or not os.path.isdir(path) or recursive:
    return []
  lines = []
  entries = sorted(os.scandir(path), key=lambda entry: entry.name)
  kinds = {_kind_of(x.name) for x in entries if x.is_file()}
  read = next((kind for kind in _IN_FOLDER if kind in kinds), IMAGES)
  others = [x.name for x in entries if x.is_file() and _kind_of(x.name) != read]
  if others:
    more = ", ..." if len(others) > _NUM_NAMED else ""
    lines.append(
      f"--images={pattern} has {len(others)} files that are no {read}, which"
      f" are not read: {', '.join(others[:_NUM_NAMED])}{more}"
    )
  if num := sum(entry.is_dir() for entry in entries):
    lines.append(
      f"--images={pattern} has {num} sub-folders, which are not read;"
      " --recursive reads them too"
    )
  return lines


class Files:
  """Files of one picture each; see Pictures."""

  def __init__(self, found: Sequence[files.File], *, has_captions: bool):
    self._files = found
    self._has_captions = has_captions

  def __len__(self) -> int:
    return len(self._files)

  def __getitem__(self, index: int) -> Picture:
    path = self._files[index].path
    data = files.read(path)
    return Picture(path, data, self._captions(path))

  def name(self, index: int) -> str:
    """Return the path of a file."""
    return self._files[index].path

  def fingerprint(self) -> str:
    """Return hex digits of the files' paths, sizes and times of change."""
    facts = [(file.path, file.size, file.version) for file in self._files]
    return record.digest((facts, self._has_captions))

  def _captions(self, path: str) -> tuple[str, ...]:
    if not self._has_captions:
      return ()
    try:
      data = files.read(f"{os.path.splitext(path)[0]}.txt")
    except faults.ExampleError as error:
      if error.kind != "file_missing":
        raise
      return ()
    try:
      text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
      raise faults.ExampleError(
        "caption_broken", f"{path}: the .txt beside it is not UTF-8: {error}"
      ) from error
    return (text,) if text else ()


class Rows:
  """Records of tars or of Parquet files as pictures; see Pictures."""

  def __init__(self, records: record.Records):
    self._records = records

  def __len__(self) -> int:
    return len(self._records)

  def __getitem__(self, index: int) -> Picture:
    one = self._records[index]
    name = f"{self._records.path_of(index)}#{one.key}"
    return Picture(name, one.image, _all(one.texts))

  def name(self, index: int) -> str:
    """Return the path of the tar or the Parquet file, and a number."""
    return f"{self._records.path_of(index)}#{index}"

  def fingerprint(self) -> str:
    """Return hex digits of the files' names, sizes and versions."""
    return self._records.fingerprint()


class TableRows:
  """Rows of a table that names images as pictures; see Pictures."""

  def __init__(self, records: table.Records):
    self._records = records

  def __len__(self) -> int:
    return len(self._records)

  def __getitem__(self, index: int) -> Picture:
    try:
      one = self._records[index]
    except faults.ExampleError as error:
      # A flag has no field for it.
      text = str(error).partition("; --")[0]
      raise faults.ExampleError(error.kind, text) from error
    return Picture(self.name(index), one.image, _all(one.texts))

  def name(self, index: int) -> str:
    """Return the path of a row's image; the row's where it names none."""
    try:
      return self._records.image_path(index)
    except faults.ExampleError:
      return self._records.where(index)

  def fingerprint(self) -> str:
    """Return hex digits of the table, and of the images' sizes and times."""
    state = record.image_state(self._records)
    return record.digest((self._records.fingerprint(), state))


class Joined:
  """Pictures of several sources, one after the other; see Pictures."""

  def __init__(self, parts: Sequence[Pictures]):
    self._parts = parts
    self._stops = [*itertools.accumulate(map(len, parts))]

  def __len__(self) -> int:
    return self._stops[-1]

  def __getitem__(self, index: int) -> Picture:
    part, index = self._at(index)
    return part[index]

  def name(self, index: int) -> str:
    """Return the name of a picture."""
    part, index = self._at(index)
    return part.name(index)

  def fingerprint(self) -> str:
    """Return hex digits of all fingerprints."""
    return record.digest([part.fingerprint() for part in self._parts])

  def _at(self, index: int) -> tuple[Pictures, int]:
    number = bisect.bisect_right(self._stops, index)
    start = self._stops[number - 1] if number else 0
    return self._parts[number], index - start


def _listed(
  pattern: str, recursive: bool, flag: str
) -> tuple[list[files.File], str]:
  """Return the files of a pattern or a folder, and the pattern of all."""
  path = pattern if remote.is_remote(pattern) else os.path.expanduser(pattern)
  if folders.is_folder(path):
    below = folders.walk(path, f"--{flag}")
    found = [x for name, x in below.items() if recursive or "/" not in name]
    kinds = collections.Counter(_kind_of(x.path) for x in found)
    present = [kind for kind in _IN_FOLDER if kinds[kind]]
    if len(present) > 1:
      have = " and ".join(f"{kinds[kind]:,} {kind}" for kind in present)
      raise ValueError(
        f"--{flag}={pattern} holds {have}; name one kind by a pattern, as"
        f' --{flag}="{pattern.rstrip("/")}/*.tar"'
      )
    found = [x for x in found if _kind_of(x.path) in present]
    if not found:
      tables = f"; its tables can be named, as {pattern}/metadata.csv"
      raise ValueError(
        f"--{flag}={pattern} is no image; expected files in it that end in"
        f" {', '.join((*folders.IMAGES, '.tar', '.parquet'))}"
        + (tables if kinds[TABLE] else "")
        + (
          ""
          if recursive or len(below) == sum(kinds.values())
          else "; --recursive reads the folders in it too"
        )
      )
    below = "/**/*" if recursive else "/*"
    end = os.path.splitext(found[0].path)[1]
    return found, f"{glob.escape(path.rstrip('/'))}{below}{end}"
  try:
    found = files.find(path, f"--{flag}")
  except ValueError as error:
    raise ValueError(
      f"--{flag}={pattern} is no image; expected a folder or a quoted pattern,"
      f' as --{flag}="photos/*.jpg"{patterns.advice(pattern)} ({error})'
    ) from error
  return sorted(found, key=lambda file: file.path), path


def _kind_of(path: str) -> str:
  """Return the kind of a file by its suffix; "" for another."""
  return _SUFFIXES.get(os.path.splitext(path)[1].lower(), "")


def _kind(found: Sequence[files.File], pattern: str, flag: str) -> str:
  """Return the kind of all files; ValueError for several.

  A pattern may name a file of any suffix, which is then taken for an image.
  """
  kinds = {_kind_of(file.path) or IMAGES: file.path for file in found}
  if len(kinds) > 1:
    named = ", ".join(f"{kind} ({path})" for kind, path in kinds.items())
    raise ValueError(
      f"--{flag}={pattern} names files of several kinds: {named}; name one kind"
    )
  return next(iter(kinds))


def _opened(
  kind: str,
  path: str,
  captions: Sequence[str],
  cache_dir: pathlib.Path,
  flag: str,
) -> Pictures:
  """Open a source of pairs whose captions are optional."""
  source = source_config.SourceConfig(
    format=_FORMATS[kind],
    path=path,
    split="",
    image=(),
    caption=tuple(captions),
    language="und",
    language_field="",
    uid="",
    templates=(),
    weight=1.0,
    repeat=1,
    subset="",
    keep="",
    needs_caption=False,
  )
  context = source_config.SourceContext(
    name=f"--{flag}", cache_dir=cache_dir, image_size=0, section=""
  )
  try:
    opened = sources_lib.FORMATS[source.format].open_split(source, "", context)
  except ValueError as error:
    # Fields of a section that flags stand for.
    text = str(error).replace(f"--{flag}.caption", "--captions")
    raise ValueError(text.replace(f"--{flag}.path", f"--{flag}")) from error
  return TableRows(opened) if kind == TABLE else Rows(opened)


def _all(texts: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
  """Return the captions of all languages."""
  return tuple(itertools.chain.from_iterable(texts.values()))
