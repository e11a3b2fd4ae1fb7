"""Texts of a user's corpus, in parts that workers count one by one.

The parts depend on the files alone, not on the number of workers.
"""

import bz2
import contextlib
import dataclasses
import gzip
import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
import pyarrow.parquet as pq

from curation.captions import wordnet
from curation.metadata import metadata_config
from input_pipeline.storage import files

# Stored bytes of a part: the work of one task, repeated after a kill. A
# compressed file is one part, as it can only be read from its start.
PART_BYTES = 64 << 20
# Bytes of text in memory at once.
_BLOCK_BYTES = 8 << 20

# Suffixes of compressed files.
_COMPRESSED = (".gz", ".bz2", ".zst")


@dataclasses.dataclass(frozen=True)
class Part:
  """Part of a file.

  Attributes:
    path: path of the file; a folder for "glosses".
    version: string that changes with the file's content.
    start: first byte, or first row group of a Parquet file.
    stop: end, exclusive.
    num_bytes: stored bytes, for progress.
  """

  path: str
  version: str
  start: int
  stop: int
  num_bytes: int


def find(
  corpus: metadata_config.Corpus, field: str, part_bytes: int = PART_BYTES
) -> list[tuple[Part, ...]]:
  """Return tasks of parts, each of about `part_bytes`.

  Raises:
    ValueError: files are missing or lack the column; the message names `field`.
  """
  if corpus.format == "glosses":
    folder = wordnet.find(corpus.path)
    size = sum(path.stat().st_size for path in folder.glob("data.*"))
    parts = [Part(str(folder), wordnet.version(folder), 0, 1, size)]
  else:
    cut = _row_groups if corpus.format == "parquet" else _ranges
    parts = [
      part
      for file in files.find(corpus.path, f"{field}.path")
      for part in cut(file, corpus, field, part_bytes)
    ]
  tasks: list[list[Part]] = []
  room = 0
  for part in parts:
    if room < part.num_bytes:
      tasks.append([])
      room = part_bytes
    tasks[-1].append(part)
    room -= part.num_bytes
  return [tuple(task) for task in tasks]


def read(part: Part, corpus: metadata_config.Corpus) -> Iterator[pa.Array]:
  """Yield string arrays; an element is a line or a document.

  Raises:
    ValueError: the file cannot be read; the message names it.
  """
  try:
    yield from _READERS[corpus.format](part, corpus)
  except (pa.ArrowException, EOFError, OSError) as error:
    raise ValueError(f"{part.path} cannot be read: {error}") from error


@contextlib.contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
  """Open a file for reading; compressed files are decompressed."""
  # The wrappers do not close the file that they wrap.
  with contextlib.ExitStack() as stack:
    file: Any = stack.enter_context(files.open_file(path))
    if path.endswith(".gz"):
      file = stack.enter_context(gzip.GzipFile(fileobj=file))
    elif path.endswith(".bz2"):
      file = stack.enter_context(bz2.BZ2File(file))
    elif path.endswith(".zst"):
      plain = pa.CompressedInputStream(pa.PythonFile(file), "zstd")
      file = stack.enter_context(plain)
    yield file


def _ranges(
  file: files.File, corpus: metadata_config.Corpus, field: str, part_bytes: int
) -> Iterator[Part]:
  del corpus, field
  step = file.size if file.path.endswith(_COMPRESSED) else part_bytes
  for start in range(0, file.size, max(step, 1)):
    stop = min(start + step, file.size)
    yield Part(file.path, file.version, start, stop, stop - start)


def _row_groups(
  file: files.File, corpus: metadata_config.Corpus, field: str, part_bytes: int
) -> Iterator[Part]:
  with files.open_file(file.path) as opened:
    try:
      metadata = pq.read_metadata(opened)
    except pa.ArrowException as error:
      raise ValueError(
        f"{field}.path: {file.path} is no Parquet file: {error}"
      ) from error
  names = metadata.schema.to_arrow_schema().names
  if corpus.column not in names:
    raise ValueError(
      f"{field}.column is {corpus.column!r}, which {file.path} does not have;"
      f" it has {', '.join(names)}"
    )
  sizes = [
    metadata.row_group(i).total_byte_size
    for i in range(metadata.num_row_groups)
  ]
  start = total = 0
  for index, size in enumerate(sizes):
    total += size
    if total >= part_bytes or index == len(sizes) - 1:
      yield Part(file.path, file.version, start, index + 1, total)
      start, total = index + 1, 0


def _text(part: Part, corpus: metadata_config.Corpus) -> Iterator[pa.Array]:
  del corpus
  for block in _blocks(part):
    text = pa.array([block.decode("utf-8", "replace")])
    yield pc.split_pattern(text, "\n").flatten()


def _jsonl(part: Part, corpus: metadata_config.Corpus) -> Iterator[pa.Array]:
  options = pj.ParseOptions(
    explicit_schema=pa.schema([(corpus.column, pa.string())]),
    unexpected_field_behavior="ignore",
  )
  for block in _blocks(part):
    # Decoded first: Arrow reads any bytes, and would fail at a later use.
    block = block.decode("utf-8", "replace").encode()
    table = pj.read_json(
      io.BytesIO(block),
      read_options=pj.ReadOptions(use_threads=False, block_size=len(block) + 1),
      parse_options=options,
    )
    column = table[corpus.column].combine_chunks()
    if len(column) and column.null_count == len(column):
      raise ValueError(
        f"{part.path}: none of {len(column)} lines has the field"
        f" {corpus.column!r} of corpus.column"
      )
    yield column.drop_null()


def _parquet(part: Part, corpus: metadata_config.Corpus) -> Iterator[pa.Array]:
  with files.open_file(part.path) as opened:
    file = pq.ParquetFile(opened)
    for batch in file.iter_batches(
      row_groups=list(range(part.start, part.stop)),
      columns=[corpus.column],
      use_threads=False,
    ):
      column = batch.column(0).cast(pa.string()).drop_null()
      column.validate(full=True)
      yield column


def _glosses(part: Part, corpus: metadata_config.Corpus) -> Iterator[pa.Array]:
  del corpus
  folder = wordnet.find(part.path)
  yield pa.array([synset.gloss for synset in wordnet.synsets(folder)])


_READERS: Mapping[
  str, Callable[[Part, metadata_config.Corpus], Iterator[pa.Array]]
] = {
  "text": _text,
  "jsonl": _jsonl,
  "parquet": _parquet,
  "glosses": _glosses,
}


def _blocks(part: Part) -> Iterator[bytes]:
  """Yield whole lines, about _BLOCK_BYTES at once.

  A range has the lines that begin in it.
  """
  with opened(part.path) as file:
    if part.path.endswith(_COMPRESSED):
      yield from _lines(file, None)
    else:
      start = _line_start(file, part.start)
      stop = _line_start(file, part.stop)
      file.seek(start)
      yield from _lines(file, stop - start)


def _lines(file: BinaryIO, num_bytes: int | None) -> Iterator[bytes]:
  pieces: list[bytes] = []
  left = num_bytes
  while True:
    size = _BLOCK_BYTES if left is None else min(_BLOCK_BYTES, left)
    data = file.read(size)
    if left is not None:
      left -= len(data)
    cut = data.rfind(b"\n") + 1
    if cut or not data:
      block = b"".join([*pieces, data[:cut]])
      pieces = []
      if block:
        yield block
    if not data:
      return
    pieces.append(data[cut:])


def _line_start(file: BinaryIO, at: int) -> int:
  """Return the offset of the first line that begins at `at` or later."""
  if at == 0:
    return 0
  file.seek(at - 1)
  while True:
    data = file.read(1 << 16)
    end = data.find(b"\n")
    if end >= 0:
      return file.tell() - len(data) + end + 1
    if not data:
      return file.tell()
