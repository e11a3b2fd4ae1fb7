"""Videos from sources to batches: order, resume, workers, faults, the page."""

import dataclasses
import itertools
import json

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from configs import base
from configs.parts import sources
from input_pipeline import examples, pipeline
from input_pipeline.inspecting import inspection, inspection_page
from input_pipeline.preparing import conversion
from tests.input_pipeline.sources import tars
from tests.input_pipeline.videos import made
from training import config as config_lib
from training import objectives

_NUM = 5
# Numbers of the frames of video v: from v times this on.
_STEP = 40


def _videos() -> dict[str, bytes]:
  return {
    f"v{i}.mp4": made.video(20, first=_STEP * i, fps=10, gop=5)
    for i in range(_NUM)
  }


@pytest.fixture(scope="module")
def root(tmp_path_factory):
  """Return a folder with the same videos in every format."""
  root = tmp_path_factory.mktemp("videos")
  (root / "folder").mkdir()
  (root / "table").mkdir()
  rows, members = [], {}
  for i, (name, data) in enumerate(_videos().items()):
    (root / "folder" / name).write_bytes(data)
    (root / "folder" / f"v{i}.txt").write_text(f"clip {i}")
    (root / "table" / name).write_bytes(data)
    rows.append({"video": name, "caption": f"clip {i}"})
    members |= {name: data, f"v{i}.txt": f"clip {i}".encode()}
  lines = "".join(json.dumps(row) + "\n" for row in rows)
  (root / "table" / "captions.jsonl").write_text(lines)
  tars.write(root / "videos.tar", members)
  columns = {"video": [*_videos().values()]}
  columns["caption"] = [row["caption"] for row in rows]
  parquet.write_table(pa.table(columns), root / "videos.parquet")
  return root


def _config(root, format="folder", path="folder", **fields):
  config = base.get_config()
  config.data.sources.main = sources.source(
    format=format, path=f"{root}/{path}"
  )
  config.data.cache_dir = str(root / "cache")
  config.data.image_size = 32
  config.data.tokenizer = "bytes"
  config.data.augmentation.resize = "squash"
  config.data.video.update({"clips": 2, "frames": 3, "fps": 5.0} | fields)
  return config_lib.from_mapping(config.to_dict())


def _batches(config, num=3, **options):
  made = pipeline.make_train_dataset(
    config.data, batch_size=4, seed=1, **options
  )
  return list(itertools.islice(made, num))


def _assert_equal(left, right):
  assert len(left) == len(right)
  for a, b in zip(left, right, strict=True):
    np.testing.assert_array_equal(a["images"], b["images"])
    np.testing.assert_array_equal(a["tokens"], b["tokens"])


@pytest.fixture(scope="module")
def batches(root):
  return _batches(_config(root))


def test_batches_are_clips_with_their_captions(root, batches):
  tokenizer = pipeline.make_tokenizer(_config(root).data)
  seen = set()
  for batch in batches:
    assert batch["images"].shape == (4, 2, 3, 32, 32, 3)
    assert batch["images"].dtype == np.uint8
    for images, tokens in zip(batch["images"], batch["tokens"], strict=True):
      numbers = [[made.number(frame) for frame in clip] for clip in images]
      # 5 frames a second of 10.
      assert [np.diff(clip).tolist() for clip in numbers] == [[2, 2]] * 2
      (index,) = {number // _STEP for clip in numbers for number in clip}
      assert tokenizer.decode(tokens) == f"clip {index}"
      seen.add((index, numbers[0][0]))
  assert {index for index, _ in seen} == set(range(_NUM))
  # Few pairs among the 12 examples begin at the same frame.
  assert len(seen) > 8


@pytest.mark.parametrize(
  ("format", "path"),
  [
    ("table", "table"),
    ("webdataset", "videos.tar"),
    ("parquet", "videos.parquet"),
  ],
)
def test_every_format_makes_the_same_batches(root, batches, format, path):
  _assert_equal(_batches(_config(root, format, path)), batches)


def test_a_run_goes_on_where_it_stopped(root, batches):
  made = pipeline.make_train_dataset(_config(root).data, batch_size=4, seed=1)
  iterator = iter(made)
  next(iterator)
  state = iterator.get_state()
  resumed = iter(made)
  resumed.set_state(state)
  _assert_equal(list(itertools.islice(resumed, 2)), batches[1:])


def test_processes_share_the_stream(root, batches):
  config = _config(root)
  halves = [_batches(config, rows=rows) for rows in ((0, 1), (2, 3))]
  for whole, *parts in zip(batches, *halves, strict=True):
    images = np.concatenate([part["images"] for part in parts])
    np.testing.assert_array_equal(images, whole["images"])


@pytest.mark.slow
def test_worker_processes_make_the_same_batches(root, batches):
  config = _config(root)
  data = dataclasses.replace(config.data, num_workers=2)
  dataset = pipeline.make_train_dataset(data, batch_size=4, seed=1)
  iterator = iter(dataset)
  try:
    _assert_equal([next(iterator) for _ in range(3)], batches)
  finally:
    iterator.close()


def test_bad_videos_are_named_and_replaced(tmp_path):
  good = made.video(20, fps=10)
  bad = {
    "one": (made.video(1), "video_too_short"),
    "cut": (good[:-100], "video_broken"),
    "sound": (made.sound(), "video_missing"),
    "text": (b"not found", "video_broken"),
  }
  (tmp_path / "data").mkdir()
  for name, data in {
    "good": good,
    **{k: v for k, (v, _) in bad.items()},
  }.items():
    (tmp_path / "data" / f"{name}.mp4").write_bytes(data)
    (tmp_path / "data" / f"{name}.txt").write_text(name)
  config = _config(tmp_path, path="data")
  found = {
    fault.key: fault.kind
    for batch in _batches(config, 4)
    for fault in batch[examples.FAULTS]
  }
  assert found == {f"{name}.mp4": kind for name, (_, kind) in bad.items()}


def test_the_page_shows_frames(root):
  config = _config(root)
  shown, replaced = inspection.first_examples(
    config.data, batch_size=4, seed=1, count=4
  )
  assert not replaced
  (batch,) = _batches(config, 1)
  for row, one in enumerate(shown):
    assert one.image.shape == (2 * 32, 3 * 32, 3)
    for clip, frame in itertools.product(range(2), range(3)):
      part = one.image[32 * clip :, 32 * frame :][:32, :32]
      np.testing.assert_array_equal(part, batch["images"][row, clip, frame])
  opened = pipeline.open_sources(config.data)
  (survey,) = inspection.survey(config.data, opened)
  assert survey.sizes == ((made.HEIGHT, made.WIDTH),) * _NUM
  assert not survey.faults
  html = inspection_page.render(
    config.data, [survey], shown, replaced, batch_size=4, seed=1
  )
  assert "2 clips of 3 frames" in html


def test_prepared_videos_make_the_same_batches(root, batches, tmp_path):
  config = _config(root)
  arguments = {"num_workers": 0, "shard_examples": 10, "as_json": True}
  assert not conversion.run(
    config.data, str(tmp_path / "out"), decode=True, **arguments
  )
  section = dataclasses.replace(
    config.data.sources["main"],
    format="array_record",
    path=str(tmp_path / "out"),
    split="train",
  )
  data = dataclasses.replace(config.data, sources={"main": section})
  made = pipeline.make_train_dataset(data, batch_size=4, seed=1)
  _assert_equal(list(itertools.islice(made, 3)), batches)


def test_images_and_videos_are_told_apart(root):
  config = _config(root, clips=0, format="table", path="table")
  section = dataclasses.replace(config.data.sources["main"], image=("video",))
  data = dataclasses.replace(config.data, sources={"main": section})
  with pytest.raises(ValueError, match="MP4 video; data.video has videos deco"):
    pipeline.open_sources(data)
  with pytest.raises(ValueError, match="5 files; data.video reads .mp4, .m4v"):
    pipeline.open_sources(_config(root, clips=0).data)


def test_a_config_that_cannot_be_used(root):
  with pytest.raises(ValueError, match="data.video.frames must be at least 1"):
    _config(root, frames=0).check()
  config = base.get_config()
  config.data.video.clips = 1
  config.data.augmentation.resize = "naflex"
  with pytest.raises(ValueError, match="square frames with data.video; got"):
    config_lib.from_mapping(config.to_dict()).check()
  with pytest.raises(ValueError, match='must be 0 with loss.name="sigmoid"'):
    objectives.make(_config(root))
