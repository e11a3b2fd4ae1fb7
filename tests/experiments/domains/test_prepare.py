"""Miniatures of domains: what is written is what their layouts read."""

import csv
import json

import numpy as np
from PIL import Image

from experiments.bioclip import prepare as taxa
from experiments.fashionclip import prepare as products
from experiments.parts import icon_sets
from input_pipeline.sources.layouts import bioclip, fashionclip
from tests.experiments.curation import package
from tests.input_pipeline.sources.layouts import opened


def _package(folder, sets):
  body = '<path fill="currentColor" d="M4 4h16v16H4z"/>'
  package.write(folder, {name: [*icons] for name, icons in sets.items()})
  for path in (folder / "json").glob("*.json"):
    drawn = json.loads(path.read_bytes())
    for icon in drawn["icons"].values():
      icon["body"] = body
    path.write_text(json.dumps(drawn))
  return icon_sets.open_package(folder)


def _lines(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def test_taxa(tmp_path):
  rows = list(csv.DictReader(taxa._TAXA.read_text().splitlines()))
  # Ranks are as the rules of the domain leave them, and species differ.
  for row in rows:
    clean = bioclip.cleaned(row)
    assert all(row[rank].lower() == clean[rank] for rank in bioclip.RANKS)
  assert len({(row["genus"], row["species"]) for row in rows}) == len(rows)
  names = [name for row in rows for name in row["icons"].split()]
  assert len(set(names)) == len(names)
  made = _package(tmp_path / "package", dict.fromkeys(taxa.SETS, names[:40]))
  taxa.make(made, tmp_path / "taxa")
  splits = {
    split: opened.texts(tmp_path / "taxa", f"bioclip.{split}", "sci")
    for split in ("tree_of_life@train", "tree_of_life@val", "rare_species@all")
  }
  train, val, rare = map(dict, splits.values())
  assert len(train) + len(val) + len(rare) == 40 * len(taxa.SETS)
  assert rare
  assert not {*rare.values()} & {*train.values(), *val.values()}


def test_products(tmp_path):
  kinds = [names[0] for names in products.KINDS.values()]
  sets = dict.fromkeys("abcdefgh", kinds) | {products.LOGO_SET: products.LOGOS}
  out = tmp_path / "fashion"
  products.make(_package(tmp_path / "package", sets), out)
  entries = json.loads((out / "catalog.json").read_bytes())
  assert len(entries) == 8 * len(kinds) * products.PRODUCTS
  captions = dict(opened.texts(out, "fashionclip.catalog@test"))
  lines = _lines(out / "swaps.jsonl")
  assert {x["images"][0]: x["texts"][0] for x in lines} == captions
  for line in lines:
    right, colour, logo = (text.split(", ") for text in line["texts"])
    assert right[0] != colour[0]
    assert right[1:] == colour[1:]
    assert right[1] != logo[1]
    assert right[::2] == logo[::2]
  assert fashionclip.parts(entries).count("test") == len(lines)
  region = _lines(out / "regions.jsonl")[0]
  mask = np.asarray(Image.open(out / region["region"]))
  picture = np.asarray(Image.open(out / region["image"]).convert("L"))
  assert mask.shape == picture.shape
  assert (mask == 255).sum() == products.LOGO_SIZE**2
  assert picture[mask == 255].min() == 0  # the logo is black
