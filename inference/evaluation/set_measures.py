"""Measures of a set, with what they embed kept in the cache."""

import dataclasses
import functools
import math
import operator
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from evaluators import embedding, embedding_cache, suite_data
from evaluators.figures import outcomes
from evaluators.measures import MEASURES, measure, training, why_not
from evaluators.probes import episodes as episodes_lib
from evaluators.probes import tuned_episodes
from evaluators.sets import field_set
from inference import model as model_lib
from input_pipeline import evaluation_split
from input_pipeline.images import naflex
from models import dual_encoder
from models import naflex as naflex_tower
from runtime import checks
from training import metrics


@dataclasses.dataclass(frozen=True)
class Measures:
  """Measures that are asked for.

  Attributes:
    names: keys of MEASURES.
    features: name of measure.FEATURES, for those that train a classifier.
    frost_textures: folder of the textures of frost, or "".
    shots: shots of a class in few_shot and in episodes; None for each one's
      own numbers.
    num_episodes: episodes of each number of shots.
  """

  names: Sequence[str] = ()
  features: str = measure.EMBEDDING
  frost_textures: str = ""
  shots: tuple[int, ...] | None = None
  num_episodes: int = episodes_lib.NUM_EPISODES

  @checks.collected()
  def check(self) -> None:
    """Raise ValueError, naming the flag, where a value cannot be used."""
    for name in self.names:
      checks.one_of("--measures", name, MEASURES)
    checks.one_of("--features", self.features, measure.FEATURES)
    reads = any(MEASURES[x].has_features for x in self.names)
    if self.features != measure.EMBEDDING and not reads:
      readers = [x for x, one in MEASURES.items() if one.has_features]
      checks.refuse(
        f"--features={self.features} is for --measures={','.join(readers)}; "
        f"got --measures={','.join(self.names)}"
      )
    self._check_draws()
    if self.frost_textures:
      if "corruptions" not in self.names:
        checks.refuse(
          "--frost_textures is for --measures=corruptions; got --measures="
          + ",".join(self.names)
        )
      if not pathlib.Path(self.frost_textures).is_dir():
        checks.refuse(
          "--frost_textures must be a folder of images; got "
          f"{self.frost_textures!r}"
        )

  def _check_draws(self) -> None:
    """Raise ValueError for shots or episodes that cannot be used."""
    if self.shots is not None and not self.shots:
      checks.refuse("--shots must have at least one number; got none")
    for number in self.shots or ():
      checks.at_least("--shots", number, 1)
    checks.at_least("--num_episodes", self.num_episodes, 1)
    default = Measures()
    for name, has in (
      ("shots", operator.attrgetter("has_shots")),
      ("num_episodes", operator.attrgetter("has_episodes")),
    ):
      drawing = [x for x, one in MEASURES.items() if has(one)]
      is_given = getattr(self, name) != getattr(default, name)
      if is_given and not {*drawing} & {*self.names}:
        checks.refuse(
          f"--{name} is for --measures={','.join(drawing)}; got "
          f"--measures={','.join(self.names)}"
        )


# Function of a cache, words behind the set's name, facts by name of what else
# decides the embeddings (embedding_cache.Cache.images), and a change of images.
Embed = Callable[
  [
    embedding_cache.Cache,
    str,
    Mapping[str, Any],
    evaluation_split.Change | None,
  ],
  embedding_cache.Embedded,
]


@dataclasses.dataclass(frozen=True)
class Embedded:
  """A set whose images are embedded.

  Attributes:
    opened: the set.
    split: its images.
    embedded: embeddings of its examples.
    section: flag or field that names the set, for messages.
    embed: function that embeds the examples again: other features of them, or
      changed images.
  """

  opened: field_set.FieldSet
  split: evaluation_split.Split
  embedded: embedding_cache.Embedded
  section: str
  embed: Embed


def run(
  asked: Measures,
  one: Embedded,
  cache: embedding_cache.Cache,
  model: model_lib.Model,
) -> tuple[dict[str, Any], dict[str, outcomes.Items]]:
  """Take the measures of a set.

  Returns:
    records by measure, {"not_run": reason} for one that does not fit the set;
    and items by "MEASURE/FIGURE".
  """
  records: dict[str, Any] = {}
  items: dict[str, outcomes.Items] = {}
  context = _context(asked, one, cache, model)
  for name in asked.names:
    reason = why_not(name, one.opened)
    try:
      measured = None if reason else MEASURES[name].run(context)
    except measure.NotTaken as error:
      measured, reason = None, str(error)
    if measured is None:
      records[name] = {"not_run": reason}
      metrics.say(f"{one.opened.name}: {name} is not taken: {reason}")
      continue
    records[name] = measured.record
    items |= {f"{name}/{x}": value for x, value in measured.items.items()}
  return records, items


def _context(
  asked: Measures,
  one: Embedded,
  cache: embedding_cache.Cache,
  model: model_lib.Model,
) -> measure.Context:
  features, facts = cache, {}
  if asked.features == measure.TRUNK:
    embedder = model.make_embedder(cache.embedder.batch_size, is_trunk=True)
    features = dataclasses.replace(cache, embedder=embedder)
    facts = {"features": asked.features}

  @functools.cache
  def train() -> measure.Part:
    opened, mine = training(one.opened, one.section), one.opened
    split = evaluation_split.open_source(
      suite_data.source_of(opened),
      protocol=one.split.protocol,
      num_threads=one.split.num_threads,
      cache_dir=cache.folder.parent,
      name=f"{mine.name} (training split)",
      section=one.section,
    )
    embedded = features.images(
      f"{mine.name} train", split, opened.source, facts=facts
    )
    return measure.Part(embedded.examples, opened, embedded.data)

  def test() -> measure.Part:
    embedded = one.embed(features, "", facts, None) if facts else one.embedded
    return measure.Part(embedded.examples, one.opened, embedded.data)

  def changed(label: str, change: measure.Change) -> embedding.Examples:
    return one.embed(cache, f", {label}", {"change": label}, change).examples

  def tower() -> tuned_episodes.Tower:
    row_N = np.asarray(test().examples.rows)

    def read(index_n: np.ndarray) -> tuple[Any, Any]:
      images = one.split.images(row_N[index_n].tolist())
      mirrored = evaluation_split.mirrored(images)
      if isinstance(images, tuple) and isinstance(mirrored, tuple):
        # The tower takes NumPy's arrays as well as JAX's, which its types name.
        return (
          naflex_tower.Patches(*images),  # pyrefly: ignore[bad-argument-type]
          naflex_tower.Patches(*mirrored),  # pyrefly: ignore[bad-argument-type]
        )
      return images, mirrored

    return tuned_episodes.Tower(
      _features_fn(model.config, asked.features),
      *(model.params, read, model.mesh),
    )

  return measure.Context(
    opened=one.opened,
    examples=one.embedded.examples,
    embed_texts=cache.texts,
    mesh=model.mesh,
    scale=model.scale,
    features=asked.features,
    train=train,
    test=test,
    changed=changed,
    image_side=_side(one.split.protocol),
    tower=tower,
    frost_textures=pathlib.Path(asked.frost_textures)
    if asked.frost_textures
    else None,
    shots=asked.shots,
    num_episodes=asked.num_episodes,
  )


@functools.cache
def _features_fn(
  config: dual_encoder.ModelConfig, features: str
) -> dual_encoder.EmbedFn:
  """Return the function of one device to features: the same for all sets."""
  if features == measure.TRUNK:
    return dual_encoder.feature_fn(config)
  return dual_encoder.embed_fns(config)[0]


def _side(protocol: Any) -> int:
  """Return the side of the images, or of a square of as many pixels."""
  if isinstance(protocol, naflex.Protocol):
    return protocol.patch_size * math.isqrt(protocol.max_num_patches)
  return protocol.size
