"""Embeddings of labels, kept on disk where there are many.

  CACHE/labels/KEY.npy    float32 [A, E], a row a label

KEY is the digest of all that decides the rows: model, tokenizer, labels,
templates and runtime. 100,000 labels are embedded once for each, a part at a
time, and mapped into memory from then on.
"""

import hashlib
import pathlib

import numpy as np

from evaluators import embedding_cache
from inference import python_model
from inference.classifying import labels as labels_lib
from input_pipeline import model_inputs
from runtime import long_work
from runtime.storage import strict_json, whole_files

# Increased when rows of equal inputs change.
_VERSION = 1
# Prompts from which their embeddings are kept, and that are embedded at a time.
_NUM_KEPT = 1024
_NUM_PROMPTS = 4096


def embed(
  model: python_model.Model,
  labels: labels_lib.Labels,
  cache: pathlib.Path,
) -> np.ndarray:
  """Return an embedding of each label: float32 [A, E] of length 1.

  Args:
    model: has a text tower.
    labels: labels and templates.
    cache: folder of embeddings; rows of many labels are kept there.
  """
  names, templates = labels.names, labels.templates
  if len(names) * len(templates) < _NUM_KEPT:
    return model.embed_labels(names, templates)
  path = cache / "labels" / f"{_key(model, labels)}.npy"
  if not path.is_file():
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_files.replacing(path) as file:
      shape = (len(names), model.embed_dim)
      np.lib.format.write_array_header_1_0(
        file, {"descr": "<f4", "fortran_order": False, "shape": shape}
      )
      step = max(1, _NUM_PROMPTS // len(templates))
      with long_work.progress_line("Embedding labels", len(names)) as bar:
        for start in range(0, len(names), step):
          some = names[start : start + step]
          zlabel_aE = model.embed_labels(some, templates)
          file.write(zlabel_aE.astype("<f4").tobytes())
          bar.advance(len(some))
  return np.load(path, mmap_mode="r")


def _key(model: python_model.Model, labels: labels_lib.Labels) -> str:
  facts = {
    "version": _VERSION,
    "model": model.digest,
    "tokenizer": model_inputs.tokenizer_facts(model.tokenizer),
    "runtime": embedding_cache.runtime_facts(),
    "labels": labels.names,
    "templates": labels.templates,
  }
  text = strict_json.dumps(facts, sort_keys=True)
  return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
