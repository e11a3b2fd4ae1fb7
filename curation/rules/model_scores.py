"""Steps that store a model's embeddings of pairs, and return their cosine."""

import collections
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation import operators
from curation import pool as pool_lib
from curation.on_disk import embedding_store
from input_pipeline import faults
from input_pipeline.sources.arrow import arrow_values
from runtime import checks


@dataclasses.dataclass(frozen=True)
class Embed(embedding_store.ModelStep, operators.MeshFilter):
  """Embed pairs with a model; drop those that cannot be embedded.

  Pairs whose embeddings are stored already (on_disk/embedding_store.py) are not
  embedded again.

  Attributes:
    model: a run's workdir, a published model's folder or file, or hf://.
    signal: name of the cosine of image and text, float32. Column SIGNAL_fault
      has the kind of the fault of a dropped pair (a key of
      input_pipeline.faults.KINDS), else null.
    batch_size: number of pairs of one call, over all devices.
  """

  signal: str
  batch_size: int

  version = 2
  columns = ("text",)
  fetched = ("image",)

  @property
  def signals(self) -> tuple[str, ...]:
    return (self.signal, f"{self.signal}_fault")

  def check(self, field: str) -> None:
    if self.model.startswith(embedding_store.COLUMNS):
      checks.refuse(
        f"{field}.model is {self.model!r}, but embeds with a model; "
        "op=stored_embeddings takes what the pool's files have"
      )
    super().check(field)
    checks.at_least(f"{field}.batch_size", self.batch_size, 1)

  def open_shards(self, context: operators.StepContext) -> operators.ShardFn:
    # Imported here: workers import this module and must not import JAX.
    from curation.on_mesh import scorer

    model = scorer.load(self.model)
    store = scorer.open_store(context, self.model)

    def decide(left: operators.ShardPairs) -> Iterator[operators.Verdict]:
      all_tables = list(left.tables)
      records = store.open(left.shard)
      missing = [
        table.filter(pa.array(records.missing(table))) for table in all_tables
      ]
      if any(map(len, missing)):
        pairs = pa.concat_tables(missing)
        rows, image_N = _distinct(pairs)
        images = _images(left.read, rows)
        store.add(
          left.shard, model.pairs(pairs, images, image_N, self.batch_size)
        )
        records = store.open(left.shard)
      for table in all_tables:
        yield _verdict(records.read(table), self.signal)

    return decide


@dataclasses.dataclass(frozen=True)
class StoredEmbeddings(operators.MeshFilter):
  """Store embeddings that the pool's files have, as DataComp's.

  Later steps refer to them by the model "columns:NAME".

  Attributes:
    name: prefix of the columns NAME_img and NAME_txt: "b32" or "l14" in
      DataComp's files.
    signal: name of the cosine, as in Embed.
  """

  name: str
  signal: str

  version = 2

  @property
  def columns(self) -> tuple[str, ...]:
    return (f"{self.name}_img", f"{self.name}_txt")

  @property
  def signals(self) -> tuple[str, ...]:
    return (self.signal, f"{self.signal}_fault")

  def check(self, field: str) -> None:
    if not self.name:
      checks.refuse(
        f"{field}.name must be the NAME of columns NAME_img and NAME_txt, as"
        " b32; got ''"
      )

  def open_shards(self, context: operators.StepContext) -> operators.ShardFn:
    model = embedding_store.COLUMNS + self.name
    store = embedding_store.of_columns(context, model)

    def decide(left: operators.ShardPairs) -> Iterator[operators.Verdict]:
      records = self._records(list(left.tables), left.shard.path)
      if records:
        store.add(left.shard, np.concatenate(records))
      for part in records:
        yield _verdict(part, self.signal)

    return decide

  def _records(self, tables: Sequence[pa.Table], path: str) -> list[np.ndarray]:
    """Return the records of the pairs of each table of a shard."""
    width = _width(tables, self.columns, path)
    made = []
    for table in tables:
      records = np.zeros(len(table), embedding_store.dtype(width))
      records["uid"] = pool_lib.uids(table)
      records["row"] = table["row"].to_numpy()
      # DataComp does not document the length of its embeddings.
      for field, name in zip(("zimg", "ztxt"), self.columns, strict=True):
        rows, values = _matrix(table[name], width)
        records["fault"][~rows] = b"embedding_missing"
        records[field][rows] = embedding_store.unit(values)
      made.append(records)
    return made


def _width(tables: Sequence[pa.Table], names: Sequence[str], path: str) -> int:
  """Return the length of the lists of both columns, 1 if there are none."""
  widths = set()
  for name in names:
    for kind in {table[name].type for table in tables}:
      if not arrow_values.is_list(kind):
        raise ValueError(
          f"{name} of {path} must be a column of lists of numbers; got {kind}"
        )
    lengths = collections.Counter(
      length for table in tables for length in _lengths(table[name]).tolist()
    )
    for width, num in lengths.most_common(1):
      if not width or 2 * num <= lengths.total():
        raise ValueError(
          f"{name} of {path} must have lists of one length in all rows; got "
          f"lengths {sorted(lengths)[:5]}"
        )
      widths.add(width)
  if len(widths) > 1:
    raise ValueError(
      f"{' and '.join(names)} of {path} must be of one length; got "
      f"{sorted(widths)}"
    )
  # Without any embedding, all pairs are faults.
  return widths.pop() if widths else 1


def _lengths(column: pa.ChunkedArray) -> np.ndarray:
  """Return the lengths of a column's lists, without the missing ones."""
  return _call("list_value_length", column).drop_null().to_numpy()


def _matrix(
  column: pa.ChunkedArray, width: int
) -> tuple[np.ndarray, np.ndarray]:
  """Return which rows have a list of `width` numbers, bool [N], and these.

  A missing number is NaN.
  """
  lengths = _call("list_value_length", column)
  rows = lengths.fill_null(-1).to_numpy() == width
  values = _call("list_flatten", column.filter(pa.array(rows)))
  numbers = values.combine_chunks().to_numpy(zero_copy_only=False)
  return rows, numbers.reshape(-1, width)


def _call(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
  # Called by name: type checkers do not see pyarrow.compute's functions, which
  # are made at its import.
  return pc.call_function(name, [column])


def _distinct(pairs: pa.Table) -> tuple[np.ndarray, np.ndarray]:
  """Return one row for each image, int64 [I], and each pair's image, [N].

  Captions of one example share its image.
  """
  rows = pairs["row"].to_numpy()
  example_N = rows >> pool_lib.CAPTION_BITS
  uids = pool_lib.uids(pairs)
  keys = np.zeros(len(rows), [("example", "<i8"), ("uid", uids.dtype)])
  keys["example"], keys["uid"] = example_N, uids
  _, first, image_N = np.unique(keys, return_index=True, return_inverse=True)
  order = np.argsort(first)
  number = np.empty(len(order), np.int64)
  number[order] = np.arange(len(order))
  return rows[first[order]], number[image_N]


def _images(
  read: operators.ReadFn, rows: np.ndarray
) -> Iterator[bytes | str | None]:
  """Yield the image of each row, the kind of its fault, or None if absent."""
  due = iter(rows.tolist())
  for table in read(("image",), rows):
    images: list[bytes | str | None] = table["image"].to_pylist()
    if "fault" in table.column_names:
      # The column has "KIND: MESSAGE".
      for number, fault in enumerate(table["fault"].to_pylist()):
        if fault is not None:
          images[number] = fault.partition(":")[0]
    for row, image in zip(table["row"].to_pylist(), images, strict=True):
      while (asked := next(due, None)) != row:
        if asked is None:
          raise OSError(f"row {row} was returned by the pool, but not asked")
        yield None
      yield image
  for _ in due:
    yield None


def _verdict(records: np.ndarray, signal: str) -> operators.Verdict:
  messages = np.array(
    [
      f"{kind}: {faults.KINDS.get(kind, kind)}" if kind else ""
      for kind in records["fault"].astype("U").tolist()
    ],
    object,
  )
  for noun, field in (("image", "zimg"), ("caption", "ztxt")):
    problems = embedding_store.problems(records[field])
    for row in np.flatnonzero((problems != "") & (messages == "")).tolist():
      messages[row] = f"embedding_broken: that of the {noun} {problems[row]}"
  keep = messages == ""
  cosines = np.full(len(records), np.nan, np.float32)
  cosines[keep] = embedding_store.cosine(
    records["zimg"][keep], records["ztxt"][keep]
  )
  kinds = pa.array([text.partition(":")[0] for text in messages], mask=keep)
  return operators.Verdict(
    keep,
    {signal: cosines, f"{signal}_fault": kinds},
    pa.array(messages, pa.string(), mask=keep),
  )
