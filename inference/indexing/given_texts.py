"""Embeddings of texts that a flag names, by the model of an index."""

import json
import pathlib
from collections.abc import Callable

import numpy as np

from inference import python_model
from inference.embeddings import embed, folders

_FLAT, _FACTS = "texts.npy", "embed.json"


def read(
  path: str,
  flag: str,
  digest: str,
  model: Callable[[], python_model.Model],
) -> np.ndarray:
  """Return embeddings of texts, of length 1: float32 [T, E].

  Args:
    path: file with a text on each line, or a folder of --task=embed with
      embeddings of texts.
    flag: name of the flag, for messages.
    digest: digest of the model that the embeddings must be of.
    model: returns that model; called for a file alone.

  Raises:
    ValueError: it is neither, or the folder is of another model.
  """
  folder = pathlib.Path(path).expanduser()
  if not folder.is_dir():
    return model().embed_texts(embed.read_texts(folder, flag))
  files = [folder / _FLAT]
  if not files[0].is_file():
    files = sorted(folder.glob(f"{folders.TEXTS}/{folders.TEXTS}_*.npy"))
  # Written last: a folder with it is whole.
  if not (files and (folder / _FACTS).is_file()):
    raise ValueError(
      f"--{flag}={path} has no embeddings of texts, or is not whole; expected a"
      " file with a text on each line, or a folder of --task=embed --texts"
    )
  facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
  if facts.get("digest") != digest:
    raise ValueError(
      f"--{flag}={path} is by the model {facts.get('model')} (digest"
      f" {facts.get('digest')}); expected the digest {digest}"
    )
  parts = [np.load(file, allow_pickle=False) for file in files]
  return np.concatenate(parts).astype(np.float32)
