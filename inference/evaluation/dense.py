"""Dense probes of a run or of published weights: masks and depths.

  OUT/results.json     a record for each set, and the model
  OUT/sheets/NAME.png  test images with true and predicted maps side by side

From Python, of a loaded model and an opened set (evaluators/dense/layouts.py):

  opened = layouts.open_set("table:icons.json")
  record = dense.probe(model.load("runs/mine"), opened).record
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from evaluators import embedding_cache, summary
from evaluators.dense import dense_set, features, layouts, probe_config
from evaluators.dense import probe as probe_lib
from inference import model as model_lib
from inference.evaluation import dense_sheet
from input_pipeline import model_inputs
from runtime import checks, cluster, provenance
from runtime.storage import bucket_path, strict_json, whole_files
from training import metrics
from training.run import workdir

RESULTS, FOLDER, SHEETS = "results.json", "dense", "sheets"
MODEL = "model"
# Test images of a sheet, at even distances in their order.
_NUM_SHOWN = 8
_BATCH_SIZE, _NUM_THREADS = 32, 2


class Probed(NamedTuple):
  """Result of a probe.

  Attributes:
    record: figures, intervals, chance and protocol, for results.json.
    shown: some test images, with both of their maps.
  """

  record: dict[str, Any]
  shown: list[probe_lib.Prediction]


def probe(
  model: model_lib.Model,
  opened: dense_set.DenseSet,
  config: probe_config.ProbeConfig | None = None,
  *,
  batch_size: int = _BATCH_SIZE,
  num_threads: int = _NUM_THREADS,
) -> Probed:
  """Train a probe on a model's frozen tower, and judge it.

  Args:
    model: model with an image tower; nothing of it is changed.
    opened: the set.
    config: training of the head; None for probe_config.DEFAULTS of its kind.
    batch_size: images that the tower embeds at once.
    num_threads: threads that decode.

  Raises:
    ValueError: the tower has no grid of tokens, or as probe.run.
  """
  features.check(model.config, model.path)
  opened.check()
  assert model.config.image is not None  # features.check
  extractor = features.make_extractor(
    *(model.config, model.params, model.mesh, model.make_image_protocol()),
    batch_size=batch_size,
    num_threads=num_threads,
  )
  at = np.linspace(0, len(opened.test) - 1, _NUM_SHOWN).round()
  places = {*at.astype(int).tolist()}
  shown = []

  def keep(index: int, prediction: probe_lib.Prediction) -> None:
    if index in places:
      shown.append(prediction)

  record = probe_lib.run(
    opened, extractor, config or probe_config.DEFAULTS[opened.kind], keep=keep
  )
  record["protocol"] |= {
    "tokens": features.TOKENS[model.config.image.tower],
    "image_protocol": model_inputs.protocol_facts(extractor.protocol),
    "dtype": model.config.dtype,
  }
  return Probed(record, shown)


def run(
  path: str,
  specs: Sequence[str],
  *,
  out: str,
  changes: Mapping[str, Any] | None = None,
  batch_size: int = _BATCH_SIZE,
  num_threads: int = _NUM_THREADS,
  as_json: bool = False,
) -> int:
  """Probe the model at `path` on sets; write the folder `out`.

  Args:
    path: run or published model, as `model.load` takes it.
    specs: sets, LAYOUT:PATH each, as `layouts.open_set` takes them.
    out: folder to write; "" for a run's own, below it.
    changes: fields of probe_config.ProbeConfig that differ from its defaults.
    batch_size: images that the tower embeds at once.
    num_threads: threads that decode.
    as_json: print JSON instead of a table.

  Raises:
    ValueError: sets or the model cannot be used; the message names all sets
      that cannot.
  """
  checks.at_least("--batch_size", batch_size, 1)
  if cluster.count() > 1:
    raise ValueError(
      f"--dense works in one process; got {cluster.count()} of them"
    )
  folder = _folder(path, out)
  opened: dict[str, dense_set.DenseSet] = {}
  configs: dict[str, probe_config.ProbeConfig] = {}
  with checks.collected():
    for spec in specs:
      with checks.collected():
        one = layouts.open_set(spec)
        if one.name in opened or one.name == MODEL:
          checks.refuse(
            f"--dense={spec} must have a name of its own, which is not"
            f' {MODEL!r}; got {one.name!r} (a field "name" of a table\'s file'
            " changes it)"
          )
        opened[one.name] = one
        configs[one.name] = _changed(one.kind, changes or {})
  model = model_lib.load(path)
  if model.step is not None:
    metrics.say(f"Probing the checkpoint of step {model.step}")
  results: dict[str, Any] = {}
  for name, one in opened.items():
    metrics.say(
      f"{name}: {one.kind}, {len(one.train):,} images to train on,"
      f" {len(one.test):,} to judge"
    )
    made = probe(
      *(model, one, configs[name]),
      batch_size=batch_size,
      num_threads=num_threads,
    )
    results[name] = made.record
    sheet = folder / SHEETS / f"{name}.png"
    sheet.parent.mkdir(parents=True, exist_ok=True)
    dense_sheet.write(sheet, one, made.record, made.shown)
    metrics.say(f"Sheet: {sheet}")
  results[MODEL] = {
    "path": path,
    "family": model.family,
    "step": model.step,
    "digest": embedding_cache.model_digest(model.config, model.params),
    "dtype": model.config.dtype,
    "image_protocol": model_inputs.protocol_facts(model.make_image_protocol()),
    "versions": provenance.versions(),
    **embedding_cache.runtime_facts(),
  }
  text = strict_json.dumps(results, indent=2)
  whole_files.write(folder / RESULTS, f"{text}\n".encode())
  metrics.say(f"Results: {folder / RESULTS}")
  print(text if as_json else table(results))
  return 0


def changes(words: Sequence[str]) -> dict[str, Any]:
  """Return fields of probe_config.ProbeConfig of words NAME=VALUE.

  Several numbers are separated by "/".

  Raises:
    ValueError: there is no such field, or it has no such value; names the flag.

  >>> changes(["num_steps=100", "learning_rates=1e-3/1e-2"])
  {'num_steps': 100, 'learning_rates': (0.001, 0.01)}
  """
  default = probe_config.ProbeConfig()
  names = [field.name for field in dataclasses.fields(default)]
  made: dict[str, Any] = {}
  for word in words:
    name, _, value = (x.strip() for x in word.partition("="))
    checks.one_of(f"--dense_probe={word}: the field", name, names)
    before = getattr(default, name)
    try:
      if isinstance(before, bool):
        made[name] = {"true": True, "false": False}[value.lower()]
      elif isinstance(before, tuple):
        made[name] = tuple(float(x) for x in value.split("/"))
      else:
        made[name] = type(before)(value)
    except (KeyError, ValueError) as error:
      kind = "numbers" if isinstance(before, tuple) else type(before).__name__
      raise ValueError(
        f"--dense_probe={word}: {name} must be {kind}, as"
        f" {name}={_spelled(before)}; got {value!r}"
      ) from error
  return made


def _spelled(value: Any) -> str:
  if isinstance(value, tuple):
    return "/".join(f"{x:g}" for x in value)
  return str(value).lower() if isinstance(value, bool) else f"{value:g}"


def table(results: Mapping[str, Any]) -> str:
  """Return the figures of all sets as text, baselines in brackets."""
  records = {k: v for k, v in results.items() if k != MODEL}
  return summary.table(records)


def _folder(path: str, out: str) -> pathlib.Path:
  """Return the folder to write; ValueError for weights without --out."""
  if out:
    return bucket_path.make(out)
  if not workdir.is_run(bucket_path.make(path)):
    raise ValueError(
      f"--out is missing: --out=FOLDER of the results, since {path} is not the"
      " folder of a run"
    )
  return bucket_path.make(path) / FOLDER


def _changed(kind: str, changes: Mapping[str, Any]) -> probe_config.ProbeConfig:
  """Return the training of a kind of set with some fields changed."""
  config = dataclasses.replace(probe_config.DEFAULTS[kind], **changes)
  config.check("--dense_probe")
  return config
