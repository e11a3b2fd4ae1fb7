"""Tars that Python's tarfile writes, read right by training and curation.

Tars are joined, their members in any order, their names odd, their padding of
any length. tests/long/fuzz_tars.py has broken ones.
"""

import io
import json
import os
import pathlib
import tarfile
import tempfile
from typing import NamedTuple

import hypothesis
import pytest
from hypothesis import strategies as st

from input_pipeline import faults
from input_pipeline.sources import record as record_lib
from input_pipeline.storage import uids
from tests.curation.pools import reading
from tests.input_pipeline.sources import pairs, tars

_FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
_FOLDERS = ("", "./", "v1.0/", "a/b.c/d/", "__x/", "é/", "deep/" * 25)
_STEMS = ("0", "00000012", "a b", "-", "K", "é狗", "x" * 120, "k'\"\\")
_NOISE = (
  ("README", b"no extension"),
  ("a/._0.jpg", b"of macOS"),
  ("__MACOSX/a/0.jpg", b"of macOS"),
  ("__meta__/0.txt", b"of no example"),
  (".hidden.jpg", b"x"),
  ("a.jpg/", b""),
)


class _Tar(NamedTuple):
  """Bytes of a tar without padding, and what its examples are in order."""

  data: bytes
  expected: list[tuple[str, record_lib.Record | str]]


@st.composite
def _example(draw, key: str, number: int):
  """Return an example's members, and its record or kind of fault."""
  suffix = draw(st.sampled_from(("jpg", "JPG", "jpeg", "png", "WebP", "tif")))
  image = b"%d image " % number * draw(st.sampled_from((1, 70, 400)))
  name = key.removeprefix("./")
  body: dict = {"number": number}
  members = [(f"{key}.{suffix}", image)]
  texts = {"en": (f"caption {number}",)}
  where = draw(st.sampled_from(("txt", "TXT", "json", "languages", "both")))
  if where == "languages":
    texts = {"de": (f"Text {number}", "x"), "fr": (f"texte {number}",)}
    body["texts"] = {"fr": f"texte {number}", "de": [f"Text {number}", "x"]}
  elif where == "json":
    body["caption"] = f" caption {number}\n"
  else:
    txt = "TXT" if where == "TXT" else "txt"
    members.append((f"{key}.{txt}", f"caption {number}\r\n".encode()))
    body["caption"] = "the text file comes first"
  if where != "txt" or draw(st.booleans()):
    members.append((f"{key}.json", json.dumps(body).encode()))
  if draw(st.booleans()):
    members.append((f"{key}.seg.png", b"of another use"))
  outcome: record_lib.Record | str = record_lib.Record(name, image, texts)
  damage = draw(st.sampled_from(("", "", "", "image", "caption", "twice")))
  if damage == "image":
    del members[0]
    outcome = "image_missing"
  elif damage == "caption":
    members = [m for m in members if not m[0].lower().endswith(("txt", "json"))]
    outcome = "caption_missing"
  elif damage == "twice":
    members.append((f"{key}.{suffix.lower()}", b"another image"))
    outcome = "member_twice"
  return members, (name, outcome)


@st.composite
def _tar(draw, first: int):
  """Return a tar whose examples have the numbers from `first`."""
  keys = draw(
    st.lists(
      st.tuples(st.sampled_from(_FOLDERS), st.sampled_from(_STEMS)),
      max_size=5,
      unique_by=lambda key: key[0].removeprefix("./") + key[1],
    )
  )
  examples = [
    draw(_example("".join(key), first + i)) for i, key in enumerate(keys)
  ]
  members = [member for some, _ in examples for member in some]
  order = draw(st.sampled_from(("adjacent", "by extension", "any")))
  if order == "by extension":
    members.sort(key=lambda member: member[0].rpartition(".")[2])
  elif order == "any":
    members = draw(st.permutations(members))
  for noise in draw(st.lists(st.sampled_from(_NOISE), max_size=2)):
    members.insert(draw(st.integers(0, len(members))), noise)
  form = draw(st.sampled_from(_FORMATS))
  if any(len(name) > 99 for name, _ in members):  # too long for USTAR
    form = max(form, tarfile.GNU_FORMAT)
  file = io.BytesIO()
  with tarfile.open(fileobj=file, mode="w", format=form) as tar:
    for name, content in members:
      info = tarfile.TarInfo(name)
      info.size = len(content)
      info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
      tar.addfile(info, io.BytesIO(content))
    end = tar.offset
  # Examples are in the order of their first members.
  keys_in_order = [_key(name) for name, _ in members]
  expected = [outcome for _, outcome in examples]
  expected.sort(key=lambda outcome: keys_in_order.index(outcome[0]))
  return _Tar(file.getvalue()[:end], expected)


def _key(name: str) -> str:
  folder, slash, file = name.removeprefix("./").rpartition("/")
  return folder + slash + file.partition(".")[0]


@st.composite
def _joined(draw):
  """Return bytes of one to three tars, joined, and the expected outcomes."""
  data, expected = b"", []
  for number in range(draw(st.integers(1, 3))):
    tar = draw(_tar(10 * number))
    # Two blocks of zeros end a tar; tar fills records of 10,240 bytes.
    padding = draw(st.sampled_from((512, 1024, 1024, 10_240, 30_000, 77_777)))
    padding += -(len(tar.data) + padding) % draw(st.sampled_from((1, 10_240)))
    data += tar.data + bytes(padding)
    expected += tar.expected
  return data, expected


@pytest.mark.slow
@hypothesis.given(_joined())
@hypothesis.settings(
  max_examples=int(os.environ.get("NUM_FUZZED", "300")),
  deadline=None,
  database=None,
  derandomize=True,
  suppress_health_check=list(hypothesis.HealthCheck),
)
def test_tars(joined):
  data, expected = joined
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    path = folder / "x.tar"
    path.write_bytes(data)
    records = tars.opened(path, folder)
    assert _outcomes(records) == [outcome for _, outcome in expected]
    keys = [uids.uid(key) for key, _ in expected]
    assert records.uids().tolist() == keys
    opened, shards = reading.open_pool(pairs.source("webdataset", path), folder)
    columns = ("text", "language", "image")
    whole = reading.rows_of(opened, shards, columns, max_rows=4)
    assert reading.as_pairs(whole) == reading.expected_of(records)
    # Images are passed over: their absence is no fault.
    texts = {
      (row["row"], row["text"])
      for row in reading.rows_of(opened, shards, ("text",), max_rows=4)
    }
    assert texts >= {
      (row["row"], row["text"]) for row in whole if not row["fault"]
    }


def _outcomes(records) -> list[record_lib.Record | str]:
  found = []
  for index in range(len(records)):
    try:
      found.append(records[index])
    except faults.ExampleError as error:
      found.append(error.kind)
  return found
