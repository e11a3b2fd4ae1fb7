"""Encoder that all arms train: icons at 32 pixels, on a laptop CPU.

  arm      trained on the pool, or a selection of it:
           --config.data.sources.main.subset=SELECTION.npy ("": the raw pool)
  filter   DFN's filter network: the same encoder, trained on the clean set

Data: written by experiments/curation/prepare_icons.py.
Command: experiments/curation/README.md.
Hardware: 2 CPU cores.
"""

import ml_collections

from configs import base
from configs.parts import sources

_TARS = {
  "arm": "cache/icons/pool/*.tar",
  "filter": "cache/icons/trusted/*.tar",
}


def get_config(arg: str = "arm") -> ml_collections.ConfigDict:
  """Return the config of towers of 1.1 M parameters, trained on 96,000 pairs.

  Raises:
    ValueError: `arg` is neither "arm" nor "filter".
  """
  if arg not in _TARS:
    raise ValueError(f"config.py:{arg} must be one of {list(_TARS)}")
  config = base.get_config()
  config.batch_size = 64
  config.total_steps = 1500
  config.log_every_steps = 50

  config.data.sources.main = sources.source(
    format="webdataset", path=_TARS[arg], caption=("txt",)
  )
  config.data.image_size = 32
  # Few captions have more tokens.
  config.data.num_tokens = 12
  # One vocabulary for all arms, trained on the raw pool's captions.
  config.data.tokenizer = "hf"
  config.data.tokenizer_path = "cache/icons/tokenizer"
  config.data.vocab_size = 2048
  # Without random changes: a run reads a pair a few times at most.
  config.data.augmentation.resize = "squash"
  config.data.augmentation.random_crop = False
  # A bad example would be an error of prepare_icons.py.
  config.data.max_bad_fraction = 0.0

  config.model.dtype = "float32"  # bfloat16 is not faster on a CPU
  config.model.remat = "dense"
  config.model.embed_dim = 128
  image = config.model.image
  image.patch_size = 8
  image.width = 128
  image.depth = 3
  image.num_heads = 2
  image.mlp_width = 512
  image.pool = "gap"
  text = config.model.text
  text.width = 128
  text.depth = 1
  text.num_heads = 2
  text.mlp_width = 512
  text.pool = "mean"

  # Loss, rate, warm-up and decay as in configs/quickstart.py.
  config.loss.name = "softmax"
  config.optimizer.learning_rate = 1e-3
  config.optimizer.warmup_steps = 60
  config.optimizer.weight_decay = 0.1

  # run.py evaluates. A checkpoint half-way is for a run that is stopped.
  config.checkpoint.every_steps = 750
  config.checkpoint.keep = 1
  return config
