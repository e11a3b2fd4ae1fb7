"""Corruption of icons and their names, which makes a pool like the web's.

A number in [0, 1) for each icon, a hash of its key, selects one of these kinds:

  as_is         the picture and its caption
  swapped       the caption of another such icon: no rule on text can tell
  boilerplate   one of BOILERPLATE, which thousands of pictures share
  file_name     a file name of a camera or a program
  tiny          drawn at TINY pixels, with its own caption
  stretched     drawn four times as wide as high, with its own caption
  head          another copy, at another size, of one of the NUM_HEADS icons
                with the most common names

A caption is the name as words; some have "icon" or the name of the set with it,
as alternative texts on the web do.
"""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

from experiments.parts import icon_sets

# Share of each kind in the pool; their sum is 1. The numbers are ours, chosen
# before any training so that about half of the captions are wrong or
# uninformative.
SHARES = {
  "as_is": 0.36,
  "swapped": 0.25,
  "boilerplate": 0.14,
  "file_name": 0.10,
  "tiny": 0.025,
  "stretched": 0.025,
  "head": 0.10,
}
# Captions; the first three are ALIGN's examples or like them (arXiv 2102.05918,
# section 3).
BOILERPLATE = (
  *("1920x1080", "alt_img", "image", "icon", "logo", "untitled", "img"),
  *("click here", "svg icon", "free download", "image 24", "placeholder"),
)
SIDE = 32  # pixels of the longer side
TINY = 8
NUM_HEADS = 200
# Number of the most common names; each has NUM_HEADS / NUM_HEAD_NAMES icons.
NUM_HEAD_NAMES = 20


@dataclasses.dataclass(frozen=True)
class Pair:
  """Drawing and caption of an icon to write.

  `kind` is a key of SHARES, or "clean" for a pair that was not corrupted.
  """

  icon: icon_sets.Icon
  caption: str
  kind: str
  width: int
  height: int
  url: str


def clean_pair(icon: icon_sets.Icon, caption: str) -> Pair:
  """Return an icon at SIDE pixels with a caption."""
  return _pair(icon, caption, "clean")


def caption(icon: icon_sets.Icon, title: str, salt: str) -> str:
  """Return a caption: half are the bare name, the rest one of three forms.

  `title` is the name of the icon's set.
  """
  words = icon.words
  number = icon_sets.draw(salt, "caption", icon.key)
  if number < 0.5:
    return words
  if number < 0.7:
    return f"{words} icon"
  return f"{title} {words}" if number < 0.85 else f"{words} - {title}"


def corrupt(
  icons: Sequence[icon_sets.Icon], titles: Mapping[str, str], salt: str
) -> list[Pair]:
  """Return a pair for each icon, in their order."""
  kinds = [kind_of(icon_sets.draw(salt, "kind", icon.key)) for icon in icons]
  swapped = _swapped(
    [i for i, kind in enumerate(kinds) if kind == "swapped"], icons, salt
  )
  heads = _heads(icons)
  pairs = []
  for i, (icon, kind) in enumerate(zip(icons, kinds, strict=True)):
    shown = icon
    number = icon_sets.draw(salt, kind, icon.key)
    url = f"iconify:{icon.prefix}/{icon.name}"
    if kind == "head":
      shown = heads[int(number * len(heads))]
      url = f"iconify:{shown.prefix}/{shown.name}?copy={i}"
    said = icons[swapped[i]] if kind == "swapped" else shown
    text = caption(said, titles[said.prefix], f"{salt}/{url}")
    if kind == "boilerplate":
      text = BOILERPLATE[int(number * len(BOILERPLATE))]
    elif kind == "file_name":
      text = file_name(number)
    pair = _pair(shown, text, kind)
    if kind == "tiny":
      pair = _pair(shown, text, kind, TINY)
    elif kind == "stretched":
      pair = dataclasses.replace(pair, width=SIDE, height=SIDE // 4)
    elif kind == "head":
      # From 20 pixels on: each copy is another file, and none is tiny.
      pair = _pair(shown, text, kind, 20 + int(number * 1e6) % (SIDE - 20))
    pairs.append(dataclasses.replace(pair, url=url))
  return pairs


def kind_of(number: float) -> str:
  """Return the kind that a number in [0, 1) selects."""
  total = 0.0
  for kind, share in SHARES.items():
    total += share
    if number < total:
      return kind
  return next(reversed(SHARES))


def file_name(number: float) -> str:
  """Return one of 28,000 file names, by a number in [0, 1)."""
  rest = int(number * 28_000)
  form, rest = rest % 4, rest // 4
  return (
    f"IMG_{rest:04d}.svg",
    f"DSC{rest:05d}.JPG",
    f"icon-{rest}.png",
    f"{rest * 2_654_435_761 % 2**32:08x}.svg",
  )[form]


def _swapped(
  rows: Sequence[int], icons: Sequence[icon_sets.Icon], salt: str
) -> dict[int, int]:
  """Return the row whose caption each row gets: the next one in hash order.

  The captions' names and their counts stay the same.
  """
  order = sorted(
    rows, key=lambda i: icon_sets.draw(salt, "order", icons[i].key)
  )
  return dict(zip(order, [*order[1:], *order[:1]], strict=True))


def _heads(icons: Sequence[icon_sets.Icon]) -> list[icon_sets.Icon]:
  by_name = collections.defaultdict(list)
  for icon in icons:
    if icon.is_plain:
      by_name[icon.words].append(icon)
  names = sorted(by_name, key=lambda name: (-len(by_name[name]), name))
  each = NUM_HEADS // NUM_HEAD_NAMES
  return [
    icon
    for name in names[:NUM_HEAD_NAMES]
    for icon in sorted(by_name[name], key=lambda icon: icon.key)[:each]
  ]


def _pair(icon: icon_sets.Icon, text: str, kind: str, side: int = SIDE) -> Pair:
  scale = side / max(icon.width, icon.height)
  return Pair(
    icon,
    text,
    kind,
    width=max(1, round(icon.width * scale)),
    height=max(1, round(icon.height * scale)),
    url=f"iconify:{icon.prefix}/{icon.name}",
  )
