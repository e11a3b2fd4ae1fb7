"""Florence (arXiv 2111.11432): UniCL in three phases, the last at 384 px.

  coswin_h  CoSwin-H of our dimensions, 634 M parameters (the paper's has 637 M)
  vit_h16   the recipe with a ViT-H/16 in its place
  mini
Data: FLD-900M (900 M pairs, 9.7 M distinct queries) is not public. Yours are
  WebDataset tars: --config.data.sources.main.path="PATH/{00000..00999}.tar".
Recipe: section 3.1 and table of phases: 1,000,000 steps of 24,576 pairs at 224
  px, texts of one or two words wrapped in prompts; 180,000 steps without these;
  80,000 steps at 384 px. Pairs whose texts are equal are each other's match,
  whatever prompt wraps them.
Ours, as the paper leaves them out: learning rate, warmup and decay of each
  phase (5e-4 and 0.1 are UniCL's public ones), the batch size of the last
  phase, which prompts (the paper quotes two; these are CLIP's 80), crops (a
  random part of 60 to 100 % of the area), embedding and text width (12 layers
  of 1152 are 248 M of the paper's 256 M), tokenizer (CLIP's); of CoSwin-H all
  dimensions (channels that 16 devices divide, and Swin-L's blocks with two more
  in the second stage), windows of 7 at 384 px too, and drop-path.
Command:
  python main.py --config=configs/florence.py:coswin_h --workdir=runs/florence \
    --config.data.sources.main.path="PATH/{00000..00999}.tar"
  python main.py --task=plan --config=configs/florence.py:coswin_h \
    --topology=v5e:16x16 --config.num_microbatches=16 --config.phases={} \
    --config.mesh.data=16 --config.mesh.fsdp=16
Hardware: the paper's 512 A100 (40 GB), 10 days; theirs, as ours is not run. The
  plan of the first phase (jax 0.10.2): fits, 1.94 GiB a device of 15.75, 31,010
  TFLOP a step with recomputation, bound by ICI at 38,465 images/s, 62 % MFU.
Expected: not yet run. The paper's CoSwin-H at 384 px: ImageNet zero-shot 83.74
  top-1, 97.18 top-5; Flickr30k R@1 90.9 and 76.7; COCO R@1 64.7 and 47.2
  (image to text, text to image; tables 1 and 5).
"""

import ml_collections

from configs import base
from configs.parts import clip_towers, phases, towers, variants, web
from evaluators.sets import names

# Steps of the phases, in order (section 3.1).
STEPS = (1_000_000, 180_000, 80_000)
BATCH_SIZE = 24_576
# Most tokens of a text (section 3.1).
_NUM_TOKENS = 76
_TEXT = {"width": 1152, "depth": 12, "num_heads": 18, "mlp_width": 4608}
# Fields of the CoSwin, or the key of tower_sizes.VIT.
VARIANTS = {
  "coswin_h": {
    "embedding": "conv",
    "merging": "conv",
    "widths": (336, 672, 1344, 2688),
    "depths": (2, 4, 18, 2),
    "num_heads": (8, 16, 32, 64),
    "drop_path": 0.2,
  },
  "vit_h16": "H",
}
VARIANT_NAMES = (*VARIANTS, "mini")


def get_config(arg: str = "coswin_h") -> ml_collections.ConfigDict:
  """Return the recipe of a variant; ValueError where none has this name."""
  config = base.get_config()
  if arg == "mini":
    clip_towers.set_mini(config, "quick_gelu")
    _set_texts(config)
    _set_phases(config, (60, 20, 20), image_size=48, warmup_steps=5)
    return config
  image = variants.pick(__file__, arg, VARIANTS, mini=True)
  web.set_run(config, batch_size=BATCH_SIZE, total_steps=sum(STEPS))
  clip_towers.set_adamw(
    *(config,),
    learning_rate=5e-4,
    warmup_steps=5000,
    b2=0.999,
    weight_decay=0.1,
  )
  clip_towers.set_text(config, _TEXT)
  if isinstance(image, str):
    clip_towers.set_vit(config, image, 16)
    clip_towers.set_model(config, 1024, "quick_gelu")
  else:
    config.data.image_size = 224
    config.model.image = towers.swin(config.data)
    config.partition_rules = (
      *towers.SWIN_PARTITION_RULES,
      *config.partition_rules,
    )
    clip_towers.set_model(config, 1024, "quick_gelu")
    config.model.image.activation = "gelu"
    config.model.image.update(image)
  config.data.num_tokens = _NUM_TOKENS
  web.set_open_clip_crop(config, 0.6)
  _set_texts(config)
  _set_phases(config, STEPS, image_size=384, warmup_steps=1000)
  return config


def _set_texts(config: ml_collections.ConfigDict) -> None:
  """Set UniCL's loss, and prompts around texts of one or two words."""
  config.loss.name = "unicl"
  prompts = names.templates("imagenet1k")
  source = config.data.sources.main
  source.short_templates = tuple(x.replace("{c}", "{}") for x in prompts)
  source.short_words = 2


def _set_phases(
  config: ml_collections.ConfigDict,
  steps: tuple[int, int, int],
  *,
  image_size: int,
  warmup_steps: int,
) -> None:
  """Set the paper's phases, each with a cosine of its own."""
  rate = config.optimizer.learning_rate
  plain = {
    "data": {"leave_out": ("augmented",)},
    "optimizer": {"learning_rate": rate / 5, "warmup_steps": warmup_steps},
  }
  large = {
    "data": {"image_size": image_size},
    "optimizer": {"learning_rate": rate / 25},
  }
  phases.set_phases(
    config,
    phases.Phase("all_texts", steps[0], own_schedule=True),
    phases.Phase("plain_texts", steps[1], plain, own_schedule=True),
    phases.Phase("high_resolution", steps[2], large, own_schedule=True),
  )
