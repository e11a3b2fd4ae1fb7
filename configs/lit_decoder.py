"""LiT-decoder (arXiv 2303.17376): a small decoder on towers that are held.

  refcoco_b16_256   SigLIP 2 B/16 held, expressions of RefCOCO to boxes
  vqa_b16_256       the same towers, questions of VQA v2 to answers
  mini              captions of emoji on held towers, a minute on two CPU cores
Neither pairs are compared nor texts embedded (loss.weight=0): the image tower
runs forward, and the decoder alone has gradients and optimizer slots.
Data: the three sets of RefCOCO, in the files of their releases beside COCO's
  pictures of 2014 (docs/regions.md), in one mixture; VQA v2 (train, and val for
  soft accuracy) in its release's files.
Sources: LiT-decoder for the setup; LocCa (arXiv 2403.19596) and SigLIP 2 (arXiv
  2502.14786, table 5) for the probe: 6 layers that read the tokens before
  pooling, trained from scratch on a mix of all of RefCOCO. Other fields of the
  decoder are those of configs/siglip2.py.
Ours, as these do not state them or their code is not public: batch, steps,
  rate, decay, warm-up, causal prediction of all ids, the form of answers
  (docs/regions.md).
Command:
  python main.py --config=configs/lit_decoder.py:refcoco_b16_256 \
    --workdir=runs/refcoco --config.data.sources.refcoco.path=REFCOCO \
    --config.data.sources.refcoco_plus.path=REFCOCO+ \
    --config.data.sources.refcocog.path=REFCOCOG \
    --config.evaluate.sets.refcoco.source.path=REFCOCO \
    --config.evaluate.sets.refcoco_plus.source.path=REFCOCO+ \
    --config.evaluate.sets.refcocog.source.path=REFCOCOG
  python main.py --config=configs/lit_decoder.py:vqa_b16_256 \
    --workdir=runs/vqa --config.data.sources.main.path=VQA \
    --config.evaluate.sets.vqa.source.path=VQA
  python main.py --config=configs/siglip.py:mini --workdir=runs/siglip_mini
  python main.py --config=configs/lit_decoder.py:mini --workdir=runs/captions
Any published weights or run: --config.init_from=MODEL.
Hardware: not known.
Expected: not yet run at size. `mini`, one run on two cores: the decoder's loss
  goes from 7.05 to 3.13 in 300 steps, and all figures of retrieval are those of
  the run that it began with.
"""

import ml_collections

from configs import base, siglip, siglip2
from configs.parts import decoding, mini, sources, variants, web
from evaluators.sets import kinds

# Name -> variant of configs/siglip2.py with the same towers.
VARIANTS = {"refcoco_b16_256": "b16_256", "vqa_b16_256": "b16_256"}
VARIANT_NAMES = (*VARIANTS, "mini")
# Splits that accuracy is taken on, of each layout of RefCOCO.
_SPLITS = {
  "refcoco": ("val", "testA", "testB"),
  "refcoco_plus": ("val", "testA", "testB"),
  "refcocog": ("val", "test"),
}
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
  if arg == "vqa_b16_256":
    _set_questions(config)
  else:
    _set_expressions(config)
  _set_decoder(config, _DEPTH)
  return config


def _set_questions(config: ml_collections.ConfigDict) -> None:
  """Set VQA v2: the answer that most people gave, judged by all of them."""
  names = ("question", "answer", "answer_type")
  layout = {"format": "layout", "layout": "vqa.v2"}
  config.data.sources.main = sources.source(
    **layout, split="train", question_fields=tuple((x, x) for x in names)
  )
  # There are no other sources, with captions or regions.
  config.data.regions.probabilities = (1.0, 0.0, 0.0)
  config.data.regions.answers = True
  names = ("question", "answers", "answer_type")
  test = sources.source(
    **layout, split="val", question_fields=tuple((x, x) for x in names)
  )
  config.evaluate.sets = ml_collections.ConfigDict(
    {"vqa": kinds.answering(test.to_dict())}
  )


def _set_expressions(config: ml_collections.ConfigDict) -> None:
  """Set the three sets of RefCOCO, in one mixture, each judged by itself."""
  fields = {"region_fields": (("boxes", "boxes"), ("texts", "box_texts"))}
  layouts = {
    name: {"format": "layout", "layout": f"regions.{name}"} | fields
    for name in _SPLITS
  }
  config.data.sources = ml_collections.ConfigDict(
    {
      name: sources.source(**layout, split="train")
      for name, layout in layouts.items()
    }
  )
  config.evaluate.sets = ml_collections.ConfigDict(
    {
      name: kinds.referring(
        sources.source(**layout).to_dict(), splits=_SPLITS[name]
      )
      for name, layout in layouts.items()
    }
  )
  # Expressions to boxes alone, in the order of the tasks.
  config.data.regions.probabilities = (0.0, 1.0, 0.0)


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
