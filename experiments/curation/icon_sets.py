"""Named icons of the npm package @iconify/json, as SVG.

The package holds some 240 icon sets, each a JSON file with its licence, its
name and the drawing of every icon. What is read here: sets that are not marked
hidden (withdrawn) and whose licence is in LICENCES. Aliases, which are another
icon turned or mirrored, are not read.
"""

import dataclasses
import hashlib
import json
import pathlib
import re
from collections.abc import Iterator, Mapping

# SPDX names of the licences whose sets are used. Left out, to be on the safe
# side: those against commercial use (CC BY-NC) and those that pass on to what
# is made of the work (CC BY-SA, GPL).
LICENCES = frozenset(
  (
    *("MIT", "ISC", "BSD-3-Clause", "Apache-2.0", "MPL-2.0", "OFL-1.1"),
    *("CC0-1.0", "Unlicense", "CC-BY-3.0", "CC-BY-4.0"),
  )
)
# Last words that say how an icon is drawn, not what of.
STYLES = frozenset(
  (
    *("fill", "filled", "outline", "outlined", "line", "sharp", "solid"),
    *("bold", "regular", "light", "thin", "duotone", "alt", "round", "rounded"),
  )
)

# What Iconify takes where neither icon nor set says a size.
_SIZE = 16
_PLAIN = re.compile("[a-z]{2,}( [a-z]{2,}){0,3}")


@dataclasses.dataclass(frozen=True)
class Icon:
  """One drawing: `prefix` names its set, `name` is what the set calls it."""

  prefix: str
  name: str
  body: str
  left: float
  top: float
  width: float
  height: float

  @property
  def key(self) -> str:
    """Return what Iconify calls the icon."""
    return f"{self.prefix}:{self.name}"

  @property
  def words(self) -> str:
    """Return the name as words: "arrow-left_2" is "arrow left 2"."""
    return " ".join(self.name.replace("-", " ").replace("_", " ").split())

  @property
  def is_plain(self) -> bool:
    """Return whether the name is one to four words and says no style."""
    words = self.words
    return bool(_PLAIN.fullmatch(words)) and words.split()[-1] not in STYLES

  def svg(self) -> str:
    """Return the drawing as a file, black where it takes the text's colour.

    It fills whatever box it is drawn in: a box of another shape stretches it.
    """
    box = f"{self.left} {self.top} {self.width} {self.height}"
    return (
      '<svg xmlns="http://www.w3.org/2000/svg" '
      'xmlns:xlink="http://www.w3.org/1999/xlink" color="#000" '
      f'preserveAspectRatio="none" viewBox="{box}" '
      f'width="{self.width}" height="{self.height}">'
      f"{self.body}</svg>"
    )


@dataclasses.dataclass(frozen=True)
class Package:
  """The unpacked package: its version and the sets that may be used."""

  folder: pathlib.Path
  version: str
  titles: Mapping[str, str]  # of each set: "Tabler Icons"
  licences: Mapping[str, str]

  def icons(self, prefix: str) -> Iterator[Icon]:
    """Yield the icons of a set, by name."""
    path = self.folder / "json" / f"{prefix}.json"
    drawn = json.loads(path.read_bytes())

    def number(icon: Mapping[str, object], field: str, default: int) -> float:
      return float(icon.get(field, drawn.get(field, default)))  # pyrefly: ignore

    for name, icon in sorted(drawn["icons"].items()):
      if not icon.get("hidden"):
        yield Icon(
          prefix,
          name,
          icon["body"],
          left=number(icon, "left", 0),
          top=number(icon, "top", 0),
          width=number(icon, "width", _SIZE),
          height=number(icon, "height", _SIZE),
        )


def open_package(folder: pathlib.Path) -> Package:
  """Return the package unpacked in `folder`.

  Raises FileNotFoundError, which says how to get it, where it is not there.
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


def draw(*names: object) -> float:
  """Return a number in [0, 1) that hangs on `names` alone."""
  data = "/".join(map(str, names)).encode()
  digest = hashlib.blake2b(data, digest_size=8).digest()
  # 53 bits are what a float64 holds exactly.
  return (int.from_bytes(digest, "big") >> 11) / 2**53
