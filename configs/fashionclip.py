"""FashionCLIP: CLIP ViT-B/32 fine-tuned on products (arXiv 2204.03972).

  v1  begins with OpenAI's weights
  v2  begins with LAION-2B's (FashionCLIP 2.0)
Source: github.com/patrickjohncyh/fashion-clip, which has no code of training:
  rate, batch, warm-up and epochs are ours.
Data: Farfetch's 700,000 products were never released. The training source is
  any catalogue in the form that its code reads (layouts/fashionclip.py), beside
  KAGL, DeepFashion and F-MNIST, each in a folder of its own below one folder.
Command:
  python main.py --config=configs/fashionclip.py --workdir=runs/fashion \
    --config.data.sources.main.path=FASHION
Hardware: not published.
Expected: weighted F1 on F-MNIST, KAGL, DeepFashion 0.74, 0.67, 0.48 (v1), 0.83,
  0.73, 0.62 (v2), 0.66, 0.63, 0.45 of CLIP and 0.78, 0.71, 0.58 of LAION's
  (README there). Not yet run.
The paper's HIT@5 is R@5 of text_to_image. Its prompts, its names of KAGL (here
subCategory) and its held-out categories and brands were not read.
Miniature: experiments/fashionclip/README.md.
"""

from collections.abc import Mapping

import ml_collections

from configs import base
from configs.parts import clip_towers, domain, tower_sizes, variants, web
from evaluators.sets import kinds

# Variant -> weights that it begins with, and their activation.
VARIANTS = {
  "v1": ("openai/clip-vit-base-patch32", "quick_gelu"),
  "v2": ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "gelu"),
}
VARIANT_NAMES = (*VARIANTS,)
# Name of a set -> its layout and the column of its labels. Pairs are of each
# colour with each kind of article, so that a swapped attribute is an error.
_LABELLED = {
  "fmnist": ("fmnist@test", "kind"),
  "kagl": ("kagl", "subCategory"),
  "deepfashion": ("deepfashion@test", "category"),
  "kagl_pairs": ("kagl", "pair"),
}
_PROMPTS = ("a photo of a {c}.",)
_NUM_EXAMPLES = 5 * 700_000  # epochs, products


def get_config(arg: str = "v1") -> ml_collections.ConfigDict:
  """Return the recipe of a variant; ValueError where none has this name."""
  config = base.get_config()
  weights, activation = variants.pick(__file__, arg, VARIANTS)
  clip_towers.set_adamw(config, learning_rate=1e-5, warmup_steps=100)
  clip_towers.set_vit(config, "B", 32)
  clip_towers.set_text(config, tower_sizes.clip_text(512))
  clip_towers.set_model(config, 512, activation)
  config.init_from = f"hf://{weights}"
  web.set_examples(config, batch_size=1024, num_examples=_NUM_EXAMPLES)
  web.set_open_clip_crop(config)
  set_data(config, _LABELLED)
  return config


def set_data(
  config: ml_collections.ConfigDict,
  labelled: Mapping[str, tuple[str, str]],
  path: str = "",
) -> None:
  """Set a catalogue, its products that are held out, and labelled sets."""
  sets, metrics = {}, ("R@1", "R@5", "R@10", "MRR")
  for name in ("test", "hout_c", "hout_b"):
    source = domain.source(f"fashionclip.catalog@{name}")
    sets[name] = kinds.retrieval(source, metrics=metrics)
  for name, (layout, label) in labelled.items():
    source = domain.source(f"fashionclip.{layout}")
    sets[name] = kinds.classification(source, label=label, prompts=_PROMPTS)
  train = domain.source("fashionclip.catalog@train", path=path)
  domain.set_layouts(config, train, **sets)
