"""Protocols of evaluation by name: those that published figures were made by.

A named protocol decides how images are resized and cropped, how names of
classes and templates are written, and which templates a set has. The size of an
image, its mean and deviation, the tokenizer and the type of the arithmetic stay
the model's own, since they belong to its weights.

  own         the model's own image protocol, texts as they are in their files
  clip        openai/CLIP
  siglip      transformers' image processor of SigLIP
  open_clip   the model's own open_clip_config.json; else open_clip's bicubic,
              to both sides where the model's own does so
  big_vision  its classifier and its retrieval, each with a crop of its own
  datacomp    open_clip's, as DataComp runs it

All decode JPEGs by libjpeg's exact transform, as Pillow does; big_vision's
decoder, TensorFlow's, takes its fast one. All make images RGB before they
resize them; CLIP and open_clip do so afterwards, which differs for images with
palettes.
"""

import dataclasses
import functools
import re
import string
from collections.abc import Callable, Mapping
from typing import Any

from evaluators import zero_shot
from evaluators.sets import field_set, names
from input_pipeline import model_inputs
from input_pipeline.images import image_protocols, naflex, picture

OWN, OPEN_CLIP, BIG_VISION = "own", "open_clip", "big_vision"
# Kind of field_set.KINDS, or of a section of config.evaluate.sets, whose texts
# are captions: no class has a name.
_CAPTIONS = ("retrieval", "selection")
# Sets that big_vision's classifier is run on, all by "clip_paper".
_CLIP_PAPER = (
  *("imagenet1k", "imagenetv2", "imagenet-a", "imagenet-r"),
  *("vtab/cifar100", "vtab/pets"),
)
# Set whose images keep their shape there.
_SMALL = "imagenet-a"
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclasses.dataclass(frozen=True)
class Named:
  """Facts about a protocol, for records.

  Attributes:
    source: files that define it.
    precision: type of the arithmetic that its figures were computed in.
    canonicalisation: changes of class names and of templates.
    prompts: templates of a set.
  """

  source: str
  precision: str
  canonicalisation: str = "none: class names as they are in their file"
  prompts: str = "the set's own"


NAMED: Mapping[str, Named] = {
  "clip": Named(
    "openai/CLIP clip/clip.py _transform",
    "float16 on a GPU, float32 on a CPU (clip.py load)",
  ),
  "siglip": Named(
    "transformers 5.23 SiglipImageProcessor", "the type the model is loaded in"
  ),
  OPEN_CLIP: Named(
    "open_clip src/open_clip/transform.py image_transform",
    "autocast by --precision (its zero_shot.py)",
  ),
  BIG_VISION: Named(
    "google-research/big_vision configs/proj/image_text/common.py, evaluators/"
    "proj/image_text/{discriminative_classifier,prompt_engineering}.py",
    "the type of its config",
    "lower case, _ to a space, punctuation dropped; of names separated by "
    "commas the first (first_class_name_only, its default)",
    "clip_paper (CLIP's 80 and the name alone) for ImageNet, v2, A, R, "
    "CIFAR-100 and Pets; elsewhere the set's own",
  ),
  "datacomp": Named(
    "mlfoundations/datacomp eval_utils/{wds,retr,wino}_eval.py; open_clip "
    "src/open_clip/transform.py image_transform",
    "float32 for classification (amp=False), autocast for retrieval and "
    "WinoGAViL",
  ),
}

NAMES = (OWN, *NAMED)


def check(name: str, own: model_inputs.Protocol) -> None:
  """Raise ValueError where a model cannot be evaluated by a protocol.

  Args:
    name: one of NAMES.
    own: image protocol of the model.
  """
  if name != OWN and isinstance(own, naflex.Protocol):
    raise ValueError(
      f"--protocol must be {OWN} for a NaFlex model, whose images keep their "
      f"shape; got {name}, which makes squares"
    )


def image_protocol(
  name: str, own: model_inputs.Protocol, *, kind: str, key: str = ""
) -> model_inputs.Protocol:
  """Return the image protocol of a set.

  Args:
    name: one of NAMES.
    own: image protocol of the model.
    kind: kind of the set, of field_set.KINDS; that of a section of
      config.evaluate.sets else.
    key: key of the set.
  """
  check(name, own)
  if name == OWN or not isinstance(own, image_protocols.Protocol):
    return own
  if name in (OPEN_CLIP, "datacomp"):
    if own.name == "open_clip":  # read from its preprocess_cfg
      return own
    # The resize_mode of a model is its own there too, as SigLIP's.
    squashes = own.resize == "squash" and own.size == own.resize_size
    name = "clip_squash" if squashes else "clip"
  if name == BIG_VISION:
    square = _big_vision(own.size, kind=kind, key=key)
  else:
    square = image_protocols.PROTOCOLS[name].at(own.size)
  return square.with_statistics(own.mean, own.std)


def of_set(name: str, opened: field_set.FieldSet) -> field_set.FieldSet:
  """Return a set with the class names and templates of a protocol."""
  if name != BIG_VISION or not (opened.classes or opened.objectives):
    return opened
  templates, origins = opened.templates, dict(opened.origins)
  captions = opened.captions
  if opened.name in _CLIP_PAPER:
    templates, captions = (*names.templates("imagenet1k"), "{c}"), ()
    origins["templates"] = f"{names.ORIGIN}, as big_vision's clip_paper"
  return dataclasses.replace(
    opened,
    classes=class_names(opened.classes),
    templates=templates_of(templates),
    captions=templates_of(captions),
    objectives={
      objective: (class_names(classes), templates_of(lines))
      for objective, (classes, lines) in opened.objectives.items()
    },
    origins=origins,
    training=opened.training
    and functools.partial(_training, name, opened.training),
  )


def _training(
  name: str, open_training: Callable[[], field_set.FieldSet]
) -> field_set.FieldSet:
  return of_set(name, open_training())


def of_section(
  name: str, section: zero_shot.ZeroShotConfig
) -> zero_shot.ZeroShotConfig:
  """Return a section with the class names and templates of a protocol."""
  if name != BIG_VISION:
    return section
  return dataclasses.replace(
    section,
    classes=class_names(section.classes),
    templates=templates_of(section.templates, "{}"),
  )


def facts(
  name: str, protocol: model_inputs.Protocol, *, kind: str
) -> dict[str, Any]:
  """Return what a protocol decides, for a set's record.

  Args:
    name: one of NAMES.
    protocol: image protocol of the set, of `image_protocol`.
    kind: kind of the set.
  """
  # Patches of any shape are resized by Pillow too.
  interpolation = getattr(protocol, "interpolation", "bilinear")
  is_pillow = interpolation in picture.FILTERS
  said = {
    "name": name,
    "steps": model_inputs.describe(protocol),
    "resized_by": "Pillow" if is_pillow else "TensorFlow's formulas",
    "antialias": interpolation != "tf_bilinear",
  }
  if name == OWN:
    return said
  named = NAMED[name]
  said |= {
    "source": named.source,
    "normalisation": "the model's own mean and deviation",
    "precision_of_source": named.precision,
  }
  if kind in _CAPTIONS:
    return said | {"canonicalisation": "none: captions as they are"}
  return said | {
    "canonicalisation": named.canonicalisation,
    "prompts": named.prompts,
  }


def _big_vision(size: int, *, kind: str, key: str) -> image_protocols.Protocol:
  """Return the steps of big_vision, whose sizes are cut to whole pixels."""
  resize, interpolation, to = "squash", "tf_bilinear", int(size / 0.875)
  if kind in _CAPTIONS:
    to = size
  elif key == _SMALL:
    resize, interpolation = "shortest_rounded", "tf_area"
    to = int(size / 0.75)
  return image_protocols.Protocol(
    name=BIG_VISION,
    source="google-research/big_vision configs/proj/image_text/common.py, "
    "pp/ops_image.py",
    size=size,
    resize=resize,
    resize_size=to,
    interpolation=interpolation,
    rounding="down",
    mean=image_protocols.HALF,
    std=image_protocols.HALF,
  )


def class_names(lines: tuple[str, ...]) -> tuple[str, ...]:
  """Return class names as big_vision canonicalises them.

  >>> class_names(("Great_White  Shark", "kite (bird of prey)", "Car, auto"))
  ('great white shark', 'kite bird of prey', 'car')
  """
  return tuple(_plain(line.partition(",")[0]).strip() for line in lines)


def templates_of(lines: tuple[str, ...], name: str = "{c}") -> tuple[str, ...]:
  """Return templates as big_vision canonicalises them; `name` stays.

  >>> templates_of(("A close-up photo of a {c}.", "{c}"))
  ('a closeup photo of a {c}', '{c}')
  """
  return tuple(
    name.join(map(_plain, line.split(name))).strip() for line in lines
  )


def _plain(text: str) -> str:
  """Return a text in lower case, without punctuation and double spaces."""
  kept = text.replace("_", " ").translate(_WITHOUT_PUNCTUATION)
  return re.sub(r"\s+", " ", kept.lower())
