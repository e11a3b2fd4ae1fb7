"""The recipes of DFN and DataComp: each checks, and reads what pools have."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.curate import datacomp, dfn
from curation import pools, recipe, runner
from curation.engine import engines
from tests.curation import synth

# Columns of DataComp's metadata and of the .npz beside it.
DATACOMP = (
  *("uid", "url", "text", "original_width", "original_height", "sha256"),
  *("clip_b32_similarity_score", "clip_l14_similarity_score"),
  *("b32_img", "b32_txt", "l14_img", "l14_txt", "width", "height"),
)
TARS = ("uid", "text", "image", "width", "height", "url")
VARIANTS = (
  *("no_filter", "basic", "clip_score", "clip_score_b32", "laion2b"),
  *("text_based", "image_based", "image_based_intersect_clip_score", "mini"),
)


@pytest.mark.parametrize("variant", VARIANTS)
def test_datacomp(variant, tmp_path):
  config = datacomp.get_config(variant)
  np.save(tmp_path / "in1k.npy", np.ones((2, 8), np.float32))
  (tmp_path / "classes.txt").write_text("n02084071\n")
  for name, field, value in (
    ("clusters", "references", "in1k.npy"),
    ("text", "classes", "classes.txt"),
  ):
    if name in config.steps:
      config.steps[name][field] = str(tmp_path / value)
  checked = recipe.checked(config.to_dict())
  recipe.check_columns(checked.steps, DATACOMP)


@pytest.mark.parametrize(
  "variant", ["dfn_2b", "medium", "clip_l14_30", "negclip_normsim", "mini"]
)
def test_dfn(variant, tmp_path):
  config = dfn.get_config(variant)
  config.lock()
  # As a flag does; the other steps of the model follow.
  config.steps.embed.model = str(tmp_path)
  if "normsim" in config.steps:
    np.save(tmp_path / "in1k.npy", np.ones((2, 8), np.float32))
    config.steps.normsim.references = str(tmp_path / "in1k.npy")
  checked = recipe.checked(config.to_dict())
  recipe.check_columns(checked.steps, TARS)
  models = [s.model for s in checked.steps.values() if hasattr(s, "model")]
  assert set(models) == {str(tmp_path)}


def test_the_pool_has_to_have_the_images():
  config = dfn.get_config("clip_l14_30")
  checked = recipe.checked(config.to_dict())
  with pytest.raises(ValueError, match=r"steps\.embed reads image, which pool"):
    recipe.check_columns(checked.steps, ("uid", "text", "url"))


def test_image_based_and_the_clip_score_of_a_whole_pool(tmp_path):
  """The same pairs are kept as by DataComp's rules, one by one."""
  rng = np.random.default_rng(0)
  num_pairs = 40
  group = rng.integers(0, 2, num_pairs)
  group[:2] = [0, 1]
  image = np.eye(8)[group] + 0.05 * rng.normal(size=(num_pairs, 8))
  scores = rng.permutation(num_pairs).astype(np.float32)
  is_short = np.arange(num_pairs) % 4 == 0
  texts = [
    "dog" if short else "a brown dog on the green grass" for short in is_short
  ]
  (tmp_path / "pool").mkdir()
  for number, rows in enumerate(np.split(np.arange(num_pairs), 2)):
    table = {
      "uid": [synth.uid(row) for row in rows.tolist()],
      "text": [texts[row] for row in rows],
      "url": [f"{row}" for row in rows],
      "clip_l14_similarity_score": scores[rows],
    }
    stem = tmp_path / "pool" / f"{number}"
    pq.write_table(pa.table(table), stem.with_suffix(".parquet"))
    half = image[rows].astype(np.float16)
    np.savez(stem.with_suffix(".npz"), l14_img=half, l14_txt=half)
  np.save(tmp_path / "in1k.npy", np.eye(8, dtype=np.float32)[[1]])
  config = datacomp.get_config("image_based_intersect_clip_score")
  config.pool.path = str(tmp_path / "pool" / "*.parquet")
  config.steps.clusters.update(
    references=str(tmp_path / "in1k.npy"), num_clusters=2, num_sampled=40
  )
  # The package's model identifies "dog" too; only its length is to count.
  config.order = tuple(name for name in config.order if name != "language")
  checked = recipe.checked(config.to_dict())
  pool = pools.FORMATS["parquet"].open_pool(checked.pool, tmp_path / "cache")
  work = tmp_path / "work"
  runner.curate(checked, pool, work, engines.Inline())
  kept = sorted(np.load(work / "selection.npy")["f1"].tolist())
  # int(40 * 0.3) = 12: the scores from 27 on, of 0 to 39.
  best = scores >= 27
  expected = np.flatnonzero(best & (group == 1) & ~is_short).tolist()
  assert kept == expected
  assert 0 < len(expected) < best.sum()
