"""The encoder that all arms train: icons at 32 pixels, on a laptop CPU.

Data: experiments/curation/prepare_icons.py makes it; an arm is a selection,
  --config.data.sources.main.subset=SELECTION.npy; "" is the raw pool.
Command: experiments/curation/README.md.
Hardware: 2 CPU cores.
"""

import ml_collections

from configs import base, sources


def get_config() -> ml_collections.ConfigDict:
  """Return towers of 1.6 M parameters that see 153,600 pairs."""
  config = base.get_config()
  config.batch_size = 256
  config.total_steps = 600  # 0.96 epochs of the raw pool
  config.log_every_steps = 20

  config.data.sources.main = sources.source(
    format="webdataset", path="data/icons/pool/*.tar", caption=("txt",)
  )
  config.data.image_size = 32
  # 99 % of the captions have no more.
  config.data.num_tokens = 12
  # One vocabulary for all arms, trained on the raw pool's captions.
  config.data.tokenizer = "hf"
  config.data.tokenizer_path = "data/icons/tokenizer"
  config.data.vocab_size = 2048
  config.data.augmentation.crop_scale = (0.8, 1.2)
  # Not mirrored: "left" and "right" are what many are about.
  config.data.augmentation.flip_probability = 0.0
  # What a tar has that cannot be used is a fault of the pool's maker.
  config.data.max_bad_fraction = 0.0

  config.model.dtype = "float32"  # bfloat16 is not faster on a CPU
  config.model.remat = "dense"
  config.model.embed_dim = 128
  image = config.model.image
  image.patch_size = 8
  image.width = 128
  image.depth = 4
  image.num_heads = 4
  image.mlp_width = 512
  image.pool = "gap"
  text = config.model.text
  text.width = 128
  text.depth = 2
  text.num_heads = 4
  text.mlp_width = 512
  text.pool = "mean"

  # Softmax, rate and decay as in configs/quickstart.py.
  config.loss.name = "softmax"
  config.optimizer.learning_rate = 1e-3
  config.optimizer.warmup_steps = 60
  config.optimizer.weight_decay = 0.1

  # The last step alone is saved. run.py evaluates.
  config.checkpoint.every_steps = config.total_steps
  config.checkpoint.keep = 1
  config.evaluate.retrieval = ()
  config.evaluate.zero_shot = ()
  return config
