"""Pictures of organisms with their taxa: TreeOfLife-10M, Rare Species, iNat21.

Layouts as the card of TreeOfLife-10M, the authors' scripts
(github.com/Imageomics/bioclip) and others' loaders have them. Every row has
the names of its taxon as columns: `sci` (genus and species, else taxon),
`taxon` (all ranks), `com` (the common name, else sci), and `sci_com` and
`taxon_com`, the classes of an evaluation.

Taxa are cleaned by the rules of their naming.py. Missing ranks and common names
are not looked up, as there in ITIS, EOL and the Global Names Resolver, with a
list of homonyms: catalog.csv has the result.
"""

import functools
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping

from input_pipeline.sources.layouts import layout

RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
_UNKNOWN = ("(unidentified)", "unknown", "pleasehelp")
_KINGDOMS = {"metazoa": "animalia"} | dict.fromkeys(
  ("archaeplastida", "chloroplastida"), "plantae"
)
_TAG = re.compile(r"</?[^<>]*>")
# First letter of what follows the name of a species: a bracket, a lower rank, a
# line break, the author, the year.
_AUTHORITY = re.compile(
  r"\(|ssp\.|subsp\.|var\.|<br ?>|(\w+, )?\w+ & \w+|(\w+,? )?\d{4}| [a-z]\."
)


def cleaned(ranks: Mapping[str, str]) -> dict[str, str]:
  """Return the seven ranks, in lower case, "" where one is not known.

  >>> cleaned({"family": "Corvidae", "species": "Pica hudsonia (Sabine 1823)"})
  ... # doctest: +NORMALIZE_WHITESPACE
  {'kingdom': '', 'phylum': '', 'class': '', 'order': '', 'family': 'corvidae',
   'genus': 'pica', 'species': 'hudsonia'}
  """
  taxon = {rank: (ranks.get(rank) or "").lower() for rank in RANKS}
  if match := _AUTHORITY.search(taxon["species"]):
    taxon["species"] = taxon["species"][: match.start()]
  for rank, value in taxon.items():
    value = " ".join(_TAG.sub("", value).split())
    taxon[rank] = "" if value in _UNKNOWN else value
  taxon["kingdom"] = _KINGDOMS.get(taxon["kingdom"], taxon["kingdom"])
  first, _, rest = taxon["species"].partition(" ")
  if rest and taxon["genus"] in ("", first):
    taxon |= {"genus": first, "species": rest}
  first, _, rest = taxon["species"].partition(" ")
  return taxon | ({"species": first} if first == rest else {})


def names(ranks: Mapping[str, str], common: str) -> dict[str, str]:
  """Return the columns of a taxon's names; {} where no rank is known.

  Args:
    ranks: values by rank, cleaned or not; others are ignored.
    common: common name, "" without one.

  >>> names({"genus": "Pica", "species": "hudsonia"}, "magpie")["sci_com"]
  'Pica hudsonia with common name magpie'
  """
  taxon = cleaned(ranks)
  taxon |= {rank: taxon[rank].capitalize() for rank in RANKS[:-1]}
  every = " ".join(filter(None, taxon.values()))
  if not every:
    return {}
  sci = f"{taxon['genus']} {taxon['species']}".strip().capitalize() or every
  end = f" with common name {common}" if common else ""
  return {
    **{"sci": sci, "taxon": every, "com": common or sci},
    **{"sci_com": sci + end, "taxon_com": every + end},
  }


def _named(
  data: layout.Folder, found: Iterable[tuple[str, Mapping[str, str], str]]
) -> Iterator[layout.Row]:
  """Yield rows of (image, ranks, common name); the folder notes homonyms."""
  taxa: dict[str, set[str]] = {}
  for image, ranks, common in found:
    if made := names(ranks, common.strip()):
      taxa.setdefault(made["sci"], set()).add(made["taxon"])
      yield {**data.needs_image(image), "caption": made["taxon"], **made}
    else:
      message = f"expected a taxon with one of {', '.join(RANKS)}; got none"
      yield layout.fault(image, "caption_missing", message)
  if several := [sci for sci, every in taxa.items() if len(every) > 1]:
    data.notes.append(
      f"{len(several)} scientific names are those of several taxa, which only "
      f"captions with ranks tell apart: {', '.join(several[:3])}"
    )


def _catalog(
  part: str, data: layout.Folder, split: str
) -> Iterator[layout.Row]:
  """Yield the pictures of a split that have a value in the column `part`."""
  by_name = data.images_by_name()
  columns = ("split", "treeoflife_id", *RANKS, "common", part)

  def found():
    for row in data.table("metadata/catalog.csv", needs=columns):
      if row["split"] == split and row[part]:
        name = row.get("inat21_filename") or row.get("bioscan_filename")
        name = name or f"{row['treeoflife_id']}.jpg"
        yield by_name.get(name, name), row, row["common"]

  return _named(data, found())


def _rare_species(data: layout.Folder, split: str) -> Iterator[layout.Row]:
  """Yield rare species: all, or a third by hash to learn from, or the rest."""

  def found():
    for row in data.table(
      "metadata.csv", needs=("file_name", *RANKS, "common")
    ):
      image = row["file_name"]
      is_support = hashlib.sha256(image.encode()).digest()[0] % 3 == 0
      if split == "all" or is_support == (split == "support"):
        yield image, row, row["common"]

  return _named(data, found())


def _annotated(data: layout.Folder, split: str) -> Iterator[layout.Row]:
  """Yield a test set: its column "class", and names where it has ranks."""
  del split
  for row in data.table("metadata.csv", needs=("filepath", "class")):
    ranks = row | {"class": row.get("cls", "")}
    made = names(ranks, row.get("common_name", ""))
    yield {**data.needs_image(row["filepath"]), **made, "class": row["class"]}


_HUB = "huggingface.co/datasets/imageomics/"
_TREE = (
  "metadata/catalog.csv, and images named TREEOFLIFE_ID.jpg (EOL, unpacked), or"
  " as in iNat21 and BIOSCAN-1M, in any folder",
  ("train", "val", "train_small"),
  _HUB + "TreeOfLife-10M",
)
LAYOUTS = {
  "tree_of_life": layout.Layout(functools.partial(_catalog, "split"), *_TREE),
  "inat21": layout.Layout(
    functools.partial(_catalog, "inat21_filename"), *_TREE
  ),
  "rare_species": layout.Layout(
    *(_rare_species, "metadata.csv with file_name, and dataset/"),
    *(("all", "support", "query"), _HUB + "rare-species"),
  ),
  "annotated": layout.Layout(
    _annotated, "metadata.csv and its images", (), "Imageomics/bioclip"
  ),
}
