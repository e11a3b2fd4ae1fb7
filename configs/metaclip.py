"""MetaCLIP (arXiv 2309.16671) and MetaCLIP 2 (arXiv 2507.22062).

  vit_b32 vit_b16 vit_l14 vit_h14 vit_bigg14    English, CLIP's vocabulary
  worldwide_l14 worldwide_h14 worldwide_h14_378 worldwide_bigg14, mini
                                                300+ languages, XLM-V (l14: mT5)
Data: web pairs balanced by t (curation is another task of this project); 12.8e9
  pairs seen in batches of 32,768, for any size of the pool; worldwide:
  29e9 in batches of 75,264. Yours are WebDataset tars:
  --config.data.sources.main.path="PATH/{0..999}.tar"; for worldwide captions,
  --config.data.languages and the source's language or language_field. The
  tokenizer needs a file: --config.data.tokenizer_path=, OpenAI's vocabulary or
  XLM-V's folder.
Augmentation: a random part of 0.9 to 1.0 of the area (its released code,
  src/mini_clip/transform.py), as open_clip's.
Recipe: its section 4 and the released configs: AdamW, b2 0.98, epsilon 1e-6,
  decay 0.2, 2,000 warm-up steps, cosine to 0, QuickGELU, scale at most 100;
  worldwide: b2 0.95, decay 0.1.
Command:
  python main.py --config=configs/metaclip.py:vit_b32 --workdir=runs/metaclip \
    --config.data.sources.main.path="PATH/{0..999}.tar" \
    --config.data.tokenizer_path=bpe_simple_vocab_16e6.txt.gz
Hardware: not stated for the English models.
Expected: not yet run. The paper's ImageNet zero-shot with t=20k (400 M pairs):
  65.5, 70.8, 76.2 for B/32, B/16, L/14; with t=170k (2.5 B pairs): 67.6, 72.1,
  79.2, and 80.5 for H/14, 82.1 for bigG/14.
"""

import dataclasses

import ml_collections

from configs import base
from configs.parts import clip_towers, tower_sizes, variants, web


@dataclasses.dataclass(frozen=True)
class Variant:
  """A model and the fields in which its recipe differs.

  Attributes:
    num_parameters: parameters of open_clip 3.3.0's model of this size.
    is_worldwide: whether it has MetaCLIP 2's vocabulary and recipe (stated for
      H/14 at 224 pixels).
    activation: activation of the published weights, by open_clip 3.3.0's list.
  """

  size: str
  patch_size: int
  embed_dim: int
  num_parameters: int
  learning_rate: float
  text_depth: int = 12
  is_worldwide: bool = False
  image_size: int = 224
  activation: str = "quick_gelu"


VARIANTS = {
  "vit_b32": Variant("B", 32, 512, 151_277_313, 5e-4),
  "vit_b16": Variant("B", 16, 512, 149_620_737, 5e-4),
  "vit_l14": Variant("L", 14, 768, 427_616_513, 4e-4),
  "vit_h14": Variant("H", 14, 1024, 986_109_441, 4e-4, 24),
  "vit_bigg14": Variant("bigG", 14, 1280, 2_539_567_105, 4e-4, 32),
  "worldwide_l14": Variant("L", 14, 768, 581_747_969, 4e-4, 12, True),
  "worldwide_h14": Variant("H", 14, 1024, 1_858_783_745, 4e-4, 24, True),
  "worldwide_h14_378": Variant(
    "H", 14, 1024, 1_859_389_185, 4e-4, 24, True, 378, "gelu"
  ),
  "worldwide_bigg14": Variant(
    "bigG", 14, 1280, 3_630_409_985, 4e-4, 32, True, activation="gelu"
  ),
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
  web.set_examples(
    config,
    batch_size=75_264 if variant.is_worldwide else 32_768,
    num_examples=29e9 if variant.is_worldwide else 12.8e9,
  )
  clip_towers.set_adamw(
    config,
    learning_rate=variant.learning_rate,
    warmup_steps=2000,
    b2=0.95 if variant.is_worldwide else 0.98,
    weight_decay=0.1 if variant.is_worldwide else 0.2,
  )
  clip_towers.set_vit(
    config, variant.size, variant.patch_size, variant.image_size
  )
  clip_towers.set_text(
    config, tower_sizes.clip_text(variant.embed_dim, variant.text_depth)
  )
  clip_towers.set_model(config, variant.embed_dim, variant.activation)
  web.set_open_clip_crop(config)
  if variant.is_worldwide:
    config.data.tokenizer = "hf"
    text = config.model.text
    if arg == "worldwide_l14":  # google/mt5-base: <pad> 0, </s> 1
      config.data.vocab_size, text.pad_id, text.eot_id = 250_100, 0, 1
    else:  # facebook/xlm-v-base: <s> 0, <pad> 1, </s> 2
      config.data.vocab_size, text.pad_id, text.eot_id = 901_629, 1, 2
  return config
