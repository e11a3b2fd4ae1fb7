"""The same few pairs in every format, and the sections that read them."""

import csv
import dataclasses
import io
import json
import pathlib
from collections.abc import Callable

import numpy as np
import pyarrow
from PIL import Image
from pyarrow import parquet

from configs.parts import sources as sources_config
from input_pipeline.sources import array_record, prepared, record, source_config
from tests.input_pipeline.sources import tars

CAPTIONS = (
  "a cat",
  "a dog, asleep",
  'an "owl"\nat night',
  "ein Fuchs",
  "x",
  " \u200b\ufeff\u00ad",
)
NO_IMAGE, NO_CAPTION = 4, 5


def source(format: str, path: object, **fields) -> source_config.SourceConfig:
  """Return a section with every field."""
  section = sources_config.source(format=format, path=str(path), **fields)
  return source_config.SourceConfig(**section.to_dict())


def context(folder: pathlib.Path) -> source_config.SourceContext:
  """Return the place of the source "main"."""
  return source_config.SourceContext("main", folder / "cache", 8)


def png(index: int) -> bytes:
  """Return a small picture of its own."""
  file = io.BytesIO()
  Image.fromarray(np.full((4, 4, 3), 7 * index, np.uint8)).save(file, "PNG")
  return file.getvalue()


def key(index: int) -> str:
  """Return the key that formats with a column for it store."""
  return f"{index:032x}"


def language(index: int) -> str:
  """Return the language of a caption."""
  return "de" if index == 3 else "en"


def expected(index: int, name: str | None = None) -> record.Record | str:
  """Return what a format makes of a pair: its record, or a kind of fault."""
  if index == NO_IMAGE:
    return "image_missing"
  if index == NO_CAPTION:
    return "caption_missing"
  texts = {language(index): (CAPTIONS[index],)}
  return record.Record(name or key(index), png(index), texts)


@dataclasses.dataclass(frozen=True)
class Case:
  """A source, and what reading it gives."""

  source: source_config.SourceConfig
  split: str
  expected: tuple[record.Record | str, ...]


def _all() -> tuple[record.Record | str, ...]:
  return tuple(expected(index) for index in range(len(CAPTIONS)))


def _images(index: int) -> bytes | None:
  return None if index == NO_IMAGE else png(index)


def _rows() -> list[dict]:
  return [
    {"key": key(i), "caption": text, "language": language(i)}
    for i, text in enumerate(CAPTIONS)
  ]


def _img2dataset(folder: pathlib.Path) -> Case:
  rows = [
    row
    | {
      "png": _images(i),
      "status": "success",
      "error_message": None,
      "width": 4,
    }
    for i, row in enumerate(_rows())
  ]
  failed = {"png": None, "status": "failed_to_download", "caption": "gone"}
  rows[2:2] = [failed]
  rows.append(failed)
  # Row groups of which one has failures only, one some, one none.
  for name, some in (("00000", rows[:4]), ("00001", rows[4:])):
    table = pyarrow.Table.from_pylist(
      some,
      schema=pyarrow.schema(
        [("png", pyarrow.binary()), ("error_message", pyarrow.string())]
        + [
          (field, pyarrow.string())
          for field in ("key", "caption", "language", "status")
        ]
        + [("width", pyarrow.int32())]
      ),
    )
    parquet.write_table(table, folder / f"{name}.parquet", row_group_size=2)
  found = source(
    "parquet", folder / "{00000..00001}.parquet", language_field="language"
  )
  return Case(found, "", _all())


def _hugging_face(folder: pathlib.Path) -> Case:
  rows = [
    {
      "image": {"bytes": _images(i), "path": None},
      "text": [None, CAPTIONS[i]],
      "uid": key(i),
      "lang": None if language(i) == "en" else "de",
    }
    for i in range(len(CAPTIONS))
  ]
  # As datasets stores what was not embedded.
  (folder / "1.png").write_bytes(png(1))
  rows[1]["image"] = {"bytes": None, "path": "1.png"}
  parquet.write_table(
    pyarrow.Table.from_pylist(rows), folder / "a.parquet", row_group_size=4
  )
  found = source(
    "parquet", folder / "*.parquet", uid="uid", language_field="lang"
  )
  return Case(found, "", _all())


def _write_images(folder: pathlib.Path) -> list[str]:
  (folder / "images").mkdir()
  names = []
  for index in range(len(CAPTIONS)):
    name = f"images/{index}.png"
    (folder / name).write_bytes(png(index))
    names.append("" if index == NO_IMAGE else name)
  return names


def _named(folder: pathlib.Path) -> Case:
  rows = [
    row | {"file": name or None}
    for row, name in zip(_rows(), _write_images(folder), strict=True)
  ]
  parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "a.parquet")
  found = source(
    *("parquet", folder / "a.parquet"),
    image=("file",),
    caption=("caption",),
    language_field="language",
  )
  return Case(found, "", _all())


def _jsonl(folder: pathlib.Path) -> Case:
  names = _write_images(folder)
  lines = [
    json.dumps(row | {"image": name}) + "\n"
    for row, name in zip(_rows(), names, strict=True)
  ]
  (folder / "captions.jsonl").write_text("\n".join(lines) + "\n\n")
  return Case(source("table", folder, language_field="language"), "", _all())


def _spoken(folder: pathlib.Path) -> Case:
  names = _write_images(folder)
  lines = [
    json.dumps(
      {"key": key(i), "image": name, "texts": {language(i): CAPTIONS[i]}}
    )
    for i, name in enumerate(names)
  ]
  (folder / "captions.jsonl").write_text("\n".join(lines))
  return Case(source("table", folder), "", _all())


def _csv(folder: pathlib.Path, suffix: str, encoding: str = "") -> Case:
  names = _write_images(folder)
  with open(
    folder / f"a{suffix}", "w", newline="", encoding=encoding or "utf-8-sig"
  ) as file:
    writer = csv.writer(file)
    writer.writerow(["filepath", "title", "lang"])
    for index, (name, text) in enumerate(zip(names, CAPTIONS, strict=True)):
      writer.writerow([name, text, language(index)])
  found = tuple(
    expected(index, f"{name}#{index}") for index, name in enumerate(names)
  )
  path = folder / f"a{suffix}"
  fields = {"language_field": "lang", "encoding": encoding}
  return Case(source("table", path, **fields), "", found)


def _tabs(folder: pathlib.Path, suffix: str) -> Case:
  names = _write_images(folder)
  lines, found = ["\ufefffilepath\ttitle\tlang"], []
  for index, (name, text) in enumerate(zip(names, CAPTIONS, strict=True)):
    # A row is a line, and a quote a letter.
    text = text.replace("\n", " ")
    lines.append(f"{name}\t{text}\t{language(index)}")
    wanted = expected(index, f"{name}#{index}")
    if isinstance(wanted, record.Record):
      texts = {language(index): (text,)}
      wanted = dataclasses.replace(wanted, texts=texts)
    found.append(wanted)
  path = folder / f"a{suffix}"
  path.write_bytes("\r\n".join(lines).encode())
  return Case(source("table", path, language_field="lang"), "", tuple(found))


def usable() -> list[record.Record]:
  """Return the pairs that can be stored where faults cannot."""
  return [one for one in _all() if isinstance(one, record.Record)]


def _record_files(folder: pathlib.Path) -> Case:
  some = usable()
  for name, part in (("a", some[:3]), ("b", []), ("c", some[3:])):
    array_record.write(folder / f"{name}.array_record", part)
  found = source("array_record", folder / "*.array_record")
  return Case(found, "", tuple(some))


def _prepared(folder: pathlib.Path) -> Case:
  some = usable()
  prepared.prepare(
    folder / "out", lambda: {"test": [], "train": some}, versions={}
  )
  found = source("array_record", folder / "out", split="train")
  return Case(found, "train", tuple(some))


def _tars(folder: pathlib.Path) -> Case:
  for name, indices in (("00000", range(4)), ("00001", range(4, 6))):
    members = {}
    for i in indices:
      if i != NO_IMAGE:
        members[f"{key(i)}.png"] = png(i)
      members[f"{key(i)}.txt"] = CAPTIONS[i].encode()
      members[f"{key(i)}.json"] = json.dumps({"lang": language(i)}).encode()
    tars.write(folder / f"{name}.tar", members)
  found = source(
    *("webdataset", folder / "{00000..00001}.tar"), language_field="json.lang"
  )
  return Case(found, "", _all())


def _texts(folder: pathlib.Path) -> Case:
  for index, caption in enumerate(CAPTIONS):
    if index != NO_IMAGE:
      (folder / f"{index}.png").write_bytes(png(index))
    facts = {"lang": language(index), "uid": key(index)}
    (folder / f"{index}.json").write_text(json.dumps(facts))
    (folder / f"{index}.txt").write_text(caption)
  found = source("folder", folder, language_field="json.lang", uid="json.uid")
  return Case(found, "", tuple(expected(i) for i in (0, 1, 2, 3, 5)))


def _image_folder(folder: pathlib.Path, suffix: str) -> Case:
  """Write Hugging Face's layout: a table in a folder below the source's."""
  (folder / "train").mkdir()
  names = _write_images(folder / "train")
  rows = [
    {"file_name": name, "text": text, "lang": language(index)}
    for index, (name, text) in enumerate(zip(names, CAPTIONS, strict=True))
  ]
  path = folder / "train" / f"metadata{suffix}"
  if suffix == ".parquet":
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
  elif suffix == ".jsonl":
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
  else:
    with open(path, "w", newline="", encoding="utf-8") as file:
      writer = csv.DictWriter(file, rows[0])
      writer.writeheader()
      writer.writerows(rows)
  found = tuple(
    expected(index, f"train/{name}" if name else "")
    for index, name in enumerate(names)
  )
  return Case(source("folder", folder, language_field="lang"), "", found)


# Format -> what writes the pairs to a folder.
CASES: dict[str, Callable[[pathlib.Path], Case]] = {
  "parquet of img2dataset": _img2dataset,
  "parquet of Hugging Face": _hugging_face,
  "parquet of paths": _named,
  "jsonl": _jsonl,
  "jsonl by language": _spoken,
  "csv": lambda folder: _csv(folder, ".csv"),
  "csv in UTF-16": lambda folder: _csv(folder, ".csv", "utf-16"),
  "tsv": lambda folder: _tabs(folder, ".tsv"),
  "csv with tabs": lambda folder: _tabs(folder, ".csv"),
  "array_record files": _record_files,
  "prepared folder": _prepared,
  "tars": _tars,
  "folder of texts": _texts,
  "folder of metadata.jsonl": lambda folder: _image_folder(folder, ".jsonl"),
  "folder of metadata.csv": lambda folder: _image_folder(folder, ".csv"),
  "folder of metadata.parquet": (
    lambda folder: _image_folder(folder, ".parquet")
  ),
}
