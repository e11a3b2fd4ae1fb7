"""Videos of icons that move over a photograph, and what is said of them.

A video has two scenes of the same length, with icons of one shape and colour
each. Nothing that is said depends on the order of frames or clips: ClipBERT
averages over the frames of a clip, and aggregates clips that it sees one by
one, so it cannot tell left from right or first from last. One frame shows one
scene, and no way that icons move.
"""

import dataclasses
import fractions
import io
import itertools
from collections.abc import Mapping, Sequence

import av
import numpy as np
from PIL import Image

from experiments.parts import photographs

SHAPES = ("heart", "star", "moon", "bell", "key", "leaf", "car", "cloud")
COLORS: Mapping[str, str] = {
  "red": "#e6194b",
  "yellow": "#ffe119",
  "green": "#1fa03c",
  "blue": "#2050e0",
  "white": "#ffffff",
  "black": "#000000",
}
COUNTS = ("one", "two")
SIDEWAYS, UP_AND_DOWN, STILL = MOVES = ("sideways", "up and down", "nowhere")
SIZE = 72  # side of a video in pixels
FPS = 8
SCENE_FRAMES = 12
# Frames from a key frame to the next.
GOP = 6
# Sides of an icon in pixels.
SIDES = (22, 26)
REACH = 9  # pixels that icons move to either side of the middle of their way


@dataclasses.dataclass(frozen=True)
class Scene:
  """Icons of one shape and colour; numbers are indices of the lists above."""

  shape: int
  color: int
  count: int
  move: int

  @property
  def is_one(self) -> bool:
    """Whether there is one icon."""
    return COUNTS[self.count] == "one"

  @property
  def icons(self) -> str:
    """The icons, as "a red heart" or "two red heart icons".

    A shape is one word in both, so that it is learned once.
    """
    named = f"{[*COLORS][self.color]} {SHAPES[self.shape]}"
    return f"a {named}" if self.is_one else f"two {named} icons"

  @property
  def moving(self) -> str:
    """The icons and their move, as "a red heart moves sideways"."""
    move = MOVES[self.move]
    verb = "stay" if move == STILL else "move"
    end = "still" if move == STILL else move
    return f"{self.icons} {verb}{'s' * self.is_one} {end}"


Video = tuple[Scene, Scene]


def draw(rng: np.random.Generator) -> Video:
  """Draw two scenes, of different shapes and colours."""
  shapes = rng.choice(len(SHAPES), 2, replace=False).tolist()
  colors = rng.choice(len(COLORS), 2, replace=False).tolist()
  first, second = (
    Scene(
      shape,
      color,
      int(rng.integers(len(COUNTS))),
      int(rng.integers(len(MOVES))),
    )
    for shape, color in zip(shapes, colors, strict=True)
  )
  return first, second


def captions(video: Video) -> list[str]:
  """Return captions, the first of which says all that is said of a video."""
  first, second = video
  return [
    f"{first.moving} and {second.moving}",
    f"{second.moving} and {first.moving}",
    f"{first.icons} and {second.icons}",
    f"{first.moving} with {second.icons}",
    f"{second.moving} with {first.icons}",
  ]


def picture_questions(scene: Scene) -> list[tuple[str, str]]:
  """Return a question and its answer of each type, of a picture of a scene."""
  shape, color = SHAPES[scene.shape], [*COLORS][scene.color]
  return [
    (f"what is {color}", shape),
    (f"which color is the {shape}", color),
    (f"how many are {color}", COUNTS[scene.count]),
  ]


def questions(rng: np.random.Generator, video: Video) -> list[tuple[str, str]]:
  """Return a question and its answer of each type, each of a drawn scene.

  None is about moves, which a frame does not show. That of the other colour
  needs both scenes: no frame has both.
  """
  drawn = rng.integers(2, size=4).tolist()
  what, which, how, one = (video[i] for i in drawn)
  other = video[1 - drawn[3]]
  shapes, colors = [*SHAPES], [*COLORS]
  return [
    (f"what is {colors[what.color]}", shapes[what.shape]),
    (f"which color is the {shapes[which.shape]}", colors[which.color]),
    (f"how many are {colors[how.color]}", COUNTS[how.count]),
    (f"besides {colors[one.color]} which color is there", colors[other.color]),
  ]


def options(
  rng: np.random.Generator, video: Video, num: int = 5
) -> tuple[list[str], int]:
  """Return icons to choose from, of which one is in a video, and its index."""
  right = video[int(rng.integers(2))]
  shapes, colors = [*SHAPES], [*COLORS]
  there = {(colors[x.color], shapes[x.shape]) for x in video}
  wrong = [x for x in itertools.product(colors, shapes) if x not in there]
  chosen = [wrong[i] for i in rng.choice(len(wrong), num - 1, replace=False)]
  index = int(rng.integers(num))
  chosen.insert(index, (colors[right.color], shapes[right.shape]))
  return [f"{color} {shape}" for color, shape in chosen], index


def frames(
  rng: np.random.Generator,
  video: Video,
  photo: np.ndarray,
  drawn: Mapping[tuple[int, int, int], Sequence[Image.Image]],
) -> list[Image.Image]:
  """Return the frames of a video.

  Args:
    rng: generator of everything that is random.
    video: its scenes.
    photo: photograph behind the icons, uint8 [Y, X, 3].
    drawn: (shape, colour, side in pixels) -> drawings of an icon.
  """
  behind = photographs.square(rng, photo, SIZE)
  made = []
  for scene in video:
    side = int(rng.integers(SIDES[0], SIDES[1] + 1))
    icons = drawn[scene.shape, scene.color, side]
    icon = icons[int(rng.integers(len(icons)))]
    corners = _corners(rng, scene, side)
    sign = int(rng.choice([-1, 1]))
    for number in range(SCENE_FRAMES):
      # There and back once a scene.
      phase = 1 - abs(2 * number / (SCENE_FRAMES - 1) - 1)
      offset = round(sign * REACH * (2 * phase - 1))
      picture = behind.copy()
      for left, top in corners:
        moved = {
          SIDEWAYS: (left + offset, top),
          UP_AND_DOWN: (left, top + offset),
          STILL: (left, top),
        }[MOVES[scene.move]]
        picture.paste(icon, moved, icon)
      made.append(picture)
  return made


def encode(pictures: Sequence[Image.Image]) -> bytes:
  """Return pictures as an MP4 of H.264."""
  file = io.BytesIO()
  with av.open(file, "w", format="mp4") as container:
    stream = container.add_stream("libx264", rate=FPS)
    stream.width = stream.height = SIZE
    stream.pix_fmt = "yuv420p"
    stream.time_base = fractions.Fraction(1, FPS)
    stream.codec_context.thread_count = 1
    stream.codec_context.gop_size = GOP
    stream.options = {"preset": "veryfast", "crf": "16", "bf": "0"}
    for picture in pictures:
      frame = av.VideoFrame.from_ndarray(np.asarray(picture))
      container.mux(stream.encode(frame))
    container.mux(stream.encode())
  return file.getvalue()


def _corners(
  rng: np.random.Generator, scene: Scene, side: int
) -> list[tuple[int, int]]:
  """Return left and top of each icon, in the middle of its way.

  Icons do not touch, and stay in the picture wherever they move. The room is
  the same for every move, so that the places of icons say nothing of it.
  """
  room = SIZE - side - 2 * REACH
  if scene.is_one:
    left, top = (REACH + rng.integers(room + 1, size=2)).tolist()
    return [(left, top)]
  first = int(REACH + rng.integers(room - side + 1))
  across = (REACH + rng.integers(room + 1, size=2)).tolist()
  corners = [(first, across[0]), (first + side, across[1])]
  if rng.integers(2):
    return [(top, left) for left, top in corners]
  return corners
