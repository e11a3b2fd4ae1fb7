"""Open a published model: its description, and its tensors by name."""

import dataclasses
import json
import pathlib
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import safetensors

from models.pretrained import hub, mapping

# Files of tensors, in the order looked for, and the files that describe them.
WEIGHTS = (
  ("model.safetensors", "config.json"),
  ("model.safetensors.index.json", "config.json"),
  ("open_clip_model.safetensors", "open_clip_config.json"),
)
CONFIGS = ("config.json", "open_clip_config.json")
_INDEX = ".index.json"
# PyTorch's and Python's own files: reading one can run any code in it.
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_BROKEN = (OSError, ValueError, EOFError, zipfile.BadZipFile)


@dataclasses.dataclass(frozen=True)
class PublishedFiles:
  """A published model's own description and its tensors.

  Attributes:
    path: file or folder that was named; for an id of the hub, its folder in the
      cache.
    config: content of config.json (transformers) or open_clip_config.json
      (open_clip); empty where there is none.
    tensors: by the names in the file; may be read when asked for.
  """

  path: pathlib.Path
  config: Mapping[str, Any]
  tensors: mapping.Tensors

  @property
  def folder(self) -> pathlib.Path:
    """Folder of the weights and of the files beside them."""
    return self.path if self.path.is_dir() else self.path.parent


def open_model(path: str | pathlib.Path) -> PublishedFiles:
  """Open a published model; its tensors are read when asked for.

  Args:
    path: a folder, a file of weights, or "hf://owner/name[@revision]".

  Raises:
    FileNotFoundError: nothing is there, or a folder has no weights.
    ValueError: the file is of a kind that is not read, or is broken.
  """
  if hub.is_id(path):
    path = hub.download(str(path), tuple(name for name, _ in WEIGHTS))
  path = pathlib.Path(path)
  if not path.exists():
    raise FileNotFoundError(
      f"{path} does not exist; expected a folder with {_wanted()}, or such a"
      " file"
    )
  weights = _weights_in(path) if path.is_dir() else path
  _check_kind(weights)
  is_npz = weights.suffix == ".npz"
  tensors = NpzTensors(weights) if is_npz else _safe(weights)
  return PublishedFiles(path, _config(weights), tensors)


class Tensors(Mapping[str, np.ndarray]):
  """Tensors of safetensors files, each read when it is asked for.

  Floating-point numbers of any width become float32.
  """

  def __init__(self, files: Mapping[str, pathlib.Path]):
    """Open files; `files` has the file of each tensor by its name."""
    self._files = dict(files)
    self._open = {path: _open(path) for path in set(self._files.values())}

  def __getitem__(self, name: str) -> np.ndarray:
    file = self._open[self._files[name]]
    try:
      return _widened(file.get_tensor(name))
    except safetensors.SafetensorError as error:
      raise ValueError(f"{self._files[name]} is broken: {error}") from error

  def check(self) -> None:
    """Raise ValueError where a file lacks a tensor that its index names."""
    for path, file in self._open.items():
      held = set(file.keys())
      for name, where in self._files.items():
        if where == path and name not in held:
          raise ValueError(f"{path} lacks {name}, which its index says it has")

  def __contains__(self, name: object) -> bool:
    return name in self._files  # Mapping's own would read the tensor

  def __iter__(self) -> Iterator[str]:
    return iter(self._files)

  def __len__(self) -> int:
    return len(self._files)


class NpzTensors(Mapping[str, np.ndarray]):
  """Arrays of an npz file, each read when it is asked for, as `Tensors`."""

  def __init__(self, path: pathlib.Path):
    """Open a file that holds no Python objects."""
    self._path = path
    # NumPy would leave the file open.
    if not zipfile.is_zipfile(path):
      raise ValueError(f"{path} is no intact npz file; get it again")
    self._file = np.load(path, allow_pickle=False)

  def __getitem__(self, name: str) -> np.ndarray:
    try:
      array = self._file[name]
    except _BROKEN as error:
      raise ValueError(f"{name} in {self._path} is broken: {error}") from error
    if array.dtype == np.dtype("V2"):
      # NumPy has no name for bfloat16 and stores its bits.
      array = array.view(ml_dtypes.bfloat16)
    return _widened(array)

  def __contains__(self, name: object) -> bool:
    return name in self._file.files

  def __iter__(self) -> Iterator[str]:
    return iter(self._file.files)

  def __len__(self) -> int:
    return len(self._file.files)


def _weights_in(folder: pathlib.Path) -> pathlib.Path:
  for name, _ in WEIGHTS:
    if (folder / name).exists():
      return folder / name
  names = sorted(path.name for path in folder.iterdir())
  others = [x for x in names if x.endswith((".safetensors", ".npz"))]
  if len(others) == 1:
    return folder / others[0]
  pickles = [name for name in names if name.endswith(_PICKLES)]
  if pickles and not others:
    _check_kind(folder / pickles[0])
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


def _safe(weights: pathlib.Path) -> Tensors:
  if not weights.name.endswith(_INDEX):
    return Tensors(dict.fromkeys(_open(weights).keys(), weights))
  files = _json(weights).get("weight_map")
  if not isinstance(files, dict):
    raise ValueError(f"{weights} has no weight_map: expected tensor -> file")
  for name in sorted(set(files.values())):
    # Only files beside the index: whoever wrote it may not point elsewhere.
    if pathlib.PurePath(str(name)).name != name:
      raise ValueError(f"{weights} names {name!r}; expected a file beside it")
    if not (weights.parent / name).exists():
      raise FileNotFoundError(f"{weights} names {name}, which is not there")
  tensors = Tensors({x: weights.parent / name for x, name in files.items()})
  tensors.check()
  return tensors


def _open(path: pathlib.Path) -> Any:
  try:
    return safetensors.safe_open(path, framework="np")
  except safetensors.SafetensorError as error:
    raise ValueError(
      f"{path} is no intact safetensors file ({error}); get it again"
    ) from error


def _config(weights: pathlib.Path) -> Mapping[str, Any]:
  """Return the description beside the weights, empty where there is none."""
  first = [config for name, config in WEIGHTS if name == weights.name]
  for name in (*first, *CONFIGS):
    if (weights.parent / name).exists():
      return _json(weights.parent / name)
  return {}


def _json(path: pathlib.Path) -> dict[str, Any]:
  try:
    content = json.loads(path.read_text(encoding="utf-8"))
  except ValueError as error:  # also of bytes that are no UTF-8
    raise ValueError(f"{path} is no intact JSON: {error}") from error
  if not isinstance(content, dict):
    raise ValueError(f"{path} must hold a JSON object; got {content!r:.80}")
  return content


def _widened(array: np.ndarray) -> np.ndarray:
  if array.dtype.kind == "f" or array.dtype == ml_dtypes.bfloat16:
    return array.astype(np.float32, copy=False)
  return array
