"""LiT (arXiv 2111.07991): a locked image tower and a trained text tower.

  coco_b16_base     ViT-B/16 locked, BERT-base, COCO captions: the cheapest run
  b16_base l16_large    the same on CC12M and YFCC100M, mini
Any image tower of `models` can be locked, with any text tower: freeze
  "img/.*" and name the weights.
Data: COCO captions (train) as TFDS prepares them:
  --config.data.sources.main.format=tfds --config.data.sources.main.split=train
  --config.data.sources.main.path=FOLDER/coco_captions/2014/1.1.0; CC12M and
  YFCC100M as tars: --config.data.sources.main.path="PATH/{00000..01242}.tar".
  The tokenizer needs bert-base-uncased's vocabulary:
  --config.data.tokenizer_path=FILE.
Recipe: big_vision's lit_coco.py (commit 430df79): batch 4096, 5,000 steps, rate
  1e-3, decay 0.01, clipped at 1, cosine, 150 warm-up steps, a scale initialised
  to 10, 16 tokens, softmax; images resized to a square (bilinear; here
  antialiased), randomly mirrored, RandAugment(2, 10). The image tower is
  AugReg's ViT (ImageNet-21k) without its head, the text tower starts from BERT.
  The larger ones have 30,000 and 60,000 steps (README_lit.md); the rest of
  their recipe is not stated and is that of COCO here.
Command:
  python main.py --config=configs/lit.py:coco_b16_base --workdir=runs/lit \
    --config.init_image_from=PATH --config.init_text_from=PATH \
    --config.data.tokenizer_path=vocab.txt
Hardware: 64 TPU v4 chips, an eighth of a day (b16_base), a day (l16_large).
Expected: not yet run. ImageNet zero-shot 20.7, COCO R@1 i2t / t2i 47.2 / 32.1
  (coco_b16_base); 72.1 (b16_base), 75.7 (l16_large).
`mini` locks an image tower with random weights, unless --config.init_image_from
names some.
"""

import dataclasses

import ml_collections

from configs import base
from configs.parts import mini, tower_sizes, towers, variants, web


@dataclasses.dataclass(frozen=True)
class Variant:
  """A pair of towers and a length."""

  image: str
  text: str
  total_steps: int
  batch_size: int = 4096
  num_parameters: int | None = None


VARIANTS = {
  "coco_b16_base": Variant("B", "base", 5000),
  "b16_base": Variant("B", "base", 30_000),
  "l16_large": Variant("L", "large", 60_000),
}
VARIANT_NAMES = (*VARIANTS, "mini")


def get_config(arg: str = "coco_b16_base") -> ml_collections.ConfigDict:
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
  config.data.image_size = 224
  config.data.augmentation.resize = "squash"
  config.data.augmentation.interpolation = "bilinear"
  config.data.augmentation.flip_probability = 0.5
  config.data.augmentation.randaug_layers = 2
  config.data.augmentation.randaug_magnitude = 10.0
  config.data.num_tokens = 16
  config.data.tokenizer = "wordpiece_lit"
  config.data.vocab_size = 30_522
  _set_towers(
    config, tower_sizes.VIT[variant.image], tower_sizes.BERT[variant.text]
  )
  config.model.image.patch_size = 16
  config.optimizer.warmup_steps = 150
  return config


def _set_towers(
  config: ml_collections.ConfigDict,
  image_size: tower_sizes.Fields,
  text_size: tower_sizes.Fields,
) -> None:
  image = config.model.image
  image.update(image_size)
  image.pool = "cls"
  image.projection = False  # the text tower projects to the image's width
  image.activation = "gelu"
  config.model.embed_dim = image_size["width"]
  config.model.text = towers.bert(config.data)
  config.model.text.update(text_size)
  config.model.text.pool = "cls"
  config.model.text.projection = True
  config.model.text.projection_bias = True

  config.loss.name = "softmax"
  config.model.scale_init = 10.0
  config.model.bias_init = 0.0
  config.optimizer.name = "adamw"
  config.optimizer.learning_rate = 1e-3
  config.optimizer.weight_decay = 0.01
  config.optimizer.weight_decay_convention = "schedule"  # as in big_vision
  config.optimizer.clip_norm = 1.0
  config.optimizer.freeze = ((r"img/.*", True), (r".*", False))


def _mini() -> ml_collections.ConfigDict:
  config = base.get_config()
  _set_towers(config, mini.TRANSFORMER, mini.TRANSFORMER)
  mini.shrink(config)
  return config
