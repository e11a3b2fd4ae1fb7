"""PubMedCLIP (arXiv 2112.13906), stage A: CLIP fine-tuned on radiology.

  vit_b32 rn50 rn50x4
Data: ROCO's figures of radiology, layout roco.roco. Captions are cut after 77
  tokens; layout roco.legacy cuts after 77 characters, as the published code.
Recipe: github.com/sarahESL/PubMedCLIP, configs/: Adam with L2 5e-4, rate 1e-5,
  no schedule, 50 epochs, batch 64 (rn50x4: 32), weights by the lowest loss on
  the validation split; statistics of ImageNet's pixels; half of the pictures
  mirrored (left and right are a patient's: flip_probability=0 where captions
  tell them apart).
Otherwise than there: no factor exp(0.01) / exp(0.07) on the logits; both
  directions weigh the same, as in the paper (the code has 0.7 and 0.3); float32
  weights; evaluation crops as CLIP does; rn50 has 224 pixels instead of 250,
  which are 7 x 7 patches too.
Command:
  python main.py --config=configs/pubmedclip.py:vit_b32 \
    --workdir=runs/pubmedclip --config.data.sources.main.path=ROCO
Hardware: one GPU in the paper.
Expected: no figure of stage A is published; of stage B in
  experiments/pubmedclip/README.md. Not yet run.
"""

import ml_collections

from configs import base, clip
from configs.parts import domain, variants
from evaluators.sets import kinds

_EPOCHS = 50
# Pictures of the training split, as they are often counted; not read in the
# paper. An epoch here is this many.
_NUM_TRAINING = 65_460
_IMAGENET = {
  "image_mean": (0.485, 0.456, 0.406),
  "image_std": (0.229, 0.224, 0.225),
}
_WEIGHTS = {
  "vit_b32": "hf://openai/clip-vit-base-patch32",
  "rn50": "",  # OpenAI's file is a pickle: convert it, and name it here
  "rn50x4": "",
}
VARIANTS = {name: clip.VARIANTS[name] for name in _WEIGHTS}
VARIANT_NAMES = (*VARIANTS,)


def get_config(arg: str = "vit_b32") -> ml_collections.ConfigDict:
  """Return the recipe of a variant.

  Raises:
    ValueError: no variant has this name.
  """
  variants.pick(__file__, arg, VARIANTS)
  config = clip.get_config(arg)
  config.init_from = _WEIGHTS[arg]
  config.seed = 5
  if arg == "vit_b32":
    config.data.image_size = 250  # 7 x 7 patches, as of 224
  config.batch_size = 32 if arg == "rn50x4" else 64
  per_epoch = _NUM_TRAINING // config.batch_size
  config.total_steps = _EPOCHS * per_epoch
  config.model.remat = "none"
  config.model.update(_IMAGENET)
  config.data.augmentation = base.get_config().data.augmentation
  config.data.augmentation.resize = "area"
  config.data.augmentation.crop_scale = (0.08, 1.0)
  config.data.augmentation.interpolation = "bilinear"
  config.data.augmentation.flip_probability = 0.5

  optimizer = config.optimizer
  optimizer.learning_rate = 1e-5
  optimizer.schedule = "constant"
  optimizer.warmup_steps = 0
  optimizer.b1, optimizer.b2, optimizer.epsilon = 0.9, 0.999, 1e-6
  optimizer.weight_decay = 5e-4
  optimizer.weight_decay_convention = "l2"
  optimizer.weight_decay_mults = ((r".*", 1.0),)

  domain.set_layouts(
    config,
    train="roco.roco@train",
    validation=kinds.retrieval(domain.source("roco.roco@validation")),
  )
  config.evaluate.every_steps = config.checkpoint.every_steps = per_epoch
  config.evaluate.loss = True
  config.checkpoint.select = "validation/loss"
  return config
