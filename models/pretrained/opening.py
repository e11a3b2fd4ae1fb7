"""Open a published model: its description, and its tensors by name."""

import contextlib
import dataclasses
import json
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from models.pretrained import (
  adapters,
  hub,
  mapping,
  tensor_files,
  tensor_names,
)
from runtime import notices

# Files of tensors, in the order looked for, and the files that describe them.
WEIGHTS = (
  ("model.safetensors", "config.json"),
  ("model.safetensors.index.json", "config.json"),
  ("open_clip_model.safetensors", "open_clip_config.json"),
)
CONFIGS = ("config.json", "open_clip_config.json")
_INDEX = ".index.json"
_INDEXED = f"model.safetensors{_INDEX}"
# PyTorch's and Python's own files: reading one can run any code in it.
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
# Errors of reading a description or tensors of another form than expected.
_UNFIT = (
  ValueError,
  ArithmeticError,
  AssertionError,
  AttributeError,
  LookupError,
  MemoryError,
  RecursionError,
  TypeError,
)
_LONGEST = 600  # characters of a message from elsewhere


@dataclasses.dataclass(frozen=True)
class PublishedFiles:
  """A published model's own description and its tensors.

  Attributes:
    path: file or folder that was named; for an id of the hub, its folder in the
      cache.
    config: content of config.json (transformers) or open_clip_config.json
      (open_clip); empty where there is none.
    tensors: by the names in the file, without prefixes of wrappers; may be read
      when asked for.
    options: fields that the user gave behind the path, for a file without a
      description.
    adapter: folder of peft whose updates the tensors have; `path` is that of
      its base model.
  """

  path: pathlib.Path
  config: Mapping[str, Any]
  tensors: mapping.Tensors
  options: Mapping[str, str] = dataclasses.field(default_factory=dict)
  adapter: pathlib.Path | None = None

  @property
  def folder(self) -> pathlib.Path:
    """Folder of the weights and of the files beside them."""
    return self.path if self.path.is_dir() else self.path.parent


def open_model(path: str | pathlib.Path) -> PublishedFiles:
  """Open a published model; its tensors are read when asked for.

  Args:
    path: a folder, a file of weights, or "hf://owner/name[@revision]"; behind
      it "#activation=quick_gelu,image_heads=12" for weights without a config. A
      folder of peft is its base model with the adapter merged;
      "#base=MODEL" says where the base is.

  Raises:
    FileNotFoundError: nothing is there, or a folder has no weights.
    ValueError: the file is of a kind that is not read, or is broken; or the
      model is quantised, or an adapter that is not low-rank updates alone.
  """
  path, options = _options(str(path))
  if hub.is_id(path):
    path = hub.download(path, tuple(name for name, _ in WEIGHTS))
  path = pathlib.Path(path)
  if adapters.is_adapter(path):
    return _adapted(path, options)
  if not path.exists():
    raise FileNotFoundError(
      f"{path} does not exist; expected a folder with {_wanted()}, or such a"
      " file"
    )
  weights = _weights_in(path) if path.is_dir() else path
  _check_kind(weights)
  is_npz = weights.suffix == ".npz"
  tensors = tensor_files.NpzTensors(weights) if is_npz else _safe(weights)
  with reading(weights):
    tensor_names.check_plain(tensors)
    unwrapped = tensor_names.unwrapped(tensors)
  config = _config(weights)
  if options and config:
    raise ValueError(
      f"{path} is described by its config; expected no fields behind its path;"
      f" got #{','.join(options)}"
    )
  return PublishedFiles(path, config, unwrapped, options)


def _adapted(path: pathlib.Path, options: Mapping[str, str]) -> PublishedFiles:
  """Open the base model of a folder of peft, with its adapter merged."""
  config = _object(path / adapters.CONFIG)
  adapters.check(path, config)
  weights = path / adapters.WEIGHTS
  if not weights.is_file():
    others = [x.name for x in path.iterdir() if x.suffix in _PICKLES]
    for name in others:
      _check_kind(path / name)
    raise FileNotFoundError(
      f"{path} has no {adapters.WEIGHTS}, of which {adapters.CONFIG} speaks"
    )
  options = dict(options)
  base = options.pop("base", "") or config.get("base_model_name_or_path")
  if not base or not isinstance(base, str):
    raise ValueError(
      f"{path}/{adapters.CONFIG} names no base model; say which it is:"
      f" {path}#base=FOLDER"
    )
  if not pathlib.Path(base).exists() and not hub.is_id(base):
    base = hub.PREFIX + base
  if adapters.is_adapter(pathlib.Path(base)):
    raise ValueError(
      f"{path}: the base model must be no adapter itself; got {base}"
    )
  fields = ",".join(f"{name}={value}" for name, value in options.items())
  files = open_model(f"{base}#{fields}" if fields else base)
  tensors = _safe(weights)
  with reading(weights):
    updates = adapters.updates(
      config, tuple(tensors), files.tensors, tensor_names.WRAPPERS
    )
  adapted = adapters.Adapted(files.tensors, tensors, updates)
  return dataclasses.replace(files, tensors=adapted, adapter=path)


@contextlib.contextmanager
def reading(path: pathlib.Path) -> Iterator[None]:
  """Turn an error of content that is of another form into one line.

  Raises:
    ValueError: the block raised an error; the message begins with `path`.
  """
  try:
    yield
  except mapping.MappingError as error:
    raise mapping.MappingError(error.problems, f"{path}: ") from error
  except _UNFIT as error:
    reason = " ".join(str(error).split())[:_LONGEST]
    if not isinstance(error, ValueError):
      reason = (
        "its description or tensors are of another form than expected"
        f" ({type(error).__name__}: {reason})"
      )
    if not reason.startswith(str(path)):
      reason = f"{path}: {reason}"
    raise ValueError(reason) from error


def choose(
  files: PublishedFiles, defaults: Mapping[str, str | int], *, say: bool = True
) -> dict[str, Any]:
  """Return fields that no tensor shows: the user's, or else the defaults.

  Args:
    files: a model without a description.
    defaults: values by name.
    say: whether the defaults are assumptions, to be said on stderr.

  Raises:
    ValueError: the user gave another field, or one of another type.
  """
  if unknown := [name for name in files.options if name not in defaults]:
    raise ValueError(
      f"#{unknown[0]} must be one of the fields that the weights do not show:"
      f" {', '.join(defaults) or 'there is none'}"
    )
  values: dict[str, Any] = {}
  for name, default in defaults.items():
    value = files.options.get(name, default)
    try:
      values[name] = type(default)(value)
    except ValueError as error:
      raise ValueError(f"#{name} must be a number; got {value!r}") from error
  assumed = [f"{x}={values[x]}" for x in defaults if x not in files.options]
  if say and assumed:
    notices.say_once(
      f"{files.path} has no config: assumed {', '.join(assumed)}; to say"
      f" otherwise, write the fields behind its path:"
      f" {files.path}#{','.join(assumed)}"
    )
  return values


def read_json(path: pathlib.Path) -> Any:
  """Return the content of a JSON file.

  Raises:
    ValueError: it is broken; the message names it.
  """
  try:
    return json.loads(path.read_text(encoding="utf-8-sig"))
  except (ValueError, RecursionError) as error:  # also of bytes without UTF-8
    raise ValueError(
      f"{path} is no intact JSON ({error}){tensor_files.told(path)}"
    ) from error


def _options(path: str) -> tuple[str, dict[str, str]]:
  """Return a path without the fields behind it, and these."""
  before, mark, text = path.rpartition("#")
  if not mark or "=" not in text or pathlib.Path(path).exists():
    return path, {}
  parts = [part.partition("=") for part in text.split(",")]
  return before, {name.strip(): value.strip() for name, _, value in parts}


def _weights_in(folder: pathlib.Path) -> pathlib.Path:
  for name, _ in WEIGHTS:
    if (folder / name).exists():
      return folder / name
  names = sorted(path.name for path in folder.iterdir())
  indexes = [x for x in names if x.endswith(f".safetensors{_INDEX}")]
  others = [x for x in names if x.endswith((".safetensors", ".npz"))]
  if len(indexes) == 1:
    return folder / indexes[0]
  if len(others) == 1:
    return folder / others[0]
  pickles = [name for name in names if name.endswith(_PICKLES)]
  if pickles and not others:
    _check_kind(folder / pickles[0])
  shards = [x for x in others if re.search(r"-\d+-of-\d+\.", x)]
  if shards and not indexes:
    raise FileNotFoundError(
      f"{folder} has {len(shards)} shards of weights, such as {shards[0]}, but"
      f" no {_INDEXED}, which names the shard of each tensor; get it, too"
    )
  listed = ", ".join(names[:10]) + (" ..." if len(names) > 10 else "")
  raise FileNotFoundError(
    f"{folder} has no weights that are read: expected {_wanted()}; found"
    f" {listed or 'nothing'}"
    + (". Name one of its files" if len(others) > 1 else "")
  )


def _wanted() -> str:
  names = ", ".join(name for name, _ in WEIGHTS)
  return f"{names}, or a single .safetensors or .npz file"


def _check_kind(path: pathlib.Path) -> None:
  if path.suffix in _PICKLES:
    raise ValueError(
      f"{path} is a pickle ({path.suffix}), which can run any code when it is"
      " read, so it is not: give the model's safetensors (most have a"
      " model.safetensors, in another revision if not in this one), or, where"
      " PyTorch is installed, read it with torch.load(..., weights_only=True)"
      " and write it with safetensors.torch.save_file"
    )
  if path.suffix not in (".safetensors", ".npz") and not path.name.endswith(
    _INDEX
  ):
    raise ValueError(
      f"{path} is no file of weights: expected {_wanted()}; got"
      f" {path.suffix or 'no suffix'}"
    )


def _safe(weights: pathlib.Path) -> tensor_files.Tensors:
  if not weights.name.endswith(_INDEX):
    names = tensor_files.names_in(weights)
    return tensor_files.Tensors(dict.fromkeys(names, weights))
  files = _object(weights).get("weight_map")
  if not isinstance(files, dict) or not files:
    raise ValueError(f"{weights} has no weight_map: expected tensor -> file")
  for tensor, name in files.items():
    # Only files beside the index: whoever wrote it may not point elsewhere.
    if not isinstance(name, str) or pathlib.PurePath(name).name != name:
      raise ValueError(
        f"{weights} names {name!r} for {tensor}; expected a file beside it"
      )
  _check_kinds_of_shards(weights, {*files.values()})
  return tensor_files.Tensors(
    {x: weights.parent / name for x, name in files.items()}
  )


def _check_kinds_of_shards(index: pathlib.Path, names: set[str]) -> None:
  missing = sorted(x for x in names if not (index.parent / x).exists())
  if missing:
    more = f", nor are {len(missing) - 1} more" if missing[1:] else ""
    raise FileNotFoundError(
      f"{index} names {missing[0]}, which is not there{more}"
    )
  for name in sorted(names):
    _check_kind(index.parent / name)


def _config(weights: pathlib.Path) -> Mapping[str, Any]:
  """Return the description beside the weights, empty where there is none."""
  first = [config for name, config in WEIGHTS if name == weights.name]
  for name in (*first, *CONFIGS):
    path = weights.parent / name
    if path.exists():
      config = _object(path)
      _check_unquantised(path, config)
      return config
  return {}


def _check_unquantised(path: pathlib.Path, config: Mapping[str, Any]) -> None:
  towers = [x for x in config.values() if isinstance(x, dict)]
  for section in (config, *towers):
    for field in ("quantization_config", "compression_config"):
      scheme = section.get(field)
      if scheme:
        method = scheme.get("quant_method") if isinstance(scheme, dict) else ""
        raise ValueError(
          f"{path}: {field} says that the weights are quantised"
          f" ({method or scheme!r:.80}), which are not read: give the model's"
          " float32, bfloat16 or float16 weights, or dequantise it with the"
          " library that wrote it and save it again"
        )


def _object(path: pathlib.Path) -> dict[str, Any]:
  content = read_json(path)
  if not isinstance(content, dict):
    raise ValueError(f"{path} must hold a JSON object; got {content!r:.80}")
  return content
