"""Icons placed on parts of photographs, with boxes, names and outlines.

Icons are those in colours of the npm package @iconify/json. A box is that of an
icon's pixels that are not transparent, so it is known by construction.
"""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from experiments.parts import icon_sets, photographs

# Sets of icons in colours; each name is drawn by up to all of them.
SETS = (
  *("noto", "noto-v1", "twemoji", "emojione", "fluent-emoji-flat", "fxemoji"),
)
# Pixels of a side of a picture.
SIZE = 128
# Sides of an icon in pixels.
SIDES = (24, 56)
_MOST_TRIES = 20
# Alpha above which a pixel is the icon's.
_SOLID = 127

Icons = Mapping[str, Sequence[icon_sets.Icon]]
Photos = Sequence[np.ndarray]


def icons_of(
  package: icon_sets.Package, prefixes: Sequence[str], least_sets: int
) -> dict[str, list[icon_sets.Icon]]:
  """Return the icons in colours of each name, sorted by name.

  Args:
    package: unpacked package.
    prefixes: names of sets, some of SETS.
    least_sets: least icons that a name must have.
  """
  by_name: dict[str, list[icon_sets.Icon]] = collections.defaultdict(list)
  for prefix in prefixes:
    if prefix in package.titles:
      for icon in package.icons(prefix):
        if icon.is_plain and "currentColor" not in icon.body:
          by_name[icon.words].append(icon)
  return {
    name: icons
    for name, icons in sorted(by_name.items())
    if len(icons) >= least_sets
  }


@dataclasses.dataclass(frozen=True)
class Composed:
  """A picture of icons, with their boxes, names and outlines.

  Attributes:
    picture: SIZE pixels a side.
    boxes: left, top, right and bottom of each, in pixels.
    labels: name of each.
    places_YX: uint8 [SIZE, SIZE]; 1 + place in `boxes` of the icon whose pixel
      it is, 0 of the photograph.
  """

  picture: Image.Image
  boxes: list[list[int]]
  labels: list[str]
  places_YX: np.ndarray


def compose(
  rng: np.random.Generator,
  icons: Icons,
  names: Sequence[str],
  photos: Photos,
  most: int,
  *,
  least: int = 1,
  sides: tuple[int, int] = SIDES,
  repeats: bool = True,
) -> Composed:
  """Return a picture of icons that do not touch.

  Args:
    rng: generator of everything that is random.
    icons: icons of each name.
    names: names that may occur.
    photos: uint8 [Y, X, 3] photographs that a part is cut out of.
    most: most icons.
    least: least icons; pictures with less room are made anew.
    sides: least and most pixels of a side of an icon.
    repeats: whether a picture may have a name several times.
  """
  photo = photos[int(rng.integers(len(photos)))]
  picture = photographs.square(rng, photo, SIZE)
  boxes: list[list[int]] = []
  labels = []
  places_YX = np.zeros((SIZE, SIZE), np.uint8)
  for _ in range(int(rng.integers(least, most + 1))):
    name = names[int(rng.integers(len(names)))]
    if name in labels and not repeats:
      continue
    drawn = icons[name][int(rng.integers(len(icons[name])))]
    icon = icon_sets.picture(drawn, int(rng.integers(sides[0], sides[1] + 1)))
    solid_yx = np.asarray(icon.getchannel("A")) > _SOLID
    if (inner := Image.fromarray(solid_yx).getbbox()) is None:
      continue
    for _ in range(_MOST_TRIES):
      left, top = rng.integers(0, SIZE - np.array(icon.size) + 1).tolist()
      box = [
        *(left + inner[0], top + inner[1]),
        *(left + inner[2], top + inner[3]),
      ]
      if not any(_touch(box, other) for other in boxes):
        picture.paste(icon, (left, top), icon)
        boxes.append(box)
        labels.append(name)
        height, width = solid_yx.shape
        part = places_YX[top : top + height, left : left + width]
        part[solid_yx] = len(boxes)
        break
  if len(boxes) < least:  # icons without a pixel, or no room: once more
    return compose(
      rng, icons, names, photos, most, least=least, sides=sides, repeats=repeats
    )
  return Composed(picture, boxes, labels, places_YX)


def _touch(one: Sequence[int], other: Sequence[int]) -> bool:
  return (
    one[0] < other[2]
    and other[0] < one[2]
    and one[1] < other[3]
    and other[1] < one[3]
  )
