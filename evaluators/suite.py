"""All evaluations of a run: what the training loop and --task=evaluate call.

The only evaluator that knows the data. Each image and each distinct text is
embedded once, however many figures it enters.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from evaluators import embedding, retrieval, zero_shot
from evaluators import gallery as gallery_lib
from input_pipeline import pipeline
from models import naflex

Results = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Data:
  """What the evaluations read; loaded once a run."""

  splits: Mapping[str, pipeline.Examples]
  # All names of training and held-out sets, by language.
  names: Mapping[str, Sequence[str]]
  tokenizer: Callable[[list[str]], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Embeddings:
  """What a model makes of Data: float32 rows of length 1."""

  zimg: Mapping[str, np.ndarray]  # split -> [N, E]
  row: Mapping[str, int]  # text -> row of ztxt
  ztxt: np.ndarray

  def texts(self, texts: Sequence[str]) -> np.ndarray:
    """Return ztxt [N, E] of texts that were embedded."""
    return self.ztxt[[self.row[text] for text in texts]]


def load_data(config: Any) -> Data:
  """Read the splits that config.evaluate needs, and all names."""
  unknown = set(config.evaluate.zero_shot) - set(zero_shot.TASKS)
  if unknown:
    raise ValueError(
      f"evaluate.zero_shot names {sorted(unknown)}; there is "
      f"{sorted(zero_shot.TASKS)}"
    )
  splits = dict.fromkeys(config.evaluate.retrieval)
  _check_splits("retrieval", splits, config.data)
  asked = dict.fromkeys(task.split for task in _tasks(config).values())
  _check_splits("zero_shot", asked, config.data)
  splits |= asked
  return Data(
    splits={name: pipeline.read_split(config.data, name) for name in splits},
    # All of them are read: not of pairs from the web, which nothing asks for.
    names=pipeline.all_texts(config.data) if splits else {},
    tokenizer=pipeline.make_tokenizer(config.data),
  )


def _check_splits(
  field: str, names: Collection[str], data: pipeline.DataConfig
) -> None:
  known = pipeline.splits(data) if names else ()
  missing = [name for name in names if name not in known]
  if missing:
    raise ValueError(
      f"evaluate.{field} needs the splits {missing}, data.sources have "
      f'{list(known)}; to evaluate nothing: --config.evaluate.{field}="()"'
    )


def run(
  config: Any, data: Data, embedder: embedding.Embedder, params: Any
) -> Results:
  """Embed and score; see `score` for what comes back.

  Raises:
    embedding.Interrupted: the embedder was told to stop.
  """
  return score(config, data, embed(config, data, embedder, params), embedder)


def embed(
  config: Any, data: Data, embedder: embedding.Embedder, params: Any
) -> Embeddings:
  """Embed every image of the splits and every distinct text once."""
  first, *others = config.data.languages
  texts = dict.fromkeys(data.names.get(first, ()))
  for split in data.splits.values():
    for language in (first, *others):
      texts |= dict.fromkeys(split.texts[language])
  for task in _tasks(config).values():
    texts |= dict.fromkeys(task.prompts())
  texts.pop("", None)  # an example without a name in some language
  return Embeddings(
    zimg={
      name: embedder.images(params, seen(split))
      for name, split in data.splits.items()
    },
    row={text: row for row, text in enumerate(texts)},
    ztxt=(
      embedder.texts(params, data.tokenizer(list(texts)))
      if texts
      else np.zeros((0, config.model.embed_dim), np.float32)
    ),
  )


def seen(split: pipeline.Examples) -> np.ndarray | naflex.Patches:
  """Return what the image tower is given."""
  if split.patches is None:
    return split.images
  patches, shapes = split.patches
  # The tower takes arrays of NumPy as well as JAX's, which its types name.
  return naflex.Patches(patches, shapes)  # pyrefly: ignore[bad-argument-type]


def score(
  config: Any,
  data: Data,
  embeddings: Embeddings,
  embedder: embedding.Embedder,
) -> Results:
  """Score embeddings: a tree of dicts, the content of results.json.

  For each retrieval split: num_candidates, image_to_text, text_to_image and
  all_names (image to text against all names) in the first language, then
  "languages" where there are several; "zero_shot" has one entry a task.
  """
  mesh = embedder.mesh
  first = config.data.languages[0]
  results: Results = {}
  for name in config.evaluate.retrieval:
    by_language = {}
    for language in config.data.languages:
      row_N, texts = _named(data.splits[name], name, language)
      zimg_NE, ztxt_NE = embeddings.zimg[name][row_N], embeddings.texts(texts)
      by_language[language] = {
        "num_candidates": len(texts),
        **retrieval.evaluate(zimg_NE, ztxt_NE, texts, mesh),
      }
    row_N, texts = _named(data.splits[name], name, first)
    results[name] = {
      **by_language[first],
      "all_names": _all_names(
        embeddings.zimg[name][row_N],
        texts,
        [text for text in data.names[first] if text],
        embeddings,
        mesh,
      ),
    }
    if len(by_language) > 1:
      results[name]["languages"] = by_language
  if config.evaluate.zero_shot:
    results["zero_shot"] = {
      name: _zero_shot(config, name, data, embeddings, mesh)
      for name in config.evaluate.zero_shot
    }
  return results


def gallery(
  config: Any,
  data: Data,
  embeddings: Embeddings,
  embedder: embedding.Embedder,
) -> list[gallery_lib.Panel]:
  """Choose queries to look at, in both directions of each retrieval split."""
  first = config.data.languages[0]
  panels = []
  for name in config.evaluate.retrieval:
    split = data.splits[name]
    row_N, texts = _named(split, name, first)
    panels += gallery_lib.make_panels(
      name,
      keys=[split.keys[row] for row in row_N],
      texts=texts,
      images_NYXC=split.images[row_N],
      zimg_NE=embeddings.zimg[name][row_N],
      ztxt_NE=embeddings.texts(texts),
      mesh=embedder.mesh,
    )
  return panels


def scalars(results: Results) -> dict[str, float]:
  """Flatten results to metrics such as "compositional/image_to_text/R@1".

  Sizes (num_*) and tasks that were not run are left out.
  """
  return {
    "/".join(path): value
    for path, value in _leaves(results)
    if isinstance(value, float) and not path[-1].startswith("num_")
  }


def _named(
  split: pipeline.Examples, name: str, language: str
) -> tuple[np.ndarray, list[str]]:
  # The rows that have a name in the language, and the names.
  texts = split.texts[language]
  row_N = np.array([row for row, text in enumerate(texts) if text], np.int32)
  if not row_N.size:
    raise ValueError(f"no example of the {name} split has a text in {language}")
  return row_N, [texts[row] for row in row_N]


def _all_names(
  zimg_NE: np.ndarray,
  texts: Sequence[str],
  names: Sequence[str],
  embeddings: Embeddings,
  mesh: Any,
) -> Results:
  _, label = np.unique(np.asarray([*texts, *names]), return_inverse=True)
  rank_N = retrieval.ranks(
    zimg_NE,
    embeddings.texts(names),
    label_Q=label[: len(texts)],
    label_M=label[len(texts) :],
    mesh=mesh,
  )
  return {"num_candidates": len(names), **retrieval.metrics(rank_N)}


def _tasks(config: Any) -> dict[str, zero_shot.Task]:
  # Those that can run: a model is not asked in a language it never saw.
  return {
    name: zero_shot.TASKS[name]
    for name in config.evaluate.zero_shot
    if zero_shot.TASKS[name].language in config.data.languages
  }


def _zero_shot(
  config: Any, name: str, data: Data, embeddings: Embeddings, mesh: Any
) -> Results:
  task = zero_shot.TASKS[name]
  if name not in _tasks(config):
    return {
      "not_run": f'its prompts need "{task.language}" in data.languages, which '
      f"are {', '.join(config.data.languages)}"
    }
  row_N, label_N = zero_shot.labels(task, data.splits[task.split].keys)
  return zero_shot.evaluate(
    embeddings.zimg[task.split][row_N],
    zero_shot.class_embeddings(
      embeddings.texts(task.prompts()), len(task.classes)
    ),
    label_N,
    mesh,
  )


def _leaves(
  tree: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
  for key, value in tree.items():
    if isinstance(value, Mapping):
      yield from _leaves(value, (*path, key))
    else:
      yield (*path, key), value
