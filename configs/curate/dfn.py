"""Curation by a model's scores: DFN (arXiv 2309.17425), CLIP, negCLIPLoss.

python main.py --task=curate --config=configs/curate/dfn.py:VARIANT \
  --config.pool.path='PATH/{00000..00999}.tar' --workdir=runs/dfn_2b \
  --engine=processes --num_workers=16
embeds all pairs once on all devices, and keeps those of the highest scores.
VARIANT is one of

  dfn_2b       the best 15 % of CommonPool's 12.8e9 pairs (the paper), by a
               filter network in runs/dfn_filter (configs/dfn.py:filter)
  medium       its release for DataComp's medium scale: 20e6 of 128e6 pairs
               (github.com/ypwang61/negCLIPLoss_NormSim, name of a file)
  clip_l14_30  the best 30 % by OpenAI's L/14, as DataComp's CLIP score where
               the pool's files have it (configs/curate/datacomp.py)
  negclip_normsim   the best 30 % by negCLIPLoss, and 20 % by NormSim to
               ImageNet-1k of them (arXiv 2405.19547; OpenAI's L/14)
  mini         the best 15 % of the emoji's names in five languages

The model: --config.steps.embed.model=RUN, a folder of weights or hf://; all
steps of a variant that use it follow. Another cut (--config.steps.top.fraction)
embeds nothing again; nor do other steps before, but for pairs that are new.
`mini` takes about half a minute on two cores, once its filter is trained, which
takes about one:
  python main.py --config=configs/dfn.py:mini --workdir=runs/dfn_mini
  python main.py --task=curate --config=configs/curate/dfn.py:mini \
    --workdir=runs/curate_dfn_mini
Hardware: devices for `embed`; with fast ones, reading and decoding images is
  what takes time. A pair's embeddings by B/32 take 2 kB of the workdir.
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
  if variant == "mini":
    return _mini()
  make = variants.pick(
    __file__,
    variant,
    {
      "dfn_2b": lambda: _best("runs/dfn_filter", 0.15),
      "medium": lambda: _best("runs/dfn_filter", 20 / 128),
      "clip_l14_30": lambda: _best(_L14, 0.3),
      "negclip_normsim": _negclip_normsim,
    },
  )
  return make()


def _best(model: str, fraction: float) -> ml_collections.ConfigDict:
  return fields.recipe(embed=embed(model, "score"), top=top("score", fraction))


def _negclip_normsim() -> ml_collections.ConfigDict:
  # One value for all steps: a flag that changes it in one changes it in all.
  model = ml_collections.FieldReference(_L14)
  return fields.recipe(
    embed=embed(model, "score"),
    negclip={
      "op": "negclip_loss",
      "model": model,
      "signal": "negclip",
      # Of OpenAI's CLIP; 0.07 for DFN-P (the paper's code).
      "temperature": 0.01,
      "batch_size": 32_768,
      # The paper takes the mean of several batches; its code 5 at least.
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
      # "inf": the largest cosine; "2": the root of the squares' sum.
      "norm": "inf",
    },
    # 20 % of the pool, of the 30 % that are left.
    near=top("normsim", 2 / 3),
  )


def _mini() -> ml_collections.ConfigDict:
  config = _best("runs/dfn_mini", 0.15)
  config.steps.embed.batch_size = 64
  config.pool.format = "emoji"
  config.pool.split = "train"
  # The filter was trained on English names.
  config.pool.languages = ("de", "en", "fr", "ja", "zh")
  return config


def embed(model: Any, signal: str) -> dict[str, Any]:
  """Return the step that embeds, and scores by cosine."""
  return {
    "op": "embed",
    # A run's workdir, a published model's folder or file, hf://owner/name.
    "model": model,
    "signal": signal,
    # Pairs of one call, over all devices.
    "batch_size": 256,
  }


def top(column: str, fraction: float, *, raw: bool = False) -> dict[str, Any]:
  """Return the step that keeps the highest scores."""
  return {
    "op": "top_fraction",
    # A signal, or a column of the pool's files.
    "column": column,
    "fraction": fraction,
    # Whether it is the cut of all pairs of the pool, also of those that an
    # earlier step dropped; for columns of the pool.
    "raw": raw,
  }
