"""PLIP (Nature Medicine 2023): CLIP ViT-B/32 on micrographs of Twitter.

  code     defaults of its trainer: rate 5e-5, decay 0.2, 5 epochs
  paper    said to be the choice of its search: rate 1e-5, decay 0.1, 12 epochs
           (recalled, not read, as is the batch of 128 of both)
  kimia    for retrieval of images by an image
Source: github.com/PathologyFoundation/plip, reproducibility/: clip.py,
  transform.py, and the prompts of _dataset_loader.py.
Data: the list of OpenPath's 208,414 posts is public; pathology.openpath reads
  it, or the authors' lists of tweets, replies and PathLAION, beside the images.
  NCT-CRC-HE, PanNuke, DigestPath and WSSS4LUAD may lie in any folder below.
Command:
  python main.py --config=configs/plip.py:paper --workdir=runs/plip \
    --config.data.sources.main.path=SETS
  Evaluation and miniature: experiments/plip/README.md.
Hardware: not published; ours has not been run.
Expected: zero-shot weighted F1 of 0.565 to 0.832 over the four sets (CLIP 0.030
  to 0.481; abstract); linear probe, macro F1, mean over them, 0.891 (CLIP
  0.813, as is often quoted). Not yet run.
"""

from typing import Any

import ml_collections

from configs import clip
from configs.parts import clip_towers, domain, sources, variants
from evaluators.sets import kinds

_NUM_PAIRS = 208_414
# Captions of labelled sets, and so their prompts.
_SETS = {
  "kather": "An H&E image patch of {label}.",
  "pannuke": "An H&E image of {label} tissue.",
  "digestpath": "An H&E image patch of {label} tissue.",
  "wsss4luad": "An H&E image patch of {label} tissue.",
}
_PAPER = (1e-5, 0.1, 12)  # rate, weight decay, epochs
VARIANTS = {"code": (5e-5, 0.2, 5), "paper": _PAPER, "kimia": _PAPER}
VARIANT_NAMES = (*VARIANTS,)


def get_config(arg: str = "code") -> ml_collections.ConfigDict:
  """Return the recipe of a variant; ValueError where none has this name."""
  learning_rate, decay, num_epochs = variants.pick(__file__, arg, VARIANTS)
  config = clip.get_config("vit_b32")
  config.init_from = "hf://openai/clip-vit-base-patch32"
  config.batch_size = 128
  config.total_steps = num_epochs * _NUM_PAIRS // config.batch_size
  clip_towers.set_adamw(config, learning_rate=learning_rate, warmup_steps=50)
  # PyTorch's AdamW on all parameters.
  config.optimizer.b2, config.optimizer.epsilon = 0.999, 1e-8
  config.optimizer.weight_decay = decay
  config.optimizer.weight_decay_mults = ((r".*", 1.0),)
  set_augmentation(config)
  config.data.augmentation.resize_size = 512
  sets = {name: _labelled(name) for name in _SETS}
  if arg == "kimia":
    patches = sources.source(format="folder").to_dict()
    sets = {"kimia": kinds.classification(patches, label="folder")}
  domain.set_layouts(config, "pathology.openpath", **sets)
  return config


def set_augmentation(config: ml_collections.ConfigDict) -> None:
  """Set the published order: shorter side, crop, mirrors, one warp."""
  augmentation = config.data.augmentation
  augmentation.resize, augmentation.flip_probability = "shortest", 0.5
  warp = augmentation.warp
  warp.degrees, warp.translate, warp.scale = 10.0, (0.1, 0.1), (0.8, 1.2)
  warp.shear, warp.distortion = (15.0, 15.0), 0.3
  warp.perspective_probability = 0.3


def _labelled(name: str) -> dict[str, Any]:
  """Return a labelled set, asked for by the captions of its patches."""
  captions = domain.captions([("patch", _SETS[name])], "label")
  source = domain.source(f"pathology.{name}@test", **captions)
  return kinds.classification(source, label="label", training="@train")
