"""Tables that standard forms are read as: rows of JSON lines, no image copied.

A form such as COCO's captions is a JSON file about images elsewhere, which no
source reads. Its rows are written once below the cache folder, in a file named
by their digest, and the `table` source reads them.
"""

import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evaluators.sets import field_set, text_files
from input_pipeline.storage import files
from runtime.storage import remote, whole_files

# Images of a message that are not there.
_NUM_NAMED = 3


def source(
  rows: Iterable[Mapping[str, Any]],
  image_root: str,
  *,
  cache_dir: str,
  labels: str = "",
) -> dict[str, Any]:
  """Return the section of a source of these rows.

  Args:
    rows: "image", a path below `image_root`, "key", and the columns of texts:
      a text, a list of them, or an object of these by language.
    image_root: folder of the images, on disk or at a URL.
    cache_dir: folder for the table.
    labels: column of labels, or of groups; "" for rows with captions in
      "caption".
  """
  path = written(rows, cache_dir)
  return field_set.source(
    "table",
    path,
    image=("image",),
    caption=(labels or "caption",),
    language=field_set.LABELS if labels else "en",
    uid="key",
    image_root=image_root,
  )


def written(rows: Iterable[Mapping[str, Any]], cache_dir: str) -> str:
  """Return the path of a file of JSON lines with these rows."""
  text = "".join(f"{json.dumps(row)}\n" for row in rows)
  folder = pathlib.Path(cache_dir) / "sets"
  path = folder / f"{text_files.digest([text])}.jsonl"
  if not path.exists():
    folder.mkdir(parents=True, exist_ok=True)
    with whole_files.new_file(path) as temporary:
      temporary.write_text(text, "utf-8")
      # The same rows, written again, are the same version of the table.
      os.utime(temporary, ns=(0, 0))
  return str(path)


def exists(path: str) -> bool:
  """Return whether a file is there, on disk or at a URL."""
  if not remote.is_remote(path):
    return os.path.isfile(remote.local_path(path))
  try:
    files.facts(path)
  except OSError:
    return False
  return True


def folder_with(
  root: str, folders: Sequence[str], image: str, file: str
) -> str:
  """Return the first folder below `root` that has an image.

  Args:
    root: folder of the set.
    folders: folders where its images usually are; "" is `root`.
    image: path of one image.
    file: file that names the image, for the message.

  Raises:
    ValueError: none of them has it.
  """
  for folder in folders:
    path = f"{root}/{folder}".rstrip("/")
    if exists(f"{path}/{image}"):
      return path
  shown = ", ".join(f"{root}/{folder}".rstrip("/") for folder in folders)
  raise ValueError(
    f"{file} names the image {image}, which is in none of the folders {shown}"
  )


def parsed(path: str) -> Any:
  """Return the value of a JSON file; ValueError names it and the line."""
  text = text_files.read(path)
  if text is None:
    raise ValueError(f"there is no {path}")
  return parsed_text(text, path)


def parsed_lines(path: str) -> list[dict[str, Any]]:
  """Return the objects of a file of JSON lines."""
  text = text_files.read(path)
  if text is None:
    raise ValueError(f"there is no {path}")
  values = []
  for line, row in enumerate(text.split("\n"), 1):
    if row.strip():
      value = parsed_text(row, f"{path}, line {line}")
      if not isinstance(value, dict):
        raise ValueError(
          f"{path}, line {line}: expected an object; got {row[:60]}"
        )
      values.append(value)
  return values


def parsed_text(text: str, name: str) -> Any:
  """Return the value of JSON; ValueError has the name and the place."""
  try:
    return json.loads(text)
  except json.JSONDecodeError as error:
    raise ValueError(
      f"{name}: not JSON: {error.msg}, line {error.lineno}, column "
      f"{error.colno}"
    ) from error
  except RecursionError as error:
    raise ValueError(f"{name}: not JSON: nested too deeply") from error


def field_of(row: Any, name: str, kind: type, where: str) -> Any:
  """Return a field of an object; ValueError where it is not of its type."""
  value = row.get(name) if isinstance(row, Mapping) else None
  if not isinstance(value, kind) or isinstance(value, bool):
    raise ValueError(
      f"{where}: expected {name!r}, of type {kind.__name__}; got "
      f"{str(value)[:60]!r}"
    )
  return value
