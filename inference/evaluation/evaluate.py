"""Evaluation of a model on the sets of a config, without training.

Embeddings stay below data.cache_dir, or --cache_dir: a second evaluation, by
another config too, embeds what is new alone, and one that was killed goes on.
"""

import dataclasses
import datetime
import pathlib
from collections.abc import Iterator
from typing import Any

import jax

from evaluators import (
  embedding,
  embedding_cache,
  measures,
  protocols,
  suite,
  suite_data,
  summary,
  zero_shot,
)
from evaluators.figures import gallery
from evaluators.generating import captioner as captioner_lib
from evaluators.generating import generated_sets
from inference import model as model_lib
from inference.evaluation import configured_sets, set_measures
from input_pipeline import (
  evaluation_split,
  ledger,
  model_inputs,
  pipeline,
)
from runtime import checks, cluster, provenance
from runtime.storage import bucket_path, strict_json
from training import config as config_lib
from training import metrics
from training.report import report
from training.run import workdir


def run(
  path: str,
  config: config_lib.Config | None = None,
  out: str = "",
  *,
  cache_dir: str = "",
  named_as_run: bool = False,
  asked: set_measures.Measures = set_measures.Measures(),
  protocol: str = protocols.OWN,
  as_json: bool = False,
) -> int:
  """Evaluate the model at `path`; write results.json and report.html.

  Args:
    path: run or published model, as `model.load` takes it.
    config: its sections `evaluate` and `data` name the sets; None for the
      run's own.
    out: folder to write; "" for the run's.
    cache_dir: folder of embeddings; "" for data.cache_dir.
    named_as_run: whether `path` must be a run.
    asked: measures of the sets beyond their own figures.
    protocol: name of the protocol, of protocols.NAMES.
    as_json: print JSON instead of a table.

  Raises:
    ValueError: there is no set to evaluate on, nowhere to write, or
      evaluate.holdout holds out other images than in the run, or a measure
      fits none of the sets.
  """
  asked.check()
  is_run = named_as_run or workdir.is_run(bucket_path.make(path))
  config, model = open_model(path, config, out, is_run=is_run)
  opened = open_sets(
    *(model, config, path if is_run else ""), asked=asked, protocol=protocol
  )
  writer = make_writer(model, config)
  evaluated = figures(model, config, opened, cache_dir=cache_dir, writer=writer)
  if cluster.is_first():
    page = evaluated.write(bucket_path.make(out or path))
    metrics.say(f"Report: {page}")
    print(
      strict_json.dumps(evaluated.results)
      if as_json
      else summary.table(evaluated.results)
    )
  return 0


@dataclasses.dataclass(frozen=True)
class Evaluated:
  """Figures of a model, pictures of them, and what its page says about it."""

  results: suite.Results
  panels: list[gallery.Panel]
  facts: dict[str, str]

  def write(self, folder: pathlib.Path) -> pathlib.Path:
    """Write results.json and report.html; return the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    summary.write_results(folder / workdir.RESULTS, self.results)
    return report.write(
      folder,
      title=folder.name,
      facts=self.facts,
      results=self.results,
      panels=self.panels,
    )


def open_model(
  path: str, config: config_lib.Config | None, out: str, *, is_run: bool
) -> tuple[config_lib.Config, model_lib.Model]:
  """Return the config of the sets, and the model; arguments as of `run`.

  Raises:
    ValueError: there is no set, or nowhere to write.
  """
  if config is None and not is_run:
    raise ValueError(
      f"{path} is a published model: give its sets by --suite or --sets, or by"
      " a --config with evaluate.sets"
    )
  if not out and not is_run:
    raise ValueError("--out is missing: --out=FOLDER of the results")
  if is_run:
    config, model = model_lib.load_run(bucket_path.make(path), config)
    metrics.say(f"Evaluating the checkpoint of step {model.step}")
  else:
    model = model_lib.load(path)
  assert config is not None  # refused above
  if not config.evaluate.has_sets:
    raise ValueError(
      "evaluate.sets must have at least one set to evaluate on; got none: give"
      " a --config with sets, as configs/evaluate/emoji.py has them (or train"
      " with evaluate.holdout)"
    )
  return config, model


@dataclasses.dataclass(frozen=True)
class Opened:
  """Opened sets of a config, for models with the same inputs.

  Attributes:
    inputs: image protocol and tokenizer of the models.
    data: sets of each image protocol.
    asked: measures beyond the sets' own figures.
    protocol: name of the protocol.
  """

  inputs: model_inputs.ModelInputs
  data: list[suite_data.Data]
  asked: set_measures.Measures
  protocol: str


def open_sets(
  model: model_lib.Model,
  config: config_lib.Config,
  run_folder: str,
  *,
  asked: set_measures.Measures = set_measures.Measures(),
  protocol: str = protocols.OWN,
) -> Opened:
  """Open the sets of a config; collective.

  Args:
    model: a model that is to be evaluated.
    config: its sections `evaluate` and `data` name the sets.
    run_folder: folder of the model's run, "" for a published model.
    asked: as of `run`.
    protocol: as of `run`.

  Raises:
    ValueError: as `run`.
  """
  sets = config.evaluate.generated_sets
  if sets and protocol != protocols.OWN:
    raise ValueError(
      f"--protocol must be {protocols.OWN} for {', '.join(sets)}, as a decoder"
      f" reads images as it was taught; got {protocol}"
    )
  inputs = model.make_inputs()
  parts = [*_parts(protocol, config.evaluate, inputs)]
  with checks.collected():
    for section, one in parts:
      section.check_videos(model.config, one.image_protocol)

  def load() -> list[suite_data.Data]:
    share = config.evaluate.holdout
    if share and run_folder:
      splits = pipeline.split_sources(config.data, share)
      held_out = {name: split.facts() for name, split in splits.items()}
      ledger.check_held_out(bucket_path.make(run_folder), held_out)
    return [
      suite_data.load_data(section, config.data, one, model.config.dtype)
      for section, one in parts
    ]

  loaded = cluster.first_then_all(load)
  sets = {k: v for x in loaded for k, v in configured_sets.opened(x).items()}
  cluster.first_then_all(
    lambda: measures.check(asked.names, sets, configured_sets.SECTION)
  )
  return Opened(inputs, loaded, asked, protocol)


def make_writer(
  model: model_lib.Model, config: config_lib.Config
) -> captioner_lib.Captioner | None:
  """Return the decoder beside a run's model; None where no set asks for it.

  Raises:
    ValueError: a set needs a decoder, and the model has none, or one that did
      not learn the set's task.
  """
  sets = config.evaluate.generated_sets
  if not sets:
    return None
  folder = bucket_path.make(model.path)
  own = workdir.read_config(folder) if model.family == model_lib.RUN else None
  if own is None or not own.decoding.is_on:
    generated_sets.check(sets, (), model.path)
  towers, decoder = model_lib.load_captioner(folder, model.mesh)
  if towers.step != model.step:
    raise workdir.WorkdirError(
      f"{model.path} has gone on: its decoder is of step {towers.step}, and the"
      f" model that was read is of step {model.step}; evaluate it again"
    )
  generated_sets.check(sets, decoder.tasks, model.path)
  return captioner_lib.Captioner(model, decoder, config.evaluate.batch_size)


def figures(
  model: model_lib.Model,
  config: config_lib.Config,
  opened: Opened,
  *,
  cache_dir: str = "",
  writer: captioner_lib.Captioner | None = None,
) -> Evaluated:
  """Return a model's figures on opened sets; collective.

  Args:
    model: the model.
    config: that of `opened`.
    opened: the sets.
    cache_dir: as of `run`.
    writer: decoder beside the model, for sets that need one.
  """
  inputs, protocol = opened.inputs, opened.protocol
  cache = embedding_cache.Cache(
    folder=bucket_path.make(cache_dir or config.data.cache_dir) / "embeddings",
    model=embedding_cache.model_digest(model.config, model.params),
    inputs=inputs,
    embedder=model.make_embedder(config.evaluate.batch_size),
    params=model.params,
  )
  results: suite.Results = {}
  panels: list[gallery.Panel] = []
  for data in opened.data:
    data = _named(protocol, data).with_head(
      model.config.head.classes, model.params
    )

    def embed_split(
      source: suite_data.Source,
      split: evaluation_split.Split,
      data: suite_data.Data = data,
    ) -> embedding.Examples:
      facts = configured_sets.facts(source, config.data)
      video = suite_data.tower_of(source)
      name = data.name_of(source)
      return cache.images(name, split, facts, video=video).examples

    with jax.set_mesh(model.mesh):
      embeddings = suite.embed_by(data, embed_split, cache.texts)
      part = suite.score(data, embeddings, model.mesh)
      for one in configured_sets.embedded(
        data, embeddings.examples, config.data
      ):
        name = one.opened.name
        record = part[name] if name in part else part[summary.ZERO_SHOT][name]
        record |= set_measures.run(opened.asked, one, cache, model)[0]
      panels += suite.gallery(data, embeddings, model.mesh)
    if data.generated:
      part |= _generated(data, writer)
    groups = [x.get(summary.ZERO_SHOT, {}) for x in (results, part)]
    _say_protocol(protocol, data, part)
    results |= part
    if any(groups):
      results[summary.ZERO_SHOT] = groups[0] | groups[1]
  if results:
    results[summary.INPUTS] = inputs.facts()
  facts = _report_facts(model, cache, protocol)
  return Evaluated(results, panels, facts)


def _generated(
  data: suite_data.Data, writer: captioner_lib.Captioner | None
) -> suite.Results:
  """Return the records of the sets whose answers a decoder writes."""
  assert writer is not None  # `make_writer` returns one for these sets
  made = generated_sets.results(data.generated, writer)
  for record in made.values():
    record["protocol"]["decoder"] = writer.digest
  return made


def _report_facts(
  model: model_lib.Model,
  cache: embedding_cache.Cache,
  protocol: str,
) -> dict[str, str]:
  """Return what the page says about the model."""
  return {
    "model": model.path,
    **({} if model.step is None else {"step": f"{model.step:,}"}),
    "weights": cache.model,
    "arithmetic": model.config.dtype,
    "protocol": protocol,
    "evaluated": datetime.datetime.now().strftime("%Y-%m-%d %H:%M"),
    "devices": f"{model.mesh.size} {jax.devices()[0].device_kind}",
    **provenance.versions(),
    "commit": provenance.commit()[:12] or "unknown",
  }


def _parts(
  name: str,
  section: suite_data.EvaluateConfig,
  inputs: model_inputs.ModelInputs,
) -> Iterator[tuple[suite_data.EvaluateConfig, model_inputs.ModelInputs]]:
  """Yield the sets of each image protocol, and the inputs of a model."""
  if name == protocols.OWN:
    yield section, inputs
    return
  by_protocol: dict[model_inputs.Protocol, dict[str, Any]] = {}

  def sets_of(kind: str, key: str = "") -> dict[str, Any]:
    own = inputs.image_protocol
    protocol = protocols.image_protocol(name, own, kind=kind, key=key)
    return by_protocol.setdefault(protocol, {})

  for key, one in section.sets.items():
    if isinstance(one, zero_shot.ZeroShotConfig):
      one = protocols.of_section(name, one)
    sets_of(one.kind, key)[key] = one
  held_out = sets_of("retrieval") if section.holdout else None
  for protocol, sets in by_protocol.items():
    share = section.holdout if sets is held_out else 0.0
    yield (
      dataclasses.replace(section, sets=sets, holdout=share),
      dataclasses.replace(inputs, image_protocol=protocol),
    )


def _named(name: str, data: suite_data.Data) -> suite_data.Data:
  """Return data whose labelled sets have the names of a protocol."""
  labelled = {k: protocols.of_set(name, x) for k, x in data.labelled.items()}
  return dataclasses.replace(data, labelled=labelled)


def _say_protocol(
  name: str, data: suite_data.Data, results: suite.Results
) -> None:
  """Add a protocol's facts to the record of each set."""
  kinds = {key: one.kind for key, one in data.config.sets.items()}
  for key, record in {**results, **results.get(summary.ZERO_SHOT, {})}.items():
    if "protocol" in record:
      record["protocol"] |= protocols.facts(
        name, data.inputs.image_protocol, kind=kinds.get(key, "retrieval")
      )
