"""Texts of corpora."""

import bz2
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation.metadata import corpora, metadata_config

TEXTS = [f"text {n} é" * (n % 5) for n in range(50)]


def corpus(path, form="text", column="text"):
  return metadata_config.Corpus(form, str(path), column, "words", " ")


def read(found, part_bytes=corpora.PART_BYTES):
  tasks = corpora.find(found, "languages.en.corpus", part_bytes)
  texts = [
    text
    for task in tasks
    for part in task
    for array in corpora.read(part, found)
    for text in array.to_pylist()
  ]
  return tasks, texts


@pytest.mark.parametrize("part_bytes", [1, 7, 100, 10**6])
@pytest.mark.parametrize("end", ["", "\n"])
def test_lines_are_read_once_however_a_file_is_cut(tmp_path, part_bytes, end):
  path = tmp_path / "wiki.txt"
  path.write_text("\n".join(TEXTS) + end)
  tasks, texts = read(corpus(path), part_bytes)
  assert sorted(filter(None, texts)) == sorted(filter(None, TEXTS))
  assert len(tasks) == -(-path.stat().st_size // part_bytes)


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2", ".zst"])
def test_lines_of_json(tmp_path, suffix, monkeypatch):
  # As WikiExtractor writes them; blocks smaller than a line.
  monkeypatch.setattr(corpora, "_BLOCK_BYTES", 16)
  lines = [json.dumps({"id": "1", "title": "x", "text": t}) for t in TEXTS]
  data = "\n".join(lines).encode()
  pack = {
    "": bytes,
    # Files of several members, as dumps are.
    ".gz": lambda x: gzip.compress(x[:99]) + gzip.compress(x[99:]),
    ".bz2": lambda x: bz2.compress(x[:99]) + bz2.compress(x[99:]),
    ".zst": lambda x: pa.compress(x, codec="zstd", asbytes=True),
  }[suffix]
  path = tmp_path / f"wiki_00{suffix}"
  path.write_bytes(pack(data))
  assert read(corpus(path, "jsonl"))[1] == TEXTS


def test_row_groups_of_parquet(tmp_path):
  path = tmp_path / "wiki.parquet"
  table = pa.table({"body": [*TEXTS, None], "other": [0] * 51})
  pq.write_table(table, path, row_group_size=10)
  found = corpus(path, "parquet", "body")
  tasks, texts = read(found, part_bytes=1)
  assert len(tasks) == 6
  assert texts == TEXTS
  assert read(found)[1] == TEXTS
  with pytest.raises(
    ValueError, match=r"corpus.column is 'text', which .* it has body, other"
  ):
    read(corpus(path, "parquet"))


def test_small_files_are_one_task(tmp_path):
  for number in range(5):
    (tmp_path / f"wiki_{number}").write_text("a" * 10)
  tasks, _ = read(corpus(tmp_path / "wiki_*"), part_bytes=20)
  assert [len(task) for task in tasks] == [2, 2, 1]


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ('{"body": "x"}\n', "none of 1 lines has the field 'text'"),
    ("no JSON\n", "wiki cannot be read"),
  ],
)
def test_lines_that_are_no_such_json(tmp_path, text, message):
  path = tmp_path / "wiki"
  path.write_text(text)
  with pytest.raises(ValueError, match=message):
    read(corpus(path, "jsonl"))


def test_files_that_are_not_there_or_cut_off(tmp_path):
  with pytest.raises(ValueError, match="languages.en.corpus.path"):
    read(corpus(tmp_path / "none*"))
  path = tmp_path / "wiki.gz"
  path.write_bytes(gzip.compress(b"a b\n" * 99)[:-9])
  with pytest.raises(ValueError, match="wiki.gz cannot be read"):
    read(corpus(path))


def test_bytes_that_are_no_text(tmp_path):
  path = tmp_path / "wiki"
  path.write_bytes(b'{"text": "bro\xffken"}\n')
  texts = ["bro\N{REPLACEMENT CHARACTER}ken"]
  assert read(corpus(path, "jsonl"))[1] == texts
  path.write_bytes(b"bro\xffken")
  assert read(corpus(path))[1] == texts
