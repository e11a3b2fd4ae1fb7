"""Download of a published model by its id on the hub."""

import pathlib
from collections.abc import Sequence

# Beginning of an id.
PREFIX = "hf://"
# Patterns of descriptions and vocabularies. Weights are chosen by name; a
# pickle is never downloaded.
_SMALL = ("*.json", "*.txt", "*.model")
# Files that an index of weights names.
_SHARDS = "model-*-of-*.safetensors"


def is_id(path: str | pathlib.Path) -> bool:
  """Return whether a path names a model on the hub."""
  return str(path).startswith(PREFIX)


def download(path: str, weights: Sequence[str]) -> pathlib.Path:
  """Return a local folder of "hf://owner/name[@revision]".

  Args:
    path: id of the model.
    weights: names of files of weights; the first that exists is downloaded.

  Raises:
    ValueError: the path is no id, the package huggingface_hub is not installed,
      or the model can neither be downloaded nor is in the cache.
  """
  name, _, revision = path.removeprefix(PREFIX).partition("@")
  if len(name.split("/")) != 2 or not all(name.split("/")):
    raise ValueError(f"{path!r} is no id: expected hf://owner/name[@revision]")
  instead = f"give the path of a folder that holds {name} instead"
  try:
    import huggingface_hub  # optional
  except ModuleNotFoundError as error:
    raise ValueError(
      f"{path} needs the package huggingface_hub: pip install -r"
      f" requirements.txt, or {instead}"
    ) from error
  try:
    return pathlib.Path(
      _snapshot(huggingface_hub, name, revision or None, weights)
    )
  except Exception as error:  # the hub's, its HTTP client's or a socket's
    reason = (str(error).strip().splitlines() or [""])[0][:200]
    raise ValueError(
      f"{path} cannot be downloaded ({type(error).__name__}: {reason});"
      f" {instead}"
    ) from error


def _snapshot(huggingface_hub, name, revision, weights) -> str:
  try:
    files = huggingface_hub.HfApi().list_repo_files(name, revision=revision)
  except Exception:
    # Without a network, an earlier download is used.
    return huggingface_hub.snapshot_download(
      name, revision=revision, local_files_only=True
    )
  chosen = next((file for file in weights if file in files), None)
  patterns = [*_SMALL, *([chosen] if chosen else ["*.safetensors"])]
  if chosen and chosen.endswith(".index.json"):
    patterns.append(_SHARDS)
  return huggingface_hub.snapshot_download(
    name, revision=revision, allow_patterns=patterns
  )
