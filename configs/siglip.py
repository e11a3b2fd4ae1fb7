"""SigLIP (arXiv 2303.15343): towers and recipe of its English models.

  b16  ViT-B/16 at 224 pixels, 203.2 M parameters
Data: the paper's is not public. The captions' tokenizer (C4 English
  SentencePiece, 32,000 tokens) and web data are not in this project yet:
  `config.data` keeps the source and tokenizer of configs/base.py, so this
  config is for --task=plan, and for a run once they are there.
Command:
  python main.py --task=plan --config=configs/siglip.py:b16 \
    --topology=v5e:16x16
Hardware: the paper trained b16 on 32 TPU v4 chips for 2 and for 5 days.
Expected: not yet run. The paper's: ImageNet zero-shot 72.1 after 2 days (table
  1); the published weights of 40e9 examples seen have 76.2 (table 3).
"""

import ml_collections

from configs import base

VARIANTS = ("b16",)


def get_config(arg: str = "b16") -> ml_collections.ConfigDict:
  """Return the recipe of a variant.

  Raises:
    ValueError: there is no such variant.
  """
  if arg not in VARIANTS:
    raise ValueError(
      f"configs/siglip.py:VARIANT must be one of {', '.join(VARIANTS)}; got"
      f" {arg!r}"
    )
  config = base.get_config()
  config.batch_size = 32_768
  # 40e9 examples in batches of 32,768, as the published weights have seen.
  config.total_steps = 1_220_703

  config.data.image_size = 224
  config.data.num_tokens = 64
  config.data.vocab_size = 32_000

  config.model.embed_dim = 768
  # Recomputed layers, a chip's batch in eight parts: room for a batch of 16,384
  # on 4 TPU v4 chips (benchmarks/plan.py).
  config.model.remat = "block"
  config.model.remat_chunks = 8
  image = config.model.image
  image.patch_size = 16
  image.width = 768
  image.depth = 12
  image.num_heads = 12
  image.mlp_width = 3072
  image.pool = "map"
  image.projection = False  # width is embed_dim
  text = config.model.text
  text.width = 768
  text.depth = 12
  text.num_heads = 12
  text.mlp_width = 3072
  text.pool = "last"
  text.mask_padding = False
  text.projection = True
  text.projection_bias = True

  # The paper's table 3 models; its optimizer is Adafactor by default (a form
  # with a first moment), and AdamW has the same b2 there. The length of the
  # warm-up is a guess: it was not found in a source.
  config.optimizer.learning_rate = 1e-3
  config.optimizer.warmup_steps = 10_000
  config.optimizer.b2 = 0.95
  config.optimizer.moment_dtype = "bfloat16"
  config.optimizer.weight_decay = 1e-4
  config.optimizer.weight_decay_convention = "schedule"  # big_vision's

  config.checkpoint.every_steps = 5000
  config.log_every_steps = 50
  # The emoji source's splits mean nothing here.
  config.evaluate.retrieval = ()
  config.evaluate.zero_shot = ()
  return config
