"""Verdicts of several steps on one table of pairs, combined.

A table has two parts: `entered`, all its pairs with the columns of
shard_file.py, and `left`, the pairs that no step has dropped yet, with the
columns that later steps read.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation import operators, pool
from curation.engine import shard_file

_POOL_COLUMNS = ("uid", "row", "caption")


def begin(table: pa.Table, *, has_caption: bool) -> tuple[pa.Table, pa.Table]:
  """Return both parts; unreadable pairs are dropped from `left`.

  Args:
    table: table as pool.Pool.read yields it.
    has_caption: whether `entered` has the column `caption`.
  """
  names = [
    name
    for name in _POOL_COLUMNS
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


def fault_kinds(faults: pa.Array | pa.ChunkedArray | None) -> dict[str, int]:
  """Return kind -> number of faults "KIND: MESSAGE"; nulls are not counted."""
  if faults is None:
    return {}
  options = pc.ExtractRegexOptions("^(?P<kind>[^:]*)")
  faults = faults.drop_null()
  parts = pc.call_function("extract_regex", [faults], options)
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
  """Return both parts with a step's signals, without the pairs it drops.

  Args:
    verdict: verdict on the pairs of `left`.
    number: number of the step in its stage.
    name: name of the step, for messages.
    entered: first part, see the module.
    left: second part, see the module.
  """
  keep = np.ones(len(left), bool) if verdict.keep is None else verdict.keep
  if len(keep) != len(left) or keep.dtype != bool:
    raise AssertionError(
      f"{name}: keep must be bool [{len(left)}]; got {keep.dtype} {keep.shape}"
    )
  steps = entered["step"].to_numpy()
  alive = np.flatnonzero(steps == shard_file.ALIVE)
  indices = None
  if len(alive) < len(entered):
    # Index of each pair in `left`, null if an earlier step dropped it.
    index = np.zeros(len(entered), np.int64)
    index[alive] = np.arange(len(alive))
    indices = pa.array(index, mask=steps != shard_file.ALIVE)
  for signal, values in verdict.signals.items():
    column = _finite(values)
    if len(column) != len(left):
      raise AssertionError(
        f"{name}: {signal} must have {len(left)} values; got {len(column)}"
      )
    whole = column if indices is None else column.take(indices)
    entered = entered.append_column(signal, whole)
    left = pool.with_column(left, signal, column)
  if verdict.faults is not None and verdict.faults.null_count < len(left):
    faults = verdict.faults.cast(pa.string())
    whole = faults if indices is None else faults.take(indices)
    if "fault" in entered.column_names:
      whole = pc.call_function("coalesce", [entered["fault"], whole])
    entered = pool.with_column(entered, "fault", whole)
  if keep.all():
    return entered, left
  steps = steps.copy()
  steps[alive[~keep]] = number
  column = entered.schema.get_field_index("step")
  entered = entered.set_column(column, "step", pa.array(steps))
  return entered, left.filter(pa.array(keep))


def _finite(
  values: np.ndarray | pa.Array | pa.ChunkedArray,
) -> pa.Array | pa.ChunkedArray:
  """Return a signal's column; numbers that are not finite are null."""
  if isinstance(values, np.ndarray):
    is_broken = None
    if values.dtype.kind == "f":
      is_broken = ~np.isfinite(values)
    return pa.array(values, mask=is_broken)
  if not pa.types.is_floating(values.type):
    return values
  is_finite = pc.call_function("is_finite", [values])
  return pc.call_function("if_else", [is_finite, values, None])
