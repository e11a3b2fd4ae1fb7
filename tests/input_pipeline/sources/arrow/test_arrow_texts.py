"""Texts of Arrow columns of all types."""

import pyarrow as pa
import pytest

from input_pipeline.sources.arrow import arrow_texts

_STRUCT = pa.struct([("language", pa.string()), ("text", pa.string())])


def _array(values: list, kind: pa.DataType) -> pa.Array:
  if isinstance(kind, pa.BaseExtensionType):
    stored = pa.array(values, kind.storage_type)
    return pa.ExtensionArray.from_storage(kind, stored)
  return pa.array(values, kind)


def _texts(column: pa.Array, name: str = "x") -> tuple[list, dict]:
  """Return (row, language, text) of what is no null, and the broken rows."""
  found = arrow_texts.texts(pa.table({"x": column}), [name])
  rows = zip(
    found.rows.tolist(),
    found.languages.to_pylist(),
    found.texts.to_pylist(),
    strict=True,
  )
  return [row for row in rows if row[2] is not None], found.broken


@pytest.mark.parametrize(
  "kind",
  [
    *(pa.string(), pa.large_string(), pa.string_view()),
    pa.dictionary(pa.int8(), pa.large_string()),
  ],
)
def test_text(kind):
  column = _array(["no", None, "owl \u00e9", ""], kind).slice(1)
  assert _texts(column) == ([(1, None, "owl \u00e9"), (2, None, "")], {})


@pytest.mark.parametrize(
  "kind",
  [
    *(pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(4)),
    pa.dictionary(pa.int64(), pa.binary()),
  ],
)
def test_bytes(kind):
  values = [b"none", None, "ow\u00e9".encode(), b"\xffabc"]
  found, broken = _texts(_array(values, kind).slice(1))
  assert found == [(1, None, "ow\u00e9")]
  assert broken == {2: "the caption is not UTF-8"}


@pytest.mark.parametrize(
  "outer",
  [
    *(pa.list_, pa.large_list, pa.list_view, pa.large_list_view),
    lambda kind: pa.list_(kind, 2),
    lambda kind: pa.list_(pa.list_view(kind), 2),
  ],
)
def test_lists(outer):
  kind = outer(pa.string())
  values = [["no", "no"], None, ["a", "b"], [None, "c"], ["", None]]
  if pa.types.is_fixed_size_list(kind) and kind.value_type != pa.string():
    values = [None if x is None else [[x[0]], x[1:]] for x in values]
  found, broken = _texts(_array(values, kind).slice(1))
  assert not broken
  assert found == [
    *((1, None, "a"), (1, None, "b"), (2, None, "c"), (3, None, "")),
  ]


@pytest.mark.parametrize("kind", [pa.null(), pa.list_(pa.null())])
def test_nothing(kind):
  assert _texts(pa.nulls(3, kind)) == ([], {})


def test_texts_by_language():
  values = [[("en", ["a", "b"]), ("pt_BR", None)], None, [("", ["c"])]]
  column = _array(values, pa.map_(pa.string(), pa.list_(pa.string())))
  wanted = [(0, "en", "a"), (0, "en", "b"), (2, None, "c")]
  assert _texts(column) == (wanted, {})
  assert _texts(column, "x.en") == ([(0, None, "a"), (0, None, "b")], {})
  column = _array([None, {"de": "a", "zh-Hans": None}, {"zh-Hans": "b"}], None)
  assert _texts(column) == ([(1, "de", "a"), (2, "zh-Hans", "b")], {})
  column = _array(
    [[{"language": "fr", "text": "a"}, {"language": None, "text": "b"}], []],
    pa.list_(_STRUCT),
  )
  assert _texts(column) == ([(0, "fr", "a"), (0, None, "b")], {})
  column = _array([{"language": None, "text": "a"}], None)
  assert _texts(column) == ([(0, None, "a")], {})
  # As of Hugging Face's TranslationVariableLanguages.
  column = _array(
    [
      {"language": ["de", "fr"], "translation": ["a", "b"]},
      {"language": ["de"], "translation": ["c", "d"]},
      {"language": ["en"], "translation": ["e"]},
    ],
    None,
  )
  found, broken = _texts(column)
  assert found == [(0, "de", "a"), (0, "fr", "b"), (2, "en", "e")]
  assert list(broken) == [1]


def test_parts_of_columns():
  rows = [[{"raw": "a", "id": 1}, {"raw": "b", "id": 2}], None]
  assert _texts(_array(rows, None), "x.raw")[0] == [
    *((0, None, "a"), (0, None, "b")),
  ]
  column = _array([{"a.b": {"c": "x"}, "a": {"b": {"c": "y"}}}], None)
  assert _texts(column, "x.a.b.c") == ([(0, None, "x")], {})
  table = pa.table({"x": [{"y": "part"}], "x.y": ["column"], "z": ["more"]})
  found = arrow_texts.texts(table, ["z", "x.y"])
  assert found.texts.to_pylist() == ["more", "column"]


@pytest.mark.parametrize("kind", [pa.string(), pa.binary_view(), pa.json_()])
def test_json(kind):
  values = [
    *('{"c": "a"}', None, '{"c": ["b", 7, {"de": "d"}]}', "{", '{"n": 1}', ""),
  ]
  if kind == pa.binary_view():
    values = [x and x.encode() for x in values]
  found, broken = _texts(_array(values, kind), "x.c")
  assert found == [(0, None, "a"), (2, None, "b"), (2, "de", "d")]
  assert list(broken) == [3]
  assert "not JSON" in broken[3]


def test_json_as_a_type_of_its_own():
  values = [
    *('"a"', '{"de": ["b"], "en": null}', "null", '["\\ud800"]'),
    *('{"en": "a", "en": "b"}', '{"language": "de", "text": "c"}'),
  ]
  found, broken = _texts(_array(values, pa.json_()))
  assert found == [(0, None, "a"), (1, "de", "b"), (5, "de", "c")]
  assert list(broken) == [3, 4]
  assert "not Unicode" in broken[3]
  assert "the field en twice, with different values" in broken[4]


@pytest.mark.parametrize(
  ("kind", "name", "message"),
  [
    (pa.int32(), "x", "int32"),
    (pa.list_(pa.timestamp("ns")), "x", "timestamp"),
    (pa.decimal128(5), "x.y", "decimal"),
    (pa.map_(pa.int8(), pa.string()), "x", "languages of int8"),
    (pa.map_(pa.int8(), pa.string()), "x.en", "map of int8"),
    (pa.map_(pa.string(), pa.bool_()), "x.en", "bool"),
    (pa.struct([("en", pa.string()), ("note", pa.string())]), "x", "languages"),
    (pa.struct([("en", pa.int8())]), "x", "int8"),
    (pa.struct([("en", pa.string())]), "x.de", "no field de"),
  ],
)
def test_other_types_are_refused_before_there_is_a_row(kind, name, message):
  with pytest.raises(TypeError, match=message):
    _texts(pa.nulls(0, kind), name)
