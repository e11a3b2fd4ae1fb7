"""Evaluation of a model on sets of the field, by name.

  OUT/results.json     a record for each set, the means, and the model's inputs
  OUT/results.md       the same as tables
  OUT/report.html      the same to look at, with classes and confusions
  OUT/sets/NAME.json   classes, groups, confused pairs, and the set's audit
  OUT/items/NAME.npz   outcome of each example, for comparisons of two models

Labels are audited before anything is embedded. What was embedded stays in the
cache, so that a second evaluation computes figures alone.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from evaluators import embedding_cache, set_figures, set_tables
from evaluators.sets import audit, datacomp, field_set, resolve
from inference import evaluation_page, item_files
from inference import model as model_lib
from input_pipeline import evaluation_split, sources
from input_pipeline.sources import record as record_lib
from input_pipeline.sources import source_config
from runtime import checks, cluster, provenance
from runtime.storage import bucket_path, strict_json, whole_files
from training import metrics

RESULTS = "results.json"
TABLES = "results.md"
PAGE = "report.html"
MODEL, MEANS = "model", "means"
_SECTION = "--sets"


@dataclasses.dataclass(frozen=True)
class _Set:
  """A set that is ready to be embedded."""

  opened: field_set.FieldSet
  split: evaluation_split.Split
  report: audit.Report


def run(
  path: str,
  *,
  suite: str,
  names: Sequence[str],
  data_root: str,
  out: str,
  cache_dir: str,
  batch_size: int,
  num_threads: int,
  as_json: bool = False,
) -> int:
  """Evaluate the model at `path` on sets; write the folder `out`.

  Args:
    path: run or published model, as `model.load` takes it.
    suite: suite of sets, as `resolve.resolve` takes it; "" for none.
    names: names of further sets, or paths of `wds_*` folders.
    data_root: folder with a folder for each set.
    out: folder to write.
    cache_dir: folder of indices and embeddings.
    batch_size: images that are embedded at once.
    num_threads: threads that decode images.
    as_json: print results.json instead of tables.

  Raises:
    ValueError: sets or the model cannot be used; the message names all sets
      that cannot.
  """
  if not out:
    raise ValueError("--out is missing: --out=FOLDER of the results")
  checks.at_least("--batch_size", batch_size, 1)
  folder, cache = bucket_path.make(out), pathlib.Path(cache_dir)
  opened = cluster.first_then_all(
    lambda: resolve.resolve(suite, names, data_root, cache_dir=cache_dir)
  )
  records_of = cluster.first_then_all(
    lambda: {name: _open(one, cache) for name, one in opened.items()}
  )
  reports = cluster.first_then_all(lambda: _audit(opened, cache))
  model = model_lib.load(path)
  inputs = model.make_inputs()
  ready = {
    name: _Set(
      one,
      evaluation_split.Split(
        records_of[name],
        inputs.image_protocol,
        num_threads,
        f"{_SECTION}={name}",
      ),
      reports[name],
    )
    for name, one in opened.items()
  }
  embeddings = embedding_cache.Cache(
    folder=cache / "embeddings",
    model=embedding_cache.model_digest(model.config, model.params),
    inputs=inputs,
    embedder=model.make_embedder(batch_size),
    params=model.params,
  )
  model_facts = {
    "path": path,
    "family": model.family,
    "step": model.step,
    "digest": embeddings.model,
    "dtype": model.config.dtype,
    **inputs.facts(),
    "versions": provenance.versions(),
    **embedding_cache.runtime_facts(),
  }
  records: dict[str, Any] = {}
  details: dict[str, Any] = {}
  mains: dict[str, float] = {}
  for name, one in ready.items():
    with jax.set_mesh(model.mesh):
      embedded = embeddings.images(name, one.split, one.opened.source)
      outcome = set_figures.evaluate(
        one.opened, embedded.examples, embeddings.texts, model.mesh
      )
    records[name] = outcome.record
    records[name]["protocol"] |= {
      "image_protocol": inputs.facts()["image_protocol"],
      "dtype": model.config.dtype,
      "data_digest": embedded.data,
      **one.report.facts,
      "is_published_size": one.report.is_published,
    }
    task = one.opened.task
    if task is not None and task.metric:
      mains[task.key] = datacomp.main_figure(task, outcome.record)
      records[name]["main"] = {
        "metric": task.metric,
        "value": mains[task.key],
        "chance": task.chance,
      }
    details[name] = {
      **records[name],
      **outcome.details,
      "audit": {"warnings": one.report.warnings, **one.report.facts},
    }
    if cluster.is_first():
      _write_details(folder, name, details[name], outcome)
    metrics.say(f"{name}: {set_tables.line(records[name])}")
  results = {
    **records,
    MEANS: [
      dataclasses.asdict(mean)
      for mean in datacomp.aggregate(
        mains,
        {
          one.opened.task.key
          for one in ready.values()
          if one.opened.task is not None and not one.report.is_published
        },
      )
    ],
    MODEL: model_facts,
  }
  if cluster.is_first():
    text = strict_json.dumps(results, indent=2)
    whole_files.write(folder / RESULTS, f"{text}\n".encode())
    tables = set_tables.markdown(results)
    whole_files.write(folder / TABLES, tables.encode())
    page = evaluation_page.render(folder.name, results, details)
    whole_files.write(folder / PAGE, page.encode())
    metrics.say(f"Page: {folder / PAGE}")
    print(text if as_json else tables, end="" if as_json else "\n")
  return 0


def _audit(
  opened: Mapping[str, field_set.FieldSet],
  cache_dir: pathlib.Path,
) -> dict[str, audit.Report]:
  """Return the audit of each set; ValueError with the errors of all."""
  reports = {}
  with checks.collected():
    for name, one in opened.items():
      with checks.collected():
        _, reports[name] = audit.audited(one, cache_dir, f"{_SECTION}={name}")
        for warning in reports[name].warnings:
          metrics.say(f"{name}: {warning}")
  return reports


def _open(
  opened: field_set.FieldSet, cache_dir: pathlib.Path
) -> record_lib.Records:
  source = source_config.SourceConfig(**opened.source)
  context = source_config.SourceContext(
    # No set is drawn, which alone asks for a size.
    *(opened.name, cache_dir),
    image_size=1,
    section=_SECTION,
  )
  records = sources.FORMATS[source.format].open_split(
    source, source.split, context
  )
  if not len(records):
    raise ValueError(f"{_SECTION}={opened.name} has no examples")
  return records


def _write_details(
  folder: pathlib.Path,
  name: str,
  details: Mapping[str, Any],
  outcome: set_figures.Outcome,
) -> None:
  file = name.replace("/", "-")
  for part in ("sets", "items"):
    (folder / part).mkdir(parents=True, exist_ok=True)
  text = strict_json.dumps(details, indent=2)
  whole_files.write(folder / "sets" / f"{file}.json", f"{text}\n".encode())
  whole_files.write(
    folder / "items" / f"{file}.npz", item_files.encoded(outcome.items)
  )
