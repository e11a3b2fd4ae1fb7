"""Calibration of labels on pictures whose labels are known."""

import collections
import math
from typing import Any

import numpy as np

from inference import python_model
from inference.classifying import (
  calibration_file,
  fitting,
  request,
  result_table,
  scores,
  sources,
)
from inference.classifying import labels as labels_lib
from runtime import checks, progress, provenance
from runtime.storage import bucket_path, strict_json

# Column of known labels without --truth.
_TRUTH = "labels"
_NUM_NAMED = 3


def run(
  path: str,
  wanted: request.Wanted,
  *,
  method: str,
  target: str,
  as_json: bool = False,
) -> int:
  """Fit curves and thresholds; write them, and print their figures.

  Args:
    path: model as `model.load` takes it.
    wanted: values of the flags, --calibrate in the place of --images.
    method: key of fitting.FITS.
    target: as fitting.target takes it.
    as_json: print the JSON file in place of a table.

  Raises:
    ValueError, OSError: a flag is wrong, or a label has too few pictures; the
      message names it. Nothing was written.
  """
  wanted.check()
  if not wanted.is_multi:
    raise ValueError(
      "--calibrate needs --multi_label: it chooses a threshold of each label by"
      " itself"
    )
  checks.one_of("--calibrator", method, fitting.FITS)
  aim = fitting.target(target)
  out = bucket_path.make(wanted.out)
  if not wanted.out or out.suffix != ".json":
    raise ValueError(
      "--out must be a .json file, which --calibration takes; got"
      f" {wanted.out!r}"
    )
  result_table.check_new(wanted.out, out)
  labels = wanted.texts()
  source = wanted.source("calibrate")
  model = python_model.Model.load(path, batch_size=wanted.batch_size)
  scorer = request.make_scorer(model, labels, wanted.cache_dir)
  x_NA, right_NA, names, left_out = _measured(model, scorer, source, labels)
  _check_counts(right_NA, labels)
  per_label = []
  with progress.Progress("Fitting labels", len(labels.names), delay=5) as bar:
    for x_N, right_N in zip(x_NA.T, right_NA.T, strict=True):
      per_label.append(
        fitting.fit(
          *(x_N, right_N, names),
          method=method,
          aim=aim,
          is_probable=scorer.kind != scores.Kind.SIMILARITY,
        )
      )
      bar.advance()
  made = calibration_file.Calibration(
    labels=labels,
    model=request.model_facts(model, path),
    kind=scorer.kind.value,
    method=method,
    target=target,
    source={
      "from": wanted.images,
      "truth": source.truth,
      "num": len(names),
      "num_left_out": len(left_out),
    },
    per_label=per_label,
    versions=provenance.versions("scipy"),
  )
  made.write(out)
  if as_json:
    print(strict_json.dumps(made.facts(), indent=2, ensure_ascii=False))
    return 0
  print(table(made))
  if left_out:
    print(
      f"Left out, {len(left_out)} of {len(source)} pictures:"
      f" {'; '.join(left_out[:_NUM_NAMED])}"
    )
  print(f"Calibration: {wanted.out}")
  return 0


def truth_of(value: str) -> str:
  """Return the column of known labels of --truth."""
  return value or _TRUTH


def table(made: calibration_file.Calibration) -> str:
  """Render the figures of each label as text, and what to know of them."""
  lines = [
    f"{made.source['num']} pictures; cross-validated, 95 % intervals; Brier"
    " score and ECE before and after",
    f"{'label':14}  share  threshold  {'precision':18} {'recall':18}"
    f" {'F1':18} {'average precision':18}  Brier          ECE",
  ]
  notes = []
  for name, one in zip(made.labels.names, made.per_label, strict=True):
    figures, cut = one["figures"], one["threshold"]
    shares = [
      _in_words(figures[key])
      for key in ("precision", "recall", "f1", "average_precision")
    ]
    pair = (figures["before"], figures["after"])
    brier = [f"{x['brier']['value']:.3f}" if x else "-" for x in pair]
    ece = [f"{x['ece']:.3f}" if x else "-" for x in pair]
    lines.append(
      f"{name[:14]:14}  {figures['num_right'] / figures['num']:5.3f}"
      f"  {'never' if cut is None else f'{cut:.3f}':>9}  {' '.join(shares)}"
      f"  {brier[0]:>5} {brier[1]:>5}  {ece[0]:>5} {ece[1]:>5}"
    )
    if made.is_flat(name):
      notes.append(
        f"{name}: pictures with it are not more similar to its text than"
        " others; its probability is the same for all"
        + ("" if cut is not None else ", and it is never given")
      )
    elif cut is None:
      notes.append(
        f"{name}: no threshold has {made.target}, and it is never given"
      )
  return "\n".join(
    [
      *lines,
      *notes,
      "Probabilities and precision hold for pictures of which as large a share"
      " has the label",
    ]
  )


def _measured(
  model: python_model.Model,
  scorer: scores.Scorer,
  source: sources.Source,
  labels: labels_lib.Labels,
) -> tuple[np.ndarray, np.ndarray, list[str], list[str]]:
  """Return evidence and right labels [N, A], names, and pictures left out."""
  evidence, names, left_out = [], [], []
  right: list[np.ndarray] = []
  unknown: collections.Counter[str] = collections.Counter()
  with progress.Progress("Embedding pictures", len(source)) as bar:
    for some, z_nE in sources.embedded(model, source):
      kept = []
      for picture in some:
        truth = picture.truth
        if picture.error or truth is None:
          reason = picture.error or "its labels are not known"
          left_out.append(f"{picture.name}: {reason}")
        if picture.error:
          continue
        kept.append(truth is not None)
        if truth is not None:
          names.append(picture.name)
          right.append(np.isin(labels.names, truth))
          unknown.update({*truth} - {*labels.names})
      for rows, sim_nA in scorer.similarities(z_nE):
        x_nA = scorer.evidence(z_nE[rows], sim_nA)
        evidence.append(x_nA[np.array(kept[rows], bool)])
      bar.advance(len(some))
  if unknown:
    raise ValueError(
      f"--truth={source.truth} has {labels_lib.unknown(unknown, labels.names)}"
    )
  if not names:
    raise ValueError(
      f"--calibrate: none of {len(source)} pictures can be used; the first:"
      f" {left_out[0]}"
    )
  return np.concatenate(evidence), np.stack(right), names, left_out


def _check_counts(right_NA: np.ndarray, labels: labels_lib.Labels) -> None:
  """Raise ValueError for labels that cannot be fitted and judged."""
  num_A = right_NA.sum(axis=0)
  rare_A = np.minimum(num_A, len(right_NA) - num_A) < fitting.LEAST
  rare = [f"{labels.names[a]!r} ({num_A[a]})" for a in np.flatnonzero(rare_A)]
  if rare:
    raise ValueError(
      f"--calibrate needs at least {fitting.LEAST} pictures with each label,"
      f" and as many without; of {len(right_NA)} pictures, too few or too many"
      f" have {', '.join(rare[:10])}{', ...' if len(rare) > 10 else ''}"
    )


def _in_words(figure: dict[str, Any]) -> str:
  value = figure["value"]
  if value is None or math.isnan(value):
    return f"{'-':18}"
  low, high = figure["interval"]
  return f"{value:.2f} [{low:.2f}, {high:.2f}] "
