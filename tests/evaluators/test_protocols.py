"""Named protocols: their pixels, their texts, and what records say of them."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from evaluators import protocols, zero_shot
from evaluators.sets import field_set
from input_pipeline import model_inputs
from input_pipeline.images import image_protocols, naflex
from tasks import evaluate as evaluate_task
from tests.input_pipeline.images import golden
from tests.input_pipeline.images.golden import make_images

GOLDEN = pathlib.Path(golden.__file__).parent
SIZE = make_images.SIZE
MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
# A model with statistics and steps that no named protocol has.
OWN = image_protocols.PROTOCOLS["imagenet"].at(SIZE).with_statistics(MEAN, STD)
NAFLEX = naflex.Protocol(16, 64, MEAN, STD)


def _pixels(name, *, own=OWN, kind="classification", key=""):
  protocol = protocols.image_protocol(name, own, kind=kind, key=key)
  return [protocol.apply(image) for image in make_images.images()]


def _golden(file, name):
  with np.load(GOLDEN / f"{file}_images.npz", allow_pickle=False) as arrays:
    return arrays[name]


def _shorter_side(image):
  """Return Resize(SIZE) and CenterCrop(SIZE) of torchvision, by Pillow."""
  height, width = image.shape[:2]
  if height > width:
    height, width = int(SIZE * height / width), SIZE
  else:
    height, width = SIZE, int(SIZE * width / height)
  resized = Image.fromarray(image).resize((width, height), Image.BICUBIC)
  top, left = round((height - SIZE) / 2), round((width - SIZE) / 2)
  return np.asarray(resized.crop((left, top, left + SIZE, top + SIZE)))


@pytest.mark.parametrize("name", ["clip", "open_clip", "datacomp"])
def test_shorter_side_bicubic_and_centre_crop(name):
  got = _pixels(name)
  for image, pixels in zip(make_images.images(), got, strict=True):
    np.testing.assert_array_equal(pixels, _shorter_side(image))
  # open_clip's own image_transform.
  np.testing.assert_array_equal(got, _golden("open_clip", "clip"))


@pytest.mark.parametrize("name", ["open_clip", "datacomp"])
def test_open_clip_s_own_file_decides(name):
  own = image_protocols.from_open_clip({"size": SIZE, "resize_mode": "squash"})
  got = _pixels(name, own=own)
  np.testing.assert_array_equal(got, _golden("open_clip", "clip_squash"))


@pytest.mark.parametrize("name", ["open_clip", "datacomp"])
def test_open_clip_squashes_what_was_trained_so(name):
  own = image_protocols.PROTOCOLS["siglip"].at(SIZE)
  got = _pixels(name, own=own)
  np.testing.assert_array_equal(got, _golden("open_clip", "clip_squash"))
  # With a crop it is none of open_clip's two.
  own = image_protocols.PROTOCOLS["align"].at(SIZE)
  got = _pixels(name, own=own)
  np.testing.assert_array_equal(got, _golden("open_clip", "clip"))


def test_siglip_squashes_bicubically():
  got = _pixels("siglip")
  for image, pixels in zip(make_images.images(), got, strict=True):
    resized = Image.fromarray(image).resize((SIZE, SIZE), Image.BICUBIC)
    np.testing.assert_array_equal(pixels, np.asarray(resized))
  np.testing.assert_array_equal(got, _golden("transformers", "siglip"))


@pytest.mark.parametrize(
  ("steps", "kind", "key", "most"),
  [
    ("square875", "classification", "imagenet1k", 0),
    ("square875", "multilabel", "", 0),
    ("square", "retrieval", "flickr30k", 0),
    ("square", "selection", "winoground", 0),
    # TensorFlow adds an area's pixels in float32, in an order of its own.
    ("aspect75", "classification", "imagenet-a", 1),
  ],
)
def test_big_vision_resizes_as_tensorflow(steps, kind, key, most):
  got = np.array(_pixels("big_vision", kind=kind, key=key), int)
  difference = np.abs(got - _golden("tensorflow", steps))
  assert difference.max() <= most
  assert (difference > 0).mean() < 0.05


@pytest.mark.parametrize(
  ("size", "square", "small"),
  [(224, 256, 298), (256, 292, 341), (384, 438, 512)],
)
def test_big_vision_s_sizes_are_cut_to_whole_pixels(size, square, small):
  own = OWN.at(size)
  for key, to in (("imagenet1k", square), ("imagenet-a", small)):
    protocol = protocols.image_protocol(
      "big_vision", own, kind="classification", key=key
    )
    assert (protocol.size, protocol.resize_size) == (size, to)


@pytest.mark.parametrize("name", protocols.NAMES)
def test_size_and_statistics_stay_the_model_s(name):
  protocol = protocols.image_protocol(name, OWN, kind="retrieval")
  assert (protocol.size, protocol.mean, protocol.std) == (SIZE, MEAN, STD)
  assert (protocol == OWN) == (name == "own")


@pytest.mark.parametrize("name", protocols.NAMES)
def test_a_naflex_model_has_its_own_alone(name):
  if name == "own":
    assert protocols.image_protocol(name, NAFLEX, kind="retrieval") is NAFLEX
    return
  with pytest.raises(
    ValueError, match=f"^--protocol must be own for a NaFlex.*got {name}, "
  ):
    protocols.image_protocol(name, NAFLEX, kind="retrieval")


def _set(name="cars", **fields):
  return field_set.FieldSet(
    *(name, "classification", {}),
    classes=("Great_White  Shark", "kite (bird of prey)", "St. John's, a dog"),
    templates=("A close-up photo of a {c}.", "{c}!"),
    **fields,
  )


def test_big_vision_s_names():
  got = protocols.of_set("big_vision", _set())
  assert got.classes == ("great white shark", "kite bird of prey", "st johns")
  assert got.templates == ("a closeup photo of a {c}", "{c}")
  faces = _set(objectives={"race": (("A, B",), ("a {c}.",))})
  got = protocols.of_set("big_vision", faces)
  assert got.objectives == {"race": (("a",), ("a {c}",))}


def test_big_vision_s_prompts_of_its_sets():
  got = protocols.of_set("big_vision", _set("imagenet-r"))
  assert len(got.templates) == 81
  assert got.templates[0] == "a bad photo of a {c}"
  assert "a closeup photo of the {c}" in got.templates
  assert got.templates[-2:] == ("a tattoo of the {c}", "{c}")
  assert "clip_paper" in got.origins["templates"]


@pytest.mark.parametrize(
  "name", [x for x in protocols.NAMES if x != "big_vision"]
)
def test_others_leave_names_alone(name):
  assert protocols.of_set(name, _set()) == _set()
  captions = field_set.FieldSet("flickr30k", "retrieval", {})
  assert protocols.of_set("big_vision", captions) == captions


def test_templates_of_a_config():
  section = zero_shot.ZeroShotConfig(
    *("zero_shot", None, "en", ("Light_Skin",), ("A {} hand.",)),
    *("key_part", ("a",), ("top_1",)),
  )
  got = protocols.of_section("big_vision", section)
  assert got.prompts() == ["a light skin hand"]
  assert protocols.of_section("clip", section) is section


@pytest.mark.parametrize("name", protocols.NAMES)
def test_a_record_says_all(name):
  protocol = protocols.image_protocol(name, OWN, kind="classification")
  facts = protocols.facts(name, protocol, kind="classification")
  assert facts["name"] == name
  assert str(SIZE) in facts["steps"]
  assert facts["antialias"] == (name != "big_vision")
  assert ("TensorFlow" in facts["resized_by"]) == (name == "big_vision")
  if name != "own":
    for field in ("source", "canonicalisation", "prompts", "normalisation"):
      assert facts[field]
    captions = protocols.facts(name, protocol, kind="retrieval")
    assert captions["canonicalisation"].startswith("none: captions")
  # Image protocols come back from a record.
  back = model_inputs.protocol_of(model_inputs.protocol_facts(protocol))
  assert back == protocol


def test_steps_in_words():
  for kind, key, words in (
    (
      *("classification", ""),
      "both sides to 36 (bilinear without antialiasing, as TensorFlow), "
      "centre crop of 32",
    ),
    (
      *("retrieval", ""),
      "both sides to 32 (bilinear without antialiasing, as TensorFlow)",
    ),
    (
      *("classification", "imagenet-a"),
      "shorter side to 42 (mean over areas, as TensorFlow), centre crop of 32",
    ),
  ):
    protocol = protocols.image_protocol("big_vision", OWN, kind=kind, key=key)
    assert model_inputs.describe(protocol) == words


def test_the_flag_has_all_names():
  flags = {flag.name: flag for flag in evaluate_task.FLAGS}
  flag = flags["protocol"]
  assert (
    tuple(flag._flagvalues["protocol"].parser.enum_values) == protocols.NAMES
  )
