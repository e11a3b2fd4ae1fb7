"""Pictures of a run's data, searched by a sentence."""

import dataclasses
import json
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from absl import logging

from evaluators import embedding
from inference import contact_sheet
from inference import model as model_lib
from input_pipeline import evaluation_split, faults
from runtime import checks

# Examples left out that a message names.
_NUM_NAMED = 3


def check_query(query: str) -> None:
  """Raise ValueError for a query without a letter."""
  if not query.strip():
    raise ValueError(
      "--query is empty: say what to look for, as in "
      '--query="woman firefighter"'
    )


def search(
  embedder: embedding.Embedder,
  params: Any,
  tokenizer: Callable[[list[str]], np.ndarray],
  splits: Mapping[str, evaluation_split.Split],
  query: str,
  num_results: int = 12,
  *,
  language: str,
) -> list[contact_sheet.Match]:
  """Return the pictures closest to a query, best first.

  `splits` are searched splits by name. Names are shown in `language`, or in
  another where they have none; a query may be in any that the model knows.
  Equal scores keep the order of the examples. Pictures that cannot be decoded
  are left out, counted and named in the log.

  Raises:
    ValueError: the query is empty, num_results is below 1, or no picture can
      be decoded.
  """
  check_query(query)
  checks.at_least("num_results", num_results, 1)
  examples = {
    name: _embedded(embedder, params, name, split)
    for name, split in splits.items()
  }
  rows = [
    (name, row)
    for name, part in examples.items()
    for row in range(len(part.keys))
  ]
  zimg_NE = np.concatenate([part.zimg_NE for part in examples.values()])
  ztxt_E = embedder.texts(params, tokenizer([query]))[0]
  score_N = zimg_NE @ ztxt_E
  matches = []
  for n in np.argsort(-score_N, kind="stable")[:num_results]:
    name, row = rows[n]
    part = examples[name]
    captions = part.texts[row]
    # A source of captions in unknown languages has "und" alone.
    named = captions.get(language) or next(iter(captions.values()), ("",))
    matches.append(
      contact_sheet.Match(
        rank=len(matches) + 1,
        score=float(score_N[n]),
        name=named[0],
        key=part.keys[row],
        split=name,
        image_YXC=splits[name].image(part.rows[row]),
      )
    )
  return matches


def _embedded(
  embedder: embedding.Embedder,
  params: Any,
  name: str,
  split: evaluation_split.Split,
) -> embedding.Examples:
  """Embed a split; name the examples that cannot be used."""
  broken: list[str] = []

  def on_fault(row: int, error: faults.ExampleError) -> None:
    broken.append(f"example {row}: {error.kind}: {error}")

  examples = embedder.split(params, split, on_fault)
  if broken:
    shown = "; ".join(broken[:_NUM_NAMED])
    logging.warning(
      "Left out of the search, %d of %d of %s: %s",
      *(len(broken), len(split), name, shown),
    )
  return examples


def table(matches: list[contact_sheet.Match]) -> str:
  """Render matches as aligned plain text."""
  cells = [["rank", "score", "name", "key", "split"]] + [
    [str(m.rank), f"{m.score:.3f}", m.name, m.key, m.split.replace("_", " ")]
    for m in matches
  ]
  widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
  return "\n".join(
    "  ".join(
      cell.rjust(width) if i < 2 else cell.ljust(width)
      for i, (cell, width) in enumerate(zip(line, widths, strict=True))
    ).rstrip()
    for line in cells
  )


def to_json(
  query: str,
  matches: list[contact_sheet.Match],
  sheet: str = "",
  inputs: Mapping[str, object] | None = None,
) -> str:
  """Render matches as one JSON object, without the pictures.

  Args:
    query: text that was searched for.
    matches: best first.
    sheet: path of the contact sheet.
    inputs: image protocol and tokenizer of the model.
  """
  return json.dumps(
    {
      "query": query,
      "contact_sheet": sheet,
      "inputs": inputs or {},
      "matches": [
        {
          field.name: getattr(match, field.name)
          for field in dataclasses.fields(match)
          if field.name != "image_YXC"
        }
        for match in matches
      ],
    },
    ensure_ascii=False,
    indent=2,
  )


def run(folder: pathlib.Path, query: str, *, as_json: bool = False) -> int:
  """Search all pictures of a run's data; write a contact sheet beside it.

  Raises:
    ValueError: the query is empty.
  """
  check_query(query)
  config, model = model_lib.load_run(folder)
  embedder = model.make_embedder(config.evaluate.batch_size)
  data, inputs = config.data, model.make_inputs()
  splits = {}
  for source, section in data.sources.items():
    opened = evaluation_split.open_all_splits(
      data,
      section,
      name=source,
      section="data.sources",
      protocol=inputs.image_protocol,
    )
    for split, examples in opened.items():
      is_plain = len(data.sources) == 1 or split == source
      if len(examples):
        splits[split if is_plain else f"{source}/{split}"] = examples
  with jax.set_mesh(model.mesh):
    matches = search(
      embedder,
      model.params,
      inputs.tokenizer,
      splits,
      query,
      language=data.languages[0],
    )
  path = folder / f"search-{_slug(query)}.png"
  contact_sheet.write_contact_sheet(path, query, matches)
  if as_json:
    print(to_json(query, matches, str(path), inputs.facts()))
  else:
    print(table(matches))
    print(f"Contact sheet: {path}")
  return 0


def _slug(query: str) -> str:
  return re.sub(r"\W+", "-", query.lower()).strip("-")[:60] or "query"
