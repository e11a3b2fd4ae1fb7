import io
import math
import pathlib

import numpy as np
import pytest
from PIL import Image

from evaluators.robustness import corruptions, severities
from tests.evaluators.robustness import pictures

GOLDEN = pathlib.Path(__file__).parent / "golden" / "corruptions.npz"
DRAWN = ("defocus_blur", "zoom_blur", "brightness", "contrast")
DRAWN += ("pixelate", "jpeg_compression")


@pytest.mark.parametrize("number", range(len(corruptions.KINDS)))
def test_pixels_are_those_of_the_authors_code(number):
  kind = list(corruptions.KINDS)[number]
  image = pictures.picture(224, 224)
  textures = pictures.textures(224)
  start = 3 + number % 13
  got = [
    corruptions.corrupt(image, kind, s, uid="golden", textures=textures)
    for s in range(1, 6)
  ]
  got = np.stack(got)[:, start::16, 15 - start % 8 :: 16].astype(int)
  with np.load(GOLDEN) as golden:
    far = np.abs(got - golden[kind])
  # One level where a value lies next to a whole number; the first blur of
  # glass is truncated before the second, which can add two of them up.
  assert far.max() <= (2 if kind == "glass_blur" else 1)


def test_tables_are_whole():
  assert set(severities.TABLE) == set(corruptions.KINDS)
  for kind, table in severities.TABLE.items():
    assert tuple(table) == severities.SIZES, kind
    assert {len(row) for row in table.values()} == {5}, kind
  assert len(corruptions.KINDS) == 15


@pytest.mark.parametrize("kind", corruptions.KINDS)
def test_random_numbers_depend_on_the_four_names_only(kind):
  image = pictures.picture(64, 64)
  textures = pictures.textures(64)

  def corrupt(**names):
    names = {"uid": "a", "seed": 0} | names
    return corruptions.corrupt(image, kind, 2, textures=textures, **names)

  first, other, third = corrupt(), corrupt(uid="b"), corrupt(seed=1)
  np.testing.assert_array_equal(corrupt(), first)
  is_same = kind in DRAWN
  assert np.array_equal(first, other) == is_same
  assert np.array_equal(first, third) == is_same
  # The image itself is not changed.
  np.testing.assert_array_equal(image, pictures.picture(64, 64))


@pytest.mark.parametrize("kind", corruptions.KINDS)
@pytest.mark.parametrize("shape", [(28, 28), (32, 32), (64, 96), (97, 65)])
def test_any_shape(kind, shape):
  image = pictures.picture(*shape)
  textures = pictures.textures(max(shape))
  for severity in (1, 5):
    got = corruptions.corrupt(image, kind, severity, uid="a", textures=textures)
    assert got.dtype == np.uint8
    assert got.shape == (*shape, 3)
    assert not np.array_equal(got, image)


def test_severity_grows():
  # Of kinds whose strength is one number, as pixels far from the original.
  image = pictures.picture(224, 224)
  for kind in ("gaussian_noise", "shot_noise", "impulse_noise", "contrast"):
    far = [
      np.abs(
        corruptions.corrupt(image, kind, s, uid="a").astype(int) - image
      ).mean()
      for s in range(1, 6)
    ]
    assert far == sorted(far), kind
    assert far[4] > 2 * far[0] or kind == "contrast"


@pytest.mark.parametrize(
  ("side", "size"),
  [(16, 32), (32, 32), (45, 32), (46, 64), (119, 64), (120, 224)]
  + [(224, 224), (258, 224), (259, 299), (512, 299)],
)
def test_constants_of_the_nearest_size(side, size):
  assert severities.nearest(side) == size
  image = np.full((side, side, 3), 128, np.uint8)
  image[:, side // 2 :] = 64
  got, wanted = (
    corruptions.corrupt(image, "contrast", 1, uid="a", size=s)
    for s in (None, size)
  )
  np.testing.assert_array_equal(got, wanted)
  # 224 keeps 0.4 of the distance to the mean, 32 keeps 0.75 of it.
  kept = (int(got[0, 0, 0]) - int(got[0, -1, 0])) / 64
  assert kept == pytest.approx(0.75 if size == 32 else 0.4, abs=2 / 64)


def test_brightness_of_black_is_grey():
  black = np.zeros((32, 32, 3), np.uint8)
  got = corruptions.corrupt(black, "brightness", 3, uid="a", size=224)
  assert set(got.ravel()) == {math.floor(0.3 * 255)}


def test_noise_has_its_deviation():
  grey = np.full((224, 224, 3), 128, np.uint8)
  got = corruptions.corrupt(grey, "gaussian_noise", 1, uid="a") / 255
  # 150,528 values: a standard error of 0.00015; truncation adds little.
  assert got.std() == pytest.approx(0.08, abs=0.001)
  salt = corruptions.corrupt(grey, "impulse_noise", 5, uid="a")
  assert (salt == 255).mean() == pytest.approx(0.27 / 2, abs=0.004)
  assert (salt == 0).mean() == pytest.approx(0.27 / 2, abs=0.004)
  # Channels are hit on their own.
  assert ((salt == 128).any(axis=2) & (salt != 128).any(axis=2)).any()


def test_jpeg_of_the_published_set():
  image = pictures.picture(64, 64)
  got = corruptions.corrupt(image, "contrast", 1, uid="a", jpeg_quality=85)
  plain = corruptions.corrupt(image, "contrast", 1, uid="a")
  written = io.BytesIO()
  Image.fromarray(plain).save(written, "JPEG", quality=85)
  np.testing.assert_array_equal(got, np.asarray(Image.open(written)))
  assert not np.array_equal(got, plain)


def test_frost_without_textures_is_refused():
  image = pictures.picture(32, 32)
  with pytest.raises(ValueError, match=r"frost needs textures .*; got none"):
    corruptions.corrupt(image, "frost", 1, uid="a")
  with pytest.raises(ValueError, match=r"at least \[32, 32\] pixels; got \[8"):
    corruptions.corrupt(
      image, "frost", 1, uid="a", textures=[pictures.picture(8, 64)]
    )
  assert len(corruptions.kinds(False)) == 14
  assert "frost" not in corruptions.kinds(False)
  assert corruptions.kinds(True) == tuple(corruptions.KINDS)


def test_textures_whose_sides_are_rounded_up(tmp_path):
  # 486 * 0.3 is 145.8: the last row's centre lies beyond the last pixel's.
  texture = pictures.picture(486, 324)
  texture[-8:] = 200
  Image.fromarray(texture).save(tmp_path / "frost6.png")
  (got,) = corruptions.load_textures(tmp_path, 64)
  assert got.shape == (146, 97, 3)
  np.testing.assert_array_equal(got[-1], 200)


def test_textures_of_a_folder(tmp_path):
  texture = pictures.picture(240, 320)
  Image.fromarray(texture).save(tmp_path / "frost2.png")
  Image.fromarray(255 - texture).save(tmp_path / "frost1.png")
  (tmp_path / ".DS_Store").write_bytes(b"no image")
  got = corruptions.load_textures(tmp_path, 224)
  np.testing.assert_array_equal(got[0], 255 - texture)
  np.testing.assert_array_equal(got[1], texture)
  # CIFAR-C makes them 0.2 times as large.
  small = corruptions.load_textures(tmp_path, 32)
  assert [x.shape for x in small] == [(48, 64, 3)] * 2
  # Bilinear and not antialiased: the centre of five pixels is one of them.
  np.testing.assert_array_equal(small[1], texture[2::5, 2::5])
  with pytest.raises(ValueError, match=r"frost1.png must have at least 256"):
    corruptions.load_textures(tmp_path, 256)
  (tmp_path / "a.txt").write_text("no image")
  with pytest.raises(ValueError, match=r"texture .*a.txt is no image"):
    corruptions.load_textures(tmp_path, 32)
  empty = tmp_path / "empty"
  empty.mkdir()
  with pytest.raises(ValueError, match="has no file"):
    corruptions.load_textures(empty, 32)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"image_YXC": np.zeros((8, 8, 3), np.float32)}, "uint8.*got float32"),
    ({"image_YXC": np.zeros((8, 8), np.uint8)}, r"got uint8 \[8, 8\]"),
    ({"kind": "rain"}, "kind of corruption must be one of.*got 'rain'"),
    ({"severity": 0}, "severity must be one of 1, 2, 3, 4, 5; got 0"),
    ({"severity": 6}, "got 6"),
    ({"size": 48}, "size of the constants must be one of 32.*got 48"),
  ],
)
def test_arguments_are_checked(change, message):
  arguments = {"image_YXC": pictures.picture(8, 8), "kind": "fog"}
  arguments |= {"severity": 1, "uid": "a"} | change
  with pytest.raises(ValueError, match=message):
    corruptions.corrupt(**arguments)


def test_summary():
  accuracies = {"fog": [0.5, 0.4, 0.3, 0.2, 0.1], "snow": [0.6] * 5}
  accuracies["contrast"] = [0.2, 0.2, 0.2, 0.2, 0.2]
  got = corruptions.summary(0.8, accuracies)
  assert got["mean_corrupted"] == pytest.approx((0.3 + 0.6 + 0.2) / 3)
  assert got["relative_to_clean"] == pytest.approx((1.1 / 3) / 0.8)
  assert got["per_kind"] == pytest.approx(
    {"snow": 0.6, "fog": 0.3, "contrast": 0.2}
  )
  assert got["per_group"] == pytest.approx({"weather": 0.45, "digital": 0.2})
  assert got["per_severity"] == pytest.approx(
    [1.3 / 3, 1.2 / 3, 1.1 / 3, 1 / 3, 0.3]
  )
  assert got["kinds"] == "3 of 15"
  assert len(got["left_out"]) == 12
  assert corruptions.summary(0, accuracies)["relative_to_clean"] is None
  with pytest.raises(ValueError, match="snow must have.*5 severities; got 2"):
    corruptions.summary(0.8, {"snow": [0.1, 0.2]})
  with pytest.raises(ValueError, match="got 'rain'"):
    corruptions.summary(0.8, {"rain": [0.1] * 5})
  with pytest.raises(ValueError, match="at least one kind"):
    corruptions.summary(0.8, {})
