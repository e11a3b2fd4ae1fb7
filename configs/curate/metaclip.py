"""MetaCLIP's curation (arXiv 2309.16671), and MetaCLIP 2's (2507.22062).

python main.py --task=metadata --config=configs/curate/metadata.py:packages \
  --out=metadata
python main.py --task=curate --config=configs/curate/metaclip.py:VARIANT \
  --config.pool.path='PATH/{00000..00999}.tar' --workdir=runs/metaclip \
  --engine=processes --num_workers=16
matches captions with the metadata and balances their entries. VARIANT is one of

  400m        t = 20,000: 1.6e9 matched English pairs to 400e6
  2_5b        t = 170,000: 10.7e9 matched English pairs to 2.5e9
  tail        t such that entries below it have 6 % of all matches, as they have
              in both of these: for a pool of any other size
  worldwide   MetaCLIP 2: entries of each language, t = 170,000 for English and
              that of the same tail for the others
  mini        as worldwide, of the names of emoji in 5 languages, with lists of
              words as the metadata; about 20 seconds, with nothing to prepare

The papers' pools are not published: no variant but mini has been run. A worker
needs a core, and about 60 MB for each 500,000 entries that it looks for (300 MB
for a moment, where a script without spaces has so many). How fast it is:
benchmarks/curation.py.

If pairs are balanced before their images are downloaded, t has to be larger by
as much as links are dead. What is in the selection is drawn once; with
--config.steps.balance.keep=all the selection is all that matched, and a loader
draws anew by the signal keep_probability.
"""

from typing import Any

import ml_collections

from configs.curate import fields, rules
from configs.parts import variants

# The part of all matches that entries below t have (arXiv 2309.16671: of t =
# 20,000 in its pool; the larger pool's t was chosen for the same).
_TAIL_MASS = 0.06
_MINI_LANGUAGES = ("ar", "de", "en", "ja", "zh")


def get_config(variant: str = "tail") -> ml_collections.ConfigDict:
  """Return the recipe of a variant."""
  if variant == "mini":
    return _mini()
  make = variants.pick(
    __file__,
    variant,
    {
      "400m": lambda: _english(t=20_000),
      "2_5b": lambda: _english(t=170_000),
      "tail": lambda: _english(t=0, mode="fixed"),
      "worldwide": _worldwide,
    },
  )
  return make()


def _english(*, t: int, mode: str = "parity") -> ml_collections.ConfigDict:
  return fields.recipe(
    # MetaCLIP identifies languages first (appendix A.2), with a model that is
    # not published.
    language=rules.language("fasttext"),
    **_steps("metadata/en.txt", mode=mode, ends="both", t=t),
  )


def _worldwide() -> ml_collections.ConfigDict:
  return fields.recipe(
    language=rules.language("fasttext", keep=()),
    **_steps(
      "metadata",
      mode="parity",
      ends="by_script",
      t=170_000,
      t_language="en",
    ),
  )


def _mini() -> ml_collections.ConfigDict:
  config = fields.recipe(
    **_steps(
      f"wordfreq:5000:{','.join(_MINI_LANGUAGES)}",
      mode="fixed",
      ends="by_script",
      # Our own number: English has 3,000 names.
      t=5,
      t_language="en",
    )
  )
  config.pool.format = "emoji"
  config.pool.split = "train"
  config.pool.languages = _MINI_LANGUAGES
  return config


def _steps(
  metadata: str, *, mode: str, ends: str, t: int, t_language: str = ""
) -> dict[str, Any]:
  """Return the steps of matching and balancing."""
  return {
    "match": {
      "op": "metaclip_match",
      # A folder of LANGUAGE.txt or one file; see captions/entry_lists.py.
      "metadata": metadata,
      # The column or signal that says which LANGUAGE.txt a caption's is.
      "language": "language",
      # As (("zh-tw", "zh"),): a caption's language, and whose entries it gets.
      "other_names": (),
      # "parity": as published, entries with punctuation at a word, as
      # "St. Louis", match nothing; "fixed": they do.
      "mode": mode,
      # "both": entries are whole words; "by_script": but not where they begin
      # or end in a script without spaces, or in punctuation.
      "ends": ends,
    },
    "balance": {
      "op": "metaclip_balance",
      "metadata": metadata,
      # Matches; 0 is the t of tail_mass, for each language its own.
      "t": t,
      # The language whose t that is; "" is all of them.
      "t_language": t_language,
      "tail_mass": _TAIL_MASS,
      # From a tail mass to t. "published" is MetaCLIP 2's way, in which the
      # entry at t belongs to the tail, unlike on the way from t to the mass;
      # "inverse" turns that around exactly.
      "t_rule": "published" if t_language else "inverse",
      # "drawn", or "all".
      "keep": "drawn",
      "seed": 0,
    },
    # For the report: the curve of counts before and after.
    "balanced": {"op": "entry_counts", "metadata": metadata},
  }
