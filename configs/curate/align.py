"""ALIGN's filters (arXiv 2102.05918, section 3), and COYO-700M's.

python main.py --task=curate --config=configs/curate/align.py:VARIANT \
  --config.pool.path='PATH/{00000..00999}.tar' --workdir=runs/align \
  --engine=processes --num_workers=16
keeps pairs by image size, caption length and fan-out. VARIANT is one of

  align        the paper's filters, without its porn classifier, which it does
               not describe, and without near-duplicates of test sets
  align_dedup  align and the near-duplicates (appendix A):
               --config.steps.embed.model=MODEL
               --config.steps.near_duplicates.model=MODEL
               --config.steps.near_duplicates.references="('imagenet/val',)"
  coyo         the filters that selected COYO-700M's 747M pairs from 10B
               (README.md of kakaobrain/coyo-dataset). Steps that need files or
               columns of the user's are defined, but not in `order`: profanity,
               nsfw, public
  mini         ALIGN's filters with limits for the names of emoji in 14
               languages, with nothing to prepare

Hardware: a worker needs a core and about 300 MB. Counts of words and word pairs
  take 16 bytes on disk for each distinct one of a shard, about 120 bytes a
  caption (benchmarks/rare_tokens.py): 1.2 TB at 10 billion captions, and up to
  twice as much again while they are merged.
Expected: mini keeps 15,883 of 43,428 pairs, of 1,985 drawings, in less than a
  minute on 2 CPU cores. The papers' pools are not published: no other variant
  has been run on one.
"""

import ml_collections

from configs.curate import fields
from configs.curate import steps as steps_lib
from configs.parts import variants


def get_config(variant: str = "align") -> ml_collections.ConfigDict:
  """Return the recipe of a variant."""
  make = variants.pick(
    __file__,
    variant,
    {
      "align": _align,
      "align_dedup": _align_dedup,
      "coyo": _coyo,
      "mini": _mini,
    },
  )
  return make()


def _align() -> ml_collections.ConfigDict:
  # Images are identified by their addresses; sha256 would identify the content.
  return fields.recipe(**steps_lib.align(image="url"))


def _align_dedup() -> ml_collections.ConfigDict:
  return fields.recipe(
    **steps_lib.align(image="url"),
    **steps_lib.align_near_duplicates(),
  )


def _coyo() -> ml_collections.ConfigDict:
  config = fields.recipe(**steps_lib.coyo())
  users = ("profanity", "nsfw", "public")
  config.order = tuple(name for name in config.order if name not in users)
  return config


def _mini() -> ml_collections.ConfigDict:
  # Numbers are ours: 14,000 of 45,000 words and word pairs occur more than
  # once.
  steps = steps_lib.align(image="", num_terms=14_000)
  # Drawings are squares of 64 pixels; all captions of one differ by nature.
  steps["image_size"]["min_side"] = 32
  del steps["image_fanout"]
  steps["word_count"]["min_words"] = 2
  steps["word_count"]["max_words"] = 8
  # Names that occur more than twice are dropped, as "OK" in several languages.
  steps["text_fanout"]["max_images"] = 2
  return fields.emoji(fields.recipe(**steps))
