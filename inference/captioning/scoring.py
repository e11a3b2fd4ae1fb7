"""CLIPScore and RefCLIPScore of captions, by a scoring model.

A scoring model embeds the pictures and, each after "A photo depicts ", captions
and references (evaluators/metrics/generation/clip_score.py).
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evaluators.metrics.generation import clip_score
from evaluators.sets.disk import generated
from inference import python_model, read_ahead
from inference.classifying import sources

# Address of the weights whose figures have the published names.
PUBLISHED = "hf://openai/clip-vit-base-patch32"


def add_clip_scores(
  record: dict[str, Any],
  scorer: python_model.Model,
  source: sources.Source,
  said: Mapping[str, str],
  truth: generated.References,
  image_ids: Mapping[str, str],
  *,
  path: str,
) -> None:
  """Add CLIPScore and RefCLIPScore to a record of captions, by domain too.

  A picture that cannot be read has no score, and is counted in the protocol.

  Args:
    record: record of captioning.record, changed in place.
    scorer: scoring model.
    source: pictures.
    said: caption by the picture's name; "" for one without.
    truth: references by image.
    image_ids: image of each picture, by the picture's name.
    path: scoring model as it was named.

  Raises:
    ValueError: fewer than 2 pictures can be read.
  """
  names, zimg_NE = _embedded(scorer, source)
  if len(names) < 2:
    raise ValueError(
      f"--scorer needs at least 2 pictures that can be read; got {len(names)}"
    )
  zcap_NE = _of_texts(scorer, [said.get(name, "") for name in names])
  references = [truth.captions[image_ids[name]] for name in names]
  zref_ME = _of_texts(scorer, [text for some in references for text in some])
  owner_M = np.repeat(np.arange(len(names)), [len(x) for x in references])
  rows: dict[str, list[int]] = {"": [*range(len(names))]}
  for row, name in enumerate(names):
    if domain := truth.domains.get(image_ids[name], ""):
      rows.setdefault(domain, []).append(row)
  for domain, some in rows.items():
    part = record["parts"][domain] if domain else record
    if "not_run" in part or len(some) < 2:
      continue
    place = np.full(len(names), -1)
    place[some] = np.arange(len(some))
    is_own_M = place[owner_M] >= 0
    made: dict[str, Any] = clip_score.record(
      *(zimg_NE[some], zcap_NE[some], zref_ME[is_own_M]),
      place[owner_M[is_own_M]],
      model=clip_score.MODEL if _is_published(path) else _name(path),
    )
    protocol = made.pop("protocol")
    for group in ("chance", "intervals"):
      part[group] |= made.pop(group)
    part |= made
    if not domain:
      record["protocol"] |= protocol | {
        "scorer_path": path,
        "scorer_digest": scorer.digest,
        "num_unscored": len(source) - len(names),
      }


def _of_texts(scorer: python_model.Model, texts: Sequence[str]) -> np.ndarray:
  """Return the embedding of each text after the prompt: float32 [N, E].

  Equal texts are embedded once.
  """
  row = {text: number for number, text in enumerate(dict.fromkeys(texts))}
  zunique_UE = scorer.embed_texts(f"{clip_score.PROMPT}{text}" for text in row)
  return zunique_UE[[row[text] for text in texts]]


def _embedded(
  scorer: python_model.Model, source: sources.Source
) -> tuple[list[str], np.ndarray]:
  """Return names and embeddings of the pictures that can be read."""
  names: list[str] = []
  read_fn = functools.partial(source.read, scorer.image_protocol)
  with read_ahead.mapped(read_fn, range(len(source)), 64) as results:

    def rows() -> Any:
      for picture, row in results:
        if row is not None:
          names.append(picture.name)
          yield row

    parts = [*scorer.stream_rows(rows())]
  none_NE = np.zeros((0, scorer.embed_dim), np.float32)
  return names, np.concatenate([none_NE, *parts])


def _is_published(path: str) -> bool:
  return path.partition("@")[0] == PUBLISHED


def _name(path: str) -> str:
  """Return the name of a scoring model in the names of its figures."""
  return path.rstrip("/").rpartition("/")[2]
