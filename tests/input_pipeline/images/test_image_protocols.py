"""Image protocols against goldens of the packages that publish them."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest
from PIL import Image

from input_pipeline.images import image_ops, image_protocols, picture
from tests.input_pipeline.images.golden import make_images

GOLDEN = pathlib.Path(__file__).parent / "golden"
CLIP = image_protocols.PROTOCOLS["clip"]
ALIGN = image_protocols.PROTOCOLS["align"]
LITE = image_protocols.PROTOCOLS["efficientnet_lite"]
GOLDENS = {
  "clip": "open_clip_images.npz",
  "clip_squash": "open_clip_images.npz",
  "imagenet": "open_clip_images.npz",
  "clip_hf": "transformers_images.npz",
  "siglip": "transformers_images.npz",
  "vit": "transformers_images.npz",
  "align": "transformers_images.npz",
}
CLIP_HF = dataclasses.replace(CLIP, rounding="down")


@pytest.mark.parametrize("name", GOLDENS)
def test_pixels_are_the_originals(name):
  protocol = (image_protocols.PROTOCOLS | {"clip_hf": CLIP_HF})[name]
  protocol = protocol.at(make_images.SIZE)
  with np.load(GOLDEN / GOLDENS[name], allow_pickle=False) as arrays:
    golden = arrays[name]
  for image, expected in zip(make_images.images(), golden, strict=True):
    result = protocol.apply(image)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, expected, err_msg=str(image.shape))


def test_the_two_roundings_differ():
  """So that the goldens above can tell one from the other."""
  protocol = CLIP.at(32)
  same = [
    np.array_equal(
      protocol.apply(image),
      dataclasses.replace(protocol, rounding="down").apply(image),
    )
    for image in make_images.images()
  ]
  assert True in same
  assert False in same


@pytest.mark.parametrize("name", image_protocols.PROTOCOLS)
@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (500, 3), (224, 224)])
def test_size_of_the_result(name, shape):
  image = np.full((*shape, 3), 200, np.uint8)
  protocol = image_protocols.PROTOCOLS[name]
  result = protocol.apply(image)
  assert result.shape == (protocol.size, protocol.size, 3)
  # Filters sum to 1, so one colour stays that colour.
  assert (result == 200).all()


def test_an_image_of_the_right_size_is_left_alone():
  image = make_images.images()[4]
  assert image.shape == (32, 32, 3)
  np.testing.assert_array_equal(CLIP.at(32).apply(image), image)


def test_crop_first():
  """The centre, 7/8 of the shorter side, is what is resized."""
  image = np.zeros((80, 120, 3), np.uint8)
  image[5:75, 25:95] = 255  # 70 = 80 * 224 / 256
  assert (LITE.at(28).apply(image) == 255).all()
  image[5] = 0
  assert not (LITE.at(28).apply(image) == 255).all()


@pytest.mark.parametrize(
  ("protocol", "size", "resize_size"),
  [
    (CLIP, 336, 336),
    (image_protocols.PROTOCOLS["imagenet"], 224, 256),
    (ALIGN, 289, 346),
    # tensorflow/tpu: size + round(size * (1 / 0.875 - 1)).
    (LITE, 240, 274),
    (LITE, 300, 343),
  ],
)
def test_other_sizes(protocol, size, resize_size):
  assert protocol.at(size).resize_size == resize_size
  assert protocol.at(size).size == size


def test_a_strip_that_would_not_fit_in_memory():
  image = np.zeros((1, 40_000, 3), np.uint8)
  image[:, 20_000:] = 200
  pixels = 224 * 224 * 40_000
  assert pixels > picture.MAX_PIXELS
  # The crop's 224 columns lead from the last black pixel to the first other.
  crop = CLIP.apply(image)
  assert crop.shape == (224, 224, 3)
  assert (crop == crop[:1, :, :1]).all()
  row = crop[0, :, 0].astype(int)
  assert (np.diff(row) >= 0).all()
  assert np.abs(row + row[::-1] - 200).max() <= 1
  assert ALIGN.apply(image).shape == (289, 289, 3)


def test_a_cut_out_of_a_resized_image():
  image = np.random.default_rng(0).integers(0, 256, (3, 300, 3), np.uint8)
  whole = np.asarray(
    Image.fromarray(image).resize((4000, 40), Image.Resampling.BILINEAR)
  )
  cut = image_ops.cut_resized(
    image, (40, 4000), (0, 1980), size=40, interpolation="bilinear"
  )
  difference = cut.astype(int) - whole[:, 1980:2020]
  # Bilinear weights do not overshoot: nothing is clipped between the passes.
  assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("name", image_protocols.PROTOCOLS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 1), (1, 2000)])
def test_the_smallest_images(name, shape):
  image = np.full((*shape, 3), (10, 20, 30), np.uint8)
  protocol = image_protocols.PROTOCOLS[name]
  got = protocol.apply(image)
  assert got.shape == (protocol.size, protocol.size, 3)
  assert (got == (10, 20, 30)).all()


@pytest.mark.parametrize(
  ("change", "expected"),
  [
    ({"resize": "x"}, "clip: resize must be one of .*got 'x'"),
    ({"interpolation": "x"}, "interpolation must be one of .*got 'x'"),
    ({"rounding": "x"}, "rounding must be one of .*got 'x'"),
    ({"resize_size": 9}, "clip: size must be between 1 and 9; got 224"),
    ({"size": 0}, "size must be between 1 and 224; got 0"),
  ],
)
def test_fields_are_checked(change, expected):
  with pytest.raises(ValueError, match=expected):
    dataclasses.replace(CLIP, **change)


def test_crop_first_has_pillow_s_filters_alone():
  with pytest.raises(
    ValueError, match=r"with resize crop_first; got 'tf_area'"
  ):
    dataclasses.replace(LITE, interpolation="tf_area")


@pytest.mark.parametrize(
  "change", [{"interpolation": "tf_bilinear"}, {"resize": "shortest_rounded"}]
)
def test_tensorflow_s_steps_are_in_no_file_of_others(change):
  protocol = dataclasses.replace(CLIP, **change)
  for write in (image_protocols.to_hf, image_protocols.to_open_clip):
    with pytest.raises(ValueError, match="clip resizes as TensorFlow does"):
      write(protocol)


@pytest.mark.parametrize("name", image_protocols.PROTOCOLS)
def test_to_transformers_and_back(name):
  protocol = image_protocols.PROTOCOLS[name]
  if protocol.resize == "crop_first":
    with pytest.raises(ValueError, match="crops before it resizes"):
      image_protocols.to_hf(protocol)
    return
  config = json.loads(json.dumps(image_protocols.to_hf(protocol)))
  back = image_protocols.from_hf(config)
  same = {"name": back.name, "source": back.source, "rounding": "down"}
  assert back == dataclasses.replace(protocol, **same)


# As the folders of these models have them (openai/clip-vit-base-patch32's first
# file, convert_align_tf_to_hf.py, SiglipImageProcessor's default).
HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
ALIGN_HF = {
  "image_processor_type": "EfficientNetImageProcessor",
  "do_center_crop": True,
  "crop_size": {"height": 289, "width": 289},
  "size": {"height": 346, "width": 346},
  "resample": 2,
  "rescale_factor": 1 / 127.5,
  "rescale_offset": True,
  "do_normalize": False,
  "include_top": False,
}


@pytest.mark.parametrize(
  ("config", "expected"),
  [
    (
      {
        "feature_extractor_type": "CLIPFeatureExtractor",
        "do_center_crop": True,
        "crop_size": 224,
        "size": 224,
        "resample": 3,
        "image_mean": list(CLIP.mean),
        "image_std": list(CLIP.std),
      },
      CLIP_HF,
    ),
    (
      HALF | {"size": {"height": 384, "width": 384}, "resample": 3},
      image_protocols.PROTOCOLS["siglip"].at(384),
    ),
    (ALIGN_HF, ALIGN),
    (
      HALF | {"size": 224, "resample": 2, "rescale_factor": 1 / 255},
      image_protocols.PROTOCOLS["vit"],
    ),
    (
      HALF | {"size": 224, "resample": 0},
      dataclasses.replace(
        image_protocols.PROTOCOLS["vit"], interpolation="nearest"
      ),
    ),
  ],
)
def test_from_transformers(config, expected):
  got = image_protocols.from_hf(config)
  named = dataclasses.replace(expected, name=got.name, source=got.source)
  # 1 / 127.5 is no exact float.
  np.testing.assert_allclose(
    [got.mean, got.std], [named.mean, named.std], 1e-12
  )
  assert dataclasses.replace(got, mean=named.mean, std=named.std) == named


def _hf(kind, **fields):
  return image_protocols.from_hf(
    HALF
    | {"image_processor_type": f"{kind}ImageProcessor", "resample": 3}
    | fields
  )


@pytest.mark.parametrize(
  ("kind", "fields", "resize"),
  [
    # One number is the shorter side for CLIP's class, a square for ViT's.
    ("CLIP", {"size": 9, "do_center_crop": True}, "shortest"),
    ("ViT", {"size": 9, "do_center_crop": True}, "squash"),
    ("ViT", {"size": 9}, "squash"),
    (
      "CLIP",
      {"size": 9, "do_center_crop": True, "default_to_square": True},
      "squash",
    ),
    ("ViT", {"size": [9, 9]}, "squash"),
    ("ViT", {"size": {"height": 9.0, "width": 9.0}}, "squash"),
  ],
)
def test_spellings_of_a_size(kind, fields, resize):
  got = _hf(kind, crop_size=8, **fields)
  assert (got.resize, got.resize_size) == (resize, 9)
  assert got.size == (8 if fields.get("do_center_crop") else 9)
  assert type(got.size) is int


def test_only_efficientnet_has_efficientnet_s_steps():
  steps = {"include_top": True, "rescale_offset": True}
  plain = _hf("ViT", size=9)
  assert _hf("ViT", size=9, **steps) == plain
  assert _hf("EfficientNet", size=9, **steps).mean != plain.mean


@pytest.mark.parametrize(
  ("fields", "match"),
  [
    ({"size": {"shortest_edge": 9, "longest_edge": 12}}, "size must be a sq"),
    ({"size": {"height": 9.5, "width": 9.5}}, "size must be a square"),
    ({"size": 9, "crop_size": 10}, "crop_size must be .* at most 9 pixels"),
    ({"size": 9, "resample": "bicubic"}, "resample must be among .*'bicubic'"),
    ({"size": 9, "do_resize": False}, "do_resize must be true"),
  ],
)
def test_a_processor_is_refused_by_field(fields, match):
  with pytest.raises(ValueError, match=match):
    _hf("CLIP", do_center_crop=True, **fields)


def test_one_number_is_the_shorter_side_without_a_crop_too():
  with pytest.raises(ValueError, match="size must be a square where do_center"):
    _hf("CLIP", size=9, do_center_crop=False)


def test_null_in_open_clip_s_file_is_the_default():
  nulls = dict.fromkeys(("mean", "std", "size", "resize_mode", "interpolation"))
  assert image_protocols.from_open_clip(nulls) == (
    image_protocols.from_open_clip({})
  )
  with pytest.raises(ValueError, match="square size"):
    image_protocols.from_open_clip({"size": [8, 9]})


def test_std_twice():
  """EfficientNet's classifiers: (x / 255 - mean) / std, then / std again."""
  config = ALIGN_HF | {"do_normalize": True, "include_top": True}
  config |= {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}
  config |= {"rescale_factor": 1 / 255, "rescale_offset": False}
  got = image_protocols.from_hf(config)
  x, mean, std = 0.7, np.array([0.4, 0.5, 0.6]), np.array([0.2, 0.3, 0.4])
  expected = (x - mean) / std / std
  # Float64 rounding.
  np.testing.assert_allclose(
    (x - np.array(got.mean)) / got.std, expected, 1e-12
  )


@pytest.mark.parametrize(
  "change",
  [
    {"do_resize": False},
    {"do_pad": True},
    {"max_num_patches": 256},
    {"crop_pct": 0.875},
    {"resample": 99},
    {"resample": None},
    {"size": {"height": 9, "width": 8}},
    {"size": {"shortest_edge": 346}, "do_center_crop": False},
    {"crop_size": {"height": 9, "width": 8}},
  ],
)
def test_what_transformers_does_and_we_do_not(change):
  with pytest.raises(
    ValueError,
    match=r"preprocessor_config.json: .* must be .*; got .* with Eff",
  ):
    image_protocols.from_hf(ALIGN_HF | change)


def test_from_open_clip():
  config = {"size": 224, "mode": "RGB", "interpolation": "bicubic"}
  config |= {"mean": list(CLIP.mean), "std": list(CLIP.std), "fill_color": 0}
  for resize_mode, name in (("shortest", "clip"), ("squash", "clip_squash")):
    got = image_protocols.from_open_clip(config | {"resize_mode": resize_mode})
    expected = image_protocols.PROTOCOLS[name]
    same = {"name": got.name, "source": got.source}
    assert got == dataclasses.replace(expected, **same)
  got = image_protocols.from_open_clip({"size": [336, 336]})
  assert (got.size, got.mean) == (336, CLIP.mean)
  for change in ({"resize_mode": "longest"}, {"size": [1, 2]}, {"mode": "L"}):
    with pytest.raises(ValueError, match=r"preprocess_cfg must.*got \{"):
      image_protocols.from_open_clip(config | change)


def test_every_protocol_names_its_source():
  for name, protocol in image_protocols.PROTOCOLS.items():
    assert protocol.name == name
    assert protocol.source


def test_crops_lie_along_the_longer_side():
  ramp = np.arange(64, dtype=np.uint8)[None, :, None]
  wide = np.broadcast_to(ramp, (32, 64, 3))
  protocol = image_protocols.PROTOCOLS["clip"].at(32)
  (one,) = protocol.crops(wide, 1)
  np.testing.assert_array_equal(one, protocol.apply(wide))
  firsts = [crop[0, 0, 0] for crop in protocol.crops(wide, 3)]
  assert firsts == [0, 16, 32]
  tall = protocol.crops(wide.swapaxes(0, 1), 3)
  for crop, other in zip(protocol.crops(wide, 3), tall, strict=True):
    assert crop.shape == (32, 32, 3)
    np.testing.assert_array_equal(crop.swapaxes(0, 1), other)
  # A resize to more than the crop leaves the middle of the shorter side.
  larger = image_protocols.PROTOCOLS["imagenet"].at(28)
  assert larger.resize_size == 32
  crops = larger.crops(wide.swapaxes(0, 1), 2)
  assert [crop[0, 0, 0] for crop in crops] == [0, 36]
  assert [crop[0, -1, 0] for crop in crops] == [0, 36]
  squash = image_protocols.PROTOCOLS["siglip"].at(32)
  with pytest.raises(ValueError, match="crops need a resize that keeps"):
    squash.crops(wide, 2)
