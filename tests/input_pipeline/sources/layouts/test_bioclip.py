"""Tests of TreeOfLife-10M's layouts, and of the rules for names of taxa."""

import csv
import io

import numpy as np
import pytest

from configs import bioclip as config_lib
from input_pipeline import faults
from input_pipeline.grammars import filled
from input_pipeline.sources import source_config
from input_pipeline.sources.layouts import bioclip
from tests.input_pipeline.sources.layouts import opened

_BIRD = "Animalia Chordata Aves Passeriformes Corvidae Pica hudsonia"
_MAGPIE = dict(zip(bioclip.RANKS, _BIRD.split(), strict=True))
_REPTILE = (
  "Animalia Chordata Reptilia Testudines Geoemydidae Pangshura sylhetensis"
)
_TURTLE = dict(zip(bioclip.RANKS, _REPTILE.split(), strict=True))


def _table(*rows):
  file = io.StringIO()
  fields = dict.fromkeys(name for row in rows for name in row)
  writer = csv.DictWriter(file, fields, restval="")
  writer.writeheader()
  writer.writerows(rows)
  return file.getvalue()


@pytest.mark.parametrize(
  ("species", "expected"),
  [
    ("Pica hudsonia", ("pica", "hudsonia")),
    ("Xymene huttoni (Murdoch, 1900)", ("xymene", "huttoni")),
    ("Lagophylla ramosissima ssp. minor", ("lagophylla", "ramosissima")),
    ("Echinocereus rigidissimus var. minor", ("echinocereus", "rigidissimus")),
    (
      "Collotheca ornata Meksuwan, Pho & Segers, 2013",
      ("collotheca", "ornata"),
    ),
    ("Agosia yarrowi Jordan & Evermann", ("agosia", "yarrowi")),
    ("Partula subangulata Pease, 1870", ("partula", "subangulata")),
    ("Stylidium spinulosum r.br.", ("stylidium", "spinulosum")),
    ("Zygodon <i>viridissimus</i> viridissimus", ("zygodon", "viridissimus")),
    ("Pellaea boivinii <br > var. boivinii", ("pellaea", "boivinii")),
    ("PleaseHelp", ("", "")),
    ("Ostrea", ("", "ostrea")),
  ],
)
def test_the_name_of_a_species(species, expected):
  taxon = bioclip.cleaned({"species": species})
  assert (taxon["genus"], taxon["species"]) == expected
  # Clean names stay as they are.
  assert bioclip.cleaned(taxon) == taxon


def test_kingdoms_and_a_genus_that_is_there():
  taxon = bioclip.cleaned({**_MAGPIE, "kingdom": "Metazoa"})
  assert taxon["kingdom"] == "animalia"
  assert bioclip.cleaned({"kingdom": "Chloroplastida"})["kingdom"] == "plantae"
  taxon = bioclip.cleaned({"genus": "Pica", "species": "Pica pica"})
  assert (taxon["genus"], taxon["species"]) == ("pica", "pica")


def test_names_by_text_type():
  made = bioclip.names(_MAGPIE, "black-billed magpie")
  end = " with common name black-billed magpie"
  assert made == {
    "sci": "Pica hudsonia",
    "taxon": _BIRD,
    "com": "black-billed magpie",
    "sci_com": "Pica hudsonia" + end,
    "taxon_com": _BIRD + end,
  }
  assert bioclip.names({"order": "Diptera"}, "")["com"] == "Diptera"
  assert not bioclip.names({"kingdom": "unknown"}, "fly")


@pytest.fixture
def tree(tmp_path):
  row = {"split": "train", **_MAGPIE, "common": "black-billed magpie"}
  rows = (
    row | {"treeoflife_id": "0a", "eol_page_id": "45"},
    row | {"treeoflife_id": "0b", "inat21_filename": "x.jpg", "common": ""},
    row | _TURTLE | {"treeoflife_id": "0c", "bioscan_filename": "BIO1.jpg"},
    row | {"treeoflife_id": "0d"},
    row | dict.fromkeys(bioclip.RANKS, "") | {"treeoflife_id": "0e"},
    row | {"treeoflife_id": "0f", "split": "val"},
  )
  images = (
    "dataset/EOL/image_set_01/0a.jpg",
    f"dataset/inat21/train/03240_{_BIRD.replace(' ', '_')}/x.jpg",
    "dataset/bioscan/part1/BIO1.jpg",
  )
  folder = tmp_path / "tree"
  opened.write(folder, {"metadata/catalog.csv": _table(*rows)}, images)
  return folder


def test_the_tree_of_life(tree):
  records = opened.records(tree, "bioclip.tree_of_life@train", caption=("com",))
  assert [records[i].texts["en"] for i in range(3)] == [
    ("black-billed magpie",),
    ("Pica hudsonia",),
    ("black-billed magpie",),
  ]
  with pytest.raises(faults.ExampleError, match=r"has no file 0d\.jpg"):
    records[3]
  with pytest.raises(faults.ExampleError, match="taxon with one of kingdom"):
    records[4]
  inat = opened.texts(tree, "bioclip.inat21@train", column="taxon")
  assert inat[0][1].endswith("Corvidae Pica hudsonia")
  assert len(inat) == 1


def test_a_homonym_is_noted(tree, caplog):
  path = tree / "metadata/catalog.csv"
  text = path.read_text().replace("Corvidae", "Apidae", 1)
  path.write_text(text)
  opened.records(tree, "bioclip.tree_of_life@train")
  assert "1 scientific names are those of several taxa" in caplog.text
  assert "Pica hudsonia" in caplog.text


def test_a_missing_column(tree):
  path = tree / "metadata/catalog.csv"
  path.write_text(path.read_text().replace("family", "clan"))
  with pytest.raises(ValueError, match=r"catalog\.csv has no column family"):
    opened.records(tree, "bioclip.tree_of_life@train")


def test_text_types_are_drawn_once_a_batch(tree):
  config = config_lib.get_config("tree_of_life")
  section = config.data.sources.main.to_dict()
  texts = filled.make(source_config.SourceConfig(**section))
  assert texts.per_batch
  fields = bioclip.names(_MAGPIE, "black-billed magpie")
  rng = np.random.default_rng(0)
  drawn = {
    texts.draw(fields, rng.integers(2**63, size=texts.num_words).tolist())
    for _ in range(100)
  }
  # As the table of BioCLIP's text types has them.
  photo, magpie = "a photo of ", "with common name black-billed magpie."
  assert dict(drawn) == {
    "sci": f"{photo}Pica hudsonia.",
    "com": f"{photo}black-billed magpie.",
    "taxon": f"{photo}{_BIRD}.",
    "sci_com": f"{photo}Pica hudsonia {magpie}",
    "taxon_com": f"{photo}{_BIRD} {magpie}",
  }
  assert len(config_lib.PROMPTS) == len(set(config_lib.PROMPTS)) == 81


def test_rare_species(tmp_path):
  folder = "dataset/Animalia_Chordata_Reptilia_Testudines"
  images = tuple(
    f"{folder}/{number}_793083_eol-full-size-copy.jpg" for number in range(30)
  )
  rows = [
    {"file_name": image, **_TURTLE, "common": "Assam Roofed Turtle"}
    for image in images
  ]
  opened.write(tmp_path / "rare", {"metadata.csv": _table(*rows)}, images)
  layout = "bioclip.rare_species"
  every, support, query = (
    opened.texts(tmp_path / "rare", f"{layout}@{split}", "sci_com")
    for split in ("all", "support", "query")
  )
  assert [key for key, _ in every] == list(images)
  assert every[0][1] == (
    "Pangshura sylhetensis with common name Assam Roofed Turtle"
  )
  assert 5 <= len(support) < len(query)
  assert sorted(support + query) == sorted(every)


def test_a_test_set_by_its_annotation(tmp_path):
  row = {"filepath": "Gray/1.JPG", "class": "Mycena galericulata"}
  folder = tmp_path / "fungi"
  opened.write(folder, {"metadata.csv": _table(row)}, ("Gray/1.JPG",))
  texts = opened.texts(folder, "bioclip.annotated", column="class")
  assert texts == [("Gray/1.JPG", "Mycena galericulata")]
  ranks = {("cls" if k == "class" else k): v for k, v in _TURTLE.items()}
  row |= ranks | {"common_name": "turtle", "class": "turtle 1"}
  opened.write(folder, {"metadata.csv": _table(row)})
  texts = opened.texts(folder, "bioclip.annotated", column="taxon_com")
  assert texts[0][1].endswith("sylhetensis with common name turtle")
