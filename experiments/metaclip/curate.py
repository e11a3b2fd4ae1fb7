"""Recipes of MetaCLIP's study: balancing at several t, one list or many.

  python main.py --task=curate --config=experiments/metaclip/curate.py:NAME \
    --workdir=cache/metaclip/curated/NAME

is what prepare.py does for each NAME of SELECTIONS. Steps are those of
configs/curate/metaclip.py, without the identification of languages: the pool
says them. The metadata are the names and tags of all emoji (prepare.py).
"""

import dataclasses

import ml_collections

from configs.curate import metaclip

FOLDER = "cache/metaclip"
EMOJI = "cache/emoji_styles"
# Below FOLDER: a folder of LANGUAGE.txt, and one file with all their entries.
BY_LANGUAGE, ONE_LIST = "metadata", "metadata.txt"


@dataclasses.dataclass(frozen=True)
class Selection:
  """Choice of pairs of the pool.

  Attributes:
    is_one_list: whether the entries of all languages are one list, with which
      captions of any language are matched; else each language has its own.
    t: number of matches from which on an entry's pairs are subsampled.
    is_english: whether t is that of English, and the other languages take the
      t with the same tail mass (MetaCLIP 2); else t is that of all.
  """

  is_one_list: bool
  t: int
  is_english: bool = False


# On one list, t of a 6 % tail is 4; those of the by-language selections were
# chosen for about as many pairs as on one list at 4 and at 16.
SELECTIONS = {
  "one_list_1": Selection(True, 1),
  "one_list_4": Selection(True, 4),
  "one_list_16": Selection(True, 16),
  "one_list_64": Selection(True, 64),
  "same_t_4": Selection(False, 4),
  "own_t_10": Selection(False, 10, is_english=True),
  "own_t_40": Selection(False, 40, is_english=True),
}


def get_config(
  name: str, folder: str = FOLDER, emoji: str = EMOJI
) -> ml_collections.ConfigDict:
  """Return the recipe of a selection.

  Args:
    name: key of SELECTIONS.
    folder: folder of prepare.py.
    emoji: folder of emoji_styles, with the pictures.

  Raises:
    ValueError: the name is unknown.
  """
  if name not in SELECTIONS:
    raise ValueError(f"curate.py:{name} must be one of {[*SELECTIONS]}")
  made = SELECTIONS[name]
  config = metaclip.get_config("worldwide")
  config.order = tuple(x for x in config.order if x != "language")
  del config.steps.language
  for step in config.steps.values():
    step.metadata = f"{folder}/{ONE_LIST if made.is_one_list else BY_LANGUAGE}"
  # Names as "keycap: 8" match too.
  config.steps.match.mode = "fixed"
  config.steps.balance.t = made.t
  config.steps.balance.t_language = "en" if made.is_english else ""
  config.cache_dir = f"{folder}/cache"
  config.pool.format = "table"
  config.pool.path = f"{folder}/pool.jsonl"
  config.pool.image, config.pool.image_root = ("image",), emoji
  config.pool.caption, config.pool.language_field = ("caption",), "language"
  return config
