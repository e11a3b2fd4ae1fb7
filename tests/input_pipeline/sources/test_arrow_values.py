"""Values of Arrow columns of all types."""

import uuid

import numpy as np
import pyarrow as pa
import pytest

from input_pipeline.sources import arrow_values


def test_the_longest_name_is_preferred():
  names = ["a", "a.b", "c"]
  assert arrow_values.located(names, "a.b.c") == ("a.b", "c")
  assert arrow_values.located(names, "a.c.d") == ("a", "c.d")
  assert arrow_values.located(names, "a.b") == ("a.b", "")
  assert arrow_values.located(names, "b.a") == ("", "")


@pytest.mark.parametrize(
  "kind",
  [
    pa.list_(pa.string_view()),
    pa.list_(pa.large_string(), 2),
    pa.list_view(pa.dictionary(pa.int8(), pa.string())),
    pa.large_list_view(pa.string()),
  ],
)
def test_plain_lists(kind):
  values = [["a", None], None, ["b", "c"]]
  found = arrow_values.plain(pa.array([["x", "y"], *values], kind).slice(1))
  assert found.type == pa.list_(pa.string())
  assert found.to_pylist() == values
  found.validate(full=True)


def test_plain_embeddings():
  values = [[1.0, 2.0], None, [3.0, None]]
  column = pa.array(values, pa.list_(pa.float16(), 2))
  found = arrow_values.plain(column)
  assert found.type == pa.list_(pa.float16())
  assert found.to_pylist() == values


def test_plain_structs_and_maps():
  kind = pa.struct([("a", pa.string_view()), ("b", pa.json_())])
  values = pa.StructArray.from_arrays(
    [
      pa.array(["x", None], pa.string_view()),
      pa.ExtensionArray.from_storage(pa.json_(), pa.array(["1", "2"])),
    ],
    fields=list(kind),
    mask=pa.array([False, True]),
  )
  found = arrow_values.plain(values, keeps_json=True)
  assert found.type == pa.struct([("a", pa.string()), ("b", pa.json_())])
  assert found.to_pylist() == [{"a": "x", "b": "1"}, None]
  entries = [[("k", "v")], None, [("l", None), ("m", "n")]]
  column = pa.array(entries, pa.map_(pa.string_view(), pa.string_view()))
  found = arrow_values.plain(column.slice(1))
  assert found.type == pa.map_(pa.string(), pa.string())
  assert found.to_pylist() == entries[1:]


def test_values_by_name():
  key = uuid.UUID(int=7)
  table = pa.table(
    {
      "meta": [{"id": 5, "more": {"lang": "de"}}, None],
      "json": ['{"id": 6, "lang": "fr", "x": [1]}', "{"],
      "map": pa.array([[("id", "k")], []], pa.map_(pa.string(), pa.string())),
      "uuid": pa.ExtensionArray.from_storage(
        pa.uuid(), pa.array([key.bytes, None], pa.binary(16))
      ),
    }
  )
  for name, wanted in (
    ("meta.id", [5, None]),
    ("meta.more.lang", ["de", None]),
    ("json.id", ["6", None]),
    ("json.lang", ["fr", None]),
    ("json.x", [None, None]),
    ("map.id", ["k", None]),
    ("uuid", [key.bytes, None]),
  ):
    assert arrow_values.column(table, name).to_pylist() == wanted
  with pytest.raises(TypeError, match="int64"):
    arrow_values.column(table, "meta.id.x")


def test_strings_that_are_not_utf8_are_null():
  data = pa.array([b"a", b"\xff", None, b"b"])
  found, bad = arrow_values.strings(data.view(pa.string()).slice(1))
  assert found.to_pylist() == [None, None, "b"]
  np.testing.assert_array_equal(bad, [0])
