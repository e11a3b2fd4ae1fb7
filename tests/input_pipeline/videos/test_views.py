"""Views of videos: clips at even distances, crops of each frame."""

import numpy as np

from input_pipeline.images import image_protocols
from input_pipeline.videos import views
from tests.input_pipeline.videos import made

_PROTOCOL = image_protocols.PROTOCOLS["clip"].at(32)
# 32 x 64 pixels, whose whole width a square protocol squashes.
_SQUASH = image_protocols.PROTOCOLS["siglip"].at(32)


def test_clips_are_those_of_their_times():
  # Clips of 3 frames at 5 a second last 0.6 s of 6 s; frames are 0.1 s apart.
  data = made.video(60, fps=10)
  config = views.ViewsConfig(clips=3, frames=3, fps=5.0, crops=1)
  got = views.at_inference(data, config, _SQUASH)
  assert got.shape == (3, 3, 32, 32, 3)
  assert got.dtype == np.uint8
  numbers = [[made.number(frame) for frame in clip] for clip in got]
  # Starts at 0, 1.8 and 3.6 s.
  assert numbers == [[0, 2, 4], [18, 20, 22], [36, 38, 40]]
  assert made.number(views.middle(data, config, _SQUASH)) == 20


def test_crops_of_a_clip_come_one_after_the_other():
  data = made.video(20, fps=10)
  config = views.ViewsConfig(clips=2, frames=2, fps=5.0, crops=3)
  got = views.at_inference(data, config, _PROTOCOL)
  assert got.shape == (6, 2, 32, 32, 3)
  plain = views.ViewsConfig(clips=2, frames=2, fps=5.0, crops=1)
  middle = views.at_inference(data, plain, _PROTOCOL)
  np.testing.assert_array_equal(got[1::3], middle)
  # The left and the right crop are halves of the frame, 4 bits each.
  left, right = got[0, 1], got[2, 1]
  bits = [
    int(part.mean((0, 2))[8 * i : 8 * i + 8].mean() > 127)
    for part in (left, right)
    for i in range(4)
  ]
  assert sum(bit << i for i, bit in enumerate(bits)) == 2
