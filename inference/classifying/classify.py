"""Labels of pictures as a table, with the figures of those that are known.

  OUT                   a row a picture, in order; CSV, JSON lines or Parquet
  OUT.json              what decides the rows: model, labels, thresholds, ...
  OUT.confusion.json    with --truth: figures and the confusion table
  OUT.confusion.png     the same as a picture, with one label a picture

OUT is written last and whole. A picture that cannot be used has a row with its
`error`, and null in place of everything else.
"""

import collections
import csv
import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from inference import pictures, python_model
from inference.classifying import (
  calibration_file,
  confusion_picture,
  decisions,
  outcomes,
  request,
  result_table,
  scores,
  sources,
)
from inference.classifying import labels as labels_lib
from runtime import checks, progress, provenance
from runtime.storage import bucket_path, strict_json, whole_files

NAME, ERROR, TRUTH = "image_path", "error", "truth"
# Probability of a label by itself from which a picture is given it, without
# --threshold and --calibration: likelier than not.
_LIKELIER = 0.5
# Value of --scores for a column of each label, and the most of them.
_ALL, _MOST_SCORES = "all", 1000
# Labels, and pictures left out, that a message names.
_NUM_LABELS, _NUM_NAMED = 10, 3


@dataclasses.dataclass(frozen=True)
class Choices:
  """Values of flags of classification alone; see tasks/classify.py."""

  threshold: float | None
  num_results: int
  scores: str
  calibration: str
  allow_unknown_truth: bool


@dataclasses.dataclass
class _Totals:
  """Counts of the rows written so far."""

  num: int = 0
  left_out: list[str] = dataclasses.field(default_factory=list)
  num_left_out: int = 0
  num_without: int = 0
  labels: collections.Counter[str] = dataclasses.field(
    default_factory=collections.Counter
  )


def run(
  path: str,
  wanted: request.Wanted,
  choices: Choices,
  *,
  as_json: bool = False,
) -> int:
  """Label pictures; write the table and print a summary.

  Args:
    path: model as `model.load` takes it.
    wanted, choices: values of the flags.
    as_json: print one JSON object, that of OUT.json, in place of lines.

  Raises:
    ValueError, OSError: a flag is wrong, or no picture can be used; the message
      names the flag. Nothing was written.
  """
  _check(wanted, choices)
  out = bucket_path.make(wanted.out)
  result_table.check(wanted.out, out)
  calibration = None
  if choices.calibration:
    calibration = _calibration(choices.calibration, wanted)
  labels = calibration.labels if calibration else wanted.texts()
  scored = _scored(choices.scores, labels)
  source = wanted.source("images")
  _check_folders(source, labels, choices.allow_unknown_truth)
  rule = decisions.Rule(
    names=labels.names,
    threshold_A=_thresholds(choices.threshold, labels, calibration, wanted),
    num_results=choices.num_results,
    scored=scored,
  )
  if wanted.is_multi:
    curves_fn = calibration.probabilities if calibration else scores.logistic
    rule = dataclasses.replace(rule, curves_fn=curves_fn)
  schema = _schema(rule, source, wanted.is_multi)
  # Flags are checked before a model of gigabytes is read.
  model = python_model.Model.load(path, batch_size=wanted.batch_size)
  about_model = request.model_facts(model, path)
  if calibration:
    calibration.check_model(about_model)
  scorer = request.make_scorer(model, labels, wanted.cache_dir)
  kind = scorer.kind
  if wanted.is_multi and not calibration and kind == scores.Kind.SIMILARITY:
    raise ValueError(
      f"--multi_label: {path} has a softmax loss, which compares labels with"
      " each other and gives none a probability by itself. Give what else a"
      ' picture may show, --background="a photo,an object", to compare each'
      " label with that alone; or --calibration=FILE, which --calibrate writes"
      " from pictures whose labels are known"
    )
  known = outcomes.Outcomes(labels.names, is_multi=wanted.is_multi)
  totals = _Totals()
  facts: dict[str, Any] = {
    "task": "classify",
    "out": wanted.out,
    "images": wanted.images,
    "model": about_model,
    **labels.facts(),
    "multi_label": wanted.is_multi,
    "probability": _meaning(kind, calibration, wanted),
    "threshold": choices.threshold,
    "calibration": calibration and calibration.facts(),
    "num_results": choices.num_results,
    "versions": provenance.versions(),
  }
  with result_table.opened(out, schema) as writer:
    _fill(writer, model, scorer, rule, source, known, totals, choices)
    facts |= _totals(totals)
    files = _write_known(out, known) if source.truth else {}
    facts["truth"] = known.results() if source.truth else None
    # With OUT itself there, OUT.json is whole.
    text = strict_json.dumps(facts, indent=2, ensure_ascii=False)
    whole_files.write(_beside(out, ".json"), text.encode() + b"\n")
    writer.finish({**facts, "truth": None})
  if as_json:
    print(text)
    return 0
  notes = pictures.unread(wanted.images, wanted.recursive)
  print("\n".join([*_summary(wanted, totals), *notes]))
  if source.truth:
    print(outcomes.table(known.results()))
    for what, name in files.items():
      print(f"{what}: {name}")
  return 0


def _check(wanted: request.Wanted, choices: Choices) -> None:
  """Raise ValueError where flags do not fit together."""
  wanted.check()
  checks.at_least("--num_results", choices.num_results, 1)
  if choices.threshold is not None:
    checks.between("--threshold", choices.threshold, 0, 1)
  if choices.calibration and not wanted.is_multi:
    raise ValueError(
      "--calibration needs --multi_label: its thresholds are of each label by"
      " itself"
    )


def _calibration(
  file: str, wanted: request.Wanted
) -> calibration_file.Calibration:
  """Return a calibration; ValueError where other labels are asked for."""
  read = calibration_file.Calibration.read(pathlib.Path(file).expanduser())
  if wanted.labels:
    read.check_texts("labels", wanted.labels, "names")
  if wanted.templates:
    value = labels_lib.templates(wanted.templates)
    read.check_texts("templates", value, "templates")
  if wanted.background:
    value = labels_lib.listed(wanted.background, "background")
    read.check_texts("background", value, "background")
  return read


def _scored(value: str, labels: labels_lib.Labels) -> tuple[int, ...]:
  """Return the positions of the labels of --scores."""
  if value == _ALL:
    if len(labels.names) > _MOST_SCORES:
      raise ValueError(
        f"--scores=all makes a column for each of {len(labels.names):,} labels;"
        f" expected at most {_MOST_SCORES:,}: name some"
      )
    return tuple(range(len(labels.names)))
  names = [x.strip() for x in next(csv.reader([value]), [])]
  for name in names:
    if name not in labels.names:
      raise ValueError(
        f"--scores must be labels, or all; got {name!r}, which is not among"
        f" {', '.join(map(repr, labels.names[:5]))}"
        + (", ..." if len(labels.names) > 5 else "")
      )
  return tuple(labels.names.index(name) for name in dict.fromkeys(names))


def _thresholds(
  threshold: float | None,
  labels: labels_lib.Labels,
  calibration: calibration_file.Calibration | None,
  wanted: request.Wanted,
) -> np.ndarray:
  """Return the lowest probability that is given each label."""
  if threshold is None and calibration:
    return calibration.threshold_A
  if threshold is None:
    threshold = _LIKELIER if wanted.is_multi else 0.0
  return np.full(len(labels.names), threshold)


def _check_folders(
  source: sources.Source, labels: labels_lib.Labels, allows_unknown: bool
) -> None:
  """Raise ValueError for folders that are no labels, before all the work."""
  if source.truth == sources.FOLDER and not allows_unknown:
    found = source.folder_labels()
    _refuse_unknown(found.keys() - {*labels.names}, found, labels)


def _refuse_unknown(
  names: Sequence[str] | set[str],
  found: Mapping[str, int],
  labels: labels_lib.Labels,
) -> None:
  if names:
    others = {name: found[name] for name in sorted(names)}
    raise ValueError(
      f"--truth has {labels_lib.unknown(others, labels.names)};"
      " --allow_unknown_truth counts them apart"
    )


def _schema(
  rule: decisions.Rule, source: sources.Source, is_multi: bool
) -> pa.Schema:
  """Return the columns of the table."""
  fields: dict[str, pa.DataType] = {NAME: pa.string(), **rule.fields()}
  if source.truth:
    fields[TRUTH] = pa.list_(pa.string()) if is_multi else pa.string()
  fields[ERROR] = pa.string()
  return result_table.schema(fields, source.columns)


def _fill(
  writer: result_table.Writer,
  model: python_model.Model,
  scorer: scores.Scorer,
  rule: decisions.Rule,
  source: sources.Source,
  known: outcomes.Outcomes,
  totals: _Totals,
  choices: Choices,
) -> None:
  """Write a row for each picture; count in `known` and `totals`."""
  rows_fn = functools.partial(rule.rows, scorer, model.probabilities)
  with progress.Progress("Classifying pictures", len(source)) as bar:
    for some, z_nE in sources.embedded(model, source):
      decided = rows_fn(z_nE)
      for picture in some:
        row: dict[str, Any] = {NAME: picture.name, **picture.values}
        if picture.truth is not None:
          row[TRUTH] = picture.truth[0] if picture.truth else None
          if source.is_multi:
            row[TRUTH] = list(picture.truth)
        if picture.error:
          row[ERROR] = picture.error
          totals.num_left_out += 1
          if len(totals.left_out) < _NUM_NAMED:
            totals.left_out.append(f"{picture.name}: {picture.error}")
        else:
          row |= next(decided)
          given = row["labels"] if source.is_multi else [row["label"]]
          given = [label for label in given if label is not None]
          totals.labels.update(given)
          totals.num_without += not given
          if source.truth:
            known.add(picture.truth, given)
        writer.add(row)
        totals.num += 1
      if known.unknown and not choices.allow_unknown_truth:
        labels = labels_lib.Labels(rule.names)
        _refuse_unknown({*known.unknown}, known.unknown, labels)
      bar.advance(len(some))
  if totals.num_left_out == totals.num:
    raise ValueError(
      f"--images: none of {totals.num} pictures can be used; the first:"
      f" {totals.left_out[0]}"
    )


def _write_known(out: pathlib.Path, known: outcomes.Outcomes) -> dict[str, str]:
  """Write figures of known labels; return the files' names by their content."""
  results = known.results()
  files = {"Figures": ".confusion.json"}
  content = {".confusion.json": strict_json.dumps(results, indent=2).encode()}
  if results.get("confusion"):
    files["Confusion table"] = ".confusion.png"
    content[".confusion.png"] = confusion_picture.png(results)
  for suffix, data in content.items():
    whole_files.write(_beside(out, suffix), data)
  return {what: str(_beside(out, suffix)) for what, suffix in files.items()}


def _beside(out: pathlib.Path, suffix: str) -> pathlib.Path:
  return out.parent / f"{out.name}{suffix}"


def _meaning(
  kind: scores.Kind,
  calibration: calibration_file.Calibration | None,
  wanted: request.Wanted,
) -> str:
  """Return what a probability of the table is."""
  if calibration:
    return f"calibrated by {calibration.method}, each label by itself"
  if wanted.is_multi:
    return f"{kind.value}, each label by itself, not calibrated"
  if kind == scores.Kind.SIGMOID:
    return "sigmoid of each label, of the model's loss"
  return "softmax over the labels, of the model's loss"


def _totals(totals: _Totals) -> dict[str, Any]:
  return {
    "num_pictures": totals.num,
    "num_left_out": totals.num_left_out,
    "num_without_label": totals.num_without,
    "most_frequent": dict(totals.labels.most_common(_NUM_LABELS)),
  }


def _summary(wanted: request.Wanted, totals: _Totals) -> list[str]:
  """Return lines about the table."""
  lines = [
    f"{totals.num:,} pictures in {wanted.out};"
    f" {totals.num_without:,} without a label, below the threshold"
  ]
  lines += [
    f"  {count:8,}  {name}"
    for name, count in totals.labels.most_common(_NUM_LABELS)
  ]
  if len(totals.labels) > _NUM_LABELS:
    lines.append(f"  and {len(totals.labels) - _NUM_LABELS:,} more labels")
  if totals.num_left_out:
    lines.append(
      f"{totals.num_left_out:,} pictures cannot be used, and have their `error`"
      f" in the table: {'; '.join(totals.left_out)}"
    )
  return lines
