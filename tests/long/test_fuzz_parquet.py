"""Parquet of every type, read right by training and curation.

Types of captions, images, keys and languages differ from file to file, and so
do row groups, compression, pages and whether Arrow's schema is stored.
"""

import collections
import json
import os
import pathlib
import tempfile
import uuid
from collections.abc import Iterator
from typing import NamedTuple

import hypothesis
import pyarrow as pa
import pytest
from hypothesis import strategies as st
from pyarrow import parquet as pq

from input_pipeline import captions as captions_lib
from input_pipeline import faults
from input_pipeline.sources.arrow import parquet
from input_pipeline.storage import uids
from tests.curation.pools import reading
from tests.input_pipeline.sources import pairs

_BROKEN = b"\xff\xfe"
_WORDS = (
  *("a cat", "é狗\n x", 'say "so"', '{"a": 1}', "[", "x" * 300, "null"),
  *("", " ", "\u200b\u00ad", "7"),
)
_STRINGS = (pa.string(), pa.large_string(), pa.string_view())
_BINARIES = (pa.binary(), pa.large_binary(), pa.binary_view())
_INDICES = (pa.int8(), pa.int16(), pa.int32(), pa.int64())
_LISTS = (
  *(pa.list_, pa.large_list, pa.list_view, pa.large_list_view),
  lambda kind: pa.list_(kind, 4),
)
_LANGUAGES = ("en", "de", "pt_BR", "zh-Hans")

# Captions of a row: the language, None where the row's own, and the text.
_Captions = list[tuple[str | None, bytes]]


class _Row(NamedTuple):
  captions: _Captions
  image: bytes | None
  key: str | None
  language: str | None


class _File(NamedTuple):
  rows: list[_Row]
  table: pa.Table
  options: dict


def _is_bytes(kind: pa.DataType) -> bool:
  if pa.types.is_dictionary(kind):
    kind = kind.value_type
  return kind in _BINARIES


@st.composite
def _leaf(draw) -> pa.DataType:
  kind = draw(st.sampled_from((*_STRINGS, *_BINARIES)))
  if draw(st.booleans()) and kind not in (pa.string_view(), pa.binary_view()):
    return pa.dictionary(draw(st.sampled_from(_INDICES)), kind)
  return kind


def _text(kind: pa.DataType, text: bytes) -> str | bytes:
  return text if _is_bytes(kind) else text.decode()


@st.composite
def _texts(draw, num_rows: int, most: int, kind: pa.DataType):
  """Return lists of texts, with bytes that are no text where they can be."""
  word = st.sampled_from(_WORDS).map(str.encode)
  if _is_bytes(kind):
    word |= st.just(_BROKEN)
  texts = st.lists(word, max_size=most)
  return draw(st.lists(texts, min_size=num_rows, max_size=num_rows))


@st.composite
def _single(draw, num_rows: int):
  kind = draw(_leaf())
  rows = draw(_texts(num_rows, 1, kind))
  values = [_text(kind, row[0]) if row else None for row in rows]
  return pa.array(values, kind), [[(None, x) for x in row] for row in rows]


@st.composite
def _listed(draw, num_rows: int):
  kind, outer = draw(_leaf()), draw(st.sampled_from(_LISTS))
  rows = draw(_texts(num_rows, 4, kind))
  # Entries that are null fill a list of a fixed size.
  values = [
    [_text(kind, x) for x in row] + [None] * (4 - len(row))
    if row or draw(st.booleans())
    else None
    for row in rows
  ]
  made, depth = outer(kind), draw(st.integers(0, 1))
  if depth:
    made = pa.list_(made)
    values = [None if x is None else [x] for x in values]
  return pa.array(values, made), [[(None, x) for x in row] for row in rows]


@st.composite
def _spoken(draw, num_rows: int):
  """Return maps or structs by language, or lists of texts with a language."""
  form = draw(st.sampled_from(("map", "struct", "pairs")))
  kind = draw(_leaf())
  per_row = [
    {
      code: draw(_texts(1, 2, kind))[0]
      for code in draw(st.sets(st.sampled_from(_LANGUAGES)))
    }
    for _ in range(num_rows)
  ]
  rows = [
    [(code, text) for code, texts in row.items() for text in texts]
    for row in per_row
  ]
  values = [
    {code: [_text(kind, x) for x in texts] for code, texts in row.items()}
    for row in per_row
  ]
  if form == "map":
    made = pa.map_(draw(st.sampled_from(_STRINGS)), pa.list_(kind))
    return pa.array([list(x.items()) for x in values], made), rows
  if form == "struct":
    fields = [(code, pa.list_(kind)) for code in _LANGUAGES]
    return pa.array(values, pa.struct(fields)), rows
  made = pa.list_(pa.struct([("language", pa.string()), ("text", kind)]))
  pairs_of = [
    [{"language": code, "text": text} for code, texts in row.items()
     for text in texts]
    for row in values
  ]  # fmt: skip
  return pa.array(pairs_of, made), rows


@st.composite
def _nothing(draw, num_rows: int):
  kind = draw(st.sampled_from((pa.null(), pa.list_(pa.null()))))
  return pa.nulls(num_rows, kind), [[] for _ in range(num_rows)]


@st.composite
def _jsons(draw, num_rows: int):
  """Return JSON values as Python objects, and the captions in each."""
  values, rows = [], []
  for _ in range(num_rows):
    texts = draw(st.lists(st.sampled_from(_WORDS), max_size=3))
    row: _Captions = [(None, text.encode()) for text in texts]
    form = draw(st.sampled_from(("one", "list", "languages", "none")))
    if form == "one" and len(texts) == 1:
      values.append(texts[0])
    elif form == "languages":
      values.append({"de": texts, "en": 7})
      row = [("de", text) for _, text in row]
    elif form == "none":
      values.append(draw(st.sampled_from((None, 3, True, []))))
      row = []
    else:
      values.append([*texts, 5])
    rows.append(row)
  return values, rows


@st.composite
def _columns(draw, num_rows: int, name: str):
  """Return the columns that hold captions, and the captions."""
  form = st.one_of(
    *(_single(num_rows), _listed(num_rows)),
    *(_spoken(num_rows), _nothing(num_rows)),
  )
  if name == "caption":
    if draw(st.integers(0, 5)):
      column, rows = draw(form)
      return {"caption": column}, rows
    values, rows = draw(_jsons(num_rows))
    column = pa.array([json.dumps(x) for x in values], pa.string())
    return {"caption": pa.ExtensionArray.from_storage(pa.json_(), column)}, rows
  within = draw(st.sampled_from(("struct", "column", "json", "list")))
  if within == "json":
    kind = draw(_leaf())
    values, rows = draw(_jsons(num_rows))
    texts = [json.dumps({"caption": x, "n": 1}).encode() for x in values]
    for number in range(num_rows):
      if not draw(st.integers(0, 5)):
        broken = b"{" if not _is_bytes(kind) else b'{"caption": "' + _BROKEN
        texts[number], rows[number] = broken, [(None, _BROKEN)]
    return {"json": pa.array([_text(kind, x) for x in texts], kind)}, rows
  column, rows = draw(form)
  numbers = pa.array(range(num_rows))
  inner = pa.StructArray.from_arrays([numbers, column], ["n", "caption"])
  if within == "list":
    offsets = pa.array(range(num_rows + 1), pa.int32())
    inner = pa.ListArray.from_arrays(offsets, inner)
  if within == "column":
    # A column of the whole name is preferred to a part of another.
    decoy = pa.array([{"caption": "decoy"}] * num_rows)
    return {"json": decoy, "json.caption": column}, rows
  return {"json": inner}, rows


@st.composite
def _images(draw, num_rows: int, first: int):
  images = [
    b"image %d" % (first + i) if draw(st.integers(0, 9)) else None
    for i in range(num_rows)
  ]
  form = draw(st.sampled_from(("bytes", "dictionary", "struct", "none")))
  kind = draw(st.sampled_from(_BINARIES))
  if form == "struct":
    made = pa.struct([("bytes", kind), ("path", draw(st.sampled_from(
      (*_STRINGS, pa.null()))))])  # fmt: skip
    return pa.array([{"bytes": x, "path": None} for x in images], made), images
  if form == "dictionary" and kind != pa.binary_view():
    return pa.array(images, pa.dictionary(pa.int32(), kind)), images
  if form == "none":
    return pa.nulls(num_rows), [None] * num_rows
  return pa.array(images, kind), images


@st.composite
def _keys(draw, num_rows: int, first: int):
  """Return a column of keys, and each key as text."""
  numbers = [
    first + i if draw(st.integers(0, 9)) else None for i in range(num_rows)
  ]
  kind = draw(
    st.sampled_from(
      (*_STRINGS, *_BINARIES, pa.int32(), pa.uint64(), pa.uuid(), pa.null())
    )
  )
  if kind == pa.null():
    return pa.nulls(num_rows), [None] * num_rows
  if pa.types.is_integer(kind):
    large = 2**63 if kind == pa.uint64() else 0
    values = [None if x is None else x + large for x in numbers]
    return pa.array(values, kind), [x if x is None else str(x) for x in values]
  if kind == pa.uuid():
    named = [None if x is None else uuid.UUID(int=x + 2**100) for x in numbers]
    data = pa.array([x and x.bytes for x in named], pa.binary(16))
    column = pa.ExtensionArray.from_storage(kind, data)
    return column, [x and x.hex for x in named]
  named = [None if x is None else f"key {x}" for x in numbers]
  if kind in _BINARIES:
    data = [x and x.encode() for x in named]
    return pa.array(data, kind), [x and x.hex() for x in data]
  return pa.array(named, kind), named


@st.composite
def _file(draw, name: str, first: int) -> _File:
  num_rows = draw(st.integers(0, 7))
  columns, captions = draw(_columns(num_rows, name))
  images, encoded = draw(_images(num_rows, first))
  column, keys = draw(_keys(num_rows, first))
  languages = [draw(st.sampled_from(("fr", "", None))) for _ in range(num_rows)]
  kind = draw(_leaf())
  spoken = [None if x is None else _text(kind, x.encode()) for x in languages]
  if _is_bytes(kind):
    spoken = [x and draw(st.sampled_from((x, _BROKEN))) for x in spoken]
    languages = [
      None if x == _BROKEN else y
      for x, y in zip(spoken, languages, strict=True)
    ]
  columns |= {"image": images, "id": column, "lang": pa.array(spoken, kind)}
  order = draw(st.permutations(sorted(columns)))
  table = pa.table({key: columns[key] for key in order})
  options = {
    "row_group_size": draw(st.integers(1, 9)),
    "use_dictionary": draw(st.booleans()),
    "data_page_version": draw(st.sampled_from(("1.0", "2.0"))),
    "compression": draw(
      st.sampled_from(("none", "snappy", "zstd", "gzip", "lz4", "brotli"))
    ),
    # Without it, Parquet's own types are what is left.
    "store_schema": draw(st.booleans()),
  }
  rows = [
    _Row(*x) for x in zip(captions, encoded, keys, languages, strict=True)
  ]
  return _File(rows, table, options)


@st.composite
def _files(draw) -> tuple[str, list[_File]]:
  name = draw(st.sampled_from(("caption", "json.caption")))
  number = draw(st.integers(1, 3))
  return name, [draw(_file(name, 100 * i)) for i in range(number)]


@pytest.mark.slow
@hypothesis.given(_files())
@hypothesis.settings(
  max_examples=int(os.environ.get("NUM_FUZZED", "300")),
  deadline=None,
  database=None,
  derandomize=True,
  suppress_health_check=list(hypothesis.HealthCheck),
)
def test_tables(drawn):
  name, some = drawn
  hypothesis.assume(any(file.rows for file in some))
  with tempfile.TemporaryDirectory() as made:
    folder = pathlib.Path(made)
    for number, file in enumerate(some):
      path = folder / f"{number}.parquet"
      try:
        pq.write_table(file.table, path, **file.options)
      except pa.ArrowNotImplementedError:  # views within structs, in parts
        hypothesis.reject()
    source = pairs.source(
      *("parquet", folder / "*.parquet"),
      image=("image",),
      caption=(name,),
      uid="id",
      language_field="lang",
      language="und",
    )
    wanted = list(_expected(some))
    records = parquet.open_split(source, "", pairs.context(folder))
    keys = [uids.uid(key) for key, *_ in wanted]
    assert records.uids().tolist() == keys
    assert [_outcome(records, index) for index in range(len(records))] == [
      "image_missing"
      if image is None
      else texts
      if isinstance(texts, str)
      else (key, image, texts)
      for key, image, texts in wanted
    ]
    opened, shards = reading.open_pool(source, folder)
    rows = reading.rows_of(opened, shards, ("text", "language", "image"))
    found = collections.defaultdict(list)
    for row in rows:
      kind = (row["fault"] or "").partition(":")[0]
      got = (row["language"], row["text"], row["image"])
      found[row["pair"]].append(kind or got)
    assert found == {
      uids.uid(key): _pairs(image, texts) for key, image, texts in wanted
    }


def _outcome(records: parquet.Records, index: int) -> tuple | str:
  try:
    record = records[index]
  except faults.ExampleError as error:
    return error.kind
  return record.key, record.image, record.texts


def _expected(
  some: list[_File],
) -> Iterator[tuple[str, bytes | None, dict | str]]:
  """Yield key, image, and captions by language or kind of fault."""
  shown = [f"{number}.parquet" for number in range(len(some))]
  for file, label in zip(some, shown, strict=True):
    size = file.options["row_group_size"]
    for number, row in enumerate(file.rows):
      key = row.key or f"{label}:{number // size}:{number % size}"
      texts = collections.defaultdict(tuple)
      for code, text in row.captions:
        if text != _BROKEN and not captions_lib.is_blank(text.decode()):
          texts[code or row.language or "und"] += (text.decode(),)
      kind = ""
      if any(text == _BROKEN for _, text in row.captions):
        kind = "caption_broken"
      elif not texts:
        kind = "caption_missing"
      yield key, row.image, kind or dict(texts)


def _pairs(image: bytes | None, texts: dict | str) -> list:
  """Return what curation has of an example."""
  if isinstance(texts, str):
    return [texts]
  return [
    "image_missing" if image is None else (code, text, image)
    for code in sorted(texts)
    for text in texts[code]
  ]
