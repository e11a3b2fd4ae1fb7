"""Steps that store a model's embeddings of pairs, and return their cosine."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation import operators
from curation import pool as pool_lib
from curation.on_disk import embedding_store
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

  columns = ("text",)
  fetched = ("image",)

  @property
  def signals(self) -> tuple[str, ...]:
    return (self.signal, f"{self.signal}_fault")

  def check(self, field: str) -> None:
    if self.model.startswith(embedding_store.COLUMNS):
      raise ValueError(
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

  @property
  def columns(self) -> tuple[str, ...]:
    return (f"{self.name}_img", f"{self.name}_txt")

  @property
  def signals(self) -> tuple[str, ...]:
    return (self.signal, f"{self.signal}_fault")

  def check(self, field: str) -> None:
    if not self.name:
      raise ValueError(
        f"{field}.name must be the NAME of columns NAME_img and NAME_txt, as"
        " b32; got ''"
      )

  def open_shards(self, context: operators.StepContext) -> operators.ShardFn:
    model = embedding_store.COLUMNS + self.name
    store = embedding_store.of_columns(context.workdir, model)

    def decide(left: operators.ShardPairs) -> Iterator[operators.Verdict]:
      records = [self._records(table) for table in left.tables]
      if records:
        store.add(left.shard, np.concatenate(records))
      for part in records:
        yield _verdict(part, self.signal)

    return decide

  def _records(self, table: pa.Table) -> np.ndarray:
    image, text = (_matrix(table[name], name) for name in self.columns)
    if image.shape != text.shape:
      raise ValueError(
        f"{' and '.join(self.columns)} must be of one length; got "
        f"{image.shape[1]} and {text.shape[1]}"
      )
    records = np.zeros(len(table), embedding_store.dtype(image.shape[1]))
    records["uid"] = pool_lib.uids(table)
    records["row"] = table["row"].to_numpy()
    # DataComp does not document the length of its embeddings.
    records["zimg"] = embedding_store.unit(image)
    records["ztxt"] = embedding_store.unit(text)
    return records


def _matrix(column: pa.ChunkedArray, name: str) -> np.ndarray:
  """Return a column of lists of one length as [N, E]."""
  lengths = np.unique(_call("list_value_length", column).to_numpy())
  if len(lengths) != 1 or column.null_count:
    raise ValueError(
      f"{name} must have a list of one length in each row; got lengths "
      f"{lengths.tolist()[:5]} and {column.null_count} empty rows"
    )
  values = _call("list_flatten", column).combine_chunks().to_numpy()
  return values.reshape(len(column), int(lengths[0]))


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
  cosines = embedding_store.cosine(records["zimg"], records["ztxt"])
  keep = records["fault"] == b""
  faults = pa.array(records["fault"].astype("U"), mask=keep)
  return operators.Verdict(keep, {signal: cosines, f"{signal}_fault": faults})
