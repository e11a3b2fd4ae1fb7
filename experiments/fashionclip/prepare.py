"""Writes products of icons as a catalogue in FashionCLIP's form.

  npm pack @iconify/json && tar xzf iconify-json-*.tgz
  python -m experiments.fashionclip.prepare --icons=package --out=cache/fashion

A product is composed of real icons: a thing to wear or carry, of one colour,
and a small black logo in a corner. Its brand is the set of the first icon.
Files below --out, equal for the same version of the package:

  catalog.json   entries with highlights (colour, logo), short_description, ...
  images/        pictures of SIZE pixels
  swaps.jsonl    products of the split "test": the caption of each, and two in
                 which the colour or the logo is another
  regions.jsonl  boxes of their logos, for --task=explain --regions; test/ has
                 the pictures, masks/ the boxes, logos.txt the texts
"""

import json
import pathlib
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

from absl import app, flags
from PIL import Image

from experiments.parts import icon_sets, program
from input_pipeline.sources.layouts import fashionclip
from runtime.storage import whole_files

# Flags of this program, beside main.py's of the same names.
_FLAGS = flags.FlagValues()
_ICONS = flags.DEFINE_string(
  *("icons", None, "Folder of the unpacked npm package @iconify/json."),
  flag_values=_FLAGS,
)
_OUT = flags.DEFINE_string("out", None, "Folder to write.", flag_values=_FLAGS)

# Category -> names of its icons.
KINDS = {
  **{"t-shirt": ("t-shirt", "tshirt"), "shirt": ("shirt",)},
  **{"dress": ("dress",), "vest": ("vest",), "shorts": ("shorts",)},
  **{"socks": ("socks", "sock"), "boots": ("boots", "boot")},
  **{"shoe": ("shoe", "sneaker"), "hat": ("hat", "cap")},
  **{"helmet": ("helmet",), "tie": ("tie",), "bow tie": ("bow-tie",)},
  **{"belt": ("belt",), "watch": ("watch",), "ring": ("ring",)},
  **{"necklace": ("necklace",), "glasses": ("glasses",)},
  **{"sunglasses": ("sunglasses",), "umbrella": ("umbrella",)},
  **{"backpack": ("backpack",), "handbag": ("handbag", "purse")},
  **{"suitcase": ("suitcase",), "wallet": ("wallet",)},
}
COLOURS = {
  **{"red": "#d32f2f", "orange": "#f57c00", "yellow": "#fbc02d"},
  **{"green": "#388e3c", "blue": "#1976d2", "purple": "#7b1fa2"},
  **{"pink": "#ec407a", "brown": "#6d4c41"},
}
LOGOS = ("star", "heart", "moon", "anchor", "leaf", "snowflake")
# Set that logos are of; no product is.
LOGO_SET = "fa7-solid"
MOST_ICONS = 24  # of a category, so that umbrellas are not most products
PRODUCTS = 3  # of an icon
SIZE, LOGO_SIZE = 128, 44
_SALT = "diptych-fashion-1"


def main(argv: Sequence[str]) -> None:
  del argv
  if not _ICONS.value or not _OUT.value:
    raise app.UsageError("--icons=package and --out=FOLDER are both needed")
  package = icon_sets.open_package(pathlib.Path(_ICONS.value))
  make(package, pathlib.Path(_OUT.value))


def make(package: icon_sets.Package, out: pathlib.Path) -> None:
  """Write the catalogue, the pictures and the two files of probes."""
  for folder in ("images", "test", "masks"):
    (out / folder).mkdir(parents=True, exist_ok=True)
  logos = {x.name: x for x in package.icons(LOGO_SET) if x.name in LOGOS}
  entries, boxes = [], []
  for icon, kind in _icons(package):
    for number in range(PRODUCTS):
      entries.append(_entry(package, icon, kind, number))
      boxes.append(_compose(icon, logos[entries[-1]["logo"]], entries[-1], out))
  swaps, regions = [], []
  for entry, box, part in zip(
    entries, boxes, fashionclip.parts(entries), strict=True
  ):
    if part == "test":
      swaps.append({"images": [entry["image"]], "texts": _swaps(entry)})
      regions.append(_region(entry, box, out))
  for name, lines in (("swaps", swaps), ("regions", regions)):
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    whole_files.write(out / f"{name}.jsonl", text.encode())
  texts = "".join(f"{logo} logo\n" for logo in LOGOS)
  whole_files.write(out / "logos.txt", texts.encode())
  whole_files.write(out / "catalog.json", json.dumps(entries).encode())
  print(f"{out}: {len(entries)} products, {len(swaps)} of them for probes")


def _icons(
  package: icon_sets.Package,
) -> Iterator[tuple[icon_sets.Icon, str]]:
  """Yield icons of one colour that show a product, with its category."""
  kinds = {name: kind for kind, names in KINDS.items() for name in names}
  found: dict[str, list[icon_sets.Icon]] = {kind: [] for kind in KINDS}
  for prefix in package.titles:
    for icon in package.icons(prefix):
      is_plain = "currentColor" in icon.body and prefix != LOGO_SET
      if is_plain and icon.name in kinds:
        found[kinds[icon.name]].append(icon)
  for kind, icons in found.items():
    icons.sort(key=lambda icon: icon_sets.draw(_SALT, icon.key))
    for icon in icons[:MOST_ICONS]:
      yield icon, kind


def _entry(
  package: icon_sets.Package, icon: icon_sets.Icon, kind: str, number: int
) -> dict[str, Any]:
  """Return the entry of a product, its colour and logo drawn."""
  name = f"{icon.key.replace(':', '-')}-{number}"
  colour = _drawn(list(COLOURS), name, "colour")
  logo = _drawn(LOGOS, name, "logo")
  return {
    **{"id": name, "image": f"images/{name}.png"},
    **{"highlights": [colour, f"{logo} logo"], "short_description": kind},
    **{"category": kind, "brand": package.titles[icon.prefix]},
    **{"colour": colour, "logo": logo},
  }


def _compose(
  icon: icon_sets.Icon,
  logo: icon_sets.Icon,
  entry: dict[str, Any],
  out: pathlib.Path,
) -> tuple[int, int, int, int]:
  """Write the picture of a product; return the box of its logo."""
  picture = icon_sets.on_white(
    icon_sets.picture(icon, SIZE, COLOURS[entry["colour"]])
  )
  free = SIZE - LOGO_SIZE
  left, top = (_drawn((0, free), entry["id"], axis) for axis in "xy")
  box = (left, top, left + LOGO_SIZE, top + LOGO_SIZE)
  picture.paste(icon_sets.on_white(icon_sets.picture(logo, LOGO_SIZE)), box)
  picture.save(out / entry["image"])
  return box


def _swaps(entry: dict[str, Any]) -> list[str]:
  """Return a product's caption, and those with one attribute swapped."""
  colour, logo = (
    _drawn([x for x in values if x != entry[field]], entry["id"], "not", field)
    for field, values in (("colour", COLOURS), ("logo", LOGOS))
  )
  return [
    f"{one}, {other} logo, {entry['category']}"
    for one, other in (
      (entry["colour"], entry["logo"]),
      (colour, entry["logo"]),
      (entry["colour"], logo),
    )
  ]


def _region(
  entry: dict[str, Any], box: tuple[int, int, int, int], out: pathlib.Path
) -> dict[str, str]:
  """Write a product's picture and the box of its logo; return its line."""
  name = f"{entry['id']}.png"
  shutil.copy(out / entry["image"], out / "test" / name)
  region = Image.new("L", (SIZE, SIZE))
  region.paste(255, box)
  region.save(out / "masks" / name)
  return {
    **{"image": f"test/{name}", "region": f"masks/{name}"},
    "text": f"{entry['logo']} logo",
  }


def _drawn(values: Sequence[Any], *names: object) -> Any:
  return values[int(icon_sets.draw(_SALT, *names) * len(values))]


if __name__ == "__main__":
  program.run(main, _FLAGS)
