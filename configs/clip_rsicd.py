"""CLIP-RSICD: CLIP ViT-B/32 fine-tuned on captions of aerial pictures.

  adam       the best published run: Adam, rate 5e-6
  adafactor  the second best: Adafactor, rate 1e-4
  script     the committed script: AdamW, rate 2e-6
Source: github.com/arampacha/CLIP-rsicd.
Data: RSICD (arXiv 1712.07835), dataset_rsicd.json beside RSICD_images/, five
  captions a picture. Some of the project's own were translated to another
  language and back: --config.data.sources.main.layout=rsicd.augmented. UCM and
  Sydney are the layouts rsicd.ucm and rsicd.sydney.
Loss: softmax over each device's 128 pairs, as its pmap step computed it on 8
  cores of a TPU v3; --config.loss.scope=global takes all 1,024.
Command:
  python main.py --config=configs/clip_rsicd.py:adam --workdir=runs/rsicd \
    --config.data.sources.main.path=RSICD
Hardware: TPU v3-8; theirs, as ours has not been run.
Expected: score@1, 3, 5, 10 of 30 scenes (1,027 test pictures) 0.883, 0.968,
  0.982, 0.998 (adam), 0.843, 0.958, 0.977, 0.993 (adafactor), and 0.572, 0.745,
  0.837, 0.939 of CLIP itself (README there). Not yet run.
Their code does not decay biases and scales by the names of GPT-2's layers, so
CLIP's scales decay there; here none does. The number of steps of the best runs
is not published: ten epochs of all captions, as in the script.
Miniature: experiments/clip_rsicd/README.md.
"""

import dataclasses

import ml_collections

from configs import base
from configs.parts import clip_towers, domain, tower_sizes, variants
from evaluators.sets import kinds

_NUM_CAPTIONS = 8_734 * 5  # training pictures, five captions each
_PROMPT = "An aerial photograph of {c}"


@dataclasses.dataclass(frozen=True)
class Recipe:
  """A published run."""

  optimizer: str
  learning_rate: float
  batch_size: int = 1024
  weight_decay: float = 0.0


VARIANTS: dict[str, Recipe] = {
  "adam": Recipe("adamw", 5e-6),
  "adafactor": Recipe("adafactor", 1e-4),
  "script": Recipe("adamw", 2e-6, 2048, 0.1),
}
VARIANT_NAMES = tuple(VARIANTS)


def get_config(arg: str = "adam") -> ml_collections.ConfigDict:
  """Return the recipe of a variant.

  Raises:
    ValueError: no variant has this name.
  """
  config = base.get_config()
  recipe = variants.pick(__file__, arg, VARIANTS)
  clip_towers.set_adamw(
    config,
    learning_rate=recipe.learning_rate,
    warmup_steps=50,
    b2=0.95,
    weight_decay=recipe.weight_decay,
  )
  config.optimizer.name = recipe.optimizer
  config.optimizer.schedule = "linear"
  if recipe.optimizer == "adamw":
    config.optimizer.clip_norm = 1.0
  clip_towers.set_vit(config, "B", 32)
  clip_towers.set_text(config, tower_sizes.clip_text(512))
  clip_towers.set_model(config, 512, "quick_gelu")
  config.init_from = "hf://openai/clip-vit-base-patch32"
  config.data.num_tokens = 32
  set_augmentation(config.data.augmentation)
  config.loss.scope = "device"
  config.batch_size = recipe.batch_size
  config.total_steps = 10 * _NUM_CAPTIONS // recipe.batch_size
  config.checkpoint.every_steps = 100

  set_layouts(config)
  return config


def set_layouts(config: ml_collections.ConfigDict) -> None:
  """Set the pairs of training, the scenes, and retrieval of the test part."""
  domain.set_layouts(
    config,
    train="rsicd.captions@train",
    scenes=kinds.classification(
      domain.source("rsicd.scenes@test"),
      label="scene",
      prompts=(_PROMPT,),
      ks=(3, 10),  # score@k; 1 and 5 are there always
    ),
    test=kinds.retrieval(domain.source("rsicd.captions@test")),
  )


def set_augmentation(
  augmentation: ml_collections.ConfigDict, image_size: int = 224
) -> None:
  """Set the published order: a cut of 0.8 x 224, mirrors, a part, 224 pixels.

  Its ColorJitter has torchvision's default arguments, which change nothing.
  """
  augmentation.resize = "area"
  augmentation.pre_crop = augmentation.first_size = int(0.8 * image_size)
  augmentation.crop_scale = (0.8, 1.2)
  augmentation.crop_ratio = (1.0, 1.0)
  augmentation.flip_probability = 0.5
  augmentation.vertical_flip_probability = 0.5
