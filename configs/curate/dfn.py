"""Curation by a model's scores: DFN (arXiv 2309.17425), CLIP, negCLIPLoss.

python main.py --task=curate --config=configs/curate/dfn.py:VARIANT \
  --config.pool.path='PATH/{00000..00999}.tar' --workdir=runs/dfn_2b \
  --engine=processes --num_workers=16
embeds all pairs once on all devices, and keeps those with the highest scores.
VARIANT is one of

  dfn_2b       the best 15 % of CommonPool's 12.8e9 pairs (the paper), by a
               filter network in runs/dfn_filter (configs/dfn.py:filter)
  medium       DFN's release for DataComp's medium scale: 20e6 of 128e6 pairs
               (github.com/ypwang61/negCLIPLoss_NormSim, name of a file)
  clip_l14_30  the best 30 % by OpenAI's L/14. If the pool's files have this
               score, use configs/curate/datacomp.py:clip_score
  negclip_normsim   20 % of the pool: the best 30 % by negCLIPLoss, then those
               nearest to ImageNet-1k by NormSim (arXiv 2405.19547; OpenAI's
               L/14)
  mini         the best 15 % of the emoji's names in five languages

Model: --config.steps.embed.model=RUN, a folder of weights or hf://, for all
steps of a variant that use one. With another cut (--config.steps.top.fraction)
nothing is embedded again; with other steps before, only new pairs are.
`mini` takes about half a minute on two cores; training its filter takes about
one minute:
  python main.py --config=configs/dfn.py:mini --workdir=runs/dfn_mini
  python main.py --task=curate --config=configs/curate/dfn.py:mini \
    --workdir=runs/curate_dfn_mini
Hardware: devices for `embed`; with fast ones, most of the time goes into
  reading and decoding images. A pair's embeddings by B/32 take 2 kB of the
  workdir.
Expected: no variant but mini has been run. DataComp's figures for such sets are
  in the papers: medium, ImageNet / mean of 38: CLIP L/14 30 % .273 / .328, a
  filter of public data .307 / .349.
"""

from typing import Any

import ml_collections

from configs.curate import fields
from configs.parts import variants

_L14 = "hf://openai/clip-vit-large-patch14"


def get_config(variant: str = "dfn_2b") -> ml_collections.ConfigDict:
  """Return the recipe of a variant."""
  make = variants.pick(
    __file__,
    variant,
    {
      "dfn_2b": lambda: _best("runs/dfn_filter", 0.15),
      "medium": lambda: _best("runs/dfn_filter", 20 / 128),
      "clip_l14_30": lambda: _best(_L14, 0.3),
      "negclip_normsim": _negclip_normsim,
      "mini": _mini,
    },
  )
  return make()


def _best(model: str, fraction: float) -> ml_collections.ConfigDict:
  return fields.recipe(embed=embed(model, "score"), top=top("score", fraction))


def _negclip_normsim() -> ml_collections.ConfigDict:
  # One field reference: a flag that sets it for one step sets it for all.
  model = ml_collections.FieldReference(_L14)
  return fields.recipe(
    embed=embed(model, "score"),
    negclip={
      "op": "negclip_loss",
      "model": model,
      "signal": "negclip",
      # Temperature of OpenAI's CLIP; 0.07 for DFN-P (the paper's code).
      "temperature": 0.01,
      "batch_size": 32_768,
      # The paper takes the mean of several batches; its code at least 5.
      "num_rounds": 5,
      "seed": 0,
    },
    best=top("negclip", 0.3),
    normsim={
      "op": "normsim",
      "model": model,
      "signal": "normsim",
      # Folder or pattern of images, .npy file of embeddings: ImageNet-1k's
      # training images in the paper.
      "references": "",
      # "inf": the largest cosine; "2": the root of the sum of squares.
      "norm": "inf",
    },
    # Two thirds of the 30 % that are left: 20 % of the pool.
    near=top("normsim", 2 / 3),
  )


def _mini() -> ml_collections.ConfigDict:
  config = _best("runs/dfn_mini", 0.15)
  config.steps.embed.batch_size = 64
  # The filter was trained on English names.
  return fields.emoji(config, ("de", "en", "fr", "ja", "zh"))


def embed(model: Any, signal: str) -> dict[str, Any]:
  """Return the step that embeds, and scores by cosine."""
  return {
    "op": "embed",
    # A run's workdir, a published model's folder or file, hf://owner/name.
    "model": model,
    "signal": signal,
    # Number of pairs of one call, over all devices.
    "batch_size": 256,
  }


def top(column: str, fraction: float, *, raw: bool = False) -> dict[str, Any]:
  """Return the step that keeps the highest scores."""
  return {
    "op": "top_fraction",
    # Name of a signal, or of a column of the pool's files.
    "column": column,
    "fraction": fraction,
    # Whether the cut is computed over all pairs of the pool, also those that
    # earlier steps dropped; for columns of the pool.
    "raw": raw,
  }
