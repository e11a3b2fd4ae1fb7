"""OpenCLIP: the models of LAION and DataComp (arXiv 2212.07143, 2304.14108).

  vit_s32 vit_s16 vit_m32 vit_m16 vit_b32 vit_b32_256 vit_b16 vit_b16_plus_240
  vit_l14 vit_h14 vit_g14 vit_bigg14        towers as released for LAION
  datacomp_small datacomp_medium datacomp_large datacomp_xlarge
                                            towers and recipes of DataComp
  convnext_base convnext_base_w convnext_base_w_320 convnext_large_d
  convnext_large_d_320                      ConvNeXt towers
  coca_vit_b32 coca_vit_l14                 CoCa's contrastive half
  mini
Data: LAION-400M, LAION-2B (re-LAION today), CommonPool and DataComp-1B, all
  lists of URLs, which img2dataset downloads into tars:
  --config.data.sources.main.path="PATH/{00000..41407}.tar". The tokenizer
  needs OpenAI's vocabulary: --config.data.tokenizer_path=FILE.
Augmentation: a random part of 0.9 to 1.0 of the area (open_clip's default);
  convnext_large_d 0.33 to 1.0, its 320 pixels 0.5 to 1.0, by their model
  cards; these also erase a random box in 35 and 40 % of the images. The former
  had a dropout of 0.1 in its head too, which is not in this project.
Recipes: LAION's scaling-law table (github.com/LAION-AI/scaling-laws-openclip,
  trained_models_info.csv); DataComp's scale_configs.py; open_clip's defaults
  for betas, epsilon and decay. A tower without a row in these (S, M, B/32-256,
  B/16+, bigG, ConvNeXt, CoCa) takes the row of the next tower in size; such
  rows are marked `of=`.
Command:
  python main.py --config=configs/openclip.py:vit_b32 --workdir=runs/b32 \
    --config.data.sources.main.path="PATH/{00000..41407}.tar" \
    --config.data.tokenizer_path=bpe_simple_vocab_16e6.txt.gz
Hardware: A100 40 GB, in the numbers of EXPECTED.
Expected: not yet run; EXPECTED has the published ImageNet zero-shot figures.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import ml_collections

from configs import base
from configs.parts import clip_towers, tower_sizes, towers, variants, web


@dataclasses.dataclass(frozen=True)
class Recipe:
  """A row of a published table of runs."""

  batch_size: int
  learning_rate: float
  warmup_steps: int
  num_examples: float
  b2: float = 0.98


@dataclasses.dataclass(frozen=True)
class Variant:
  """A model, its recipe, and the size of the published weights.

  Attributes:
    image: fields of the image tower.
    num_parameters: parameters of open_clip 3.3.0's model, without CoCa's
      decoder.
    of: variant whose recipe is taken if none was published.
    is_coca: whether the towers are CoCa's, trained without its captioning loss.
    lowest_area: lowest share of the image's area in a crop.
    erase_probability: probability that a random box of an image is erased.
  """

  tower: str
  image: Mapping[str, Any]
  image_size: int
  embed_dim: int
  text_width: int
  num_parameters: int
  recipe: Recipe
  text_depth: int = 12
  of: str = ""
  is_coca: bool = False
  lowest_area: float = 0.9
  erase_probability: float = 0.0


_B32 = Recipe(79_104, 1e-3, 2000, 34e9)
_B16 = Recipe(88_064, 1e-3, 10_000, 34e9)
_L14 = Recipe(86_016, 1e-3, 10_000, 34e9)
_H14 = Recipe(79_104, 5e-4, 2000, 34e9)
_G14 = Recipe(64_000, 5e-4, 2000, 13e9)
_SMALL = Recipe(4096, 5e-4, 500, 12.8e6)
_MEDIUM = Recipe(4096, 5e-4, 500, 128e6)
_LARGE = Recipe(8192, 5e-4, 500, 1.28e9)
_XLARGE = Recipe(90_112, 1e-3, 10_000, 12.8e9, b2=0.95)

# Name -> (data, pairs seen, A100s, ImageNet zero-shot top-1 in %).
EXPECTED = {
  "vit_b32": ("LAION-2B", 34e9, 824, 66.47),
  "vit_b16": ("LAION-2B", 34e9, 344, 70.22),
  "vit_l14": ("LAION-2B", 34e9, 384, 75.20),
  "vit_h14": ("LAION-2B", 34e9, 824, 77.97),
  "vit_g14": ("LAION-2B", 13e9, 800, 76.66),
  "datacomp_small": ("DataComp-1B's part of small", 12.8e6, None, 3.9),
  "datacomp_medium": ("DataComp-1B's part of medium", 128e6, None, 29.7),
  "datacomp_large": ("DataComp-1B's part of large", 1.28e9, None, 63.1),
  "datacomp_xlarge": ("DataComp-1B", 12.8e9, 512, 79.2),
}


def _vit(
  size: str, patch_size: int, *args, image_size=224, **fields
) -> Variant:
  image = {**tower_sizes.VIT[size], "patch_size": patch_size}
  return Variant("vit", image, image_size, *args, **fields)


def _convnext(
  depths: tuple[int, ...], widths: tuple[int, ...], head: str, *args, **fields
) -> Variant:
  image = {"depths": depths, "widths": widths, "head": head}
  return Variant("convnext", image, *args, recipe=_B16, of="vit_b16", **fields)


def _coca(*args, **fields) -> Variant:
  variant = _vit(*args, **fields)
  return dataclasses.replace(
    variant, image={**variant.image, "pool": "queries"}, is_coca=True
  )


_CONVNEXT_BASE = ((3, 3, 27, 3), (128, 256, 512, 1024), "linear")
_CONVNEXT_LARGE = ((3, 3, 27, 3), (192, 384, 768, 1536), "mlp")
VARIANTS: dict[str, Variant] = {
  "vit_s32": _vit("S", 32, 384, 384, 63_085_825, _B32, of="vit_b32"),
  "vit_s16": _vit("S", 16, 384, 384, 62_257_537, _B16, of="vit_b16"),
  "vit_m32": _vit("M", 32, 512, 512, 103_119_873, _B32, of="vit_b32"),
  "vit_m16": _vit("M", 16, 512, 512, 102_015_489, _B16, of="vit_b16"),
  "vit_b32": _vit("B", 32, 512, 512, 151_277_313, _B32),
  "vit_b32_256": _vit(
    "B", 32, 512, 512, 151_288_833, _B32, image_size=256, of="vit_b32"
  ),
  "vit_b16": _vit("B", 16, 512, 512, 149_620_737, _B16),
  # 896 channels, as in no other model.
  "vit_b16_plus_240": Variant(
    "vit",
    {
      "width": 896,
      "depth": 12,
      "num_heads": 14,
      "mlp_width": 3584,
      "patch_size": 16,
    },
    240,
    640,
    640,
    208_377_345,
    _B16,
    of="vit_b16",
  ),
  "vit_l14": _vit("L", 14, 768, 768, 427_616_513, _L14),
  "vit_h14": _vit("H", 14, 1024, 1024, 986_109_441, _H14, text_depth=24),
  "vit_g14": _vit("g", 14, 1024, 1024, 1_366_678_273, _G14, text_depth=24),
  "vit_bigg14": _vit(
    "bigG", 14, 1280, 1280, 2_539_567_105, _H14, text_depth=32, of="vit_h14"
  ),
  "datacomp_small": _vit("B", 32, 512, 512, 151_277_313, _SMALL),
  "datacomp_medium": _vit("B", 32, 512, 512, 151_277_313, _MEDIUM),
  "datacomp_large": _vit("B", 16, 512, 512, 149_620_737, _LARGE),
  "datacomp_xlarge": _vit("L", 14, 768, 768, 427_616_513, _XLARGE),
  "convnext_base": _convnext(*_CONVNEXT_BASE, 224, 512, 512, 151_518_849),
  "convnext_base_w": _convnext(*_CONVNEXT_BASE, 256, 640, 640, 179_385_345),
  "convnext_base_w_320": _convnext(*_CONVNEXT_BASE, 320, 640, 640, 179_385_345),
  "convnext_large_d": _convnext(
    *_CONVNEXT_LARGE,
    256,
    768,
    768,
    351_772_609,
    text_depth=16,
    lowest_area=0.33,
    erase_probability=0.35,
  ),
  "convnext_large_d_320": _convnext(
    *_CONVNEXT_LARGE,
    320,
    768,
    768,
    351_772_609,
    text_depth=16,
    lowest_area=0.5,
    erase_probability=0.4,
  ),
  "coca_vit_b32": _coca("B", 32, 512, 512, 152_592_641, _B32, of="vit_b32"),
  "coca_vit_l14": _coca("L", 14, 768, 768, 430_375_937, _L14, of="vit_l14"),
}
VARIANT_NAMES = (*VARIANTS, "mini")


def get_config(arg: str = "vit_b32") -> ml_collections.ConfigDict:
  """Return the recipe of a variant.

  Raises:
    ValueError: no variant has this name.
  """
  config = base.get_config()
  if arg == "mini":
    clip_towers.set_mini(config, "gelu")
    return config
  variant = variants.pick(__file__, arg, VARIANTS, mini=True)
  recipe = variant.recipe
  web.set_examples(
    config, batch_size=recipe.batch_size, num_examples=recipe.num_examples
  )
  clip_towers.set_adamw(
    config,
    learning_rate=recipe.learning_rate,
    warmup_steps=recipe.warmup_steps,
    b2=recipe.b2,
  )
  _set_image(config, variant)
  clip_towers.set_text(
    config, tower_sizes.clip_text(variant.text_width, variant.text_depth)
  )
  if variant.is_coca:
    # The tower's own cls token follows 76 tokens of the caption.
    config.data.num_tokens = 76
    config.model.text.pool = "cls"
    config.model.text.mask_padding = True
  clip_towers.set_model(config, variant.embed_dim, "gelu")
  web.set_open_clip_crop(config, variant.lowest_area)
  config.data.augmentation.erase_probability = variant.erase_probability
  return config


def _set_image(config: ml_collections.ConfigDict, variant: Variant) -> None:
  if variant.tower == "vit":
    clip_towers.set_vit(config, "B", 16, variant.image_size)
  else:
    config.data.image_size = variant.image_size
    config.model.image = towers.convnext(config.data)
  config.model.image.update(variant.image)
