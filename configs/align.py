"""ALIGN (arXiv 2102.05918), and COYO-ALIGN, which published its weights.

  l2_large     the paper's: EfficientNet-L2 and BERT-large, from scratch
  coyo_b7_base COYO's: EfficientNet-B7 and BERT-base; the published weights
  b7_base b5_base b3_mini      the paper's ablations; b3_mini is its CC3M model
  mini
Data: 1.8e9 pairs, not public; COYO-700M is, as URLs, which img2dataset makes
  tars of: --config.data.sources.main.path="PATH/{00000..00999}.tar". The
  tokenizer needs a WordPiece vocabulary: --config.data.tokenizer_path=FILE
  (the paper's own has 100,000 entries and was not released; COYO uses
  bert-base-uncased's 30,522).
Recipe (section 5.1): resized to 346 x 346, random crop of 289 x 289, mirrored;
  LAMB, decay 1e-5, 10,000 warm-up steps to 1e-3, linear to 0 over 1.2 M steps,
  batch 16,384; label smoothing 0.1; a temperature initialised to 1. The paper's
  loss is the sum of both directions, ours their mean: LAMB is invariant to the
  factor. BatchNorm's statistics are those of 16 images, as on its 1,024 cores.
  COYO: batch 65,536, rate 2e-3, 40,000 warm-up steps, 300,000 steps.
Command:
  python main.py --config=configs/align.py:coyo_b7_base --workdir=runs/align \
    --config.data.sources.main.path="PATH/{00000..00999}.tar" \
    --config.data.tokenizer_path=vocab.txt
Hardware: 1,024 TPU v3 cores (the paper); v3-1024 (COYO).
Expected: not yet run. ImageNet zero-shot 76.4 (l2_large); COCO R@1 i2t / t2i:
  58.6 / 45.6 (l2_large), 61.2 / 43.1 (coyo_b7_base), 55.4 / 41.7 (b7_base),
  22.1 / 17.3 (b3_mini on CC3M).
"""

import dataclasses

import ml_collections

from configs import base
from configs.parts import mini, tower_sizes, towers, variants, web


@dataclasses.dataclass(frozen=True)
class Variant:
  """A pair of towers and a run.

  Attributes:
    image: key of sizes.EFFICIENTNET.
    has_projection: whether a linear map follows the image's pooled channels
      (the ablations' embeddings have length 640; B7 has as many channels).
    num_parameters: parameters of the published weights, None without any:
      172,117,841 less an unused pooler (590,592) and 448 of 512 positions
      (344,064), as captions have at most 64 tokens.
  """

  image: str
  text: str
  embed_dim: int
  has_projection: bool
  vocab_size: int = 100_000
  batch_size: int = 16_384
  total_steps: int = 1_200_000
  warmup_steps: int = 10_000
  learning_rate: float = 1e-3
  num_parameters: int | None = None


VARIANTS = {
  "l2_large": Variant("l2", "large", 1376, False),
  "coyo_b7_base": Variant(
    "b7",
    "base",
    640,
    False,
    30_522,
    65_536,
    300_000,
    40_000,
    2e-3,
    171_183_185,
  ),
  "b7_base": Variant("b7", "base", 640, False),
  "b5_base": Variant("b5", "base", 640, True, total_steps=1_000_000),
  "b3_mini": Variant("b3", "mini", 640, True),
}
VARIANT_NAMES = (*VARIANTS, "mini")


def get_config(arg: str = "coyo_b7_base") -> ml_collections.ConfigDict:
  """Return the recipe of a variant.

  Raises:
    ValueError: no variant has this name.
  """
  if arg == "mini":
    return _mini()
  variant = variants.pick(__file__, arg, VARIANTS, mini=True)
  config = base.get_config()
  web.set_run(
    config, batch_size=variant.batch_size, total_steps=variant.total_steps
  )

  config.data.image_size = 289
  config.data.num_tokens = 64
  config.data.tokenizer = "wordpiece"
  config.data.vocab_size = variant.vocab_size
  config.data.augmentation.resize = "squash"
  config.data.augmentation.resize_size = 346
  # Bilinear, as in the evaluation of the published weights (image_protocols.py,
  # "align").
  config.data.augmentation.interpolation = "bilinear"
  config.data.augmentation.flip_probability = 0.5

  _set_towers(config, tower_sizes.BERT[variant.text], variant.embed_dim)
  config.model.image.update(tower_sizes.EFFICIENTNET[variant.image])
  config.model.image.projection = variant.has_projection
  config.optimizer.learning_rate = variant.learning_rate
  config.optimizer.warmup_steps = variant.warmup_steps
  return config


def _set_towers(
  config: ml_collections.ConfigDict,
  text_size: tower_sizes.Fields,
  embed_dim: int,
) -> None:
  """Set the towers, the loss and LAMB."""
  config.model.embed_dim = embed_dim
  config.model.image = towers.efficientnet(config.data)
  config.model.image.head_width = 0
  config.model.image.projection_bias = True
  config.model.image.batch_norm_group = 16
  config.partition_rules = (
    *towers.CONV_PARTITION_RULES,
    *config.partition_rules,
  )
  config.model.text = towers.bert(config.data)
  config.model.text.update(text_size)
  config.model.text.pool = "cls"
  config.model.scale_init = 1.0
  config.model.bias_init = 0.0
  config.loss.name = "softmax"
  config.loss.label_smoothing = 0.1

  config.optimizer.name = "lamb"
  config.optimizer.b2 = 0.999
  config.optimizer.epsilon = 1e-6
  config.optimizer.schedule = "linear"
  config.optimizer.clip_norm = 0.0
  config.optimizer.weight_decay = 1e-5
  # COYO-ALIGN decays all parameters except those of batch normalisation.
  config.optimizer.weight_decay_mults = (
    (r"img/.*norm/.*", 0.0),
    (r".*", 1.0),
  )


def _mini() -> ml_collections.ConfigDict:
  config = base.get_config()
  _set_towers(config, mini.TRANSFORMER, 64)
  mini.shrink(config)
  image = config.model.image
  image.stem_width = 16
  image.stages = ((1, 3, 1, 1, 16), (1, 3, 2, 4, 32), (2, 3, 2, 4, 64))
  image.drop_path = 0.0
  config.optimizer.learning_rate = 1e-2
  return config
