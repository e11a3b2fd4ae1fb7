"""Probes: what they learn, what they choose on, and what they refuse."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from evaluators.dense import features, layouts, probe, probe_config
from input_pipeline.images import image_protocols
from runtime import mesh as mesh_lib
from tests import tiny_dense
from tests.evaluators import test_results_schema

_SIDE, _PATCH = 32, 4
_PROTOCOL = features.whole(image_protocols.PROTOCOLS["clip"].at(_SIDE))
_QUICK = {"num_steps": 60, "learning_rates": (0.1,), "target_side": 16}


def _features(scale, images_bYXC):
  """Return the mean colour of each patch, and of the image."""
  number, side = len(images_bYXC), _SIDE // _PATCH
  x = images_bYXC.astype(jnp.float32) / 128 - 1
  x = x.reshape(number, side, _PATCH, side, _PATCH, 3).mean(axis=(2, 4))
  tokens_bND = scale * x.reshape(number, side * side, 3)
  shapes_b2 = jnp.full((number, 2), side, jnp.int32)
  return features.Grid(tokens_bND, shapes_b2, tokens_bND.mean(axis=1))


_FN = jax.jit(_features)


def _extractor(scale=1.0):
  mesh = mesh_lib.make_mesh(mesh_lib.MeshConfig(-1, 1, 1))
  return features.Extractor(
    *(_FN, jnp.float32(scale), mesh, _PROTOCOL), batch_size=16, num_threads=1
  )


def _run(spec, scale=1.0, keep=lambda index, one: None, **changes):
  opened = layouts.open_set(spec)
  config = dataclasses.replace(
    probe_config.DEFAULTS[opened.kind], **(_QUICK | changes)
  )
  return probe.run(opened, _extractor(scale), config, keep=keep)


@pytest.fixture(scope="module")
def specs(tmp_path_factory):
  return tiny_dense.write(tmp_path_factory.mktemp("dense"))


def test_masks_are_learnt(specs):
  kept = {}
  record = _run(specs[0], keep=kept.__setitem__, learning_rates=(1e-4, 0.1))
  assert record["mIoU"] > 0.7 > 0.4 > record["chance"]["mIoU"]
  assert (record["num_images"], record["num_train_images"]) == (6, 20)
  assert record["protocol"]["num_held_out"] == 4
  changed = ["num_steps", "learning_rates", "target_side"]
  assert record["protocol"]["changed"] == changed
  assert (record["learning_rate"], {*record["scores"]}) == (
    0.1,
    {"0.0001", "0.1"},
  )
  test_results_schema.validate({"squares": record})
  assert [*kept] == [*range(6)]
  # At the size of the map, not at that of the tower's images.
  assert kept[3].predicted_YX.shape == (32, 40)
  truth = kept[3].truth_YX
  expected = tiny_dense.arrays(503)[1].astype(int)
  expected[0] = -1
  np.testing.assert_array_equal(truth, expected)


def test_depths_are_learnt(specs):
  changes = {"num_bins": 16, "upsample": 2, "num_steps": 300}
  record = _run(specs[1], **changes)
  assert record["rmse"] < 0.8 * record["chance"]["rmse"]
  test_results_schema.validate({"depths": record})


def test_features_that_do_not_fit_are_computed_anew(specs):
  """Two steps take the same images, with all, half and none of them kept."""
  size = 20 * 65 * 3 * 4 / 2**30
  target = 20 * 8 * 8 * 2 / 2**30
  records = [
    _run(specs[0], num_steps=3, memory_gib=x, batch_size=8, target_side=8)
    for x in (1.0, size * 0.99, size * 0.49)
  ]
  assert target < size * 0.49
  kept = [x["protocol"]["features"].partition(":")[0] for x in records]
  assert kept == ["kept in float32", "kept in float16", "not kept"]
  # float16 has 11 bits.
  for record in records[1:]:
    assert record["mIoU"] == pytest.approx(records[0]["mIoU"], abs=0.02)
  assert records[2]["scores"] == records[0]["scores"]


def test_features_beyond_float16_are_refused(specs):
  with pytest.raises(ValueError, match="beyond 65504, the greatest of float16"):
    _run(specs[0], scale=1e6, memory_gib=20 * 65 * 3 * 3 / 2**30)


def test_maps_that_do_not_fit_are_refused(specs):
  with pytest.raises(ValueError, match="20 training maps of 900 x 900 pixels"):
    _run(specs[0], target_side=900, memory_gib=0.01)


def test_test_images_choose_nothing(tmp_path):
  spec, _ = tiny_dense.write(tmp_path, num_train=8, num_test=3)
  before = _run(spec, num_steps=5, learning_rates=(0.01, 0.1))
  for i in range(3):
    values = np.full((32, 40), 2, np.uint8)
    Image.fromarray(values).save(tmp_path / f"test{i}_mask.png")
  after = _run(spec, num_steps=5, learning_rates=(0.01, 0.1))
  assert after["scores"] == before["scores"]
  assert after["learning_rate"] == before["learning_rate"]
  assert after["mIoU"] != before["mIoU"]
  data = [x["protocol"]["data_digest"] for x in (before, after)]
  assert data[0] != data[1]


def test_a_broken_test_map_is_found_before_training(tmp_path, capsys):
  spec, depths = tiny_dense.write(tmp_path, num_train=3, num_test=3)
  values = np.full((32, 40), 9, np.uint8)
  Image.fromarray(values).save(tmp_path / "test2_mask.png")
  with pytest.raises(ValueError, match="test2_mask.png: values must be 0 to 3"):
    _run(spec)
  assert "rate" not in capsys.readouterr().err
  Image.fromarray(values).save(tmp_path / "test1_depth.png")
  with pytest.raises(ValueError, match="test1_depth.png must be a PNG of grey"):
    _run(depths)


def test_training_that_diverges_is_no_result(specs):
  with pytest.raises(
    ValueError, match="diverged at each of the learning rates"
  ):
    _run(specs[0], learning_rates=(1e38,), batch_norm=False, num_steps=5)


def test_pictures_of_both_splits_are_counted(tmp_path):
  spec, _ = tiny_dense.write(tmp_path, num_train=4, num_test=2)
  for end in ("", "_mask"):
    same = (tmp_path / f"train0{end}.png").read_bytes()
    (tmp_path / f"test1{end}.png").write_bytes(same)
  record = _run(spec, num_steps=1)
  assert record["protocol"]["num_test_in_training"] == 1


def test_a_crop_is_judged_alone(tmp_path):
  _, spec = tiny_dense.write(tmp_path, num_train=3, num_test=2)
  opened = layouts.open_set(spec)
  rule = dataclasses.replace(opened.rule, crop=(2, 9, 3, 12), shape=(32, 40))
  opened = dataclasses.replace(opened, rule=rule)
  config = dataclasses.replace(
    probe_config.DEFAULTS["depth"], **_QUICK | {"num_steps": 1, "num_bins": 4}
  )
  kept = {}
  probe.run(opened, _extractor(), config, keep=kept.__setitem__)
  assert (kept[0].truth_YX > 0).sum() == 7 * 9
  rule = dataclasses.replace(rule, shape=(480, 640))
  other = dataclasses.replace(opened, rule=rule)
  with pytest.raises(ValueError, match="must have 640 x 480 pixels"):
    probe.run(other, _extractor(), config)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"num_steps": 0}, "probe.num_steps must be at least 1; got 0"),
    ({"held_out": 1.0}, "probe.held_out must be in"),
    ({"learning_rates": ()}, "probe.learning_rates must be numbers above 0"),
    ({"warmup": 1.0}, "probe.warmup must be in"),
  ],
)
def test_fields_are_checked(changes, message, specs):
  with pytest.raises(ValueError, match=message):
    _run(specs[0], **changes)
