"""Figures of changed images, and of changed prompts and captions."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from evaluators import directions, set_figures
from evaluators.measures import measure
from evaluators.metrics import classification, intervals
from evaluators.robustness import corruptions as corruptions_lib
from evaluators.robustness import severities
from evaluators.robustness import texts as texts_lib

_SEED = 0
# Language of the captions, where the set has it; else its first.
_LANGUAGE = "en"
_TOP_1 = "top_1"
_TEXT_TO_IMAGE = f"{directions.TEXT_TO_IMAGE}/R@1"


def corruptions(context: measure.Context) -> measure.Measured:
  """Corrupt the images as ImageNet-C, each kind at 5 severities."""
  textures = (
    corruptions_lib.load_textures(context.frost_textures, context.image_side)
    if context.frost_textures is not None
    else ()
  )
  kinds = corruptions_lib.kinds(bool(textures))
  judge = _judge(context)
  by_kind = {
    kind: [
      judge.right(_corrupted(context, kind, severity, textures), judge.texts)
      for severity in range(1, severities.NUM_SEVERITIES + 1)
    ]
    for kind in kinds
  }
  record: dict[str, Any] = {
    "num_examples": len(context.examples.keys),
    "intervals": {},
  }
  items = {}
  for figure, clean_Q in judge.right(
    context.examples.zimg_NE, judge.texts
  ).items():
    table = {
      kind: [float(right[figure].mean()) for right in rights]
      for kind, rights in by_kind.items()
    }
    record[figure] = {
      **corruptions_lib.summary(float(clean_Q.mean()), table),
      "by_kind": table,
    }
    mean_Q = np.mean(
      [[one[figure] for one in rights] for rights in by_kind.values()],
      axis=(0, 1),
    )
    item = judge.items(figure, mean_Q)
    items[f"{figure}/mean_corrupted"] = item
    record["intervals"][f"{figure}/mean_corrupted"] = _interval(item)
  record["protocol"] = {
    **judge.facts,
    "corruptions": "ImageNet-C's (arXiv 1903.12261), made here of the images "
    "that the model sees, after resize and crop",
    "constants_of_size": severities.nearest(context.image_side),
    "seed": _SEED,
    "numpy": np.__version__,
    "jpeg_quality": None,
    "frost": _digest(textures) if textures else "left out: no --frost_textures",
  }
  return measure.Measured(record, items)


def texts(context: measure.Context) -> measure.Measured:
  """Change prompts, or captions as queries: typos, case, hashtags, emoji."""
  judge = _judge(context)
  figure = _TOP_1 if judge.is_classifier else _TEXT_TO_IMAGE
  clean_Q = judge.right(context.examples.zimg_NE, judge.texts)[figure]
  record: dict[str, Any] = {
    "num_examples": len(context.examples.keys),
    "num_texts": len(judge.texts),
    "clean": {figure: float(clean_Q.mean())},
    "by_kind": {},
    "intervals": {},
  }
  items = {}
  for kind in texts_lib.KINDS:
    changed, num_unchanged = texts_lib.perturb_all(
      judge.texts, kind, seed=_SEED
    )
    right_Q = judge.right(context.examples.zimg_NE, changed)[figure]
    value = judge.items(figure, right_Q)
    difference = judge.items(figure, right_Q.astype(float) - clean_Q)
    record["by_kind"][kind] = {
      "num_unchanged": num_unchanged,
      figure: float(value.value_Q.mean()),
      "difference": float(difference.value_Q.mean()),
    }
    record["intervals"] |= {
      f"by_kind/{kind}/{figure}": _interval(value),
      f"by_kind/{kind}/difference": _interval(difference, is_share=False),
    }
    items[f"{kind}/{figure}"] = value
  record["protocol"] = {
    **judge.facts,
    "texts": "prompts of the classes"
    if judge.is_classifier
    else "captions as queries; the images are as they were",
    "seed": _SEED,
    "typo_rate": texts_lib.RATE,
  }
  return measure.Measured(record, items)


@dataclasses.dataclass(frozen=True)
class _Judge:
  """Queries of a set, whose answers are right or wrong.

  Attributes:
    texts: prompts, in the order of FieldSet.prompts, or captions.
    right: function of images [N, E] and as many texts: figure -> right answer
      of each query, bool [Q].
    keys: figure -> key of each query.
    clusters: figure -> image of each query, where several belong to one.
    facts: protocol.
  """

  texts: Sequence[str]
  right: Callable[[np.ndarray, Sequence[str]], dict[str, np.ndarray]]
  keys: Mapping[str, Sequence[str]]
  clusters: Mapping[str, np.ndarray]
  facts: Mapping[str, Any]

  @property
  def is_classifier(self) -> bool:
    """Whether the texts are prompts of classes."""
    return _TOP_1 in self.keys

  def items(self, figure: str, value_Q: np.ndarray) -> set_figures.Items:
    """Return values of a figure's queries."""
    return set_figures.Items(
      self.keys[figure], value_Q, self.clusters.get(figure)
    )


def _judge(context: measure.Context) -> _Judge:
  facts = {"metric_version": set_figures.METRIC_VERSION}
  if context.opened.kind == "classification":
    label_N = context.label_N()

    def classified(
      zimg_NE: np.ndarray, prompts: Sequence[str]
    ) -> dict[str, np.ndarray]:
      answers = classification.judge(
        classification.similarities(zimg_NE, context.classifier(prompts)),
        label_N,
      )
      return {_TOP_1: answers.right(1)}

    keys = {_TOP_1: context.examples.keys}
    return _Judge(context.opened.prompts(), classified, keys, {}, facts)
  captions = set_figures.captions(context.examples, _language(context))

  def retrieved(
    zimg_NE: np.ndarray, changed: Sequence[str]
  ) -> dict[str, np.ndarray]:
    distinct = list(dict.fromkeys(changed))
    row_of = {text: row for row, text in enumerate(distinct)}
    judged = directions.judge(
      zimg_NE[captions.rows],
      context.embed_texts(distinct)[[row_of[text] for text in changed]],
      # A changed caption is right for the image that it had as it was.
      captions.texts,
      context.mesh,
      owners=captions.owners,
    )
    return {
      f"{name}/R@1": outcome.rank_Q <= 1 for name, outcome in judged.items()
    }

  return _Judge(
    captions.texts,
    retrieved,
    {f"{name}/R@1": keys for name, keys in captions.keys().items()},
    {_TEXT_TO_IMAGE: np.asarray(captions.owners)},
    facts | {"language": _language(context)},
  )


def _language(context: measure.Context) -> str:
  languages = {code for texts in context.examples.texts for code in texts}
  return _LANGUAGE if _LANGUAGE in languages else min(languages)


def _corrupted(
  context: measure.Context,
  kind: str,
  severity: int,
  textures: Sequence[np.ndarray],
) -> np.ndarray:
  """Return the embeddings of corrupted images."""

  def change(image_YXC: np.ndarray, key: str) -> np.ndarray:
    return corruptions_lib.corrupt(
      *(image_YXC, kind, severity),
      uid=key,
      seed=_SEED,
      textures=textures,
    )

  name = f"{kind} {severity}, seed {_SEED}, NumPy {np.__version__}"
  if kind == "frost":
    name += f", textures {_digest(textures)}"
  return context.changed(name, change).zimg_NE


def _interval(item: set_figures.Items, *, is_share: bool = True) -> list[float]:
  return intervals.clustered(
    item.value_Q.astype(float), item.cluster_Q, is_share=is_share
  ).tolist()


def _digest(textures: Sequence[np.ndarray]) -> str:
  digest = hashlib.blake2b(digest_size=8)
  for texture_YXC in textures:
    digest.update(repr(texture_YXC.shape).encode())
    digest.update(np.ascontiguousarray(texture_YXC).data)
  return digest.hexdigest()
