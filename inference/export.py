"""A model written as a folder that other libraries load, with its card."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import safetensors.numpy

from inference import model as model_lib
from inference import open_clip_folder, peft_folder
from inference.exporting import model_card, programs
from inference.interpolating import interpolation
from input_pipeline.images import image_protocols, naflex
from input_pipeline.tokenizers import hf_files
from models import dual_encoder, lora
from models.pretrained import (
  comparing,
  families,
  loading,
  mapping,
  opening,
  pixels,
)
from models.pretrained.families import hf_code, open_clip
from models.pretrained.fused import open_clip_coca
from models.pretrained.parts import timm_trunk
from runtime import checks, sections
from runtime.storage import bucket_path, unfinished, whole_files

# File of weights that transformers and open_clip look for.
_WEIGHTS = {
  "hf": "model.safetensors",
  "hf_code": "model.safetensors",
  "open_clip": "open_clip_model.safetensors",
}
# PyTorch code that transformers runs.
_CODE = (
  pathlib.Path(__file__).parent
  / f"exporting/transformers_code/{hf_code.CODE}.py"
)
_MOVED = (
  "\ntimm has no name for the image tower, and reads its description from"
  f" {timm_trunk.FOLDER}/config.json: where the folder is moved, set"
  " vision_cfg.timm_model_name in open_clip_config.json to"
  f" local-dir:FOLDER/{timm_trunk.FOLDER}"
)
_NO_CAPTIONER = (
  "\nThe captioner is left out: --format=open_clip without --interpolate has it"
)
# Rules of cleaning that change most texts.
_OPEN_CLIPS = ("open_clip_lower", "open_clip_canonicalize")
# Families whose reasons a message has.
_NUM_REASONS = 2
# Fields that a file beside the model's description holds.
_PIXELS = "image_mean|image_std"


@dataclasses.dataclass(frozen=True)
class Written:
  """A model's description and tensors in the form of a family."""

  family: str
  config: dict[str, Any]
  tensors: dict[str, Any]


def run(
  path: str | pathlib.Path,
  form: str,
  out: str,
  *,
  alphas: Sequence[float] = (),
  license: str = "",
  as_json: bool = False,
) -> int:
  """Write a folder that another library loads, whole or not at all.

  Args:
    path: run or published model, as `model.load` takes it.
    form: "hf" (transformers), "hf_code" (transformers, with the towers' code),
      "open_clip", "peft" for the low-rank updates of a run alone, or one of
      programs.FORMS.
    out: folder to write; it must not exist, or be empty.
    alphas: the one number of --interpolate, for a model between a run and its
      start; () for the model at `path`.
    license: identifier of the weights' licence for the model card.
    as_json: print a summary as JSON instead of a line.

  Raises:
    ValueError: a flag is wrong, or no family of that form can express the
      model; the message names the fields that it cannot express.
  """
  checks.one_of(
    "--format", form, (*_WEIGHTS, peft_folder.FORM, *programs.FORMS)
  )
  if not out:
    raise ValueError("--out is missing: --out=FOLDER")
  folder = bucket_path.make(out)
  unfinished.check_free(folder)
  interpolation.check(alphas)
  if len(alphas) > 1 or (alphas and form == peft_folder.FORM):
    raise ValueError(
      "--interpolate must be one number in an export, and none with"
      f" --format={peft_folder.FORM}; got {[*alphas]}"
    )
  if form == peft_folder.FORM:
    facts = peft_folder.write(path, folder, license)
    print(
      json.dumps(facts, indent=2, ensure_ascii=False)
      if as_json
      else f"{facts['tensors']} tensors of {facts['modules']} modules in"
      f" {folder}; their base is {facts['base']}"
    )
    return 0
  model, coca = model_lib.load_coca(path)
  if alphas:
    model = interpolation.line(bucket_path.make(path), model).at(alphas[0])
  card = model_card.Card(model, form, license, *alphas)
  if form in programs.FORMS:
    return _write_programs(card, folder, as_json=as_json)
  # Weights between two runs are those of the towers alone.
  is_whole = coca is not None and form == "open_clip" and not alphas
  if is_whole:
    assert coca is not None
    written = write_coca(coca)
  else:
    written = write(model.config, model.params, form, prefer=model.family)
  with unfinished.whole(folder) as temporary:
    with whole_files.new_file(temporary / _WEIGHTS[form]) as file:
      safetensors.numpy.save_file(
        written.tensors,
        file,
        metadata={"format": "pt"},  # transformers refuses a file without it
      )
    note = _write_tokenizer(model, temporary)
    others = open_clip_folder.files if form == "open_clip" else _hf_files
    for name, content in others(written.config, model, folder).items():
      _write_json(temporary / name, content)
    if form == "hf_code":
      whole_files.write(temporary / _CODE.name, _CODE.read_bytes())
    card.write(temporary, folder.name)
    names = [*whole_files.sizes(temporary)]
  facts = {
    "model": str(path),
    "family": written.family,
    "out": str(folder),
    "files": names,
    "tensors": len(written.tensors),
    "parameters": sum(x.size for x in written.tensors.values()),
    "note": note,
    "cleaning": _cleaning_there(model, form),
    "described": timm_trunk.KEY in written.config,
    "captioner": "left out" if coca and not is_whole else "",
  }
  print(
    json.dumps(facts, indent=2, ensure_ascii=False)
    if as_json
    else f"{facts['tensors']} tensors of {written.family} in {folder}:"
    f" {', '.join(names)}"
    + (f"\nNo tokenizer files: {note}" if note else "")
    + (f"\n{facts['cleaning']}" if facts["cleaning"] else "")
    + (_MOVED if facts["described"] else "")
    + (_NO_CAPTIONER if facts["captioner"] else "")
  )
  return 0


def write(
  config: dual_encoder.ModelConfig, params: Any, form: str, prefer: str = ""
) -> Written:
  """Return a model's description and tensors as a family of `form` has them.

  Args:
    config: the model's.
    params: nested dict of arrays; low-rank updates are merged.
    form: key of families.EXPORTS.
    prefer: name of the family to try first.

  Raises:
    ValueError: no family can express the model.
  """
  config, leaves = _as_learned(config, params)
  if len(config.towers) == 1:  # it has no logits
    leaves = {path: x for path, x in leaves.items() if "/" in path}
  reasons = []
  for family in sorted(
    families.EXPORTS[form], key=lambda x: families.name(x) != prefer
  ):
    name = families.name(family)
    try:
      written = family.write_config(config)
      tensors = mapping.save(family.links(config), leaves)
      files = opening.PublishedFiles(pathlib.Path(name), written, tensors)
      different = comparing.differences(
        config, family.read_model(files), _PIXELS
      )
    except ValueError as error:
      first, *rest = (line.strip() for line in str(error).splitlines())
      reasons.append(f"{name}: {first} {'; '.join(rest)}".rstrip())
      continue
    if not different:
      return Written(name, written, tensors)
    reasons.append(
      f"{name}: "
      + "; ".join(
        f"{field} is {ours!r}, it would be {theirs!r}"
        for field, (ours, theirs) in different.items()
      )
    )
  # A family whose format has this kind of model, but not one of its values, is
  # nearest; then the fewer words, the fewer fields are in the way.
  nearest = sorted(
    reasons,
    key=lambda x: ("in this format" in x, "must be None" in x, len(x)),
  )[:_NUM_REASONS]
  others = len(reasons) - len(nearest)
  raise ValueError(
    f"--format={form} has no family with this model:"
    + "".join(f"\n  {reason}" for reason in nearest)
    + (f"; nor have {others} other families" if others else "")
  )


def write_coca(coca: open_clip_coca.Coca) -> Written:
  """Return description and tensors of a model with its captioner.

  Raises:
    ValueError: open_clip's CoCa cannot have a field.
  """
  model, leaves = _as_learned(coca.model, coca.params)
  name = "open_clip's CoCa"
  try:
    config, tensors = open_clip_coca.write(
      open_clip_coca.Coca(
        model,
        coca.captioner,
        mapping.nested(leaves),
        jax.device_get(coca.captioner_params),
      )
    )
    files = opening.PublishedFiles(pathlib.Path(name), config, tensors)
    again = loading.read_config(open_clip, files)
    captioner = open_clip_coca.read_config(files, again)
  except ValueError as error:
    raise ValueError(
      f"--format=open_clip has no CoCa with this model: {error}"
    ) from error
  different = {
    **comparing.differences(model, again, _PIXELS),
    **{
      f"captioning.captioner.{x.name}": (
        getattr(coca.captioner, x.name),
        getattr(captioner, x.name),
      )
      for x in dataclasses.fields(captioner)
      if getattr(coca.captioner, x.name) != getattr(captioner, x.name)
    },
  }
  if different:
    raise ValueError(
      "--format=open_clip has no CoCa with this model: "
      + "; ".join(
        f"{field} is {ours!r}, it would be {theirs!r}"
        for field, (ours, theirs) in different.items()
      )
    )
  return Written(name, config, tensors)


def _as_learned(
  config: dual_encoder.ModelConfig, params: Any
) -> tuple[dual_encoder.ModelConfig, dict[str, Any]]:
  """Return a model with the learned scale and bias, and arrays by path.

  Low-rank updates are merged.

  Raises:
    ValueError: the model has a head of classes.
  """
  _check_no_head(config)
  params = jax.device_get(params)
  if config.lora.rank:
    params = lora.merged(params, config.lora)
    config = dataclasses.replace(config, lora=lora.LoraConfig())
  leaves = sections.flat(params, "/")
  config = dataclasses.replace(
    config,
    scale_init=float(np.exp(leaves["log_scale"])),
    bias_init=float(leaves["bias"]),
  )
  return config, leaves


def _write_programs(
  card: model_card.Card, folder: pathlib.Path, *, as_json: bool
) -> int:
  """Write a folder of programs; print it."""
  model = card.model
  _check_no_head(model.config)
  made = programs.Programs(model, card.form)
  with unfinished.whole(folder) as temporary:
    facts = made.write(temporary)
    note = _write_tokenizer(model, temporary)
    card.write(temporary, folder.name)
    names = [*whole_files.sizes(temporary)]
  differences = {
    name: tower["largest_difference"] for name, tower in facts["towers"].items()
  }
  facts |= {"out": str(folder), "files": names, "note": note}
  print(
    json.dumps(facts, indent=2, ensure_ascii=False)
    if as_json
    else f"{card.form} in {folder}: {', '.join(names)}\nLargest difference from"
    " the model: "
    + ", ".join(f"{name} {x:.2g}" for name, x in differences.items())
    + (f"\nNo tokenizer files: {note}" if note else "")
  )
  return 0


def _check_no_head(config: dual_encoder.ModelConfig) -> None:
  if config.head.classes:
    raise ValueError(
      "a model with a head of classes (model.head.classes) has no form in other"
      f" libraries; got {len(config.head.classes)} classes"
    )


def _hf_files(
  config: dict[str, Any], model: model_lib.Model, folder: pathlib.Path
) -> dict[str, Any]:
  del folder  # transformers needs no path, so the folder may be moved
  files = {}
  if model.config.image is not None:
    protocol = model.make_image_protocol()
    files[pixels.PREPROCESSOR] = (
      protocol.to_hf()
      if isinstance(protocol, naflex.Protocol)
      else image_protocols.to_hf(protocol)
    )
  # Last: who finds it finds the rest.
  return files | {"config.json": config}


def _write_tokenizer(model: model_lib.Model, folder: pathlib.Path) -> str:
  """Write the tokenizer's files; return "", or why they cannot be written."""
  if model.config.text is None:
    return ""
  if model.family != model_lib.RUN:
    files = [model.folder / name for name in hf_files.NAMES]
    files = [file for file in files if file.exists()]
    for file in files:
      whole_files.write(folder / file.name, file.read_bytes())
    return "" if files else f"there are none in {model.folder}"
  try:
    hf_files.write(model.make_tokenizer(), folder)
  except ValueError as error:
    return str(error)
  return ""


def _cleaning_there(model: model_lib.Model, form: str) -> str:
  """Return "", or that transformers does not clean texts as open_clip does.

  A run's rule that transformers lacks is refused by hf_files.
  """
  if (
    not form.startswith("hf")
    or model.family == model_lib.RUN
    or model.config.text is None
  ):
    return ""
  try:
    clean = model.make_tokenizer().rule.clean
  except (ValueError, OSError):
    return ""  # it cannot read texts here either
  if clean not in _OPEN_CLIPS:
    return ""
  return (
    f"The model's texts are cleaned by open_clip's rule {clean!r}, which"
    " transformers does not follow: clean them before, or their ids differ"
  )


def _write_json(path: pathlib.Path, content: Any) -> None:
  path.parent.mkdir(exist_ok=True)
  text = json.dumps(content, indent=2, ensure_ascii=False)
  whole_files.write(path, text.encode() + b"\n")
