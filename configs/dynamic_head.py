"""Dynamic Head on COCO (arXiv 2106.08322), on a CLIP ResNet or ConvNeXt.

  rn50       tower of CLIP's RN50, all trained
  convnext   ConvNeXt-Base of open_clip, all trained
  agnostic   rn50 with objects of any class, the tower held: the detector of
             Florence's zero-shot detection (arXiv 2111.11432, section 2.4)
Data: --config.detection.path=FOLDER with COCO 2017's annotations/, train2017/
  and val2017/.
Recipe: released code of Dynamic Head for Swin-T, ATSS, 2x and multi-scale:
  AdamW 1e-4, decay 0.05, batch 32, 90,000 steps. A tenth of the rate from step
  60,000 on, a hundredth from 80,000 on, warm-up, b2 and clipping are ours. Its
  frame of a longer side of 1,333 pixels is 1,344 here, a multiple of 32.
Command:
  python main.py --task=detect --config=configs/dynamic_head.py:rn50 \\
    --workdir=runs/coco --config.detection.path=COCO --config.init_from=MODEL
Hardware: not run here. --task=plan, rn50 on v5e:4x8: fits, 11.3 of 15.75 GiB,
  bound by memory traffic at 242 images a second (6 % MFU).
Expected: EXPECTED, with the tower Swin-T; not reproduced here. Its
  miniature is in experiments/florence/detection.
"""

import ml_collections

from configs import base
from configs.parts import clip_towers, towers, variants

# COCO AP of the released code's Swin-T, ATSS, 2x multi-scale.
EXPECTED = {"Swin-T": 0.498}
# COCO's 80 classes, in the order of their numbers.
COCO = (
  *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train"),
  *("truck", "boat", "traffic light", "fire hydrant", "stop sign"),
  *("parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow"),
  *("elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag"),
  *("tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite"),
  *("baseball bat", "baseball glove", "skateboard", "surfboard"),
  *("tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon"),
  *("bowl", "banana", "apple", "sandwich", "orange", "broccoli", "carrot"),
  *("hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant"),
  *("bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote"),
  *("keyboard", "cell phone", "microwave", "oven", "toaster", "sink"),
  *("refrigerator", "book", "clock", "vase", "scissors", "teddy bear"),
  *("hair drier", "toothbrush"),
)
_RESNET = r"img/(position|attn)(/.*)?"
_CONVNEXT = r"img/(norm|hidden|projection)(/.*)?"


def get_config(arg: str = "rn50") -> ml_collections.ConfigDict:
  """Return a variant."""
  make = variants.pick(__file__, arg, _VARIANTS)
  config = base.get_config()
  config.partition_rules = ((r".*", ()),)
  config.batch_size = 32
  config.total_steps = 90_000
  config.evaluate.batch_size = 32
  config.evaluate.every_steps = 10_000
  optimizer = config.optimizer
  optimizer.learning_rate = 1e-4
  optimizer.weight_decay = 0.05
  optimizer.b2 = 0.999
  optimizer.schedule = "factors"
  optimizer.factors = ((0, 1.0), (60_000, 0.1), (80_000, 0.01))
  detection = config.detection
  detection.layout = "coco"
  detection.classes = COCO
  detection.scale = (0.36, 0.9)
  make(config)
  return config


def _set_rn50(config: ml_collections.ConfigDict) -> None:
  config.data.image_size = 224
  config.model.embed_dim = 1024
  config.model.image = towers.resnet(config.data)
  config.model.image_mean = clip_towers.MEAN
  config.model.image_std = clip_towers.STD
  config.optimizer.freeze = ((_RESNET, True), (r".*", False))


def _set_convnext(config: ml_collections.ConfigDict) -> None:
  config.data.image_size = 224
  config.model.embed_dim = 512
  config.model.image = towers.convnext(config.data)
  config.model.image_mean = clip_towers.MEAN
  config.model.image_std = clip_towers.STD
  config.optimizer.freeze = ((_CONVNEXT, True), (r".*", False))


def _set_agnostic(config: ml_collections.ConfigDict) -> None:
  _set_rn50(config)
  config.detection.classes = ()
  config.optimizer.freeze = ((r"img/.*", True), (r".*", False))


_VARIANTS = {
  "rn50": _set_rn50,
  "convnext": _set_convnext,
  "agnostic": _set_agnostic,
}
