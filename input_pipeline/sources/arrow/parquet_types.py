"""Types of the columns of pairs in Parquet files."""

from typing import Any

from input_pipeline.sources import columns
from input_pipeline.sources.arrow import arrow_texts, arrow_values

# Fields of Hugging Face's images, the preferred one first.
IMAGE_FIELDS = ("bytes", "path")
# Field of the section -> types of its columns, for messages.
_EXPECTED = {
  "caption": "text, lists of it, or these by language",
  "language_field": "text",
  "uid": "text, bytes, integers, decimals or float64",
  "image": "binary, a struct of bytes and path, or the text of a path or URL",
}
# Letters of a type that a message shows.
_NUM_SHOWN_OF_TYPE = 200


def check(found: columns.Columns, schema: Any, path: str, field: str) -> None:
  """Raise ValueError for a column of a type that cannot be read."""
  import pyarrow

  def empty(name: str) -> Any:
    base, _ = arrow_values.located(schema.names, name)
    return pyarrow.table({base: pyarrow.nulls(0, schema.field(base).type)})

  def refuse(option: str, name: str, about: str, reason: str) -> ValueError:
    base, _ = arrow_values.located(schema.names, name)
    kind = str(schema.field(base).type)
    if len(kind) > _NUM_SHOWN_OF_TYPE:
      kind = f"{kind[:_NUM_SHOWN_OF_TYPE]}..."
    more = f" ({reason})" if reason not in (kind, "") else ""
    return ValueError(
      f"{field}.{option} must be {_EXPECTED[option]}; got {kind}{more} in "
      f"column {about}, in {path}"
    )

  for name in found.captions:
    if name in found.numbers | found.values | found.nested:
      continue
    try:
      arrow_texts.texts(empty(name), [name])
    except TypeError as error:
      about = name + found.reasons[1]
      raise refuse("caption", name, about, str(error)) from None
  for option, name, about, fits in (
    ("language_field", found.language, found.language, _is_string),
    ("uid", found.key, found.key, _is_key),
    ("image", found.image, found.about_image, _is_image),
  ):
    if not name or about is None:
      continue
    try:
      kind = arrow_values.column(empty(name), name).type
    except TypeError as error:
      raise refuse(option, name, about, str(error)) from None
    if not fits(kind):
      raise refuse(option, name, about, "")


def _is_string(kind: Any) -> bool:
  import pyarrow

  return pyarrow.types.is_null(kind) or arrow_values.is_decodable(kind)


def _is_key(kind: Any) -> bool:
  import pyarrow

  return (
    _is_string(kind)
    or pyarrow.types.is_integer(kind)
    # Large numbers are the same in shorter floats.
    or pyarrow.types.is_float64(kind)
    or pyarrow.types.is_decimal(kind)
  )


def _is_image(kind: Any) -> bool:
  """Return whether a type is one of bytes, names of files, or both."""
  import pyarrow

  if not pyarrow.types.is_struct(kind):
    return _is_string(kind) or _is_numbers(kind)
  parts = {field.name: field.type for field in kind}
  data, path = (parts.get(name, pyarrow.null()) for name in IMAGE_FIELDS)
  return (
    bool(set(IMAGE_FIELDS) & parts.keys())
    and (
      (_is_string(data) and not arrow_values.is_text(data)) or _is_numbers(data)
    )
    and (_is_string(path) and not arrow_values.is_bytes(path))
  )


def _is_numbers(kind: Any) -> bool:
  """Return whether a type is a list of bytes, as NumPy's arrays become."""
  return arrow_values.is_list(kind) and str(kind.value_type) == "uint8"
