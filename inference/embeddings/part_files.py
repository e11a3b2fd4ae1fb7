"""Parts of a folder of embeddings, each written whole, and their joined file.

FOLDER/000000000000-000000002048.npz   embeddings of inputs 0 to 2047, what is
                                       known of each, and the lines about those
                                       that are left out
"""

import dataclasses
import io
import itertools
import json
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from runtime.storage import strict_json, whole_files

# A kill loses this many seconds of work, or rows of this many bytes.
_SAVE_SECONDS = 10.0
_PART_BYTES = 64 << 20


@dataclasses.dataclass(frozen=True)
class Part:
  """One part.

  Attributes:
    path: its file.
    stop: number behind its last input.
    num_rows: number of its embeddings.
    left_out: lines about its inputs that have no embedding.
    about: what is known of each embedding's input, such as its name.
  """

  path: pathlib.Path
  stop: int
  num_rows: int
  left_out: Sequence[dict[str, Any]]
  about: Sequence[dict[str, Any]]


def read(folder: pathlib.Path, start: int = 0) -> list[Part]:
  """Return the parts in a folder up to the first that is missing, in order.

  Args:
    folder: of the parts.
    start: number of the first part's first input.
  """
  paths = {}
  for name in whole_files.sizes(folder):
    first, _, rest = name.partition("-")
    if rest.endswith(".npz"):
      paths[int(first)] = folder / name
  parts: list[Part] = []
  while path := paths.get(parts[-1].stop if parts else start):
    z_NE, lines, about = _content(path)
    stop = int(path.stem.partition("-")[2])
    parts.append(Part(path, stop, len(z_NE), lines, about))
  return parts


def left_out(parts: Sequence[Part]) -> list[dict[str, Any]]:
  """Return the lines of all parts."""
  return [*itertools.chain.from_iterable(part.left_out for part in parts)]


def about(parts: Sequence[Part]) -> list[dict[str, Any]]:
  """Return what is known of the inputs of all parts."""
  return [*itertools.chain.from_iterable(part.about for part in parts)]


def join(
  parts: Sequence[Part],
  path: pathlib.Path,
  embed_dim: int,
  dtype: str = "float32",
) -> None:
  """Write the embeddings of parts as one .npy file, a part in memory."""
  header = {
    "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
    "fortran_order": False,
    "shape": (sum(part.num_rows for part in parts), embed_dim),
  }
  with whole_files.streamed(path) as file:
    np.lib.format.write_array_header_1_0(file, header)
    for part in parts:
      file.write(_content(part.path)[0].astype(dtype).tobytes())


class Writer:
  """Writes parts one after the other.

  Attributes:
    read: number of inputs that have been added.
    written: parts so far.
  """

  def __init__(self, folder: pathlib.Path, start: int, embed_dim: int):
    self.read = start
    self.written: list[Part] = []
    self._folder, self._start, self._embed_dim = folder, start, embed_dim
    self._rows: list[np.ndarray] = []
    self._about: list[dict[str, Any]] = []
    self._num_bytes = 0
    self._saved = time.monotonic()

  def add(
    self,
    z_BE: np.ndarray,
    about: Sequence[dict[str, Any]],
    read: int,
    broken: dict[int, dict[str, Any]],
  ) -> None:
    """Add embeddings; write a part if the last one is long ago.

    Args:
      z_BE: embeddings of a batch.
      about: what is known of each one's input.
      read: number of inputs up to and with the batch's last.
      broken: lines about inputs that have none, by number; those of a part
        that is written are deleted.
    """
    self._rows.append(z_BE)
    self._about += about
    self._num_bytes += z_BE.nbytes
    self.read = read
    is_late = time.monotonic() - self._saved > _SAVE_SECONDS
    if is_late or self._num_bytes > _PART_BYTES:
      self._write(broken)

  def finish(self, read: int, broken: dict[int, dict[str, Any]]) -> None:
    """Write the last part, which ends at input number `read`."""
    self.read = read
    if self.read > self._start:
      self._write(broken)

  def _write(self, broken: dict[int, dict[str, Any]]) -> None:
    empty_NE = np.zeros((0, self._embed_dim), np.float32)
    z_NE = np.concatenate([empty_NE, *self._rows])
    numbers = sorted(number for number in broken if number < self.read)
    lines = [broken.pop(number) for number in numbers]
    memory = io.BytesIO()
    np.savez(
      memory,
      z_NE=z_NE,
      left_out=_in_bytes(lines),
      about=_in_bytes(self._about),
    )
    self._folder.mkdir(parents=True, exist_ok=True)
    path = self._folder / f"{self._start:012d}-{self.read:012d}.npz"
    whole_files.write(path, memory.getvalue())
    self.written.append(Part(path, self.read, len(z_NE), lines, self._about))
    self._start, self._rows, self._num_bytes = self.read, [], 0
    self._about = []
    self._saved = time.monotonic()


def _in_bytes(values: Sequence[dict[str, Any]]) -> np.ndarray:
  return np.frombuffer(strict_json.dumps(values).encode(), np.uint8)


def _content(
  path: pathlib.Path,
) -> tuple[np.ndarray, list[dict[str, Any]], list[dict[str, Any]]]:
  """Return embeddings, lines about what is left out, and what is known."""
  with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as part:
    lines, about = (
      json.loads(part[name].tobytes()) for name in ("left_out", "about")
    )
    return part["z_NE"], lines, about
