"""Writes icons of organisms in the layout of TreeOfLife-10M and Rare Species.

  npm pack @iconify/json && tar xzf iconify-json-*.tgz
  python -m experiments.bioclip.prepare --icons=package --out=cache/bioclip

taxa.csv names the icons of 139 species, and their ranks. A fifth of the
species, by hash, are the rare ones: no picture of them is in the catalogue. Of
the others, a tenth of the pictures are the split "val". The files are those
that input_pipeline/sources/layouts/bioclip.py describes, images as JPEG.
"""

import csv
import io
import pathlib
from collections.abc import Iterator, Mapping, Sequence

from absl import app, flags

from experiments.parts import icon_sets, program
from input_pipeline.sources.layouts import bioclip
from runtime.storage import whole_files

# Flags of this program, beside main.py's of the same names.
_FLAGS = flags.FlagValues()
_ICONS = flags.DEFINE_string(
  *("icons", None, "Folder of the unpacked npm package @iconify/json."),
  flag_values=_FLAGS,
)
_OUT = flags.DEFINE_string("out", None, "Folder to write.", flag_values=_FLAGS)

# Sets of emoji: a "mouse" of another set may be one of a computer.
SETS = (
  *("noto", "noto-v1", "twemoji", "emojione", "emojione-monotone"),
  *("fluent-emoji-flat", "fluent-emoji-high-contrast"),
)
RARE, VAL = 0.2, 0.1
SIZE = 128
_SALT = "diptych-taxa-1"
_TAXA = pathlib.Path(__file__).parent / "taxa.csv"


def main(argv: Sequence[str]) -> None:
  del argv
  if not _ICONS.value or not _OUT.value:
    raise app.UsageError("--icons=package and --out=FOLDER are both needed")
  package = icon_sets.open_package(pathlib.Path(_ICONS.value))
  make(package, pathlib.Path(_OUT.value))


def make(package: icon_sets.Package, out: pathlib.Path) -> None:
  """Write the tables and the pictures."""
  catalogue, rare = [], []
  for icon, taxon in _icons(package):
    row = {rank: taxon[rank] for rank in bioclip.RANKS}
    row["common"] = taxon["common"]
    name = icon.key.replace(":", "-")
    species = f"{taxon['genus']} {taxon['species']}"
    if icon_sets.draw(_SALT, species) < RARE:
      path = f"dataset/{'_'.join(row[x] for x in bioclip.RANKS)}/{name}.jpg"
      rare.append({"file_name": path} | row)
    else:
      split = "val" if icon_sets.draw(_SALT, icon.key) < VAL else "train"
      catalogue.append({"split": split, "treeoflife_id": name} | row)
      path = f"dataset/EOL/{name}.jpg"
    _write_icon(icon, out / path)
  _write_table(out / "metadata/catalog.csv", catalogue)
  _write_table(out / "metadata.csv", rare)
  print(f"{out}: {len(catalogue)} pictures, {len(rare)} of rare species")


def _icons(
  package: icon_sets.Package,
) -> Iterator[tuple[icon_sets.Icon, Mapping[str, str]]]:
  """Yield icons of organisms, each with its row of taxa.csv."""
  taxa = list(csv.DictReader(io.StringIO(_TAXA.read_text())))
  by_name = {name: taxon for taxon in taxa for name in taxon["icons"].split()}
  for prefix in SETS:
    for icon in package.icons(prefix):
      if icon.name in by_name:
        yield icon, by_name[icon.name]


def _write_icon(icon: icon_sets.Icon, path: pathlib.Path) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  image = icon_sets.on_white(icon_sets.picture(icon, SIZE))
  image.save(path, quality=95)


def _write_table(
  path: pathlib.Path, rows: Sequence[Mapping[str, object]]
) -> None:
  file = io.StringIO()
  writer = csv.DictWriter(file, list(rows[0]))
  writer.writeheader()
  writer.writerows(rows)
  path.parent.mkdir(parents=True, exist_ok=True)
  whole_files.write(path, file.getvalue().encode())


if __name__ == "__main__":
  program.run(main, _FLAGS)
