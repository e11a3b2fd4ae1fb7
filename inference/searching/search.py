"""Search of pictures by texts and pictures: the nearest, best first."""

import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from inference import contact_sheet, pictures, python_model
from inference import model as model_lib
from inference.indexing import approximate, given_texts, index_folder
from inference.searching import galleries, queries
from input_pipeline import evaluation_split
from runtime import checks
from training import config as config_lib

# Results looked at for one that is shown, where near-duplicates are folded.
_AHEAD = 8


@dataclasses.dataclass(frozen=True)
class Result:
  """Picture that a search found.

  Attributes:
    rank: 1 is best.
    score: cosine similarity with the query.
    entry: what is known of the picture.
    duplicates: paths of pictures that are nearly this one, of lower scores.
    row: position in the gallery.
  """

  rank: int
  score: float
  entry: galleries.Entry
  duplicates: tuple[str, ...]
  row: int

  def facts(self) -> dict[str, Any]:
    """Return the result as values for JSON."""
    values: dict[str, Any] = {"rank": self.rank, "score": self.score}
    # Not dataclasses.asdict, which copies each text.
    values |= vars(self.entry)
    if self.duplicates:
      values["duplicates"] = list(self.duplicates)
    return values


def search(
  gallery: galleries.Gallery,
  query_E: np.ndarray,
  num_results: int,
  *,
  fold: float = 0.0,
) -> list[Result]:
  """Return the nearest pictures of a gallery, best first.

  Of equal scores the first picture wins.

  Args:
    gallery: what is searched.
    query_E: embedding of the query, of length 1.
    num_results: most results.
    fold: cosine similarity from which a picture is a duplicate of a better
      result, which then names it; 0 for none.

  Raises:
    ValueError: num_results is below 1, or fold is not between 0 and 1.
  """
  checks.at_least("--num_results", num_results, 1)
  checks.between("--fold", fold, 0, 1)
  num = num_results * (_AHEAD if fold else 1)
  while True:
    found = gallery.nearest(query_E[None], num)
    rows, scores = found.row_QK[0], found.score_QK[0]
    first_of = (
      _folded(gallery.embeddings(rows), fold)
      if fold
      else list(range(len(rows)))
    )
    shown = [*dict.fromkeys(first_of)]
    if len(shown) >= num_results or len(rows) >= len(gallery):
      break
    num = min(num * _AHEAD, len(gallery))
  shown = shown[:num_results]
  entries = gallery.entries(rows)
  return [
    Result(
      rank=rank,
      score=float(scores[at]),
      entry=entries[at],
      duplicates=tuple(
        entries[other].path
        for other, first in enumerate(first_of)
        if first == at and other != at
      ),
      row=int(rows[at]),
    )
    for rank, at in enumerate(shown, 1)
  ]


def _folded(z_KE: np.ndarray, fold: float) -> list[int]:
  """Return for each row the first one that it is nearly, or itself."""
  first_of = list(range(len(z_KE)))
  z_KE = z_KE.astype(np.float32)
  firsts: list[int] = []
  for k, z_E in enumerate(z_KE):
    sim = z_KE[firsts] @ z_E
    near = np.flatnonzero(sim >= fold)
    if len(near):
      first_of[k] = firsts[near[0]]
    else:
      firsts.append(k)
  return first_of


def table(results: Sequence[Result]) -> str:
  """Render results as aligned plain text.

  Columns without a value are left out, and so is that of paths where a file has
  several pictures, which their keys then tell apart.
  """
  names = ["rank", "score", "name", "key", "split", "path"]
  lines = [
    [
      str(x.rank),
      f"{x.score:.3f}",
      x.entry.name,
      x.entry.key,
      x.entry.split.replace("_", " "),
      x.entry.path,
    ]
    for x in results
  ]
  kept = [at for at in range(len(names)) if any(line[at] for line in lines)]
  paths = {x.entry.path for x in results}
  if all(x.entry.key for x in results) and len(paths) < len(results):
    kept = [at for at in kept if names[at] != "path"]
  cells = [[line[at] for at in kept] for line in [names, *lines]]
  widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
  return "\n".join(
    "  ".join(
      cell.rjust(width) if i < 2 else cell.ljust(width)
      for i, (cell, width) in enumerate(zip(line, widths, strict=True))
    ).rstrip()
    for line in cells
  )


def run(
  path: str,
  query: queries.Query,
  *,
  index: str,
  images: str,
  out: str,
  num_results: int,
  fold: float,
  recursive: bool = False,
  is_exact: bool = False,
  is_centred: bool = False,
  centre_texts: str = "",
  as_json: bool = False,
) -> int:
  """Search an index, files, or a run's own data; write a contact sheet.

  Args:
    path: model as `model.load` takes it; "" for that of the index.
    query: what to look for.
    index: folder of an index; "" for none.
    images: pictures as `pictures.find` takes them; "" for none. Without both,
      `path` is a run, and its data are searched.
    out: PNG file to write; "" for one named by the query, in the run's folder,
      or here.
    num_results: most results.
    fold: as of `search`.
    recursive: whether folders below a folder of images count too.
    is_exact: compare all rows of an index that has an approximate index too.
    is_centred: subtract the mean of the pictures from pictures, and that of
      `centre_texts` from texts.
    centre_texts: texts, as given_texts.read takes them; "" for none.
    as_json: print one JSON object instead of a table.

  Raises:
    ValueError: a flag is wrong; the message names it.
  """
  checks.at_least("--num_results", num_results, 1)
  checks.between("--fold", fold, 0, 1)
  if index and images:
    raise ValueError("give one of --index and --images; got both")
  if out and pathlib.PurePath(out).suffix.lower() != ".png":
    raise ValueError(f"--out must be a .png file; got {out!r}")
  if centre_texts and not is_centred:
    raise ValueError("--centre_texts needs --centre")
  if is_centred and query.has_texts and not centre_texts:
    raise ValueError(
      "--centre needs --centre_texts=FILE, texts whose mean is subtracted from"
      " those of the query, such as captions of such pictures"
    )
  model, gallery, folder = _opened(
    *(path, index, images), recursive=recursive, is_exact=is_exact or is_centred
  )
  means: list[np.ndarray | None] = [None, None]
  how = gallery.method(num_results) | {"centred": None}
  if is_centred:
    gallery, means, how["centred"] = _centred(gallery, model, centre_texts)
  query_E = query.vector(model, *means)
  results = search(gallery, query_E, num_results, fold=fold)
  sheet = pathlib.Path(out) if out else folder / f"search-{_slug(query)}.png"
  drawn = [_match(result, gallery) for result in results]
  if drawn:
    contact_sheet.write_contact_sheet(sheet, query.title(), drawn)
  if as_json:
    print(to_json(query, results, str(sheet), _facts(model) | how))
    return 0
  print(table(results))
  if how["centred"]:
    print(_about_centred(how["centred"]))
  if how["recall"]:
    print(_about_method(how))
  print(f"Contact sheet: {sheet}")
  return 0


def to_json(
  query: queries.Query,
  results: Sequence[Result],
  sheet: str,
  model: Mapping[str, Any],
) -> str:
  """Render results as one JSON object."""
  return json.dumps(
    {
      "query": query.title(),
      "parts": query.facts(),
      "contact_sheet": sheet,
      **model,
      "results": [result.facts() for result in results],
    },
    ensure_ascii=False,
    indent=2,
  )


def _centred(
  gallery: galleries.Gallery, model: python_model.Model, texts: str
) -> tuple[galleries.Gallery, list[np.ndarray | None], dict[str, Any]]:
  """Return a centred gallery, means of pictures and texts, and facts."""
  made, centre = gallery.centred()
  z_TE = None
  if texts:
    z_TE = given_texts.read(texts, "centre_texts", model.digest, lambda: model)
  for what, num in (
    ("pictures", centre.num),
    ("--centre_texts", 2 if z_TE is None else len(z_TE)),
  ):
    if num < 2:
      raise ValueError(
        f"--centre needs at least 2 {what}: of one, nothing is left without"
        " the mean"
      )
  facts = {
    "num_pictures": centre.num,
    "num_texts": 0 if z_TE is None else len(z_TE),
    "texts": texts,
  }
  text_mean_E = None if z_TE is None else z_TE.mean(axis=0, dtype=np.float64)
  return made, [centre.mean_E, text_mean_E], facts


def _about_centred(facts: Mapping[str, Any]) -> str:
  texts = (
    f", texts less that of {facts['num_texts']:,} of {facts['texts']}"
    if facts["texts"]
    else ""
  )
  return (
    "Scores are cosine similarities of pictures less the mean of"
    f" {facts['num_pictures']:,}{texts}."
  )


def _about_method(how: Mapping[str, Any]) -> str:
  recall, queries = how["recall"], how["recall"]["queries"]
  low, high = recall["interval"]
  return (
    f"Searched by {how['method']}, which finds {recall['value']:.1%} of the"
    f" {recall['k']} nearest ({low:.1%} to {high:.1%}; queries:"
    f" {queries['num_measured']} {queries['kind']}); --exact finds all."
  )


def _opened(
  path: str, index: str, images: str, *, recursive: bool, is_exact: bool
) -> tuple[python_model.Model, galleries.Gallery, pathlib.Path]:
  """Return the model, what is searched, and the folder of a contact sheet."""
  here = pathlib.Path()
  if index:
    # Read first: a model of gigabytes takes long.
    opened = index_folder.read(index)
    if not len(opened):
      raise ValueError(f"--index={index} has no pictures: all are removed")
    return *of_index(path, opened, is_exact=is_exact), here
  if images:
    found = pictures.find(images, recursive=recursive)
    model = python_model.Model.load(path)
    return model, galleries.of_files(model, found), here
  folder = pathlib.Path(path)
  return *of_run(folder), folder


def of_index(
  path: str, opened: index_folder.Index, *, is_exact: bool = False
) -> tuple[python_model.Model, galleries.Indexed]:
  """Load the model of an index.

  Args:
    path: model as `model.load` takes it; "" for that of the index.
    opened: index.
    is_exact: whether its approximate index, if there is one, is not used.

  Raises:
    ValueError: the model is not that of the index.
    ModuleNotFoundError: the package of its approximate index is not installed.
  """
  # A missing package is named before a model of gigabytes is read.
  found = None if is_exact else approximate.opened(opened)
  named = path or str(opened.manifest.model["path"])
  model = python_model.Model.load(named)
  opened.check_model(model.digest, named)
  return model, galleries.Indexed(opened, found)


def of_run(
  folder: pathlib.Path,
) -> tuple[python_model.Model, galleries.Gallery]:
  """Load the model of a run, and embed all pictures of its data."""
  config, loaded = model_lib.load_run(folder)
  model = python_model.Model(loaded, config.evaluate.batch_size)
  return model, _own_data(config, model)


def _own_data(
  config: config_lib.Config, model: python_model.Model
) -> galleries.Gallery:
  """Return all pictures of a run's data."""
  data = config.data
  splits = {}
  for source, section in data.sources.items():
    opened = evaluation_split.open_all_splits(
      data,
      section,
      name=source,
      section="data.sources",
      protocol=model.image_protocol,
    )
    for split, examples in opened.items():
      is_plain = len(data.sources) == 1 or split == source
      if len(examples):
        splits[split if is_plain else f"{source}/{split}"] = examples
  with jax.set_mesh(model.loaded.mesh):
    return galleries.of_splits(
      *(model, splits),
      batch_size=config.evaluate.batch_size,
      language=data.languages[0],
    )


def _facts(model: python_model.Model) -> dict[str, Any]:
  inputs = model.loaded.make_inputs()
  return {
    "model": {"path": model.loaded.path, "digest": model.digest},
    "inputs": inputs.facts(),
  }


def _match(result: Result, gallery: galleries.Gallery) -> contact_sheet.Match:
  """Return a result with its picture, grey where it is gone."""
  image_YXC = gallery.picture(result.row)
  if image_YXC is None:
    image_YXC = np.full((64, 64, 3), 128, np.uint8)
  entry = result.entry
  return contact_sheet.Match(
    rank=result.rank,
    score=result.score,
    name=entry.name,
    key=entry.key or os.path.basename(entry.path),
    split=entry.split,
    image_YXC=image_YXC,
  )


def _slug(query: queries.Query) -> str:
  words = re.sub(r"\W+", "-", query.title().lower()).strip("-")
  return words[:60] or "query"
