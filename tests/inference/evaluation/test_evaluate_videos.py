"""Evaluation on sets of videos, from files to records."""

import csv
import io
import json

import av
import jax
import numpy as np
import pytest
from PIL import Image

from configs import base
from configs.parts import sources, towers
from evaluators import embedding, pair_scores
from evaluators.sets import kinds
from inference.evaluation import evaluate, set_measures
from tests import tiny
from tests.evaluators import test_results_schema
from tests.inference import fresh_run
from tests.input_pipeline.videos import made
from training import config as config_lib
from training.run import workdir

_NUM = 10
_SIDE = 16
_INFLATION = {"stem_frames": 2, "merge_frames": 3, "windows": (2, 2)}


def _video(number: int, **fields) -> bytes:
  """Return a video of equal frames, without loss, unless fields change it."""
  # The middle square of the picture shows the four bits in the middle.
  usual = {"num_frames": 5, "fps": 5, "first": number << 2, "step": 0}
  return made.video(**usual | fields)


def _lossless(number: int, **fields) -> bytes:
  return _video(number, options={"qp": "0"}, **fields)


def _first_frame(data: bytes) -> bytes:
  """Return the first frame as PNG."""
  with av.open(io.BytesIO(data)) as container:
    pixels = next(container.decode(video=0)).to_ndarray(format="rgb24")
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, "png")
  return file.getvalue()


def _table(folder, files: dict[str, bytes]):
  """Write files with a caption each, and return the section of their source."""
  for name, data in files.items():
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
  rows = [(name, f"caption {i // 2}") for i, name in enumerate(files)]
  with open(folder / "captions.csv", "w", newline="") as file:
    csv.writer(file).writerows([("file", "caption"), *rows])
  section = sources.source(
    format="table", path=str(folder), image=("file",), caption=("caption",)
  )
  return section.to_dict()


def _config(cache_dir, sets, **image):
  """Return the config of a Swin and a small text tower with these sets."""
  config = tiny.get_config()
  section = towers.swin(base.get_config().data)
  section.image_size = _SIDE
  section.update(
    {
      **{"embedding": "conv", "merging": "conv", "drop_path": 0.0},
      **{"widths": (8, 16), "depths": (1, 1), "num_heads": (2, 2)},
      "windows": (4, 2),
    }
    | image
  )
  config.model.image = section
  config.data.image_size = _SIDE
  config.data.cache_dir = str(cache_dir)
  config.evaluate.batch_size = 8
  values = config.to_dict()
  values["evaluate"]["sets"] = sets
  return config_lib.checked(values)


def _section(**fields):
  video = {"clips": 2, "frames": 3, "crops": 1, "inflation": _INFLATION}
  return kinds.videos(**video | fields)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
  """Return a folder with a run, and sets of images and of equal videos."""
  root = tmp_path_factory.mktemp("videos")
  videos = {f"v{i}.mp4": _lossless(i) for i in range(_NUM)}
  source = _table(root / "videos", videos)
  images = {f"v{i}.png": _first_frame(x) for i, x in enumerate(videos.values())}
  sets = {
    "images": kinds.retrieval(_table(root / "images", images)),
    "frames": kinds.retrieval(source, video=_section()),
    "inflated": kinds.retrieval(source, video=_section(tower="inflated")),
  }
  metrics = ("R@1", "R@5", "R@10", "median_rank", "mean_rank", "MRR")
  for section in sets.values():
    section["metrics"] = metrics
  fresh_run.write(root / "run", _config(root / "cache", sets))
  return root


def _evaluated(root):
  evaluate.run(str(root / "run"))
  return json.loads((root / "run" / "results.json").read_text())


def _with_sets(root, sets):
  """Return the config of the run with other sets."""
  config = workdir.read_config(root / "run")
  values = config_lib.to_mapping(config)
  values["evaluate"]["sets"] = sets
  return config_lib.checked(values)


@pytest.fixture(scope="module")
def results(root):
  return _evaluated(root)


def _kept(root):
  """Return the embeddings on the disk by the set's name, and their facts."""
  folders = (root / "cache" / "embeddings").glob("*/facts.json")
  facts = {x.parent: json.loads(x.read_text()) for x in folders}
  return {
    one["set"]: (np.load(folder / "00000000.npz")["zimg_NE"], one)
    for folder, one in facts.items()
  }


@pytest.mark.slow
def test_videos_of_equal_frames_have_the_ranks_of_images(root, results):
  ways = {"image_to_text": "video_to_text", "text_to_image": "text_to_video"}
  kept = _kept(root)
  for name in ("frames", "inflated"):
    for image, video in ways.items():
      expected = results["images"][image]
      got = {k: v for k, v in results[name][video].items() if k != "chance"}
      assert got == expected
    # float32 sums over copies.
    np.testing.assert_allclose(kept[name][0], kept["images"][0], atol=2e-5)
  # Neither all right nor all alike.
  assert 1 < expected["mean_rank"] < _NUM
  assert np.ptp(kept["images"][0], axis=0).max() > 0.01


@pytest.mark.slow
def test_a_record_has_what_it_depends_on(root, results):
  test_results_schema.validate(results)
  record = results["inflated"]
  assert record["kind"] == "video_retrieval"
  assert record["num_candidates"] == record["num_texts"] == _NUM
  for way in pair_scores.NAMES:
    assert {*record[way]["intervals"]} == {*record[way]["chance"]}
    # Two videos of ten have the caption.
    np.testing.assert_allclose(record[way]["chance"]["R@1"], 0.2)
  video = record["protocol"]["video"]
  assert video["inflation"]["windows"] == [2, 2]
  numbers = {k: video[k] for k in ("clips", "frames", "fps", "crops", "views")}
  assert numbers == {
    **{"clips": 2, "frames": 3, "fps": 2.0, "crops": 1, "views": 2}
  }
  assert video["aggregation"] == "normalised_mean"
  assert results["frames"]["protocol"]["video"]["inflation"] is None
  # The key of the embeddings has the same.
  kept = _kept(root)["inflated"][1]["source"]
  assert kept["source"]["is_video"]
  assert {**video, **kept["video"]}["inflation"] == _INFLATION | {
    "windows": [2, 2]
  }
  html = (root / "run" / "report.html").read_text()
  assert "text to video" in html


@pytest.mark.slow
def test_other_views_are_embedded_anew(root, results, monkeypatch):
  def refuse(*args, **kwargs):
    raise AssertionError("a forward pass")

  monkeypatch.setattr(embedding.Embedder, "stream", refuse)
  assert _evaluated(root) == results
  section = _inflated(root)
  for fields in (
    *({"clips": 3}, {"fps": 2.5}, {"crops": 2}, {"frames": 2}),
    *({"aggregation": "mean"}, {"inflation": _INFLATION | {"stem_frames": 1}}),
  ):
    other = section | {"video": section["video"] | fields}
    config = _with_sets(root, {"inflated": other})
    with pytest.raises(AssertionError, match="a forward pass"):
      evaluate.run(str(root / "run"), config, str(root / "other"))


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"clips": -1}, r"sets.v.video.clips must be at least 0"),
    ({"frames": 0}, r"sets.v.video.frames must be at least 1"),
    ({"fps": 0.0}, r"sets.v.video.fps must be above 0"),
    ({"crops": 0}, r"sets.v.video.crops must be at least 1"),
    ({"tower": "3d"}, r"sets.v.video.tower must be one of"),
    ({"aggregation": "max"}, r"sets.v.video.aggregation must be one of"),
    ({"clip": 1}, r"unknown evaluate.sets.v.video.clip;"),
  ],
)
def test_fields_are_named(tmp_path, fields, message):
  source = sources.source(format="folder", path=str(tmp_path)).to_dict()
  section = kinds.retrieval(source, video=_section(**fields))
  with pytest.raises(ValueError, match=message):
    _config(tmp_path, {"v": section})


def _inflated(root):
  """Return the section of the set of inflated videos."""
  values = config_lib.to_mapping(workdir.read_config(root / "run"))
  return values["evaluate"]["sets"]["inflated"]


def _refused(root, tmp_path, message, video=None, **fields):
  """Expect a message about a set of the videos before results are written."""
  section = _inflated(root) | fields
  section["video"] = section["video"] | (video or {})

  def run():
    config = _with_sets(root, {"v": section})
    evaluate.run(str(root / "run"), config, str(tmp_path / "out"))

  with pytest.raises(ValueError, match=message):
    run()


def test_a_set_that_does_not_fit_the_model(root, tmp_path):
  windows = _INFLATION | {"windows": (2,)}
  message = r"evaluate.sets.v.video.inflation.windows must have a number"
  _refused(root, tmp_path, message, {"inflation": windows})
  _refused(root, tmp_path, "evaluate.sets.v.all_names must", all_names=True)
  config = base.get_config()
  config.evaluate.sets = {
    "v": kinds.retrieval(
      sources.source(format="folder", path=".").to_dict(),
      video=_section(tower="inflated"),
    )
  }
  checked = config_lib.checked(config.to_dict())
  message = 'sets.v.video.tower must be "image" for model.image.tower=.vit.'
  with pytest.raises(ValueError, match=message):
    checked.evaluate.check_videos(checked.model)


@pytest.mark.slow
def test_bad_videos_are_named(root, tmp_path):
  good = _lossless(3)
  for name, data, kind in (
    ("one.mp4", _lossless(3, num_frames=1), "video_too_short"),
    ("cut.mp4", good[:-50], "video_broken"),
    ("sound.mp4", made.sound(), "video_missing"),
    ("text.mp4", b"not found", "video_broken"),
  ):
    source = _table(tmp_path / kind / name, {"a.mp4": good, name: data})
    message = rf"sets.v.source: example 1 cannot be used: {kind}: .*{name}"
    _refused(root, tmp_path, message, source=source)


@pytest.mark.slow
def test_classes_of_videos(root, tmp_path):
  for i in range(_NUM):
    path = tmp_path / "data" / ("low" if i < 5 else "high") / f"{i}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_lossless(i))
  source = sources.source(format="folder", path=str(tmp_path / "data"))
  files = {f"{i}-{i % 2}-.mp4": _lossless(i) for i in range(_NUM)}
  named = _table(tmp_path / "named", files)
  sets = {
    "classes": kinds.classification(
      source.to_dict(), label="folder", video=_section(tower="inflated")
    ),
    "parts": kinds.zero_shot(
      named,
      classes=("even", "odd"),
      templates=("an {} number",),
      label="key_part",
      label_values=("0", "1"),
      metrics=("top_1",),
      video=_section(crops=3),
    ),
  }
  arguments = str(root / "run"), _with_sets(root, sets), str(tmp_path / "out")
  asked = set_measures.Measures(("geometry", "corruptions"))
  with pytest.raises(ValueError, match="corruptions fits none of the sets"):
    evaluate.run(*arguments, asked=asked)
  asked = set_measures.Measures(("geometry",))
  evaluate.run(*arguments, asked=asked)
  results = json.loads((tmp_path / "out" / "results.json").read_text())
  test_results_schema.validate(results)
  assert results["classes"]["num_examples"] == _NUM
  assert results["classes"]["protocol"]["video"]["tower"] == "inflated"
  parts = results["zero_shot"]["parts"]
  assert parts["num_examples"] == _NUM
  assert parts["protocol"]["video"]["views"] == 6
  assert len(jax.devices()) > 1  # batches were split over them
