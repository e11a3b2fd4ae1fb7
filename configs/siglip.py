"""SigLIP (arXiv 2303.15343): towers and recipe of its released models.

  b16 b16_256 b16_384 b16_512 l16_256 l16_384 so400m14 so400m14_384   English
  b16_i18n_256 so400m16_i18n_256                             100+ languages
  mini
Data: WebLI is not public. Yours are WebDataset tars:
  --config.data.sources.main.path="PATH/{00000..00999}.tar"; for i18n,
  --config.data.languages and the source's language or language_field. The
  captions' tokenizer (C4 English SentencePiece, 32,000 tokens; i18n: mC4,
  250,000) needs its file: --config.data.tokenizer_path=FILE.
Augmentation: none is stated. Images of any shape are resized to a square, as in
  big_vision's demo of these models (resize(224)); bilinear as there, but
  antialiased, unlike TensorFlow's default.
Command:
  python main.py --config=configs/siglip.py:b16 --workdir=runs/siglip_b16 \
    --config.data.sources.main.path="PATH/{00000..00999}.tar" \
    --config.data.tokenizer_path=c4_en.model
  python main.py --task=plan --config=configs/siglip.py:b16 \
    --topology=v5e:16x16
Hardware: the paper trained b16 on 32 TPU v4 chips for 2 and for 5 days.
Expected: not yet run. The paper's: ImageNet zero-shot 72.1 after 2 days (table
  1). The published weights after 40e9 examples (table 3; b16 at 224 pixels
  76.2, at 256 76.7, at 384 78.6, at 512 79.2; L/16 80.5 and 82.1; So400m/14 at
  384 83.2). Models of other sizes than 224 (b16) and 256 train for 5e9 more
  examples from the size before, at a hundredth of the rate, without decay: name
  that run with --config.init_from.
"""

import dataclasses

import ml_collections

from configs import base
from configs.parts import mini, tower_sizes, variants, web


@dataclasses.dataclass(frozen=True)
class Variant:
  """A released model.

  Attributes:
    num_parameters: parameters of the published weights (open_clip 3.3.0's
      model), scale and bias included.
    is_longer: whether training continues the same tower at fewer pixels.
  """

  size: str
  patch_size: int
  image_size: int
  num_parameters: int
  num_tokens: int = 64
  is_multilingual: bool = False
  has_projection: bool = True
  is_longer: bool = False


VARIANTS = {
  "b16": Variant("B", 16, 224, 203_155_970),
  "b16_256": Variant("B", 16, 256, 203_202_050),
  "b16_384": Variant("B", 16, 384, 203_447_810, is_longer=True),
  "b16_512": Variant("B", 16, 512, 203_791_874, is_longer=True),
  "l16_256": Variant("L", 16, 256, 652_150_786),
  "l16_384": Variant("L", 16, 384, 652_478_466, is_longer=True),
  "so400m14": Variant("So400m", 14, 224, 877_360_306, num_tokens=16),
  "so400m14_384": Variant("So400m", 14, 384, 877_960_498, is_longer=True),
  "b16_i18n_256": Variant("B", 16, 256, 370_626_050, is_multilingual=True),
  "so400m16_i18n_256": Variant(
    "So400m",
    16,
    256,
    1_127_430_706,
    is_multilingual=True,
    has_projection=False,
  ),
}
VARIANT_NAMES = (*VARIANTS, "mini")


def get_config(arg: str = "b16") -> ml_collections.ConfigDict:
  """Return the recipe of a variant.

  Raises:
    ValueError: no variant has this name.
  """
  if arg == "mini":
    return _mini()
  variant = variants.pick(__file__, arg, VARIANTS, mini=True)
  config = base.get_config()
  set_recipe(config, num_examples=5e9 if variant.is_longer else 40e9)
  # The length of the warm-up is a guess: no source states it.
  config.optimizer.warmup_steps = 10_000
  if variant.is_longer:
    config.optimizer.learning_rate = 1e-5
    config.optimizer.weight_decay = 0.0

  config.data.tokenizer = "siglip_train"
  config.data.image_size = variant.image_size
  config.data.num_tokens = variant.num_tokens
  config.data.vocab_size = 250_000 if variant.is_multilingual else 32_000
  width = tower_sizes.VIT[variant.size]["width"]
  set_towers(
    config, tower_sizes.VIT[variant.size], tower_sizes.VIT[variant.size], width
  )
  config.model.image.patch_size = variant.patch_size
  config.model.text.projection = variant.has_projection
  return config


def set_towers(
  config: ml_collections.ConfigDict,
  image_size: tower_sizes.Fields,
  text_size: tower_sizes.Fields,
  embed_dim: int,
) -> None:
  """Set SigLIP's towers: attention pooling for images, last token for text."""
  config.model.embed_dim = embed_dim
  image = config.model.image
  image.update(image_size)
  if image.tower == "vit":  # NaFlex has no other pool
    image.pool = "map"
  image.projection = False  # width is embed_dim
  text = config.model.text
  text.update(text_size)
  # Captions are padded to the end, and attention includes all positions.
  text.pool = "last"
  text.mask_padding = False
  text.projection = True
  text.projection_bias = True


def set_recipe(
  config: ml_collections.ConfigDict, *, num_examples: float
) -> None:
  """Set batch, length and optimizer of a run over web pairs.

  It is the recipe of the paper's models in table 3. Its default optimizer is
  Adafactor (a form with a first moment); AdamW has the same b2 there.
  """
  web.set_examples(config, batch_size=32_768, num_examples=num_examples)
  config.data.augmentation.resize = "squash"
  config.data.augmentation.interpolation = "bilinear"
  config.optimizer.learning_rate = 1e-3
  config.optimizer.b2 = 0.95
  config.optimizer.moment_dtype = "bfloat16"
  config.optimizer.weight_decay = 1e-4
  config.optimizer.weight_decay_convention = "schedule"  # as in big_vision
  # With layers recomputed and a chip's batch in eight parts, a batch of 16,384
  # fits on 4 TPU v4 chips (benchmarks/plan.py).
  config.model.remat_chunks = 8


def _mini() -> ml_collections.ConfigDict:
  config = base.get_config()
  set_recipe(config, num_examples=40e9)
  set_towers(config, mini.TRANSFORMER, mini.TRANSFORMER, 64)
  mini.shrink(config)
  return config
