"""What steps say of a table of pairs, put together.

A table is in two parts: `entered`, all its pairs with what shard_file.py says
of them, and `left`, the pairs that no step has dropped yet, with what the next
steps read.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation import operators
from curation.engine import shard_file

_OF_POOL = ("uid", "row", "caption")


def begin(table: pa.Table, *, has_caption: bool) -> tuple[pa.Table, pa.Table]:
  """Return both parts, with the pairs dropped that could not be read.

  Args:
    table: as a pool reads it; see pool.Pool.
    has_caption: whether `caption` is to be in `entered`.
  """
  names = [
    name
    for name in _OF_POOL
    if name in table.column_names and (has_caption or name != "caption")
  ]
  steps = np.full(len(table), shard_file.ALIVE, np.int16)
  if "fault" not in table.column_names:
    entered = table.select(names).append_column("step", pa.array(steps))
    return entered, table
  faults = table["fault"]
  is_broken = faults.is_valid().to_numpy()
  steps[is_broken] = shard_file.UNREADABLE
  entered = table.select(names).append_column("step", pa.array(steps))
  left = table.drop_columns(["fault"])
  if is_broken.any():
    entered = entered.append_column("fault", faults)
    left = left.filter(pa.array(~is_broken))
  return entered, left


def fault_kinds(entered: pa.Table) -> dict[str, int]:
  """Return kind -> number of pairs that could not be read."""
  if "fault" not in entered.column_names:
    return {}
  # Of "KIND: MESSAGE".
  options = pc.ExtractRegexOptions("^(?P<kind>[^:]*)")
  found = entered["fault"].drop_null()
  parts = pc.call_function("extract_regex", [found], options)
  kinds = pc.call_function("struct_field", [parts], pc.StructFieldOptions([0]))
  return {
    item["values"].as_py(): item["counts"].as_py()
    for item in kinds.value_counts()  # few: of faults.KINDS
  }


def apply(
  verdict: operators.Verdict,
  number: int,
  name: str,
  entered: pa.Table,
  left: pa.Table,
) -> tuple[pa.Table, pa.Table]:
  """Return both parts with a step's signals, and without what it drops.

  Args:
    verdict: on the pairs of `left`.
    number: of the step in its stage.
    name: of the step, for messages.
    entered: see above.
    left: see above.
  """
  keep = np.ones(len(left), bool) if verdict.keep is None else verdict.keep
  if len(keep) != len(left) or keep.dtype != bool:
    raise AssertionError(
      f"{name}: keep must be bool [{len(left)}]; got {keep.dtype} {keep.shape}"
    )
  steps = entered["step"].to_numpy()
  places = np.flatnonzero(steps == shard_file.ALIVE)
  indices = None
  if len(places) < len(entered):
    # Where in `left` each pair is, null where an earlier step dropped it.
    index = np.zeros(len(entered), np.int64)
    index[places] = np.arange(len(places))
    indices = pa.array(index, mask=steps != shard_file.ALIVE)
  for signal, values in verdict.signals.items():
    column = pa.array(values) if isinstance(values, np.ndarray) else values
    if len(column) != len(left):
      raise AssertionError(
        f"{name}: {signal} must have {len(left)} values; got {len(column)}"
      )
    whole = column if indices is None else column.take(indices)
    entered = entered.append_column(signal, whole)
    left = with_column(left, signal, column)
  if keep.all():
    return entered, left
  steps = steps.copy()
  steps[places[~keep]] = number
  place = entered.schema.get_field_index("step")
  entered = entered.set_column(place, "step", pa.array(steps))
  return entered, left.filter(pa.array(keep))


def with_column(
  table: pa.Table, name: str, column: pa.Array | pa.ChunkedArray
) -> pa.Table:
  """Return a table with a column, in the place of one of the same name."""
  place = table.schema.get_field_index(name)
  if place < 0:
    return table.append_column(name, column)
  return table.set_column(place, name, column)
