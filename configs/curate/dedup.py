"""Recipes that drop duplicates and near-duplicates, by hashes and embeddings.

python main.py --task=curate --config=configs/curate/dedup.py:VARIANT \
  --config.pool.path='PATH/{00000..00999}.tar' --workdir=runs/dedup \
  --engine=processes --num_workers=16
keeps, by VARIANT,

  phash       one image of each perceptual hash (COYO-700M drops equal ones:
              README.md of kakaobrain/coyo-dataset)
  phash_near  one image of all whose hashes differ in up to 10 of 64 bits (the
              default of idealo/imagededup: imagededup/methods/hashing.py)
  align       images that are no near-duplicates of test images (arXiv
              2102.05918, appendix A):
              --config.steps.near.references="('flickr30k/','coco/val/')"
  semdedup    half of the pairs by SemDeDup (arXiv 2303.09540), for a pool like
              LAION-440M
  metaclip    one image of each 64-bit PCA hash (arXiv 2309.16671, appendix A.2)
  mini        one emoji of each perceptual hash; under a minute, with nothing to
              prepare

align, semdedup and metaclip need a model: --config.steps.embed.model=PATH, a
run's workdir or a published model; the other steps take the same one.

Hardware: phash takes a core 2 ms for a photo of 512 x 384 pixels, most of it to
decode it. Variants with a model embed each pair once, on all devices, and need
disk for two copies of the image embeddings (1 KB each at 512 numbers) while
they compare.
Expected: the papers' pools are not published; no variant but mini has been run.
"""

from typing import Any

import ml_collections

from configs.curate import fields
from configs.parts import variants


def get_config(variant: str = "phash") -> ml_collections.ConfigDict:
  """Return the recipe of a variant."""
  make = variants.pick(
    __file__,
    variant,
    {
      "phash": lambda: fields.recipe(**_hashes(0)),
      "phash_near": lambda: fields.recipe(**_hashes(10)),
      "align": lambda: _embedded(near=_ALIGN),
      "semdedup": lambda: _embedded(semdedup=_SEMDEDUP),
      "metaclip": lambda: _embedded(
        hash={"op": "pca_hash", "signal": "pca_hash"},
        duplicates=_duplicates("pca_hash", 0),
      ),
      "mini": lambda: fields.emoji(fields.recipe(**_hashes(0)), ("en",)),
    },
  )
  return make()


_ALIGN = {
  "op": "near_duplicates",
  # For each test set a folder of images, a pattern, or a .npy of embeddings.
  "references": (),
  # Numbers down to the threshold: arXiv 2102.05918, appendix A; "4K" clusters
  # are taken as 4,096.
  "num_clusters": 4096,
  # Nearest clusters of an image, and the number of them that make a bucket: an
  # image is in C(10, 3) = 120 buckets.
  "num_nearest": 10,
  "subset": 3,
  # Cosine above which an image is dropped.
  "threshold": 0.975,
  # Numbers are ours; the paper does not say.
  "num_iterations": 20,
  "seed": 0,
}

_SEMDEDUP = {
  "op": "semdedup",
  # arXiv 2303.09540, for LAION-440M: about 8,800 pairs a cluster.
  "num_clusters": 50_000,
  # Share of the pairs to drop; 0 uses epsilon. Dropping half lowers ImageNet's
  # accuracy by 0.5 points in the paper, dropping 37 % does not.
  "fraction": 0.5,
  # Pairs with a cosine above 1 - epsilon are dropped; 0 uses fraction.
  "epsilon": 0.0,
  # Share of the clusters that epsilon is computed on. 1.0 takes no longer here,
  # and is better with few clusters.
  "tuned_share": 0.1,
  # Numbers are ours; the paper does not say.
  "num_iterations": 20,
  "seed": 0,
}


def _hashes(max_distance: int) -> dict[str, Any]:
  """Return the steps that hash images and keep one of each hash."""
  return {
    "phash": {"op": "phash", "signal": "phash"},
    "duplicates": _duplicates("phash", max_distance),
  }


def _duplicates(column: str, max_distance: int) -> dict[str, Any]:
  return {
    "op": "duplicate_images",
    "column": column,
    # Number of bits in which hashes may differ, up to 11.
    "max_distance": max_distance,
    # Random seed of the choice of the kept image.
    "seed": 0,
  }


def _embedded(**steps: dict[str, Any]) -> ml_collections.ConfigDict:
  """Return a recipe that embeds first, and shares the model's path."""
  config = fields.recipe(
    embed={"op": "embed", "signal": "cosine", "batch_size": 1024}, **steps
  )
  # One field reference: a flag that sets it for one step sets it for all.
  model = ml_collections.FieldReference("")
  for name, step in config.steps.items():
    if name == "embed" or "column" not in step:
      step.model = model
  return config
