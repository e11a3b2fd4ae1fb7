"""Runs of seconds of a dual encoder with a decoder and self-distillation."""

import ml_collections

from configs import base
from configs.parts import decoding, mini, phases, sources

# Steps of each phase.
STEPS = (3, 3, 2)


def get_config(arg: str = "all") -> ml_collections.ConfigDict:
  """Return a tiny run of 4 steps of 8 emoji.

  Args:
    arg: names of the further losses, joined by "+": decoder, consistency,
      masked; "all" for these three, "" for none; or "phases", of `get_phases`.
  """
  if arg == "phases":
    return get_phases()
  names = {
    "all": ["decoder", "consistency", "masked"],
    "": [],
  }.get(arg, arg.split("+"))
  config = base.get_config()
  config.batch_size = 8
  config.total_steps = 4
  config.checkpoint.every_steps = 2
  config.evaluate.sets = ml_collections.ConfigDict()
  config.optimizer.warmup_steps = 0
  config.optimizer.schedule = "constant"
  data, model = config.data, config.model
  data.sources.main = sources.source(format="emoji", split="train")
  data.image_size = 16
  data.num_tokens = 16
  data.tokenizer, data.vocab_size = "bytes", 264
  data.num_threads = 1
  model.dtype = "float32"
  model.embed_dim = 16
  model.image.patch_size = 4
  model.image.pool = "map"
  tiny = {"width": 16, "depth": 2, "num_heads": 2, "mlp_width": 32}
  for tower in (model.image, model.text):
    tower.update(mini.TRANSFORMER | tiny)
  model.image.projection = False
  if "decoder" in names:
    data.regions.num_tokens = 16
    data.regions.probabilities = (1.0, 0.0, 0.0)
    data.regions.num_bins = 8
    decoding.set_on(config)
  views, distillation = data.views, config.distillation
  if "consistency" in names or "masked" in names:
    views.has_global = True
    distillation.update(
      {"hidden_width": 16, "bottleneck_width": 8, "num_prototypes": 32}
    )
  if "consistency" in names:
    views.num_local, views.local_size = 2, 8
    distillation.consistency_weight = 0.25
  if "masked" in names:
    distillation.masked_weight = 0.0625
  return config


def get_phases() -> ml_collections.ConfigDict:
  """Return SigLIP 2's phases: a decoder, then heads too, then larger images.

  The last phase has NaFlex's place, whose towers have no self-distillation.
  """
  config = get_config("decoder")
  config.data.sources.main = sources.source(format="folder")
  full = get_config("all")
  heads = {
    "distillation": full.distillation.to_dict() | {"first_step": STEPS[0]},
    "data": {"views": {"has_global": True, "num_local": 2, "local_size": 8}},
  }
  large = {"data": {"image_size": 24}}
  phases.set_phases(
    config,
    phases.Phase("decoder", STEPS[0]),
    phases.Phase("heads", STEPS[1], heads),
    phases.Phase("large", STEPS[2], large),
  )
  return config
