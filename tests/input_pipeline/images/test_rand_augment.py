import numpy as np
import pytest
from PIL import Image

from input_pipeline.images import rand_augment


def _rng(seed: int = 0) -> np.random.Generator:
  return np.random.default_rng(seed)


def _noise(size: int = 224) -> Image.Image:
  return Image.fromarray(_rng(1).integers(0, 256, (size, size, 3), np.uint8))


def _apply(name: str, seed: int = 0, level: float = 1.0) -> np.ndarray:
  return np.asarray(rand_augment.OPS[name](_noise(), level, _rng(seed)))


def test_sixteen_operations():
  assert len(rand_augment.OPS) == 16
  for name in rand_augment.OPS:
    got = _apply(name)
    assert got.shape == (224, 224, 3)
    changed = not np.array_equal(got, _noise())
    # No level is below the threshold 256 of magnitude 10; this noise has the
    # levels 0 and 255 already.
    assert changed == (name not in ("Solarize", "AutoContrast")), name


@pytest.mark.parametrize(
  ("name", "axis"), [("TranslateX", 1), ("TranslateY", 0)]
)
def test_translations_go_both_ways_and_leave_grey(name, axis):
  noise = np.moveaxis(np.asarray(_noise()), axis, 0)
  seen = set()
  for seed in range(10):
    got = np.moveaxis(_apply(name, seed), axis, 0)
    if (got[-100:] == 128).all():
      np.testing.assert_array_equal(got[:-100], noise[100:])
      seen.add("back")
    else:
      assert (got[:100] == 128).all()
      np.testing.assert_array_equal(got[100:], noise[:-100])
      seen.add("forth")
  assert seen == {"back", "forth"}


def test_shear_moves_rows_by_their_place():
  # A white column: row y of the result shows it 0.3 y further left or right.
  image = Image.new("RGB", (100, 100))
  image.paste((255, 255, 255), (50, 0, 51, 100))
  got = np.asarray(rand_augment.OPS["ShearX"](image, 1.0, _rng()))
  columns = (got[..., 0] == 255).argmax(1)
  slope = np.polyfit(np.arange(100), columns, 1)[0]
  assert abs(slope) == pytest.approx(0.3, abs=0.01)
  assert columns[0] == 50


def test_rotation_is_30_degrees():
  image = Image.new("RGB", (101, 101))
  image.paste((255, 255, 255), (50, 0, 51, 101))
  got = np.asarray(rand_augment.OPS["Rotate"](image, 1.0, _rng()))[..., 0]
  columns = (got == 255).argmax(1)[25:75]
  slope = np.polyfit(np.arange(50), columns, 1)[0]
  assert abs(slope) == pytest.approx(np.tan(np.pi / 6), abs=0.02)


def test_cutout_is_a_square_that_may_leave_the_image():
  sizes = set()
  for seed in range(30):
    hole = (_apply("Cutout", seed) == 128).all(-1)
    high, wide = hole.sum(0).max(), hole.sum(1).max()
    assert max(high, wide) <= 80 + 1  # a neighbour may be 128 by chance
    sizes.add((int(high), int(wide)))
  assert (80, 80) in sizes
  assert any(high < 80 for high, _ in sizes)


def test_solarize_add():
  image = Image.new("RGB", (2, 1), (20, 127, 128))
  got = np.asarray(rand_augment.OPS["SolarizeAdd"](image, 1.0, _rng()))
  assert got[0, 0].tolist() == [130, 237, 128]


def test_layers_are_drawn_one_by_one():
  made = [
    np.asarray(
      rand_augment.random_ops(
        _noise(), _rng(seed), num_layers=layers, magnitude=10.0
      )
    ).tobytes()
    for layers in (0, 2)
    for seed in range(12)
  ]
  assert set(made[:12]) == {_noise().tobytes()}
  # 14 of 16 operations change noise: of 12 pairs, hardly two are equal.
  assert len(set(made[12:])) >= 9
