import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from configs import base
from input_pipeline import faults
from input_pipeline.images import (
  augmentation,
  boxed,
  image_ops,
  image_protocols,
  naflex,
  picture,
)
from tests.input_pipeline.images import augmentations, encoded
from training import config as config_lib


def _section(**fields) -> augmentation.Augmentation:
  made = augmentations.make(**fields)
  made.check(32)
  return made


def _rng(seed: int = 0) -> np.random.Generator:
  return np.random.default_rng(seed)


def _encoded(form: str = "JPEG", size=(90, 60)) -> bytes:
  noise = Image.fromarray(_rng(9).integers(0, 256, (6, 9, 3), np.uint8))
  buffer = io.BytesIO()
  noise.resize(size, Image.Resampling.BICUBIC).save(buffer, form)
  return buffer.getvalue()


def test_drawings_are_cut_as_they_always_were():
  """The figures of quickstart are of these pixels."""
  made = _section(crop_scale=(0.8, 1.2), flip_probability=0.5)
  for seed in range(6):
    rng = _rng(seed)
    image = image_ops.decode(_encoded("PNG"))
    expected = image_ops.random_crop(image, rng, size=32, scale=(0.8, 1.2))
    expected = image_ops.random_flip(expected, rng, probability=0.5)
    got = made.apply(_encoded("PNG"), 32, _rng(seed))
    assert got.keys() == {"images"}
    np.testing.assert_array_equal(got["images"], expected)


@pytest.mark.parametrize(
  "fields",
  [
    {"resize": "square", "crop_scale": (0.5, 1.5)},
    {"resize": "area", "crop_scale": (0.3, 1.0)},
    {"resize": "squash", "resize_size": 40},
    {"resize": "shortest"},
    {"resize": "squash", "jitter": (0.4, 0.4, 0.4, 0.1)},
    {"resize": "squash", "gray_probability": 0.5},
    {"resize": "squash", "blur_probability": 1.0},
    {"resize": "squash", "randaug_layers": 2},
    {"resize": "naflex", "flip_probability": 0.5},
    {"resize": "squash", "vertical_flip_probability": 0.5},
    {"resize": "squash", "quarter_turns": True},
    {"resize": "squash", "pre_crop": 50},
    {"resize": "squash", "warp": {"degrees": 10.0}},
    {"resize": "naflex", "quarter_turns": True},
  ],
  ids=lambda fields: "-".join(map(str, fields.values())),
)
def test_depends_on_the_seed_and_nothing_else(fields):
  made = _section(**fields)
  for form in ("JPEG", "PNG"):
    data = _encoded(form)
    first = [made.apply(data, 32, _rng(seed)) for seed in range(8)]
    again = [made.apply(data, 32, _rng(seed)) for seed in range(8)]
    for a, b in zip(first, again, strict=True):
      assert a.keys() == made.shapes(32).keys()
      for name, (shape, dtype) in made.shapes(32).items():
        assert (a[name].shape, a[name].dtype) == (shape, dtype)
        np.testing.assert_array_equal(a[name], b[name])
    assert len({x["images"].tobytes() for x in first}) > 1, "nothing is random"


@pytest.mark.parametrize("fields", [{"resize": "squash"}, {"jitter": (0,) * 4}])
def test_what_draws_nothing(fields):
  made = _section(**fields)
  images = {
    made.apply(_encoded(size=(60, 60)), 32, _rng(seed))["images"].tobytes()
    for seed in range(4)
  }
  assert len(images) == 1


def test_a_config_of_before_the_fields():
  values = base.get_config().to_dict()
  expected = config_lib.from_mapping(values)
  for field in ("pre_crop", "first_size", "quarter_turns", "warp"):
    del values["data"]["augmentation"][field]
  del values["data"]["augmentation"]["vertical_flip_probability"]
  assert config_lib.from_mapping(values) == expected


def test_what_is_off_draws_nothing():
  """Runs of before the fields existed keep their examples to the bit."""
  made, rng = _section(), _rng()
  made.apply(_encoded(), 32, rng)
  expected = _rng()
  expected.random(4)  # three of the square, one of the mirror
  assert rng.bit_generator.state == expected.bit_generator.state


def _pixels(image: np.ndarray) -> bytes:
  return encoded.by_pillow(Image.fromarray(image), "PNG")


def test_mirrors_and_turns():
  image = _rng().integers(0, 256, (24, 24, 3), np.uint8)
  fields = {"resize": "squash", "flip_probability": 0.5}
  fields |= {"vertical_flip_probability": 0.5, "quarter_turns": True}
  made = _section(**fields)
  got = [made.apply(_pixels(image), 24, _rng(s))["images"] for s in range(99)]
  turned = [np.rot90(image, k) for k in range(4)]
  expected = {x.tobytes() for x in (*turned, *(x[::-1] for x in turned))}
  assert {x.tobytes() for x in got} == expected
  upright = _section(resize="squash", vertical_flip_probability=1.0)
  got = upright.apply(_pixels(image), 24, _rng())["images"]
  np.testing.assert_array_equal(got, image[::-1])


def test_a_square_is_cut_first():
  """Of the image as it is: no level is interpolated."""
  image = _rng().integers(0, 256, (20, 33, 3), np.uint8)
  made = _section(resize="squash", pre_crop=12)
  corners = set()
  for seed in range(300):
    got = made.apply(_pixels(image), 12, _rng(seed))["images"]
    rng = _rng(seed)
    top, left = int(rng.integers(9)), int(rng.integers(22))
    np.testing.assert_array_equal(got, image[top : top + 12, left : left + 12])
    corners.add((top, left))
  assert {top for top, _ in corners} == set(range(9))
  assert {left for _, left in corners} == set(range(22))
  with pytest.raises(faults.ExampleError, match="33 x 20 .*pre_crop=21") as bad:
    _section(resize="squash", pre_crop=21).apply(_pixels(image), 12, _rng())
  assert bad.value.kind == "image_too_small"


def test_an_area_is_resized_twice():
  data = _encoded("PNG", (60, 60))
  made = _section(resize="area", first_size=20, crop_ratio=(1.0, 1.0))
  got = made.apply(data, 32, _rng())["images"]
  whole = picture.open_picture(data)
  small = whole.resized(picture.Box(0, 0, 60, 60), 20, 20, "bilinear")
  expected = Image.fromarray(small).resize((32, 32), Image.Resampling.BICUBIC)
  np.testing.assert_array_equal(got, np.asarray(expected))


@pytest.mark.parametrize("name", image_protocols.PROTOCOLS)
def test_protocol(name):
  made = _section(resize="protocol", protocol=name)
  expected = image_protocols.PROTOCOLS[name].at(32)
  np.testing.assert_array_equal(
    made.apply(_encoded(), 32, _rng())["images"],
    expected.apply(image_ops.decode(_encoded())),
  )


def test_naflex_keeps_the_shape():
  made = _section(resize="naflex", patch_size=8, max_num_patches=30)
  data = _encoded("PNG")
  got = made.apply(data, 32, _rng())
  assert got["shapes"].tolist() == [4, 6]  # of 60 x 90 pixels
  protocol = naflex.Protocol(8, 30, (0.5,) * 3, (0.5,) * 3)
  patches, shape = protocol.apply(image_ops.decode(data))
  np.testing.assert_array_equal(got["shapes"], shape)
  # Resized by SIMD: a level here and there.
  assert np.abs(got["images"].astype(int) - patches).max() <= 2
  assert not got["images"][24:].any()  # padding
  assert made.evaluation_protocol(32, protocol.mean, protocol.std) == protocol


def test_probabilities_count_examples():
  made = _section(resize="squash", gray_probability=0.3)
  data = _encoded(size=(8, 8))
  num_gray = sum(
    not np.ptp(made.apply(data, 8, _rng(seed))["images"], axis=-1).any()
    for seed in range(400)
  )
  # Five standard deviations of a binomial share.
  assert num_gray / 400 == pytest.approx(0.3, abs=5 * (0.3 * 0.7 / 400) ** 0.5)


@pytest.mark.parametrize(
  ("field", "value", "message"),
  [
    ("resize", "crop", "one of"),
    ("interpolation", "nearest", "one of"),
    ("protocol", "clip", 'a name with resize="protocol"'),
    ("crop_scale", (0.0, 1.0), "0 < low <= high"),
    ("crop_ratio", (2.0, 1.0), "0 < low <= high"),
    ("resize_size", 31, "0, or at least data.image_size=32"),
    ("flip_probability", 1.5, "between 0 and 1"),
    ("jitter", (0.1, 0.1, 0.1, 0.6), "hue"),
    ("blur_sigma", (0.0, 1.0), "0 < low <= high"),
    ("randaug_layers", -1, "at least 0"),
    ("randaug_magnitude", 30.0, "between 0 and 20"),
    ("max_num_patches", 0, "at least 1"),
    ("pre_crop", -1, "at least 0"),
    ("first_size", 20, '0 unless resize="area"'),
    ("vertical_flip_probability", -0.1, "between 0 and 1"),
  ],
)
def test_fields_of_no_use(field, value, message):
  made = dataclasses.replace(_section(), **{field: value})
  with pytest.raises(
    ValueError, match=rf"data\.augmentation\.{field} must be .*{message}"
  ):
    made.check(32)


def test_an_area_above_the_whole():
  """Some draws of (0.5, 1.2) fit, none of (1.1, 1.2) does."""
  made = dataclasses.replace(_section(), resize="area", crop_scale=(0.5, 1.2))
  made.check(32)
  made = dataclasses.replace(made, crop_scale=(1.1, 1.2))
  with pytest.raises(ValueError, match="crop_scale must be .* at most 1"):
    made.check(32)


def test_patches_need_their_tower():
  config = base.get_config()
  config.data.augmentation.resize = "naflex"
  with pytest.raises(ValueError, match='a tower "naflex" reads'):
    config_lib.checked(config.to_dict())


@pytest.mark.parametrize(
  "fields",
  [
    {"crop_scale": (0.6, 1.0)},
    {"crop_scale": (1.2, 1.4)},
    {"resize": "area", "crop_scale": (0.3, 0.9)},
    {"resize": "area", "crop_scale": (0.3, 0.9), "first_size": 48},
    {"resize": "squash", "resize_size": 72},
    {"resize": "shortest", "resize_size": 72},
    {"resize": "shortest", "random_crop": False},
    {"resize": "protocol", "protocol": "clip"},
    {"resize": "protocol", "protocol": "efficientnet"},
    {"resize": "naflex", "patch_size": 8, "max_num_patches": 64},
    {"flip_probability": 0.5, "vertical_flip_probability": 0.5},
    {"quarter_turns": True, "flip_probability": 0.5},
    {"pre_crop": 60, "resize": "area", "quarter_turns": True},
    {"warp": {"translate": (0.2, 0.1), "scale": (0.7, 1.3)}},
  ],
  ids=str,
)
def test_moves_are_those_of_the_pixels(fields):
  """A rectangle's box follows the moves to where its pixels are."""
  left, top, right, bottom = box = (40, 20, 70, 50)
  pixels = np.zeros((80, 110, 3), np.uint8)
  pixels[top:bottom, left:right] = 255
  # White canvas and grey fill: the rectangle alone is red.
  pixels[top:bottom, left:right, 1:] = 0
  data = encoded.by_pillow(Image.fromarray(pixels), "PNG")
  config = augmentations.make(**{"warp": {"fill": 0}, **fields})
  num_seen = 0
  for seed in range(12):
    got = config.apply_with_moves(data, 64, np.random.default_rng(seed))
    same = config.apply(data, 64, np.random.default_rng(seed))
    np.testing.assert_array_equal(got.arrays["images"], same["images"])
    image = config.changed(
      picture.open_picture(data), 64, np.random.default_rng(seed)
    )
    assert (got.height, got.width) == (80, 110)
    assert image.shape[:2] == (got.moves[-1].height, got.moves[-1].width)
    ((got_4,), (share,)) = boxed.follow(np.array([box], float), got.moves)
    is_red = (image[..., 0].astype(int) - image[..., 1]) > 127
    if share < 0.05:
      assert is_red.sum() <= 0.06 * 64 * 64
      continue
    num_seen += 1
    rows, columns = is_red.any(1).nonzero()[0], is_red.any(0).nonzero()[0]
    expected_4 = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    # A pixel is red if more than half of it is: half a pixel, and half of one
    # of the source where that is enlarged, by up to 2.
    np.testing.assert_allclose(got_4, expected_4, atol=1.6)
  assert num_seen >= 6


def test_a_turned_box_becomes_the_one_around_its_corners():
  pixels = np.zeros((64, 64, 3), np.uint8)
  pixels[24:40, 16:48] = 255
  data = encoded.by_pillow(Image.fromarray(pixels), "PNG")
  warp = {
    "degrees": 40.0,
    "distortion": 0.3,
    "perspective_probability": 0.5,
    "fill": 0,
  }
  config = augmentations.make(resize="squash", warp=warp)
  for seed in range(8):
    got = config.apply_with_moves(data, 64, np.random.default_rng(seed))
    (box_4,), (share,) = boxed.follow(np.array([[16.0, 24, 48, 40]]), got.moves)
    is_white = got.arrays["images"][..., 0] > 127
    rows, columns = is_white.any(1).nonzero()[0], is_white.any(0).nonzero()[0]
    expected_4 = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    assert share > 0.5
    # The pointed corner of a turned rectangle fills less than half a pixel.
    np.testing.assert_allclose(box_4, expected_4, atol=2.5)
