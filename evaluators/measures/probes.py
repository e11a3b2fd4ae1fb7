"""Classifiers that are trained on features: linear probe, few shots, k-NN."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from evaluators.figures import outcomes
from evaluators.measures import measure
from evaluators.metrics import classification, intervals
from evaluators.probes import episodes as episodes_lib
from evaluators.probes import examples as examples_lib
from evaluators.probes import few_shot as few_shot_lib
from evaluators.probes import linear_probe as linear_probe_lib
from evaluators.probes import nearest, sgd_probe
from evaluators.probes import tuned_episodes as tuned_episodes_lib

# Main metric of DataComp's sets whose classes are of different sizes.
_MEAN_PER_CLASS = "mean_per_class_recall"
# Figures of a classifier that predicts a class and ranks none.
_FIGURES = ("top_1", "mean_per_class", "macro_f1", "weighted_f1")
_FEATURES = {
  measure.EMBEDDING: "embedding, of length 1",
  measure.TRUNK: "pooled output of the image tower before its projection",
}


def linear_probe(context: measure.Context) -> measure.Measured:
  """Fit logistic regression as CLIP's A.3: strength searched on a held part."""
  parts, train, test = _parts(context)
  _check_enough(train)
  task = context.opened.task
  is_mean = task is not None and task.metric == _MEAN_PER_CLASS
  fitted = linear_probe_lib.probe(
    train,
    test,
    num_classes=len(context.opened.classes),
    score_fn=_mean_per_class if is_mean else linear_probe_lib.accuracy,
  )
  return _of_predictions(
    fitted.predicted_N,
    test,
    context,
    facts={
      "strength": fitted.strength,
      "num_fits": fitted.num_fits,
      "not_converged": list(fitted.not_converged),
      "protocol": parts
      | {
        "classifier": "multinomial logistic regression, L2, by L-BFGS in "
        "float32; C of 97 log-spaced values from 1e-6 to 1e6, searched by "
        "halves (CLIP, arXiv 2103.00020, A.3), then fitted again on all",
        "chosen_by": f"{'mean_per_class' if is_mean else 'top_1'} on "
        f"{fitted.validation}",
      },
    },
  )


def sgd(context: measure.Context) -> measure.Measured:
  """Fit logistic regression by SGD as PLIP's: strength searched by macro F1."""
  parts, train, test = _parts(context)
  _check_enough(train)
  fitted = sgd_probe.probe(train, test, num_classes=len(context.opened.classes))
  return _of_predictions(
    fitted.predicted_N,
    test,
    context,
    facts={
      "alpha": fitted.alpha,
      "not_converged": list(fitted.not_converged),
      "protocol": parts
      | {
        "classifier": "scikit-learn's SGDClassifier: log loss, L2, balanced "
        f"classes, at most {sgd_probe.MAX_EPOCHS} epochs, seed "
        f"{sgd_probe.SEED} (PLIP's linear_classifier.py), fitted again on all",
        "chosen_by": "macro_f1 of alpha "
        f"{', '.join(f'{x:g}' for x in sgd_probe.ALPHAS)} on a fifth of each "
        "class of train, by hash of UIDs",
      },
    },
  )


def few_shot(context: measure.Context) -> measure.Measured:
  """Classify by a few examples of each class; figures are means over seeds."""
  parts, train, test = _parts(context)
  by_method = few_shot_lib.evaluate(
    train,
    test,
    num_classes=len(context.opened.classes),
    shots=context.shots or few_shot_lib.SHOTS,
  )
  num = len(test.label_N)
  record: dict[str, Any] = {
    "num_examples": num,
    **by_method,
    "intervals": {
      f"{method}/{shots}/top_1": intervals.wilson(
        round(float(np.asarray(row["top_1"])) * num), num
      ).tolist()
      for method, by_shots in by_method.items()
      for shots, row in by_shots.items()
    },
    "chance": {"top_1": 1 / len(context.opened.classes)},
    "protocol": parts
    | {
      "classifier": f"ridge (L2 {few_shot_lib.L2:g}, whitened, bias of 100: "
      "big_vision's fewshot_lsr), SimpleShot's CL2N (arXiv 1911.04623), "
      "nearest mean",
      "seeds": few_shot_lib.NUM_SEEDS,
      "intervals": "of the test examples, for the mean over seeds; std is that "
      "over seeds",
    },
  }
  return measure.Measured(record)


def episodes(context: measure.Context) -> measure.Measured:
  """Train a head in each of CD-FSL's episodes, drawn from the set itself."""
  test = context.test()
  by_shots = episodes_lib.evaluate(
    test.labelled(),
    num_classes=len(context.opened.classes),
    shots=context.shots or episodes_lib.SHOTS,
    num_episodes=context.num_episodes,
  )
  return _of_episodes(
    {k: x if isinstance(x, str) else {"top_1": x} for k, x in by_shots.items()},
    test,
    context,
    facts={
      "source": "CD-FSL (arXiv 1912.07200), IBM/cdfsl-benchmark finetune.py "
      "with a frozen backbone; images without augmentation",
      "head": dataclasses.asdict(episodes_lib.Head()),
    },
  )


def tuned_episodes(context: measure.Context) -> measure.Measured:
  """Train the image tower and a head in each of these episodes: Florence's."""
  test, tower = context.test(), context.tower()
  tuning = tuned_episodes_lib.Tuning()
  by_shots = tuned_episodes_lib.evaluate(
    test.labelled(),
    tower,
    num_classes=len(context.opened.classes),
    shots=context.shots or episodes_lib.SHOTS,
    num_episodes=context.num_episodes,
    tuning=tuning,
  )
  return _of_episodes(
    {
      k: x
      if isinstance(x, str)
      else {"top_1": x.tuned, "above_frozen": x.above_frozen}
      for k, x in by_shots.items()
    },
    test,
    context,
    facts={
      "source": "Florence (arXiv 2111.11432), table 4, on the episodes of "
      "CD-FSL (arXiv 1912.07200)",
      "tuning": dataclasses.asdict(tuning),
      "optimizer": "SGD with momentum, without dampening (ours)",
      "ours": list(tuned_episodes_lib.OURS),
      "batch_norm": "running statistics, held",
      "tests": "mean of the logits of an image and of its mirror",
      "above_frozen": "top_1 less that of the measure episodes, in the same "
      "episodes",
    },
  )


def knn(context: measure.Context) -> measure.Measured:
  """Classify by the nearest training examples."""
  parts, train, test = _parts(context)
  k = min(nearest.K, len(train.label_N))
  predicted_N = nearest.classify(
    train.x_ND,
    train.label_N,
    test.x_ND,
    num_classes=len(context.opened.classes),
    k=k,
  )
  return _of_predictions(
    predicted_N,
    test,
    context,
    facts={
      "protocol": parts
      | {
        "classifier": f"{k} nearest by cosine similarity, votes "
        f"exp(similarity / {nearest.TEMPERATURE:g}) (DINO, arXiv 2104.14294)",
      },
    },
  )


def _parts(
  context: measure.Context,
) -> tuple[dict[str, Any], examples_lib.Examples, examples_lib.Examples]:
  """Return protocol, training and test examples."""
  train, test = context.train(), context.test()
  facts = {
    "metric_version": outcomes.METRIC_VERSION,
    "features": _FEATURES[context.features],
    "train_digest": train.data,
    "num_train": len(train.examples.keys),
  }
  return facts, train.labelled(), test.labelled()


def _of_predictions(
  predicted_N: np.ndarray,
  test: examples_lib.Examples,
  context: measure.Context,
  *,
  facts: dict[str, Any],
) -> measure.Measured:
  """Return figures of predicted classes, with facts beside them."""
  num_classes = len(context.opened.classes)
  right_N = predicted_N == test.label_N
  # A predicted class has no rank but right or wrong.
  answers = classification.Answers(
    np.where(right_N, 1.0, np.inf), predicted_N, test.label_N, num_classes
  )
  named = ("num_examples", *_FIGURES)
  figures, bounds, chance = (
    {name: value for name, value in every.items() if name in named}
    for every in (
      classification.figures(answers),
      intervals.of_answers(answers),
      classification.chance(test.label_N, num_classes),
    )
  )
  record = {**figures, "intervals": bounds, "chance": chance, **facts}
  keys = context.examples.keys
  return measure.Measured(
    record,
    {
      "top_1": outcomes.Items(keys, right_N),
      "mean_per_class": outcomes.Items(keys, right_N, stratum_Q=test.label_N),
    },
  )


def _of_episodes(
  by_shots: Mapping[int, Mapping[str, episodes_lib.Figure] | str],
  test: measure.Part,
  context: measure.Context,
  *,
  facts: dict[str, Any],
) -> measure.Measured:
  """Return figures by number of shots, with facts of their protocol.

  Raises:
    measure.NotTaken: no number of shots has figures.
  """
  taken = {
    f"{k}_shot": x for k, x in by_shots.items() if not isinstance(x, str)
  }
  missing = {f"{k}_shot": x for k, x in by_shots.items() if isinstance(x, str)}
  if not taken:
    raise measure.NotTaken(next(iter(missing.values())))
  record: dict[str, Any] = {
    "num_examples": len(test.examples.keys),
    **{
      name: {"std": one["top_1"].std} | {k: x.mean for k, x in one.items()}
      for name, one in taken.items()
    },
    "intervals": {
      f"{name}/{figure}": list(x.interval)
      for name, one in taken.items()
      for figure, x in one.items()
    },
    "chance": {"top_1": 1 / episodes_lib.WAYS},
    "protocol": {
      "metric_version": outcomes.METRIC_VERSION,
      "features": _FEATURES[context.features],
      "data_digest": test.data,
      "ways": episodes_lib.WAYS,
      "queries": episodes_lib.QUERIES,
      "episodes": context.num_episodes,
      "seed": episodes_lib.SEED,
      **facts,
      "left_out": missing,
      "intervals": "1.96 standard errors of the mean over episodes",
    },
  }
  return measure.Measured(record)


def _check_enough(train: examples_lib.Examples) -> None:
  """Raise NotTaken where no strength can be chosen on a part of examples."""
  _, count_A = np.unique(train.label_N, return_counts=True)
  if len(count_A) < 2 or count_A.max() < 2:
    raise measure.NotTaken(
      "its training split must have 2 classes and a class of 2 examples; got "
      f"{len(count_A)} and at most {count_A.max()}"
    )


def _mean_per_class(predicted_N: np.ndarray, label_N: np.ndarray) -> float:
  """Return the mean over classes of the share that is right."""
  right_N = predicted_N == label_N
  return float(np.mean([right_N[label_N == x].mean() for x in set(label_N)]))
