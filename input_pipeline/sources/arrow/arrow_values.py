"""Values of Arrow columns in one form, whichever type stores them.

Training and curation both read Parquet through this module, and so agree. A
column is named as it stands in the file, or by a dotted name: "json.caption" is
the field caption of the struct json, of each struct in a list, the entry
caption of a map, or that of an object in a column of JSON text. A column whose
own name holds the dot is preferred.
"""

import contextlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from input_pipeline import faults
from input_pipeline.sources import columns as columns_lib


def located(names: Sequence[str], name: str) -> tuple[str, str]:
  """Return the name that begins a dotted name, and the rest; ("", "") if none.

  The longest is preferred: "a.b" of the names a and a.b is the second.
  """
  start, rest = name, ""
  while start not in names:
    start, dot, last = start.rpartition(".")
    if not dot:
      return "", ""
    rest = f"{last}.{rest}" if rest else last
  return start, rest


def column(table: Any, name: str) -> Any:
  """Return a column as `plain` has it; its numbers in JSON become text.

  Raises:
    TypeError: type of a column that the rest of a dotted name has no place in.
  """
  import pyarrow
  import pyarrow.compute as pc

  base, path = located(table.column_names, name)
  values = plain(table[base])
  while path:
    kind = values.type
    if pyarrow.types.is_struct(kind):
      number, path = field_of(kind, path)
      values = plain(values.flatten()[number])
    elif pyarrow.types.is_map(kind):
      values = plain(pc.map_lookup(values, path, "first"))
      path = ""
    elif pyarrow.types.is_null(kind):
      path = ""
    elif is_decodable(kind):
      found = [_scalar(data, path) for data in values.to_pylist()]
      values, path = pyarrow.array(found, pyarrow.string()), ""
    else:
      raise TypeError(str(kind))
  return values


def plain(column: Any, *, keeps_json: bool = False) -> Any:
  """Return a column without dictionaries, views, and types of extensions.

  Texts are strings, bytes are binary or of a fixed size, lists are lists, also
  within structs and maps; a UUID is its 16 bytes. Arrow's `take` and others do
  not know all types that Parquet files have.

  Args:
    column: array, or chunked array.
    keeps_json: whether JSON keeps its type, arrow.json.
  """
  import pyarrow

  values = whole(column)
  if keeps_json and is_json(values.type):
    return pyarrow.ExtensionArray.from_storage(
      pyarrow.json_(), plain(values.storage)
    )
  values = stored(values)
  kind = values.type
  if is_text(kind):
    return _bytes(values).view(pyarrow.string())
  if is_bytes(kind) and not pyarrow.types.is_fixed_size_binary(kind):
    return _bytes(values)
  lacks = values.is_null() if values.null_count else None
  if is_list(kind):
    items = plain(values.flatten(), keeps_json=keeps_json)
    return pyarrow.ListArray.from_arrays(_offsets(values), items, mask=lacks)
  if pyarrow.types.is_map(kind):
    entries = map_entries(values)
    keys, items = (
      plain(x, keeps_json=keeps_json) for x in entries.flatten().flatten()
    )
    return pyarrow.MapArray.from_arrays(
      _offsets(entries), keys, items, mask=lacks
    )
  if pyarrow.types.is_struct(kind):
    return pyarrow.StructArray.from_arrays(
      [plain(x, keeps_json=keeps_json) for x in values.flatten()],
      [x.name for x in kind],
      mask=lacks,
    )
  return values


def map_entries(values: Any) -> Any:
  """Return maps as lists of structs of key and value."""
  import pyarrow

  kind = values.type
  entry = pyarrow.struct([("key", kind.key_type), ("value", kind.item_type)])
  return values.cast(pyarrow.list_(entry))


def strings(column: Any) -> tuple[Any, np.ndarray]:
  """Return text or bytes as strings, and the rows that are not UTF-8 (null)."""
  import pyarrow

  values = stored(whole(column))
  if pyarrow.types.is_null(values.type):
    return values.cast(pyarrow.string()), np.zeros(0, np.int64)
  data = _bytes(values)
  made = data.view(pyarrow.string())
  try:
    made.validate(full=True)
    return made, np.zeros(0, np.int64)
  except pyarrow.ArrowInvalid:
    decoded, bad = [], []
    for row, value in enumerate(data.to_pylist()):
      try:
        decoded.append(None if value is None else value.decode())
      except UnicodeDecodeError:
        decoded.append(None)
        bad.append(row)
    return pyarrow.array(decoded, pyarrow.string()), np.array(bad, np.int64)


def is_decodable(kind: Any) -> bool:
  """Return whether a type is one of strings or bytes."""
  return is_text(kind) or is_bytes(kind)


def is_json(kind: Any) -> bool:
  """Return whether a type is Arrow's of JSON."""
  return getattr(kind, "extension_name", "") == "arrow.json"


def is_text(kind: Any) -> bool:
  """Return whether a type is one of strings."""
  import pyarrow

  return (
    pyarrow.types.is_string(kind)
    or pyarrow.types.is_large_string(kind)
    or pyarrow.types.is_string_view(kind)
  )


def is_bytes(kind: Any) -> bool:
  """Return whether a type is one of bytes."""
  import pyarrow

  return (
    pyarrow.types.is_binary(kind)
    or pyarrow.types.is_large_binary(kind)
    or pyarrow.types.is_binary_view(kind)
    or pyarrow.types.is_fixed_size_binary(kind)
  )


def is_list(kind: Any) -> bool:
  """Return whether a type is one of lists; a map is not."""
  import pyarrow

  return (
    pyarrow.types.is_list(kind)
    or pyarrow.types.is_large_list(kind)
    or pyarrow.types.is_fixed_size_list(kind)
    or pyarrow.types.is_list_view(kind)
    or pyarrow.types.is_large_list_view(kind)
  )


def field_of(kind: Any, path: str) -> tuple[int, str]:
  """Return the number of a struct's field, and the rest of the path."""
  names = [field.name for field in kind]
  name, rest = located(names, path)
  if names.count(name) != 1:
    raise TypeError(f"{kind}, which has no field {path}, or has it twice")
  return names.index(name), rest


def entry(value: Any, path: str) -> Any:
  """Return the part of a JSON value that a dotted name is of; None for none."""
  if not path:
    return value
  if isinstance(value, list):
    return [entry(item, path) for item in value]
  if not isinstance(value, dict):
    return None
  name, rest = located(list(value), path)
  return entry(value.get(name), rest) if name else None


def _scalar(data: str | bytes | None, path: str) -> str | None:
  """Return the text or number at a place of JSON as text; None for neither."""
  try:
    fields = json.loads(data or "null", object_pairs_hook=columns_lib.once)
    value = entry(fields, path)
  except (ValueError, RecursionError):
    return None
  if isinstance(value, bool) or not isinstance(value, str | int | float):
    return None
  with contextlib.suppress(faults.ExampleError):  # a number that names no row
    return columns_lib.key_text(value)
  return None


def whole(column: Any) -> Any:
  """Return an array or chunked array as an array."""
  return column.combine_chunks() if hasattr(column, "chunks") else column


def stored(values: Any) -> Any:
  """Return an array without a dictionary, runs, and a type of an extension."""
  import pyarrow
  import pyarrow.compute as pc

  while True:
    kind = values.type
    if isinstance(kind, pyarrow.BaseExtensionType):
      values = values.storage
    elif pyarrow.types.is_dictionary(kind):
      values = values.dictionary_decode()
    elif pyarrow.types.is_run_end_encoded(kind):
      values = pc.call_function("run_end_decode", [values])
    else:
      return values


def _bytes(values: Any) -> Any:
  """Return text or bytes as binary; nothing is looked at, as a cast would."""
  import pyarrow

  if pyarrow.types.is_string(values.type):
    return values.view(pyarrow.binary())
  if pyarrow.types.is_large_string(values.type):
    values = values.view(pyarrow.large_binary())
  return values.cast(pyarrow.binary())


def list_lengths(values: Any) -> np.ndarray:
  """Return the number of items that `flatten` gives for each list, int64."""
  import pyarrow.compute as pc

  lengths = pc.call_function("list_value_length", [values]).fill_null(0)
  return lengths.to_numpy(zero_copy_only=False).astype(np.int64)


def _offsets(values: Any) -> Any:
  """Return where the items of lists begin in what `flatten` gives."""
  import pyarrow

  ends = np.cumsum(list_lengths(values))
  return pyarrow.array(np.append(0, ends).astype(np.int32))
