"""Pictures to classify, columns that go along, and labels that are known."""

import collections
import contextlib
import csv
import dataclasses
import functools
import pathlib
from collections.abc import Generator, Iterator, Mapping, Sequence

import numpy as np

from evaluators import row_batches
from inference import pictures, python_model, read_ahead
from input_pipeline import faults, model_inputs
from input_pipeline.images import image_ops
from input_pipeline.sources import columns as columns_lib

# Value of --truth that takes the name of a picture's folder.
FOLDER = "folder"
# Text between several labels in one value.
_BETWEEN = ";"
# Pictures that are read ahead of the model.
_AHEAD = 2 * row_batches.BATCH_SIZE


@dataclasses.dataclass(frozen=True)
class Picture:
  """Picture that was read, without its pixels.

  Attributes:
    name: path, or file and key.
    values: text of each column that goes along, None for none.
    truth: labels that it has; None where they are not known.
    error: "KIND: MESSAGE" (of input_pipeline.faults) of one that cannot be
      used, else "".
  """

  name: str
  values: Mapping[str, str | None]
  truth: tuple[str, ...] | None
  error: str = ""


@dataclasses.dataclass(frozen=True)
class Source:
  """Pictures with known labels.

  Attributes:
    found: the pictures.
    columns: columns that go along.
    truth: column of known labels, FOLDER, or "" for none.
    is_multi: whether a picture may have several labels, or none.
  """

  found: pictures.Pictures
  columns: tuple[str, ...]
  truth: str
  is_multi: bool

  def __len__(self) -> int:
    return len(self.found)

  def folder_labels(self) -> collections.Counter[str]:
    """Return how often each folder's name occurs."""
    return collections.Counter(
      _folder(self.found.name(index)) for index in range(len(self))
    )

  def read(
    self, protocol: model_inputs.Protocol, index: int
  ) -> tuple[Picture, row_batches.Row | None]:
    """Return a picture and its pixels, None for one that cannot be used."""
    nothing = dict.fromkeys(self.columns)
    try:
      one = self.found[index]
    except faults.ExampleError as error:
      name = self.found.name(index)
      truth = self._truth(name, ())
      return Picture(name, nothing, truth, _described(error)), None
    values, texts = nothing, one.captions
    # Fewer texts than columns: one of them is no text or number.
    if len(texts) >= len(self.columns):
      values = {
        name: text.removeprefix(columns_lib.VALUE_MARK) or None
        for name, text in zip(self.columns, texts, strict=False)
      }
      texts = texts[len(self.columns) :]
    picture = Picture(one.name, values, self._truth(one.name, texts))
    try:
      return picture, protocol.apply(image_ops.decode(one.data))
    except faults.ExampleError as error:
      message = _described(error)
    except ValueError as error:  # too long for the protocol
      message = f"image_too_large: {error}"
    return dataclasses.replace(picture, error=message), None

  def _truth(self, name: str, texts: Sequence[str]) -> tuple[str, ...] | None:
    if not self.truth:
      return None
    found = [_folder(name)] if self.truth == FOLDER else [*texts]
    if self.is_multi and self.truth != FOLDER:
      found = [part for text in found for part in text.split(_BETWEEN)]
    found = [text.strip() for text in found if text.strip()]
    # A picture without a label in a column of lists has none of them.
    is_known = bool(found) or (self.is_multi and self.truth != FOLDER)
    return tuple(found) if is_known else None


def find(
  pattern: str,
  *,
  flag: str,
  recursive: bool,
  columns: str,
  truth: str,
  is_multi: bool,
  cache_dir: str,
) -> Source:
  """Return the pictures of a flag.

  Args:
    pattern: value of the flag, as `pictures.find` takes it.
    flag: name of the flag, for messages.
    recursive: whether folders below a folder count too.
    columns: names of columns that go along, separated by commas; "" for none.
    truth, is_multi: as of Source.
    cache_dir: folder of the tars' and tables' indices.

  Raises:
    ValueError, OSError: there are no such pictures or columns.
  """
  if not pattern:
    raise ValueError(
      f"--{flag} is missing: --{flag}=FOLDER, or a pattern of images, tars,"
      " Parquet files or a table"
    )
  names = [x.strip() for x in next(csv.reader([columns]), [])]
  if "" in names or len({*names}) < len(names):
    raise ValueError(f"--columns must be names, each once; got {columns!r}")
  wanted = [f"{name}{columns_lib.VALUE}" for name in names]
  if truth not in ("", FOLDER):
    wanted.append(truth)
  try:
    found = pictures.find(
      pattern,
      recursive=recursive,
      captions=wanted or None,
      cache_dir=cache_dir,
      flag=flag,
    )
  except ValueError as error:
    # pictures.find has one name for both: captions.
    message = str(error).replace(
      "--captions", f"--columns, or --truth, of --{flag}={pattern},"
    )
    raise ValueError(message) from error
  if wanted and isinstance(found, pictures.Files):
    asked = "--columns" if names else f"--truth={truth}"
    raise ValueError(
      f"{asked} needs a table, Parquet files or tars; --{flag}={pattern} is"
      " files of images"
      + ("" if names else ', whose labels can be --truth="folder"')
    )
  return Source(found, tuple(names), truth, is_multi)


def embedded(
  model: python_model.Model, source: Source
) -> Iterator[tuple[list[Picture], np.ndarray]]:
  """Yield pictures in order, and float32 [n, E] of those without an error."""
  read_fn = functools.partial(source.read, model.image_protocol)
  read: collections.deque[Picture] = collections.deque()

  def rows() -> Generator[row_batches.Row]:
    with read_ahead.mapped(read_fn, range(len(source)), _AHEAD) as results:
      for picture, row in results:
        read.append(picture)
        if row is not None:
          yield row

  def taken(num: int) -> list[Picture]:
    """Return pictures up to the last of `num` without an error."""
    some = []
    while num:
      some.append(read.popleft())
      num -= not some[-1].error
    return some

  with contextlib.closing(rows()) as inputs:
    for z_nE in model.stream_rows(inputs):
      yield taken(len(z_nE)), z_nE
  if read:
    yield [*read], np.zeros((0, model.embed_dim), np.float32)


def _described(error: faults.ExampleError) -> str:
  return f"{error.kind}: {error}"


def _folder(name: str) -> str:
  """Return the name of the folder in a name; of a tar's member, that in it."""
  file, _, key = name.partition("#")
  return pathlib.PurePosixPath(key if "/" in key else file).parent.name
