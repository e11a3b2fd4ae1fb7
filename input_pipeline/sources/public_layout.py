"""Folders of public data sets as they are published, each layout by its name.

`path` is the data set's folder, and `layout` the name of its layout,
"MODULE.NAME": the entry NAME of `LAYOUTS` in layouts/MODULE.py. The files are
read once into a table of JSON lines below the cache folder, made again when any
of them changes, or the module; that table is what training and evaluation read.
Its columns are those of the layout's rows: `caption` by default, and any other
for labels, attributes and fields of grammars.
"""

import dataclasses
import functools
import importlib
import io
import pathlib
import pkgutil
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from PIL import Image

from input_pipeline import faults
from input_pipeline.images import image_ops
from input_pipeline.sources import layouts, source_config
from input_pipeline.sources import record as record_lib
from input_pipeline.sources.layouts import layout as layout_lib
from input_pipeline.sources.tables import (
  folder,
  folder_rows,
  made_table,
  table,
)
from input_pipeline.storage import folders
from runtime.storage import remote

LANGUAGES = None

# Version to increase when another table is made of the same rows.
_VERSION = 1
# Module of layouts/ that has none.
_CODE = "layout"


def names() -> tuple[str, ...]:
  """Return the names of all layouts."""
  return tuple(
    f"{module}.{name}" for module in _modules() for name in _layouts(module)
  )


def check(source: source_config.SourceConfig, field: str) -> None:
  """Raise ValueError where a layout or its split does not exist.

  No file of the data is read.

  Args:
    source: section of the format "layout".
    field: name of the section in messages, such as "data.sources.main".
  """
  about = _layout(source, field)
  if about.splits:
    _check_split(source, source.split, about, field)


def splits(
  source: source_config.SourceConfig, context: source_config.SourceContext
) -> tuple[str, ...]:
  """Return the names of a layout's splits."""
  return _layout(source, context.field).splits


def open_split(
  source: source_config.SourceConfig,
  split: str,
  context: source_config.SourceContext,
) -> "Records":
  """Return the examples of a split, their table made if need be.

  Raises:
    ValueError: the layout, the split or a file is wrong; names the field.
  """
  field = context.field
  source.refuse(field, "image", "language_field", "uid", "image_root")
  about = _layout(source, field)
  if not about.splits:
    source_config.check_no_split(source, split, context)
  else:
    _check_split(source, split, about, field)
  listed = folders.walk(source.path, f"{field}.path")
  code = _module(source.layout.partition(".")[0]).__file__ or ""
  facts = (
    *(_VERSION, source.layout, split, pathlib.Path(code).read_bytes()),
    [(name, file.size, file.version) for name, file in listed.items()],
  )
  path = context.cache_dir / "layouts" / f"{record_lib.digest(facts)}.jsonl"
  made_images = path.with_suffix("")
  if not made_table.is_made(path):
    data = layout_lib.Folder(source.path, listed, about, field, made_images)
    rows = _plain(about.rows(data, split), data, code)
    made_table.write(path, rows, data.notes)
  made_table.warn(path, f"{field}.path")
  root = str(made_images) if made_images.exists() else source.path
  made = dataclasses.replace(
    source,
    format="table",
    path=str(path),
    split="",
    image=("image",),
    caption=source.caption or ("caption",),
    uid="key",
    image_root=root,
  )
  return Records(
    table.open_table(made, field, context.cache_dir),
    remote.local_path(root).rstrip("/"),
  )


class Records(folder.Records):
  """Examples of a data set; see record.Records.

  Parts of one image have the image's own name (image_id), so that no part of it
  is held out while another trains.
  """

  def __getitem__(self, index: int) -> record_lib.Record:
    record = super().__getitem__(index)
    row = self._row(index)
    if not row.get("crop"):
      return record
    with faults.located(record.origin):
      part = _part(record.image, row["crop"], row.get("size"))
    return dataclasses.replace(record, image=part, stored_id=record.image_id())

  def fingerprint(self) -> str:
    """Return hex digits of all rows, which are the same in any folder."""
    made = made_table.digest_of(pathlib.Path(self._rows.path))
    return record_lib.digest((made, self._rows.layout.columns))

  def image_state(self) -> str:
    """Return the state of the images; see record.image_state."""
    return self._rows.image_state()


def _part(
  data: bytes, crop: Sequence[int], size: Sequence[int] | None
) -> bytes:
  """Return a part of an image as PNG, resized with antialiasing if need be."""
  image = _decoded(data)
  left, top, right, bottom = crop
  if not (
    0 <= left < right <= image.width and 0 <= top < bottom <= image.height
  ):
    raise faults.ExampleError(
      "image_broken",
      f"expected an image that has the part {list(crop)}; got {image.width} x "
      f"{image.height} pixels",
    )
  part = image.crop((left, top, right, bottom))
  if size:
    width, height = size
    part = part.resize((width, height), Image.Resampling.BICUBIC)
  file = io.BytesIO()
  part.save(file, "PNG", compress_level=1)
  return file.getvalue()


# One, as parts of an image follow each other where they are read in order.
@functools.lru_cache(1)
def _decoded(data: bytes) -> Image.Image:
  return Image.fromarray(image_ops.decode(data))


def _plain(
  rows: Iterator[layout_lib.Row], data: layout_lib.Folder, code: str
) -> Iterator[Mapping[str, Any]]:
  """Yield rows of a table, with all columns in each.

  Args:
    rows: rows of the layout.
    data: folder that they are read from.
    code: file of the layout's module.

  Raises:
    ValueError: there is no row, a row has no image, or a file has another form
      than the layout's.
  """
  is_empty = True
  try:
    for row in folder_rows.with_keys(_checked(rows, code)):
      is_empty = False
      yield row
  except (KeyError, TypeError, AttributeError, IndexError) as error:
    lines = [
      frame.lineno
      for frame in traceback.extract_tb(error.__traceback__)
      if frame.filename == code
    ]
    place = f" at {pathlib.Path(code).name}, line {lines[-1]}" if lines else ""
    raise data.wrong(
      f"has {data.last_read} in another form ({type(error).__name__}{place}:"
      f" {error})"
    ) from error
  if is_empty:
    raise data.wrong("has no example")


def _checked(
  rows: Iterator[layout_lib.Row], code: str
) -> Iterator[dict[str, Any]]:
  """Yield a layout's rows; ValueError for one without an image."""
  for number, row in enumerate(rows):
    if "image" not in row:
      raise ValueError(
        f"{pathlib.Path(code).name}: every row must have an image, a path below"
        f" the folder; got {', '.join(row) or 'nothing'} in row {number}"
      )
    yield dict(row)


@functools.cache
def _modules() -> tuple[str, ...]:
  found = (module.name for module in pkgutil.iter_modules(layouts.__path__))
  return tuple(sorted(name for name in found if name != _CODE))


def _module(name: str) -> Any:
  return importlib.import_module(f"{layouts.__name__}.{name}")


def _layouts(name: str) -> Mapping[str, layout_lib.Layout]:
  """Return the layouts of a module; ValueError for a module that is wrong."""
  module = _module(name)
  found = getattr(module, "LAYOUTS", None)
  if not isinstance(found, dict):
    raise ValueError(
      f"LAYOUTS of {module.__file__} must be a dict of layouts by name; got"
      f" {'none' if found is None else repr(found)}"
    )
  for entry, about in found.items():
    if not isinstance(about.splits, tuple):
      raise ValueError(
        f'LAYOUTS["{entry}"].splits of {module.__file__} must be a tuple of'
        f' names, such as ("train",); got {about.splits!r}'
      )
  return found


def _check_split(
  source: source_config.SourceConfig,
  split: str,
  about: layout_lib.Layout,
  field: str,
) -> None:
  """Raise ValueError for a split that a layout does not have."""
  if split not in about.splits:
    raise ValueError(
      f"{field}.split must be one of {', '.join(about.splits)} for layout="
      f'"{source.layout}"; got {split!r}'
    )


def _layout(
  source: source_config.SourceConfig, field: str
) -> layout_lib.Layout:
  """Return the layout of a source; ValueError that lists all."""
  module, _, name = source.layout.partition(".")
  if module in _modules():
    found = _layouts(module).get(name)
    if found is not None:
      return found
  raise ValueError(
    f"{field}.layout must be one of {', '.join(names())}; got {source.layout!r}"
  )
