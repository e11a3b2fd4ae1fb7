"""UniCL (arXiv 2204.03610): Swin-T and Swin-B beside CLIP's text tower.

  swin_t swin_b    the released towers, at 224 px; mini
Data: ImageNet-21K, as pairs of an image and a class name in a template, and
  YFCC-14M; Swin-B also GCC-15M. Yours are WebDataset tars:
  --config.data.sources.main.path="PATH/{00000..00999}.tar", and more sources
  beside "main" (docs/data.md). Pairs whose texts are equal are each other's
  match. The tokenizer needs OpenAI's vocabulary:
  --config.data.tokenizer_path=FILE.
Recipe: github.com/microsoft/UniCL, config.py and configs/*.yaml: 32 epochs, 5
  of warmup, AdamW (0.9, 0.999, 1e-8), decay 0.1 of matrices, a rate of 5e-4 for
  each 512 pairs, cosine to a hundredth of it, gradients clipped at 5; drop-path
  0.2 and 0.5; a scale that begins at e and has no limit; ImageNet's mean and
  deviation; timm's augmentation: a random part of 8 to 100 % of the area,
  mirrored, RandAugment of magnitude 9, erasing in 25 %. Released models were
  trained without mix-up and cut-mix (its README), which are not here.
Ours, as the code leaves them out: the batch size (8 devices of its default of
  128), the length of an epoch (28 M pairs), RandAugment's magnitude without
  noise, and that the tables of positions and tokens do not decay: the code
  names them so, but under another tower's name.
Command:
  python main.py --config=configs/unicl.py:swin_t --workdir=runs/unicl \
    --config.data.sources.main.path="PATH/{00000..00999}.tar" \
    --config.data.tokenizer_path=bpe_simple_vocab_16e6.txt.gz
Hardware: not stated.
Expected: not yet run. Its README, ImageNet zero-shot top-1 and mean of 14 sets:
  Swin-T 40.5 and 49.1, Swin-B 44.3 and 52.2 (ImageNet-21K and YFCC-14M); Swin-B
  52.2 top-1 and 43.2 on 20 sets with GCC-15M too.
Weights: the released state dicts, saved as safetensors (docs/models.md):
  --config.init_from=FILE.
"""

import dataclasses
import math

import ml_collections

from configs import base
from configs.parts import clip_towers, mini, tower_sizes, towers, variants, web

# timm's IMAGENET_DEFAULT_MEAN and STD.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
BATCH_SIZE = 1024
_EPOCHS, _WARMUP_EPOCHS = 32, 5
_EPOCH_EXAMPLES = 28e6


@dataclasses.dataclass(frozen=True)
class Variant:
  """An image tower, and the size of the whole model.

  Attributes:
    image: key of tower_sizes.SWIN.
    num_parameters: parameters of transformers 5.24.0's SwinModel of this size
      (27,519,354 and 86,743,224), of the projection to 512, and of CLIP B/32's
      text tower and scale (63,428,097).
  """

  image: str
  drop_path: float
  num_parameters: int


VARIANTS = {
  "swin_t": Variant("T", 0.2, 91_340_667),
  "swin_b": Variant("B", 0.5, 150_695_609),
}
VARIANT_NAMES = (*VARIANTS, "mini")


def get_config(arg: str = "swin_t") -> ml_collections.ConfigDict:
  """Return the recipe of a variant.

  Raises:
    ValueError: no variant has this name.
  """
  config = base.get_config()
  if arg == "mini":
    return _mini(config)
  variant = variants.pick(__file__, arg, VARIANTS, mini=True)
  web.set_examples(
    config, batch_size=BATCH_SIZE, num_examples=_EPOCHS * _EPOCH_EXAMPLES
  )
  config.data.image_size = 224
  _set_towers(config, tower_sizes.clip_text(512), 512)
  config.model.image.update(tower_sizes.SWIN[variant.image])
  config.model.image.drop_path = variant.drop_path
  config.optimizer.learning_rate = 5e-4 * BATCH_SIZE / 512
  config.optimizer.warmup_steps = round(
    config.total_steps * _WARMUP_EPOCHS / _EPOCHS
  )
  web.set_open_clip_crop(config, 0.08)
  augmentation = config.data.augmentation
  augmentation.flip_probability = 0.5
  augmentation.randaug_layers = 2
  augmentation.randaug_magnitude = 9.0
  augmentation.erase_probability = 0.25
  return config


def _set_towers(
  config: ml_collections.ConfigDict, text: tower_sizes.Fields, embed_dim: int
) -> None:
  """Set the towers, UniCL's loss and its AdamW."""
  config.model.image = towers.swin(config.data)
  config.partition_rules = (
    *towers.SWIN_PARTITION_RULES,
    *config.partition_rules,
  )
  clip_towers.set_text(config, text)
  clip_towers.set_model(config, embed_dim, "quick_gelu")
  config.model.image.activation = "gelu"
  config.model.text.norm_epsilon = 1e-12
  config.model.image_mean = _MEAN
  config.model.image_std = _STD
  config.model.scale_init = math.e
  config.model.scale_max = 0.0
  config.loss.name = "unicl"
  optimizer = config.optimizer
  optimizer.b2 = 0.999
  optimizer.epsilon = 1e-8
  optimizer.weight_decay = 0.1
  optimizer.clip_norm = 5.0
  optimizer.final_fraction = 0.01


def _mini(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  _set_towers(config, mini.TRANSFORMER, 64)
  mini.shrink(config)
  config.model.text.eot_id = 1  # end of text of the tokenizer "bpe"
  config.model.image.update(
    widths=(32, 64), depths=(2, 2), num_heads=(2, 4), windows=(4, 4)
  )
  config.model.image.drop_path = 0.0
  return config
