"""Image protocols of published models at evaluation: resize, crop, mean, std.

A protocol returns uint8. Its `mean` and `std` are copied into the model's
config (`model.image_mean`, `model.image_std`), since the device normalises.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from input_pipeline.images import image_ops, picture, tensorflow_resize
from models.pretrained import pixels
from runtime import checks


@dataclasses.dataclass(frozen=True)
class Protocol:
  """Steps from an image of any size to a square of `size` pixels.

  Attributes:
    name: key in PROTOCOLS, or kind of the file that the protocol was read from.
    source: publication or file that defines it.
    size: side of the result in pixels.
    resize: "shortest" (the shorter side to resize_size, the shape kept),
      "shortest_rounded" (the same, the longer side rounded and not cut off) or
      "squash" (both sides to resize_size), each then cropped to `size` in the
      centre; or "crop_first" (the centre, size / resize_size of the shorter
      side, resized to `size`).
    resize_size: pixels, at least `size`.
    interpolation: key of picture.FILTERS, all with antialiasing, or one of
      tensorflow_resize.FILTERS.
    rounding: rounding of half a pixel in the crop's offset: "even" (to an even
      number: torchvision) or "down" (transformers).
    mean, std: statistics of red, green and blue on a scale of 0 to 1.
  """

  name: str
  source: str
  size: int
  resize: str
  resize_size: int
  interpolation: str
  rounding: str
  mean: tuple[float, float, float]
  std: tuple[float, float, float]

  def __post_init__(self):
    for field, choices in (
      ("resize", ("shortest", "shortest_rounded", "squash", "crop_first")),
      ("interpolation", (*picture.FILTERS, *tensorflow_resize.FILTERS)),
      ("rounding", ("even", "down")),
    ):
      name = f"image protocol {self.name}: {field}"
      checks.one_of(name, getattr(self, field), choices)
    name = f"image protocol {self.name}: size"
    checks.between(name, self.size, 1, self.resize_size)
    if self.resize == "crop_first" and not self.is_pillow:
      raise ValueError(
        f"image protocol {self.name}: interpolation must be one of "
        f"{', '.join(picture.FILTERS)} with resize crop_first; got "
        f"{self.interpolation!r}"
      )

  @property
  def is_pillow(self) -> bool:
    """Whether Pillow resizes, and not TensorFlow's formulas."""
    return self.interpolation in picture.FILTERS

  def at(self, size: int) -> "Protocol":
    """Return the protocol for another size, resize_size in proportion."""
    resize_size = round(self.resize_size * size / self.size)
    return dataclasses.replace(self, size=size, resize_size=resize_size)

  def with_statistics(
    self, mean: tuple[float, ...], std: tuple[float, ...]
  ) -> "Protocol":
    """Return the protocol with a model's mean and deviation of pixels."""
    (mean_r, mean_g, mean_b), (r, g, b) = mean, std
    return dataclasses.replace(
      self, mean=(mean_r, mean_g, mean_b), std=(r, g, b)
    )

  def apply(self, image: np.ndarray) -> np.ndarray:
    """Return uint8 [size, size, 3] of an image uint8 [Y, X, 3]."""
    height, width = image.shape[:2]
    if self.resize == "crop_first":
      side = int(self.size / self.resize_size * min(height, width))
      side = max(side, 1)
      top, left = (height - side + 1) // 2, (width - side + 1) // 2
      image = image[top : top + side, left : left + side]
      return self._resize(image, self.size, self.size)
    high, wide = self._sides(height, width)
    at = self._offset(high), self._offset(wide)
    return self._cut(image, (high, wide), [at])[0]

  def part(self, height: int, width: int) -> picture.Box:
    """Return the part of an image that `apply` resizes to the square."""
    if self.resize == "crop_first":
      side = max(int(self.size / self.resize_size * min(height, width)), 1)
      top, left = (height - side + 1) // 2, (width - side + 1) // 2
      return picture.Box(left, top, left + side, top + side)
    high, wide = self._sides(height, width)
    top, left = self._offset(high), self._offset(wide)
    return picture.part_of_resized(
      (height, width), (high, wide), (top, left), self.size
    )

  def crops(self, image: np.ndarray, num: int) -> list[np.ndarray]:
    """Return crops at even distances along the longer side, ends included.

    One crop is that of `apply`. Three are the spatial views of video networks
    (Video Swin, arXiv 2106.13230).

    Args:
      image: uint8 [Y, X, 3].
      num: number of crops, at least 1.

    Returns:
      uint8 [size, size, 3] each.

    Raises:
      ValueError: several crops of an image whose shape is not kept.
    """
    if num == 1:
      return [self.apply(image)]
    if not self.keeps_shape:
      raise ValueError(
        f"image protocol {self.name}: several crops need a resize that keeps"
        f" the shape; got {self.resize!r}"
      )
    high, wide = self._sides(*image.shape[:2])
    middle = self._offset(min(high, wide))
    along = [(max(high, wide) - self.size) * i // (num - 1) for i in range(num)]
    at = [(x, middle) if high > wide else (middle, x) for x in along]
    return self._cut(image, (high, wide), at)

  @property
  def keeps_shape(self) -> bool:
    """Whether the whole image is resized, and keeps its shape."""
    return self.resize in ("shortest", "shortest_rounded")

  def _sides(self, height: int, width: int) -> tuple[int, int]:
    """Return height and width of a resized image, before it is cropped."""
    high = wide = self.resize_size
    if self.resize == "shortest":
      if height > width:
        high = int(self.resize_size * height / width)
      else:
        wide = int(self.resize_size * width / height)
    elif self.resize == "shortest_rounded":
      factor = np.float32(self.resize_size) / np.float32(min(height, width))
      high, wide = (round(float(x * factor)) for x in (height, width))
    return high, wide

  def _cut(
    self,
    image: np.ndarray,
    sides: tuple[int, int],
    offsets: list[tuple[int, int]],
  ) -> list[np.ndarray]:
    """Return squares of `size` pixels of an image that is resized to `sides`.

    Args:
      image: uint8 [Y, X, 3].
      sides: height and width that it is resized to.
      offsets: top and left of each square.
    """
    if math.prod(sides) > picture.MAX_PIXELS or not self.is_pillow:
      module = image_ops if self.is_pillow else tensorflow_resize
      return [
        module.cut_resized(
          *(image, sides, at), size=self.size, interpolation=self.interpolation
        )
        for at in offsets
      ]
    image = self._resize(image, *sides)
    return [
      image[top : top + self.size, left : left + self.size]
      for top, left in offsets
    ]

  def _offset(self, side: int) -> int:
    rest = side - self.size
    return rest // 2 if self.rounding == "down" else round(rest / 2)

  def _resize(self, image: np.ndarray, height: int, width: int) -> np.ndarray:
    if image.shape[:2] == (height, width):
      return image
    return np.asarray(
      Image.fromarray(np.ascontiguousarray(image)).resize(
        (width, height), picture.FILTERS[self.interpolation]
      )
    )


_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
# Mean and deviation that map pixels to -1 .. 1.
HALF = (0.5, 0.5, 0.5)

_CLIP = Protocol(
  name="clip",
  source="openai/CLIP clip.py _transform; open_clip 3.3 image_transform "
  "(LAION, DataComp, DFN except the models named below)",
  size=224,
  resize="shortest",
  resize_size=224,
  interpolation="bicubic",
  rounding="even",
  mean=_CLIP_MEAN,
  std=_CLIP_STD,
)
_SQUASH = dataclasses.replace(
  _CLIP,
  name="clip_squash",
  source="open_clip 3.3 pretrained.py (DFN-5B's H/14, MetaCLIP 2 at 378)",
  resize="squash",
)
# SigLIP was trained by big_vision, which resizes bilinearly and without
# antialiasing (pp/ops_image.py get_resize): evaluators/protocols.py does so.
_SIGLIP = dataclasses.replace(
  _SQUASH,
  name="siglip",
  source="transformers 5.23 SiglipImageProcessor; open_clip 3.3 "
  "pretrained.py (webli: squash, bicubic), SigLIP 2 of fixed size too",
  rounding="down",
  mean=HALF,
  std=HALF,
)
# The source resizes without antialiasing (TensorFlow's bicubic); Pillow has it.
_EFFICIENTNET = Protocol(
  name="efficientnet",
  source="tensorflow/tpu models/official/efficientnet: preprocessing.py "
  "_decode_and_center_crop, efficientnet_builder.py MEAN_RGB",
  size=224,
  resize="crop_first",
  resize_size=256,
  interpolation="bicubic",
  rounding="down",
  mean=_IMAGENET_MEAN,
  std=_IMAGENET_STD,
)

_IMAGENET = Protocol(
  name="imagenet",
  source="torchvision.transforms._presets ImageClassification, its ResNets",
  size=224,
  resize="shortest",
  resize_size=256,
  interpolation="bilinear",
  rounding="even",
  mean=_IMAGENET_MEAN,
  std=_IMAGENET_STD,
)

# Protocols at their commonest size; `at` returns other sizes.
PROTOCOLS = {
  protocol.name: protocol
  for protocol in (
    _CLIP,
    dataclasses.replace(
      _CLIP,
      name="metaclip",
      source="facebookresearch/MetaCLIP src/mini_clip/transform.py",
    ),
    _SQUASH,
    _SIGLIP,
    dataclasses.replace(
      _SIGLIP,
      name="align",
      source="arXiv 2102.05918 section 5 (346, then 289); transformers "
      "convert_align_tf_to_hf.py get_processor (squash, bilinear, -1 to 1)",
      size=289,
      resize_size=346,
      interpolation="bilinear",
    ),
    dataclasses.replace(
      _SIGLIP,
      name="vit",
      source="transformers 5.23 ViTImageProcessor",
      interpolation="bilinear",
    ),
    dataclasses.replace(
      _SIGLIP,
      name="swin",
      source="transformers 5.24 ViTImageProcessor (squash), with filter and "
      "statistics of timm's Swin (bicubic, ImageNet)",
      mean=_IMAGENET_MEAN,
      std=_IMAGENET_STD,
    ),
    _IMAGENET,
    dataclasses.replace(
      _IMAGENET,
      name="imagenet_bicubic",
      source="microsoft/UniCL data/build.py build_transform",
      interpolation="bicubic",
    ),
    _EFFICIENTNET,
    dataclasses.replace(
      _EFFICIENTNET,
      name="efficientnet_lite",
      source="the same, lite/efficientnet_lite_builder.py MEAN_RGB",
      mean=(127 / 255, 127 / 255, 127 / 255),
      std=(128 / 255, 128 / 255, 128 / 255),
    ),
  )
}


def from_open_clip(config: Mapping[str, Any] | None) -> Protocol:
  """Return the protocol of `preprocess_cfg` in an open_clip_config.json.

  Raises ValueError for a preprocessing that no Protocol can express.
  """
  config = pixels.said(config)
  resize = config.get("resize_mode", "shortest")
  interpolation = config.get("interpolation", "bicubic")
  size = config.get("size", 224)
  side = _square(size)
  if (
    side is None
    or resize == "longest"
    or config.get("mode") not in (None, "RGB")
  ):
    raise ValueError(
      "open_clip's preprocess_cfg must have a square size, mode RGB and "
      f'resize_mode "shortest" or "squash"; got {dict(config)}'
    )
  return Protocol(
    name="open_clip",
    source="open_clip_config.json",
    size=side,
    resize=resize,
    resize_size=side,
    # open_clip evaluates with bicubic if training drew interpolation at random.
    interpolation="bicubic" if interpolation == "random" else interpolation,
    rounding="even",
    mean=pixels.triple(config.get("mean", _CLIP_MEAN)),
    std=pixels.triple(config.get("std", _CLIP_STD)),
  )


def to_open_clip(protocol: Protocol) -> dict[str, Any]:
  """Return the `preprocess_cfg` that open_clip follows.

  As in `to_hf`, a crop may be off by one pixel. Raises ValueError for a
  protocol that crops more than the excess of the longer side, or resizes as
  TensorFlow does.
  """
  _check_pillow(protocol)
  if protocol.resize == "crop_first" or protocol.resize_size != protocol.size:
    raise ValueError(
      f"image protocol {protocol.name} crops {protocol.size} of "
      f"{protocol.resize_size} pixels, which open_clip does not"
    )
  return {
    "size": protocol.size,
    "mean": list(protocol.mean),
    "std": list(protocol.std),
    "interpolation": protocol.interpolation,
    "resize_mode": protocol.resize,
  }


def from_hf(
  config: Mapping[str, Any], source: str = pixels.PREPROCESSOR
) -> Protocol:
  """Return the protocol of transformers' image processor.

  Args:
    config: fields of the processor (pixels.read_processor).
    source: file that they are from.

  Raises ValueError for a processor with steps that no Protocol can express.
  """
  kind = pixels.class_name(config)
  full_name = pixels.full_name(config)

  def refuse(field: str, expected: str) -> ValueError:
    return ValueError(
      f"{source}: {field} must be {expected}; got {config.get(field)!r:.80}"
      f" with {full_name or 'no class'}"
    )

  if not config.get("do_resize", True):
    raise refuse("do_resize", "true, since a tower takes one size")
  if config.get("do_pad"):
    raise refuse("do_pad", "false")
  for field in ("crop_pct", "max_num_patches"):
    if field in config:
      raise refuse(field, "absent: only other classes' steps have it")
  interpolations = {int(v): name for name, v in picture.FILTERS.items()}
  resample = config.get("resample")
  is_number = isinstance(resample, int) and not isinstance(resample, bool)
  if not is_number or resample not in interpolations:
    raise refuse("resample", f"among {sorted(interpolations)}")
  # Defaults of transformers, whose files do not contain all fields.
  crops = bool(config.get("do_center_crop", kind.startswith("CLIP")))
  resize, resize_size = _resize_of(config, kind, crops=crops)
  if not resize_size:
    raise refuse("size", "a square or a shortest_edge, in whole pixels")
  if resize == "shortest" and not crops:
    raise refuse("size", "a square where do_center_crop is false")
  cut = _square(config.get("crop_size")) if crops else resize_size
  if not cut or cut > resize_size:
    raise refuse("crop_size", f"a square of at most {resize_size} pixels")
  mean, std = pixels.statistics(config)
  return Protocol(
    name=full_name or "hf",
    source=source,
    size=cut,
    resize=resize,
    resize_size=resize_size,
    interpolation=interpolations[resample],
    rounding="down",
    mean=mean,
    std=std,
  )


def to_hf(protocol: Protocol) -> dict[str, Any]:
  """Return the preprocessor_config.json that transformers follows.

  transformers rounds the crop's offset down: for a protocol with rounding
  "even", the crop may be off by one pixel. Raises ValueError for a protocol
  with resize "crop_first" or TensorFlow's interpolation, which no processor of
  transformers does.
  """
  _check_pillow(protocol)
  if protocol.resize == "crop_first":
    raise ValueError(
      f"image protocol {protocol.name} crops before it resizes, which no "
      'processor of transformers does: expected resize "shortest" or "squash"'
    )
  square = {"height": protocol.resize_size, "width": protocol.resize_size}
  shortest = protocol.resize == "shortest"
  crops = shortest or protocol.size < protocol.resize_size
  config = {
    "image_processor_type": (
      "CLIPImageProcessor" if crops else "SiglipImageProcessor"
    ),
    "do_convert_rgb": True,
    "do_resize": True,
    "size": {"shortest_edge": protocol.resize_size} if shortest else square,
    "resample": int(picture.FILTERS[protocol.interpolation]),
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": list(protocol.mean),
    "image_std": list(protocol.std),
  }
  if crops:
    config["do_center_crop"] = True
    config["crop_size"] = {"height": protocol.size, "width": protocol.size}
  return config


def _check_pillow(protocol: Protocol) -> None:
  """Raise ValueError where an image is not resized by Pillow's steps."""
  if not protocol.is_pillow or protocol.resize == "shortest_rounded":
    raise ValueError(
      f"image protocol {protocol.name} resizes as TensorFlow does "
      f"({protocol.resize}, {protocol.interpolation}), which no file of "
      "open_clip or transformers expresses"
    )


def _resize_of(
  config: Mapping[str, Any], kind: str, *, crops: bool
) -> tuple[str, int | None]:
  """Return a processor's kind of resizing, and its pixels (None: another)."""
  size = config.get("size")
  if isinstance(size, Mapping) and size.get("shortest_edge") is not None:
    # With longest_edge, long images would become smaller than the tower.
    longest = size.get("longest_edge")
    return "shortest", None if longest else _pixels(size["shortest_edge"])
  # A number is a square or, as in CLIP's first files, the shorter side.
  shortest = kind not in pixels.SQUARE if pixels.is_known(kind) else crops
  if "default_to_square" in config:
    shortest = not config["default_to_square"]
  is_number = not isinstance(size, Mapping | list | tuple)
  return "shortest" if is_number and shortest else "squash", _square(size)


def _square(size: Any) -> int | None:
  """Return the side of a square, None for anything else."""
  if isinstance(size, Mapping):
    size = [size.get("height"), size.get("width")]
  if isinstance(size, list | tuple):
    size = size[0] if len(size) == 2 and size[0] == size[1] else None
  return _pixels(size)


def _pixels(value: Any) -> int | None:
  """Return a length in pixels, None for anything else."""
  is_number = type(value) in (int, float) and value >= 1
  return int(value) if is_number and value == int(value) else None
