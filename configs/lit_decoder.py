"""LiT-decoder (arXiv 2303.17376): a small decoder on towers that are held.

  refcoco_b16_256   SigLIP 2 B/16 held, expressions of RefCOCO to boxes
  mini              captions of emoji on held towers, a minute on two CPU cores
Neither pairs are compared nor texts embedded (loss.weight=0): the image tower
runs forward, and the decoder alone has gradients and optimizer slots.
Data: the three sets of RefCOCO, in the files of their releases beside COCO's
  pictures of 2014 (docs/regions.md), in one mixture.
Sources: LiT-decoder for the setup; LocCa (arXiv 2403.19596) and SigLIP 2 (arXiv
  2502.14786, table 5) for the probe: 6 layers that read the tokens before
  pooling, trained from scratch on a mix of all of RefCOCO. Other fields of the
  decoder are those of configs/siglip2.py.
Ours, as these do not state them or their code is not public: batch, steps,
  rate, decay, warm-up, causal prediction of all ids.
Command:
  python main.py --config=configs/lit_decoder.py:refcoco_b16_256 \
    --workdir=runs/refcoco --config.data.sources.refcoco.path=REFCOCO \
    --config.data.sources.refcoco_plus.path=REFCOCO+ \
    --config.data.sources.refcocog.path=REFCOCOG
  python main.py --config=configs/siglip.py:mini --workdir=runs/siglip_mini
  python main.py --config=configs/lit_decoder.py:mini --workdir=runs/captions
Any published weights or run: --config.init_from=MODEL.
Hardware: not known.
Expected: not yet run at size.
"""

import ml_collections

from configs import base, siglip, siglip2
from configs.parts import decoding, mini, sources, variants, web

# Name -> variant of configs/siglip2.py with the same towers.
VARIANTS = {"refcoco_b16_256": "b16_256"}
VARIANT_NAMES = (*VARIANTS, "mini")
# Split to train on of each layout of RefCOCO.
_SETS = ("refcoco", "refcoco_plus", "refcocog")
# Layers of the decoder (SigLIP 2, table 5).
_DEPTH = 6


def get_config(arg: str = "refcoco_b16_256") -> ml_collections.ConfigDict:
  """Return the recipe of a variant.

  Raises:
    ValueError: no variant has this name.
  """
  if arg == "mini":
    return _mini()
  towers = variants.pick(__file__, arg, VARIANTS, mini=True)
  config = siglip2.get_config(towers)
  config.init_from = "hf://google/siglip2-base-patch16-256"
  web.set_run(config, batch_size=256, total_steps=20_000)
  config.optimizer.warmup_steps = 1_000
  config.data.sources = ml_collections.ConfigDict(
    {
      name: sources.source(
        format="layout",
        layout=f"regions.{name}",
        split="train",
        region_fields=(("boxes", "boxes"), ("texts", "box_texts")),
      )
      for name in _SETS
    }
  )
  # Expressions to boxes alone, in the order of the tasks.
  config.data.regions.probabilities = (0.0, 1.0, 0.0)
  _set_decoder(config, _DEPTH)
  return config


def _set_decoder(config: ml_collections.ConfigDict, depth: int) -> None:
  """Set a decoder that alone learns, causal for all ids."""
  decoding.set_on(config)
  config.decoding.decoder.depth = depth
  config.decoding.decoder.parallel_share = 0.0
  config.loss.weight = 0.0
  config.optimizer.freeze = ((r"decoder/.*", False), (r".*", True))


def _mini() -> ml_collections.ConfigDict:
  """Return captions on the towers of configs/siglip.py:mini."""
  config = base.get_config()
  siglip.set_recipe(config, num_examples=40e9)
  siglip.set_towers(config, mini.TRANSFORMER, mini.TRANSFORMER, 64)
  mini.shrink(config)
  config.init_from = "runs/siglip_mini"
  config.total_steps = 300
  # Drawings have no boxes: captions alone.
  config.data.regions.probabilities = (1.0, 0.0, 0.0)
  config.data.regions.num_bins = 32
  _set_decoder(config, 2)
  return config
