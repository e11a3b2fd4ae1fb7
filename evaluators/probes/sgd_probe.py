"""Linear probe by stochastic gradient descent, as PLIP's.

Source: PLIP (Huang et al., Nature Medicine 2023), linear_classifier.py of its
code: scikit-learn's SGDClassifier with log loss, L2, balanced classes and
10,000 epochs at most, and macro F1. The code fits one strength a run; here it
is chosen on a part of the training examples.
"""

import typing
import warnings
from collections.abc import Mapping

import numpy as np

from evaluators.metrics import classification
from evaluators.probes import examples as examples_lib

# Strengths of the penalty that PLIP's search has.
ALPHAS = (1e-4, 1e-3, 1e-2, 1e-1)
MAX_EPOCHS = 10_000
# Seed of the order of the examples; PLIP's code has 1 as its default.
SEED = 1
# Share of each class that the strength is chosen on; that of linear_probe.
_HELD_OUT = 0.2


class Probe(typing.NamedTuple):
  """A probe whose strength was chosen.

  Attributes:
    predicted_N: classes of the test examples.
    alpha: strength of the penalty: of equal scores the highest, which is the
      most regularised.
    scores: macro F1 of each of ALPHAS on the held out examples.
    not_converged: strengths whose fit did not converge, the last one's too.
  """

  predicted_N: np.ndarray
  alpha: float
  scores: Mapping[float, float]
  not_converged: tuple[float, ...]


def check_installed() -> None:
  """Raise ModuleNotFoundError, naming the file, without scikit-learn."""
  _sklearn()


def probe(
  train: examples_lib.Examples,
  test: examples_lib.Examples,
  *,
  num_classes: int,
) -> Probe:
  """Choose a strength, fit at it again with all examples, and predict.

  Args:
    train: examples to fit, of two classes at least, one of two examples.
    test: examples to report on; nothing is chosen on them.
    num_classes: A.
  """
  is_held_N = examples_lib.hold_out(train, _HELD_OUT)
  fitted, held = train.take(~is_held_N), train.take(is_held_N)
  scores: dict[float, float] = {}
  not_converged = []

  def predictions(
    alpha: float, known: examples_lib.Examples, asked: examples_lib.Examples
  ) -> np.ndarray:
    linear_model, exceptions = _sklearn()
    model = linear_model.SGDClassifier(
      loss="log_loss",
      penalty="l2",
      alpha=alpha,
      max_iter=MAX_EPOCHS,
      class_weight="balanced",
      random_state=SEED,
    )
    with warnings.catch_warnings(record=True) as caught:
      warnings.simplefilter("always", exceptions.ConvergenceWarning)
      model.fit(known.x_ND, known.label_N)
    if caught:
      not_converged.append(alpha)
    return model.predict(asked.x_ND)

  for alpha in ALPHAS:
    table = classification.per_class(
      held.label_N, predictions(alpha, fitted, held), num_classes
    )
    scores[alpha] = float(
      classification.macro_f1(table["n"], table["predicted"], table["right"])
    )
  alpha = max(reversed(ALPHAS), key=scores.__getitem__)
  predicted_N = predictions(alpha, train, test)
  return Probe(predicted_N, alpha, scores, tuple(not_converged))


def _sklearn() -> tuple[typing.Any, typing.Any]:
  """Return scikit-learn's modules of linear models and of warnings."""
  try:
    from sklearn import exceptions, linear_model
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
      "--measures=sgd_probe needs scikit-learn: pip install -r "
      "requirements-evaluation.txt",
      name=error.name,
    ) from error
  return linear_model, exceptions
