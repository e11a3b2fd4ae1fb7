"""MetaCLIP's curation (arXiv 2309.16671), and MetaCLIP 2's (2507.22062).

python main.py --task=metadata --config=configs/curate/metadata.py:packages \
  --out=metadata
python main.py --task=curate --config=configs/curate/metaclip.py:VARIANT \
  --config.pool.path='PATH/{00000..00999}.tar' --workdir=runs/metaclip \
  --engine=processes --num_workers=16
matches captions with the metadata and balances their entries. VARIANT is one of

  400m        t = 20,000: 1.6e9 matched English pairs to 400e6
  2_5b        t = 170,000: 10.7e9 matched English pairs to 2.5e9
  tail        t such that entries below it have 6 % of all matches, the share in
              both of these: for a pool of any other size
  worldwide   MetaCLIP 2: entries of each language, t = 170,000 for English and
              the t with the same tail mass for the others
  mini        worldwide's steps on the names of emoji in 5 languages, with lists
              of words as the metadata; about 20 seconds, with nothing to
              prepare

The papers' pools are not published: no variant but mini has been run. A worker
needs a core, and about 60 MB for each 500,000 entries that it looks for (300 MB
for a moment, for so many in a script without spaces). Speed:
benchmarks/curation.py.

If pairs are balanced before their images are downloaded, t has to be larger by
the share of dead links. The selection is drawn once; with
--config.steps.balance.keep=all all matched pairs are selected, and a loader
draws anew by the signal keep_probability.
"""

from typing import Any

import ml_collections

from configs.curate import fields, steps
from configs.parts import variants

# Share of all matches that entries below t have (arXiv 2309.16671: that of t =
# 20,000 in its pool; the t of the larger pool was chosen for the same share).
_TAIL_MASS = 0.06
_MINI_LANGUAGES = ("ar", "de", "en", "ja", "zh")


def get_config(variant: str = "tail") -> ml_collections.ConfigDict:
  """Return the recipe of a variant."""
  make = variants.pick(
    __file__,
    variant,
    {
      "400m": lambda: _english(t=20_000),
      "2_5b": lambda: _english(t=170_000),
      "tail": lambda: _english(t=0, mode="fixed"),
      "worldwide": _worldwide,
      "mini": _mini,
    },
  )
  return make()


def _english(*, t: int, mode: str = "parity") -> ml_collections.ConfigDict:
  return fields.recipe(
    # MetaCLIP identifies languages first (appendix A.2), with a model that is
    # not published.
    language=steps.language("fasttext"),
    **_steps("metadata/en.txt", mode=mode, ends="both", t=t),
  )


def _worldwide() -> ml_collections.ConfigDict:
  return fields.recipe(
    language=steps.language("fasttext", keep=()),
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
      # A number of ours: English has 3,000 names.
      t=5,
      t_language="en",
    )
  )
  return fields.emoji(config, _MINI_LANGUAGES)


def _steps(
  metadata: str, *, mode: str, ends: str, t: int, t_language: str = ""
) -> dict[str, Any]:
  """Return the steps of matching and balancing."""
  return {
    "match": {
      "op": "metaclip_match",
      # Folder of LANGUAGE.txt, or one file; see captions/entry_lists.py.
      "metadata": metadata,
      # Column or signal with the LANGUAGE of a caption.
      "language": "language",
      # Pairs (language of a caption, language of its entries), as
      # (("zh-tw", "zh"),).
      "other_names": (),
      # "parity": as published, entries with punctuation at a word, as
      # "St. Louis", match nothing; "fixed": they match.
      "mode": mode,
      # "both": entries are whole words; "by_script": except at an end that is
      # in a script without spaces, or punctuation.
      "ends": ends,
    },
    "balance": {
      "op": "metaclip_balance",
      "metadata": metadata,
      # Number of matches; 0 computes it from tail_mass, for each language.
      "t": t,
      # Language that t is for; "" takes it for all.
      "t_language": t_language,
      "tail_mass": _TAIL_MASS,
      # Function from a tail mass to t. "published" is MetaCLIP 2's: it counts
      # the entry at t in the tail, while its function from t to the mass does
      # not. "inverse" is the exact inverse of the latter.
      "t_rule": "published" if t_language else "inverse",
      # "drawn", or "all".
      "keep": "drawn",
      "seed": 0,
    },
    # Step for the report: curves of counts before and after.
    "balanced": {"op": "entry_counts", "metadata": metadata},
  }
