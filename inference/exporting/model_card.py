"""Model card of an exported folder: README.md in the form of the Hub's cards.

Nothing is in it but what the run's folder or the model's files record; a field
that they lack is "not recorded".
"""

import dataclasses
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import yaml

from evaluators import set_tables, summary
from evaluators.figures import group_figures
from inference import model as model_lib
from input_pipeline import model_inputs
from input_pipeline.sources import source_config
from models import naflex
from runtime.storage import bucket_path, whole_files
from training import config as config_lib
from training.run import workdir

NAME = "README.md"
_UNKNOWN = "not recorded"
# Value of pipeline_tag on the Hub, by the towers that there are.
_PIPELINES = {
  (True, True): "zero-shot-image-classification",
  (True, False): "image-feature-extraction",
  (False, True): "feature-extraction",
}
# Value of library_name on the Hub, and a line that opens the folder, by format.
_USES = {
  "hf": (
    "transformers",
    'model = transformers.AutoModel.from_pretrained("FOLDER")',
  ),
  "hf_code": (
    "transformers",
    "model = transformers.AutoModel.from_pretrained(\n"
    '  "FOLDER", trust_remote_code=True  # runs FOLDER/modeling_diptych.py\n'
    ")",
  ),
  "open_clip": (
    "open_clip",
    "model, _, transform = open_clip.create_model_and_transforms("
    '"local-dir:FOLDER")\n'
    'tokenizer = open_clip.get_tokenizer("local-dir:FOLDER")',
  ),
  "peft": ("peft", 'model = peft.PeftModel.from_pretrained(base, "FOLDER")'),
  "onnx": (
    "onnx",
    'session = onnxruntime.InferenceSession("FOLDER/image.onnx")\n'
    '(zimg,) = session.run(None, {"images": images})',
  ),
  "stablehlo": (
    "jax",
    "content = bytearray(open('FOLDER/image.stablehlo', 'rb').read())\n"
    "zimg = jax.export.deserialize(content).call(images)",
  ),
}
# Fields of a source that say which of its pairs are read.
_SOURCE_FIELDS = ("path", "split", "subset", "keep", "layout", "repeat")
_MANIFEST = "manifest.json"


@dataclasses.dataclass(frozen=True)
class Card:
  """Model and run that a card describes.

  Attributes:
    model: as loaded.
    form: key of --format.
    license: identifier of the weights' licence, "" where none is stated.
    alpha: place between a run (1) and its start (0).
  """

  model: model_lib.Model
  form: str
  license: str = ""
  alpha: float = 1.0

  def write(self, folder: pathlib.Path, name: str) -> None:
    """Write README.md into a folder that will have this name."""
    whole_files.write(folder / NAME, self.text(name).encode())

  def text(self, name: str) -> str:
    """Return the card's text for a folder of this name."""
    library, use = _USES[self.form]
    matter: dict[str, Any] = {
      "library_name": library,
      "pipeline_tag": _PIPELINES[
        self.model.config.image is not None, self.model.config.text is not None
      ],
    }
    if self.license:
      matter = {"license": self.license} | matter
    config = self._config()
    sections = {
      "Model": self._model(config),
      "Use": ["```python", use.replace("FOLDER", name), "```"],
      "Inputs": self._inputs(config),
      "Data": _data(config),
      "Training": _training(config, self.model),
      "Licence": [f"Licence of the weights: {self.license or 'not stated'}."],
      "Figures": self._figures(config),
      "Limits": self._limits(config),
    }
    parts = ["---\n" + yaml.safe_dump(matter, sort_keys=False) + "---"]
    parts += [f"# {name}"]
    for title, lines in sections.items():
      parts += [f"## {title}", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"

  def _config(self) -> config_lib.Config | None:
    if self.model.family != model_lib.RUN:
      return None
    return workdir.read_config(self.model.folder)

  def _model(self, config: config_lib.Config | None) -> list[str]:
    model = self.model
    num = sum(x.size for x in jax.tree.leaves(model.params))
    origin = (
      f"a run of {model.step:,} steps"
      if config is not None
      else f"published weights, read as {model.family}"
    )
    lines = [f"- Origin: {origin}"]
    if self.alpha != 1:
      lines += [
        f"- Weights: {self.alpha:g} of the way from those that the run began"
        " with to the run's"
      ]
    lines += [
      f"- Parameters: {num:,}",
      f"- Embedding: {model.config.embed_dim} numbers",
    ]
    for label, tower in (
      ("Image", model.config.image),
      ("Text", model.config.text),
    ):
      lines.append(f"- {label} tower: {_tower(tower)}")
    if len(model.config.towers) == 2:
      lines.append(
        f"- Logits: {model.scale:.4g} × cosine similarity {model.bias:+.4g},"
        f" of a {model.loss} loss"
      )
    return lines

  def _inputs(self, config: config_lib.Config | None) -> list[str]:
    try:
      image = model_inputs.in_words(self.model.make_image_protocol())
    except (ValueError, OSError):
      image = _UNKNOWN
    try:
      made = self.model.make_tokenizer()
      text = (
        f"{made.vocab_size:,} entries, {made.rule.num_tokens} tokens,"
        f" cleaning {made.rule.clean!r}, digest"
        f" {model_inputs.tokenizer_facts(made)['digest']}"
      )
    except (ValueError, OSError):
      text = _UNKNOWN
    lines = []
    if self.model.config.image is not None:
      lines.append(f"- Images: {image}")
    if self.model.config.text is not None:
      lines.append(f"- Tokenizer: {text}")
      found = [] if config is None else _templates(config)
      none = _UNKNOWN if config is None else "none"
      shown = ", ".join(f"`{x}`" for x in found[:3]) or none
      more = f", and {len(found) - 3} more" if len(found) > 3 else ""
      lines.append(f"- Templates of captions in training: {shown}{more}")
    return lines

  def _figures(self, config: config_lib.Config | None) -> list[str]:
    missing = f"Figures: {_UNKNOWN}"
    if config is None:
      return [f"{missing} (published weights hold none)."]
    if self.alpha != 1:
      return [f"{missing} (those of the run are not of these weights)."]
    results = _results(self.model)
    if results is None:
      return [f"{missing} (the run has no {workdir.RESULTS})."]
    step = results.get(summary.INPUTS, {}).get("selected", {}).get("step")
    step = config.total_steps if step is None else step
    if step != self.model.step:
      return [
        f"{missing} ({workdir.RESULTS} is of step {step:,}, these weights are"
        f" of step {self.model.step:,})."
      ]
    return [*_table(results), *_groups(results)]

  def _limits(self, config: config_lib.Config | None) -> list[str]:
    model, lines = self.model, []
    image = model.config.image
    if image is not None and not isinstance(image, naflex.NaFlexConfig):
      lines.append(
        f"- Images are seen at {image.image_size} × {image.image_size} pixels."
      )
    if model.config.text is not None:
      lines.append(
        f"- Captions are cut after {model.config.text.num_tokens} tokens."
      )
    if config is not None:
      languages = ", ".join(config.data.languages)
      lines.append(f"- Languages of the captions: {languages or _UNKNOWN}.")
      results = _results(model) or {}
      if not any("groups" in x for x in results.values()):
        lines.append("- Figures by groups of people or places: none measured.")
    return [*lines, f"- Intended and excluded uses: {_UNKNOWN}."]


def _tower(config: Any) -> str:
  """Return a tower's kind and sizes as a phrase."""
  if config is None:
    return "none"
  fields = dataclasses.asdict(config)
  names = ("image_size", "patch_size", "width", "depth", "depths", "widths")
  names += ("num_heads", "mlp_width", "pool", "num_tokens", "vocab_size")
  sizes = [
    f"{name.replace('_', ' ')} {fields[name]}"
    for name in names
    if name in fields
  ]
  return f"{config.tower} ({', '.join(sizes)})"


def _data(config: config_lib.Config | None) -> list[str]:
  if config is None:
    return [f"Training data: {_UNKNOWN}."]
  lines = []
  for name, source in config.data.sources.items():
    said = [f"format {source.format}"]
    said += [
      f"{field} `{value}`"
      for field in _SOURCE_FIELDS
      if (value := getattr(source, field)) not in ("", 1)
    ]
    if source.weight:
      said.append(f"weight {source.weight:g}")
    lines.append(f"- `{name}`: {', '.join(said)}")
    lines += [f"  - Curation: {line}" for line in _curation(source)]
  return lines


def _curation(source: source_config.SourceConfig) -> Iterator[str]:
  """Yield the steps of --task=curate by which a source was chosen."""
  if not source.keep:
    yield _UNKNOWN
    return
  path = bucket_path.make(source.keep).parent / _MANIFEST
  try:
    manifest = json.loads(path.read_text("utf-8"))
    steps = [
      (step["op"], step["parameters"], step["in"], step["kept"])
      for step in manifest["steps"]
    ]
    num_kept, num_pairs = manifest["num_kept"], manifest["num_pairs"]
  except (OSError, ValueError, KeyError, TypeError):
    yield f"{_UNKNOWN} (no {_MANIFEST} beside `{source.keep}`)"
    return
  yield f"{num_kept:,} of {num_pairs:,} pairs kept"
  for rule, parameters, num_in, kept in steps:
    values = ", ".join(f"{k} {v!r}" for k, v in parameters.items())
    yield f"{rule}{f' ({values})' if values else ''}: {kept:,} of {num_in:,}"


def _training(
  config: config_lib.Config | None, model: model_lib.Model
) -> list[str]:
  if config is None:
    return [f"Recipe: {_UNKNOWN}."]
  starts = (config.init_from, config.init_image_from, config.init_text_from)
  starts = [f"`{x}`" for x in starts if x]
  optimizer = config.optimizer
  lines = [
    f"- Start: {', '.join(starts) or 'from scratch'}",
    f"- Steps: {model.step:,} of {config.total_steps:,}, batch"
    f" {config.batch_size:,}",
    f"- Loss: {config.loss.name}",
    f"- Optimizer: {optimizer.name}, learning rate"
    f" {optimizer.learning_rate:g} ({optimizer.schedule},"
    f" {optimizer.warmup_steps:,} steps of warmup), weight decay"
    f" {optimizer.weight_decay:g}",
    f"- Arithmetic: {config.model.dtype}",
  ]
  if config.model.lora.rank:
    lines.append(
      f"- Low-rank updates: rank {config.model.lora.rank}, alpha"
      f" {config.model.lora.alpha:g}"
    )
  facts = json.loads((model.folder / workdir.CONFIG).read_text("utf-8"))
  versions = facts.get("versions", {})
  shown = ", ".join(
    f"{k} {versions[k]}" for k in ("jax", "flax") if k in versions
  )
  return [
    *lines,
    f"- Started: {facts.get('started') or _UNKNOWN}",
    f"- Versions: {shown or _UNKNOWN}",
    f"- Commit: {facts.get('commit') or _UNKNOWN}",
  ]


def _templates(config: config_lib.Config) -> Sequence[str]:
  sources = config.data.sources.values()
  return [*dict.fromkeys(x for source in sources for x in source.templates)]


def _results(model: model_lib.Model) -> Mapping[str, Any] | None:
  try:
    return workdir.read_results(model.folder)
  except FileNotFoundError:
    return None


def _table(results: Mapping[str, Any]) -> Iterator[str]:
  """Yield a table of all figures with their 95 % intervals and chance."""
  yield "| set | of | figure | value | 95 % interval | chance |"
  yield "|---|---|---|---|---|---|"
  for row in summary.rows(results):
    name = f"{row.group} {row.label}".replace("_", " ").replace("|", "\\|")
    if row.not_run:
      yield f"| {name} | | not run: {row.not_run} | | | |"
    for figure in row.figures:
      bounds = " to ".join(
        set_tables.figure_number(figure.name, x) for x in figure.interval or ()
      )
      yield (
        f"| {name} | {row.num_candidates:,} | {summary.title(figure.name)} |"
        f" {summary.number(figure)} | {bounds or _UNKNOWN} |"
        f" {summary.number(figure, chance=True)} |"
      )


def _groups(results: Mapping[str, Any]) -> Iterator[str]:
  tables = group_figures.tables(results)
  if not tables:
    return
  yield from ("", "| set | attribute | group | n | top-1 | 95 % interval |")
  yield "|---|---|---|---|---|---|"
  for table in tables:
    for row in table["groups"]:
      low, high = row["interval"]
      group = str(row["name"]).replace("|", "\\|")
      yield (
        f"| {table['set']} | {table['attribute']} | {group} |"
        f" {row['n']:,} | {row['mean']:.3f} | {low:.3f} to {high:.3f} |"
      )
