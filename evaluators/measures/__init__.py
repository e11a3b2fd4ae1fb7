"""Measures of a set beyond its own figures, by the names of `--measures`.

A measure reads embeddings of the set and returns a record of its own, which
results.json has under the measure's name: figures, and beside them `intervals`,
`chance` and `protocol`. Embeddings come from the cache, so that all measures of
a set embed its images once.

Shape letters beside those of models/layers.py: N examples, A classes, M texts.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from evaluators.measures import measure, neighbours, probes, robustness, space
from evaluators.probes import sgd_probe
from evaluators.sets import field_set
from runtime import checks


@dataclasses.dataclass(frozen=True)
class Measure:
  """A measure by its name.

  Attributes:
    run: function of a set's embeddings.
    kinds: kinds of sets that it is defined for.
    needs_training: whether it reads the training split of the set.
    check_installed: function that raises ModuleNotFoundError where a package
      that it needs is missing.
    changes_images: whether it embeds changed images.
    has_features: whether it reads other features than the embedding, if asked.
    has_shots: whether it draws numbers of shots.
    has_episodes: whether it draws episodes.
    trains_tower: whether it trains the image tower on single images.
  """

  run: Callable[[measure.Context], measure.Measured]
  kinds: tuple[str, ...]
  needs_training: bool = False
  changes_images: bool = False
  has_features: bool = False
  has_shots: bool = False
  has_episodes: bool = False
  trains_tower: bool = False
  check_installed: Callable[[], None] = lambda: None


_CLASSES = ("classification",)
_CLASSES_AND_CAPTIONS = ("classification", "retrieval")
MEASURES: Mapping[str, Measure] = {
  "linear_probe": Measure(
    probes.linear_probe, _CLASSES, needs_training=True, has_features=True
  ),
  "sgd_probe": Measure(
    probes.sgd,
    _CLASSES,
    needs_training=True,
    has_features=True,
    check_installed=sgd_probe.check_installed,
  ),
  "few_shot": Measure(
    probes.few_shot,
    _CLASSES,
    needs_training=True,
    has_features=True,
    has_shots=True,
  ),
  "episodes": Measure(
    probes.episodes,
    _CLASSES,
    has_features=True,
    has_shots=True,
    has_episodes=True,
  ),
  "tuned_episodes": Measure(
    probes.tuned_episodes,
    _CLASSES,
    has_features=True,
    has_shots=True,
    has_episodes=True,
    trains_tower=True,
  ),
  "knn": Measure(probes.knn, _CLASSES, needs_training=True, has_features=True),
  "calibration": Measure(space.calibration, _CLASSES),
  "geometry": Measure(space.geometry, _CLASSES_AND_CAPTIONS),
  "corruptions": Measure(
    robustness.corruptions, _CLASSES_AND_CAPTIONS, changes_images=True
  ),
  "texts": Measure(robustness.texts, _CLASSES_AND_CAPTIONS),
  "image_to_image": Measure(neighbours.image_to_image, _CLASSES),
}


def check(
  names: Sequence[str],
  opened: Mapping[str, field_set.FieldSet],
  section: str,
) -> None:
  """Raise ValueError where a measure is unknown, or cannot be taken.

  Training splits are opened, and no image of them is read.

  Args:
    names: measures that are asked for.
    opened: sets by name.
    section: flag or field that names the sets, for messages.
  """
  with checks.collected():
    for name in names:
      if name not in MEASURES:
        checks.one_of("--measures", name, MEASURES)
        continue
      with checks.collected():
        MEASURES[name].check_installed()
      reasons = {key: why_not(name, one) for key, one in opened.items()}
      if all(reasons.values()):
        checks.refuse(
          f"--measures={name} fits none of the sets: "
          + "; ".join(f"{key}: {reason}" for key, reason in reasons.items())
        )
    needing = [x for x in names if x in MEASURES and MEASURES[x].needs_training]
    for one in opened.values():
      if needing and not why_not(needing[0], one):
        with checks.collected():
          training(one, section)


def training(opened: field_set.FieldSet, section: str) -> field_set.FieldSet:
  """Return the training split of a set that has one; see `check`."""
  assert opened.training is not None  # why_not
  made = opened.training()
  if (made.classes, made.values) != (opened.classes, opened.values):
    alone = sorted({*made.classes} ^ {*opened.classes})[:3]
    raise ValueError(
      f"{section}={opened.name}: the training split has {len(made.classes)} "
      f"classes, the set {len(opened.classes)}, and labels do not mean the "
      f"same: {', '.join(alone) or 'their order'} in one alone; give both the "
      "classes in a classnames.txt"
    )
  return made


def why_not(name: str, opened: field_set.FieldSet) -> str:
  """Return the reason why a measure cannot be taken on a set, or ""."""
  one = MEASURES[name]
  if opened.kind not in one.kinds:
    return f"it is for {' and '.join(one.kinds)}, and the set is {opened.kind}"
  if opened.video.is_on and (
    one.needs_training or one.changes_images or one.trains_tower
  ):
    return "it embeds single images, and the set has videos"
  if one.needs_training and opened.training is None:
    return "it needs a training split, and the set has none"
  return ""
