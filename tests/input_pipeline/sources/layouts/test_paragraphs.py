"""DiDeMo and ActivityNet Captions: sentences joined to paragraphs."""

import json

import pytest

from input_pipeline import faults
from input_pipeline.videos import clips
from tests.input_pipeline.sources.layouts import opened
from tests.input_pipeline.videos import made


def test_didemo(tmp_path):
  folder = tmp_path / "didemo"
  moments = [
    {
      "annotation_id": number,
      "description": text,
      "num_segments": 6,
      "times": [[0, 0], [0, 1]],
      "video": video,
    }
    for number, (video, text) in enumerate(
      (
        ("1@N08_2_be8b.3gp", "a dog runs "),
        ("3@N02_4_c0.mov", "rain"),
        ("1@N08_2_be8b.3gp", "it stops"),
      )
    )
  ]
  opened.write(folder, {"data/test_data.json": json.dumps(moments)})
  (folder / "videos").mkdir()
  (folder / "videos" / "1@N08_2_be8b.mp4").write_bytes(made.video(3))
  records = opened.records(folder, "paragraphs.didemo@test")
  assert len(records) == 2
  assert records[0].texts["en"] == ("a dog runs it stops",)
  assert clips.first_size(records[0].image) == (made.HEIGHT, made.WIDTH)
  with pytest.raises(faults.ExampleError) as caught:
    records[1]
  assert caught.value.kind == "file_missing"
  assert "no 3@N02_4_c0.mp4" in str(caught.value)


def test_activitynet(tmp_path):
  folder = tmp_path / "anet"
  captions = {
    "v_uqiMw7tQ1Cc": {
      "duration": 55.15,
      "timestamps": [[0.28, 55.15], [13.79, 54.32]],
      "sentences": ["A weight lifting tutorial is given.", " He lifts it."],
    }
  }
  opened.write(folder, {"val_1.json": json.dumps(captions)})
  (folder / "v_uqiMw7tQ1Cc.mkv").write_bytes(made.video(3, format="matroska"))
  records = opened.records(folder, "paragraphs.activitynet@val_1")
  paragraph = "A weight lifting tutorial is given. He lifts it."
  assert records[0].texts["en"] == (paragraph,)
  assert records[0].key == "v_uqiMw7tQ1Cc.mkv"
  assert clips.first_size(records[0].image) == (made.HEIGHT, made.WIDTH)
  with pytest.raises(ValueError, match="must have one file val_2.json"):
    opened.records(folder, "paragraphs.activitynet@val_2")
