"""Folder of a model's towers as programs: StableHLO or ONNX.

FOLDER/image.SUFFIX, text.SUFFIX   uint8 pixels or int32 tokens to embeddings
FOLDER/export.json                 inputs, outputs, image protocol, tokenizer
"""

import json
import pathlib
import types
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from evaluators import embedding_cache
from inference import model as model_lib
from inference.exporting import onnx_models, stablehlo, towers
from input_pipeline import model_inputs
from runtime import progress, provenance
from runtime.storage import whole_files

DESCRIPTION = "export.json"


class Form(Protocol):
  """Contents of a module of this folder that writes towers."""

  @property
  def SUFFIX(self) -> str:
    """End of a file's name."""
    ...

  @property
  def LIMIT(self) -> float:
    """Largest difference of an embedding's value."""
    ...

  def check(self, tower: towers.Tower, /) -> None:
    """Raise ValueError or ModuleNotFoundError where it cannot be written."""
    ...

  def serialise(self, tower: towers.Tower, /) -> tuple[bytes, dict[str, Any]]:
    """Return a file's content, and facts of it."""
    ...

  def embed(self, content: bytes, inputs: np.ndarray, /) -> np.ndarray:
    """Return embeddings that a file's content computes."""
    ...


FORMS: Mapping[str, Form] = types.MappingProxyType(
  {"onnx": onnx_models, "stablehlo": stablehlo}
)


class Programs:
  """Programs of a model's towers, checked before anything is written."""

  def __init__(self, model: model_lib.Model, form: str):
    """Check that the towers can be written.

    Args:
      model: as loaded.
      form: key of FORMS.

    Raises:
      ValueError: a tower has no such program; the message names it.
      ModuleNotFoundError: a package is missing.
    """
    self.model, self.form = towers.float32(model), form
    self.own_digest = embedding_cache.model_digest(model.config, model.params)
    self.own_dtype = model.config.dtype
    self.inputs = _inputs(model)
    rule = (self.inputs["tokenizer"] or {}).get("rule", {})
    self.towers = towers.make(self.model, rule.get("num_tokens", 0))
    for tower in self.towers:
      FORMS[form].check(tower)

  def write(self, folder: pathlib.Path) -> dict[str, Any]:
    """Write all files into a folder; return the content of export.json.

    Raises:
      ValueError: a program's embeddings are not the model's.
    """
    form, described = FORMS[self.form], {}
    with progress.Progress("Writing programs", len(self.towers)) as bar:
      for tower in self.towers:
        content, facts = form.serialise(tower)
        path = folder / f"{tower.name}{form.SUFFIX}"
        whole_files.write(path, content)
        difference = tower.difference(
          lambda inputs, path=path: form.embed(path.read_bytes(), inputs),
          form.LIMIT,
        )
        described[tower.name] = self._described(tower, path.name) | {
          **facts,
          "largest_difference": difference,
        }
        bar.advance(1)
    model = self.model
    has_logits = len(self.towers) == 2
    facts = {
      "format": self.form,
      "towers": described,
      "embed_dim": model.config.embed_dim,
      "loss": model.loss if has_logits else None,
      "scale": model.scale if has_logits else None,
      "bias": model.bias if has_logits else None,
      # Digest of the float32 model, Model.load(path, dtype="float32").digest.
      "digest": embedding_cache.model_digest(model.config, model.params),
      "model": {
        "family": model.family,
        "step": model.step,
        "digest": self.own_digest,
        "dtype": self.own_dtype,
      },
      **self.inputs,
      "versions": provenance.versions("jax2onnx", "onnx", "onnxruntime"),
    }
    text = json.dumps(facts, indent=2, ensure_ascii=False)
    whole_files.write(folder / DESCRIPTION, text.encode() + b"\n")
    return facts

  def _described(self, tower: towers.Tower, name: str) -> dict[str, Any]:
    values = {
      "image": "RGB as the image protocol prepares it; mean and std are applied"
      " by the program",
      "text": "ids of the tokenizer, padded to this length",
    }
    return {
      "file": name,
      "input": {
        "name": tower.input_name,
        "shape": ["batch", *tower.shape],
        "dtype": tower.dtype,
        "values": values[tower.name],
      },
      "output": {
        "name": "embeddings",
        "shape": ["batch", self.model.config.embed_dim],
        "dtype": "float32",
        "values": "rows of L2 norm 1",
      },
    }


def _inputs(model: model_lib.Model) -> dict[str, Any]:
  """Return the facts of a model's inputs; None where nothing describes them."""
  facts: dict[str, Any] = {"image_protocol": None, "tokenizer": None}
  if model.config.image is not None:
    try:
      protocol = model.make_image_protocol()
      facts["image_protocol"] = model_inputs.protocol_facts(protocol)
    except (ValueError, OSError) as error:
      facts["image_protocol_missing"] = str(error)
  if model.config.text is not None:
    try:
      facts["tokenizer"] = model_inputs.tokenizer_facts(model.make_tokenizer())
    except (ValueError, OSError) as error:
      facts["tokenizer_missing"] = str(error)
  return facts
