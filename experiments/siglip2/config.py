"""SigLIP 2's losses in miniature: icons on photographs (README.md).

  sigmoid    the loss of pairs alone
  decoder    and LocCa's decoder, from the first step
  distilled  and local views against a teacher, from 3 of 4 steps on
  masked     and masked patches against the teacher: all losses
Data: python -m experiments.siglip2.prepare. Rules and weights of the losses are
  SigLIP 2's (configs/siglip2.py); sizes, rates and the step at which
  self-distillation begins are this project's.
"""

import ml_collections

from configs import base, siglip
from configs.parts import (
  decoding,
  distillation,
  phases,
  sources,
  variants,
)
from evaluators.sets import kinds

_FOLDER = "cache/spoken"
_TOWER = {"width": 96, "depth": 4, "num_heads": 4, "mlp_width": 384}
_TEXT = _TOWER | {"depth": 2}
_NUM_STEPS = 2100
# Share of the steps after which self-distillation begins. SigLIP 2's is 0.8, at
# which a cosine's rate is a tenth of its highest.
_HEADS_FROM = 0.75
_REGIONS = (("boxes", "boxes"), ("texts", "texts"))
VARIANTS = ("sigmoid", "decoder", "distilled", "masked")


def get_config(arg: str = "masked") -> ml_collections.ConfigDict:
  """Return a variant; ValueError where none has this name."""
  variants.pick(__file__, arg, dict.fromkeys(VARIANTS))
  config = base.get_config()
  config.batch_size, config.total_steps = 32, _NUM_STEPS
  data, model = config.data, config.model
  data.sources.main = _table("train")
  data.sources.main.caption = ("caption",)
  data.image_size, data.num_tokens = 48, 14
  data.tokenizer, data.vocab_size = "bpe", 512
  data.augmentation.resize = "squash"
  data.augmentation.flip_probability = 0.0
  model.dtype, model.embed_dim = "float32", _TOWER["width"]
  siglip.set_towers(config, _TOWER, _TEXT, model.embed_dim)
  model.image.patch_size = 8
  model.image.position = "sincos2d"
  config.optimizer.learning_rate = 1e-3
  config.optimizer.warmup_steps = 50
  config.checkpoint.every_steps = _NUM_STEPS
  config.log_every_steps = 10
  config.evaluate.sets = ml_collections.ConfigDict()
  config.evaluate.sets.test = kinds.retrieval(_table("test").to_dict())
  config.evaluate.sets.styles = kinds.classification(
    sources.source(format="table", path=f"{_FOLDER}/styles.jsonl").to_dict(),
    label="label",
    prompts=("a {c}",),
  )
  if arg == "sigmoid":
    return config
  data.sources.main.region_fields = _REGIONS
  data.regions.num_bins = 16
  data.regions.probabilities = (0.25, 0.5, 0.25)
  decoding.set_on(config)
  referred = _table("test")
  referred.region_fields = _REGIONS
  config.evaluate.sets.boxes = kinds.referring(referred.to_dict())
  if arg != "decoder":
    _set_phases(config, has_masked=arg == "masked")
  return config


def _set_phases(config: ml_collections.ConfigDict, *, has_masked: bool) -> None:
  weights = distillation.weights("B")
  if not has_masked:
    weights["masked_weight"] = 0.0
  first = round(_HEADS_FROM * config.total_steps)
  sizes = {
    "hidden_width": 192,
    "bottleneck_width": 64,
    "num_prototypes": 256,
    "momentum": (0.98, 1.0),
    "teacher_temperature": 0.02,
    "first_step": first,
  }
  changes = {
    "distillation": weights | sizes,
    "data": {"views": {"has_global": True, "num_local": 4, "local_size": 24}},
    "partition_rules": (
      *distillation.partition_rules(),
      *config.partition_rules,
    ),
  }
  phases.set_phases(
    config,
    phases.Phase("pairs_and_decoder", first),
    phases.Phase("all_losses", config.total_steps - first, changes),
  )


def _table(name: str) -> ml_collections.ConfigDict:
  return sources.source(format="table", path=f"{_FOLDER}/{name}.jsonl")
