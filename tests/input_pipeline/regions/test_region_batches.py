"""Batches with targets of a decoder: the same bits however they are made."""

import collections
import dataclasses
import itertools
import json
import logging

import numpy as np
import pytest

from input_pipeline import loader, pipeline
from input_pipeline.fusing import fused_data
from input_pipeline.preparing import conversion
from input_pipeline.regions import region_probe, region_rows
from models.fusion import fusion_config
from tests.input_pipeline.regions import fixture
from training import config as config_lib

BATCH = 8
ON = {"num_tokens": 20, "num_bins": 33}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
  return fixture.write(tmp_path_factory.mktemp("regions"))


def _batches(config, num, **options):
  dataset = pipeline.make_train_dataset(
    config, batch_size=BATCH, seed=1, **options
  )
  iterator = iter(dataset)
  try:
    return [*itertools.islice(iterator, num)]
  finally:
    iterator.close()


def _same(left, right, names=None):
  assert len(left) == len(right)
  for one, other in zip(left, right, strict=True):
    for name in names or one.keys() - {"faults"}:
      np.testing.assert_array_equal(one[name], other[name])


def test_images_and_captions_are_those_without_regions(table):
  plain = _batches(fixture.section(table), 3)
  assert plain[0].keys() == {"images", "tokens", "faults"}
  config = fixture.section(table, **ON)
  batches = _batches(config, 3)
  _same(plain, batches, ("images", "tokens"))
  for name, (shape, dtype) in config.regions.shapes().items():
    assert batches[0][name].shape == (BATCH, *shape)
    assert batches[0][name].dtype == dtype


def test_targets_do_not_depend_on_who_makes_them(table):
  config = fixture.section(table, **ON)
  expected = _batches(config, 3)
  threads = dataclasses.replace(config, num_threads=2)
  _same(expected, _batches(threads, 3))
  workers = dataclasses.replace(config, num_workers=1)
  _same(expected, _batches(workers, 3))
  for rows in (range(4), (1, 6)):
    parts = _batches(config, 3, rows=rows)
    chosen = [
      {name: batch[name][list(rows)] for name in batch.keys() - {"faults"}}
      for batch in expected
    ]
    _same(chosen, parts)


def test_boxes_are_around_the_pixels(table):
  """The box of a target, made of ids, has the red pixels of its image."""
  config = fixture.section(
    table, **ON, probabilities=(0.0, 1.0, 0.0), least_visible=1.0
  )
  vocabulary = config.regions.vocabulary(config.vocab_size)
  num_seen = 0
  for batch in _batches(config, 4, with_metadata=True):
    for row in range(BATCH):
      shown = json.loads(str(batch["regions"][row]))
      if shown["chosen"] is None:
        assert batch["decoder_tasks"][row] == 0
        continue
      if shown["texts"][shown["chosen"]] == "all of it":
        continue
      ids = batch["decoder_targets"][row]
      places = ((ids >= 300) & (ids < 333)).nonzero()[0]
      box, is_box = vocabulary.boxes(ids[places])
      assert is_box
      image = batch["images"][row].astype(int)
      is_red = image[..., 0] - image[..., 1] > 100
      rows, columns = is_red.any(1).nonzero()[0], is_red.any(0).nonzero()[0]
      expected = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
      # Half a bin of 32 is a quarter of a pixel; the rest is the resampling.
      np.testing.assert_allclose(box * 16, expected, atol=1.5)
      num_seen += 1
  assert num_seen >= 5


def test_a_resumed_loader_has_the_same_targets_and_counts(table, tmp_path):
  config = fixture.section(table, **ON)

  def make():
    return loader.make_loader(config, folder=tmp_path, batch_size=BATCH, seed=1)

  first = make()
  batches = [next(first) for _ in range(2)]
  assert region_rows.COUNTS not in batches[0]
  first.sync()
  state = first.get_state()
  expected = [next(first) for _ in range(2)]
  counts = first.regions
  first.close()
  second = make()
  second.set_state(state)
  assert second.regions["rows"] == 2 * BATCH
  _same(expected, [next(second) for _ in range(2)])
  assert second.regions == counts
  assert counts["rows"] == 4 * BATCH
  assert 0 < counts["no_region"] < counts["rows"]
  second.close()
  line = json.loads((tmp_path / "data_errors.jsonl").read_text())
  assert line["regions"]["rows"] == 2 * BATCH
  assert "32 examples; " in region_rows.summary(counts)
  assert 0 < region_rows.without_region(counts) < 1


def test_a_broken_box_replaces_its_example(tmp_path):
  path = fixture.write(tmp_path)
  lines = path.read_text().splitlines()
  row = json.loads(lines[0])
  row["boxes"][0] = [40, 0, 50, 9]
  path.write_text("\n".join([json.dumps(row), *lines[1:]]))
  (batch,) = _batches(fixture.section(path, **ON), 1)
  kinds = [fault.kind for fault in batch["faults"]]
  assert {*kinds} <= {"box_broken"}
  config = fixture.section(path, **ON, broken="skip")
  batches = _batches(config, 3)
  assert not any(batch["faults"] for batch in batches)
  counts = sum(
    (region_rows.counts_of(x[region_rows.COUNTS]) for x in batches),
    start=collections.Counter(),
  )
  assert counts["regions_broken"] >= 2


def _check(config):
  opened = pipeline.open_sources(config)
  tokenizer = pipeline.make_tokenizer(config, opened)
  facts = config.regions, config.sources, opened, tokenizer
  region_probe.check(*facts, config.vocab_size)


@pytest.mark.parametrize(
  ("boxes", "expected"),
  [
    ([], "none of 12 examples of data.sources.main .* has a region"),
    ([[40, 30, 50, 40]], r"12 of 12 boxes .* cannot be used .*32 x 24 pixels"),
    ([[float("nan"), 3, 5, 4]], "12 of 12 boxes .* finite"),
    ([[20, 10, 60, 50]], "12 of 12 boxes .* reach beyond"),
    ([[0.1, 0.1, 0.9, 0.9]], 'all 12 boxes .* first pixel .*"shares"'),
  ],
)
def test_boxes_that_are_not_what_the_section_says(tmp_path, boxes, expected):
  path = fixture.write(tmp_path, boxes=boxes, names=["a"] * len(boxes))
  with pytest.raises(ValueError, match=expected):
    _check(fixture.section(path, **ON))


def test_long_texts_are_a_warning_before_the_run(table, caplog):
  config = fixture.section(table, num_tokens=12)
  with caplog.at_level(logging.WARNING, logger="absl"):
    _check(config)
  # "all of it" has 9 ids of bytes, and a box and an end take 5 of 12: 11 of
  # these, and none of the captions of at most 7 ids.
  assert "11 of 22 texts of regions of data.sources.main are" in caplog.text
  assert "captions of data.sources.main" not in caplog.text


@pytest.mark.parametrize(
  ("changes", "expected"),
  [
    ({"num_tokens": 9}, "22 of 22 texts of regions .*num_tokens=9 has place"),
    (
      {"num_tokens": 6, "probabilities": (1.0, 0.0, 0.0)},
      "12 of 12 captions .*num_tokens=6 .*Raise data.regions.num_tokens",
    ),
  ],
)
def test_a_length_that_cuts_most_texts(table, changes, expected):
  values = fixture.values(table, **changes)
  if "probabilities" in changes:
    values.data.sources.main.region_fields = ()
  with pytest.raises(ValueError, match=expected):
    _check(config_lib.from_mapping(values.to_dict()).data)


@pytest.mark.parametrize(
  ("regions", "changes", "expected"),
  [
    ({"num_tokens": 0}, {}, "region_fields needs data.regions.num_tokens"),
    (ON, {"data.sources.main.region_fields": ()}, "needs region_fields"),
    (ON, {"data.video.clips": 1}, "must be 0 with data.video"),
    (ON | {"probabilities": (1.0, 1.0, 0.0)}, {}, "sum to 1"),
  ],
)
def test_sections_that_do_not_fit(table, regions, changes, expected):
  config = fixture.values(table, **regions)
  config.update_from_flattened_dict(changes)
  with pytest.raises(ValueError, match=expected):
    config_lib.from_mapping(config.to_dict()).data.check()


def test_captions_alone_need_no_regions(table):
  config = fixture.values(table, num_tokens=16, probabilities=(1.0, 0.0, 0.0))
  config.data.sources.main.region_fields = ()
  data = config_lib.from_mapping(config.to_dict()).data
  data.check()
  (batch,) = _batches(data, 1)
  assert (batch["decoder_tasks"] == 0).all()
  assert batch["decoder_weights"].sum() > 0


def test_regions_are_not_prepared(table, tmp_path):
  with pytest.raises(ValueError, match="stores captions alone"):
    conversion.make_jobs(
      fixture.section(table, **ON),
      tmp_path,
      shard_examples=4,
      image_check="header",
    )


def test_a_fused_model_has_no_decoder(table):
  fusion = fusion_config.FusionConfig(kind="clipbert", task="retrieval")
  with pytest.raises(ValueError, match="num_tokens must be 0 with fusion"):
    fused_data.check(fusion, fixture.section(table, **ON))


def test_splits_to_judge_by_have_no_regions(table):
  config = fixture.values(table, **ON)
  config.data.tests.test = config.data.sources.main
  data = config_lib.from_mapping(config.to_dict()).data
  with pytest.raises(
    ValueError, match=r"data\.tests\.test\.region_fields must"
  ):
    data.check()
