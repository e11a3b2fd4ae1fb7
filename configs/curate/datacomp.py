"""DataComp's filtering baselines (Gadre et al., arXiv 2304.14108, section 4).

python main.py --task=curate --config=configs/curate/datacomp.py:VARIANT \
  --config.pool.path='metadata/*.parquet' --workdir=runs/clip_score \
  --engine=processes --num_workers=16
reads DataComp's metadata as it is published (Parquet files, with the .npz of
embeddings beside them). VARIANT is one of (mlfoundations/datacomp,
baselines/apply_filter.py)

  no_filter         all pairs
  basic             English by fastText, words > 2, characters > 5, shorter side
                    >= 200 pixels, aspect ratio <= 3
  clip_score        the best 30 % by OpenAI's L/14 (0.243 and above)
  clip_score_b32    the best 30 % by OpenAI's B/32 (0.281 and above)
  laion2b           English by CLD3, and B/32 0.28 and above
  text_based        English by fastText, and a word whose first synset is one of
                    ImageNet-21k's: --config.steps.text.classes=FILE
  image_based       English by fastText, fastText's words > 1, characters > 5;
                    images of the clusters that ImageNet-1k's training images
                    fall into: --config.steps.clusters.references=EMBEDDINGS
  image_based_intersect_clip_score
                    both filters, the best 30 % by L/14 being those of the whole
                    pool: the filter of DataComp-1B
  mini              basic's rules, with another image size, for the names of
                    emoji in three languages; with nothing to prepare

Embeddings of ImageNet-1k, by the same L/14 as DataComp's l14_img:
  python main.py --task=embed --init_from=hf://openai/clip-vit-large-patch14 \
    --images="imagenet/train/**/*.JPEG" --out=imagenet_l14
Difference from DataComp: clusters are those of spherical k-means on the pool
  itself (there faiss's, by inner product).
Hardware: workers need a core; image_based needs devices for k-means, and an
  array of num_sampled embeddings on the disk.
Expected: no variant but mini has been run. Published for its medium scale,
  pairs kept of 128e6, ImageNet / mean of 38 tasks (its table 3): no_filter
  128e6, .176 / .258; basic 30e6, .226 / .285; clip_score 38e6, .273 / .328;
  laion2b 13e6, .230 / .292; text_based 31e6, .255 / .307; image_based 29e6,
  .268 / .312; image_based_intersect_clip_score 14e6, .297 / .328.
"""

from typing import Any

import ml_collections

from configs.curate import dfn, fields
from configs.curate import steps as steps_lib
from configs.parts import variants

# Columns of DataComp's metadata.
_L14 = "clip_l14_similarity_score"
_B32 = "clip_b32_similarity_score"


def get_config(variant: str = "clip_score") -> ml_collections.ConfigDict:
  """Return the recipe of a variant."""
  if variant == "mini":
    return _mini()
  make = variants.pick(
    __file__,
    variant,
    {
      "no_filter": dict,
      "basic": steps_lib.basic_filter,
      "clip_score": lambda: {"top": dfn.top(_L14, 0.3)},
      "clip_score_b32": lambda: {"top": dfn.top(_B32, 0.3)},
      "laion2b": _laion2b,
      "text_based": _text_based,
      "image_based": _image_based,
      "image_based_intersect_clip_score": _both,
    },
  )
  config = fields.recipe(**make())
  config.pool.format = "parquet"
  config.pool.uid = "uid"
  return config


def _laion2b() -> dict[str, dict[str, Any]]:
  return {
    # The column is compared first: identifying languages takes far longer.
    "clip": {"op": "threshold", "column": _B32, "threshold": 0.28},
    "language": steps_lib.language("cld3"),
  }


def _text_based() -> dict[str, dict[str, Any]]:
  return {
    "language": steps_lib.basic_filter()["language"],
    "text": {
      "op": "text_based",
      # File of WordNet 3.0 IDs, one a line: ImageNet-21k's.
      "classes": "",
      "wordnet": "",
      # DataComp compares offsets alone, which nouns and verbs share.
      "nouns_only": False,
    },
  }


def _image_based() -> dict[str, dict[str, Any]]:
  return {
    "l14": {"op": "stored_embeddings", "name": "l14", "signal": "l14_cosine"},
    # First of all rules, so that clusters are those of the whole pool.
    "clusters": {
      "op": "image_based",
      "model": "columns:l14",
      # .npy file of embeddings, or a folder of --task=embed.
      "references": "",
      "num_clusters": 100_000,
      "num_iterations": 20,
      # Embeddings to cluster, about DataComp's at its large and xlarge scales.
      "num_sampled": 160_000_000,
      "seed": 0,
    },
    **steps_lib.image_based_captions(),
  }


def _both() -> dict[str, dict[str, Any]]:
  return _image_based() | {"top": dfn.top(_L14, 0.3, raw=True)}


def _mini() -> ml_collections.ConfigDict:
  steps = steps_lib.basic_filter()
  # Drawings are small squares: only words and languages drop pairs.
  steps["image_size"]["min_side"] = 32
  return fields.emoji(fields.recipe(**steps), ("de", "en", "fr"))
