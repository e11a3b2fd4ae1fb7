"""Members of an example as image, captions and languages."""

import io
import json
import pickle
import re

import numpy as np
import pytest

from input_pipeline import faults
from input_pipeline.sources import record
from tests.input_pipeline.sources import tars

# The least that is an example.
PAIR = {"k.jpg": b"image", "k.txt": b"a dog"}


def test_metaclip(tmp_path):
  key = "0123456789abcdef0123456789abcdef"
  texts = [["alt", "a dog"], ["title", " Rex "], ["alt", " "]]
  found = tars.one(
    tmp_path,
    {f"{key}.json": json.dumps({"texts": texts}).encode(), f"{key}.jpeg": b"x"},
  )
  assert found == record.Record(key, b"x", {"en": ("a dog", "Rex")})


@pytest.mark.parametrize(
  ("fields", "expected"),
  [
    ({}, ("i.jpg", {"en": ("txt",)})),
    ({"image": ("png", "jpg")}, ("i.png", {"en": ("txt",)})),
    ({"image": (".JPG",)}, ("i.jpg", {"en": ("txt",)})),
    ({"image": ("seg.png",)}, ("i.seg", {"en": ("txt",)})),
    ({"caption": ("json.caption",)}, ("i.jpg", {"en": ("json",)})),
    ({"caption": ("json.alts", "txt")}, ("i.jpg", {"en": ("a", "b", "txt")})),
    ({"caption": ("cls", "none")}, ("i.jpg", {"en": ("dog",)})),
    ({"language": "fr"}, ("i.jpg", {"fr": ("txt",)})),
    ({"language_field": "json.lang"}, ("i.jpg", {"de": ("txt",)})),
    ({"language_field": "lang"}, ("i.jpg", {"de": ("txt",)})),
    ({"language_field": "json.no"}, ("i.jpg", {"en": ("txt",)})),
  ],
)
def test_fields(tmp_path, fields, expected):
  values = {"caption": "json", "lang": "de", "alts": ["a", "b", 3, None]}
  found = tars.one(
    tmp_path,
    {
      "d/k.seg.png": b"i.seg",
      "d/k.PNG": b"i.png",
      "d/k.cls": b"dog",
      "d/k.npz": b"not looked at",
      "d/k.txt": b"\xef\xbb\xbf txt\r\n",
      "d/k.json": json.dumps(values).encode(),
      "d/k.jpg": b"i.jpg",
    },
    **fields,
  )
  assert (found.key, found.image.decode(), found.texts) == ("d/k", *expected)


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"caption": ("json",)}, r"main.caption must be of .*got 'json'"),
    ({"caption": ("",)}, r"main.caption must be of extensions.*got ''"),
    ({"image": ("a/b",)}, r"main.image must be of extensions.*got 'a/b'"),
    ({"uid": "json."}, r"main.uid must be \"json.FIELD\"; got 'json.'"),
    ({"language_field": "json"}, "main.language_field must be"),
    ({"uid": "json.no"}, r"sources.main: no example of .*x.tar has 'no' in"),
  ],
)
def test_fields_that_are_refused(tmp_path, fields, message):
  with pytest.raises(ValueError, match=message):
    tars.one(tmp_path, PAIR, **fields)


@pytest.mark.parametrize(
  ("members", "fault"),
  [
    # A second image, anywhere in the tar, is not the first one's successor.
    (
      [*PAIR.items(), ("l.jpg", b"x"), ("l.txt", b"x"), ("k.jpg", b"other")],
      r"member_twice: .*x.tar, byte 0: k has .jpg twice, the second at byte "
      "4096; each example needs a key of its own",
    ),
    (
      [("k.jpg", b"1"), ("l.jpg", b"x"), *[("k.txt", b"1")] * 2],
      r"member_twice: .* k has .txt twice",
    ),
    (
      [("k.1.jpg", b"1"), ("k.1.txt", b"1"), ("k.2.jpg", b"2")],
      r"image_missing: .*x.tar, k has 1.jpg, 1.txt, 2.jpg; none of them is one "
      r"of jpg.*a key ends at the first dot of the file name",
    ),
    (
      [(f"k.{i:05d}.jpg", b"1") for i in range(999)],
      r"image_missing: .* 00008.jpg, 00009.jpg, 989 more; none of them",
    ),
    (
      [("k.jpg", b"1")],
      r"caption_missing: .* has no caption in txt, .*; it has jpg",
    ),
  ],
)
def test_messages(tmp_path, members, fault):
  tars.write(tmp_path / "x.tar", members)
  records = tars.opened(tmp_path / "x.tar", tmp_path / "cache")
  with pytest.raises(faults.ExampleError) as caught:
    records[0]
  assert re.match(fault, f"{caught.value.kind}: {caught.value}")


@pytest.mark.parametrize(
  ("values", "fields", "texts"),
  [
    (
      {"texts": {"en": "a dog", "de": ["ein Hund", " "], "zh-Hans": "狗"}},
      {},
      {"en": ("a dog",), "de": ("ein Hund",), "zh-Hans": ("狗",)},
    ),
    # The example's language is that of captions without one of their own.
    (
      {"caption": [{"fr": "un chien"}, "a dog", {"": "x"}], "lang": "sv"},
      {"language_field": "json.lang"},
      {"fr": ("un chien",), "sv": ("a dog", "x")},
    ),
    # MetaCLIP's pairs in an object.
    (
      {"texts": {"en": [["alt", "a dog"], ["title", "Rex"]], "de": None}},
      {},
      {"en": ("a dog", "Rex")},
    ),
    (
      {"meta": {"alt": {"text": "a dog"}, "lang": "en-GB"}},
      {"caption": ("json.meta.alt.text",), "language_field": "json.meta.lang"},
      {"en-GB": ("a dog",)},
    ),
    # A field whose own name has a dot comes first.
    (
      {"a.b": "right", "a": {"b": "wrong"}},
      {"caption": ("json.a.b",)},
      {"en": ("right",)},
    ),
    (
      {"texts": {"de": "ein Hund"}, "title": "a dog"},
      {"caption": ("json.title", "json.texts")},
      {"en": ("a dog",), "de": ("ein Hund",)},
    ),
  ],
)
def test_captions_by_language(tmp_path, values, fields, texts):
  members = {"k.jpg": b"image", "k.json": json.dumps(values).encode()}
  assert tars.one(tmp_path, members, **fields).texts == texts


@pytest.mark.parametrize(
  ("value", "texts"),
  [
    ([["alt", "a"], ["b"], ["c", "d", "e"]], ("a", "b", "c", "d", "e")),
    ([["c", "d", "e"]], ("c", "d", "e")),
    ({"en": [["key", "a"], "b"]}, ("a", "b")),
    ({"language": "en", "text": "a"}, ("a",)),
    ([{"lang": "en", "caption": "a"}, {"lang": 0, "caption": "b"}], ("a", "b")),
    ({"language": ["en", "en"], "translation": ["a", "b"]}, ("a", "b")),
  ],
)
def test_no_caption_of_a_list_is_lost(tmp_path, value, texts):
  members = {"k.jpg": b"i", "k.json": json.dumps({"texts": value}).encode()}
  assert tars.one(tmp_path, members).texts == {"en": texts}


@pytest.mark.parametrize(
  ("data", "message"),
  [
    (b'{"caption": "a", "caption": "b"}', "field caption twice"),
    (b'{"texts": {"en": "a", "en": "b"}}', "field en twice"),
    (b'{"texts": {"lang": ["en"], "text": ["a", "b"]}}', "as many languages"),
  ],
)
def test_captions_that_are_not_clear(tmp_path, data, message):
  with pytest.raises(faults.ExampleError, match=message) as caught:
    tars.one(tmp_path, {"k.jpg": b"i", "k.json": data})
  assert caught.value.kind == "caption_broken"


def test_other_fields_may_be_there_twice(tmp_path):
  data = b'{"note": 1, "note": 2, "caption": "a", "caption": "a"}'
  record = tars.one(tmp_path, {"k.jpg": b"i", "k.json": data})
  assert record.texts == {"en": ("a",)}


@pytest.mark.parametrize("value", [{"en": 3}, {}, {"": {}}])
def test_objects_without_captions(tmp_path, value):
  members = {"k.jpg": b"i", "k.json": json.dumps({"texts": value}).encode()}
  with pytest.raises(faults.ExampleError, match="no caption") as caught:
    tars.one(tmp_path, members)
  assert caught.value.kind == "caption_missing"


def test_uid_in_an_object(tmp_path):
  members = PAIR | {"k.json": b'{"meta": {"id": "%032x"}}' % 7}
  tars.write(tmp_path / "x.tar", members)
  records = tars.opened(
    tmp_path / "x.tar", tmp_path / "cache", uid="json.meta.id"
  )
  assert records.uids().tolist() == [(0, 7)]
  assert records[0].key == "k"


def test_a_caption_a_line(tmp_path):
  members = {"1.jpg": b"x", "1.txt": b"a cat\r\n\n ein Hund \nb"}
  record = tars.one(tmp_path, members, caption=("txt:lines",))
  assert record.texts == {"en": ("a cat", "ein Hund", "b")}
  record = tars.one(tmp_path, members, caption=("txt",))
  assert len(record.texts["en"]) == 1


def test_values_keep_their_position(tmp_path):
  data = b'{"a": {"age": 20, "empty": null, "list": ["x"]}}'
  members = {"1.jpg": b"x", "1.sex": b"m\n", "1.json": data}
  places = ("json.a.empty:value", "sex:value", "none:value", "json.a.age:value")
  record = tars.one(tmp_path, members, caption=places)
  assert record.texts == {"en": ("=", "=m", "=", "=20")}
  with pytest.raises(faults.ExampleError, match="number at json.a.list; got"):
    tars.one(tmp_path, members, caption=("json.a.list:value",))


def test_numbers_of_an_array(tmp_path):
  file = io.BytesIO()
  np.save(file, np.array([[3, 0], [12, 1]]))
  members = {"1.jpg": b"x", "1.npy": file.getvalue(), "1.cls": b"7"}
  record = tars.one(tmp_path, members, caption=("cls", "npy:array"))
  assert record.texts == {"en": ("7", "3 0 12 1")}


@pytest.mark.parametrize(
  ("data", "message"),
  [
    (b"3 0", "1 has no array of numbers in it: "),
    (b"", "1 has no array of numbers in it: "),
    (pickle.dumps([1]), "1 has no array of numbers in it: .*pickle"),
  ],
)
def test_arrays_that_are_none(tmp_path, data, message):
  members = {"1.jpg": b"x", "1.npy": data}
  with pytest.raises(faults.ExampleError, match=message) as error:
    tars.one(tmp_path, members, caption=("npy:array",))
  assert error.value.kind == "caption_broken"


def test_the_form_is_in_the_message(tmp_path):
  with pytest.raises(faults.ExampleError, match="in npy:array, json.a; it"):
    tars.one(tmp_path, {"1.jpg": b"x"}, caption=("npy:array", "json.a"))
