"""File of the language and the labels of each pair of a shard, in its order.

language  the pool's own; null for a pair that could not be read, or if the
          pool has no such column
labels    numbers of lexicon.Lexicon.labels, of the caption
"""

import pathlib
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq

from curation.shares import lexicon
from runtime.storage import whole_files

# Columns of the pool that are read.
COLUMNS = frozenset(("text", "language"))
_SCHEMA = pa.schema(
  [("language", pa.string()), ("labels", pa.list_(pa.uint16()))]
)


class Collector:
  """The rows of a shard's file."""

  def __init__(self) -> None:
    """Begin without rows."""
    self._tables: list[pa.Table] = []

  def add(self, table: pa.Table) -> None:
    """Add the pairs of a pool's table, in order."""
    columns = {
      "language": pa.nulls(len(table), pa.string()),
      "labels": pa.nulls(len(table), _SCHEMA.field("labels").type),
    }
    if "language" in table.column_names:
      columns["language"] = table["language"].cast(pa.string())
    if "text" in table.column_names:
      columns["labels"] = lexicon.opened().find(table["text"])
    self._tables.append(pa.table(columns, schema=_SCHEMA))

  def save(self, path: pathlib.Path) -> None:
    """Write the file, whole or not at all, without fsync."""
    table = pa.concat_tables(self._tables or [_SCHEMA.empty_table()])
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_files.new_file(path) as temporary:
      pq.write_table(table, temporary, compression="zstd")


def write(path: pathlib.Path, tables: Iterable[pa.Table]) -> None:
  """Write the file of the tables of a shard."""
  collector = Collector()
  for table in tables:
    collector.add(table)
  collector.save(path)
