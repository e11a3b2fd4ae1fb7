"""ALIGN's and COYO's recipes: they are whole, and keep what they should."""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.curate import align as align_lib
from configs.curate import fields
from configs.curate import steps as steps_lib
from curation import pools, recipe, runner
from curation.engine import engines


def test_recipes_are_whole():
  align = recipe.checked(align_lib.get_config("align").to_dict())
  assert list(align.steps) == [
    *("image_size", "aspect_ratio", "image_fanout"),
    *("word_count", "text_fanout", "rare_tokens"),
  ]
  assert align_lib.get_config() == align_lib.get_config("align")
  recipe.checked(align_lib.get_config("mini").to_dict())
  config = align_lib.get_config("align_dedup")
  config.steps.embed.model = config.steps.near_duplicates.model = "hf://a/b"
  config.steps.near_duplicates.references = (__file__,)
  assert list(recipe.checked(config.to_dict()).steps)[:6] == list(align.steps)
  config = align_lib.get_config("coyo")
  recipe.checked(config.to_dict())
  # Steps outside the order fit their operators too.
  config.order = tuple(config.steps)
  config.steps.profanity.terms = (__file__,)
  config.steps.public.references = (__file__,)
  assert len(recipe.checked(config.to_dict()).steps) == 13


@pytest.mark.parametrize("name", ["basic_filter", "image_based_captions"])
def test_datacomps_rules_are_whole(name):
  config = fields.recipe(**getattr(steps_lib, name)())
  assert "language" in recipe.checked(config.to_dict()).steps


def test_an_unknown_variant():
  message = r"configs/curate/align.py:VARIANT must be .*coyo, mini; got 'laion'"
  with pytest.raises(ValueError, match=message):
    align_lib.get_config("laion")


def make_rows(num=400):
  """Return pairs: text, url, sizes, and whether ALIGN's rules keep them."""
  rng = np.random.default_rng(0)
  rows = []
  for n in range(num):
    # Every pair of these words is among the frequent terms.
    words = [f"w{k}" for k in rng.integers(0, 4, 2 + n % 18)]
    rows.append([f"{' '.join(words)} {n % 4}", f"u{n}", 300, 300, True])
  rows[0][2:] = 200, 300, False
  rows[1][2:] = 301, 903, False
  rows[2][2:] = 301, 902, True
  rows[3][0], rows[3][4] = "two words", False
  rows[4][0], rows[4][4] = " ".join(["w1"] * 21), False
  rows[5][0], rows[5][4] = "w1 w2 never", False
  for n in range(6, 17):  # 11 images with the same text
    rows[n][0], rows[n][4] = "W1 w1 w2", False
  for n in range(17, 27):  # 10 images, one of them twice
    rows[n][0] = "w1 w1 w1 w1"
  rows[27][:2] = rows[26][:2]
  for n in range(30, 34):  # an image with more texts than there may be
    rows[n][1], rows[n][4] = "many", False
  return rows


def curate(tmp_path, name, order, num_shards):
  """Return the numbers of the pairs that the recipe keeps."""
  folder = tmp_path / name
  folder.mkdir()
  rows = make_rows()
  for shard, part in enumerate(np.array_split(order, num_shards)):
    table = pa.table(
      {
        "uid": [hashlib.md5(str(n).encode()).hexdigest() for n in part],
        "text": [rows[n][0] for n in part],
        "url": [rows[n][1] for n in part],
        "width": pa.array([rows[n][2] for n in part], pa.int32()),
        "height": pa.array([rows[n][3] for n in part], pa.int32()),
      }
    )
    pq.write_table(table, folder / f"{shard}.parquet")
  config = align_lib.get_config()
  config.pool.format = "parquet"
  config.pool.path = str(folder / "*.parquet")
  config.cache_dir = str(tmp_path / "cache")
  config.steps.image_fanout.max_texts = 3
  # 4 + 4 words and 16 + 16 pairs; all others are in one caption alone.
  config.steps.rare_tokens.num_terms = 40
  found = recipe.checked(config.to_dict())
  pool = pools.FORMATS["parquet"].open_pool(found.pool, folder)
  workdir = tmp_path / f"work-{name}"
  manifest = runner.curate(found, pool, workdir, engines.Inline())
  uids = {tuple(uid) for uid in np.load(workdir / "selection.npy").tolist()}
  names = [hashlib.md5(str(n).encode()).hexdigest() for n in range(len(rows))]
  kept = [(int(x[:16], 16), int(x[16:], 16)) in uids for x in names]
  return kept, manifest


def test_align_keeps_what_its_rules_say_in_any_shards(tmp_path):
  expected = [row[-1] for row in make_rows()]
  order = np.arange(len(expected))
  kept, manifest = curate(tmp_path, "a", order, 1)
  assert kept == expected
  steps = {step["name"]: step for step in manifest["steps"]}
  assert {n: s["in"] - s["kept"] for n, s in steps.items()} == {
    "image_size": 1,
    "aspect_ratio": 1,
    "image_fanout": 4,
    "word_count": 2,
    "text_fanout": 11,
    "rare_tokens": 1,
  }
  shuffled = np.random.default_rng(1).permutation(order)
  other, again = curate(tmp_path, "b", shuffled, 5)
  assert other == expected
  assert again["kept_sha256"] == manifest["kept_sha256"]
