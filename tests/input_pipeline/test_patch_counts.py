"""Numbers of patches, drawn for each batch, alike wherever it is made."""

import collections
import dataclasses
import io
import itertools

import numpy as np
import pytest
from PIL import Image

from configs import base
from configs.parts import sources
from input_pipeline import examples, pipeline
from input_pipeline.images import naflex
from training import config as config_lib

_COUNTS = (6, 12, 20)
_BATCH = 8


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> pipeline.DataConfig:
  """Return 24 flat images of different shapes, and NaFlex's numbers."""
  folder = tmp_path_factory.mktemp("pairs")
  for number in range(24):
    image = Image.new("RGB", (8 + number, 20), (10 * number,) * 3)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    (folder / f"{number:02}.png").write_bytes(buffer.getvalue())
    (folder / f"{number:02}.txt").write_text(f"image {number}")
  config = base.get_config()
  config.data.sources.main = sources.source(format="folder", path=str(folder))
  config.data.cache_dir = str(folder.parent / "cache")
  config.data.tokenizer = "bytes"
  config.data.num_threads = 0
  augmentation = config.data.augmentation
  augmentation.resize, augmentation.patch_size = "naflex", 4
  augmentation.max_num_patches, augmentation.patch_counts = 16, _COUNTS
  return config_lib.from_mapping(config.to_dict()).data


def _batches(data, num, *, first=0, **options):
  iterator = iter(
    pipeline.make_train_dataset(data, batch_size=_BATCH, seed=3, **options)
  )
  iterator.set_state({"next_index": first})
  return list(itertools.islice(iterator, num))


def test_numbers_are_drawn_uniformly():
  """Each count is within five standard deviations of a third of the batches."""
  num = 3000
  drawn = [naflex.count_of_batch(_COUNTS, 0, x) for x in range(num)]
  found = collections.Counter(drawn)
  assert {*found} == {*_COUNTS}
  deviation = (num * 1 / 3 * 2 / 3) ** 0.5
  for count in _COUNTS:
    assert found[count] == pytest.approx(num / 3, abs=5 * deviation)
  # Neighbours are independent, and so are seeds.
  same = sum(a == b for a, b in itertools.pairwise(drawn))
  assert same == pytest.approx(num / 3, abs=5 * deviation)
  assert drawn != [naflex.count_of_batch(_COUNTS, 1, x) for x in range(num)]


def test_all_images_of_a_batch_have_its_number(data):
  batches = _batches(data, 6)
  seed = examples.example_seed(3)
  lengths = [naflex.count_of_batch(_COUNTS, seed, x) for x in range(6)]
  assert len({*lengths}) > 1
  for batch, length in zip(batches, lengths, strict=True):
    assert batch["images"].shape == (_BATCH, length, 48)
    shapes = batch["shapes"].prod(axis=1)
    assert (shapes <= length).all()
    real = np.arange(length) < shapes[:, None]
    assert not batch["images"][~real].any()


def test_examples_are_those_of_one_number(data):
  """The draw of the number takes nothing from those of the examples."""
  plain = dataclasses.replace(
    data, augmentation=dataclasses.replace(data.augmentation, patch_counts=())
  )
  for ours, theirs in zip(_batches(data, 4), _batches(plain, 4), strict=True):
    np.testing.assert_array_equal(ours["tokens"], theirs["tokens"])
    assert theirs["images"].shape[1] == 16


@pytest.mark.slow
def test_processes_and_workers_and_a_resumed_run_draw_alike(data):
  whole = _batches(data, 5)
  halves = [_batches(data, 5, rows=range(x, x + 4)) for x in (0, 4)]
  worked = _batches(dataclasses.replace(data, num_workers=2, num_threads=1), 5)
  late = _batches(data, 2, first=3)
  for batch, (a, b) in zip(whole, zip(*halves, strict=True), strict=True):
    joined = np.concatenate([a["images"], b["images"]])
    np.testing.assert_array_equal(batch["images"], joined)
  for one, other in [*zip(whole, worked), *zip(whole[3:], late)]:  # noqa: B905
    np.testing.assert_array_equal(one["images"], other["images"])
    np.testing.assert_array_equal(one["shapes"], other["shapes"])


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"patch_counts": (8, 4)}, r"patch_counts must ascend, .*got \(8, 4\)"),
    ({"patch_counts": (4, 4)}, r"patch_counts must ascend, .*got \(4, 4\)"),
    ({"patch_counts": (0, 4)}, r"patch_counts .*above 0; got \(0, 4\)"),
    ({"resize": "squash"}, r'patch_counts must be \(\) unless .*"naflex"'),
  ],
)
def test_wrong_lists_are_refused_by_name(data, changes, message):
  augmentation = dataclasses.replace(data.augmentation, **changes)
  with pytest.raises(ValueError, match=r"data\.augmentation\." + message):
    dataclasses.replace(data, augmentation=augmentation).check()
