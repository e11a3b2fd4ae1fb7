"""Named icons of the npm package @iconify/json, as SVG.

The package holds some 240 icon sets, each a JSON file with its licence, its
name and the drawing of every icon. Sets that are marked hidden (withdrawn) or
whose licence is not in LICENCES are left out, and so are aliases: another icon,
turned or mirrored.
"""

import dataclasses
import hashlib
import io
import json
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import resvg_py
from PIL import Image

# SPDX names of the licences whose sets are used. To be on the safe side,
# licences against commercial use (CC BY-NC) and those that extend to derived
# works (CC BY-SA, GPL) are left out.
LICENCES = frozenset(
  (
    *("MIT", "ISC", "BSD-3-Clause", "Apache-2.0", "MPL-2.0", "OFL-1.1"),
    *("CC0-1.0", "Unlicense", "CC-BY-3.0", "CC-BY-4.0"),
  )
)
# Last words of names that describe the style, not the object.
STYLES = frozenset(
  (
    *("fill", "filled", "outline", "outlined", "line", "sharp", "solid"),
    *("bold", "regular", "light", "thin", "duotone", "alt", "round", "rounded"),
  )
)

# Size of an icon for which neither icon nor set has one (Iconify's default).
_SIZE = 16
_PLAIN = re.compile("[a-z]{2,}( [a-z]{2,}){0,3}")


@dataclasses.dataclass(frozen=True)
class Icon:
  """Drawing of an icon; `prefix` names its set, `name` the icon in the set."""

  prefix: str
  name: str
  body: str
  left: float
  top: float
  width: float
  height: float

  @property
  def key(self) -> str:
    """Return Iconify's name of the icon."""
    return f"{self.prefix}:{self.name}"

  @property
  def words(self) -> str:
    """Return the name as words: "arrow-left_2" is "arrow left 2"."""
    return " ".join(self.name.replace("-", " ").replace("_", " ").split())

  @property
  def is_plain(self) -> bool:
    """Return whether the name has one to four words, the last no style."""
    words = self.words
    return bool(_PLAIN.fullmatch(words)) and words.split()[-1] not in STYLES

  def svg(self, color: str = "#000") -> str:
    """Return the drawing as an SVG file; `color` is that of text.

    Icons of one colour have the colour of text.

    The drawing fills the box that it is rendered to: a box of another shape
    stretches it.
    """
    box = f"{self.left} {self.top} {self.width} {self.height}"
    return (
      '<svg xmlns="http://www.w3.org/2000/svg" '
      f'xmlns:xlink="http://www.w3.org/1999/xlink" color="{color}" '
      f'preserveAspectRatio="none" viewBox="{box}" '
      f'width="{self.width}" height="{self.height}">'
      f"{self.body}</svg>"
    )


@dataclasses.dataclass(frozen=True)
class Package:
  """Unpacked package: its version and the usable sets."""

  folder: pathlib.Path
  version: str
  titles: Mapping[str, str]  # prefix -> name of the set, "Tabler Icons"
  licences: Mapping[str, str]

  def icons(self, prefix: str) -> Iterator[Icon]:
    """Yield the icons of a set, by name."""
    path = self.folder / "json" / f"{prefix}.json"
    drawn = json.loads(path.read_bytes())
    for name, icon in sorted(drawn["icons"].items()):
      if not icon.get("hidden"):
        yield icon_of(prefix, drawn, name)


def icon_of(prefix: str, drawn: Mapping[str, Any], name: str) -> Icon:
  """Return an icon of a set, as Iconify's JSON file of the set has it.

  Args:
    prefix: name of the set.
    drawn: contents of the file; sizes of the set hold for icons without.
    name: key of "icons".
  """
  icon = drawn["icons"][name]

  def number(field: str, default: int) -> float:
    return float(icon.get(field, drawn.get(field, default)))

  return Icon(
    prefix,
    name,
    icon["body"],
    left=number("left", 0),
    top=number("top", 0),
    width=number("width", _SIZE),
    height=number("height", _SIZE),
  )


def open_package(folder: pathlib.Path) -> Package:
  """Return the package unpacked in `folder`.

  Raises:
    FileNotFoundError: there is none; the message says how to get it.
  """
  try:
    sets = json.loads((folder / "collections.json").read_bytes())
    version = json.loads((folder / "package.json").read_bytes())["version"]
  except FileNotFoundError as error:
    raise FileNotFoundError(
      f"--icons={folder} must be the unpacked npm package @iconify/json, with "
      "collections.json and json/: `npm pack @iconify/json`, then `tar xzf "
      "iconify-json-*.tgz`, which makes the folder `package`"
    ) from error
  usable = {
    prefix: facts
    for prefix, facts in sorted(sets.items())
    if not facts.get("hidden") and facts["license"].get("spdx") in LICENCES
  }
  return Package(
    folder,
    version,
    titles={prefix: facts["name"] for prefix, facts in usable.items()},
    licences={
      prefix: facts["license"]["spdx"] for prefix, facts in usable.items()
    },
  )


def picture(icon: Icon, size: int, color: str = "#000") -> Image.Image:
  """Return an icon in a transparent square of `size` pixels."""
  side = max(icon.width, icon.height)
  png = resvg_py.svg_to_bytes(
    svg_string=icon.svg(color),
    width=max(1, round(size * icon.width / side)),
    height=max(1, round(size * icon.height / side)),
    skip_system_fonts=True,
  )
  drawn = Image.open(io.BytesIO(png)).convert("RGBA")
  square = Image.new("RGBA", (size, size))
  square.paste(drawn, ((size - drawn.width) // 2, (size - drawn.height) // 2))
  return square


def on_white(image: Image.Image) -> Image.Image:
  """Return a transparent image on white, RGB."""
  white = Image.new("RGBA", image.size, "white")
  return Image.alpha_composite(white, image).convert("RGB")


def draw(*names: object) -> float:
  """Return a number in [0, 1) that depends on `names` alone."""
  data = "/".join(map(str, names)).encode()
  digest = hashlib.blake2b(data, digest_size=8).digest()
  # A float64 holds 53 bits exactly.
  return (int.from_bytes(digest, "big") >> 11) / 2**53
