"""Pairs with numbers that are not finite are faults, and change no other."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation.on_disk import embedding_store
from curation.rules import (
  cuts,
  image_based,
  model_scores,
  negclip_normsim,
  references,
  sizes,
)
from curation.rules.duplicates import near_duplicates, pca_hash
from curation.rules.duplicates import semdedup as semdedup_lib
from tests.curation import synth

NUM = 60
WIDTH = 64
# Number of a pair -> what its embedding of the image or the caption becomes.
BROKEN = {
  3: ("x_img", "nan", "that of the image is not finite"),
  11: ("x_txt", "nan", "that of the caption is not finite"),
  12: ("x_img", "inf", "that of the image is not finite"),
  20: ("x_txt", "-inf", "that of the caption is not finite"),
  31: ("x_img", "0", "that of the image has length 0"),
  32: ("x_txt", "0", "that of the caption has length 0"),
}
MISSING = {40: "x_img", 41: "x_txt", 42: "x_img"}
GOOD = [n for n in range(NUM) if n not in BROKEN and n not in MISSING]


def _arrays():
  rng = np.random.default_rng(0)
  image, text = rng.normal(size=(2, NUM, WIDTH))
  image[50:58] = image[:8] + 0.05 * rng.normal(size=(8, WIDTH))
  return {"x_img": image, "x_txt": text}


def _columns(kind="float32", *, is_fixed=True):
  found = {}
  for name, rows in _arrays().items():
    for number, (column, value, _) in BROKEN.items():
      if column == name:
        # All zeros, or one number of the row.
        rows[number, : WIDTH if value == "0" else 1] = float(value)
    lists = list(rows.astype(kind))
    for number, column in MISSING.items():
      if column == name:
        lists[number] = None if number < 42 or is_fixed else lists[0][:3]
    item = pa.from_numpy_dtype(np.dtype(kind))
    size = WIDTH if is_fixed else -1
    found[name] = pa.array(lists, pa.list_(item, size))
  return found


def _steps(name, folder):
  model, near = synth.MODEL, str(folder / "near.npy")
  rows = _arrays()["x_img"][[0, 1, 2, 5]]
  np.save(near, rows.astype(np.float32))
  steps = {
    "top": [cuts.TopFraction("cosine", 0.3, False)],
    "negclip": [
      negclip_normsim.NegClipLoss(model, "score", 0.07, 16, 2, 5),
      cuts.TopFraction("score", 0.3, False),
    ],
    "normsim_inf": [negclip_normsim.NormSim(model, "score", near, "inf")],
    "normsim_2": [negclip_normsim.NormSim(model, "score", near, "2")],
    "semdedup": [semdedup_lib.SemDeDup(model, 4, 3, 0.0, 0.2, 1.0, 0)],
    "near": [
      near_duplicates.NearDuplicates(model, (near,), 6, 3, 4, 2, 0.9, 1)
    ],
    "pca": [pca_hash.PcaHash(model, "hash")],
    "image_based": [image_based.ImageBased(model, near, 6, 3, 100, 0)],
  }[name]
  embed = {"embed": model_scores.StoredEmbeddings("x", "cosine")}
  return embed | {f"step{i}": step for i, step in enumerate(steps)}


def _signals(folder):
  rows = {}
  for path in sorted((folder / "signals").glob("*.parquet")):
    for row in pq.read_table(path).to_pylist():
      rows[int.from_bytes(row.pop("uid")[8:])] = row
      del row["row"]
  return rows


@pytest.mark.parametrize(
  "name",
  [
    *("top", "negclip", "normsim_inf", "normsim_2", "semdedup", "near"),
    *("pca", "image_based"),
  ],
)
def test_other_pairs_are_as_without_them(tmp_path, name):
  steps = _steps(name, tmp_path)
  columns = _columns()
  with_all = [list(range(25)), list(range(25, NUM))]
  without = [[n for n in shard if n in GOOD] for shard in with_all]
  kept, manifest = synth.kept(tmp_path, "all", columns, steps, with_all)
  expected, before = synth.kept(tmp_path, "good", columns, steps, without)
  assert kept == expected
  assert 0 < len(kept) <= len(GOOD)
  found, right = (_signals(tmp_path / name) for name in ("all", "good"))
  for number in GOOD:
    assert found[number] == right[number]
  assert manifest["steps"][0]["faults"] == {
    "embedding_broken": len(BROKEN),
    "embedding_missing": len(MISSING),
  }
  assert before["steps"][0]["faults"] == {}
  for number, (_, _, message) in BROKEN.items():
    row = found[number]
    assert row["dropped_by"] == "embed"
    assert row["fault"] == f"embedding_broken: {message}"
    assert row["cosine"] is None
  for number in MISSING:
    assert found[number]["fault"].startswith("embedding_missing: ")
  facts = [step["facts"] for step in manifest["steps"]]
  assert facts == [step["facts"] for step in before["steps"]]


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
@pytest.mark.parametrize("is_fixed", [True, False])
def test_embeddings_of_any_kind(tmp_path, kind, is_fixed):
  columns = _columns(kind, is_fixed=is_fixed)
  steps = _steps("top", tmp_path)
  synth.kept(tmp_path, "a", columns, steps, [list(range(NUM))])
  found = _signals(tmp_path / "a")
  x, y = _arrays().values()
  cosine = (x * y).sum(1)
  cosine /= np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
  for number in GOOD:
    # Stored as float16.
    assert found[number]["cosine"] == pytest.approx(cosine[number], abs=2e-3)
  broken = [number for number in found if found[number]["fault"]]
  assert sorted(broken) == sorted({*BROKEN, *MISSING})


def test_a_shard_without_any_embedding(tmp_path):
  columns = _columns()
  steps = _steps("negclip", tmp_path)
  bad, good = sorted({*BROKEN, *MISSING}), GOOD
  kept, _ = synth.kept(tmp_path, "a", columns, steps, [bad, good])
  expected, _ = synth.kept(tmp_path, "b", columns, steps, [good])
  assert kept == expected
  kept, _ = synth.kept(tmp_path, "c", columns, steps, [[40, 41, 42], good])
  assert kept == expected


def test_lengths_beyond_the_range_of_a_type():
  """A finite embedding has a direction, however long it is."""
  row = np.array([3.0, 4.0, 0.0])
  scales = np.array([1.0, 1e30, 1e200, 1e-30, 1e-200, 60_000])
  found = embedding_store.unit(row * scales[:, None])
  # 0.6 and 0.8 as float16.
  np.testing.assert_allclose(found, [[0.6, 0.8, 0]] * 6, atol=5e-4)
  half = np.full((1, 512), 60_000, np.float16)  # their sum is not in float16
  np.testing.assert_allclose(
    embedding_store.unit(half).astype(float), 512**-0.5, rtol=1e-3
  )
  broken = [[np.nan, 1.0], [np.inf, 1.0], [-np.inf, np.inf], [0.0, 0.0]]
  found = embedding_store.unit(np.array([*broken, [1.0, 0.0]]))
  assert embedding_store.problems(found).tolist() == [
    *(["is not finite"] * 3),
    "has length 0",
    "",
  ]


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_scores_of_the_pool(tmp_path, kind):
  """The best 30 % of the finite scores; each other score is named."""
  values = np.random.default_rng(0).permutation(40).astype(kind)
  bad = {4: np.inf, 9: -np.inf, 17: np.nan}
  for number, value in bad.items():
    values[number] = value
  item = pa.from_numpy_dtype(values.dtype)
  # From Python's numbers NaN is a value; 23 is null.
  column = pa.array(
    [None if n == 23 else v for n, v in enumerate(values)], item
  )
  columns = {"score": column}
  shards = [list(range(40))]
  good = [n for n in range(40) if n not in bad and n != 23]
  for name, step in (
    ("top", cuts.TopFraction("score", 0.3, False)),
    ("raw", cuts.TopFraction("score", 0.3, True)),
    ("at_least", cuts.Threshold("score", 20.0)),
    ("at_most", sizes.AtMost("score", 20.0)),
  ):
    kept, manifest = synth.kept(tmp_path, name, columns, {"cut": step}, shards)
    expected, other = synth.kept(
      tmp_path, f"{name}2", columns, {"cut": step}, [good]
    )
    assert kept == expected
    (made,), (right,) = manifest["steps"], other["steps"]
    assert made["faults"] == {"score_broken": 3}
    rows = _signals(tmp_path / name)
    assert {n for n, row in rows.items() if row["fault"]} == set(bad)
    assert rows[9]["fault"] == "score_broken: score is -inf"
    assert rows[23]["dropped_by"] == "cut"
    if "histogram" in right["facts"]:
      assert made["facts"]["histogram"] == right["facts"]["histogram"]
      assert made["facts"]["num_without"] == 4
      # 36 scores: index int(36 * 0.3) of the descending order, and above.
      assert len(kept) == 11


def test_a_score_beyond_float32_is_a_score(tmp_path):
  columns = {"score": pa.array([1e300, 1.0, -1e300, 2.0])}
  step = cuts.TopFraction("score", 0.25, False)
  kept, manifest = synth.kept(
    tmp_path, "a", columns, {"cut": step}, [[*range(4)]]
  )
  assert kept == [0, 3]
  assert manifest["steps"][0]["faults"] == {}


def test_whole_numbers_and_truths_are_scores():
  table = pa.table({"a": [1, 2, None], "b": [True, False, None]})
  assert sizes.AtMost("a", 1).open(None)(table).keep.tolist() == [
    *(True, False, False)
  ]
  assert sizes.AtMost("b", 0.5).open(None)(table).keep.tolist() == [
    *(False, True, False)
  ]
  with pytest.raises(ValueError, match=r"max_value must be a number; got nan"):
    sizes.AtMost("a", float("nan")).check("steps.it")


def test_all_files_are_json(tmp_path):
  """Also where no pair has a score."""

  def refused(name):
    raise AssertionError(f"{name} is no JSON")

  columns = {"score": pa.array([np.nan, np.inf, None], pa.float32())}
  step = cuts.TopFraction("score", 0.3, False)
  kept, _ = synth.kept(tmp_path, "a", columns, {"cut": step}, [[0, 1, 2]])
  assert kept == []
  found = [*tmp_path.rglob("*.json"), *tmp_path.rglob("*.jsonl")]
  assert {path.name for path in found} >= {"manifest.json", "facts.json"}
  for path in found:
    for line in (
      path.read_text().splitlines()
      if ".jsonl" in path.name
      else [path.read_text()]
    ):
      json.loads(line, parse_constant=refused)


@pytest.mark.parametrize(
  ("value", "message"),
  [
    (np.nan, "is not finite"),
    (np.inf, "is not finite"),
    (0, "has length 0"),
  ],
)
def test_references_are_named(tmp_path, value, message):
  rows = np.ones((5, 4), np.float32)
  rows[3] = value
  np.save(tmp_path / "r.npy", rows)
  with pytest.raises(ValueError, match=rf"row 3 of .*r\.npy {message}"):
    references.load(None, "columns:x", str(tmp_path / "r.npy"))
