"""SigLIP 2 (arXiv 2502.14786): towers of its releases, and its training.

  b32_256 b16 b16_256 b16_384 b16_512 l16_256 l16_384 l16_512 so400m14
  so400m14_384 so400m16_256 so400m16_384 so400m16_512 gopt16_256 gopt16_384
  naflex_b16 naflex_so400m16    variable aspect and length
  full_b16_256 full_b16_384 full_l16_256 full_l16_384 full_so400m16_256
  full_so400m16_384 full_so400m14_384 full_gopt16_256 full_gopt16_384
                    all losses, in phases; the others have the sigmoid loss
  full_naflex_b16 full_naflex_so400m16
                    sigmoid loss and decoder, squares, then NaFlex's lengths
  acid_b16_256 acid_b32_256
                    sigmoid loss alone, of rows that a teacher draws
  mini mini_full mini_acid
Data: WebLI is not public; 90 % English, 10 % of 109 languages. Yours are
  WebDataset tars: --config.data.sources.main.path="PATH/{00000..00999}.tar".
  The tokenizer (Gemma's, 256,000 tokens, lower-cased) needs its file:
  --config.data.tokenizer_path=FILE.
Augmentation: none is stated; resized to a square as in configs/siglip.py.
  naflex_*: each image in its own shape, at most 256 patches in all batches
  (--config.data.augmentation.max_num_patches). full_naflex_*: 128 to 1024,
  drawn for each batch (section 2.4.2); evaluations have 256.
Recipe: Adam, rate 1e-3, decay 1e-4 (big_vision's convention), clipped at 1,
  batch 32k, cosine, 20,000 warm-up steps, 40e9 examples. full_*: sigmoid loss
  and LocCa's decoder (docs/decoder.md) from step 0; self-distillation and
  masked patches from 80 % on, with weights by size; the size of the variant
  from 95 % on, 256 px before (sections 2.2 to 2.4.1). full_naflex_*: from 90 %
  on each image in its own shape, the schedule's last 10 % in 3.75 times as many
  steps, and half the batch, twice the updates at the largest length; no
  self-distillation (section 2.4.2).
Ours, as the paper leaves them out: sizes of heads, temperatures, centering and
  momentum of self-distillation (configs/parts/distillation.py), augmentation of
  its views (views.py), bins and order of boxes (base.py), the decoder's details
  (CapPa's code, models/decoding/decoder.py), the rate of the two updates of a
  NaFlex batch (training/patch_programs.py).
ACID: acid_* go on with a trained B (--config.init_from=RUN) under a teacher
  (--config.curating.teacher=RUN), the paper's So400m after 1e9 examples of a
  curated set: rate 1e-5, no decay, 4e9 examples, 32k of 64k rows a step, or of
  128k for B/32 (section 2.5). Ours: the rate is constant, without warm-up, and
  examples are those that are learned from. Both runs have one tokenizer, 64
  tokens and images of 256 pixels. docs/joint.md has the commands of mini_acid.
Regions: full_* read boxes with captions (docs/regions.md): "boxes" and
  "box_captions" of a tar's .json members. The paper's are n-grams of alt-texts,
  found by a detector.
Command:
  python main.py --config=configs/siglip2.py:naflex_b16 --workdir=runs/naflex \
    --config.data.sources.main.path="PATH/{00000..00999}.tar" \
    --config.data.tokenizer_path=gemma.model
  python main.py --task=plan --config=configs/siglip2.py:b16_256 \
    --topology=v5e:16x16
  python main.py --task=plan --config=configs/siglip2.py:full_b16_256 \
    --topology=v5e:16x16 --config.mesh.data=16 --config.mesh.fsdp=16
Hardware: the paper used up to 2,048 TPU v5e chips. Plans of a step, jax 0.10.2:
  B, pairs and decoder: 3.0 of 15.75 GiB a device, 20,856 TFLOP as compiled, at
  most 72,755 images/s, bound by memory traffic, MFU 82 %. B, all losses: 4.0
  GiB, 35,121 TFLOP, 47,053 images/s, bound by compute, MFU 88 %; the model's
  part is 30,803 TFLOP, by hand 942 GFLOP an image, 30,868. So400m, all losses,
  --num_slices=2 --config.mesh.data=32: 6.2 GiB, 130,081 TFLOP, 25,408 images/s,
  bound by compute, MFU 84 %. acid_b16_256 under So400m: 2.1 GiB, 27,190 TFLOP,
  57,872 rows/s that learn, bound by compute.
Expected: not yet run. The published weights' ImageNet zero-shot (table 1): B/32
  74.0, B/16 at 256 79.1, L/16 82.5, So400m/14 83.2, g-opt 84.5, NaFlex B/16
  78.5 and So400m 83.5 at 256 tokens. In miniature: experiments/siglip2.
"""

import dataclasses
from typing import Any

import ml_collections

from configs import base, siglip
from configs.parts import (
  decoding,
  distillation,
  mini,
  phases,
  tower_sizes,
  towers,
  variants,
)

_FIRST_SIZE = 256
# Members of a tar beside its images: captions, and boxes with their captions.
_REGION_FIELDS = (("boxes", "json.boxes"), ("texts", "json.box_captions"))


@dataclasses.dataclass(frozen=True)
class Variant:
  """A released model; `text` is the size of its text tower.

  Attributes:
    num_parameters: parameters of the published weights (open_clip 3.3.0's or
      transformers' model of this size), scale and bias included.
  """

  size: str
  patch_size: int
  image_size: int
  num_parameters: int
  text: str = ""
  is_naflex: bool = False

  @property
  def weights_of(self) -> str:
    """Key of distillation.FACTORS."""
    return "g" if self.size == "g-opt" else self.size


VARIANTS = {
  "b32_256": Variant("B", 32, 256, 376_856_066),
  "b16": Variant("B", 16, 224, 375_187_970),
  "b16_256": Variant("B", 16, 256, 375_234_050),
  "b16_384": Variant("B", 16, 384, 375_479_810),
  "b16_512": Variant("B", 16, 512, 375_823_874),
  "l16_256": Variant("L", 16, 256, 881_526_786),
  "l16_384": Variant("L", 16, 384, 881_854_466),
  "l16_512": Variant("L", 16, 512, 882_313_218),
  "so400m14": Variant("So400m", 14, 224, 1_135_463_602),
  # 384 is not a multiple of 14: 27 x 27 patches are 378 pixels.
  "so400m14_384": Variant("So400m", 14, 378, 1_136_008_498),
  "so400m16_256": Variant("So400m", 16, 256, 1_135_670_962),
  "so400m16_384": Variant("So400m", 16, 384, 1_136_039_602),
  "so400m16_512": Variant("So400m", 16, 512, 1_136_555_698),
  "gopt16_256": Variant("g-opt", 16, 256, 1_871_393_906, "So400m"),
  "gopt16_384": Variant("g-opt", 16, 384, 1_871_885_426, "So400m"),
  "naflex_b16": Variant("B", 16, 256, 375_234_050, is_naflex=True),
  "naflex_so400m16": Variant("So400m", 16, 256, 1_135_670_962, is_naflex=True),
}
# Shares of the steps after which further losses, and the final size, begin
# (sections 2.3 and 2.4.1).
HEADS_FROM, LARGE_FROM = 0.8, 0.95
# NaFlex begins at this share of the steps, with these numbers of patches, and
# its steps are as many as this for each step of the schedule (section 2.4.2).
NAFLEX_FROM, NAFLEX_STRETCH = 0.9, 3.75
PATCH_COUNTS = (128, 256, 576, 784, 1024)
_FULL = "full_"
# Variants of all losses; the paper's B of other sizes is fine-tuned by ACID.
FULL = tuple(
  f"{_FULL}{name}"
  for name in (
    *("b16_256", "b16_384", "l16_256", "l16_384", "so400m16_256"),
    *("so400m16_384", "so400m14_384", "gopt16_256", "gopt16_384"),
  )
)
# Variant -> share of a super-batch that is left out (section 2.5). They need a
# teacher.
ACID = {"acid_b16_256": 0.5, "acid_b32_256": 0.75}
_ACID = "acid_"
# Variants of sigmoid loss and decoder, with NaFlex's phase.
FULL_NAFLEX = tuple(f"{_FULL}{name}" for name in VARIANTS if "naflex" in name)
VARIANT_NAMES = (*VARIANTS, *FULL, *FULL_NAFLEX, "mini", "mini_full")


def get_config(arg: str = "b16_256") -> ml_collections.ConfigDict:
  """Return the recipe of a variant.

  Raises:
    ValueError: no variant has this name.
  """
  if arg == "mini":
    return _mini()
  if arg == "mini_full":
    return _mini_full()
  if arg == "mini_acid":
    return _mini_acid()
  full = (*FULL, *FULL_NAFLEX)
  known = VARIANTS | {x: VARIANTS[x.removeprefix(_FULL)] for x in full}
  known |= {x: VARIANTS[x.removeprefix(_ACID)] for x in ACID}
  variant = variants.pick(__file__, arg, known, mini=True)
  if arg in ACID:
    return _acid(variant, ACID[arg])
  if arg not in full:
    return _sigmoid(variant)
  return _full_naflex(variant) if variant.is_naflex else _full(variant)


def _sigmoid(
  variant: Variant, num_examples: float = 40e9
) -> ml_collections.ConfigDict:
  config = base.get_config()
  siglip.set_recipe(config, num_examples=num_examples)
  config.optimizer.warmup_steps = 20_000
  config.optimizer.clip_norm = 1.0

  config.data.tokenizer = "siglip2"
  config.data.image_size = variant.image_size
  config.data.num_tokens = 64
  config.data.vocab_size = 256_000
  if variant.is_naflex:
    config.model.image = towers.naflex(config.data)
    config.data.augmentation.resize = "naflex"
  image_size = tower_sizes.VIT[variant.size]
  siglip.set_towers(
    config,
    image_size,
    tower_sizes.VIT[variant.text or variant.size],
    image_size["width"],
  )
  config.model.image.patch_size = variant.patch_size
  return config


def _full(variant: Variant) -> ml_collections.ConfigDict:
  """Return all losses, in phases; 256 px and patches of 16 before the last."""
  patch = variant.patch_size
  config = _sigmoid(
    dataclasses.replace(variant, image_size=_FIRST_SIZE, patch_size=16)
  )
  _set_decoder(config)
  _set_phases(
    config,
    distillation.weights(variant.weights_of),
    large={
      "data": {
        "image_size": variant.image_size,
        # A multiple of the patch's side near 96.
        "views": {"local_size": round(96 / patch) * patch},
      },
      "model": {"image": {"patch_size": patch}},
    },
    num_local=8,
    local_size=96,
  )
  return config


def _full_naflex(variant: Variant) -> ml_collections.ConfigDict:
  """Return squares, then lengths that are drawn for each batch."""
  config = _sigmoid(variant)
  config.data.augmentation.resize = "squash"
  _set_decoder(config)
  first = round(NAFLEX_FROM * config.total_steps)
  last = round(NAFLEX_STRETCH * (config.total_steps - first))
  lengths = {
    "data": {
      "augmentation": {"resize": "naflex", "patch_counts": PATCH_COUNTS}
    },
    "num_largest_updates": 2,
  }
  phases.set_phases(
    config,
    phases.Phase("pairs_and_decoder", first),
    phases.Phase("naflex", last, lengths, stretch=NAFLEX_STRETCH),
  )
  return config


def _acid(variant: Variant, filter_ratio: float) -> ml_collections.ConfigDict:
  """Return the fine-tuning of a trained model on rows that a teacher draws."""
  config = _sigmoid(variant, num_examples=4e9)
  config.optimizer.learning_rate = 1e-5
  config.optimizer.weight_decay = 0.0
  config.optimizer.schedule = "constant"
  config.optimizer.warmup_steps = 0
  config.curating.filter_ratio = filter_ratio
  return config


def _set_decoder(config: ml_collections.ConfigDict) -> None:
  """Set LocCa's decoder, its regions, and norms of each loss's gradient."""
  config.log_gradients_every_steps = 1000
  config.data.regions.tasks = "all"
  config.data.sources.main.caption = ("txt",)
  config.data.sources.main.region_fields = _REGION_FIELDS
  decoding.set_on(config)


def _set_phases(
  config: ml_collections.ConfigDict,
  weights: dict[str, float],
  *,
  large: dict[str, Any],
  num_local: int,
  local_size: int,
  sizes: dict[str, int] | None = None,
) -> None:
  """Set the phases: losses of pairs and decoder, all losses, the last size."""
  total = config.total_steps
  heads, last = (round(share * total) for share in (HEADS_FROM, LARGE_FROM))
  views = {"has_global": True, "num_local": num_local, "local_size": local_size}
  changes = {
    "distillation": {**weights, "first_step": heads, **(sizes or {})},
    "data": {"views": views},
    "partition_rules": (
      *distillation.partition_rules(),
      *config.partition_rules,
    ),
  }
  phases.set_phases(
    config,
    phases.Phase("pairs_and_decoder", heads),
    phases.Phase("all_losses", last - heads, changes),
    phases.Phase("last_size", total - last, large),
  )


def _mini_full() -> ml_collections.ConfigDict:
  """Return all losses on small towers; sizes and rates are ours."""
  config = base.get_config()
  siglip.set_recipe(config, num_examples=40e9)
  siglip.set_towers(config, mini.TRANSFORMER, mini.TRANSFORMER, 64)
  mini.shrink(config)
  config.model.image.patch_size = 8
  # Drawings have no boxes: captions alone.
  config.data.regions.probabilities = (1.0, 0.0, 0.0)
  config.data.regions.num_bins = 32
  decoding.set_on(config)
  config.log_gradients_every_steps = 20
  _set_phases(
    config,
    distillation.weights("B"),
    large={"data": {"image_size": 48}},
    num_local=2,
    local_size=16,
    sizes={"hidden_width": 64, "bottleneck_width": 32, "num_prototypes": 256},
  )
  return config


def _mini_acid() -> ml_collections.ConfigDict:
  """Return small towers that learn from 64 of 128 emoji a step."""
  config = base.get_config()
  siglip.set_recipe(config, num_examples=40e9)
  siglip.set_towers(config, mini.TRANSFORMER, mini.TRANSFORMER, 64)
  mini.shrink(config)
  config.total_steps = 300
  config.curating.filter_ratio = 0.5
  return config


def _mini() -> ml_collections.ConfigDict:
  config = base.get_config()
  siglip.set_recipe(config, num_examples=40e9)
  config.model.image = towers.naflex(config.data)
  siglip.set_towers(config, mini.TRANSFORMER, mini.TRANSFORMER, 64)
  mini.shrink(config)
  config.data.augmentation.resize = "naflex"
  config.data.augmentation.patch_size = 8
  # Drawings of 32 x 32 pixels are 16 patches, and 4 are padding.
  config.data.augmentation.max_num_patches = 20
  return config
