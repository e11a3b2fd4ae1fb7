"""Records, the examples of every source, and their UIDs."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from absl import logging

from input_pipeline import faults
from input_pipeline.sources import image_ids
from input_pipeline.storage import files


class Region(NamedTuple):
  """Part of an image, and its caption.

  Attributes:
    box: (left, top, right, bottom) as it is stored.
    text: caption, such as the name of an object.
    is_share: whether the box is in shares of the image's sides, not in pixels.
  """

  box: tuple[float, float, float, float]
  text: str
  is_share: bool = False


@dataclasses.dataclass(frozen=True)
class Record:
  """One example as it is stored.

  Attributes:
    key: name of the example in its source.
    image: encoded image, in any format of `image_ops.decode`; with data.video
      a video file (videos/containers.py).
    texts: language (ISO 639-1, "und" if unknown) -> captions.
    origin: file, and member or row in it, for messages; "" if unknown.
    stored_id: name of the image, where that is not one of its bytes.
    fields: values of a grammar's fields that the example has; see
      grammars/filled.py.
    captions: the example's own captions, where a grammar makes `texts`.
    regions: parts of the image with captions, of a source with region_fields.
  """

  key: str
  image: bytes
  texts: Mapping[str, tuple[str, ...]]
  origin: str = dataclasses.field(default="", compare=False)
  stored_id: bytes = dataclasses.field(default=b"", compare=False)
  fields: Mapping[str, str] = dataclasses.field(default_factory=dict)
  captions: tuple[str, ...] = ()
  regions: tuple[Region, ...] = ()

  def image_id(self) -> bytes:
    """Return the image's name; see image_ids."""
    return self.stored_id or image_ids.of_bytes(self.image)


class Records(Protocol):
  """Examples of one source, in an order that does not change.

  Can be pickled (worker processes open the files again) and be read by
  several threads at once.
  """

  def __len__(self) -> int: ...

  def __getitem__(self, index: int) -> Record:
    """Return a record; raise faults.ExampleError if it cannot be read."""
    ...

  def fingerprint(self) -> str:
    """Return hex digits that identify the content, without reading it.

    They may be computed from names, sizes and times of change.
    """
    ...

  def path_of(self, index: int) -> str:
    """Return the path of the file that has a record, for messages."""
    ...

  def image_id(self, index: int) -> bytes:
    """Return the name of a record's image, as Record.image_id returns it.

    Raises faults.ExampleError if the image cannot be read.
    """
    ...

  def uids(self) -> np.ndarray:
    """Return a UID [N] for each example, in order; may read every record."""
    ...


class Reading:
  """Base of records that read others and change their texts alone.

  Images, and the names of examples, are those of the others.
  """

  def __init__(self, records: "Records"):
    """Take the records that are read."""
    self._records: Any = records

  def __len__(self) -> int:
    return len(self._records)

  def image_state(self) -> str:
    """Return the state of the source's images; see `image_state`."""
    return image_state(self._records)

  def image_id(self, index: int) -> bytes:
    """Return the name of a record's image; see image_ids."""
    return self._records.image_id(index)

  def path_of(self, index: int) -> str:
    """Return the path of the file that has a record."""
    return self._records.path_of(index)

  def uids(self) -> np.ndarray:
    """Return each record's UID."""
    return self._records.uids()


def texts(
  read: Callable[[], Mapping[str, tuple[str, ...]]], needs_caption: bool
) -> Mapping[str, tuple[str, ...]]:
  """Return an example's captions; {} where none can be read or is needed."""
  try:
    return read()
  except faults.ExampleError:
    if needs_caption:
      raise
    return {}


def image_state(records: object) -> str:
  """Return hex digits of the files beside what a fingerprint holds.

  They differ where an image that a table names was replaced, or records at a
  URL; "" for records whose fingerprint has sizes and versions of all files.
  """
  state = getattr(records, "image_state", None)
  return state() if state is not None else ""


def remote_state(paths: Sequence[str]) -> str:
  """Return hex digits of size and version of each file at a URL; "" for none.

  They are no part of a fingerprint, which old runs have without them. Where a
  client of the bucket is not installed, or refused, a warning says that they
  are left out.
  """
  try:
    listed = files.remote_facts(paths)
  except (OSError, ValueError, ModuleNotFoundError) as error:
    logging.warning(
      "Versions of files are not known, and one that is replaced under its name"
      " is not noticed: %s",
      error,
    )
    return ""
  known = [(file.path, file.size, file.version) for file in listed]
  return digest(known) if known else ""


def digest(facts: object) -> str:
  """Return 32 hex digits that identify plain values: numbers, texts, tuples.

  Values are compared by their repr, which must be the same in every process.
  """
  return hashlib.blake2b(repr(facts).encode(), digest_size=16).hexdigest()
