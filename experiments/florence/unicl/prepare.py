"""Writes tables of icons whose names repeat often, sometimes or rarely.

  npm pack @iconify/json && tar xzf iconify-json-*.tgz
  python -m experiments.florence.unicl.prepare --icons=package \\
    --out=cache/repeats

Below --out, each a table of pictures, their captions and labels:

  few.jsonl    4,000 pictures: 40 drawings of each of 100 names
  some.jsonl   4,000 pictures: 10 drawings of each of 400 names, those 100 too
  many.jsonl   4,000 pictures: 2 drawings of each of 2,000 names, those 400 too
  val.jsonl    the 100 names as the icon sets VAL draw them, to choose a recipe
  known.jsonl  the 100 names as the icon sets HELD_OUT draw them
  new.jsonl    NUM_NEW names of no other file, of words that many.jsonl has, as
               the icon sets HELD_OUT draw them

A drawing is one icon set's; VAL, HELD_OUT and forks of the latter are in no
file to train on. A picture that equals one to train on in every pixel is left
out. Which names and drawings: those of most icon sets, and a hash.
"""

import collections
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence

from absl import app, flags
from PIL import Image

from experiments.curation import prepare_icons
from experiments.parts import icon_sets, program
from runtime.storage import whole_files

# Flags of this program, beside main.py's of the same names.
_FLAGS = flags.FlagValues()
_ICONS = flags.DEFINE_string(
  *("icons", None, "Folder of the unpacked npm package @iconify/json."),
  flag_values=_FLAGS,
)
_OUT = flags.DEFINE_string("out", None, "Folder to write.", flag_values=_FLAGS)

# Name of a table to train on -> number of names, and of drawings of each.
TABLES: Mapping[str, tuple[int, int]] = {
  "few": (100, 40),
  "some": (400, 10),
  "many": (2000, 2),
}
NUM_KNOWN, NUM_NEW = 100, 400
HELD_OUT, KIN = prepare_icons.HELD_OUT, prepare_icons.KIN
VAL = ("tabler", "mdi", "ph", "octicon")
SIZE = 64  # pixels
_SALT = "diptych-repeats-1"

ByName = Mapping[str, Sequence[icon_sets.Icon]]


def main(argv: Sequence[str]) -> None:
  del argv
  if not _ICONS.value or not _OUT.value:
    raise app.UsageError("--icons=package and --out=FOLDER are both needed")
  package = icon_sets.open_package(pathlib.Path(_ICONS.value))
  train = [x for x in package.titles if x not in (*HELD_OUT, *KIN, *VAL)]
  counts = make(
    by_name(package, train),
    by_name(package, VAL),
    by_name(package, HELD_OUT),
    pathlib.Path(_OUT.value),
  )
  print(json.dumps(counts, indent=2))


def by_name(
  package: icon_sets.Package, prefixes: Iterable[str]
) -> dict[str, list[icon_sets.Icon]]:
  """Return the icons of each plain name in these sets, in the order of a hash.

  A set that the package lacks is left out, and so are a set's further icons of
  one name.
  """
  icons: dict[str, dict[str, icon_sets.Icon]] = collections.defaultdict(dict)
  for prefix in prefixes:
    for icon in package.icons(prefix) if prefix in package.titles else ():
      if icon.is_plain:
        icons[icon.words].setdefault(prefix, icon)
  return {
    name: sorted(some.values(), key=lambda x: icon_sets.draw(_SALT, x.key))
    for name, some in icons.items()
  }


def make(
  train: ByName,
  val: ByName,
  held_out: ByName,
  out: pathlib.Path,
  *,
  tables: Mapping[str, tuple[int, int]] = TABLES,
  num_known: int = NUM_KNOWN,
  num_new: int = NUM_NEW,
) -> dict[str, dict[str, int]]:
  """Write all tables; return their numbers of pictures and of names.

  Args:
    train: icons of each name that may be trained on.
    val: those of other sets, to choose a recipe.
    held_out: those of further sets, to report on.
    out: folder to write.
    tables: as TABLES, each with the names of the one before and more.
    num_known: names of known.jsonl and val.jsonl, the first ones.
    num_new: most names of new.jsonl.

  Raises:
    ValueError: the icons have fewer names or drawings than a table asks for.
  """
  names = sorted(
    train, key=lambda x: (-len(train[x]), icon_sets.draw(_SALT, x))
  )
  for table, (num_names, num_drawings) in tables.items():
    got = sum(len(icons) >= num_drawings for icons in train.values())
    if got < num_names:
      raise ValueError(
        f"--icons: {table}.jsonl needs {num_names} names that {num_drawings} "
        f"icon sets draw; got {got}"
      )
  seen: set[bytes] = set()
  counts = {}
  for table, (num_names, num_drawings) in tables.items():
    icons = [
      x for name in names[:num_names] for x in train[name][:num_drawings]
    ]
    counts[table] = _write(out, table, icons, "train", seen)
  largest = max(num_names for num_names, _ in tables.values())
  words = {word for name in names[:largest] for word in name.split()}
  new = [
    name
    for name in names[largest:]
    if name in held_out and words.issuperset(name.split())
  ]
  known = [name for name in names[:num_known] if name in held_out]
  for table, icons in (
    ("val", [x for name in names[:num_known] for x in val.get(name, ())]),
    ("known", [x for name in known for x in held_out[name]]),
    ("new", [x for name in new[:num_new] for x in held_out[name]]),
  ):
    counts[table] = _write(out, table, icons, table, set(), seen)
  return counts


def _write(
  out: pathlib.Path,
  table: str,
  icons: Iterable[icon_sets.Icon],
  folder: str,
  seen: set[bytes],
  excluded: Iterable[bytes] = (),
) -> dict[str, int]:
  """Write a table and its pictures; add their digests to `seen`."""
  (out / folder).mkdir(parents=True, exist_ok=True)
  excluded = set(excluded)
  rows = []
  for icon in icons:
    image = icon_sets.on_white(icon_sets.picture(icon, SIZE))
    digest = image.tobytes()
    if digest in excluded:
      continue
    seen.add(digest)
    path = f"{folder}/{icon.prefix}-{icon.name}.png"
    _save(image, out / path)
    row = {"image": path, "caption": icon.words, "label": icon.words}
    rows.append(json.dumps(row) + "\n")
  whole_files.write(out / f"{table}.jsonl", "".join(rows).encode())
  names = {json.loads(row)["label"] for row in rows}
  return {"pictures": len(rows), "names": len(names)}


def _save(image: Image.Image, path: pathlib.Path) -> None:
  if not path.exists():
    image.save(path, "PNG")


if __name__ == "__main__":
  program.run(main, _FLAGS)
