"""Downloads a published model by its id, where the network allows."""

import pathlib
from collections.abc import Sequence

_PREFIX = "hf://"
# Descriptions and vocabularies; weights are chosen by name. Never a pickle.
_SMALL = ("*.json", "*.txt", "*.model")
# An index does not help without the files that it names.
_SHARDS = "model-*-of-*.safetensors"


def is_id(path: str | pathlib.Path) -> bool:
  """Return whether a path names a model on the hub."""
  return str(path).startswith(_PREFIX)


def download(path: str, weights: Sequence[str]) -> pathlib.Path:
  """Return a local folder of "hf://owner/name[@revision]".

  Args:
    path: the id.
    weights: files of weights; the first that the model has is downloaded.

  Raises:
    ValueError: it is no id, the package huggingface_hub is not installed, or
      the model can neither be reached nor is in the cache.
  """
  name, _, revision = path.removeprefix(_PREFIX).partition("@")
  if len(name.split("/")) != 2 or not all(name.split("/")):
    raise ValueError(f"{path!r} is no id: expected hf://owner/name[@revision]")
  instead = f"give the path of a folder that holds {name} instead"
  try:
    import huggingface_hub  # optional
  except ModuleNotFoundError as error:
    raise ValueError(
      f"{path} needs the package huggingface_hub: pip install huggingface_hub,"
      f" or {instead}"
    ) from error
  try:
    return pathlib.Path(
      _snapshot(huggingface_hub, name, revision or None, weights)
    )
  except Exception as error:  # of the hub, of its HTTP client, of sockets
    reason = (str(error).strip().splitlines() or [""])[0][:200]
    raise ValueError(
      f"{path} cannot be downloaded ({type(error).__name__}: {reason});"
      f" {instead}"
    ) from error


def _snapshot(huggingface_hub, name, revision, weights) -> str:
  try:
    files = huggingface_hub.HfApi().list_repo_files(name, revision=revision)
  except Exception:
    # Without a network, what an earlier download left.
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
