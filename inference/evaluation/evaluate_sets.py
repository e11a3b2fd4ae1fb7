"""Evaluation of a model on sets of the field, by name.

  OUT/results.json     a record for each set, the means, and the model's inputs
  OUT/results.md       the same as tables
  OUT/report.html      the same to look at, with classes, confusions, pictures
  OUT/sets/NAME.json   classes, groups, confused pairs, and the set's audit;
                       NAME.classes.csv and NAME.groups.csv beside it
  OUT/items/NAME.npz   outcome of each example, for comparisons of two models

Labels are audited before anything is embedded. Embeddings stay in the cache, so
that a second evaluation computes figures alone.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from evaluators import (
  embedding_cache,
  measures,
  protocols,
  set_tables,
  suite_data,
)
from evaluators import suite as suite_lib
from evaluators.figures import gallery, outcomes, set_figures, set_gallery
from evaluators.sets import audit, datacomp, field_set, resolve
from inference import model as model_lib
from inference.evaluation import (
  class_tables,
  evaluation_page,
  item_files,
  set_measures,
)
from input_pipeline import evaluation_split, model_inputs
from runtime import checks, cluster, provenance
from runtime.storage import bucket_path, strict_json, whole_files
from training import metrics
from training.run import workdir

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
  asked: set_measures.Measures = set_measures.Measures(),
  protocol: str = protocols.OWN,
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
    asked: measures of the sets beyond their own figures.
    protocol: name of the protocol, of protocols.NAMES.
    as_json: print results.json instead of tables.

  Raises:
    ValueError: sets or the model cannot be used; the message names all sets
      that cannot.
  """
  if not out:
    raise ValueError("--out is missing: --out=FOLDER of the results")
  checks.at_least("--batch_size", batch_size, 1)
  asked.check()
  folder, cache = bucket_path.make(out), pathlib.Path(cache_dir)
  opened = cluster.first_then_all(
    lambda: resolve.resolve(suite, names, data_root, cache_dir=cache_dir)
  )
  cluster.first_then_all(lambda: measures.check(asked.names, opened, _SECTION))
  opened = {
    name: protocols.of_set(protocol, one) for name, one in opened.items()
  }
  reports = cluster.first_then_all(lambda: _audit(opened, cache))
  model = model_lib.load(path)
  inputs = model.make_inputs()
  ready = cluster.first_then_all(
    lambda: {
      name: _Set(
        one,
        evaluation_split.open_source(
          suite_data.source_of(one),
          protocol=protocols.image_protocol(
            protocol, inputs.image_protocol, kind=one.kind, key=one.name
          ),
          num_threads=num_threads,
          cache_dir=cache,
          name=name,
          section=_SECTION,
        ),
        reports[name],
      )
      for name, one in opened.items()
    }
  )
  embeddings = embedding_cache.Cache(
    folder=cache / "embeddings",
    model=embedding_cache.model_digest(model.config, model.params),
    inputs=inputs,
    embedder=model.make_embedder(batch_size),
    params=model.params,
    text=model.config.text,
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
  panels: dict[str, list[gallery.Panel]] = {}
  mains: dict[str, float] = {}
  for name, one in ready.items():
    with jax.set_mesh(model.mesh):
      embedded = embeddings.images(name, one.split, one.opened.source)
      outcome = set_figures.evaluate(
        one.opened, embedded.examples, embeddings.texts, model.mesh
      )
      measured, items = set_measures.run(
        asked,
        set_measures.Embedded(
          *(one.opened, one.split, embedded, _SECTION),
          embed=functools.partial(_embed, name, one),
        ),
        embeddings,
        model,
      )
      panels[name] = set_gallery.panels(
        *(one.opened, embedded.examples, embeddings.texts),
        outcome=outcome,
        image_fn=functools.partial(_image, one.split, embedded.examples.rows),
        mesh=model.mesh,
        count=set_gallery.counts(len(ready)),
      )
    records[name] = outcome.record | measured
    records[name]["protocol"] |= {
      **protocols.facts(protocol, one.split.protocol, kind=one.opened.kind),
      "image_protocol": model_inputs.protocol_facts(one.split.protocol),
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
      _write_details(folder, name, details[name], {**outcome.items, **items})
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
    page = evaluation_page.render(folder.name, results, details, panels)
    whole_files.write(folder / PAGE, page.encode())
    metrics.say(f"Page: {folder / PAGE}")
    _write_scalars(path, model.step, results)
    print(text if as_json else set_tables.text(results))
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


def _write_scalars(
  path: str, step: int | None, results: Mapping[str, Any]
) -> None:
  """Write the figures of a run's sets as TensorBoard events below the run."""
  if step is None or not workdir.is_run(bucket_path.make(path)):
    return
  records = {k: v for k, v in results.items() if k not in (MODEL, MEANS)}
  scalars = suite_lib.scalars(records) | {
    f"{MEANS}/{mean['name']}": mean["value"] for mean in results[MEANS]
  }
  try:
    metrics.write_evaluation(bucket_path.make(path), step, scalars)
  except OSError as error:  # a run of others, say
    metrics.say(f"No TensorBoard events are written: {error}")


def _embed(
  name: str,
  one: _Set,
  cache: embedding_cache.Cache,
  words: str,
  facts: Mapping[str, Any],
  change: evaluation_split.Change | None,
) -> embedding_cache.Embedded:
  """Embed a set once more; see set_measures.Embed."""
  split = dataclasses.replace(one.split, change=change)
  return cache.images(f"{name}{words}", split, one.opened.source, facts=facts)


def _image(
  split: evaluation_split.Split, rows: Sequence[int], index: int
) -> np.ndarray | None:
  """Return the image of an example for the page, which one process writes."""
  if not cluster.is_first():
    return None
  return set_gallery.image(split, rows[index])


def _write_details(
  folder: pathlib.Path,
  name: str,
  details: Mapping[str, Any],
  items: Mapping[str, outcomes.Items],
) -> None:
  file = name.replace("/", "-")
  for part in ("sets", "items"):
    (folder / part).mkdir(parents=True, exist_ok=True)
  text = strict_json.dumps(details, indent=2)
  whole_files.write(folder / "sets" / f"{file}.json", f"{text}\n".encode())
  for table, content in class_tables.csv_files(details).items():
    whole_files.write(folder / "sets" / f"{file}.{table}.csv", content)
  whole_files.write(folder / "items" / f"{file}.npz", item_files.encoded(items))
