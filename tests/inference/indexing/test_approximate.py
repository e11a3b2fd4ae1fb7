"""Approximate indices: recall, rows added and removed, what is refused."""

import dataclasses
import json
import shutil
import types

import numpy as np
import pyarrow as pa
import pytest

from inference.embeddings import embed
from inference.indexing import (
  approximate,
  approximate_build,
  approximate_kinds,
  build,
  exact,
  index_folder,
)
from tests.inference.indexing import synthetic

METHODS = [*approximate_kinds.KINDS]
NUM = 1_200
QUERIES = synthetic.rows(7, 30)


def _no_model():
  raise AssertionError("no text needs a model here")


def _add(index, method="ivf", queries="rows", target=0.9, model=_no_model):
  approximate_build.build(
    index, method=method, queries=queries, target_recall=target, model=model
  )
  return index_folder.read(index.folder)


@pytest.fixture(scope="module", autouse=True)
def _small_samples():
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(approximate_build, "NUM_QUERIES", 120)
    yield


@pytest.fixture(scope="module", params=METHODS)
def built(request, tmp_path_factory):
  folder = tmp_path_factory.mktemp(request.param) / "index"
  made = synthetic.write(folder, synthetic.rows(0, NUM), cuts=[999])
  return _add(made, request.param)


@pytest.fixture
def index(built, tmp_path):
  shutil.copytree(built.folder, tmp_path / "index")
  return index_folder.read(tmp_path / "index")


def _check(index, found, num):
  """Check that results are rows of an exact search, with its scores."""
  whole = index.search(QUERIES, len(index))
  for row_K, score_K, rows_N, scores_N in zip(
    found.row_QK, found.score_QK, whole.row_QK, whole.score_QK, strict=True
  ):
    assert len(np.unique(row_K)) == len(row_K) == num
    score_of = dict(zip(rows_N.tolist(), scores_N.tolist(), strict=True))
    assert [score_of[row] for row in row_K.tolist()] == score_K.tolist()
    assert (np.diff(score_K) <= 0).all()


def _overlap(found, expected):
  pairs = zip(found.row_QK, expected.row_QK, strict=True)
  return np.mean([len({*a} & {*b}) / len(b) for a, b in pairs])


def test_recall_and_scores(index):
  opened = approximate.opened(index)
  facts = opened.facts
  assert (facts.num_rows, facts.target_recall) == (NUM, 0.9)
  assert facts.rows_digest == approximate.rows_digest(
    [np.concatenate(index.shards)]
  )
  ten, hundred = facts.recall
  assert (ten.k, hundred.k) == (10, 100)
  low, high = ten.interval
  assert low <= ten.value <= high + 1e-9
  assert ten.value >= 0.88
  assert facts.queries.kind == "rows"
  assert facts.queries.num_chosen == facts.queries.num_measured == 60
  assert facts.recall_of(3) == facts.recall_of(10) == ten
  assert facts.recall_of(11) == facts.recall_of(5_000) == hundred
  for num in (1, 10):
    found = opened.search(QUERIES, num)
    _check(index, found, num)
    # Others than the manifest's queries.
    assert _overlap(found, index.search(QUERIES, num)) > 0.85
  one = opened.search(QUERIES[:1], 10)
  np.testing.assert_array_equal(one.row_QK, found.row_QK[:1])


def test_a_search_for_many_is_exact(index):
  opened = approximate.opened(index)
  expected = index.search(QUERIES, 1_000)
  np.testing.assert_array_equal(
    opened.search(QUERIES, 1_000).row_QK, expected.row_QK
  )
  assert opened.search(QUERIES, 9_999).row_QK.shape == (30, NUM)


def test_rows_that_are_removed_are_no_results(index):
  """The nearest of all queries are gone, and as many others found."""
  gone = np.unique(index.search(QUERIES, 15).row_QK)
  index_folder.remove(index, gone)
  index = index_folder.read(index.folder)
  found = approximate.opened(index).search(QUERIES, 10)
  assert not np.isin(found.row_QK, gone).any()
  _check(index, found, 10)
  assert _overlap(found, index.search(QUERIES, 10)) > 0.8


def test_all_rows_are_removed(index):
  index_folder.remove(index, np.arange(NUM))
  index = index_folder.read(index.folder)
  assert approximate.opened(index).search(QUERIES, 3).row_QK.shape == (30, 0)
  index = _append(index, QUERIES)
  found = approximate.opened(index).search(QUERIES, 3)
  _check(index, found, 3)
  assert found.row_QK.min() >= NUM


def _append(index, z_NE):
  table = pa.table({"image_path": [f"new{n}.png" for n in range(len(z_NE))]})
  number = len(index.shards)
  shard = index_folder.write_shard(
    index.folder, number, z_NE.astype("f2"), table
  )
  manifest = dataclasses.replace(
    index.manifest, shards=(*index.manifest.shards, shard)
  )
  manifest.write(index.folder)
  return index_folder.read(index.folder)


def test_rows_that_are_added_are_compared_exactly(index):
  index = _append(index, QUERIES)
  opened = approximate.opened(index)
  found = opened.search(QUERIES, 10)
  np.testing.assert_array_equal(found.row_QK[:, 0], NUM + np.arange(30))
  _check(index, found, 10)
  assert opened.method(10)["num_compared_exactly"] == 30
  lines = approximate_build.about(index.manifest)
  assert lines[-1].startswith("30 pictures that were added since")
  index_folder.remove(index, np.array([NUM, 3]))
  index = index_folder.read(index.folder)
  found = approximate.opened(index).search(QUERIES, 10)
  assert not np.isin(found.row_QK, [NUM, 3]).any()
  _check(index, found, 10)
  index = _add(index, opened.facts.method)
  assert approximate.opened(index).method(10)["num_compared_exactly"] == 0
  names = [path.name for path in (index.folder / "approximate").iterdir()]
  assert names == [index.manifest.approximate["file"]]


def test_a_file_that_is_not_the_index(index, tmp_path):
  facts = index.manifest.approximate
  path = index.folder / "approximate" / facts["file"]
  whole = path.read_bytes()
  path.write_bytes(whole[:-9])
  with pytest.raises(ValueError, match=rf"{path.name} is not .*--exact"):
    approximate.opened(index)
  index = _add(index, facts["method"])
  assert approximate.opened(index).facts.num_bytes == path.stat().st_size
  other = synthetic.write(tmp_path / "other", synthetic.rows(5, NUM))
  other = _add(other, facts["method"])
  (from_other,) = (other.folder / "approximate").iterdir()
  path.write_bytes(from_other.read_bytes())
  manifest = dataclasses.replace(
    index.manifest,
    approximate=index.manifest.approximate | {"num_bytes": path.stat().st_size},
  )
  opened = approximate.opened(dataclasses.replace(index, manifest=manifest))
  with pytest.raises(ValueError, match="holds other rows than the index"):
    opened.search(QUERIES, 10)
  path.write_bytes(b"x" * path.stat().st_size)
  with pytest.raises(ValueError, match="is not the approximate index"):
    approximate.opened(dataclasses.replace(index, manifest=manifest))
  path.unlink()
  with pytest.raises(ValueError, match="is not the approximate index"):
    approximate.opened(index)


def test_a_kill_before_the_manifest(index, monkeypatch):
  before = (index.folder / "index.json").read_bytes()
  other = {"ivf": "hnsw", "hnsw": "ivf"}[index.manifest.approximate["method"]]

  class Killed(BaseException):
    pass

  def killed(manifest, folder):
    raise Killed

  with monkeypatch.context() as patch:
    patch.setattr(index_folder.Manifest, "write", killed)
    with pytest.raises(Killed):
      _add(index, other)
  assert (index.folder / "index.json").read_bytes() == before
  assert len([*(index.folder / "approximate").iterdir()]) == 2
  found = approximate.opened(index_folder.read(index.folder)).search(QUERIES, 3)
  _check(index, found, 3)
  index = _add(index, other)
  assert approximate.opened(index).facts.method == other
  assert len([*(index.folder / "approximate").iterdir()]) == 1


def _first_rows(kind, query_QE, num, effort):
  """Return the first rows, whatever the query."""
  row_QK = np.tile(np.arange(num), (len(query_QE), 1))
  return row_QK, np.zeros(row_QK.shape)


def test_a_target_that_is_not_reached(index, monkeypatch):
  before = (index.folder / "index.json").read_bytes()
  kind = approximate_kinds.KINDS[index.manifest.approximate["method"]]
  monkeypatch.setattr(kind, "most", kind.FIRST)
  monkeypatch.setattr(kind, "candidates", _first_rows)
  monkeypatch.setattr(approximate.Approximate, "_check", lambda *args: None)
  with pytest.raises(ValueError, match=r"--target_recall=1\.0 is not reached"):
    _add(index, target=1.0, method=index.manifest.approximate["method"])
  assert (index.folder / "index.json").read_bytes() == before
  assert approximate.opened(index) is not None


def test_the_file_is_kept_where_rows_are_the_same(index, monkeypatch):
  facts = index.manifest.approximate
  kind = approximate_kinds.KINDS[facts["method"]]
  monkeypatch.setattr(kind, "build", None)
  after = _add(index, facts["method"], target=0.99).manifest.approximate
  assert after["file"] == facts["file"]
  assert after["parameters"][kind.EFFORT] >= facts["parameters"][kind.EFFORT]
  assert after["target_recall"] == 0.99
  assert after["recall"][0]["value"] > 0.98


def test_no_row_is_lost_by_threads(monkeypatch):
  """Rows that eight threads add at once are all found by themselves."""
  monkeypatch.setattr(
    approximate_kinds.os, "sched_getaffinity", lambda pid: range(8)
  )
  row_NE = synthetic.rows(0, NUM)
  made = approximate_kinds.Hnsw.build([row_NE[:999], row_NE[999:]])
  found_NK, _ = made.candidates(row_NE, 1, NUM)
  assert len(made) == NUM
  assert (found_NK[:, 0] == np.arange(NUM)).all()


def _texts(folder, z_TE, digest=synthetic.DIGEST):
  folder.mkdir()
  np.save(folder / "texts.npy", z_TE)
  (folder / "embed.json").write_text(json.dumps({"digest": digest}))
  return str(folder)


def test_samples_of_queries(tmp_path):
  z_NE = synthetic.rows(0, 1_200)
  captions = [f"picture {n % 50}" for n in range(1_200)]
  index = synthetic.write(tmp_path / "index", z_NE, captions)
  texts_TE = np.repeat(synthetic.rows(1, 90), 2, axis=0)
  folder = _texts(tmp_path / "texts", texts_TE)
  facts = _add(index, queries=folder).manifest.approximate["queries"]
  assert (facts["kind"], facts["source"]) == ("texts", folder)
  # Each text once.
  assert facts["num_chosen"] + facts["num_measured"] == 90
  asked = []

  def model():
    def embed(texts):
      asked.extend(texts)
      return synthetic.rows(2, len(texts))

    return types.SimpleNamespace(embed_texts=embed)

  for queries in ("", "captions"):
    made = _add(index, queries=queries, model=model)
    assert made.manifest.approximate["queries"]["kind"] == "captions"
  assert sorted(asked) == sorted(2 * [*dict.fromkeys(captions)])
  file = tmp_path / "few.txt"
  file.write_text("a\nb\n")
  other = _texts(tmp_path / "other", texts_TE, "f" * 16)
  no_captions = synthetic.write(tmp_path / "plain", z_NE)
  for at, queries, message in (
    (index, str(file), "--queries must have at least 40 .* got 2"),
    (index, other, "--queries=.*other is by the model.*ffff"),
    (index, str(tmp_path / "index"), "has no embeddings of texts"),
    (index, "nowhere.txt", r"--queries=nowhere\.txt is no file"),
    (no_captions, "captions", "--queries=captions: .* has no captions"),
  ):
    with pytest.raises(ValueError, match=message):
      _add(at, queries=queries, model=model)
  assert not (no_captions.folder / "approximate").exists()


def test_a_row_is_no_result_of_its_own():
  """Nor is it where another row has the same score."""
  row_QK = np.array([[4, 7, 5], [9, 8, 3]])
  score_QK = np.array([[1, 1, 0.5], [0.9, 0.8, 0.7]])
  sample = approximate_build.Sample("rows", "", QUERIES[:2], np.array([7, 2]))
  scores = sample.nearest(lambda q, num: exact.Found(row_QK, score_QK), 2)
  np.testing.assert_array_equal(scores, [[1, 0.5], [0.9, 0.8]])
  recall_Q = approximate_build.recalls(scores, np.array([[1, 1], [0.9, 0]]), 2)
  np.testing.assert_array_equal(recall_Q, [1, 0.5])


def test_too_few_rows(tmp_path):
  index = synthetic.write(tmp_path / "index", synthetic.rows(0, 999))
  with pytest.raises(ValueError, match="at least 1,000 pictures; got 999"):
    _add(index)


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    ({"approximate_method": "lsh"}, "--approximate must be one of ivf, hnsw"),
    ({"approximate_method": "ivf"}, "--out=.* has no index for --approximate"),
    (
      {"approximate_method": "ivf", "target_recall": 1.5},
      "--target_recall must be between",
    ),
    ({"embeddings": "x", "queries": "a"}, "--queries needs --approximate"),
    (
      {"embeddings": "x", "target_recall": 0.9},
      "--target_recall needs --approximate",
    ),
  ],
)
def test_flags_that_are_refused(flags, message, tmp_path):
  values = flags | {
    "wanted": embed.Wanted(texts="", out=tmp_path / "index", images="")
  }
  with pytest.raises(ValueError, match=message):
    build.run("", **values)
  assert not (tmp_path / "index").exists()
