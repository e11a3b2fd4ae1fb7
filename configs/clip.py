"""CLIP (arXiv 2103.00020): OpenAI's five ResNets and four Vision Transformers.

  vit_b32 vit_b16 vit_l14 vit_l14_336 rn50 rn101 rn50x4 rn50x16 rn50x64, mini
Data: the paper's 400 M pairs (WIT) are not public; 32 epochs, 12.8e9 pairs
  seen, in batches of 32,768. Yours are WebDataset tars:
  --config.data.sources.main.path="PATH/{00000..00999}.tar". vit_l14_336 is one
  more epoch of vit_l14 at 336 pixels (section 3.1.3; give its run with
  --config.init_from). The tokenizer needs OpenAI's vocabulary:
  --config.data.tokenizer_path=FILE.
Augmentation: the shorter side resized to the model's size, then a random square
  crop, nothing else (section 2.3; github.com/openai/CLIP/issues/33).
Learning rates, b2 and epsilon of each model (tables 18 to 20) are from memory
  of the paper and were not read again.
Command:
  python main.py --config=configs/clip.py:vit_b32 --workdir=runs/clip_b32 \
    --config.data.sources.main.path="PATH/{00000..00999}.tar" \
    --config.data.tokenizer_path=bpe_simple_vocab_16e6.txt.gz
Hardware: the paper trained vit_l14 on 256 V100 for 12 days, rn50x64 on 592 V100
  for 18 days (section 2.5).
Expected: not yet run. The published weights have ImageNet zero-shot 63.4
  (vit_b32), 68.3 (vit_b16), 75.5 (vit_l14) as MetaCLIP measured them (arXiv
  2309.16671, table 4).
`mini`: ViT and text tower of 64 channels on emoji, one minute on 2 CPU cores.
"""

import dataclasses

import ml_collections

from configs import base
from configs.parts import clip_towers, tower_sizes, towers, variants, web

_EXAMPLES = 400e6 * 32


@dataclasses.dataclass(frozen=True)
class ViT:
  """A variant with a Vision Transformer."""

  size: str
  patch_size: int
  embed_dim: int
  text_width: int
  num_parameters: int  # parameters of the published weights, with the scale
  learning_rate: float
  image_size: int = 224
  num_examples: float = _EXAMPLES

  def set(self, config: ml_collections.ConfigDict) -> None:
    clip_towers.set_vit(config, self.size, self.patch_size, self.image_size)
    config.optimizer.b2 = 0.98
    config.optimizer.epsilon = 1e-6


@dataclasses.dataclass(frozen=True)
class ResNet:
  """A variant with a modified ResNet (section 2.4)."""

  depths: tuple[int, int, int, int]
  width: int
  embed_dim: int
  text_width: int
  num_parameters: int
  learning_rate: float
  image_size: int = 224
  num_examples: float = _EXAMPLES

  def set(self, config: ml_collections.ConfigDict) -> None:
    config.data.image_size = self.image_size
    image = config.model.image = towers.resnet(config.data)
    config.partition_rules = (
      *towers.CONV_PARTITION_RULES,
      *config.partition_rules,
    )
    image.depths = self.depths
    image.width = self.width
    image.num_heads = self.width // 2  # 32 x width channels, heads of 64
    config.optimizer.b2 = 0.999
    config.optimizer.epsilon = 1e-8


VARIANTS: dict[str, ViT | ResNet] = {
  "vit_b32": ViT("B", 32, 512, 512, 151_277_313, 5e-4),
  "vit_b16": ViT("B", 16, 512, 512, 149_620_737, 5e-4),
  "vit_l14": ViT("L", 14, 768, 768, 427_616_513, 4e-4),
  "vit_l14_336": ViT("L", 14, 768, 768, 427_944_193, 2e-5, 336, 400e6),
  "rn50": ResNet((3, 4, 6, 3), 64, 1024, 512, 102_007_137, 5e-4),
  "rn101": ResNet((3, 4, 23, 3), 64, 512, 512, 119_688_033, 5e-4),
  "rn50x4": ResNet((4, 6, 10, 6), 80, 640, 640, 178_300_601, 5e-4, 288),
  "rn50x16": ResNet((6, 8, 18, 8), 96, 768, 768, 290_979_217, 4e-4, 384),
  "rn50x64": ResNet((3, 15, 36, 10), 128, 1024, 1024, 623_258_305, 3.6e-4, 448),
}
VARIANT_NAMES = (*VARIANTS, "mini")


def get_config(arg: str = "vit_b32") -> ml_collections.ConfigDict:
  """Return the recipe of a variant.

  Raises:
    ValueError: no variant has this name.
  """
  config = base.get_config()
  if arg == "mini":
    clip_towers.set_mini(config, "quick_gelu")
    return config
  variant = variants.pick(__file__, arg, VARIANTS, mini=True)
  web.set_examples(config, batch_size=32_768, num_examples=variant.num_examples)
  clip_towers.set_adamw(
    config, learning_rate=variant.learning_rate, warmup_steps=2000
  )
  variant.set(config)
  clip_towers.set_text(config, tower_sizes.clip_text(variant.text_width))
  clip_towers.set_model(config, variant.embed_dim, "quick_gelu")
  config.data.augmentation.resize = "shortest"
  return config
