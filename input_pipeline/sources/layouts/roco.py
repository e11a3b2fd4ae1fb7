"""ROCO: figures of radiology with their captions (Pelka et al. 2018).

A split's folder has radiology/captions.txt, a name, a tab and a caption a line,
as published, or the table of the copy that PubMedCLIP read
(radiologytraindata.csv: id, name, caption); the pictures are radiology/images/.
Captions are in Unicode's form NFKD, as PubMedCLIP reads them.
"""

import unicodedata
from collections.abc import Iterator

from input_pipeline.sources.layouts import layout

_SPLITS = {"train": "train", "validation": "val", "test": "test"}
# Characters after which PubMedCLIP's code cuts captions: the length of CLIP's
# context, which is meant in tokens.
_LEGACY_CHARACTERS = 77


def _pairs(data: layout.Folder, split: str) -> Iterator[tuple[str, str]]:
  """Yield the file name and the caption of each picture."""
  table = f"{split}/radiology{_SPLITS[split]}data.csv"
  if table in data.listed:
    for row in data.table(table, needs=("name", "caption")):
      yield row["name"], row["caption"]
    return
  for line in data.lines(f"{split}/radiology/captions.txt"):
    name, tab, caption = line.partition("\t")
    if not tab:
      raise data.wrong(
        f"{data.last_read}: expected a name, a tab and a caption; got"
        f" {line[:60]!r}"
      )
    yield f"{name.strip()}.jpg", caption


def _rows(data: layout.Folder, split: str) -> Iterator[layout.Row]:
  """Yield the pictures; one that is missing or empty has a fault."""
  for name, caption in _pairs(data, split):
    path = f"{split}/radiology/images/{name}"
    row = data.needs_image(path)
    if path in data.listed and not data.listed[path].size:
      row = layout.fault(path, "image_missing", f"{path} has no bytes")
    yield {**row, "caption": unicodedata.normalize("NFKD", caption.strip())}


def _cut(data: layout.Folder, split: str) -> Iterator[layout.Row]:
  """Yield `_rows` with the captions that PubMedCLIP's code trained on."""
  for row in _rows(data, split):
    yield {**row, "caption": row["caption"][:_LEGACY_CHARACTERS]}


_FILES = "{train,validation,test}/radiology/captions.txt and images/ beside it"
_SOURCE = "github.com/razorx89/roco-dataset"
LAYOUTS = {
  "roco": layout.Layout(_rows, _FILES, (*_SPLITS,), _SOURCE),
  "legacy": layout.Layout(_cut, _FILES, (*_SPLITS,), _SOURCE),
}
