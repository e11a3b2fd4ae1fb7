"""Study of CLIP: prompts, zero-shot against probes, and an unseen style.

A trial trains both towers on pairs, judges probes on its image tower, and
trains a classifier of the same size from scratch on labels.
"""

from typing import Any

from experiments.clip import config, labels
from experiments.studies import claims
from experiments.sweeps import study

SHOTS = (1, 2, 4, 8, 16)
SPLITS = ("test", "style")
# Kind of models that learn labels from scratch.
CLASSIFIER = "classifier"
# Kind of zero-shot models, by their prompts -> name in config.PROMPTS.
PROMPTS = {
  "ensemble": "ensemble",
  "one prompt": "prompt",
  "name alone": "name",
}
# Width of both towers -> numbers of pairs.
_SIZES = {128: (16_384, 32_768, 65_536), 64: (16_384, 65_536)}
_SIZES |= {32: (16_384, 65_536)}
LARGEST = "width 128, 65,536 pairs"
# Arm whose captions have no sentence around them.
NAMES_ALONE = "width 128, 65,536 pairs, no sentences"
_CHANCE = 1 / len(labels.CLASSES)

CHAIN = (
  study.Task(
    "train",
    (
      "--task=train",
      "--config=experiments/clip/config.py:pairs",
      "--workdir={train}",
    ),
  ),
  study.Task(
    "judge",
    (
      "--task=evaluate",
      "--workdir={train}",
      "--out={judge}",
      "--measures=few_shot",
      f"--shots={','.join(map(str, SHOTS))}",
      "--features=trunk",
    ),
  ),
  study.Task(
    "label",
    (
      "--task=train",
      "--config=experiments/clip/config.py:classes",
      "--workdir={label}",
    ),
  ),
)


def probe(shots: int) -> str:
  """Return the name of a probe among the kinds of models.

  >>> probe(1)
  'probe of 1 shot'
  """
  return f"probe of {shots} shot{'s' if shots > 1 else ''}"


# Kind of models -> its figure of a split.
_KINDS = {
  **{kind: f"train/{{}}_{name}/top_1" for kind, name in PROMPTS.items()},
  **{
    probe(x): f"judge/{{}}_ensemble/few_shot/ridge/{x}_shot/top_1"
    for x in SHOTS
  },
  CLASSIFIER: "label/{}/top_1",
}


def figure(split: str, kind: str) -> claims.Figure:
  """Return the accuracy of a kind of models on a split.

  Args:
    split: one of SPLITS.
    kind: key of PROMPTS, a probe, or CLASSIFIER.
  """
  name = _KINDS[kind].format(split)
  return claims.Figure(f"{split}, {kind}", name, chance=_CHANCE)


def _classifier(width: int, num_drawings: int) -> dict[str, Any]:
  return config.sized(width, num_drawings, "label.", config.LABELS_BATCH_SIZE)


def _arm(width: int, number: int) -> claims.Arm:
  return claims.Arm(
    f"width {width}, {number:,} pairs",
    config.sized(width, number, "train.")
    # 16,384 drawings or more, as the time of a run allows.
    | _classifier(width, number // 2 + 8192),
    group=f"width {width}",
    x=number,
  )


def _names_alone() -> claims.Arm:
  """Return the largest arm without sentences.

  The classifier of the largest arm would be the same one again. Here it sees
  more drawings in its place, so that the line of classifiers is longer.
  """
  changes: dict[str, Any] = {"train.data.sources.main.templates": ()}
  return claims.Arm(
    NAMES_ALONE,
    changes | config.sized(128, 65_536, "train.") | _classifier(128, 57_344),
    group="width 128, no sentences",
    x=65_536,
  )


def _within(arm: str, kind: str, base: str) -> claims.Comparison:
  return claims.Comparison(arm, arm, (f"test, {kind}",), base=f"test, {base}")


WITH_SENTENCES = tuple(
  _arm(width, number) for width, numbers in _SIZES.items() for number in numbers
)


STUDY = claims.Study(
  claim=(
    "Prompts are better than names alone, and an ensemble of them than one;"
    " without an example a class is told as well as by a linear probe with four"
    " examples of each; and zero-shot models lose less under another"
    " distribution than supervised models of the same accuracy."
  ),
  source="arXiv 2103.00020, section 3.1.4, figures 4, 6 and 13",
  arms=(*WITH_SENTENCES, _names_alone()),
  figures=(
    *(figure(split, kind) for split in SPLITS for kind in PROMPTS),
    *(figure(split, probe(x)) for split in SPLITS for x in SHOTS),
    *(figure(split, CLASSIFIER) for split in SPLITS),
  ),
  comparisons=(
    _within(LARGEST, "ensemble", "one prompt"),
    _within(LARGEST, "one prompt", "name alone"),
    _within(NAMES_ALONE, "ensemble", "name alone"),
    *(_within(LARGEST, "ensemble", probe(shots)) for shots in (1, 4, 16)),
  ),
  chart=claims.Lines("pairs seen", is_log=True),
  num_seeds=3,
  run_minutes=2.5,
  seed=("train.seed", "label.seed"),
)


def get_study() -> list[study.Changes]:
  """Return the trials of --task=sweep."""
  return STUDY.trials()
