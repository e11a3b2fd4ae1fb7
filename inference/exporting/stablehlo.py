"""Towers as StableHLO, serialised by jax.export."""

import importlib
from typing import Any

import jax
import numpy as np
from jax import export as jax_export

from inference.exporting import towers

SUFFIX = ".stablehlo"
# Largest difference of an embedding's value. The same program is compiled, so
# that only fusions round otherwise.
LIMIT = 1e-5
PLATFORMS = ("cpu", "cuda", "tpu")


def check(tower: towers.Tower) -> None:
  """Check that a tower can be serialised here; jax.export lowers all of them.

  Raises:
    ModuleNotFoundError: flatbuffers, which JAX needs for it, is missing.
  """
  del tower
  try:
    importlib.import_module("flatbuffers")
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
      "--format=stablehlo needs the package flatbuffers: pip install -r"
      " requirements.txt"
    ) from error


def serialise(tower: towers.Tower) -> tuple[bytes, dict[str, Any]]:
  """Return the file of a tower, and facts of it."""
  # All products in float32, on a TPU too.
  with jax.default_matmul_precision("highest"):
    exported = jax_export.export(jax.jit(tower.fn), platforms=PLATFORMS)(
      tower.spec()
    )
  return bytes(exported.serialize()), {
    "platforms": [*exported.platforms],
    "calling_convention_version": exported.calling_convention_version,
  }


def embed(content: bytes, inputs: np.ndarray) -> np.ndarray:
  """Return what a file computes of inputs."""
  exported = jax_export.deserialize(bytearray(content))
  return np.asarray(exported.call(inputs))
